"""Values inside lists, tuples, named tuples and dicts, as PyTorch's torch.utils._pytree takes them apart and puts them
together again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

PyTree = Any


@dataclass(frozen=True)
class TreeSpec:
    """What is left of a structure without its leaves. `kind` None: a leaf."""

    kind: Any
    context: Any
    children: tuple[TreeSpec, ...] = ()

    @property
    def num_leaves(self) -> int:
        return 1 if self.kind is None else sum(child.num_leaves for child in self.children)

    def is_leaf(self) -> bool:
        return self.kind is None


LeafSpec = TreeSpec(None, None)
_NODES: dict[Any, tuple[Callable, Callable]] = {}  # type: (value -> children and context, children and context -> value)


def register_pytree_node(cls: type, flatten_fn: Callable, unflatten_fn: Callable, **options: Any) -> None:
    """Has instances of a class taken apart too: `flatten_fn(value)` gives (children, context)."""
    _NODES[cls] = flatten_fn, unflatten_fn


_register_pytree_node = register_pytree_node
_kind: Any
for _kind in (list, tuple):
    register_pytree_node(_kind, lambda v: (list(v), None), lambda c, _, kind=_kind: kind(c))
for _kind in (dict, OrderedDict):
    register_pytree_node(_kind, lambda v: (list(v.values()), list(v)), lambda c, keys, kind=_kind: kind(zip(keys, c)))
register_pytree_node(
    defaultdict,
    lambda v: (list(v.values()), [v.default_factory, list(v)]),
    lambda c, context: defaultdict(context[0], zip(context[1], c)),
)
register_pytree_node(deque, lambda v: (list(v), v.maxlen), lambda c, maxlen: deque(c, maxlen))


def _node(value: Any) -> Any:
    """The key of `_NODES` that takes the value apart; None for a leaf."""
    kind = type(value)
    return kind if kind in _NODES else tuple if isinstance(value, tuple) and hasattr(kind, "_fields") else None


def tree_flatten(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list, TreeSpec]:
    """(leaves, structure)."""
    kind = None if is_leaf is not None and is_leaf(tree) else _node(tree)
    if kind is None:
        return [tree], LeafSpec
    children, context = _NODES[kind][0](tree)
    flat = [tree_flatten(child, is_leaf) for child in children]
    return [x for part, _ in flat for x in part], TreeSpec(type(tree), context, tuple(spec for _, spec in flat))


def tree_unflatten(leaves: Iterable, treespec: TreeSpec) -> PyTree:
    """The structure with these leaves."""
    values = list(leaves)
    if len(values) != treespec.num_leaves:
        raise ValueError(f"tree_unflatten(): {len(values)} leaves for a structure of {treespec.num_leaves}")
    stream = iter(values)

    def build(spec: TreeSpec) -> Any:
        if spec.kind is None:
            return next(stream)
        children = [build(child) for child in spec.children]
        if spec.kind not in _NODES:  # a named tuple
            return spec.kind(*children)
        return _NODES[spec.kind][1](children, spec.context)

    return build(treespec)


def tree_leaves(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> list:
    """The leaves alone."""
    return tree_flatten(tree, is_leaf)[0]


tree_iter = tree_leaves


def tree_structure(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The structure alone."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable, tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> PyTree:
    """The structure with func(leaf) at each place; with several trees func(leaf, leaf of the second, ...)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves, *(_flatten_as(spec, rest) for rest in rests)]
    return tree_unflatten([func(*row) for row in zip(*columns)], spec)


def tree_map_(func: Callable, tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> PyTree:
    """func for each leaf, for what it does; the tree itself is returned."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(kind: Any, func: Callable, tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> PyTree:
    """func for the leaves of a type; the others stay."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree, is_leaf=is_leaf)


def tree_all(pred: Callable, tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable, tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    return any(map(pred, tree_leaves(tree, is_leaf)))


def _flatten_as(spec: TreeSpec, tree: PyTree) -> list:
    """The parts of a tree that stand where another, of that structure, has leaves."""
    if spec.kind is None:
        return [tree]
    kind = _node(tree)
    if kind is None or type(tree) is not spec.kind:
        raise ValueError(
            f"tree_map(): a {spec.kind.__name__} is in the first tree where another has {type(tree).__name__}"
        )
    children, context = _NODES[kind][0](tree)
    if issubclass(spec.kind, dict) and kind is not defaultdict:
        if set(context) != set(spec.context):
            raise ValueError(f"tree_map(): the keys differ: {list(spec.context)} and {list(context)}")
        children = [tree[key] for key in spec.context]
    if len(children) != len(spec.children):
        raise ValueError(f"tree_map(): {len(spec.children)} parts in the first tree, {len(children)} in another")
    return [x for child, part in zip(spec.children, children) for x in _flatten_as(child, part)]
