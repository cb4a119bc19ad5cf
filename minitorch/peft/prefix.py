"""Prefix tuning: learnt keys and values in front of those of the text, in every layer. arXiv:2101.00190

The model is not changed at all; each attention sees p more positions, whose keys and values are parameters:

    attention(Q, [P_k; K], [P_v; V])              Q, K, V: (B, h, T, d)   P_k, P_v: (h, p, d), the same for every text

All layers' prefixes are one table E: (p, 2 L C), or, reparametrised by a network that is thrown away after training
(the table alone is said to learn unsteadily):

    E = tanh(Z W1^T + b1) W2^T + b2               Z: (p, C)   W1: (m, C)   W2: (2 L C, m)

The gradients: with a: (h, T, p) the attention that the text pays to the prefix, a part of a softmax over p + T positions,

    dP_v = sum over texts of a^T dy                          (h, p, d)
    dP_k = sum over texts of (dscores over the prefix)^T Q / sqrt(d)

and dE collects them; an embedding's rows, or tanh's network, pass them on as always.

As in Hugging Face's peft (the files are the same) the text's positions are counted behind the prefix.
"""

import inspect
from dataclasses import dataclass

import minitorch
from minitorch import nn

from .base import PeftConfig, Tuner, TunerLayer, check_choice, check_count


@dataclass(kw_only=True)
class PrefixTuningConfig(PeftConfig):
    """Settings of prefix tuning; names are those of Hugging Face's peft.

    num_virtual_tokens: p. prefix_projection: reparametrise, with m = encoder_hidden_size (by default the model's width).
    init_weights: "zero", or None for random. token_dim, num_layers, num_attention_heads: found out from the model.
    """

    peft_type = "PREFIX_TUNING"

    num_virtual_tokens: int = 20
    prefix_projection: bool = False
    encoder_hidden_size: int | None = None
    init_weights: str | None = None
    token_dim: int | None = None
    num_layers: int | None = None
    num_attention_heads: int | None = None
    num_transformer_submodules: int | None = 1

    def __post_init__(self):
        super().__post_init__()
        check_count("num_virtual_tokens", self.num_virtual_tokens)
        check_choice("init_weights", self.init_weights, (None, "zero"))
        check_choice("num_transformer_submodules", self.num_transformer_submodules, (None, 1))
        for name in ("encoder_hidden_size", "token_dim", "num_layers", "num_attention_heads"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))


class PrefixEncoder(nn.Module):
    """The table E, or what makes it."""

    def __init__(self, config):
        super().__init__()
        p, C, out = config.num_virtual_tokens, config.token_dim, 2 * config.num_layers * config.token_dim
        self.tokens = p
        if config.prefix_projection and not config.inference_mode:
            self.embedding = nn.Embedding(p, C)
            m = config.encoder_hidden_size
            self.transform = nn.Sequential(nn.Linear(C, m), nn.Tanh(), nn.Linear(m, out))
            last = self.transform[-1].parameters()
        else:
            self.embedding, self.transform = nn.Embedding(p, out), nn.Identity()
            last = [self.embedding.weight]
        if config.init_weights == "zero":
            for parameter in last:
                nn.init.zeros_(parameter)

    def forward(self):
        return self.transform(self.embedding.weight)  # (p, 2 L C)


class PrefixLinear(TunerLayer):
    """The keys or values of BERT's attention, with the prefix before them: (B, T, C) -> (B, p + T, C)."""

    prefix = None  # (p, C), while the model runs

    def forward(self, x):
        y = self.base_layer(x)
        if self.prefix is None:
            return y
        return minitorch.cat([self.prefix.expand(len(y), *self.prefix.shape), y], dim=1)


