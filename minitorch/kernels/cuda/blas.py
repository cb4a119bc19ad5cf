"""Products of matrices by cuBLAS, through CuPy's bindings of its functions.

CuPy's own `matmul` is not used: in CuPy 14 stacks of bfloat16 matrices fail and stacks of float16 ones are computed in
float32 (both until its pull request 10317), and it copies every transposed stack. Here float16 and bfloat16 go to the
tensor cores, are summed in float32, and the result is rounded once, to the inputs' dtype. float32 is computed in float32,
or in TF32 (10 bits of mantissa for the factors) if `minitorch.set_float32_matmul_precision` allows it.

cuBLAS thinks in columns: what it calls a matrix C (m, n) with leading dimension `ld`, its columns `ld` numbers apart, is to us
the transposed one, (n, m), its rows `ld` apart. So for  c = a b  it is asked for  C = B A,  where A, B, C are the same
memory as a, b, c: no copy, and no transposition either.  A matrix that is transposed for us is marked as transposed (`turn`).
Beyond that the leading axes of a stack must be walked by one stride; it is 0 where a matrix is used for the whole stack.
An operand that fits none of this is copied.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any

import ml_dtypes
import numpy as np

from ...backend import settings
from .direct import functions

FLOAT = np.dtype(np.float32)
NAMES = {
    FLOAT: "CUDA_R_32F",
    np.dtype(np.float16): "CUDA_R_16F",
    np.dtype(ml_dtypes.bfloat16): "CUDA_R_16BF",
}  # of cuBLAS's number types
LIMIT = 2**31 - 1  # cuBLAS counts rows, columns and matrices of a stack in C's int
_factors = np.array([0, 1], FLOAT)  # beta, and alpha: cuBLAS reads them from the CPU's memory when it is called
ZERO, ONE = (int(_factors[i:].ctypes.data) for i in (0, 1))


def takes(a: Any, b: Any) -> bool:
    """Whether `product` takes the two: of one dtype, not empty, and no size beyond cuBLAS's numbers."""
    return (
        a.dtype in NAMES and a.dtype == b.dtype and a.size > 0 and b.size > 0 and a.ndim > 1 and b.ndim > 1
        and max(*a.shape[-2:], *b.shape[-2:]) <= LIMIT
        and math.prod(map(max, zip_longest(a.shape[-3::-1], b.shape[-3::-1], fillvalue=1))) <= LIMIT
    )  # fmt: skip


def laid_out(shape: tuple, strides: tuple) -> tuple[int, int] | None:
    """(turn, ld) of a matrix for cuBLAS: whether it is stored transposed, and the numbers from one row, or then one column,
    to the next. None if neither its rows nor its columns are contiguous, or if they overlap.

    shape, strides: (rows, columns), strides in numbers. The stride of an axis of length 1 means nothing.
    """
    (rows, columns), (down, across) = shape, strides
    if (columns == 1 or across == 1) and (rows == 1 or columns <= down <= LIMIT):
        return 0, down if rows > 1 else columns
    if (rows == 1 or down == 1) and (columns == 1 or rows <= across <= LIMIT):
        return 1, across if columns > 1 else rows
    return None


def one_step(shape: tuple, strides: tuple) -> int | None:
    """The one stride that walks through all matrices of a stack in their order; None if there is none."""
    step = span = None
    for n, stride in zip(reversed(shape), reversed(strides)):
        if n == 1:
            continue
        if step is None:
            step = stride
        elif stride != span:
            return None
        span = stride * n
    return 0 if step is None else step if step >= 0 else None


def _described(x: Any, stack: tuple, size: int) -> tuple[int, int, int] | None:
    """turn, ld and the stack's stride of an operand whose leading axes are broadcast to `stack`; size: bytes of a number."""
    strides = tuple(s // size for s in x.strides)
    found = laid_out(x.shape[-2:], strides[-2:])
    if found is None:
        return None
    if not stack:
        return *found, 0
    leading = [0 if n == 1 else s for n, s in zip(x.shape[:-2], strides)]
    step = one_step(stack, (*(0,) * (len(stack) - len(leading)), *leading))
    return None if step is None else (*found, step)


def _readable(xp: Any, x: Any, stack: tuple) -> tuple[Any, tuple[int, int, int]]:
    """The operand, or a copy that cuBLAS can read, and its description."""
    size = x.dtype.itemsize
    found = _described(x, stack, size)
    if found is None:  # a copy of its own shape; only where that is not walked by one stride either, of the whole stack
        x = xp.ascontiguousarray(x)
        found = _described(x, stack, size)
        if found is None:
            x = xp.ascontiguousarray(xp.broadcast_to(x, (*stack, *x.shape[-2:])))
            found = _described(x, stack, size)
    assert found is not None
    return x, found


def product(xp: Any, a: Any, b: Any, out: Any = None, *, dtype: Any = None, add: bool = False) -> Any:
    """a b over the last two axes, the others broadcast.      a: (..., n, k)   b: (..., k, m)   result: (..., n, m)

    out: where it goes; its rows are contiguous, and its stack is walked by one stride. With `add` it is added to what is there.
    dtype: of the result without `out`; the inputs', or float32.
    """
    (n, k), m = a.shape[-2:], b.shape[-1]
    stack = a.shape[:-2]
    if stack != b.shape[:-2]:
        stack = np.broadcast_shapes(stack, b.shape[:-2])
    c = xp.empty((*stack, n, m), dtype or a.dtype) if out is None else out
    if not c.size:
        return c
    if not k:
        if not add:
            c.fill(0)
        return c
    a, (turn_a, ld_a, step_a) = _readable(xp, a, stack)
    b, (turn_b, ld_b, step_b) = _readable(xp, b, stack)
    found = _described(c, stack, c.dtype.itemsize)
    if found is None or (found[0] and n > 1) or c.shape != (*stack, n, m):
        raise ValueError(
            f"product(): expected an array of shape {(*stack, n, m)} with contiguous rows for `out`, "
            f"got shape {c.shape}, strides {c.strides}"
        )
    _, ld_c, step_c = found

    cublas, runtime = xp.cuda.cublas, xp.cuda.runtime
    kind, kind_c = getattr(runtime, NAMES[a.dtype]), getattr(runtime, NAMES[c.dtype])
    fast = a.dtype == FLOAT and settings.matmul_precision != "highest"
    compute = cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if fast else cublas.CUBLAS_COMPUTE_32F
    handle, beta = xp.cuda.device.get_cublas_handle(), ONE if add else ZERO
    count = math.prod(stack)
    if count == 1:
        functions(xp).gemmEx(
            handle, turn_b, turn_a, m, n, k, ONE, b.data.ptr, kind, ld_b, a.data.ptr, kind, ld_a,
            beta, c.data.ptr, kind_c, ld_c, compute, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip
    else:
        functions(xp).gemmStridedBatchedEx(
            handle, turn_b, turn_a, m, n, k, ONE, b.data.ptr, kind, ld_b, step_b, a.data.ptr, kind, ld_a, step_a,
            beta, c.data.ptr, kind_c, ld_c, step_c, count, compute, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip
    return c
