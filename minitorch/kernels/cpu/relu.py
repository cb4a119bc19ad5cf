"""ReLU: one pass, on the threads, where NumPy's product with a mask takes two."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.activation import ReLU
from .compile import floats_at, inline, kernel, over_rows, plain, word

ZERO, ONE = np.float32(0), np.float32(1)


@inline
def _piece(args, i, start, stop):
    """Elements [start, stop) of argument i, counted from 0: then LLVM sees that no index is negative."""
    return floats_at(word(args, i) + 4 * start, stop - start)


@kernel
def _forward(args, start, stop):
    x, y = _piece(args, 0, start, stop), _piece(args, 1, start, stop)
    for i in range(stop - start):
        y[i] = ZERO if x[i] <= ZERO else x[i]  # a NaN stays


@kernel
def _backward(args, start, stop):
    dy, y, dx = _piece(args, 0, start, stop), _piece(args, 1, start, stop), _piece(args, 2, start, stop)
    for i in range(stop - start):
        dx[i] = dy[i] * (ONE if y[i] > ZERO else ZERO)


@fast_path(ReLU, "numpy")
class ReLUCPU(ReLU):
    accepts = staticmethod(plain)

    def forward(self, x):
        y = np.empty_like(x)
        over_rows(_forward, x.size, x.size, x.reshape(-1), y.reshape(-1))
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        dx = np.empty_like(y)
        over_rows(_backward, y.size, y.size, np.ascontiguousarray(dy).reshape(-1), y.reshape(-1), dx.reshape(-1))
        return dx

    def reference_saved(self):
        return self.saved
