"""Embedding look-up and scaled dot-product attention.      Lessons 08 and 10."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import checks, dtypes, fastpath
from ..backend.devices import host, nonzero
from ..backend.scatter import count_of
from ..tensor import Tensor, wrap
from ._method import constant, unbroadcast
from .arithmetic import where
from .index import IndexAdd
from .shape import broadcast_shapes, cat
from .softmax import Softmax


class Embedding(Op):
    """y_t = W[index_t].        W: (V, C)   index: (...)   y: (..., C)

    dW_v = sum of dy_t over the places t where index_t = v; the row of padding gets none. Lesson 08.
    scale: factors for the dy_t, where frequent rows are to move less.
    """

    promote = None

    def forward(self, W, *, index, padding, scale=None):
        index = rows_in_range(index, W.shape[0])
        self.save(index, padding, scale, W.shape)
        return W[index]

    def backward(self, dy):
        index, padding, scale, shape = self.saved
        dy = dy if scale is None else dy * scale
        dW = self.run(IndexAdd, dy, index=(index,), shape=shape)
        if padding is None:
            return dW
        return dW * (self.xp.arange(shape[0]) != padding)[:, None]


def out_of_range(n: int) -> str:
    """What the error says about an index that names no row; {}: the index."""
    return f"embedding: index {{}} is out of range for a table of {n} rows"


def rows_in_range(index: Any, n: int) -> Any:
    """The index, checked (backend/checks.py)."""
    return checks.in_range(index, 0, n, out_of_range(n), IndexError)


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of weight (V, C) that the integers of input name: (..., C)."""
    if input.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"embedding: expected indices of dtype int64 or int32, got {input.dtype}")
    if weight.ndim != 2:
        raise RuntimeError(f"embedding: expected a weight of 2 dimensions, got {weight.ndim}")
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not offered; use sparse=False")
    n = weight.array.shape[0]
    if padding_idx is not None:
        if not -n <= padding_idx < n:
            raise RuntimeError(f"embedding: padding_idx {padding_idx} must be within the {n} rows of weight")
        padding_idx %= n
    if input.device != weight.device:
        raise RuntimeError(
            f"embedding: expected input and weight on one device, got {input.device} and {weight.device}"
        )
    index, scale = constant(input), None
    if max_norm is not None or scale_grad_by_freq:
        index = rows_in_range(index, n)
    if max_norm is not None:
        _renormalize(weight, index, max_norm, norm_type)
    if scale_grad_by_freq:
        counts = count_of(index.reshape(-1), n, weight.xp)[index]
        scale = (1 / counts).astype(weight.array.dtype)[..., None]
    return Embedding.apply(weight, index=index, padding=padding_idx, scale=scale)


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
        (kept,) = nonzero(flat.array != padding_idx % weight.array.shape[0])
        rows, bags = rows[wrap(kept)], bags[kept]
        per_sample_weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)[wrap(kept)]
    if mode == "max":
        return _largest(rows, bags, n_bags)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    y = IndexAdd.apply(rows, index=(bags,), shape=(n_bags, weight.array.shape[1]))
    if mode == "sum":
        return y
    counts = xp.maximum(count_of(bags, n_bags, xp), 1).astype(weight.array.dtype)
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
    message = "embedding_bag: offsets[0] has to be 0, the first bag's beginning, got {}"
    checks.in_range(starts[:1], 0, 1, message, RuntimeError)
    rises = f"embedding_bag: offsets have to rise, up to the input's length {n} at most"
    checks.require(starts[1:] >= starts[:-1], rises)
    checks.require(starts[-1:] <= n, rises)
    if include_last_offset:
        starts = starts[:-1]
    return xp.searchsorted(starts, xp.arange(n), side="right") - 1, len(starts)


def _largest(rows, bags, n_bags):
    """The largest of each bag's rows, element by element: the bags as a table, filled up with -inf."""
    xp, n = rows.xp, len(bags)
    column = xp.arange(n) - xp.searchsorted(bags, bags)
    table = xp.full((n_bags, host(column.max()) + 1 if n else 1), n, dtype=xp.int64)
    table[bags, column] = xp.arange(n)
    padded = cat([rows, rows.new_full((1, rows.shape[1]), -math.inf)])
    largest = padded[wrap(table)].max(1)[0]
    return where(wrap(table[:, :1] < n), largest, 0.0)


def _renormalize(weight: Tensor, index, max_norm: float, norm_type: float) -> None:
    """Rows that are about to be read are shrunk, in place, to at most max_norm (PyTorch's max_norm)."""
    xp = weight.xp
    rows = np.unique(index) if xp is np else index.reshape(-1)  # on a GPU it would have to be waited for
    values = weight.array[rows]  # a row that is named twice is written twice, with the same numbers
    norms = (xp.abs(values) ** norm_type).sum(-1, keepdims=True) ** (1.0 / norm_type)
    weight.array[rows] = xp.where(norms > max_norm, values * (max_norm / (norms + 1e-7)), values)
    weight.bump_version()


