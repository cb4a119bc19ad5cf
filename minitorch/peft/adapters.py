"""Adapters: two small networks in every layer. arXiv:1902.00751 (Houlsby et al.)

After the projection that ends the attention, and after the one that ends the feed-forward network, before the residual
connection is added, stands a bottleneck of m columns with a residual connection of its own:

    h = W x + b                                   the pretrained layer's output, (..., C)
    y = h + V f(U h + c) + d                      U: (m, C)   c: (m,)   V: (C, m)   d: (C,)   f: GELU

U and V begin near zero, c and d at zero, so at first y is nearly h. Unlike LoRA's, the addition is not linear in x: it
cannot be merged into W, and costs 4 C m products a token for ever.

The gradients, with a = U h + c and z = f(a), both (..., m), leading axes as rows:

    dV = dy^T z     dd = sum of dy     dz = dy V     da = dz * f'(a)     dU = da^T h     dc = sum of da     dh = dy + da U

As in the paper the LayerNorms learn, too.
"""

from dataclasses import dataclass

from minitorch import nn
from minitorch.nn import functional as F

from .base import PeftConfig, Tuner, TunerLayer, check_choice, check_count, features, find_modules

TARGETS = {"bert": ["output.dense"], "gpt2": ["attn.c_proj", "mlp.c_proj"]}
ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "tanh": F.tanh}


@dataclass(kw_only=True)
class AdapterConfig(PeftConfig):
    """Settings of the adapters. Hugging Face's peft has none, so the file is minitorch's own.

    bottleneck: m. target_modules: the linear layers that are followed by one; by default those before a residual
    connection. train_layer_norm: whether the norms learn.
    """

    peft_type = "HOULSBY_ADAPTER"

    bottleneck: int = 32
    target_modules: list[str] | str | None = None
    activation: str = "gelu"
    train_layer_norm: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_count("bottleneck", self.bottleneck)
        check_choice("activation", self.activation, tuple(ACTIVATIONS))


class AdapterLinear(TunerLayer):
    """A linear layer with a bottleneck after it."""

    def __init__(self, base_layer, bottleneck, activation="gelu"):
        super().__init__(base_layer)
        C, where = features(base_layer)[1], {"device": base_layer.weight.device, "dtype": base_layer.weight.dtype}
        self.adapter_down = nn.Linear(C, bottleneck, **where)
        self.adapter_up = nn.Linear(bottleneck, C, **where)
        self.activation = ACTIVATIONS[activation]
        for linear in (self.adapter_down, self.adapter_up):
            nn.init.trunc_normal_(linear.weight, std=0.01, a=-0.02, b=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x):
        h = self.base_layer(x)
        return h if self.disabled else h + self.adapter_up(self.activation(self.adapter_down(h)))


class AdapterModel(Tuner):
    config_class = AdapterConfig
    not_mergeable = "its bottlenecks are not linear, so no weight is equal to them"

    def inject(self):
        self.norms = {name for name, module in self.model.named_modules() if isinstance(module, nn.LayerNorm)}
        for name, module in find_modules(self.model, self.settings, TARGETS).items():
            self.model.set_submodule(name, AdapterLinear(module, self.settings.bottleneck, self.settings.activation))

    def trains(self, name):
        module = name.removeprefix("model.").rpartition(".")[0]
        return ".adapter_" in name or self.settings.train_layer_norm and module in self.norms

    def switch(self, disabled):
        if disabled and self.settings.train_layer_norm:
            raise NotImplementedError("train_layer_norm=True: the norms learn in place, and cannot be switched off")
        super().switch(disabled)
