"""Jacobians, Hessians and their products with vectors, of functions from tensors to tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor, wrap
from . import grad
from .grad_mode import enable_grad


def _prepare(inputs: Any, create_graph: bool) -> tuple[tuple, bool]:
    single = isinstance(inputs, Tensor)
    tensors = (inputs,) if single else tuple(inputs)
    for t in tensors:
        if not isinstance(t, Tensor) or not t.is_floating_point():
            raise TypeError("the inputs must be floating point tensors")
    return tuple(
        t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in tensors
    ), single


def _call(func: Callable, inputs: tuple) -> tuple[tuple, bool]:
    out = func(*inputs)
    single = isinstance(out, Tensor)
    return ((out,) if single else tuple(out)), single


def _finish(value: Any, create_graph: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(_finish(v, create_graph) for v in value)
    return value if create_graph else value.detach()


def _zeros_where_none(grads: tuple, inputs: tuple, strict: bool) -> tuple:
    if strict and any(g is None for g in grads):
        raise RuntimeError("strict=True: an output does not depend on one of the inputs")
    return tuple(wrap(t.xp.zeros(t.array.shape, t.array.dtype)) if g is None else g for g, t in zip(grads, inputs))


def _grads(out: Tensor, inputs: tuple, v: Any, create_graph: bool, strict: bool = False) -> tuple:
    if not out.requires_grad:
        return _zeros_where_none((None,) * len(inputs), inputs, strict)
    found = grad(out, inputs, v, retain_graph=True, create_graph=create_graph, allow_unused=True)
    return _zeros_where_none(found, inputs, strict)


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), v^T J): one backward pass."""
    with enable_grad():
        inputs, single = _prepare(inputs, create_graph)
        outputs, single_out = _call(func, inputs)
        if v is None:
            if len(outputs) > 1 or outputs[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the user-provided function returns a single element"
                )
            vs: tuple = (None,)
        else:
            vs = (v,) if isinstance(v, Tensor) else tuple(v)
            for given, out in zip(vs, outputs):
                if given.shape != out.shape:
                    raise RuntimeError(f"v has shape {tuple(given.shape)}, the output {tuple(out.shape)}")
        found = [_grads(o, inputs, g, create_graph, strict) for o, g in zip(outputs, vs)]
        total = tuple(_add(parts) for parts in zip(*found))
    result = outputs[0] if single_out else outputs
    return _finish(result, create_graph), _finish(total[0] if single else total, create_graph)


def _add(parts: tuple) -> Tensor:
    out = parts[0]
    for p in parts[1:]:
        out = out + p
    return out


def _directions(v: Any, inputs: tuple) -> tuple:
    """v as a tuple, one direction for each input; a single input of one element needs none."""
    if v is None:
        if len(inputs) > 1 or inputs[0].numel() != 1:
            raise RuntimeError("The vector v can only be None if the input is a single tensor with a single element")
        return (wrap(inputs[0].xp.ones(inputs[0].array.shape, inputs[0].array.dtype)),)
    vs = (v,) if isinstance(v, Tensor) else tuple(v)
    if len(vs) != len(inputs):
        raise RuntimeError(f"v has {len(vs)} tensors, the function {len(inputs)} inputs")
    for given, t in zip(vs, inputs):
        if given.shape != t.shape:
            raise RuntimeError(f"v has shape {tuple(given.shape)}, the input {tuple(t.shape)}")
    return vs


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), J v): two backward passes. u -> u^T J is linear in u; its derivative along v is J v."""
    with enable_grad():
        inputs, single = _prepare(inputs, create_graph)
        outputs, single_out = _call(func, inputs)
        vs = _directions(v, inputs)
        products = []
        for out in outputs:
            u = wrap(out.xp.zeros(out.array.shape, out.array.dtype), requires_grad=True)
            back = _grads(out, inputs, u, True, strict)
            linear = _add(tuple((b * w).sum() for b, w in zip(back, vs)))
            products.append(_grads(linear, (u,), None, create_graph)[0])
    result = outputs[0] if single_out else outputs
    return _finish(result, create_graph), _finish(products[0] if single_out else tuple(products), create_graph)


def jacobian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Jacobian of func, of shape (*output, *input): a backward pass for each element of the output."""
    with enable_grad():
        inputs, single = _prepare(inputs, create_graph)
        outputs, single_out = _call(func, inputs)
        rows = []
        for out in outputs:
            columns = []
            for i in range(out.numel()):
                one_hot = out.xp.zeros(out.numel(), out.array.dtype)
                one_hot[i] = 1
                columns.append(_grads(out, inputs, wrap(one_hot.reshape(out.array.shape)), create_graph, strict))
            blocks = []
            for j, t in enumerate(inputs):
                from ..ops.shape import stack

                shape = (*out.shape, *t.shape)
                blocks.append(
                    stack([c[j] for c in columns]).reshape(shape) if columns else wrap(t.xp.zeros(shape, t.array.dtype))
                )
            rows.append(blocks[0] if single else tuple(blocks))
    return _finish(rows[0] if single_out else tuple(rows), create_graph)


def hessian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The matrix of second derivatives of a function to a single element: the Jacobian of its gradient."""
    single = isinstance(inputs, Tensor)

    def gradient(*tensors: Tensor) -> Any:
        out = func(*tensors)
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise RuntimeError("hessian: the function must return a tensor with a single element")
        found = _grads(out.reshape(()), tensors, None, True, strict)
        return found[0] if single else found

    return jacobian(gradient, inputs, create_graph, strict)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), H v)."""
    with enable_grad():
        tensors, single = _prepare(inputs, create_graph)
        out = func(*tensors)
        first = _grads(out, tensors, None, True, strict)
        vs = _directions(v, tensors)
        product = _grads(_add(tuple((g * w).sum() for g, w in zip(first, vs))), tensors, None, create_graph, strict)
    return _finish(out, create_graph), _finish(product[0] if single else product, create_graph)


vhp = hvp  # a Hessian is symmetric
