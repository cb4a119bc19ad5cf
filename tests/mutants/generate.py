"""The mutants: small wrong changes to the passes of every op, and to the helper functions that they call.

A mutant is one change of one function's syntax tree. Its key is the op, the method and the statement before and after,
so it stays the same when other lines move. Nothing is written to a file: `Mutant.apply` compiles the changed function
and exchanges the code of the one in memory, wherever it is referred to.
"""

from __future__ import annotations

import ast
import copy
import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import minitorch  # noqa: F401  (all ops)
from minitorch import ops
from minitorch.autograd.engine import Op

OPS = Path(ops.__file__).parent


# --- what is mutated -------------------------------------------------------------------------------------------------


@dataclass
class Target:
    """A function whose mutants are tried: a method of an op, or a helper."""

    name: str  # "Softmax.backward"; "_spread"
    family: str  # the file's name without .py
    function: types.FunctionType

    @cached_property
    def tree(self) -> ast.FunctionDef:
        """The function's own part of its file's tree, with the file's line numbers."""
        *owner, name = self.name.split(".")
        body: list = tree_of(self.family).body
        for part in owner:
            body = next(n for n in body if isinstance(n, ast.ClassDef) and n.name == part).body
        return next(n for n in body if isinstance(n, ast.FunctionDef) and n.name == name)


@cache
def tree_of(family: str) -> ast.Module:
    return ast.parse((OPS / f"{family}.py").read_text())


def subclasses(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def family_of(thing: Any) -> str | None:
    """The file in ops/ that a class or function is written in, None for others."""
    package, _, family = thing.__module__.rpartition(".")
    return family if package == ops.__name__ else None


def op_classes() -> list[type[Op]]:
    found = [c for c in set(subclasses(Op)) if family_of(c) and c.reference is None]
    return sorted(found, key=lambda c: (family_of(c), tree_line(c)))


def tree_line(cls: type) -> int:
    body = tree_of(family_of(cls)).body  # type: ignore[arg-type]
    return next(n.lineno for n in body if isinstance(n, ast.ClassDef) and n.name == cls.__name__)


def targets() -> list[Target]:
    """The methods of every op, and the functions of ops/ that they call, and that those call."""
    found: dict[types.FunctionType, Target] = {}
    waiting = []
    for cls in op_classes():
        for name, value in vars(cls).items():
            function = value.__func__ if isinstance(value, staticmethod) else value
            if isinstance(function, types.FunctionType):
                waiting.append(Target(f"{cls.__name__}.{name}", family_of(cls), function))  # type: ignore[arg-type]
    while waiting:
        target = waiting.pop(0)
        if target.function in found:
            continue
        found[target.function] = target
        local = {n.arg for n in ast.walk(target.tree) if isinstance(n, ast.arg)}
        local |= {n.id for n in ast.walk(target.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for node in ast.walk(target.tree):
            if isinstance(node, ast.Name) and node.id not in local:
                helper = inspect.unwrap(target.function.__globals__.get(node.id, int))
                if isinstance(helper, types.FunctionType) and family_of(helper):
                    waiting.append(Target(helper.__name__, family_of(helper), helper))  # type: ignore[arg-type]
    return sorted(found.values(), key=lambda t: (t.family, t.tree.lineno))


# --- what is changed -------------------------------------------------------------------------------------------------

Change = tuple[str, ast.AST]  # its kind, and the node in place of the old one

FLIPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Mod: ast.FloorDiv, ast.FloorDiv: ast.Mod, ast.Pow: ast.Mult,
}  # fmt: skip
COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
PAIRS = [
    ("max", "min"), ("maximum", "minimum"), ("argmax", "argmin"), ("sin", "cos"), ("sinh", "cosh"), ("triu", "tril"),
    ("zeros", "ones"), ("zeros_like", "ones_like"), ("any", "all"), ("floor", "ceil"), ("sum", "mean"),
]  # fmt: skip
OTHER_NAME = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])} | {"cumsum": "cumprod", "cumprod": "cumsum"}
ORDERED = set(
    "matmul subtract divide power floor_divide remainder fmod arctan2 tensordot solve copysign".split()
)  # f(a, b) is not f(b, a)
DROPPED = set(
    "swapaxes transpose moveaxis flip abs squeeze expand_dims broadcast_to triu tril unbroadcast _t sqrt".split()
)  # f(x, ...) and x.f(...) become x


