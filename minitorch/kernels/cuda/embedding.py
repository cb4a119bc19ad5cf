"""Embedding: rows by number, checked in the same launch; and rows added at numbers that may repeat, which is its gradient, that
of Index, and IndexAdd itself. The sums are in float32 and always in the same order."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...backend import checks
from ...backend.fastpath import fast_path
from ...ops.attention import Embedding, out_of_range
from ...ops.index import Index, IndexAdd
from .cast import cast
from .elementwise import grid, threads
from .launch import TYPES, Source, contiguous, plain

_source = Source("embedding.cu")
INDICES = {np.dtype(np.int32): "int", np.dtype(np.int64): "i64"}
CHUNK = 32  # places whose rows a block sums; as in embedding.cu
PIECE = 1 << 15  # places that are put in order at once, by comparing each with each


def _places(index: Any) -> Any:
    """The array of a look-up of whole rows; None for another kind of index."""
    if isinstance(index, tuple):
        if len(index) != 1:
            return None
        index = index[0]
    return index if getattr(index, "dtype", None) in INDICES and not isinstance(index, np.ndarray) else None


def _suits(index: Any, shape: tuple, x: Any) -> bool:
    """x: what is added, or what is read. shape: the table's."""
    index = _places(index)
    if index is None or not index.size or not prod(shape) or shape[0] >= 2**31 - 1 or not x.size:
        return False
    return x.dtype in TYPES and prod(shape[1:]) <= 65535 * 32


def add_rows(x: Any, index: Any, shape: tuple, xp: Any, skip: int = -1) -> Any:
    """zeros(shape), x added at the index: y[index] += x, repetitions counted. skip: a row that stays zero."""
    index, x = contiguous(_places(index)).reshape(-1), contiguous(x)
    n, rows, columns = index.size, shape[0], prod(shape[1:])
    x = x.reshape(n, columns)
    pieces = int(n > PIECE)
    y = xp.zeros(shape, np.float32 if pieces else x.dtype)
    macros = {"DTYPE": x.dtype, "INDEX": INDICES[index.dtype]}
    for start in range(0, n, PIECE):
        part = index[start : start + PIECE]
        m = part.size
        chunks, block = -(-m // CHUNK), threads(columns)
        place, key = xp.empty(m, np.int32), xp.empty(m, np.int32)
        first, last = xp.empty((chunks, columns), np.float32), xp.empty((chunks, columns), np.float32)
        _source.launch("order", *grid(m), part, place, key, m, rows, **macros)
        size, sizes = (chunks, -(-columns // block)), (m, rows, columns, skip, pieces)
        _source.launch("segments", size, block, x[start : start + PIECE], place, key, y, first, last, *sizes, **macros)
        if chunks > 1:
            _source.launch("joins", size, block, key, y, first, last, *sizes, **macros)
    return cast(y, x.dtype, xp) if pieces and x.dtype != np.float32 else y


@fast_path(IndexAdd, "cupy")
class IndexAddCUDA(IndexAdd):
    @staticmethod
    def accepts(x, *, index, shape):
        return _suits(index, shape, x)

    def forward(self, x, *, index, shape):
        self.save(index)
        return add_rows(x, index, shape, self.xp)

    def backward(self, dy):
        (index,) = self.saved
        return dy[index]

    def reference_saved(self):
        return self.saved


@fast_path(Index, "cupy")
class IndexCUDA(Index):
    """Reading is one launch of CuPy's."""

    @staticmethod
    def accepts(x, *, index):
        return x.ndim > 0 and _suits(index, x.shape, x)

    def forward(self, x, *, index):
        self.save(index, x.shape)
        return x[index]

    def backward(self, dy):
        index, shape = self.saved
        return add_rows(dy, index, shape, self.xp)

    def reference_saved(self):
        return self.saved


@fast_path(Embedding, "cupy")
class EmbeddingCUDA(Embedding):
    @staticmethod
    def accepts(W, *, index, padding, scale=None):
        return scale is None and plain(W) and _suits(index, W.shape, W)

    def forward(self, W, *, index, padding, scale=None):
        xp, (rows, columns) = self.xp, W.shape
        self.save(index, padding, scale, W.shape)
        y = xp.empty((*index.shape, columns), W.dtype)
        flag, code = checks.flag(xp, out_of_range(rows), IndexError)
        arguments = W, contiguous(index), y, index.size, rows, columns, flag, code
        _source.launch("gather", *grid(index.size * 32), *arguments, DTYPE=W.dtype, INDEX=INDICES[index.dtype])
        return y

    def backward(self, dy):
        index, padding, _, shape = self.saved
        return add_rows(dy, index, shape, self.xp, -1 if padding is None else padding)

    def reference_saved(self):
        return self.saved
