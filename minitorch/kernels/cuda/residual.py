"""dropout + residual + LayerNorm in one launch, and one more backward for dw and db: the kernels of layernorm.cu.

Only the inputs are saved. What dropout keeps is no array: both passes make the same random words. Attention's result, whose
memory is in another order, is read as it lies: without a copy, and dropout draws in the memory's order as ever.
"""

from __future__ import annotations

import math

import numpy as np

from ...backend.fastpath import fast_path
from ...backend.random import DeviceGenerator
from ...ops.residual import DropoutAddLayerNorm
from . import layernorm


@fast_path(DropoutAddLayerNorm, "cupy")
class DropoutAddLayerNormCUDA(DropoutAddLayerNorm):
    half = True

    @staticmethod
    def accepts(x, residual, w, b, *, p, generator, ndim, eps):
        if generator is not None and not isinstance(generator, DeviceGenerator):
            return False
        in_order = all(a is None or a.flags.c_contiguous for a in (w, b))
        known = x.flags.c_contiguous or (ndim == 1 and layernorm.turned(x))
        return in_order and known and x.shape == residual.shape and layernorm.takes(residual, ndim)

    def forward(self, x, residual, w, b, *, p, generator, ndim, eps):
        words = layernorm.NO_DROPOUT
        if generator is not None:
            with generator._drawing():
                start, base, offset = generator.reserve(x.size)
            words = np.uint64(start), base, offset, math.ceil((1 - p) * 2**53), 1 / (1 - p)
        y, stats = layernorm.forward(self.xp, x, residual, w, b, ndim, eps, dropout=words)
        self.save(x, residual, w, stats, ndim, eps, words)
        return y

    def backward(self, dy):
        x, residual, w, stats, ndim, _, words = self.saved
        return layernorm.backward(self.xp, dy, x, residual, w, stats, ndim, self.needs, dropout=words)

    def reference_saved(self):
        x, residual, w, _, ndim, eps, words = self.saved
        keep = None
        if words is not layernorm.NO_DROPOUT:
            keep = layernorm.empty_in_order_of(self.xp, x, np.bool_)
            layernorm.source.launch(
                "kept_bytes", -(-x.size // 256), 256, keep, *words[:-1], x.size, DTYPE=x.dtype, ROW_BY_WARP=0
            )
        return x, residual, w, keep, words[-1], ndim, eps
