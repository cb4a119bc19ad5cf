"""What the methods share: settings, the choice of modules, and layers that stand in for a layer of the model.

A method is a dataclass of settings (its config) and a `Tuner`: it freezes the model, puts its own layers or parameters
into it, and says which parameters learn. All other parameters have requires_grad=False: they get no gradient, no
optimizer state, and a product with them saves no activations (a Linear keeps its input for dW alone).
"""

import copy
import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from minitorch import nn, no_grad

HEADS = ("classifier", "score", "qa_outputs")  # new in each task, so they learn with every method
TASKS = {
    "ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS", "LMHeadModel": "CAUSAL_LM",
}  # fmt: skip
NEUTRAL = {  # settings of Hugging Face's peft that change nothing in a finished adapter
    "auto_mapping", "layers_pattern", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision",
}  # fmt: skip


@dataclass(kw_only=True)
class PeftConfig:
    """The settings that every method has.

    modules_to_save: modules (the ends of their names) that learn as a whole, and are saved with the adapter; by default
    the head of a model for sequences, tokens or questions, and what its from_pretrained began with random numbers. [] for
    none.
    """

    peft_type: ClassVar[str] = ""

    task_type: str | None = None
    base_model_name_or_path: str | None = None
    inference_mode: bool = False
    modules_to_save: list[str] | None = None

    def __post_init__(self):
        for name in ("target_modules", "exclude_modules", "modules_to_save"):
            value = getattr(self, name, None)
            if isinstance(value, (set, frozenset, tuple)):
                setattr(self, name, value := sorted(value))
            listed = isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value)
            if not (value is None or listed or isinstance(value, str) and value and name != "modules_to_save"):
                raise ValueError(f"{name} must be a list of names{other_than_list(name)}, got {value!r}")
        if getattr(self, "target_modules", None) == []:
            raise ValueError("target_modules=[] would change no module; None means the defaults of the model's family")

    def to_dict(self) -> dict[str, Any]:
        return {"peft_type": self.peft_type, **dataclasses.asdict(self)}

    @staticmethod
    def from_pretrained(folder_or_hub_id: Any) -> "PeftConfig":
        """The settings in a folder's or hub id's adapter_config.json, as the class of their method."""
        from .model import read_config

        return read_config(folder_or_hub_id)

    @classmethod
    def from_dict(cls, values: dict[str, Any]):
        """The settings of an adapter_config.json. One that is in use there and does not exist here is an error."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = {k: v for k, v in values.items() if k not in known | NEUTRAL and v not in (None, False, "", [], {})}
        if unknown:
            listed = ", ".join(f"{name}={value!r}" for name, value in sorted(unknown.items()))
            raise ValueError(f"{cls.__name__}: minitorch does not have {listed}")
        return cls(**{name: value for name, value in values.items() if name in known})


def other_than_list(name: str) -> str:
    return "" if name == "modules_to_save" else ", or a regular expression as text"


def check_count(name: str, value: Any, least: int = 1) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_number(name: str, value: Any, low: float, high: float, open_ends: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (low < value < high if open_ends else low <= value <= high):
        raise ValueError(f"{name} must be a number between {low} and {high}, got {value!r}")


def check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


# ---- which modules ---------------------------------------------------------------------------------------------------


def is_conv1d(module: nn.Module) -> bool:
    """GPT-2's linear layer, whose weight is (in, out), the transpose of nn.Linear's."""
    return type(module).__name__ == "Conv1D"


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or is_conv1d(module)


def features(module: nn.Module) -> tuple[int, int]:
    """(in, out) of a linear layer."""
    rows, columns = module.weight.shape
    return (rows, columns) if is_conv1d(module) else (columns, rows)


def listing(names: Iterable[str]) -> str:
    """Names of modules, those of all layers as one: bert.encoder.layer.*.output.dense."""
    patterns = dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names)
    return ", ".join(patterns) or "none"


def ends_with(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith("." + suffix)


def is_inside(name: str, module: str) -> bool:
    """Whether `name` is a module whose name ends with `module`, or a part of one."""
    return f".{module}." in f".{name}."


def find_modules(
    model: nn.Module, config: Any, defaults: dict[str, list[str]], kinds=is_linear
) -> dict[str, nn.Module]:
    """{name: module} that `target_modules` names: a list of the ends of names, or one regular expression for the whole.

    "all-linear": every linear layer but the head. None: `defaults` of the model's family. An entry that no module
    matches is an error, and so is a module of a kind that the method cannot change. `exclude_modules` wins over both,
    and an entry may lose all of its modules to it, as in Hugging Face's peft; but some module has to be left.
    """
    wanted = config.target_modules or defaults.get(family(model))
    names = {name: module for name, module in model.named_modules() if name}
    possible = [name for name, module in names.items() if kinds(module)]
    if wanted is None:
        raise ValueError(
            f"{type(model).__name__} has no default target_modules: say which of its modules to change; there are "
            f"{listing(possible)}"
        )
    free = [name for name in names if not any(is_inside(name, saved) for saved in config.modules_to_save or ())]
    excluded = getattr(config, "exclude_modules", None) or []
    if wanted == "all-linear":
        heads = (*HEADS, "lm_head", "decoder")
        found = [n for n in free if is_linear(names[n]) and n.rpartition(".")[2] not in heads]
        unmatched = [] if found else [wanted]
    elif isinstance(wanted, str):
        found = [name for name in free if matches(name, wanted)]
        unmatched = [] if found else [wanted]
    else:
        found = [name for name in free if matches(name, wanted)]
        unmatched = [suffix for suffix in wanted if not any(ends_with(name, suffix) for name in free)]
    if unmatched:
        raise ValueError(
            f"target_modules: no module of {type(model).__name__} matches {', '.join(map(repr, unmatched))}"
            f"{' (modules_to_save left out)' if len(free) < len(names) else ''}; "
            f"there are {listing(name for name in possible if name in free)}"
        )
    left = [name for name in found if not matches(name, excluded)]
    if not left:
        raise ValueError(f"exclude_modules: {excluded!r} leaves out all that target_modules matches, {listing(found)}")
    free, found = [name for name in free if not matches(name, excluded)], left
    layers = getattr(config, "layers_to_transform", None)
    if layers is not None:
        layers = [layers] if isinstance(layers, int) else layers
        number = re.compile(r"\.(\d+)\.")
        present = {int(match.group(1)) for name in found if (match := number.search(name))}
        if not set(layers) <= present:
            raise ValueError(f"layers_to_transform: {layers}, but the layers that match are {sorted(present)}")
        found = [name for name in found if (match := number.search(name)) and int(match.group(1)) in layers]
    for name in found:
        if not kinds(names[name]):
            raise ValueError(
                f"target_modules: {name} is a {type(names[name]).__name__}, which {type(config).__name__} cannot change; "
                f"it can change {listing(n for n in possible if n in free)}"
            )
    return {name: names[name] for name in found}


def matches(name: str, wanted: list[str] | str) -> bool:
    if not isinstance(wanted, str):
        return any(ends_with(name, suffix) for suffix in wanted)
    try:
        return re.fullmatch(wanted, name) is not None
    except re.error as error:
        raise ValueError(f"{wanted!r} is not a regular expression: {error}") from None


def family(model: nn.Module) -> str:
    """ "bert", "gpt2": which kind of model it is."""
    return getattr(getattr(model, "config", None), "model_type", "")


# ---- layers ----------------------------------------------------------------------------------------------------------


class TunerLayer(nn.Module):
    """A layer that stands where `base_layer` stood, and does more. `disabled`: it does no more than that one."""

    def __init__(self, base_layer: nn.Module):
        super().__init__()
        self.base_layer = base_layer
        self.disabled = False


class DeltaLayer(TunerLayer):
    """A layer whose addition is a change of the base layer's weight, `delta_weight()`: it can be merged into it."""

    def __init__(self, base_layer: nn.Module):
        super().__init__(base_layer)
        self.merged = False

    def delta_weight(self):
        """What merging adds to the base layer's weight, in its layout."""
        raise NotImplementedError

    def adds(self) -> bool:
        """Whether forward has to add something to the base layer's output."""
        if self.merged and self.training:
            raise RuntimeError(
                "the adapter is merged into the weights, so training would not reach it: call unmerge_adapter(), or eval()"
            )
        return not (self.merged or self.disabled)


