"""Shapes: the same elements in another arrangement. A permutation's gradient is the inverse permutation.  Lesson 02.

Ops marked `view = True` share memory with their input where NumPy can, as PyTorch's do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.engine import Op
from ..backend.devices import to_numpy
from ..backend.dtypes import BFLOAT16
from ..tensor import Size, Tensor, wrap
from ._method import read_dim, read_dims, read_shape, tensor_method, unbroadcast
from .arithmetic import Clone


class Reshape(Op):
    """y = x's elements, in order, in another shape.           dx = dy in x's shape      Lesson 02."""

    promote, view = None, True

    def forward(self, x, *, shape):
        self.save(x.shape)
        return x.reshape(shape)

    def backward(self, dy):
        (shape,) = self.saved
        return dy.reshape(shape)


class Permute(Op):
    """y = x with its axes in another order.                   dx = dy with the order undone      Lesson 02."""

    promote, view = None, True

    def forward(self, x, *, axes):
        self.save(axes)
        return x.transpose(axes)

    def backward(self, dy):
        (axes,) = self.saved
        inverse = sorted(range(len(axes)), key=axes.__getitem__)
        return dy.transpose(tuple(inverse))


class BroadcastTo(Op):
    """y = x repeated without a copy.                          dx = dy summed over the repetitions      Lesson 02."""

    promote, view = None, True

    def forward(self, x, *, shape):
        self.save(x.shape)
        if math.prod(shape) == x.size:  # nothing is repeated: the result may be written to
            return x.reshape(shape)
        return self.xp.broadcast_to(x, shape)

    def backward(self, dy):
        (shape,) = self.saved
        return unbroadcast(dy, shape)


class Diagonal(Op):
    """y_i = x_{i, i+offset}.                                  dx = dy on that diagonal, 0 elsewhere"""

    promote, view = None, True

    def forward(self, x, *, offset, axis1, axis2):
        self.save(x.shape, offset, axis1, axis2)
        y = self.xp.diagonal(x, offset, axis1, axis2)
        if hasattr(y, "setflags") and x.flags.writeable:
            y.setflags(write=True)  # NumPy is cautious; the memory is x's and may be written
        return y

    def backward(self, dy):
        shape, offset, axis1, axis2 = self.saved
        return self.run(PutDiagonal, dy, shape=shape, offset=offset, axis1=axis1, axis2=axis2)


class PutDiagonal(Op):
    """y = zeros with x on a diagonal.                         dx = that diagonal of dy"""

    promote = None

    def forward(self, x, *, shape, offset, axis1, axis2):
        self.save(offset, axis1, axis2)
        y = self.xp.zeros(shape, x.dtype)
        i = self.xp.arange(x.shape[-1])
        target = self.xp.moveaxis(y, (axis1, axis2), (-2, -1))
        target[..., i + max(-offset, 0), i + max(offset, 0)] = x
        return y

    def backward(self, dy):
        offset, axis1, axis2 = self.saved
        return self.run(Diagonal, dy, offset=offset, axis1=axis1, axis2=axis2)


class Window(Op):
    """y_{i, k} = x_{i step + k} along an axis: overlapping windows. dx_j = sum of dy over the windows that hold j"""

    promote, view = None, True

    def forward(self, x, *, axis, size, step):
        self.save(x.shape, axis, size, step)
        windows = self.xp.lib.stride_tricks.sliding_window_view(x, size, axis=axis)
        return windows[(slice(None),) * axis + (slice(None, None, step),)]

    def backward(self, dy):
        shape, axis, size, step = self.saved
        from .index import IndexAdd

        count = dy.shape[axis]
        where = (self.xp.arange(count)[:, None] * step + self.xp.arange(size)).reshape(-1)
        dy = self.xp.moveaxis(self.xp.moveaxis(dy, -1, 0), axis + 1, 0)  # (count, size, rest)
        rest = shape[:axis] + shape[axis + 1 :]
        dx = self.run(IndexAdd, dy.reshape((count * size, *rest)), index=where, shape=(shape[axis], *rest))
        return self.xp.moveaxis(dx, 0, axis)


class Flip(Op):
    """y = x in reverse order along some axes.                 dx = dy in reverse order"""

    promote = None

    def forward(self, x, *, axis):
        self.save(axis)
        return self.xp.flip(x, axis).copy("K")

    def backward(self, dy):
        (axis,) = self.saved
        return self.run(Flip, dy, axis=axis)


class Roll(Op):
    """y_{(i + shift) mod n} = x_i.                            dx_i = dy_{(i + shift) mod n}"""

    contiguous = True
    promote = None

    def forward(self, x, *, shift, axis):
        self.save(shift, axis)
        return self.xp.roll(x, shift, axis)

    def backward(self, dy):
        shift, axis = self.saved
        return self.run(Roll, dy, shift=tuple(-s for s in shift) if isinstance(shift, tuple) else -shift, axis=axis)


class Concatenate(Op):
    """y = the inputs one after the other along an axis.       dx_k = its own part of dy"""

    contiguous = True

    def forward(self, *xs, axis):
        self.save(axis, [x.shape[axis] for x in xs])
        return self.xp.concatenate(xs, axis)

    def backward(self, dy):
        axis, lengths = self.saved
        grads, start = [], 0
        for need, n in zip(self.needs, lengths):
            grads.append(dy[(slice(None),) * axis + (slice(start, start + n),)] if need else None)
            start += n
        return tuple(grads)


class Stack(Op):
    """y = the inputs side by side along a new axis.           dx_k = dy's k-th slice"""

    contiguous = True

    def forward(self, *xs, axis):
        self.save(axis)
        if axis == xs[0].ndim:
            return self.xp.stack(xs, axis)
        # the same numbers in the same order, in one call for all inputs
        shape = xs[0].shape
        return self.xp.concatenate(xs, axis).reshape(*shape[:axis], len(xs), *shape[axis:])

    def backward(self, dy):
        (axis,) = self.saved
        return tuple(dy[(slice(None),) * axis + (k, Ellipsis)] if need else None for k, need in enumerate(self.needs))


