"""How a kernel is written and compiled, how it reads its args, and how its rows are shared among threads.

    @kernel
    def _scale(args, start, stop):
        x, y, factor = matrix(args, 0), matrix(args, 1), number(args, 2)
        for i in range(start, stop):
            for j in range(x.shape[1]):
                y[i, j] = x[i, j] * factor

    over_rows(_scale, rows, elements, x, y, 0.5)

All kernels have this one signature, so that threads can call them by address, without Python (pool.py). The arguments
lie in one block of int64 words, SLOTS for each: an array's address and sizes, or a number.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from . import blas
from .pool import WORD, Pool, threads

FLOAT32 = np.dtype(np.float32)
GRAIN = 1 << 14  # elements for which a further thread pays
SLOTS = 6
_NO_SIZES = [0] * (SLOTS - 1)

THREADS = threads()
_pool: Pool | None = None
_making = threading.Lock()

# --- writing ---------------------------------------------------------------------------------------------------------


class Kernel:
    """A compiled function of (args, start, stop), by its address."""

    def __init__(self, compiled: Any):
        self.compiled = compiled
        self.address: int = compiled.address
        self.here = ctypes.CFUNCTYPE(None, WORD, WORD, WORD)(self.address)


def kernel(function: Callable) -> Kernel:
    """Compiles a kernel and caches it on disk. Sums may be reordered, so that they become vector code; NaN and
    infinities keep their meaning."""
    options: Any = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
    return Kernel(cfunc("void(int64, int64, int64)", **options)(function))


inline = njit(inline="always", error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@intrinsic
def _at(context, address):
    """An address as a pointer."""

    def code(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), code


@inline
def word(args, i, k=0):
    """Word k of argument i: of an array 0 is the address, 1 the first size ..."""
    return carray(_at(args), (SLOTS * (i + 1) + k,), np.int64)[SLOTS * i + k]


@inline
def integer(args, i):
    return word(args, i)


@inline
def number(args, i):
    """A float32."""
    return np.float32(carray(_at(args), (SLOTS * (i + 1),), np.float64)[SLOTS * i])


@inline
def vector(args, i):
    """A float32 array of one axis."""
    return carray(_at(word(args, i)), (word(args, i, 1),), np.float32)


@inline
def matrix(args, i):
    return carray(_at(word(args, i)), (word(args, i, 1), word(args, i, 2)), np.float32)


@inline
def cube(args, i):
    """A float32 array of three axes."""
    shape = word(args, i, 1), word(args, i, 2), word(args, i, 3)
    return carray(_at(word(args, i)), shape, np.float32)


@inline
def floats_at(address, size):
    """A float32 array of one axis, anywhere."""
    return carray(_at(address), (size,), np.float32)


@inline
def bytes_at(address, size):
    """A uint8 (or bool) array of one axis, anywhere."""
    return carray(_at(address), (size,), np.uint8)


@inline
def matrix_at(address, rows, columns):
    return carray(_at(address), (rows, columns), np.float32)


@inline
def integers(args, i):
    """An int64 array of one axis."""
    return carray(_at(word(args, i)), (word(args, i, 1),), np.int64)


@inline
def bytes_(args, i):
    """A uint8 (or bool) array of one axis."""
    return carray(_at(word(args, i)), (word(args, i, 1),), np.uint8)


# --- calling ---------------------------------------------------------------------------------------------------------


def _slow_address(a: np.ndarray) -> int:
    return a.ctypes.data


def _fast_address(a: np.ndarray) -> int:
    """The first field of an array's C structure, behind the object's header; ten times as fast as `ctypes.data`."""
    return WORD.from_address(id(a) + _HEADER).value


_HEADER = object.__basicsize__
_probe = np.zeros(3)
address = _fast_address if _fast_address(_probe[1:]) == _probe[1:].ctypes.data else _slow_address


def over_rows(function: Kernel, rows: int, size: int, *values: Any, each: int = 1) -> None:
    """Runs a kernel over [0, rows), in chunks that depend on the sizes alone.

    size: elements of work, for the number of threads that pays; each: chunks for each thread.
    Arrays must be contiguous.
    """
    words: list[int] = []
    for a in values:
        if type(a) is np.ndarray:
            words.append(address(a))
            words += a.shape
            words += _NO_SIZES[a.ndim :]
        else:
            words.append(a if type(a) is int else struct.unpack("q", struct.pack("d", a))[0])
            words += _NO_SIZES
    run(function, rows, size, words, each=each)


def run(function: Kernel, rows: int, size: int, words: list[int], product: bool = False, each: int = 1) -> None:
    """The same with the block of words as it is, for a kernel that reads it by `word`. product: it calls BLAS."""
    global _pool
    block = array("q", words)
    start = block.buffer_info()[0]
    chunks = min(THREADS * each, rows, size // GRAIN)
    if chunks <= 1 or THREADS == 1:
        if product and THREADS > 1:
            with blas.one_thread():
                function.here(start, 0, rows)
        else:
            function.here(start, 0, rows)
        return
    pool = _pool
    if pool is None:
        with _making:
            pool = _pool = _pool or Pool(THREADS, blas.SET_THREADS)
    pool.run(function.address, start, rows, chunks, product)


def set_threads(n: int) -> None:
    global THREADS, _pool
    THREADS = n
    if _pool is not None:
        _pool.end()
    _pool = None


def _forget_pool() -> None:
    global _pool, _making
    _pool, _making = None, threading.Lock()  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def plain(*arrays: Any, least: int = 32) -> bool:
    """Whether the arrays are what the kernels are compiled for: float32, in order, and large enough to pay."""
    for a in arrays:
        if a.dtype is not FLOAT32 or a.size < least or not a.flags.c_contiguous:
            return False
    return True
