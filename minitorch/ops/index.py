"""Indexing: reading, writing, gathering, scattering. What was read k times gets k gradients, added.   Lesson 02.

Reading and scattering are each other's transposes: each is the other's gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import views
from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import checks, devices, dtypes
from ..backend.devices import to_device, to_numpy
from ..backend.scatter import add_at
from ..tensor import Tensor, wrap
from ._method import constant, in_order_of, read_dim, tensor_method, unbroadcast
from .arithmetic import Cast, Clone


class Slice(Op):
    """y = x[index] for integers, slices, None and Ellipsis: a view.     dx = zeros with dy at the index

    Lesson 02.
    """

    promote, view = None, True

    def forward(self, x, *, index):
        self.save(index, x.shape)
        y = x[index]
        return y if isinstance(y, type(x)) else x[index + (Ellipsis,)]  # NumPy would make a scalar of one element

    def backward(self, dy):
        index, shape = self.saved
        return self.run(PutSlice, dy, index=index, shape=shape)


class PutSlice(Op):
    """y = zeros with x at the index.          dx = dy[index]"""

    promote = None

    def forward(self, x, *, index, shape):
        self.save(index)
        y = self.xp.zeros(shape, x.dtype)
        y[index] = x
        return y

    def backward(self, dy):
        (index,) = self.saved
        return self.run(Slice, dy, index=index)


class Index(Op):
    """y = x[index] with arrays in the index: a copy.                    dx = zeros, dy added at the index"""

    promote = None

    def forward(self, x, *, index):
        self.save(index, x.shape)
        return x[index]

    def backward(self, dy):
        index, shape = self.saved
        return self.run(IndexAdd, dy, index=index, shape=shape)


class IndexAdd(Op):
    """y = zeros, x added at the index: y[index] += x, repetitions counted.          dx = dy[index]"""

    promote = None

    def forward(self, x, *, index, shape):
        self.save(index)
        y = self.xp.zeros(shape, x.dtype)
        add_at(y, index, x, self.xp)
        return y

    def backward(self, dy):
        (index,) = self.saved
        return self.run(Index, dy, index=index)


class IndexPut(Op):
    """y = x with v at the index (the last of several wins).             dx = dy, 0 at the index;  dv = dy[index]

    With repeated places and a gradient for v the winner is not defined, as in PyTorch: every one of them gets dy.
    """

    promote = None

    def forward(self, x, v, *, index):
        self.save(index, v.shape, x.shape)
        y = x.copy()
        y[index] = v
        return y

    def backward(self, dy):
        index, v_shape, shape = self.saved
        dx = None
        if self.needs[0]:
            keep = self.xp.ones(shape, dtype=dy.dtype)
            dx = dy * _zeroed(keep, index)
        return dx, (unbroadcast(self.run(Index, dy, index=index), v_shape) if self.needs[1] else None)


def _zeroed(array: Any, index: Any) -> Any:
    array[index] = 0
    return array


class WriteView(Op):
    """The base of a view after the view was written: y = x with v where the view looks.  autograd/views.py

    dx = dy, 0 where the view looks;  dv = the view's part of dy. The memory holds y already.
    """

    promote = None

    def forward(self, x, v, *, chain):
        self.save(chain, x.shape)
        return x

    def backward(self, dy):
        chain, shape = self.saved
        keep = self.xp.ones(shape, dtype=dy.dtype)
        views.run_chain(keep, self.xp, chain)[...] = 0
        dv = dy
        for op, options in chain:
            dv = self.run(op, dv, **options)
        return dy * keep, dv


class Gather(Op):
    """y_{..i..} = x_{..index_{..i..}..} along an axis.                  dx = zeros, dy added at the index"""

    promote = None

    def forward(self, x, *, index, axis):
        self.save(index, axis, x.shape)
        return x[_along(self.xp, index, axis)]

    def backward(self, dy):
        index, axis, shape = self.saved
        return self.run(ScatterSum, dy, index=index, axis=axis, shape=shape)


class ScatterSum(Op):
    """y = zeros, x_{..i..} added at index_{..i..} along an axis.        dx_{..i..} = dy_{..index_{..i..}..}"""

    promote = None

    def forward(self, x, *, index, axis, shape):
        self.save(index, axis)
        y = self.xp.zeros(shape, x.dtype)
        part = x[tuple(slice(n) for n in index.shape)]
        add_at(y, _along(self.xp, index, axis), part, self.xp)
        if part.shape != x.shape:
            self.save(index, axis, x.shape)
        return y

    def backward(self, dy):
        index, axis, *larger = self.saved
        dx = self.run(Gather, dy, index=index, axis=axis)
        if larger:  # what the index did not reach of x has no gradient
            dx = self.run(PutSlice, dx, index=tuple(slice(n) for n in index.shape), shape=larger[0])
        return dx


class Scatter(Op):
    """y = x with v_{..i..} at index_{..i..} along an axis.              dx = dy, 0 at the index;  dv = dy there"""

    promote = None

    def forward(self, x, v, *, index, axis):
        self.save(index, axis, x.shape, v.shape)
        y = x.copy()
        y[_along(self.xp, index, axis)] = v[tuple(slice(n) for n in index.shape)]
        return y

    def backward(self, dy):
        index, axis, shape, v_shape = self.saved
        keep = _zeroed(self.xp.ones(shape, dtype=dy.dtype), _along(self.xp, index, axis))
        dv = self.run(Gather, dy, index=index, axis=axis)
        if v_shape != index.shape:
            dv = self.run(PutSlice, dv, index=tuple(slice(n) for n in index.shape), shape=v_shape)
        return dy * keep, dv


def _along(xp: Any, index: Any, axis: int) -> tuple:
    """The index tuple that reads `index` along `axis` and each other axis at its own place."""
    n = index.ndim
    return tuple(
        index if a == axis else xp.arange(index.shape[a]).reshape((1,) * a + (-1,) + (1,) * (n - a - 1))
        for a in range(n)
    )


class Sort(Op):
    """(values, indices) in order along an axis, equal elements in their old order (stable).   dx = dy put back"""

    promote = None

    def forward(self, x, *, axis, descending):
        xp = self.xp
        if not x.ndim:
            k = xp.zeros((), dtype=np.int64)
        elif descending:  # of the reversed array, so that equal elements keep their order; NaN comes first
            flipped = xp.flip(dtypes.ordered(x), axis)
            k = xp.flip(x.shape[axis] - 1 - xp.argsort(flipped, axis=axis, kind="stable"), axis)
        else:
            k = xp.argsort(dtypes.ordered(x), axis=axis, kind="stable")
        y = x[_along(xp, k, axis)] if x.ndim else x.copy()
        if not x.flags.c_contiguous:  # in memory as x is
            y, k = (in_order_of(x, a) for a in (y, k))
        self.save(k, axis, x.shape)
        return y, k

    def backward(self, dy, dk):
        k, axis, shape = self.saved
        return self.run(ScatterSum, dy, index=k, axis=axis, shape=shape) if len(shape) else dy


# --- reading and writing with brackets -------------------------------------------------------------------------------


def _parse(x: Tensor, index: Any) -> tuple[tuple, tuple | None]:
    """PyTorch's index as two steps: integers, slices, None and Ellipsis first (a view), then the arrays.

    NumPy takes integers for arrays, and moves their axes to the front when a slice stands between; PyTorch does not.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    items = [_item(i, x) for i in items]
    used = sum(1 if isinstance(i, (int, slice)) else i.ndim if _is_mask(i) else 1 if _is_array(i) else 0 for i in items)
    if used > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if not any(_is_array(i) for i in items):
        _check_range(items, x, used)
        return tuple(items), None
    if Ellipsis not in [i for i in items if not _is_array(i)]:
        items.append(Ellipsis)
    at = next(n for n, i in enumerate(items) if i is Ellipsis)
    items[at : at + 1] = [slice(None)] * (x.ndim - used)
    basic: list = []
    advanced: list = []
    axis = 0
    for i in items:
        if _is_mask(i) and i.shape != x.array.shape[axis : axis + i.ndim]:
            raise IndexError(
                f"the shape of the mask {list(i.shape)} does not match the shape of the indexed tensor {list(x.shape)}, "
                f"from dimension {axis} on"
            )
        if _is_array(i) and not _is_mask(i):
            i = _check_index(i, axis, x.array.shape[axis])
        axis += 0 if i is None else i.ndim if _is_mask(i) else 1
        if _is_mask(i) and i.ndim == 0:  # x[True]: a new axis of length 1, or 0
            basic.append(None)
            advanced.extend(_places(i.reshape(1)))
        elif _is_array(i):
            count = i.ndim if _is_mask(i) else 1
            basic.extend([slice(None)] * count)
            advanced.extend(_places(i) if _is_mask(i) else (i,))
        else:
            basic.append(i)
            if not isinstance(i, int):
                advanced.append(slice(None))
    while advanced and isinstance(advanced[-1], slice):
        advanced.pop()
    return tuple(basic), tuple(advanced)


