"""Adam and AdamW: one pass over parameter, gradient and both moments, in place of a dozen."""

from __future__ import annotations

import numpy as np

from ...backend.fastpath import fast_path
from ...optim.adam import Adam, AdamW
from ...optim.optimizer import count
from .compile import FLOAT32, kernel, number, over_rows, vector


@kernel
def _update(args, start, stop):
    p, g, m, v, shrink = vector(args, 0), vector(args, 1), vector(args, 2), vector(args, 3), number(args, 4)
    decay, beta1, rest1, beta2 = number(args, 5), number(args, 6), number(args, 7), number(args, 8)
    rest2, step, root, eps = number(args, 9), number(args, 10), number(args, 11), number(args, 12)
    for i in range(start, stop):
        d = g[i] + decay * p[i]
        m[i] = beta1 * m[i] + rest1 * d
        v[i] = beta2 * v[i] + rest2 * d * d
        p[i] = shrink * p[i] - step * m[i] / (np.sqrt(v[i]) * root + eps)


@fast_path(Adam, "numpy")
class AdamCPU(Adam):
    @staticmethod
    def accepts(p, g, state, group):
        arrays = p, g, state["exp_avg"].array, state["exp_avg_sq"].array
        return not group["amsgrad"] and all(a.dtype is FLOAT32 and a.flags.c_contiguous for a in arrays)

    def update(self, xp, p, g, state, group):
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        decoupled = group["decoupled_weight_decay"]
        t = count(state)
        numbers = (
            1 - lr * decay if decoupled else 1.0, 0.0 if decoupled else decay, beta1, 1 - beta1, beta2, 1 - beta2,
            lr / (1 - beta1**t), (1 - beta2**t) ** -0.5, group["eps"],
        )  # fmt: skip
        flat = [a.reshape(-1) for a in (p, g, state["exp_avg"].array, state["exp_avg_sq"].array)]
        over_rows(_update, p.size, p.size, *flat, *map(np.float32, numbers))


@fast_path(AdamW, "numpy")
class AdamWCPU(AdamW):
    accepts = staticmethod(AdamCPU.accepts)
    update = AdamCPU.update
