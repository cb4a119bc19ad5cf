"""How a public function becomes a Tensor method, and how shapes and axes that callers give are read."""

from __future__ import annotations

import operator
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..autograd import views
from ..autograd.grad_mode import mode
from ..tensor import Tensor

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def tensor_method(function: Any = None, *, inplace: bool = False, name: str | None = None) -> Any:
    """Decorator: the function is a Tensor method too; with `inplace=True` its form with an underscore as well."""

    def register(f: Callable) -> Callable:
        method = name or f.__name__
        setattr(Tensor, method, f)
        if inplace:
            setattr(Tensor, method + "_", in_place(f, method + "_"))
        return f

    return register if function is None else register(function)


def in_place(function: Callable, name: str) -> Callable:
    """`x.f_(...)`: the result of `x.f(...)` written into x (autograd/views.py)."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return views.write(self, function(self, *args, **kwargs), name)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{function.__name__}` in place."
    return method


def need_tensors(name: str, *values: Any) -> None:
    """A TypeError for what must be a tensor and is a number."""
    for value in values:
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}(): expected a Tensor, got {type(value).__name__}")


def as_tensor_like(value: Any, like: Tensor) -> Tensor:
    """A Python number as a 0-d tensor beside `like`; tensors as they are."""
    from ..autograd.convert import scalar
    from ..backend.dtypes import number_dtype

    return value if isinstance(value, Tensor) else scalar(value, like.device, number_dtype(value))


def constant(t: Tensor) -> Any:
    """t's array, for an op that keeps it: a copy while recording, since t may be changed before the backward pass."""
    return t.array.copy() if mode.enabled else t.array


def in_order_of(like: Any, array: Any) -> Any:
    """A copy of the array, its axes in memory in the order of `like`'s, an array of the same shape."""
    order = sorted(range(like.ndim), key=lambda axis: -abs(like.strides[axis]))
    return array.transpose(order).copy().transpose([order.index(axis) for axis in range(like.ndim)])


def warn(message: str) -> None:
    """A UserWarning at the line of the program that called, however deep in minitorch it is found."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(message, stacklevel=level)


def read_shape(shape: tuple, name: str) -> tuple:
    """f(2, 3) and f((2, 3)) both give (2, 3)."""
    if len(shape) == 1 and not isinstance(shape[0], Tensor) and hasattr(shape[0], "__iter__"):
        shape = tuple(shape[0])
    try:
        return tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(f"{name}(): expected integers for the shape, got {shape!r}") from None


def read_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front: -1 is ndim - 1."""
    limit = max(ndim, 1)
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"expected an integer for dim, got {dim!r}")
    dim = operator.index(dim)
    if not -limit <= dim < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {dim})")
    return dim % limit


def read_dims(dim: Any, ndim: int) -> tuple | None:
    """One dimension, several, or None for all of them: as a tuple counted from the front, None where all are meant."""
    if dim is None:
        return None
    dims = tuple(read_dim(d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dim} names a dimension more than once")
    return (dims if ndim else ()) or None


def unbroadcast(dy: Any, shape: tuple) -> Any:
    """Sums a gradient over the axes along which its tensor was broadcast: what was read often gets the sum.

    y = x broadcast to a larger shape:  dx = sum of dy over the new axes and over those where x has length 1. Lesson 02.
    """
    if dy is None or dy.shape == shape:
        return dy
    new = dy.ndim - len(shape)
    axes = tuple(range(new)) + tuple(new + i for i, n in enumerate(shape) if n == 1 and dy.shape[new + i] != 1)
    if axes:
        dy = dy.sum(axes, keepdims=True)
    return dy.reshape(shape)