def _check_index(index: Any, axis: int, n: int) -> Any:
    """CuPy would take an index that is out of range round the end, so the check cannot be left to the library."""
    return checks.in_range(index, -n, n, f"index {{}} is out of bounds for dimension {axis} with size {n}", IndexError)


def _places(mask: Any) -> tuple:
    """A mask as an index: NumPy takes it as it is; elsewhere the places are found once, and not again for the gradient."""
    if isinstance(mask, np.ndarray):
        return (mask,)
    return devices.nonzero(mask)


def _item(i: Any, x: Tensor) -> Any:
    if isinstance(i, Tensor):
        if i.dtype.is_floating_point:
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {i.dtype}")
        if i.dtype is dtypes.uint8:
            i = i != 0
        if i.ndim == 0 and i.dtype is not dtypes.bool_:
            return i.item()
        array = constant(i)
        return array if type(array) is type(x.array) else to_device(to_numpy(array), x.device)
    if isinstance(i, (bool, np.bool_)):
        return x.xp.full((), bool(i))
    if isinstance(i, slice):
        start, stop, step = (None if v is None else v.__index__() for v in (i.start, i.stop, i.step))
        if step is not None and step <= 0:
            raise ValueError(f"step must be greater than zero, got {step}; minitorch.flip reverses an axis")
        return slice(start, stop, step)
    if i is None or i is Ellipsis:
        return i
    if isinstance(i, (list, tuple, range, np.ndarray)):
        array = np.asarray(
            [v.tolist() if isinstance(v, Tensor) else v for v in i] if not isinstance(i, np.ndarray) else i
        )
        if array.size == 0:
            array = array.astype(np.int64)
        if array.dtype.kind not in "biu":
            raise IndexError(f"expected integers or booleans as indices, got an array of {array.dtype}")
        return devices.table(x.xp, array)
    if hasattr(i, "__index__"):
        return i.__index__()
    raise IndexError(
        f"only integers, slices (:), ellipsis (...), None and integer or bool tensors are valid indices, got {i!r}"
    )