class Attention(Op):
    """y = A v, each row of A the weights of the keys.     q (..., L, d)   k (..., S, d)   v (..., S, e)   y (..., L, e)

    S = scale q k^T + mask      P = softmax(S), row by row      A = dropout(P) = P m / (1 - p)

    dv = A^T dy      dA = dy v^T      dP = dA m / (1 - p)
    dS = P (dP - the row's sum of dP P)      dmask = dS      because P is a softmax
    dq = scale dS k      dk = scale dS^T q

    mask: numbers that are added, or booleans (False: minus infinity; a row of them gives P = 0), broadcast; causal: key
    j is seen by the queries i >= j. keep: the m of dropout, drawn by the caller; factor: 1 / (1 - p). A fast path that has
    a class `draw` gets keep = draw(shape, p, generator): whatever it makes the m from.
    P, which has L S numbers for each head, is not kept: backward computes it again.    arXiv:1706.03762; lesson 10.
    """

    promote = None

    def forward(self, q, k, v, mask, *, causal, scale, keep, factor):
        self.save(q, k, v, mask, causal, scale, keep, factor)
        P = self._weights(q, k, mask, causal, scale)  # (..., L, S)
        return self.xp.matmul(P if keep is None else P * keep * factor, v)

    def backward(self, dy):
        q, k, v, mask, causal, scale, keep, factor = self.saved
        P = self._weights(q, k, mask, causal, scale)
        dA = self.xp.matmul(dy, v.swapaxes(-1, -2))
        A, dP = (P, dA) if keep is None else (P * keep * factor, dA * keep * factor)
        dS = P * (dP - (dP * P).sum(-1, keepdims=True))
        dq = unbroadcast(self.xp.matmul(dS, k) * scale, q.shape) if self.needs[0] else None
        dk = unbroadcast(self.xp.matmul(dS.swapaxes(-1, -2), q) * scale, k.shape) if self.needs[1] else None
        dv = unbroadcast(self.xp.matmul(A.swapaxes(-1, -2), dy), v.shape) if self.needs[2] else None
        return dq, dk, dv, (unbroadcast(dS, mask.shape) if self.needs[3] else None)

    def _weights(self, q, k, mask, causal, scale):
        """P, on arrays or traced."""
        xp = self.xp
        S = xp.matmul(q, k.swapaxes(-1, -2)) * scale
        if causal:
            mask = xp.arange(S.shape[-2])[:, None] >= xp.arange(S.shape[-1])
        if mask is None:
            return self.run(Softmax, S, axis=-1)
        if mask.dtype != bool:
            return self.run(Softmax, S + mask, axis=-1)
        P = self.run(Softmax, xp.where(mask, S, -math.inf), axis=-1)
        alive = mask.any(-1, keepdims=True)
        return P if checks.known(alive) else xp.where(alive, P, 0.0)


@casts
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(q k^T scale + mask) v.     query (..., L, E)   key (..., S, E)   value (..., S, Ev)   result (..., L, Ev)

    attn_mask: booleans (True takes part) or numbers that are added. scale: 1/sqrt(E) unless given, so that the scores
    of unit-variance inputs have variance 1. A row whose keys are all masked gives zeros.  arXiv:1706.03762; lesson 10.
    """
    name = "scaled_dot_product_attention"
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"{name}: explicit attn_mask should not be set when is_causal=True")
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        if groups * key.shape[-3] != query.shape[-3]:
            raise RuntimeError(f"{name}: {query.shape[-3]} query heads cannot share {key.shape[-3]} key heads")
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    shapes = [tuple(x.shape) for x in (query, key, value)]
    if min(map(len, shapes)) < 2 or shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
        raise RuntimeError(
            f"{name}: query {shapes[0]}, key {shapes[1]} and value {shapes[2]} do not fit: expected (..., L, E), "
            "(..., S, E), (..., S, Ev)"
        )
    kind = query.dtype
    if not (kind is key.dtype is value.dtype and kind.is_floating_point):
        raise RuntimeError(
            f"{name}: expected query, key and value of one floating dtype, got {kind}, {key.dtype} and {value.dtype}"
        )
    options = {
        "causal": is_causal, "keep": None, "factor": 1 / (1 - dropout_p) if dropout_p < 1 else 1.0,
        "scale": 1 / math.sqrt(shapes[0][-1]) if scale is None else scale,
    }  # fmt: skip
    if attn_mask is not None and attn_mask.dtype is not dtypes.bool_:
        if dtypes.promote_types(attn_mask.dtype, kind) is kind:
            attn_mask = attn_mask.to(kind)
    low = kind.numpy in dtypes.LOW_PRECISION
    fast = _fast_path((query, key, value, attn_mask), options) if low or dropout_p else None
    if low and not (fast is not None and fast.half):  # rounded once, at the end
        query, key, value = query.float(), key.float(), value.float()
    if attn_mask is not None and attn_mask.dtype is not dtypes.bool_:
        if dtypes.promote_types(attn_mask.dtype, query.dtype) is not query.dtype:
            raise RuntimeError(f"{name}: attn_mask has dtype {attn_mask.dtype}, expected bool or the query's, {kind}")
        attn_mask = attn_mask.to(query.dtype)
    if dropout_p:
        from .random import _generator, _kept

        masks = () if attn_mask is None else (tuple(attn_mask.shape),)
        weights = broadcast_shapes((*shapes[0][:-1], 1), (*shapes[1][:-2], 1, shapes[1][-2]), *masks)
        generator, draw = _generator(None, query.device), getattr(fast, "draw", None)
        lazy = draw is not None and hasattr(generator, "reserve")
        options["keep"] = draw(weights, dropout_p, generator) if lazy else _kept(weights, dropout_p, query.device)
    return Attention.apply(query, key, value, attn_mask, **options).to(kind)


def _fast_path(inputs, options):
    """The fast path of Attention that will take these tensors, or None."""
    fast = fastpath.ACTIVE[inputs[0].xp].get(Attention)
    arrays = [None if t is None else t.array for t in inputs]
    if fast is None or len({type(a) for a in arrays if a is not None}) > 1 or not fast.accepts(*arrays, **options):
        return None
    return fast
