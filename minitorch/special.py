"""PyTorch's torch.special: functions of the main module, some under another name, and those that are made of them."""

from __future__ import annotations

import math

from .missing import names as _names
from .ops import PUBLIC
from .tensor import Tensor

__getattr__ = _names(__name__)

_RENAMED = {"expit": "sigmoid", "gammaln": "lgamma", "psi": "digamma", "multigammaln": "mvlgamma"}
_SAME = (
    "digamma", "erf", "erfc", "erfinv", "exp2", "expm1", "log1p", "log_softmax", "logit", "logsumexp", "polygamma",
    "round", "sinc", "softmax", "xlogy",
)  # fmt: skip
_HERE = {name: PUBLIC[own] for name, own in {**_RENAMED, **dict(zip(_SAME, _SAME))}.items() if own in PUBLIC}
globals().update(_HERE)
__all__ = [*_HERE, "entr", "ndtr"]  # noqa: PLE0604


def entr(input: Tensor) -> Tensor:
    """-x ln(x), 0 at 0, -inf below."""
    return PUBLIC["where"](input < 0, -math.inf, 0.0 - PUBLIC["xlogy"](input, input))


def ndtr(input: Tensor) -> Tensor:
    """The distribution function of the standard normal distribution."""
    return 0.5 * PUBLIC["erfc"](-input * math.sqrt(0.5))
