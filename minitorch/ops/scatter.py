"""Writing into places that an index names: copying, filling, reducing.

All are compositions of the ops of index.py: what was written gets the gradient of its place, what was overwritten none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.autocast import casts
from ..backend import checks, dtypes
from ..backend.devices import host, nonzero
from ..tensor import Tensor, wrap
from ._method import read_dim, tensor_method
from .arithmetic import where
from .index import Index, IndexAdd, IndexPut, ScatterSum, _check_along, _check_source, _index_array, _parse, gather
from .reduce import Amax, Amin, Prod
from .shape import broadcast_tensors, cat, expand


def _vector(index: Any, input: Tensor, dim: int, name: str) -> Any:
    """An index vector for `dim`, as an array whose elements are in range."""
    k = _index_array(index, input, name)
    if k.ndim > 1:
        raise IndexError(f"{name}(): index should have dimension 1 or 0, got {k.ndim}")
    return _in_range(k.reshape(-1), input.shape[dim] if input.ndim else 1, name, 0)


def _in_range(k: Any, n: int, name: str, lowest: int) -> Any:
    """The index, if all its elements are from `lowest` to n - 1."""
    return checks.in_range(k, lowest, n, f"{name}(): index {{}} is out of bounds for {n} elements", IndexError)


def _same_dtype(input: Tensor, source: Tensor, name: str) -> None:
    if not isinstance(source, Tensor):
        raise TypeError(f"{name}(): expected a Tensor as source, got {type(source).__name__}")
    if source.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): expected self and source of one dtype, got {input.dtype} and {source.dtype}")


@tensor_method(inplace=True)
@casts
def index_copy(input, dim, index, source):
    """input with the slices of source written to the places `index` (a vector) along `dim`."""
    d = read_dim(dim, input.ndim)
    _same_dtype(input, source, "index_copy")
    k = _vector(index, input, d, "index_copy")
    if not input.ndim:
        return index_copy(input.reshape(1), 0, index.reshape(-1), source.reshape(-1)).reshape(())
    expected = (*input.shape[:d], len(k), *input.shape[d + 1 :])
    if tuple(source.shape) != expected and (source.ndim or len(k) != 1):
        raise IndexError(f"index_copy(): expected source of shape {expected}, got {tuple(source.shape)}")
    return IndexPut.apply(input, source, index=(slice(None),) * d + (k,))


@tensor_method(inplace=True)
def index_fill(input, dim, index, value):
    """input with `value`, a number or a 0-d tensor, at the places `index` (a vector) along `dim`."""
    d = read_dim(dim, input.ndim)
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(f"index_fill(): only a 0-dimensional value tensor is supported, got {value.ndim} dimensions")
    n = input.shape[d] if input.ndim else 1
    k = _in_range(_index_array(index, input, "index_fill").reshape(-1), n, "index_fill", -n)
    value = value.to(input.dtype) if isinstance(value, Tensor) else input.new_full((), value)
    hit = input.xp.zeros(n, dtype=bool)
    hit[k] = True
    hit = hit.reshape((-1,) + (1,) * (input.ndim - d - 1)) if input.ndim else hit.reshape(())
    return where(wrap(hit), value, input)


@tensor_method(inplace=True)
@casts
def index_put(input, indices, values, accumulate=False):
    """input with values (broadcast) at [indices], a tuple of index tensors; accumulate: added, repetitions counted."""
    _same_dtype(input, values, "index_put")
    basic, advanced = _parse(input, tuple(indices))
    if advanced is None:
        raise TypeError(f"index_put(): expected a tuple of tensors for indices, got {indices!r}")
    if not accumulate:
        return IndexPut.apply(input, values, index=advanced)
    places = input.array[advanced].shape
    return input + IndexAdd.apply(expand(values, places), index=advanced, shape=input.array.shape)


@tensor_method
def take(input, index):
    """The elements at `index`, of any shape, of the input read as one row."""
    k = _long(index, input, "take")
    return Index.apply(input.reshape(-1), index=(_in_range(k, input.numel(), "take", -input.numel()),))


def _long(index: Any, input: Tensor, name: str) -> Any:
    k = _index_array(index, input, name)
    if index.dtype is not dtypes.int64:
        raise RuntimeError(f"{name}(): expected an int64 tensor for index, got {index.dtype}")
    return k


@tensor_method(inplace=True)
def put(input, index, source, accumulate=False):
    """input, read as one row, with source's elements at `index`; accumulate: added, repetitions counted."""
    _same_dtype(input, source, "put")
    k = _long(index, input, "put")
    if source.numel() != k.size:
        raise IndexError(f"put(): expected as many elements in source as in index, got {source.numel()} and {k.size}")
    k = _in_range(k.reshape(-1), input.numel(), "put", -input.numel())
    flat = index_put(input.reshape(-1), (wrap(k),), source.reshape(-1), accumulate)
    return flat.reshape(input.shape)


