"""The Kullback-Leibler divergence KL(p || q) = E_p[log p(x) - log q(x)], by pairs of distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import inf
from typing import Any

from ..nn.functional import softplus
from ..ops.creation import full_like
from ..tensor import Tensor
from .bernoulli import Bernoulli
from .categorical import Categorical
from .distribution import Distribution, sum_rightmost
from .exponential import Exponential
from .independent import Independent
from .normal import Normal
from .uniform import Uniform

_FORMULAS: dict[tuple[type, type], Callable] = {}


def register_kl(type_p: type, type_q: type) -> Callable:
    """Decorator: the function gives KL(p || q) for p of type_p and q of type_q, and for their subclasses."""
    for name, given in (("type_p", type_p), ("type_q", type_q)):
        if not (isinstance(given, type) and issubclass(given, Distribution)):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {given}")

    def register(formula: Callable) -> Callable:
        _FORMULAS[type_p, type_q] = formula
        return formula

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q) for each pair of the batch. The most special formula that fits is used: p's class counts first."""
    for type_p in type(p).__mro__:
        for type_q in type(q).__mro__:
            if (type_p, type_q) in _FORMULAS:
                return _FORMULAS[type_p, type_q](p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


def _nowhere(like: Tensor) -> Tensor:
    """p has draws that are impossible under q."""
    return full_like(like, inf)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Tensor:
    """p log(p/q) + (1-p) log((1-p)/(1-q));         log p = -softplus(-logits),  log(1-p) = -softplus(logits)"""
    one = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    one = one.masked_fill(q.probs == 0, inf).masked_fill(p.probs == 0, 0)
    zero = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    return one + zero.masked_fill(q.probs == 1, inf).masked_fill(p.probs == 1, 0)


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    """sum over i of p_i log(p_i / q_i)"""
    each = p.probs * (p.logits - q.logits)
    return each.masked_fill(q.probs == 0, inf).masked_fill(p.probs == 0, 0).sum(-1)


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Tensor:
    """(v - 1 - log v)/2 + (m_p - m_q)^2 / (2 s_q^2),  v = (s_p / s_q)^2"""
    v = (p.scale / q.scale).square()
    return 0.5 * (v + ((p.loc - q.loc) / q.scale).square() - 1 - v.log())


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Tensor:
    ratio = (q.high - q.low) / (p.high - p.low)
    return ratio.log().masked_fill((q.low > p.low) | (q.high < p.high), inf)


@register_kl(Exponential, Normal)
def _exponential_normal(p: Any, q: Any) -> Tensor:
    """log(r s sqrt(2 pi)) - 1 + E[(x - m)^2] / (2 s^2);         E[x] = 1/r,  E[x^2] = 2/r^2"""
    square = p.rate**-2 - q.loc / p.rate + 0.5 * q.loc.square()
    return 0.5 * (p.rate.square() * q.scale.square() * (2 * math.pi)).log() - 1 + square / q.scale.square()


@register_kl(Uniform, Normal)
def _uniform_normal(p: Any, q: Any) -> Tensor:
    width, centre = p.high - p.low, (p.high + p.low) / 2
    square = width.square() / 12 + (centre - q.loc).square()
    return (math.sqrt(2 * math.pi) * q.scale / width).log() + 0.5 * square / q.scale.square()


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Tensor:
    finite = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return finite.masked_fill(p.low < 0, inf)


@register_kl(Exponential, Uniform)
def _exponential_uniform(p: Any, q: Any) -> Tensor:
    return _nowhere(p.rate)


@register_kl(Normal, Uniform)
@register_kl(Normal, Exponential)
def _normal_elsewhere(p: Any, q: Any) -> Tensor:
    return _nowhere(p.loc)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "KL(p || q) of Independents needs equal reinterpreted_batch_ndims, got "
            f"{p.reinterpreted_batch_ndims} and {q.reinterpreted_batch_ndims}"
        )
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)
