"""BitFit: only the biases learn. arXiv:2106.10199

    y = x W^T + b + db                            the change db does not depend on x

In a linear layer and in LayerNorm db_i = sum over all rows of dy_i; no activation has to be kept for it. For BERT they
are 0.1% of the parameters. The paper's smaller choice: the biases of the queries and of the feed-forward network's first
layer, `bias_modules=["query", "intermediate.dense"]`.
"""

import re
from dataclasses import dataclass

from .base import PeftConfig, Tuner, ends_with, listing

BIAS = re.compile(r"bias|in_proj_bias|bias_[ih]h(_l\d+(_reverse)?)?")  # nn.Linear's, nn.MultiheadAttention's, nn.LSTM's


@dataclass(kw_only=True)
class BitFitConfig(PeftConfig):
    """Settings of BitFit. bias_modules: the ends of the names of the modules whose biases learn; None: all.

    They learn in place: the loaded adapter overwrites the base model's own.
    """

    peft_type = "BITFIT"

    bias_modules: list[str] | None = None

    def __post_init__(self):
        super().__post_init__()
        wanted = self.bias_modules
        if wanted is not None and not (isinstance(wanted, list) and all(isinstance(one, str) for one in wanted)):
            raise ValueError(f"bias_modules must be a list of names, got {wanted!r}")


class BitFitModel(Tuner):
    config_class = BitFitConfig
    in_place, not_mergeable = True, "it changes the model's own biases"

    def inject(self):
        split = [name.rpartition(".") for name, _ in self.model.named_parameters()]
        having = [module for module, _, kind in split if BIAS.fullmatch(kind)]
        wanted = self.settings.bias_modules
        for suffix in wanted if wanted is not None else ():
            if not any(ends_with(name, suffix) for name in having):
                raise ValueError(
                    f"bias_modules: no module of {type(self.model).__name__} with a bias matches {suffix!r}; "
                    f"there are {listing(having)}"
                )
        if not having:
            raise ValueError(f"{type(self.model).__name__} has no biases")

    def trains(self, name):
        module, _, kind = name.rpartition(".")
        wanted = self.settings.bias_modules
        return BIAS.fullmatch(kind) is not None and (
            wanted is None or any(ends_with(module, suffix) for suffix in wanted)
        )
