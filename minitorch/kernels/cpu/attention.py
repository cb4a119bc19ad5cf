"""Attention, one head of one sequence after the other: the scores of a block of queries stay in cache.

    forward    S = scale q k^T + mask, y = dropout(softmax(S)) v. Of P each row's maximum and 1 / sum is kept.
    backward   P again from these. The sum of dP P over a row of S numbers is that of dy y over e numbers.

q, k, v and dy may be parts of larger arrays, as heads are; y, dq, dk, dv lie as (B, L, h, d), so that putting the heads
side by side copies nothing. A causal block of queries ends at the key of its last query.   arXiv:2205.14135
"""

from __future__ import annotations

import struct

import numpy as np
from numba import carray

from ...backend.fastpath import fast_path
from ...ops.attention import Attention
from . import blas
from .blas import sgemm
from .compile import FLOAT32, SLOTS, _at, address, bytes_at, floats_at, inline, integer, kernel, number, run, word
from .fastmath import exp, largest
from .matmul import PRODUCTS_PER_ELEMENT

ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)
TURN = 32  # queries from which it pays to transpose the keys first
SMALL = 10**6  # multiplications up to which OpenBLAS copies nothing
BLOCK = 32  # queries at a time
VECTOR = 16  # rows of scores are worked on in multiples of it: what is left over is slow
NONE, BOOLEANS, NUMBERS = range(3)  # kinds of masks

# --- arguments: each matrix by its address, its bytes from one sequence and from one head to the next, and its floats
# from one row to the next


@inline
def _head(args, i, pair):
    """The address of the matrix of one head of one sequence."""
    outer, head = pair // integer(args, 11), pair % integer(args, 11)
    return word(args, i) + outer * word(args, i, 1) + head * word(args, i, 2)


@inline
def _step(args, i):
    return word(args, i, 3)


@inline
def _masked(row, n, seen, kind, mask):
    """n scores, of which so many are seen, with the row of the mask at that address; minus infinity behind them, up to
    a multiple of VECTOR. Returns the length with these."""
    if kind == NUMBERS:
        added = floats_at(mask, n)
        for j in range(n):
            row[j] += added[j]
    elif kind == BOOLEANS:
        shown = bytes_at(mask, n)
        for j in range(n):
            row[j] = row[j] if shown[j] else -INF
    reach = _rounded(seen)
    for j in range(seen, reach):
        row[j] = -INF
    return reach


@inline
def _rounded(n):
    return (n + VECTOR - 1) // VECTOR * VECTOR


@inline
def _hidden(mask, n):
    """Whether a row of booleans hides all keys."""
    shown = bytes_at(mask, n)
    for j in range(n):
        if shown[j]:
            return False
    return True


@inline
def _transpose(x, rows, columns, x_step, y, y_step):
    """The matrix at x, transposed, to y: BLAS multiplies by a transposed matrix at half of its speed."""
    for first in range(0, rows, VECTOR):
        last = min(first + VECTOR, rows)
        for j in range(columns):
            row = floats_at(y + 4 * j * y_step, last)
            column = floats_at(x + 4 * j, (last - 1) * x_step + 1)
            for i in range(first, last):
                row[i] = column[i * x_step]


@kernel
def _forward(args, start, stop):
    function, L, S, d, e = word(args, 8), word(args, 8, 1), word(args, 8, 2), word(args, 8, 3), word(args, 8, 4)
    scale, factor, block, causal = number(args, 9), number(args, 10), word(args, 8, 5), integer(args, 12)
    kind, has_keep, step = word(args, 3, 4), word(args, 4), _rounded(S)
    room = np.empty((block + d) * step, np.float32)
    at, turn, k_step = room.ctypes.data, L < TURN, _step(args, 1)
    for pair in range(start, stop):
        q, k, v, y = _head(args, 0, pair), _head(args, 1, pair), _head(args, 2, pair), _head(args, 5, pair)
        if not turn:
            _transpose(k, S, d, _step(args, 1), at + 4 * block * step, step)
            k, k_step = at + 4 * block * step, step
        tops, parts = floats_at(word(args, 6) + 8 * pair * L, L), floats_at(word(args, 6) + 8 * pair * L + 4 * L, L)
        mask = _head(args, 3, pair)
        for first in range(0, L, block):
            last = min(first + block, L)
            width = min(last, S) if causal else S
            sgemm(function, 0, turn, last - first, width, d, scale, q + 4 * first * _step(args, 0), _step(args, 0), k,
                  k_step, ZERO, at, step)  # fmt: skip
            for i in range(first, last):
                here = at + 4 * (i - first) * step
                row = floats_at(here, step)
                seen = min(i + 1, width) if causal else width
                reach = _masked(row, width, seen, kind, mask + i * _step(args, 3))
                top = largest(carray(_at(here), (1, reach), np.float32), 0)
                total = ZERO
                for j in range(reach):
                    x = exp(row[j] - top)
                    row[j] = x
                    total += x
                part = ONE / total
                if kind == BOOLEANS and top == -INF and _hidden(mask + i * _step(args, 3), width):
                    top = part = ZERO
                    for j in range(width):
                        row[j] = ZERO
                tops[i], parts[i] = top, part
                if has_keep:
                    keep = bytes_at(word(args, 4) + (pair * L + i) * S, seen)
                    part *= factor
                    for j in range(seen):
                        row[j] *= part * np.float32(keep[j])
                else:
                    for j in range(reach):
                        row[j] *= part
                for j in range(reach, width):
                    row[j] = ZERO
            sgemm(function, 0, 0, last - first, e, width, ONE, at, step, v, _step(args, 2), ZERO,
                  y + 4 * first * _step(args, 5), _step(args, 5))  # fmt: skip
    room[0] = ZERO  # a use of its own, without which it would be freed above: the loop knows its address only


