"""Parameter groups."""


def weight_decay_groups(model, weight_decay):
    """Two parameter groups of a model: weight decay for the matrices, none for biases and for the scales of norms.

        AdamW(weight_decay_groups(model, 0.01), lr=1e-4)

    Decay pulls a weight towards zero, which keeps products small. Pulling a bias or a norm's scale only shifts the
    features. Those are the parameters with fewer than two dimensions, or with "bias" at an end of their name.
    Frozen parameters are left out, and so is a group that would be empty.
    """
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = parameter.dim() < 2 or name.rpartition(".")[2].startswith("bias") or name.endswith("bias")
            (others if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
