"""Convolution over any number of axes, as one matrix product.      Lesson 07.

Shapes: x (B, C, *in), W (O, C/groups, *kernel), y (B, O, *out); K = the product of kernel, L = the product of out.
An output position o reads the input at  o stride + k dilation - padding  for each offset k of the kernel. Laid out as
columns, one a position, these reads are a matrix (C K, L), and the convolution is the product W (O, C K) @ columns.

The three products of W, x and dy that occur are each other's gradients, so the family is closed to any order:
    Convolution           y = W * x         reads columns, then a product
    ConvolutionTranspose  x = W^T * y       a product, then columns are added back where they were read
    ConvolutionWeight     W = y * x         a product of y with the columns of x, summed over the batch
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..tensor import Tensor
from ._windows import add_columns, batched, output_size, read_columns, read_sizes

POSITIONS = 1024  # products of about so many columns: large enough for the matrix product, small enough for the cache


def _samples(B: int, L: int) -> Any:
    """The batch in slices of as many samples as make POSITIONS columns."""
    step = max(1, POSITIONS // max(L, 1))
    return (slice(start, min(start + step, B)) for start in range(0, B, step))


def _grouped(y: Any, groups: int) -> Any:
    """(b, O, *out) -> (groups, O/groups, b L), the columns' order."""
    b, O, L = y.shape[0], y.shape[1], math.prod(y.shape[2:])
    return y.reshape((b, groups, O // groups, L)).transpose((1, 2, 0, 3)).reshape((groups, O // groups, b * L))


class Convolution(Op):
    """y = W * x + b.                        x: (B, C, *in)   W: (O, C/groups, *kernel)   b: (O,)   y: (B, O, *out)

    y[n, o, p]  = b[o] + sum over c, k of W[o, c, k] x[n, c, p stride + k dilation - padding]
    dx[n, c, i] = sum over o, and the p and k that read i, of W[o, c, k] dy[n, o, p]
    dW[o, c, k] = sum over n, p of dy[n, o, p] x[n, c, p stride + k dilation - padding]
    db[o]       = sum over n, p of dy[n, o, p]

    A group of O/groups outputs sees only its own C/groups channels. Lesson 07.
    """

    def forward(self, x, W, b, *, out, stride, padding, dilation, groups):
        xp = self.xp
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape[2:], W.shape[2:],
                  {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups})  # fmt: skip
        B, C, O, kernel = x.shape[0], x.shape[1], W.shape[0], W.shape[2:]
        K, L = math.prod(kernel), math.prod(out)
        W = W.reshape((groups, O // groups, C // groups * K))
        y = xp.empty((B, groups, O // groups, L), x.dtype)
        for part in _samples(B, L):
            columns = read_columns(xp, x[part], kernel, stride, padding, dilation, out)
            count = part.stop - part.start
            product = xp.matmul(W, columns.reshape((groups, C // groups * K, count * L)))
            y[part] = product.reshape((groups, O // groups, count, L)).transpose((2, 0, 1, 3))
        y = y.reshape((B, O, *out))
        if b is not None:
            y += b.reshape((O, *(1,) * len(out)))
        return y

    def backward(self, dy):
        x, W, size, kernel, options = self.saved
        dx = dW = db = None
        if self.needs[0]:
            dx = self.run(ConvolutionTranspose, dy, W, None, size=size, **options)
        if self.needs[1]:
            dW = self.run(ConvolutionWeight, x, dy, kernel=kernel, **options)
        if self.needs[2]:
            db = dy.sum((0, *range(2, 2 + len(kernel))))
        return dx, dW, db


class ConvolutionTranspose(Op):
    """y = W^T * x + b: the gradient of a convolution with respect to its input, as an operation of its own.

    x: (B, C, *in)   W: (C, O/groups, *kernel)   b: (O,)   y: (B, O, *size)

    y[n, o, i]  = b[o] + sum over c, and the p and k with p stride + k dilation - padding = i, of W[c, o, k] x[n, c, p]
    dx = W * dy,   dW[c, o, k] = sum over n, p of x[n, c, p] dy[n, o, p stride + k dilation - padding],   db = sum of dy

    Each input element lays its multiple of the kernel into the output. Lesson 07.
    """

    def forward(self, x, W, b, *, size, stride, padding, dilation, groups):
        xp = self.xp
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape[2:], W.shape[2:],
                  {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups})  # fmt: skip
        B, C, out, kernel = x.shape[0], x.shape[1], x.shape[2:], W.shape[2:]
        O = W.shape[1] * groups
        W = W.reshape((groups, C // groups, O // groups * math.prod(kernel))).swapaxes(1, 2)
        y = xp.empty((B, O, *size), x.dtype)
        for part in _samples(B, math.prod(out)):
            columns = xp.matmul(W, _grouped(x[part], groups)).reshape((O, *kernel, part.stop - part.start, *out))
            y[part] = add_columns(xp, columns, size, stride, padding, dilation)
        if b is not None:
            y += b.reshape((O, *(1,) * len(out)))
        return y

    def backward(self, dy):
        x, W, out, kernel, options = self.saved
        dx = dW = db = None
        if self.needs[0]:
            dx = self.run(Convolution, dy, W, None, out=out, **options)
        if self.needs[1]:
            dW = self.run(ConvolutionWeight, dy, x, kernel=kernel, **options)
        if self.needs[2]:
            db = dy.sum((0, *range(2, 2 + len(kernel))))
        return dx, dW, db


class ConvolutionWeight(Op):
    """dW: the gradient of a convolution with respect to its weight, as an operation of its own.

    x: (B, C, *in)   y: (B, O, *out)   W: (O, C/groups, *kernel)

    W[o, c, k] = sum over n, p of y[n, o, p] x[n, c, p stride + k dilation - padding]
    dx = dW^T * y,   dy = dW * x                                        both products are linear. Lesson 07.
    """

    def forward(self, x, y, *, kernel, stride, padding, dilation, groups):
        xp = self.xp
        self.save(x if self.needs[1] else None, y if self.needs[0] else None, x.shape[2:], y.shape[2:],
                  {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups})  # fmt: skip
        B, C, O, out = x.shape[0], x.shape[1], y.shape[1], y.shape[2:]
        K = math.prod(kernel)
        W = xp.zeros((groups, O // groups, C // groups * K), x.dtype)
        for part in _samples(B, math.prod(out)):
            columns = read_columns(xp, x[part], kernel, stride, padding, dilation, out)
            columns = columns.reshape((groups, C // groups * K, (part.stop - part.start) * math.prod(out)))
            W += xp.matmul(_grouped(y[part], groups), columns.swapaxes(1, 2))
        return W.reshape((O, C // groups, *kernel))

    def backward(self, dW):
        x, y, size, out, options = self.saved
        dx = self.run(ConvolutionTranspose, y, dW, None, size=size, **options) if self.needs[0] else None
        dy = self.run(Convolution, x, dW, None, out=out, **options) if self.needs[1] else None
        return dx, dy


class Unfold(Op):
    """Every patch that a kernel sees, as a column.      x: (B, C, *in)   y: (B, C K, L)

    y[n, (c, k), p] = x[n, c, p stride + k dilation - padding];      dx = dy added back where it was read. Lesson 07.
    """

    def forward(self, x, *, kernel, **options):
        self.save(x.shape[2:], kernel, options)
        n = len(kernel)
        out = tuple(
            output_size(*a) for a in zip(x.shape[2:], kernel, *(options[o] for o in ("stride", "padding", "dilation")))
        )
        columns = read_columns(self.xp, x, kernel, out=out, **options)
        K, L = math.prod(kernel), math.prod(out)
        return self.xp.moveaxis(columns, n + 1, 0).reshape((x.shape[0], x.shape[1] * K, L))

    def backward(self, dy):
        size, kernel, options = self.saved
        return self.run(Fold, dy, size=size, kernel=kernel, **options)


class Fold(Op):
    """The patches added back where they came from.      x: (B, C K, L)   y: (B, C, *size)

    y[n, c, i] = sum over the p and k with p stride + k dilation - padding = i of x[n, (c, k), p];   dx = dy unfolded.
    """

    def forward(self, x, *, size, kernel, **options):
        self.save(kernel, options)
        n = len(kernel)
        out = tuple(
            output_size(*a) for a in zip(size, kernel, *(options[o] for o in ("stride", "padding", "dilation")))
        )
        columns = x.reshape((x.shape[0], x.shape[1] // math.prod(kernel), *kernel, *out))
        return add_columns(self.xp, self.xp.moveaxis(columns, 0, n + 1), size, **options)

    def backward(self, dy):
        kernel, options = self.saved
        return self.run(Unfold, dy, kernel=kernel, **options)


# --- public functions ------------------------------------------------------------------------------------------------


def _check(name: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, n: int, transposed: bool) -> None:
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name}(): argument 'weight' must be Tensor, not {type(weight).__name__}")
    if weight.ndim != n + 2:
        raise RuntimeError(f"{name}: expected weight with {n + 2} dimensions, got weight of size {list(weight.shape)}")
    if groups < 1:
        raise RuntimeError(f"{name}: expected groups to be greater than 0, got {groups}")
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.dtype is not x.dtype:
            raise RuntimeError(f"{name}: Input type ({x.dtype}) and {what} type ({t.dtype}) should be the same")
    first, channels = weight.shape[0], x.shape[1]
    if first % groups or first < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size {list(weight.shape)} instead"
        )
    expected = first if transposed else weight.shape[1] * groups
    if channels != expected:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{expected} "
            f"channels, but got {channels} channels instead"
        )
    out = weight.shape[1] * groups if transposed else first
    if bias is not None and tuple(bias.shape) != (out,):
        raise RuntimeError(
            f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional with {out} elements, but "
            f"got bias of size {list(bias.shape)} instead"
        )
    if 0 in weight.shape[2:]:
        raise RuntimeError(f"{name}: kernel size should be greater than zero, got weight of size {list(weight.shape)}")


def _convolve(name: str, n: int, input, weight, bias, stride, padding, dilation, groups) -> Tensor:
    x, had_batch = batched(name, input, n)
    _check(name, x, weight, bias, groups, n, False)
    stride, dilation = read_sizes(stride, n, f"{name}: stride"), read_sizes(dilation, n, f"{name}: dilation")
    kernel = tuple(weight.shape[2:])
    if padding == "same":
        if any(s != 1 for s in stride):
            raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions, got stride {stride}")
        total = [d * (k - 1) for k, d in zip(kernel, dilation)]
        pairs = tuple((t // 2, t - t // 2) for t in total)
    elif isinstance(padding, str) and padding != "valid":
        raise RuntimeError(f"{name}: expected padding 'valid', 'same' or integers, got {padding!r}")
    else:
        pairs = tuple((p, p) for p in read_sizes(0 if padding == "valid" else padding, n, f"{name}: padding", 0))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    held = [i + sum(p) for i, p in zip(x.shape[2:], pairs)]
    if any(h < s for h, s in zip(held, spans)):
        size, span = " x ".join(map(str, held)), " x ".join(map(str, spans))
        raise RuntimeError(
            f"{name}: Calculated padded input size per channel: ({size}). Kernel size: ({span}). Kernel size can't be "
            "greater than actual input size"
        )
    out = tuple(map(output_size, x.shape[2:], kernel, stride, pairs, dilation))
    y = Convolution.apply(x, weight, bias, out=out, stride=stride, padding=pairs, dilation=dilation, groups=groups)
    return y if had_batch else y.squeeze(0)


@casts
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The convolution of (B, C, L) or (C, L) with weight (O, C/groups, k). padding: an integer, 'same' or 'valid'."""
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@casts
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The convolution of (B, C, H, W) or (C, H, W) with weight (O, C/groups, kh, kw)."""
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@casts
def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The convolution of (B, C, D, H, W) or (C, D, H, W) with weight (O, C/groups, kd, kh, kw)."""
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _transpose(name: str, n: int, input, weight, bias, stride, padding, output_padding, groups, dilation) -> Tensor:
    x, had_batch = batched(name, input, n)
    _check(name, x, weight, bias, groups, n, True)
    stride, dilation = read_sizes(stride, n, f"{name}: stride"), read_sizes(dilation, n, f"{name}: dilation")
    padding = read_sizes(padding, n, f"{name}: padding", 0)
    extra = read_sizes(output_padding, n, f"{name}: output_padding", 0)
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation)):
        raise RuntimeError(
            f"{name}: output padding must be smaller than either stride or dilation, but got output_padding {extra}, "
            f"stride {stride}, dilation {dilation}"
        )
    size = tuple(
        (i - 1) * s - 2 * p + d * (k - 1) + e + 1
        for i, s, p, d, k, e in zip(x.shape[2:], stride, padding, dilation, weight.shape[2:], extra)
    )
    if min(size) < 1:
        raise RuntimeError(
            f"{name}: given input size per channel {list(x.shape[2:])}, calculated output size per channel "
            f"{list(size)}: it is too small"
        )
    pairs = tuple((p, p) for p in padding)
    y = ConvolutionTranspose.apply(
        x, weight, bias, size=size, stride=stride, padding=pairs, dilation=dilation, groups=groups
    )
    return y if had_batch else y.squeeze(0)


@casts
def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transposed convolution of (B, C, L) or (C, L) with weight (C, O/groups, k)."""
    return _transpose("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@casts
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transposed convolution of (B, C, H, W) or (C, H, W) with weight (C, O/groups, kh, kw)."""
    return _transpose("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@casts
def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transposed convolution of (B, C, D, H, W) or (C, D, H, W) with weight (C, O/groups, kd, kh, kw)."""
    return _transpose("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _patches(name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> dict:
    return {
        "kernel": read_sizes(kernel_size, 2, f"{name}: kernel_size"),
        "stride": read_sizes(stride, 2, f"{name}: stride"),
        "padding": tuple((p, p) for p in read_sizes(padding, 2, f"{name}: padding", 0)),
        "dilation": read_sizes(dilation, 2, f"{name}: dilation"),
    }


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The patches of (B, C, H, W) or (C, H, W) that a kernel sees, as columns: (B, C kh kw, positions)."""
    if not isinstance(input, Tensor) or input.ndim not in (3, 4):
        raise RuntimeError(
            f"unfold: Expected 3D or 4D (batch mode) tensor, but got input of size: {list(getattr(input, 'shape', ()))}"
        )
    x, had_batch = batched("unfold", input, 2)
    options = _patches("unfold", kernel_size, dilation, padding, stride)
    out = [output_size(i, k, s, p, d) for i, k, s, p, d in zip(x.shape[2:], *options.values())]
    if min(out) < 1:
        raise RuntimeError(
            f"unfold: given input with spatial size {list(x.shape[2:])} and {options}, calculated shape of the array "
            f"of sliding blocks as {out}, but its components must be at least one"
        )
    y = Unfold.apply(x, **options)
    return y if had_batch else y.squeeze(0)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Columns (B, C kh kw, positions) added back to (B, C, *output_size): the transpose of `unfold`."""
    if not isinstance(input, Tensor) or input.ndim not in (2, 3):
        raise RuntimeError(
            "fold: Expected 2D or 3D (batch mode) tensor for input, but got input of size: "
            f"{list(getattr(input, 'shape', ()))}"
        )
    options = _patches("fold", kernel_size, dilation, padding, stride)
    size = read_sizes(output_size, 2, "fold: output_size")
    x = input if input.ndim == 3 else input.unsqueeze(0)
    K = math.prod(options["kernel"])
    if x.shape[1] % K:
        raise RuntimeError(
            "fold: Expected size of input's dimension 1 to be divisible by the product of kernel_size "
            f"{options['kernel']}, but got input.size(1)={x.shape[1]}"
        )
    out = [(i + sum(p) - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in zip(size, *options.values())]
    if min(out) < 1 or x.shape[2] != math.prod(out):
        raise RuntimeError(
            f"fold: given output_size={size} and {options}, expected size of input's dimension 2 to match the "
            f"calculated number of sliding blocks {out}, but got input.size(2)={x.shape[2]}"
        )
    y = Fold.apply(x, size=size, **options)
    return y if input.ndim == 3 else y.squeeze(0)
