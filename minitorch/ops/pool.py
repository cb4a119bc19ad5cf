"""Pooling: one number for each window, its maximum or its mean.      Lesson 07."""

from __future__ import annotations

import itertools
import math
from typing import Any

from ..autograd.engine import Op
from ..backend import checks, dtypes
from ..backend.devices import table
from ..tensor import Tensor, wrap
from ._windows import batched, output_size, padded, read_sizes, taps
from .index import IndexAdd, IndexPut
from .resample import Resample


class MaxPool(Op):
    """y = the maximum of each window, and where it was found.        x: (B, C, *in)   y, where: (B, C, *out)

    y[n, c, p] = max over k of x[n, c, p stride + k dilation - padding]
    dx         = dy at the element that won, the first one of equals, added where windows overlap; 0 elsewhere

    `selectors`: for each axis, for each offset in the window, what all positions read there (a slice, or indices);
    `places`: for each axis, indices (offset, position) of the elements so read. Lesson 07.
    """

    def forward(self, x, *, selectors, places, padding, indices):
        xp, n = self.xp, len(selectors)
        lowest = -math.inf if x.dtype.kind == "f" else dtypes.iinfo(x.dtype).min
        wide = padded(xp, x, padding, lowest)
        y = where = None
        follow = indices or self.needs[0]
        for offset in itertools.product(*(range(len(s)) for s in selectors)):
            part, here = wide, 0
            for axis, k in enumerate(offset):
                part = part[(Ellipsis, selectors[axis][k], *(slice(None),) * (n - 1 - axis))]
                row = table(xp, places[axis][k], "int32").reshape((-1, *(1,) * (n - 1 - axis)))
                here = here * x.shape[2 + axis] + row
            if y is None:
                y, where = part.copy(), xp.broadcast_to(here, part.shape)
                continue
            if follow:
                where = xp.where((part > y) | (part != part), here, where)  # a NaN always wins
            y = xp.maximum(y, part)
        if follow:
            where = where.astype("int64")
            planes = xp.arange(math.prod(x.shape[:2])).reshape((*x.shape[:2], *(1,) * n)) * math.prod(x.shape[2:])
            self.save((where + planes).reshape((-1,)), x.shape)
        return (y, where) if indices else y

    def backward(self, dy, *_):
        where, shape = self.saved
        dx = self.run(IndexAdd, dy.reshape((-1,)), index=(where,), shape=(math.prod(shape),))
        return dx.reshape(shape)


class WindowSum(Op):
    """y = the sum of each window.                                    x: (B, C, *in)   y: (B, C, *out)

    y[n, c, p] = sum over k of x[n, c, p stride + k - padding];       dx = dy spread over the windows. Lesson 07.
    """

    def forward(self, x, *, kernel, stride, padding, out):
        self.save(x.shape[2:], kernel, stride, padding, out)
        x = padded(self.xp, x, padding)
        y = self.xp.zeros((*x.shape[:2], *out), x.dtype)
        for _, where in taps(kernel, stride, (1,) * len(out), out):
            y += x[(Ellipsis, *where)]
        return y

    def backward(self, dy):
        size, kernel, stride, padding, out = self.saved
        return self.run(WindowSpread, dy, size=size, kernel=kernel, stride=stride, padding=padding, out=out)


class WindowSpread(Op):
    """y = x added to every element of its window.                    x: (B, C, *out)   y: (B, C, *size)

    y[n, c, i] = sum over the windows p that hold i of x[n, c, p];    dx = the sums of dy over the windows.
    """

    def forward(self, x, *, size, kernel, stride, padding, out):
        self.save(kernel, stride, padding, out)
        y = self.xp.zeros((*x.shape[:2], *(n + a + b for n, (a, b) in zip(size, padding))), x.dtype)
        for _, where in taps(kernel, stride, (1,) * len(out), out):
            y[(Ellipsis, *where)] += x
        return y[(Ellipsis, *(slice(a, a + n) for n, (a, _) in zip(size, padding)))]

    def backward(self, dy):
        kernel, stride, padding, out = self.saved
        return self.run(WindowSum, dy, kernel=kernel, stride=stride, padding=padding, out=out)


# --- public functions ------------------------------------------------------------------------------------------------


def _geometry(
    name: str, x: Tensor, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple:
    """(kernel, stride, padding, dilation, output sizes); with ceil_mode the last window may hang over the end."""
    kernel = read_sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None or stride == [] or stride == () else read_sizes(stride, n, f"{name}: stride")
    padding = read_sizes(padding, n, f"{name}: padding", 0)
    dilation = read_sizes(dilation, n, f"{name}: dilation")
    for k, p, d in zip(kernel, padding, dilation):
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"{name}: pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                f"dilation={d}"
            )
    out = []
    for i, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation):
        size = output_size(i, k, s, (p, p + (s - 1 if ceil_mode else 0)), d)
        out.append(size - 1 if ceil_mode and (size - 1) * s >= i + p else size)  # no window lies in the padding alone
    if min(out) < 1 or 0 in x.shape[1:]:
        raise RuntimeError(
            f"{name}: given input size {list(x.shape[1:])}, kernel_size {kernel} and stride {stride}, calculated "
            f"output size {out}: "
            "it is too small"
        )
    return kernel, stride, padding, dilation, tuple(out)


