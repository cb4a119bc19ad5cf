"""PyTorch's torch.mps, Apple's GPUs: there are none here, and programs that ask are told so."""

from __future__ import annotations

from .missing import names as _names

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "synchronize"]
__getattr__ = _names(__name__)


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Accepted, as in PyTorch without such a device."""


def empty_cache() -> None:
    """Nothing to empty."""


def synchronize() -> None:
    """Nothing to wait for."""
