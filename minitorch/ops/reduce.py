"""Reductions: many elements become one. What was added up gets the gradient broadcast back.      Lesson 02."""

from __future__ import annotations

import builtins
from typing import Any

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import dtypes
from ..backend.devices import table
from ..tensor import Tensor
from ._method import need_tensors, read_dim, read_dims, tensor_method
from .arithmetic import where
from .index import ScatterSum


def _spread(dy: Any, shape: tuple, axis: Any, keepdims: bool, xp: Any) -> Any:
    """A reduction's gradient, with the reduced axes put back and repeated: the transpose of a sum."""
    if axis is not None and not keepdims:
        dy = xp.expand_dims(dy, axis)
    return xp.broadcast_to(dy, shape)


def _keep(y: Any, axis: Any, keepdims: bool, ndim: int, xp: Any) -> Any:
    """A reduction's output with its reduced axes as axes of length 1."""
    if keepdims or axis is None:
        return y if keepdims else y.reshape((1,) * ndim)
    return xp.expand_dims(y, axis)


class Sum(Op):
    """y = sum_i x_i.                         dx_i = dy      Lesson 02."""

    def forward(self, x, *, axis=None, keepdims=False):
        self.save(x.shape, axis, keepdims)
        return x.sum(axis, keepdims=keepdims, dtype=x.dtype)

    def backward(self, dy):
        shape, axis, keepdims = self.saved
        return _spread(dy, shape, axis, keepdims, self.xp)


class Mean(Op):
    """y = 1/n sum_i x_i.                     dx_i = dy / n      Lesson 02."""

    promote = "float"

    def forward(self, x, *, axis=None, keepdims=False):
        total = x.sum(axis, keepdims=keepdims)
        n = x.size // builtins.max(total.size, 1)
        self.save(x.shape, axis, keepdims, builtins.max(n, 1))
        return total / n if n else total * float("nan")

    def backward(self, dy):
        shape, axis, keepdims, n = self.saved
        return _spread(dy / n, shape, axis, keepdims, self.xp)


class Prod(Op):
    """y = prod_i x_i.                        dx_i = dy prod_{j != i} x_j

    The product of the others is (product before i) (product after i), so zeros need no special case.
    """

    def forward(self, x, *, axis=None, keepdims=False):
        self.save(x, axis, keepdims)
        return x.prod(axis, keepdims=keepdims, dtype=x.dtype)

    def backward(self, dy):
        x, axis, keepdims = self.saved
        if axis is None:
            flat = x.reshape((-1,))
            return (dy.reshape((1,)) * self.run(ProdOfOthers, flat, axis=0)).reshape(x.shape)
        dy = dy if keepdims else self.xp.expand_dims(dy, axis)
        return dy * self.run(ProdOfOthers, x, axis=axis)


class ProdOfOthers(Op):
    """y_i = prod_{j != i} x_j along an axis. dx_k = sum_{i != k} dy_i prod_{j != i, k} x_j

    Differentiated by rows: for each k, x_k is set to 1 in a copy of x, and i = k is left out of the sum.
    """

    def forward(self, x, *, axis):
        self.save(x, axis)
        xp = self.xp
        one = xp.ones_like(xp.take(x, xp.arange(builtins.min(1, x.shape[axis])), axis=axis))
        n = x.shape[axis]
        before = xp.concatenate([one, xp.take(x, xp.arange(builtins.max(n - 1, 0)), axis=axis)], axis=axis)
        after = xp.concatenate([xp.take(x, xp.arange(builtins.min(1, n), n), axis=axis), one], axis=axis)
        return xp.cumprod(before, axis=axis) * xp.flip(xp.cumprod(xp.flip(after, axis), axis=axis), axis)

    def backward(self, dy):
        x, axis = self.saved
        xp = self.xp
        n = x.shape[axis]
        x, dy = xp.moveaxis(x, axis, -1), xp.moveaxis(dy, axis, -1)
        same = xp.eye(n, dtype=bool)  # (k, i)
        rows = xp.where(same, 1.0, xp.expand_dims(x, -2))  # (..., k, i): x with x_k = 1
        others = self.run(ProdOfOthers, rows, axis=rows.ndim - 1)
        dx = xp.where(same, 0.0, xp.expand_dims(dy, -2) * others).sum(-1)
        return xp.moveaxis(dx, -1, axis)


