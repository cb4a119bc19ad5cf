"""LSTM and GRU: all steps in one call, by blocks of sequences, which do not wait for each other.

Each thread walks its sequences through time: the product with W, which stays in its cache in the order that tiles.py
wants, then the gates of the same rows, which are still in the cache too.
"""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.recurrent import GRUSequence, LSTMSequence, _before, _steps
from . import blas
from .compile import FLOAT32, floats_at, inline, integers, kernel, over_rows, word
from .fastmath import exp
from .matmul import PRODUCTS_PER_ELEMENT, product
from .tiles import COLUMNS, ROWS, packed, times_packed

ONE, TWO = np.float32(1), np.float32(2)


@inline
def sigmoid(x):
    return ONE / (ONE + exp(-x))


@inline
def tanh(x):
    return ONE - TWO / (ONE + exp(TWO * x))


# A loop becomes vector code where the compiler knows that its index is not negative: parts of rows, each from 0 to n.


@inline
def part(args, i, row, p, n):
    """Numbers [p n, (p + 1) n) of a row of argument i."""
    return floats_at(word(args, i) + 4 * (row * word(args, i, 2) + p * n), n)


@inline
def parts(args, i, row, n):
    return part(args, i, row, 0, n), part(args, i, row, 1, n), part(args, i, row, 2, n), part(args, i, row, 3, n)


@inline
def _product(args, a, first, rows, k, c, to):
    """`rows` rows of argument c, from row `to`, become those of argument a, from `first`, times the panels, argument 0."""
    step_a, step_c = word(args, a, 2), word(args, c, 2)
    times_packed(
        word(args, a) + 4 * first * step_a, step_a, rows, k, word(args, 0), word(args, 0, 1),
        word(args, c) + 4 * to * step_c, step_c,
    )  # fmt: skip


@inline
def _state_before(args, t, b, first, states, n):
    """Sequence b's state before step t: that after the step before, or where it begins the first one."""
    firsts, lives = integers(args, 1), integers(args, 2)
    if t > 0 and b < lives[t - 1]:
        return part(args, states, firsts[t - 1] + b, 0, n)
    return part(args, first, b, 0, n)


# The kernels' arguments: 0 the panels of W, 1 each step's first row and 2 its number of rows, in walking order; then
# matrices. A state (B, H) comes in as the first one, and so does its gradient, as zeros, from the other end.


@kernel
def _lstm_forward(args, start, stop):
    """3 h, 4 c, 5 room for W h: (B, 4H) or wider.     6 x, 7 gates, 8 cells, 9 y."""
    firsts, lives, n = integers(args, 1), integers(args, 2), word(args, 4, 2)
    top = start * ROWS
    for t in range(len(firsts)):
        end = min(stop * ROWS, lives[t])
        _product(args, 3, top, end - top, n, 5, top)
        for b in range(top, end):
            row = firsts[t] + b
            for p in range(4):
                z, x, gate = part(args, 5, b, p, n), part(args, 6, row, p, n), part(args, 7, row, p, n)
                if p == 2:
                    for k in range(n):
                        gate[k] = tanh(z[k] + x[k])
                else:
                    for k in range(n):
                        gate[k] = sigmoid(z[k] + x[k])
            i, f, g, o = parts(args, 7, row, n)
            h, c = part(args, 3, b, 0, n), part(args, 4, b, 0, n)
            cell, y = part(args, 8, row, 0, n), part(args, 9, row, 0, n)
            for k in range(n):
                c[k] = f[k] * c[k] + i[k] * g[k]
            for k in range(n):
                h[k] = o[k] * tanh(c[k])
            for k in range(n):
                cell[k] = c[k]
            for k in range(n):
                y[k] = h[k]


