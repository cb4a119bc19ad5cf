"""PyTorch's torch.xpu, Intel's GPUs: there are none here, and programs that ask are told so."""

from __future__ import annotations

from .missing import names as _names
from .mps import device_count, empty_cache, is_available, manual_seed, synchronize

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "manual_seed_all", "synchronize"]
__getattr__ = _names(__name__)

manual_seed_all = manual_seed
