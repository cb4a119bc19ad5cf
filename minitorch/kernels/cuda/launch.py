"""How a kernel in a .cu file is compiled and started.

    _source = Source("softmax.cu")
    _source.launch("forward_block", rows, 256, x, y, n, DTYPE=x.dtype)     # grid, block, arguments; macros by keyword

A file is compiled by NVRTC for the GPU at hand when a kernel of it is first needed, once for each set of macros, and kept
on disk by CuPy. Arguments are arrays (their first element's address), None (a null pointer), integers (C's long long)
and floats (double). Work goes to the current stream; nothing waits for it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ...backend.devices import namespace_of

HERE = Path(__file__).parent
OPTIONS = ("--std=c++17",)
TYPES = {np.dtype(np.float32): "float", np.dtype(np.float16): "half_t", np.dtype(ml_dtypes.bfloat16): "bfloat_t"}
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


@cache
def read(file: str) -> str:
    """The text of a file, with what it includes from this folder in its place."""
    text = (HERE / file).read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: read(found[1]), text)


def define(macros: dict[str, Any]) -> tuple[str, ...]:
    """Macros as the compiler's options: dtypes by the name of their C type, numbers as they are."""
    return tuple(f"-D{name}={TYPES.get(value, value)}" for name, value in sorted(macros.items()))


def plain(x: Any) -> bool:
    """Whether the kernels take the array: float32, float16 or bfloat16, contiguous, not empty."""
    return x.dtype in TYPES and x.flags.c_contiguous and x.size > 0


def contiguous(x: Any) -> Any:
    """The array, or a contiguous copy of it."""
    return x if x.flags.c_contiguous else namespace_of(x).ascontiguousarray(x)


def _argument(value: Any) -> Any:
    if type(value) is int or type(value) is bool:
        return np.int64(value)
    return np.float64(value) if type(value) is float else value


class Source:
    """A .cu file of this folder; see above."""

    def __init__(self, file: str):
        self.file = file
        self._modules: dict[tuple, Any] = {}
        self._functions: dict[tuple, Any] = {}

    def launch(self, name: str, grid: Any, block: Any, *arguments: Any, shared: int = 0, **macros: Any) -> None:
        """Starts the kernel `name`: grid and block are a number, or a tuple of up to three; shared: bytes."""
        xp = namespace_of(next(a for a in arguments if hasattr(a, "shape") and not isinstance(a, np.generic)))
        key = (xp, xp.cuda.runtime.getDevice(), name, shared, *macros.items())
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self._module(xp, key[1], macros).get_function(name)
            if shared > 48 * 1024:  # more than that has to be asked for
                function.max_dynamic_shared_size_bytes = shared
        grid = grid if type(grid) is tuple else (grid,)
        block = block if type(block) is tuple else (block,)
        function(grid, block, tuple(map(_argument, arguments)), shared_mem=shared)

    def _module(self, xp: Any, number: int, macros: dict[str, Any]) -> Any:
        """The file compiled with these macros, for the GPU of that number."""
        key = (xp, number, *macros.items())
        module = self._modules.get(key)
        if module is None:
            options = (*OPTIONS, *define(macros))
            module = self._modules[key] = xp.RawModule(code=read(self.file), options=options, backend="nvrtc")
        return module
