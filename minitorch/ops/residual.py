"""The end of a Transformer's block, dropout + residual + LayerNorm, as one op: for arrays whose library has a kernel for it."""

from __future__ import annotations

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import fastpath
from .normalize import LayerNorm, _check, layer_norm
from .random import _generator, dropout


class DropoutAddLayerNorm(Op):
    """y = LayerNorm(h),  h = x m / (1 - p) + residual.      x, residual, y: (..., C)   w, b: (C,)

    dh, dw, db: LayerNorm's,   dresidual = dh,   dx = dh m / (1 - p)

    m, 0 with probability p, else 1, is drawn from `generator` here; generator None: no dropout. The rules are those of Dropout and
    LayerNorm, one after the other: h is linear in x and in the residual.
    """

    def forward(self, x, residual, w, b, *, p, generator, ndim, eps):
        keep, scale, h = None, 1.0, x
        if generator is not None:
            keep, scale = self.xp.asarray(generator.bernoulli(1 - p, x.shape)), 1 / (1 - p)
            h = x * keep * scale
        self.save(x, residual, w, keep, scale, ndim, eps)
        return self.run(LayerNorm, h + residual, w, b, ndim=ndim, eps=eps)

    def backward(self, dy):
        x, residual, w, keep, scale, ndim, eps = self.saved
        norm = LayerNorm()
        norm.xp, norm.needs = self.xp, (self.needs[0] or self.needs[1], *self.needs[2:])
        h = (x if keep is None else x * keep * scale) + residual
        norm.saved = h, w, tuple(range(x.ndim - ndim, x.ndim)), eps
        dh, dw, db = norm.backward(dy)
        dx = dh if keep is None or not self.needs[0] else dh * keep * scale
        return dx, dh, dw, db


@casts
def dropout_add_layer_norm(input, residual, normalized_shape, weight=None, bias=None, p=0.5, training=True, eps=1e-5):
    """layer_norm(residual + dropout(input)): one op where the arrays' library has a fast path for it, else the three."""
    fused = fastpath.ACTIVE[input.xp].get(DropoutAddLayerNorm)
    if fused is not None and 0 <= p < 1:
        ndim = _check("layer_norm", residual, normalized_shape, weight, bias)
        draw = _generator(None, input.device) if training and p else None
        options = {"p": p, "generator": draw, "ndim": ndim, "eps": eps}
        tensors = input, residual, weight, bias
        if fused.accepts(*[t if t is None else t.array for t in tensors], **options):
            return DropoutAddLayerNorm.apply(*tensors, **options)
    return layer_norm(residual + dropout(input, p, training), normalized_shape, weight, bias, eps)
