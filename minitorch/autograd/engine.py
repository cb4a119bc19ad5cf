"""The engine: `Op`, a node of the graph, and the walk that carries gradients back through it. Read this file first.

A forward pass leaves a trail: every result points to the op that made it (`grad_fn`), every op to where its inputs came
from (`edges`): the ops that made them, or the leaf tensors themselves. Never to a tensor in between, so a tensor that
nobody holds any more dies at once. Ops are numbered as they are made, so an op's number is higher than its inputs'.
That is all the order the backward pass needs: take the waiting op with the highest number; everything that used its
result has been through already, its gradient is complete.

    dL/dx = sum over the ops that used x of  (their dL/dy) . dy/dx            (chain rule; lessons 00 and 01)
"""

from __future__ import annotations

import itertools
import os
import traceback
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any, ClassVar

import numpy as np

from ..backend import devices, fastpath
from ..backend.devices import NAMESPACES, namespace_of
from ..backend.dtypes import ALL, FLOATING, LOW_PRECISION
from ..tensor import Tensor, wrap
from . import convert, views
from .grad_mode import mode

_EVERY_DTYPE = frozenset(d.numpy for d in ALL)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_next_number = itertools.count().__next__
_ALONE = object()  # no second input; None is one
_NOBODY = [(False,) * n for n in range(8)]


