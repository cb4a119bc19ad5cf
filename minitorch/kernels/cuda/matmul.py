"""Products of matrices through cuBLAS (blas.py), and linear layers with their bias, or with bias and GELU.

The bias comes first: a kernel writes it into every row of y, and the product is added to that, in float32, before y is
rounded. Adding it afterwards would need as many launches and move as many bytes, and would round twice in half precision.
"""

from __future__ import annotations

import math
from typing import Any

from ...backend.fastpath import fast_path
from ...ops._method import unbroadcast
from ...ops.activation import BiasGELU
from ...ops.matmul import Linear, MatMul
from .blas import FLOAT, LIMIT, NAMES, product, takes
from .launch import Source, contiguous, plain

_source = Source("linear.cu")
THREADS = 256
BLOCKS = 4096  # of a grid at most; each thread goes on until nothing is left
PART = 512  # rows that a block sums; if there are more, sums of parts come first


def with_bias(xp: Any, b: Any, rows: int) -> Any:
    """(rows, n), in each row b (n,)."""
    n = b.shape[0]
    y = xp.empty((rows, n), b.dtype)
    blocks = min(BLOCKS, -(-y.nbytes // 16 // THREADS) or 1)
    _source.launch("rows_of", blocks, THREADS, b, y, y.size, n, DTYPE=b.dtype)
    return y


def sum_of_rows(xp: Any, x: Any) -> Any:
    """(rows, n) -> (n,), summed in float32, always in the same order."""
    x = contiguous(x)
    rows, n = x.shape
    y, columns, block = xp.empty((n,), x.dtype), -(-n // 32), (32, 16)
    parts = min(-(-rows // PART), 65535)
    if parts == 1:
        _source.launch("sum_all", columns, block, x, y, rows, n, rows, DTYPE=x.dtype)
    else:
        sums = xp.empty((parts, n), FLOAT)
        _source.launch("sum_parts", (columns, parts), block, x, sums, rows, n, -(-rows // parts), DTYPE=x.dtype)
        _source.launch("sum_sums", columns, block, sums, y, parts, n, parts, DTYPE=x.dtype)
    return y


def _gradient(xp: Any, a: Any, b: Any, stack: tuple, shape: tuple) -> Any:
    """a b, stacked as y is, summed to `shape` if the operand had been broadcast; such a sum is rounded once, at its end."""
    if stack == shape[:-2]:
        return product(xp, a, b)
    g = unbroadcast(product(xp, a, b, dtype=FLOAT), shape)
    return g if a.dtype == FLOAT else g.astype(a.dtype)


@fast_path(MatMul, "cupy")
class MatMulCUDA(MatMul):
    half = True
    accepts = staticmethod(takes)

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None, a.shape, b.shape)
        return product(self.xp, a, b)

    def backward(self, dy):
        a, b, a_shape, b_shape = self.saved
        xp, stack = self.xp, dy.shape[:-2]
        da = _gradient(xp, dy, b.swapaxes(-1, -2), stack, a_shape) if self.needs[0] else None
        db = _gradient(xp, a.swapaxes(-1, -2), dy, stack, b_shape) if self.needs[1] else None
        return da, db

    def reference_saved(self):
        return self.saved


@fast_path(Linear, "cupy")
class LinearCUDA(Linear):
    half = True

    @staticmethod
    def accepts(x, W, b):
        return (
            x.dtype in NAMES and x.dtype == W.dtype and x.size > 0 and W.size > 0
            and max(x.size // x.shape[-1], *W.shape) <= LIMIT
            and (b is None or (b.dtype == x.dtype and b.flags.c_contiguous))
        )  # fmt: skip

    def forward(self, x, W, b):
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape)
        rows, m = math.prod(x.shape[:-1]), W.shape[0]
        y = None if b is None else with_bias(self.xp, b, rows)
        y = product(self.xp, x.reshape((rows, x.shape[-1])), W.T, y, add=b is not None)
        return y.reshape((*x.shape[:-1], m))

    def backward(self, dy):
        x, W, shape = self.saved
        rows = math.prod(shape[:-1])
        dy = dy.reshape((rows, dy.shape[-1]))
        dx = product(self.xp, dy, W).reshape(shape) if self.needs[0] else None
        dW = product(self.xp, dy.T, x.reshape((rows, shape[-1]))) if self.needs[1] else None
        return dx, dW, sum_of_rows(self.xp, dy) if self.needs[2] else None

    def reference_saved(self):
        return self.saved


@fast_path(BiasGELU, "cupy")
class BiasGELUCUDA(BiasGELU):
    """The sum with the bias is not stored: backward adds again."""

    half = True

    @staticmethod
    def accepts(x, b):
        return plain(x) and plain(b) and x.dtype == b.dtype and b.shape == x.shape[-1:]

    def _run(self, name, *arrays):
        x = arrays[0]
        blocks = min(BLOCKS, -(-x.nbytes // 16 // THREADS) or 1)
        _source.launch(name, blocks, THREADS, *arrays, x.size, x.shape[-1], DTYPE=x.dtype)

    def forward(self, x, b):
        y = self.xp.empty_like(x)
        self._run("bias_gelu_forward", x, b, y)
        self.save(x, b)
        return y

    def backward(self, dy):
        x, b = self.saved
        dx = self.xp.empty_like(x)
        self._run("bias_gelu_backward", contiguous(dy), x, b, dx)
        return dx, sum_of_rows(self.xp, dx.reshape((-1, b.size))) if self.needs[1] else None

    def reference_saved(self):
        return self.saved
