"""The check of indices in one launch, where the array functions take eight (backend/checks.py)."""

from __future__ import annotations

import numpy as np

from ...backend.checks import InRange
from ...backend.fastpath import fast_path
from .launch import Source

_source = Source("in_range.cu")
INDICES = {np.dtype(np.int32): "int", np.dtype(np.int64): "i64"}
BLOCK = 256


@fast_path(InRange, "cupy")
class InRangeCUDA(InRange):
    @staticmethod
    def accepts(index):
        return index.dtype in INDICES and index.flags.c_contiguous

    @staticmethod
    def run(xp, index, low, stop, flag, code):
        y = xp.empty_like(index)
        blocks = min(-(-index.size // BLOCK), 4096)
        _source.launch(
            "in_range", blocks, BLOCK, index, y, index.size, low, stop, flag, code, INDEX=INDICES[index.dtype]
        )
        return y
