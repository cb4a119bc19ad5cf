"""Normalization: over features (lesson 09), over the batch, over groups of channels (lesson 07)."""

from __future__ import annotations

import math

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..autograd.grad_mode import no_grad
from ._method import unbroadcast


class LayerNorm(Op):
    """Each row to mean 0 and variance 1, then scaled and shifted.       x: (..., C)   w, b: (C,)      arXiv:1607.06450

    z = (x - mean) r,   r = 1 / sqrt(variance + eps),   y = w z + b
    dz = dy w
    dx = r (dz - mean(dz) - z mean(dz z))        two cross-terms: x moves the mean, and x moves the variance
    dw = sum of dy z over the rows,   db = sum of dy

    C stands for all axes that are normalized. Lesson 09.
    """

    contiguous = True

    def forward(self, x, w, b, *, ndim, eps):
        axes = tuple(range(x.ndim - ndim, x.ndim))
        mean = x.mean(axes, keepdims=True)
        z = x - mean
        r = 1 / self.xp.sqrt((z * z).mean(axes, keepdims=True) + x.dtype.type(eps))
        z *= r
        y = z if w is None else z * w
        if b is not None:
            y = y + b
        self.save(x, w, axes, eps)
        return y

    def backward(self, dy):
        x, w, axes, eps = self.saved
        rows = tuple(range(x.ndim - len(axes)))
        z = x - x.mean(axes, keepdims=True)
        r = 1 / self.xp.sqrt((z * z).mean(axes, keepdims=True) + eps)
        z = z * r
        dx = dw = db = None
        if self.needs[0]:
            dz = dy if w is None else dy * w
            dx = r * (dz - dz.mean(axes, keepdims=True) - z * (dz * z).mean(axes, keepdims=True))
        if self.needs[1]:
            dw = (dy * z).sum(rows) if rows else dy * z
        if self.needs[2]:
            db = dy.sum(rows) if rows else dy
        return dx, dw, db


class RMSNorm(Op):
    """Each row divided by its root mean square.     x: (..., C)   w: (C,)      arXiv:1910.07467

    z = x r,   r = 1 / sqrt(mean(x^2) + eps),   y = w z
    dx = r (dz - z mean(dz z)),  dz = dy w;      dw = sum of dy z over the rows.     Lesson 09.
    """

    contiguous = True

    def forward(self, x, w, *, ndim, eps):
        axes = tuple(range(x.ndim - ndim, x.ndim))
        r = 1 / self.xp.sqrt((x * x).mean(axes, keepdims=True) + x.dtype.type(eps))
        self.save(x, w, axes, eps)
        return x * r if w is None else x * r * w

    def backward(self, dy):
        x, w, axes, eps = self.saved
        rows = tuple(range(x.ndim - len(axes)))
        r = 1 / self.xp.sqrt((x * x).mean(axes, keepdims=True) + eps)
        z = x * r
        dx = dw = None
        if self.needs[0]:
            dz = dy if w is None else dy * w
            dx = r * (dz - z * (dz * z).mean(axes, keepdims=True))
        if self.needs[1]:
            dw = (dy * z).sum(rows) if rows else dy * z
        return dx, dw


class Standardize(Op):
    """Each set of elements to mean 0 and variance 1, then scaled and shifted. Also returns the means and variances.

    x, y, z: any shape   w, b: broadcast to it   mean, variance: length 1 along `axes`, a set's n elements:
    axes 0 and 2 of (B, C, L) for BatchNorm (arXiv:1502.03167), 2 for InstanceNorm (arXiv:1607.08022), axes 2 and 3 of
    (B, groups, C/groups, L) for GroupNorm (arXiv:1803.08494).

    z = (x - mean) r,   r = 1 / sqrt(variance + eps),   y = w z + b
    dz = dy w
    dx = r (dz - mean(dz) - z mean(dz z)) + dmean / n + dvariance 2 (x - mean) / n
    dw = sum of dy z, db = sum of dy, where w and b were broadcast

    Mean and variance are results, with gradients of their own, so backward need not compute them again. Lesson 07.
    """

    def forward(self, x, w, b, *, axes, eps):
        mean = x.mean(axes, keepdims=True)
        y = x - mean
        variance = (y * y).mean(axes, keepdims=True)
        r = 1 / self.xp.sqrt(variance + x.dtype.type(eps))
        y *= r
        if w is not None:
            y *= w
        if b is not None:
            y += b
        self.save(x, w, mean, variance, axes, eps, math.prod(x.shape[a] for a in axes), b if b is None else b.shape)
        return y, mean, variance

    def backward(self, dy, dmean, dvariance):
        x, w, mean, variance, axes, eps, n, b_shape = self.saved
        r = 1 / self.xp.sqrt(variance + eps)
        z = (x - mean) * r
        dx = dw = db = None
        if self.needs[0]:
            dz = dy if w is None else dy * w
            shift = r * dz.mean(axes, keepdims=True) - dmean / n
            slope = r * (dz * z).mean(axes, keepdims=True) - dvariance * 2 / (n * r)
            dx = r * dz - shift - z * slope
        if self.needs[1]:
            dw = unbroadcast(dy * z, w.shape)
        if self.needs[2]:
            db = unbroadcast(dy, b_shape)
        return dx, dw, db


