"""Activation recomputation: less memory for one more forward pass.

`checkpoint(function, x)` runs the function and forgets what its operations saved for their gradients; the backward pass
runs it again. In the graph the whole function is one node, whose inputs are all that the function reached for from
outside: its arguments, the parameters it used, tensors of the code around it.

    forward:    x --> [ function, many ops: dropped ] --> y         the node keeps the function and its arguments
    backward:   the function again, with its ops recorded; dy goes back through them, up to the node's inputs
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ..autograd import enable_grad, engine
from ..autograd.grad_mode import mode
from ..backend import random
from ..tensor import Tensor, wrap
from ._pytree import tree_leaves


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    context_fn: Callable | None = None,
    determinism_check: str = "default",
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, whose intermediate results are computed again in the backward pass.

    preserve_rng_state: the second run draws the same random numbers, so dropout drops the same. context_fn: makes two
    context managers, for the first and for the second run. determinism_check: "none" lets the second run differ in
    shapes and dtypes. use_reentrant: PyTorch has two implementations; here there is one, which does what either does.
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be 'default' or 'none', but got {determinism_check!r}")
    forward_context, again_context = context_fn() if context_fn is not None else (nullcontext(), nullcontext())
    if not mode.enabled:
        with forward_context:
            return function(*args, **kwargs)

    streams = _streams() if preserve_rng_state else []
    states = [stream.state_array() for stream in streams]
    first = engine._next_number()  # the function's ops are those with higher numbers
    with forward_context:
        result = function(*args, **kwargs)
    outputs = [t for t in _tensors(result) if t.requires_grad and t.grad_fn is not None and t.grad_fn.number > first]
    if not outputs:
        return result

    def again() -> list[Tensor]:
        with _restored(streams, states), enable_grad(), again_context:
            return _tensors(function(*args, **kwargs))

    node = Checkpoint()
    node.xp = outputs[0].xp
    node.edges = node.entrances = list(_inside(outputs, first)[1])
    node.needs = [True] * len(node.edges)
    node.outputs = len(outputs)
    node.shapes = [(t.array.shape, t.array.dtype) for t in outputs]
    positions = {id(t): i for i, t in enumerate(_tensors(result))}
    node.places = [positions[id(t)] for t in outputs]
    node.strict = determinism_check == "default"
    leaves = [edge[0] for edge in node.edges if isinstance(edge[0], Tensor)]  # type: ignore[index]
    watched = list({id(t): t for t in (*_tensors((args, kwargs)), *leaves)}.values())
    node.saved = (again, *watched)
    node.sources = [None, *((i, t._counter, t._counter[0]) for i, t in enumerate(watched))]
    node.number = engine._next_number()

    replaced = {}
    for i, t in enumerate(outputs):
        out = t.detach()
        out._requires_grad, out.grad_fn, out._index = True, node, i
        replaced[id(t)] = out
    return _mapped(result, lambda t: replaced.get(id(t), t))


class Checkpoint(engine.Op):
    """The node of a checkpointed function."""

    promote = None
    places: list[int]  # of the outputs, among the tensors that the function returns
    entrances: list  # the edges as the function finds them; `edges` lead to gates when this is inside another one
    strict = True

    def backward_arrays(self, grads: Any) -> list:
        return [None if g is None else g.array for g in self._gradients([wrap(g) for g in grads], False)]

    def backward_tensors(self, grads: Any) -> list:
        return self._gradients(grads, True)

    def _gradients(self, grads: Any, create_graph: bool) -> list:
        self.check_saved()
        gates = [_Gate(edge) for edge in self.edges]  # numbered between the graph round the function and its ops
        first = engine._next_number()
        tensors = self.saved[0]()
        outputs: list[Any] = [tensors[i] if i < len(tensors) else None for i in self.places]
        for i, (t, (shape, dtype)) in enumerate(zip(outputs, self.shapes, strict=True)):
            if t is None or t.grad_fn is None or self.strict and (t.array.shape, t.array.dtype) != (shape, dtype):
                now = "without a gradient" if t is None or t.grad_fn is None else f"{t.array.dtype} of {t.array.shape}"
                raise RuntimeError(
                    f"checkpoint: run again, the function gives another result: output {i} was {dtype} of {shape}, now "
                    f"it is {now}; it must compute the same each time"
                )
        inner, boundary = _inside(outputs, first)
        gate_of = dict(zip(self.entrances, gates, strict=True))
        if not set(boundary) <= set(gate_of):
            raise RuntimeError("checkpoint: run again, the function uses other tensors than the first time")
        for op in inner:
            op.edges = [(gate_of[edge], 0) if edge in gate_of else edge for edge in op.edges]
        ends = []
        for gate in gates:
            end = wrap(outputs[0].array)  # only its place in the graph counts
            end._requires_grad, end.grad_fn = True, gate
            ends.append(end)
        return engine.walk(
            outputs, grads, retain_graph=create_graph, create_graph=create_graph, inputs=ends, accumulate=False
        )


class _Gate(engine.Op):
    """Where the function's graph ends, and the graph round it begins: dx = dy."""

    def __init__(self, edge: Any):
        self.edges, self.needs, self.number = (edge,), (True,), engine._next_number()

    def backward(self, dy):
        return dy