class Amax(Op):
    """y = max_i x_i.                         dx_i = dy [x_i = y] / (number of ties)"""

    def forward(self, x, *, axis=None, keepdims=False):
        y = x.max(axis, keepdims=keepdims)
        self.save(x, y, axis, keepdims)
        return y

    def backward(self, dy):
        x, y, axis, keepdims = self.saved
        xp = self.xp
        ties = (x == _keep(y, axis, keepdims, x.ndim, xp)) | (x != x)  # NaN is the maximum of its row
        share = ties / ties.sum(axis, keepdims=True)
        return _keep(dy, axis, keepdims, x.ndim, xp) * share.astype(dy.dtype)


class Amin(Op):
    """y = min_i x_i.                         dx_i = dy [x_i = y] / (number of ties)"""

    def forward(self, x, *, axis=None, keepdims=False):
        y = x.min(axis, keepdims=keepdims)
        self.save(x, y, axis, keepdims)
        return y

    def backward(self, dy):
        x, y, axis, keepdims = self.saved
        xp = self.xp
        ties = (x == _keep(y, axis, keepdims, x.ndim, xp)) | (x != x)
        share = ties / ties.sum(axis, keepdims=True)
        return _keep(dy, axis, keepdims, x.ndim, xp) * share.astype(dy.dtype)


