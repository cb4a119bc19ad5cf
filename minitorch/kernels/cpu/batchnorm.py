"""BatchNorm: a channel at a time, so that its second and third reading come from the cache; x is read and y written once."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.normalize import Standardize
from .compile import FLOAT32, cube, kernel, number, over_rows, vector

ZERO, ONE = np.float32(0), np.float32(1)
ROW = 4  # numbers of a channel that lie together, at least: one by one NumPy's sums over rows are faster


@kernel
def _forward(args, start, stop):
    x, y, mean, variance = cube(args, 0), cube(args, 1), vector(args, 2), vector(args, 3)
    w, b, eps = vector(args, 4), vector(args, 5), number(args, 6)
    B, n = x.shape[0], x.shape[2]
    for c in range(start, stop):
        total = 0.0
        for i in range(B):
            part = ZERO
            for j in range(n):
                part += x[i, c, j]
            total += part
        m = np.float32(total / (B * n))
        total = 0.0
        for i in range(B):
            part = ZERO
            for j in range(n):
                part += (x[i, c, j] - m) * (x[i, c, j] - m)
            total += part
        v = np.float32(total / (B * n))
        mean[c], variance[c] = m, v
        scale, shift = ONE / np.sqrt(v + eps), ZERO
        if w.shape[0]:
            scale *= w[c]
        if b.shape[0]:
            shift = b[c]
        for i in range(B):
            for j in range(n):
                y[i, c, j] = (x[i, c, j] - m) * scale + shift


@kernel
def _backward(args, start, stop):
    dy, x, dx, mean, variance = cube(args, 0), cube(args, 1), cube(args, 2), vector(args, 3), vector(args, 4)
    w, dmean, dvariance, dw, db = vector(args, 5), vector(args, 6), vector(args, 7), vector(args, 8), vector(args, 9)
    eps = number(args, 10)
    B, n = x.shape[0], x.shape[2]
    count = np.float32(B * n)
    for c in range(start, stop):
        m, r = mean[c], ONE / np.sqrt(variance[c] + eps)
        sum_dy, sum_z = 0.0, 0.0
        for i in range(B):
            part, part_z = ZERO, ZERO
            for j in range(n):
                part += dy[i, c, j]
                part_z += dy[i, c, j] * (x[i, c, j] - m)
            sum_dy += part
            sum_z += part_z
        dw[c], db[c] = np.float32(sum_z * r), np.float32(sum_dy)
        scale = r
        if w.shape[0]:
            scale *= w[c]
        shift = scale * db[c] / count - dmean[c] / count
        slope = r * (scale * dw[c] / count - dvariance[c] * np.float32(2) / (count * r))
        for i in range(B):
            for j in range(n):
                dx[i, c, j] = dy[i, c, j] * scale - shift - (x[i, c, j] - m) * slope


def _vector(a):
    """One number for each channel; None: an array of no size."""
    return 0 if a is None else np.ascontiguousarray(a.reshape(-1))


@fast_path(Standardize, "numpy")
class StandardizeCPU(Standardize):
    @staticmethod
    def accepts(x, w, b, *, axes, eps):
        return (
            x.dtype is FLOAT32 and x.flags.c_contiguous and axes == (0, *range(2, x.ndim))
            and x.size >= ROW * x.shape[0] * x.shape[1] > 0
            and all(v is None or v.size == x.shape[1] for v in (w, b))
        )  # fmt: skip

    def forward(self, x, w, b, *, axes, eps):
        B, C = x.shape[:2]
        y, mean, variance = np.empty_like(x), np.empty(C, FLOAT32), np.empty(C, FLOAT32)
        shape = (B, C, x.size // (B * C))
        over_rows(
            _forward, C, x.size, x.reshape(shape), y.reshape(shape), mean, variance, _vector(w), _vector(b), float(eps)
        )
        mean, variance = (v.reshape((1, C) + (1,) * (x.ndim - 2)) for v in (mean, variance))
        self.save(x, w, mean, variance, axes, eps, x.size // C, b if b is None else b.shape)
        return y, mean, variance

    def backward(self, dy, dmean, dvariance):
        x, w, mean, variance, _, eps, _, b_shape = self.saved
        B, C = x.shape[:2]
        dx, dw, db = np.empty_like(x), np.empty(C, FLOAT32), np.empty(C, FLOAT32)
        shape = (B, C, x.size // (B * C))
        over_rows(
            _backward, C, 2 * x.size, np.ascontiguousarray(dy).reshape(shape), x.reshape(shape), dx.reshape(shape),
            *map(_vector, (mean, variance, w, dmean, dvariance)), dw, db, float(eps),
        )  # fmt: skip
        return (
            dx if self.needs[0] else None,
            dw.reshape(w.shape) if self.needs[1] else None,
            db.reshape(b_shape) if self.needs[2] else None,
        )

    def reference_saved(self):
        return self.saved
