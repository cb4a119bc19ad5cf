"""Cast between float32, float16 and bfloat16, and to them from bool and integers: one launch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.fastpath import fast_path
from ...ops.arithmetic import Cast
from .elementwise import grid
from .launch import TYPES, Source, contiguous

_source = Source("cast.cu")
SOURCES = {**TYPES, np.dtype(np.bool_): "bool", np.dtype(np.int32): "int", np.dtype(np.int64): "i64"}


def cast(x: Any, dtype: Any, xp: Any) -> Any:
    """x in another dtype, one of TYPES."""
    x = contiguous(x)
    y = xp.empty(x.shape, dtype)
    _source.launch("cast", *grid(x.size, 4), x, y, x.size, DTYPE=np.dtype(dtype), FROM=SOURCES[x.dtype])
    return y


@fast_path(Cast, "cupy")
class CastCUDA(Cast):
    @staticmethod
    def accepts(x, *, dtype):
        return x.dtype in SOURCES and np.dtype(dtype) in TYPES and x.flags.c_contiguous and x.size > 0

    def forward(self, x, *, dtype):
        self.save(x.dtype)
        return cast(x, dtype, self.xp)

    def backward(self, dy):
        (dtype,) = self.saved
        return cast(dy, dtype, self.xp) if dtype in TYPES else dy.astype(dtype)

    def reference_saved(self):
        return self.saved
