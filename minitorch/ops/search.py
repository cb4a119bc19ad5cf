"""What sorting answers: distinct elements, counts, places in a sorted sequence, quantiles."""

from __future__ import annotations

from typing import Any

from ..autograd.autocast import casts
from ..backend import checks, dtypes
from ..backend.devices import host, nonzero
from ..backend.scatter import count_of
from ..tensor import Tensor, wrap
from ._method import as_tensor_like, read_dim, tensor_method
from .arithmetic import lerp, where
from .index import Gather, sort
from .reduce import ValuesIndices


def _finish(input: Tensor, rows: Any, order: Any, dim: int | None, inverse: bool, counts: bool) -> Any:
    """The first of each run of equal rows (in the order given), where each element went, and how long the runs are."""
    xp = input.xp
    n = len(rows)
    differs = (rows[1:] != rows[:-1]).any(1)  # a NaN is equal to nothing
    first = xp.concatenate([xp.ones(min(n, 1), dtype=bool), differs])
    (starts,) = nonzero(first)
    number = xp.cumsum(first.astype(xp.int64)) - 1
    where_to = xp.zeros(n, dtype=xp.int64)
    where_to[order] = number
    source = order[starts]
    values = input.array.reshape(-1)[source] if dim is None else xp.take(input.array, source, axis=dim)
    results = [wrap(values)]
    if inverse:
        results.append(wrap(where_to.reshape(input.array.shape) if dim is None else where_to))
    if counts:
        ends = xp.concatenate([starts[1:], xp.full(min(n, 1), n, dtype=starts.dtype)])
        results.append(wrap((ends - starts).astype(xp.int64)))
    return results[0] if len(results) == 1 else tuple(results)


