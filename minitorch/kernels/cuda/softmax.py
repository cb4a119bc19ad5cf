"""Softmax and its logarithm over the last axis: a row is read by one block of threads, short ones by one warp."""

from __future__ import annotations

from ...backend.fastpath import fast_path
from ...ops.softmax import LogSoftmax, Softmax
from .launch import Source, contiguous, plain

_source = Source("softmax.cu")
SHORT = 256  # numbers in a row that a warp reads alone
WARPS = 4  # rows of a block of short rows


def over_rows(name, log, *arrays):
    """Runs forward or backward on arrays of one shape, row by row."""
    x = arrays[0]
    n = x.shape[-1]
    rows = x.size // n
    if n <= SHORT:
        _source.launch(f"{name}_warp", -(-rows // WARPS), 32 * WARPS, *arrays, n, rows, DTYPE=x.dtype, LOGARITHM=log)
    else:
        _source.launch(f"{name}_block", rows, min(1024, n // 4 // 32 * 32), *arrays, n, DTYPE=x.dtype, LOGARITHM=log)


@fast_path(Softmax, "cupy")
class SoftmaxCUDA(Softmax):
    half = True
    log = 0

    @staticmethod
    def accepts(x, *, axis=-1):
        return (axis == -1 or axis == x.ndim - 1) and plain(x)

    def forward(self, x, *, axis=-1):
        y = self.xp.empty_like(x)
        over_rows("forward", self.log, x, y)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        dx = self.xp.empty_like(y)
        over_rows("backward", self.log, contiguous(dy), y, dx)
        return dx

    def reference_saved(self):
        return (self.saved[0], -1)


@fast_path(LogSoftmax, "cupy")
class LogSoftmaxCUDA(LogSoftmax):
    half = True
    log = 1
    accepts = staticmethod(SoftmaxCUDA.accepts)
    forward, backward, reference_saved = SoftmaxCUDA.forward, SoftmaxCUDA.backward, SoftmaxCUDA.reference_saved
