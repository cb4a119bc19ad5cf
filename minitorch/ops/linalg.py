"""Linear algebra: determinants, inverses, factorizations, norms of matrices. All take stacks of matrices (..., n, m).

Each gradient comes from the differential of the equation that defines the result: take d of both sides, solve for d of
the result, and read dx off <dy, d(result)> = <dx, d(input)>. <a, b> is the sum of a * b, and <a, b c> = <b^T a, c>.
`sym(x)` stands for (x + x^T) / 2, `o` for the product element by element.
"""

from __future__ import annotations

from typing import Any

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend.devices import host, linalg
from ..tensor import Tensor, wrap
from . import reduce
from ._method import read_dim, read_dims, tensor_method
from .reduce import ProdOfOthers


class LinAlgError(RuntimeError):
    """A matrix that has no inverse, no Cholesky factor, or whose decomposition did not converge."""


def _t(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def _reciprocal_or_0(E: Any, xp: Any) -> Any:
    """1 / E with 0 where E is 0."""
    return xp.where(E == 0, 0.0, 1 / xp.where(E == 0, 1.0, E))


def _gaps(s: Any, xp: Any) -> Any:
    """F_ij = s_j - s_i, of a spectrum s: (..., n)."""
    return xp.expand_dims(s, -2) - xp.expand_dims(s, -1)


def _over_gaps(x: Any, gaps: Any, xp: Any) -> Any:
    """x_ij / gaps_ij. The vectors of equal values are not unique: NaN for them, unless nothing depends on them."""
    return xp.where((gaps == 0) & (x != 0), float("nan"), x * _reciprocal_or_0(gaps, xp))


class Inv(Op):
    """y = x^-1.                 x y = 1, so dx y + x dy = 0:  d(y) = -y d(x) y.        dx = -y^T dy y^T

    x must be invertible.
    """

    def forward(self, x):
        y = linalg(self.xp, "inv")(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return -self.xp.matmul(self.xp.matmul(_t(y), dy), _t(y))


class Det(Op):
    """y = det x.                dx = dy C,  C the cofactors: det x is linear in each element, with slope C_ij

    Any square x, singular too.
    """

    def forward(self, x):
        self.save(x)
        return linalg(self.xp, "det")(x)

    def backward(self, dy):
        (x,) = self.saved
        return self.xp.expand_dims(dy, (-2, -1)) * self.run(Cofactors, x)


class Cofactors(Op):
    """C_ij = (-1)^(i+j) det(x without row i and column j), which is det(x) x^-T where x has an inverse.

    From x = U s V^T:  C = det(U V^T) U p V^T,  p_i = prod_{j != i} s_j, which needs no inverse.

    With d = det x, z = x^-1:  d(C) = <d z^T, d(x)> z^T - d z^T d(x)^T z^T.
    dx = d (<dy, z^T> z^T - z^T dy^T z^T).          Only this second gradient needs x to be invertible.
    """

    def forward(self, x):
        xp = self.xp
        self.save(x)
        U, s, Vt = linalg(xp, "svd")(x, full_matrices=False)
        p = self.run(ProdOfOthers, s, axis=s.ndim - 1)
        sign = xp.sign(linalg(xp, "det")(U) * linalg(xp, "det")(Vt))
        return sign[..., None, None] * xp.matmul(U * p[..., None, :], Vt)

    def backward(self, dy):
        (x,) = self.saved
        xp = self.xp
        d, zt = xp.expand_dims(self.run(Det, x), (-2, -1)), _t(self.run(Inv, x))
        return d * ((dy * zt).sum((-2, -1), keepdims=True) * zt - xp.matmul(xp.matmul(zt, _t(dy)), zt))


class SLogDet(Op):
    """sign, y = the sign of det x, log |det x|.         dx = dy x^-T

    As det's gradient, C = det(x) x^-T, divided by det(x). Not finite where x is singular.
    """

    def forward(self, x):
        self.save(x)
        sign, y = linalg(self.xp, "slogdet")(x)
        return self.xp.asarray(sign), self.xp.asarray(y)

    def backward(self, dsign, dy):
        (x,) = self.saved
        return self.xp.expand_dims(dy, (-2, -1)) * _t(self.run(Inv, x))


class Solve(Op):
    """x with a x = b.           a: (..., n, n)   b, x: (..., n, k)

    d(a) x + a d(x) = d(b), so d(x) = a^-1 (d(b) - d(a) x).        db = a^-T dx,   da = -db x^T

    a must be invertible.
    """

    def forward(self, a, b):
        x = linalg(self.xp, "solve")(a, b)
        self.save(a, x)
        return x

    def backward(self, dx):
        a, x = self.saved
        db = self.run(Solve, _t(a), dx)
        return -self.xp.matmul(db, _t(x)), db


class Cholesky(Op):
    """The lower triangular L with x = L L^T.       x symmetric and positive definite; only its lower half is read

    d(x) = d(L) L^T + L d(L)^T; between L^-1 and L^-T:  L^-1 d(x) L^-T = L^-1 d(L) + its transpose. L^-1 d(L) is lower
    triangular, so it is P(...) of the left side, P: the upper half to 0, the diagonal halved.
    dx = L^-T sym(P(L^T dL)) L^-1
    """

    def forward(self, x):
        L = linalg(self.xp, "cholesky")(x)
        self.save(L)
        return L

    def backward(self, dL):
        (L,) = self.saved
        xp = self.xp
        p = xp.tril(xp.matmul(_t(L), dL)) * (1 - 0.5 * xp.eye(L.shape[-1], dtype=L.dtype))
        half = self.run(Solve, _t(L), (p + _t(p)) * 0.5)  # L^-T sym(P)
        return _t(self.run(Solve, _t(L), _t(half)))


class Eigh(Op):
    """Eigenvalues w (rising) and eigenvectors Q with x = Q diag(w) Q^T.      x symmetric; `lower`: which half is read

    Between Q^T and Q, d(x) becomes diag(d(w)) + K diag(w) - diag(w) K, where K = Q^T d(Q) is skew because Q^T Q = 1.
    Its diagonal is d(w); elsewhere K_ij = (Q^T d(x) Q)_ij / (w_j - w_i).
    dx = Q (diag(dw) + (Q^T dQ) / F) Q^T, its symmetric part,   F_ij = w_j - w_i

    dQ needs distinct eigenvalues: those of a multiple one may be any basis. NaN otherwise.
    """

    def forward(self, x, *, lower):
        w, Q = linalg(self.xp, "eigh")(x, "L" if lower else "U")
        self.save(w, Q)
        return w, Q

    def backward(self, dw, dQ):
        w, Q = self.saved
        xp = self.xp
        skew = xp.matmul(_t(Q), dQ)
        inner = _over_gaps((skew - _t(skew)) * 0.5, _gaps(w, xp), xp)
        inner = inner + xp.expand_dims(dw, -2) * xp.eye(w.shape[-1], dtype=w.dtype)
        return xp.matmul(xp.matmul(Q, inner), _t(Q))


class SVD(Op):
    """x = U diag(s) Vt, s falling.      x: (..., m, n)   U: (..., m, k)   s: (..., k)   Vt: (..., k, n),  k = min(m, n)

    With U^T and V round it d(x) is A s + diag(d(s)) + s B^T, where A = U^T d(U), B = V^T d(V) are skew; its symmetric
    and skew parts give A and B, with E_ij = s_j^2 - s_i^2. What of d(U) leaves the span of U is
    (1 - U U^T) d(x) V / s, and likewise for V.
    dx = U (M(U^T dU) s + s M(V^T dV) + diag(ds)) V^T,   M(z) = (z - z^T) / E
         + (1 - U U^T) dU s^-1 V^T + U s^-1 dV^T (1 - V V^T)

    dU and dV need distinct singular values, and not 0 where x is not square. NaN otherwise.
    """

    def forward(self, x):
        U, s, Vt = linalg(self.xp, "svd")(x, full_matrices=False)
        self.save(U, s, Vt)
        return U, s, Vt

    def backward(self, dU, ds, dVt):
        U, s, Vt = self.saved
        xp = self.xp
        row, column = xp.expand_dims(s, -2), xp.expand_dims(s, -1)
        E = _gaps(s, xp) * (row + column)
        u, v = xp.matmul(_t(U), dU), xp.matmul(Vt, _t(dVt))
        inner = _over_gaps(u - _t(u), E, xp) * row + column * _over_gaps(v - _t(v), E, xp)
        inner = inner + xp.expand_dims(ds, -2) * xp.eye(s.shape[-1], dtype=s.dtype)
        left, right = xp.matmul(U, inner), 0
        if U.shape[-2] > U.shape[-1]:
            left = left + (dU - xp.matmul(U, u)) * _reciprocal_or_0(row, xp)
        if Vt.shape[-1] > Vt.shape[-2]:
            right = xp.matmul(U, (dVt - xp.matmul(_t(v), Vt)) * _reciprocal_or_0(column, xp))
        return xp.matmul(left, Vt) + right


class QR(Op):
    """x = Q R, Q^T Q = 1, R upper triangular.      x: (..., m, n)   Q: (..., m, k)   R: (..., k, n)

    For m >= n: d(x) R^-1 = d(Q) + Q d(R) R^-1. Multiplied by Q^T: Q^T d(Q), which is skew, plus d(R) R^-1, upper
    triangular; so the lower half fixes the one and the rest is the other.
    dx = (dQ + Q S) R^-T,   S = Z + Z^T - diag(Z),   Z = the upper half of dR R^T - Q^T dQ
    For m < n: x = [x1 | x2] = Q [R1 | R2], the first block square. R2 = Q^T x2, so dQ gets x2 dR2^T, and dx2 = Q dR2.

    The first k columns of x must be linearly independent. With `complete`, Q: (m, m), m > n, there is no gradient.
    """

    def forward(self, x, *, complete):
        Q, R = linalg(self.xp, "qr")(x, "complete" if complete else "reduced")
        self.save(Q, R)
        return Q, R

    def backward(self, dQ, dR):
        Q, R = self.saved
        xp = self.xp
        m, n = Q.shape[-2], R.shape[-1]
        if Q.shape[-1] > n:
            raise RuntimeError("qr: mode 'complete' has no gradient for more rows than columns; use 'reduced'")
        dx2 = None
        if n > m:
            R2, dR2 = R[..., m:], dR[..., m:]
            dx2 = xp.matmul(Q, dR2)
            dQ = dQ + xp.matmul(xp.matmul(Q, R2), _t(dR2))
            R, dR = R[..., :m], dR[..., :m]
        z = xp.triu(xp.matmul(dR, _t(R)) - xp.matmul(_t(Q), dQ))
        s = z + _t(z) - z * xp.eye(z.shape[-1], dtype=z.dtype)
        dx = _t(self.run(Solve, R, _t(dQ + xp.matmul(Q, s))))
        return dx if dx2 is None else xp.concatenate([dx, dx2], axis=-1)


# --- public functions ------------------------------------------------------------------------------------------------


def _matrices(name: str, A: Any, square: bool = True) -> None:
    if not isinstance(A, Tensor):
        raise TypeError(f"linalg.{name}: expected a Tensor, got {type(A).__name__}")
    if A.ndim < 2:
        raise RuntimeError(f"linalg.{name}: expected matrices, of at least 2 dimensions, got shape {tuple(A.shape)}")
    if square and A.shape[-1] != A.shape[-2]:
        raise RuntimeError(f"linalg.{name}: expected square matrices, got shape {tuple(A.shape)}")
    _floating(name, A)


def _floating(name: str, *tensors: Tensor) -> None:
    for t in tensors:
        if not t.dtype.is_floating_point or t.dtype.itemsize < 4:
            raise RuntimeError(f"linalg.{name}: expected float32 or float64, got {t.dtype}")


def _run(name: str, trouble: str, op: type[Op], *tensors: Tensor, **options: Any) -> Any:
    """The op; where the library complains, or answers with infinities for finite numbers, an error in plain words."""
    try:
        results = op.apply(*tensors, **options)
    except ValueError as error:
        raise LinAlgError(f"linalg.{name}: {trouble} (shape {tuple(tensors[0].shape)}): {error}") from error
    xp = tensors[0].xp
    first = results[0] if isinstance(results, tuple) else results
    if not host(xp.isfinite(first.array).all()) and all(host(xp.isfinite(t.array).all()) for t in tensors):
        raise LinAlgError(f"linalg.{name}: {trouble} (shape {tuple(tensors[0].shape)})")
    return results


class _Named(tuple):
    """A tuple whose parts have names, as PyTorch's named results."""

    names: tuple = ()

    def __getattr__(self, name: str) -> Any:
        if name in type(self).names:
            return self[type(self).names.index(name)]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(type(self).names)}")

    def __repr__(self) -> str:
        parts = ",\n".join(f"{name}={value!r}" for name, value in zip(type(self).names, self))
        return f"minitorch.return_types.{type(self).__name__}(\n{parts})"


class EighResult(_Named):
    names = ("eigenvalues", "eigenvectors")


class SVDResult(_Named):
    names = ("U", "S", "Vh")


class SLogDetResult(_Named):
    names = ("sign", "logabsdet")


class QRResult(_Named):
    names = ("Q", "R")


@tensor_method
def det(A):
    """The determinant of square matrices; differentiable at singular ones too, once."""
    _matrices("det", A)
    return Det.apply(A)


@tensor_method
def slogdet(A):
    """(sign, logarithm of the absolute value) of the determinant of square matrices, which may be too large for det."""
    _matrices("slogdet", A)
    return SLogDetResult(SLogDet.apply(A))


@tensor_method
def logdet(input):
    """The logarithm of the determinant: NaN where it is negative, -inf where it is 0."""
    sign, y = slogdet(input)
    return y.masked_fill(sign < 0, float("nan"))


@casts
def inv(A):
    """The inverse of square matrices."""
    _matrices("inv", A)
    return _run("inv", "the matrix is singular and has no inverse", Inv, A)


@casts
def cholesky(A, *, upper=False):
    """The lower triangular L with A = L L^T, or its transpose; A symmetric and positive definite."""
    _matrices("cholesky", A)
    L = _run("cholesky", "the matrix is not positive definite", Cholesky, A.transpose(-2, -1) if upper else A)
    return L.transpose(-2, -1) if upper else L


@casts
def eigh(A, UPLO="L"):
    """(eigenvalues, rising; eigenvectors as columns) of symmetric matrices, of which one half is read."""
    _matrices("eigh", A)
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: UPLO must be 'L' or 'U', got {UPLO!r}")
    return EighResult(_run("eigh", "the algorithm did not converge", Eigh, A, lower=UPLO.upper() == "L"))


@casts
def svd(A, full_matrices=True):
    """(U, S, Vh) with A = U diag(S) Vh; full_matrices completes U and Vh to square orthogonal matrices.

    No gradient goes through the columns that complete them: they are arbitrary.
    """
    _matrices("svd", A, square=False)
    U, S, Vh = _run("svd", "the algorithm did not converge", SVD, A)
    m, n = A.shape[-2:]
    if full_matrices and m != n:
        from .shape import cat

        U_all, _, Vh_all = linalg(A.xp, "svd")(A.detach().array, full_matrices=True)
        k = min(m, n)
        if m > n:
            U = cat([U, wrap(U_all[..., k:])], -1)
        else:
            Vh = cat([Vh, wrap(Vh_all[..., k:, :])], -2)
    return SVDResult((U, S, Vh))


@casts
def qr(A, mode="reduced"):
    """(Q, R) with A = Q R. mode: "reduced", "complete" (Q square), or "r" (only R, without gradient)."""
    _matrices("qr", A, square=False)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"linalg.qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    complete = mode == "complete" and A.shape[-2] > A.shape[-1]
    Q, R = QR.apply(A.detach() if mode == "r" else A, complete=complete)
    return QRResult((Q.new_empty(0), R) if mode == "r" else (Q, R))


@casts
def solve(A, B, *, left=True):
    """X with A X = B (left=False: X A = B). B holds vectors if it has one dimension, or A's shape without its last."""
    _matrices("solve", A)
    _floating("solve", B)
    if A.dtype is not B.dtype:
        raise RuntimeError(f"linalg.solve: expected A and B of the same dtype, got {A.dtype} and {B.dtype}")
    n = A.shape[-1]
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    X = B.unsqueeze(-1) if vector else B
    if not left:
        if vector:
            raise RuntimeError("linalg.solve: left=False needs a matrix B, got vectors")
        A, X = A.transpose(-2, -1), X.transpose(-2, -1)
    if X.ndim < 2 or X.shape[-2] != n:
        shapes = f"A of shape {tuple(A.shape)} and B of shape {tuple(B.shape)}"
        raise RuntimeError(f"linalg.solve: {shapes} do not fit: expected {n} equations in B")
    from .shape import broadcast_shapes, expand

    batch = broadcast_shapes(A.shape[:-2], X.shape[:-2])
    A, X = expand(A, (*batch, n, n)), expand(X, (*batch, *X.shape[-2:]))
    X = _run("solve", "the matrix is singular: there is no solution, or more than one", Solve, A, X)
    X = X if left else X.transpose(-2, -1)
    return X.squeeze(-1) if vector else X


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """(sum |x|^ord)^(1/ord) over `dim`, all elements unless given; inf, -inf and 0 as limits."""
    if isinstance(ord, str) or ord is None:
        raise TypeError(f"linalg.vector_norm: expected a number for ord, got {ord!r}")
    if dtype is None and not x.dtype.is_floating_point:
        raise RuntimeError(f"linalg.vector_norm: expected a floating point tensor, got {x.dtype}")
    axes = read_dims(dim, x.ndim)
    if ord < 0 or ord == float("inf"):
        reduce._need_elements(x, axes, "linalg.vector_norm")
    return reduce.norm(x, float(ord), axes, keepdim, dtype)


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """The norm of matrices. ord: "fro" (root of the sum of squares), "nuc" (sum of the singular values), 2 and -2 (the
    largest and smallest of them), 1 and -1 (the largest and smallest sum of a column), inf and -inf (of a row)."""
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple, got {dim!r}")
    if A.ndim < 2:
        raise RuntimeError(f"linalg.matrix_norm: expected matrices (2 dimensions or more), got shape {tuple(A.shape)}")
    if dtype is not None:
        A = A.to(dtype)
    if not A.dtype.is_floating_point:
        raise RuntimeError(f"linalg.matrix_norm: expected a floating point tensor, got {A.dtype}")
    rows, columns = (read_dim(d, A.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different, got {tuple(dim)}")
    if ord == "fro":
        return reduce.norm(A, 2, (rows, columns), keepdim)
    inf = float("inf")
    if ord in ("nuc", 2, -2):
        s = svd(A.movedim((rows, columns), (-2, -1)), full_matrices=False)[1]
        y = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
        for d in sorted((rows, columns)) if keepdim else ():
            y = y.unsqueeze(d)
        return y
    if ord not in (1, -1, inf, -inf):
        raise RuntimeError(f"linalg.matrix_norm: no ord {ord!r}; expected 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2")
    along, over = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = A.abs().sum(along, keepdim=True)
    if ord > 0 and not sums.shape[over]:
        y = sums.sum(over, keepdim=True)  # the largest of no sums is 0
    else:
        y = sums.amax(over, keepdim=True) if ord > 0 else sums.amin(over, keepdim=True)
    return y if keepdim else y.squeeze((rows, columns))


def norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """`vector_norm` for one dimension, `matrix_norm` for two (or a matrix with an ord); of all elements by default."""
    if dim is not None and not isinstance(dim, int) and len(dim) > 2 and ord is not None:
        raise RuntimeError(f"linalg.norm: dim must name one or two dimensions, got {dim!r}")
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is None and A.ndim not in (1, 2):
        raise RuntimeError(f"linalg.norm: with ord and without dim the input must be 1-D or 2-D, got {A.ndim}-D")
    pair = A.ndim == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2
    if pair:
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)