@tensor_method(inplace=True)
def masked_scatter(input, mask, source):
    """input with source's elements, one after the other, where the mask is true."""
    if not isinstance(mask, Tensor) or mask.dtype is not dtypes.bool_:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise RuntimeError(f"masked_scatter(): expected a mask of dtype bool, got {got}")
    _same_dtype(input, source, "masked_scatter")
    input, mask = broadcast_tensors(input, mask)
    if isinstance(mask.array, np.ndarray):
        count, places = int(mask.array.sum()), (mask.array if mask.ndim else mask.array.reshape(1),)
    else:
        places = nonzero(mask.array if mask.ndim else mask.array.reshape(1))
        count = len(places[0])
    if source.numel() < count:
        raise RuntimeError(f"masked_scatter(): the mask is true {count} times, source has {source.numel()} elements")
    if not input.ndim:
        return masked_scatter(input.reshape(1), mask.reshape(1), source).reshape(())
    return IndexPut.apply(input, source.reshape(-1)[:count], index=places)


_REDUCTIONS: dict[str, Any] = {"sum": 0, "mean": 0, "prod": Prod, "amax": Amax, "amin": Amin, "max": Amax, "min": Amin}


@tensor_method(inplace=True)
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """At each place of input: the sum, prod, mean, amax or amin of what src has for it (and of what stood there)."""
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"scatter_reduce(): reduce must be sum, prod, mean, amax or amin, got {reduce!r}")
    k = _index_array(index, input, "scatter_reduce")
    d = read_dim(dim, input.ndim)
    k = _check_along(input, d, k, "scatter_reduce", False)
    _same_dtype(input, src, "scatter_reduce")
    _check_source(k, src, "scatter_reduce")
    if not input.ndim:
        row, k, src = input.reshape(1), index.reshape(-1), src.reshape(-1)
        return scatter_reduce(row, 0, k, src, reduce, include_self=include_self).reshape(())
    if not k.size:
        return input.clone()
    xp, kind = input.xp, input.array.dtype
    src = src[tuple(slice(n) for n in k.shape)]
    if reduce in ("sum", "mean"):
        ones = wrap(xp.ones(k.shape))
        count = ScatterSum.apply(ones, index=k, axis=d, shape=input.array.shape).array
        kept = input if include_self else where(wrap(count > 0), 0, input)
        y = (kept + ScatterSum.apply(src, index=k, axis=d, shape=input.array.shape)).to(input.dtype)
        if reduce == "sum":
            return y
        count = wrap(xp.maximum(count + 1 if include_self else count, 1).astype(kind))
        return y / count if kind in dtypes.FLOATING else y // count
    return _reduce_rows(input, d, k, src, reduce, include_self)


def _reduce_rows(input: Tensor, d: int, k: Any, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    """Each place that is written to becomes a row of a table of its elements, filled up with the neutral one; the rows
    are reduced by the ordinary reduction, with its gradient, and written back."""
    xp, kind = input.xp, input.array.dtype
    numbers = wrap(xp.arange(input.array.size).reshape(input.array.shape))
    places = gather(numbers, d, wrap(k)).array.reshape(-1)  # of each element of src: its place in the flat input
    order = xp.argsort(places, kind="stable")
    places = places[order]
    first = xp.concatenate([xp.ones(1, dtype=bool), places[1:] != places[:-1]])
    (starts,), row = nonzero(first), xp.cumsum(first.astype(xp.int64)) - 1
    column = xp.arange(len(places)) - starts[row]
    neutral = input.array.size + src.array.size
    table = xp.full((len(starts), host(column.max()) + 2), neutral, dtype=xp.int64)
    table[row, column + 1] = order + input.array.size
    if include_self:
        table[:, 0] = places[starts]
    limits = (-float("inf"), float("inf")) if kind in dtypes.FLOATING else (False, True)
    if kind.kind in "iu":
        limits = xp.iinfo(kind).min, xp.iinfo(kind).max
    fill = 1 if reduce == "prod" else limits[0] if reduce in ("amax", "max") else limits[1]
    elements = cat([input.reshape(-1), src.reshape(-1), wrap(xp.full(1, fill, dtype=kind))])
    reduced = _REDUCTIONS[reduce].apply(Index.apply(elements, index=(table,)), axis=1)
    y = IndexPut.apply(input.reshape(-1), reduced.to(input.dtype), index=(places[starts],))
    return y.reshape(input.shape)
