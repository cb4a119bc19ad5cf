"""Products of matrices on our own threads (pool.py says why), and the bias in the same pass."""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.matmul import Linear, MatMul
from . import blas, compile
from .blas import sgemm
from .compile import FLOAT32, address, floats_at, inline, kernel, matrix_at, run, word

ZERO, ONE = np.float32(0), np.float32(1)
SMALL = 1 << 18  # multiplications below which BLAS does not wake its threads either
FEW = 64  # rows up to which `_few_rows` is faster
WORDS = 15  # that describe a product
PRODUCTS_PER_ELEMENT = 16  # multiplications that weigh as much as an element of the other kernels


@inline
def _part(args, i, start, stop):
    """Rows [start, stop) of product i of the block: C = A B + bias, or with `across` columns."""
    at = args + 8 * WORDS * i
    function, m, n, k = word(at, 0, 0), word(at, 0, 1), word(at, 0, 2), word(at, 0, 3)
    a, turn_a, step_a = word(at, 0, 4), word(at, 0, 5), word(at, 0, 6)
    b, turn_b, step_b = word(at, 0, 7), word(at, 0, 8), word(at, 0, 9)
    c, step_c, bias, across = word(at, 0, 10), n, word(at, 0, 11), word(at, 0, 12)
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
def _matrix(args, start, stop):
    _part(args, 0, start, stop)


@kernel
def _products(args, start, stop):
    """Several products in one job: pieces [start, stop), each a part of one of them, or of the column sums of dy."""
    pieces, count = word(args, 0, 13), word(args, 0, 14)
    for piece in range(start, stop):
        i, part = piece // pieces, piece % pieces
        if i < count:
            at = args + 8 * WORDS * i
            rows = word(at, 0, 2) if word(at, 0, 12) else word(at, 0, 1)
            _part(args, i, rows * part // pieces, rows * (part + 1) // pieces)
        else:
            at = args + 8 * WORDS * count
            m, n = word(at, 0, 1), word(at, 0, 2)
            first = n * part // pieces
            width = n * (part + 1) // pieces - first
            y = floats_at(word(at, 0, 3) + 4 * first, width)
            for j in range(width):
                y[j] = ZERO
            for r in range(m):  # a row's part counted from 0: an index whose sign is unknown is no vector code
                x = floats_at(word(at, 0, 0) + 4 * (r * n + first), width)
                for j in range(width):
                    y[j] += x[j]


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


def _laid_out(a: np.ndarray) -> tuple[np.ndarray, int, int]:
    """An array whose matrices BLAS can read, whether it reads them transposed, and the step from row to row."""
    down, across = a.strides[-2:]
    height, width = a.shape[-2:]
    if across == 4 and down % 4 == 0 and down >= 4 * width:
        return a, 0, down // 4
    if down == 4 and across % 4 == 0 and across >= 4 * height:
        return a, 1, across // 4
    return np.ascontiguousarray(a), 0, width


def _described(a: np.ndarray, b: np.ndarray, c: np.ndarray, bias: np.ndarray | None, keep: list) -> list[int]:
    """The words of c = a @ b + bias. keep: what must live until the job is done."""
    (a, turn_a, step_a), (b, turn_b, step_b) = _laid_out(a), _laid_out(b)
    keep += a, b
    (m, k), n = a.shape, b.shape[1]
    words = [blas.SGEMM, m, n, k, address(a), turn_a, step_a, address(b), turn_b, step_b, address(c)]
    return [*words, 0 if bias is None else address(bias), n > m, 0, 0]


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """a @ b + bias for two matrices, or a @ b for two stacks of the same shape, of up to two leading axes."""
    m, k = a.shape[-2:]
    n = b.shape[-1]
    c = np.empty((*a.shape[:-1], n), FLOAT32)
    size = c.size * k // PRODUCTS_PER_ELEMENT
    keep: list[np.ndarray] = []
    if c.ndim == 2:
        words = _described(a, b, c, bias, keep)
        turn_a, step_a, turn_b, step_b, across = words[5], words[6], words[8], words[9], words[12]
        if 4 <= m <= FEW and n >= 4 and turn_b and not turn_a and step_a == step_b == k:
            run(_few_rows, (n + 3) // 4, size, words)
        else:
            run(_matrix, n if across else m, size, words, product=True)
        return c
    (a, turn_a, step_a), (b, turn_b, step_b) = _laid_out(a), _laid_out(b)
    words = [blas.SGEMM, m, n, k, address(a), turn_a, step_a, address(b), turn_b, step_b, address(c), c.shape[-3]]
    for x in (a, b):
        words += (0, *x.strides[:-2])[-2:]
    run(_stack, c.size // (m * n), size, words, product=True)
    return c


def products(pairs: list[tuple[np.ndarray, np.ndarray]], summed: np.ndarray | None) -> tuple[list, np.ndarray | None]:
    """a @ b for each pair of matrices, and the sums of a matrix's columns, in one job: threads wait for each other once."""
    results = [np.empty((len(a), b.shape[1]), FLOAT32) for a, b in pairs]
    keep: list[np.ndarray] = []
    words: list[int] = []
    for (a, b), c in zip(pairs, results):
        words += _described(a, b, c, None, keep)
    sums = None
    if summed is not None:
        summed = np.ascontiguousarray(summed)
        sums = np.empty(summed.shape[1], FLOAT32)
        words += address(summed), len(summed), summed.shape[1], address(sums), *[0] * (WORDS - 4)
    pieces = compile.THREADS
    words[13], words[14] = pieces, len(pairs)
    size = sum(c.size * a.shape[1] for (a, _), c in zip(pairs, results)) // PRODUCTS_PER_ELEMENT
    count = pieces * (len(pairs) + (sums is not None))
    run(_products, count, size, words, product=True, each=count)
    return results, sums


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
        pairs = []
        if self.needs[0]:
            pairs.append((dy, W))
        if self.needs[1]:
            pairs.append((dy.T, x.reshape(rows, shape[-1])))
        if not pairs:
            return None, None, dy.sum(0) if self.needs[2] else None
        results, db = products(pairs, dy if self.needs[2] else None)
        dx = results.pop(0).reshape(shape) if self.needs[0] else None
        return dx, results[0] if self.needs[1] else None, db

    def reference_saved(self):
        return self.saved
