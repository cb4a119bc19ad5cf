"""Adagrad."""

import minitorch

from .optimizer import Optimizer, check_range, count, decayed


class Adagrad(Optimizer):
    """The gradient over the root of the sum of all its squares: steps shrink where gradients were large.

    Duchi et al., Adaptive subgradient methods, JMLR 12, 2011.

    Lesson 05.
    """

    def __init__(
        self, params, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10, foreach=None, *,
        maximize=False, differentiable=False, fused=None,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip
        for group in self.param_groups:  # as PyTorch does: its state exists before the first step
            for p in group["params"]:
                self.state[p].update(self.init_state(p, group))

    def check(self, options):
        check_range(
            options, ("lr", "learning rate"), ("lr_decay", "lr_decay value"), ("weight_decay", "weight_decay value"),
            ("initial_accumulator_value", "initial_accumulator_value value"), ("eps", "epsilon value"),
        )  # fmt: skip

    def init_state(self, p, group):
        start = group["initial_accumulator_value"]
        return {"step": minitorch.tensor(0.0), "sum": minitorch.full_like(p, start, requires_grad=False)}

    def update(self, xp, p, g, state, group):
        """g <- g + weight_decay theta
        s <- s + g^2
        theta <- theta - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)
        """
        s = state["sum"].array
        lr = group["lr"] / (1 + (count(state) - 1) * group["lr_decay"])
        g = decayed(p, g, group)
        s += g * g
        root = xp.sqrt(s)
        root += group["eps"]
        p -= lr * (g / root)
