"""PyTorch's torch.accelerator: the GPU, if there is one, without saying of which make."""

from __future__ import annotations

from typing import Any

from . import cuda
from .backend import devices
from .missing import names as _names

__all__ = [
    "current_accelerator", "current_device_index", "device_count", "empty_cache", "is_available", "memory_allocated",
    "memory_reserved", "set_device_index", "synchronize",
]  # fmt: skip
__getattr__ = _names(__name__)


def is_available() -> bool:
    """Whether there is a GPU that tensors can be moved to."""
    return cuda.is_available()


def current_accelerator(check_available: bool = False) -> devices.device | None:
    """`device("cuda")`; None without a GPU."""
    return devices.device("cuda") if is_available() else None


def set_device_index(device: Any, /) -> None:
    """Chooses the GPU that "cuda" without a number means."""
    cuda.set_device(device)


current_device_index = cuda.current_device
device_count = cuda.device_count
empty_cache = cuda.empty_cache
memory_allocated, memory_reserved = cuda.memory_allocated, cuda.memory_reserved
synchronize = cuda.synchronize