@kernel
def _lstm_backward(args, start, stop):
    """3 dh: (B, H) or wider, 4 dc, 5 dy and 6 dcells: one line of zeros where there are none.     7 gates, 8 cells,
    9 c0, 10 dz."""
    firsts, lives, n = integers(args, 1), integers(args, 2), word(args, 4, 2)
    top = start * ROWS
    for t in range(len(firsts) - 1, -1, -1):
        end = min(stop * ROWS, lives[t])
        for b in range(top, end):
            row = firsts[t] + b
            dh, dc, cell = part(args, 3, b, 0, n), part(args, 4, b, 0, n), part(args, 8, row, 0, n)
            dy = part(args, 5, min(row, word(args, 5, 1) - 1), 0, n)
            dcell = part(args, 6, min(row, word(args, 6, 1) - 1), 0, n)
            before = _state_before(args, t, b, 9, 8, n)
            i, f, g, o = parts(args, 7, row, n)
            di, df, dg, do = parts(args, 10, row, n)
            for k in range(n):
                t_c, dm = tanh(cell[k]), dh[k] + dy[k]
                do[k] = dm * t_c * o[k] * (ONE - o[k])
                dc[k] += dm * o[k] * (ONE - t_c * t_c) + dcell[k]
            for k in range(n):
                df[k] = dc[k] * before[k] * f[k] * (ONE - f[k])
            for k in range(n):
                di[k] = dc[k] * g[k] * i[k] * (ONE - i[k])
                dg[k] = dc[k] * i[k] * (ONE - g[k] * g[k])
            for k in range(n):
                dc[k] *= f[k]
        _product(args, 10, firsts[t] + top, end - top, 4 * n, 3, top)


@kernel
def _gru_forward(args, start, stop):
    """3 h, 4 room for W h: (B, 3H) or wider, 5 bias: one line.     6 x, 7 gates: r, z, n, q = W_n h + b_n, 8 y."""
    firsts, lives, n = integers(args, 1), integers(args, 2), word(args, 3, 2)
    top = start * ROWS
    for t in range(len(firsts)):
        end = min(stop * ROWS, lives[t])
        _product(args, 3, top, end - top, n, 4, top)
        for b in range(top, end):
            row = firsts[t] + b
            r, z, new, q = parts(args, 7, row, n)
            for p in range(2):
                a, bias, x = part(args, 4, b, p, n), part(args, 5, 0, p, n), part(args, 6, row, p, n)
                gate = part(args, 7, row, p, n)
                for k in range(n):
                    gate[k] = sigmoid(x[k] + (a[k] + bias[k]))
            a, bias, x = part(args, 4, b, 2, n), part(args, 5, 0, 2, n), part(args, 6, row, 2, n)
            h, y = part(args, 3, b, 0, n), part(args, 8, row, 0, n)
            for k in range(n):
                q[k] = a[k] + bias[k]
            for k in range(n):
                new[k] = tanh(x[k] + r[k] * q[k])
            for k in range(n):
                h[k] = new[k] + z[k] * (h[k] - new[k])
            for k in range(n):
                y[k] = h[k]


@kernel
def _gru_backward(args, start, stop):
    """3 dh, 4 room for what comes through the gates: (B, H) or wider, 5 dy: one line of zeros where there is none.
    6 gates, 7 y, 8 h0, 9 dx, 10 da."""
    firsts, lives, n = integers(args, 1), integers(args, 2), word(args, 3, 2)
    top = start * ROWS
    for t in range(len(firsts) - 1, -1, -1):
        end = min(stop * ROWS, lives[t])
        for b in range(top, end):
            row = firsts[t] + b
            dh, dy = part(args, 3, b, 0, n), part(args, 5, min(row, word(args, 5, 1) - 1), 0, n)
            before = _state_before(args, t, b, 8, 7, n)
            r, z, new, q = parts(args, 6, row, n)
            dr, dz, dn = part(args, 9, row, 0, n), part(args, 9, row, 1, n), part(args, 9, row, 2, n)
            for k in range(n):
                d = dh[k] + dy[k]
                dn[k] = d * (ONE - z[k]) * (ONE - new[k] * new[k])
                dh[k] = d
            for k in range(n):
                dz[k] = dh[k] * (before[k] - new[k]) * z[k] * (ONE - z[k])
            for k in range(n):
                dr[k] = dn[k] * q[k] * r[k] * (ONE - r[k])
            for k in range(n):
                dh[k] *= z[k]
            from_r, from_z, from_q = part(args, 10, row, 0, n), part(args, 10, row, 1, n), part(args, 10, row, 2, n)
            for k in range(n):
                from_r[k] = dr[k]
            for k in range(n):
                from_z[k] = dz[k]
            for k in range(n):
                from_q[k] = dn[k] * r[k]
        _product(args, 10, firsts[t] + top, end - top, 3 * n, 4, top)
        for b in range(top, end):
            dh, through = part(args, 3, b, 0, n), part(args, 4, b, 0, n)
            for k in range(n):
                dh[k] += through[k]


def _plain(*arrays):
    return all(a is None or (a.dtype is FLOAT32 and a.flags.c_contiguous) for a in arrays)


