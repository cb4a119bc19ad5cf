"""Fine-tuning with a low-rank adapter: the loss does not move at all.

y = x W + x A B, only A and B are trained. Tool: the gradient doctor.  Needs lesson 14.
"""

import minitorch
from minitorch import viz


def broken(width, rank):
    """A: (width, rank) and B: (rank, width), such that training starts from the model as it is: A B = 0."""
    return minitorch.zeros(width, rank, requires_grad=True), minitorch.zeros(rank, width, requires_grad=True)


def loss(A, B):
    minitorch.manual_seed(0)
    x, y = minitorch.randn(32, 4), minitorch.randn(32, 4)
    return ((x + x @ A @ B - y) ** 2).mean()


def symptom(factors):
    A, B = factors(4, 2)
    first = float(loss(A, B))
    for _ in range(50):
        A.grad = B.grad = None
        loss(A, B).backward()
        A.data -= 0.1 * A.grad
        B.data -= 0.1 * B.grad
    assert float(loss(A, B)) < first


def examine(factors):
    A, B = factors(4, 2)
    with viz.doctor({"A": A, "B": B}) as report:
        loss(A, B).backward()
    assert {f.where for f in report.of("zero gradient")} != {"A", "B"}, str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# dA holds B as a factor, dB holds A: with both zero, both gradients are zero for ever. One factor starts at random.


def fixed(width, rank):
    A, B = broken(width, rank)
    minitorch.nn.init.normal_(A, std=width**-0.5)
    return A, B
