"""Gradients: `backward`, `grad`, custom functions, Jacobians and Hessians, checks. The engine itself: engine.py."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, wrap
from . import engine
from .function import Function
from .grad_mode import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)


def _as_tuple(value: Any) -> tuple:
    return (value,) if isinstance(value, Tensor) or value is None else tuple(value)


def _cotangents(tensors: tuple, grads: tuple, name: str) -> list:
    if len(grads) != len(tensors):
        raise RuntimeError(f"{name}: got {len(tensors)} tensors and {len(grads)} gradients")
    out = []
    for t, g in zip(tensors, grads):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: expected a Tensor, got {type(t).__name__}")
        if not t.requires_grad:
            raise RuntimeError(
                f"{name}: element of tensors does not require grad and does not have a grad_fn: nothing that it was "
                "computed from has requires_grad=True, or it was computed under no_grad"
            )
        if g is None:
            if t.array.size != 1:
                raise RuntimeError(
                    f"{name}: grad can be implicitly created only for scalar outputs; this one has shape "
                    f"{tuple(t.shape)}: sum it, or give the gradient"
                )
            g = wrap(t.xp.ones(t.array.shape, t.array.dtype))
        if g.array.shape != t.array.shape:
            raise RuntimeError(
                f"{name}: Mismatch in shape: the gradient has shape {tuple(g.shape)}, the tensor {tuple(t.shape)}"
            )
        out.append(g if g.array.dtype == t.array.dtype else g.to(t.dtype))
    return out


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None) -> None:
    """Adds the gradients of `tensors` to the `.grad` of the leaves that they were computed from.

    grad_tensors: a cotangent for each tensor (ones for single elements). retain_graph: keep what the ops saved for
    another backward pass (as create_graph, unless given). create_graph: the gradients can be differentiated themselves.
    inputs: only these leaves.
    """
    tensors = _as_tuple(tensors)
    grads = (None,) * len(tensors) if grad_tensors is None else _as_tuple(grad_tensors)
    cotangents = _cotangents(tensors, grads, "backward")
    if inputs is not None:
        inputs = _as_tuple(inputs)
        if not inputs:
            raise RuntimeError("backward: inputs is empty")
        for t in inputs:
            if t.grad_fn is not None and not t.retains_grad:
                t.retain_grad()
    keep = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(create_graph):
        engine.walk(tensors, cotangents, retain_graph=keep, create_graph=create_graph, inputs=inputs)


def grad(
    outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True, allow_unused=None,
    is_grads_batched=False, materialize_grads=False,
):  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `.grad` is touched.

    allow_unused: None for an input that the outputs do not depend on, instead of an error; materialize_grads: zeros.
    """
    if is_grads_batched:
        raise NotImplementedError("grad(is_grads_batched=True) is not offered; call grad once for each cotangent")
    if materialize_grads and allow_unused is False:
        raise ValueError("grad: materialize_grads=True gives zeros for unused inputs, which allow_unused=False refuses")
    outputs, inputs = _as_tuple(outputs), _as_tuple(inputs)
    grads = (None,) * len(outputs) if grad_outputs is None else _as_tuple(grad_outputs)
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise RuntimeError(f"grad: input {i} does not require gradients")
    cotangents = _cotangents(outputs, grads, "grad")
    keep = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(create_graph):
        found = engine.walk(
            outputs, cotangents, retain_graph=keep, create_graph=create_graph, inputs=inputs, accumulate=False
        )
    for i, (t, g) in enumerate(zip(inputs, found)):
        if g is None and materialize_grads:
            found[i] = wrap(t.xp.zeros(t.array.shape, t.array.dtype))
        elif g is None and not allow_unused:
            raise RuntimeError(
                f"grad: input {i}, of shape {tuple(t.shape)}, appears not to have been used in the graph of the "
                "outputs; set allow_unused=True to get None for it"
            )
    return tuple(found)


def Variable(data: Tensor, requires_grad: bool = False, volatile: bool | None = None) -> Tensor:  # noqa: N802
    """PyTorch's oldest name for a tensor with a gradient: the same memory, a leaf."""
    if not isinstance(data, Tensor):
        raise TypeError(f"Variable: expected a Tensor, got {type(data).__name__}")
    return data.detach().requires_grad_(requires_grad)


from . import functional  # noqa: E402  these use the functions above
from .gradcheck import gradcheck, gradgradcheck  # noqa: E402

__all__ = [
    "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "functional", "grad", "gradcheck", "gradgradcheck",
    "inference_mode", "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "set_grad_enabled",
]  # fmt: skip

from ..missing import names as _names  # noqa: E402

__getattr__ = _names(__name__)
