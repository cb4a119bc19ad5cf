"""The model that a user holds: a base model with one method in it.

    model = get_peft_model(base, LoraConfig(r=8))
    model.print_trainable_parameters()            # train it as any other model
    model.save_pretrained(folder)                 # adapter_config.json, adapter_model.safetensors: only what was learnt
    model = PeftModel.from_pretrained(base, folder)
    whole = model.merge_and_unload()              # the base model again, with what was learnt in its weights

Names and files are those of Hugging Face's peft, for one adapter at a time.
"""

import copy
import os
from contextlib import contextmanager

from minitorch import nn
from minitorch.serialization import load_safetensors, save_safetensors
from minitorch.utils import hub
from minitorch.utils.hub import read_json, resolve

from .adalora import AdaLoraModel
from .adapters import AdapterModel
from .base import ModulesToSaveWrapper, PeftConfig, Tuner, TunerLayer
from .bitfit import BitFitModel
from .frozen import FrozenModel
from .lora import LoraModel
from .prefix import PrefixModel

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
TUNERS: dict[str, type[Tuner]] = {
    tuner.config_class.peft_type: tuner
    for tuner in (LoraModel, AdaLoraModel, AdapterModel, PrefixModel, BitFitModel, FrozenModel)
}


def get_peft_model(model: nn.Module, config: PeftConfig) -> "PeftModel":
    """Freeze `model` and put a method's parameters into it. The base model itself is changed, not copied."""
    return PeftModel(model, config)


class PeftModel(nn.Module):
    """A base model with a method in it; attributes that it does not have are the base model's."""

    def __init__(self, model, config):
        super().__init__()
        if not isinstance(config, PeftConfig) or config.peft_type not in TUNERS:
            raise TypeError(f"expected a config such as LoraConfig(), got {type(config).__name__}")
        if isinstance(model, (PeftModel, Tuner)) or any(isinstance(m, ADDED) for m in model.modules()):
            raise ValueError(
                f"{type(model).__name__} has an adapter already; merge_and_unload() or unload() gives the model without"
            )
        trainable = [parameter.requires_grad for parameter in model.parameters()]
        try:
            self.base_model = TUNERS[config.peft_type](model, copy.deepcopy(config))
        except BaseException:
            for parameter, flag in zip(model.parameters(), trainable):
                parameter.requires_grad_(flag)
            raise
        self.peft_config = {"default": self.base_model.settings}
        self.train(model.training)

    def forward(self, *args, **kwargs):
        return self.base_model(*args, **kwargs)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "base_model" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self.base_model, name)

    def get_base_model(self):
        """The base model, with the method's layers in it."""
        return self.base_model.model

    # ---- how many parameters -------------------------------------------------------------------------------------

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """(parameters that learn, all parameters)"""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.parameters()]
        return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)

    def print_trainable_parameters(self) -> None:
        some, every = self.get_nb_trainable_parameters()
        print(f"trainable params: {some:,d} || all params: {every:,d} || trainable%: {100 * some / every:.4f}")

    # ---- in and out of the weights -------------------------------------------------------------------------------

    def merge_adapter(self, safe_merge: bool = False) -> None:
        """Add LoRA's matrices to the weights: the same outputs without their cost. Not for training.

        safe_merge: a ValueError if a weight would not be finite. Whatever fails, no weight has changed.
        """
        self.base_model.merge(safe_merge)

    def unmerge_adapter(self) -> None:
        """Subtract them again."""
        self.base_model.unmerge()

    def merge_and_unload(self, safe_merge: bool = False) -> nn.Module:
        """The base model, an ordinary one again, with all that was learnt in its weights."""
        if not self.base_model.merged() and any(isinstance(m, TunerLayer) for m in self.modules()):
            self.base_model.merge(safe_merge)
        elif isinstance(self.base_model, PrefixModel):
            self.base_model.delta_layers()  # has none, and says why
        return self.base_model.unload()

    def unload(self) -> nn.Module:
        """The base model as it was, without what was learnt; methods that train its own parameters have changed those."""
        if self.base_model.merged():
            self.unmerge_adapter()
        self.base_model.switch(disabled=True)
        return self.base_model.unload()

    @contextmanager
    def disable_adapter(self):
        """`with model.disable_adapter():` the outputs are the base model's."""
        if self.base_model.merged():
            raise RuntimeError(
                "the adapter is merged into the weights: call unmerge_adapter() before disable_adapter()"
            )
        self.base_model.switch(disabled=True)
        try:
            yield self
        finally:
            self.base_model.switch(disabled=False)

    # ---- files ---------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder) -> None:
        """Write adapter_config.json and adapter_model.safetensors: what was learnt, without the base model."""
        from minitorch.models.pretrained import write_json, written_aside

        folder = os.path.abspath(os.path.expanduser(os.fspath(folder)))
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise NotADirectoryError(f"{folder!r} is a file: give the name of a folder")
        state = {key: value.contiguous() for key, value in self.base_model.adapter_state().items()}
        if not state:
            raise RuntimeError(
                "there is nothing left to save: after unload() or merge_and_unload() what was learnt is gone, or in the model "
                "that these return: save that one"
            )
        with written_aside(folder) as aside:
            save_safetensors(state, os.path.join(aside, WEIGHTS), metadata={"format": "pt"})
            write_json(os.path.join(aside, CONFIG), self.base_model.settings_to_save().to_dict())

    @classmethod
    def from_pretrained(cls, model, folder_or_hub_id, *, is_trainable=False) -> "PeftModel":
        """`model` with the adapter of a folder or hub id in it; in evaluation mode, and frozen unless is_trainable."""
        config = read_config(folder_or_hub_id, inference_mode=not is_trainable)
        try:
            weights = resolve(folder_or_hub_id, WEIGHTS)
        except hub.MissingFile:
            hub.refuse_pickle(folder_or_hub_id, PICKLED, WEIGHTS)
            raise
        tensors = load_safetensors(weights)
        check_sizes(config, tensors, weights)
        peft_model = cls(model, config)
        try:
            peft_model.base_model.load_adapter(tensors, str(folder_or_hub_id))
        except ValueError:
            peft_model.base_model.unload()  # the base model is as it was
            raise
        return peft_model.train(is_trainable)


ADDED = (TunerLayer, ModulesToSaveWrapper)


def read_config(folder_or_hub_id, **changes) -> PeftConfig:
    """The settings in adapter_config.json, some of them changed."""
    path = resolve(folder_or_hub_id, CONFIG)
    values = read_json(path)
    kind = values.get("peft_type")
    if kind not in TUNERS:
        raise ValueError(f"{path}: peft_type {kind!r} is unknown; minitorch has {', '.join(TUNERS)}")
    try:
        return TUNERS[kind].config_class.from_dict({**values, **changes})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_sizes(config, tensors, path) -> None:
    """No size in a file's settings may be above all sizes in its tensors: it would be allocated before they are compared."""
    largest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    sizes = {name: getattr(config, name, 0) for name in ("r", "num_virtual_tokens", "bottleneck", "init_r")}
    for pattern, r in (getattr(config, "rank_pattern", None) or {}).items():
        sizes[f"rank_pattern[{pattern!r}]"] = r if isinstance(r, int) else 0  # AdaLoRA's are lists
    for name, size in sizes.items():
        if size > largest and not (config.peft_type == "ADALORA" and name == "r"):
            raise ValueError(f"{path}: {name}={size} in {CONFIG}, but no tensor in the file is of such a size")
