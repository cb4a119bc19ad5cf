"""GPT-2: a Transformer decoder that predicts the next token, and writes by doing so again and again. Lesson 12.

    model = GPT2LMHeadModel.from_pretrained(folder or hub id)
    model.generate(prompts, 50, do_sample=True, temperature=0.8, top_k=40)

Names, defaults and results are those of Hugging Face's models of the same names. "Language models are unsupervised
multitask learners", Radford et al., 2019; with more of everything: GPT-3, arXiv:2005.14165.

Shapes: B sequences of T tokens, width C = n_embd, h heads of d = C / h, V words; S = T + those in a cache.
"""

import math
from dataclasses import dataclass

from minitorch.models import generation
from minitorch.models.bert import ACTIVATIONS, IGNORE, check_labels, check_some
from minitorch.models.pretrained import ModelOutput, PreTrained, PreTrainedConfig

import minitorch
from minitorch import Tensor, nn
from minitorch.nn import functional as F


@dataclass
class GPT2Config(PreTrainedConfig):
    """The defaults are the smallest GPT-2: 124 million parameters."""

    model_type = "gpt2"
    only = {"add_cross_attention": False, "is_encoder_decoder": False}
    metadata = frozenset({
        "chunk_size_feed_forward", "is_decoder", "n_ctx", "reorder_and_upcast_attn",
        "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    })  # fmt: skip

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # of the feed-forward network; 4 n_embd
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    use_cache: bool = True
    tie_word_embeddings: bool = True
    bos_token_id: int | None = 50256
    eos_token_id: int | None = 50256
    pad_token_id: int | None = None

    def __post_init__(self):
        if self.n_head < 1 or self.n_embd % self.n_head != 0:
            raise ValueError(
                f"The width n_embd={self.n_embd} is not a multiple of the number of heads n_head={self.n_head}"
            )
        if self.activation_function not in ACTIVATIONS:
            raise ValueError(
                f"activation_function {self.activation_function!r} is unknown; there are {', '.join(ACTIVATIONS)}"
            )

    # The names that most other models have for the same.
    hidden_size = property(lambda self: self.n_embd)
    num_hidden_layers = property(lambda self: self.n_layer)
    num_attention_heads = property(lambda self: self.n_head)
    max_position_embeddings = property(lambda self: self.n_positions)


@dataclass
class GPT2Output(ModelOutput):
    last_hidden_state: Tensor  # (B, T, C)
    past_key_values: tuple | None = None  # for every layer (keys, values), (B, h, S, d) each
    hidden_states: tuple | None = None  # embeddings, every layer's output, the last one normalised, (B, T, C) each
    attentions: tuple | None = None  # every layer's attention, (B, h, T, S) each: [b, head, from, to]


@dataclass
class CausalLMOutput(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, T, V)
    past_key_values: tuple | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None


class Conv1D(nn.Module):
    """x W + b with W: (in, out), the transpose of nn.Linear's: so GPT-2's weights are stored."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx  # out, in
        self.weight = nn.Parameter(minitorch.empty(nx, nf))
        self.bias = nn.Parameter(minitorch.zeros(nf))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x):
        return F.linear(x, self.weight.t(), self.bias)

    def extra_repr(self):
        return f"nf={self.nf}, nx={self.nx}"


class GPT2Attention(nn.Module):
    """softmax(q k^T / sqrt(d)) v in every head, of each token over itself and those before it."""

    def __init__(self, config, layer):
        super().__init__()
        C = config.n_embd
        self.heads, self.d = config.n_head, C // config.n_head
        self.scale = self.d**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1
        self.c_attn = Conv1D(3 * C, C)  # queries, keys, values
        self.c_proj = Conv1D(C, C)
        self.attn_dropout = nn.Dropout(config.attn_pdrop)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x, past=None, mask=None, output_attentions=False):
        B, T, C = x.shape
        q, k, v = (
            part.reshape(B, T, self.heads, self.d).transpose(1, 2)  # (B, h, T, d)
            for part in self.c_attn(x).split(C, dim=2)
        )
        if past is not None:
            k, v = minitorch.cat([past[0], k], dim=2), minitorch.cat([past[1], v], dim=2)  # (B, h, S, d)
        weights = None
        if output_attentions:
            mask = causal_mask(T, k.shape[2], x.device) if mask is None else mask
            scores = (q @ k.transpose(2, 3) * self.scale).masked_fill(~mask, -math.inf)  # (B, h, T, S)
            weights = self.attn_dropout(F.softmax(scores, dim=-1))
            y = weights @ v
        else:
            p = self.attn_dropout.p if self.training else 0.0
            causal = mask is None and T > 1
            y = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal=causal, scale=self.scale)
        y = self.c_proj(y.transpose(1, 2).reshape(B, T, C))
        return self.resid_dropout(y), (k, v), weights

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in ("bias", "masked_bias"):  # as ignored_keys below, for load_state_dict
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)


def causal_mask(T, S, device=None):
    """Whom the last T of S tokens may look at: those up to themselves.       (T, S), True: may"""
    return minitorch.ones((T, S), dtype=minitorch.bool, device=device).tril(S - T)


class GPT2MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config.n_embd
        hidden = 4 * C if config.n_inner is None else config.n_inner
        self.c_fc = Conv1D(hidden, C)
        self.c_proj = Conv1D(C, hidden)
        self.act = ACTIVATIONS[config.activation_function]
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x):
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class GPT2Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config, layer):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def forward(self, x, past=None, mask=None, output_attentions=False):
        y, present, weights = self.attn(self.ln_1(x), past, mask, output_attentions)
        x = x + y
        return x + self.mlp(self.ln_2(x)), present, weights


class GPT2PreTrainedModel(PreTrained):
    """What the models have in common: the configuration and the initialisation."""

    config_class = GPT2Config
    base_model_prefix = "transformer"
    ignored_keys = (r"(^|\.)attn\.(masked_)?bias$",)  # the causal mask, which older files hold

    def init_weights(self, module):
        """Matrices and embeddings from N(0, initializer_range^2), biases zero.

        What is added to the residual stream, twice in each of n layers, is smaller by sqrt(2 n): so the sum's variance
        does not grow with the depth.
        """
        std = self.config.initializer_range
        if isinstance(module, (nn.Linear, nn.Embedding, Conv1D)):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, (GPT2Attention, GPT2MLP)):  # after their parts: `apply` goes from the leaves up
            nn.init.normal_(module.c_proj.weight, std=std / math.sqrt(2 * self.config.n_layer))


class GPT2Model(GPT2PreTrainedModel):
    """Token numbers in, a vector for every token out, which knows the tokens up to this one."""

    def __init__(self, config):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList([GPT2Block(config, layer) for layer in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.apply(self.init_weights)

    def forward(
        self, input_ids=None, past_key_values=None, attention_mask=None, position_ids=None, inputs_embeds=None,
        use_cache=None, output_attentions=False, output_hidden_states=False,
    ):  # fmt: skip
        """input_ids, position_ids: (B, T). attention_mask: (B, S), 0: padding.

        past_key_values: an earlier result's, of S - T tokens; then only the T tokens that follow are given.
        inputs_embeds (B, T, C) may stand for input_ids.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        x = self.wte(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, C)
        if x.ndim != 3:
            raise ValueError(f"GPT-2 reads a batch of sequences, (B, T); got input of shape {tuple(x.shape[:-1])}")
        B, T, _ = x.shape
        if T == 0:
            raise ValueError(f"GPT-2 reads sequences of at least one token; got input of shape {(B, T)}")
        S = T if past_key_values is None else T + past_key_values[0][0].shape[2]
        mask = self._mask(attention_mask, B, T, S, x.device)
        if position_ids is None:
            if S > self.config.n_positions:
                raise ValueError(
                    f"the sequences have {S} tokens, more than n_positions={self.config.n_positions}: "
                    f"cut them or make the model with more positions"
                )
            position_ids = minitorch.arange(S - T, S, device=x.device)[None]  # (1, T)
        x = self.drop(x + self.wpe(position_ids))
        use_cache = self.config.use_cache and not self.training if use_cache is None else use_cache
        presents = () if use_cache else None
        states = () if output_hidden_states else None
        attentions = () if output_attentions else None
        for i, block in enumerate(self.h):
            if output_hidden_states:
                states += (x,)
            past = None if past_key_values is None else past_key_values[i]
            x, present, weights = block(x, past, mask, output_attentions)
            if use_cache:
                presents += (present,)
            if output_attentions:
                attentions += (weights,)
        x = self.ln_f(x)
        return GPT2Output(x, presents, (*states, x) if output_hidden_states else None, attentions)

    def _mask(self, attention_mask, B, T, S, device):
        """(B or 1, 1, T, S), True: may be looked at; None if all is said by being causal, or nothing is to be hidden."""
        if attention_mask is None:
            return None if T in (1, S) else causal_mask(T, S, device)[None, None]
        if tuple(attention_mask.shape) != (B, S):
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, expected {(B, S)}: "
                f"the input's {T} tokens and the {S - T} in past_key_values"
            )
        mask = (attention_mask != 0)[:, None, None, :]  # (B, 1, 1, S)
        return mask if T == 1 else mask & causal_mask(T, S, device)


class GPT2LMHeadModel(GPT2PreTrainedModel):
    """GPT-2 as a language model: a score for every word that could come next."""

    predicts_next = True  # labels are those of the tokens themselves: a loss over all but the first of each row

    def __init__(self, config):
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.init_weights(self.lm_head)
        if config.tie_word_embeddings:  # both names stay in the state_dict
            self.lm_head.weight = self.transformer.wte.weight

    def forward(
        self, input_ids=None, past_key_values=None, attention_mask=None, position_ids=None, inputs_embeds=None,
        labels=None, use_cache=None, output_attentions=False, output_hidden_states=False, logits_to_keep=0,
    ):  # fmt: skip
        """labels: (B, T), usually input_ids themselves: token t is predicted from those before it. -100: left out.

        The loss is the mean over the predicted tokens. logits_to_keep: only the last so many positions' logits.
        """
        out = self.transformer(
            input_ids, past_key_values, attention_mask, position_ids, inputs_embeds, use_cache, output_attentions,
            output_hidden_states,
        )  # fmt: skip
        logits = self.lm_head(out.last_hidden_state[:, -logits_to_keep:])  # (B, T, V)
        loss = None
        if labels is not None:
            B, T, V = logits.shape
            check_labels("labels", labels, (B, T), V, "vocab_size", ignore=True)
            following = minitorch.cat([labels[:, 1:], minitorch.full_like(labels[:, :1], IGNORE)], dim=1)
            check_some(following, " after the first of its row, if there is any,")
            loss = F.cross_entropy(logits.reshape(B * T, V), following.reshape(B * T), ignore_index=IGNORE)
        return CausalLMOutput(loss, logits, out.past_key_values, out.hidden_states, out.attentions)

    @minitorch.no_grad()
    def generate(
        self, input_ids, max_new_tokens, *, do_sample=False, temperature=1.0, top_k=None, top_p=None, num_beams=1,
        length_penalty=1.0, eos_token_id=None, pad_token_id=None, attention_mask=None, generator=None, use_cache=True,
        num_return_sequences=1,
    ):  # fmt: skip
        """The prompts, continued: (B, S) -> (B num_return_sequences, S + at most max_new_tokens).

        By default always the most probable token. do_sample: drawn from the distribution, flattened or sharpened by
        the temperature, cut to the top_k most probable or to the fewest with probability top_p (reproducible by
        manual_seed, or with a generator). num_beams > 1: a search for the most probable continuation as a whole.
        num_return_sequences: so many texts drawn for each prompt, or the best of the search, at most num_beams.
        A row that has reached eos_token_id (one, or a list; [] for none; by default the configuration's) is filled with
        pad_token_id. Prompts of different lengths are padded on the left, with 0 in attention_mask.
        """
        generation.check_options(do_sample, temperature, top_k, top_p, num_beams, num_return_sequences)
        self._check_prompts(input_ids, max_new_tokens, attention_mask)
        if attention_mask is not None and bool((attention_mask != 0).all()):
            attention_mask = None
        how = {
            "max_new_tokens": max_new_tokens,
            "eos": self.config.eos_token_id if eos_token_id is None else eos_token_id,
            "pad": self.config.pad_token_id if pad_token_id is None else pad_token_id,
            "cache": {"past": None, "mask": attention_mask},
        }

        def step(tokens, cache):
            past, mask, positions = cache["past"], cache["mask"], None
            new = tokens if past is None else tokens[:, -1:]
            if mask is not None:
                mask = F.pad(mask, (0, tokens.shape[1] - mask.shape[1]), value=1)
                positions = (mask.cumsum(-1) - 1).clamp(min=0)  # counted from the prompt's first token
                positions = positions[:, -new.shape[1] :]
            out = self(new, past, mask, positions, use_cache=use_cache, logits_to_keep=1)
            return out.logits[:, -1], {"past": out.past_key_values, "mask": mask}

        was_training = self.training
        self.eval()
        try:
            if num_beams > 1:
                return generation.beam_search(
                    step, input_ids, beams=num_beams, length_penalty=length_penalty, best=num_return_sequences, **how
                )[0]
            return generation.sample(
                step, input_ids, do_sample=do_sample, temperature=temperature, top_k=top_k, top_p=top_p,
                generator=generator, draws=num_return_sequences, **how,
            )  # fmt: skip
        finally:
            self.train(was_training)

    def _check_prompts(self, input_ids, max_new_tokens, attention_mask):
        generation.check_search(input_ids, max_new_tokens)
        S, most = input_ids.shape[1], self.config.n_positions
        if S + max_new_tokens > most:
            raise ValueError(
                f"prompts of {S} tokens and max_new_tokens={max_new_tokens} are more than n_positions={most}: "
                f"keep only the prompts' end, or ask for fewer new tokens"
            )
        if attention_mask is not None:
            if tuple(attention_mask.shape) != tuple(input_ids.shape):
                raise ValueError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}, input_ids {tuple(input_ids.shape)}"
                )
            seen = (attention_mask != 0).long()
            if not bool(seen[:, -1].all()) or bool((seen[:, 1:] < seen[:, :-1]).any()):
                raise ValueError(
                    "attention_mask: each row must be zeros and then ones (pad on the left): "
                    "the new text follows the last column"
                )
