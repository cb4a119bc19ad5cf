"""SGD: one pass over parameter, gradient and momentum, of all parameters in one job."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...optim.sgd import SGD
from .compile import floats_at, kernel, run, word
from .many import HEAD, collect, real

ZERO = np.float32(0)


@kernel
def _plain(args, start, stop):
    lr, sign, decay = real(args, 4), real(args, 5), real(args, 6)
    at, begin = HEAD, 0
    while start < stop:
        end = word(args, 0, at)
        if start < end:
            n, skip = min(stop, end) - start, 4 * (start - begin)
            p, g = floats_at(word(args, 0, at + 1) + skip, n), floats_at(word(args, 0, at + 2) + skip, n)
            for i in range(n):
                d = sign * g[i]
                if decay != ZERO:  # it would make a NaN of an infinite parameter
                    d += decay * p[i]
                p[i] -= lr * d
            start += n
        at, begin = at + 3, end


@kernel
def _momentum(args, start, stop):
    lr, sign, decay, momentum = real(args, 4), real(args, 5), real(args, 6), real(args, 7)
    rest, nesterov = real(args, 8), real(args, 9) != ZERO
    at, begin = HEAD, 0
    while start < stop:
        end = word(args, 0, at)
        if start < end:
            n, skip = min(stop, end) - start, 4 * (start - begin)
            p, g = floats_at(word(args, 0, at + 1) + skip, n), floats_at(word(args, 0, at + 2) + skip, n)
            b = floats_at(word(args, 0, at + 3) + skip, n)
            for i in range(n):
                d = sign * g[i]
                if decay != ZERO:
                    d += decay * p[i]
                mean = momentum * b[i] + rest * d
                b[i] = mean
                p[i] -= lr * (d + momentum * mean if nesterov else mean)
            start += n
        at, begin = at + 4, end


@fast_path(SGD, "numpy")
class SGDCPU(SGD):
    @staticmethod
    def update_all(entries, group):
        """The first step with momentum makes the buffers, and is the textbook's."""
        momentum = group["momentum"]
        sign = -1.0 if group["maximize"] else 1.0
        lines = [(id(p), id(g)) for p, g, _ in entries]
        if momentum:
            buffers = [state.get("momentum_buffer") for _, _, state in entries]
            lines = [(*line, id(b if b is None else b.array)) for line, b in zip(lines, buffers)]
        block, size, left = collect(
            entries, lines, 3 if momentum else 2, 0, group["lr"], sign, group["weight_decay"], momentum,
            1 - group["dampening"], bool(group["nesterov"]),
        )  # fmt: skip
        run(_momentum if momentum else _plain, size, size, block, each=4)
        return left
