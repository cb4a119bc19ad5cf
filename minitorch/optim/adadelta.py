"""Adadelta."""

from .optimizer import Optimizer, check_range, count, decayed, start


class Adadelta(Optimizer):
    """The gradient times a ratio of root mean squares, the steps' over the gradients': a step has theta's units.

    So it needs no learning rate: lr only scales it. arXiv:1212.5701; lesson 05.
    """

    def __init__(
        self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0, foreach=None, *, capturable=False, maximize=False,
        differentiable=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip

    def check(self, options):
        check_range(
            options, ("lr", "learning rate"), ("rho", "rho value", 1.0, True), ("eps", "epsilon value"),
            ("weight_decay", "weight_decay value"),
        )  # fmt: skip

    def init_state(self, p, group):
        return start(p, "square_avg", "acc_delta")

    def update(self, xp, p, g, state, group):
        """g <- g + weight_decay theta
        v <- rho v + (1 - rho) g^2
        d = sqrt(u + eps) / sqrt(v + eps) g
        u <- rho u + (1 - rho) d^2
        theta <- theta - lr d

        eps also starts it: u is zero at first.
        """
        rho, eps = group["rho"], group["eps"]
        v, u = state["square_avg"].array, state["acc_delta"].array
        count(state)
        g = decayed(p, g, group)
        v *= rho
        v += (1 - rho) * g * g
        d = xp.sqrt(u + eps) / xp.sqrt(v + eps) * g
        u *= rho
        u += (1 - rho) * d * d
        p -= group["lr"] * d