class ModulesToSaveWrapper(nn.Module):
    """A module that learns as a whole: a copy that learns, and the original, for when the adapter is disabled."""

    def __init__(self, original_module: nn.Module):
        super().__init__()
        self.original_module, self.modules_to_save = original_module, copy.deepcopy(original_module)
        self.disabled = False

    def forward(self, *args, **kwargs):
        return (self.original_module if self.disabled else self.modules_to_save)(*args, **kwargs)


# ---- the model with a method in it -----------------------------------------------------------------------------------


class Tuner(nn.Module):
    """A model with a method's parts in it. A method defines `inject` and `trains`, and what else differs.

    `in_file`: what stands before the model's own names in a file of Hugging Face's peft.
    """

    config_class: ClassVar[type[PeftConfig]] = PeftConfig
    in_file: ClassVar[str] = "base_model.model."
    not_mergeable: ClassVar[str] = ""  # why
    in_place: ClassVar[bool] = False  # it trains the model's own parameters, so it cannot be switched off

    def __init__(self, model: nn.Module, config: Any):
        super().__init__()
        self.model, self.settings = model, config
        complete(config, model)
        whole = self.whole_modules()  # both are found before anything is changed
        self.was_trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        training = model.training
        self.inject()
        for name, module in whole.items():
            model.set_submodule(name, ModulesToSaveWrapper(module))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not config.inference_mode and self.learns(name))
        self.train(training)

    def inject(self) -> None:
        """Put the method's layers into `self.model`."""
        raise NotImplementedError

    def trains(self, name: str) -> bool:
        """Whether the parameter of this name (in this module) learns; those of modules_to_save do anyway."""
        raise NotImplementedError

    def learns(self, name: str) -> bool:
        if ".original_module." in name:
            return False
        return ".modules_to_save." in name or self.trains(name)

    def whole_modules(self) -> dict[str, nn.Module]:
        """The modules of `modules_to_save`."""
        found: dict[str, nn.Module] = {}
        for suffix in self.settings.modules_to_save or ():
            here = {name: module for name, module in self.model.named_modules() if ends_with(name, suffix)}
            if not here and not (suffix in HEADS and self.settings.task_type in TASKS.values()):
                names = [name for name, _ in self.model.named_modules() if name]
                raise ValueError(
                    f"modules_to_save: no module of {type(self.model).__name__} is {suffix!r}; there are {listing(names)}"
                )
            found |= here
        return found

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "model" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self.model, name)

    # ---- merging and taking apart --------------------------------------------------------------------------------

    def delta_layers(self) -> dict[str, DeltaLayer]:
        found = {name: module for name, module in self.model.named_modules() if isinstance(module, DeltaLayer)}
        if not found:
            raise NotImplementedError(f"{type(self.settings).__name__} cannot be merged: {self.not_mergeable}")
        return found

    @no_grad()
    def merge(self, safe_merge: bool = False) -> None:
        """Add what the layers have learnt to their weights: to all of them or, where that fails, to none."""
        if self.merged():
            raise RuntimeError("the adapter is merged already; unmerge_adapter() takes it out again")
        layers = self.delta_layers()
        shared = [name for name, layer in layers.items() if is_shared(self.model, layer.base_layer.weight)]
        if shared:
            raise ValueError(
                f"{', '.join(shared)}: another module has the same weight, and merging would change it, too"
            )
        deltas = self.deltas(layers)
        if safe_merge:
            sums = ((name, layer.base_layer.weight + deltas[name]) for name, layer in layers.items())
            broken = [name for name, weight in sums if not bool(weight.isfinite().all())]
            if broken:
                raise ValueError(f"{', '.join(broken)}: the merged weight is not finite; nothing was merged")
        for name, layer in layers.items():
            layer.base_layer.weight += deltas[name]
            layer.merged = True

    @no_grad()
    def unmerge(self) -> None:
        """Subtract it again, from all weights or from none."""
        layers = self.delta_layers()
        if not self.merged():
            raise RuntimeError("the adapter is not merged, so it cannot be unmerged; merge_adapter() merges it")
        deltas = self.deltas(layers)
        for name, layer in layers.items():
            layer.base_layer.weight -= deltas[name]
            layer.merged = False

    def deltas(self, layers: dict[str, DeltaLayer]) -> dict[str, Any]:
        """The changes of all weights, in their dtypes: at hand before the first weight changes, since they take memory
        that may not be there."""
        return {name: layer.delta_weight().to(layer.base_layer.weight.dtype) for name, layer in layers.items()}

    def merged(self) -> bool:
        return any(getattr(module, "merged", False) for module in self.model.modules())

    def unload(self) -> nn.Module:
        """Take the method's layers out of the model, and let the parameters learn that did before."""
        for name, module in list(self.model.named_modules()):
            if isinstance(module, TunerLayer):
                self.model.set_submodule(name, module.base_layer)
            elif isinstance(module, ModulesToSaveWrapper):
                self.model.set_submodule(name, module.original_module if module.disabled else module.modules_to_save)
                module.modules_to_save.requires_grad_(True)
        for parameter in self.was_trainable:
            parameter.requires_grad_(True)
        return self.model

    def switch(self, disabled: bool) -> None:
        if self.in_place:
            raise NotImplementedError(f"{type(self.settings).__name__} cannot be switched off: {self.not_mergeable}")
        for module in self.modules():
            if "disabled" in vars(module):
                module.disabled = disabled

    # ---- files ---------------------------------------------------------------------------------------------------

    def adapter_names(self) -> dict[str, str]:
        """{name in the file: name here} of all that has been learnt."""
        names = [name for name, _ in self.named_parameters() if self.learns(name)]
        return {self.in_file + name.removeprefix("model.").replace(".modules_to_save.", "."): name for name in names}

    def settings_to_save(self) -> Any:
        return dataclasses.replace(self.settings, inference_mode=True)

    def adapter_state(self) -> dict[str, Any]:
        parameters = dict(self.named_parameters())
        return {key: parameters[name].detach() for key, name in self.adapter_names().items()}

    def load_adapter(self, tensors: dict[str, Any], source: str) -> None:
        """Copy a file's tensors into place; all that does not fit is in one error, and then nothing has been copied."""
        names, parameters = self.adapter_names(), dict(self.named_parameters())
        doubled = (".original_module.", ".modules_to_save.")  # with bias="all" peft writes the head's bias three times
        tensors = {key: value for key, value in tensors.items() if not any(part in key for part in doubled)}
        problems = [f"    {key}: not in the file" for key in names if key not in tensors]
        problems += [f"    {key}: in the file, but not in the model" for key in tensors if key not in names]
        for key, value in tensors.items():
            if key in names and value.shape != parameters[names[key]].shape:
                shapes = f"{tuple(value.shape)} in the file, {tuple(parameters[names[key]].shape)} in the model"
                problems.append(f"    {key}: {shapes}{self.hint(key)}")
        if problems:
            raise ValueError(
                f"{source} is not an adapter of this {type(self.model).__name__} with the settings in its "
                "adapter_config.json; was it made for another model, or with other sizes?\n" + "\n".join(problems)
            )
        with no_grad():
            for key, name in names.items():
                parameters[name].copy_(tensors[key])

    def hint(self, key: str) -> str:
        return ""


def complete(config: Any, model: nn.Module) -> None:
    """Fill in what the model says: its task, its name, and its head as a module to save."""
    if config.task_type is None:
        kind = type(model).__name__
        config.task_type = next((task for ending, task in TASKS.items() if kind.endswith(ending)), None)
    if config.base_model_name_or_path is None:
        config.base_model_name_or_path = getattr(model, "name_or_path", None)
    if config.modules_to_save is None:
        config.modules_to_save = [name for name, _ in model.named_children() if name in HEADS]
        for path in getattr(model, "begun_anew", ()):  # random numbers that the base's file does not have: a pooler
            module = model.get_submodule(path)
            inside = any(is_inside(path, head) for head in config.modules_to_save)
            tied = any(is_shared(model, weight) for weight in module.parameters())
            if not inside and not tied and not any(True for _ in module.children()):
                config.modules_to_save.append(path)
        config.modules_to_save = config.modules_to_save or None


def is_shared(model: nn.Module, weight) -> bool:
    return sum(parameter is weight for _, parameter in model.named_parameters(remove_duplicate=False)) > 1
