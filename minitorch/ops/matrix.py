"""Linear algebra, continued: powers, pseudoinverses, least squares, ranks, triangular systems.

Most is made of the factorizations in linalg.py, and gets its gradients from there.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend.devices import host
from ..backend.devices import linalg as lapack
from ..tensor import Tensor, wrap
from . import arrange, linalg, matmul
from ._method import tensor_method
from .arithmetic import where
from .creation import eye
from .linalg import _floating, _matrices, _Named, _reciprocal_or_0, _run, _t, eigh, inv, matrix_norm, solve


class PInv(Op):
    """p, the pseudoinverse of x: x p x = x, p x p = p, and x p, p x symmetric.      x: (..., m, n)   p: (..., n, m)

    Where the rank does not change, differentiating the four conditions gives
    d(p) = -p d(x) p + p p^T d(x)^T (1 - x p) + (1 - p x) d(x)^T p^T p
    dx = -p^T dp p^T + (1 - x p) dp^T p p^T + p^T p dp^T (1 - p x)                    SIAM J. Numer. Anal. 10 (1973), 413

    Singular values not above max(atol, rtol * the largest) count as 0.
    """

    def forward(self, x, *, atol, rtol):
        xp = self.xp
        U, s, Vt = lapack(xp, "svd")(x, full_matrices=False)
        largest = s.max(-1, keepdims=True) if s.shape[-1] else xp.zeros((*s.shape[:-1], 1), s.dtype)
        s = xp.where(s > xp.maximum(atol, rtol * largest), s, 0)
        p = xp.matmul(_t(Vt) * xp.expand_dims(_reciprocal_or_0(s, xp), -2), _t(U)).astype(x.dtype)
        self.save(x, p)
        return p

    def backward(self, dp):
        x, p = self.saved
        mm, pt, dpt = self.xp.matmul, _t(p), _t(dp)
        dx = -mm(mm(pt, dp), pt)
        left, right = mm(dpt, mm(p, pt)), mm(mm(pt, p), dpt)
        return dx + left - mm(mm(x, p), left) + right - mm(mm(right, p), x)


# --- public functions ------------------------------------------------------------------------------------------------


@tensor_method
@casts
def matrix_power(A, n):
    """The n-th power of square matrices; of the inverse for n < 0."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise RuntimeError(f"linalg.matrix_power: expected square matrices, got shape {tuple(A.shape)}")
    if n < 0:
        A, n = inv(A), -n
    power = None
    while n:  # n in binary
        if n % 2:
            power = A if power is None else power @ A
        n //= 2
        A = A @ A if n else A
    if power is None:  # in the graph, with a gradient of zeros
        return where(wrap(A.xp.zeros((), dtype=bool)), A, _identity(A))
    return power.clone() if power is A else power


def _identity(A: Tensor) -> Tensor:
    return eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)


@tensor_method
@casts
def matrix_exp(A):
    """1 + A + A^2 / 2 + A^3 / 6 + ... of square matrices.

    exp(A) = exp(A / 2^k)^(2^k): the series is taken of matrices of norm at most 1/2, and squared k times.
    """
    _matrices("matrix_exp", A)
    size = host(matrix_norm(A.detach(), 1).array.max()) if A.numel() else 0.0
    k = max(0, math.ceil(math.log2(size)) + 1) if 0 < size < math.inf else 0
    x, one = A / 2.0**k, _identity(A)
    y = one
    for i in range(15, 0, -1):
        y = one + x @ y / i
    for _ in range(k):
        y = y @ y
    return y


@casts
def multi_dot(tensors):
    """The product of matrices, in the order that costs least; the first and the last may be vectors."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"linalg.multi_dot: expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0].ndim == 1, tensors[-1].ndim == 1
    if first:
        tensors[0] = tensors[0].unsqueeze(0)
    if last:
        tensors[-1] = tensors[-1].unsqueeze(1)
    y = matmul.chain_matmul(*tensors)
    y = y.squeeze(0) if first else y
    return y.squeeze(-1) if last else y


def _bounds(name: str, A: Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """What counts as zero: by default rtol is the dtype's eps times the longer side, and 0 with an atol."""
    atol, rtol = (t.array[..., None] if isinstance(t, Tensor) else t for t in (atol, rtol))
    if rtol is None:
        rtol = 0.0 if atol is not None else float(A.xp.finfo(A.array.dtype).eps) * max(A.shape[-2:])
    return 0.0 if atol is None else atol, rtol


@casts
def pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The pseudoinverse. Singular values not above max(atol, rtol * the largest) count as 0. hermitian: A is symmetric."""
    _matrices("pinv", A, square=hermitian)
    if hermitian:  # one half is read; the gradient is that of both, as PyTorch's
        A = A + (A.tril() + A.tril(-1).transpose(-2, -1) - A).detach()
    atol, rtol = _bounds("pinv", A, atol, rtol if rcond is None else rcond)
    return _run("pinv", "the algorithm did not converge", PInv, A, atol=atol, rtol=rtol)


@tensor_method
def pinverse(input, rcond=1e-15):
    """The pseudoinverse; singular values not above rcond * the largest count as 0."""
    return pinv(input, rcond)


@casts
def matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values are above max(atol, rtol * the largest)."""
    _matrices("matrix_rank", A, square=hermitian)
    atol, rtol = _bounds("matrix_rank", A, atol if tol is None else tol, rtol)
    s = svdvals(A.detach()) if not hermitian else eigvalsh(A.detach()).abs()
    largest = s.array.max(-1, keepdims=True) if s.shape[-1] else 0.0
    return (s > wrap(s.xp.asarray(s.xp.maximum(atol, rtol * largest), dtype=s.array.dtype))).sum(-1)


