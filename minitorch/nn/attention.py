"""Multi-head attention."""

import contextlib
import enum
import math

import minitorch

from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter


class MultiheadAttention(Module):
    """For each head, softmax(q k^T / sqrt(d) + mask) v; the heads side by side, projected. arXiv:1706.03762

    query: (L, B, E)   key: (S, B, kdim)   value: (S, B, vdim)   output: (L, B, E)   d = E / num_heads
    `batch_first`: (B, L, E) and so on; without a batch: (L, E) and so on.
    weights: (B, L, S), averaged over the heads, or (B, num_heads, L, S); None with `need_weights=False`, which is
    faster.

    The projections of query, key and value are the three parts of `in_proj_weight` (3E, E), or, when kdim or vdim
    differ from E, `q_proj_weight`, `k_proj_weight`, `v_proj_weight`. `add_bias_kv`: a learnt extra key and value;
    `add_zero_attn`: one of zeros.
    """

    def __init__(
        self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None,
        vdim=None, batch_first=False, device=None, dtype=None,
    ):  # fmt: skip
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, "
                f"got embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        if embed_dim % num_heads != 0:
            raise AssertionError(
                f"embed_dim must be divisible by num_heads, got embed_dim={embed_dim} and num_heads={num_heads}"
            )
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self._qkv_same_embed_dim = self.kdim == embed_dim == self.vdim

        def parameter(present, *shape):
            return Parameter(minitorch.empty(shape, device=device, dtype=dtype)) if present else None

        same = self._qkv_same_embed_dim
        self.register_parameter("q_proj_weight", parameter(not same, embed_dim, embed_dim))
        self.register_parameter("k_proj_weight", parameter(not same, embed_dim, self.kdim))
        self.register_parameter("v_proj_weight", parameter(not same, embed_dim, self.vdim))
        self.register_parameter("in_proj_weight", parameter(same, 3 * embed_dim, embed_dim))
        self.register_parameter("in_proj_bias", parameter(bias, 3 * embed_dim))
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self.register_parameter("bias_k", parameter(add_bias_kv, 1, 1, embed_dim))
        self.register_parameter("bias_v", parameter(add_bias_kv, 1, 1, embed_dim))
        self._reset_parameters()

    def _reset_parameters(self):
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True,
        is_causal=False,
    ):  # fmt: skip
        """Returns (output, weights).

        key_padding_mask: (B, S), attn_mask: (L, S) or (B * num_heads, L, S).
        In both True forbids; numbers are added to the scores.
        `is_causal` says that attn_mask is the causal mask, so that it need not be read.
        """
        batched = self._check(query, key, value, key_padding_mask)
        if is_causal and attn_mask is None:
            raise RuntimeError(
                "Need attn_mask if specifying the is_causal hint: the causal mask is ones(L, L, dtype=bool).triu(1)"
            )
        batch_first = self.batch_first and batched
        if not batched:  # as a batch of one
            query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)

        q, k, v = (self._heads(x, batch_first) for x in self._project(query, key, value))  # (B, h, L or S, d)
        batch, _, length, _ = q.shape
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = None
        if not causal:
            mask = self._mask(attn_mask, key_padding_mask, q.dtype, batch, length, k.shape[2])
        if self.bias_k is not None:
            k, v = (
                minitorch.cat([x, extra.reshape(1, self.num_heads, 1, -1).expand(batch, -1, -1, -1)], 2)
                for x, extra in ((k, self.bias_k), (v, self.bias_v))
            )
        if self.add_zero_attn:
            k, v = (minitorch.cat([x, x.new_zeros((batch, self.num_heads, 1, self.head_dim))], 2) for x in (k, v))

        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * math.sqrt(1.0 / self.head_dim)) @ k.transpose(-2, -1)  # (B, h, L, S)
            weights = F.softmax(scores if mask is None else scores + mask, dim=-1)
            weights = F.dropout(weights, p) if p > 0 else weights
            context = weights @ v  # (B, h, L, d)
        else:
            context = F.scaled_dot_product_attention(q, k, v, mask, p, causal)
        # (L, B, E) in memory, also for batch_first: PyTorch's layout, and so the order in which a dropout draws.
        context = context.permute(2, 0, 1, 3).reshape(length, batch, self.embed_dim)
        output = self.out_proj(context)

        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output.squeeze(1), None if weights is None else weights.squeeze(0)
        return output.transpose(0, 1) if batch_first else output, weights

    def _project(self, query, key, value):
        """query W_q^T + b_q, key W_k^T + b_k, value W_v^T + b_v: one product where the inputs are the same tensor."""
        W, b, E = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if W is None:
            biases = (None,) * 3 if b is None else b.chunk(3)
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
            return [F.linear(x, w, bias) for x, w, bias in zip((query, key, value), weights, biases)]
        if query is key and key is value:
            return F.linear(query, W, b).chunk(3, -1)
        b = [None] * 3 if b is None else [b[:E], b[E : 2 * E], b[2 * E :]]
        return [F.linear(x, W[i * E : (i + 1) * E], b[i]) for i, x in enumerate((query, key, value))]

    def _heads(self, x, batch_first):
        """(L, B, E) or, batch first, (B, L, E) -> (B, h, L, d)."""
        x = x.reshape(x.shape[0], x.shape[1], self.num_heads, self.head_dim)
        return x.permute(0, 2, 1, 3) if batch_first else x.permute(1, 2, 0, 3)

    def _mask(self, attn_mask, key_padding_mask, dtype, batch, length, keys):
        """The sum of both masks as numbers, broadcastable to (B, h, L, S); extra keys at the end are always allowed."""
        extra = (self.bias_k is not None) + self.add_zero_attn
        total = None
        for name, mask in (("attn_mask", attn_mask), ("key_padding_mask", key_padding_mask)):
            if mask is None:
                continue
            if mask.dtype == minitorch.bool:
                mask = minitorch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
            elif not mask.is_floating_point():
                raise AssertionError(f"only bool and floating types of {name} are supported, got {mask.dtype}")
            elif mask.dtype not in (dtype, minitorch.float32):
                raise RuntimeError(
                    f"{name} has dtype {mask.dtype}, the query {dtype}: expected bool or the query's dtype"
                )
            mask = mask.to(dtype)
            if name == "key_padding_mask":
                mask = mask.reshape(batch, 1, 1, keys)
            else:
                if mask.dim() not in (2, 3):
                    raise RuntimeError(f"attn_mask's dimension {mask.dim()} is not supported: expected 2 or 3")
                expected = (length, keys) if mask.dim() == 2 else (batch * self.num_heads, length, keys)
                if tuple(mask.shape) != expected:
                    raise RuntimeError(
                        f"The shape of the {mask.dim()}D attn_mask is {tuple(mask.shape)}, but should be {expected}."
                    )
                mask = mask.reshape(-1, 1 if mask.dim() == 2 else self.num_heads, length, keys)
            if extra:
                mask = minitorch.cat([mask, mask.new_zeros((*mask.shape[:-1], extra))], -1)
            total = mask if total is None else total + mask
        return total

    def _check(self, query, key, value, key_padding_mask):
        """Whether there is a batch dimension; refuses shapes that do not go together."""
        dims = query.dim()
        if dims not in (2, 3):
            raise AssertionError(
                f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query tensor"
            )
        if key.dim() != dims or value.dim() != dims:
            raise AssertionError(
                f"For {'batched (3-D)' if dims == 3 else 'unbatched (2-D)'} `query`, expected `key` and `value` to be "
                f"{dims}-D but found {key.dim()}-D and {value.dim()}-D tensors respectively"
            )
        for name, x, width in (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim)):
            if x.shape[-1] != width:
                raise AssertionError(f"was expecting embedding dimension of {width} for {name}, but got {x.shape[-1]}")
        if key.shape[:-1] != value.shape[:-1]:
            raise AssertionError(
                f"key's sequence and batch dims {tuple(key.shape[:-1])} do not match value's {tuple(value.shape[:-1])}"
            )
        batch_axis = 0 if self.batch_first else 1
        if dims == 3 and query.shape[batch_axis] != key.shape[batch_axis]:
            raise AssertionError(
                f"query has batch size {query.shape[batch_axis]}, key and value have {key.shape[batch_axis]} "
                f"(batch_first={self.batch_first}: the batch is dimension {batch_axis})"
            )
        if key_padding_mask is not None:
            keys = (key.shape[batch_axis], key.shape[1 - batch_axis]) if dims == 3 else (key.shape[0],)
            if tuple(key_padding_mask.shape) != keys:
                raise AssertionError(
                    f"Expected `key_padding_mask` to have shape {keys} but got {tuple(key_padding_mask.shape)}"
                )
        return dims == 3


class SDPBackend(enum.IntEnum):
    """PyTorch's implementations of `scaled_dot_product_attention`; minitorch has one."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(backends, set_priority=False):
    """A choice between implementations: accepted, and without effect, as there is one."""
    for backend in backends if isinstance(backends, (list, tuple)) else (backends,):
        if not isinstance(backend, SDPBackend):
            raise TypeError(f"sdpa_kernel: expected SDPBackend or a list of them, got {backend!r}")
    yield
