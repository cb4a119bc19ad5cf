"""How the threads of a GPU are shared out among rows: a block of threads for each, or for short ones a warp."""

from __future__ import annotations

from typing import Any

from .launch import Source

SHORT = 256  # numbers in a row that a warp takes alone
WARPS = 4  # warps of a block of short rows
SHARE = 8  # numbers of a row for one thread, if there are threads enough
MOST = 512  # threads for a row
LONGEST = 1 << 30  # numbers in a row: their places are int


def over_rows(source: Source, name: str, rows: int, n: int, *arguments: Any, **macros: Any) -> None:
    """Starts a kernel on `rows` rows of n numbers; rows.cuh says which row a thread is in."""
    if n <= SHORT:
        source.launch(name, -(-rows // WARPS), 32 * WARPS, *arguments, rows, n, ROW_BY_WARP=1, **macros)
    else:
        threads = min(MOST, -(-n // (32 * SHARE)) * 32)
        source.launch(name, rows, threads, *arguments, rows, n, ROW_BY_WARP=0, **macros)
