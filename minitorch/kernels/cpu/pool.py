"""The threads that share a kernel's work: a pool of our own, which waits without Python.

A kernel is a compiled function of (arguments, start, stop). Its rows are cut into fixed chunks, so results do not
depend on timing; every thread, the caller's first of all, takes the next chunk until none is left. Waking a thread
that sleeps takes longer than many a kernel, handing work to one that looks out for it next to nothing: so a thread looks
out for a while before it sleeps. BLAS has threads of its own that look out as well and would take the cores away from ours:
products (blas.py) therefore run on this pool, with BLAS told to use one thread.

    control block, int64: GENERATION  the number of the newest job; a change is the signal
                          NEXT        generation << 20 | the next chunk that nobody has taken: one word, so that a thread
                                      which comes late cannot take a chunk of the job after. It becomes the new job's,
                                      with nothing to take, before the job's other words change
                          DONE        chunks that are finished
                          FUNCTION, ARGUMENTS, ROWS, CHUNKS   the job; stays as it is until DONE == CHUNKS
                          YIELD, LIMIT_BLAS           addresses of sched_yield and of BLAS's int set_num_threads(int), or 0
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic

from ...backend import settings

GENERATION, NEXT, DONE = 0, 8, 16  # on cache lines of their own
NONE_LEFT = 0xFFFFF  # as the next chunk
FUNCTION, ARGUMENTS, ROWS, CHUNKS, YIELD, LIMIT_BLAS = range(24, 30)
LOOK_OUT = 400_000  # looks before a thread sleeps: a few milliseconds


# --- atomic words, calls by address ----------------------------------------------------------------------------------


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, ir.IntType(64).as_pointer())


@intrinsic
def _load(context, address):
    def code(context, builder, signature, args):
        return builder.load_atomic(_pointer(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), code


@intrinsic
def _store(context, address, value):
    def code(context, builder, signature, args):
        builder.store_atomic(args[1], _pointer(builder, args[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), code


@intrinsic
def _add(context, address, value):
    def code(context, builder, signature, args):
        return builder.atomic_rmw("add", _pointer(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def _exchange_if(context, address, expected, new):
    """Writes `new` if the word is `expected`; whether it was."""

    def code(context, builder, signature, args):
        both = builder.cmpxchg(_pointer(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(both, 1)

    return types.boolean(types.int64, types.int64, types.int64), code


@intrinsic
def _call(context, function, arguments, start, stop):
    """function(arguments, start, stop), by address."""

    def code(context, builder, signature, args):
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * 3)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.none(*[types.int64] * 4), code


@intrinsic
def _call_int(context, function, number):
    """int function(int), by address."""

    def code(context, builder, signature, args):
        small = ir.IntType(32)
        kind = ir.FunctionType(small, [small])
        result = builder.call(builder.inttoptr(args[0], kind.as_pointer()), [builder.trunc(args[1], small)])
        return builder.zext(result, ir.IntType(64))

    return types.int64(types.int64, types.int64), code


# --- what the threads run --------------------------------------------------------------------------------------------


@njit("void(int64, int64)", cache=True)
def _work(control, generation):
    """Takes chunks of this job until none is left."""
    function, arguments = _load(control + 8 * FUNCTION), _load(control + 8 * ARGUMENTS)
    rows, chunks = _load(control + 8 * ROWS), _load(control + 8 * CHUNKS)
    while True:
        word = _load(control + 8 * NEXT)
        chunk = word & NONE_LEFT
        if word >> 20 != generation or chunk >= chunks:
            return
        if _exchange_if(control + 8 * NEXT, word, word + 1):  # it is this job's still, so what was read above is too
            _call(function, arguments, rows * chunk // chunks, rows * (chunk + 1) // chunks)
            _add(control + 8 * DONE, 1)


@cfunc("int64(int64, int64)", cache=True)
def _serve(control, seen):
    """Works on every job that comes; returns the last one's generation when none has come for a while."""
    looks = 0
    while looks < LOOK_OUT:
        generation = _load(control + 8 * GENERATION)
        if generation != seen:
            _work(control, generation)
            seen, looks = generation, 0
        looks += 1
        if looks & 63 == 0 and _load(control + 8 * YIELD):
            _call_int(_load(control + 8 * YIELD), 0)  # others may want this core
    return seen


