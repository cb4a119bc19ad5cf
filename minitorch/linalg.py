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

__all__ = [
    "LinAlgError",
    "cholesky",
    "det",
    "eigh",
    "inv",
    "matrix_norm",
    "norm",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "vector_norm",
]

from .missing import names as _names  # noqa: E402

__getattr__ = _names(__name__)