def number(node: ast.AST) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = number(node.operand)
        return None if value is None else -value
    plain = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return node.value if plain else None  # type: ignore[union-attr]


def constant(value: Any) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def is_sequence(node: ast.AST) -> bool:
    """A tuple or list written out, whose + and * are no arithmetic."""
    if isinstance(node, ast.BinOp):
        return is_sequence(node.left) or is_sequence(node.right)
    return isinstance(node, (ast.Tuple, ast.List, ast.ListComp, ast.JoinedStr)) or (
        isinstance(node, ast.Call) and ast.unparse(node.func) in ("tuple", "list")
    )


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def swapped(items: list, i: int) -> list:
    items = list(items)
    items[i], items[i + 1] = items[i + 1], items[i]
    return items


def with_fields(node: ast.AST, **fields: Any) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def minus(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), node)


def binary(node: ast.BinOp) -> Iterator[Change]:
    sequence = is_sequence(node)
    if type(node.op) in FLIPS and not sequence:
        yield "sign or factor", with_fields(node, op=FLIPS[type(node.op)]())
    if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr)):
        what = "term dropped" if isinstance(node.op, (ast.Add, ast.Sub)) else "factor dropped"
        yield what, node.left
        if not isinstance(node.op, ast.Div):
            yield what, minus(node.right) if isinstance(node.op, ast.Sub) else node.right
    if isinstance(node.op, (ast.MatMult, ast.Sub, ast.Div, ast.Pow)) and not sequence:
        yield "operands swapped", with_fields(node, left=node.right, right=node.left)


def unary(node: ast.UnaryOp) -> Iterator[Change]:
    if number(node) is None:
        yield "sign dropped", node.operand


def changed_constant(node: ast.expr, inside: str) -> Iterator[Change]:
    value = number(node)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "flag", constant(not node.value)
    elif value is None:
        return
    elif inside == "index":  # needs[i], saved[i]: another one
        yield "index", constant(value - 1 if value > 0 else value + 1)
    elif type(value) is int:
        yield "constant", constant(value + 1)
        if value < 0 and inside != "shape":  # where NumPy reads any negative number as -1
            yield "constant", constant(value - 1)
        elif value == 1:
            yield "constant", constant(0)
    else:
        yield "constant", constant(2.0 * value if value else 1.0)


def comparison(node: ast.Compare) -> Iterator[Change]:
    for i, op in enumerate(node.ops):
        if type(op) in COMPARISONS:
            yield "comparison", with_fields(node, ops=[*node.ops[:i], COMPARISONS[type(op)](), *node.ops[i + 1 :]])


