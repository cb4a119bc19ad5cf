"""PyTorch's process-wide switches: threads, determinism, precision of products, the default device, and small questions.

What a switch says is kept and read back. Where there is nothing to switch, its docstring says so.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from . import devices, dtypes

# --- threads ---------------------------------------------------------------------------------------------------------

num_threads: int | None = None  # what set_num_threads was told; the compiled kernels read it too
_interop_threads: int | None = None
_limits: Any = None  # threadpoolctl's, in force as long as it is kept


def _count(n: Any, name: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise RuntimeError(f"{name} expects an int, but got {type(n).__name__}")
    if n < 1:
        raise RuntimeError(f"{name} expects a positive integer, got {n}")
    return n


def set_num_threads(n: int) -> None:
    """How many threads one operation may use: the compiled kernels at once, matrix products if threadpoolctl is
    installed. Without it NumPy's BLAS keeps its number, which OMP_NUM_THREADS sets before Python starts; a warning says so.
    """
    global num_threads, _limits
    num_threads = _count(n, "set_num_threads")
    kernels = sys.modules.get("minitorch.kernels.cpu.compile")
    if kernels is not None:
        kernels.set_threads(num_threads)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        if num_threads != _blas_threads():
            warnings.warn(
                f"set_num_threads({n}): without threadpoolctl, which is not installed, matrix products keep "
                f"{_blas_threads()} threads; pip install threadpoolctl, or set OMP_NUM_THREADS before Python starts",
                stacklevel=2,
            )
        return
    _limits = threadpool_limits(limits=num_threads)


def _blas_threads() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given.isdigit() and int(given) else cores


def get_num_threads() -> int:
    """The number of threads of one operation."""
    return num_threads or _blas_threads()


def set_num_interop_threads(n: int) -> None:
    """Kept and read back: operations run one after the other."""
    global _interop_threads
    _interop_threads = _count(n, "set_num_interop_threads")


def get_num_interop_threads() -> int:
    """What `set_num_interop_threads` was told."""
    return _interop_threads or 1


# --- determinism, precision ------------------------------------------------------------------------------------------

_deterministic, _warn_only = False, False


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Kept and read back. On the CPU every operation is deterministic anyhow; on a GPU those that add up with atomic
    operations (index_add, scatter_add, the gradients of indexing) may round differently from run to run."""
    global _deterministic, _warn_only
    for name, value in (("mode", mode), ("warn_only", warn_only)):
        if not isinstance(value, bool):
            raise TypeError(f"use_deterministic_algorithms(): {name} must be bool, not {type(value).__name__}")
    _deterministic, _warn_only = mode, warn_only


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return _deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it was told to warn only."""
    return _warn_only


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """ "default" (0), "warn" (1) or "error" (2): another way to say `use_deterministic_algorithms`."""
    names = {"default": 0, "warn": 1, "error": 2}
    level = names.get(debug_mode, debug_mode) if isinstance(debug_mode, str) else debug_mode
    if level not in (0, 1, 2):
        expected = "one of `default`, `warn`, `error`" if isinstance(debug_mode, str) else "0, 1, or 2"
        raise RuntimeError(f"invalid value of debug_mode, expected {expected}, but got {debug_mode}")
    use_deterministic_algorithms(level != 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2: default, warn, error."""
    return (1 if _warn_only else 2) if _deterministic else 0


matmul_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """ "highest": products of float32 are computed in float32. "high", "medium": on a GPU in TF32, with 10 bits of mantissa."""
    global matmul_precision
    if not isinstance(precision, str):
        raise TypeError(f"set_float32_matmul_precision(): expected a str, got {type(precision).__name__}")
    if precision not in ("highest", "high", "medium"):
        warnings.warn(f"{precision} is not one of 'highest', 'high', or 'medium'; the call has no effect", stacklevel=2)
        return
    matmul_precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told."""
    return matmul_precision


def set_flush_denormal(mode: bool) -> bool:
    """False: NumPy computes with the smallest numbers, and they are not flushed to zero."""
    return False


# --- defaults --------------------------------------------------------------------------------------------------------


def set_default_device(device: Any) -> None:
    """Where new tensors are made when no device is said; None: on the CPU again."""
    where = devices.CPU if device is None else devices.device(device)
    devices.namespace_for(where)  # a device that is not there is refused now
    devices.set_default(where)


def get_default_device() -> devices.device:
    """Where new tensors are made when no device is said."""
    return devices.get_default()


def set_default_tensor_type(t: Any) -> None:
    """The default dtype and device, by FloatTensor and its like, or by name: 'torch.DoubleTensor'."""
    from ..legacy import read_type

    dtype, where = read_type(t)
    if where is None or not dtype.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type; got {t}")
    dtypes.set_default_dtype(dtype)
    set_default_device(where)


# --- anomaly mode ----------------------------------------------------------------------------------------------------


def set_anomaly_enabled(mode: bool, check_nan: bool = True) -> None:
    """Anomaly mode (`autograd.detect_anomaly`) on or off, from here on."""
    from ..autograd.grad_mode import mode as current

    current.anomaly, current.check_nan = bool(mode), bool(check_nan)


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on in this thread."""
    from ..autograd.grad_mode import mode as current

    return current.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode looks for NaN."""
    from ..autograd.grad_mode import mode as current

    return current.check_nan


# --- questions -------------------------------------------------------------------------------------------------------


def typename(obj: Any) -> str:
    """The name of an object's type: of a tensor 'torch.FloatTensor', of a class its own."""
    from ..tensor import Tensor

    if isinstance(obj, Tensor):
        return obj.type()
    named = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(named, "__module__", None)
    return named.__qualname__ if module in (None, "builtins") else f"{module}.{named.__qualname__}"


def is_storage(obj: Any) -> bool:
    """False: memory is not an object of its own."""
    return False


def can_cast(from_: dtypes.dtype, to: dtypes.dtype) -> bool:
    """Whether a cast keeps the kind of number: not from floating point to integers, nor from numbers to bool."""
    return to.category >= from_.category


def compile(model: Any = None, *, fullgraph: bool = False, dynamic: Any = None, backend: Any = "inductor",
            mode: Any = None, options: Any = None, disable: bool = False) -> Any:  # fmt: skip
    """Returns its argument: nothing is compiled. A decorator too, with and without options."""
    if model is None:
        return lambda function: compile(function)
    if not callable(model):
        raise TypeError(f"compile(): a callable function is expected, but {type(model)} is provided")
    return model


class memory_format:
    """An order of a tensor's axes in memory. Accepted and ignored: results are laid out as NumPy does."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"{dtypes.NAMESPACE}.{self.name}"

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _format, (self.name,)


def _format(name: str) -> Any:
    return globals()[name]


class layout(memory_format):
    """How a tensor's elements are stored: strided, always."""


preserve_format, contiguous_format = memory_format("preserve_format"), memory_format("contiguous_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
strided = layout("strided")
