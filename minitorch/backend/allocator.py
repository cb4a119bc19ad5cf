"""How the C library keeps memory that was freed: on Linux with glibc, for large arrays too.

By itself glibc asks the kernel for the memory of every large array and gives it back at once; the pages are then zeroed
and mapped again for the next one. Here freed memory stays with the process, up to a gigabyte at the end of the heap.
MINITORCH_ALLOCATOR=default leaves glibc as it is (`MINITORCH_ALLOCATOR=default python -m benchmarks.profile bert`).
"""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # numbers from malloc.h


def keep_freed_memory() -> bool:
    """Whether the setting was made."""
    if not sys.platform.startswith("linux") or os.environ.get("MINITORCH_ALLOCATOR", "") == "default":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all((mallopt(MMAP_MAX, 0), mallopt(TRIM_THRESHOLD, 1 << 30), mallopt(TOP_PAD, 1 << 26)))
