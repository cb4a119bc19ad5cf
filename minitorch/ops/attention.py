"""Embedding look-up and scaled dot-product attention.      Lessons 08 and 10."""

from __future__ import annotations

import math

from ..autograd.engine import Op
from ..backend import dtypes
from ..tensor import Tensor
from ._method import constant
from .elementwise import where
from .index import IndexAdd
from .matmul import matmul
from .softmax import softmax


class Embedding(Op):
    """y_t = W[index_t].        W: (V, C)   index: (...)   y: (..., C)

    dW_v = sum of dy_t over the places t where index_t = v; the row of padding gets none. Lesson 08.
    """

    promote = None

    def forward(self, W, *, index, padding):
        self.save(index, padding, W.shape)
        return W[index]

    def backward(self, dy):
        index, padding, shape = self.saved
        dW = self.run(IndexAdd, dy, index=(index,), shape=shape)
        if padding is None:
            return dW
        return dW * (self.xp.arange(shape[0]) != padding)[:, None]


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of weight (V, C) that the integers of input name: (..., C)."""
    if input.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"embedding: expected indices of dtype int64 or int32, got {input.dtype}")
    if weight.ndim != 2:
        raise RuntimeError(f"embedding: expected a weight of 2 dimensions, got {weight.ndim}")
    if scale_grad_by_freq or sparse:
        raise NotImplementedError("embedding: scale_grad_by_freq and sparse are not offered; the gradient is dense")
    index, n = input.array, weight.array.shape[0]
    if index.size and (int(index.min()) < 0 or int(index.max()) >= n):
        bad = index[(index < 0) | (index >= n)].reshape(-1)[0]
        raise IndexError(f"embedding: index {int(bad)} is out of range for a table of {n} rows")
    if padding_idx is not None:
        if not -n <= padding_idx < n:
            raise RuntimeError(f"embedding: padding_idx {padding_idx} must be within the {n} rows of weight")
        padding_idx %= n
    if max_norm is not None:
        _renormalize(weight, index, max_norm, norm_type)
    if input.device != weight.device:
        raise RuntimeError(f"embedding: expected input and weight on one device, got {input.device} and {weight.device}")
    return Embedding.apply(weight, index=constant(input), padding=padding_idx)


def _renormalize(weight: Tensor, index, max_norm: float, norm_type: float) -> None:
    """Rows that are about to be read are shrunk, in place, to at most max_norm (PyTorch's max_norm)."""
    xp = weight.xp
    rows = xp.unique(index)
    values = weight.array[rows]
    norms = (xp.abs(values) ** norm_type).sum(-1, keepdims=True) ** (1.0 / norm_type)
    weight.array[rows] = xp.where(norms > max_norm, values * (max_norm / (norms + 1e-7)), values)
    weight.bump_version()


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(q k^T scale + mask) v.     query (..., L, E)   key (..., S, E)   value (..., S, Ev)   result (..., L, Ev)

    attn_mask: booleans (True takes part) or numbers that are added. scale: 1/sqrt(E) unless given, so that the scores
    of unit-variance inputs have variance 1. A row whose keys are all masked gives zeros.  arXiv:1706.03762; lesson 10.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: explicit attn_mask should not be set when is_causal=True")
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        if groups * key.shape[-3] != query.shape[-3]:
            raise RuntimeError(f"scaled_dot_product_attention: {query.shape[-3]} query heads cannot share {key.shape[-3]} key heads")
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"scaled_dot_product_attention: query {tuple(query.shape)}, key {tuple(key.shape)} and value "
            f"{tuple(value.shape)} do not fit: expected (..., L, E), (..., S, E), (..., S, Ev)"
        )
    scores = matmul(query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), key.transpose(-2, -1))
    if is_causal:
        length, source = scores.shape[-2:]
        attn_mask = Tensor(scores.xp.tri(length, source, dtype=bool))
    if attn_mask is None:
        weights = softmax(scores, -1)
    elif attn_mask.dtype is dtypes.bool_:
        weights = softmax(where(attn_mask, scores, -math.inf), -1)
        alive = attn_mask.any(-1, keepdim=True)
        if not bool(alive.array.all()):
            weights = where(alive, weights, 0.0)
    else:
        weights = softmax(scores + attn_mask, -1)
    if dropout_p:
        from .random import dropout

        weights = dropout(weights, dropout_p)
    return matmul(weights, value)