def _reach(size: int, kernel: int, stride: int, padding: int, dilation: int, out: int) -> tuple:
    """The padding (before, after) that all windows need."""
    return padding, max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - size - padding)


def _max_pool(name: str, n: int, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    import numpy as np

    x, had_batch = batched(name, input, n)
    geometry = _geometry(name, x, n, kernel_size, stride, padding, dilation, ceil_mode)
    reach = tuple(_reach(*a) for a in zip(x.shape[2:], *geometry))
    selectors, places = [], []
    for i, k, s, p, d, out in zip(x.shape[2:], *geometry):
        selectors.append(tuple(slice(j * d, j * d + s * (out - 1) + 1, s) for j in range(k)))
        at = np.arange(out) * s + np.arange(k)[:, None] * d - p  # (offset, position)
        inside = (at >= 0) & (at < i)
        first, last = inside.argmax(0), k - 1 - inside[::-1].argmax(0)
        places.append(np.take_along_axis(at, np.clip(np.arange(k)[:, None], first, last), 0))  # padding cannot win
    y = MaxPool.apply(x, selectors=tuple(selectors), places=tuple(places), padding=reach, indices=bool(return_indices))
    return _unbatched(y, had_batch)


def _unbatched(y, had_batch: bool):
    """The result, or the results, without the batch axis that the input had not."""
    if had_batch:
        return y
    return tuple(t.squeeze(0) for t in y) if isinstance(y, tuple) else y.squeeze(0)


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window of (B, C, L) or (C, L); with return_indices also where it stands in its row."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window of (B, C, H, W) or (C, H, W); with return_indices also where it stands there."""
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window of (B, C, D, H, W) or (C, D, H, W)."""
    return _max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_unpool(name: str, n: int, input, indices, kernel_size, stride, padding, output_size):
    x, had_batch = batched(name, input, n)
    if indices.dtype is not dtypes.int64 or indices.shape != input.shape:
        raise RuntimeError(
            f"{name}: expected int64 indices of the input's shape {list(input.shape)}, got {indices.dtype} of "
            f"{list(indices.shape)}"
        )
    kernel = read_sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None else read_sizes(stride, n, f"{name}: stride")
    padding = read_sizes(padding, n, f"{name}: padding", 0)
    default = [(i - 1) * s - 2 * p + k for i, s, p, k in zip(x.shape[2:], stride, padding, kernel)]
    size = default if output_size is None else list(output_size)[-n:]
    if any(not d - s < o < d + s for d, o, s in zip(default, size, stride)):
        raise ValueError(f"{name}: invalid output_size {size}: each must lie within one stride {stride} of {default}")
    xp, plane = x.xp, math.prod(size)
    where = (indices if had_batch else indices.unsqueeze(0)).array.reshape((*x.shape[:2], -1))
    message = f"{name}: found an invalid max index: expected 0 to {plane - 1} for output size {size}, got {{}}"
    where = checks.in_range(where, 0, plane, message, RuntimeError)
    where = where + xp.arange(math.prod(x.shape[:2])).reshape((*x.shape[:2], 1)) * plane
    zeros = wrap(xp.zeros(math.prod(x.shape[:2]) * plane, x.array.dtype))
    y = IndexPut.apply(zeros, x.reshape(-1), index=(where.reshape(-1),)).reshape(*x.shape[:2], *size)
    return y if had_batch else y.squeeze(0)


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The values of `max_pool1d` put back where its indices say, zeros elsewhere."""
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The values of `max_pool2d` put back where its indices say, zeros elsewhere."""
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The values of `max_pool3d` put back where its indices say, zeros elsewhere."""
    return _max_unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def _avg_pool(name: str, n: int, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    x, had_batch = batched(name, input, n)
    if divisor_override is not None and divisor_override == 0:
        raise RuntimeError(f"{name}: divisor must be not zero, got divisor_override={divisor_override}")
    kernel, stride, padding, _, out = geometry = _geometry(name, x, n, kernel_size, stride, padding, 1, ceil_mode)
    reach = tuple(_reach(*a) for a in zip(x.shape[2:], *geometry))
    if not x.dtype.is_floating_point and x.dtype is not dtypes.int64:
        raise NotImplementedError(f"{name}: not implemented for {x.dtype}; convert with .float()")
    whole = kernel == tuple(x.shape[2:]) and not any(padding) and divisor_override is None
    if whole and x.dtype.is_floating_point:  # one window: all there is
        y = x.mean(tuple(range(2, 2 + n)), keepdim=True)
        return y if had_batch else y.squeeze(0)
    y = WindowSum.apply(x, kernel=kernel, stride=stride, padding=reach, out=out)
    sizes = divisor_override or _window_sizes(x, geometry, count_include_pad)
    y = y / sizes if x.dtype.is_floating_point else y.div(sizes, rounding_mode="trunc")
    return y if had_batch else y.squeeze(0)


def _window_sizes(x: Tensor, geometry: tuple, count_include_pad: bool) -> Any:
    """How many elements each window holds: a number where all hold as many, else a tensor of the output's sizes."""
    xp, total = x.xp, 1
    for i, k, s, p, _, out in zip(x.shape[2:], *geometry):
        low, high = (-p, i + p) if count_include_pad else (0, i)
        counts = [min(o * s - p + k, high) - max(o * s - p, low) for o in range(out)]
        if len(set(counts)) == 1:
            total = total * counts[0] if isinstance(total, int) else total[..., None] * counts[0]
        else:
            row = table(xp, counts, x.array.dtype)
            total = row * total if isinstance(total, int) else total[..., None] * row
    return total if isinstance(total, int) else wrap(total)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of (B, C, L) or (C, L); count_include_pad: padding counts as elements."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of each window of (B, C, H, W) or (C, H, W); divisor_override: divide the sum by that instead."""
    return _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of each window of (B, C, D, H, W) or (C, D, H, W)."""
    return _avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def _adaptive(name: str, n: int, input, output_size, first: int) -> tuple:
    """The batched input, the output sizes, and the windows of each axis: position o sees [o in/out, (o + 1) in/out).

    The axes from `first` on may not be empty.
    """
    x, had_batch = batched(name, input, n)
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(given) != n:
        raise RuntimeError(f"{name}: expected output_size to be an integer or {n} of them, got {output_size!r}")
    out = tuple(i if o is None else int(o) for o, i in zip(given, x.shape[2:]))
    if min(out) < 0 or 0 in x.shape[first:]:
        raise RuntimeError(
            f"{name}: expected input with non-zero sizes and output_size of at least 0, got input of size "
            f"{list(x.shape)} and output_size {output_size!r}"
        )
    windows = [[(p * i // o, -(-(p + 1) * i // o)) for p in range(o)] for i, o in zip(x.shape[2:], out)]
    return x, had_batch, out, windows


def _adaptive_avg_pool(name: str, n: int, input, output_size):
    x, had_batch, out, windows = _adaptive(name, n, input, output_size, 2)
    if min(out) > 0 and not any(i % o for i, o in zip(x.shape[2:], out)):
        kernel = tuple(i // o for i, o in zip(x.shape[2:], out))
        y = _avg_pool(name, n, x, kernel, kernel, 0, False, True, None)
    else:
        y = x
        for axis, spans in enumerate(windows):
            rows = [[(j, 1 / (b - a)) for j in range(a, b)] for a, b in spans]
            y = Resample.along(y, 2 + axis, rows)
    return y if had_batch else y.squeeze(0)


def adaptive_avg_pool1d(input, output_size):
    """The means of output_size windows that cover (B, C, L) or (C, L) evenly."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input, output_size):
    """The means of windows that cover (B, C, H, W) or (C, H, W) evenly: (B, C, *output_size). None keeps a size."""
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input, output_size):
    """The means of windows that cover (B, C, D, H, W) or (C, D, H, W) evenly."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive_max_pool(name: str, n: int, input, output_size, return_indices):
    import numpy as np

    x, had_batch, out, windows = _adaptive(name, n, input, output_size, 1)
    if 0 in out:
        shape = (*x.shape[:2], *out)
        y = (x.new_empty(shape), x.new_empty(shape, dtype=dtypes.int64)) if return_indices else x.new_empty(shape)
        return _unbatched(y, had_batch)
    places = []
    for spans in windows:  # a shorter window reads its last element again, which never wins against itself
        longest = max(b - a for a, b in spans)
        places.append(np.array([[min(a + j, b - 1) for a, b in spans] for j in range(longest)]))
    selectors = tuple(tuple(table(x.xp, row) for row in rows) for rows in places)
    padding = ((0, 0),) * n
    y = MaxPool.apply(x, selectors=selectors, places=tuple(places), padding=padding, indices=bool(return_indices))
    return _unbatched(y, had_batch)


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The maxima of output_size windows that cover (B, C, L) or (C, L) evenly."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The maxima of windows that cover (B, C, H, W) or (C, H, W) evenly: (B, C, *output_size)."""
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input, output_size, return_indices=False):
    """The maxima of windows that cover (B, C, D, H, W) or (C, D, H, W) evenly."""
    return _adaptive_max_pool("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _lp_pool(pool, n: int, input, norm_type, kernel_size, stride, ceil_mode):
    """(sum of x^p over each window)^(1/p), by the mean."""
    kernel = read_sizes(kernel_size, n, f"lp_pool{n}d: kernel_size")
    mean = pool(input**norm_type, kernel, kernel if stride is None else stride, 0, ceil_mode)
    return (mean * math.prod(kernel)) ** (1.0 / norm_type)


def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm of each window of (B, C, L) or (C, L), without absolute values: (sum x^p)^(1/p)."""
    return _lp_pool(avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm of each window of (B, C, H, W) or (C, H, W), without absolute values: (sum x^p)^(1/p)."""
    return _lp_pool(avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm of each window of (B, C, D, H, W) or (C, D, H, W), without absolute values: (sum x^p)^(1/p)."""
    return _lp_pool(avg_pool3d, 3, input, norm_type, kernel_size, stride, ceil_mode)
