"""cuBLAS without CuPy's bindings: the only way to have its products in a captured graph.

CuPy 14's bindings raise NotImplementedError on a stream that captures (cupy issue 6290), although cuBLAS itself can be captured:
its kernels, and the memory that it needs for them, become nodes of the graph; the factors alpha and beta, which are in
the CPU's memory, are read when it is called, and so are constants. Here the same functions of the same library are called
by ctypes, with CuPy's handle. Outside of a capture CuPy's bindings are used: they set the stream of each call.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

from ...backend import capture

_HANDLE = _POINTER = ctypes.c_void_p
_INT, _LONG = ctypes.c_int, ctypes.c_longlong
_MATRIX = (_POINTER, _INT, _INT)  # address, number type, leading dimension
_SIGNATURES = {
    "cublasSetStream_v2": (_HANDLE, _POINTER),
    "cublasGemmEx": (
        _HANDLE, _INT, _INT, _INT, _INT, _INT, _POINTER, *_MATRIX, *_MATRIX, _POINTER, *_MATRIX, _INT, _INT,
    ),
    "cublasGemmStridedBatchedEx": (
        _HANDLE, _INT, _INT, _INT, _INT, _INT, _POINTER, *_MATRIX, _LONG, *_MATRIX, _LONG, _POINTER, *_MATRIX, _LONG,
        _INT, _INT, _INT,
    ),
}  # fmt: skip


class Library:
    """gemmEx and gemmStridedBatchedEx with the arguments of CuPy's."""

    def __init__(self, xp: Any):
        cuda = xp.cuda
        self._stream = cuda.get_current_stream
        if sys.platform == "win32":
            file = f"cublas64_{cuda.cublas.getVersion(cuda.device.get_cublas_handle()) // 10000}.dll"
        else:
            file = cuda.cublas.__file__  # CuPy's extension module: what it is linked to is found through it
        try:
            library = ctypes.CDLL(file)
        except OSError as error:
            raise capture.CaptureError(
                f"cuda.graph: matrix products cannot be captured: cuBLAS is not found by way of {file} ({error})"
            ) from error
        self._functions = {}
        for function, types in _SIGNATURES.items():
            self._functions[function] = found = getattr(library, function)
            found.argtypes, found.restype = types, _INT

    def _call(self, name: str, handle: int, *arguments: Any) -> None:
        for function, values in (("cublasSetStream_v2", (self._stream().ptr,)), (name, arguments)):
            status = self._functions[function](handle, *values)
            if status:
                raise RuntimeError(f"{function}: cuBLAS error {status}")

    def gemmEx(self, *arguments: Any) -> None:  # noqa: N802  (cuBLAS's name)
        self._call("cublasGemmEx", *arguments)

    def gemmStridedBatchedEx(self, *arguments: Any) -> None:  # noqa: N802
        self._call("cublasGemmStridedBatchedEx", *arguments)


_library = cache(Library)


def functions(xp: Any) -> Any:
    """cuBLAS's functions for what is being done now: CuPy's, or while a graph is captured these."""
    return xp.cuda.cublas if capture.active() is None else _library(xp)
