"""A tape of the operations of a small computation: every value of the forward pass, every step of the backward pass.

The engine keeps no tensor in between (autograd/engine.py), so whoever wants to look at them has to record:

    with viz.record() as tape:
        loss = ((w * x + b) - y) ** 2
    tape.backward(loss)          # what the engine would do, step by step, nothing thrown away
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..autograd import engine
from ..autograd.engine import Op
from ..backend import reference_ops
from ..tensor import Tensor, wrap


@dataclass
class Value:
    """A tensor on the tape: a leaf, or a result of a step."""

    tensor: Tensor
    name: str = ""
    grad: Any = None  # an array, once all of it has arrived
    step: Step | None = None  # that made it


@dataclass
class Step:
    """One operation: `op` is None where nothing was recorded for a gradient."""

    kind: type[Op]
    inputs: list[Value]
    outputs: list[Value]
    options: dict[str, Any]
    op: Op | None
    line: str = ""

    @property
    def name(self) -> str:
        return (self.kind.reference or self.kind).__name__

    @property
    def equation(self) -> str:
        """The first lines of the op's docstring, as they stand beside its formulas."""
        return inspect.cleandoc((self.kind.reference or self.kind).__doc__ or "")


@dataclass
class Arrival:
    """One gradient on its way: `amount` of the gradient of `target` comes from `step` (None: the caller's own)."""

    step: Step | None
    target: Value
    amount: Any
    total: Any  # of target's gradient so far, this amount included
    incoming: Any = None  # dy, the gradient of the step's result
    local: Any = None  # what dy = 1 gives: for elementwise operations the derivative itself


@dataclass
class Tape:
    steps: list[Step] = field(default_factory=list)
    values: dict[int, Value] = field(default_factory=dict)  # by id of the tensor, which the Value keeps alive
    arrivals: list[Arrival] = field(default_factory=list)
    root: Value | None = None

    def value(self, tensor: Tensor) -> Value:
        found = self.values.get(id(tensor))
        if found is None:
            found = self.values[id(tensor)] = Value(tensor)
        return found

    def name(self, **names: Any) -> None:
        """Names tensors, for the pictures: tape.name(w=w, x=x)."""
        for name, tensor in names.items():
            if isinstance(tensor, Tensor) and id(tensor) in self.values and not self.values[id(tensor)].name:
                self.values[id(tensor)].name = name

    def note(self, kind: type[Op], inputs: Sequence, options: dict, result: Any) -> None:
        outputs = [r for r in (result if isinstance(result, tuple) else (result,)) if isinstance(r, Tensor)]
        if not outputs or id(outputs[0]) in self.values and self.values[id(outputs[0])].step is not None:
            return  # the same result, noted by the call inside: the outer one only converted its inputs
        read = [self.value(t if isinstance(t, Tensor) else wrap(engine.np.asarray(t))) for t in inputs if t is not None]
        made = [Value(t) for t in outputs]
        step = Step(kind, read, made, options, outputs[0].grad_fn, engine.caller_line())
        for one in made:
            one.step = step
            self.values[id(one.tensor)] = one
        self.steps.append(step)

    def backward(self, root: Tensor, gradient: Tensor | None = None) -> Tape:
        """Carries the gradient of `root` back through the tape, and keeps every step in `arrivals`.

        No `.grad` is touched. The same walk as engine.py's: from the last operation to the first.
        """
        if id(root) not in self.values:
            raise ValueError("the tape did not see how this tensor was made: compute it inside `with viz.record()`")
        if not root.requires_grad:
            raise RuntimeError("backward: nothing that this tensor was computed from has requires_grad=True")
        if gradient is None and root.numel() != 1:
            raise RuntimeError(f"backward: the tensor has shape {tuple(root.shape)}; sum it, or give the gradient")
        for value in self.values.values():
            value.grad = None
        self.arrivals, self.root = [], self.value(root)
        seed = root.xp.ones_like(root.array) if gradient is None else gradient.array
        self._arrive(None, self.root, seed)
        for step in reversed(self.steps):
            op = step.op
            incoming = [out.grad for out in step.outputs]
            if op is None or all(g is None for g in incoming):
                continue
            filled = [op.xp.zeros_like(out.tensor.array) if g is None else g for g, out in zip(incoming, step.outputs)]
            grads = op.backward_arrays(filled)
            local = (
                op.backward_arrays([op.xp.ones_like(g) for g in filled]) if len(filled) == 1 else [None] * len(grads)
            )
            for value, g, slope in zip(step.inputs, grads, local):
                if g is not None and value.tensor.requires_grad:
                    self._arrive(step, value, op.xp.asarray(g), incoming[0], slope)
        return self

    def _arrive(self, step: Step | None, target: Value, amount: Any, incoming: Any = None, local: Any = None) -> None:
        target.grad = amount if target.grad is None else target.grad + amount
        self.arrivals.append(Arrival(step, target, amount, target.grad, incoming, local))

    def graph(self, root: Tensor | None = None) -> Any:
        """The picture of the tape: a Graph, which a notebook shows."""
        from .graph import Graph

        return Graph(self, None if root is None else self.value(root))

    def replay(self, path: Any = None, title: str = "The backward pass, step by step") -> Any:
        """The backward pass as a page to step through, after `tape.backward(loss)`; see viz.replay."""
        from .replay import Replay

        page = Replay(self, title)
        if path is not None:
            page.save(path)
        return page


@contextmanager
def record(**names: Tensor) -> Iterator[Tape]:
    """Notes every operation of the block on a Tape, with its textbook formula (no fast paths).

    Tensors are named after the caller's variables that hold them when the block ends, or by the keywords.
    Meant for looking at: everything stays in memory as long as the tape does.
    """
    tape = Tape()
    original = Op.__dict__["apply"]

    def apply(cls: type[Op], *inputs: Any, **options: Any) -> Any:
        result = original.__get__(None, cls)(*inputs, **options)
        tape.note(cls, inputs, options, result)
        return result

    Op.apply = classmethod(apply)  # type: ignore[method-assign, assignment]
    try:
        with reference_ops():
            yield tape
    finally:
        Op.apply = original  # type: ignore[method-assign]
        tape.name(**names)
        frame = inspect.currentframe()
        caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None  # past contextlib's
        if caller is not None:
            tape.name(**{k: v for k, v in caller.f_locals.items() if not k.startswith("_")})
