"""Gradient accumulation over 4 small batches trains differently from one batch of the same examples.

Tool: the gradient of the large batch.                                 Needs lesson 05.
"""

import minitorch
from minitorch import nn
from minitorch.nn import functional as F


def broken(model, batches):
    """Leaves the gradient of the mean loss over all the batches' examples in the parameters."""
    model.zero_grad()
    for x, y in batches:
        F.mse_loss(model(x), y).backward()


def build():
    minitorch.manual_seed(0)
    x, y = minitorch.randn(10, 3), minitorch.randn(10, 1)
    return nn.Linear(3, 1), x, y


def gradients(accumulate, sizes):
    model, x, y = build()
    accumulate(model, list(zip(x.split(sizes), y.split(sizes))))
    return model.weight.grad


def symptom(accumulate):
    assert minitorch.allclose(gradients(accumulate, [5, 5]), gradients(accumulate, [10]), atol=1e-6)


def examine(accumulate):
    whole = gradients(accumulate, [10])
    for sizes in ([5, 5], [4, 4, 2]):
        ratio = gradients(accumulate, sizes) / whole
        assert minitorch.allclose(ratio, minitorch.ones(1, 3), atol=1e-4), (
            f"batches {sizes}: {ratio.tolist()} times as large"
        )


# --- the answer ----------------------------------------------------------------------------------------------------
# Each mean is over its own batch: weigh it by its share of the examples (not 1/4 each: the last batch is smaller).


def fixed(model, batches):
    model.zero_grad()
    total = sum(len(x) for x, _ in batches)
    for x, y in batches:
        (F.mse_loss(model(x), y) * (len(x) / total)).backward()
