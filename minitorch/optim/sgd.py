"""Stochastic gradient descent."""

from ..tensor import wrap
from .optimizer import Optimizer, check_range, decayed


class SGD(Optimizer):
    """theta <- theta - lr g, with momentum if asked for. Lesson 05."""

    def __init__(
        self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False, foreach=None,
        differentiable=False, fused=None,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def check(self, options):
        check_range(
            options, ("lr", "learning rate"), ("momentum", "momentum value"), ("weight_decay", "weight_decay value")
        )
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def update(self, xp, p, g, state, group):
        """g <- g + weight_decay theta
        b <- momentum b + (1 - dampening) g            (the first time: b = g)
        d = b,  or with nesterov  d = g + momentum b,  or without momentum  d = g
        theta <- theta - lr d
        """
        momentum = group["momentum"]
        g = decayed(p, g, group)
        if momentum != 0:
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = wrap(xp.array(g))
                buffer = state["momentum_buffer"].array
            else:
                buffer = state["momentum_buffer"].array
                buffer *= momentum
                buffer += (1 - group["dampening"]) * g
            g = g + momentum * buffer if group["nesterov"] else buffer
        p -= group["lr"] * g