def _is_array(i: Any) -> bool:
    return hasattr(i, "dtype")


def _is_mask(i: Any) -> bool:
    return hasattr(i, "dtype") and i.dtype.kind == "b"


def _check_range(items: list, x: Tensor, used: int) -> None:
    if not x.ndim and used:
        raise IndexError("invalid index of a 0-dim tensor; use tensor.item() to get its number")


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]"""
    if type(index) is int:  # the commonest, without the general case's detours
        shape = x.array.shape
        if shape and -shape[0] <= index < shape[0]:
            return Slice.apply(x, index=(index,))
    basic, advanced = _parse(x, index)
    if not _changes_nothing(basic) or advanced is None:
        x = Slice.apply(x, index=basic)
    return x if advanced is None else Index.apply(x, index=advanced)


def _changes_nothing(basic: tuple) -> bool:
    return all(isinstance(i, slice) and i == slice(None) for i in basic)


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value"""
    if not isinstance(value, Tensor):
        from .creation import tensor

        value = tensor(value, dtype=x.dtype, device=x.device)
    while value.ndim and value.array.shape[0] == 1:  # leading dimensions of length 1 may be too many
        value = value[0]
    if isinstance(index, Tensor) and index.dtype is dtypes.bool_ and not value.ndim and index.device == x.device:
        shape = index.array.shape
        if x.xp is not np and shape == x.array.shape[: len(shape)]:  # without waiting to know how many places they are
            from .arithmetic import where

            mask = index.reshape(*shape, *(1,) * (x.ndim - len(shape)))
            views.write(x, where(mask, value.to(x.dtype), x), "__setitem__")
            return
    basic, advanced = _parse(x, index)
    part = Slice.apply(x, index=basic)
    if advanced is None:
        copy_(part, value)
        return
    value = value.to(x.dtype)
    if value.device != x.device and not value.ndim:
        value = value.to(x.device)
    views.write(part, IndexPut.apply(part, value, index=advanced), "__setitem__")


def copy_(self, src, non_blocking=False):
    """Writes src's numbers, broadcast and converted to self's dtype and device, into self."""
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'src' must be Tensor, not {type(src).__name__}")
    from .shape import expand

    source = src.to(self.device) if src.device != self.device else src
    source = Cast.apply(source, dtype=self.array.dtype) if source.dtype is not self.dtype else source
    if source.shape != self.shape:
        source = expand(source, self.shape)
    elif (
        source._requires_grad or np.may_share_memory(source.array, self.array)
        if isinstance(self.array, np.ndarray)
        else True
    ):
        source = Clone.apply(source)
    return views.write(self, source, "copy_")


tensor_method(copy_)
tensor_method(name="__getitem__")(getitem)
tensor_method(name="__setitem__")(setitem)


