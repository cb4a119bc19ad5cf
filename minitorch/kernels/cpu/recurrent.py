"""LSTM and GRU: each step's gates in one pass, in place of a dozen; the backward pass writes into arrays made once."""

from __future__ import annotations

import numba
import numpy as np

from ...backend.fastpath import fast_path
from ...ops.recurrent import GRUSequence, LSTMSequence, _before, _steps
from .compile import FLOAT32, kernel, matrix, over_rows
from .fastmath import exp

ONE, TWO = np.float32(1), np.float32(2)


@numba.njit(inline="always")
def sigmoid(x):
    return ONE / (ONE + exp(-x))


@numba.njit(inline="always")
def tanh(x):
    return ONE - TWO / (ONE + exp(TWO * x))


@kernel
def _lstm_step(args, start, stop):
    """z comes in as W h, and goes out as the gates."""
    x, z, c_before, c, y = matrix(args, 0), matrix(args, 1), matrix(args, 2), matrix(args, 3), matrix(args, 4)
    n = c.shape[1]
    for b in range(start, stop):
        for k in range(n):
            z[b, k] = sigmoid(z[b, k] + x[b, k])
        for k in range(n, 2 * n):
            z[b, k] = sigmoid(z[b, k] + x[b, k])
        for k in range(2 * n, 3 * n):
            z[b, k] = tanh(z[b, k] + x[b, k])
        for k in range(3 * n, 4 * n):
            z[b, k] = sigmoid(z[b, k] + x[b, k])
        for k in range(n):
            c[b, k] = z[b, n + k] * c_before[b, k] + z[b, k] * z[b, 2 * n + k]
            y[b, k] = z[b, 3 * n + k] * tanh(c[b, k])


@kernel
def _lstm_back(args, start, stop):
    """dc comes in as the next step's, and goes out as the one for the step before."""
    dy, dh, dcells, gates = matrix(args, 0), matrix(args, 1), matrix(args, 2), matrix(args, 3)
    c, c_before, dc, dz = matrix(args, 4), matrix(args, 5), matrix(args, 6), matrix(args, 7)
    n = c.shape[1]
    for b in range(start, stop):
        for k in range(n):
            i, f, g, o = gates[b, k], gates[b, n + k], gates[b, 2 * n + k], gates[b, 3 * n + k]
            t = tanh(c[b, k])
            dm = dy[b, k] + dh[b, k]
            d = dm * o * (ONE - t * t) + dc[b, k] + dcells[b, k]
            dz[b, k] = d * g * i * (ONE - i)
            dz[b, n + k] = d * c_before[b, k] * f * (ONE - f)
            dz[b, 2 * n + k] = d * i * (ONE - g * g)
            dz[b, 3 * n + k] = dm * t * o * (ONE - o)
            dc[b, k] = d * f


@kernel
def _gru_step(args, start, stop):
    """a is W h + b. gates: r, z, n, q."""
    x, a, h, gates, y = matrix(args, 0), matrix(args, 1), matrix(args, 2), matrix(args, 3), matrix(args, 4)
    n = h.shape[1]
    for b in range(start, stop):
        for k in range(2 * n):
            gates[b, k] = sigmoid(x[b, k] + a[b, k])
        for k in range(n):
            q = a[b, 2 * n + k]
            new = tanh(x[b, 2 * n + k] + gates[b, k] * q)
            gates[b, 2 * n + k], gates[b, 3 * n + k] = new, q
            y[b, k] = new + gates[b, n + k] * (h[b, k] - new)


@kernel
def _gru_back(args, start, stop):
    """dh goes out as the part that z keeps; the product with W is still to be added."""
    dy, dh, gates, h_before = matrix(args, 0), matrix(args, 1), matrix(args, 2), matrix(args, 3)
    dx, da = matrix(args, 4), matrix(args, 5)
    n = h_before.shape[1]
    for b in range(start, stop):
        for k in range(n):
            r, z, new, q = gates[b, k], gates[b, n + k], gates[b, 2 * n + k], gates[b, 3 * n + k]
            d = dy[b, k] + dh[b, k]
            da_n = d * (ONE - z) * (ONE - new * new)
            da_z = d * (h_before[b, k] - new) * z * (ONE - z)
            da_r = da_n * q * r * (ONE - r)
            dx[b, k], dx[b, n + k], dx[b, 2 * n + k] = da_r, da_z, da_n
            da[b, k], da[b, n + k], da[b, 2 * n + k] = da_r, da_z, da_n * r
            dh[b, k] = d * z


def _plain(*arrays):
    return all(a is None or (a.dtype is FLOAT32 and a.flags.c_contiguous) for a in arrays)


def _in_order(parts, reverse):
    return np.concatenate(parts[::-1] if reverse else parts)


