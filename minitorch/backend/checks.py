"""Checks of numbers that are on a GPU: of indices, labels, lengths. They do not wait for the GPU.

On the CPU a check raises its error at once. On a GPU, asking "is every index in range?" would make the CPU wait for all
work queued so far, in every layer of every step. So the answer stays there: each GPU has an array of one int32, the flag; a check
that fails writes its code into it, if it still is 0; and the next point at which the CPU waits anyhow (`to_numpy`, `host`,
`cuda.synchronize`) looks at it and raises the error, of the same type, in the same words, and with a line that says that it was
found late. Until then the op has gone on with indices that were put in range, so no memory outside the array was
touched, and its results are of no use. With CUDA_LAUNCH_BLOCKING=1 in the environment checks wait, and raise where they stand.

Ops call one of

    index = checks.in_range(index, low, stop, "gather(): an index is out of bounds ...", IndexError)   # an array, now in range
    checks.require(ok, "binary_cross_entropy: ...", RuntimeError)                          # a bool array; all have to be true

A kernel can do the check itself, in the launch that reads the indices anyway:

    flag, code = checks.flag(self.xp, "embedding(): an index is out of range ...", IndexError)
    _source.launch("forward", grid, block, index, weight, y, n, flag, code)

    extern "C" __global__ void forward(const i64* index, const T* weight, T* y, i64 n, int* flag, i64 code) {
        ...
        if (k < 0 || k >= n) {
            if (*flag == 0) *flag = (int)code;     // all threads of a launch write the same number: no atomic is needed
            k = 0;                                 // or skip it: never read or write outside
        }

The flag is the same array as long as the process lives, and a code means the same message for ever: both may be arguments of
a kernel in a captured graph. Once a check has been captured, every look is a real one, since a replay tells nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from . import capture, fastpath

LATE = (
    "\n(Found late: the check ran on the GPU, in an earlier call than this one, and what was computed since is of no use. "
    "To have the error raised by the call that is wrong, set CUDA_LAUNCH_BLOCKING=1, or run the step on the CPU.)"
)
at_once = os.environ.get("CUDA_LAUNCH_BLOCKING") == "1"


class _Flag:
    """A GPU's flag: the array, a place in the CPU's memory for a copy of it, and whether one has to look."""

    def __init__(self, xp: Any):
        self.array = xp.zeros(1, np.int32)
        self.copy = _pinned(xp)
        self.pending = False  # a check was recorded since the last look
        self.captured = False  # one is in a graph: replays record without telling
        self.gpu = xp.cuda.Device(_current(xp)) if hasattr(xp, "cuda") and hasattr(xp.cuda, "Device") else nullcontext()

    def clear(self) -> None:
        with self.gpu:
            self.array.fill(0)


_flags: dict[tuple[Any, int], _Flag] = {}  # (namespace, number of the GPU)
_codes: dict[tuple[type[Exception], str], int] = {}
_errors: list[tuple[type[Exception], str]] = [(RuntimeError, "no error")]  # code -> error; 0 is none


def _pinned(xp: Any) -> np.ndarray:
    """One int32 in memory that a GPU writes to without the CPU's help."""
    if xp.__name__ != "cupy":
        return np.zeros(1, np.int32)
    memory = xp.cuda.alloc_pinned_memory(4)
    return np.frombuffer(memory, np.int32, 1)


def _current(xp: Any) -> int:
    return xp.cuda.runtime.getDevice() if hasattr(xp, "cuda") else 0


def prepare(xp: Any) -> Any:
    """The flag of the current GPU. Called before a capture begins, since memory is not set to 0 while one goes on."""
    key = xp, _current(xp)
    found = _flags.get(key)
    if found is None:
        found = _flags[key] = _Flag(xp)
    return found


def flag(xp: Any, message: str, error: type[Exception] = IndexError) -> tuple[Any, int]:
    """For a kernel that checks: (the current GPU's flag, an int32 array of one element, and the code to put there).

    message: what `error` will say; it names the op and what was expected, with {} where the CPU writes the number that
    is wrong. See above for the kernel's side.
    """
    found = prepare(xp)
    found.pending = True
    if capture.current is not None and capture.active() is not None:
        found.captured = True
    key = error, message
    code = _codes.get(key)
    if code is None:
        _errors.append((error, message.replace("{}", "(on the GPU)")))
        code = _codes[key] = len(_errors) - 1
    return found.array, code


def look(xp: Any, number: int) -> Callable[[], None] | None:
    """Queues a copy of a GPU's flag. Returns what has to be called after the CPU has waited for the current stream: it raises
    the error of the first check that failed. None where no check was recorded."""
    found = _flags.get((xp, number))
    if found is None or not (found.pending or found.captured):
        return None
    found.array.get(out=found.copy, blocking=False)

    def answer() -> None:
        found.pending = False
        code = int(found.copy[0])
        if code:
            found.clear()
            error, message = _errors[code]
            raise error(message + LATE)

    return answer


def settle(xp: Any, number: int | None = None) -> None:
    """Waits for the current stream, if a check was recorded on this GPU, and raises the error of one that failed."""
    answer = look(xp, _current(xp) if number is None else number)
    if answer is not None:
        if hasattr(xp, "cuda") and hasattr(xp.cuda, "get_current_stream"):
            xp.cuda.get_current_stream().synchronize()
        answer()


def forget() -> None:
    """What was found wrong so far is not raised any more."""
    for found in _flags.values():
        found.clear()


# --- for ops ---------------------------------------------------------------------------------------------------------


def require(ok: Any, message: str, error: type[Exception] = RuntimeError) -> None:
    """Raises `error` if an element of `ok`, an array of bools on any device, is false; of a GPU's array later."""
    if isinstance(ok, (np.ndarray, np.generic)):
        if not ok.all():
            raise error(message)
        return
    if ok.size:
        from .devices import namespace_of

        _record(namespace_of(ok), ~ok.all(), message, error)


def _record(xp: Any, failed: Any, message: str, error: type[Exception]) -> None:
    """failed: a 0-d bool array on the current GPU."""
    array, code = flag(xp, message, error)
    array[...] = xp.where(array == 0, failed * np.int32(code), array)
    if at_once and capture.current is None:
        settle(xp)


def known(ok: Any) -> bool:
    """Whether all elements of `ok` are true, as far as one knows without waiting for a GPU: False for its arrays."""
    return isinstance(ok, (np.ndarray, np.generic)) and bool(ok.all())


def in_range(index: Any, low: int, stop: int, message: str, error: type[Exception] = IndexError) -> Any:
    """`index`, an array of integers, all of which have to be low, ..., stop - 1; otherwise `error`, on a GPU later.

    On the CPU `{}` in the message becomes the first number that is out of range. On a GPU the array that is returned is in
    range whatever came: outsiders are moved to the nearest end.
    """
    if not index.size:
        return index
    if isinstance(index, np.ndarray):
        if index.min() < low or index.max() >= stop:
            wrong = index[(index < low) | (index >= stop)].reshape(-1)[0]
            raise error(message.replace("{}", str(int(wrong))))
        return index
    from .devices import namespace_of

    xp = namespace_of(index)
    fast = fastpath.ACTIVE[xp].get(InRange)
    if fast is not None and not at_once and fast.accepts(index):
        return fast.run(xp, index, low, stop, *flag(xp, message, error))
    _record(xp, ((index < low) | (index >= stop)).any(), message, error)
    return xp.clip(index, low, max(stop - 1, low))


class InRange:
    """A fast path for it (backend/fastpath.py) does it in one launch: accepts(index), and run(xp, index, low, stop, flag, code),
    which returns the array in range."""
