"""A learned gate decides which inputs pass. It decides the same at the end as at the start.

Tool: the gradient doctor names the operation.                         Needs lesson 01.
"""

import minitorch
from minitorch import viz


def broken(x, gate):
    return x * (gate.sigmoid() > 0.5).to(x.dtype)


def symptom(layer):
    gate = minitorch.zeros(3, requires_grad=True)
    x = minitorch.ones(5, 3, requires_grad=True)
    layer(x, gate).sum().backward()
    assert gate.grad is not None


def examine(layer):
    gate = minitorch.zeros(3, requires_grad=True)
    x = minitorch.ones(5, 3, requires_grad=True)
    with viz.doctor({"gate": gate, "x": x}) as report:
        layer(x, gate).sum().backward()
    assert not report.of("detached"), str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# A comparison is a step: its derivative is zero, so it has none. Multiply by the sigmoid itself (or pass its
# gradient on, straight through).


def fixed(x, gate):
    return x * gate.sigmoid()
