"""The Transformer: encoder, decoder, and both together. arXiv:1706.03762; lesson 11."""

import copy
import math

import minitorch

from ..ops.activation import linear_gelu
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .hooks import has_no_extras
from .linear import Linear
from .module import Module
from .normalization import LayerNorm, add_and_norm


class _Layer(Module):
    """What encoder and decoder layers share: self-attention and two linear layers, with as many norms as blocks."""

    blocks = 2

    def __init__(
        self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5,
        batch_first=False, norm_first=False, bias=True, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        if isinstance(activation, str):
            if activation not in ("relu", "gelu"):
                raise RuntimeError(f"activation should be relu/gelu, not {activation}")
            activation = getattr(F, activation)
        if not callable(activation):
            raise TypeError(f"activation should be 'relu', 'gelu' or a function, got {type(activation).__name__}")
        options = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, **options)
        if self.blocks == 3:
            self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **options)
        self.linear1 = Linear(d_model, dim_feedforward, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **options)
        self.norm_first = norm_first
        for i in range(1, self.blocks + 1):
            self.add_module(f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, **options))
        for i in range(1, self.blocks + 1):
            self.add_module(f"dropout{i}", Dropout(dropout))
        self.activation = activation

    def _residual(self, x, norm, dropout, block):
        """x + dropout(block(norm(x))), or norm(x + dropout(block(x)))."""
        return x + dropout(block(norm(x))) if self.norm_first else add_and_norm(norm, dropout, x, block(x))

    def _attend(self, x, mask, key_padding_mask, is_causal):
        x, _ = self.self_attn(
            x, x, x, attn_mask=mask, key_padding_mask=key_padding_mask, need_weights=False, is_causal=is_causal
        )
        return x

    def _feed_forward(self, x):
        if self.activation is F.gelu and has_no_extras(self.linear1, Linear):
            x = linear_gelu(x, self.linear1.weight, self.linear1.bias)
        else:
            x = self.activation(self.linear1(x))
        return self.linear2(self.dropout(x))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers on each position; around each a residual connection and LayerNorm.

    src, output: (L, B, d_model), or (B, L, d_model) with `batch_first`, or (L, d_model) without a batch.

        after the residual (norm_first=False):  x = norm1(x + attention(x));   y = norm2(x + feed_forward(x))
        before the block   (norm_first=True):   x = x + attention(norm1(x));   y = x + feed_forward(norm2(x))

    `activation`: "relu", "gelu" or a function.
    """

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """The masks are MultiheadAttention's: src_mask (L, L), src_key_padding_mask (B, L), True forbids."""
        attend = lambda x: self._attend(x, src_mask, src_key_padding_mask, is_causal)  # noqa: E731
        x = self._residual(src, self.norm1, self.dropout1, attend)
        return self._residual(x, self.norm2, self.dropout2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's output, two linear layers; around each a residual and LayerNorm.

    tgt, output: (T, B, d_model)   memory: (S, B, d_model); the batch first with `batch_first`, or no batch.

        x = norm1(x + attention(x))            or with norm_first  x = x + attention(norm1(x))
        x = norm2(x + attention(x, memory))                        x = x + attention(norm2(x), memory)
        y = norm3(x + feed_forward(x))                             y = x + feed_forward(norm3(x))

    `activation`: "relu", "gelu" or a function.
    """

    blocks = 3

    def forward(
        self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
        tgt_is_causal=False, memory_is_causal=False,
    ):  # fmt: skip
        """The masks are MultiheadAttention's, True forbids: tgt_mask (T, T), memory_mask (T, S), and for each batch
        tgt_key_padding_mask (B, T), memory_key_padding_mask (B, S). `*_is_causal` says that the mask is the causal one.
        """
        attend = lambda x: self._attend(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)  # noqa: E731
        masks = memory_mask, memory_key_padding_mask, memory_is_causal
        x = self._residual(tgt, self.norm1, self.dropout1, attend)
        x = self._residual(x, self.norm2, self.dropout2, lambda x: self._attend_to(memory, x, *masks))
        return self._residual(x, self.norm3, self.dropout3, self._feed_forward)

    def _attend_to(self, memory, x, mask, key_padding_mask, is_causal):
        x, _ = self.multihead_attn(
            x, memory, memory, attn_mask=mask, key_padding_mask=key_padding_mask, is_causal=is_causal,
            need_weights=False,
        )  # fmt: skip
        return x


def _copies(layer, count):
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoder(Module):
    """`num_layers` deep copies of a layer (they start with equal weights), one after the other, and then `norm`.

    `enable_nested_tensor` and `mask_check` steer a fast path of PyTorch's and have no effect here.
    """

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """`num_layers` deep copies of a layer (they start with equal weights), one after the other, and then `norm`."""

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
        tgt_is_causal=None, memory_is_causal=False,
    ):  # fmt: skip
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder: src (S, B, d_model) and tgt (T, B, d_model) give (T, B, d_model).

    The batch comes first with `batch_first`, or there is none. Embeddings, positions and the last linear layer are
    the caller's. `custom_encoder` and `custom_decoder` replace the stacks; every matrix starts as Xavier's uniform.
    """

    def __init__(
        self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.1,
        activation=F.relu, custom_encoder=None, custom_decoder=None, layer_norm_eps=1e-5, batch_first=False,
        norm_first=False, bias=True, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        options = {"device": device, "dtype": dtype}
        layer = d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias

        def norm():
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **options)

        if custom_encoder is None:
            custom_encoder = TransformerEncoder(TransformerEncoderLayer(*layer, **options), num_encoder_layers, norm())
        self.encoder = custom_encoder
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(TransformerDecoderLayer(*layer, **options), num_decoder_layers, norm())
        self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self):
        for parameter in self.parameters():
            if parameter.dim() > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
        tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None,
        memory_is_causal=False,
    ):  # fmt: skip
        """The masks are MultiheadAttention's, True forbids: src_mask (S, S), tgt_mask (T, T), memory_mask (T, S), and
        the key padding masks (B, S), (B, T), (B, S)."""
        batch = 0 if self.batch_first else 1
        if src.dim() == 3 and src.size(batch) != tgt.size(batch):
            raise RuntimeError(
                f"the batch number of src and tgt must be equal, got {src.size(batch)} and {tgt.size(batch)}"
            )
        if src.size(-1) != self.d_model or tgt.size(-1) != self.d_model:
            raise RuntimeError(
                "the feature number of src and tgt must be equal to d_model, "
                f"got {src.size(-1)} and {tgt.size(-1)} for d_model={self.d_model}"
            )
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz, device=None, dtype=None):
        """The causal mask (sz, sz): 0 up to the diagonal, -inf above it, where the future is."""
        return minitorch.full((sz, sz), -math.inf, device=device, dtype=dtype).triu(1)
