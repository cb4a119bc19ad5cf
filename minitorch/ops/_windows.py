"""Windows that slide over the last axes: where they stand, what they read, how their options are given."""

from __future__ import annotations

import itertools
import operator
from typing import Any

from ..tensor import Tensor


def output_size(size: int, kernel: int, stride: int, padding: Any, dilation: int) -> int:
    """How many positions a kernel has on an axis: (size + padding - dilation (kernel - 1) - 1) / stride + 1."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def taps(kernel: tuple, stride: tuple, dilation: tuple, out: tuple) -> Any:
    """For each offset in the kernel: the offset, and the slices of the padded input that all positions read there."""
    for k in itertools.product(*map(range, kernel)):
        yield k, tuple(slice(i * d, i * d + s * (n - 1) + 1, s) for i, s, d, n in zip(k, stride, dilation, out))


def padded(xp: Any, x: Any, padding: tuple, value: Any = 0) -> Any:
    """x with `padding` = ((before, after), ...) more elements on its last axes."""
    if not any(map(any, padding)):
        return x
    lead = x.ndim - len(padding)
    y = xp.full((*x.shape[:lead], *(n + a + b for n, (a, b) in zip(x.shape[lead:], padding))), value, x.dtype)
    y[(Ellipsis, *(slice(a, a + n) for n, (a, _) in zip(x.shape[lead:], padding)))] = x
    return y


def read_columns(xp: Any, x: Any, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple, out: tuple) -> Any:
    """x: (b, C, *in) -> columns: (C, *kernel, b, *out)."""
    x = padded(xp, x, padding).swapaxes(0, 1)
    columns = xp.empty((x.shape[0], *kernel, x.shape[1], *out), x.dtype)
    for k, where in taps(kernel, stride, dilation, out):
        columns[(slice(None), *k)] = x[(slice(None), slice(None), *where)]
    return columns


def add_columns(xp: Any, columns: Any, size: tuple, stride: tuple, padding: tuple, dilation: tuple) -> Any:
    """Columns (C, *kernel, b, *out), each element added where `read_columns` read it -> (b, C, *size)."""
    n = len(size)
    C, kernel, b, out = columns.shape[0], columns.shape[1 : n + 1], columns.shape[n + 1], columns.shape[n + 2 :]
    x = xp.zeros((b, C, *(i + sum(p) for i, p in zip(size, padding))), columns.dtype)
    target = x.swapaxes(0, 1)
    for k, where in taps(kernel, stride, dilation, out):
        target[(slice(None), slice(None), *where)] += columns[(slice(None), *k)]
    return x[(slice(None), slice(None), *(slice(a, a + i) for i, (a, _) in zip(size, padding)))]


def read_sizes(value: Any, n: int, what: str, least: int = 1) -> tuple:
    """One integer for all axes, or one for each: as a tuple of n, none smaller than `least`."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    try:
        values = tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"{what}: expected an integer or {n} of them, got {value!r}") from None
    if len(values) not in (1, n):
        raise RuntimeError(f"{what}: expected one integer or {n} of them, got {value!r}")
    if min(values) < least:
        raise RuntimeError(f"{what}: expected integers of at least {least}, got {value!r}")
    return values * n if len(values) == 1 else values


def batched(name: str, input: Tensor, n: int) -> tuple[Tensor, bool]:
    """input with a batch axis, and whether it had one: (C, *axes) is one sample, (B, C, *axes) a batch."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input.shape)}"
        )
    return (input, True) if input.ndim == n + 2 else (input.unsqueeze(0), False)
