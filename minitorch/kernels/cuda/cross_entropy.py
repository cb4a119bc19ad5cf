"""Cross-entropy from logits: one pass over a row forward, one backward; the probabilities are never in memory."""

from __future__ import annotations

import numpy as np

from ...backend import checks
from ...backend.fastpath import fast_path
from ...ops.loss import CrossEntropy, MeanOverLabels, out_of_bounds
from .launch import Source, contiguous, plain
from .rows import LONGEST, over_rows

_source = Source("cross_entropy.cu")


def _labels(target):
    return contiguous(target.astype(np.int64, copy=False))


def _weights(weight):
    return None if weight is None else contiguous(weight.astype(np.float32, copy=False))


@fast_path(CrossEntropy, "cupy")
class CrossEntropyCUDA(CrossEntropy):
    half = True

    @staticmethod
    def accepts(z, *, target, weight, ignore_index, smoothing):
        return plain(z) and z.shape[1] <= LONGEST

    def forward(self, z, *, target, weight, ignore_index, smoothing):
        xp = self.xp
        rows, n = z.shape
        t, w, own, rest = _labels(target), _weights(weight), 1.0 - smoothing, smoothing / n
        y, kept = xp.empty(rows, z.dtype), xp.empty((2, rows), np.float32)
        flag, code = checks.flag(xp, out_of_bounds("cross_entropy", n, ignore_index), IndexError)
        over_rows(
            _source, "forward", rows, n, z, t, w, y, kept, own, rest, ignore_index, flag, code,
            DTYPE=z.dtype,
        )  # fmt: skip
        self.save(z, t, w, kept, ignore_index, smoothing)
        return y

    def backward(self, dy):
        z, t, w, kept, ignore_index, smoothing = self.saved
        rows, n = z.shape
        dz = self.xp.empty_like(z)
        total = w.sum() if w is not None and smoothing else None
        over_rows(
            _source, "backward", rows, n, dy, dy.strides[0] // dy.itemsize, z, t, w, total, kept, dz,
            1.0 - smoothing, smoothing / n, ignore_index, DTYPE=z.dtype,
        )  # fmt: skip
        return dz

    def reference_saved(self):
        z, t, w, _, ignore_index, smoothing = self.saved
        xp = self.xp
        keep = (t != ignore_index) & (t >= 0) & (t < z.shape[1])
        ones = xp.ones(z.shape[1], z.dtype) if w is None else w.astype(z.dtype, copy=False)
        return z, xp.where(keep, t, 0), keep, ones, smoothing


@fast_path(MeanOverLabels, "cupy")
class MeanOverLabelsCUDA(MeanOverLabels):
    half = True

    @staticmethod
    def accepts(y, *, target, weight, ignore_index):
        return plain(y)

    def forward(self, y, *, target, weight, ignore_index):
        mean, total = self.xp.empty((), y.dtype), self.xp.empty((), np.float32)
        classes = 0 if weight is None else weight.size
        _source.launch(
            "mean", 1, 1024, y, _labels(target), _weights(weight), mean, total, ignore_index, y.size, classes,
            DTYPE=y.dtype, ROW_BY_WARP=0,
        )  # fmt: skip
        self.save(total, y.shape)  # float32: half precision does not count beyond its range
        return mean

    def backward(self, dy):
        total, shape = self.saved
        return self.xp.broadcast_to((dy / total).astype(dy.dtype, copy=False), shape)

    def reference_saved(self):
        return self.saved
