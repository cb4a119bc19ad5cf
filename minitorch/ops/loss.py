"""Losses, in their stable forms.      Lessons 03 (binary) and 04 (many classes)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import checks, dtypes
from ..backend.devices import host
from ..tensor import Tensor, wrap
from ._method import constant, unbroadcast, warn
from .activation import LogSigmoid, Sigmoid
from .arithmetic import where
from .softmax import Softmax, log_softmax


class CrossEntropy(Op):
    """Cross-entropy from logits, each row its own loss.          z: (N, C)   target: (N,)   y: (N,)

    y_n   = w_t (log sum_j e^{z_nj} - z_nt),   t = target_n
    dz_ni = dy_n w_t (softmax(z_n)_i - [i = t])        (F10: the softmax's and the logarithm's slopes collapse)

    With label smoothing e: y_n = sum_c q_c w_c (lse - z_nc), q_c = (1 - e)[c = t] + e/C. Ignored rows are 0. Lesson 04.
    """

    def forward(self, z, *, target, weight, ignore_index, smoothing):
        xp = self.xp
        n, classes = z.shape
        t, keep = _in_classes(xp, target, classes, ignore_index, "cross_entropy")
        w = xp.ones(classes, z.dtype) if weight is None else weight
        self.save(z, t, keep, w, smoothing)
        top = z.max(1, keepdims=True)
        lse = xp.log(xp.exp(z - top).sum(1)) + top[:, 0]
        y = w[t] * (lse - z[xp.arange(n), t])
        if smoothing:
            y = (1 - smoothing) * y + smoothing / classes * ((lse[:, None] - z) * w).sum(1)
        return xp.where(keep, y, 0).astype(z.dtype)

    def backward(self, dy):
        z, t, keep, w, smoothing = self.saved
        xp = self.xp
        n, classes = z.shape
        hot = (t[:, None] == xp.arange(classes)).astype(w.dtype)
        q = w[t][:, None] * hot  # what the loss weighs each log-probability with
        if smoothing:
            q = (1 - smoothing) * q + smoothing / classes * w
        p = self.run(Softmax, z, axis=1)
        return xp.expand_dims(xp.where(keep, dy, 0), 1) * (p * q.sum(1, keepdims=True) - q)


class MeanOverLabels(Op):
    """The mean of cross-entropies over the labels that count, w_t of each.      y: (N,)   target: (N,)   mean: ()

    mean = sum_n y_n / W,   W = sum of w_t over the labels that are not ignored      (y_n holds w_t already)
    dy_n = dmean / W                     no label that counts: 0 / 0, as in PyTorch
    """

    def forward(self, y, *, target, weight, ignore_index):
        xp = self.xp
        keep = target != ignore_index
        if weight is None:
            total = xp.count_nonzero(keep)
        else:  # in y's precision: a sum of half precision stops growing at a few hundred
            total = (weight.astype(y.dtype)[xp.where(keep, target, 0)] * keep).sum()
        total = xp.asarray(total, dtype=y.dtype)
        self.save(total, y.shape)
        return y.sum() / total

    def backward(self, dy):
        total, shape = self.saved
        return self.xp.broadcast_to(dy / total, shape)


class BCEWithLogits(Op):
    """Binary cross-entropy from logits.      z, t: the same shape; w: weight of the positive class

    y  = (1 - t) z + (1 + (w - 1) t) log(1 + e^-z),  log(1 + e^-z) = log(1 + e^-|z|) + max(-z, 0)
    dz = dy ((1 - t) - (1 + (w - 1) t) (1 - s)),  s = sigmoid(z); for w = 1: dy (s - t)      (F5, lesson 03)
    dt = dy (-z + (w - 1) log(1 + e^-z))
    """

    def forward(self, z, t, w):
        xp = self.xp
        self.save(z, t, w)
        log = xp.log1p(xp.exp(-xp.abs(z))) + xp.maximum(-z, 0)
        return (1 - t) * z + (log if w is None else (1 + (w - 1) * t) * log)

    def backward(self, dy):
        z, t, w = self.saved
        s = self.run(Sigmoid, z)
        scale = 1 if w is None else 1 + (w - 1) * t
        dz = dy * ((1 - t) - scale * (1 - s)) if self.needs[0] else None
        dt = dw = None
        if self.needs[1] or self.needs[2]:
            log = -self.run(LogSigmoid, z)
            dt = dy * (-z if w is None else (w - 1) * log - z)
            dw = unbroadcast(dy * t * log, w.shape) if self.needs[2] else None
        return dz, dt, dw


# --- public functions ------------------------------------------------------------------------------------------------


def _reduce(loss: Tensor, reduction: str, name: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{name}: {reduction!r} is not a valid value for reduction; use 'mean', 'sum' or 'none'")


def out_of_bounds(name: str, classes: int, ignore_index: int) -> str:
    """What is said of a label that is no class; `{}` stands for it."""
    return f"{name}: target {{}} is out of bounds for {classes} classes (ignore_index is {ignore_index})"


def _check_dtype(target: Tensor, name: str) -> None:
    if target.dtype not in (dtypes.int64, dtypes.int32, dtypes.uint8):
        raise RuntimeError(f"{name}: expected class numbers as an int64 tensor, got {target.dtype}")


def _in_classes(xp: Any, target: Any, classes: int, ignore_index: int, name: str) -> tuple[Any, Any]:
    """The class numbers, 0 where they are to be ignored, checked (backend/checks.py); and where they are not."""
    keep = target != ignore_index
    low, high = (0, classes) if classes else (ignore_index, ignore_index + 1)
    t = xp.where(keep, target, 0) if classes else target
    return checks.in_range(t, low, high, out_of_bounds(name, classes, ignore_index), IndexError), keep


def _rows(input: Tensor, target: Tensor, name: str) -> tuple[Tensor, Any]:
    """Logits (C,), (N, C) or (N, C, d...) and targets without the C, as (M, C) and (M,)."""
    if not 1 <= input.ndim:
        raise RuntimeError(f"{name}: expected input of shape (C,), (N, C) or (N, C, d...), got a 0-d tensor")
    expected = input.shape[:0] if input.ndim == 1 else (input.shape[0], *input.shape[2:])
    if tuple(target.shape) != tuple(expected):
        raise RuntimeError(
            f"{name}: expected target of shape {tuple(expected)} for input {tuple(input.shape)}, got {tuple(target.shape)}"
        )
    if input.ndim == 2:
        return input, constant(target)
    x = input if input.ndim == 1 else input.movedim(1, -1)
    return x.reshape(-1, input.shape[0 if input.ndim == 1 else 1]), constant(target).reshape(-1)


@casts
def cross_entropy(
    input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0
):
    """-log softmax(input)[target]: class numbers or class probabilities as target; the mean is weighted by `weight`."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"cross_entropy: label_smoothing must be between 0.0 and 1.0, got {label_smoothing}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(
            f"cross_entropy: {reduction!r} is not a valid value for reduction; use 'mean', 'sum' or 'none'"
        )
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"cross_entropy: expected floating point logits, got {input.dtype}")
    classes = input.shape[0 if input.ndim == 1 else 1] if input.ndim else 0
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined for all {classes} classes, got shape {tuple(weight.shape)}"
        )
    if target.dtype.is_floating_point:
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    _check_dtype(target, "cross_entropy")
    x, t = _rows(input, target, "cross_entropy")
    labels = {"target": t, "weight": None if weight is None else constant(weight), "ignore_index": ignore_index}
    if not x.numel():
        _in_classes(x.xp, target.array, classes, ignore_index, "cross_entropy")
        loss = x.sum(1)
    else:
        loss = CrossEntropy.apply(x, **labels, smoothing=label_smoothing)
    if reduction == "none":
        return loss.reshape(target.shape)
    if reduction == "sum":
        return loss.sum()
    with np.errstate(divide="ignore", invalid="ignore"):  # no label that counts: 0 / 0, in silence
        return MeanOverLabels.apply(loss, **labels)


