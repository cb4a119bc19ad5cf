"""Dropout: one pass in place of two. Which elements stay is drawn before (random.py), in one launch too."""

from __future__ import annotations

from ...backend.fastpath import fast_path
from ...ops.random import Dropout
from .elementwise import grid
from .launch import Source, contiguous, plain

_source = Source("dropout.cu")


@fast_path(Dropout, "cupy")
class DropoutCUDA(Dropout):
    half = True

    @staticmethod
    def accepts(x, *, keep, scale):
        return plain(x) and keep.shape == x.shape and keep.flags.c_contiguous

    def masked(self, x, keep, scale):
        y = self.xp.empty_like(x)
        _source.launch("masked", *grid(x.size, 16 // x.itemsize), x, keep, y, x.size, float(scale), DTYPE=x.dtype)
        return y

    def forward(self, x, *, keep, scale):
        self.save(keep, scale)
        return self.masked(x, keep, scale)

    def backward(self, dy):
        return self.masked(contiguous(dy), *self.saved)

    def reference_saved(self):
        return self.saved
