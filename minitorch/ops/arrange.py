"""Shapes, continued: splits in parts of any number, blocks and diagonals put into matrices, products of sets."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..backend import checks, dtypes
from ..backend.devices import table, to_numpy
from ..tensor import Tensor, wrap
from ._method import read_dim, read_shape, tensor_method
from .creation import meshgrid
from .index import index_select
from .pad import pad
from .reduce import cumprod
from .shape import PutDiagonal, _each, atleast_2d, cat, diag, expand, flatten, reshape, stack

# --- public functions ------------------------------------------------------------------------------------------------


@tensor_method
def tensor_split(input, indices_or_sections, dim=0):
    """So many parts along `dim`, the first ones longer by one where it does not divide; or cut at the given indices."""
    if not input.ndim:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = read_dim(dim, input.ndim)
    n = input.shape[dim]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = to_numpy(indices_or_sections.array).tolist()
    if isinstance(indices_or_sections, int):
        sections = indices_or_sections
        if sections <= 0:
            raise RuntimeError(f"tensor_split: number of sections must be larger than 0, got {sections}")
        cuts = [i * (n // sections) + min(i, n % sections) for i in range(1, sections)]
    else:
        cuts = [slice(i).indices(n)[1] for i in indices_or_sections]
    edges = [0, *cuts, n]
    return tuple(input.narrow(dim, min(a, n), max(b - a, 0)) for a, b in itertools.pairwise(edges))


def _split_along(name: str, dim: int, least: int, doc: str) -> Any:
    def function(input, indices_or_sections):
        if input.ndim < least:
            raise RuntimeError(f"{name}: requires a tensor with at least {least} dimension, got {input.ndim}")
        axis = 0 if input.ndim == 1 else dim
        sections = indices_or_sections
        if isinstance(sections, int) and (sections <= 0 or input.shape[axis] % sections):
            raise RuntimeError(
                f"{name}: attempting to split along dimension {axis}, but the size of the dimension "
                f"{input.shape[axis]} is not divisible by the split_size {sections}"
            )
        return tensor_split(input, sections, axis)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return tensor_method(function)


hsplit = _split_along("hsplit", 1, 1, "Equal parts of the columns, or the columns cut at the given indices.")
vsplit = _split_along("vsplit", 0, 2, "Equal parts of the rows, or the rows cut at the given indices.")
dsplit = _split_along("dsplit", 2, 3, "Equal parts of the third dimension, or cut there at the given indices.")


def block_diag(*tensors):
    """A matrix with the given matrices along its diagonal, zeros elsewhere; numbers and vectors are one row."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    for i, t in enumerate(tensors):
        if t.ndim > 2:
            raise RuntimeError(f"block_diag: input tensors must have 2 or fewer dimensions; input {i} has {t.ndim}")
    blocks = [atleast_2d(t) for t in tensors]
    before, total, rows = 0, sum(b.shape[1] for b in blocks), []
    for b in blocks:
        rows.append(pad(b, (before, total - before - b.shape[1])))
        before += b.shape[1]
    return cat(rows, 0)


@tensor_method
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """The last dimension as diagonals of matrices in dimensions dim1 and dim2, zeros elsewhere."""
    a, b = read_dim(dim1, input.ndim + 1), read_dim(dim2, input.ndim + 1)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, n)
    return PutDiagonal.apply(input, shape=tuple(shape), offset=offset, axis1=a, axis2=b)


@tensor_method
def diagflat(input, offset=0):
    """All elements as the diagonal of a matrix."""
    return diag(flatten(input), offset)


def atleast_3d(*tensors):
    """At least three dimensions: (n,) becomes (1, n, 1), (n, m) becomes (n, m, 1). Several tensors give a tuple."""
    return _each(tensors, lambda t: t if t.ndim > 2 else atleast_2d(t).unsqueeze(-1))


def cartesian_prod(*tensors):
    """All combinations of an element of each vector, one row each; of one vector itself."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"cartesian_prod: expect a 1D vector, but got shape {list(t.shape)}")
    return tensors[0] if len(tensors) == 1 else stack([flatten(g) for g in meshgrid(*tensors, indexing="ij")], 1)


def combinations(input, r=2, with_replacement=False):
    """All choices of r elements of a vector, in order, one row each."""
    if input.ndim != 1:
        raise RuntimeError(f"combinations: expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"combinations: expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty(0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(len(input)), r)), dtype=np.int64).reshape(-1, r)
    index = wrap(table(input.xp, rows.reshape(-1)))
    return reshape(index_select(input, 0, index), rows.shape)


def vander(x, N=None, *, increasing=False):
    """The powers of each element: x^(N-1), ..., x, 1, or from 1 on.      x (..., n)     result (..., n, N)"""
    N = x.shape[-1] if N is None else N
    if N < 0:
        raise RuntimeError(f"vander: N must be non-negative, got {N}")
    x = x if x.dtype.is_floating_point else x.to(dtypes.int64)
    one = x.new_ones((*x.shape, min(N, 1)))
    powers = cumprod(cat([one, expand(x.unsqueeze(-1), (*x.shape, max(N - 1, 0)))], -1), -1)
    return powers if increasing else powers.flip(-1)


def unravel_index(indices, shape):
    """Places in the flattened order of `shape` as one index for each dimension."""
    if indices.dtype.category != 1:
        raise TypeError(f"unravel_index: expected integer indices, got {indices.dtype}")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    rest, found = indices.to(dtypes.int64), []
    checks.in_range(
        indices.array, 0, math.prod(shape), f"unravel_index: indices out of bounds for shape {shape}", ValueError
    )
    for n in reversed(shape):
        found.append(rest % n)
        rest = rest // n
    return tuple(reversed(found))


def _with_part(input: Tensor, part: Any, src: Tensor, name: str) -> Tensor:
    """A copy of input, in which the part that `part` takes out is src."""
    y = input.clone()
    place = part(y)
    if place.shape != src.shape:
        raise RuntimeError(f"{name}: expected src of shape {list(place.shape)}, got {list(src.shape)}")
    place.copy_(src)
    return y


@tensor_method
def select_scatter(input, src, dim, index):
    """input with src as its slice at `index` along `dim`."""
    return _with_part(input, lambda y: y.select(dim, index), src, "select_scatter")


@tensor_method
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """input with src as its part [start:end:step] along `dim`."""
    d = read_dim(dim, input.ndim)
    place = (slice(None),) * d + (slice(start, end, step),)
    return _with_part(input, lambda y: y[place], src, "slice_scatter")


@tensor_method
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """input with src as a diagonal of dimensions dim1 and dim2."""
    return _with_part(input, lambda y: y.diagonal(offset, dim1, dim2), src, "diagonal_scatter")


@tensor_method
def sum_to_size(self, *size):
    """The sum over the dimensions in which `size` is 1, or which it lacks: what broadcasting had repeated."""
    size = read_shape(size, "sum_to_size")
    shape = tuple(self.shape)
    extra = len(shape) - len(size)
    if extra < 0 or any(n not in (1, m) for n, m in zip(size, shape[extra:])):
        raise RuntimeError(f"sum_to_size: size {list(size)} is not expandable to size {list(shape)}")
    if not size:
        return self.sum()
    dims = [d for d in range(len(shape)) if d < extra or (size[d - extra] == 1 != shape[d])]
    return reshape(self.sum(tuple(dims)) if dims else self, size)
