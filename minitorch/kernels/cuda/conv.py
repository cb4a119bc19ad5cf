"""Convolution of images and of sequences: columns by a kernel, and the product through cuBLAS.

As in ops/conv.py a convolution is W (O, C K) times the columns (C K, b L) of b images: one product for all of them, or one
for each group. Its result has the channels first; a kernel puts it in order and adds the bias. dx goes the same way back:
W^T times dy with the channels first, then every element of dx gathers the columns that read it, so nothing is added by two
threads at once. A kernel of one element that moves by one needs no columns: an image is its own.

The columns of a batch are many times its size. They are made for as many images at a time as fit into `COLUMNS` bytes, and
for one at least.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from ...backend.fastpath import fast_path
from ...ops.conv import Convolution, ConvolutionTranspose, ConvolutionWeight
from .blas import product
from .launch import TYPES, Source, contiguous

_source = Source("conv.cu")
COLUMNS = 1 << 28  # bytes
THREADS = 128
PART = 8192  # elements of a channel that a block sums
ROWS = 65535  # of a grid at most
LIMIT = 2**31 - 1024  # elements of an array: the kernels count positions in 32 bits


def _over(count: int, channels: int) -> tuple:
    """Blocks for `count` positions and for the channels, which take turns where there are more."""
    return -(-count // THREADS), min(channels, ROWS)


def _plane(sizes: tuple, fill: Any) -> tuple:
    """Two numbers, for the rows and for the columns of an image; a sequence is an image of one row."""
    return tuple(sizes) if len(sizes) == 2 else (fill, *sizes)


class _Windows:
    """Where a convolution reads: what the kernels that make columns of images, or images of columns, have to know."""

    def __init__(self, size, kernel, out, stride, padding, dilation):
        pads = tuple(before for before, _ in padding)
        self.one = math.prod(kernel) * math.prod(stride) == 1 and not any(map(sum, padding))
        self.K, self.L, self.area = math.prod(kernel), math.prod(out), math.prod(size)
        pairs = ((size, 1), (kernel, 1), (out, 1), (stride, 1), (pads, 0), (dilation, 1))
        self.words = [word for sizes, fill in pairs for word in _plane(sizes, fill)]

    def slices(self, B: int, C: int, itemsize: int) -> list:
        """The batch in equal parts whose columns take at most COLUMNS bytes each."""
        parts = -(-B // max(1, COLUMNS // (C * self.K * self.L * itemsize)))
        step = -(-B // parts)
        return [slice(start, min(start + step, B)) for start in range(0, B, step)]

    def read(self, xp, x, groups):
        """x (b, C, *size) -> columns (groups, C/groups K, b L)."""
        b, C = x.shape[:2]
        columns = xp.empty((groups, C // groups * self.K, b * self.L), x.dtype)
        _source.launch("read_columns", _over(b * self.L, C), THREADS, x, columns, b, C, *self.words, DTYPE=x.dtype)
        return columns

    def add(self, columns, bias, y):
        """Columns (groups, C/groups K, b L) -> y (b, C, *size), plus the bias."""
        b, C = y.shape[:2]
        grid = _over(b * self.area, C)
        _source.launch("add_columns", grid, THREADS, columns, bias, y, b, C, *self.words, DTYPE=y.dtype)


_windows = functools.lru_cache(maxsize=512)(_Windows)


def _channels_first(xp, y, groups):
    """(b, O, *out) -> (groups, O/groups, b L)"""
    b, O = y.shape[:2]
    L = y.size // (b * O)
    first = xp.empty((groups, O // groups, b * L), y.dtype)
    _source.launch("channels_first", _over(b * L, O), THREADS, y, first, b, O, L, DTYPE=y.dtype)
    return first


def _pointwise(xp, W, x, bias, y):
    """y (B, O, ...) = W (O, C) x (B, C, ...) + bias; the bias is there first, and the product is added before it is rounded."""
    (B, C), O = x.shape[:2], W.shape[0]
    L = x.size // (B * C)
    if bias is not None:
        _source.launch("biases", -(-y.size // THREADS), THREADS, bias, y, O, L, y.size, DTYPE=y.dtype)
    product(xp, W, x.reshape((B, C, L)), y.reshape((B, O, L)), add=bias is not None)
    return y


def channel_sums(xp: Any, x: Any) -> Any:
    """x (B, C, ...) -> (C,): in float32, parts of a channel first, then the parts in their order."""
    x = contiguous(x)
    B, C = x.shape[:2]
    each = x.size // C
    parts = min(1024, -(-each // PART))
    y, sums = xp.empty(C, x.dtype), xp.empty((C, parts), "float32") if parts > 1 else None
    threads = 256 if each > 256 else 64
    _source.launch(
        "sum_channels", C * parts, threads, x, sums, y, B, C, each // B, parts, -(-each // parts), DTYPE=x.dtype
    )
    if parts > 1:
        _source.launch("sum_parts", C, 32, sums, y, parts, DTYPE=x.dtype)
    return y


def forward(xp: Any, x: Any, W: Any, bias: Any, *, out: tuple, groups: int, **options: Any) -> Any:
    """y = W * x + bias: (B, O, *out)"""
    B, C, O = x.shape[0], x.shape[1], W.shape[0]
    windows = _windows(x.shape[2:], W.shape[2:], out, **options)
    x, W, bias = contiguous(x), contiguous(W), bias if bias is None else contiguous(bias)
    y = xp.empty((B, O, *out), x.dtype)
    if windows.one and groups == 1:
        return _pointwise(xp, W.reshape((O, C)), x, bias, y)
    W = W.reshape((groups, O // groups, C // groups * windows.K))
    for part in windows.slices(B, C, x.itemsize):
        first = product(xp, W, windows.read(xp, x[part], groups))
        b = part.stop - part.start
        _source.launch(
            "batch_first", _over(b * windows.L, O), THREADS, first, bias, y[part], b, O, windows.L, DTYPE=x.dtype
        )
    return y


def spread(xp: Any, dy: Any, W: Any, bias: Any, *, size: tuple, groups: int, **options: Any) -> Any:
    """dx = W^T * dy, or the transposed convolution: (B, C, *size)"""
    B, O, C = dy.shape[0], dy.shape[1], W.shape[1] * groups
    windows = _windows(size, W.shape[2:], dy.shape[2:], **options)
    dy, W, bias = contiguous(dy), contiguous(W), bias if bias is None else contiguous(bias)
    dx = xp.empty((B, C, *size), dy.dtype)
    if windows.one and groups == 1:
        return _pointwise(xp, W.reshape((O, C)).swapaxes(0, 1), dy, bias, dx)
    W_T = W.reshape((groups, O // groups, C // groups * windows.K)).swapaxes(1, 2)
    for part in windows.slices(B, C, dy.itemsize):
        windows.add(product(xp, W_T, _channels_first(xp, dy[part], groups)), bias, dx[part])
    return dx


def weight(xp: Any, x: Any, dy: Any, *, kernel: tuple, groups: int, **options: Any) -> Any:
    """dW = dy * x: (O, C/groups, *kernel). Parts of the batch are added in float32, in their order."""
    B, C, O = x.shape[0], x.shape[1], dy.shape[1]
    windows = _windows(x.shape[2:], kernel, dy.shape[2:], **options)
    x, dy = contiguous(x), contiguous(dy)
    parts = windows.slices(B, C, x.itemsize)
    dW = xp.empty((groups, O // groups, C // groups * windows.K), x.dtype if len(parts) == 1 else "float32")
    for part in parts:
        columns = windows.read(xp, x[part], groups).swapaxes(1, 2)
        product(xp, _channels_first(xp, dy[part], groups), columns, dW, add=part.start > 0)
    if dW.dtype != x.dtype:
        dW = dW.astype(x.dtype)
    return dW.reshape((O, C // groups, *kernel))


def _images(a, b, bias=None, *, out=None, size=None, groups, kernel=None, **_):
    """Whether the kernels take them: images or sequences, whose result is not too large either."""
    if not (a.dtype in TYPES and b.dtype == a.dtype and a.ndim in (3, 4) and 0 < a.size < LIMIT and 0 < b.size < LIMIT):
        return False
    if kernel is None:
        positions = size if out is None else out
        channels = b.shape[0] if size is None else b.shape[1] * groups
        return 0 < a.shape[0] * channels * math.prod(positions) < LIMIT and (bias is None or bias.dtype == a.dtype)
    return True


class _Fast:
    half = True
    accepts = staticmethod(_images)

    def reference_saved(self):
        return self.saved


@fast_path(Convolution, "cupy")
class ConvolutionCUDA(_Fast, Convolution):
    def forward(self, x, W, b, *, out, **options):
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape[2:], W.shape[2:], options)
        return forward(self.xp, x, W, b, out=out, **options)

    def backward(self, dy):
        x, W, size, kernel, options = self.saved
        dx = spread(self.xp, dy, W, None, size=size, **options) if self.needs[0] else None
        dW = weight(self.xp, x, dy, kernel=kernel, **options) if self.needs[1] else None
        return dx, dW, channel_sums(self.xp, dy) if self.needs[2] else None


@fast_path(ConvolutionTranspose, "cupy")
class ConvolutionTransposeCUDA(_Fast, ConvolutionTranspose):
    def forward(self, x, W, b, *, size, **options):
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape[2:], W.shape[2:], options)
        return spread(self.xp, x, W, b, size=size, **options)

    def backward(self, dy):
        x, W, out, kernel, options = self.saved
        dx = forward(self.xp, dy, W, None, out=out, **options) if self.needs[0] else None
        dW = weight(self.xp, dy, x, kernel=kernel, **options) if self.needs[1] else None
        return dx, dW, channel_sums(self.xp, dy) if self.needs[2] else None


@fast_path(ConvolutionWeight, "cupy")
class ConvolutionWeightCUDA(_Fast, ConvolutionWeight):
    def forward(self, x, y, *, kernel, **options):
        self.save(x if self.needs[1] else None, y if self.needs[0] else None, x.shape[2:], y.shape[2:], options)
        return weight(self.xp, x, y, kernel=kernel, **options)

    def backward(self, dW):
        x, y, size, out, options = self.saved
        dx = spread(self.xp, y, dW, None, size=size, **options) if self.needs[0] else None
        dy = forward(self.xp, x, dW, None, out=out, **options) if self.needs[1] else None
        return dx, dy
