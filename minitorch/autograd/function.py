"""Custom operations, as PyTorch's `autograd.Function`: static `forward(ctx, ...)` and `backward(ctx, ...)`."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import Any

from ..backend.dtypes import FLOATING, OF_NUMPY
from ..tensor import Tensor, wrap
from . import engine, views
from .grad_mode import mode, no_grad


class Context:
    """What a Function's forward keeps for its backward."""

    def __init__(self, needs: tuple):
        self.needs_input_grad = needs
        self._to_save: tuple = ()
        self._non_differentiable: tuple = ()
        self._dirty: tuple = ()
        self._node: Any = None
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps tensors (inputs, outputs, or others; None allowed) for `ctx.saved_tensors`."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward can only save tensors, got {type(t).__name__}; keep it on ctx")
        self._to_save = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These outputs get no gradient."""
        self._non_differentiable = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """These inputs were changed in place."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients of unused outputs come as zeros (the default) or as None."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple:
        """What `save_for_backward` kept, at its place in the graph."""
        node = self._node
        if node is None:
            return self._to_save
        node.check_saved()
        out = []
        for value, source in itertools.zip_longest(node.saved, node.sources):
            leads_on = source is not None and (source[0] < 0 or node.edges[source[0]] is not None)
            out.append(node._reattach(value, source[0]) if leads_on else value if value is None else wrap(value))
        return tuple(out)


class FunctionNode(engine.Op):
    """The node of a custom Function in the graph. Its backward takes and gives tensors."""

    promote = None
    arguments: int  # how many forward was given, tensors or not
    tensor_positions: list[int]  # of the tensors among them
    inputs: list[tuple]  # (shape, dtype) of each tensor

    def __init__(self, function: Any, ctx: Context):
        self.function, self.ctx = function, ctx

    @property
    def name(self) -> str:
        return self.function.__name__

    def backward_arrays(self, grads: Sequence) -> Sequence:
        with no_grad():
            results = self.backward_tensors([g if g is None else wrap(g) for g in grads])
        return [
            g if g is None else g.array[...] for g in results
        ]  # a view, of which a leaf takes a copy: it may be ctx's

    def backward_tensors(self, grads: Sequence) -> Sequence:
        self.check_saved()
        results = self.function.backward(self.ctx, *grads)
        results = results if isinstance(results, tuple) else (results,)
        extra = [g for g in results[self.arguments :] if g is not None]
        if len(results) < self.arguments or extra:
            raise RuntimeError(
                f"function {self.name}Backward returned an incorrect number of gradients "
                f"(expected {self.arguments}, got {len(results)})"
            )
        for i, g in enumerate(results[: self.arguments]):
            if g is not None and i not in self.tensor_positions:
                raise RuntimeError(
                    f"function {self.name}Backward returned a gradient for argument {i}, which is not a tensor"
                )
            if g is not None and not isinstance(g, Tensor):
                raise TypeError(
                    f"{self.name}.backward: expected a Tensor or None as gradient {i}, got {type(g).__name__}"
                )
        picked = [results[i] for i in self.tensor_positions]
        return [self._fitted(g, *own) if need else None for g, own, need in zip(picked, self.inputs, self.needs)]

    def _fitted(self, g: Tensor | None, shape: tuple, dtype: Any) -> Tensor | None:
        """A gradient as its input needs it: summed where the input was broadcast, in the input's dtype."""
        if g is None:
            return None
        if g.array.shape != shape:
            new = g.array.ndim - len(shape)
            if new < 0 or any(n not in (1, m) for n, m in zip(shape, g.array.shape[new:])):
                raise RuntimeError(
                    f"function {self.name}Backward returned an invalid gradient: got shape {tuple(g.shape)}, expected {shape}"
                )
            repeated = [new + i for i, n in enumerate(shape) if n == 1]
            g = g.sum((*range(new), *repeated), keepdim=True).reshape(shape)
        return g if g.array.dtype == dtype else g.to(OF_NUMPY[dtype])


