"""The maximum of windows of images. What won is kept as the number of its place in the window: one byte for an output."""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.pool import MaxPool
from .compile import FLOAT32, bytes_, bytes_at, cube, floats_at, integers, kernel, over_rows, word
from .rows import copy_apart, fill

ZERO, LOWEST = np.float32(0), np.float32(-math.inf)


@kernel
def _forward(args, start, stop):
    """Planes [start, stop): what one offset of the window reads, for all outputs of a plane; then they are compared."""
    x, y = cube(args, 0), cube(args, 1)
    g = integers(args, 3)
    kernel_y, kernel_x, step_y, step_x, wide_y, wide_x, top, left = g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]
    H, W, rows, columns = x.shape[1], x.shape[2], y.shape[1], y.shape[2]
    size = rows * columns
    memory = np.empty(size, np.float32)
    start_of_values = memory.ctypes.data
    values = floats_at(start_of_values, size)
    for n in range(start, stop):
        best, won = floats_at(word(args, 1) + 4 * n * size, size), bytes_at(word(args, 2) + n * size, size)
        for k in range(size):
            best[k], won[k] = LOWEST, 0
        if top or left:
            for i in range(rows):
                first = max(0, -((i * step_y - top) // wide_y)) * kernel_x  # the first offset that is no padding
                for j in range(columns):
                    won[i * columns + j] = first + max(0, -((j * step_x - left) // wide_x))
        for ky in range(kernel_y):
            for kx in range(kernel_x):
                shift = kx * wide_x - left
                low = min(columns, max(0, -(shift // step_x)))
                high = max(low, min(columns, (W - 1 - shift) // step_x + 1))
                for i in range(rows):
                    h = i * step_y + ky * wide_y - top
                    row = start_of_values + 4 * i * columns
                    if h < 0 or h >= H:
                        fill(row, columns, LOWEST)
                    else:
                        fill(row, low, LOWEST)
                        at = word(args, 0) + 4 * ((n * H + h) * W + low * step_x + shift)
                        copy_apart(at, row + 4 * low, high - low, step_x, ZERO)
                        fill(row + 4 * high, columns - high, LOWEST)
                tap = np.uint8(ky * kernel_x + kx)
                for k in range(size):
                    better = (values[k] > best[k]) | (values[k] != values[k])  # a NaN always wins
                    best[k] = values[k] if better else best[k]
                    won[k] = tap if better else won[k]


@kernel
def _backward(args, start, stop):
    dy, won, dx, places, g = cube(args, 0), bytes_(args, 1), cube(args, 2), integers(args, 3), integers(args, 4)
    step_y, step_x, top, left = g[2], g[3], g[6], g[7]
    rows, columns, H, W = dy.shape[1], dy.shape[2], dx.shape[1], dx.shape[2]
    for n in range(start, stop):
        plane = dx[n].reshape(H * W)
        for i in range(H * W):
            plane[i] = np.float32(0)
        for i in range(rows):
            at = (i * step_y - top) * W - left
            for j in range(columns):
                plane[at + j * step_x + places[won[(n * rows + i) * columns + j]]] += dy[n, i, j]


@fast_path(MaxPool, "numpy")
class MaxPoolCPU(MaxPool):
    @staticmethod
    def accepts(x, *, selectors, places, padding, indices):
        return (
            x.dtype is FLOAT32 and x.flags.c_contiguous and x.ndim == 4 and x.size > 0 and not indices
            and all(type(s[0]) is slice for s in selectors) and math.prod(map(len, selectors)) < 256
        )  # fmt: skip

    def forward(self, x, *, selectors, places, padding, indices):
        kernel = [len(s) for s in selectors]
        step = [s[0].step for s in selectors]
        wide = [s[-1].start // max(len(s) - 1, 1) or 1 for s in selectors]  # the dilation
        B, C, H, W = x.shape
        out = [p.shape[1] for p in places]
        y, won = np.empty((B, C, *out), FLOAT32), np.empty(B * C * math.prod(out), np.uint8)
        geometry = np.array([*kernel, *step, *wide, *(p[0] for p in padding)])
        over_rows(_forward, B * C, x.size, x.reshape(B * C, H, W), y.reshape(B * C, *out), won, geometry)
        self.save(won, x.shape, places, geometry)
        return y

    def backward(self, dy):
        won, shape, _, geometry = self.saved
        B, C, H, W = shape
        dx = np.empty(shape, FLOAT32)
        down, across = (np.arange(k) * d for k, d in zip(geometry[:2], geometry[4:6]))
        places = (down[:, None] * W + across).reshape(-1)  # of an offset, from the window's corner
        dy = np.ascontiguousarray(dy).reshape(B * C, *dy.shape[2:])
        over_rows(_backward, B * C, dx.size, dy, won, dx.reshape(B * C, H, W), places, geometry)
        return dx

    def reference_saved(self):
        won, shape, (down, across), _ = self.saved
        B, C, H, W = shape
        k = won.reshape(B, C, down.shape[1], across.shape[1]).astype(np.int64)
        i, j = k // len(across), k % len(across)
        where = down[i, np.arange(down.shape[1])[:, None]] * W + across[j, np.arange(across.shape[1])]
        return (where + np.arange(B * C).reshape(B, C, 1, 1) * (H * W)).reshape(-1), shape
