"""How a kernel is compiled, and how its rows are shared among threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np

from ...backend import settings

FLOAT32 = np.dtype(np.float32)
GRAIN = 1 << 15  # elements below which a second thread costs more than it brings


def _threads() -> int:
    """As many as `set_num_threads` says, or as OMP_NUM_THREADS allows, which BLAS reads too; otherwise one for each core."""
    if settings.num_threads is not None:
        return settings.num_threads
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(given), cores)) if given.isdigit() else cores


THREADS = _threads()
_pool: ThreadPoolExecutor | None = None


def kernel(arguments: str) -> Callable:
    """Compiles a function of float32 arrays and the rows [start, stop), and caches it on disk.

    arguments: numba's types, with T for float32: "T[:,::1], T[:,::1], intp, intp". Sums may be reordered, so that they
    become vector code; NaN and infinities keep their meaning.
    """
    signature = f"void({arguments.replace('T', 'float32')})"
    return numba.njit(signature, nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


def over_rows(function: Any, rows: int, size: int, *arrays: Any) -> None:
    """Runs `function(*arrays, start, stop)` over all rows, in fixed parts: the result does not depend on timing."""
    global _pool
    parts = min(THREADS, rows, max(1, size // GRAIN))
    if parts <= 1:
        function(*arrays, 0, rows)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="minitorch")
    edges = [rows * i // parts for i in range(parts + 1)]
    others = [_pool.submit(partial(function, *arrays, a, b)) for a, b in zip(edges[1:-1], edges[2:])]
    function(*arrays, edges[0], edges[1])
    for other in others:
        other.result()


def _forget_pool() -> None:
    global _pool
    _pool = None  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def plain(*arrays: Any) -> bool:
    """Whether the arrays are what the kernels are compiled for: float32, in order, and large enough to pay."""
    return all(a.dtype is FLOAT32 and a.flags.c_contiguous and a.size >= 1024 for a in arrays)
