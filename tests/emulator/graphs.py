"""CUDA graphs on a machine without a GPU: what CuPy's streams, graphs and memory pools are to minitorch/cuda/graphs.py.

While an emulated stream captures, every function of the emulated CuPy, every method and operator of its arrays and every
kernel launch is noted, with its arguments as they are: arrays by reference, numbers as constants. It also runs, because
Python needs the results' shapes; at the end of the capture all memory that was there before is put back, and arrays that
were made hold NaN, for a real capture runs nothing. A replay runs what was noted, in that order, and writes each result into
the memory of the first. So numbers that the CPU computed for the captured step are wrong in the next replay, as on a GPU.
Kernels are only noted: they return nothing, and may read what is put into memory just before the replay.

As CuPy does, it refuses while capturing: copies from and to the CPU, products through its cuBLAS, the default
stream. What it cannot show: that the memory of temporaries is not used by others (here nobody gets it), and timing.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

import tests.emulator as emulator
from minitorch.kernels.cuda import direct
from tests import guard as _guard
from tests.emulator import cublas
from tests.guard import GuardArray

SHAPES_FROM_DATA = frozenset("nonzero flatnonzero argwhere unique union1d extract compress delete trim_zeros".split())
PRODUCTS = frozenset("matmul dot tensordot einsum inner vdot __matmul__ __rmatmul__".split())
READING = "get item tolist tobytes __bool__ __int__ __float__".split()


class CUDARuntimeError(RuntimeError):
    status = 900


class Tape:
    """What a capture has noted."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.before: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # memory that was written to: (memory, as it was)
        self.made: dict[int, np.ndarray] = {}
        self.inside = False

    def note(self, function: Any, args: tuple, kwargs: dict, written: list) -> Any:
        args, kwargs = _held(args), _held(kwargs)
        for array in written:
            memory = _memory(array._hidden)
            if id(memory) not in self.before and id(memory) not in self.made:
                self.before[id(memory)] = (memory, memory.copy())
        self.inside = True
        try:
            with np.errstate(all="ignore"):  # what kernels would have computed is not there
                result = function(*args, **kwargs)
        finally:
            self.inside = False
        given = {id(_memory(a._hidden)) for a in _arrays((args, kwargs))}
        for array in _arrays(result):
            memory = _memory(array._hidden)
            if id(memory) not in given:
                self.made[id(memory)] = memory
        self.calls.append((function, args, kwargs, result))
        return result

    def launch(self, function: Any, args: tuple, kwargs: dict) -> None:
        self.calls.append((function, _held(args), _held(kwargs), None))

    def end(self) -> None:
        for memory, values in self.before.values():
            memory[...] = values
        for memory in self.made.values():
            if memory.dtype.kind == "f":
                memory[...] = np.nan

    def run(self) -> None:
        for function, args, kwargs, result in self.calls:
            if getattr(args[0] if args else None, "__name__", "") in ("empty", "empty_like"):
                continue  # no kernel, and what others have put there meanwhile stays
            for then, now in zip(_arrays(result), _arrays(function(*args, **kwargs)), strict=True):
                if (
                    then is not now
                    and then._hidden.__array_interface__["data"] != now._hidden.__array_interface__["data"]
                ):
                    then._hidden[...] = now._hidden


current: Tape | None = None


