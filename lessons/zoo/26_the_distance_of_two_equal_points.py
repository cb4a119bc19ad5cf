"""A Siamese network: the first pair of identical pictures turns every weight into NaN.

Tool: the gradient doctor.                                             Needs lesson 00.
"""

import minitorch
from minitorch import viz


def broken(a, b):
    return (a - b).square().sum(-1).sqrt()


def symptom(distance):
    a = minitorch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    distance(a, minitorch.tensor([[1.0, 2.0], [0.0, 0.0]])).sum().backward()
    assert a.grad.isfinite().all()


def examine(distance):
    a = minitorch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with viz.doctor({"a": a}) as report:
        distance(a, minitorch.tensor([[1.0, 2.0], [0.0, 0.0]])).sum().backward()
    assert not report.of("NaN"), str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# sqrt's slope at 0 is infinite, and infinity times the inner 0 is NaN. A small number under the root keeps it finite.


def fixed(a, b):
    return ((a - b).square().sum(-1) + 1e-12).sqrt()