class Rescale(Op):
    """Normalised by statistics that are constants: one scale and one shift a channel, BatchNorm in evaluation.

    x, y: (B, C, *)   w, b (or None), mean, variance: (1, C, 1 ...)

    y  = x scale + shift,   scale = w r,   shift = b - mean scale,   r = 1 / sqrt(variance + eps)
    dx = dy scale,   dw = sum of dy (x - mean) r,   db = sum of dy

    because y is linear in x, w and b. The statistics were averaged, not learnt: they have no gradient.
    """

    def forward(self, x, w, b, mean, variance, *, eps):
        r = 1 / self.xp.sqrt(variance + eps)
        scale = r if w is None else r * w
        y = x * scale
        y += -mean * scale if b is None else b - mean * scale
        # the statistics go on changing in training before a backward pass of this one
        self.save(x if self.needs[1] else None, w, mean.copy() if self.needs[1] else None, r, b if b is None else b.shape)
        return y

    def backward(self, dy):
        x, w, mean, r, b_shape = self.saved
        dx = dw = db = None
        if self.needs[0]:
            dx = dy * r if w is None else dy * (r * w)
        if self.needs[1]:
            dw = unbroadcast(dy * ((x - mean) * r), w.shape)
        if self.needs[2]:
            db = unbroadcast(dy, b_shape)
        return dx, dw, db, None, None


class RunningAverage(Op):
    """running = (1 - momentum) running + momentum factor value, in place: an average that forgets. No gradient."""

    promote = None
    differentiable = False

    def forward(self, running, value, *, momentum, factor):
        running *= 1 - momentum
        running += value.reshape((-1,)) * factor * momentum
        return running


def _check(name, input, normalized_shape, *parameters):
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"{name}: given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size {list(input.shape)}"
        )
    for p in parameters:
        if p is not None and tuple(p.shape) != shape:
            raise RuntimeError(f"{name}: expected weight and bias of shape {list(shape)}, got {list(p.shape)}")
    return len(shape)


@casts
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions, of shape normalized_shape."""
    ndim = _check("layer_norm", input, normalized_shape, weight, bias)
    return LayerNorm.apply(input, weight, bias, ndim=ndim, eps=eps)


@casts
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions; eps defaults to the dtype's."""
    from ..backend.dtypes import finfo

    ndim = _check("rms_norm", input, normalized_shape, weight)
    return RMSNorm.apply(input, weight, ndim=ndim, eps=finfo(input.dtype).eps if eps is None else eps)


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """x / max(norm(x), eps) along `dim`."""
    norm = input.norm(p, dim, keepdim=True)
    return input / norm.clamp_min(eps).expand_as(input)


def _per_channel(name, input, **vectors):
    """The vectors, one number a channel, in the shape that broadcasts against input (B, C, *)."""
    if input.ndim < 2:
        raise RuntimeError(f"{name}: expected at least 2 dimensions for input tensor but received {input.ndim}")
    C = input.shape[1]
    shape = (1, C, *(1,) * (input.ndim - 2))
    for what, v in vectors.items():
        if v is not None and tuple(v.shape) != (C,):
            raise RuntimeError(
                f"{name}: expected {what} to be a vector of size equal to the number of channels in input, but got "
                f"{what} of shape {list(v.shape)} and input of shape {list(input.shape)}"
            )
    return [None if v is None else v.reshape(shape) for v in vectors.values()]


