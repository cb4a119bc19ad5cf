"""Softmax and its logarithm.      Lesson 04."""

from __future__ import annotations

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ._method import read_dim, read_dims, tensor_method


class Softmax(Op):
    """Softmax along `axis`.                     x, y, dy, dx: (..., C)

    y_i  = e^{x_i} / sum_j e^{x_j}
    dx_i = y_i (dy_i - sum_j dy_j y_j)           because dy_j/dx_i = y_j (delta_ij - y_i)

    Lesson 04.
    """

    contiguous = True
    promote = "float"

    def forward(self, x, *, axis=-1):
        y = self.xp.exp(x - x.max(axis, keepdims=True))  # the shift cancels; it only prevents overflow
        y /= y.sum(axis, keepdims=True)
        self.save(y, axis)
        return y

    def backward(self, dy):
        y, axis = self.saved
        return y * (dy - (dy * y).sum(axis, keepdims=True))


class LogSoftmax(Op):
    """Its logarithm.                            x, y, dy, dx: (..., C)

    y_i  = x_i - log sum_j e^{x_j}
    dx_i = dy_i - e^{y_i} sum_j dy_j             because dy_j/dx_i = delta_ij - softmax_i

    Lesson 04.
    """

    contiguous = True
    promote = "float"

    def forward(self, x, *, axis=-1):
        shifted = x - x.max(axis, keepdims=True)
        y = shifted - self.xp.log(self.xp.exp(shifted).sum(axis, keepdims=True))
        self.save(y, axis)
        return y

    def backward(self, dy):
        y, axis = self.saved
        return dy - self.xp.exp(y) * dy.sum(axis, keepdims=True)


class LogSumExp(Op):
    """y = log sum_j e^{x_j}.                    dx_i = dy e^{x_i - y}: the softmax.      Lesson 04."""

    promote = "float"

    def forward(self, x, *, axis, keepdims):
        xp = self.xp
        top = x.max(axis, keepdims=True) if x.size else xp.zeros((), x.dtype)
        top = xp.where(xp.isfinite(top), top, xp.zeros((), x.dtype))  # all -inf gives -inf, not NaN
        y = xp.log(xp.exp(x - top).sum(axis, keepdims=True)) + top
        if not keepdims:
            y = xp.squeeze(y, axis)
        self.save(x, y, axis, keepdims)
        return y

    def backward(self, dy):
        x, y, axis, keepdims = self.saved
        if not keepdims:
            y, dy = self.xp.expand_dims(y, axis), self.xp.expand_dims(dy, axis)
        shift = self.xp.where(y == -float("inf"), 0.0, y)  # an empty sum has no slope: e^(-inf - 0) = 0
        return dy * self.xp.exp(x - shift)


def _axis(input, dim, name):
    if dim is None:
        raise TypeError(f"{name}(): missing argument 'dim': along which dimension the probabilities add up to 1")
    return read_dim(dim, input.ndim)


@tensor_method
@casts
def softmax(input, dim=None, dtype=None, *, _stacklevel=3):
    """exp(x_i) / sum_j exp(x_j) along `dim`."""
    input = input if dtype is None else input.to(dtype)
    axis = _axis(input, dim, "softmax")
    if not input.numel():
        return input.clone()
    return Softmax.apply(input, axis=axis) if input.ndim else Softmax.apply(input.reshape(1), axis=0).reshape(())


@tensor_method
@casts
def log_softmax(input, dim=None, dtype=None, *, _stacklevel=3):
    """log(softmax(x)) along `dim`, without overflow."""
    input = input if dtype is None else input.to(dtype)
    axis = _axis(input, dim, "log_softmax")
    if not input.numel():
        return input.clone()
    return LogSoftmax.apply(input, axis=axis) if input.ndim else LogSoftmax.apply(input.reshape(1), axis=0).reshape(())


@casts
def softmin(input, dim=None, dtype=None, *, _stacklevel=3):
    """softmax(-x)."""
    return softmax(-input, dim, dtype)


@tensor_method
def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(x))) over `dim`, without overflow."""
    axes = read_dims(dim, input.ndim)
    if not input.ndim:
        return logsumexp(input.reshape(1), 0)
    return LogSumExp.apply(input, axis=axes if axes is not None else tuple(range(input.ndim)), keepdims=keepdim)


@casts
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """softmax((logits + g) / tau), g from Gumbel's distribution: near a draw of one class, yet differentiable.

    hard: exactly 1 at the largest and 0 elsewhere, with the soft one's gradient. arXiv:1611.01144
    """
    gumbel = -logits.new_empty(logits.shape).exponential_().log()
    soft = softmax((logits + gumbel) / tau, dim)
    if not hard:
        return soft
    one = logits.new_zeros(logits.shape).scatter_(dim, soft.argmax(dim, keepdim=True), 1.0)
    return one - soft.detach() + soft
