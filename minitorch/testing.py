"""PyTorch's torch.testing: `assert_close`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .backend import dtypes
from .missing import names as _names
from .tensor import Tensor

__all__ = ["assert_close"]
__getattr__ = _names(__name__)

_TOLERANCE = {dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: (1.3e-6, 1e-5),
              dtypes.float64: (1e-7, 1e-7)}  # fmt: skip


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raises AssertionError unless |actual - expected| <= atol + rtol * |expected|: for tensors, numbers, and lists, tuples
    and mappings of them. The tolerances are those of the less exact dtype."""
    if (rtol is None) != (atol is None):
        raise ValueError(f"assert_close(): give rtol and atol, or neither: got rtol={rtol}, atol={atol}")

    def fail(text: str, kind: type[Exception] = AssertionError) -> None:
        raise kind(text if msg is None else msg(text) if callable(msg) else msg)

    def compare(a: Any, b: Any, where: str) -> None:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if set(a) != set(b):
                fail(f"The keys{where} differ: {sorted(map(str, set(a) ^ set(b)))} are in one of the two only")
            for key in a:
                compare(a[key], b[key], f"{where}[{key!r}]")
            return
        if all(isinstance(v, Sequence) and not isinstance(v, str) for v in (a, b)):
            if len(a) != len(b):
                fail(f"The lengths{where} differ: {len(a)} and {len(b)}")
            for i, (one, other) in enumerate(zip(a, b)):
                compare(one, other, f"{where}[{i}]")
            return
        if a is None and b is None:
            return
        if isinstance(a, Tensor) != isinstance(b, Tensor) or a is None or b is None:
            fail(f"A {type(a).__name__} and a {type(b).__name__}{where} cannot be compared", TypeError)
        tensors = isinstance(a, Tensor)
        if tensors:
            if a.shape != b.shape:
                fail(f"The shapes{where} differ: {tuple(a.shape)} and {tuple(b.shape)}")
            if check_device and a.device != b.device:
                fail(f"The devices{where} differ: {a.device} and {b.device}")
            if check_dtype and a.dtype != b.dtype:
                fail(f"The dtypes{where} differ: {a.dtype} and {b.dtype}")
            if check_stride and a.stride() != b.stride():
                fail(f"The strides{where} differ: {a.stride()} and {b.stride()}")
            pairs = [_TOLERANCE.get(t.dtype, (0.0, 0.0)) for t in (a, b)]
            x, y = (t.detach().cpu().array for t in (a, b))
        else:
            pairs = [(1e-7, 1e-7) if isinstance(v, (float, np.floating)) else (0.0, 0.0) for v in (a, b)]
            x, y = np.asarray(a), np.asarray(b)
        exact = x.dtype.kind in "biu" and y.dtype.kind in "biu"
        x, y = (v if exact else v.astype(np.float64) for v in (x, y))
        relative, absolute = (max(p) for p in zip(*pairs)) if rtol is None or atol is None else (rtol, atol)
        if exact and not (relative or absolute):
            bad = x != y
        else:
            bad = ~np.isclose(x.astype(np.float64), y.astype(np.float64), relative, absolute, equal_nan=equal_nan)
        if bad.any():
            away = np.abs(x.astype(np.float64) - y.astype(np.float64))
            worst = np.unravel_index(np.argmax(np.where(bad, away, -1.0)), away.shape)
            index = f" at index {tuple(int(i) for i in worst)}" if worst else ""
            fail(
                f"{'Tensors' if tensors else 'Numbers'}{where} are not close: {bad.sum()} of {bad.size} elements differ; the "
                f"greatest difference is {away[worst]:.6g}{index} ({x[worst]} and {y[worst]}), "
                f"allowed is {absolute:g} + {relative:g} * |expected|"
            )

    compare(actual, expected, "")
