"""Gradient clipping, in place. `foreach` chooses between implementations of PyTorch's and has no effect here."""

import math

import minitorch

from ...autograd import no_grad
from ...backend import fastpath
from ...tensor import Tensor, wrap


class Clipping:
    """A fast path for it (backend/fastpath.py) does with all tensors at once what the functions below do one by one:
    norm(tensors) -> their 2-norm, or None; scale(tensors, max_norm, total_norm) and clamp(tensors, limit) -> those that
    are left. On a GPU norm and factor stay there: nothing waits for them; and there is zero(tensors), for zero_grad."""


def _fast(tensors):
    return fastpath.ACTIVE[tensors[0].xp].get(Clipping) if tensors else None


def _grads(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in parameters if p.grad is not None]


@no_grad()
def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The p-norm of all tensors as one long vector: (sum |x_i|^p)^(1/p); `norm_type` inf: the largest |x_i|."""
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not tensors:
        return minitorch.tensor(0.0)
    fast = _fast(tensors)
    total = fast.norm(tensors) if fast is not None and norm_type == 2 else None
    if total is None:
        norms = [_norm(t, norm_type).to(tensors[0].device) for t in tensors]
        total = _norm(minitorch.stack(norms), norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def _norm(x, p):
    """The p-norm of one tensor, 0-d, of its dtype; 16-bit floats are summed in 32."""
    p = float(p)
    xp = x.xp
    v = x.array.ravel(order="K")
    v = v.astype(xp.float32) if v.dtype.itemsize < 4 else v
    if p == 2:
        norm = xp.sqrt(xp.dot(v, v))
    elif p == math.inf:
        norm = abs(v).max()
    elif p == -math.inf:
        norm = abs(v).min()
    elif p == 0:
        norm = xp.count_nonzero(v)
    else:
        norm = (abs(v) ** p).sum() ** (1 / p)
    return wrap(xp.asarray(norm, dtype=x.array.dtype))


@no_grad()
def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scale all gradients so that their joint norm is at most `max_norm`; returns the norm before.

    g <- g min(1, max_norm / (|g| + 1e-6)).                                                   arXiv:1211.5063
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_grads(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def factor(max_norm, total_norm):
    """min(1, max_norm / (norm + 1e-6)), where the norm is."""
    return (max_norm / (total_norm + 1e-6)).clamp(max=1.0)


@no_grad()
def clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """The second half of clip_grad_norm_, with a norm that is known already: g <- g min(1, max_norm / (norm + 1e-6))."""
    grads, limit = _grads(parameters), float(max_norm)
    fast = _fast(grads)
    left = grads if fast is None else fast.scale(grads, limit, total_norm)
    if left:
        scale = factor(limit, total_norm)
        for grad in left:
            grad.mul_(scale.to(grad.device))


@no_grad()
def clip_grad_value_(parameters, clip_value, foreach=None):
    """Clamp every element of every gradient to +-clip_value."""
    grads, limit = _grads(parameters), float(clip_value)
    fast = _fast(grads)
    for grad in grads if fast is None else fast.clamp(grads, limit):
        grad.clamp_(-limit, limit)
