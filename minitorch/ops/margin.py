"""Losses that ask for a margin between scores, or measure a target's likelihood under another distribution.

Each is a composition of ops that have their gradients elsewhere; at a corner, max(0, x) has the slope of PyTorch's.
"""

from __future__ import annotations

import math

from ..autograd.autocast import casts
from ..backend import checks, dtypes
from ..tensor import Tensor, wrap
from .activation import logsigmoid
from .arithmetic import clamp_min, minimum, where
from .distance import pairwise_distance
from .index import gather
from .loss import _reduce
from .shape import broadcast_shapes


def _reduction(reduction, size_average, reduce):
    """`reduction`, or what PyTorch's old spelling of it says."""
    if size_average is None and reduce is None:
        return reduction
    return "none" if reduce is False else "sum" if size_average is False else "mean"


def _broadcast(name, *tensors):
    """Complains, in the loss's name, about shapes that do not broadcast."""
    try:
        broadcast_shapes(*[t.shape for t in tensors])
    except RuntimeError as error:
        shapes = " and ".join(str(tuple(t.shape)) for t in tensors)
        raise RuntimeError(f"{name}: expected tensors of one shape, or that broadcast, got {shapes}") from error


@casts
def margin_ranking_loss(input1, input2, target, margin=0.0, size_average=None, reduce=None, reduction="mean"):
    """max(0, margin - t (x1 - x2)): for t = 1 the first score is to be higher, for t = -1 the second."""
    if not input1.ndim == input2.ndim == target.ndim:
        shapes = ", ".join(str(tuple(t.shape)) for t in (input1, input2, target))
        raise RuntimeError(f"margin_ranking_loss: all inputs should have the same number of dimensions, got {shapes}")
    _broadcast("margin_ranking_loss", input1, input2, target)
    loss = clamp_min(-target * (input1 - input2) + margin, 0)
    return _reduce(loss, _reduction(reduction, size_average, reduce), "margin_ranking_loss")


@casts
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """x where t = 1, max(0, margin - x) where t = -1: for distances x of pairs that are alike or not."""
    _broadcast("hinge_embedding_loss", input, target)
    loss = where(target != 1, clamp_min(margin - input, 0), 0.0) + where(target != -1, input, 0.0)
    return _reduce(loss, _reduction(reduction, size_average, reduce), "hinge_embedding_loss")


