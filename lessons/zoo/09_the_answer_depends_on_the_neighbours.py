"""The same picture gets another prediction in another batch, and evaluating the model makes it worse.

Tool: the Jacobian across the batch; the buffers before and after.     Needs lesson 07.
"""

import minitorch
from minitorch import nn
from minitorch.autograd.functional import jacobian


def broken(model, x):
    with minitorch.no_grad():
        return model(x)


def build():
    minitorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    model(minitorch.randn(32, 2))  # some training has happened
    return model


def symptom(predict):
    model = build()
    x = minitorch.randn(8, 2)
    assert minitorch.allclose(predict(model, x)[:2], predict(model, x[:2]), atol=1e-6)


def examine(predict):
    model = build()
    before = {name: b.clone() for name, b in model.named_buffers()}
    predict(model, minitorch.randn(8, 2))
    changed = [name for name, b in model.named_buffers() if not minitorch.equal(b, before[name])]
    assert not changed, f"evaluation changed the buffers {changed}"
    J = jacobian(lambda x: model(x), minitorch.randn(4, 2)).abs().sum((1, 3))
    assert not (J - J.diag().diag()).any(), "one example's output depends on another example's input"


# --- the answer ----------------------------------------------------------------------------------------------------
# no_grad switches off gradients, not training: BatchNorm goes on using and learning the batch's statistics.


def fixed(model, x):
    model.eval()
    with minitorch.no_grad():
        return model(x)
