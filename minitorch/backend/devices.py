"""Devices, and the array library ("namespace", `xp`) that computes on each: NumPy on the CPU, CuPy on a GPU."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np


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


def _load_cupy() -> ModuleType:
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            "device 'cuda' needs CuPy, which cannot be imported here "
            f"({error}); install minitorch[cuda12] or minitorch[cuda13]"
        ) from error
    if cupy.cuda.runtime.getDeviceCount() == 0:
        raise RuntimeError("device 'cuda': CuPy is installed, but it finds no CUDA device")
    register_namespace("cuda", cupy, cupy.ndarray)
    return cupy


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
        return device("cuda", int(array.device.id))
    for name, (_, array_type) in _ARRAY_TYPES.items():
        if type(array) is array_type:
            return device(name)
    raise TypeError(f"expected an array of a known device, got {type(array).__name__}")


def to_numpy(array: Any) -> np.ndarray:
    """The same numbers in the CPU's memory; a NumPy array is returned as it is."""
    return array if isinstance(array, np.ndarray) else array.get()


def to_device(array: Any, where: device) -> Any:
    """The same numbers on `where`; an array that is there already is returned as it is."""
    here = device_of(array)
    if here.type == where.type and (where.index is None or where.index == here.index):
        return array
    if where.type == "cpu":
        return to_numpy(array)
    xp = namespace_for(where)
    if where.type == "cuda" and where.index is not None:
        with xp.cuda.Device(where.index):
            return xp.asarray(array)
    return xp.asarray(array if here.type == where.type else to_numpy(array))


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