@tensor_method
def fill_(self, value):
    """Every element becomes `value`."""
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions")
    from .creation import tensor

    return copy_(self, value if isinstance(value, Tensor) else tensor(value, dtype=self.dtype, device=self.device))


@tensor_method
def zero_(self):
    """Every element becomes 0."""
    return fill_(self, 0)


# --- public functions ------------------------------------------------------------------------------------------------


def _index_array(index: Tensor, input: Tensor, name: str, empty: bool = False) -> Any:
    """empty: where nothing is indexed, any dtype will do."""
    if empty and isinstance(index, Tensor) and not index.numel():
        return index.array.astype("int64")
    if not isinstance(index, Tensor) or index.dtype not in (dtypes.int64, dtypes.int32):
        got = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise RuntimeError(f"{name}(): expected an int64 or int32 tensor for index, got {got}")
    if index.device != input.device:
        raise RuntimeError(
            f"{name}(): expected index on {input.device}, got {index.device}; move it with .to('{input.device}')"
        )
    return constant(index)


def _check_bounds(index: Any, n: int, name: str) -> Any:
    """The index, checked (backend/checks.py)."""
    message = f"{name}(): index {{}} is out of bounds for dimension with size {n}"
    return checks.in_range(index, 0, n, message, IndexError)


def _check_along(input: Tensor, dim: int, index: Any, name: str, gather: bool) -> Any:
    if (index.ndim or 1) != (input.ndim or 1) and index.size:
        raise RuntimeError(
            f"{name}(): index tensor must have the same number of dimensions as input tensor ({input.ndim}), got {index.ndim}"
        )
    for d in range(index.ndim if index.size else 0):
        if (d != dim) and index.shape[d] > input.array.shape[d] and index.size:
            raise RuntimeError(
                f"{name}(): size does not match at dimension {d}: expected index {list(index.shape)} to be no larger "
                f"than self {list(input.shape)} apart from dimension {dim}"
            )
    return _check_bounds(index, input.array.shape[dim] if input.ndim else 1, name)


@tensor_method
def gather(input, dim, index, *, sparse_grad=False):
    """out[i][j] = input[index[i][j]][j] for dim 0, and likewise along other dimensions."""
    k = _index_array(index, input, "gather", True)
    d = read_dim(dim, input.ndim)
    k = _check_along(input, d, k, "gather", True)
    if not input.ndim or not k.ndim or not k.size:
        return Gather.apply(input.reshape(-1), index=k.reshape(-1), axis=0).reshape(k.shape)
    return Gather.apply(input, index=k, axis=d)


@tensor_method
def take_along_dim(input, indices, dim=None):
    """As gather, with input and indices broadcast against each other in the other dimensions; -1 is the last."""
    if dim is None:
        return take_along_dim(input.reshape(-1), indices.reshape(-1), 0)
    from .arithmetic import where
    from .shape import broadcast_shapes, expand

    if input.ndim and not checks.known(indices.array >= 0):
        indices = where(indices < 0, indices % max(input.shape[dim], 1), indices)
    d = read_dim(dim, input.ndim)
    a, b = list(input.shape), list(indices.shape)
    a_dim, b_dim = a[d], b[d]
    a[d] = b[d] = 1
    common = list(broadcast_shapes(a, b))
    a, b = list(common), list(common)
    a[d], b[d] = a_dim, b_dim
    return gather(expand(input, a), d, expand(indices, b))


@tensor_method(inplace=True)
def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """input with src (a tensor, or a number) written at `index` along `dim`."""
    src = value if src is None else src
    if src is None:
        raise TypeError("scatter(): missing src or value")
    k = _index_array(index, input, "scatter")
    d = read_dim(dim, input.ndim)
    k = _check_along(input, d, k, "scatter", False)
    if not isinstance(src, Tensor):
        from .creation import full

        src = full(index.shape, src, dtype=input.dtype, device=input.device)
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter(): expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    _check_source(k, src, "scatter")
    if reduce == "add":
        return scatter_add(input, dim, index, src)
    if reduce == "multiply":
        return input.scatter_reduce(dim, index, src, "prod")
    if reduce is not None:
        raise RuntimeError(f"scatter(): reduce must be None, 'add' or 'multiply', got {reduce!r}")
    if not input.ndim:
        return scatter(input.reshape(1), 0, index.reshape(-1), src.reshape(-1)).reshape(())
    return Scatter.apply(input, src, index=k, axis=d)


def _check_source(index: Any, src: Tensor, name: str) -> None:
    if index.ndim != src.ndim or any(a > b for a, b in zip(index.shape, src.shape)):
        raise RuntimeError(f"{name}(): expected index {list(index.shape)} to be no larger than src {list(src.shape)}")


