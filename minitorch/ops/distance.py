"""Distances and angles between vectors."""

from __future__ import annotations

import math

from ..autograd.autocast import casts
from ._method import read_dim, tensor_method
from .arithmetic import clamp_min
from .matmul import matmul
from .reduce import Root, norm


@tensor_method
@casts
def dist(input, other, p=2):
    """The p-norm of input - other, over all elements."""
    difference = input - other
    if not difference.dtype.is_floating_point:
        raise RuntimeError(f"dist(): expected floating point tensors, got {input.dtype} and {other.dtype}")
    return norm(difference, float(p))


def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """|x1 - x2 + eps|_p along the last axis.      x1, x2: (..., C), broadcast     result: (...)

    eps keeps the slope of the root away from its pole at 0.
    """
    return norm(x1 - x2 + eps, float(p), -1, keepdim)


@tensor_method
@casts
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1 . x2 / (|x1| |x2|) along `dim`, the lengths not below eps."""
    from .shape import broadcast_tensors

    if not x1.dtype.is_floating_point and not x2.dtype.is_floating_point:
        raise RuntimeError(f"cosine_similarity: expected floating point tensors, got {x1.dtype} and {x2.dtype}")
    x1, x2 = broadcast_tensors(x1, x2)
    dim = read_dim(dim, x1.ndim)
    a, b = (x / clamp_min(norm(x, 2, dim, True), eps) for x in (x1, x2))
    return (a * b).sum(dim)


_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


@casts
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """The p-norms of all differences of rows.     x1: (..., P, C)   x2: (..., R, C)   result: (..., P, R)

    For p = 2 and many rows by one matrix product: |a - b|^2 = |a|^2 + |b|^2 - 2 a . b, faster and a little less exact.
    """
    for name, x in (("X1", x1), ("X2", x2)):
        if not x.dtype.is_floating_point:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype}")
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        shapes = f"{tuple(x1.shape)} and {tuple(x2.shape)}"
        raise RuntimeError(f"cdist: X1 and X2 must have the same number of columns, got shapes {shapes}")
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode!r} is not a valid value for compute_mode; use one of {', '.join(_MODES)}")
    large = max(x1.shape[-2], x2.shape[-2]) > 25
    if p == 2 and x1.shape[-1] and (compute_mode == _MODES[1] or (compute_mode == _MODES[0] and large)):
        squares = (x1 * x1).sum(-1, keepdim=True) + (x2 * x2).sum(-1).unsqueeze(-2)
        return Root.apply(clamp_min(squares - 2 * matmul(x1, x2.transpose(-2, -1)), 0), p=2)
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if not difference.numel() and math.isinf(p):
        return difference.sum(-1)
    return norm(difference, float(p), -1)


@casts
def pdist(input, p=2.0):
    """The p-norms of the differences of all pairs of rows i < j.      input (N, C)     result (N (N - 1) / 2,)"""
    from .creation import triu_indices

    if input.ndim != 2 or p < 0 or not input.dtype.is_floating_point:
        raise RuntimeError(
            f"pdist expects a floating point matrix and p >= 0, got {input.dtype} of shape {list(input.shape)} and p={p}"
        )
    i, j = triu_indices(len(input), len(input), 1, device=input.device)
    difference = input.index_select(0, i) - input.index_select(0, j)
    return norm(difference, float(p), -1) if difference.numel() else difference.sum(-1)
