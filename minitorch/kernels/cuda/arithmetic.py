"""Add, Sub, Mul, Div, and Where. The first four: of arrays of one shape, or of one with a small one that is spread over it: a
number, a bias (C,) or (1, C, 1, 1), a column (N, 1).

In half precision only: there the reference's way is through copies in float32. In float32 CuPy needs one launch for y, and one
or two for the gradient, as these kernels do.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, ClassVar

import numpy as np

from ...backend.fastpath import fast_path
from ...ops._method import unbroadcast
from ...ops.arithmetic import Add, Div, Mul, Sub, Where
from .elementwise import grid, narrow, threads
from .launch import TYPES, Source, contiguous

_source = Source("arithmetic.cu")
NONE, FIRST, SECOND = 0, 1, 2  # which operand is small


@lru_cache(1024)
def layout(a: tuple, b: tuple) -> tuple[int, int, int, int] | None:
    """(which operand is small, m, k, inner): the larger shape as three axes (m, k, inner), where the small operand is
    (1, k, 1). None where it is no such case: both are spread, or one along axes in several places."""
    if a == b:
        return NONE, 1, 1, 1
    which = FIRST if prod(a) < prod(b) or (prod(a) == prod(b) and len(a) < len(b)) else SECOND
    whole, small = (b, a) if which == FIRST else (a, b)
    small = (1,) * (len(whole) - len(small)) + small
    if len(small) != len(whole) or any(s not in (1, n) for s, n in zip(small, whole)):
        return None
    kept = [i for i, (s, n) in enumerate(zip(small, whole)) if s == n != 1]
    first, last = (kept[0], kept[-1] + 1) if kept else (len(whole), len(whole))
    if any(small[i] != whole[i] for i in range(first, last)):
        return None
    if not kept:
        return which, 1, 1, prod(whole)
    return which, prod(whole[:first]), prod(whole[first:last]), prod(whole[last:])


class Arithmetic:
    """What the four have in common. The reference op stands after it among the bases."""

    half = True
    half_only = True
    kernel: ClassVar[str]
    passes: ClassVar[tuple[bool, bool]] = False, False  # whose gradient is dy itself, unless it is small
    saved: Any
    needs: Any
    xp: Any
    shapes: Any

    @staticmethod
    def accepts(a, b):
        return a.dtype == b.dtype and narrow(a) and narrow(b) and layout(a.shape, b.shape) is not None

    def computed(self, a: Any, b: Any) -> Any:
        self.shapes = a.shape, b.shape
        which, _, k, inner = layout(a.shape, b.shape)  # type: ignore[misc]
        y = self.xp.empty((b if which == FIRST else a).shape, a.dtype)
        size = grid(y.size, 16 // a.itemsize if which == NONE or k == 1 else 1)
        _source.launch(f"{self.kernel}_forward", *size, a, b, y, y.size, k, inner, which, DTYPE=a.dtype)
        return y

    def gradients(self, dy: Any, a: Any = None, b: Any = None, y: Any = None) -> tuple:
        """da and db, None where nobody needs one. a, b, y: what the formulas read of them."""
        xp, dtype, dy = self.xp, dy.dtype, contiguous(dy)
        which, m, k, inner = layout(*self.shapes)  # type: ignore[misc]
        grads: list = [None, None]
        computed: list = [None, None]
        for i, (shape, need) in enumerate(zip(self.shapes, self.needs)):
            if need and self.passes[i] and which != i + 1:
                grads[i] = dy if dy.shape == shape else dy.reshape(shape)
            elif need:
                grads[i] = xp.empty(shape, dtype)
                computed[i] = grads[i] if which != i + 1 else None
        if any(array is not None for array in computed):
            arrays = dy, a, b, y, *computed
            name = f"{self.kernel}_backward"
            _source.launch(name, *grid(dy.size), *arrays, dy.size, k, inner, which, DTYPE=dtype)
        small = None if which == NONE else grads[which - 1]
        if small is not None:
            count = m * inner
            if k == 1 or inner >= 32:
                name, across, block, least = f"{self.kernel}_rows", k, (threads(count), 1), 4096
            else:
                name, across, block, least = f"{self.kernel}_columns", -(-k // 32), (32, min(count, 8)), 128
            chunks = min(-(-count // least), max(1, 1024 // across))
            length = -(-count // chunks)
            parts = xp.empty((chunks, k), np.float32) if chunks > 1 else None
            arrays = dy, a, b, y, parts, small
            _source.launch(name, (across, chunks), block, *arrays, k, inner, count, length, which, DTYPE=dtype)
            if parts is not None:
                _source.launch("finish", *grid(k), parts, small, k, chunks, DTYPE=dtype)
        return tuple(grads)


class Sums(Arithmetic):
    """What addition and subtraction share."""

    def forward(self, a, b):
        return self.computed(a, b)

    def backward(self, dy):
        return self.gradients(dy)

    def reference_saved(self):
        return () if self.shapes[0] == self.shapes[1] else self.shapes


@fast_path(Add, "cupy")
class AddCUDA(Sums, Add):
    kernel, passes = "add", (True, True)


@fast_path(Sub, "cupy")
class SubCUDA(Sums, Sub):
    kernel, passes = "sub", (True, False)


@fast_path(Mul, "cupy")
class MulCUDA(Arithmetic, Mul):
    kernel = "mul"

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return self.computed(a, b)

    def backward(self, dy):
        return self.gradients(dy, *self.saved)

    def reference_saved(self):
        return (*self.saved, None if self.shapes[0] == self.shapes[1] else self.shapes)


@fast_path(Div, "cupy")
class DivCUDA(Arithmetic, Div):
    kernel = "div"

    def forward(self, a, b):
        y = self.computed(a, b)
        self.save(y if self.needs[1] else None, b)
        return y

    def backward(self, dy):
        y, b = self.saved
        return self.gradients(dy, None, b, y)

    def reference_saved(self):
        return (*self.saved, self.shapes[0])


@fast_path(Where, "cupy")
class WhereCUDA(Where):
    """CuPy's choice between 16 bits and 16 bits; between numbers in bfloat16 it knows none."""

    half = half_only = True

    @staticmethod
    def accepts(condition, a, b):
        return a.dtype == b.dtype and a.dtype.itemsize == 2 and a.dtype in TYPES

    def forward(self, condition, a, b):
        self.save(condition, a.shape, b.shape)
        bits = self.xp.where(condition, a.view(np.uint16), b.view(np.uint16))
        return bits.view(a.dtype)

    def backward(self, dy):
        condition, *shapes = self.saved
        bits, zero, grads = dy.view(np.uint16), np.uint16(0), []
        for i, shape in enumerate(shapes):
            if not self.needs[i + 1]:
                grads.append(None)
                continue
            chosen = (bits, zero) if i == 0 else (zero, bits)
            kept = self.xp.where(condition, *chosen).view(dy.dtype)
            wide = kept.shape != shape  # a sum
            grads.append(unbroadcast(kept.astype(np.float32), shape).astype(dy.dtype) if wide else kept)
        return (None, *grads)

    def reference_saved(self):
        return self.saved
