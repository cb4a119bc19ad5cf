"""Cross-entropy from logits: a row is read twice while it stays in cache, and no matrix of probabilities is kept.

With label smoothing e: own = 1 - e is the weight of the target's loss, rest = e / C that of every class.
"""

from __future__ import annotations

import numpy as np

from ...backend import checks
from ...backend.fastpath import fast_path
from ...ops.loss import CrossEntropy, out_of_bounds
from .compile import bytes_, integers, kernel, matrix, number, over_rows, plain, vector
from .fastmath import exp, largest

ZERO = np.float32(0)


@kernel
def _forward(args, start, stop):
    z, target, keep, lse = matrix(args, 0), integers(args, 1), bytes_(args, 2), vector(args, 3)
    y, own, rest = vector(args, 4), np.float32(number(args, 5)), np.float32(number(args, 6))
    n = z.shape[1]
    for i in range(start, stop):
        top = largest(z, i)
        total = ZERO
        for j in range(n):
            total += exp(z[i, j] - top)
        lse[i] = np.log(total) + top
        y[i] = own * (lse[i] - z[i, target[i]]) if keep[i] else ZERO
        if rest and keep[i]:
            total = ZERO
            for j in range(n):
                total += lse[i] - z[i, j]
            y[i] += rest * total


@kernel
def _backward(args, start, stop):
    dy, z, target, keep = vector(args, 0), matrix(args, 1), integers(args, 2), bytes_(args, 3)
    lse, dz = vector(args, 4), matrix(args, 5)
    own, rest = np.float32(number(args, 6)), np.float32(number(args, 7))
    n = z.shape[1]
    for i in range(start, stop):
        g = dy[i] if keep[i] else ZERO
        for j in range(n):
            dz[i, j] = g * (exp(z[i, j] - lse[i]) - rest)
        dz[i, target[i]] -= g * own


@fast_path(CrossEntropy, "numpy")
class CrossEntropyCPU(CrossEntropy):
    @staticmethod
    def accepts(z, *, target, weight, ignore_index, smoothing):
        return weight is None and plain(z)

    def forward(self, z, *, target, weight, ignore_index, smoothing):
        keep = target != ignore_index
        message = out_of_bounds("cross_entropy", z.shape[1], ignore_index)
        t = checks.in_range(np.where(keep, target, 0), 0, z.shape[1], message, IndexError).astype(np.int64, copy=False)
        lse, y = np.empty(len(z), z.dtype), np.empty(len(z), z.dtype)
        over_rows(_forward, len(z), z.size, z, t, keep, lse, y, 1.0 - smoothing, smoothing / z.shape[1])
        self.save(z, t, keep, lse, smoothing)
        return y

    def backward(self, dy):
        z, t, keep, lse, smoothing = self.saved
        dz = np.empty_like(z)
        dy = np.ascontiguousarray(dy)
        over_rows(_backward, len(z), z.size, dy, z, t, keep, lse, dz, 1.0 - smoothing, smoothing / z.shape[1])
        return dz

    def reference_saved(self):
        z, t, keep, _, smoothing = self.saved
        return z, t, keep, np.ones(z.shape[1], z.dtype), smoothing
