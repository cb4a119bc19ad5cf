"""Other sizes for images: interpolation, sampling at given points, pixels moved between channels and space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import dtypes
from ..backend.devices import table
from ..tensor import Tensor, wrap
from .arithmetic import where
from .index import Index


class Resample(Op):
    """Each position of an axis a weighted sum of a few others.       x: (..., in, ...)   y: (..., out, ...)

    y_p  = sum over t of w_tp x_{k_tp}                               `forth`: indices k and weights w, each (t, out)
    dx_i = sum over the t and p with k_tp = i of w_tp dy_p           `back`: the same sums, listed by i, each (t, in)

    Interpolation is linear in x, and separable: an image is resampled along one axis, then along the other.
    """

    promote = "float"

    def forward(self, x, *, axis, forth, back):
        xp = self.xp
        self.save(axis, forth, back)
        y = None
        for index, weight in zip(*forth):
            w = table(xp, weight, x.dtype).reshape((-1, *(1,) * (x.ndim - 1 - axis)))
            term = xp.take(x, table(xp, index), axis=axis) * w
            if (weight != weight).any():
                term = xp.where(w == w, term, xp.zeros((), x.dtype))
            y = term if y is None else y + term
        return y

    def backward(self, dy):
        axis, forth, back = self.saved
        return self.run(Resample, dy, axis=axis, forth=back, back=forth)

    @classmethod
    def along(cls, x: Tensor, axis: int, rows: list) -> Tensor:
        """rows: for each position of the result a list of (index, weight)."""
        columns: list[list] = [[] for _ in range(x.shape[axis])]
        for p, row in enumerate(rows):
            for i, w in row:
                columns[i].append((p, w))
        return cls.apply(x, axis=axis, forth=_table(rows), back=_table(columns))


def _table(rows: list) -> tuple:
    """Lists of (index, weight), one a position, as two arrays (t, position); short lists end in weights of NaN."""
    longest = max((len(row) for row in rows), default=0) or 1
    rows = [[*row, *[(row[-1][0] if row else 0, math.nan)] * (longest - len(row))] for row in rows]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), longest, 2).transpose(2, 1, 0)
    return table[0].astype(np.int64), table[1]


# --- interpolation ---------------------------------------------------------------------------------------------------

MODES = {  # mode -> the number of spatial axes that it takes
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,), "bilinear": (2,),
    "bicubic": (2,), "trilinear": (3,),
}  # fmt: skip


def _cubic(t: Any) -> list:
    """The weights of the points at -1, 0, 1, 2 for a value at 0 <= t < 1: cubic convolution with a = -3/4."""
    a = -0.75
    near = lambda u: ((a + 2) * u - (a + 3)) * u * u + 1  # noqa: E731
    far = lambda u: ((a * u - 5 * a) * u + 8 * a) * u - 4 * a  # noqa: E731
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _rows(mode: str, size: int, out: int, scale: float | None, align_corners: bool, kind: Any) -> list:
    """For each output position along an axis the inputs that it is mixed from: [(index, weight), ...].

    Positions are computed in `kind`, the input's own precision, and rounded down in float32, as PyTorch does: on a
    border that decides which neighbour is nearest.
    """
    p = np.arange(out).astype(kind)
    if mode.startswith("nearest"):
        half = kind(0.5) if mode == "nearest-exact" else kind(0)
        at = (p + half) * kind(1 / scale if scale else kind(size) / kind(out))
        return [[(min(int(i), size - 1), 1.0)] for i in np.floor(at.astype(np.float32))]
    if out == size and mode != "bicubic":
        return [[(i, 1.0)] for i in range(out)]
    if align_corners:
        at = p * (kind(size - 1) / kind(out - 1) if out > 1 else kind(0))
    else:
        at = (p + kind(0.5)) * kind(1 / scale if scale else kind(size) / kind(out)) - kind(0.5)
    if mode == "bicubic":
        base = np.floor(at)
        weights = _cubic(at - base)
        return [
            [(min(max(int(b) + j - 1, 0), size - 1), float(w[i])) for j, w in enumerate(weights)]
            for i, b in enumerate(base)
        ]
    at = np.minimum(np.maximum(at, 0), size - 1)
    base = np.floor(at)
    return [[(int(b), float(1 - t)), (min(int(b) + 1, size - 1), float(t))] for b, t in zip(base, at - base)]


@casts
def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    """(B, C, *axes) in another size, or scaled. mode: nearest, nearest-exact, (bi-, tri-)linear, bicubic or area."""
    n = input.ndim - 2
    if mode not in MODES:
        raise NotImplementedError(f"interpolate: expected mode to be one of {', '.join(MODES)}, got {mode!r}")
    if n not in MODES[mode]:
        axes = " or ".join(f"{k + 2}D" for k in MODES[mode])
        raise NotImplementedError(
            f"interpolate: mode {mode!r} takes {axes} input, got input of size {list(input.shape)}"
        )
    if antialias:
        raise NotImplementedError(
            "interpolate: antialias=True is not in minitorch; avg_pool2d first, or mode='area', smooths"
        )
    if align_corners is not None and MODES[mode] == (1, 2, 3):
        raise ValueError(
            "interpolate: align_corners option can only be set with the modes linear, bilinear, bicubic, trilinear"
        )
    if size is not None and scale_factor is not None:
        raise ValueError("interpolate: only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("interpolate: either size or scale_factor should be defined")
    value = size if scale_factor is None else scale_factor
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(values) != n:
        raise ValueError(
            f"interpolate: input has {n} spatial dimensions, so size or scale_factor must be a number or {n} of them, "
            f"got {value!r}"
        )
    if recompute_scale_factor and size is not None:
        raise ValueError("interpolate: recompute_scale_factor is not meaningful with an explicit size")
    scales: tuple = (None,) * n
    if scale_factor is not None:
        values, scales = tuple(math.floor(float(i) * s) for i, s in zip(input.shape[2:], values)), values
        if recompute_scale_factor or mode == "area":
            scales = (None,) * n
    out = tuple(int(v) for v in values)
    if min(out) < 1 or 0 in input.shape[1:]:
        raise RuntimeError(
            f"interpolate: Input and output sizes should be greater than 0, but got input of size {list(input.shape)} "
            "and "
            f"output {list(out)}"
        )
    if mode == "area":
        from . import pool

        return getattr(pool, f"adaptive_avg_pool{n}d")(input, out)
    if not input.dtype.is_floating_point and not mode.startswith("nearest"):
        raise RuntimeError(f"interpolate: mode {mode!r} is not implemented for {input.dtype}; convert with .float()")
    kind = np.float64 if input.dtype is dtypes.float64 else np.float32
    y = input
    for axis in range(n + 1, 1, -1):
        rows = _rows(mode, input.shape[axis], out[axis - 2], scales[axis - 2], bool(align_corners), kind)
        if input.dtype.is_floating_point:
            y = Resample.along(y, axis, rows)
        else:
            index = table(input.xp, [row[0][0] for row in rows])
            y = Index.apply(y, index=(slice(None),) * axis + (index,))
    return y


# --- sampling at given points ----------------------------------------------------------------------------------------


def _inside(at: Tensor, low: float, high: float) -> Tensor:
    """at, kept between low and high; no gradient outside, nor on the border."""
    return where((at > low) & (at < high), at, at.detach().clamp(low, high))


def _reflected(at: Tensor, low: float, high: float) -> Tensor:
    """at, mirrored at low and high as often as needed: 0 1 2 3 3 2 1 0 0 1 ... for low -0.5 and high 3.5."""
    if low == high:
        return at * 0
    at = (at - low).abs()
    turns = (at.detach() / (high - low)).floor()
    rest = at - turns * (high - low)
    return where(turns % 2 == 0, rest + low, (high - rest))


def _put_inside(at: Tensor, size: int, padding_mode: str, align_corners: bool) -> Tensor:
    if padding_mode == "reflection":
        at = _reflected(at, 0, size - 1) if align_corners else _reflected(at, -0.5, size - 0.5)
    return at if padding_mode == "zeros" else _inside(at, 0, size - 1)


@casts
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """input (B, C, *in) read at the points of grid (B, *out, n), each (x, y) or (x, y, z) from -1 to 1: (B, C, *out).

    y = sum over the neighbours of the point of (their weight) (their value); gradients reach input and grid.
    Bilinear weights are 1 - distance along each axis, multiplied. arXiv:1506.02025
    """
    name = "grid_sample()"
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"{name}: expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: {mode!r}")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            f"{name}: expected padding_mode to be 'zeros', 'border', or 'reflection', but got: {padding_mode!r}"
        )
    if input.ndim not in (4, 5) or grid.ndim != input.ndim:
        raise RuntimeError(
            f"{name}: expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    n = input.ndim - 2
    if grid.shape[0] != input.shape[0] or grid.shape[-1] != n or input.dtype is not grid.dtype:
        raise RuntimeError(
            f"{name}: expected grid of the input's dtype and batch size and with size {n} in last dimension, but got "
            "input "
            f"{input.dtype} of sizes {list(input.shape)} and grid {grid.dtype} of sizes {list(grid.shape)}"
        )
    if mode == "bicubic" and n != 2:
        raise RuntimeError(
            f"{name}: bicubic interpolation only supports 4D input, got input of sizes {list(input.shape)}"
        )
    if 0 in input.shape[2:]:
        raise RuntimeError(
            f"{name}: expected input to have non-empty spatial dimensions, but got sizes {list(input.shape)}"
        )
    low = input.dtype
    if low in (dtypes.float16, dtypes.bfloat16):
        return grid_sample(input.float(), grid.float(), mode, padding_mode, align_corners).to(low)

    neighbours = []  # for each axis: [(coordinate, weight), ...]
    for axis, size in enumerate(input.shape[2:]):
        at = grid[..., n - 1 - axis]
        at = (at + 1) / 2 * (size - 1) if align_corners else ((at + 1) * size - 1) / 2
        if mode == "bicubic":
            base = at.detach().floor()
            put = [_put_inside(base + j, size, padding_mode, bool(align_corners)) for j in (-1, 0, 1, 2)]
            neighbours.append(list(zip(put, _cubic(at - base))))
            continue
        at = _put_inside(at, size, padding_mode, bool(align_corners))
        base = at.detach().floor()
        if mode == "nearest":
            one = wrap(at.xp.ones((), at.array.dtype))
            neighbours.append([(at.detach().round(), where(at == at, one, at))])  # a gradient of zeros for grid
        else:
            neighbours.append([(base, base + 1 - at), (base + 1, at - base)])
    return _mix(input, neighbours, grid.shape[1:-1])


def _mix(input: Tensor, neighbours: list, out: tuple) -> Tensor:
    """The sum over all combinations of neighbours, one an axis, of the product of their weights times input there."""
    xp, (B, C, *size) = input.xp, input.shape
    rows = input.movedim(1, -1).reshape(-1, C)
    y: Any = None
    for corner in np.ndindex(*map(len, neighbours)):
        place: Any = xp.arange(B).reshape((B, *(1,) * len(size)))
        held: Any = None
        weight: Any = None
        for axis, k in enumerate(corner):
            at, w = neighbours[axis][k]
            ok = (at.array >= 0) & (at.array <= size[axis] - 1)  # False for NaN
            place = place * size[axis] + xp.where(ok, at.array, xp.zeros((), at.array.dtype)).astype("int64")
            held = ok if held is None else held & ok
            weight = w if weight is None else weight * w
        values = Index.apply(rows, index=(place.reshape((-1,)),))  # (B * out, C)
        ok = wrap(held.reshape((-1, 1)))
        zero = wrap(xp.zeros((), rows.array.dtype))
        term = where(ok, values, zero) * weight.reshape(-1, 1)
        y = term if y is None else y + term
    return y.reshape(B, *out, C).movedim(-1, 1).contiguous()


def affine_grid(theta, size, align_corners=None):
    """The grid (B, *out, n) that `grid_sample` reads for the affine maps theta (B, n, n + 1); size: (B, C, *out)."""
    n = len(size) - 2
    if not theta.dtype.is_floating_point:
        raise ValueError(f"affine_grid: expected theta to have floating point type, but got {theta.dtype}")
    if n not in (2, 3) or theta.ndim != 3 or tuple(theta.shape) != (size[0], n, n + 1):
        raise RuntimeError(
            f"affine_grid: expected theta of size [{size[0]}, {n}, {n + 1}] for size {list(size)} of 4 or 5 numbers, "
            "got "
            f"{list(theta.shape)}"
        )
    xp, kind = theta.xp, theta.array.dtype
    axes = []
    for s in reversed(size[2:]):
        line = np.linspace(-1, 1, s) if s > 1 else np.zeros(1)
        axes.append(table(xp, line if align_corners else line * (s - 1) / s, kind))
    shape = tuple(size[2:])
    planes = [xp.broadcast_to(a.reshape((-1, *(1,) * i)), shape) for i, a in enumerate(axes)]
    points = wrap(xp.stack([*planes, xp.ones(shape, kind)], -1).reshape((1, -1, n + 1)))
    return (points @ theta.transpose(1, 2)).reshape(size[0], *shape, n)


# --- pixels between channels and space -------------------------------------------------------------------------------


def pixel_shuffle(input, upscale_factor):
    """(*, C r^2, H, W) -> (*, C, H r, W r): r^2 channels become a block of r by r pixels. arXiv:1609.05158"""
    r = int(upscale_factor)
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects at least 3 dimensions, a positive upscale_factor and its square to divide the "
            "number of "
            f"channels, got input of size {list(input.shape)} and upscale_factor {upscale_factor}"
        )
    *lead, C, H, W = input.shape
    k = len(lead)
    y = input.reshape(*lead, C // (r * r), r, r, H, W).permute(*range(k), k, k + 3, k + 1, k + 4, k + 2)
    return y.reshape(*lead, C // (r * r), H * r, W * r)


def pixel_unshuffle(input, downscale_factor):
    """(*, C, H r, W r) -> (*, C r^2, H, W): the inverse of `pixel_shuffle`."""
    r = int(downscale_factor)
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise RuntimeError(
            "pixel_unshuffle expects at least 3 dimensions, and height and width divisible by a positive "
            "downscale_factor, "
            f"got input of size {list(input.shape)} and downscale_factor {downscale_factor}"
        )
    *lead, C, H, W = input.shape
    k = len(lead)
    y = input.reshape(*lead, C, H // r, r, W // r, r).permute(*range(k), k, k + 2, k + 4, k + 1, k + 3)
    return y.reshape(*lead, C * r * r, H // r, W // r)


def channel_shuffle(input, groups):
    """(B, C, *) -> the same channels, one of each group after the other: g groups of n become n of g. arXiv:1707.01083"""
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise RuntimeError(
            "channel_shuffle expects at least 3 dimensions, and a positive number of groups that divides the number of "
            f"channels, got input of size {list(input.shape)} and groups {groups}"
        )
    B, C, *size = input.shape
    return input.reshape(B, groups, C // groups, *size).transpose(1, 2).reshape(B, C, *size)


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """As `interpolate`, its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input, size=None, scale_factor=None):
    """As `interpolate` to the nearest pixel."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input, size=None, scale_factor=None):
    """As `interpolate`, bilinear, corner pixels on corner pixels."""
    return interpolate(input, size, scale_factor, "bilinear", True)
