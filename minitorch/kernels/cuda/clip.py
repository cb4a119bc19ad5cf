"""Gradient clipping and GradScaler: a launch over all gradients; norm, factor and scale stay on the GPU."""

from __future__ import annotations

from ...amp.grad_scaler import Scaling
from ...backend.fastpath import fast_path
from ...nn.utils.clip_grad import Clipping
from ...tensor import wrap
from .launch import Source
from .many import CHUNK, FLOAT32, NUMBERS, here, launch, numbers, split

_source = Source("clip.cu")


def _change(kernel, tensors, *arguments):
    """Changes the tensors in place; returns those that are left."""
    rows, taken, left = split(tensors[0].xp, tensors)
    if rows:
        launch(_source, kernel, tensors[0].xp, rows, *arguments)
    for t in taken:
        t.bump_version()
    return left


def _number(xp, t):
    """A tensor's one number as an array of float32 on the current GPU, or None if it is elsewhere."""
    a = t.array
    if a.size != 1 or not here(xp, a):
        return None
    return a if a.dtype == FLOAT32 and a.flags.c_contiguous else a.astype(FLOAT32)


@fast_path(Clipping, "cupy")
class ClippingCUDA(Clipping):
    @staticmethod
    def norm(tensors):
        xp, dtype = tensors[0].xp, tensors[0].array.dtype
        if any(t.array.dtype != dtype for t in tensors):
            return None
        rows, _, left = split(xp, tensors)
        if left or not rows:
            return None
        parts = xp.empty(sum(-(-row[0] // CHUNK) for row in rows))
        total = xp.empty((), FLOAT32)
        launch(_source, "total_norm", xp, rows, parts, total)
        return wrap(total if dtype == FLOAT32 else total.astype(dtype))

    @staticmethod
    def scale(tensors, max_norm, total):
        number = _number(tensors[0].xp, total)
        return tensors if number is None else _change("shrink", tensors, number, max_norm)

    @staticmethod
    def clamp(tensors, limit):
        return _change("clamp", tensors, limit)

    @staticmethod
    def zero(tensors):
        return _change("zero", tensors)


@fast_path(Scaling, "cupy")
class ScalingCUDA(Scaling):
    @staticmethod
    def unscale(tensors, scale, found):
        number = _number(tensors[0].xp, scale)
        return tensors if number is None else _change("unscale", tensors, number, found.array)

    @staticmethod
    def update(scale, good, found, current):
        given, now = numbers(scale.xp, current)
        _source.launch(
            "update_scale", 1, 1, scale.array, good.array, found.array, given, now, CHUNK=CHUNK, NUMBERS=NUMBERS
        )