class PrefixModel(Tuner):
    config_class = PrefixTuningConfig
    in_file = "base_model."
    not_mergeable = "its keys and values depend on no weight that they could be added to"

    def inject(self):
        config, sizes = self.settings, getattr(self.model, "config", None)
        self.backbone = [getattr(self.model, getattr(self.model, "base_model_prefix", ""), self.model)]  # not a member
        body = self.backbone[0]
        names = list(inspect.signature(body.forward).parameters)
        attentions = [module for module in body.modules() if {"query", "key", "value"} <= set(module._modules)]
        self.as_past = "past_key_values" in names and not attentions
        if sizes is None or not (attentions or self.as_past):
            raise ValueError(
                f"{type(self.model).__name__}: prefix tuning needs attention layers with query, key and value as BERT's, "
                "or a forward() that takes past_key_values as GPT-2's"
            )
        own = (sizes.hidden_size, sizes.num_hidden_layers, sizes.num_attention_heads)
        for name, size in zip(("token_dim", "num_layers", "num_attention_heads"), own):
            if getattr(config, name) not in (None, size):
                raise ValueError(f"{name}={getattr(config, name)}, but {type(self.model).__name__} has {size}")
            setattr(config, name, size)
        config.encoder_hidden_size = config.encoder_hidden_size or config.token_dim
        if config.num_virtual_tokens >= sizes.max_position_embeddings:
            raise ValueError(
                f"num_virtual_tokens={config.num_virtual_tokens} leaves no room for a text: "
                f"{type(self.model).__name__} has {sizes.max_position_embeddings} positions"
            )
        self.prompt_encoder = PrefixEncoder(config).to(next(self.model.parameters()))
        self.disabled = False
        self.places = []  # the PrefixLinear of each layer's keys and values, in the file's order
        if not self.as_past:
            for attention in attentions:
                attention.key, attention.value = PrefixLinear(attention.key), PrefixLinear(attention.value)
                self.places += [attention.key, attention.value]
        self.handles = [body.register_forward_pre_hook(self.prepend, with_kwargs=True)]
        self.handles += [body.register_forward_hook(self.clear, always_call=True)]
        for attention in () if self.as_past else attentions:
            self.handles.append(attention.register_forward_pre_hook(self.show_prefix, with_kwargs=True))

    def prepend(self, body, args, kwargs):
        """Before the model's body runs: the prefix into every layer, and the text's positions behind it."""
        if self.disabled:
            return None
        given = inspect.signature(body.forward).bind(*args, **kwargs).arguments
        given.update(given.pop("kwargs", {}))
        p, text = self.prompt_encoder.tokens, given.get("input_ids")
        text = given["inputs_embeds"] if text is None else text
        B, T = text.shape[:2]
        most = self.model.config.max_position_embeddings
        if T + p > most:
            raise ValueError(
                f"texts of {T} tokens and a prefix of {p} are more than the model's {most} positions: "
                f"truncate the texts to {most - p}"
            )
        if given.get("position_ids") is not None:
            given["position_ids"] = given["position_ids"] + p
        elif not self.as_past:
            given["position_ids"] = minitorch.arange(p, p + T, device=text.device)[None]
        prefix = self.prompt_encoder()  # (p, 2 L C)
        if not self.as_past:
            for place, part in zip(self.places, prefix.chunk(2 * self.settings.num_layers, dim=1)):
                place.prefix = part
            return (), given
        mask = given.get("attention_mask")
        if mask is not None:
            given["attention_mask"] = minitorch.cat([mask.new_ones((B, p)), mask], dim=1)
        if given.get("past_key_values") is None:  # later ones hold the prefix already
            L, h = self.settings.num_layers, self.settings.num_attention_heads
            parts = prefix.reshape(p, 2 * L, h, -1).permute(1, 2, 0, 3)  # (2 L, h, p, d)
            parts = [part.expand(B, *part.shape) for part in parts]  # (B, h, p, d) each
            given["past_key_values"] = tuple(zip(parts[::2], parts[1::2]))
        return (), given

    def show_prefix(self, attention, args, kwargs):
        """Before BERT's attention runs: its mask, (B, 1, 1 or T, T), lets every token see the prefix."""
        given = inspect.signature(attention.forward).bind(*args, **kwargs).arguments
        mask = given.get("mask")
        if self.disabled or mask is None:
            return None
        given["mask"] = minitorch.cat([mask.new_ones((*mask.shape[:-1], self.prompt_encoder.tokens)), mask], dim=-1)
        return (), given

    def clear(self, *_):
        for place in self.places:
            place.prefix = None

    def trains(self, name):
        return name.startswith("prompt_encoder.")

    def unload(self):
        for handle in self.handles:
            handle.remove()
        return super().unload()

    def adapter_names(self):
        names = {key: name for key, name in super().adapter_names().items() if not self.trains(name)}
        if not self.settings.prefix_projection or self.settings.inference_mode:
            names["prompt_embeddings"] = "prompt_encoder.embedding.weight"
        return names

    def adapter_state(self):
        return {**super().adapter_state(), "prompt_embeddings": self.prompt_encoder().detach()}

    def load_adapter(self, tensors, source):
        if self.settings.prefix_projection and not self.settings.inference_mode:
            raise ValueError(
                f"{source} holds the prefix, not the network that made it (prefix_projection=True), so its training "
                "cannot go on: load it with is_trainable=False"
            )
        super().load_adapter(tensors, source)
