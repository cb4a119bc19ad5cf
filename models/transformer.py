"""The Transformer in one file. arXiv:1706.03762

    Transformer       token numbers in, a vector for every token out: an encoder, or with causal=True a decoder alone
    EncoderDecoder    a sequence in, another one out: translation. The decoder reads what the encoder made of the source

Written out with small parts, to be read; `nn.Transformer` is the same with PyTorch's names and masks. Two things differ
from the paper: the norm stands before each part, not after the sum (lesson 11), so that training needs less care; and
positions are learned.

Shapes: B sequences of T tokens, S of the source; width C, h heads of d = C / h, V words.
"""

import dataclasses
import math
from dataclasses import dataclass

from minitorch.models import generation
from minitorch.models.bert import IGNORE, check_labels, check_some
from minitorch.models.pretrained import ModelOutput, PreTrained, PreTrainedConfig

import minitorch
from minitorch import nn
from minitorch.nn import functional as F


@dataclass
class TransformerConfig(PreTrainedConfig):
    model_type = "transformer"

    vocab_size: int = 1000
    max_length: int = 128
    width: int = 64
    heads: int = 4
    layers: int = 2  # of an EncoderDecoder: so many in each half
    hidden: int = 256  # of the feed-forward network
    dropout: float = 0.1
    causal: bool = False  # a token sees only those before it
    # of an EncoderDecoder
    tied: bool = True  # one matrix for the words of both sides and for the scores (arXiv:1608.05859)
    label_smoothing: float = 0.0  # the share of the target that is spread over all words
    pad: int = 0  # the token that fills up a shorter sequence
    bos: int = 1  # what the target begins with,
    eos: int = 2  # and what it ends with

    def __post_init__(self):
        if self.width % self.heads != 0:
            raise ValueError(f"width ({self.width}) has to be a multiple of heads ({self.heads})")


def split_heads(x, parts, heads):
    """What a linear layer made of x for all heads, cut up: (B, T, parts C) -> (B, h, T, d), `parts` times."""
    B, T, width = x.shape
    return x.reshape(B, T, parts, heads, width // (parts * heads)).permute(2, 0, 3, 1, 4).unbind(0)


def attend(q, k, v, mask=None, causal=False, dropout=0.0):
    """softmax(q k^T / sqrt(d)) v: every query takes a weighted mean of all values, in each head with other weights.

    q: (B, h, T, d), k and v: (B, h, S, d) -> (B, T, C). mask: (B, 1, 1, S), True where a key may be seen.
    """
    B, h, T, d = q.shape
    if mask is not None and causal:
        mask, causal = mask & minitorch.ones((T, T), dtype=minitorch.bool, device=q.device).tril(), False
    y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)  # (B, h, T, d)
    return y.transpose(1, 2).reshape(B, T, h * d)


class SelfAttention(nn.Module):
    """Queries, keys and values of the same tokens."""

    def __init__(self, config):
        super().__init__()
        self.heads, self.causal, self.dropout = config.heads, config.causal, config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x, mask=None, cache=None):
        """cache: a dictionary that keeps the keys and values of the tokens so far; x is then what follows them."""
        q, k, v = split_heads(self.qkv(x), 3, self.heads)  # (B, h, T, d) each
        causal = self.causal and x.shape[1] > 1  # the last token alone may see all
        if cache is not None:
            if "keys" in cache:
                k, v = minitorch.cat([cache["keys"], k], dim=2), minitorch.cat([cache["values"], v], dim=2)
            cache["keys"], cache["values"] = k, v
        return self.out(attend(q, k, v, mask, causal, self.dropout if self.training else 0.0))


