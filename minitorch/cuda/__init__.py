"""PyTorch's torch.cuda, through CuPy. Without a GPU `is_available()` is False, seeds are accepted, memory in use is 0, and
what needs a GPU says what to install."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from .. import legacy
from ..backend import checks, devices, dtypes, settings
from ..backend.memory import OutOfMemoryError, in_words
from ..backend.random import Generator
from ..ops import random as _random
from ..tensor import Tensor, wrap

# --- devices ---------------------------------------------------------------------------------------------------------


def _cupy() -> Any:
    """CuPy, or the error that says how to get it."""
    return devices.namespace_for(devices.device("cuda"))


def device_count() -> int:
    """The number of GPUs; 0 without CuPy."""
    try:
        return int(_cupy().cuda.runtime.getDeviceCount())
    except RuntimeError:
        return 0


def is_available() -> bool:
    """Whether tensors can be moved to "cuda": CuPy is installed and finds a GPU."""
    return device_count() > 0


def is_initialized() -> bool:
    """Whether CuPy has been imported for a tensor, or for a question here."""
    return "cuda" in devices._ARRAY_TYPES


def init() -> None:
    """Imports CuPy now."""
    _cupy()


def current_device() -> int:
    """The number of the GPU that "cuda" means."""
    return int(_cupy().cuda.runtime.getDevice())


def _index(device: Any, name: str) -> int:
    """The number of a GPU: from a number, a device, its name, or None for the current one."""
    if device is None:
        return current_device()
    where = devices.device(device)
    if where.type != "cuda":
        raise ValueError(f"{name}: expected a cuda device, but got: {where}")
    index = current_device() if where.index is None else where.index
    if not 0 <= index < max(device_count(), 1):
        raise RuntimeError(f"{name}: invalid device ordinal {index}; there are {device_count()} GPUs")
    return index


def set_device(device: Any) -> None:
    """Makes this GPU the one that "cuda" means."""
    _cupy().cuda.runtime.setDevice(_index(device, "set_device()"))


def _properties(device: Any, name: str) -> dict:
    xp = _cupy()
    return xp.cuda.runtime.getDeviceProperties(_index(device, name))


def get_device_name(device: Any = None) -> str:
    """The GPU's name."""
    return _properties(device, "get_device_name()")["name"].decode()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The GPU's compute capability: (9, 0)."""
    found = _properties(device, "get_device_capability()")
    return int(found["major"]), int(found["minor"])


def get_device_properties(device: Any = None) -> types.SimpleNamespace:
    """name, major, minor, total_memory (bytes), multi_processor_count."""
    found = _properties(device, "get_device_properties()")
    return types.SimpleNamespace(
        name=found["name"].decode(), major=int(found["major"]), minor=int(found["minor"]),
        total_memory=int(found["totalGlobalMem"]), multi_processor_count=int(found["multiProcessorCount"]),
    )  # fmt: skip


class device:
    """Inside `with`, this GPU is the one that "cuda" means; without a GPU, nothing."""

    def __init__(self, device: Any):
        self.idx = device if isinstance(device, int) else devices.device(device).index
        self._before: int | None = None

    def __enter__(self) -> device:
        if self.idx is not None and self.idx >= 0 and is_available():
            self._before = current_device()
            set_device(self.idx)
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._before is not None:
            set_device(self._before)
            self._before = None


class device_of(device):
    """Inside `with`, the GPU that holds the tensor is the one that "cuda" means."""

    def __init__(self, tensor: Tensor):
        super().__init__(tensor.device.index if tensor.is_cuda else -1)


def synchronize(device: Any = None) -> None:
    """Waits until the GPU has done all that it was told. Here errors are raised that were found late (backend/checks.py)."""
    xp = _cupy()
    index = _index(device, "synchronize()")
    xp.cuda.Device(index).synchronize()
    checks.settle(xp, index)


