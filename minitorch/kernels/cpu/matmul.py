"""Products of matrices on our own threads (pool.py says why), and the bias in the same pass."""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.matmul import Linear, MatMul
from . import blas
from .blas import sgemm
from .compile import FLOAT32, address, floats_at, kernel, matrix, over_rows, run, vector, word

ZERO, ONE = np.float32(0), np.float32(1)
SMALL = 1 << 18  # multiplications below which BLAS does not wake its threads either
PRODUCTS_PER_ELEMENT = 16  # multiplications that weigh as much as an element of the other kernels


@kernel
def _matrix(args, start, stop):
    """Rows [start, stop) of C = A B + bias, or with `across` columns."""
    function, m, n, k = word(args, 0, 0), word(args, 0, 1), word(args, 0, 2), word(args, 0, 3)
    a, turn_a, step_a = word(args, 0, 4), word(args, 0, 5), word(args, 0, 6)
    b, turn_b, step_b = word(args, 0, 7), word(args, 0, 8), word(args, 0, 9)
    c, step_c, bias, across = word(args, 0, 10), n, word(args, 0, 11), word(args, 0, 12)
    if across:
        b += 4 * start * (step_b if turn_b else 1)
        c += 4 * start
        n = stop - start
    else:
        a += 4 * start * (1 if turn_a else step_a)
        c += 4 * start * step_c
        m = stop - start
    beta = ZERO
    if bias:  # BLAS would fill C with zeros first
        beta = ONE
        first = floats_at(bias + (4 * start if across else 0), n)
        for i in range(m):
            row = floats_at(c + 4 * i * step_c, n)
            for j in range(n):
                row[j] = first[j]
    sgemm(function, turn_a, turn_b, m, n, k, ONE, a, step_a, b, step_b, beta, c, step_c)


@kernel
def _stack(args, start, stop):
    """Matrices [start, stop) of C = A B; two leading axes, the second of size `inner`."""
    function, m, n, k = word(args, 0, 0), word(args, 0, 1), word(args, 0, 2), word(args, 0, 3)
    a, turn_a, step_a = word(args, 0, 4), word(args, 0, 5), word(args, 0, 6)
    b, turn_b, step_b = word(args, 0, 7), word(args, 0, 8), word(args, 0, 9)
    c, inner = word(args, 0, 10), word(args, 0, 11)
    for i in range(start, stop):
        outer, rest = i // inner, i % inner
        at_a = a + outer * word(args, 0, 12) + rest * word(args, 0, 13)
        at_b = b + outer * word(args, 0, 14) + rest * word(args, 0, 15)
        sgemm(function, turn_a, turn_b, m, n, k, ONE, at_a, step_a, at_b, step_b, ZERO, c + 4 * i * m * n, n)


@kernel
def _column_sums(args, start, stop):
    x, y = matrix(args, 0), vector(args, 1)
    for j in range(start, stop):
        y[j] = ZERO
    for i in range(x.shape[0]):
        for j in range(start, stop):
            y[j] += x[i, j]


def _laid_out(a: np.ndarray) -> tuple[np.ndarray, int, int]:
    """An array whose matrices BLAS can read, whether it reads them transposed, and the step from row to row."""
    down, across = a.strides[-2:]
    height, width = a.shape[-2:]
    if across == 4 and down % 4 == 0 and down >= 4 * width:
        return a, 0, down // 4
    if down == 4 and across % 4 == 0 and across >= 4 * height:
        return a, 1, across // 4
    return np.ascontiguousarray(a), 0, width


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """a @ b + bias for two matrices, or a @ b for two stacks of the same shape, of up to two leading axes."""
    m, k = a.shape[-2:]
    n = b.shape[-1]
    c = np.empty((*a.shape[:-1], n), FLOAT32)
    (a, turn_a, step_a), (b, turn_b, step_b) = _laid_out(a), _laid_out(b)
    words = [blas.SGEMM, m, n, k, address(a), turn_a, step_a, address(b), turn_b, step_b, address(c)]
    size = c.size * k // PRODUCTS_PER_ELEMENT
    if c.ndim == 2:
        across = n > m
        words += 0 if bias is None else address(bias), across
        run(_matrix, n if across else m, size, words, product=True)
    else:
        words.append(c.shape[-3])
        for x in (a, b):
            words += (0, *x.strides[:-2])[-2:]
        run(_stack, c.size // (m * n), size, words, product=True)
    return c


def _large(size: int, *arrays: np.ndarray) -> bool:
    return blas.SGEMM != 0 and size >= SMALL and all(a.dtype is FLOAT32 for a in arrays)


@fast_path(MatMul, "numpy")
class MatMulCPU(MatMul):
    @staticmethod
    def accepts(a, b):
        return a.ndim in (2, 3, 4) and a.shape[:-2] == b.shape[:-2] and _large(a.size * b.shape[-1], a, b)

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None, a.shape, b.shape)
        return product(a, b)

    def backward(self, dy):
        a, b, _, _ = self.saved
        da = product(dy, b.swapaxes(-1, -2)) if self.needs[0] else None
        db = product(a.swapaxes(-1, -2), dy) if self.needs[1] else None
        return da, db

    def reference_saved(self):
        return self.saved


@fast_path(Linear, "numpy")
class LinearCPU(Linear):
    @staticmethod
    def accepts(x, W, b):
        return _large(x.size * W.shape[0], x, W) and (b is None or (b.dtype is FLOAT32 and b.flags.c_contiguous))

    def forward(self, x, W, b):
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape)
        rows = math.prod(x.shape[:-1])
        y = product(x.reshape(rows, x.shape[-1]), W.T, b)
        return y.reshape(*x.shape[:-1], W.shape[0])

    def backward(self, dy):
        x, W, shape = self.saved
        rows = math.prod(shape[:-1])
        dy = dy.reshape(rows, dy.shape[-1])
        dx = product(dy, W).reshape(shape) if self.needs[0] else None
        dW = product(dy.T, x.reshape(rows, shape[-1])) if self.needs[1] else None
        db = None
        if self.needs[2]:
            dy, db = np.ascontiguousarray(dy), np.empty(dy.shape[1], np.float32)
            over_rows(_column_sums, len(db), dy.size, dy, db)
        return dx, dW, db

    def reference_saved(self):
        return self.saved
