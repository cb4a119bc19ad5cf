"""Writes docs/ops.md, the list of all operations, from the code: `make docs` (python -m docs.make_ops).

Names come from the public modules, equations and lessons from the ops' docstrings, fast paths from the kernels' sources,
rows from the op table. tests/test_docs.py fails when the page and the code differ.
"""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minitorch
import minitorch.nn.functional
from minitorch import ops
from minitorch.autograd.engine import Op
from tests.cases import CASES
from tests.cases.table import Case

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "ops.md"
PLACES = [("minitorch", minitorch), ("F", minitorch.nn.functional), ("linalg", minitorch.linalg)]
PLACES += [("Tensor", minitorch.Tensor)]  # and, for what has no name elsewhere, its own method
GRADIENT = re.compile(r"\bd(\w+|\(\w+\))(_\S+|\[[^]]*\])?\s*=")  # dx = ..., dx_i = ..., dx[n, c] = ..., d(dy) = ...

HEAD = """# Operations

Made by `make docs` from the code; do not edit. Every public function, the ops that it is made of, and each op's equation and
gradient as they stand over its code in `minitorch/ops/`. `x, y` are inputs and outputs, `dx` is the gradient of the loss with
respect to `x`; `F` is `minitorch.nn.functional`, `linalg` is `minitorch.linalg`. An op without a lesson carries
its derivation in its docstring. The rows are those of the table in `tests/cases/`, which holds every op to its equation.
"""


# --- what there is ---------------------------------------------------------------------------------------------------


def subclasses(cls: type) -> Iterator[Any]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def op_classes(family: Any) -> list[type[Op]]:
    found = {c for c in subclasses(Op) if c.__module__ == family.__name__ and c.reference is None}
    return sorted(found, key=lambda c: inspect.getsourcelines(c)[1])


def families() -> list[Any]:
    """The modules of ops/ that hold an op or a public function, by name."""
    holding = {c.__module__ for c in subclasses(Op)} | {f.__module__ for f in public_names()}
    names = [path.stem for path in sorted((ROOT / "minitorch" / "ops").glob("[a-z]*.py"))]
    modules = (importlib.import_module(f"{ops.__name__}.{name}") for name in names)
    return [m for m in modules if m.__name__ in holding]


def public_names() -> dict[Any, list[str]]:
    """{function: all its public names}, the shortest place first; forms with an underscore stand with the others."""
    found: dict[Any, list[str]] = {}
    in_place: dict[str, str] = {}
    for place, owner in PLACES:
        for name, value in sorted(vars(owner).items()):
            if not isinstance(value, types.FunctionType) or name.startswith("_"):
                continue
            if value.__module__ == "minitorch.ops._method" or name.endswith("_"):
                in_place.setdefault(f"{place}.{name}", name.removesuffix("_"))
            elif value.__module__.startswith(f"{ops.__name__}."):
                found.setdefault(value, []).append(f"{place}.{name}")
    for full, base in in_place.items():
        place = full.partition(".")[0]
        for names in found.values():
            if f"{place}.{base}" in names or (place == "Tensor" and f"F.{base}" in names):
                names.append(full)
                break
        else:  # a method that exists only in place, as uniform_
            owner = dict(PLACES)[place]
            function = vars(owner)[full.partition(".")[2]]
            if function.__module__.startswith(f"{ops.__name__}.") and function.__module__ != "minitorch.ops._method":
                found.setdefault(function, []).append(full)
    return found


def code_names(code: types.CodeType) -> set[str]:
    """The global names that a function reads."""
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(code_names(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def made_of(function: Any, public: set) -> tuple[list[str], list[str]]:
    """(ops that it applies, public functions that it calls); private helpers are looked into."""
    direct, others, seen, waiting = [], [], set(), [function]
    while waiting:
        f = waiting.pop(0)
        if f in seen:
            continue
        seen.add(f)
        values = [f.__globals__[name] for name in sorted(code_names(f.__code__)) if name in f.__globals__]
        values += [cell.cell_contents for cell in f.__closure__ or ()]
        for value in values:
            if isinstance(value, type) and issubclass(value, Op) and value is not Op:
                direct.append(value.__name__)
            elif isinstance(value, types.FunctionType) and value.__module__.startswith(f"{ops.__name__}."):
                if value in public and value is not function:
                    others.append(value.__name__)
                elif not value.__module__.endswith("._method"):
                    waiting.append(value)
    return sorted(set(direct)), sorted(set(others))


def fast_paths() -> dict[str, list[str]]:
    """{op: ["numpy: kernels/cpu/softmax.py"]}, read from the sources, so that numba need not be there."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "minitorch" / "kernels").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("fast_path"):
                    name, namespace = ast.unparse(call.args[0]).rpartition(".")[2], ast.literal_eval(call.args[1])
                    text = f"{namespace}, `{path.relative_to(ROOT / 'minitorch')}`"
                    found.setdefault(name, []).append(text)
    return found


def rows_of(names: list[str]) -> list[Case]:
    """The rows of a function's own name, and those that say that they cover it."""
    own = {name.replace("minitorch.", "").replace("F.", "nn.functional.") for name in names}
    short = {name.rpartition(".")[2] for name in names}
    return [case for case in CASES if case.name in own or short & set(case.covers)]


def lessons(op: type) -> list[str]:
    found = re.findall(r"[Ll]essons?\s+(\d\d(?:[^.\n]*?\b\d\d\b)*)", op.__doc__ or "")
    return sorted({number for text in found for number in re.findall(r"\b\d\d\b", text)})


# --- the page --------------------------------------------------------------------------------------------------------


def code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def section(family: Any, names: dict[Any, list[str]], paths: dict[str, list[str]]) -> list[str]:
    title = family.__name__.rpartition(".")[2]
    text = [
        f"## {title}\n",
        (inspect.getdoc(family) or "").partition("\n")[0].replace("      Lesson", " Lesson") + "\n",
    ]
    text.append(f"File: `minitorch/ops/{title}.py`\n")
    functions = [f for f in names if f.__module__ == family.__name__]
    if functions:
        text.append("| function | also | made of | rows |\n|---|---|---|---|")
        for f in sorted(functions, key=lambda f: names[f][0].rpartition(".")[2].lower()):
            first, *others = sorted(names[f], key=lambda name: not name.endswith(f".{f.__name__}"))
            direct, through = made_of(f, set(names))
            parts = [f"**{name}**" for name in direct] + [f"`{name}`" for name in through]
            if not parts and any(case.gradient for case in rows_of(names[f])):
                parts = ["operators"]
            rows = code([case.name for case in rows_of(names[f])])
            text.append(f"| `{first}` | {code(others)} | {', '.join(parts)} | {rows} |")
        text.append("")
    for op in op_classes(family):
        where = [f"lesson {', '.join(lessons(op))}"] if lessons(op) else []
        where += [f"fast path: {path}" for path in paths.get(op.__name__, [])]
        if not op.differentiable:
            where.append("no gradient")
        text.append(" · ".join([f"**{op.__name__}**", *where]) + "\n")
        text.append(f"```text\n{inspect.cleandoc(op.__doc__ or '')}\n```\n")
    return text


def page() -> str:
    names, paths = public_names(), fast_paths()
    found = families()
    titles = [family.__name__.rpartition(".")[2] for family in found]
    text = [HEAD, " · ".join(f"[{title}](#{title})" for title in titles) + "\n"]
    for family in found:
        text += section(family, names, paths)
    return "\n".join(text).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: {sum(line.startswith('**') for line in PAGE.read_text().splitlines())} ops")