@casts
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-t x)), t = 1 or -1."""
    _broadcast("soft_margin_loss", input, target)
    loss = -logsigmoid(target * input)
    return _reduce(loss, _reduction(reduction, size_average, reduce), "soft_margin_loss")


@casts
def cosine_embedding_loss(input1, input2, target, margin=0.0, size_average=None, reduce=None, reduction="mean"):
    """1 - cos(x1, x2) where t = 1, max(0, cos(x1, x2) - margin) where t = -1.     x: (N, C), t: (N,); or (C,) and ()"""
    if target.ndim > 1 or not input1.ndim == input2.ndim == target.ndim + 1:
        shapes = f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        raise RuntimeError(f"cosine_embedding_loss: expected inputs (N, C), target (N,), or (C,) and (); got {shapes}")
    _broadcast("cosine_embedding_loss", input1, input2)
    dim = target.ndim
    lengths = ((input1 * input1).sum(dim) + 1e-12) * ((input2 * input2).sum(dim) + 1e-12)
    cos = (input1 * input2).sum(dim) / lengths.sqrt()
    loss = where(target == 1, 1 - cos, 0.0) + where(target == -1, clamp_min(cos - margin, 0), 0.0)
    return _reduce(loss, _reduction(reduction, size_average, reduce), "cosine_embedding_loss")


@casts
def triplet_margin_loss(
    anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None, reduction="mean"
):
    """max(0, |a - p| - |a - n| + margin): the anchor is to be nearer to the positive example than to the negative one.

    swap: the negative's distance is the smaller one of those from the anchor and from the positive. x: (N, C) or (C,)
    """
    distance = lambda x, y: pairwise_distance(x, y, p, eps)  # noqa: E731
    reduction = _reduction(reduction, size_average, reduce)
    return _triplet("triplet_margin_loss", anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """`triplet_margin_loss` with a distance of one's own."""
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet("triplet_margin_with_distance_loss", anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(name, anchor, positive, negative, distance, margin, swap, reduction):
    if margin <= 0:
        raise ValueError(f"{name}: margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        shapes = ", ".join(str(tuple(t.shape)) for t in (anchor, positive, negative))
        raise RuntimeError(f"{name}: expected inputs of the same number of dimensions, got shapes {shapes}")
    _broadcast(name, anchor, positive, negative)
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return _reduce(clamp_min(margin + near - far, 0), reduction, name)


def _classes(input, target, name):
    """Scores (N, C) and class numbers (N,) of scores (N, C) or (C,)."""
    fits = input.ndim <= 2 and target.numel() == math.prod(input.shape[:-1]) and target.ndim <= 1
    if not fits or not input.numel():
        shapes = f"{tuple(input.shape)} and {tuple(target.shape)}"
        raise RuntimeError(f"{name}: expected input (N, C) with target (N,), or (C,) with (), got {shapes}")
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"{name}: expected class numbers as an int64 tensor, got {target.dtype}")
    x, t = input.reshape(-1, input.shape[-1] if input.ndim else 1), target.reshape(-1)
    return x, wrap(_in_classes(t.array, x.shape[1], 0, name))


def _in_classes(t, classes, lowest, name):
    return checks.in_range(t, lowest, classes, f"{name}: target {{}} is out of range for {classes} classes", RuntimeError)


@casts
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
    """1/C sum_{j != t} w_t max(0, margin - x_t + x_j)^p: the right class's score above all others by the margin."""
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: only p == 1 and p == 2 supported, got {p}")
    x, t = _classes(input, target, "multi_margin_loss")
    if weight is not None and tuple(weight.shape) != (x.shape[1],):
        raise RuntimeError(f"multi_margin_loss: expected {x.shape[1]} class weights, got shape {tuple(weight.shape)}")
    z = margin - gather(x, 1, t.unsqueeze(1)) + x
    z = where(z > 0, z if p == 1 else z * z, 0.0)
    if weight is not None:
        z = z * weight[t].unsqueeze(1)
    others = wrap(t.array[:, None] != t.xp.arange(x.shape[1]))
    loss = where(others, z, 0.0).sum(1) / x.shape[1]
    return _reduce(loss.reshape(target.shape), _reduction(reduction, size_average, reduce), "multi_margin_loss")


@casts
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """1/C sum over the right classes k and the wrong ones i of max(0, 1 - (x_k - x_i)).

    target: of input's shape, (N, C) or (C,): in each row the numbers of the right classes, then -1.
    """
    name = "multilabel_margin_loss"
    if input.ndim > 2 or target.shape != input.shape:
        shapes = f"{tuple(input.shape)} and {tuple(target.shape)}"
        raise RuntimeError(f"{name}: expected input and target of one shape, (N, C) or (C,), got {shapes}")
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"{name}: expected class numbers as an int64 tensor, got {target.dtype}")
    xp, classes = input.xp, input.shape[-1] if input.ndim else 1
    x, t = input.reshape(-1, classes), target.array.reshape((-1, classes))
    t = _in_classes(t, classes, -1, name)
    listed = xp.cumsum(t < 0, axis=1) == 0  # up to the first -1
    safe = xp.where(listed, t, 0)
    right = ((safe[:, :, None] == xp.arange(classes)) & listed[:, :, None]).any(1)
    z = 1 - gather(x, 1, wrap(safe)).unsqueeze(2) + x.unsqueeze(1)  # (N, k, i)
    counts = wrap((z.array > 0) & listed[:, :, None] & ~right[:, None, :])
    loss = where(counts, z, 0.0).sum((1, 2)) / classes
    return _reduce(loss.reshape(input.shape[:-1]), _reduction(reduction, size_average, reduce), name)


def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """-1/C sum_i w_i (t_i log s(x_i) + (1 - t_i) log(1 - s(x_i))), s the sigmoid: each class on its own."""
    _broadcast("multilabel_soft_margin_loss", input, target)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _reduce(loss.mean(-1), _reduction(reduction, size_average, reduce), "multilabel_soft_margin_loss")


@casts
def poisson_nll_loss(
    input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
):
    """-log of Poisson's probability of t for the rate e^x (or x, log_input=False), without log t!.

    e^x - t x, or x - t log(x + eps); full adds Stirling's log t! ~ t log t - t + log(2 pi t) / 2 where t > 1.
    """
    _broadcast("poisson_nll_loss", input, target)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        t = where(target > 1, target, 1.0)
        loss = loss + where(target > 1, t * t.log() - t + 0.5 * (2 * math.pi * t).log(), 0.0)
    return _reduce(loss, _reduction(reduction, size_average, reduce), "poisson_nll_loss")


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log v + (x - t)^2 / v) / 2, v the variance, not below eps; full adds log(2 pi) / 2.

    var: of input's shape, or without its last dimension, or with a single 1 in it, or a number.
    """
    _broadcast("gaussian_nll_loss", input, target)
    if not isinstance(var, Tensor):
        var = input.new_full((), var).expand(*input.shape)
    if var.shape != input.shape:
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif input.ndim != var.ndim or [b for a, b in zip(input.shape, var.shape) if a != b] != [1]:
            shapes = f"{tuple(var.shape)} for input {tuple(input.shape)}"
            raise ValueError(f"gaussian_nll_loss: var is of incorrect size {shapes}")
    checks.require(~(var.array < 0), "gaussian_nll_loss: var has negative entry/entries", ValueError)
    v = var + clamp_min(eps - var.detach(), 0)  # the floor moves the value; the gradient is as if it did not
    loss = 0.5 * (v.log() + (input - target) ** 2 / v)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce(loss, reduction, "gaussian_nll_loss")
