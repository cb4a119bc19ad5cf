"""LoRA: low-rank adaptation. arXiv:2106.09685, lesson 14 (there with W, A and B transposed).

The pretrained W stays as it is; what training would add to it is assumed to have a low rank r:

    y = x W^T + b + s (D(x) A^T) B^T          x: (..., in)   W: (out, in)   A: (r, in)   B: (out, r)   y: (..., out)

    s = alpha / r, or alpha / sqrt(r) with rslora (arXiv:2312.03732); D is dropout, in training.
    A begins random and B zero, so at first y is the pretrained layer's.

The gradients, with u = D(x) A^T, (..., r), and all leading axes as rows, n of them:

    dB = s dy^T u          (out, r)           because y = ... + s u B^T is a linear layer with input s u
    du = s dy B            (n, r)
    dA = du^T D(x)         (r, in)            because u = D(x) A^T is one with input D(x)
    dx = dy W + D(du A)    (n, in)            the same mask in D; dW is not needed, so x is not kept for it

At first dA = 0, since B = 0: B moves first. Afterwards s B A can be added to W, and the model is as fast as before:

    merge:     W <- W + s B A
"""

import math
import re
from dataclasses import dataclass, field

import minitorch
from minitorch import nn
from minitorch.nn import functional as F

from .base import (
    DeltaLayer,
    PeftConfig,
    Tuner,
    check_choice,
    check_count,
    check_number,
    features,
    find_modules,
    is_conv1d,
    is_linear,
)

TARGETS = {"bert": ["query", "value"], "gpt2": ["c_attn"]}


@dataclass(kw_only=True)
class LoraConfig(PeftConfig):
    """Settings of LoRA; names and defaults are those of Hugging Face's peft.

    r: the rank. lora_alpha: the addition is scaled by lora_alpha / r, with use_rslora by lora_alpha / sqrt(r).
    target_modules: the ends of the names of the linear layers and embeddings to change, or a regular expression for
    whole names, or "all-linear"; by default BERT's query and value, GPT-2's c_attn. exclude_modules: not these, though
    target_modules names them.
    lora_dropout: of the input of A. bias: which biases learn as well, "none", "all", "lora_only".
    layers_to_transform: only the layers of these numbers. rank_pattern, alpha_pattern: {end of a name or regular
    expression: another r or lora_alpha}. fan_in_fan_out: weights are (in, out), as in GPT-2; found out by itself.
    init_lora_weights: True, "gaussian" (A from N(0, 1/r^2)), or False: B is random, too, for tests.
    """

    peft_type = "LORA"

    r: int = 8
    lora_alpha: float = 8
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    lora_dropout: float = 0.0
    bias: str = "none"
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    init_lora_weights: bool | str = True
    layers_to_transform: list[int] | int | None = None
    rank_pattern: dict = field(default_factory=dict)
    alpha_pattern: dict = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        check_count("r", self.r)
        check_number("lora_alpha", self.lora_alpha, 0, math.inf)
        check_number("lora_dropout", self.lora_dropout, 0, 1)
        check_choice("bias", self.bias, ("none", "all", "lora_only"))
        check_choice("init_lora_weights", self.init_lora_weights, (True, False, "gaussian"))
        layers = self.layers_to_transform
        if not (layers is None or isinstance(layers, int) or layers):
            raise ValueError(f"layers_to_transform={layers!r} would change no layer; None means all of them")
        for name in ("rank_pattern", "alpha_pattern"):
            if not isinstance(getattr(self, name) or {}, dict):
                raise ValueError(f"{name} must be a dictionary, got {getattr(self, name)!r}")


class LoraLayer(DeltaLayer):
    """What linear layers and embeddings have in common: s."""

    def __init__(self, base_layer, r, alpha, rslora=False):
        super().__init__(base_layer)
        check_count("r", r)
        self.r = r
        self.scaling = alpha / math.sqrt(r) if rslora else alpha / r

    def extra_repr(self):
        return f"r={self.r}, scaling={self.scaling:g}"


