"""Devices, and the array library ("namespace", `xp`) that computes on each: NumPy on the CPU, CuPy on a GPU."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from . import capture, checks, memory


class device:
    """Where a tensor's numbers are: device("cpu"), device("cuda"), device("cuda:1"), device("cuda", 1)."""

    __slots__ = ("type", "index")
    type: str
    index: int | None

    def __new__(cls, type: Any = "cpu", index: int | None = None):
        if isinstance(type, device):
            return type
        if isinstance(type, int):
            type, index = "cuda", type
        name, _, number = str(type).partition(":")
        if number:
            if index is not None:
                raise ValueError(f"device({type!r}, {index}): the index is given twice")
            if not number.isdigit():
                raise ValueError(f"device({type!r}): expected an index after the colon, as in 'cuda:0'")
            index = int(number)
        if name not in _KNOWN:
            raise ValueError(f"device({type!r}): unknown device type; expected one of {', '.join(sorted(_KNOWN))}")
        self = object.__new__(cls)
        object.__setattr__(self, "type", name)
        object.__setattr__(self, "index", index)
        return self

    def __setattr__(self, name, value):
        raise AttributeError("a device cannot be changed; make a new one")

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self):
        return device, (str(self),)

    def __enter__(self) -> device:
        """`with device("cuda"):` new tensors are made there when no device is said."""
        namespace_for(self)
        _default.before = [*_default.before, _default.device]
        _default.device = self
        return self

    def __exit__(self, *exc: Any) -> None:
        *_default.before, _default.device = _default.before


_KNOWN = {"cpu", "cuda"}
NAMESPACES: dict[type, Any] = {np.ndarray: np}  # array type -> namespace
_ARRAY_TYPES: dict[str, tuple[Any, type]] = {"cpu": (np, np.ndarray)}  # device type -> namespace, array type


def register_namespace(device_type: str, namespace: Any, array_type: type) -> None:
    """Teaches minitorch another array library with NumPy's functions (CuPy registers itself on first use)."""
    _KNOWN.add(device_type)
    NAMESPACES[array_type] = namespace
    _ARRAY_TYPES[device_type] = (namespace, array_type)


def namespace_of(array: Any) -> Any:
    """The library that made `array`: the `xp` of its operations."""
    try:
        return NAMESPACES[type(array)]
    except KeyError:
        if isinstance(array, np.ndarray):  # a subclass: np.memmap, np.matrix
            return np
        raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}") from None


several = False  # whether there are several GPUs: then every op looks where its arrays are


def _load_cupy() -> ModuleType:
    global several
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            "device 'cuda' needs CuPy, which cannot be imported here "
            f"({last_line(error)}); install minitorch[cuda12] or minitorch[cuda13]; `python -m minitorch.doctor` says more"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:  # CuPy's CUDARuntimeError: no driver, or one that is older than CuPy's CUDA
        raise RuntimeError(
            f"device 'cuda': CuPy is installed, but it finds no CUDA device ({error}); "
            "`python -m minitorch.doctor` says what to do"
        ) from error
    if count == 0:
        raise RuntimeError("device 'cuda': CuPy is installed, but it finds no CUDA device")
    several = count > 1
    memory.install(cupy)
    register_namespace("cuda", cupy, cupy.ndarray)
    if several:
        importlib.import_module("minitorch.cuda.several").install()
    return cupy


