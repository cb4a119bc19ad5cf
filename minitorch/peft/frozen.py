"""Frozen layers: what is near the input stays as it was pretrained, what is near the output learns.

    FrozenConfig()            embeddings and all layers are frozen; pooler and head learn
    FrozenConfig(layers=4)    embeddings and the first four layers are frozen
    FrozenConfig(modules_to_save=["output"])      of a model without layers that can be counted: all but these modules

The backward pass ends at the lowest parameter that learns: below it there is no gradient, and nothing is kept for one.
With everything but the head frozen, that saves about two thirds of a step.
"""

from dataclasses import dataclass

from .base import PeftConfig, Tuner, check_count
from .layerwise import count_layers, layer_of


@dataclass(kw_only=True)
class FrozenConfig(PeftConfig):
    """layers: how many layers, counted from the input, are frozen together with the embeddings; None: all of them."""

    peft_type = "FROZEN"

    layers: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.layers is not None:
            check_count("layers", self.layers, 0)


class FrozenModel(Tuner):
    config_class = FrozenConfig
    in_place, not_mergeable = True, "it trains the model's own layers"

    def inject(self):
        self.count = count_layers(name for name, _ in self.model.named_parameters())
        self.frozen = self.count if self.settings.layers is None else self.settings.layers
        if self.count == 0 and not self.settings.modules_to_save:
            raise ValueError(
                f"{type(self.model).__name__} has no layers that can be counted, no `layer.0.` in its names: say with "
                "modules_to_save what learns"
            )
        if self.frozen > self.count:
            raise ValueError(f"layers={self.frozen}, but {type(self.model).__name__} has {self.count} layers")

    def trains(self, name):
        return self.count > 0 and layer_of(name, self.count) > self.frozen
