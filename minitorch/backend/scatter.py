"""Adding values to places of an array that may repeat: `target[index] += values` would count each place once."""

from __future__ import annotations

from typing import Any

import numpy as np


def add_at(target: Any, index: Any, values: Any, xp: Any) -> None:
    """target[index] += values, with every repetition counted. `index` as for `target[index]`, `values` of its shape."""
    if xp is not np:
        _add_atomically(target, index, values, xp)
        return
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    if isinstance(index, np.ndarray) and index.dtype.kind == "i" and target.ndim > 1 and index.size > 1:
        _add_rows(target, index.reshape(-1), values.reshape((index.size, *target.shape[1:])))
    else:
        np.add.at(target, index, values)


def count_of(index: Any, length: int, xp: Any, weights: Any = None) -> Any:
    """How often each of 0, ..., length - 1 occurs in a vector, int64; with weights their sums, float64.

    Every number has to be below `length`, so that nothing of the length depends on the numbers: CuPy's bincount looks at them.
    """
    if xp is np:
        return np.bincount(index, weights, length).astype(np.int64 if weights is None else np.float64, copy=False)
    if weights is None:
        weights = xp.ones(index.shape, np.int64)
    kind = np.int64 if weights.dtype.kind in "iu" else np.float64
    counts = xp.zeros(length, kind)
    _add_atomically(counts, index, weights.astype(kind), xp)
    return counts


def _add_atomically(target: Any, index: Any, values: Any, xp: Any) -> None:
    """CuPy adds in uint64, not in int64, whose sums have the same bits; not in smaller integers than int32, nor in bfloat16. In
    float16 it would round after each of the terms."""
    if target.dtype == np.int64:
        xp.add.at(target.view(np.uint64), index, values.astype(np.int64).view(np.uint64))
    elif target.dtype.kind in "iub" and target.dtype.itemsize < 4:
        wide = target.astype(np.int32)
        xp.add.at(wide, index, values.astype(np.int32))
        target[...] = wide.astype(target.dtype)
    elif target.dtype.itemsize == 2:
        wide = target.astype(np.float32)
        xp.add.at(wide, index, values.astype(np.float32))
        target[...] = wide.astype(target.dtype)
    else:
        xp.add.at(target, index, values)


def _add_rows(target: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Sorted by row, each run of equal rows is one sum: many times faster than add.at where rows are long."""
    rows = np.where(rows < 0, rows + len(target), rows)
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    target[rows[starts]] += np.add.reduceat(values[order], starts, axis=0, dtype=target.dtype)