@no_grad()
def _update_running(running, value, momentum, factor=1.0):
    """running = (1 - momentum) running + momentum factor value: an average that forgets."""
    if running is None:
        return
    if running.dtype is value.dtype and running._base is None:  # on the arrays: so few numbers, and so often
        RunningAverage.apply(running, value, momentum=momentum, factor=factor)
        running.bump_version()
    else:
        running.mul_(1 - momentum).add_(value.detach().reshape(-1).to(running.dtype) * (factor * momentum))


def _with_running(name, input, running_mean, running_var, weight, bias, eps):
    """Normalised with the running statistics, constants: one scale and one shift a channel."""
    if running_mean is None or running_var is None:
        raise RuntimeError(f"{name}: expected running_mean and running_var to be defined when not training, got None")
    mean, var = _per_channel(name, input, running_mean=running_mean.detach(), running_var=running_var.detach())
    w, b = _per_channel(name, input, weight=weight, bias=bias)
    return Rescale.apply(input, w, b, mean, var, eps=eps).to(input.dtype)


@casts
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Each channel of (B, C, *) to mean 0 and variance 1, times weight plus bias.

    In training by the batch's own mean and (biased) variance, and the running ones move towards the batch's
    (with n - 1 in place of n in the variance) by `momentum`; otherwise by the running ones.
    """
    if input.ndim < 2 and not input.numel():
        return input.clone()
    if not training:
        return _with_running("batch_norm", input, running_mean, running_var, weight, bias, eps)
    w, b = _per_channel("batch_norm", input, weight=weight, bias=bias)
    _per_channel("batch_norm", input, running_mean=running_mean, running_var=running_var)
    n = input.shape[0] * math.prod(input.shape[2:])
    if n == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    if n == 0:  # no batch to learn from: the running statistics stay
        y = input.clone() if w is None else input * w
        return (y if b is None else y + b).to(input.dtype)
    y, mean, var = Standardize.apply(input, w, b, axes=(0, *range(2, input.ndim)), eps=eps)
    _update_running(running_mean, mean, momentum)
    _update_running(running_var, var, momentum, n / max(n - 1, 1))
    return y.to(input.dtype)


@casts
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Each group of channels of each sample of (B, C, *) to mean 0 and variance 1, times weight plus bias a channel."""
    _per_channel("group_norm", input, weight=weight, bias=bias)
    B, C, *size = input.shape
    if num_groups < 1 or C % num_groups:
        raise RuntimeError(
            f"group_norm: expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    if B * C // num_groups * math.prod(size) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    x = input.reshape(B, num_groups, C // num_groups, math.prod(size))
    w, b = (None if v is None else v.reshape(1, num_groups, C // num_groups, 1) for v in (weight, bias))
    return Standardize.apply(x, w, b, axes=(2, 3), eps=eps)[0].reshape(input.shape).to(input.dtype)


@casts
def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """Each channel of each sample of (B, C, *) to mean 0 and variance 1, times weight plus bias.

    Running statistics, where given, follow the means over the batch; without use_input_stats they are used instead.
    """
    if not use_input_stats:
        return _with_running("instance_norm", input, running_mean, running_var, weight, bias, eps)
    w, b = _per_channel("instance_norm", input, weight=weight, bias=bias)
    _per_channel("instance_norm", input, running_mean=running_mean, running_var=running_var)
    n = math.prod(input.shape[2:])
    if n == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(input.shape)}")
    y, mean, var = Standardize.apply(input, w, b, axes=tuple(range(2, input.ndim)), eps=eps)
    if running_mean is not None or running_var is not None:
        _update_running(running_mean, mean.detach().mean(0), momentum)
        _update_running(running_var, var.detach().mean(0), momentum, n / max(n - 1, 1))
    return y.to(input.dtype)


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha mean of x^2 over `size` channels round each)^beta.      input (B, C, *)"""
    from .pad import pad
    from .pool import avg_pool2d

    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input.numel():
        return input
    squares = (input * input).reshape(input.shape[0], 1, input.shape[1], -1)
    mean = avg_pool2d(pad(squares, (0, 0, size // 2, (size - 1) // 2)), (size, 1), stride=1).reshape(input.shape)
    return input / (mean * alpha + k) ** beta