@fast_path(LSTMSequence, "numpy")
class LSTMSequenceCPU(LSTMSequence):
    @staticmethod
    def accepts(x, h0, c0, W, R=None, *, batch_sizes, reverse=False):
        return R is None and x.size >= 1024 and _plain(x, h0, c0, W)

    def forward(self, x, h0, c0, W, R=None, *, batch_sizes, reverse=False):
        W_T = np.ascontiguousarray(W.T)
        h, c = h0.copy(), c0.copy()
        gates = np.empty_like(x)
        y, cells = (np.empty((x.shape[0], c0.shape[1]), x.dtype) for _ in range(2))
        for start, stop in _steps(batch_sizes, reverse):
            live = stop - start
            z, c_t, y_t = gates[start:stop], cells[start:stop], y[start:stop]
            np.matmul(h[:live], W_T, out=z)
            over_rows(_lstm_step, live, z.size, x[start:stop], z, c[:live], c_t, y_t)
            h[:live], c[:live] = y_t, c_t
        self.save(h0, c0, W, None, y, cells, gates, batch_sizes, reverse)
        return y, cells, gates

    def backward(self, dy, dcells, dgates):
        if dgates is not None:
            return super().backward(dy, dcells, dgates)
        h0, c0, W, _, y, cells, gates, batch_sizes, reverse = self.saved
        steps = _steps(batch_sizes, reverse)
        dz, zeros = np.empty_like(gates), np.zeros_like(c0)
        dh, dc = np.zeros_like(h0), np.zeros_like(c0)
        dy, dcells = (None if d is None else np.ascontiguousarray(d) for d in (dy, dcells))
        for (start, stop), c_before in zip(reversed(steps), reversed(_before(c0, cells, steps, np))):
            live = stop - start
            given = [zeros[:live] if d is None else d[start:stop] for d in (dy, dcells)]
            dz_t = dz[start:stop]
            over_rows(
                _lstm_back, live, dz_t.size, given[0], dh[:live], given[1], gates[start:stop], cells[start:stop],
                np.ascontiguousarray(c_before), dc[:live], dz_t,
            )  # fmt: skip
            np.matmul(dz_t, W, out=dh[:live])
        dW = np.matmul(dz.T, _in_order(_before(h0, y, steps, np), reverse)) if self.needs[3] else None
        return dz, dh, dc, dW, None

    def reference_saved(self):
        return self.saved


@fast_path(GRUSequence, "numpy")
class GRUSequenceCPU(GRUSequence):
    @staticmethod
    def accepts(x, h0, W, b=None, *, batch_sizes, reverse=False):
        return x.size >= 1024 and _plain(x, h0, W, b)

    def forward(self, x, h0, W, b=None, *, batch_sizes, reverse=False):
        H = h0.shape[1]
        W_T = np.ascontiguousarray(W.T)
        h, product = h0.copy(), np.empty((h0.shape[0], 3 * H), x.dtype)
        gates, y = (np.empty((x.shape[0], k * H), x.dtype) for k in (4, 1))
        for start, stop in _steps(batch_sizes, reverse):
            live = stop - start
            a, y_t = product[:live], y[start:stop]
            np.matmul(h[:live], W_T, out=a)
            if b is not None:
                a += b
            over_rows(_gru_step, live, a.size, x[start:stop], a, h[:live], gates[start:stop], y_t)
            h[:live] = y_t
        self.save(h0, W, y, gates, batch_sizes, reverse)
        return y, gates

    def backward(self, dy, dgates):
        if dgates is not None:
            return super().backward(dy, dgates)
        h0, W, y, gates, batch_sizes, reverse = self.saved
        steps = _steps(batch_sizes, reverse)
        before = _before(h0, y, steps, np)
        dx, da = (np.empty((y.shape[0], 3 * y.shape[1]), y.dtype) for _ in range(2))
        dh, zeros, product = np.zeros_like(h0), np.zeros_like(h0), np.empty_like(h0)
        dy = None if dy is None else np.ascontiguousarray(dy)
        for (start, stop), h_before in zip(reversed(steps), reversed(before)):
            live = stop - start
            given = zeros[:live] if dy is None else dy[start:stop]
            over_rows(
                _gru_back, live, 3 * product[:live].size, given, dh[:live], gates[start:stop],
                np.ascontiguousarray(h_before), dx[start:stop], da[start:stop],
            )  # fmt: skip
            np.matmul(da[start:stop], W, out=product[:live])
            dh[:live] += product[:live]
        dW = np.matmul(da.T, _in_order(before, reverse)) if self.needs[2] else None
        return dx, dh, dW, (da.sum(0) if self.needs[3] else None)

    def reference_saved(self):
        return self.saved
