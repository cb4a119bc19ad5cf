"""Dropout: one pass in place of two, each with a temporary."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.random import Dropout
from .compile import bytes_, kernel, number, over_rows, plain, vector


@kernel
def _masked(args, start, stop):
    x, keep, y = vector(args, 0)[start:stop], bytes_(args, 1)[start:stop], vector(args, 3)[start:stop]
    scale = number(args, 2)
    for i in range(x.size):  # from 0: known not to count from the end
        y[i] = x[i] * (np.float32(keep[i]) * scale)  # a product, so that NaN stays NaN


def _run(x, keep, scale):
    y = np.empty_like(x)
    over_rows(_masked, x.size, x.size, x.reshape(-1), keep.reshape(-1), np.float32(scale), y.reshape(-1))
    return y


@fast_path(Dropout, "numpy")
class DropoutCPU(Dropout):
    @staticmethod
    def accepts(x, *, keep, scale):
        return plain(x) and keep.shape == x.shape and keep.flags.c_contiguous

    def forward(self, x, *, keep, scale):
        self.save(keep, scale)
        return _run(x, keep, scale)

    def backward(self, dy):
        keep, scale = self.saved
        return _run(np.ascontiguousarray(dy), keep, scale)

    def reference_saved(self):
        return self.saved
