"""Weight normalization by a hook; parametrizations.weight_norm is its successor. arXiv:1602.07868"""

import warnings

from ..parameter import Parameter


def norm_except_dim(v, dim):
    """The norm of each slice of v along `dim`, with the other dimensions as 1; of all of v, 0-d, for dim=-1."""
    if dim == -1:
        return (v * v).sum().sqrt()
    others = [d for d in range(v.dim()) if d != dim % v.dim()]
    return ((v * v).sum(others, keepdim=True) if others else v * v).sqrt()


def normalized(v, g, dim):
    """w = g v / |v|: a length g and a direction v."""
    return v * (g / norm_except_dim(v, dim))


class WeightNorm:
    """The forward pre-hook that computes the weight from its length and its direction."""

    def __init__(self, name, dim):
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module):
        return normalized(getattr(module, self.name + "_v"), getattr(module, self.name + "_g"), self.dim)

    def __call__(self, module, inputs):
        setattr(module, self.name, self.compute_weight(module))


def find_hook(module, kind, name):
    """The key and the forward pre-hook of a class for a parameter's name, or None."""
    for key, (hook, _) in module._forward_pre_hooks.items():
        if isinstance(hook, kind) and hook.name == name:
            return key, hook
    return None


def weight_norm(module, name="weight", dim=0):
    """Replace module.weight by weight_g, a norm for each slice along `dim`, and weight_v: w = g v / |v|.

    So the length is learnt apart from the direction. `dim=None`: one norm for the whole tensor. Returns the module.
    """
    warnings.warn(
        "`nn.utils.weight_norm` is deprecated in favor of `nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    if find_hook(module, WeightNorm, name):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook, weight = WeightNorm(name, dim), module.get_parameter(name)
    delattr(module, name)
    module.register_parameter(name + "_g", Parameter(norm_except_dim(weight.detach(), hook.dim)))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module, name="weight"):
    """Make module.weight an ordinary parameter again, with its present value. Returns the module."""
    found = find_hook(module, WeightNorm, name)
    if not found:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    key, hook = found
    weight = hook.compute_weight(module).detach()
    for attribute in (name, name + "_g", name + "_v"):
        delattr(module, attribute)
    setattr(module, name, Parameter(weight))
    del module._forward_pre_hooks[key]
    return module