def last_line(error: BaseException) -> str:
    """What an error says at its end: CuPy puts its own advice, a screen of it, before the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =")]
    return lines[-1] if lines else type(error).__name__


def namespace_for(where: device) -> Any:
    """The array library of a device; imports CuPy when a CUDA device is asked for the first time."""
    if where.type not in _ARRAY_TYPES:
        _load_cupy()
    return _ARRAY_TYPES[where.type][0]


def device_of(array: Any) -> device:
    """The device that holds `array`."""
    if isinstance(array, np.ndarray):
        return CPU
    if hasattr(array, "device") and hasattr(array.device, "id"):
        number = array.device.id
        found = _GPUS.get(number)
        if found is None:
            found = _GPUS[number] = device("cuda", int(number))
        return found
    for name, (_, array_type) in _ARRAY_TYPES.items():
        if type(array) is array_type:
            return device(name)
    raise TypeError(f"expected an array of a known device, got {type(array).__name__}")


_GPUS: dict[int, device] = {}


# --- several GPUs ----------------------------------------------------------------------------------------------------


def gpu(xp: Any, index: int | None) -> Any:
    """A context: inside, the GPU of this number is the current one, where arrays are made and kernels run."""
    if index is None or not hasattr(xp, "cuda"):
        return contextlib.nullcontext()
    count = xp.cuda.runtime.getDeviceCount()
    if not 0 <= index < count:
        there = "only 'cuda:0'" if count == 1 else f"'cuda:0' to 'cuda:{count - 1}'"
        raise RuntimeError(f"device 'cuda:{index}': invalid device ordinal; this machine has {there}")
    return xp.cuda.Device(index)


def elsewhere(arrays: Sequence) -> Any:
    """Asked only where there are several GPUs: a context if the arrays are all on one that is not the current one; None if
    they are on the current one; "mixed" if they are on different ones."""
    number = None
    for array in arrays:
        if array is not None and not isinstance(array, np.ndarray):
            if number is not None and number != array.device.id:
                return "mixed"
            number = array.device.id
    if number is None:
        return None
    xp = _ARRAY_TYPES["cuda"][0]
    return None if number == xp.cuda.runtime.getDevice() else xp.cuda.Device(number)


def use(array: Any) -> None:
    """Makes the GPU that holds the array the current one."""
    if not isinstance(array, np.ndarray):
        runtime = _ARRAY_TYPES["cuda"][0].cuda.runtime
        if array.device.id != runtime.getDevice():
            runtime.setDevice(array.device.id)


@contextlib.contextmanager
def current_gpu_kept() -> Iterator[None]:
    """After the block the current GPU is what it was before."""
    runtime = _ARRAY_TYPES["cuda"][0].cuda.runtime
    before = runtime.getDevice()
    try:
        yield
    finally:
        runtime.setDevice(before)


# --- between the CPU and a GPU ---------------------------------------------------------------------------------------

sync_debug = 0  # cuda.set_sync_debug_mode: 1 warns, 2 refuses


def callers_line() -> tuple[str, int]:
    """The file and line of the innermost call that is not in minitorch."""
    frame, innermost = sys._getframe(1), None
    while frame is not None:
        innermost = frame
        name = frame.f_globals.get("__name__", "")
        if name != "minitorch" and not name.startswith("minitorch."):
            break
        frame = frame.f_back  # type: ignore[assignment]
    assert innermost is not None
    return innermost.f_code.co_filename, innermost.f_lineno


def waits(what: str) -> None:
    """Here the CPU is about to wait for a GPU, because it needs a number from there: reported if asked for, refused in a
    captured graph."""
    if capture.current is not None:
        file, line = callers_line()
        capture.refuse(
            f"{what} ({file}:{line})", "the graph's kernels cannot hand numbers to Python; do it after the replay"
        )
    if sync_debug:
        file, line = callers_line()
        if sync_debug == 2:
            raise RuntimeError(f"called a synchronizing CUDA operation: {what}, at {file}:{line} (set_sync_debug_mode)")
        warnings.warn_explicit(f"called a synchronizing CUDA operation: {what}", UserWarning, file, line)


def to_numpy(array: Any) -> np.ndarray:
    """The same numbers in the CPU's memory; a NumPy array is returned as it is.

    This and `host` are the only ways from a GPU to the CPU. Errors of late checks (checks.py) are raised here.
    """
    if isinstance(array, np.ndarray):
        return array
    if capture.current is not None or sync_debug:
        waits(f"reading numbers back from the GPU, {array.size} of {array.dtype}")
    where = elsewhere((array,)) if several else None
    if where is not None:
        with where:
            return to_numpy(array)
    xp = namespace_of(array)
    answer = checks.look(xp, xp.cuda.runtime.getDevice() if hasattr(xp, "cuda") else 0)
    values = array.get()  # waits for the current stream
    if answer is not None:
        answer()
    return values


def host(array: Any) -> Any:
    """The only element of an array of any device as a Python number: bool, int or float."""
    value = to_numpy(array).reshape(()).item() if not isinstance(array, np.generic) else array.item()
    return value if isinstance(value, (bool, int, float)) else float(value)  # bfloat16


def nonzero(array: Any) -> tuple:
    """The places of the elements that are not zero, a vector for each axis. How many there are the CPU has to know."""
    if not isinstance(array, np.ndarray) and (capture.current is not None or sync_debug):
        waits("reading back how many elements of a tensor hold")
    return array.nonzero()


def linalg(xp: Any, name: str) -> Any:
    """xp.linalg's function: on a GPU it reads back whether it succeeded."""
    if xp is not np and (capture.current is not None or sync_debug):
        waits(f"linalg.{name} reads back whether it succeeded")
    return getattr(xp.linalg, name)


