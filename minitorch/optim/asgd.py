"""Averaged stochastic gradient descent."""

import minitorch

from .optimizer import Optimizer, check_range, count, decayed, start


class ASGD(Optimizer):
    """SGD with falling steps; `state[p]["ax"]` is the mean of the parameters from step t0 on.

    Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992; lesson 05.
    """

    scalars = ("step", "eta", "mu")

    def __init__(
        self, params, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0, foreach=None, maximize=False,
        differentiable=False, capturable=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def check(self, options):
        check_range(options, ("lr", "learning rate"), ("weight_decay", "weight_decay value"))

    def init_state(self, p, group):
        return {**start(p, "ax"), "eta": minitorch.tensor(float(group["lr"])), "mu": minitorch.tensor(1.0)}

    def update(self, xp, p, g, state, group):
        """g <- g + weight_decay theta
        theta <- (1 - lambd eta) theta - eta g
        a <- a + mu (theta - a)                       the mean; while mu is 1, theta itself
        eta <- lr / (1 + lambd lr t)^alpha,   mu <- 1 / max(1, t - t0)
        """
        lr, lambd = group["lr"], group["lambd"]
        a, eta, mu = state["ax"].array, state["eta"].array, state["mu"].array
        t = count(state)
        g = decayed(p, g, group)
        p *= 1 - lambd * float(eta)
        p -= float(eta) * g
        a += float(mu) * (p - a)
        eta[...] = lr / (1 + lambd * lr * t) ** group["alpha"]
        mu[...] = 1 / max(1, t - group["t0"])
