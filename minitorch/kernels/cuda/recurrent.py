"""LSTM and GRU: for each step one product through cuBLAS and one kernel for all the rest, forward as well as backward.

The product of the input with W_ih, for all steps at once, is the `linear` before the op; dW is one product after the walk.
In half precision the products' results, the cells and the gradients of both states stay in float32 from step to step.
"""

from __future__ import annotations

from typing import Any

from ...backend.fastpath import fast_path
from ...ops.recurrent import GRUSequence, LSTMSequence, _steps
from .blas import product
from .launch import TYPES, Source, contiguous
from .matmul import sum_of_rows

_source = Source("recurrent.cu")
THREADS = 128


def _plain(*arrays):
    dtype = arrays[0].dtype
    return dtype in TYPES and all(
        a is None or (a.dtype == dtype and a.flags.c_contiguous and a.size > 0) for a in arrays
    )


def _launch(name, elements, *arguments, dtype):
    _source.launch(name, -(-elements // THREADS), THREADS, *arguments, DTYPE=dtype)


def _given(d):
    return d if d is None else contiguous(d)


def _walk(batch_sizes: tuple, reverse: bool) -> list:
    """For each step: its first row, its rows, the first row of the step before, and how many of its rows that one had."""
    steps, walk, before, awake = _steps(batch_sizes, reverse), [], 0, 0
    for start, stop in steps:
        walk.append((start, stop - start, before, min(awake, stop - start)))
        before, awake = start, stop - start
    return walk


def _in_dtype(a: Any, dtype: Any) -> Any:
    return a if a.dtype == dtype else a.astype(dtype)


def _first(a: Any, live: int) -> Any:
    return a if live == a.shape[0] else a[:live]


@fast_path(LSTMSequence, "cupy")
class LSTMSequenceCUDA(LSTMSequence):
    half = True

    @staticmethod
    def accepts(x, h0, c0, W, R=None, *, batch_sizes, reverse=False):
        return R is None and _plain(x, h0, c0, W)

    def forward(self, x, h0, c0, W, R=None, *, batch_sizes, reverse=False):
        xp, (B, n), dtype = self.xp, c0.shape, x.dtype
        h, c, z = h0.copy(), xp.empty((B, n), "float32"), xp.empty((B, 4 * n), "float32")
        gates, W_T = xp.empty_like(x), W.swapaxes(0, 1)
        y, cells = (xp.empty((x.shape[0], n), dtype) for _ in range(2))
        for start, live, _, awake in _walk(batch_sizes, reverse):
            product(xp, _first(h, live), W_T, _first(z, live))
            _launch("lstm_forward", live * n, z, x, c0, c, gates, cells, y, h, n, start, live, awake, dtype=dtype)
        self.save(h0, c0, W, None, y, cells, gates, batch_sizes, reverse)
        return y, cells, gates

    def backward(self, dy, dcells, dgates):
        h0, c0, W, _, y, cells, gates, batch_sizes, reverse = self.saved
        xp, (B, n), dtype = self.xp, c0.shape, y.dtype
        dy, dcells, dgates = map(_given, (dy, dcells, dgates))
        dh, dc = (xp.empty((B, n), "float32") for _ in range(2))
        dz, h_before = xp.empty_like(gates), xp.empty_like(y)
        known = 0
        for start, live, before, awake in reversed(_walk(batch_sizes, reverse)):
            _launch(
                "lstm_backward", live * n, gates, cells, c0, h0, y, dy, dcells, dgates, dh, dc, dz, h_before,
                n, start, live, before, awake, min(known, live), dtype=dtype,
            )  # fmt: skip
            product(xp, dz[start : start + live], W, _first(dh, live))
            known = max(known, live)
        dW = product(xp, dz.swapaxes(0, 1), h_before) if self.needs[3] else None
        return dz, _in_dtype(dh, dtype), _in_dtype(dc, dtype), dW, None

    def reference_saved(self):
        return self.saved


@fast_path(GRUSequence, "cupy")
class GRUSequenceCUDA(GRUSequence):
    half = True

    @staticmethod
    def accepts(x, h0, W, b=None, *, batch_sizes, reverse=False):
        return _plain(x, h0, W, b)

    def forward(self, x, h0, W, b=None, *, batch_sizes, reverse=False):
        xp, (B, n), dtype = self.xp, h0.shape, x.dtype
        h, a, W_T = h0.copy(), xp.empty((B, 3 * n), "float32"), W.swapaxes(0, 1)
        gates, y = (xp.empty((x.shape[0], k * n), dtype) for k in (4, 1))
        for start, live, _, _ in _walk(batch_sizes, reverse):
            product(xp, _first(h, live), W_T, _first(a, live))
            _launch("gru_forward", live * n, a, b, x, gates, y, h, n, start, live, dtype=dtype)
        self.save(h0, W, y, gates, batch_sizes, reverse)
        return y, gates

    def backward(self, dy, dgates):
        h0, W, y, gates, batch_sizes, reverse = self.saved
        xp, (B, n), dtype = self.xp, h0.shape, y.dtype
        dy, dgates = _given(dy), _given(dgates)
        dx, da = (xp.empty((y.shape[0], 3 * n), dtype) for _ in range(2))
        dh, h_before, known = xp.empty((B, n), "float32"), xp.empty_like(y), 0
        for start, live, before, awake in reversed(_walk(batch_sizes, reverse)):
            _launch(
                "gru_backward", live * n, gates, h0, y, dy, dgates, dh, dx, da, h_before,
                n, start, live, before, awake, min(known, live), dtype=dtype,
            )  # fmt: skip
            product(xp, da[start : start + live], W, _first(dh, live), add=True)
            known = max(known, live)
        dW = product(xp, da.swapaxes(0, 1), h_before) if self.needs[2] else None
        db = sum_of_rows(xp, da) if self.needs[3] else None
        return dx, _in_dtype(dh, dtype), dW, db

    def reference_saved(self):
        return self.saved
