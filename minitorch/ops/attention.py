"""Embedding look-up and scaled dot-product attention.      Lessons 08 and 10."""

from __future__ import annotations

import math

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import dtypes
from ..tensor import Tensor, wrap
from ._method import constant
from .arithmetic import where
from .index import IndexAdd
from .matmul import matmul
from .shape import cat
from .softmax import softmax


class Embedding(Op):
    """y_t = W[index_t].        W: (V, C)   index: (...)   y: (..., C)

    dW_v = sum of dy_t over the places t where index_t = v; the row of padding gets none. Lesson 08.
    scale: factors for the dy_t, where frequent rows are to move less.
    """

    promote = None

    def forward(self, W, *, index, padding, scale=None):
        self.save(index, padding, scale, W.shape)
        return W[index]

    def backward(self, dy):
        index, padding, scale, shape = self.saved
        dy = dy if scale is None else dy * scale
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
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not offered; use sparse=False")
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
        raise RuntimeError(
            f"embedding: expected input and weight on one device, got {input.device} and {weight.device}"
        )
    scale = None
    if scale_grad_by_freq:
        counts = weight.xp.bincount(index.reshape(-1), minlength=n)[index]
        scale = (1 / counts).astype(weight.array.dtype)[..., None]
    return Embedding.apply(weight, index=constant(input), padding=padding_idx, scale=scale)


def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """The sum, mean or max of the rows of weight (V, C) that each bag of integers names: (B, C); 0 for an empty bag.

    input: (B, L), each row a bag; or (T,), with offsets (B,): where each bag begins. per_sample_weights, of input's
    shape, multiply the rows (sum only). The number padding_idx does not count.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode has to be one of sum, mean or max, got {mode!r}")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(f"embedding_bag: per_sample_weights needs mode='sum', got {mode!r}")
        if per_sample_weights.shape != input.shape:
            shapes = f"{tuple(input.shape)}, got {tuple(per_sample_weights.shape)}"
            raise ValueError(f"embedding_bag: expected per_sample_weights of the input's shape {shapes}")
    bags, n_bags = _bags(input, offsets, include_last_offset)
    flat, xp = input.reshape(-1), weight.xp
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if padding_idx is not None:
        kept = xp.flatnonzero(flat.array != padding_idx % weight.array.shape[0])
        rows, bags = rows[wrap(kept)], bags[kept]
        per_sample_weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)[wrap(kept)]
    if mode == "max":
        return _largest(rows, bags, n_bags)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    y = IndexAdd.apply(rows, index=(bags,), shape=(n_bags, weight.array.shape[1]))
    if mode == "sum":
        return y
    counts = xp.maximum(xp.bincount(bags, minlength=n_bags), 1).astype(weight.array.dtype)
    return y / wrap(counts[:, None])


def _bags(input, offsets, include_last_offset):
    """The number of the bag that each element of the flat input belongs to, and how many bags there are."""
    xp = input.xp
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("embedding_bag: if input is 2D, then offsets has to be None: each row is a bag")
        return xp.arange(input.array.size) // max(input.shape[1], 1), input.shape[0]
    if input.ndim != 1:
        raise ValueError(f"embedding_bag: input has to be a 1D or 2D Tensor, got {input.ndim} dimensions")
    if not isinstance(offsets, Tensor) or offsets.ndim != 1:
        raise ValueError(f"embedding_bag: for a 1D input offsets has to be a 1D Tensor, got {offsets!r}")
    if offsets.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"embedding_bag: expected offsets of dtype int64 or int32, got {offsets.dtype}")
    starts, n = offsets.array, input.array.shape[0]
    if starts.size and int(starts[0]) != 0:
        raise RuntimeError(f"embedding_bag: offsets[0] has to be 0, the first bag's beginning, got {int(starts[0])}")
    if bool((starts[1:] < starts[:-1]).any()) or (starts.size and int(starts[-1]) > n):
        raise RuntimeError(f"embedding_bag: offsets have to rise, up to the input's length {n} at most")
    if include_last_offset:
        starts = starts[:-1]
    return xp.searchsorted(starts, xp.arange(n), side="right") - 1, len(starts)


def _largest(rows, bags, n_bags):
    """The largest of each bag's rows, element by element: the bags as a table, filled up with -inf."""
    xp, n = rows.xp, len(bags)
    column = xp.arange(n) - xp.searchsorted(bags, bags)
    table = xp.full((n_bags, int(column.max()) + 1 if n else 1), n, dtype=xp.int64)
    table[bags, column] = xp.arange(n)
    padded = cat([rows, rows.new_full((1, rows.shape[1]), -math.inf)])
    largest = padded[wrap(table)].max(1)[0]
    return where(wrap(table[:, :1] < n), largest, 0.0)


def _renormalize(weight: Tensor, index, max_norm: float, norm_type: float) -> None:
    """Rows that are about to be read are shrunk, in place, to at most max_norm (PyTorch's max_norm)."""
    xp = weight.xp
    rows = xp.unique(index)
    values = weight.array[rows]
    norms = (xp.abs(values) ** norm_type).sum(-1, keepdims=True) ** (1.0 / norm_type)
    weight.array[rows] = xp.where(norms > max_norm, values * (max_norm / (norms + 1e-7)), values)
    weight.bump_version()


@casts
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
            raise RuntimeError(
                f"scaled_dot_product_attention: {query.shape[-3]} query heads cannot share {key.shape[-3]} key heads"
            )
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"scaled_dot_product_attention: query {tuple(query.shape)}, key {tuple(key.shape)} and value "
            f"{tuple(value.shape)} do not fit: expected (..., L, E), (..., S, E), (..., S, Ev)"
        )
    kind = query.dtype
    if kind.numpy in dtypes.LOW_PRECISION and kind is key.dtype is value.dtype:  # rounded once, at the end
        query, key, value = query.float(), key.float(), value.float()
        attn_mask = attn_mask.float() if attn_mask is not None and attn_mask.dtype is kind else attn_mask
    scores = matmul(query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), key.transpose(-2, -1))
    if is_causal:
        length, source = scores.shape[-2:]
        attn_mask = wrap(scores.xp.tri(length, source, dtype=bool))
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
    return matmul(weights, value).to(kind)
