"""Gradients against central differences: (f(x + h u) - f(x - h u)) / 2h along random directions.  Lesson 00."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend.devices import to_numpy
from ..tensor import Tensor, wrap
from . import grad
from .grad_mode import enable_grad, no_grad


def _tuple(value: Any) -> tuple:
    return (value,) if isinstance(value, Tensor) else tuple(value)


def gradcheck(
    func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, fast_mode: bool = False, **unsupported: Any,
) -> bool:  # fmt: skip
    """Whether the analytic Jacobian of func equals the numeric one, element by element (fast_mode: along one direction).

    inputs: float64 tensors, those that require gradients are checked. A failure says which output and input differ,
    where, and both numbers.
    """
    inputs = _tuple(inputs)
    checked = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not checked:
        raise ValueError("gradcheck expects at least one input tensor to require gradients")
    for i in checked:
        if inputs[i].array.dtype != np.float64:
            raise ValueError(
                f"gradcheck: input {i} is {inputs[i].dtype}; float32 differences are too coarse: use float64"
            )
    try:
        _check(func, inputs, checked, eps, atol, rtol, fast_mode)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


class GradcheckError(RuntimeError):
    """The analytic and the numeric gradient differ."""


def _outputs(func: Callable, inputs: tuple) -> list:
    out = func(*inputs)
    return [t for t in _tuple(out) if isinstance(t, Tensor) and t.is_floating_point()]


def _numeric(func: Callable, inputs: tuple, i: int, direction: np.ndarray, eps: float) -> list:
    moved = []
    for sign in (1, -1):
        shifted = list(inputs)
        step = inputs[i].xp.asarray(direction * (sign * eps))
        shifted[i] = wrap(inputs[i].array + step)
        with no_grad():
            moved.append([to_numpy(o.array) for o in _outputs(func, tuple(shifted))])
    return [(a - b) / (2 * eps) for a, b in zip(*moved)]


def _check(func: Callable, inputs: tuple, checked: list, eps: float, atol: float, rtol: float, fast: bool) -> None:
    rng = np.random.default_rng(0)
    with enable_grad():
        outputs = _outputs(func, inputs)
    for i in checked:
        shape = inputs[i].array.shape
        n = inputs[i].numel()
        directions = [rng.standard_normal(shape)] if fast else [np.eye(n)[k].reshape(shape) for k in range(n)]
        numeric = [_numeric(func, inputs, i, u, eps) for u in directions]
        for o, out in enumerate(outputs):
            cotangents = (
                [rng.standard_normal(out.array.shape)]
                if fast
                else [np.eye(out.numel())[k].reshape(out.array.shape) for k in range(out.numel())]
            )
            for v in cotangents:
                g = None
                if out.requires_grad:
                    given = wrap(out.xp.asarray(v, dtype=out.array.dtype))
                    (g,) = grad(out, inputs[i], given, retain_graph=True, allow_unused=True)
                analytic_all = np.zeros(shape) if g is None else to_numpy(g.array)
                if analytic_all.shape != shape:
                    raise GradcheckError(
                        f"gradcheck: output {o} with respect to input {i}: the gradient has shape {analytic_all.shape}, the "
                        f"input {shape}: was a sum over broadcast dimensions left out?"
                    )
                for u, columns in zip(directions, numeric):
                    analytic, expected = float((analytic_all * u).sum()), float((v * columns[o]).sum())
                    if not np.isclose(analytic, expected, rtol=rtol, atol=atol, equal_nan=True):
                        raise GradcheckError(
                            f"gradcheck: output {o} with respect to input {i}: the analytic derivative is {analytic}, "
                            f"the numeric one {expected} (direction {np.argmax(np.abs(u))}, cotangent {np.argmax(np.abs(v))})"
                        )


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
    """`gradcheck` of the gradient itself: second derivatives, of cotangents too."""
    inputs = _tuple(inputs)
    with enable_grad():
        outputs = _outputs(func, inputs)
    rng = np.random.default_rng(1)
    if grad_outputs is None:
        vs = tuple(wrap(o.xp.asarray(rng.standard_normal(o.array.shape)), requires_grad=True) for o in outputs)
    else:
        vs = _tuple(grad_outputs)
    checked = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]

    def gradient(*args: Any) -> tuple:
        xs, given = list(args[: len(inputs)]), args[len(inputs) :]
        for i in checked:
            if not xs[i].requires_grad:
                xs[i] = xs[i].detach().requires_grad_()
        with enable_grad():
            outs = _outputs(func, tuple(xs))
            found = grad(outs, [xs[i] for i in checked], given, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradient, (*inputs, *vs), **options)
