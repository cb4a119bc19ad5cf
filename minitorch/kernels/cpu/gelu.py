"""GELU: one pass, in place of some thirty passes over memory."""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.activation import GELU, GELUTanh
from .compile import kernel, over_rows, plain, vector
from .fastmath import erf, exp

ONE, HALF = np.float32(1), np.float32(0.5)
ROOT = np.float32(1 / math.sqrt(2))
DENSITY = np.float32(1 / math.sqrt(2 * math.pi))


@kernel
def _forward(args, start, stop):
    x, y = vector(args, 0), vector(args, 1)
    for i in range(start, stop):
        y[i] = x[i] * (HALF + HALF * erf(x[i] * ROOT))


@kernel
def _backward(args, start, stop):
    dy, x, dx = vector(args, 0), vector(args, 1), vector(args, 2)
    for i in range(start, stop):
        dx[i] = dy[i] * (HALF + HALF * erf(x[i] * ROOT) + x[i] * DENSITY * exp(-HALF * x[i] * x[i]))


# GELUTanh: (1 + tanh u) / 2 is the sigmoid of 2u
TWO_ROOT = np.float32(2 * math.sqrt(2 / math.pi))
CUBE = np.float32(0.044715)
SLOPE = np.float32(3 * 0.044715)


@kernel
def _tanh_forward(args, start, stop):
    x, y = vector(args, 0), vector(args, 1)
    for i in range(start, stop):
        u = TWO_ROOT * (x[i] + CUBE * x[i] * x[i] * x[i])
        y[i] = x[i] / (ONE + exp(-u))


@kernel
def _tanh_backward(args, start, stop):
    dy, x, dx = vector(args, 0), vector(args, 1), vector(args, 2)
    for i in range(start, stop):
        square = x[i] * x[i]
        s = ONE / (ONE + exp(-TWO_ROOT * (x[i] + CUBE * x[i] * square)))
        dx[i] = dy[i] * (s + x[i] * s * (ONE - s) * TWO_ROOT * (ONE + SLOPE * square))


@fast_path(GELU, "numpy")
class GELUCPU(GELU):
    @staticmethod
    def accepts(x):
        return plain(x)

    kernels = _forward, _backward

    def forward(self, x):
        y = np.empty_like(x)
        over_rows(self.kernels[0], x.size, x.size, x.reshape(-1), y.reshape(-1))
        self.save(x)
        return y

    def backward(self, dy):
        (x,) = self.saved
        dx = np.empty_like(x)
        over_rows(self.kernels[1], x.size, x.size, np.ascontiguousarray(dy).reshape(-1), x.reshape(-1), dx.reshape(-1))
        return dx

    def reference_saved(self):
        return self.saved


@fast_path(GELUTanh, "numpy")
class GELUTanhCPU(GELUTanh):
    kernels = _tanh_forward, _tanh_backward
    accepts = staticmethod(GELUCPU.accepts)
    forward, backward, reference_saved = GELUCPU.forward, GELUCPU.backward, GELUCPU.reference_saved
