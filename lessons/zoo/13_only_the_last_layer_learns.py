"""The head learns, everything below it stays as it was initialised; no error, no warning.

Tool: the gradient doctor names the line.                              Needs lesson 01.
"""

import minitorch
from minitorch import nn, viz


class broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def features(self, x):
        h = self.body(x).tanh()
        self.last = h = h.data  # for looking at later
        return h

    def forward(self, x):
        return self.head(self.features(x))


def symptom(Model):
    minitorch.manual_seed(0)
    model = Model()
    model(minitorch.randn(3, 4)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def examine(Model):
    minitorch.manual_seed(0)
    model = Model()
    with viz.doctor(model) as report:
        model(minitorch.randn(3, 4)).sum().backward()
    assert not report, str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# .data is the tensor cut off from the graph. Keep the detached one for looking at, pass on the other.


class fixed(broken):
    def features(self, x):
        h = self.body(x).tanh()
        self.last = h.detach()
        return h