@cfunc("void(int64, int64, int64, int64, int64, int64)", cache=True)
def _launch(control, function, arguments, rows, chunks, product):
    """One job, from its publication to its end."""
    before = 0
    if product:
        before = _call_int(_load(control + 8 * LIMIT_BLAS), 1)
    generation = _load(control + 8 * GENERATION) + 1
    # First: a thread that is late with the last job and reads some of the words below must not find a chunk to take.
    _store(control + 8 * NEXT, generation << 20 | NONE_LEFT)
    _store(control + 8 * FUNCTION, function)
    _store(control + 8 * ARGUMENTS, arguments)
    _store(control + 8 * ROWS, rows)
    _store(control + 8 * CHUNKS, chunks)
    _store(control + 8 * DONE, 0)
    _store(control + 8 * NEXT, generation << 20)
    _store(control + 8 * GENERATION, generation)
    _work(control, generation)
    looks = 0
    while _load(control + 8 * DONE) < chunks:
        looks += 1
        if looks & 63 == 0 and _load(control + 8 * YIELD):
            _call_int(_load(control + 8 * YIELD), 0)
    if product:
        _call_int(_load(control + 8 * LIMIT_BLAS), before)


@cfunc("void(int64, int64, int64, int64)", cache=True)
def _alone(function, arguments, rows, chunks):
    """The same chunks one after the other, in this thread."""
    for chunk in range(chunks):
        _call(function, arguments, rows * chunk // chunks, rows * (chunk + 1) // chunks)


WORD = ctypes.c_int64
_serve_here = ctypes.CFUNCTYPE(WORD, WORD, WORD)(_serve.address or 0)
_launch_here = ctypes.CFUNCTYPE(None, *[WORD] * 6)(_launch.address or 0)
_alone_here = ctypes.CFUNCTYPE(None, *[WORD] * 4)(_alone.address or 0)


# --- from Python -----------------------------------------------------------------------------------------------------


def _address_of(library: Any, name: str) -> int:
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    except (AttributeError, OSError):
        return 0


def _yield_address() -> int:
    if os.name == "nt":
        return _address_of(ctypes.WinDLL("kernel32"), "SwitchToThread")  # type: ignore[attr-defined]
    return _address_of(ctypes.CDLL(None), "sched_yield")


def threads() -> int:
    """As many as `set_num_threads` says, or as OMP_NUM_THREADS allows, which BLAS reads too; otherwise one for each core."""
    if settings.num_threads is not None:
        return settings.num_threads
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(given), cores)) if given.isdigit() else cores


class Pool:
    """`count` - 1 threads and the caller's. `limit_blas`: the address of BLAS's int set_num_threads(int)."""

    def __init__(self, count: int, limit_blas: int = 0):
        self.control = np.zeros(64, np.int64)
        self.control[YIELD], self.control[LIMIT_BLAS] = _yield_address(), limit_blas
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.control))  # threads may look at it while the interpreter ends
        self.address = int(self.control.ctypes.data)
        self.free = threading.Lock()
        self.sleepers: list = []  # a locked lock for each thread that sleeps
        self.ended = False
        for i in range(count - 1):
            threading.Thread(target=self._thread, name=f"minitorch-{i + 1}", daemon=True).start()

    def _thread(self) -> None:
        seen = 0
        while not self.ended:
            seen = _serve_here(self.address, seen)
            bed = threading.Lock()
            bed.acquire()
            self.sleepers.append(bed)
            if self.control[GENERATION] == seen and not self.ended:
                bed.acquire()  # until `run` releases it
            else:  # a job came in the meantime
                with contextlib.suppress(ValueError):  # `run` may have found it already
                    self.sleepers.remove(bed)

    def _wake(self) -> None:
        while self.sleepers:
            self.sleepers.pop().release()

    def run(self, function: int, arguments: int, rows: int, chunks: int, product: bool) -> None:
        """function(arguments, start, stop) for each chunk of the rows. product: it calls BLAS."""
        if not self.free.acquire(blocking=False):  # another of the user's threads has the pool
            _alone_here(function, arguments, rows, chunks)
            return
        try:
            if self.sleepers:
                self._wake()
            _launch_here(self.address, function, arguments, rows, chunks, product)
        finally:
            self.free.release()

    def end(self) -> None:
        self.ended = True
        self._wake()
