"""PyTorch's torch.func: derivatives as functions of functions: grad, vjp, jvp, jacrev, jacfwd, hessian, vmap.

`grad(f)` is f', a function like any other, so grad(grad(f)) is f''. An argument that is differentiated becomes a new
variable: a leaf of its own, or a view of the argument where that one is part of a graph already (because it requires a
gradient, or because an outer `grad` is at work), so that outer derivatives still pass through. What is returned stays
in the graph only where it leads to something besides these new leaves.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from . import autograd
from .autograd.engine import Op
from .autograd.grad_mode import enable_grad, is_grad_enabled
from .backend import random
from .nn import Module
from .ops.shape import stack
from .tensor import Tensor, wrap

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "stack_module_state",
    "vjp", "vmap",
]  # fmt: skip


# --- nested containers of tensors ------------------------------------------------------------------------------------


def _flatten(tree: Any) -> tuple[list, Callable[[list], Any]]:
    """(what stands in nested tuples, lists and dicts, the function that puts others in the same places)."""
    if isinstance(tree, dict):
        keys, children = list(tree), list(tree.values())
        kind = OrderedDict if isinstance(tree, OrderedDict) else dict
        make: Callable = lambda values: kind(zip(keys, values))  # noqa: E731
    elif isinstance(tree, (tuple, list)):
        children = list(tree)
        make = (lambda values: type(tree)(*values)) if hasattr(tree, "_fields") else type(tree)
    else:
        return [tree], lambda leaves: leaves[0]
    flat, builds = [], []
    for child in children:
        leaves, build = _flatten(child)
        flat += leaves
        builds.append((len(leaves), build))

    def rebuild(leaves: list) -> Any:
        rest, values = list(leaves), []
        for count, build in builds:
            values.append(build(rest[:count]))
            rest = rest[count:]
        return make(values)

    return flat, rebuild


def _map(f: Callable, tree: Any) -> Any:
    leaves, rebuild = _flatten(tree)
    return rebuild([f(leaf) for leaf in leaves])


def _tensors(tree: Any, name: str, what: str) -> tuple[list, Callable]:
    leaves, rebuild = _flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{name}: expected {what} to hold only tensors, got {type(leaf).__name__}")
    if not leaves:
        raise RuntimeError(f"{name}: {what} should contain at least one tensor; found none")
    return leaves, rebuild


# --- new variables, and what leads past them -------------------------------------------------------------------------


class _Variables:
    """The new variables of one derivative: of `trees`, the arguments that are differentiated."""

    def __init__(self, trees: Any, name: str, what: str):
        self.recording = is_grad_enabled()  # whether what is returned may be part of an outer graph
        given, self.rebuild = _tensors(trees, name, what)
        for t in given:
            if not t.is_floating_point():
                raise RuntimeError(
                    f"{name}: only floating point tensors have derivatives; {what} hold one of {t.dtype}"
                )
        with enable_grad():
            self.tensors = [
                t.view_as(t) if self.recording and t.requires_grad else t.detach().requires_grad_() for t in given
            ]
        self.open = [True]  # until the function has been called: only so long can it be differentiated inside
        self.own([t for t in self.tensors if t.grad_fn is None])

    def own(self, leaves: list) -> None:
        """Makes the leaves known as these variables'."""
        for leaf in leaves:
            leaf._variables_open = self.open

    def close(self) -> None:
        """The function has been called: what depends on these variables alone is a constant to everybody else."""
        self.open[0] = False

    def lead_past(self, outputs: list) -> bool:
        """Whether the outputs depend on a leaf besides these variables, and those of derivatives inside, now closed."""
        seen: set[Op] = set()
        waiting = [t.grad_fn or t for t in outputs if t.requires_grad]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Tensor):
                known = getattr(node, "_variables_open", None)
                if known is None or (known[0] and known is not self.open):
                    return True
            elif node not in seen:
                seen.add(node)
                waiting.extend(edge[0] for edge in node.edges if edge is not None)
        return False

    def finish(self, tree: Any) -> Any:
        """Results without the part of the graph that leads to the new leaves alone."""

        def outside(t: Any) -> Any:
            if isinstance(t, Tensor) and t.requires_grad and not (self.recording and self.lead_past([t])):
                return t.detach()
            return t

        return _map(outside, tree)

    def gradients(self, outputs: list, cotangents: list, create_graph: bool) -> list:
        """The cotangents carried back to the variables: zeros where no path leads."""
        pairs = [(o, c) for o, c in zip(outputs, cotangents) if o.requires_grad]
        found: Any = (None,) * len(self.tensors)
        if pairs:
            outs, weights = zip(*pairs)
            found = autograd.grad(
                outs, self.tensors, weights, retain_graph=True, create_graph=create_graph, allow_unused=True
            )
        return [_zeros(t) if g is None else g for g, t in zip(found, self.tensors)]