@tensor_method(inplace=True)
@casts
def scatter_add(input, dim, index, src):
    """input with src added at `index` along `dim`, repetitions counted."""
    k = _index_array(index, input, "scatter_add")
    d = read_dim(dim, input.ndim)
    k = _check_along(input, d, k, "scatter_add", False)
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter_add(): expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    _check_source(k, src, "scatter_add")
    if not input.ndim:
        return scatter_add(input.reshape(1), 0, index.reshape(-1), src.reshape(-1)).reshape(())
    return input + ScatterSum.apply(src, index=k, axis=d, shape=input.array.shape)


@tensor_method
def index_select(input, dim, index):
    """The slices at `index` (a vector) along `dim`."""
    k = _index_array(index, input, "index_select")
    if k.ndim > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, got {k.ndim} dimensions")
    d = read_dim(dim, input.ndim)
    k = _check_bounds(k, input.array.shape[d] if input.ndim else 1, "index_select")
    if not input.ndim:
        return Index.apply(input.reshape(1), index=(k.reshape(-1),)).reshape(())
    return Index.apply(input, index=(slice(None),) * d + (k.reshape(-1),))


@tensor_method(inplace=True)
def index_add(input, dim, index, source, *, alpha=1):
    """input with alpha * source's slices added at `index` along `dim`, repetitions counted."""
    k = _index_array(index, input, "index_add").reshape(-1)
    d = read_dim(dim, input.ndim)
    k = _check_bounds(k, input.array.shape[d] if input.ndim else 1, "index_add")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_add(): self ({input.dtype}) and source ({source.dtype}) must have the same scalar type"
        )
    if not input.ndim:
        return (input + (source * alpha).sum()).to(input.dtype)
    expected = list(input.shape)
    expected[d] = len(k)
    if list(source.shape) != expected:
        raise RuntimeError(f"index_add(): expected source of shape {expected}, got {list(source.shape)}")
    source = source if alpha == 1 else (source * alpha).to(input.dtype)
    if d == 0:
        return input + IndexAdd.apply(source, index=(k,), shape=input.array.shape)
    rows = source.movedim(d, 0)
    rest = tuple(n for a, n in enumerate(input.array.shape) if a != d)
    return input + IndexAdd.apply(rows, index=(k,), shape=(input.array.shape[d], *rest)).movedim(0, d)


@tensor_method
def masked_select(input, mask):
    """The elements where mask holds, in one dimension; input and mask are broadcast."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    from .shape import broadcast_tensors

    input, mask = broadcast_tensors(input, mask)
    k = constant(mask)
    if not input.ndim:
        input, k = input.reshape(1), k.reshape(1)
    return Index.apply(input, index=_places(k))


@tensor_method
def nonzero(input, *, as_tuple=False):
    """The places of the elements that are not zero: (count, ndim), or a tuple of vectors."""
    if input.ndim == 0 and not as_tuple:
        return wrap(input.xp.zeros((int(devices.host(input.array != 0)), 0), dtype=np.int64))
    places = devices.nonzero(input.array if input.ndim else input.array.reshape(1))
    if as_tuple:
        return tuple(wrap(p) for p in places)
    return wrap(input.xp.stack(places, 1))


@tensor_method
def sort(input, dim=-1, descending=False, stable=False):
    """(values, indices) in order along `dim`; equal elements always keep their order; NaN counts as largest."""
    from .reduce import ValuesIndices

    return ValuesIndices(*Sort.apply(input, axis=read_dim(dim, input.ndim), descending=bool(descending)))


@tensor_method
def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that sort along `dim`."""
    return sort(input, dim, descending)[1]


@tensor_method
def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest, or smallest, along `dim`."""
    d = read_dim(dim, input.ndim)
    n = input.array.shape[d] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range: topk(): expected 0 <= k <= {n}, got {k}")
    from .reduce import ValuesIndices

    if 0 < 8 * k < n and n >= 100:  # most elements need no sorting
        order = input.xp.argpartition(dtypes.ordered(input.array), n - k if largest else k - 1, axis=d)
        found = wrap(input.xp.sort(order.take(range(n - k, n) if largest else range(k), axis=d), axis=d))
        values, order = sort(input.gather(d, found), d, descending=largest)
        return ValuesIndices(values, found.gather(d, order))
    values, indices = sort(input, d, descending=largest)
    if not input.ndim:
        return values, indices

    return ValuesIndices(*(t.narrow(d, 0, k).contiguous() for t in (values, indices)))
