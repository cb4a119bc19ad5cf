"""A hidden layer of 16 units fits no better than a hidden layer of one.

Tool: the gradient of each unit.                                       Needs lesson 06.
"""

import minitorch
from minitorch import nn


def broken():
    minitorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    for p in model.parameters():
        nn.init.constant_(p, 0.1)
    return model


def data():
    x = minitorch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return x, minitorch.tensor([[0.0], [1.0], [1.0], [0.0]])  # exclusive or


def symptom(build):
    model, (x, y) = build(), data()
    optimizer = minitorch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def examine(build):
    model, (x, y) = build(), data()
    ((model(x) - y) ** 2).mean().backward()
    different = len(minitorch.unique(model[0].weight.grad, dim=0))
    assert different == 16, f"16 units, {different} different gradient"


# --- the answer ----------------------------------------------------------------------------------------------------
# Units that start equal get equal gradients, and stay equal. Random weights break the symmetry.


def fixed():
    minitorch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
