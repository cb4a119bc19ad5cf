"""cuBLAS without a GPU: the functions of CuPy's bindings that minitorch calls, on NumPy's memory.

Arguments are checked as cuBLAS checks them, and beyond: what it would only compute wrong or read outside is refused too.
Constants are those of its headers; the test suite on a GPU uses the real ones.
"""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32 = 68, 77
RUNTIME = {"CUDA_R_32F": 0, "CUDA_R_16F": 2, "CUDA_R_16BF": 14}
_DTYPES = {0: np.dtype(np.float32), 2: np.dtype(np.float16), 14: np.dtype(ml_dtypes.bfloat16)}
HANDLE = 0xB1A5

calls: list[dict] = []  # what was asked for, for tests


class CUBLASError(RuntimeError):
    """cupy_backends.cuda.libs.cublas.CUBLASError"""


def get_cublas_handle() -> int:
    return HANDLE


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise CUBLASError(f"CUBLAS_STATUS_INVALID_VALUE: expected {what}")


def _columns(pointer: int, dtype: np.dtype, ld: int, step: int, rows: int, columns: int, count: int) -> np.ndarray:
    """(count, rows, columns), a stack of matrices that lie column by column."""
    size = dtype.itemsize
    _expect(pointer % size == 0 and pointer != 0, f"an address that is a multiple of {size}, got {pointer:#x}")
    length = ((count - 1) * step + (columns - 1) * ld + rows) * size
    memory = (ctypes.c_char * length).from_address(pointer)
    return np.ndarray((count, rows, columns), dtype, memory, strides=(step * size, size, ld * size))


def _tf32(x: np.ndarray) -> np.ndarray:
    """float32 with 10 bits of mantissa, rounded to the nearest, ties away from zero."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return np.where(np.isfinite(x), ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32), x)


def gemmStridedBatchedEx(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int, strideA: int,
    B: int, Btype: int, ldb: int, strideB: int, beta: int, C: int, Ctype: int, ldc: int, strideC: int, batchCount: int,
    computeType: int, algo: int,
) -> None:  # fmt: skip
    """C_i = alpha op(A_i) op(B_i) + beta C_i.      op(A): (m, k)   op(B): (k, n)   C: (m, n), all by columns"""
    given = dict(locals())
    for name, value in given.items():
        _expect(type(value) is int, f"{name} to be an int, got {type(value).__name__}")
        if name not in ("handle", "alpha", "beta", "A", "B", "C", "strideA", "strideB", "strideC"):
            _expect(-(2**31) <= value < 2**31, f"{name} to be a C int, got {value}")
    _expect(handle == HANDLE, "a handle of cuBLAS's")
    _expect(transa in (0, 1) and transb in (0, 1), "CUBLAS_OP_N or CUBLAS_OP_T")
    _expect(min(m, n, k, batchCount) > 0, f"positive sizes, got m={m}, n={n}, k={k}, {batchCount} matrices")
    for name, ld, rows in (("lda", lda, k if transa else m), ("ldb", ldb, n if transb else k), ("ldc", ldc, m)):
        _expect(ld >= max(1, rows), f"{name} >= {rows}, got {ld}")
    _expect(min(strideA, strideB) >= 0, "strides of stacks that are not negative")
    _expect(batchCount == 1 or strideC >= (n - 1) * ldc + m, f"matrices C that do not overlap, got stride {strideC}")
    _expect(Atype == Btype and Atype in _DTYPES and Ctype in (Atype, 0), f"known dtypes, got {Atype}, {Btype}, {Ctype}")
    _expect(
        computeType == CUBLAS_COMPUTE_32F or (computeType == CUBLAS_COMPUTE_32F_FAST_TF32 and Atype == 0),
        f"a compute type for dtype {Atype}, got {computeType}",
    )
    _expect(algo == CUBLAS_GEMM_DEFAULT, f"an algorithm, got {algo}")
    calls.append(given)

    a = _columns(A, _DTYPES[Atype], lda, strideA, *((k, m) if transa else (m, k)), batchCount).astype(np.float32)
    b = _columns(B, _DTYPES[Btype], ldb, strideB, *((n, k) if transb else (k, n)), batchCount).astype(np.float32)
    c = _columns(C, _DTYPES[Ctype], ldc, strideC, m, n, batchCount)
    a, b = a.swapaxes(1, 2) if transa else a, b.swapaxes(1, 2) if transb else b
    if computeType == CUBLAS_COMPUTE_32F_FAST_TF32:
        a, b = _tf32(a), _tf32(b)
    factor, kept = (ctypes.c_float.from_address(p).value for p in (alpha, beta))
    y = np.float32(factor) * np.matmul(a, b)
    if kept:  # C is not read otherwise, and may hold NaN
        y = y + np.float32(kept) * c.astype(np.float32)
    c[...] = y.astype(c.dtype)


def gemmEx(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int, B: int,
    Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, computeType: int, algo: int,
) -> None:  # fmt: skip
    """C = alpha op(A) op(B) + beta C"""
    gemmStridedBatchedEx(
        handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0, beta, C, Ctype, ldc, 0, 1,
        computeType, algo,
    )  # fmt: skip


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the emulated cuBLAS has no {name!r}; see tests/emulator/cublas.py")
