"""Rprop."""

import minitorch

from .optimizer import Optimizer, check_range, count, start


class Rprop(Optimizer):
    """Only the gradient's sign counts; each coordinate has a step of its own. For full batches, without noise.

    Riedmiller and Braun, A direct adaptive method for faster backpropagation learning, 1993; lesson 05.
    """

    def __init__(
        self, params, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50), *, capturable=False, foreach=None,
        maximize=False, differentiable=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def check(self, options):
        check_range(options, ("lr", "learning rate"))
        shrink, grow = options["etas"]
        if not 0.0 < shrink < 1.0 < grow:
            raise ValueError(f"Invalid eta values: {shrink}, {grow}")

    def init_state(self, p, group):
        step_size = minitorch.full_like(p, float(group["lr"]), requires_grad=False)
        return {**start(p, "prev"), "step_size": step_size}

    def update(self, xp, p, g, state, group):
        """etas = (shrink, grow), and g' is the gradient before:
        g g' > 0:  s <- grow s
        g g' < 0:  s <- shrink s, and g <- 0: the last step went too far, so this one is left out
        s <- clip(s, step_sizes)
        theta <- theta - s sign(g)
        """
        shrink, grow = group["etas"]
        s, previous = state["step_size"].array, state["prev"].array
        count(state)
        product = g * previous
        s *= xp.where(product > 0, grow, xp.where(product < 0, shrink, 1.0)).astype(s.dtype)
        xp.clip(s, *group["step_sizes"], out=s)
        previous[...] = xp.where(product < 0, 0.0, g)
        p -= s * xp.sign(previous)
