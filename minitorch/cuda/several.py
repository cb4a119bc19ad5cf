"""Several GPUs: what is done to a tensor is done on the GPU that holds it, whichever is the current one, as in PyTorch.

CuPy makes arrays and starts kernels on the current GPU. Ops look where their arrays are (`Op.apply`, and the backward walk);
around them public functions compute with arrays too. So when CuPy is loaded and finds several GPUs, a function is put before
each of them, and before `Module.__call__`, that makes the GPU of its first tensor the current one meanwhile. On a machine
with one GPU nothing of this is there, and nothing is asked.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ..backend import devices
from ..tensor import Tensor

SPACES = (
    "minitorch", "minitorch.autograd", "minitorch.autograd.functional", "minitorch.func", "minitorch.linalg",
    "minitorch.nn.functional", "minitorch.nn.init", "minitorch.nn.utils",
)  # fmt: skip
OURS = ("minitorch.ops", "minitorch.nn", "minitorch.autograd", "minitorch.func")  # where such functions are written


def _first(values: Iterable) -> Any:
    """The array of the first tensor on a GPU, also inside of lists and tuples."""
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_cpu:
                return value.array
        elif isinstance(value, (list, tuple)):
            found = _first(value)
            if found is not None:
                return found
    return None


def there(function: Callable) -> Callable:
    """The function, run on the GPU of its first tensor."""

    @functools.wraps(function)
    def on_its_gpu(*args: Any, **options: Any) -> Any:
        array = _first(args)
        if array is None and options:
            array = _first(options.values())
        where = None if array is None else devices.elsewhere((array,))
        if where is None:
            return function(*args, **options)
        with where:
            return function(*args, **options)

    return on_its_gpu


def install() -> list[tuple[Any, str, Any]]:
    """Puts it before the public functions and methods; returns what stood there."""
    from ..nn.module import Module

    done: list[tuple[Any, str, Any]] = []
    translated: dict[Any, Any] = {}
    for space in (Tensor, *map(importlib.import_module, SPACES)):
        for name, value in list(vars(space).items()):
            public = not name.startswith("_") or (name.startswith("__") and space is Tensor)
            if not public or not inspect.isfunction(value):
                continue
            if value.__module__.startswith(OURS) or name == "__deepcopy__":
                done.append((space, name, value))
                setattr(space, name, translated.setdefault(value, there(value)))
    done.append((Module, "__call__", Module.__call__))
    Module.__call__ = there(Module.__call__)  # type: ignore[method-assign]
    return done
