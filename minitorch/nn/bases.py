"""PyTorch's private names in nn.modules that published programs use: base classes, and numbers that become tuples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from .batchnorm import _BatchNorm, _InstanceNorm
from .batchnorm import _Norm as _NormBase
from .conv import _Conv as _ConvNd
from .conv import _ConvTranspose as _ConvTransposeNd
from .linear import Linear as NonDynamicallyQuantizableLinear
from .loss import _Loss, _WeightedLoss
from .pooling import _AdaptiveAvgPool as _AdaptiveAvgPoolNd
from .pooling import _MaxPool as _MaxPoolNd

__all__ = [
    "NonDynamicallyQuantizableLinear", "_AdaptiveAvgPoolNd", "_BatchNorm", "_ConvNd", "_ConvTransposeNd", "_InstanceNorm",
    "_Loss", "_MaxPoolNd", "_NormBase", "_WeightedLoss", "_ntuple", "_pair", "_quadruple", "_single", "_triple",
]  # fmt: skip


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple]:
    """A function that repeats a number n times, and makes a tuple of what is several already."""

    def parse(x: Any) -> tuple:
        return tuple(x) if isinstance(x, Iterable) else tuple(repeat(x, n))

    parse.__name__ = name
    return parse


_single, _pair, _triple, _quadruple = (_ntuple(n) for n in (1, 2, 3, 4))
