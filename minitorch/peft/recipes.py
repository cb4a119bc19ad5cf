"""Settings that worked: for each way to fine-tune a BERT-like model its config and its learning rate.

    model = apply_method(model, "lora", steps)            lr = RATES["lora"] * what all weights together would learn with

Few new weights need larger steps than all the pretrained ones. Each method trains less than 2% of MiniLM's 22.7 million
parameters, its head included. `benchmarks/methods.py` compares them.
"""

from minitorch import nn

from .adalora import AdaLoraConfig
from .adapters import AdapterConfig
from .base import PeftConfig, family
from .bitfit import BitFitConfig
from .frozen import FrozenConfig
from .layerwise import count_layers
from .lora import LoraConfig
from .model import get_peft_model
from .prefix import PrefixTuningConfig

METHODS = {
    "full": "all weights",
    "frozen": "only the pooler and the head; the body stays as it is",
    "lora": "two thin matrices beside each weight (arXiv:2106.09685)",
    "adalora": "the same, with ranks that move to where they matter (arXiv:2303.10512)",
    "adapter": "two small networks in each layer (arXiv:1902.00751)",
    "prefix": "keys and values in front of each layer's own (arXiv:2101.00190)",
    "bitfit": "only biases (arXiv:2106.10199)",
}
RATES = {"full": 1, "frozen": 40, "lora": 20, "adalora": 100, "adapter": 40, "prefix": 1000, "bitfit": 40}
LINEAR = {  # every linear layer in the body
    "bert": ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
    "gpt2": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
    "transformer": ["qkv", "query", "keys_values", "out", "feed_forward.0", "feed_forward.2"],
}
TIED = ("gpt2", "transformer")  # the head is the matrix of the embeddings: "frozen" trains the last layer instead


def method_config(method: str, steps: int, kind: str = "bert") -> PeftConfig | None:
    """The settings of a method; None for "full". steps: of the whole training, for AdaLoRA's budget."""
    if method == "full":
        return None
    if method == "frozen":
        return FrozenConfig()
    if method == "lora":
        return LoraConfig(r=8, lora_alpha=16, target_modules=LINEAR.get(kind, "all-linear"))
    if method == "adalora":
        return AdaLoraConfig(
            init_r=8, target_r=4, lora_alpha=16, target_modules=LINEAR.get(kind, "all-linear"),
            total_step=max(2, steps), tinit=steps // 10, tfinal=steps // 3, deltaT=10, orth_reg_weight=0.1,
        )  # fmt: skip
    if method == "adapter":
        return AdapterConfig(bottleneck=24)
    if method == "prefix":
        return PrefixTuningConfig(num_virtual_tokens=16)
    if method == "bitfit":
        return BitFitConfig()
    raise ValueError(f"method {method!r} is unknown; there are {', '.join(METHODS)}")


def apply_method(model: nn.Module, method: str, steps: int, modules_to_save: list[str] | None = None) -> nn.Module:
    """`model`, changed so that `method` decides which weights learn. modules_to_save: learn as a whole, by default the head."""
    config = method_config(method, steps, family(model))
    if config is None:
        return model
    if isinstance(config, FrozenConfig) and family(model) in TIED:
        config.layers = max(0, count_layers(name for name, _ in model.named_parameters()) - 1)
    config.modules_to_save = modules_to_save
    return get_peft_model(model, config)
