"""LayerNorm over contiguous rows: one pass for mean and variance, one to write; backward in as many."""

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
def _backward(args, start, stop):
    """Each block of rows sums into a row of its own of dw and db; blocks are fixed, so is the order of the sums."""
    dy, x, w, mean, r = matrix(args, 0), matrix(args, 1), vector(args, 2), vector(args, 3), vector(args, 4)
    dx, dw, db = matrix(args, 5), matrix(args, 6), matrix(args, 7)
    rows, n = x.shape
    blocks = dw.shape[0]
    for k in range(start, stop):
        for i in range(rows * k // blocks, rows * (k + 1) // blocks):
            m, s = mean[i], r[i]
            a = c = ZERO
            for j in range(n):
                g, z = dy[i, j], (x[i, j] - m) * s
                dw[k, j] += g * z
                db[k, j] += g
                a += g * w[j]
                c += g * w[j] * z
            a, c = s * a / np.float32(n), s * s * c / np.float32(n)
            for j in range(n):
                dx[i, j] = s * w[j] * dy[i, j] - a - (x[i, j] - m) * c


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
        dx, blocks = np.empty_like(x), min(64, max(1, len(r) // 32))
        dw, db = np.zeros((blocks, n), x.dtype), np.zeros((blocks, n), x.dtype)
        dy = np.ascontiguousarray(dy).reshape(-1, n)
        over_rows(_backward, blocks, x.size, dy, x.reshape(-1, n), w, mean, r, dx.reshape(-1, n), dw, db)
        return dx, dw.sum(0), db.sum(0)

    def reference_saved(self):
        x, w, _, _, eps = self.saved
        return x, w, (x.ndim - 1,), eps


def _in_order(*vectors):
    return all(v.flags.c_contiguous for v in vectors)
