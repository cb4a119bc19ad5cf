"""AdaLoRA: LoRA with ranks that go to where they matter. arXiv:2303.10512

The change of a weight has the form of a singular value decomposition, P Lambda Q:

    y = x W^T + b + s ((D(x) A^T) * e) B^T      A = Q: (r, in)   e = diag(Lambda): (r,)   B = P: (out, r)
    s = alpha / r

e begins zero, A and B random with orthonormal rows and columns; a regulariser keeps them nearly so, so that e_i says how
much triplet i, (B[:, i], e_i, A[i]), does:

    R = weight * mean over all matrices of |A A^T - I|^2 and |B^T B - I|^2 (Frobenius)      added to the loss in training
    dA = 4 weight / count * (A A^T - I) A                                                   and dB in the same way

The gradients, with u = D(x) A^T and v = u * e, both (..., r), leading axes as rows:

    dB = s dy^T v        dv = s dy B        de_i = sum over rows of dv_i u_i        dA = (dv * e)^T D(x)

Which triplets stay: each parameter w has a sensitivity |w dw|, the change of the loss if it were zero. It differs from
batch to batch, so it is smoothed, and multiplied with its uncertainty, how much it still moves:

    I_t = beta1 I_(t-1) + (1 - beta1) |w dw|          U_t = beta2 U_(t-1) + (1 - beta2) | |w dw| - I_t |
    S_i = (I U)(e_i) + mean over j of (I U)(A_ij) + mean over j of (I U)(B_ji)

The b triplets of the whole model with the largest S stay; of the others e_i is set to 0 (and may grow again while the
budget falls). b falls from b_0 = init_r * layers to b_T = target_r * layers, and then stays:

    b(t) = b_T + (b_0 - b_T) (1 - (t - tinit) / (total_step - tfinal - tinit))^3          tinit <= t <= total_step - tfinal
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import minitorch
from minitorch import Tensor, nn, no_grad
from minitorch.nn import functional as F

from .base import DeltaLayer, check_count, check_number, features, find_modules, is_conv1d
from .lora import LoraConfig, LoraModel

TARGETS = {"bert": ["query", "value"], "gpt2": ["c_attn"]}
PARTS = ("A", "E", "B")


@dataclass(kw_only=True)
class AdaLoraConfig(LoraConfig):
    """Settings of AdaLoRA; names and defaults are those of Hugging Face's peft. `r` and `use_rslora` have no meaning here.

    total_step: optimizer steps of the whole training. init_r, target_r: the mean rank at the beginning and in the end.
    tinit: steps before the budget begins to fall. tfinal: steps at the end with the final ranks. deltaT: steps between
    two allocations. beta1, beta2: of the smoothing. orth_reg_weight: of the regulariser.
    """

    peft_type = "ADALORA"

    target_r: int = 8
    init_r: int = 12
    tinit: int = 0
    tfinal: int = 0
    deltaT: int = 1
    beta1: float = 0.85
    beta2: float = 0.85
    orth_reg_weight: float = 0.5
    total_step: int | None = None
    rank_pattern: Any = field(default=None)  # {name of an E: [which triplets stay]}

    def __post_init__(self):
        super().__post_init__()
        if self.total_step is None:
            raise ValueError("AdaLoraConfig: total_step, the optimizer steps of the whole training, must be given")
        for name, least in {"target_r": 1, "init_r": 1, "tinit": 0, "tfinal": 0, "deltaT": 1, "total_step": 1}.items():
            check_count(name, getattr(self, name), least)
        check_number("beta1", self.beta1, 0, 1, open_ends=True)
        check_number("beta2", self.beta2, 0, 1, open_ends=True)
        check_number("orth_reg_weight", self.orth_reg_weight, 0, float("inf"))
        if self.use_rslora:
            raise ValueError("AdaLoraConfig: use_rslora is LoRA's; there is one scale here, lora_alpha / init_r")
        if self.target_r > self.init_r:
            raise ValueError(f"target_r={self.target_r} must not be above init_r={self.init_r}: the ranks only fall")
        if self.tinit >= self.total_step - self.tfinal:
            raise ValueError(
                f"tinit={self.tinit} and tfinal={self.tfinal} leave no step of total_step={self.total_step} in which the "
                "budget could fall"
            )
        for name, kept in (self.rank_pattern or {}).items():
            if not isinstance(kept, list) or not all(type(one) is bool for one in kept):
                raise ValueError(f"rank_pattern: {name} must have a list of true and false, got {kept!r}")


class AdaLoraLinear(DeltaLayer):
    """y = base_layer(x) + s ((D(x) A^T) * e) B^T, and what is known of each triplet's importance."""

    def __init__(self, base_layer, r, alpha, dropout=0.0, init_r=None):
        super().__init__(base_layer)
        inputs, outputs = features(base_layer)
        where = {"device": base_layer.weight.device, "dtype": base_layer.weight.dtype}
        self.r, self.scaling = r, alpha / ((init_r or r) + 1e-5)  # peft's 1e-5: its files have the same outputs here
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.lora_A = nn.Parameter(minitorch.empty(r, inputs, **where))
        self.lora_E = nn.Parameter(minitorch.zeros((r, 1), **where))
        self.lora_B = nn.Parameter(minitorch.empty(outputs, r, **where))
        if r:  # a file may say that no triplet stays
            nn.init.orthogonal_(self.lora_A)
            nn.init.orthogonal_(self.lora_B)
        for part in PARTS:  # buffers: a checkpoint keeps them
            self.register_buffer(f"sensitivity_{part}", minitorch.zeros_like(self.part(part)))
            self.register_buffer(f"uncertainty_{part}", minitorch.zeros_like(self.part(part)))
        self.register_buffer("kept", minitorch.ones(r, dtype=minitorch.bool, device=where["device"]))

    def part(self, letter) -> Tensor:
        return getattr(self, f"lora_{letter}")

    def forward(self, x):
        y = self.base_layer(x)
        if self.adds():
            v = F.linear(self.dropout(x), self.lora_A * (self.lora_E * self.scaling))  # (..., r)
            y = y + F.linear(v, self.lora_B)
        return y

    def delta_weight(self):
        delta = self.lora_B.float() @ (self.lora_A * self.lora_E).float() * self.scaling  # (out, in)
        return delta.T if is_conv1d(self.base_layer) else delta

    def measure(self, beta1, beta2):
        """Smooth the sensitivity |w dw| of every parameter, and its uncertainty."""
        for letter in PARTS:
            w = self.part(letter)
            if w.grad is None:
                raise RuntimeError(
                    "update_and_allocate() needs gradients: call it after backward(), before zero_grad()"
                )
            now, I, U = (w * w.grad).abs(), f"sensitivity_{letter}", f"uncertainty_{letter}"
            setattr(self, I, beta1 * getattr(self, I) + (1 - beta1) * now)
            setattr(self, U, beta2 * getattr(self, U) + (1 - beta2) * (now - getattr(self, I)).abs())

    def importance(self) -> Tensor:
        """S of every triplet, (r,)"""
        S = {
            letter: getattr(self, f"sensitivity_{letter}") * getattr(self, f"uncertainty_{letter}") for letter in PARTS
        }
        return S["E"][:, 0] + S["A"].mean(1) + S["B"].mean(0)

    def drop(self):
        """e_i = 0 for the triplets that do not stay."""
        self.lora_E.masked_fill_(~self.kept[:, None], 0.0)

    def extra_repr(self):
        return f"r={self.r}, scaling={self.scaling:g}"


