"""Gradient clipping: the sum of all squares in one job, and the scaling in another."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...nn.utils.clip_grad import Clipping, factor
from ...tensor import wrap
from .compile import address, floats_at, kernel, run, word
from .many import HEAD, NUMBERS, collect, doubles_at, real

PIECE = 1 << 14  # elements that are summed in float32; sums of pieces are added in float64, in their order
ZERO = np.float32(0)


@kernel
def _squares(args, start, stop):
    """The sums of the pieces [start, stop)."""
    sums, size = word(args, 0, NUMBERS), word(args, 0, NUMBERS + 1)
    at, begin = HEAD, 0
    for piece in range(start, stop):
        i, last = piece * PIECE, min((piece + 1) * PIECE, size)
        total = 0.0
        while i < last:
            end = word(args, 0, at)
            if i < end:
                n = min(last, end) - i
                g = floats_at(word(args, 0, at + 1) + 4 * (i - begin), n)
                part = ZERO
                for j in range(n):
                    part += g[j] * g[j]
                total += part
                i += n
            if end <= i:
                at, begin = at + 2, end
        doubles_at(sums, piece + 1)[piece] = total


@kernel
def _scale(args, start, stop):
    factor = real(args, NUMBERS)
    at, begin = HEAD, 0
    while start < stop:
        end = word(args, 0, at)
        if start < end:
            n = min(stop, end) - start
            g = floats_at(word(args, 0, at + 1) + 4 * (start - begin), n)
            for i in range(n):
                g[i] *= factor
            start += n
        at, begin = at + 2, end


@kernel
def _clamp(args, start, stop):
    limit = real(args, NUMBERS)
    at, begin = HEAD, 0
    while start < stop:
        end = word(args, 0, at)
        if start < end:
            n = min(stop, end) - start
            g = floats_at(word(args, 0, at + 1) + 4 * (start - begin), n)
            for i in range(n):
                x = g[i]
                x = limit if x > limit else x
                g[i] = -limit if x < -limit else x  # NaN stays
            start += n
        at, begin = at + 2, end


def _change(kernel, tensors, number):
    block, size, left = collect(tensors, [(id(t.array),) for t in tensors], 1, 0, number)
    run(kernel, size, size, block, each=4)
    others = {id(t) for t in left}
    for t in tensors:
        if id(t) not in others:
            t.bump_version()
    return left


@fast_path(Clipping, "numpy")
class ClippingCPU(Clipping):
    @staticmethod
    def norm(tensors):
        block, size, left = collect(tensors, [(id(t.array),) for t in tensors], 1, 0)
        if left:
            return None
        sums = np.empty(-(-size // PIECE))
        block[NUMBERS], block[NUMBERS + 1] = address(sums), size
        run(_squares, len(sums), size, block, each=4)
        return wrap(np.asarray(np.sqrt(sums.sum()), np.float32))

    @staticmethod
    def scale(tensors, max_norm, total):
        number = factor(max_norm, total).item()
        return [] if number == 1 else _change(_scale, tensors, number)

    @staticmethod
    def clamp(tensors, limit):
        return _change(_clamp, tensors, limit)
