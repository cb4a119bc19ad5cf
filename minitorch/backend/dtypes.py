"""The dtypes, and PyTorch's promotion between them from one table (NumPy's rules differ and never apply).

float16 and bfloat16 arrays are kept as they are and computed in float32 (convert.py), or by a fast path that takes them. What
is done with such an array itself, in the engine and in operations that only move numbers, is this, and on the GPU all of it is
in CuPy 14 for bfloat16 too:

    making and copying      empty zeros ones full, x.fill, x.copy, ascontiguousarray, x[...] = y, astype from and to every dtype
    views                   reshape, transpose, slices, broadcast_to, x.view of another dtype of the same size
    moving                  x[index], take_along_axis, concatenate, stack, flip, roll
    sums of gradients       a + b, a += b, x.sum(axes): each result is rounded once
    looking                 == != < <= > >=, isnan, isfinite

Not in it, for bfloat16: `where` (the result would be float32), and with it tril and triu, which take the bits as uint16 here; all
that puts numbers in order (`ordered`); adding to places that repeat (backend/scatter.py); stacks of matrices in `matmul`
(kernels/cuda/blas.py). tests/guard.py refuses them.
"""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np

NAMESPACE = "minitorch"  # what a dtype and a size print before their name; "torch" in programs that minitorch.run runs


class dtype:
    """A tensor's element type, one object each: `minitorch.float32`, ... `.numpy` is the NumPy dtype behind it."""

    def __init__(self, name: str, numpy_dtype: Any, category: int):
        self.name = name
        self.numpy = np.dtype(numpy_dtype)
        self.category = category  # 0 bool, 1 integer, 2 floating
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = category == 2
        self.is_complex = False
        self.is_signed = name not in ("bool", "uint8")

    def __repr__(self) -> str:
        return f"{NAMESPACE}.{self.name}"

    def __reduce__(self):
        return _by_name, (self.name,)  # copies and pickles keep the identity


class absent(dtype):
    """A dtype of PyTorch's that no tensor has here: a name for the tables of programs. Using it is an error."""

    def __init__(self, name: str, itemsize: int):
        self.name, self.itemsize, self.category = name, itemsize, 2
        self.is_floating_point = name.startswith("float")
        self.is_complex, self.is_signed = name.startswith("c"), not name.startswith("u")

    @property
    def numpy(self) -> np.dtype:  # type: ignore[override]
        raise TypeError(f"there are no tensors of dtype {self}")

    def __reduce__(self):
        return absent, (self.name, self.itemsize)


def _by_name(name: str) -> dtype:
    return DTYPES[name]


bool_ = dtype("bool", np.bool_, 0)
uint8 = dtype("uint8", np.uint8, 1)
int8 = dtype("int8", np.int8, 1)
int16 = dtype("int16", np.int16, 1)
int32 = dtype("int32", np.int32, 1)
int64 = dtype("int64", np.int64, 1)
float16 = dtype("float16", np.float16, 2)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, 2)
float32 = dtype("float32", np.float32, 2)
float64 = dtype("float64", np.float64, 2)

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
DTYPES = {d.name: d for d in ALL}
OF_NUMPY = {d.numpy: d for d in ALL}
FLOATING = frozenset(d.numpy for d in ALL if d.category == 2)
BFLOAT16 = bfloat16.numpy
LOW_PRECISION = frozenset((float16.numpy, bfloat16.numpy))  # computed in float32 on the CPU

_default = float32


def get_default_dtype() -> dtype:
    """The dtype of tensors made from Python floats: float32 unless `set_default_dtype` changed it."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Makes `d`, a floating point dtype, the one that Python floats become."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"set_default_dtype(): expected a floating point dtype such as minitorch.float32, got {d!r}")
    _default = d


def as_dtype(value: Any) -> dtype:
    """The dtype that a minitorch dtype, a NumPy dtype or a Python type (float, int, bool) stands for."""
    if isinstance(value, dtype):
        return value
    if value is float:
        return _default
    if value is int:
        return int64
    if value is bool:
        return bool_
    try:
        return OF_NUMPY[np.dtype(value)]
    except (TypeError, KeyError):
        names = ", ".join(d.name for d in ALL)
        raise TypeError(f"{value!r} is not a dtype that minitorch has; it has {names}") from None


def ordered(x: Any) -> Any:
    """An array whose numbers are in the same order as x's, of a dtype that CuPy sorts."""
    return x.astype(np.float32) if x.dtype == BFLOAT16 else x


# --- promotion -------------------------------------------------------------------------------------------------------


def _promote_pair(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == 2:
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if a.itemsize > b.itemsize else b
    if a.itemsize != b.itemsize:
        small, large = sorted((a, b), key=lambda d: d.itemsize)
        return large if large.is_signed or not small.is_signed else int16
    return int16  # uint8 with int8


_TABLE = {(a, b): _promote_pair(a, b) for a, b in itertools.product(ALL, ALL)}


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that holds both, by PyTorch's table: promote_types(int32, float16) is float16."""
    return _TABLE[a, b]


def number_dtype(value: Any) -> dtype:
    """The dtype that a Python number takes part in promotion with."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    return _default if isinstance(value, (float, np.floating)) else int64


def result_dtype(dims: list[dtype], zero_dims: list[dtype], numbers: list[dtype]) -> dtype:
    """PyTorch's three ranks: tensors with dimensions, 0-d tensors, Python numbers.

    A lower rank changes the result only when its category is higher: float32 tensor * 0-d float64 stays float32,
    int64 tensor * 2.5 becomes the default float.
    """
    result = None
    for rank in (dims, zero_dims, numbers):
        if not rank:
            continue
        own = rank[0]
        for d in rank[1:]:
            own = _TABLE[own, d]
        if result is None:
            result = own
        elif own.category > result.category:
            result = _TABLE[result, own]
    assert result is not None
    return result


# --- limits ----------------------------------------------------------------------------------------------------------


class finfo:
    """Limits of a floating point dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    def __init__(self, type: Any = None):
        d = as_dtype(type) if type is not None else _default
        if not d.is_floating_point:
            raise TypeError(f"finfo(): expected a floating point dtype, got {d}; use iinfo for integers")
        info = ml_dtypes.finfo(d.numpy)
        self.dtype, self.bits = d.name, info.bits
        for name in ("eps", "max", "min", "tiny", "smallest_normal", "resolution"):
            setattr(self, name, float(getattr(info, name)))

    def __repr__(self) -> str:
        return "finfo({})".format(", ".join(f"{k}={v}" for k, v in self.__dict__.items()))


class iinfo:
    """Limits of an integer dtype: bits, max, min."""

    def __init__(self, type: Any):
        d = as_dtype(type)
        if d.category != 1:
            raise TypeError(f"iinfo(): expected an integer dtype, got {d}; use finfo for floating point")
        info = np.iinfo(d.numpy)
        self.dtype, self.bits, self.max, self.min = d.name, info.bits, int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