class AdaLoraModel(LoraModel):
    """Call `update_and_allocate()` after each optimizer step, before zero_grad(); `training.fit` does so."""

    config_class = AdaLoraConfig

    def inject(self):
        config = self.settings
        found = find_modules(self.model, config, TARGETS)
        self.loaded_pattern = config.rank_pattern or {}  # of a file: it holds only the triplets that stayed
        config.fan_in_fan_out = any(is_conv1d(module) for module in found.values())
        for name, module in found.items():
            kept = self.loaded_pattern.get(f"{name}.lora_E")
            r = config.init_r if kept is None else sum(kept)
            layer = AdaLoraLinear(module, r, config.lora_alpha, config.lora_dropout, config.init_r)
            self.model.set_submodule(name, layer)
        self.register_buffer("step", minitorch.zeros((), dtype=minitorch.int64))

    def layers(self) -> dict[str, AdaLoraLinear]:
        return {name: module for name, module in self.model.named_modules() if isinstance(module, AdaLoraLinear)}

    def forward(self, *args, **kwargs):
        out = self.model(*args, **kwargs)
        if self.training and getattr(out, "loss", None) is not None:
            out.loss = out.loss + self.orthogonality_loss()
        return out

    def orthogonality_loss(self) -> Tensor:
        """The regulariser R, for a loss that is not the model's own."""
        terms = []
        for layer in self.layers().values():
            if layer.r:
                eye = minitorch.eye(layer.r, dtype=layer.lora_A.dtype, device=layer.lora_A.device)
                for gram in (layer.lora_A @ layer.lora_A.T, layer.lora_B.T @ layer.lora_B):  # (r, r)
                    terms.append((gram - eye).square().sum())
        return self.settings.orth_reg_weight * minitorch.stack(terms).mean() if terms else minitorch.tensor(0.0)

    def budget(self, step: int) -> int:
        """How many triplets stay at this step, in the whole model."""
        c, layers = self.settings, self.layers().values()
        first = sum(layer.r for layer in layers)
        last = min(first, c.target_r * len(layers))
        if step <= c.tinit:
            return first
        share = max(0.0, 1 - (step - c.tinit) / (c.total_step - c.tfinal - c.tinit))
        return int((first - last) * share**3 + last)

    @no_grad()
    def update_and_allocate(self, global_step: int | None = None) -> None:
        """Measure the importance of all triplets and, when it is time, keep the most important ones.

        After optimizer.step(), before zero_grad(). global_step: the number of optimizer steps so far; counted by
        itself when it is not given.
        """
        c = self.settings
        step = int(self.step.item()) + 1 if global_step is None else global_step
        self.step.fill_(step)
        end = c.total_step - c.tfinal
        if step < end:
            for layer in self.layers().values():
                layer.measure(c.beta1, c.beta2)
        allocates = step == end or c.tinit < step < end and step % c.deltaT == 0
        if allocates:
            self.keep_best(self.budget(step))
        if allocates or step > end:
            for layer in self.layers().values():
                layer.drop()

    def keep_best(self, budget: int) -> None:
        """Of all triplets of the model the `budget` most important ones stay."""
        layers = list(self.layers().values())
        scores = minitorch.cat([layer.importance() for layer in layers])
        kept = minitorch.zeros_like(scores, dtype=minitorch.bool)
        kept[scores.argsort(descending=True, stable=True)[:budget]] = True
        for layer, mask in zip(layers, kept.split([layer.r for layer in layers])):
            layer.kept.copy_(mask)

    def ranks(self) -> dict[str, int]:
        """How many triplets of each layer stay."""
        return {name: int(layer.kept.sum().item()) for name, layer in self.layers().items()}

    # ---- files: only the triplets that stay, and which they are ---------------------------------------------------

    def adapter_state(self):
        state = super().adapter_state()
        for name, layer in self.layers().items():
            if not bool(layer.kept.all()):
                kept, key = layer.kept, f"{self.in_file}{name}.lora_"
                state[key + "A"], state[key + "E"] = layer.lora_A.detach()[kept], layer.lora_E.detach()[kept]
                state[key + "B"] = layer.lora_B.detach()[:, kept]
        return state

    def settings_to_save(self):
        pattern = {}
        for name, layer in self.layers().items():
            key, kept = f"{name}.lora_E", iter(layer.kept.tolist())
            pattern[key] = [one and next(kept) for one in self.loaded_pattern.get(key, [True] * layer.r)]
        return dataclasses.replace(super().settings_to_save(), rank_pattern=pattern)
