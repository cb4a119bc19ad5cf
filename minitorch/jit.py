"""PyTorch's torch.jit, as far as it makes sense without a compiler: marks on functions, which then run as they are
written. What would have to make another object of a model says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .missing import names as _names

__all__ = [
    "ScriptFunction",
    "ScriptModule",
    "export",
    "ignore",
    "is_scripting",
    "is_tracing",
    "script",
    "script_if_tracing",
    "unused",
]
__getattr__ = _names(__name__)


def _unchanged(fn: Any = None, **options: Any) -> Any:
    """Returns the function unchanged; a decorator, with and without options."""
    return fn if callable(fn) else lambda function: function


export = unused = ignore = script_if_tracing = _unchanged


class ScriptModule:
    """For `isinstance`: no module is one."""


ScriptFunction = ScriptModule


def script(obj: Any, *args: Any, **kwargs: Any) -> Callable:
    """A function is returned unchanged: it runs as it is written. A module is refused: there is no other form of it."""
    if hasattr(obj, "named_parameters") or not callable(obj):
        what = "the module" if hasattr(obj, "named_parameters") else f"a {type(obj).__name__}"
        raise NotImplementedError(
            f"jit.script(): there is no compiler that {what} could be given to; use it as it is, and save its weights "
            "with minitorch.save(model.state_dict(), file)"
        )
    return obj


def is_scripting() -> bool:
    """False."""
    return False


is_tracing = is_scripting
