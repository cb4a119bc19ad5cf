"""A network with this LayerNorm trains, but always worse than with the library's.

The statistics depend on x as well. Tool: gradcheck.                   Needs lesson 09.
"""

import minitorch
from minitorch.autograd import Function, gradcheck


class broken(Function):
    """n = (x - mean) / std over the last axis          x, n: (N, C)"""

    @staticmethod
    def forward(ctx, x):
        centred = x - x.mean(-1, keepdim=True)
        std = (centred**2).mean(-1, keepdim=True).add(1e-5).sqrt()
        ctx.save_for_backward(centred / std, std)
        return centred / std

    @staticmethod
    def backward(ctx, dn):
        n, std = ctx.saved_tensors
        return (dn - dn.mean(-1, keepdim=True)) / std


def symptom(norm):
    minitorch.manual_seed(0)
    x = minitorch.randn(4, 8, requires_grad=True)
    dn = minitorch.randn(4, 8)
    norm.apply(x).backward(dn)
    # the output does not change when x is stretched, so the gradient has no part along x - mean
    along = (x.grad * (x - x.mean(-1, keepdim=True))).sum(-1)
    assert float(along.abs().max()) < 1e-3


def examine(norm):
    gradcheck(norm.apply, (minitorch.randn(4, 8, dtype=minitorch.float64, requires_grad=True),))


# --- the answer ----------------------------------------------------------------------------------------------------
# The mean gives one cross-term, the standard deviation a second: dx = (dn - mean(dn) - n mean(dn n)) / std.


class fixed(broken):
    @staticmethod
    def backward(ctx, dn):
        n, std = ctx.saved_tensors
        return (dn - dn.mean(-1, keepdim=True) - n * (dn * n).mean(-1, keepdim=True)) / std