class Unbind(Op):
    """y_k = x's k-th slice along an axis.                     dx = the dy_k side by side"""

    promote, view = None, True

    def forward(self, x, *, axis):
        self.save(axis)
        return tuple([x[(slice(None),) * axis + (k, Ellipsis)] for k in range(x.shape[axis])])

    def backward(self, *dys):
        (axis,) = self.saved
        return self.xp.stack(dys, axis)


class Split(Op):
    """y_k = the k-th part of x along an axis.                 dx = the dy_k one after the other"""

    promote, view = None, True

    def forward(self, x, *, lengths, axis):
        self.save(axis)
        parts, start = [], 0
        for n in lengths:
            parts.append(x[(slice(None),) * axis + (slice(start, start + n),)])
            start += n
        return tuple(parts)

    def backward(self, *dys):
        (axis,) = self.saved
        return self.xp.concatenate(dys, axis)


class Triangle(Op):
    """y = the lower (tril) or upper (triu) triangle of x, zeros elsewhere.      dx = the same triangle of dy"""

    contiguous = True
    promote = None

    def forward(self, x, *, k, upper):
        self.save(k, upper)
        bits = x.view("uint16") if x.dtype == BFLOAT16 else x  # of bfloat16, which CuPy's functions do not take
        return (self.xp.triu if upper else self.xp.tril)(bits, k).view(x.dtype)

    def backward(self, dy):
        k, upper = self.saved
        return self.run(Triangle, dy, k=k, upper=upper)


# --- public functions ------------------------------------------------------------------------------------------------


