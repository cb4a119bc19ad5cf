"""Learning rates by depth: layer-wise learning rate decay (discriminative fine-tuning). arXiv:1801.06146

    lr_d = lr * decay^(L + 1 - d)                     d = 0: embeddings; 1 ... L: the layers; L + 1: pooler and heads

    decay = 0.9, L = 6:    head lr    layer 6  0.90 lr    layer 1  0.53 lr    embeddings  0.48 lr

What is nearer to the input is more general (word forms, syntax), so it should move less; what is nearer to the output has
to be learnt anew. `minitorch.training.parameter_groups` makes an optimizer's groups of it.
"""

import re

LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
EMBEDDINGS = re.compile(
    r"(?<!prompt_encoder)(?:^|\.)(?:embeddings?|wte|wpe|\w+_embeddings?|embed_\w+|tokens|positions)\."
)


def layer_of(name: str, layers: int | None = None) -> int | None:
    """The depth of the parameter (or module) `name`: 0 for embeddings, i + 1 for `layer.i.`, `h.i.`.

    Poolers and heads are at `layers` + 1; None where `layers`, how many there are, is not given.
    """
    if found := LAYER.search(name):
        depth = int(found.group(1)) + 1
        if layers is not None and depth > layers:
            raise ValueError(f"{name!r} is in layer {depth - 1}, but there are only {layers}, counted from 0")
        return depth
    if EMBEDDINGS.search(name):
        return 0
    return None if layers is None else layers + 1


def count_layers(names) -> int:
    """How many layers a model with these parameter names has."""
    return 1 + max((int(found.group(1)) for name in names if (found := LAYER.search(name))), default=-1)


def layerwise_groups(model, lr: float, decay: float = 0.9, weight_decay: float = 0.01) -> list[dict]:
    """An optimizer's parameter groups, with rates that fall towards the input: `AdamW(layerwise_groups(model, 5e-5))`."""
    from minitorch.training import parameter_groups

    return parameter_groups(model, lr, weight_decay=weight_decay, layer_decay=decay)
