"""Softmax over contiguous rows: three passes over a row that stays in cache, in place of five over all of memory."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.softmax import LogSoftmax, Softmax
from .compile import kernel, matrix, over_rows, plain
from .fastmath import exp, largest

ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def _forward(args, start, stop):
    x, y = matrix(args, 0), matrix(args, 1)
    n = x.shape[1]
    for i in range(start, stop):
        top = largest(x, i)
        total = ZERO
        for j in range(n):
            e = exp(x[i, j] - top)
            y[i, j] = e
            total += e
        scale = ONE / total
        for j in range(n):
            y[i, j] *= scale


@kernel
def _backward(args, start, stop):
    dy, y, dx = matrix(args, 0), matrix(args, 1), matrix(args, 2)
    n = y.shape[1]
    for i in range(start, stop):
        total = ZERO
        for j in range(n):
            total += dy[i, j] * y[i, j]
        for j in range(n):
            dx[i, j] = y[i, j] * (dy[i, j] - total)


@kernel
def _log_forward(args, start, stop):
    x, y = matrix(args, 0), matrix(args, 1)
    n = x.shape[1]
    for i in range(start, stop):
        top = largest(x, i)
        total = ZERO
        for j in range(n):
            total += exp(x[i, j] - top)
        shift = top + np.log(total)
        for j in range(n):
            y[i, j] = x[i, j] - shift


@kernel
def _log_backward(args, start, stop):
    dy, y, dx = matrix(args, 0), matrix(args, 1), matrix(args, 2)
    n = y.shape[1]
    for i in range(start, stop):
        total = ZERO
        for j in range(n):
            total += dy[i, j]
        for j in range(n):
            dx[i, j] = dy[i, j] - exp(y[i, j]) * total


@fast_path(Softmax, "numpy")
class SoftmaxCPU(Softmax):
    @staticmethod
    def accepts(x, *, axis=-1):
        return (axis == -1 or axis == x.ndim - 1) and plain(x)

    kernels = _forward, _backward

    def forward(self, x, *, axis=-1):
        y = np.empty_like(x)
        rows = (-1, x.shape[-1])
        over_rows(self.kernels[0], x.size // x.shape[-1], x.size, x.reshape(rows), y.reshape(rows))
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        dx = np.empty_like(y)
        rows = (-1, y.shape[-1])
        dy = np.ascontiguousarray(dy)
        over_rows(self.kernels[1], y.size // y.shape[-1], y.size, dy.reshape(rows), y.reshape(rows), dx.reshape(rows))
        return dx

    def reference_saved(self):
        return (self.saved[0], -1)


@fast_path(LogSoftmax, "numpy")
class LogSoftmaxCPU(LogSoftmax):
    kernels = _log_forward, _log_backward
    accepts = staticmethod(SoftmaxCPU.accepts)
    forward, backward, reference_saved = SoftmaxCPU.forward, SoftmaxCPU.backward, SoftmaxCPU.reference_saved