def _rows(input: Tensor, dim: int | None) -> Any:
    """The elements, or the slices along `dim`, as rows of a matrix."""
    x = input.array
    if dim is None:
        return x.reshape((-1, 1))
    return input.xp.moveaxis(x, dim, 0).reshape((x.shape[dim], x.size // max(x.shape[dim], 1)))


@tensor_method
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements, or slices along `dim`, in order; optionally where each went, and how often each occurs."""
    input = input.detach()
    dim = None if dim is None or not input.ndim else read_dim(dim, input.ndim)
    rows, xp = _rows(input, dim), input.xp
    order = xp.arange(len(rows))
    for column in range(rows.shape[1] - 1, -1, -1):  # stable sorts from the last column to the first
        order = order[xp.argsort(dtypes.ordered(rows[order, column]), kind="stable")]
    return _finish(input, rows[order], order, dim, return_inverse, return_counts)


@tensor_method
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The elements, or slices along `dim`, without those equal to the one before."""
    input = input.detach()
    dim = None if dim is None or not input.ndim else read_dim(dim, input.ndim)
    rows = _rows(input, dim)
    return _finish(input, rows, input.xp.arange(len(rows)), dim, return_inverse, return_counts)


@tensor_method
def bincount(input, weights=None, minlength=0):
    """How often each of 0, 1, 2 ... occurs in a vector of integers; with weights, their sums."""
    if input.dtype.category != 1:
        raise RuntimeError(f"bincount(): expected a tensor of integers, got {input.dtype}")
    x = input.array
    wrong = f"bincount only supports 1-d non-negative integral inputs, got shape {tuple(input.shape)}"
    if input.ndim != 1:
        raise RuntimeError(wrong)
    checks.require(x >= 0, wrong)
    if minlength < 0:
        raise RuntimeError(f"bincount(): minlength should be >= 0, got {minlength}")
    xp, x = input.xp, x.astype(input.xp.int64)
    length = max(minlength, host(x.max()) + 1 if x.size else 0)
    x = xp.maximum(x, 0)
    if weights is None:
        return wrap(count_of(x, length, xp))
    if weights.shape != input.shape:
        shapes = f"{tuple(weights.shape)} and {tuple(input.shape)}"
        raise RuntimeError(f"bincount(): weights should be 1-d and have the same length as input, got {shapes}")
    kind = dtypes.float32 if weights.dtype is dtypes.float32 else dtypes.float64
    return wrap(count_of(x, length, xp, weights.detach().array).astype(kind.numpy))


@tensor_method
def histc(input, bins=100, min=0, max=0):
    """How many elements lie in each of `bins` equal intervals from min to max (input's own, if those are equal)."""
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"histc(): expected a floating point tensor, got {input.dtype}")
    if bins <= 0:
        raise RuntimeError(f"histc(): bins must be > 0, but got {bins}")
    x, xp = input.detach().array.reshape(-1), input.xp
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = host(x.min()), host(x.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise RuntimeError(f"histc(): range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"histc(): max must be larger than min, got min={low} and max={high}")
    inside = (x >= low) & (x <= high)
    place = xp.minimum((xp.where(inside, x - low, 0) / (high - low) * bins).astype(xp.int64), bins - 1)
    return wrap(count_of(place, bins, xp, inside).astype(input.array.dtype))


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each number would have to be put in for the sequence to stay sorted: before equal ones, right: after them.

    sorted_sequence: (n,), or (..., n) with as many rows as input: (..., m). By bisection, all numbers at once.
    """
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"searchsorted(): side can only be 'left' or 'right' but got {side!r}")
    if side == "left" and right:
        raise RuntimeError("searchsorted(): side and right can't be opposites, got side='left' with right=True")
    if not sorted_sequence.ndim:
        raise RuntimeError("searchsorted(): the sorted sequence should have at least 1 dimension, but got 0")
    value = as_tensor_like(input, sorted_sequence).detach().array
    rows, xp = sorted_sequence.detach().array, sorted_sequence.xp
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape:
            shapes = f"{tuple(sorted_sequence.shape)}, got {tuple(sorter.shape)}"
            raise RuntimeError(f"searchsorted(): sorter must have the sequence's shape {shapes}")
        k = checks.in_range(
            sorter.array, 0, rows.shape[-1], "searchsorted(): sorter index out of range", RuntimeError
        )
        rows = xp.take_along_axis(rows, k, axis=-1)
    if rows.ndim > 1 and (rows.ndim != value.ndim or rows.shape[:-1] != value.shape[:-1]):
        raise RuntimeError(
            "searchsorted(): the sequence should be 1-dimensional, or its first dimensions match the input's, "
            f"but got shapes {tuple(rows.shape)} and {tuple(value.shape)}"
        )
    after = right or side == "right"
    low, high = xp.zeros(value.shape, dtype=xp.int64), xp.full(value.shape, rows.shape[-1], dtype=xp.int64)
    for _ in range(rows.shape[-1].bit_length()):
        middle = (low + high) // 2
        safe = xp.minimum(middle, rows.shape[-1] - 1)
        found = rows[safe] if rows.ndim == 1 else xp.take_along_axis(rows, safe, axis=-1)
        up = ~((found > value) if after else (found >= value)) & (low < high)
        low, high = xp.where(up, middle + 1, low), xp.where(up, high, middle)
    return wrap(low.astype(xp.int32) if out_int32 else low)


def bucketize(input, boundaries, *, out_int32=False, right=False):
    """Which interval between sorted boundaries each number lies in: i with boundaries[i-1] < x <= boundaries[i]."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@tensor_method
def kthvalue(input, k, dim=-1, keepdim=False):
    """(value, index) of the k-th smallest along `dim`, counted from 1."""
    d = read_dim(dim, input.ndim)
    n = input.shape[d] if input.ndim else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range: expected 1 <= k <= {n}, got {k}")
    values, indices = sort(input, d)
    if not input.ndim:
        return ValuesIndices(values, indices)
    if keepdim:
        return ValuesIndices(values.narrow(d, k - 1, 1), indices.narrow(d, k - 1, 1))
    return ValuesIndices(values.select(d, k - 1), indices.select(d, k - 1))


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


@tensor_method
@casts
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The value below which the fraction q lies, q a number or a vector, whose dimension comes first in the result.

    With the n elements sorted: the element at q (n - 1), interpolated between its neighbours. A NaN makes its row NaN.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@tensor_method
@casts
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """`quantile` of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


def _quantile(name, input, q, dim, keepdim, interpolation, skip_nan):
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype, got {input.dtype}")
    if not input.numel():
        raise RuntimeError(f"{name}() input tensor must be non-empty, got shape {tuple(input.shape)}")
    if interpolation not in _INTERPOLATIONS:
        modes = ", ".join(_INTERPOLATIONS)
        raise RuntimeError(f"{name}() interpolation must be one of {modes}, but got {interpolation}")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = input.new_full((), q)
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor, got {q.ndim} dimensions")
    if q.dtype is not input.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor, got {q.dtype} and {input.dtype}")
    checks.require((q.array >= 0) & (q.array <= 1), f"{name}() q values must be in the range [0, 1]")
    xp = input.xp
    d = None if dim is None else read_dim(dim, input.ndim)
    x = input.reshape(-1) if d is None or not input.ndim else input.movedim(d, -1)
    x = sort(x, -1)[0]  # (..., n), NaN last
    nans = xp.isnan(x.array)
    if skip_nan:
        last = wrap(xp.maximum((~nans).sum(-1, keepdims=True) - 1, 0).astype(x.array.dtype))
        rank = q.reshape(-1) * last
    else:
        rank = where(wrap(nans.any(-1, keepdims=True)), x.shape[-1] - 1.0, q.reshape(-1) * (x.shape[-1] - 1))
    low = rank.detach().floor()
    if interpolation == "nearest":
        low = rank.detach().round()
    elif interpolation == "higher":
        low = rank.detach().ceil()

    def at(place: Tensor) -> Tensor:
        return Gather.apply(x, index=place.array.astype(xp.int64), axis=x.ndim - 1)

    y = at(low)
    if interpolation in ("linear", "midpoint"):
        y = lerp(y, at(rank.detach().ceil()), rank - low if interpolation == "linear" else 0.5)
    y = y.movedim(-1, 0)  # (q, ...)
    if keepdim:
        y = y.reshape((len(y),) + (1,) * input.ndim) if d is None or not input.ndim else y.unsqueeze(d + 1)
    return y if q.ndim else y.squeeze(0)