def _memory(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory."""
    while True:
        if isinstance(array.base, _guard._Memory):
            array = array.base.owner
        elif isinstance(array.base, np.ndarray):
            array = array.base
        else:
            return array


def _held(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(map(_held, value))
    return {key: _held(each) for key, each in value.items()} if type(value) is dict else value


def _arrays(value: Any) -> list[GuardArray]:
    if isinstance(value, GuardArray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [array for each in value for array in _arrays(each)] if isinstance(value, (list, tuple)) else []


def _refuse(direction: str) -> None:
    if current is not None and not current.inside:
        raise RuntimeError(f"the current stream is capturing, so {direction} transfers are disallowed")


def _noted(function: Any, name: str, written: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if current is None or current.inside:
            return function(*args, **kwargs)
        if name in SHAPES_FROM_DATA:
            _refuse("D2H")
        if name in PRODUCTS and _arrays(args)[0].dtype.kind == "f":
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        return current.note(function, args, kwargs, written(args, kwargs))

    return call


def _read(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        _refuse("D2H")
        return function(*args, **kwargs)

    return call


def _nothing(args: tuple, kwargs: dict) -> list:
    return _arrays(kwargs.get("out"))


def _first(args: tuple, kwargs: dict) -> list:
    return _arrays(args[0])


_FIRST_WRITTEN = frozenset("copyto put place putmask fill_diagonal put_along_axis nan_to_num".split())
_numbers = itertools.count(1).__next__


class Stream:
    def __init__(self, non_blocking: bool = False, ptr: int | None = None):
        self.ptr = _numbers() if ptr is None else ptr
        self._tape: Tape | None = None

    def __enter__(self) -> Stream:
        _streams.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        assert _streams.pop() is self

    def record(self) -> Any:
        return object()

    def wait_event(self, event: Any) -> None:
        pass

    def synchronize(self) -> None:
        _refuse("D2H")

    def begin_capture(self, mode: Any = None) -> None:
        global current
        if not self.ptr:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert current is None
        current = self._tape = Tape()

    def end_capture(self) -> Graph:
        global current
        tape, self._tape, current = self._tape, None, None
        assert tape is not None
        tape.end()
        return Graph(tape)


class Graph:
    def __init__(self, tape: Tape):
        self.tape, self.launched = tape, 0

    def launch(self, stream: Any = None) -> None:
        assert current is None, "a graph is launched inside a capture"
        self.launched += 1
        self.tape.run()


class MemoryPool:
    def __init__(self, allocator: Any = None):
        self.allocator, self.freed = allocator, 0

    def malloc(self, size: int) -> Any:
        raise AssertionError("the emulated arrays have NumPy's memory")

    def used_bytes(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        self.freed += 1


_streams = [Stream(ptr=0)]
allocators: list[Any] = []


@contextmanager
def using_allocator(allocator: Any) -> Any:
    allocators.append(allocator)
    try:
        yield
    finally:
        allocators.pop()


_runtime = vars(emulator.emulated.cuda.runtime)
_cuda = {
    "runtime": SimpleNamespace(
        **_runtime, CUDARuntimeError=CUDARuntimeError, streamIsCapturing=lambda ptr: current is not None
    ),
    "Stream": Stream, "Graph": Graph, "MemoryPool": MemoryPool, "using_allocator": using_allocator, "Memory": None,
    "MemoryPointer": None, "get_current_stream": lambda: _streams[-1],
}  # fmt: skip
_default_pool = MemoryPool()


class DirectLibrary:
    """What stands for kernels/cuda/direct.py's way to cuBLAS."""

    gemmEx = gemmStridedBatchedEx = None

    def __init__(self, xp: Any):
        pass


def _direct(function: Any) -> Any:
    def call(self: Any, *args: Any) -> None:
        function(*args) if current is None else current.launch(function, args, {})

    return call


def _product(function: Any) -> Any:
    def call(*args: Any) -> None:
        if current is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        function(*args)

    return call


def _patches() -> list[tuple[Any, str, Any]]:
    """(class, method, what stands there while graphs are emulated)"""
    made: list[tuple[Any, str, Any]] = []

    def note(owner: Any, name: str, written: Any) -> None:
        made.append((owner, name, _noted(vars(owner)[name], name, written)))

    for name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
        note(GuardArray, f"__{name}__", _nothing)
        note(GuardArray, f"__r{name}__", _nothing)
        if name != "matmul":
            note(GuardArray, f"__i{name}__", _first)
    for name in "lt le gt ge eq ne neg pos abs invert".split():
        note(GuardArray, f"__{name}__", _nothing)
    for name in ("__setitem__", "fill", "sort"):
        note(GuardArray, name, _first)
    for name in ("outer", "reduce", "accumulate"):
        note(_guard._Ufunc, name, _nothing)
    note(_guard._Ufunc, "at", lambda args, kwargs: _arrays(args[1]))

    start = emulator.SimpleFunction.__call__

    def launch(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs) if current is None else current.launch(start, (self, *args), kwargs)

    for name in ("gemmEx", "gemmStridedBatchedEx"):
        made.append((cublas, name, _product(vars(cublas)[name])))
        made.append((DirectLibrary, name, _direct(vars(cublas)[name])))
    made.append((direct, "_library", DirectLibrary))

    get, attribute = GuardArray.__getitem__, GuardArray.__getattr__
    ufunc, function, linear = _guard._Ufunc.__call__, _guard._Function.__call__, _guard._Linalg.__getattr__
    get_noted = _noted(get, "__getitem__", _nothing)

    def getitem(self: GuardArray, index: Any) -> Any:
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, GuardArray) and part.dtype == bool:
                _refuse("D2H")
        return get_noted(self, index)

    def getattribute(self: GuardArray, name: str) -> Any:
        def call(array: GuardArray, *args: Any, **kwargs: Any) -> Any:
            return attribute(array, name)(*args, **kwargs)

        method = attribute(self, name)
        return method if current is None else lambda *a, **k: _noted(call, name, _nothing)(self, *a, **k)

    def call_ufunc(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _noted(ufunc, self.__name__, _nothing)(self, *args, **kwargs)

    def call_function(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__
        if name in ("array", "asarray", "ascontiguousarray", "asanyarray") and not isinstance(args[0], GuardArray):
            _refuse("H2D")
        written = (lambda a, k: _arrays(a[1])) if name in _FIRST_WRITTEN else _nothing
        return _noted(function, name, written)(self, *args, **kwargs)

    def get_linear(self: Any, name: str) -> Any:
        return _noted(linear(self, name), name, _nothing)

    made += [
        (emulator.SimpleFunction, "__call__", launch), (GuardArray, "__getitem__", getitem), (GuardArray, "__getattr__", getattribute),
        (_guard._Ufunc, "__call__", call_ufunc), (_guard._Function, "__call__", call_function),
        (_guard._Linalg, "__getattr__", get_linear),
    ]  # fmt: skip
    made += [(GuardArray, name, _read(vars(GuardArray)[name])) for name in READING]
    return made


@contextmanager
def device() -> Any:
    """The emulated device with graphs, and with a random stream of its own."""
    from minitorch.backend.random import Generator
    from minitorch.ops import random

    with emulator.device() as name:
        patches = _patches()
        originals = [(owner, key, vars(owner)[key]) for owner, key, _ in patches]
        plain = emulator.emulated.cuda
        choose, stream = random._generator, Generator(device=name)
        random._on_device["guard"] = stream
        try:
            for owner, key, value in patches:
                setattr(owner, key, value)
            random._generator = lambda given, where: (
                stream if given is None and where.type == name else choose(given, where)
            )
            emulator.emulated.cuda = SimpleNamespace(**{**vars(plain), **_cuda})  # type: ignore[misc]
            emulator.emulated.get_default_memory_pool = lambda: _default_pool
            yield name
        finally:
            for owner, key, value in originals:
                setattr(owner, key, value)
            random._generator = choose
            emulator.emulated.__dict__.pop("cuda", None)
            emulator.emulated.__dict__.pop("get_default_memory_pool", None)
            del random._on_device["guard"]
