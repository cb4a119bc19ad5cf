"""Spectral normalization by a hook; parametrizations.spectral_norm is its successor. arXiv:1802.05957"""

from ...autograd import no_grad
from .. import functional as F
from ..conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..parameter import Parameter
from .weight_norm import find_hook


def as_matrix(weight, dim):
    """(n, everything else): the weight as the matrix whose rows are its slices along `dim`."""
    if dim != 0:
        weight = weight.permute(dim, *(d for d in range(weight.dim()) if d != dim))
    return weight.reshape(weight.shape[0], -1)


def output_dim(module, dim):
    """The dimension of a layer's outputs in its weight, unless one is given."""
    transposed = isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d))
    return (1 if transposed else 0) if dim is None else dim


def check_iterations(n_power_iterations):
    if n_power_iterations <= 0:
        raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")


class SpectralNorm:
    """The forward pre-hook that divides the weight by its largest singular value.

    u and v, the singular vectors, are kept from step to step, so that one step of the power method each time is enough:
    v = W^T u / |W^T u|,   u = W v / |W v|,   sigma = u W v.
    """

    def __init__(self, name, n_power_iterations, dim, eps):
        check_iterations(n_power_iterations)
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def compute_weight(self, module, do_power_iteration):
        weight, u, v = (getattr(module, self.name + suffix) for suffix in ("_orig", "_u", "_v"))
        W = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(W.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(W.mv(v), dim=0, eps=self.eps))
                u, v = u.clone(), v.clone()  # the next forward pass changes the buffers
        return weight / u.dot(W.mv(v))

    def __call__(self, module, inputs):
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide module.weight by its largest singular value, which makes the layer 1-Lipschitz. Returns the module.

    The parameter becomes weight_orig; the buffers weight_u and weight_v belong to the power method, which runs in
    training mode. `dim`: the outputs' dimension, 1 for transposed convolutions.
    """
    if find_hook(module, SpectralNorm, name):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    hook = SpectralNorm(name, n_power_iterations, output_dim(module, dim), eps)
    if name in module._parameters and module._parameters[name] is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    weight = module.get_parameter(name)
    with no_grad():
        rows, columns = as_matrix(weight, hook.dim).shape
        u = F.normalize(weight.new_empty(rows).normal_(0, 1), dim=0, eps=eps)
        v = F.normalize(weight.new_empty(columns).normal_(0, 1), dim=0, eps=eps)
    delattr(module, name)
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.data)
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module, name="weight"):
    """Make module.weight an ordinary parameter again, with its present value. Returns the module."""
    found = find_hook(module, SpectralNorm, name)
    if not found:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    key, hook = found
    with no_grad():
        weight = hook.compute_weight(module, do_power_iteration=False)
    for attribute in (name, name + "_u", name + "_v", name + "_orig"):
        delattr(module, attribute)
    module.register_parameter(name, Parameter(weight))
    del module._forward_pre_hooks[key]
    return module
