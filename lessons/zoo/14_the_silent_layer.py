"""The loss stops at the value of always guessing the mean. Every weight is finite.

Tool: the gradient doctor.                                             Needs lesson 06.
"""

import minitorch
from minitorch import nn, viz


def broken():
    minitorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))
    nn.init.constant_(model[0].bias, -10.0)  # "a little sparsity"
    return model


def data():
    minitorch.manual_seed(1)
    x = minitorch.randn(64, 3)
    return x, x.square().sum(1, keepdim=True)


def symptom(build):
    model, (x, y) = build(), data()
    optimizer = minitorch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * y.var().item()


def examine(build):
    model, (x, y) = build(), data()
    with viz.doctor(model) as report:
        ((model(x) - y) ** 2).mean().backward()
    assert not report.of("dead units"), str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# Where a ReLU's input is negative for every example, no gradient passes, and nothing can make it positive again.


def fixed():
    model = broken()
    nn.init.zeros_(model[0].bias)
    return model