def _inside(outputs: list, first: int) -> tuple[list, dict]:
    """The ops after number `first` that lead to `outputs`, and the edges by which they are entered, in order."""
    inner: dict[Any, None] = {}
    boundary: dict[Any, None] = {}
    stack = [t.grad_fn for t in outputs]
    while stack:
        op = stack.pop()
        if op in inner:
            continue
        inner[op] = None
        for edge in op.edges:
            if edge is None:
                continue
            if isinstance(edge[0], engine.Op) and edge[0].number > first:
                stack.append(edge[0])
            else:
                boundary[edge] = None
    return list(inner), boundary


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    found: list[Tensor] = []
    _mapped(value, found.append)
    return found


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(item, change) for item in value))
    if type(value) in (list, tuple):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        made = copy.copy(value)  # of the same type
        made.update({key: _mapped(item, change) for key, item in value.items()})
        return made
    return value


def _streams() -> list:
    from ..ops.random import _on_device

    return [random.default_generator, *_on_device.values()]


@contextmanager
def _restored(streams: list, states: list) -> Iterator[None]:
    """Inside, the random streams go on from `states`; afterwards from where they were."""
    now = [stream.state_array() for stream in streams]
    for stream, state in zip(streams, states, strict=True):
        stream.set_state_array(state)
    try:
        yield
    finally:
        for stream, state in zip(streams, now, strict=True):
            stream.set_state_array(state)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, *, preserve_rng_state: bool = True
) -> Any:
    """Runs modules one after the other, in `segments` parts of which each but the last is checkpointed."""
    functions = list(functions)
    if not 1 <= segments <= len(functions):
        raise ValueError(f"checkpoint_sequential(): expected from 1 to {len(functions)} segments, got {segments}")

    def chain(part: list) -> Callable:
        def run(x: Any) -> Any:
            for function in part:
                x = function(x)
            return x

        return run

    size = len(functions) // segments
    for start in range(0, size * (segments - 1), size):
        part = chain(functions[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state)
    return chain(functions[size * (segments - 1) :])(input)


def get_device_states(*args: Any) -> tuple[list, list]:
    """The GPUs on which arguments lie, and the states of their random streams, for `set_device_states`."""
    from .. import cuda

    found = {t.device.index or 0 for t in tree_leaves(args) if isinstance(t, Tensor) and t.is_cuda}
    return sorted(found), [cuda.get_rng_state(index) for index in sorted(found)]


def set_device_states(devices: list, states: list, *, device_type: str | None = None) -> None:
    """Sets the random streams of GPUs to what `get_device_states` returned."""
    from .. import cuda

    for index, state in zip(devices, states):
        cuda.set_rng_state(state, index)
