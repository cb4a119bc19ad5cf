"""With heads of width 8 it trains; with width 512 the attention is one-hot from the first step, and most queries stay.

Tool: the gradient doctor.                                             Needs lesson 10.
"""

import minitorch
from minitorch import viz


def broken(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


def inputs():
    minitorch.manual_seed(0)
    return [minitorch.randn(16, 512, requires_grad=True) for _ in range(3)]


def symptom(attention):
    q, k, v = inputs()
    attention(q, k, v).square().sum().backward()
    rows = q.grad.norm(dim=1)  # of each query's gradient
    assert float(rows.median()) > 0.1 * float(rows.max())


def examine(attention):
    q, k, v = inputs()
    with viz.doctor({"q": q, "k": k, "v": v}) as report:
        attention(q, k, v).square().sum().backward()
    assert not report.of("saturated"), str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# A product of two random vectors of width d has variance d: the scores grow like sqrt(d), the softmax saturates.


def fixed(q, k, v):
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v
