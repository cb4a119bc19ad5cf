"""Attention that keeps no scores, forward and backward: attention.cu says how.

q, k and v may be parts of larger arrays, as heads are; y, dq, dk and dv lie as (B, L, h, d), so that putting the heads side
by side copies nothing. Dropout keeps no mask either: the kernels draw its words again wherever they need them.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ...backend.devices import namespace_of
from ...backend.fastpath import fast_path
from ...backend.random import GAMMA, _mix
from ...ops.attention import Attention
from .launch import TYPES, Source

_source = Source("attention.cu")
WIDTHS = (32, 64, 128)  # numbers in a row of a head that the kernels are compiled for
PART = 256  # keys that are worth a part of their own
BLOCKS = 128  # blocks up to which the keys are divided
FLOAT32: np.dtype = np.dtype(np.float32)
TASK = np.dtype(
    [(f"{name}_{step}", "i8") for name in "qkv" for step in ("batch", "head", "row")]
    + [(f"mask_{step}", "i8") for step in ("batch", "head", "row", "key")]
    + [(name, "i8") for name in ("h", "L", "S", "d", "e", "causal")]
    + [("scale", "f8"), ("factor", "f8"), ("start", "u8"), ("offset", "i8"), ("threshold", "i8")]
)  # attention.cu's struct Task


class Kept:
    """The mask of dropout over (..., L, S) weights, as the words that it is drawn from.

    A word of 64 bits serves the 2 x 2 weights of queries i, i + 1 and keys j, j + 1 (i, j even): 16 bits each, the
    lowest first, kept if below `threshold` = 65536 (1 - p), rounded. So p is a multiple of 2^-16.
    """

    def __init__(self, shape: tuple, p: float, generator):
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        *outer, L, S = shape
        self.shape, self.threshold = shape, round((1 - p) * 65536)
        self.blocks = (*outer, (L + 1) // 2, (S + 1) // 2)
        with generator._drawing():
            self.start, self.base, self.offset = generator.reserve(math.prod(self.blocks))

    def array(self, xp):
        """The mask itself, booleans: for the reference formula."""
        *outer, l, s = self.blocks
        k = xp.arange(math.prod(self.blocks), dtype=np.uint64) + np.uint64((self.offset + 1) % 2**64)
        k = k if self.base is None else k + self.base
        words = _mix(k * np.uint64(GAMMA) + np.uint64(self.start))
        parts = words.view(np.uint16).reshape(*outer, l, s, 2, 2).swapaxes(-3, -2).reshape(*outer, 2 * l, 2 * s)
        return (parts.astype(np.int32) < self.threshold)[..., : self.shape[-2], : self.shape[-1]]


@cache
def _capability(xp, index):
    return int(xp.cuda.Device(index).compute_capability)


def _has_mma(x):
    """Whether the current GPU multiplies 16 x 8 x 16 numbers in half precision at once: Ampere and later ones do."""
    xp = namespace_of(x)
    return not hasattr(xp.cuda, "Device") or _capability(xp, xp.cuda.runtime.getDevice()) >= 80


def _four(x):
    """x as (B, h, n, d), of which nothing is copied."""
    return x[(None,) * (4 - x.ndim)]


def _rows(x):
    """x as (B, h, n, d) whose rows' numbers lie side by side: a view if it can be."""
    x = _four(x)
    whole = all(step % x.itemsize == 0 for step in x.strides)
    return x if whole and (x.strides[3] == x.itemsize or x.shape[3] == 1) else x.copy()


