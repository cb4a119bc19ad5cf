"""Adamax."""

from .optimizer import Optimizer, check_betas, check_range, count, decayed, start


class Adamax(Optimizer):
    """Adam with the largest recent |g| in the place of the root mean square. arXiv:1412.6980, section 7; lesson 05."""

    def __init__(
        self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, foreach=None, *, maximize=False,
        differentiable=False, capturable=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def check(self, options):
        check_range(options, ("lr", "learning rate"), ("eps", "epsilon value"), ("weight_decay", "weight_decay value"))
        check_betas(options)

    def init_state(self, p, group):
        return start(p, "exp_avg", "exp_inf")

    def update(self, xp, p, g, state, group):
        """g <- g + weight_decay theta
        m <- beta1 m + (1 - beta1) g
        u <- max(beta2 u, |g| + eps)
        theta <- theta - lr / (1 - beta1^t) m / u

        u is Adam's v with the power p in the place of 2, for p to infinity; a maximum needs no bias correction.
        """
        beta1, beta2 = group["betas"]
        m, u = state["exp_avg"].array, state["exp_inf"].array
        t = count(state)
        g = decayed(p, g, group)
        m += (1 - beta1) * (g - m)
        u *= beta2
        xp.maximum(u, abs(g) + group["eps"], out=u)
        p -= group["lr"] / (1 - beta1**t) * (m / u)
