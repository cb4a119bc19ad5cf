"""RMSprop."""

import minitorch

from .optimizer import Optimizer, check_range, count, decayed, start


class RMSprop(Optimizer):
    """The gradient over its root mean square. Hinton, Neural networks for machine learning, lecture 6e.

    `centered` divides by the standard deviation instead (arXiv:1308.0850).

    Lesson 05.
    """

    def __init__(
        self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, capturable=False,
        foreach=None, maximize=False, differentiable=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        })  # fmt: skip

    def check(self, options):
        check_range(
            options, ("lr", "learning rate"), ("eps", "epsilon value"), ("momentum", "momentum value"),
            ("weight_decay", "weight_decay value"), ("alpha", "alpha value"),
        )  # fmt: skip

    def init_state(self, p, group):
        state = start(p, "square_avg")
        if group["momentum"] > 0:
            state["momentum_buffer"] = minitorch.zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = minitorch.zeros_like(p)
        return state

    def update(self, xp, p, g, state, group):
        """g <- g + weight_decay theta
        v <- alpha v + (1 - alpha) g^2
        r = sqrt(v) + eps,  or centered, with a <- alpha a + (1 - alpha) g,  r = sqrt(v - a^2) + eps
        theta <- theta - lr g / r,  or with momentum  b <- momentum b + g / r,  theta <- theta - lr b
        """
        alpha = group["alpha"]
        v = state["square_avg"].array
        count(state)
        g = decayed(p, g, group)
        v *= alpha
        v += (1 - alpha) * g * g
        if group["centered"]:
            mean = state["grad_avg"].array
            mean += (1 - alpha) * (g - mean)
            rms = xp.sqrt(v - mean * mean)
        else:
            rms = xp.sqrt(v)
        rms += group["eps"]
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"].array
            buffer *= group["momentum"]
            buffer += g / rms
            p -= group["lr"] * buffer
        else:
            p -= group["lr"] * (g / rms)