def _steps(x):
    return [step // x.itemsize for step in x.strides]


@fast_path(Attention, "cupy")
class AttentionCUDA(Attention):
    half = True
    draw = Kept  # the caller gives dropout's mask as words

    @staticmethod
    def accepts(q, k, v, mask, *, causal, scale, keep, factor):
        shape, S, d = q.shape, k.shape[-2], max(q.shape[-1], v.shape[-1])
        return (
            q.dtype in TYPES and q.dtype == k.dtype == v.dtype and (q.dtype == FLOAT32 or _has_mma(q))
            and 2 <= q.ndim <= 4 and shape[:-2] == k.shape[:-2] == v.shape[:-2]
            and q.size > 0 and k.size > 0 and v.size > 0
            and d <= WIDTHS[-1] and max(shape[-2], S) < 2**30 and max(q.size, k.size) // shape[-1] < 2**31
            and (mask is None or AttentionCUDA._mask_fits(mask, (*shape[:-1], S), q.dtype))
            and (keep is None or isinstance(keep, Kept))
        )  # fmt: skip

    @staticmethod
    def _mask_fits(mask, shape, dtype):
        fits = all(a in (1, b) for a, b in zip(mask.shape[::-1], shape[::-1]))
        return mask.ndim <= len(shape) and fits and (mask.dtype == bool or mask.dtype == dtype)

    def forward(self, q, k, v, mask, *, causal, scale, keep, factor):
        (B, h, L, _), e = _four(q).shape, v.shape[-1]
        xp, S = self.xp, k.shape[-2]
        y, rows = xp.empty((B, L, h, e), q.dtype), xp.empty((B, h, 2, L), np.float32)
        given, task = self._given(q, k, v, mask, causal, scale, keep, factor)
        parts, keys = self._parts(-(-L // 64) * B * h, S)
        if parts == 1:
            self._launch("forward", L, given, (y, rows, keys), task)
        else:
            of_parts = xp.empty((parts, *y.shape), q.dtype), xp.empty((parts, *rows.shape), np.float32)
            self._launch("forward", L, given, (*of_parts, keys), task, parts)
            self._over_rows("join", B * h * L, given, *of_parts, y, rows, parts, B * h * L, task)
        y = self._like(y, q)
        self.save(q, k, v, mask, causal, scale, keep, factor, y, rows, given, task)
        return y

    def backward(self, dy):
        if self.needs[3]:
            return self._reference(dy)
        q, k, v, *_, y, rows, given, task = self.saved
        (B, h, L, d), S, e = _four(q).shape, k.shape[-2], v.shape[-1]
        xp, dq, dk, dv = self.xp, None, None, None
        dy, y = (xp.ascontiguousarray(_four(x).transpose(0, 2, 1, 3)) for x in (dy, y))
        dots = xp.empty((B, h, L), np.float32)
        self._over_rows("row_dots", B * h * L, given, dy, y, dots, B * h * L, task)
        if self.needs[0]:
            dq = xp.empty((B, L, h, d), q.dtype)
            self._launch("backward_queries", L, given, (dy, rows, dots, dq), task)
        if self.needs[1] or self.needs[2]:
            dk, dv = xp.empty((B, S, h, d), q.dtype), xp.empty((B, S, h, e), q.dtype)
            self._launch("backward_keys", S, given, (dy, rows, dots, dk, dv), task)
        return tuple(g if g is None else self._like(g, q) for g in (dq, dk, dv)) + (None,)

    def reference_saved(self):
        q, k, v, mask, causal, scale, keep, factor, *_ = self.saved
        return q, k, v, mask, causal, scale, keep if keep is None else keep.array(self.xp), factor

    def _reference(self, dy):
        """All gradients by the formula, in float32: a mask's own gradient has the size of the scores."""
        twin = Attention()
        saved = self.reference_saved()
        kinds = [x.dtype for x in saved[:4]]
        twin.xp, twin.needs = self.xp, self.needs
        twin.saved = (*(x.astype(FLOAT32) for x in saved[:4]), *saved[4:])
        grads = twin.backward(dy.astype(FLOAT32))
        return tuple(g if g is None else g.astype(kind) for g, kind in zip(grads, kinds))

    @staticmethod
    def _like(y, q):
        """(B, L, h, e) as the op's result: heads before rows, and as many axes as q has."""
        return y.transpose(0, 2, 1, 3)[(0,) * (4 - q.ndim)]

    def _given(self, q, k, v, mask, causal, scale, keep, factor):
        """The kernels' first arguments, and their struct Task."""
        q, k, v = _rows(q), _rows(k), _rows(v)
        (B, h, L, d), S, e = q.shape, k.shape[2], v.shape[3]
        steps, shown, added = [0] * 4, None, None
        if mask is not None and not causal:
            mask = self.xp.broadcast_to(mask, (B, h, L, S))
            steps = _steps(mask)
            shown, added = (mask, None) if mask.dtype == bool else (None, mask)
        strides = [step for x in (q, k, v) for step in _steps(x)[:3]]
        start, base, offset, threshold = (0, None, 0, 65536)
        if keep is not None:
            start, base, offset, threshold = keep.start, keep.base, keep.offset, keep.threshold
        numbers = (*strides, *steps, h, L, S, d, e, causal, scale, factor, start, offset, threshold)
        return (q, k, v, shown, added, base), np.array([numbers], TASK)

    @staticmethod
    def _width(given):
        q, _, v, *_ = given
        return next(width for width in WIDTHS if width >= max(q.shape[3], v.shape[3]))

    @staticmethod
    def _parts(blocks, S):
        """Into how many parts the keys are divided, and how many keys are in one: few queries alone keep few of a GPU's
        multiprocessors busy, as where a model writes text, one query at a time."""
        parts = max(1, min(S // PART, BLOCKS // blocks))
        keys = -(-S // parts // 64) * 64
        return -(-S // keys), keys

    def _over_rows(self, name, n, given, *arguments):
        """A kernel that has a warp for each of n rows."""
        _source.launch(name, -(-n // 4), 128, *arguments, DTYPE=given[0].dtype, D=self._width(given))

    def _launch(self, name, n, given, arrays, task, parts=1):
        """A kernel over the n rows that its blocks own. The sizes of the pieces are attention.cu's."""
        q = given[0]
        size, width = q.itemsize, self._width(given)
        warps = 2 if size == 4 and width > 64 else 4
        own, piece = 16 * warps, (64 if size == 2 else 32) // (2 if width > 64 else 1)
        shared = (own * (1 if name == "forward" else 2) + 4 * piece) * (width * size + 16)
        if size == 4:
            shared += warps * 16 * (piece + 4) * 4
        if name == "backward_keys":
            shared += 2 * 3 * piece * 4
        grid = -(-n // own) * q.shape[0] * q.shape[1], parts
        _source.launch(name, grid, 32 * warps, *given, *arrays, task, shared=shared, DTYPE=q.dtype, D=width)
