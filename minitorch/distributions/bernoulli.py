"""Bernoulli: 1 with probability p, else 0."""

from __future__ import annotations

from math import nan
from typing import Any

from ..autograd.grad_mode import no_grad
from ..ops.creation import arange
from ..ops.loss import binary_cross_entropy_with_logits
from ..ops.random import bernoulli
from ..tensor import Size, Tensor
from . import constraints
from .distribution import Distribution, batch_shape_of, broadcast_all, clamp_probs, lazy_property


class Bernoulli(Distribution):
    """P(1) = p = probs,  logits = log p/(1-p).

    log P(x) = x log p + (1-x) log(1-p)         mean p         variance p (1-p)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        given = logits if probs is None else probs
        (self._param,) = broadcast_all(given)
        self.__dict__["logits" if probs is None else "probs"] = self._param
        super().__init__(batch_shape_of(self._param, given), validate_args=validate_args)

    def _expand_into(self, new: Any, batch_shape: Size) -> None:
        for name in ("probs", "logits"):
            if name in self.__dict__:
                new.__dict__[name] = new._param = self.__dict__[name].expand(batch_shape)

    @lazy_property
    def logits(self) -> Tensor:
        """log p/(1-p), with p kept a rounding away from 0 and 1."""
        probs = clamp_probs(self.probs)
        return probs.log() - (-probs).log1p()

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of 1."""
        return self.logits.sigmoid()

    @property
    def param_shape(self) -> Size:
        """The shape of probs and logits."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return (self.probs >= 0.5).to(self.probs).masked_fill(self.probs == 0.5, nan)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = arange(2, dtype=self._param.dtype, device=self._param.device).view(
            (-1,) + (1,) * len(self._batch_shape)
        )
        return values.expand((-1, *self._batch_shape)) if expand else values
