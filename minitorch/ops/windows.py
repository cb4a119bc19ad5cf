"""Window functions, which let a piece of a signal rise and fall, and other ready-made sequences.

periodic: the window of one element more, without its last, so that repeated windows go on evenly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend.dtypes import as_dtype, get_default_dtype
from .creation import _new, full


def _window(name: str, length: int, periodic: bool, shape: Any, dtype: Any, device: Any, requires_grad: bool) -> Any:
    """shape: a function of phases that go from 0 to 1 over the window."""
    if length < 0:
        raise RuntimeError(f"{name}: requires non-negative window_length, got window_length={length}")
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not d.is_floating_point:
        raise RuntimeError(f"{name}: expects floating point dtypes, got: {d}")
    steps = length if periodic else length - 1
    phase = np.arange(length) / max(steps, 1)
    values = np.ones(length) if length == 1 else shape(phase)
    return _new(values.astype(d.numpy), None, device, requires_grad)


def hann_window(window_length, periodic=True, *, dtype=None, device=None, requires_grad=False):
    """1/2 - 1/2 cos(2 pi t), t from 0 to 1."""
    shape = lambda t: 0.5 - 0.5 * np.cos(2 * math.pi * t)  # noqa: E731
    return _window("hann_window", window_length, periodic, shape, dtype, device, requires_grad)


def hamming_window(
    window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, device=None, requires_grad=False
):
    """alpha - beta cos(2 pi t), t from 0 to 1."""
    shape = lambda t: alpha - beta * np.cos(2 * math.pi * t)  # noqa: E731
    return _window("hamming_window", window_length, periodic, shape, dtype, device, requires_grad)


def blackman_window(window_length, periodic=True, *, dtype=None, device=None, requires_grad=False):
    """0.42 - 0.5 cos(2 pi t) + 0.08 cos(4 pi t), t from 0 to 1."""
    shape = lambda t: 0.42 - 0.5 * np.cos(2 * math.pi * t) + 0.08 * np.cos(4 * math.pi * t)  # noqa: E731
    return _window("blackman_window", window_length, periodic, shape, dtype, device, requires_grad)


def bartlett_window(window_length, periodic=True, *, dtype=None, device=None, requires_grad=False):
    """1 - |2 t - 1|, t from 0 to 1: a triangle."""
    shape = lambda t: 1 - np.abs(2 * t - 1)  # noqa: E731
    return _window("bartlett_window", window_length, periodic, shape, dtype, device, requires_grad)


def kaiser_window(window_length, periodic=True, beta=12.0, *, dtype=None, device=None, requires_grad=False):
    """I0(beta sqrt(1 - (2 t - 1)^2)) / I0(beta), t from 0 to 1; I0: Bessel's modified function."""
    shape = lambda t: np.i0(beta * np.sqrt(np.maximum(1 - (2 * t - 1) ** 2, 0))) / np.i0(beta)  # noqa: E731
    return _window("kaiser_window", window_length, periodic, shape, dtype, device, requires_grad)


def scalar_tensor(s, *, dtype=None, device=None, requires_grad=False):
    """A number as a 0-d tensor, of the default dtype unless one is given."""
    d = get_default_dtype() if dtype is None else dtype
    return full((), s, dtype=d, device=device, requires_grad=requires_grad)


def range(start=0, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... up to end, which is included. PyTorch advises `arange`, as Python's range."""
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) * step < 0:
        raise RuntimeError(
            f"range: upper bound and lower bound inconsistent with step sign: {start} to {end} by {step}"
        )
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    values = start + np.arange(int((end - start) / step + 1), dtype=np.float64) * step
    return _new(values.astype(d.numpy), None, device, requires_grad)