@kernel
def _backward(args, start, stop):
    function, L, S, d, e = word(args, 8), word(args, 8, 1), word(args, 8, 2), word(args, 8, 3), word(args, 8, 4)
    scale, factor, block, causal = number(args, 9), number(args, 10), word(args, 8, 5), integer(args, 12)
    kind, has_keep, step = word(args, 3, 4), word(args, 4), _rounded(S)
    room = np.empty((2 * block + d + e) * step, np.float32)
    at = room.ctypes.data
    at_d, at_k = at + 4 * block * step, at + 8 * block * step
    at_v, turn = at_k + 4 * d * step, L < TURN
    turned_k, turned_v, k_step, v_step = at_k, at_v, step, step
    for pair in range(start, stop):
        k, v = _head(args, 1, pair), _head(args, 2, pair)
        dk, dv = _head(args, 14, pair), _head(args, 15, pair)
        tops, parts = floats_at(word(args, 6) + 8 * pair * L, L), floats_at(word(args, 6) + 8 * pair * L + 4 * L, L)
        mask = _head(args, 3, pair)
        if turn:
            turned_k, turned_v, k_step, v_step = k, v, _step(args, 1), _step(args, 2)
        else:
            _transpose(k, S, d, _step(args, 1), at_k, step)
            _transpose(v, S, e, _step(args, 2), at_v, step)
        beta = ZERO
        first = (L - 1) // block * block  # from the end: a causal block that sees all keys comes first
        while first >= 0:
            n = min(block, L - first)
            width = min(first + n, S) if causal else S
            q, dq = (
                _head(args, 0, pair) + 4 * first * _step(args, 0),
                _head(args, 13, pair) + 4 * first * _step(args, 13),
            )
            y, dy = _head(args, 5, pair) + 4 * first * _step(args, 5), _head(args, 7, pair) + 4 * first * _step(args, 7)
            sgemm(function, 0, turn, n, width, d, scale, q, _step(args, 0), turned_k, k_step, ZERO, at, step)
            sgemm(function, 0, turn, n, width, e, ONE, dy, _step(args, 7), turned_v, v_step, ZERO, at_d, step)
            for i in range(n):
                row, d_row = floats_at(at + 4 * i * step, step), floats_at(at_d + 4 * i * step, step)
                y_row, dy_row = floats_at(y + 4 * i * _step(args, 5), e), floats_at(dy + 4 * i * _step(args, 7), e)
                total, top, part = ZERO, tops[first + i], parts[first + i]
                for j in range(e):
                    total += y_row[j] * dy_row[j]
                seen = min(first + i + 1, width) if causal else width
                reach = _masked(row, width, seen, kind, mask + (first + i) * _step(args, 3))
                if has_keep:
                    keep = bytes_at(word(args, 4) + (pair * L + first + i) * S, seen)
                    for j in range(seen):
                        weight = exp(row[j] - top) * part
                        m = np.float32(keep[j]) * factor
                        row[j] = weight * m
                        d_row[j] = weight * (d_row[j] * m - total)
                else:
                    for j in range(reach):
                        weight = exp(row[j] - top) * part
                        row[j] = weight
                        d_row[j] = weight * (d_row[j] - total)
                for j in range(seen, width):
                    row[j] = ZERO
                    d_row[j] = ZERO
            sgemm(function, 1, 0, width, e, n, ONE, at, step, dy, _step(args, 7), beta, dv, _step(args, 15))
            sgemm(function, 1, 0, width, d, n, scale, at_d, step, q, _step(args, 0), beta, dk, _step(args, 14))
            sgemm(function, 0, 0, n, d, width, scale, at_d, step, k, _step(args, 1), ZERO, dq, _step(args, 13))
            beta = ONE
            first -= block
    room[0] = ZERO  # as above


