"""The classifier never predicts class 0, however long it trains; accuracy on the others is fine.

Somebody chose 0 as the label of padded positions. Tool: the gradient, compared with the library's.   Needs lesson 04.
"""

import minitorch
from minitorch.nn import functional as F


def broken(logits, target):
    return F.cross_entropy(logits, target, ignore_index=0)


def symptom(loss):
    minitorch.manual_seed(0)
    weight = minitorch.zeros(2, 2, requires_grad=True)
    x = minitorch.tensor([[1.0, 0.0], [1.0, 1.0]])  # class 0 and class 1: the second feature tells
    for _ in range(200):
        weight.grad = None
        loss(x @ weight, minitorch.tensor([0, 1])).backward()
        weight.data -= weight.grad
    assert (x @ weight).argmax(-1).tolist() == [0, 1]


def examine(loss):
    logits = minitorch.randn(6, 3, requires_grad=True)
    target = minitorch.tensor([0, 1, 2, 0, 1, 2])
    (got,) = minitorch.autograd.grad(loss(logits, target), logits)
    wanted = (logits.softmax(-1) - F.one_hot(target, 3)) / 6  # lesson 04: (probabilities - truth) / N
    silent = [i for i in range(6) if not got[i].any()]
    assert minitorch.allclose(got, wanted, atol=1e-6), (
        f"rows {silent} get no gradient; their labels are {target[silent].tolist()}"
    )


# --- the answer ----------------------------------------------------------------------------------------------------
# ignore_index must be a number that no class has: -100, the default, or any negative one.


def fixed(logits, target):
    return F.cross_entropy(logits, target)
