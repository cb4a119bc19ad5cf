"""RAdam."""

from .optimizer import Optimizer, check_betas, check_range, count, decayed, moments, start


class RAdam(Optimizer):
    """Adam whose first steps are rectified: while v rests on few gradients, smaller steps, or none of its scaling.

    It does by itself what a warm-up of the learning rate does for Adam. arXiv:1908.03265; lesson 05.
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled_weight_decay=False, *,
        foreach=None, maximize=False, capturable=False, differentiable=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        })  # fmt: skip

    def check(self, options):
        check_range(options, ("lr", "learning rate"), ("eps", "epsilon value"), ("weight_decay", "weight_decay value"))
        check_betas(options)

    def init_state(self, p, group):
        return start(p, "exp_avg", "exp_avg_sq")

    def update(self, xp, p, g, state, group):
        """theta <- theta - lr weight_decay theta          (decoupled; otherwise g <- g + weight_decay theta)
        m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
        rho_inf = 2 / (1 - beta2) - 1,   rho = rho_inf - 2 t beta2^t / (1 - beta2^t)     how many gradients v averages
        rho > 5:    r = sqrt( (rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho) )
                    theta <- theta - lr r m / (1 - beta1^t) / ((sqrt(v) + eps) / sqrt(1 - beta2^t))
        otherwise:  theta <- theta - lr m / (1 - beta1^t)

        The variance of 1 / sqrt(v) is finite only from rho > 4 on; r makes up for it.
        """
        beta1, beta2 = group["betas"]
        t = count(state)
        m, v = moments(state, decayed(p, g, group), group["betas"])
        step = m * (group["lr"] / (1 - beta1**t))
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 5:
            r = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
            step *= r * (1 - beta2**t) ** 0.5 / (xp.sqrt(v) + group["eps"])
        p -= step
