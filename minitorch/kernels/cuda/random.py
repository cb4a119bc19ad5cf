"""Random numbers on a GPU: the draws of DeviceGenerator, in one launch each. The same numbers as its array functions give:
bits are equal, floating point numbers to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.fastpath import fast_path
from ...backend.random import DeviceGenerator
from .elementwise import grid
from .launch import TYPES, Source

_source = Source("random.cu")


@fast_path(DeviceGenerator, "cupy")
class GeneratorCUDA(DeviceGenerator):
    """Not a generator, but what DeviceGenerator's draws call, inside `_drawing()`. y: contiguous, one element or more."""

    @staticmethod
    def takes(y: Any) -> bool:
        return (y.dtype in TYPES or y.dtype == np.bool_) and y.size > 0

    @staticmethod
    def bernoulli(generator: DeviceGenerator, y: Any, threshold: int) -> None:  # type: ignore[override]
        """Fills a bool array with w64 mod 2^53 < threshold."""
        _launch("bernoulli", grid(y.size), generator.reserve(y.size), y, y.size, threshold, dtype=np.dtype(np.float32))

    @staticmethod
    def uniform(generator: DeviceGenerator, y: Any, low: float, high: float) -> None:  # type: ignore[override]
        first, last = np.float32(low), np.float32(high)
        options = float(first), float(last), float(last - first), (low, high) != (0.0, 1.0)
        _launch("uniform", grid(y.size), generator.reserve((y.size + 1) // 2), y, y.size, *options, dtype=y.dtype)

    @staticmethod
    def normal(generator: DeviceGenerator, y: Any, mean: float, std: float) -> None:  # type: ignore[override]
        pairs = (y.size + 1) // 2
        _launch("normal", grid(pairs), generator.reserve(pairs), y, y.size, mean, std, dtype=y.dtype)


def _launch(name: str, size: tuple, words: tuple, *arguments: Any, dtype: Any) -> None:
    start, base, offset = words
    _source.launch(name, *size, *arguments, np.uint64(start), base, np.uint64(offset), DTYPE=dtype)