def to_device(array: Any, where: device) -> Any:
    """The same numbers on `where`; an array that is there already is returned as it is."""
    here = device_of(array)
    if here.type == where.type and (where.index is None or where.index == here.index):
        return array
    if where.type == "cpu":
        return to_numpy(array)
    xp = namespace_for(where)
    if here.type == where.type:
        return _to_other_gpu(array, here, where, xp)
    if capture.current is not None:
        file, line = callers_line()
        capture.refuse(
            f"copying numbers from the CPU to the GPU ({file}:{line})",
            "a replay would not look at the CPU's memory again: move them before, and copy_() new ones into that tensor",
        )
    with gpu(xp, where.index):
        return xp.asarray(to_numpy(array))


def _to_other_gpu(array: Any, here: device, where: device, xp: Any) -> Any:
    """The copy waits for the array, and the array's memory is not used again before the copy is made."""
    with gpu(xp, where.index):
        there = xp.cuda.get_current_stream()
        with xp.cuda.Device(here.index):
            source = xp.cuda.get_current_stream()
            done = source.record()
        there.wait_event(done)
        copy = xp.asarray(array)
        copied = there.record()
        with xp.cuda.Device(here.index):
            source.wait_event(copied)
    return copy


_tables: dict[tuple, Any] = {}
_captured: dict[tuple, Any] = {}  # of these, those that a captured graph reads: kept for ever


def table(xp: Any, values: Any, dtype: Any = None) -> Any:
    """A few constants that the CPU has computed (indices, weights), as an array of `xp`, not to be written to.

    What went to a GPU is kept there, so that the same numbers go once: a captured graph finds what the run before it left.
    """
    values = np.asarray(values, dtype)
    if xp is np:
        return values
    if not values.ndim:
        return xp.full((), values.item(), values.dtype)
    number = xp.cuda.runtime.getDevice() if hasattr(xp, "cuda") else 0
    key = (xp, number, values.dtype, values.shape, values.tobytes())
    found = _tables.get(key)
    if found is None:
        found = to_device(values, device_of_namespace(xp, number))
        if values.nbytes <= 1 << 20:
            if sum(a.nbytes for a in _tables.values()) > 1 << 26:
                _tables.clear()
                _tables.update(_captured)
            _tables[key] = found
    if capture.current is not None:
        _captured[key] = found
    return found


def device_of_namespace(xp: Any, number: int) -> device:
    """The device on which a namespace computes; of GPUs that of this number."""
    name = next(name for name, (namespace, _) in _ARRAY_TYPES.items() if namespace is xp)
    return device(name, number if hasattr(xp, "cuda") and name == "cuda" else None)


CPU = device("cpu")


class _Default(threading.local):
    """Where new tensors are made when no device is said. Each thread has its own, as in PyTorch."""

    device = CPU
    before: list = []


_default = _Default()


def get_default() -> device:
    """The device of new tensors for which none is said."""
    return _default.device


def set_default(where: device) -> None:
    """Makes `where` that device."""
    _default.device = where
