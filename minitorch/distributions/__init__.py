"""PyTorch's torch.distributions, as far as minitorch has them: Bernoulli, Categorical, Normal, Uniform, Exponential, and
Independent round any of them. Samples are PyTorch's numbers from the same seed (on the CPU)."""

from typing import Any

from . import constraints
from .bernoulli import Bernoulli
from .categorical import Categorical
from .distribution import Distribution
from .exponential import Exponential
from .independent import Independent
from .kl import kl_divergence, register_kl
from .normal import Normal
from .uniform import Uniform

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "Exponential", "Independent", "Normal", "Uniform", "constraints",
    "kl_divergence", "register_kl",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name[:1].isupper():
        have = "Bernoulli, Categorical, Normal, Uniform, Exponential and Independent"
        raise AttributeError(f"minitorch.distributions has no {name}; it has {have}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