class Function:
    """A differentiable operation of your own.

        class Cube(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x**3

            @staticmethod
            def backward(ctx, dy):          # one gradient for each input of forward, None where there is none
                (x,) = ctx.saved_tensors
                return dy * 3 * x**2

        y = Cube.apply(x)

    The two-step form, `forward(x)` with `setup_context(ctx, inputs, output)`, works too.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            "You must implement the backward function to use your autograd.Function with autograd."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward, and records the function if one of the tensors among `args` requires a gradient."""
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        ctx = Context(needs)
        recording = mode.enabled and any(needs)
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        if not recording:
            for changed in ctx._dirty:
                changed.bump_version()
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        for changed in ctx._dirty:
            if not any(changed is out for out in outputs):
                raise RuntimeError(f"{cls.__name__}: a tensor marked as dirty was not returned by forward")
        node = FunctionNode(cls, ctx)
        node.xp = args[places[0]].xp
        node.number = engine._next_number()
        node.arguments, node.tensor_positions = len(args), places
        node.needs = [needs[i] for i in places]
        node.inputs = [(args[i].array.shape, args[i].array.dtype) for i in places]
        node.edges = [((args[i].grad_fn or args[i]), args[i]._index) if needs[i] else None for i in places]
        node.outputs = len(outputs)

        wrapped: list[Any] = []
        for i, out in enumerate(outputs):
            if not isinstance(out, Tensor):
                wrapped.append(out)
                continue
            dirty = any(out is d for d in ctx._dirty)
            fixed = any(out is t for t in ctx._non_differentiable) or out.array.dtype not in FLOATING
            if not dirty and any(out is a for a in args):
                with no_grad():
                    out = out.view_as(out)  # an input returned as it is: a tensor of its own
            if dirty:
                views.check_writable(out, cls.__name__, True)
            place = wrap(out.array) if dirty else out
            if not fixed:
                place._requires_grad, place.grad_fn, place._index = True, node, i
            if dirty:
                views.attach(out, place)
            elif out._base is not None:
                out._chain = None  # its gradient is this function's: a change in place of what it looks at is refused
            wrapped.append(out)
        if len(outputs) > 1:
            node.shapes = [
                (o.array.shape, o.array.dtype) if isinstance(o, Tensor) and ctx._materialize else ((), None)
                for o in wrapped
            ]
        saved = [
            next((w for w, o in zip(wrapped, outputs) if o is t and w is not o), t) if t is not None else None
            for t in ctx._to_save
        ]
        node.saved = tuple(t if t is None else t.array for t in saved)
        arrays = [None if any(args[i] is d for d in ctx._dirty) else args[i].array for i in places]
        results = [w if isinstance(w, Tensor) else wrap(None) for w in wrapped]
        node._note_sources([args[i] for i in places], arrays, results, type(args[places[0]].array))
        ctx._to_save, ctx._node = (), weakref.proxy(node)  # the node owns its context: the way back must not be a cycle
        if mode.anomaly:
            node._check_forward(arrays, [w for w in wrapped if isinstance(w, Tensor)])
        return tuple(wrapped) if isinstance(result, tuple) else wrapped[0]


def once_differentiable(backward: Any) -> Any:
    """Decorator for a Function's backward that cannot be differentiated itself: a gradient of its gradient is refused."""

    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            results = backward(ctx, *grads)
        if not mode.enabled:
            return results
        refused = []
        for g in results if isinstance(results, tuple) else (results,):
            if isinstance(g, Tensor):
                g = g.detach()
                g._requires_grad, g.grad_fn = True, _TwiceDifferentiated(ctx)
            refused.append(g)
        return tuple(refused)

    return wrapped


class _TwiceDifferentiated(engine.Op):
    """Stands between a gradient that cannot be differentiated and what it depends on."""

    def __init__(self, ctx: Context):
        self.function_name, self.edges, self.number = ctx._node.name, ctx._node.edges, engine._next_number()

    def backward_arrays(self, grads: Sequence) -> Sequence:
        raise RuntimeError(f"trying to differentiate {self.function_name} twice; its backward is @once_differentiable")

    backward_tensors = backward_arrays
