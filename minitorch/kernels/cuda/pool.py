"""Pooling of images and of sequences: a thread a window forward; backward a thread an element, which looks at its windows.

The maximum keeps where it was found, four bytes for an output, so that backward only compares.
"""

from __future__ import annotations

import math
from typing import Any

from ...backend.fastpath import fast_path
from ...ops.pool import MaxPool, WindowSpread, WindowSum
from .launch import Source, contiguous, plain

_source = Source("pool.cu")
THREADS = 128
LIMIT = 2**31 - 1024  # elements of an array: the kernels count in 32 bits
ROW = (1, 1, 1, 1, 0, 1)  # of a sequence, an image of one row: size, out, kernel, stride, padding, dilation


def _axes(size: tuple, out: tuple, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple) -> tuple:
    """What the kernels have to know of both axes, twelve numbers."""
    axes = [*zip(size, out, kernel, stride, (before for before, _ in padding), dilation)]
    return (*(ROW if len(axes) == 1 else axes[0]), *axes[-1])


def _windows(name: str, x: Any, y: Any, *more: Any, count: int, axes: tuple, adaptive: int = 0) -> None:
    blocks = -(-count // THREADS)
    _source.launch(name, blocks, THREADS, x, y, *more, count, *axes, DTYPE=x.dtype, ADAPTIVE=adaptive)


@fast_path(MaxPool, "cupy")
class MaxPoolCUDA(MaxPool):
    half = True

    @staticmethod
    def accepts(x, *, selectors, places, padding, indices):
        return x.ndim in (3, 4) and plain(x) and x.size < LIMIT and math.prod(p.shape[1] for p in places) > 0 and (
            x.shape[0] * x.shape[1] * math.prod(p.shape[1] for p in places) < LIMIT
        )  # fmt: skip

    def forward(self, x, *, selectors, places, padding, indices):
        xp, size, out = self.xp, x.shape[2:], tuple(p.shape[1] for p in places)
        adaptive = int(type(selectors[0][0]) is not slice)
        kernel = tuple(map(len, selectors))
        stride = tuple(1 if adaptive else s[0].step for s in selectors)
        dilation = tuple(1 if adaptive else s[-1].start // max(len(s) - 1, 1) or 1 for s in selectors)
        axes = _axes(size, out, kernel, stride, padding, dilation)
        y = xp.empty((*x.shape[:2], *out), x.dtype)
        where = xp.empty(y.shape, "int32") if self.needs[0] else None
        found = xp.empty(y.shape, "int64") if indices else None
        _windows("max_forward", x, y, where, found, count=y.size, axes=axes, adaptive=adaptive)
        if self.needs[0]:
            self.save(where, x.shape, axes, adaptive)
        return (y, found) if indices else y

    def backward(self, dy, *_):
        where, shape, axes, adaptive = self.saved
        dx = self.xp.empty(shape, dy.dtype)
        _source.launch(
            "max_backward", -(-dx.size // THREADS), THREADS, contiguous(dy), where, dx, dx.size, *axes,
            DTYPE=dx.dtype, ADAPTIVE=adaptive,
        )  # fmt: skip
        return dx

    def reference_saved(self):
        where, shape, *_ = self.saved
        planes = self.xp.arange(math.prod(shape[:2])).reshape((*shape[:2], *(1,) * (len(shape) - 2)))
        return (where + planes * math.prod(shape[2:])).reshape((-1,)), shape


def _sums(x, *, kernel, stride, padding, out, size=None):
    return x.ndim in (3, 4) and plain(x) and x.size < LIMIT and (
        0 < x.shape[0] * x.shape[1] * math.prod(out if size is None else size) < LIMIT
    )  # fmt: skip


def window_sum(xp: Any, x: Any, kernel: tuple, stride: tuple, padding: tuple, out: tuple) -> Any:
    """x (B, C, *size) -> (B, C, *out)"""
    y = xp.empty((*x.shape[:2], *out), x.dtype)
    axes = _axes(x.shape[2:], out, kernel, stride, padding, (1,) * len(out))
    _windows("window_sum", contiguous(x), y, count=y.size, axes=axes)
    return y


def window_spread(xp: Any, x: Any, size: tuple, kernel: tuple, stride: tuple, padding: tuple, out: tuple) -> Any:
    """x (B, C, *out) -> (B, C, *size)"""
    y = xp.empty((*x.shape[:2], *size), x.dtype)
    axes = _axes(size, out, kernel, stride, padding, (1,) * len(out))
    _windows("window_spread", contiguous(x), y, count=y.size, axes=axes)
    return y


@fast_path(WindowSum, "cupy")
class WindowSumCUDA(WindowSum):
    half = True
    accepts = staticmethod(_sums)

    def forward(self, x, *, kernel, stride, padding, out):
        self.save(x.shape[2:], kernel, stride, padding, out)
        return window_sum(self.xp, x, kernel, stride, padding, out)

    def backward(self, dy):
        return window_spread(self.xp, dy, *self.saved)

    def reference_saved(self):
        return self.saved


@fast_path(WindowSpread, "cupy")
class WindowSpreadCUDA(WindowSpread):
    half = True
    accepts = staticmethod(_sums)

    def forward(self, x, *, size, kernel, stride, padding, out):
        self.save(kernel, stride, padding, out)
        return window_spread(self.xp, x, size, kernel, stride, padding, out)

    def backward(self, dy):
        return window_sum(self.xp, dy, *self.saved)

    def reference_saved(self):
        return self.saved