class LstsqResult(_Named):
    names = ("solution", "residuals", "rank", "singular_values")


@casts
def lstsq(A, B, rcond=None, *, driver=None):
    """The x that make |A x - B| least, and of several such the shortest, as (solution, residuals, rank, singular values).

    residuals, |A x - B|^2 of each column: of more equations than unknowns, and as in PyTorch for the drivers gels, gelsd,
    gelss only; singular values: for gelsd, gelss.
    """
    _matrices("lstsq", A, square=False)
    _floating("lstsq", B)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}"
        )
    m, n = A.shape[-2:]
    vector = B.ndim == A.ndim - 1
    X = B.unsqueeze(-1) if vector else B
    if X.ndim < 2 or X.shape[-2] != m:
        raise RuntimeError(
            f"linalg.lstsq: A of shape {tuple(A.shape)} and B of shape {tuple(B.shape)} do not fit: expected {m} "
            "equations in B"
        )
    solution = pinv(A, rtol=rcond) @ X
    rank = matrix_rank(A, rtol=rcond)
    residuals = (A @ solution - X).square().sum(-2)
    if m <= n or driver not in ("gels", "gelsd", "gelss") or not host((rank.array == n).all()):
        residuals = residuals.flatten()[:0]
    values = svdvals(A.detach()) if driver in ("gelsd", "gelss") else A.new_empty(0)
    ranks = rank.new_empty(0) if driver == "gels" else rank
    return LstsqResult((solution.squeeze(-1) if vector else solution, residuals, ranks, values))


@casts
def solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """X with A X = B (left=False: X A = B), of A only the upper or lower triangle; unitriangular: with ones in it."""
    _matrices("solve_triangular", A)
    _floating("solve_triangular", B)
    if B.ndim < 2:
        raise RuntimeError(f"linalg.solve_triangular: expected B of at least 2 dimensions, got shape {tuple(B.shape)}")
    k = 1 if unitriangular else 0
    triangle = A.triu(k) if upper else A.tril(-k)
    return solve(triangle + _identity(A) if unitriangular else triangle, B, left=left)


@casts
def eigvalsh(A, UPLO="L"):
    """The eigenvalues of symmetric matrices, rising."""
    return eigh(A, UPLO)[0]


@casts
def svdvals(A):
    """The singular values, falling."""
    return linalg.svd(A, full_matrices=False)[1]


@casts
def cond(A, p=None):
    """The condition number |A| |A^-1| in the p-norm; by default the largest singular value over the smallest."""
    if p in (None, 2, -2):
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    _matrices("cond", A)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


@casts
def vecdot(x, y, *, dim=-1):
    """The sums of products along `dim`."""
    if not x.dtype.is_floating_point:
        raise RuntimeError(f"linalg.vecdot: expected a floating point tensor, got {x.dtype}")
    return (x * y).sum(dim)


def cross(input, other, *, dim=-1):
    """The cross products of vectors of 3 elements along `dim`, broadcast."""
    from .shape import broadcast_tensors

    if input.ndim != other.ndim or input.shape[dim] != 3 or other.shape[dim] != 3:
        shapes = f"{tuple(input.shape)} and {tuple(other.shape)}"
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got shapes {shapes}")
    return matmul.cross(*broadcast_tensors(input, other), dim)


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """A diagonal of the last two dimensions; a view."""
    return A.diagonal(offset, dim1, dim2)


def vander(x, *, N=None):
    """The powers 1, x, ..., x^(N-1) of each element.      x (..., n)     result (..., n, N)"""
    return arrange.vander(x if x.ndim else x.reshape(1), N, increasing=True)


# --- older names, in the main module ---------------------------------------------------------------------------------


class SVDResult(_Named):
    names = ("U", "S", "V")


def svd(input, some=True, compute_uv=True):
    """(U, S, V) with input = U diag(S) V^T: V is the transpose of `linalg.svd`'s Vh."""
    U, S, Vh = linalg.svd(input, full_matrices=not some)
    if not compute_uv:
        m, n = input.shape[-2:]
        U, Vh = input.new_zeros((*input.shape[:-2], m, m)), input.new_zeros((*input.shape[:-2], n, n))
    return SVDResult((U, S, Vh.transpose(-2, -1)))


def cholesky(input, upper=False):
    """As `linalg.cholesky`."""
    return linalg.cholesky(input, upper=upper)


def qr(input, some=True):
    """As `linalg.qr`; some=False: "complete"."""
    return linalg.qr(input, "reduced" if some else "complete")


for _name in ("svd", "cholesky", "qr"):
    tensor_method(globals()[_name], name=_name)
