"""Adding rows at places that may repeat: IndexAdd, and the gradients of Index and Embedding.

The result is cut into columns, or where rows are short into rows; each thread goes through all of x and adds what falls
into its part. So no two threads write to one place, and the order of every sum is that of the rows of x.
"""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.attention import Embedding, rows_in_range
from ...ops.index import Index, IndexAdd
from .compile import FLOAT32, floats_at, integer, integers, kernel, over_rows, word

ZERO = np.float32(0)
WIDTH = 16  # columns that are not divided: a cache line


@kernel
def _add(args, start, stop):
    index, rows, columns = integers(args, 0), word(args, 2, 1), word(args, 2, 2)
    skip, across = integer(args, 3), integer(args, 4)
    low, high, left, n = start, stop, 0, columns
    if across:
        low, high, left = 0, rows, WIDTH * start
        n = min(WIDTH * stop, columns) - left
    x, y = word(args, 1) + 4 * left, word(args, 2) + 4 * left
    for row in range(low, high):
        to = floats_at(y + 4 * columns * row, n)
        for j in range(n):
            to[j] = ZERO
    for i in range(len(index)):
        row = index[i]
        if row < 0:
            row += rows
        if low <= row and row < high and row != skip:
            to, add = floats_at(y + 4 * columns * row, n), floats_at(x + 4 * columns * i, n)
            for j in range(n):
                to[j] += add[j]


def _places(index):
    """The array of a look-up of whole rows; None for another kind of index."""
    if isinstance(index, tuple):
        if len(index) != 1:
            return None
        index = index[0]
    return index if isinstance(index, np.ndarray) and index.dtype.kind == "i" else None


def _suits(index, shape, x):
    """x: what is added, or what is read."""
    index = _places(index)
    return index is not None and x.dtype is FLOAT32 and index.size * math.prod(shape[1:]) >= 1024


def add_rows(x, index, shape, skip=-1):
    """zeros(shape), x added at the index: y[index] += x, repetitions counted. skip: a row that stays zero."""
    index = np.ascontiguousarray(_places(index), np.int64).reshape(-1)
    rows = shape[0]
    if index.min() < -rows or index.max() >= rows:
        raise IndexError(f"index out of bounds: {index.min()} to {index.max()} for {rows} rows")
    columns = math.prod(shape[1:])
    x = np.ascontiguousarray(x).reshape(len(index), columns)
    y = np.empty((rows, columns), FLOAT32)
    across = columns >= 8 * WIDTH
    over_rows(_add, -(-columns // WIDTH) if across else rows, x.size + y.size, index, x, y, skip, int(across))
    return y.reshape(shape)


@fast_path(IndexAdd, "numpy")
class IndexAddCPU(IndexAdd):
    @staticmethod
    def accepts(x, *, index, shape):
        return _suits(index, shape, x)

    def forward(self, x, *, index, shape):
        self.save(index)
        return add_rows(x, index, shape)

    def backward(self, dy):
        (index,) = self.saved
        return dy[index]

    def reference_saved(self):
        return self.saved


@fast_path(Index, "numpy")
class IndexCPU(Index):
    """Reading is as fast as NumPy is."""

    @staticmethod
    def accepts(x, *, index):
        return _suits(index, x.shape, x)

    def forward(self, x, *, index):
        self.save(index, x.shape)
        return x[index]

    def backward(self, dy):
        index, shape = self.saved
        return add_rows(dy, index, shape)

    def reference_saved(self):
        return self.saved


@fast_path(Embedding, "numpy")
class EmbeddingCPU(Embedding):
    @staticmethod
    def accepts(W, *, index, padding, scale=None):
        return scale is None and _suits(index, W.shape, W)

    def forward(self, W, *, index, padding, scale=None):
        index = rows_in_range(index, W.shape[0])
        self.save(index, padding, scale, W.shape)
        return W[index]

    def backward(self, dy):
        index, padding, _, shape = self.saved
        return add_rows(dy, index, shape, -1 if padding is None else padding)

    def reference_saved(self):
        return self.saved