class LoraLinear(LoraLayer):
    """y = base_layer(x) + s (D(x) A^T) B^T"""

    def __init__(self, base_layer, r, alpha, dropout=0.0, rslora=False, init=True):
        super().__init__(base_layer, r, alpha, rslora)
        inputs, outputs = features(base_layer)
        where = {"device": base_layer.weight.device, "dtype": base_layer.weight.dtype}
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.lora_A = nn.Linear(inputs, r, bias=False, **where)  # weight (r, in)
        self.lora_B = nn.Linear(r, outputs, bias=False, **where)  # weight (out, r)
        if init == "gaussian":
            nn.init.normal_(self.lora_A.weight, std=1 / r)
        if init:
            nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        y = self.base_layer(x)
        if self.adds():
            y = y + self.lora_B(self.lora_A(self.dropout(x)) * self.scaling)  # s is cheapest on the r columns
        return y

    def delta_weight(self):
        delta = self.lora_B.weight.float() @ self.lora_A.weight.float() * self.scaling  # (out, in)
        return delta.T if is_conv1d(self.base_layer) else delta


class LoraEmbedding(LoraLayer):
    """y = W[i] + s A^T[i] B^T                      W: (V, C)   A: (r, V)   B: (C, r)   i: (...)   y: (..., C)

    dA^T[v] = sum of s dy B over the places where i = v: an embedding's gradient. B is as in a linear layer.
    """

    def __init__(self, base_layer, r, alpha, rslora=False, init=True):
        super().__init__(base_layer, r, alpha, rslora)
        (V, C), where = base_layer.weight.shape, {"device": base_layer.weight.device, "dtype": base_layer.weight.dtype}
        self.lora_embedding_A = nn.Parameter(
            minitorch.zeros((r, V), **where) if init else minitorch.randn(r, V, **where)
        )
        self.lora_embedding_B = nn.Parameter(minitorch.randn(C, r, **where))

    def forward(self, index):
        y = self.base_layer(index)
        if self.adds():
            low = F.embedding(index, self.lora_embedding_A.T, padding_idx=self.base_layer.padding_idx)  # (..., r)
            y = y + F.linear(low * self.scaling, self.lora_embedding_B)
        return y

    def delta_weight(self):
        return (self.lora_embedding_B.float() @ self.lora_embedding_A.float()).T * self.scaling  # (V, C)


class LoraModel(Tuner):
    config_class = LoraConfig

    def inject(self):
        found = find_modules(self.model, self.settings, TARGETS, lambda m: is_linear(m) or isinstance(m, nn.Embedding))
        self.settings.fan_in_fan_out = any(is_conv1d(module) for module in found.values())
        layers = {name: self.layer(name, module) for name, module in found.items()}
        for name, layer in layers.items():
            self.model.set_submodule(name, layer)

    def layer(self, name, module):
        config = self.settings
        r = by_pattern(config.rank_pattern, name, config.r)
        alpha = by_pattern(config.alpha_pattern, name, config.lora_alpha)
        if isinstance(module, nn.Embedding):
            return LoraEmbedding(module, r, alpha, config.use_rslora, config.init_lora_weights)
        return LoraLinear(module, r, alpha, config.lora_dropout, config.use_rslora, config.init_lora_weights)

    def trains(self, name):
        bias = self.settings.bias
        if bias == "all" and ends_in_bias(name) or bias == "lora_only" and name.endswith(".base_layer.bias"):
            return True
        return ".lora_" in name

    def switch(self, disabled):
        if disabled and self.settings.bias != "none":
            raise NotImplementedError(f"bias={self.settings.bias!r}: biases learn in place, and cannot be switched off")
        super().switch(disabled)

    def hint(self, key):
        return f": the rank, r={self.settings.r}?" if ".lora_" in key else ""


def ends_in_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


def by_pattern(patterns: dict | None, name: str, default):
    """The value of the first pattern that the end of `name` matches."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", name):
            return value
    return default
