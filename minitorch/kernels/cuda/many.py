"""One launch over many arrays: a table of their addresses and sizes in the GPU's memory, and numbers that may change.

A launch costs as much as a small parameter's whole update; so the parameters of a group are rows of one table, and each
block of threads looks up which part of which row is its own (many.cuh). A table is written only when an address in it
is new: CuPy's pool mostly gives a step's gradients the memory of those of the step before.

Words go to the GPU as arguments of a kernel (many.cu), 480 at a time. Copies would need page-locked memory that stays
until they are done; arguments are taken over by the launch. Nothing waits.

A captured graph's table is written before its first replay, as its addresses never change; its numbers before each
replay for which they are others. Both are in memory that is not the graph's: other graphs of its pool may write there.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import ml_dtypes
import numpy as np

from ...backend import capture, devices
from .launch import Source

CHUNK = 8192  # elements of a block
THREADS = 256
NUMBERS = 8
WORDS = 480  # of a launch: arguments may have 4096 bytes
KINDS = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(ml_dtypes.bfloat16): 2}
FLOAT32 = np.dtype(np.float32)
REMEMBERED = 64  # tables

_source = Source("many.cu")
_words = np.dtype([("at", np.int64, (WORDS,))])
_numbers = np.dtype([("at", np.float64, (NUMBERS,))])
_tables: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
_captured: WeakKeyDictionary[capture.Capture, dict] = WeakKeyDictionary()  # the same, of a capture


def here(xp: Any, array: Any) -> bool:
    """Whether the array is `xp`'s, and on the current GPU."""
    if type(array) is not xp.ndarray:
        return False
    return not devices.several or array.device.id == xp.cuda.runtime.getDevice()


def usable(xp: Any, array: Any) -> bool:
    """Whether a kernel can take the array: float32, contiguous, on the current GPU."""
    return array.dtype == FLOAT32 and array.flags.c_contiguous and here(xp, array)


def put(array: Any, words: Sequence[int]) -> None:
    """Writes 64-bit words to the beginning of an array of 64-bit elements."""
    for start in range(0, len(words), WORDS):
        part = words[start : start + WORDS]
        argument = np.zeros(1, _words)
        argument["at"][0, : len(part)] = part
        to = array[start : start + len(part)]
        _source.launch("put", 1, 128, to, len(part), argument, WORDS=WORDS)


def table(xp: Any, rows: list[tuple[int, ...]]) -> tuple[Any, int]:
    """The table of these rows (elements, dtype, addresses) and the number of its blocks, which has to be positive."""
    blocks, first = 0, [0]
    for row in rows:
        blocks += -(-row[0] // CHUNK)
        first.append(blocks)
    words = (0, len(rows), *first, *[word for row in rows for word in row])
    capturing = capture.active()
    if capturing is not None:
        known = _captured.setdefault(capturing, {})
        if words not in known:
            with capture.lasting(xp):
                made = known[words] = xp.empty(len(words), np.int64)
            todo = [words]
            capture.before_replay(lambda: put(made, todo.pop()) if todo else None)
        return known[words], blocks
    key = (xp, xp.cuda.runtime.getDevice(), xp.cuda.get_current_stream().ptr, words)
    found = _tables.get(key)
    if found is None:
        made = xp.empty(len(words), np.int64)
        put(made, words)
        found = _tables[key] = (made, blocks)
        while len(_tables) > REMEMBERED:
            _tables.popitem(last=False)
    else:
        _tables.move_to_end(key)
    return found


def numbers(xp: Any, current: Callable[[], tuple[float, ...]]) -> tuple[Any, np.ndarray]:
    """Two arguments of a kernel, `const double* given` and `Numbers now`: what current() gives now, and in a captured
    graph what it gives when that is replayed."""
    now = np.zeros(1, _numbers)
    if capture.active() is None:
        values = current()
        now["at"][0, : len(values)] = values
        return None, now
    with capture.lasting(xp):
        given = xp.empty(NUMBERS, np.float64)
    written: list[tuple[float, ...]] = [()]

    def renew() -> None:
        values = current()
        if values != written[0]:
            put(given.view(np.int64), struct.unpack(f"{len(values)}q", struct.pack(f"{len(values)}d", *values)))
            written[0] = values

    capture.before_replay(renew)
    return given, now


def launch(source: Source, kernel: str, xp: Any, rows: list[tuple[int, ...]], *arguments: Any) -> None:
    """Starts a kernel over the rows, if they have elements: its first parameter is the table."""
    made, blocks = table(xp, rows)
    source.launch(kernel, blocks, THREADS, made, *arguments, CHUNK=CHUNK, NUMBERS=NUMBERS)


def split(xp: Any, tensors: list) -> tuple[list[tuple[int, ...]], list, list]:
    """Rows (elements, dtype, address) of the tensors' arrays that a kernel can change, those tensors, and the others.

    Where two share memory the second is one of the others: arrays of one launch are changed at the same time.
    """
    rows: list[tuple[int, ...]] = []
    taken, left, seen = [], [], set()
    for t in tensors:
        a = t.array
        kind = KINDS.get(a.dtype)
        if kind is None or not a.flags.c_contiguous or not here(xp, a) or (a.size and a.data.ptr in seen):
            left.append(t)
            continue
        taken.append(t)
        if a.size:
            seen.add(a.data.ptr)
            rows.append((a.size, kind, a.data.ptr))
    return rows, taken, left
