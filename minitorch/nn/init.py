"""Initialisers: fill a tensor in place, without recording, and return it.

From the same seed they draw the numbers that PyTorch draws, in the same order.
`fan_in` is how many inputs one output sums over, `fan_out` how many outputs one input reaches: for a weight of shape
(out, in, *kernel), fan_in = in * prod(kernel) and fan_out = out * prod(kernel).
"""

import math
import threading
import warnings
from contextlib import contextmanager

import numpy as np

import minitorch

from ..autograd import no_grad

LINEAR = {f"conv{transpose}{n}d" for transpose in ("", "_transpose") for n in (1, 2, 3)} | {"linear", "sigmoid"}


def calculate_gain(nonlinearity, param=None):
    """The factor that keeps the variance of the activations through a nonlinearity; `param`: leaky_relu's slope."""
    if nonlinearity in LINEAR:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "selu":
        return 3.0 / 4
    if nonlinearity == "leaky_relu":
        if isinstance(param, bool) or not isinstance(param, (int, float, type(None))):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def _fans(tensor):
    """(fan_in, fan_out)."""
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _fan(tensor, mode):
    modes = ["fan_in", "fan_out"]
    if mode.lower() not in modes:
        raise ValueError(f"Mode {mode} not supported, please use one of {modes}")
    return _fans(tensor)[modes.index(mode.lower())]


class _Draws(threading.local):
    wanted = True


_draws = _Draws()


@contextmanager
def no_draws():
    """Modules made within it are not filled with random numbers: for those whose weights are loaded next.

    It saves most of the time that making them takes, and the random stream stays where it is.
    """
    before, _draws.wanted = _draws.wanted, False
    try:
        yield
    finally:
        _draws.wanted = before


@no_grad()
def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """U(a, b)."""
    return tensor.uniform_(a, b, generator=generator) if _draws.wanted else tensor


@no_grad()
def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """N(mean, std^2)."""
    return tensor.normal_(mean, std, generator=generator) if _draws.wanted else tensor


@no_grad()
def constant_(tensor, val):
    """`val` everywhere."""
    return tensor.fill_(val)


@no_grad()
def ones_(tensor):
    return tensor.fill_(1.0)


@no_grad()
def zeros_(tensor):
    return tensor.zero_()


@no_grad()
def eye_(tensor):
    """The identity matrix: a linear layer that starts as the identity on as many inputs as possible."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    tensor.zero_()
    for i in range(min(tensor.shape)):
        tensor[i, i] = 1
    return tensor


@no_grad()
def dirac_(tensor, groups=1):
    """A convolution (3 to 5 dimensions) that starts as the identity: 1 in the middle of kernel (d, d) of each group."""
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    middle = tuple(size // 2 for size in tensor.shape[2:])
    out_channels = tensor.shape[0] // groups
    tensor.zero_()
    for group in range(groups):
        for d in range(min(out_channels, tensor.shape[1])):
            place = (group * out_channels + d, d, *middle)
            tensor[place] = 1
    return tensor


@no_grad()
def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """N(mean, std^2) given that the value lies in [a, b].

    By rejection. When much of the normal lies inside, propose from it and redraw what falls outside. Otherwise propose
    x from U(a, b) and accept it with probability density(x) / (largest density in [a, b]).
    Every round draws the whole tensor and keeps only what is still missing, which is the order of PyTorch's draws.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=3,
        )

    def inside(x):  # the normal's cumulative distribution function
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    if inside(b) - inside(a) > 0.3:
        low, high = (tensor.new_tensor(bound).item() for bound in (a, b))  # rounded as the tensor's values are
        tensor.normal_(mean, std, generator=generator)
        while bool((outside := (tensor < low) | (tensor > high)).any()):
            proposal = minitorch.empty_like(tensor).normal_(mean, std, generator=generator)
            tensor.copy_(minitorch.where(outside, proposal, tensor))
        return tensor

    mode = max(a, min(mean, b))
    log_peak = -0.5 * ((mode - mean) / std) ** 2

    def rejected(proposal):
        log_density = ((proposal - mean) / std) ** 2 * -0.5 - log_peak
        return minitorch.empty_like(tensor).uniform_(generator=generator).log_() > log_density

    tensor.uniform_(a, b, generator=generator)
    pending = rejected(tensor)
    while bool(pending.any()):
        proposal = minitorch.empty_like(tensor).uniform_(a, b, generator=generator)
        tensor.copy_(minitorch.where(pending, proposal, tensor))
        pending = pending & rejected(proposal)
    return tensor


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / float(sum(_fans(tensor))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(sum(_fans(tensor)))), generator)


def _kaiming_std(tensor, a, mode, nonlinearity):
    """gain / sqrt(fan), or None for a tensor without elements, which has nothing to fill."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """U(-bound, bound) with bound = gain sqrt(3 / fan). He et al., arXiv:1502.01852. `a`: leaky_relu's slope."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """N(0, std^2) with std = gain / sqrt(fan). He et al., arXiv:1502.01852. `a`: leaky_relu's slope."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0, std, generator)


@no_grad()
def orthogonal_(tensor, gain=1, generator=None):
    """A (semi-)orthogonal matrix times `gain`; dimensions after the first are flattened. Saxe et al., arXiv:1312.6120.

    A = Q R for a normal matrix A; the columns of Q are given the signs of R's diagonal, which makes Q uniform
    over the orthogonal matrices (Mezzadri, arXiv:math-ph/0609050).
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    normal = tensor.new_empty((rows, columns)).normal_(0, 1, generator=generator).cpu().numpy()
    wide = rows < columns
    q, r = np.linalg.qr(normal.T if wide else normal)
    q = q * np.sign(np.diagonal(r))
    tensor.copy_(minitorch.from_numpy(q.T if wide else q).reshape(tensor.shape).to(tensor.device))
    return tensor.mul_(gain)


@no_grad()
def sparse_(tensor, sparsity, std=0.01, generator=None):
    """N(0, std^2), then a fraction `sparsity` of each column set to zero. Martens 2010.

    As in PyTorch, `generator` draws the values; the places of the zeros come from the default generator.
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    tensor.normal_(0, std, generator=generator)
    for column in range(columns):
        tensor[minitorch.randperm(rows)[:zeros], column] = 0
    return tensor


from ..missing import names as _names  # noqa: E402

__getattr__ = _names(__name__)