def logic(node: ast.BoolOp) -> Iterator[Change]:
    yield "logic", with_fields(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for i in range(len(node.values)):
        rest = node.values[:i] + node.values[i + 1 :]
        yield "condition dropped", rest[0] if len(rest) == 1 else with_fields(node, values=rest)


def call(node: ast.Call) -> Iterator[Change]:
    name = called(node)
    if name in OTHER_NAME:
        other = OTHER_NAME[name]
        func = with_fields(node.func, **({"attr": other} if isinstance(node.func, ast.Attribute) else {"id": other}))
        yield "function", with_fields(node, func=func)
    if name == "where" and len(node.args) == 3:
        yield "arguments swapped", with_fields(node, args=swapped(node.args, 1))
    if name in ORDERED and len(node.args) >= 2:
        yield "arguments swapped", with_fields(node, args=swapped(node.args, 0))
    if ast.unparse(node.func) == "self.run" and len(node.args) >= 3:
        yield "arguments swapped", with_fields(node, args=swapped(node.args, 1))
    if name in DROPPED:
        of_namespace = not isinstance(node.func, ast.Attribute) or ast.unparse(node.func.value) in ("self.xp", "xp")
        if not of_namespace:
            yield "call dropped", node.func.value  # type: ignore[attr-defined]
        elif node.args:
            yield "call dropped", node.args[0]
    for i, argument in enumerate(node.args):
        if isinstance(argument, ast.Name) and argument.id == "axis":
            for axis in (0, -1):
                yield "axis", with_fields(node, args=[*node.args[:i], constant(axis), *node.args[i + 1 :]])
    for i, keyword in enumerate(node.keywords):
        if isinstance(keyword.value, ast.Name) and keyword.arg in ("axis", "keepdims"):
            values = [constant(0), constant(-1)] if keyword.arg == "axis" else [ast.UnaryOp(ast.Not(), keyword.value)]
            for value in values:
                changed = with_fields(keyword, value=value)
                yield keyword.arg, with_fields(node, keywords=[*node.keywords[:i], changed, *node.keywords[i + 1 :]])


def assignment(node: ast.Assign) -> Iterator[Change]:
    """`a, b = self.saved`: one saved value taken for the next."""
    target = node.targets[0]
    if isinstance(target, ast.Tuple) and ast.unparse(node.value) == "self.saved":
        for i in range(len(target.elts) - 1):
            yield "saved swapped", with_fields(node, targets=[with_fields(target, elts=swapped(target.elts, i))])


def augmented(node: ast.AugAssign) -> Iterator[Change]:
    if type(node.op) in FLIPS:
        yield "sign or factor", with_fields(node, op=FLIPS[type(node.op)]())
    yield "statement dropped", ast.Pass()


def returned(node: ast.Return, method: str) -> Iterator[Change]:
    """Gradients, or outputs, swapped, and each with the other sign."""
    if node.value is None or method not in ("forward", "backward"):
        return
    if not isinstance(node.value, ast.Tuple):
        if not isinstance(node.value, (ast.UnaryOp, ast.IfExp)):
            yield "sign", with_fields(node, value=minus(node.value))
        return
    parts = node.value.elts
    for i in range(len(parts) - 1):
        yield "swapped", with_fields(node, value=with_fields(node.value, elts=swapped(parts, i)))
    for i, part in enumerate(parts):
        if not isinstance(part, (ast.UnaryOp, ast.IfExp, ast.Constant)):
            yield (
                "sign",
                with_fields(node, value=with_fields(node.value, elts=[*parts[:i], minus(part), *parts[i + 1 :]])),
            )


# --- a function's mutants --------------------------------------------------------------------------------------------


@dataclass
class Mutant:
    target: Target
    kind: str
    before: str  # the statement
    after: str
    lines: tuple[int, int]  # the statement's, counted from the function's first line
    tree: ast.FunctionDef
    occurrence: int = 0  # of the same change in the same function

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.target.name, self.before, self.after, self.occurrence

    def __str__(self) -> str:
        count = f"  #{self.occurrence + 1}" if self.occurrence else ""
        return f"{self.target.name}{count}\n-   {self.before}\n+   {self.after}\n"

    def apply(self) -> None:
        """Puts the mutant in the place of its function. For good: this is for a process that ends afterwards."""
        module = ast.Module([self.tree], [])
        names = dict(self.target.function.__globals__)
        flags = self.target.function.__code__.co_flags & 0x1000000  # from __future__ import annotations
        exec(compile(module, f"{self.target.family}.py (mutant)", "exec", flags, dont_inherit=True), names)
        mutant = names[self.tree.name]
        function = self.target.function
        function.__code__ = mutant.__code__
        function.__defaults__, function.__kwdefaults__ = mutant.__defaults__, mutant.__kwdefaults__


def mutants(target: Target) -> list[Mutant]:
    found: list[Mutant] = []
    original = with_fields(target.tree, decorator_list=[])
    seen = {ast.unparse(plain(original))}
    counts: dict[tuple, int] = {}
    for statement, path, kind, new in changes(original, original.name):
        tree = replaced(original, path, new)
        source = ast.unparse(plain(tree))
        before = head(statement)
        if source in seen:
            continue
        seen.add(source)
        depth = len(path_to(original, statement))
        after = head(reached(tree, path[:depth]))
        end = statement.end_lineno
        if isinstance(statement, (ast.If, ast.For, ast.While)):
            end = (statement.iter if isinstance(statement, ast.For) else statement.test).end_lineno
        if isinstance(statement, ast.FunctionDef):
            end = statement.lineno
        first = target.tree.lineno
        mutant = Mutant(target, kind, before, after, (statement.lineno - first, end - first), tree)  # type: ignore[operator]
        mutant.occurrence = counts.get(mutant.key, 0)
        counts[mutant.key] = mutant.occurrence + 1
        found.append(mutant)
    return found


def plain(tree: ast.AST) -> ast.AST:
    return ast.fix_missing_locations(tree)


def head(statement: ast.AST) -> str:
    """The statement as one line; of a compound one its first line."""
    text = ast.unparse(plain(statement))
    if isinstance(statement, ast.FunctionDef):
        text = ast.unparse(with_fields(statement, body=[ast.Pass()])).removesuffix("\n    pass")
    return text.partition("\n")[0] if isinstance(statement, (ast.If, ast.For, ast.While)) else " ".join(text.split())


Path_ = tuple[tuple[str, int | None], ...]


def children(node: ast.AST) -> Iterator[tuple[tuple[str, int | None], ast.AST]]:
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield (name, None), value
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield (name, i), item


def changes(tree: ast.FunctionDef, method: str) -> Iterator[tuple[ast.stmt, Path_, str, ast.AST]]:
    """(the statement, the place of the changed node, the kind of change, the new node)."""

    def visit(node: ast.AST, path: Path_, statement: ast.stmt, inside: str) -> Iterator:
        if isinstance(node, (ast.Raise, ast.Assert, ast.arg, ast.JoinedStr, ast.Import, ast.ImportFrom)):
            return  # words of errors, annotations
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node, ast.stmt):
            statement = node
        for kind, new in node_changes(node, inside, method):
            yield statement, path, kind, new
        if number(node) is not None and not isinstance(node, ast.Constant):
            return  # -1 is one constant
        for step, child in children(node):
            if step[0] in ("returns", "annotation"):
                continue
            yield from visit(child, (*path, step), statement, place(node, step[0], inside))

    yield from visit(tree, (), tree, "")


