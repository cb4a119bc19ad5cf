"""Normalization over features.      Lesson 09."""

from __future__ import annotations


from ..autograd.engine import Op


class LayerNorm(Op):
    """Each row to mean 0 and variance 1, then scaled and shifted.       x: (..., C)   w, b: (C,)      arXiv:1607.06450

    z = (x - mean) r,   r = 1 / sqrt(variance + eps),   y = w z + b
    dz = dy w
    dx = r (dz - mean(dz) - z mean(dz z))        two cross-terms: x moves the mean, and x moves the variance
    dw = sum of dy z over the rows,   db = sum of dy

    C stands for all axes that are normalized. Lesson 09.
    """

    def forward(self, x, w, b, *, ndim, eps):
        axes = tuple(range(x.ndim - ndim, x.ndim))
        mean = x.mean(axes, keepdims=True)
        z = x - mean
        r = 1 / self.xp.sqrt((z * z).mean(axes, keepdims=True) + self.xp.asarray(eps, dtype=x.dtype))
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

    def forward(self, x, w, *, ndim, eps):
        axes = tuple(range(x.ndim - ndim, x.ndim))
        r = 1 / self.xp.sqrt((x * x).mean(axes, keepdims=True) + self.xp.asarray(eps, dtype=x.dtype))
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


def _check(name, input, normalized_shape, *parameters):
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"{name}: given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], "
            f"but got input of size {list(input.shape)}"
        )
    for p in parameters:
        if p is not None and tuple(p.shape) != shape:
            raise RuntimeError(f"{name}: expected weight and bias of shape {list(shape)}, got {list(p.shape)}")
    return len(shape)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions, of shape normalized_shape."""
    ndim = _check("layer_norm", input, normalized_shape, weight, bias)
    return LayerNorm.apply(input, weight, bias, ndim=ndim, eps=eps)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions; eps defaults to the dtype's."""
    from ..backend.dtypes import finfo

    ndim = _check("rms_norm", input, normalized_shape, weight)
    return RMSNorm.apply(input, weight, ndim=ndim, eps=finfo(input.dtype).eps if eps is None else eps)


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """x / max(norm(x), eps) along `dim`."""
    norm = input.norm(p, dim, keepdim=True)
    return input / norm.clamp_min(eps).expand_as(input)