def _rows(x: np.ndarray) -> np.ndarray:
    """x, or a copy that BLAS can read: numbers of a row side by side, rows apart."""
    down, across = x.strides[-2:]
    if (across == 4 or x.shape[-1] == 1) and down % 4 == 0 and (down >= 4 * x.shape[-1] or x.shape[-2] == 1):
        return x
    return np.ascontiguousarray(x)


def _words(x: np.ndarray) -> list[int]:
    return [address(x), x.strides[0], x.strides[1], max(x.strides[2] // 4, x.shape[3]), 0, 0]


def _empty(B: int, h: int, L: int, d: int, filled: bool = True) -> np.ndarray:
    return (np.empty if filled else np.zeros)((B, L, h, d), np.float32).transpose(0, 2, 1, 3)


@fast_path(Attention, "numpy")
class AttentionCPU(Attention):
    @staticmethod
    def accepts(q, k, v, mask, **options):
        return (
            q.dtype is FLOAT32 and k.dtype is FLOAT32 and v.dtype is FLOAT32
            and q.ndim == 4 and q.shape[:2] == k.shape[:2] == v.shape[:2]
            and blas.SGEMM != 0 and q.size and v.size
            and (mask is None or AttentionCPU._mask_fits(mask, (*q.shape[:3], k.shape[2])))
        )  # fmt: skip

    @staticmethod
    def _mask_fits(mask, shape):
        fits = all(a in (1, b) for a, b in zip(mask.shape[::-1], shape[::-1]))
        return mask.ndim <= 4 and fits and (mask.dtype == bool or mask.dtype is FLOAT32)

    def forward(self, q, k, v, mask, *, causal, scale, keep, factor):
        (B, h, L, _), e = q.shape, v.shape[3]
        y, rows = _empty(B, h, L, e), np.empty((B, h, 2, L), np.float32)
        self.save(q, k, v, mask, causal, scale, keep, factor, y, rows)
        self._run(_forward, self.saved)
        return y

    def backward(self, dy):
        if self.needs[3]:
            twin = Attention()
            twin.xp, twin.needs, twin.saved = self.xp, self.needs, self.reference_saved()
            return twin.backward(dy)
        q, k, v, _, causal, *_ = self.saved
        filled = not causal or k.shape[2] <= q.shape[2]  # else there are keys that nobody sees
        grads = _empty(*q.shape), _empty(*k.shape, filled), _empty(*v.shape, filled)
        self._run(_backward, self.saved, _rows(dy), *grads)
        return *grads, None

    def reference_saved(self):
        return self.saved[:-2]

    @staticmethod
    def _run(kernel, saved, dy=None, *grads):
        q, k, v, mask, causal, scale, keep, factor, y, rows = saved
        q, k, v = _rows(q), _rows(k), _rows(v)
        (B, h, L, d), S, e = q.shape, k.shape[2], v.shape[3]
        words = _words(q) + _words(k) + _words(v)
        if mask is None or causal:
            words += [0] * SLOTS
        else:
            mask = np.broadcast_to(mask, (*mask.shape[:-1], S))
            if mask.strides[-1] != mask.itemsize and S > 1:
                mask = np.ascontiguousarray(mask)
            mask = np.broadcast_to(mask, (B, h, L, S))
            words += address(mask), *mask.strides[:3], (BOOLEANS if mask.dtype == bool else NUMBERS), 0
        if keep is not None:
            keep = np.ascontiguousarray(keep)
        words += [0 if keep is None else address(keep), 0, 0, 0, 0, 0]
        words += _words(y)
        words += [address(rows), 0, 0, 0, 0, 0]
        words += [0] * SLOTS if dy is None else _words(dy)
        block = min(L, max(16, min(BLOCK, SMALL // (S * max(d, e)))))
        words += [blas.SGEMM, L, S, d, e, block]
        for value in scale, factor:
            words += [struct.unpack("q", struct.pack("d", value))[0], 0, 0, 0, 0, 0]
        words += [h, 0, 0, 0, 0, 0, int(causal), 0, 0, 0, 0, 0]
        for x in grads:
            words += _words(x)
        run(kernel, B * h, B * h * L * S * (d + e) // PRODUCTS_PER_ELEMENT, words, product=True)