class CrossAttention(nn.Module):
    """Queries of the target, keys and values of the source."""

    def __init__(self, config):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query = nn.Linear(config.width, config.width)
        self.keys_values = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x, memory, mask=None, cache=None):
        """cache: a dictionary that keeps the source's keys and values, the same for every token."""
        (q,) = split_heads(self.query(x), 1, self.heads)  # (B, h, T, d)
        if cache is None:
            cache = {}
        if "source" not in cache:
            cache["source"] = split_heads(self.keys_values(memory), 2, self.heads)  # (B, h, S, d) each
        return self.out(attend(q, *cache["source"], mask, dropout=self.dropout if self.training else 0.0))


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
        mask = None if padding is None else ~padding[:, None, None, :]  # (B, 1, 1, T)
        x = x + self.dropout(self.attention(self.norm1(x), mask))  # (B, T, C)
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class DecoderBlock(Block):
    """A block that looks at the source between its two parts."""

    def __init__(self, config):
        super().__init__(config)
        self.norm_cross = nn.LayerNorm(config.width)
        self.cross_attention = CrossAttention(config)

    def forward(self, x, memory, mask=None, cache=None):
        x = x + self.dropout(self.attention(self.norm1(x), cache=cache))  # (B, T, C)
        x = x + self.dropout(self.cross_attention(self.norm_cross(x), memory, mask, cache))
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class Transformer(nn.Module):
    """Embeddings of tokens and positions, `layers` blocks, and a last norm."""

    block = Block

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.max_length, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([self.block(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.tokens.weight, std=config.width**-0.5)  # small, as the scores' matrix has to be

    def embed(self, ids, start=0):
        """ids: (B, T), the tokens from position `start` on -> (B, T, C)"""
        end = start + ids.shape[1]
        if end > self.config.max_length:
            raise ValueError(f"the sequences have {end} tokens, more than max_length={self.config.max_length}")
        positions = minitorch.arange(start, end, device=ids.device)
        return self.dropout(self.tokens(ids) * math.sqrt(self.config.width) + self.positions(positions))

    def forward(self, ids, padding=None):
        """ids: (B, T) -> (B, T, C). padding: (B, T), True where a token is padding and nobody may look at it."""
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, padding)
        return self.norm(x)


class Decoder(Transformer):
    """A Transformer whose blocks also look at the source."""

    block = DecoderBlock

    def forward(self, ids, memory, mask=None, cache=None):
        """ids: (B, T), memory: (B, S, C), what the encoder made of the source -> (B, T, C)

        mask: (B, 1, 1, S), True where the source has a token. cache: a dictionary for each block, empty at first; then
        the vectors are only those of the tokens that are new since the last call.
        """
        past = cache[0]["keys"].shape[2] if cache and cache[0] else 0
        x = self.embed(ids[:, past:], past)
        for i, block in enumerate(self.blocks):
            x = block(x, memory, mask, cache[i] if cache else None)
        return self.norm(x)


@dataclass
class TransformerOutput(ModelOutput):
    loss: minitorch.Tensor | None = None
    logits: minitorch.Tensor | None = None  # (B, T, V): at each position the scores of the next token


class EncoderDecoder(PreTrained):
    """One Transformer reads the source, another one writes the target, token after token.

    Padding is the token `pad` on the right; a source needs no bos, and may end with eos.
    """

    config_class = TransformerConfig

    def __init__(self, config):
        super().__init__(config)
        self.encoder = Transformer(dataclasses.replace(config, causal=False))
        self.decoder = Decoder(dataclasses.replace(config, causal=True))
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tied:
            self.decoder.tokens.weight = self.head.weight = self.encoder.tokens.weight

    def encode(self, source):
        """source: (B, S) -> memory (B, S, C), mask (B, 1, 1, S)"""
        if source.ndim != 2:
            raise ValueError(f"source: B sequences of S token numbers, (B, S), are expected; got {tuple(source.shape)}")
        padding = source == self.config.pad
        return self.encoder(source, padding), ~padding[:, None, None, :]

    def forward(self, source, labels=None, target=None):
        """source: (B, S), labels: (B, T), tokens up to eos, then -100 -> logits (B, T, V), and the loss.

        target: what the decoder reads. By default the labels, moved by one: bos first, and each token predicts the next.
        """
        if labels is None and target is None:
            raise ValueError("EncoderDecoder needs labels or a target; to write one, call generate(source)")
        memory, mask = self.encode(source)
        if labels is not None:
            T = (labels if target is None else target).shape[-1]
            check_labels("labels", labels, (len(source), T), self.config.vocab_size, "vocab_size", ignore=True)
            check_some(labels)
        if target is None:
            bos = minitorch.full_like(labels[:, :1], self.config.bos)
            target = minitorch.cat([bos, labels[:, :-1]], dim=1)
            target = target.masked_fill(target == IGNORE, self.config.pad)
        logits = self.head(self.decoder(target, memory, mask))  # (B, T, V)
        if labels is None:
            return TransformerOutput(logits=logits)
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, label_smoothing=smoothing)
        return TransformerOutput(loss, logits)

    @minitorch.no_grad()
    def generate(self, source, *, max_new_tokens=None, num_beams=1, length_penalty=1.0, use_cache=True):
        """The target that the model finds most probable, without dropout: (B, S) -> (B, T), up to eos, then pad.

        num_beams=1: always the most probable next token (greedy). More: a search for the most probable target as a
        whole, by log p / T ** length_penalty. use_cache=False computes everything anew for each token: the same result.
        """
        config = self.config
        if max_new_tokens is None:
            max_new_tokens = config.max_length
        if max_new_tokens > config.max_length:
            raise ValueError(f"max_new_tokens={max_new_tokens} is more than max_length={config.max_length}")
        if num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {num_beams}")

        def step(tokens, cache):
            y = self.decoder(tokens, cache["memory"], cache["mask"], cache["blocks"])[:, -1]  # (N, C)
            return self.head(y), {**cache, "memory": None} if use_cache else cache

        was_training = self.training
        self.eval()
        try:
            memory, mask = self.encode(source)
            start = minitorch.full((len(source), 1), config.bos, dtype=minitorch.int64, device=source.device)
            blocks = [{} for _ in self.decoder.blocks] if use_cache else None
            how = {"max_new_tokens": max_new_tokens, "eos": config.eos, "pad": config.pad}
            how["cache"] = {"memory": memory, "mask": mask, "blocks": blocks}
            if num_beams == 1:
                tokens = generation.sample(step, start, do_sample=False, **how)
            else:
                tokens, _ = generation.beam_search(step, start, beams=num_beams, length_penalty=length_penalty, **how)
            return tokens[:, 1:]
        finally:
            self.train(was_training)
