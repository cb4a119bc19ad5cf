"""What `amp.autocast` does inside the operations: their inputs are cast by a table of names (amp/autocast_mode.py).

Outside of autocast blocks nothing of this runs: a function asks one global number, how many blocks are open.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from ..backend import dtypes
from ..tensor import Tensor
from .grad_mode import mode

blocks = 0  # autocast blocks that are open, in all threads
_lock = threading.Lock()


class _Here(threading.local):
    """Each thread has its own blocks, as in PyTorch."""

    table: dict[str, str] | None = None  # a function's name -> a policy; None: no autocast
    device = "cpu"
    dtype = dtypes.bfloat16
    cache: dict[int, tuple] | None = None  # parameters that have been cast already, kept for the outermost block


here = _Here()


def count(change: int) -> None:
    """A block is opened (1) or closed (-1)."""
    global blocks
    with _lock:
        blocks += change


def _lower(t: Any) -> Any:
    """A tensor in the block's dtype. A parameter is cast once in a block, however often it is used."""
    if isinstance(t, (list, tuple)):
        return type(t)(_lower(each) for each in t)
    if not isinstance(t, Tensor) or not t.is_floating_point() or t.dtype is dtypes.float64 or t.dtype is here.dtype:
        return t
    if t.device.type != here.device and t.ndim:
        return t
    if here.cache is None or not (t._requires_grad and t.grad_fn is None and t._base is None):
        return t.to(here.dtype)
    found = here.cache.get(id(t))
    now = (t._counter[0], mode.enabled, here.dtype)
    if found is None or found[0] is not t or found[1] is not t.array or found[2] != now:
        found = here.cache[id(t)] = (t, t.array, now, t.to(here.dtype))
    return found[3]


def _raise(t: Any) -> Any:
    """A half-precision tensor in float32."""
    if isinstance(t, (list, tuple)):
        return type(t)(_raise(each) for each in t)
    if isinstance(t, Tensor) and t.array.dtype in dtypes.LOW_PRECISION and t.device.type == here.device:
        return t.to(dtypes.float32)
    return t


def cast(name: str, *inputs: Any) -> tuple:
    """The inputs of the function `name`, cast as the table says. For functions that are too short for `casts`."""
    policy = here.table and here.table.get(name)
    return tuple(map(_lower, inputs)) if policy == "lower" else inputs


def keeps_float32(op: type) -> bool:
    """Whether this op, given half precision, gives its result in float32."""
    return here.table is not None and here.table.get(op.__name__) == "float32"


def casts(function: Callable) -> Callable:
    """Decorator: autocast treats the function as its table says; what the function calls is left alone."""
    name = function.__name__

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not blocks or here.table is None:
            return function(*args, **kwargs)
        policy = here.table.get(name)
        if policy is None:
            return function(*args, **kwargs)
        if policy == "refuse":
            raise RuntimeError(
                f"{name}() is unsafe under autocast({here.device!r}): half precision has no numbers near enough to 0 and 1. Use "
                f"{name}_with_logits, without the sigmoid, or call it with float32 inputs in a block with enabled=False"
            )
        if policy == "promote":
            widest = any(isinstance(t, Tensor) and t.dtype is dtypes.float32 for t in (*args, *kwargs.values()))
            policy = "float32" if widest else "off"
        if policy in ("lower", "float32"):
            convert = _lower if policy == "lower" else _raise
            args, kwargs = tuple(map(convert, args)), {key: convert(value) for key, value in kwargs.items()}
        table, here.table = here.table, None
        try:
            result = function(*args, **kwargs)
        finally:
            here.table = table
        if policy == "input" and isinstance(result, Tensor):
            return result.to(args[0].dtype)
        return result

    return wrapper
