"""Parameter-efficient fine-tuning: a large model learns a task by few new or few of its own parameters.

    model = get_peft_model(model, LoraConfig(r=8, target_modules=["query", "value"]))

One file a method, with its equations: lora, adalora, adapters, prefix, bitfit, frozen, layerwise. model.py is what they
are used through; names, defaults and files are those of Hugging Face's peft, where it has them.
"""

from .adalora import AdaLoraConfig, AdaLoraModel
from .adapters import AdapterConfig, AdapterModel
from .base import PeftConfig
from .bitfit import BitFitConfig, BitFitModel
from .frozen import FrozenConfig, FrozenModel
from .layerwise import layer_of, layerwise_groups
from .lora import LoraConfig, LoraModel
from .model import PeftModel, get_peft_model
from .prefix import PrefixModel, PrefixTuningConfig

__all__ = [
    "AdaLoraConfig", "AdaLoraModel", "AdapterConfig", "AdapterModel", "BitFitConfig", "BitFitModel", "FrozenConfig",
    "FrozenModel", "LoraConfig", "LoraModel", "PeftConfig", "PeftModel", "PrefixModel", "PrefixTuningConfig",
    "get_peft_model", "layer_of", "layerwise_groups",
]  # fmt: skip
