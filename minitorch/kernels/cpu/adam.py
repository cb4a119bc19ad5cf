"""Adam and AdamW: one pass over parameter, gradient and both moments, in place of a dozen, of all parameters in one job."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...optim.adam import Adam, AdamW
from .compile import floats_at, kernel, run, word
from .many import HEAD, NUMBERS, collect, doubles_at, real

ZERO, ONE = np.float32(0), np.float32(1)
WIDTH = 8  # words of an entry: its end, four arrays, the step, two numbers


@kernel
def _count(args, count, width):
    """Adds one to each step and writes the numbers that depend on it behind it."""
    lr, beta1, beta2 = doubles_at(args + 8 * NUMBERS, 3)
    for i in range(count):
        at = HEAD + i * width + 5
        step = floats_at(word(args, 0, at), 1)
        step[0] += ONE
        t = np.float64(step[0])
        doubles_at(args + 8 * at, 3)[1] = lr / (1 - beta1**t)
        doubles_at(args + 8 * at, 3)[2] = (1 - beta2**t) ** -0.5


@kernel
def _update(args, start, stop):
    beta1, rest1, beta2, rest2 = real(args, 5), real(args, 7), real(args, 6), real(args, 8)
    shrink, sign, decay, eps = real(args, 9), real(args, 10), real(args, 11), real(args, 12)
    at, begin = HEAD, 0
    while start < stop:
        end = word(args, 0, at)
        if start < end:
            n, skip = min(stop, end) - start, 4 * (start - begin)
            p, g = floats_at(word(args, 0, at + 1) + skip, n), floats_at(word(args, 0, at + 2) + skip, n)
            m, v = floats_at(word(args, 0, at + 3) + skip, n), floats_at(word(args, 0, at + 4) + skip, n)
            step, root = real(args, at + 6), real(args, at + 7)
            for i in range(n):
                d = sign * g[i]
                if decay != ZERO:  # it would make a NaN of an infinite parameter
                    d += decay * p[i]
                mean = beta1 * m[i] + rest1 * d
                square = beta2 * v[i] + rest2 * d * d
                m[i] = mean
                v[i] = square
                p[i] = shrink * p[i] - step * mean / (np.sqrt(square) * root + eps)
            start += n
        at, begin = at + WIDTH, end


@fast_path(Adam, "numpy")
class AdamCPU(Adam):
    @staticmethod
    def update_all(entries, group):
        if group["amsgrad"]:
            return entries
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        decoupled, sign = group["decoupled_weight_decay"], -1.0 if group["maximize"] else 1.0
        lines = []
        for p, g, state in entries:
            m, v, step = state["exp_avg"].array, state["exp_avg_sq"].array, state["step"].array
            lines.append((id(p), id(g), id(m), id(v), id(step), 0, 0))
        block, size, left = collect(
            entries, lines, 4, 1, lr, beta1, beta2, 1 - beta1, 1 - beta2,
            1 - lr * decay if decoupled else 1.0, sign, 0.0 if decoupled else decay, group["eps"],
        )  # fmt: skip
        _count.here(block.buffer_info()[0], len(entries) - len(left), WIDTH)
        run(_update, size, size, block, each=4)
        return left


@fast_path(AdamW, "numpy")
class AdamWCPU(AdamW):
    update_all = staticmethod(AdamCPU.update_all)