def _zeros(like: Tensor) -> Tensor:
    return wrap(like.xp.zeros(like.array.shape, like.array.dtype))


def _one_hot(like: Tensor, i: int) -> Tensor:
    array = like.xp.zeros(like.array.size, like.array.dtype)
    array[i] = 1
    return wrap(array.reshape(like.array.shape))


def _choose(args: tuple, argnums: Any, name: str) -> tuple:
    """The arguments that argnums names: one, or a tuple of several."""
    several = isinstance(argnums, tuple)
    numbers = argnums if several else (argnums,)
    if not numbers:
        raise RuntimeError(f"{name}: argnums must be non-empty")
    places = []
    for i in numbers:
        if isinstance(i, bool) or not isinstance(i, int):
            raise RuntimeError(f"{name}: argnums must be int or Tuple[int, ...], got {argnums!r}")
        if not -len(args) <= i < len(args):
            raise RuntimeError(f"{name}: got argnum={i}, but only {len(args)} positional inputs")
        places.append(i % len(args))
    if len(set(places)) != len(places):
        raise RuntimeError(f"{name}: argnums elements must be unique, got {argnums}")
    return tuple(args[i] for i in places) if several else args[places[0]], places, several


def _with(args: tuple, places: list, several: bool, values: Any) -> list:
    changed = list(args)
    for i, value in zip(places, values if several else (values,)):
        changed[i] = value
    return changed


def _split_aux(result: Any, has_aux: bool, name: str) -> tuple:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise RuntimeError(f"{name}: with has_aux=True the function must return a tuple (output, aux)")
    return result


# --- reverse mode ----------------------------------------------------------------------------------------------------