def _resolve(shape: tuple, size: int, name: str) -> tuple:
    """Puts the length in that -1 stands for."""
    if any(n < -1 for n in shape):
        raise RuntimeError(f"{name}: invalid shape dimension in {shape}")
    if shape.count(-1) > 1:
        raise RuntimeError(f"{name}: only one dimension can be inferred, got {shape}")
    known = math.prod(n for n in shape if n != -1)
    if -1 in shape:
        if known == 0:
            raise RuntimeError(f"{name}: cannot tell the size of dimension -1 for shape {shape}: any would do")
        if size % known == 0:
            return tuple(size // known if n == -1 else n for n in shape)
    elif known == size:
        return shape
    raise RuntimeError(f"{name}: shape '{list(shape)}' is invalid for input of size {size}")


@tensor_method
def reshape(input, *shape):
    """The same elements in another shape; one length may be -1. A view where possible, else a copy."""
    shape = _resolve(read_shape(shape, "reshape"), input.array.size, "reshape")
    return Reshape.apply(input, shape=shape)


@tensor_method
def view(self, *shape, size=None):
    """As `reshape`, but never a copy: an error where the memory layout does not allow a view. Also view(dtype)."""
    from ..backend.dtypes import dtype

    shape = shape if size is None else (size,)
    if len(shape) == 1 and isinstance(shape[0], dtype):
        if self.requires_grad:
            raise RuntimeError("view(dtype): not possible for a tensor that requires gradients")
        return wrap(self.array.view(shape[0].numpy))
    shape = _resolve(read_shape(shape, "view"), self.array.size, "view")
    out = Reshape.apply(self, shape=shape)
    if out._base is None and self.array.size:
        raise RuntimeError(
            "view: view size is not compatible with input tensor's size and stride (at least one dimension spans across "
            "two contiguous subspaces). Use .reshape(...) instead"
        )
    return out


@tensor_method
def view_as(self, other):
    """self.view(other.shape)."""
    return view(self, other.shape)


@tensor_method
def reshape_as(self, other):
    """self.reshape(other.shape)."""
    return reshape(self, other.shape)


@tensor_method
def permute(input, *dims):
    """The axes in another order."""
    dims = read_shape(dims, "permute")
    axes = tuple(read_dim(d, input.ndim) for d in dims)
    if sorted(axes) != list(range(input.ndim)):
        raise RuntimeError(f"permute: {dims} is not an order of the {input.ndim} dimensions of the tensor")
    return Permute.apply(input, axes=axes)


@tensor_method
def transpose(input, dim0, dim1):
    """Two axes exchanged."""
    axes = list(range(input.ndim))
    a, b = read_dim(dim0, input.ndim), read_dim(dim1, input.ndim)
    if axes:
        axes[a], axes[b] = b, a
    return Permute.apply(input, axes=tuple(axes))


@tensor_method
def t(input):
    """The transpose of a matrix; vectors and 0-d tensors as they are."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return Permute.apply(input, axes=tuple(reversed(range(input.ndim))))


Tensor.T = property(lambda self: Permute.apply(self, axes=tuple(reversed(range(self.ndim)))))  # type: ignore[attr-defined]
Tensor.mT = property(lambda self: transpose(self, -2, -1))  # type: ignore[attr-defined]


@tensor_method
def movedim(input, source, destination):
    """Axes moved to other places, the others in order around them."""
    source = [read_dim(d, input.ndim) for d in (source if isinstance(source, (tuple, list)) else (source,))]
    target = [
        read_dim(d, input.ndim) for d in (destination if isinstance(destination, (tuple, list)) else (destination,))
    ]
    if len(source) != len(target) or len(set(source)) != len(source) or len(set(target)) != len(target):
        raise RuntimeError(f"movedim: source {source} and destination {target} must name as many distinct dimensions")
    axes = [d for d in range(input.ndim) if d not in source]
    for d, s in sorted(zip(target, source)):
        axes.insert(d, s)
    return Permute.apply(input, axes=tuple(axes[: input.ndim]))


@tensor_method
def flatten(input, start_dim=0, end_dim=-1):
    """Dimensions start_dim to end_dim made one."""
    if not input.ndim:
        return reshape(input, 1)
    a, b = read_dim(start_dim, input.ndim), read_dim(end_dim, input.ndim)
    if a > b:
        raise RuntimeError(f"flatten() has invalid args: start_dim {start_dim} cannot come after end_dim {end_dim}")
    shape = input.array.shape
    return input if a == b else reshape(input, shape[:a] + (math.prod(shape[a : b + 1]),) + shape[b + 1 :])


@tensor_method
def ravel(input):
    """All elements in one dimension."""
    return flatten(input)


@tensor_method
def unflatten(input, dim, sizes):
    """One dimension made several."""
    d = read_dim(dim, input.ndim)
    sizes = _resolve(tuple(sizes), input.array.shape[d], "unflatten")
    return reshape(input, input.array.shape[:d] + sizes + input.array.shape[d + 1 :])


@tensor_method
def squeeze(input, dim=None):
    """Without the dimensions of length 1, or without those of `dim` that have length 1."""
    shape = input.array.shape
    dims = (
        range(input.ndim)
        if dim is None
        else [read_dim(d, input.ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    )
    return Reshape.apply(input, shape=tuple(n for d, n in enumerate(shape) if n != 1 or d not in dims))


@tensor_method
def unsqueeze(input, dim):
    """With a new dimension of length 1 at `dim`."""
    d = read_dim(dim, input.ndim + 1)
    return Reshape.apply(input, shape=input.array.shape[:d] + (1,) + input.array.shape[d:])


for _name in ("squeeze", "unsqueeze", "transpose", "t"):

    def _rearranged_in_place(self, *args, _name=_name):
        if self.requires_grad or self._base is not None:
            raise RuntimeError(f"{_name}_(): not possible for a view or a tensor in a graph; use {_name}()")
        self.array = globals()[_name](self.detach(), *args).array
        return self

    setattr(Tensor, _name + "_", _rearranged_in_place)


@tensor_method
def expand(input, *sizes):
    """Dimensions of length 1 repeated without a copy; -1 keeps a length; new ones come in front."""
    sizes = read_shape(sizes, "expand")
    shape = input.array.shape
    new = len(sizes) - len(shape)
    if new < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(sizes)}) must be at least the number of dimensions ({len(shape)})"
        )
    target = []
    for i, n in enumerate(sizes):
        own = shape[i - new] if i >= new else None
        if n == -1 and own is None:
            raise RuntimeError(f"expand: -1 is not allowed in the new leading dimension {i} of {sizes}")
        if own is not None and n != own and own != 1 and n != -1:
            raise RuntimeError(
                f"expand: the expanded size {n} must match the existing size {own} at dimension {i}; "
                f"target sizes {list(sizes)}, tensor sizes {list(shape)}"
            )
        target.append(own if n == -1 else n)
    return BroadcastTo.apply(input, shape=tuple(target))


@tensor_method
def expand_as(input, other):
    """input.expand(other.shape)."""
    return expand(input, other.shape)


@tensor_method
def broadcast_to(input, size):
    """As `expand`."""
    return expand(input, size)


def broadcast_shapes(*shapes):
    """The shape that tensors of these shapes are broadcast to."""
    shapes = tuple((s,) if isinstance(s, int) else s for s in shapes)
    ndim = max((len(s) for s in shapes), default=0)
    out = [1] * ndim
    for shape in shapes:
        for i, n in enumerate(reversed(tuple(shape))):
            if n != 1 and out[-1 - i] not in (1, n):
                raise RuntimeError(
                    f"Shape mismatch: objects cannot be broadcast to a single shape: {[tuple(s) for s in shapes]}"
                )
            out[-1 - i] = n if out[-1 - i] == 1 else out[-1 - i]
    return Size(out)


def broadcast_tensors(*tensors):
    """The tensors, expanded to their common shape."""
    shape = broadcast_shapes(*[t.shape for t in tensors])
    return tuple(expand(t, shape) for t in tensors)


@tensor_method
def repeat(self, *sizes):
    """The tensor laid out `sizes[d]` times along each dimension d (NumPy's tile)."""
    sizes = read_shape(sizes, "repeat")
    if len(sizes) < self.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * (len(sizes) - self.ndim) + self.array.shape
    spread = tuple(n for pair in zip(sizes, shape) for n in pair)
    x = reshape(self, tuple(n for pair in zip((1,) * len(shape), shape) for n in pair))
    return reshape(Clone.apply(expand(x, spread), order="C"), tuple(a * b for a, b in zip(sizes, shape)))


@tensor_method
def tile(input, *dims):
    """As `repeat`, with missing leading counts as 1."""
    dims = read_shape(dims, "tile")
    return repeat(input, (1,) * (input.ndim - len(dims)) + dims)


@tensor_method
def repeat_interleave(input, repeats, dim=None, *, output_size=None):
    """Each element repeated `repeats` times in a row along `dim` (flattened without one) to `output_size` elements."""
    from .creation import arange
    from .index import index_select

    if dim is None:
        input, dim = flatten(input), 0
    dim = read_dim(dim, input.ndim)
    n = input.array.shape[dim]
    counts = to_numpy(repeats.array) if isinstance(repeats, Tensor) else np.asarray(repeats)
    if counts.ndim > 1 or (counts.ndim == 1 and counts.size not in (1, n)):
        raise RuntimeError(f"repeat_interleave: expected repeats as a number or of size {n}, got shape {counts.shape}")
    if (counts < 0).any():
        raise RuntimeError("repeat_interleave: repeats can not be negative")
    places = arange(n, device=input.device).array.repeat(
        int(counts) if counts.ndim == 0 else counts.tolist() if counts.size != 1 else int(counts[0])
    )
    if output_size is not None and output_size != len(places):
        raise RuntimeError(f"repeat_interleave: output_size is {output_size}, the repeats add up to {len(places)}")
    return index_select(input, dim, wrap(places))


@tensor_method
def flip(input, *axes, dims=()):
    """In reverse order along `dims`; a copy."""
    dims = axes or (dims,)
    return Flip.apply(input, axis=read_dims(read_shape(dims, "flip"), input.ndim) or ())


@tensor_method
def fliplr(input):
    """Columns in reverse order."""
    if input.ndim < 2:
        raise RuntimeError(f"fliplr: input must be at least 2-dimensional, got {input.ndim} dimensions")
    return flip(input, 1)


@tensor_method
def flipud(input):
    """Rows in reverse order."""
    if not input.ndim:
        raise RuntimeError("flipud: input must be at least 1-dimensional, got a 0-d tensor")
    return flip(input, 0)


@tensor_method
def rot90(input, k=1, dims=(0, 1)):
    """Turned by 90 degrees k times in the plane of two dimensions, from the first towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"rot90: expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"rot90: expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (read_dim(d, input.ndim) for d in dims)
    if a == b:
        raise RuntimeError(f"rot90: expected rotation dims to be different, got {tuple(dims)}")
    k %= 4
    if k == 2:
        return flip(input, a, b)
    if k == 0:
        return input.clone()
    return flip(input, b).transpose(a, b) if k == 1 else flip(input.transpose(a, b), b)


@tensor_method
def roll(input, shifts, dims=None):
    """Shifted along `dims`, what falls off one end coming in at the other; flattened without dims."""
    if dims is None:
        return reshape(Roll.apply(flatten(input), shift=int(shifts), axis=0), input.shape)
    shifts = shifts if isinstance(shifts, (tuple, list)) else (shifts,)
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    if len(shifts) != len(dims):
        raise RuntimeError(f"roll: shifts and dimensions must align; shifts: {len(shifts)}, dims: {len(dims)}")
    return Roll.apply(input, shift=tuple(shifts), axis=tuple(read_dim(d, input.ndim) for d in dims))


def cat(tensors, dim=0):
    """The tensors one after the other along an existing dimension."""
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("cat(): expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"cat(): expected Tensor as element {i}, got {type(t).__name__}")
    kept = [t for t in tensors if t.array.shape != (0,)]  # PyTorch skips empty vectors
    if not kept or kept[0].ndim == 1:
        kept = tensors
    first = kept[0]
    if not first.ndim:
        raise RuntimeError("cat(): zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = read_dim(dim, first.ndim)
    for i, other in enumerate(kept):
        if other.array.shape == first.array.shape:
            continue
        a, b = list(first.shape), list(other.shape)
        if len(a) != len(b) or a[:dim] + a[dim + 1 :] != b[:dim] + b[dim + 1 :]:
            raise RuntimeError(
                f"cat(): sizes of tensors must match except in dimension {dim}; expected {a}, got {b} for tensor number {i}"
            )
    return Concatenate.apply(*kept, axis=dim)


def stack(tensors, dim=0):
    """The tensors one after the other along a new dimension."""
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack(): expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"stack(): expected Tensor as element {i}, got {type(t).__name__}")
        if t.array.shape != tensors[0].array.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0].shape)} at entry 0 and {list(t.shape)} at entry {i}"
            )
    return Stack.apply(*tensors, axis=read_dim(dim, tensors[0].ndim + 1))


def atleast_1d(*tensors):
    """At least one dimension. Several tensors, or a list of them, give a tuple."""
    return _each(tensors, lambda t: t if t.ndim else reshape(t, 1))


def atleast_2d(*tensors):
    """At least two dimensions, new ones in front. Several tensors, or a list of them, give a tuple."""
    return _each(tensors, lambda t: reshape(t, (1,) * (2 - t.ndim) + t.array.shape) if t.ndim < 2 else t)


def _each(tensors: tuple, change: Any) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return change(tensors[0])
    return tuple(change(t) for t in (tensors[0] if len(tensors) == 1 else tensors))


def vstack(tensors):
    """The tensors as rows, one below the other."""
    return cat([atleast_2d(t) for t in tensors], 0)


def hstack(tensors):
    """The tensors side by side."""
    tensors = [atleast_1d(t) for t in tensors]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


def dstack(tensors):
    """Behind each other, along the third dimension; vectors and matrices get it first."""
    if not len(tensors):
        raise RuntimeError("dstack: expected a non-empty list of tensors")
    return cat([t if t.ndim > 2 else atleast_2d(t).unsqueeze(-1) for t in tensors], 2)


def column_stack(tensors):
    """Vectors as columns, matrices side by side."""
    return hstack([reshape(t, (t.numel(), 1)) if t.ndim < 2 else t for t in tensors])


@tensor_method
def split_with_sizes(input, split_sizes, dim=0):
    """Parts of the given lengths along `dim`, as views."""
    dim = read_dim(dim, input.ndim)
    if sum(split_sizes) != input.array.shape[dim] or any(n < 0 for n in split_sizes):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {input.array.shape[dim]} (input tensor's size at "
            f"dimension {dim}), but got split_sizes={list(split_sizes)}"
        )
    return Split.apply(input, lengths=tuple(split_sizes), axis=dim)


@tensor_method
def split(tensor, split_size, dim=0):
    """Parts of `split_size` along `dim` (the last may be shorter), or of the lengths in a list."""
    if isinstance(split_size, (list, tuple)):
        return split_with_sizes(tensor, split_size, dim)
    if not tensor.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = read_dim(dim, tensor.ndim)
    n = tensor.array.shape[d]
    if split_size < 0 or (split_size == 0 and n):
        raise RuntimeError(f"split expects split_size to be positive, got {split_size}")
    lengths = [max(0, min(split_size, n - start)) for start in range(0, n, split_size or 1)] or [0]
    return split_with_sizes(tensor, lengths, d)


@tensor_method
def chunk(input, chunks, dim=0):
    """At most `chunks` parts of equal length along `dim`, the last shorter."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects chunks to be greater than 0, got: {chunks}")
    n = input.array.shape[read_dim(dim, input.ndim)]
    return split(input, -(-n // chunks), dim) if n else split_with_sizes(input, [0] * chunks, dim)


@tensor_method
def unbind(input, dim=0):
    """The slices along `dim`, without it."""
    if not input.ndim:
        raise RuntimeError("unbind: expected at least one dimension, got a 0-d tensor")
    d = read_dim(dim, input.ndim)
    return Unbind.apply(input, axis=d) if input.array.shape[d] else ()


@tensor_method
def narrow(input, dim, start, length):
    """The part [start, start + length) along `dim`, a view."""
    d = read_dim(dim, input.ndim)
    n = input.array.shape[d]
    if isinstance(start, Tensor) and (start.ndim or start.dtype.category != 1):
        raise RuntimeError(f"narrow: start must be an integer or a 0-d integer tensor, got {start.dtype} {start.shape}")
    start = int(start)
    start = start + n if start < 0 else start
    if length < 0 or not 0 <= start <= n - length:
        raise RuntimeError(f"narrow: start ({start}) + length ({length}) exceeds dimension size ({n})")
    return input[(slice(None),) * d + (slice(start, start + length),)]


@tensor_method
def select(input, dim, index):
    """The slice at `index` along `dim`, without it; a view."""
    d = read_dim(dim, input.ndim)
    n = input.array.shape[d] if input.ndim else 0
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}"
        )
    return input[(slice(None),) * d + (int(index),)]


@tensor_method
def diagonal(input, offset=0, dim1=0, dim2=1):
    """A diagonal of dimensions dim1 and dim2, as the last dimension; a view."""
    a, b = read_dim(dim1, input.ndim), read_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return Diagonal.apply(input, offset=offset, axis1=a, axis2=b)


@tensor_method
def diag(input, diagonal=0):
    """A vector as the diagonal of a matrix; the diagonal of a matrix as a vector."""
    if input.ndim == 1:
        n = input.numel() + abs(diagonal)
        return PutDiagonal.apply(input, shape=(n, n), offset=diagonal, axis1=0, axis2=1)
    if input.ndim == 2:
        return Diagonal.apply(input, offset=diagonal, axis1=0, axis2=1).clone()
    raise RuntimeError(f"diag(): supports 1D or 2D tensors, got {input.ndim}D")


@tensor_method(inplace=True)
def tril(input, diagonal=0):
    """The lower triangle of the last two dimensions, zeros above."""
    _need_matrix(input, "tril")
    return Triangle.apply(input, k=diagonal, upper=False)


@tensor_method(inplace=True)
def triu(input, diagonal=0):
    """The upper triangle of the last two dimensions, zeros below."""
    _need_matrix(input, "triu")
    return Triangle.apply(input, k=diagonal, upper=True)


def _need_matrix(input: Tensor, name: str) -> None:
    if input.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, got {input.ndim}")


@tensor_method
def unfold(self, dimension, size, step):
    """Windows of `size` every `step` along a dimension, as a new last dimension; a view."""
    if not self.ndim:
        read_dim(dimension, 0)
        return unfold(self.reshape(1), 0, size, step)[0]
    d = read_dim(dimension, self.ndim)
    if size > self.array.shape[d] or size < 1 or step < 1:
        raise RuntimeError(
            f"unfold: expected 1 <= size <= {self.array.shape[d]} and step >= 1, got size {size} and step {step}"
        )
    return Window.apply(self, axis=d, size=size, step=step)


@tensor_method
def contiguous(self, memory_format: Any = None):
    """The tensor itself if its memory is in order, else a copy that is."""
    return self if self.is_contiguous() else Clone.apply(self, order="C")