def place(node: ast.AST, field: str, inside: str) -> str:
    """Where a node's children stand, as far as it decides how they are changed."""
    if isinstance(node, ast.Subscript) and field == "slice" and ast.unparse(node.value) in ("self.needs", "self.saved"):
        return "index"
    if isinstance(node, ast.Call) and field == "args" and called(node) == "reshape":
        return "shape"
    return inside if isinstance(node, (ast.Tuple, ast.BinOp)) else ""


NODE_CHANGES: dict[type, Callable[[Any], Iterator[Change]]] = {
    ast.BinOp: binary, ast.UnaryOp: unary, ast.Compare: comparison, ast.BoolOp: logic, ast.Call: call,
    ast.Assign: assignment, ast.AugAssign: augmented,
    ast.IfExp: lambda node: iter([("branches swapped", with_fields(node, body=node.orelse, orelse=node.body))]),
}  # fmt: skip


def node_changes(node: ast.AST, inside: str, method: str) -> Iterator[Change]:
    if isinstance(node, ast.Return):
        yield from returned(node, method)
    elif type(node) in NODE_CHANGES:
        yield from NODE_CHANGES[type(node)](node)
    if isinstance(node, ast.expr):
        yield from changed_constant(node, inside)


def reached(tree: ast.AST, path: Path_) -> Any:
    for name, i in path:
        tree = getattr(tree, name) if i is None else getattr(tree, name)[i]
    return tree


def path_to(tree: ast.AST, wanted: ast.AST) -> Path_:
    waiting: list[tuple[Path_, ast.AST]] = [((), tree)]
    while waiting:
        path, node = waiting.pop()
        if node is wanted:
            return path
        waiting += [((*path, step), child) for step, child in children(node)]
    raise LookupError("not in this tree")


def replaced(tree: Any, path: Path_, new: ast.AST) -> Any:
    """The tree with another node at the place; what is not on the way there is shared."""
    if not path:
        return new
    (name, i), *rest = path
    value = getattr(tree, name)
    child = replaced(value if i is None else value[i], tuple(rest), new)
    return with_fields(tree, **{name: child if i is None else [*value[:i], child, *value[i + 1 :]]})


def all_mutants() -> list[Mutant]:
    return [mutant for target in targets() for mutant in mutants(target)]
