"""LAMB."""

import math

from .optimizer import Optimizer, check_betas, check_range, count, moments, start


class LAMB(Optimizer):
    """Adam's direction, but each layer moves by a fixed part of its own size: it bears very large batches.

    `norm_range` holds gamma_l and gamma_u, the bounds of phi(z) = min(max(z, gamma_l), gamma_u).
    arXiv:1904.00962, algorithm 2; lesson 05. PyTorch has no LAMB.
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, *, norm_range=(0.0, math.inf),
        maximize=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "norm_range": norm_range,
            "maximize": maximize,
        })  # fmt: skip

    def check(self, options):
        check_range(options, ("lr", "learning rate"), ("eps", "epsilon value"), ("weight_decay", "weight_decay value"))
        check_betas(options)
        low, high = options["norm_range"]
        if not 0.0 <= low <= high:
            raise ValueError(f"Invalid norm_range: {low}, {high}")

    def init_state(self, p, group):
        return start(p, "exp_avg", "exp_avg_sq")

    def update(self, xp, p, g, state, group):
        """m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
        r = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
        d = r + weight_decay theta
        theta <- theta - lr phi(|theta|) / |d| d            |.|: the norm of the whole tensor

        Where theta or d is zero the ratio is 1, so that a parameter can leave zero.
        """
        beta1, beta2 = group["betas"]
        t = count(state)
        m, v = moments(state, g, group["betas"])
        rms = xp.sqrt(v / (1 - beta2**t))
        rms += group["eps"]
        d = m / (1 - beta1**t) / rms
        d += group["weight_decay"] * p
        size, length = (xp.sqrt((x * x).sum()) for x in (p, d))
        low, high = group["norm_range"]
        size = xp.minimum(xp.maximum(size, low), high)
        moving = (size > 0) & (length > 0)
        ratio = xp.where(moving, size / xp.where(moving, length, 1.0), 1.0)  # an array: nothing waits for a GPU
        p -= group["lr"] * ratio.astype(p.dtype) * d
