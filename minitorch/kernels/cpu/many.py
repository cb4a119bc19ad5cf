"""One job over many arrays: their elements are counted through, one array after the other, and are the kernel's rows.

A job for each of a model's hundred parameters would cost more than most of them are worth; so small ones are done
together, and large ones are shared among the threads. The block of words is HEAD words, then `width` for each entry:

    HEAD      arrays, 0-d arrays, ids of the type ndarray and of the dtype float32, then numbers
    an entry  the count of elements up to its end, its arrays (of one shape), its 0-d arrays, room for numbers

The arrays are handed over by their ids, which are their objects' addresses; compiled code finds the memory in there and
looks whether it is of float32, contiguous and writeable. From Python this would take longer than many an update does.

    at, begin = HEAD, 0                 the loop of every kernel over [start, stop)
    while start < stop:
        end = word(args, 0, at)
        if start < end:
            n, skip = min(stop, end) - start, 4 * (start - begin)
            ...  floats_at(word(args, 0, at + 1) + skip, n)
            start += n
        at, begin = at + width, end
"""

from __future__ import annotations

import struct
from array import array
from typing import Any

import numpy as np
from numba import carray

from .compile import _HEADER, FLOAT32, WORD, _at, inline, kernel, word

HEAD = 16
NUMBERS = 4  # the first of the numbers
GRADIENT = 2  # an entry's second array, which is only read
CONTIGUOUS, BEHAVED = 0x101, 0x501  # NumPy's flags: in C's order and aligned; and writeable
DATA, NDIM, DIMENSIONS, DTYPE, FLAGS = (_HEADER // 8 + k for k in (0, 1, 2, 5, 6))  # NumPy's C structure of an array
TYPE = _HEADER // 8 - 1


@inline
def words_at(address, count):
    return carray(_at(address), (count,), np.int64)


@inline
def doubles_at(address, count):
    return carray(_at(address), (count,), np.float64)


@inline
def real(args, k):
    """Word k of the block as a float32; a double was packed."""
    return np.float32(doubles_at(args + 8 * k, 1)[0])


@inline
def _is_float32(a, kind, dtype, flags):
    """Of the object at address a."""
    return words_at(a, TYPE + 1)[TYPE] == kind and (
        words_at(a, FLAGS + 1)[DTYPE] == dtype and words_at(a, FLAGS + 1)[FLAGS] & flags == flags
    )


@kernel
def _locate(args, count, width):
    """Writes the counts, and memory in place of ids; a parameter whose entry cannot be used gets 0."""
    arrays, scalars, kind, dtype = word(args, 0, 0), word(args, 0, 1), word(args, 0, 2), word(args, 0, 3)
    block = words_at(args, HEAD + count * width)
    end = 0
    for i in range(count):
        at = HEAD + i * width
        size = 1
        for k in range(1, 1 + arrays + scalars):
            a, first = block[at + k], block[at + 1]
            usable = size >= 0 and _is_float32(a, kind, dtype, CONTIGUOUS if k == GRADIENT else BEHAVED)
            if usable:
                ndim = words_at(a, FLAGS)[NDIM] & 0xFFFFFFFF
                if k == 1:
                    for j in range(ndim):
                        size *= words_at(words_at(a, FLAGS)[DIMENSIONS], ndim)[j]
                elif k > arrays:
                    usable = ndim == 0
                else:
                    usable = ndim == words_at(first, FLAGS)[NDIM] & 0xFFFFFFFF
                    for j in range(ndim if usable else 0):
                        lengths = words_at(words_at(first, FLAGS)[DIMENSIONS], ndim)
                        usable = usable and words_at(words_at(a, FLAGS)[DIMENSIONS], ndim)[j] == lengths[j]
            if not usable:
                size = -1
        end += max(size, 0)
        block[at] = end
        for k in range(1, 1 + arrays + scalars):
            block[at + k] = 0 if size < 0 else words_at(block[at + k], FLAGS)[DATA]


def pack(*numbers: float) -> tuple[int, ...]:
    """Numbers as words."""
    return struct.unpack(f"{len(numbers)}q", struct.pack(f"{len(numbers)}d", *numbers))


def collect(entries: list, lines: list[tuple[int, ...]], arrays: int, scalars: int, *numbers: float) -> Any:
    """The block of words, the number of elements, and the entries that have to take the textbook's way.

    lines: for each entry its words behind the count, ids in place of addresses.
    """
    if not KNOWN:
        return array("q", [0] * HEAD), 0, entries
    words = [arrays, scalars, _NDARRAY, _FLOAT32, *pack(*numbers), *[0] * (HEAD - NUMBERS - len(numbers))]
    width = 1 + len(lines[0])
    for line in lines:
        words.append(0)
        words += line
    block = array("q", words)
    _locate.here(block.buffer_info()[0], len(lines), width)
    memory = block[HEAD + 1 :: width]
    if 0 not in memory and len(set(memory)) == len(memory):
        return block, block[-width], []
    left: list[int] = []
    good: list[int] = []
    seen = {0}
    for i, where in enumerate(memory):  # arrays that share memory are updated one after the other
        (left if where in seen else good).append(i)
        seen.add(where)
    size = 0
    if good:
        block, size, _ = collect([entries[i] for i in good], [lines[i] for i in good], arrays, scalars, *numbers)
    return block, size, [entries[i] for i in left]


def _layout_is_known() -> bool:
    a = np.zeros((3, 5), FLOAT32)[1:]
    found = (WORD * (FLAGS + 1)).from_address(id(a))
    same = found[TYPE] == _NDARRAY and found[DTYPE] == _FLOAT32 and found[DATA] == a.ctypes.data
    return same and found[NDIM] & 0xFFFFFFFF == 2 and found[FLAGS] & 0x507 == 0x501


_NDARRAY, _FLOAT32 = id(np.ndarray), id(FLOAT32)
KNOWN = _layout_is_known()
