"""LayerNorm over contiguous rows: one pass for mean and variance, one to write; backward in two."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.normalize import LayerNorm
from .compile import kernel, matrix, number, over_rows, plain, vector

ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def _forward(args, start, stop):
    x, w, b, y, mean = matrix(args, 0), vector(args, 1), vector(args, 2), matrix(args, 3), vector(args, 4)
    r, eps = vector(args, 5), number(args, 6)
    n = x.shape[1]
    for i in range(start, stop):
        total = ZERO
        for j in range(n):
            total += x[i, j]
        m = total / np.float32(n)
        squares = ZERO
        for j in range(n):
            squares += (x[i, j] - m) * (x[i, j] - m)
        scale = ONE / np.sqrt(squares / np.float32(n) + eps)
        mean[i], r[i] = m, scale
        for j in range(n):
            y[i, j] = (x[i, j] - m) * scale * w[j] + b[j]


@kernel
def _backward_x(args, start, stop):
    dy, x, w, mean, r = matrix(args, 0), matrix(args, 1), vector(args, 2), vector(args, 3), vector(args, 4)
    dx = matrix(args, 5)
    n = x.shape[1]
    for i in range(start, stop):
        m, s = mean[i], r[i]
        a = c = ZERO
        for j in range(n):
            dz = dy[i, j] * w[j]
            a += dz
            c += dz * (x[i, j] - m) * s
        a, c = a / np.float32(n), c / np.float32(n)
        for j in range(n):
            dx[i, j] = s * (dy[i, j] * w[j] - a - (x[i, j] - m) * s * c)


@kernel
def _backward_w(args, start, stop):
    """Each block of rows sums into a row of its own of dw and db; blocks are fixed, so is the order of the sums."""
    dy, x, mean, r, dw = matrix(args, 0), matrix(args, 1), vector(args, 2), vector(args, 3), matrix(args, 4)
    db = matrix(args, 5)
    n = x.shape[1]
    rows = x.shape[0]
    blocks = dw.shape[0]
    for k in range(start, stop):
        for i in range(rows * k // blocks, rows * (k + 1) // blocks):
            m, s = mean[i], r[i]
            for j in range(n):
                dw[k, j] += dy[i, j] * (x[i, j] - m) * s
                db[k, j] += dy[i, j]


@fast_path(LayerNorm, "numpy")
class LayerNormCPU(LayerNorm):
    @staticmethod
    def accepts(x, w, b, *, ndim, eps):
        return ndim == 1 and w is not None and b is not None and plain(x) and x.shape[-1] > 0 and _in_order(w, b)

    def forward(self, x, w, b, *, ndim, eps):
        n = x.shape[-1]
        y, mean = np.empty_like(x), np.empty(x.size // n, x.dtype)
        r = np.empty_like(mean)
        over_rows(_forward, len(r), x.size, x.reshape(-1, n), w, b, y.reshape(-1, n), mean, r, np.float32(eps))
        self.save(x, w, mean, r, eps)
        return y

    def backward(self, dy):
        x, w, mean, r, _ = self.saved
        n = x.shape[-1]
        dy, rows = np.ascontiguousarray(dy).reshape(-1, n), x.reshape(-1, n)
        dx = dw = db = None
        if self.needs[0]:
            dx = np.empty_like(x)
            over_rows(_backward_x, len(r), x.size, dy, rows, w, mean, r, dx.reshape(-1, n))
        if self.needs[1] or self.needs[2]:
            blocks = min(64, max(1, len(r) // 32))
            dw, db = np.zeros((blocks, n), x.dtype), np.zeros((blocks, n), x.dtype)
            over_rows(_backward_w, blocks, x.size, dy, rows, mean, r, dw, db)
            dw, db = dw.sum(0), db.sum(0)
        return dx, dw, db

    def reference_saved(self):
        x, w, _, _, eps = self.saved
        return x, w, (x.ndim - 1,), eps


def _in_order(*vectors):
    return all(v.flags.c_contiguous for v in vectors)
