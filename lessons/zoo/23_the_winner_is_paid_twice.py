"""Max pooling by hand: with real pictures the gradients are too large, with random numbers they are right.

Pictures have flat regions. Tool: gradients at ties, added up.         Needs lesson 07.
"""

import minitorch
from minitorch.autograd import Function


class broken(Function):
    """y = max over the last axis            x: (N, C)   y: (N,)"""

    @staticmethod
    def forward(ctx, x):
        y = x.amax(-1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved_tensors
        return (x == y[:, None]).to(dy.dtype) * dy[:, None]


FLAT = [[1.0, 3.0, 3.0, 3.0], [2.0, 0.0, 1.0, 0.0]]


def symptom(pool):
    x = minitorch.tensor(FLAT, requires_grad=True)
    pool.apply(x).sum().backward()
    assert x.grad.sum(-1).tolist() == [1.0, 1.0]


def examine(pool):
    x = minitorch.tensor(FLAT, requires_grad=True)
    (got,) = minitorch.autograd.grad(pool.apply(x).sum(), x)
    (library,) = minitorch.autograd.grad(x.amax(-1).sum(), x)
    assert minitorch.equal(got, library), (
        f"at a tie the gradient is {got[0].tolist()}, the library's {library[0].tolist()}"
    )


# --- the answer ----------------------------------------------------------------------------------------------------
# When x moves along (1, 1, 1, 1) the maximum moves by 1: the winners' gradients add up to dy. Share it among them.


class fixed(broken):
    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved_tensors
        winners = (x == y[:, None]).to(dy.dtype)
        return winners / winners.sum(-1, keepdim=True) * dy[:, None]