class Op:
    """One operation: `forward` computes, `backward` is its gradient; the instance is the node of the graph.

    `apply(*tensors, **options)` runs it: tensors are positional, options keywords. `forward` gets arrays, may `save`
    what `backward` needs, and returns an array or a tuple of arrays. `backward` gets one gradient for each output and
    returns one for each tensor input (None where there is none).

    For gradients of gradients the same `backward` runs on proxies with NumPy's methods that record on the tape
    (traced.py). So a backward changes nothing in place, takes its functions from `self.xp`, and calls another op with
    `self.run`. What it saves must be inputs, outputs, or constants that do not depend on them.
    """

    contiguous: ClassVar[bool] = False  # forward gets contiguous arrays, so that its result is: as PyTorch's
    promote: ClassVar[str | None] = "common"  # "common": one dtype for all inputs; "float": and not an integer; None
    view: ClassVar[bool] = False  # the result shares input 0's memory
    differentiable: ClassVar[bool] = True
    native: ClassVar[frozenset] = _EVERY_DTYPE - LOW_PRECISION  # dtypes that forward takes without conversion
    reference: ClassVar[type[Op] | None] = None  # set on a fast path
    half: ClassVar[bool] = False  # a fast path that takes float16 and bfloat16 as they are; others compute in float32
    materialize: ClassVar[bool] = True  # of several outputs, those that nothing used get zeros for a gradient, or None

    lean: ClassVar[bool] = False  # one or two inputs, no options: `_apply_lean` does

    xp: Any = None
    needs: Sequence[bool] = ()
    edges: Sequence[tuple[Any, int] | None] = ()  # for each input: (op or leaf tensor, number of its output)
    saved: Any = ()
    sources: Sequence[Any] = ()  # for each saved value: where it came from, see `_note_sources`
    number: int = 0
    outputs: int = 1
    hooks: dict[int, dict] | None = (
        None  # output number -> functions of its gradient; under 0 the tensor that retains it
    )
    forward_line: str = ""
    shapes: Any = None  # of the outputs, kept only where there are several

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.promote is None:
            cls.native = _EVERY_DTYPE
        else:
            cls.native = (FLOATING if cls.promote == "float" else _EVERY_DTYPE) - LOW_PRECISION
        code = getattr(cls.forward, "__code__", None)
        alone = (
            code is not None and code.co_argcount in (2, 3) and not code.co_kwonlyargcount and not code.co_flags & 12
        )
        cls.lean = alone and cls.promote is not None and cls.differentiable and not cls.view and not cls.contiguous

    def forward(self, *arrays: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, *grads: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def save(self, *values: Any) -> None:
        """Keeps values for backward. Arrays are recognised by identity: an input, an output, else a constant."""
        self.saved = values

    def run(self, op: type[Op], *values: Any, **options: Any) -> Any:
        """Another op's forward from inside a backward: on arrays, or recorded when the backward is being traced."""
        if self.xp.__name__ == "traced":
            return self.xp.run(op, *values, **options)
        fast = fastpath.ACTIVE[self.xp].get(op) if self.reference is None else None  # a fast path asks for the formula
        other = op() if fast is None or not fast.accepts(*values, **options) else fast()
        other.xp, other.needs = self.xp, (False,) * len(values)
        return other.forward(*values, **options)

    @property
    def name(self) -> str:
        return (self.reference or type(self)).__name__

    @property
    def next_functions(self) -> tuple:
        """PyTorch's name for the edges: ((op or leaf tensor, output number), ...)."""
        return tuple(edge if edge is not None else (None, 0) for edge in self.edges)

    # --- forward -----------------------------------------------------------------------------------------------------

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Runs the op on tensors (Python numbers and None allowed) and records it if one of them wants a gradient."""
        if cls.lean and not options:
            done = cls._apply_lean(*inputs)
            if done is not None:
                return done
        kind: Any = None
        dtype: Any = None
        arrays: list[Any] = []
        edges: list[Any] = []
        needs: list[bool] = []
        record = False
        for t in inputs:
            if not isinstance(t, Tensor):
                if t is not None:
                    return convert.apply_converted(cls, inputs, options)
                arrays.append(None)
                edges.append(None)
                needs.append(False)
                continue
            array = t.array
            if kind is None:
                kind, dtype = type(array), array.dtype
            elif type(array) is not kind or (array.dtype is not dtype and cls.promote is not None):
                return convert.apply_converted(cls, inputs, options)
            if t._base is not None:
                views.refresh(t)
            arrays.append(array)
            if t._requires_grad:
                edges.append((t.grad_fn or t, t._index))
                needs.append(True)
                record = True
            else:
                edges.append(None)
                needs.append(False)
        if devices.several and (where := devices.elsewhere(arrays)) is not None:
            return convert.apply_elsewhere(cls, inputs, options, where)
        xp = NAMESPACES.get(kind) or namespace_of(arrays[0])
        fast = fastpath.ACTIVE[xp].get(cls)
        if dtype not in cls.native and not convert.takes_half(cls, fast, dtype):
            return convert.apply_converted(cls, inputs, options)
        if cls.contiguous:
            arrays = [a if a is None or a.flags.c_contiguous else a.copy() for a in arrays]
        if fast is not None and not fast.accepts(*arrays, **options):
            fast = None
            if dtype not in cls.native:
                return convert.apply_converted(cls, inputs, options)
        op = cls() if fast is None else fast()
        op.xp = xp
        if record and cls.differentiable and mode.enabled:
            op.needs = needs
        else:
            record, op.needs = False, _NOBODY[len(needs)] if len(needs) < len(_NOBODY) else [False] * len(needs)

        try:
            y = op.forward(*arrays, **options)
        except ValueError as error:
            raise op._in_own_words(error, arrays) from error
        if type(y) is kind:  # one array: what follows is the loop below for it alone
            out = wrap(y)
            if record:
                op.number, op.edges = _next_number(), edges
                if op.saved:
                    op._note_sources(inputs, arrays, (out,), kind)
                if y.dtype in FLOATING:
                    out._requires_grad, out.grad_fn = True, op
            if cls.view:
                views.note_view(cls, inputs[0], (out,), options, False)
            if mode.anomaly:
                op._check_forward(arrays, (out,))
            return out

        results = op._finish(y if type(y) is tuple else (y,), inputs, arrays, edges, record)
        if cls.view:
            views.note_view(cls, inputs[0], results, options, type(y) is tuple)
        if mode.anomaly:
            op._check_forward(arrays, results)
        return results if type(y) is tuple else results[0]

    def _finish(self, y: tuple, inputs: Sequence, arrays: Sequence, edges: Sequence, record: bool) -> tuple:
        """Several arrays, or NumPy's scalar, as tensors; and the node's place in the graph."""
        results = tuple([wrap(self._as_array(a)) for a in y])
        if record:
            self.number, self.edges, self.outputs = _next_number(), edges, len(results)
            if self.saved:
                self._note_sources(inputs, arrays, results, type(results[0].array))
            for i, out in enumerate(results):
                if out.array.dtype in FLOATING:
                    out._requires_grad, out.grad_fn = True, self
                out._index = i
            if len(results) > 1:
                self.shapes = [(out.array.shape, out.array.dtype) for out in results]
        return results

    @classmethod
    def _apply_lean(cls, s: Any, t: Any = _ALONE) -> Any:
        """`apply`, unrolled for the commonest cases, since small models spend their time here: a NumPy tensor, two of
        one dtype, or one and a number. None where it is another case."""
        if not isinstance(s, Tensor) or mode.anomaly:
            return None
        a = s.array
        b: Any = None
        arrays: tuple
        needs: tuple
        edges: tuple
        dtype = a.dtype
        if type(a) is not np.ndarray or dtype not in cls.native or s._base is not None:
            return None
        record = s._requires_grad
        edge = (s.grad_fn or s, s._index) if record else None
        if t is _ALONE:
            arrays, needs, edges = (a,), (record,), (edge,)
        elif isinstance(t, Tensor):
            b = t.array
            if type(b) is not np.ndarray or b.dtype is not dtype or t._base is not None:
                return None
            arrays = a, b
            if t._requires_grad:
                needs, edges = (record, True), (edge, (t.grad_fn or t, t._index))
                record = True
            else:
                needs, edges = (record, False), (edge, None)
        else:
            b = convert.number_beside(t, dtype)
            if b is None:
                return None
            arrays, needs, edges = (a, b), (record, False), (edge, None)

        fast = fastpath.ACTIVE[np].get(cls)
        op = cls() if fast is None or not fast.accepts(*arrays) else fast()
        op.xp = np
        record = record and mode.enabled
        op.needs = needs if record else _NOBODY[len(arrays)]
        try:
            y = op.forward(*arrays)
        except ValueError as error:
            raise op._in_own_words(error, list(arrays)) from error
        if type(y) is not np.ndarray:
            results = op._finish(y if type(y) is tuple else (y,), (s, t), arrays, edges, record)
            return results if type(y) is tuple else results[0]
        out = wrap(y)
        if record:
            op.number, op.edges = _next_number(), edges
            if op.saved:
                sources: list[Any] = []
                holds = False
                for value in op.saved:
                    if type(value) is not np.ndarray:
                        sources.append(None)
                        continue
                    holds = True
                    if value is a:
                        sources.append((0, s._counter, s._counter[0]))
                    elif value is b and isinstance(t, Tensor):
                        sources.append((1, t._counter, t._counter[0]))
                    elif value is y:
                        sources.append((-1, out._counter, 0))
                    else:
                        sources.append(None)
                if holds:
                    op.sources = sources
            if y.dtype in FLOATING:
                out._requires_grad, out.grad_fn = True, op
        return out

    def _in_own_words(self, error: ValueError, arrays: list) -> Exception:
        """The array library's complaint about shapes that do not broadcast, with the op's name and the tensors' shapes."""
        if "broadcast" not in str(error):
            return error
        shapes = " and ".join(str(tuple(a.shape)) for a in arrays if a is not None)
        return RuntimeError(
            f"{self.name}: tensors of shapes {shapes} cannot be broadcast: counted from the last dimension, sizes must be "
            "equal, or one of them 1"
        )

    def _as_array(self, y: Any) -> Any:
        """NumPy turns 0-d results into scalars; an op's result is always an array (also where it was saved)."""
        array = y if isinstance(y, tuple(NAMESPACES)) else self.xp.asarray(y)
        if self.saved and array is not y:
            self.saved = tuple(array if value is y else value for value in self.saved)
        return array

    def _note_sources(self, inputs: Sequence, arrays: Sequence, results: Sequence, kind: Any) -> None:
        """For each saved array that is an input (number i >= 0) or an output (number -1 - i): that number, the
        version counter of its memory and the count now. None for constants. Nothing at all where no array was saved."""
        sources: list[Any] = []
        holds = False
        for value in self.saved:
            source = None
            if type(value) is kind:
                holds = True
                i = 0
                for array in arrays:
                    if value is array:
                        given = inputs[i]
                        if isinstance(given, Tensor):
                            counter = given._counter if array is given.array else [0]  # a copy cannot change
                            source = i, counter, counter[0]
                        break
                    i += 1
                else:
                    for i, out in enumerate(results):
                        if value is out.array and value.dtype in FLOATING:
                            source = -1 - i, out._counter, out._counter[0]
            elif not holds and value is not None:
                holds = hasattr(value, "dtype") or (type(value) is tuple and _holds_arrays(value))
            sources.append(source)
        if holds:
            self.sources = sources

    # --- backward ----------------------------------------------------------------------------------------------------

    def check_saved(self) -> None:
        if self.saved is None:
            raise RuntimeError(
                f"trying to go backward through the graph a second time: the arrays that {self.name} saved were freed "
                "by the first backward pass. Call backward(retain_graph=True) the first time to keep them."
            )
        for source in self.sources:
            if source is not None and source[1][0] != source[2]:
                what = f"input {source[0]}" if source[0] >= 0 else f"output {-1 - source[0]}"
                shape = tuple(self.saved[list(self.sources).index(source)].shape)
                raise RuntimeError(
                    f"a tensor needed for the gradient of {self.name} has been modified by an in-place operation: its "
                    f"{what}, of shape {shape}, is at version {source[1][0]}; version {source[2]} was saved. "
                    "Use the form that is not in place (add instead of add_), or clone() before the change."
                )

    def backward_arrays(self, grads: Sequence) -> Sequence:
        """Gradients of the inputs, as arrays, for gradients of the outputs, as arrays."""
        for source in self.sources:
            if self.saved is None or (source is not None and source[1][0] != source[2]):
                self.check_saved()  # says what is wrong
        result = self.backward(*grads)
        return result if type(result) is tuple else (result,)

    def backward_tensors(self, grads: Sequence) -> Sequence:
        """The same on tensors, recorded on the tape: the reference formula, run on traced values."""
        from .traced import Traced, namespace, unwrap

        self.check_saved()
        saved, sources = self.saved, self.sources
        twin = (self.reference or type(self))()
        if self.reference is not None:
            where = {id(value): source for value, source in zip(saved, sources)}
            saved = self.reference_saved()  # type: ignore[attr-defined]
            sources = [where.get(id(value)) for value in saved]
        twin.xp, twin.needs = namespace(self.xp), self.needs
        twin.saved = tuple(
            Traced(self._reattach(value, source[0])) if self._leads_on(source) else value
            for value, source in itertools.zip_longest(saved, sources)
        )
        check, mode.check_nan = mode.check_nan, False  # a NaN is this op's, not one of those that its formula calls
        try:
            result = twin.backward(*[g if g is None else Traced(g) for g in grads])
        finally:
            mode.check_nan = check
        gradients = [unwrap(g, self.xp) for g in (result if type(result) is tuple else (result,))]
        if not self.half:
            return gradients
        # Half precision was taken as it is, and the kernel's float32 statistics would make the formula's results float32.
        first = next(g for g in grads if g is not None)
        low = self.promote is not None and first.array.dtype in LOW_PRECISION
        return [g.to(first.dtype) if low and g is not None else g for g in gradients]

    def _leads_on(self, source: Any) -> bool:
        """Whether a saved value is an output, or an input that a gradient flows to; otherwise it is a constant."""
        return source is not None and (source[0] < 0 or self.edges[source[0]] is not None)

    def _reattach(self, array: Any, source: int) -> Tensor:
        """A saved array as the tensor that it was, at its place in the graph."""
        tensor = wrap(array)
        if source < 0:
            tensor._requires_grad, tensor.grad_fn, tensor._index = True, self, -1 - source
        else:
            target, index = self.edges[source]  # type: ignore[misc]
            if isinstance(target, Tensor):
                if target.array is array:
                    return target
                target, index = _LeafAsItWas(target), 0  # its .data has been exchanged since
            tensor._requires_grad, tensor.grad_fn, tensor._index = True, target, index
        return tensor

    # --- anomaly mode ------------------------------------------------------------------------------------------------

    def _check_forward(self, arrays: list, results: Sequence) -> None:
        self.forward_line = caller_line()
        if mode.check_nan and any(has_nan(r.array) for r in results) and not any(has_nan(a) for a in arrays):
            shapes = ", ".join(str(tuple(a.shape)) for a in arrays if a is not None)
            raise RuntimeError(
                f"{self.name} made a NaN from inputs without one (shapes {shapes}), called at\n{self.forward_line}"
            )

    def __repr__(self) -> str:
        return f"<{self.name}Backward>"


class _LeafAsItWas(Op):
    """Stands before a leaf whose array was exchanged after a forward pass had saved the old one: dx = dy."""

    def __init__(self, leaf: Tensor):
        self.edges, self.needs, self.number = ((leaf, 0),), (True,), _next_number()

    def backward(self, dy):
        return dy


def caller_line() -> str:
    """The innermost line of the stack that is not minitorch's own."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(_PACKAGE):
            return f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n    {frame.line}'
    return "  (inside minitorch)"


def has_nan(array: Any) -> bool:
    if array is None or array.dtype not in FLOATING:
        return False
    return devices.host(namespace_of(array).isnan(array).any())


# --- the walk --------------------------------------------------------------------------------------------------------


def walk(roots: Sequence[Tensor], grads: Sequence[Tensor], **options: Any) -> list:
    """`_walk`; with several GPUs each op goes backward on the one where its gradients are."""
    if not devices.several:
        return _walk(roots, grads, **options)
    with devices.current_gpu_kept():
        return _walk(roots, grads, **options)


def _walk(
    roots: Sequence[Tensor], grads: Sequence[Tensor], *, retain_graph: bool, create_graph: bool,
    inputs: Sequence[Tensor] | None = None, accumulate: bool = True,
) -> list:  # fmt: skip
    """Carries `grads`, the gradients of `roots`, back through the graph.

    accumulate: adds what arrives at each leaf (only at `inputs`, if they are given) to its `.grad`;
    otherwise returns the gradients of `inputs` as tensors, None where no path leads.
    Values are arrays, or with `create_graph` tensors, so that the gradients can be differentiated in turn.
    """
    waiting: list[tuple[int, Op]] = []  # a heap: the op with the highest number first
    pending: dict[Op, list] = {}  # op -> the gradient of each of its outputs, as far as they have arrived
    leaves: dict[Tensor, Any] = {}
    wanted = [((t.grad_fn or t), t._index) for t in inputs or ()]
    useful = None if inputs is None else _leads_to({target for target, _ in wanted}, roots)
    catch = {op for op, _ in wanted if isinstance(op, Op)}
    caught: dict[tuple, Any] = {}

    anomaly, several = mode.anomaly, devices.several

    op = Op()  # stands for the caller, who made `grads` out of nothing
    op.edges = [(root.grad_fn or root, root._index) for root in roots]
    results: Sequence = [g if create_graph else g.array for g in grads]
    cell = results
    while True:
        for edge, g in zip(op.edges, results):
            if edge is None or g is None:
                continue
            target, index = edge
            if useful is not None and target not in useful:
                continue
            if not create_graph and type(g) not in NAMESPACES:
                g = op.xp.asarray(g)  # a NumPy scalar
            if several:
                devices.use(g.array if create_graph else g)
            if isinstance(target, Op):
                arrived = pending.get(target)
                if arrived is None:
                    pending[target] = arrived = [None] * target.outputs
                    heappush(waiting, (-target.number, target))
                elif arrived[index] is not None:
                    g = _plus(arrived[index], g)
                arrived[index] = g
                continue
            total = leaves.get(target)
            if total is not None:
                if create_graph or g.size == 1 or g.itemsize == 2:  # half precision: _plus rounds once; 1 element: faster so
                    leaves[target] = _plus(total, g)
                else:
                    total += g  # an array that nobody else has
            elif create_graph:
                leaves[target] = g
            else:  # small ones are copied faster than one can find out whether they are somebody's
                leaves[target] = g.copy() if g.size < 1024 or _borrowed(g, cell, results, op) else g
        if results and op.sources and not retain_graph:
            op.saved = None  # shapes and numbers alone stay: such an op goes backward any number of times
        if not waiting:
            break

        op = heappop(waiting)[1]
        cell = pending.pop(op)
        if several:
            g = next(g for g in cell if g is not None)
            devices.use(g.array if create_graph else g)
        if op.hooks is not None:
            for i, hooks in op.hooks.items():
                if cell[i] is not None:
                    g = _run_hooks(hooks, cell[i] if create_graph else wrap(cell[i]))
                    cell[i] = g if create_graph else g.array
        if useful is not None:
            if op in catch:
                caught.update({(op, i): g for i, g in enumerate(cell)})
            if not any(edge is not None and edge[0] in useful for edge in op.edges):
                results = ()
                continue
        if op.outputs > 1 and op.materialize:
            cell = [_zeros(op, i, create_graph) if g is None else g for i, g in enumerate(cell)]
        results = op.backward_tensors(cell) if create_graph else op.backward_arrays(cell)
        if len(results) != len(op.edges):
            raise RuntimeError(f"{op.name}.backward returned {len(results)} gradients for {len(op.edges)} inputs")
        if anomaly:
            _check_backward(op, cell, results)

    for leaf, g in leaves.items():
        if several:
            devices.use(leaf.array)
        g = g if create_graph else wrap(g)
        if leaf._hooks:
            g = _run_hooks(leaf._hooks, g, copy=not create_graph)
        leaves[leaf] = g
        if accumulate:
            _accumulate(leaf, g, create_graph)
    if accumulate:
        return []
    found = [leaves.get(key[0]) if not isinstance(key[0], Op) else caught.get(key) for key in wanted]
    return [g if g is None or isinstance(g, Tensor) else wrap(g) for g in found]


def _plus(a: Any, b: Any) -> Any:
    """a + b; NumPy makes a scalar of the sum of two 0-d arrays. Half precision on a GPU is added as `Add` adds it."""
    if type(a) is not np.ndarray and not isinstance(a, Tensor) and a.dtype in LOW_PRECISION:
        from ..ops.arithmetic import Add

        add = Add()
        add.xp = namespace_of(a)
        return add.run(Add, a, b)
    total = a + b
    return np.asarray(total) if isinstance(total, np.generic) else total


def _holds_arrays(values: tuple) -> bool:
    for value in values:
        if hasattr(value, "dtype") or (type(value) is tuple and _holds_arrays(value)):
            return True
    return False


def _borrowed(g: Any, cell: Sequence, results: Sequence, op: Op) -> bool:
    """Whether a gradient that a leaf would keep is another's array: then the leaf gets a copy of its own."""
    return (
        getattr(g, "base", None) is not None
        or any(g is other for other in cell)
        or sum(g is other for other in results) > 1
        or any(g is value for value in op.saved)
    )


def _accumulate(leaf: Tensor, g: Tensor, create_graph: bool) -> None:
    if g.array.shape != leaf.array.shape:
        raise RuntimeError(f"a gradient of shape {tuple(g.shape)} arrived at a tensor of shape {tuple(leaf.shape)}")
    if g.array.dtype != leaf.array.dtype:
        g = g.to(leaf.dtype)
    if leaf.grad is None:
        leaf.grad = g.clone() if create_graph else g
    elif create_graph:
        leaf.grad = leaf.grad + g
    else:
        leaf.grad.array += g.array
        leaf.grad.bump_version()
    for hook in list((leaf._after_hooks or {}).values()):
        hook(leaf)


def _leads_to(targets: set, roots: Iterable[Tensor]) -> set:
    """The nodes between `roots` and `targets`. An op's inputs have lower numbers, so one pass upward is enough."""
    seen: set[Op] = set()
    stack = [root.grad_fn for root in roots if root.grad_fn is not None]
    while stack:
        op = stack.pop()
        if op not in seen:
            seen.add(op)
            stack.extend(edge[0] for edge in op.edges if edge is not None and isinstance(edge[0], Op))
    useful = set(targets)
    for op in sorted(seen, key=lambda o: o.number):
        if any(edge is not None and edge[0] in useful for edge in op.edges):
            useful.add(op)
    return useful


def _zeros(op: Op, i: int, create_graph: bool) -> Any:
    """The gradient of an output that nothing used: zeros; None for integer outputs, which have no gradient."""
    shape, dtype = op.shapes[i]
    if dtype not in FLOATING:
        return None
    zeros = op.xp.zeros(shape, dtype)
    return wrap(zeros) if create_graph else zeros


def _run_hooks(hooks: dict, g: Tensor, copy: bool = False) -> Tensor:
    """The gradient after its hooks; then the tensor that retains it, if there is one, gets its copy."""
    given = g
    for hook in [hook for key, hook in hooks.items() if key]:
        changed = hook(g)
        if changed is None:
            continue
        if not isinstance(changed, Tensor):
            raise TypeError(f"a hook of a gradient must return a Tensor or None, not {type(changed).__name__}")
        if changed.shape != g.shape:
            raise RuntimeError(f"a hook changed a gradient's shape from {tuple(g.shape)} to {tuple(changed.shape)}")
        g = changed
    retains = hooks[0]() if 0 in hooks else None
    if retains is not None:
        retains.grad = g.clone() if retains.grad is None else retains.grad + g
    return g.clone() if copy and g is not given else g  # what a hook returned may be in use elsewhere


def _check_backward(op: Op, cell: Sequence, results: Sequence) -> None:
    arrays = [g.array if isinstance(g, Tensor) else g for g in results]
    if mode.check_nan and any(has_nan(g) for g in arrays):
        where = op.forward_line or "  (recorded outside detect_anomaly(): run the forward pass inside it too)"
        raise RuntimeError(f"the gradient of {op.name} has a NaN; its forward was called at\n{where}")
