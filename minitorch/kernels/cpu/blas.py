"""NumPy's own BLAS, called from compiled code: C = alpha A B + beta C on row-major float32 matrices.

Found in the library that NumPy has loaded (OpenBLAS, by threadpoolctl); its function's address is an argument of the
kernels, so that they can be cached. Where it is another library, SGEMM is 0 and the kernels that need it are not chosen.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

try:
    import threadpoolctl
except ImportError:
    threadpoolctl = None


def _find() -> tuple[int, int, Any]:
    """Addresses of sgemm and of `int set_num_threads_local(int)`, which returns the number before; 0 where there is none."""
    found = [] if threadpoolctl is None else threadpoolctl.threadpool_info()
    paths = [lib["filepath"] for lib in found if lib["internal_api"] == "openblas"]
    for path in sorted(paths, key=lambda p: "numpy" not in p):
        library = ctypes.CDLL(path)
        for name in ("scipy_cblas_sgemm64_", "cblas_sgemm64_", "scipy_cblas_sgemm", "cblas_sgemm"):
            if hasattr(library, name) and hasattr(library, "openblas_set_num_threads_local"):
                limit = library.openblas_set_num_threads_local
                address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
                return address, ctypes.cast(limit, ctypes.c_void_p).value or 0, limit
    return 0, 0, None


SGEMM, SET_THREADS, _limit = _find()


@contextmanager
def one_thread():
    """BLAS on one thread, for a kernel that calls it from this one."""
    before = _limit(1)
    try:
        yield
    finally:
        _limit(before)


_WORD, _SMALL, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_SGEMM = ir.FunctionType(
    ir.VoidType(),
    [_SMALL] * 3 + [_WORD] * 3 + [_FLOAT, _WORD, _WORD, _WORD, _WORD, _FLOAT, _WORD, _WORD],
)


@intrinsic
def sgemm(context, function, turn_a, turn_b, m, n, k, alpha, a, step_a, b, step_b, beta, c, step_c):
    """C (m, n) = alpha A B + beta C.    A (m, k) or, with turn_a, (k, m); B (k, n) or (n, k); by addresses.

    step: elements from one row to the next."""

    def code(context, builder, signature, args):
        function, turn_a, turn_b, *rest = args
        plain, turned = ir.Constant(_SMALL, 111), ir.Constant(_SMALL, 112)
        flags = [ir.Constant(_SMALL, 101)]  # row-major
        for turn in (turn_a, turn_b):
            flags.append(builder.select(builder.icmp_signed("!=", turn, ir.Constant(_WORD, 0)), turned, plain))
        builder.call(builder.inttoptr(function, _SGEMM.as_pointer()), [*flags, *rest])
        return context.get_dummy_value()

    i, f = types.int64, types.float32
    return types.none(i, i, i, i, i, i, f, i, i, i, i, f, i, i), code
