"""PyTorch's torch.linalg: the functions that minitorch has of it. They live in ops/linalg.py, with their gradients."""

from .ops.linalg import (
    LinAlgError,
    cholesky,
    det,
    eigh,
    inv,
    matrix_norm,
    norm,
    qr,
    slogdet,
    solve,
    svd,
    vector_norm,
)
from .ops.matmul import matmul
from .ops.matrix import (
    cond,
    cross,
    diagonal,
    eigvalsh,
    lstsq,
    matrix_exp,
    matrix_power,
    matrix_rank,
    multi_dot,
    pinv,
    solve_triangular,
    svdvals,
    vander,
    vecdot,
)

__all__ = [
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "vander",
    "vecdot",
    "vector_norm",
    "LinAlgError",
]

from .missing import names as _names  # noqa: E402

__getattr__ = _names(__name__)
