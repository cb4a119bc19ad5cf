"""The loss falls for some steps, then swings wider and wider.

Tool: the gradient doctor.                                             Needs lesson 01.
"""

import minitorch
from minitorch import nn, viz


def broken(model, optimizer, x, y):
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def build():
    minitorch.manual_seed(0)
    model = nn.Linear(3, 1)
    x = minitorch.randn(64, 3)
    return model, minitorch.optim.SGD(model.parameters(), lr=0.3), x, x @ minitorch.tensor([[1.0], [2.0], [3.0]])


def symptom(train):
    parts = build()
    losses = [train(*parts) for _ in range(30)]
    assert losses[-1] < 0.01 * losses[0]


def examine(train):
    model, optimizer, x, y = build()
    train(model, optimizer, x, y)
    with viz.doctor(model) as report:
        train(model, optimizer, x, y)
    assert not report.of("accumulated"), str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# backward() adds to .grad. Without zero_grad() each step follows the sum of all gradients so far.


def fixed(model, optimizer, x, y):
    optimizer.zero_grad()
    return broken(model, optimizer, x, y)