def set_sync_debug_mode(debug_mode: int | str) -> None:
    """What happens where the CPU waits for a GPU, because a number is read back: "default" (0): nothing; "warn" (1): a warning
    that points to the line of the program; "error" (2): a RuntimeError that names it.

    A training step that waits in its middle leaves the GPU idle, and cannot be captured in a graph. `synchronize()` does not
    count: it says what it does.
    """
    names = {"default": 0, "warn": 1, "error": 2}
    level = names.get(debug_mode) if isinstance(debug_mode, str) else debug_mode
    if isinstance(debug_mode, str) and level is None:
        raise RuntimeError(f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, got {debug_mode!r}")
    if isinstance(level, bool) or level not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1 or 2, got {debug_mode!r}")
    devices.sync_debug = level


def get_sync_debug_mode() -> int:
    """0, 1 or 2: default, warn, error."""
    return devices.sync_debug


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether one GPU can read the other's memory directly; copies between them work anyhow."""
    name = "can_device_access_peer()"
    device, peer = _index(device, name), _index(peer_device, name)
    return device != peer and bool(_cupy().cuda.runtime.deviceCanAccessPeer(device, peer))


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether there is a GPU: bfloat16 is computed in float32."""
    return is_available()


def get_arch_list() -> list[str]:
    """Empty: kernels are compiled for the GPU at hand."""
    return []


# --- random streams --------------------------------------------------------------------------------------------------


def manual_seed(seed: int) -> None:
    """Starts the current GPU's default stream from `seed`; without a GPU nothing."""
    Generator().manual_seed(seed)  # refuses what is no seed
    if is_available():
        _random.stream(devices.device("cuda", current_device())).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Starts every GPU's default stream from `seed`."""
    Generator().manual_seed(seed)
    for i in range(device_count()):
        _random.stream(devices.device("cuda", i)).manual_seed(seed)


def seed() -> None:
    """Starts the current GPU's default stream from a random seed."""
    if is_available():
        _random.stream(devices.device("cuda", current_device())).seed()


def seed_all() -> None:
    """Starts every GPU's default stream from one random seed."""
    manual_seed_all(Generator().seed())


def initial_seed() -> int:
    """The seed that the current GPU's default stream was started from."""
    return _random.stream(devices.device("cuda", current_device())).initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The state of a GPU's default stream."""
    return wrap(_random.stream(devices.device("cuda", _index(device, "get_rng_state()"))).state_array())


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Puts a GPU's default stream back to a state of `get_rng_state`; without a GPU nothing."""
    if is_available():
        index = _index(device, "set_rng_state()")
        _random.stream(devices.device("cuda", index)).set_state_array(new_state.array)


def get_rng_state_all() -> list[Tensor]:
    """The states of all GPUs' default streams."""
    return [get_rng_state(i) for i in range(device_count())]


def set_rng_state_all(new_states: Any) -> None:
    """Puts all GPUs' default streams back."""
    for i, state in enumerate(new_states):
        set_rng_state(state, i)


# --- memory: CuPy's pool, which keeps what was freed for the next array ----------------------------------------------


def _pool(device: Any, name: str) -> tuple[Any, Any]:
    xp = _cupy()
    return xp.get_default_memory_pool(), xp.cuda.Device(_index(device, name))


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by arrays."""
    if not is_available():
        return 0
    pool, where = _pool(device, "memory_allocated()")
    with where:
        return int(pool.used_bytes())


def memory_reserved(device: Any = None) -> int:
    """Bytes that the pool holds, in use or kept for later."""
    if not is_available():
        return 0
    pool, where = _pool(device, "memory_reserved()")
    with where:
        return int(pool.total_bytes())


# The pool gives nothing back by itself, so its size is the most that was needed since it was emptied.
max_memory_allocated = max_memory_reserved = memory_reserved


def memory_stats(device: Any = None) -> dict[str, int]:
    """PyTorch's names for the pool's numbers, in bytes; {} without a GPU."""
    if not is_available():
        return {}
    kinds = {"allocated_bytes": memory_allocated(device), "reserved_bytes": memory_reserved(device)}
    return {f"{kind}.all.current": n for kind, n in kinds.items()} | {
        "allocated_bytes.all.peak": max_memory_allocated(device),
        "reserved_bytes.all.peak": max_memory_reserved(device),
    }


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """What a GPU's memory is used for, in a few lines."""
    index = _index(device, "memory_summary()")
    free, total = mem_get_info(index)
    used, reserved = memory_allocated(index), memory_reserved(index)
    rows = (
        ("tensors", used), ("reserved for new ones", reserved - used), ("other programs", total - free - reserved),
        ("free", free), ("in all", total),
    )  # fmt: skip
    return "\n".join([f"GPU {index}: {get_device_name(index)}", *(f"  {k:22} {in_words(v)}" for k, v in rows)])


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """This process's arrays may take at most this part of the GPU's memory; an allocation beyond it fails."""
    if not isinstance(fraction, float):
        raise TypeError(f"Invalid type for fraction argument, must be `float`, got {type(fraction).__name__}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    pool, where = _pool(device, "set_per_process_memory_fraction()")
    with where:
        pool.set_limit(fraction=fraction)


def empty_cache() -> None:
    """Gives the pool's memory that no array uses back to the GPU."""
    if is_available():
        _cupy().get_default_memory_pool().free_all_blocks()


def reset_peak_memory_stats(device: Any = None) -> None:
    """`max_memory_allocated` counts from here: the pool's unused memory is given back."""
    _cupy()
    empty_cache()


reset_max_memory_allocated = reset_peak_memory_stats


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of the GPU, whoever uses them."""
    xp = _cupy()
    free, total = xp.cuda.Device(_index(device, "mem_get_info()")).mem_info
    return int(free), int(total)


def ipc_collect() -> None:
    """Nothing: tensors on a GPU are not shared among processes."""
    _cupy()


# --- streams and events ----------------------------------------------------------------------------------------------


class Stream:
    """An order of work on the GPU, beside others: CuPy's. `with stream(s):` or `with s:` work goes there."""

    def __init__(self, device: Any = None, priority: int = 0, *, _own: Any = None):
        xp = _cupy()
        if _own is None:
            with xp.cuda.Device(_index(device, "Stream()")):
                _own = xp.cuda.Stream(non_blocking=True)
        self.cupy = _own

    def __enter__(self) -> Stream:
        self.cupy.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.cupy.__exit__(*exc)

    def synchronize(self) -> None:
        """Waits until all its work is done."""
        self.cupy.synchronize()

    def query(self) -> bool:
        """Whether all its work is done."""
        return bool(self.cupy.done)

    def record_event(self, event: Event | None = None) -> Event:
        """Marks this point of the stream with an event."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Work from here on waits for the event."""
        self.cupy.wait_event(event.cupy)

    def wait_stream(self, stream: Stream) -> None:
        """Work from here on waits for what the other stream has been told so far."""
        self.wait_event(stream.record_event())


class Event:
    """A mark in a stream: to wait for, and to measure times between."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False):
        self.cupy = _cupy().cuda.Event(block=blocking, disable_timing=not enable_timing)

    def record(self, stream: Stream | None = None) -> None:
        """Puts the mark at the end of what the stream has been told."""
        self.cupy.record(None if stream is None else stream.cupy)

    def wait(self, stream: Stream | None = None) -> None:
        """The stream's work from here on waits for the mark."""
        (stream or current_stream()).wait_event(self)

    def synchronize(self) -> None:
        """Waits until the mark is reached."""
        self.cupy.synchronize()

    def query(self) -> bool:
        """Whether the mark is reached."""
        return bool(self.cupy.done)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this mark to the other; both with enable_timing=True."""
        return float(_cupy().cuda.get_elapsed_time(self.cupy, end_event.cupy))


def current_stream(device: Any = None) -> Stream:
    """The stream that work goes to."""
    return Stream(_own=_cupy().cuda.get_current_stream())


def default_stream(device: Any = None) -> Stream:
    """The stream that work goes to where no other was chosen."""
    return Stream(_own=_cupy().cuda.Stream.null)


class stream:
    """Inside `with`, work goes to this stream; None: nothing changes."""

    def __init__(self, stream: Stream | None):
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.stream.__enter__()

    def __exit__(self, *exc: Any) -> None:
        if self.stream is not None:
            self.stream.__exit__(*exc)


# --- graphs ----------------------------------------------------------------------------------------------------------

from .graphs import CUDAGraph, graph, graph_pool_handle, is_current_stream_capturing  # noqa: E402, F401

# --- the oldest constructors -----------------------------------------------------------------------------------------

TYPED = {name: legacy.typed(kind.dtype, "cuda") for name, kind in legacy.TYPED.items()}
FloatTensor, DoubleTensor, HalfTensor, BFloat16Tensor = (
    TYPED[n + "Tensor"] for n in ("Float", "Double", "Half", "BFloat16")
)
LongTensor, IntTensor, ShortTensor = (TYPED[n + "Tensor"] for n in ("Long", "Int", "Short"))
CharTensor, ByteTensor, BoolTensor = (TYPED[n + "Tensor"] for n in ("Char", "Byte", "Bool"))


def __getattr__(name: str) -> Any:
    if name == "amp":  # `from . import amp` would ask here again
        return importlib.import_module(f"{__name__}.amp")
    from ..missing import explain

    raise AttributeError(explain(name, sys.modules[__name__], __name__), name=name)
