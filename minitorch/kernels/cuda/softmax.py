"""Softmax and its logarithm over the last axis: a row is read once for its largest number and its sum, once to write."""

from __future__ import annotations

from ...backend.fastpath import fast_path
from ...ops.softmax import LogSoftmax, Softmax
from .launch import Source, contiguous, plain
from .rows import LONGEST, over_rows

_source = Source("softmax.cu")


@fast_path(Softmax, "cupy")
class SoftmaxCUDA(Softmax):
    half = True
    log = 0

    @staticmethod
    def accepts(x, *, axis=-1):
        return (axis == -1 or axis == x.ndim - 1) and plain(x) and x.shape[-1] <= LONGEST

    def forward(self, x, *, axis=-1):
        n = x.shape[-1]
        y = self.xp.empty_like(x)
        over_rows(_source, "forward", x.size // n, n, x, y, DTYPE=x.dtype, LOGARITHM=self.log)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        n = y.shape[-1]
        dx = self.xp.empty_like(y)
        over_rows(_source, "backward", y.size // n, n, contiguous(dy), y, dx, DTYPE=y.dtype, LOGARITHM=self.log)
        return dx

    def reference_saved(self):
        return (self.saved[0], -1)


@fast_path(LogSoftmax, "cupy")
class LogSoftmaxCUDA(LogSoftmax):
    half = True
    log = 1
    accepts = staticmethod(SoftmaxCUDA.accepts)
    forward, backward, reference_saved = SoftmaxCUDA.forward, SoftmaxCUDA.backward, SoftmaxCUDA.reference_saved
