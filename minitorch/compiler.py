"""PyTorch's torch.compiler: marks for a compiler. There is none: functions run as they are written."""

from __future__ import annotations

from typing import Any

from .missing import names as _names

__all__ = ["allow_in_graph", "assume_constant_result", "disable", "is_compiling", "is_dynamo_compiling",
           "is_exporting", "reset"]  # fmt: skip
__getattr__ = _names(__name__)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Returns the function unchanged; a decorator, with and without arguments."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    """Returns the function unchanged."""
    return fn


assume_constant_result = allow_in_graph


def is_compiling() -> bool:
    """False."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def reset() -> None:
    """Nothing was compiled, so there is nothing to forget."""