def _walk(function, W, batch_sizes, reverse, *arrays):
    """Runs a kernel over the blocks of sequences. W: (k, n), what the rows are multiplied with."""
    steps = _steps(batch_sizes, reverse)
    firsts = np.array([start for start, _ in steps], np.int64)
    lives = np.array([stop - start for start, stop in steps], np.int64)
    blocks = -(-batch_sizes[0] // ROWS)
    size = sum(batch_sizes) * W.size // PRODUCTS_PER_ELEMENT
    over_rows(function, blocks, size, packed(W), firsts, lives, *arrays)


def _room(rows, columns):
    """A matrix whose rows take whole panels."""
    return np.zeros((rows, -(-columns // COLUMNS) * COLUMNS), FLOAT32)


def _lines(d, n):
    """A gradient's rows, or one row of zeros for all."""
    return np.zeros((1, n), FLOAT32) if d is None else np.ascontiguousarray(d)


def _gradient_of_W(dz, first, states, batch_sizes, reverse):
    """The sum over all times of dz_t h_{t-1}^T."""
    parts = _before(first, states, _steps(batch_sizes, reverse), np)
    before = np.concatenate(parts[::-1] if reverse else parts)
    return product(dz.T, before) if blas.SGEMM else np.matmul(dz.T, before)


@fast_path(LSTMSequence, "numpy")
class LSTMSequenceCPU(LSTMSequence):
    @staticmethod
    def accepts(x, h0, c0, W, R=None, *, batch_sizes, reverse=False):
        return R is None and x.size >= 1024 and _plain(x, h0, c0, W)

    def forward(self, x, h0, c0, W, R=None, *, batch_sizes, reverse=False):
        gates = np.empty_like(x)
        y, cells = (np.empty((x.shape[0], c0.shape[1]), FLOAT32) for _ in range(2))
        z = _room(len(h0), W.shape[0])
        _walk(_lstm_forward, W.T, batch_sizes, reverse, h0.copy(), c0.copy(), z, x, gates, cells, y)
        self.save(h0, c0, W, None, y, cells, gates, batch_sizes, reverse)
        return y, cells, gates

    def backward(self, dy, dcells, dgates):
        if dgates is not None:
            return super().backward(dy, dcells, dgates)
        h0, c0, W, _, y, cells, gates, batch_sizes, reverse = self.saved
        n = c0.shape[1]
        dh, dc, dz = _room(*h0.shape), np.zeros_like(c0), np.empty_like(gates)
        dy, dcells = _lines(dy, n), _lines(dcells, n)
        _walk(_lstm_backward, W, batch_sizes, reverse, dh, dc, dy, dcells, gates, cells, c0, dz)
        dW = _gradient_of_W(dz, h0, y, batch_sizes, reverse) if self.needs[3] else None
        return dz, dh[:, :n], dc, dW, None

    def reference_saved(self):
        return self.saved


@fast_path(GRUSequence, "numpy")
class GRUSequenceCPU(GRUSequence):
    @staticmethod
    def accepts(x, h0, W, b=None, *, batch_sizes, reverse=False):
        return x.size >= 1024 and _plain(x, h0, W, b)

    def forward(self, x, h0, W, b=None, *, batch_sizes, reverse=False):
        n = h0.shape[1]
        gates, y = (np.empty((x.shape[0], k * n), FLOAT32) for k in (4, 1))
        bias = np.zeros((1, 3 * n), FLOAT32) if b is None else b.reshape(1, -1)
        _walk(_gru_forward, W.T, batch_sizes, reverse, h0.copy(), _room(len(h0), 3 * n), bias, x, gates, y)
        self.save(h0, W, y, gates, batch_sizes, reverse)
        return y, gates

    def backward(self, dy, dgates):
        if dgates is not None:
            return super().backward(dy, dgates)
        h0, W, y, gates, batch_sizes, reverse = self.saved
        n = h0.shape[1]
        dx, da = (np.empty((y.shape[0], 3 * n), FLOAT32) for _ in range(2))
        dh, dy = np.zeros_like(h0), _lines(dy, n)
        _walk(_gru_backward, W, batch_sizes, reverse, dh, _room(*h0.shape), dy, gates, y, h0, dx, da)
        dW = _gradient_of_W(da, h0, y, batch_sizes, reverse) if self.needs[2] else None
        return dx, dh, dW, (da.sum(0) if self.needs[3] else None)

    def reference_saved(self):
        return self.saved
