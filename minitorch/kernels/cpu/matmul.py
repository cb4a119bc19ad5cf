"""Products of matrices on our own threads (pool.py says why), and the bias in the same pass."""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.matmul import Linear, MatMul
from . import blas
from .blas import sgemm
from .compile import FLOAT32, address, floats_at, kernel, matrix, matrix_at, over_rows, run, vector, word

ZERO, ONE = np.float32(0), np.float32(1)
SMALL = 1 << 18  # multiplications below which BLAS does not wake its threads either
FEW = 64  # rows up to which `_few_rows` is faster
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
def _few_rows(args, start, stop):
    """y = x W^T + b where x has few rows: BLAS would spend as long on repacking W as on the product.

    16 dot products at a time, 4 rows of x with 4 of W, both read in order; the last ones overlap those before.
    """
    m, n, k = word(args, 0, 1), word(args, 0, 2), word(args, 0, 3)
    x, w, y = matrix_at(word(args, 0, 4), m, k), matrix_at(word(args, 0, 7), n, k), matrix_at(word(args, 0, 10), m, n)
    bias = word(args, 0, 11)
    for block in range(start, stop):
        j = min(4 * block, n - 4)
        p = q = r = s = ZERO
        if bias:
            first = floats_at(bias, n)
            p, q, r, s = first[j], first[j + 1], first[j + 2], first[j + 3]
        for rows in range((m + 3) // 4):
            i = min(4 * rows, m - 4)
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = ZERO
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = ZERO
            for t in range(k):
                a, b, c, d = x[i, t], x[i + 1, t], x[i + 2, t], x[i + 3, t]
                e, f, g, h = w[j, t], w[j + 1, t], w[j + 2, t], w[j + 3, t]
                a0, a1, a2, a3 = a0 + a * e, a1 + a * f, a2 + a * g, a3 + a * h
                b0, b1, b2, b3 = b0 + b * e, b1 + b * f, b2 + b * g, b3 + b * h
                c0, c1, c2, c3 = c0 + c * e, c1 + c * f, c2 + c * g, c3 + c * h
                d0, d1, d2, d3 = d0 + d * e, d1 + d * f, d2 + d * g, d3 + d * h
            y[i, j], y[i, j + 1], y[i, j + 2], y[i, j + 3] = a0 + p, a1 + q, a2 + r, a3 + s
            y[i + 1, j], y[i + 1, j + 1], y[i + 1, j + 2], y[i + 1, j + 3] = b0 + p, b1 + q, b2 + r, b3 + s
            y[i + 2, j], y[i + 2, j + 1], y[i + 2, j + 2], y[i + 2, j + 3] = c0 + p, c1 + q, c2 + r, c3 + s
            y[i + 3, j], y[i + 3, j + 1], y[i + 3, j + 2], y[i + 3, j + 3] = d0 + p, d1 + q, d2 + r, d3 + s


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
        if 4 <= m <= FEW and n >= 4 and turn_b and not turn_a and step_a == step_b == k:
            run(_few_rows, (n + 3) // 4, size, words)
            return c
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
