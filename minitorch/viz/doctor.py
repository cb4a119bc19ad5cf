"""The gradient doctor: watches one training step, and lists what is wrong with its gradients, with the line to blame.

with viz.doctor(model) as report:
    loss = criterion(model(x), y)
    loss.backward()
print(report)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..autograd import engine
from ..autograd.engine import Op
from ..autograd.grad_mode import mode
from ..backend import reference_ops
from ..backend.devices import to_numpy
from ..backend.dtypes import FLOATING
from ..tensor import Tensor

EXPLODING = 1e3  # a gradient's norm beside its parameter's norm (at least 1)
VANISHING = 1e-7  # beside the largest gradient of the model
DEAD = 0.25  # the share of units that a batch may leave at zero without a word
SATURATED = {
    "Sigmoid": (0.01, 0.99),
    "Tanh": (-0.99, 0.99),
}  # beyond these the slope is below a twentieth of its height


@dataclass
class Finding:
    kind: str  # "no gradient", "zero gradient", "NaN", "exploding", "vanishing", "dead units", "saturated", "detached"
    where: str
    what: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.kind:13} {self.where}: {self.what}" + (f"\n{self.line}" if self.line else "")


@dataclass
class Report:
    """What the doctor found; empty when all is well. `findings`, `of(kind)`; printed, it is a list with lines."""

    findings: list[Finding] = field(default_factory=list)
    norms: dict[str, tuple[float, float]] = field(default_factory=dict)  # parameter -> norms of weight and gradient
    done: bool = False

    def of(self, kind: str) -> list[Finding]:
        return [f for f in self.findings if f.kind == kind]

    def __bool__(self) -> bool:
        return bool(self.findings)

    def __str__(self) -> str:
        if not self.done:
            return "the step is not finished: print the report after the `with` block"
        if not self.findings:
            return f"all is well: {len(self.norms)} parameters have finite gradients that are not zero"
        return "\n".join(map(str, self.findings))


@dataclass
class _Seen:
    """One operation of the forward pass, as the doctor remembers it."""

    name: str
    line: str
    inputs: list[
        tuple[int, int, bool]
    ]  # id of the tensor, id of the array that owns its memory, whether a gradient can flow to it
    outputs: list[tuple[int, int, bool]]
    recorded: bool  # whether the graph has it
    enabled: bool  # whether gradients were switched on
    has_gradient: bool


def _mark(t: Tensor) -> tuple[int, int, bool]:
    memory = t.array
    while getattr(memory, "base", None) is not None:
        memory = memory.base
    return id(t), id(memory), t.requires_grad


class _Watch:
    """Notes each operation, the first one that makes a NaN, units that are dead; keeps no array."""

    def __init__(self) -> None:
        self.seen: list[_Seen] = []
        self.alive: list[Tensor] = []  # so that no id is given out twice during the step
        self.forward_nan: tuple[str, str] | None = None
        self.backward_nan: tuple[str, str] | None = None
        self.units: list[Finding] = []
        self.accumulated: list[str] = []  # parameters that had a gradient already

    def forward(self, kind: type[Op], inputs: Sequence, result: Any) -> None:
        results = [r for r in (result if isinstance(result, tuple) else (result,)) if isinstance(r, Tensor)]
        tensors = [t for t in inputs if isinstance(t, Tensor)]
        if not results or any(id(results[0]) == key for s in self.seen[-2:] for key, _, _ in s.outputs):
            return  # noted by the call inside
        name = (kind.reference or kind).__name__
        line = engine.caller_line()
        differentiable = kind.differentiable and any(r.array.dtype in FLOATING for r in results)
        self.seen.append(
            _Seen(name, line, [_mark(t) for t in tensors], [_mark(r) for r in results],
                  results[0].grad_fn is not None, mode.enabled, differentiable)
        )  # fmt: skip
        self.alive += [*tensors, *results]
        bad = [not _finite(r.array) for r in results]
        if self.forward_nan is None and any(bad) and all(_finite(t.array) for t in tensors):
            self.forward_nan = name, line
        y = results[0].array
        if name == "ReLU" and y.ndim >= 2 and y.shape[0] > 1 and y.size:
            unit = 1 if y.ndim == 4 else y.ndim - 1  # the channels of images, else the last axis
            axes = tuple(i for i in range(y.ndim) if i != unit)
            units = to_numpy((y <= 0).all(axes))
            if units.mean() > DEAD:
                what = f"{int(units.sum())} of {units.size} units of {name} are zero for the whole batch: no gradient passes"
                self.units.append(Finding("dead units", name, what, line))
        if name == "Softmax" and y.size and y.shape[-1] > 1:
            share = float((y.max(-1) > 0.99).mean())
            if share > 0.5:
                what = f"{share:.0%} of its rows are one-hot to 0.01, where its gradient is almost zero"
                self.units.append(Finding("saturated", name, what, line))
        if name in SATURATED and y.size:
            low, high = SATURATED[name]
            share = float(((y < low) | (y > high)).mean())
            if share > 0.9:
                what = f"{share:.0%} of its outputs are within 0.01 of an end, where its slope is almost zero"
                self.units.append(Finding("saturated", name, what, line))

    def backward(self, op: Op, cell: Sequence, results: Sequence) -> None:
        if self.backward_nan is None and not all(map(_finite_or_none, results)) and all(map(_finite_or_none, cell)):
            self.backward_nan = op.name, op.forward_line


def _finite(array: Any) -> bool:
    if array.dtype not in FLOATING:
        return True
    top = float(abs(array).max()) if array.size else 0.0
    return math.isfinite(top)


def _finite_or_none(g: Any) -> bool:
    return g is None or _finite(g.array if isinstance(g, Tensor) else g)


def _norm(array: Any) -> float:
    return math.sqrt(float((array.astype("float64") ** 2).sum()))


def _why_none(name: str, parameter: Tensor, watch: _Watch) -> Finding:
    """Follows the parameter through the forward pass to where its path to the loss is cut."""
    key, memory, _ = _mark(parameter)
    reached = {key}
    memories = {memory}
    last: _Seen | None = None
    for seen in watch.seen:
        through = [i for i in seen.inputs if i[0] in reached]
        beside = [i for i in seen.inputs if i[0] not in reached and i[1] in memories and not i[2]]
        if beside and not through and last is not None:
            return Finding(
                "detached", name,
                f"its path is cut: what {last.name} made was detached (detach(), .data, .item() or a new tensor) before "
                f"{seen.name} used it\nmade at\n{last.line}\nused at", seen.line,
            )  # fmt: skip
        if not through:
            continue
        if not seen.recorded and seen.enabled and not seen.has_gradient:
            return Finding("detached", name, f"its path goes through {seen.name}, which has no gradient", seen.line)
        if not seen.recorded and not seen.enabled:
            return Finding("detached", name, f"{seen.name} was computed under no_grad", seen.line)
        reached |= {o[0] for o in seen.outputs}
        memories |= {o[1] for o in seen.outputs}
        last = seen
    if last is None:
        return Finding("no gradient", name, "the forward pass never used it (or the model was run outside the block)")
    what = (
        f"it was used, last by {last.name}, but what that made does not reach the tensor that backward() started from"
    )
    return Finding("no gradient", name, what, last.line)


@contextmanager
def doctor(model: Any) -> Iterator[Report]:
    """Watches a training step of `model` (a Module, or a dict of named tensors): see the top of this file.

    Afterwards the report lists parameters with no gradient (never used, detached, computed under no_grad, passed
    through an operation without a gradient), with a gradient that is zero, exploding, vanishing or not finite (and the
    operation that made the first NaN, with its line), units that are dead or saturated, and gradients that were added to
    older ones.
    """
    parameters = dict(model.named_parameters() if hasattr(model, "named_parameters") else model)
    if not parameters:
        raise ValueError("doctor: the model has no parameters")
    report, watch = Report(), _Watch()
    original, check, accumulate = Op.__dict__["apply"], engine._check_backward, engine._accumulate
    anomaly, check_nan = mode.anomaly, mode.check_nan

    def apply(cls: type[Op], *inputs: Any, **options: Any) -> Any:
        result = original.__get__(None, cls)(*inputs, **options)
        watch.forward(cls, inputs, result)
        return result

    names = {id(p): name for name, p in parameters.items()}

    def noted(leaf: Tensor, g: Tensor, create_graph: bool) -> None:
        if id(leaf) in names and leaf.grad is not None and leaf.grad.array.any():
            watch.accumulated.append(names[id(leaf)])
        accumulate(leaf, g, create_graph)

    Op.apply = classmethod(apply)  # type: ignore[method-assign, assignment]
    engine._check_backward, engine._accumulate = watch.backward, noted
    mode.anomaly, mode.check_nan = True, False  # the lines of the forward pass are recorded, nothing is raised
    try:
        with reference_ops():
            yield report
    finally:
        Op.apply = original  # type: ignore[method-assign]
        engine._check_backward, engine._accumulate = check, accumulate
        mode.anomaly, mode.check_nan = anomaly, check_nan
    _examine(report, watch, parameters)


def _examine(report: Report, watch: _Watch, parameters: dict[str, Tensor]) -> None:
    add = report.findings.append
    if watch.accumulated:
        shown = ", ".join(watch.accumulated[:3])
        add(
            Finding(
                "accumulated", shown, "gradients were there before this step, and it added to them: zero_grad() first"
            )
        )
    if watch.forward_nan is not None:
        name, line = watch.forward_nan
        add(Finding("NaN", name, "the first operation whose result has NaN or infinity, from finite inputs", line))
    if watch.backward_nan is not None:
        name, line = watch.backward_nan
        add(
            Finding(
                "NaN", f"gradient of {name}", "the first that has NaN or infinity, from a finite one; its forward", line
            )
        )
    for name, p in parameters.items():
        if not p.requires_grad:
            continue  # frozen on purpose
        if p.grad is None:
            add(_why_none(name, p, watch))
            continue
        size, g = _norm(to_numpy(p.array)), _norm(to_numpy(p.grad.array))
        report.norms[name] = size, g
        if not math.isfinite(g):
            add(Finding("NaN", name, f"its gradient has NaN or infinity, shape {tuple(p.shape)}"))
        elif g == 0:
            add(Finding("zero gradient", name, f"every element of its gradient is zero, shape {tuple(p.shape)}"))
        elif g > EXPLODING * max(size, 1.0):
            add(Finding("exploding", name, f"its gradient has norm {g:.3g}, the parameter {size:.3g}"))
    largest = max((g for _, g in report.norms.values() if math.isfinite(g)), default=0.0)
    for name, (_, g) in report.norms.items():
        if 0 < g < VANISHING * largest:
            add(Finding("vanishing", name, f"its gradient has norm {g:.3g}, the model's largest {largest:.3g}"))
    report.findings += watch.units
    report.done = True
