"""A Transformer encoder in one file: token numbers in, a vector for every token out. arXiv:1706.03762

Written out with the smallest parts, to be read; `nn.TransformerEncoder` is the same with PyTorch's names and masks.

Shapes: B sequences of T tokens, width C, h heads of d = C / h, V words.
"""

import math
from dataclasses import dataclass

import minitorch
from minitorch import nn
from minitorch.nn import functional as F


@dataclass
class TransformerConfig:
    vocab_size: int = 1000
    max_length: int = 128
    width: int = 64
    heads: int = 4
    layers: int = 2
    hidden: int = 256  # of the feed-forward network
    dropout: float = 0.1
    causal: bool = False  # a token sees only those before it

    def __post_init__(self):
        if self.width % self.heads != 0:
            raise ValueError(f"width ({self.width}) has to be a multiple of heads ({self.heads})")


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v: every token takes a weighted mean of all values, in each head with other weights."""

    def __init__(self, config):
        super().__init__()
        self.heads, self.d, self.causal = config.heads, config.width // config.heads, config.causal
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, padding=None):
        B, T, C = x.shape
        qkv = self.qkv(x).reshape(B, T, 3, self.heads, self.d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, h, T, d) each
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.d)  # (B, h, T, T)
        if self.causal:
            later = minitorch.ones((T, T), dtype=minitorch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None, :], -math.inf)
        weights = self.dropout(F.softmax(scores, dim=-1))
        y = (weights @ v).transpose(1, 2).reshape(B, T, C)
        return self.out(y)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): the norms stay beside the sum, a straight path."""

    def __init__(self, config):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = SelfAttention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.width, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, padding=None):
        x = x + self.dropout(self.attention(self.norm1(x), padding))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class Transformer(nn.Module):
    """Embeddings of tokens and positions, `layers` blocks, and a last norm."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.max_length, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids, padding=None):
        """ids: (B, T) -> (B, T, C). padding: (B, T), True where a token is padding and nobody may look at it."""
        T = ids.shape[1]
        if T > self.config.max_length:
            raise ValueError(f"the sequences have {T} tokens, more than max_length={self.config.max_length}")
        x = self.tokens(ids) + self.positions(minitorch.arange(T, device=ids.device))  # (B, T, C)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, padding)
        return self.norm(x)
