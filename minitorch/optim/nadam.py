"""NAdam."""

import minitorch

from .optimizer import Optimizer, check_betas, check_range, count, decayed, moments, start


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: the step already counts the momentum that the next one will have.

    Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016; lesson 05.
    """

    scalars = ("step", "mu_product")

    def __init__(
        self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3,
        decoupled_weight_decay=False, *, foreach=None, maximize=False, capturable=False, differentiable=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        })  # fmt: skip

    def check(self, options):
        check_range(
            options, ("lr", "learning rate"), ("eps", "epsilon value"), ("weight_decay", "weight_decay value"),
            ("momentum_decay", "momentum_decay value"),
        )  # fmt: skip
        check_betas(options)

    def init_state(self, p, group):
        return {**start(p, "exp_avg", "exp_avg_sq"), "mu_product": minitorch.tensor(1.0)}

    def update(self, xp, p, g, state, group):
        """theta <- theta - lr weight_decay theta          (decoupled; otherwise g <- g + weight_decay theta)
        mu_t = beta1 (1 - 0.96^{t momentum_decay} / 2)     a momentum that grows from beta1 / 2 to beta1
        m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
        r = sqrt(v / (1 - beta2^t)) + eps
        theta <- theta - lr (1 - mu_t) / (1 - mu_1 ... mu_t) g / r - lr mu_{t+1} / (1 - mu_1 ... mu_{t+1}) m / r
        """
        lr, (beta1, beta2) = group["lr"], group["betas"]
        t = count(state)
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (i * group["momentum_decay"])) for i in (t, t + 1))
        product = state["mu_product"].array
        product *= mu
        g = decayed(p, g, group)
        m, v = moments(state, g, group["betas"])
        r = xp.sqrt(v / (1 - beta2**t))
        r += group["eps"]
        p -= lr * (1 - mu) / (1 - float(product)) * (g / r)
        p -= lr * mu_next / (1 - float(product) * mu_next) * (m / r)
