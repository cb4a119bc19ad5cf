"""LayerNorm and RMSNorm: each pass reads a row once and has it in registers; dw and db are summed in a fixed order.

The same kernels do dropout + residual + LayerNorm: residual.py.
"""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.normalize import LayerNorm, RMSNorm
from .launch import Source, contiguous, plain
from .rows import SHORT, WARPS

source = Source("layernorm.cu")
LONGEST = 6144  # numbers in a row: 8 for each of 768 threads, for which there are registers enough
TEAMS = 4096  # rows that are normalized at once
PARTS = 1024  # sums of dw and db over some of the rows, which a second kernel adds up
NO_DROPOUT = (np.uint64(0), None, 0, 1 << 53, 1.0)  # start, base, offset, limit, scale


def takes(x, ndim):
    return plain(x) and math.prod(x.shape[x.ndim - ndim :]) <= LONGEST


def _launch(name, rows, n, most, *arguments, dtype):
    """Starts forward or backward; `most`: a bound for the teams, blocks or warps, among which the rows are shared out."""
    if n <= SHORT:
        source.launch(name, -(-min(rows, most) // WARPS), 32 * WARPS, *arguments, rows, n, DTYPE=dtype, ROW_BY_WARP=1)
    else:
        source.launch(name, min(rows, most), -(-n // 256) * 32, *arguments, rows, n, DTYPE=dtype, ROW_BY_WARP=0)


def turned(x):
    """Whether x, (B, T, C), lies in memory as (T, B, C)."""
    return x.ndim == 3 and not x.flags.c_contiguous and x.transpose(1, 0, 2).flags.c_contiguous


def empty_in_order_of(xp, x, dtype):
    """An array of x's shape, its axes in memory in x's order."""
    if turned(x):
        return xp.empty((x.shape[1], x.shape[0], x.shape[2]), dtype).transpose(1, 0, 2)
    return xp.empty(x.shape, dtype)


def forward(xp, x, residual, w, b, ndim, eps, rms=0, dropout=NO_DROPOUT):
    """y, and the means and 1 / deviations of the rows, (2, rows)."""
    n = math.prod(x.shape[x.ndim - ndim :])
    rows = x.size // n
    y, stats = xp.empty(x.shape, x.dtype), xp.empty((2, rows), np.float32)
    turn = x.shape[1] if turned(x) else 0
    _launch("forward", rows, n, TEAMS, x, residual, w, b, y, stats, float(eps), rms, turn, *dropout, dtype=x.dtype)
    return y, stats


def backward(xp, dy, x, residual, w, stats, ndim, needs, rms=0, dropout=NO_DROPOUT):
    """dx, dresidual, dw, db, those that are needed; for dw and db the shape is the rows'."""
    shape = x.shape[x.ndim - ndim :]
    n = math.prod(shape)
    rows = x.size // n
    turn = x.shape[1] if turned(x) else 0
    dx = empty_in_order_of(xp, x, x.dtype) if needs[0] else None
    dresidual = xp.empty(x.shape, x.dtype) if needs[1] else None
    dw = xp.empty(shape, x.dtype) if needs[2] else None
    db = xp.empty(shape, x.dtype) if needs[3] else None
    teams = min(rows, PARTS)
    if n <= SHORT:
        teams = -(-teams // WARPS) * WARPS
    parts = xp.empty((teams, 2, n), np.float32) if needs[2] or needs[3] else None
    _launch(
        "backward", rows, n, PARTS, contiguous(dy), x, residual, w, stats, dx, dresidual, parts, rms, turn, *dropout,
        dtype=x.dtype,
    )  # fmt: skip
    if parts is not None:
        source.launch("column_sums", (-(-n // 32), 2), (32, 8), parts, dw, db, teams, n, DTYPE=x.dtype, ROW_BY_WARP=0)
    return dx, dresidual, dw, db


@fast_path(LayerNorm, "cupy")
class LayerNormCUDA(LayerNorm):
    half = True

    @staticmethod
    def accepts(x, w, b, *, ndim, eps):
        return takes(x, ndim)

    def forward(self, x, w, b, *, ndim, eps):
        y, stats = forward(self.xp, x, None, w, b, ndim, eps)
        self.save(x, w, stats, ndim, eps)
        return y

    def backward(self, dy):
        x, w, stats, ndim, _ = self.saved
        needs = self.needs[0], False, *self.needs[1:]
        dx, _, dw, db = backward(self.xp, dy, x, None, w, stats, ndim, needs)
        return dx, dw, db

    def reference_saved(self):
        x, w, _, ndim, eps = self.saved
        return x, w, tuple(range(x.ndim - ndim, x.ndim)), eps


@fast_path(RMSNorm, "cupy")
class RMSNormCUDA(RMSNorm):
    half = True

    @staticmethod
    def accepts(x, w, *, ndim, eps):
        return takes(x, ndim)

    def forward(self, x, w, *, ndim, eps):
        y, stats = forward(self.xp, x, None, w, None, ndim, eps, rms=1)
        self.save(x, w, stats, ndim, eps)
        return y

    def backward(self, dy):
        x, w, stats, ndim, _ = self.saved
        needs = self.needs[0], False, self.needs[1], False
        dx, _, dw, _ = backward(self.xp, dy, x, None, w, stats, ndim, needs, rms=1)
        return dx, dw

    reference_saved = LayerNormCUDA.reference_saved