def _soft_cross_entropy(input, target, weight, reduction, smoothing):
    if input.shape != target.shape:
        raise RuntimeError(
            f"cross_entropy: expected probabilities of shape {tuple(input.shape)}, got {tuple(target.shape)}"
        )
    dim = 0 if input.ndim == 1 else 1
    classes = input.shape[dim]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    logs = log_softmax(input, dim)
    if weight is not None:
        logs = logs * weight.reshape([-1] + [1] * (input.ndim - dim - 1))
    loss = -(logs * target).sum(dim)
    if reduction == "mean":
        return loss.sum() / (input.numel() / max(classes, 1))
    return _reduce(loss, reduction, "cross_entropy")


@casts
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """-input[target], for log-probabilities; the mean is weighted by `weight`."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"nll_loss: {reduction!r} is not a valid value for reduction; use 'mean', 'sum' or 'none'")
    _check_dtype(target, "nll_loss")
    x, t = _rows(input, target, "nll_loss")
    xp = input.xp
    safe, keep = _in_classes(xp, t, x.shape[1], ignore_index, "nll_loss")
    w = xp.ones(x.shape[1], x.array.dtype) if weight is None else weight.array
    factors = wrap((w[safe] * keep).astype(x.array.dtype))
    picked = x.gather(1, wrap(safe[:, None].astype("int64"))).squeeze(1)
    loss = where(wrap(keep), -picked, 0.0) * factors
    if reduction == "none":
        return loss.reshape(target.shape)
    return loss.sum() if reduction == "sum" else loss.sum() / factors.sum()


def _same_shape(input, target, name):
    if input.shape != target.shape:
        raise ValueError(
            f"{name}: expected target of the input's shape {tuple(input.shape)}, got {tuple(target.shape)}"
        )


@casts
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """-(t log y + (1 - t) log(1 - y)) for probabilities y; logarithms are not below -100, as in PyTorch."""
    _same_shape(input, target, "binary_cross_entropy")
    y = input.detach().array
    checks.require(
        (y >= 0) & (y <= 1),
        "binary_cross_entropy: all elements of input should be between 0 and 1; for logits use binary_cross_entropy_with_logits",
    )
    loss = BCE.apply(input, target)
    return _reduce(loss if weight is None else loss * weight, reduction, "binary_cross_entropy")


class BCE(Op):
    """Binary cross-entropy of probabilities.      p, t: the same shape      (F4, lesson 03)

    y  = -(t log p + (1 - t) log(1 - p)), logarithms not below -100
    dp = dy (p - t) / (p (1 - p)), the denominator not below 1e-12;      dt = dy (log(1 - p) - log p)
    """

    def forward(self, p, t):
        self.save(p, t)
        xp = self.xp
        return -(t * xp.maximum(xp.log(p), -100) + (1 - t) * xp.maximum(xp.log1p(-p), -100))

    def backward(self, dy):
        p, t = self.saved
        xp = self.xp
        dp = dy * (p - t) / xp.maximum(p * (1 - p), 1e-12)
        dt = dy * (xp.log1p(-p) - xp.log(p)) if self.needs[1] else None
        return dp, dt


@casts
def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """Binary cross-entropy of sigmoid(input), without overflow; pos_weight multiplies the positive term."""
    _same_shape(input, target, "binary_cross_entropy_with_logits")
    loss = BCEWithLogits.apply(input, target, pos_weight)
    return _reduce(loss if weight is None else loss * weight, reduction, "binary_cross_entropy_with_logits")


def _warn_broadcast(input, target, name):
    if input.shape != target.shape:
        warn(
            f"{name}: using a target size {tuple(target.shape)} that is different to the input size {tuple(input.shape)}; "
            "this broadcasts, and will likely lead to incorrect results. Make sure that they have the same size.",
        )


@casts
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """(input - target)^2."""
    _warn_broadcast(input, target, "mse_loss")
    loss = (input - target) ** 2
    return _reduce(loss if weight is None else loss * weight, reduction, "mse_loss")


@casts
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """|input - target|."""
    _warn_broadcast(input, target, "l1_loss")
    loss = (input - target).abs()
    return _reduce(loss if weight is None else loss * weight, reduction, "l1_loss")


@casts
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """d^2 / (2 beta) where |d| < beta, else |d| - beta/2 (arXiv:1504.08083)."""
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    _warn_broadcast(input, target, "smooth_l1_loss")
    d = (input - target).abs()
    if beta == 0:
        return _reduce(d, reduction, "smooth_l1_loss")
    return _reduce(where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta), reduction, "smooth_l1_loss")


@casts
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """d^2 / 2 where |d| < delta, else delta (|d| - delta/2)."""
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    _warn_broadcast(input, target, "huber_loss")
    d = (input - target).abs()
    loss = where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))
    return _reduce(loss if weight is None else loss * weight, reduction, "huber_loss")


@casts
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """target (log target - input), for input as log-probabilities; "batchmean" divides the sum by the batch size."""
    if log_target:
        loss = target.exp() * (target - input)
    else:
        from .elementwise import xlogy

        loss = xlogy(target, target) - target * input
    if reduction == "batchmean":
        return loss.sum() / (input.shape[0] if input.ndim else 1)
    return _reduce(loss, reduction, "kl_div")


def one_hot(tensor, num_classes=-1):
    """A vector of zeros with a 1 at each number's place: (...,) becomes (..., num_classes)."""
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type int64, got {tensor.dtype}")
    checks.require(tensor.array >= 0, "one_hot: class values must be non-negative")
    if num_classes == -1:
        if not tensor.numel():
            raise RuntimeError("one_hot: cannot infer total number of classes from an empty tensor")
        num_classes = host(tensor.array.max()) + 1
    elif num_classes < 0:
        raise RuntimeError(f"one_hot: num_classes has to be -1 or not negative, got {num_classes}")
    message = f"one_hot: class values must be smaller than num_classes; got {{}} for {num_classes} classes"
    checks.in_range(tensor.array, dtypes.iinfo(tensor.dtype).min, num_classes, message, RuntimeError)
    xp = tensor.xp
    return wrap((tensor.array[..., None] == xp.arange(num_classes)).astype("int64"))
