"""Adam and AdamW."""

import minitorch

from .optimizer import Optimizer, check_betas, check_range, count, decayed, moments, start


class Adam(Optimizer):
    """Steps of about lr in each coordinate: the mean of the gradient over its root mean square. arXiv:1412.6980

    `amsgrad` divides by the largest mean square so far (arXiv:1904.09237). `decoupled_weight_decay`: AdamW.

    Lesson 05.
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, foreach=None,
        maximize=False, capturable=False, differentiable=False, fused=None, decoupled_weight_decay=False,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def check(self, options):
        check_range(options, ("lr", "learning rate"), ("eps", "epsilon value"), ("weight_decay", "weight_decay value"))
        check_betas(options)

    def init_state(self, p, group):
        state = start(p, "exp_avg", "exp_avg_sq")
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = minitorch.zeros_like(p)
        return state

    def update(self, xp, p, g, state, group):
        """theta <- theta - lr weight_decay theta          (decoupled; otherwise g <- g + weight_decay theta)
        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        theta <- theta - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

        m and v start at zero; the divisions by 1 - beta^t remove the bias that this gives them. amsgrad: max(v) for v.
        """
        lr, (beta1, beta2) = group["lr"], group["betas"]
        t = count(state)
        m, v = moments(state, decayed(p, g, group), group["betas"])
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"].array
            v = xp.maximum(v, largest, out=largest)
        rms = xp.sqrt(v)
        rms /= (1 - beta2**t) ** 0.5
        rms += group["eps"]
        p -= lr / (1 - beta1**t) * m / rms


class AdamW(Adam):
    """Adam with decoupled weight decay: parameters shrink by lr weight_decay, outside the moments.

    arXiv:1711.05101; lesson 05.
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False,
        foreach=None, capturable=False, differentiable=False, fused=None,
    ):  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for group in self.param_groups:  # also from a state that plain Adam saved
            group["decoupled_weight_decay"] = True
