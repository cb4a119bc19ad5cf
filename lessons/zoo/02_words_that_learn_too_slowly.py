"""Frequent words learn no faster than rare ones: of several occurrences in a batch only one counts.

An embedding's gradient, written by hand. Tool: gradcheck.             Needs lessons 02 and 08.
"""

import minitorch
from minitorch.autograd import Function, gradcheck


class broken(Function):
    """y_i = W[k_i]             k: (N,)   W: (V, C)   y: (N, C)"""

    @staticmethod
    def forward(ctx, W, k):
        ctx.save_for_backward(k)
        ctx.size = W.shape
        return W[k]

    @staticmethod
    def backward(ctx, dy):
        (k,) = ctx.saved_tensors
        dW = minitorch.zeros(ctx.size, dtype=dy.dtype)
        dW[k] += dy
        return dW, None


def symptom(embedding):
    W = minitorch.zeros(3, 1, requires_grad=True)
    embedding.apply(W, minitorch.tensor([0, 2, 2, 2])).sum().backward()
    assert W.grad.flatten().tolist() == [1.0, 0.0, 3.0]


def examine(embedding):
    W = minitorch.randn(3, 2, dtype=minitorch.float64, requires_grad=True)
    gradcheck(lambda W: embedding.apply(W, minitorch.tensor([0, 2, 2, 2])), (W,))


# --- the answer ----------------------------------------------------------------------------------------------------
# dW[k] += dy reads, adds and writes back: where k repeats, the last write wins. The parts have to be added up.


class fixed(broken):
    @staticmethod
    def backward(ctx, dy):
        (k,) = ctx.saved_tensors
        return minitorch.zeros(ctx.size, dtype=dy.dtype).index_add(0, k, dy), None
