"""Distribution: what all of them have in common: shapes, the check of parameters and of values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..autograd.grad_mode import enable_grad, no_grad
from ..backend.dtypes import finfo, get_default_dtype
from ..ops.creation import tensor
from ..ops.shape import broadcast_tensors
from ..tensor import Size, Tensor
from .constraints import Constraint


class Distribution:
    """A batch of distributions. A sample has the shape sample_shape + batch_shape + event_shape.

    batch_shape: the shape of independent distributions with parameters of their own.
    event_shape: the shape of one draw from one of them.
    validate_args: whether parameters and values are checked, which costs time; None: as the class says.
    """

    has_rsample = False  # whether rsample's draws have gradients
    has_enumerate_support = False
    arg_constraints: Any = {}
    support: Any = None
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their arguments when they are not told."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args(): expected True or False, got {value!r}")
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if not self._validate_args:
            return
        for name, constraint in self.arg_constraints.items():
            if name in self.__dict__:  # of probs and logits only the one that was given
                value = getattr(self, name)
                if not bool(constraint.check(value).all()):
                    raise ValueError(
                        f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of "
                        f"distribution {self!r} to satisfy the constraint {constraint!r}, but found invalid "
                        f"values:\n{value}"
                    )

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of a single draw."""
        return self._event_shape

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with a larger batch, without a copy of its parameters."""
        new = self._checked_instance(_instance)
        self._expand_into(new, Size(batch_shape))
        new._batch_shape, new._event_shape = Size(batch_shape), self._event_shape
        new._validate_args = self._validate_args
        return new

    def _checked_instance(self, instance: Any) -> Any:
        defining: Any = next(cls for cls in type(self).__mro__ if "_expand_into" in vars(cls))
        if instance is None and type(self).__init__ is not defining.__init__:
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {defining.__name__} that defines a custom __init__ method must also "
                "define a custom .expand() method."
            )
        return type(self).__new__(type(self)) if instance is None else instance

    def _expand_into(self, new: Any, batch_shape: Size) -> None:
        """Gives `new` this distribution's parameters, expanded."""
        raise NotImplementedError(f"{type(self).__name__} does not implement expand")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, outside the graph."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws as functions of the parameters, so that gradients flow to them."""
        raise NotImplementedError(
            f"{type(self).__name__} has no rsample (has_rsample is False): its draws are not differentiable in its "
            "parameters; sample() and log_prob() make a score-function estimate"
        )

    def sample_n(self, n: int) -> Tensor:
        """sample((n,))"""
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, at `value`."""
        raise self._missing("log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw that is at most `value`."""
        raise self._missing("cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The number that a draw stays below with probability `value`."""
        raise self._missing("icdf")

    def entropy(self) -> Tensor:
        """-E[log p], for each distribution of the batch."""
        raise self._missing("entropy")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution, along a new first dimension."""
        raise self._missing("enumerate_support")

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise self._missing("mean")

    @property
    def mode(self) -> Tensor:
        """The most probable value."""
        raise self._missing("mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise self._missing("variance")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def perplexity(self) -> Tensor:
        """e to the power of the entropy."""
        return self.entropy().exp()

    def _missing(self, name: str) -> Exception:
        return NotImplementedError(f"{type(self).__name__} does not implement {name}")

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"The value argument to log_prob must be a Tensor, got {type(value).__name__}")
        start = value.ndim - len(self._event_shape)
        if tuple(value.shape[max(start, 0) :]) != self._event_shape:
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.shape} vs {self._event_shape}."
            )
        expected = Size((*self._batch_shape, *self._event_shape))
        for i, j in zip(reversed(value.shape), reversed(expected)):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {expected}."
                )
        support = self.support
        if support is not None and not bool(support.check(value).all()):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the "
                f"support ({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        given = {name: self.__dict__[name] for name in self.arg_constraints if name in self.__dict__}
        shown = (f"{name}: {t if t.numel() == 1 else t.shape}" for name, t in given.items())
        return f"{type(self).__name__}({', '.join(shown)})"


class lazy_property(functools.cached_property):
    """Computed when it is asked for, and kept: of probs and logits the one that was not given."""

    def __init__(self, compute: Callable):
        super().__init__(enable_grad(compute))
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Tensors and numbers as tensors of one shape; a number takes the dtype of the first tensor."""
    for value in values:
        if not isinstance(value, (Tensor, int, float)):
            raise ValueError(f"Input arguments must all be instances of Number or Tensor, got {type(value).__name__}")
    like = next((v for v in values if isinstance(v, Tensor)), None)
    options: dict = {"dtype": get_default_dtype()} if like is None else {"dtype": like.dtype, "device": like.device}
    return tuple(broadcast_tensors(*[v if isinstance(v, Tensor) else tensor(v, **options) for v in values]))


def batch_shape_of(parameter: Tensor, *given: Any) -> Size:
    """The batch shape: none where all parameters were given as numbers."""
    return parameter.shape if any(isinstance(g, Tensor) for g in given) else Size()


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept a rounding away from 0 and 1."""
    limits: Any = finfo(probs.dtype)
    return probs.clamp(min=limits.eps, max=1 - limits.eps)


def sum_rightmost(value: Tensor, dims: int) -> Tensor:
    """The sum over the last `dims` dimensions."""
    return value if dims == 0 else value.reshape((*value.shape[:-dims], -1)).sum(-1)


__all__ = ["Constraint", "Distribution"]
