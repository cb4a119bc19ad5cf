"""Losses. `reduction`: "mean" (of the terms, or weighted mean), "sum", or "none" (every term).

`size_average` and `reduce` are PyTorch's old spelling of `reduction`.
"""

from . import functional as F
from .module import Module


class _Loss(Module):
    def __init__(self, size_average=None, reduce=None, reduction="mean"):
        super().__init__()
        if size_average is not None or reduce is not None:
            reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        self.reduction = reduction


class _WeightedLoss(_Loss):
    def __init__(self, weight=None, size_average=None, reduce=None, reduction="mean"):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class L1Loss(_Loss):
    """l_i = |x_i - y_i|."""

    def forward(self, input, target):
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """l_i = (x_i - y_i)^2."""

    def forward(self, input, target):
        return F.mse_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """l_i = d^2 / (2 beta) where d = |x_i - y_i| < beta, else d - beta / 2."""

    def __init__(self, size_average=None, reduce=None, reduction="mean", beta=1.0):
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input, target):
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """l_i = d^2 / 2 where d = |x_i - y_i| <= delta, else delta (d - delta / 2)."""

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input, target):
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(_Loss):
    """l_i = y_i (log y_i - x_i) for log-probabilities x; with `log_target` y are log-probabilities too.

    "mean" divides by the number of elements; "batchmean" by the number of examples, which is the mathematical mean.
    """

    def __init__(self, size_average=None, reduce=None, reduction="mean", log_target=False):
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input, target):
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class NLLLoss(_WeightedLoss):
    """l_n = -w[y_n] x[n, y_n] for log-probabilities x.            x: (N, C, ...)   y: (N, ...) class numbers

    Targets equal to `ignore_index` do not count. "mean" divides by the sum of the weights of the targets that count.
    """

    def __init__(self, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input, target):
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(_WeightedLoss):
    """l_n = -w[y_n] log softmax(x_n)[y_n] for logits x.           x: (N, C, ...)   y: (N, ...) class numbers

    Or y: (N, C, ...) probabilities: l_n = -sum_c w[c] y[n, c] log softmax(x_n)[c]. Logarithm and softmax are one stable
    operation. `label_smoothing` e mixes the target with the uniform distribution: (1 - e) y + e / C.
    Targets equal to `ignore_index` do not count. "mean" divides by the sum of the weights of the targets that count.
    """

    def __init__(
        self, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0
    ):
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input, target):
        return F.cross_entropy(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip


class BCELoss(_WeightedLoss):
    """l_i = -w_i (y_i log x_i + (1 - y_i) log(1 - x_i)) for probabilities x; the logarithms are kept above -100."""

    def forward(self, input, target):
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """l_i = -w_i (p_i y_i log s(x_i) + (1 - y_i) log(1 - s(x_i))) for logits x, s the sigmoid, p = `pos_weight`.

    Computed as one stable operation: no logit is too large.
    """

    def __init__(self, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input, target):
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )
