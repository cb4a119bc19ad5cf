"""Views and in-place changes.

A view shares its base's memory and its version counter, and remembers how it was made: the base and a chain of view ops.

An in-place operation is the ordinary operation followed by `write`: the result's numbers are copied into the tensor's
memory, and the tensor takes over the result's place in the graph. If the tensor is a view, the memory is its base's, so
the base gets a new node (`WriteView`), and this and every other view of it a node that replays its chain on the base.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .grad_mode import enable_grad, mode


def note_view(op: type, x: Tensor, results: tuple, options: dict, several: bool) -> None:
    """Remembers how the results of a view op came from x, if they really share its memory. several: a tuple of them."""
    memory = _owner(x.array)
    for out in results:
        if _owner(out.array) is not memory:
            continue  # reshape had to copy
        out._base = x if x._base is None else x._base
        out._counter = x._counter
        out._seen = x._counter[0]
        out._chain = None if several or x._chain is None else (*x._chain, (op, options))
        out._made_without_grad = x._made_without_grad or not mode.enabled


def _owner(array: Any) -> Any:
    """Whoever holds the memory that an array looks at: views of views lead there over several steps."""
    base = getattr(array, "base", None)
    while base is not None:
        array, base = base, getattr(base, "base", None)
    return array


def refresh(view: Tensor) -> None:
    """Gives a view a new node if its base was changed in place since the view's node was made."""
    base = view._base
    if view._seen == view._counter[0] or base is None:
        return
    if base._requires_grad and base.grad_fn is not None and base._written > view._seen:
        if view._chain is None:
            raise RuntimeError(
                "this tensor is one of several views that one operation returned (split, unbind ...), or a custom "
                "Function returned it; the memory that it shares has been modified in place since. Use narrow or select, "
                "or clone() before the change"
            )
        with enable_grad():  # the place in the graph does not depend on who asks for it
            take_place(view, _replay(base, view._chain))
    view._seen = view._counter[0]


def take_place(tensor: Tensor, of: Tensor) -> None:
    """Gives `tensor` the place of another in the graph. If it retains its gradient, it retains the new one."""
    retains = tensor._retains
    if retains:
        tensor.grad_fn.hooks[tensor._index].pop(0)
        tensor._retains = False
    tensor._requires_grad, tensor.grad_fn, tensor._index = of._requires_grad, of.grad_fn, of._index
    if retains:
        tensor.retain_grad()


def _replay(base: Tensor, chain: tuple) -> Tensor:
    tensor = base
    for op, options in chain:
        tensor = op.apply(tensor, **options)
    return tensor


def check_writable(target: Tensor, name: str, recording: bool) -> None:
    """Refuses an in-place change that could not be right, before anything is computed."""
    flags = getattr(target.array, "flags", None)
    if flags is not None and not getattr(flags, "writeable", True):
        raise RuntimeError(
            f"{name}: the tensor cannot be written to: it is an expanded tensor, several of whose elements share one "
            "place in memory, or it was made from a read-only array; clone() it first"
        )
    if not mode.enabled:
        return
    owner = target if target._base is None else target._base
    if owner._requires_grad and owner.grad_fn is None:
        what = "a leaf tensor" if owner is target else "a view of a leaf tensor"
        raise RuntimeError(
            f"{name}: {what} that requires grad is being used in an in-place operation; change it under "
            "minitorch.no_grad(), or use the operation that is not in place"
        )
    if target._base is not None and (recording or owner._requires_grad):
        if target._chain is None:
            raise RuntimeError(
                f"{name}: the tensor is one of several views that one operation returned (split, unbind ...), or a view "
                "that a custom Function returned; its gradient could not be right after an in-place change. Use narrow or "
                "select, or clone() it first"
            )
        if target._made_without_grad:
            raise RuntimeError(
                f"{name}: the view was made under no_grad and is being modified in place with gradients enabled; "
                "make the view with gradients enabled, or clone() it first"
            )


def write(target: Tensor, result: Tensor, name: str) -> Tensor:
    """Copies `result` into `target`'s memory and gives `target` the result's place in the graph."""
    if result.shape != target.shape:
        raise RuntimeError(
            f"{name}: the result has shape {tuple(result.shape)}, which does not fit into the tensor of shape "
            f"{tuple(target.shape)} in place"
        )
    if result.dtype is not target.dtype:
        if result.dtype.category > target.dtype.category:
            raise RuntimeError(f"{name}: result type {result.dtype} cannot be cast to {target.dtype} in place")
        result = result.to(target.dtype)
    check_writable(target, name, result._requires_grad)
    if result.array is not target.array:
        if result.grad_fn is not None and result.grad_fn.saved:
            _keep_old_value(result.grad_fn, target)
        target.array[...] = result.array
    attach(target, result)
    return target


def _keep_old_value(op: Any, target: Tensor) -> None:
    """If the op that is about to be written over its own input had saved that input: it gets a copy (x.mul_(w))."""
    for k, value in enumerate(op.saved):
        if value is target.array:
            op.saved = (*op.saved[:k], value.copy(), *op.saved[k + 1 :])
            source = op.sources[k]
            op.sources = [*op.sources[:k], None if source is None else (source[0], [0], 0), *op.sources[k + 1 :]]


def attach(target: Tensor, result: Tensor) -> None:
    """After target's memory holds result's numbers: the bookkeeping of version, node, and base."""
    target._counter[0] += 1
    base = target._base
    if not mode.enabled:
        return
    from ..ops.index import WriteView

    if base is None:
        if target._requires_grad and not result._requires_grad:  # overwritten by constants: a gradient of zeros
            result = WriteView.apply(target, result, chain=())
        take_place(target, result)
        target._written = target._counter[0]
        return
    if base._requires_grad or result._requires_grad:
        take_place(base, WriteView.apply(base, result, chain=target._chain))
        base._written = target._counter[0]
    refresh(target)
    target._seen = target._counter[0]


def run_chain(array: Any, xp: Any, chain: tuple) -> Any:
    """The same part of another array: the chain's forwards, without recording."""
    for op, options in chain:
        node = op()
        node.xp, node.needs = xp, (False,)
        array = node.forward(array, **options)
    return array