def grad_and_value(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """The function that returns (the gradient of func, its value): of ((gradient, (value, aux)) with has_aux."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        chosen, places, several = _choose(args, argnums, "grad")
        variables = _Variables(chosen, "grad", "the arguments that argnums names")
        with enable_grad():
            changed = _with(args, places, several, variables.rebuild(variables.tensors))
            value, aux = _split_aux(func(*changed, **kwargs), has_aux, "grad")
            if not isinstance(value, Tensor):
                raise RuntimeError(f"grad: expected the function to return a tensor, got {type(value).__name__}")
            if value.ndim:
                raise RuntimeError(
                    f"grad: expected the function to return a scalar tensor, got one with {value.ndim} dims. Maybe you "
                    "wanted to use the vjp or jacrev APIs instead?"
                )
            recording = variables.recording and variables.lead_past([value])
            one = wrap(value.xp.ones((), value.array.dtype))
            found = variables.gradients([value], [one], recording)
        variables.close()
        gradient = variables.finish(variables.rebuild(found))
        value, aux = variables.finish((value, aux))
        return (gradient, (value, aux)) if has_aux else (gradient, value)

    return wrapper


def grad(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """The gradient of a function to a single number, as a function: with respect to argument number `argnums`, or to
    several, which may be nested containers of tensors. has_aux: func returns (output, aux), the result (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """(func(*primals), the function v -> v^T J, a tuple with a part for each primal): J is the Jacobian at the primals.
    (output, function, aux) with has_aux."""
    variables = _Variables(primals, "vjp", "the primals")
    with enable_grad():
        result, aux = _split_aux(func(*variables.rebuild(variables.tensors)), has_aux, "vjp")
    outputs, rebuild = _tensors(result, "vjp", "the function's output")

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given, _ = _tensors(cotangents, "vjp", "the cotangents")
        if len(given) != len(outputs):
            raise RuntimeError(f"vjp: got {len(given)} cotangents for {len(outputs)} outputs")
        for v, out in zip(given, outputs):
            if v.shape != out.shape:
                raise RuntimeError(f"vjp: a cotangent has shape {tuple(v.shape)}, its output {tuple(out.shape)}")
        recording = create_graph
        if recording is None:
            recording = is_grad_enabled() and (variables.lead_past(outputs) or any(v.requires_grad for v in given))
        with enable_grad():
            found = variables.gradients(outputs, given, recording)
        return variables.rebuild(variables.finish(found))

    variables.close()
    finished = variables.finish(rebuild(outputs))
    return (finished, vjp_fn, variables.finish(aux)) if has_aux else (finished, vjp_fn)


def jacrev(
    func: Callable, argnums: Any = 0, *, has_aux: bool = False, chunk_size: Any = None,
    _preallocate_and_copy: bool = False,
) -> Callable:  # fmt: skip
    """The Jacobian as a function, (*output, *input) for each output and input: a backward pass for each element of the
    output."""
    if chunk_size is not None and not (isinstance(chunk_size, int) and chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    def wrapper(*args: Any) -> Any:
        chosen, places, several = _choose(args, argnums, "jacrev")
        aux: Any = None

        def of_chosen(*values: Any) -> Any:
            return func(*_with(args, places, several, values if several else values[0]))

        if has_aux:
            output, back, aux = vjp(of_chosen, *(chosen if several else (chosen,)), has_aux=True)
        else:
            output, back = vjp(of_chosen, *(chosen if several else (chosen,)))
        outputs, rebuild_outputs = _flatten(output)
        inputs, rebuild_inputs = _flatten(chosen)
        blocks = []
        for k, out in enumerate(outputs):
            rows = []
            for i in range(out.numel()):
                weights = [_one_hot(o, i) if j == k else _zeros(o) for j, o in enumerate(outputs)]
                found = back(rebuild_outputs(weights))
                rows.append(_flatten(found if several else found[0])[0])
            blocks.append(rebuild_inputs([_joined(rows, j, out, t) for j, t in enumerate(inputs)]))
        jacobian = rebuild_outputs(blocks)
        return (jacobian, aux) if has_aux else jacobian

    return wrapper


def _joined(rows: list, j: int, out: Tensor, t: Tensor) -> Tensor:
    shape = (*out.shape, *t.shape)
    if not rows:
        return wrap(t.xp.zeros(shape, t.array.dtype))
    return stack([row[j] for row in rows]).reshape(shape)


# --- forward mode, by two passes backward ----------------------------------------------------------------------------


def linearize(func: Callable, *primals: Any) -> tuple:
    """(func(*primals), the function v -> J v): one forward pass serves many v.

    u -> u^T J is linear in u, whatever u is; its own derivative along v is J v.
    """
    variables = _Variables(primals, "jvp", "the primals")
    with enable_grad():
        output = func(*variables.rebuild(variables.tensors))
        outputs, rebuild = _tensors(output, "jvp", "the function's output")
        us = [wrap(o.xp.zeros(o.array.shape, o.array.dtype), requires_grad=o.is_floating_point()) for o in outputs]
        back = variables.gradients(outputs, us, True)
    variables.own(us)
    variables.close()
    recording = is_grad_enabled() and variables.lead_past(outputs)

    def jvp_fn(*tangents: Any) -> Any:
        given, _ = _tensors(tangents, "jvp", "the tangents")
        if len(given) != len(variables.tensors):
            raise RuntimeError(f"jvp: got {len(given)} tangents for {len(variables.tensors)} primals")
        for v, t in zip(given, variables.tensors):
            if v.shape != t.shape or v.dtype is not t.dtype:
                raise RuntimeError(
                    f"jvp: a tangent has shape {tuple(v.shape)} and {v.dtype}, its primal {tuple(t.shape)} and {t.dtype}"
                )
        keep = recording or (is_grad_enabled() and any(v.requires_grad for v in given))
        pairs = [(b, v) for b, v in zip(back, given) if b.requires_grad]
        found: Any = [None] * len(us)
        if pairs:
            heads, weights = zip(*pairs)
            wanted = [u for u in us if u.requires_grad]
            with enable_grad():
                some = iter(
                    autograd.grad(heads, wanted, weights, retain_graph=True, create_graph=keep, allow_unused=True)
                )
            found = [next(some) if u.requires_grad else None for u in us]
        products = [_zeros(o) if p is None else p for p, o in zip(found, outputs)]
        return variables.finish(rebuild(products))

    return variables.finish(rebuild(outputs)), jvp_fn


def jvp(func: Callable, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> tuple:
    """(func(*primals), J v): the derivative along the tangents v. (output, J v, aux) with has_aux."""
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, tuple):
            raise RuntimeError(f"jvp: expected {name} to be a tuple, got {type(value).__name__}")
        if not value:
            raise RuntimeError(f"jvp: expected {name} to be non-empty")
    kept: list = []

    def without_aux(*values: Any) -> Any:
        output, aux = _split_aux(func(*values), has_aux, "jvp")
        kept.append(_map(lambda t: t.detach() if isinstance(t, Tensor) else t, aux))
        return output

    output, product = linearize(without_aux, *primals)
    moved = product(*tangents)
    return (output, moved, kept[0]) if has_aux else (output, moved)


def jacfwd(func: Callable, argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error") -> Callable:
    """The Jacobian as a function, (*output, *input): a pass for each element of the input."""

    def wrapper(*args: Any) -> Any:
        chosen, places, several = _choose(args, argnums, "jacfwd")
        kept: list = []

        def of_chosen(*values: Any) -> Any:
            output, aux = _split_aux(
                func(*_with(args, places, several, values if several else values[0])), has_aux, "jacfwd"
            )
            kept.append(aux)
            return output

        output, product = linearize(of_chosen, *(chosen if several else (chosen,)))
        outputs, rebuild_outputs = _flatten(output)
        inputs, rebuild_inputs = _flatten(chosen)
        columns: list = []  # for each input: for each of its elements: J v of every output
        for k, t in enumerate(inputs):
            found = []
            for i in range(t.numel()):
                directions = rebuild_inputs([_one_hot(o, i) if j == k else _zeros(o) for j, o in enumerate(inputs)])
                found.append(_flatten(product(*(directions if several else (directions,))))[0])
            columns.append(found)
        blocks = []
        for j, out in enumerate(outputs):
            one = []
            for t, found in zip(inputs, columns):
                shape = (*out.shape, *t.shape)
                one.append(
                    stack([f[j] for f in found], -1).reshape(shape)
                    if found
                    else wrap(out.xp.zeros(shape, out.array.dtype))
                )
            blocks.append(rebuild_inputs(one))
        jacobian = rebuild_outputs(blocks)
        if has_aux:
            return jacobian, _map(lambda t: t.detach() if isinstance(t, Tensor) else t, kept[0])
        return jacobian

    return wrapper


def hessian(func: Callable, argnums: Any = 0) -> Callable:
    """The matrix of second derivatives as a function: the Jacobian of the Jacobian."""
    return jacrev(jacrev(func, argnums), argnums)


# --- many calls in one -----------------------------------------------------------------------------------------------


def _axes(dims: Any, tree: Any, name: str) -> list:
    """An axis, or None, for each tensor of `tree`: dims is one for all of them, or nested like (a part of) the tree."""
    if dims is None or isinstance(dims, int):
        return [dims] * len(_flatten(tree)[0])
    if isinstance(dims, dict) and isinstance(tree, dict) and dims.keys() == tree.keys():
        return [axis for key in tree for axis in _axes(dims[key], tree[key], name)]
    if isinstance(dims, (tuple, list)) and isinstance(tree, (tuple, list)) and len(dims) == len(tree):
        return [axis for d, part in zip(dims, tree) for axis in _axes(d, part, name)]
    raise ValueError(f"vmap: {name}={dims!r} does not fit the structure of what it describes")


def vmap(
    func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: Any = None
) -> Callable:
    """func for every slice along in_dims of its arguments, the results stacked along out_dims.

    A loop over the slices: for what it says, not for speed. randomness: "error" if func draws random numbers,
    "different" ones for each slice, or the "same" ones.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"vmap: randomness must be 'error', 'different' or 'same', got {randomness!r}")

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves, rebuild = _flatten(args)
        axes = _axes(in_dims, args, "in_dims")
        lengths = set()
        for leaf, axis in zip(leaves, axes):
            if axis is None:
                continue
            if not isinstance(leaf, Tensor):
                raise ValueError(f"vmap: in_dims gives the dimension {axis} to an input of type {type(leaf).__name__}")
            if not -leaf.ndim <= axis < leaf.ndim:
                raise ValueError(f"vmap: in_dims gives the dimension {axis} to a tensor of dimensionality {leaf.ndim}")
            lengths.add(leaf.shape[axis])
        if len(lengths) != 1:
            raise ValueError(
                f"vmap: expected all tensors to have the same size in the mapped dimension, got {sorted(lengths)}"
                if lengths
                else "vmap: at least one input must be a tensor with an in_dims that is not None"
            )
        (length,) = lengths
        if not length:
            raise RuntimeError("vmap: the mapped dimension has size 0, so the shapes of the results are not known")
        before = random.default_generator.state_array() if randomness != "different" else None
        results = []
        for i in range(length):
            if randomness == "same" and i:
                random.default_generator.set_state_array(before)
            results.append(func(*rebuild([t if a is None else t.select(a, i) for t, a in zip(leaves, axes)]), **kwargs))
            if randomness == "error" and bytes(before) != bytes(random.default_generator.state_array()):  # type: ignore[arg-type]
                raise RuntimeError(
                    "vmap: the function draws random numbers; say randomness='different' or randomness='same'"
                )
        flat = [_tensors(result, "vmap", "the function's output")[0] for result in results]
        where = _axes(out_dims, results[0], "out_dims")
        joined = [f[0] if axis is None else stack(list(f), axis) for axis, f in zip(where, zip(*flat))]
        return _flatten(results[0])[1](joined)

    return wrapper


# --- modules as functions --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _holding(module: Module, values: dict):
    """Inside, the module's parameters and buffers of these names are `values`; afterwards the dictionary holds what
    stands in their places then, and the module its own."""
    before: list = []
    try:
        for name, value in values.items():
            path, _, last = name.rpartition(".")
            owner = module.get_submodule(path)
            members = next((m for m in (owner._parameters, owner._buffers) if last in m), None)
            if members is None:
                raise AttributeError(f"functional_call: {type(module).__name__} has no parameter or buffer {name!r}")
            before.append((name, members, last, members[last]))
            members[last] = value
        yield
    finally:
        for name, members, last, old in reversed(before):
            values[name] = members.get(last, old)
            members[last] = old


def _tied(module: Module) -> list[set]:
    """The sets of names under which the module holds one and the same tensor."""
    names: dict = {}
    for members in (module.named_parameters, module.named_buffers):
        for name, t in members(remove_duplicate=False):
            names.setdefault(id(t), set()).add(name)
    return [group for group in names.values() if len(group) > 1]


def functional_call(
    module: Module, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *, tie_weights: bool = True,
    strict: bool = False,
) -> Any:  # fmt: skip
    """module(*args, **kwargs) with the given tensors, by name, in place of its parameters and buffers.

    A tuple of dictionaries is one dictionary in parts. tie_weights: a tensor that the module holds under several names
    is replaced under all of them. strict: every parameter and buffer must be given. An argument that is no tuple is
    the only one.
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        given = dict(parameter_and_buffer_dicts)
    elif isinstance(parameter_and_buffer_dicts, (tuple, list)):
        given = {}
        for part in parameter_and_buffer_dicts:
            if not isinstance(part, dict):
                raise ValueError(f"functional_call: expected dictionaries, got {type(part).__name__}")
            for key, value in part.items():
                if key in given:
                    raise ValueError(f"functional_call: {key} appears in multiple dictionaries; which one is meant?")
                given[key] = value
    else:
        raise ValueError(
            "functional_call: expected a dictionary, or a tuple of dictionaries, of parameters and buffers, got "
            f"{type(parameter_and_buffer_dicts).__name__}"
        )
    for key, value in given.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"functional_call: expected a Tensor for {key}, got {type(value).__name__}")
    values = dict(given)
    groups = _tied(module) if tie_weights else []
    for group in groups:
        named = sorted(group & given.keys())
        if any(given[name] is not given[named[0]] for name in named):
            raise ValueError(
                f"functional_call: got different values for {named}, which are tied. Consider using tie_weights=False"
            )
        if named:
            values.update((name, given[named[0]]) for name in group)
    if strict:
        own = {
            name
            for members in (module.named_parameters, module.named_buffers)
            for name, _ in members(remove_duplicate=False)
        }
        missing, unexpected = sorted(own - values.keys()), sorted(given.keys() - own)
        if missing or unexpected:
            raise RuntimeError(
                f"functional_call: strict=True, and for {type(module).__name__} the keys missing are {missing}, "
                f"the unexpected ones {unexpected}"
            )
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with _holding(module, values):
        result = module(*args, **(kwargs or {}))
    for part in (
        (parameter_and_buffer_dicts,) if isinstance(parameter_and_buffer_dicts, dict) else parameter_and_buffer_dicts
    ):
        part.update((key, values[key]) for key in part)  # a buffer that forward exchanged
    return result


def stack_module_state(models: Any) -> tuple[dict, dict]:
    """(parameters, buffers) of several modules of one kind, each stacked along a new first dimension, for `vmap`."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or not any(m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(of: Callable) -> dict:
        dicts = [dict(of(m)) for m in models]
        return {key: stack([d[key] for d in dicts]) for key in dicts[0]}

    parameters = {
        key: value.detach().requires_grad_() if models[0].get_parameter(key).requires_grad else value.detach()
        for key, value in stacked(lambda m: m.named_parameters()).items()
    }
    return parameters, stacked(lambda m: m.named_buffers())
