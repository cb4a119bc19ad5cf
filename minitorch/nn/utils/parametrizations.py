"""Weights of a fixed length, spectral norm or orthogonality, as parametrizations (parametrize.py)."""

import math

import numpy as np

import minitorch

from ...autograd import no_grad
from ...tensor import Tensor
from .. import functional as F
from ..module import Module
from . import parametrize
from .spectral_norm import as_matrix, check_iterations, output_dim
from .weight_norm import norm_except_dim, normalized


def _tensor(module, name):
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


class _WeightNorm(Module):
    def __init__(self, dim=0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return normalized(weight_v, weight_g, self.dim)

    def right_inverse(self, weight):
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module, name="weight", dim=0):
    """w = g v / |v|, with a norm g for each slice along `dim` (None: one for all). arXiv:1602.07868

    original0 is g, original1 is v; state_dicts of the older nn.utils.weight_norm (weight_g, weight_v) can be loaded.
    """
    _tensor(module, name)
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(module, state_dict, prefix, *_):
        old = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if all(key in state_dict for key in old):
            for i, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(key)

    module.register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{weight.ndim}, {weight.ndim - 1}] but got {dim})"
            )
        check_iterations(n_power_iterations)
        self.dim, self.eps = dim % weight.ndim, eps
        if weight.ndim > 1:  # a vector is only divided by its norm
            self.n_power_iterations = n_power_iterations
            W = as_matrix(weight.detach(), self.dim)
            u, v = (W.new_empty(n).normal_(0, 1) for n in W.shape)
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._power_method(W, 15)

    @no_grad()
    def _power_method(self, W, n_power_iterations):
        """u = W v / |W v|,   v = W^T u / |W^T u|, in place: they tend to the first singular vectors."""
        for _ in range(n_power_iterations):
            self._u.copy_(F.normalize(W.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(W.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight):
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        W = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(W, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # the next forward pass changes the buffers
        return weight / u.dot(W.mv(v))

    def right_inverse(self, value):
        return value


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """w = W / sigma, its largest singular value, by n_power_iterations of the power method in training mode.

    `dim`: the outputs' dimension, 1 for transposed convolutions. arXiv:1802.05957
    """
    weight = _tensor(module, name)
    parametrization = _SpectralNorm(weight, n_power_iterations, output_dim(module, dim), eps)
    return parametrize.register_parametrization(module, name, parametrization)


def matrix_exp(A):
    """I + A + A^2/2! + ...: of A / 2^s, which is small, and then squared s times."""
    size = float(A.detach().abs().sum(-2).max()) if A.numel() else 0.0
    s = max(0, math.ceil(math.log2(size)) + 1) if size > 0 else 0
    eye = minitorch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    E, A = eye, A / 2**s
    for k in range(18, 0, -1):
        E = eye + A @ E / k
    for _ in range(s):
        E = E @ E
    return E


def householder_product(A, tau):
    """The first columns of H_1 H_2 ... H_k, H_i = I - tau_i v_i v_i^T; v_i is column i of A, strictly below row i, and
    1 in row i."""
    n, k = A.shape[-2:]
    eye = minitorch.eye(n, dtype=A.dtype, device=A.device)[:, :k]
    V, Q = A.tril(-1) + eye, eye
    for i in reversed(range(k)):
        v = V[..., :, i : i + 1]
        Q = Q - tau[..., None, i : i + 1] * (v @ (v.transpose(-2, -1) @ Q))
    return Q


def _reflections(Q):
    """A and tau such that Q = householder_product(A, tau) R; R stands in the upper triangle of A."""
    A, tau = np.linalg.qr(Q.detach().cpu().numpy(), mode="raw")
    A, tau = (minitorch.from_numpy(np.array(a)).to(Q.device) for a in (A.swapaxes(-2, -1), tau))
    return A, tau


def _orthogonalized(A):
    """The Q of A = Q R whose R has a positive diagonal."""
    Q, R = minitorch.linalg.qr(A)
    return Q * R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def _is_orthogonal(Q):
    n, k = Q.shape[-2:]
    eye = minitorch.eye(k, dtype=Q.dtype, device=Q.device)
    error = (Q.transpose(-2, -1) @ Q - eye).abs()
    return bool((error <= 10 * n * minitorch.finfo(Q.dtype).eps + 1e-5 * eye).all())


class _Orthogonal(Module):
    """X -> Q, one of three maps onto the (semi-)orthogonal matrices; times `base`, where X began.

    matrix_exp: e^A,   cayley: (I - A/2)^-1 (I + A/2),   A = X - X^T of the lower triangle of X
    householder: H_1 ... H_k from X's columns
    """

    def __init__(self, weight, orthogonal_map, *, use_trivialization=True):
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X):
        wide = X.shape[-2] < X.shape[-1]
        X = X.transpose(-2, -1) if wide else X
        n, k = X.shape[-2:]
        if self.orthogonal_map == "householder":
            A = X.tril(-1)
            Q = householder_product(A, 2.0 / (1.0 + (A * A).sum(-2)))
            Q = Q * X.detach().diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        else:
            X = X.tril()
            if n != k:
                X = minitorch.cat([X, X.new_zeros((*X.shape[:-1], n - k))], -1)
            A = X - X.transpose(-2, -1)
            eye = minitorch.eye(n, dtype=A.dtype, device=A.device)
            exponential = self.orthogonal_map == "matrix_exp"
            Q = matrix_exp(A) if exponential else minitorch.linalg.solve(eye - 0.5 * A, eye + 0.5 * A)
            Q = Q[..., :k]
        if "base" in self._buffers:
            Q = self.base @ Q
        return Q.transpose(-2, -1) if wide else Q

    @no_grad()
    def right_inverse(self, Q):
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        start = Q
        wide = Q.shape[-2] < Q.shape[-1]
        Q = Q.transpose(-2, -1) if wide else Q
        n, k = Q.shape[-2:]
        if "base" not in self._buffers:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            A, tau = _reflections(Q)
            eye = minitorch.eye(n, dtype=A.dtype, device=A.device)[:, :k]
            sign = A.diagonal(dim1=-2, dim2=-1).sign() * minitorch.where(tau == 0, -1.0, 1.0)
            A = A * (1 - eye) + eye * sign.unsqueeze(-2)
            return A.transpose(-2, -1) if wide else A
        if n != k:
            extra = minitorch.randn(*Q.shape[:-2], n, n - k, dtype=Q.dtype, device=Q.device)
            Q = _orthogonalized(minitorch.cat([Q, extra], -1))
        else:
            Q = Q.clone() if _is_orthogonal(Q) else _orthogonalized(Q)
        self.base = Q
        return -minitorch.eye(*start.shape[-2:], dtype=Q.dtype, device=Q.device).expand(start.shape).clone()


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Keep a matrix orthogonal: Q^T Q = I, or Q Q^T = I if it is wide. arXiv:1901.08428

    `orthogonal_map`: "matrix_exp" (the default for square matrices), "cayley" or "householder" (for the others).
    use_trivialization: maps from where the weight is now (arXiv:1909.09501), at the price of a fixed square matrix.
    """
    weight = _tensor(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    parametrization = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return parametrize.register_parametrization(module, name, parametrization, unsafe=True)