class Choose(Op):
    """(values, indices) of one element along an axis, where `pick` ("max", "min" or "median") found it.

    y = x[k],  k = pick(x).                   dx_i = dy [i = k]
    """

    def forward(self, x, *, axis, keepdims, pick):
        xp = self.xp
        if pick == "median":  # the lower one of the two in the middle; NaN if there is one
            order = xp.argsort(x, axis=axis, kind="stable")
            k = xp.take(order, table(xp, [(x.shape[axis] - 1) // 2]), axis=axis)
            if x.dtype.kind == "f":
                nans = xp.isnan(x)
                first = xp.expand_dims(xp.argmax(nans, axis=axis), axis)
                k = xp.where(nans.any(axis, keepdims=True), first, k)
        else:
            k = xp.expand_dims(getattr(xp, "arg" + pick)(x, axis=axis), axis)
        y = xp.take_along_axis(x, k, axis=axis)
        self.save(x.shape, k, axis, keepdims)
        if not keepdims:
            y, k = xp.squeeze(y, axis), xp.squeeze(k, axis)
        return y, k

    def backward(self, dy, dk):
        shape, k, axis, keepdims = self.saved
        dy = dy if keepdims else self.xp.expand_dims(dy, axis)
        return self.run(ScatterSum, dy, index=k, axis=axis, shape=shape)


class Var(Op):
    """y = sum_i (x_i - m)^2 / (n - correction),  m = mean of x.      dx_i = dy 2 (x_i - m) / (n - correction)

    The mean's own share of the gradient is -sum_i (x_i - m) = 0.    Lesson 09.
    """

    promote = "float"

    def forward(self, x, *, axis=None, keepdims=False, correction=1):
        centred = x - x.mean(axis, keepdims=True)
        total = (centred * centred).sum(axis, keepdims=keepdims)
        n = builtins.max(x.size, 1) / builtins.max(total.size, 1) if x.size else 0
        self.save(x, axis, keepdims, builtins.max(n - correction, 0))
        return total / x.dtype.type(builtins.max(n - correction, 0))

    def backward(self, dy):
        x, axis, keepdims, n = self.saved
        centred = x - x.mean(axis, keepdims=True)
        return _keep(dy, axis, keepdims, x.ndim, self.xp) * (centred * (2 / n if n else float("nan")))


class Root(Op):
    """y = v^(1/p) of a sum v of p-th powers.  dv = dy y^(1-p) / p, and 0 where y = 0: every term's own slope is 0 there"""

    def forward(self, v, *, p):
        y = self.xp.sqrt(v) if p == 2 else self.xp.power(v, v.dtype.type(1 / p))
        self.save(y, p)
        return y

    def backward(self, dy):
        y, p = self.saved
        zero = y == 0
        return self.xp.where(zero, 0.0, dy * self.xp.where(zero, 1.0, y) ** (1 - p) * (1 / p))


class CumSum(Op):
    """y_i = sum_{j <= i} x_j.                dx_j = sum_{i >= j} dy_i"""

    contiguous = True

    def forward(self, x, *, axis):
        self.save(axis)
        return self.xp.cumsum(x, axis=axis, dtype=x.dtype) if x.ndim else x.copy()

    def backward(self, dy):
        (axis,) = self.saved
        if not dy.ndim:
            return dy
        xp = self.xp
        return xp.flip(xp.cumsum(xp.flip(dy, axis), axis), axis)


class CumProd(Op):
    """y_i = prod_{j <= i} x_j.               dx_k = sum_{i >= k} dy_i prod_{j <= i, j != k} x_j

    Through rows in which x_k is 1, so zeros need no special case; O(n^2) along the axis.
    """

    contiguous = True

    def forward(self, x, *, axis):
        self.save(x, axis)
        return self.xp.cumprod(x, axis=axis, dtype=x.dtype) if x.ndim else x.copy()

    def backward(self, dy):
        x, axis = self.saved
        if not dy.ndim:
            return dy
        xp = self.xp
        n = x.shape[axis]
        x, dy = xp.moveaxis(x, axis, -1), xp.moveaxis(dy, axis, -1)
        rows = xp.where(xp.eye(n, dtype=bool), 1.0, xp.expand_dims(x, -2))  # (..., k, j): x with x_k = 1
        products = self.run(CumProd, rows, axis=rows.ndim - 1)  # (..., k, i)
        later = xp.triu(xp.ones((n, n), dtype=bool))  # i >= k
        dx = xp.where(later, xp.expand_dims(dy, -2) * products, 0.0).sum(-1)
        return xp.moveaxis(dx, -1, axis)


class Reduce(Op):
    """any, all, argmax, argmin: no gradient."""

    differentiable = False
    promote = None

    def forward(self, x, *, function, axis=None, keepdims=False):
        return getattr(self.xp, function)(x, axis=axis, keepdims=keepdims)


# --- public functions ------------------------------------------------------------------------------------------------


def _integers_to_int64(input: Tensor) -> Tensor:
    return input if input.dtype.is_floating_point else input.to(dtypes.int64)


def _need_elements(input: Tensor, axis: Any, name: str) -> None:
    axes = range(input.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    lengths = [input.array.shape[a] for a in axes] if input.ndim else []
    if 0 in lengths and (axis is None or input.numel() == 0):
        raise IndexError(
            f"{name}(): expected at least one element along the reduced dimension, got shape {tuple(input.shape)}; "
            "there is no identity for an empty one"
        )


@tensor_method
def sum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over `dim` (one dimension, several, or all). Integers and booleans are added as int64."""
    input = _integers_to_int64(input) if dtype is None else input.to(dtype)
    return Sum.apply(input, axis=read_dims(dim, input.ndim), keepdims=keepdim)


@tensor_method
def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum with NaN as 0."""
    return sum(where(input != input, 0, input), dim, keepdim, dtype=dtype)


@tensor_method
def mean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean over `dim`; of floating point tensors only, as in PyTorch."""
    if dtype is not None:
        input = input.to(dtype)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"mean(): could not infer output dtype: expected a floating point tensor, got {input.dtype}")
    return Mean.apply(input, axis=read_dims(dim, input.ndim), keepdims=keepdim)


@tensor_method
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean of what is not NaN."""
    return nansum(input, dim, keepdim, dtype=dtype) / sum(input == input, dim, keepdim)


@tensor_method
@casts
def prod(input, dim=None, keepdim=False, *, dtype=None):
    """The product over one dimension or all."""
    input = _integers_to_int64(input) if dtype is None else input.to(dtype)
    return Prod.apply(
        input, axis=None if dim is None or not input.ndim else read_dim(dim, input.ndim), keepdims=keepdim
    )


def _extreme(input, dim, keepdim, name, op, pick, other):
    need_tensors(name, input)
    if isinstance(dim, Tensor):  # max(a, b) is maximum(a, b)
        return other(input, dim)
    if dim is None:
        _need_elements(input, None, name)
        return op.apply(input)
    return _choose(input, dim, keepdim, name, pick)


def _choose(input, dim, keepdim, name, pick):
    dim = read_dim(dim, input.ndim)
    if not input.ndim:
        values, indices = _choose(input.reshape(1), 0, False, name, pick)
    else:
        _need_elements(input, dim, name)
        values, indices = Choose.apply(input, axis=dim, keepdims=keepdim, pick=pick)
    return ValuesIndices(values, indices)


class ValuesIndices(tuple):
    """(values, indices) with names, as PyTorch's named results."""

    def __new__(cls, values, indices):
        return tuple.__new__(cls, (values, indices))

    values = property(lambda self: self[0])
    indices = property(lambda self: self[1])

    def __repr__(self) -> str:
        return f"minitorch.return_types(\nvalues={self.values!r},\nindices={self.indices!r})"


@tensor_method
def max(input, dim=None, keepdim=False):
    """The largest element (ties share the gradient); with `dim`: (values, indices); with a tensor: `maximum`."""
    from .arithmetic import maximum

    return _extreme(input, dim, keepdim, "max", Amax, "max", maximum)


@tensor_method
def min(input, dim=None, keepdim=False):
    """The smallest element (ties share the gradient); with `dim`: (values, indices); with a tensor: `minimum`."""
    from .arithmetic import minimum

    return _extreme(input, dim, keepdim, "min", Amin, "min", minimum)


@tensor_method
def median(input, dim=None, keepdim=False):
    """The median, the lower one of two; with `dim`: (values, indices)."""
    if dim is None:
        return Choose.apply(input.reshape(-1), axis=0, keepdims=False, pick="median")[0]
    return _choose(input, dim, keepdim, "median", "median")


@tensor_method
def amax(input, dim=(), keepdim=False):
    """The largest element over one dimension or several; ties share the gradient."""
    axis = read_dims(None if dim == () else dim, input.ndim)
    _need_elements(input, axis, "amax")
    return Amax.apply(input, axis=axis, keepdims=keepdim)


@tensor_method
def amin(input, dim=(), keepdim=False):
    """The smallest element over one dimension or several; ties share the gradient."""
    axis = read_dims(None if dim == () else dim, input.ndim)
    _need_elements(input, axis, "amin")
    return Amin.apply(input, axis=axis, keepdims=keepdim)


@tensor_method
def aminmax(input, *, dim=None, keepdim=False):
    """(amin, amax)."""
    dims = () if dim is None else dim
    return amin(input, dims, keepdim), amax(input, dims, keepdim)


@tensor_method
def argmax(input, dim=None, keepdim=False):
    """The index of the largest element, the first of several."""
    return _arg(input, dim, keepdim, "argmax")


@tensor_method
def argmin(input, dim=None, keepdim=False):
    """The index of the smallest element, the first of several."""
    return _arg(input, dim, keepdim, "argmin")


def _arg(input, dim, keepdim, name):
    if dim is not None:
        dim = read_dim(dim, input.ndim) if input.ndim else None
    _need_elements(input, dim, name)
    return Reduce.apply(input, function=name, axis=dim, keepdims=keepdim)


@tensor_method
def any(input, dim=None, keepdim=False):
    """Whether one element is not zero."""
    return _truth(input, dim, keepdim, "any")


@tensor_method
def all(input, dim=None, keepdim=False):
    """Whether no element is zero."""
    return _truth(input, dim, keepdim, "all")


def _truth(input, dim, keepdim, name):
    y = Reduce.apply(input, function=name, axis=read_dims(dim, input.ndim), keepdims=keepdim)
    return y.to(dtypes.uint8) if input.dtype is dtypes.uint8 else y  # PyTorch's exception


@tensor_method
def count_nonzero(input, dim=None):
    """How many elements are not zero."""
    return sum(input != 0, dim)


def _correction(unbiased: Any, correction: Any) -> Any:
    if unbiased is not None:
        return 1 if unbiased else 0
    return 1 if correction is None else correction


@tensor_method
def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The variance, divided by n - correction (1, Bessel's, unless given)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"std and var only support floating point tensors, got {input.dtype}")
    return Var.apply(
        input, axis=read_dims(dim, input.ndim), keepdims=keepdim, correction=_correction(unbiased, correction)
    )


@tensor_method
def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The standard deviation: the square root of `var`; its gradient is 0 where it is 0."""
    return Root.apply(var(input, dim, unbiased, keepdim, correction=correction), p=2)


@tensor_method
def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(var, mean)."""
    axis = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, axis, keepdim)


@tensor_method
def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(std, mean)."""
    axis = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, axis, keepdim)


@tensor_method
def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """The vector norm (sum |x|^p)^(1/p) over `dim`; "fro" is p = 2; inf, -inf and 0 as limits."""
    if dtype is not None:
        input = input.to(dtype)
    if p in ("fro", 2, 2.0, None):
        return Norm.apply(input, axis=read_dims(dim, input.ndim), keepdims=keepdim)
    if p == "nuc":
        from .linalg import matrix_norm

        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim)
    if isinstance(p, str):
        raise RuntimeError(f"norm(): expected a number, 'fro' or 'nuc' for p, got {p!r}")
    if input.array.dtype in dtypes.LOW_PRECISION:  # whose powers would overflow
        return norm(input.float(), p, dim, keepdim).to(input.dtype)
    magnitude = input.abs()
    dims = () if dim is None else dim
    if p == float("inf"):
        return amax(magnitude, dims, keepdim)
    if p == -float("inf"):
        return amin(magnitude, dims, keepdim)
    if p == 0:
        return sum(where(input != 0, 1.0, input * 0.0), dim, keepdim)
    if p == 1:
        return sum(magnitude, dim, keepdim)
    if p < 1:  # the power's slope at 0 is infinite, and does not count
        zero = input == 0
        powers = where(zero, float("inf") if p < 0 else 0.0, where(zero, 1.0, magnitude) ** p)
    else:
        powers = magnitude**p
    return Root.apply(sum(powers, dim, keepdim), p=p)


class Norm(Op):
    """y = sqrt(sum_i x_i^2).                 dx_i = dy x_i / y       (0 where y = 0, the subgradient of least norm)"""

    promote = "float"

    def forward(self, x, *, axis=None, keepdims=False):
        y = self.xp.sqrt((x * x).sum(axis, keepdims=keepdims))
        self.save(x, y, axis, keepdims)
        return y

    def backward(self, dy):
        x, y, axis, keepdims = self.saved
        y, dy = _keep(y, axis, keepdims, x.ndim, self.xp), _keep(dy, axis, keepdims, x.ndim, self.xp)
        return self.xp.where(y == 0, 0.0, dy / self.xp.where(y == 0, 1.0, y)) * x


@tensor_method(inplace=True)
def cumsum(input, dim, *, dtype=None):
    """Running sums along `dim`."""
    input = _integers_to_int64(input) if dtype is None else input.to(dtype)
    return CumSum.apply(input, axis=read_dim(dim, input.ndim))


@tensor_method(inplace=True)
def cumprod(input, dim, *, dtype=None):
    """Running products along `dim`."""
    input = _integers_to_int64(input) if dtype is None else input.to(dtype)
    return CumProd.apply(input, axis=read_dim(dim, input.ndim))
