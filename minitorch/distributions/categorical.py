"""Categorical: one of the numbers 0 ... C-1."""

from __future__ import annotations

from math import nan
from typing import Any

from ..autograd.grad_mode import no_grad
from ..backend import dtypes
from ..ops.creation import arange, full
from ..ops.random import multinomial
from ..ops.shape import broadcast_tensors
from ..tensor import Size, Tensor
from . import constraints
from .distribution import Distribution, clamp_probs, lazy_property


class Categorical(Distribution):
    """P(i) = probs[..., i]: weights along the last dimension, divided by their sum; or softmax(logits).

    The attribute `logits` holds log probabilities, whatever was given.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        name, given = ("logits", logits) if probs is None else ("probs", probs)
        if not isinstance(given, Tensor):
            raise TypeError(f"Categorical(): expected a Tensor for {name}, got {type(given).__name__}")
        if given.ndim < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is None:
            self._param = self.logits = given - given.logsumexp(dim=-1, keepdim=True)
        else:
            self._param = self.probs = given / given.sum(-1, keepdim=True)
        self._num_events = self._param.shape[-1]
        super().__init__(self._param.shape[:-1], validate_args=validate_args)

    def _expand_into(self, new: Any, batch_shape: Size) -> None:
        for name in ("probs", "logits"):
            if name in self.__dict__:
                new.__dict__[name] = new._param = self.__dict__[name].expand((*batch_shape, self._num_events))
        new._num_events = self._num_events

    @lazy_property
    def logits(self) -> Tensor:
        """log P(i), with P kept a rounding away from 0 and 1."""
        return clamp_probs(self.probs).log()

    @lazy_property
    def probs(self) -> Tensor:
        """P(i)."""
        return self.logits.softmax(-1)

    @property
    def support(self) -> Any:  # type: ignore[override]
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def param_shape(self) -> Size:
        """The shape of probs and logits."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:  # the numbers are names: they have no mean
        return full(self._extended_shape(), nan, dtype=self.probs.dtype, device=self.probs.device)

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(dim=-1)

    @property
    def variance(self) -> Tensor:
        return self.mean

    def sample(self, sample_shape: Any = ()) -> Tensor:
        count = Size(sample_shape).numel()
        with no_grad():
            drawn = multinomial(self.probs.reshape(-1, self._num_events), count, True)  # (batch, count)
        return drawn.t().reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        index, log_probs = broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return log_probs.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        limits: Any = dtypes.finfo(self.logits.dtype)
        logits = self.logits.clamp(min=limits.min)  # 0 log 0 is 0
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = arange(self._num_events, device=self._param.device).view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values
