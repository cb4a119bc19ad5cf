"""Running maxima, minima and log-sums, and differences of neighbours.

Neither NumPy nor CuPy has these scans for every function, so they go by doubling: after the step of width w each place
holds the result over the last 2w elements; log2(n) steps make it all of them.
"""

from __future__ import annotations

from typing import Any

from ..autograd.engine import Op
from ..backend import dtypes
from ._method import read_dim, tensor_method
from .comparison import logical_xor
from .index import ScatterSum
from .reduce import ValuesIndices
from .shape import cat


def _doubling(x: Any, axis: int, combine: Any, xp: Any) -> Any:
    """y_i = x_0 . x_1 . ... . x_i for an associative `combine(earlier, later)`."""
    x = xp.moveaxis(x, axis, -1)
    width = 1
    while width < x.shape[-1]:
        x = xp.concatenate([x[..., :width], combine(x[..., :-width], x[..., width:])], axis=-1)
        width *= 2
    return xp.moveaxis(x, -1, axis)


class CumExtreme(Op):
    """(values, indices) of the largest, or smallest, element so far; of equal ones the last.

    y_i = x[k_i],  k_i = the place of the extreme of x_0 ... x_i.     dx_j = sum of dy_i over the i with k_i = j

    A NaN stays from where it occurs.
    """

    promote = None

    def forward(self, x, *, axis, largest):
        xp = self.xp
        k = xp.zeros(x.shape, dtype=xp.int64)
        if x.ndim and x.shape[axis]:
            rows = xp.moveaxis(x, axis, -1)
            isnan = xp.isnan(rows) if x.dtype in dtypes.FLOATING else xp.zeros(rows.shape, dtype=bool)

            def later_wins(a, b):
                u, v = (xp.take_along_axis(rows, i, axis=-1) for i in (a, b))
                return xp.where(((v >= u) if largest else (v <= u)) | xp.take_along_axis(isnan, b, axis=-1), b, a)

            places = xp.broadcast_to(xp.arange(x.shape[axis]), rows.shape)
            k = xp.moveaxis(_doubling(places, -1, later_wins, xp), -1, axis)
        self.save(k, axis, x.shape)
        return (xp.take_along_axis(x, k, axis=axis) if x.ndim else x.copy()), k

    def backward(self, dy, dk):
        k, axis, shape = self.saved
        return self.run(ScatterSum, dy, index=k, axis=axis, shape=shape) if len(shape) else dy


class LogCumSumExp(Op):
    """y_i = log sum_{j <= i} e^{x_j}.        dx_j = sum_{i >= j} dy_i e^{x_j - y_i}

    Every exponent is at most 0, so nothing overflows; O(n^2) along the axis.
    """

    contiguous = True
    promote = "float"

    def forward(self, x, *, axis):
        y = _doubling(x, axis, self.xp.logaddexp, self.xp) if x.ndim else x.copy()
        self.save(x, y, axis)
        return y

    def backward(self, dy):
        x, y, axis = self.saved
        if not dy.ndim:
            return dy
        xp = self.xp
        x, y, dy = (xp.moveaxis(a, axis, -1) for a in (x, y, dy))
        shift = xp.where(y == -float("inf"), 0.0, y)  # an empty sum has no slope: e^(-inf - 0) = 0
        later = xp.triu(xp.ones((x.shape[-1], x.shape[-1]), dtype=bool))  # (j, i): i >= j
        exponent = xp.where(later, xp.expand_dims(x, -1) - xp.expand_dims(shift, -2), -float("inf"))
        return xp.moveaxis((xp.expand_dims(dy, -2) * xp.exp(exponent)).sum(-1), -1, axis)


# --- public functions ------------------------------------------------------------------------------------------------


@tensor_method
def cummax(input, dim):
    """(values, indices) of the largest element so far along `dim`; of equal ones the last."""
    return ValuesIndices(*CumExtreme.apply(input, axis=read_dim(dim, input.ndim), largest=True))


@tensor_method
def cummin(input, dim):
    """(values, indices) of the smallest element so far along `dim`; of equal ones the last."""
    return ValuesIndices(*CumExtreme.apply(input, axis=read_dim(dim, input.ndim), largest=False))


@tensor_method
def logcumsumexp(input, dim):
    """log(cumsum(exp(x))) along `dim`, without overflow."""
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"logcumsumexp(): expected a floating point tensor, got {input.dtype}")
    return LogCumSumExp.apply(input, axis=read_dim(dim, input.ndim))


@tensor_method
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """x[i + 1] - x[i] along `dim`, `n` times over, with `prepend` and `append` put on first; of booleans: xor."""
    if not input.ndim:
        raise RuntimeError("diff(): expected a tensor of at least one dimension, got a 0-d tensor")
    if n < 0:
        raise RuntimeError(f"diff(): order must be non-negative but got {n}")
    dim = read_dim(dim, input.ndim)
    if n == 0:
        return input.clone()
    for name, part in (("prepend", prepend), ("append", append)):
        if part is not None and part.ndim != input.ndim:
            raise RuntimeError(f"diff(): expected {name} of {input.ndim} dimensions, as the input, got {part.ndim}")
    parts = [part for part in (prepend, input, append) if part is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[dim])):
        length = x.shape[dim]
        later, earlier = x.narrow(dim, min(1, length), max(length - 1, 0)), x.narrow(dim, 0, max(length - 1, 0))
        x = logical_xor(later, earlier) if x.dtype is dtypes.bool_ else later - earlier
    return x
