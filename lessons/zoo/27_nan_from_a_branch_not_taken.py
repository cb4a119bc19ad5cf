"""The result is right everywhere, and its gradient is NaN at 0, where the other branch was taken.

Tool: detect_anomaly, or the doctor.                                   Needs lesson 02.
"""

import minitorch
from minitorch import viz


def broken(x):
    """x log x, continued by 0 at 0: the terms of an entropy."""
    return minitorch.where(x > 0, x * x.log(), minitorch.zeros_like(x))


def symptom(entropy):
    p = minitorch.tensor([0.0, 0.5, 0.5], requires_grad=True)
    entropy(p).sum().backward()
    assert not p.grad.isnan().any()


def examine(entropy):
    p = minitorch.tensor([0.0, 0.5, 0.5], requires_grad=True)
    with viz.doctor({"p": p}) as report:
        entropy(p).sum().backward()
    assert not report.of("NaN"), str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# where sends 0 back into the branch that was not taken, and 0 times log's infinite slope is NaN. Make the branch
# harmless before it is computed: take the logarithm of 1 there.


def fixed(x):
    safe = minitorch.where(x > 0, x, minitorch.ones_like(x))
    return x * safe.log()
