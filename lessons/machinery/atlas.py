"""The gradient atlas: from an equation to the op, its file and the test, and back. A reference that dangles is an error.

Two files come of it: lessons/atlas.md, to be read (and the links in README's table), and minitorch/lessons/ops.json, which
the installed `minitorch.explain` reads: for each op the rows of the op table that run it, and a small input to try it on; for each
public function the ops that it is made of.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .source import DATA, LESSONS, ROOT, TITLES, LessonError, Source

ATLAS = LESSONS / "atlas.md"
OPS = DATA / "ops.json"
README = LESSONS / "README.md"
FORMULAS = [f"F{i}" for i in range(1, 14)]  # of the documents that the project began with


@lru_cache
def ops() -> dict[str, type]:
    """The differentiable ops, by class name, in the order of their files."""
    import minitorch  # noqa: F401
    from minitorch.autograd.engine import Op

    def below(cls):
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    found = {
        op
        for op in below(Op)
        if op.reference is None and op.__module__.startswith("minitorch.ops.") and "backward" in vars(op)
    }
    return {op.__name__: op for op in sorted(found, key=lambda op: (op.__module__, inspect.getsourcelines(op)[1]))}


def file_of(op: type) -> str:
    return op.__module__.replace(".", "/") + ".py"


def lessons_named(text: str | None) -> set[int]:
    """ "Lesson 04." and "Lessons 03 (sigmoid) and 06" in a docstring."""
    found = set()
    for sentence in re.findall(r"[Ll]essons?\s+(\d\d(?:[^.\n]*?\d\d)*)", text or ""):
        found |= {int(n) for n in re.findall(r"\b\d\d\b", sentence)}
    return found


# --- references ------------------------------------------------------------------------------------------------------


def problems(sources: list[Source], rows: set[str]) -> list[str]:
    """Every dangling reference, with its place. `rows`: the names of the op table's rows."""
    known = ops()
    found, derives = [], {}
    numbers = {source.number for source in sources}
    for source in sources:
        summary = next(i for i, cell in enumerate(source.cells) if cell.kind == "summary")
        for equation in source.equations:
            for op in equation.ops:
                if op in known:
                    derives.setdefault(op, set()).add(source.number)
                elif not _exists(op):
                    found.append(str(source.error(summary, f"({equation.number}): no op or file is called {op}")))
            for test in equation.tests:
                if test not in ("here", "definition") and not _test_exists(test, rows):
                    found.append(str(source.error(summary, f"({equation.number}): no test is called {test}")))
    for name, op in known.items():
        own = lessons_named(vars(op).get("__doc__"))
        for number in sorted(own & numbers - derives.get(name, set())):
            found.append(
                f"{file_of(op)}: {name}'s docstring names lesson {number:02}, whose table has no row with {name}"
            )
        for number in sorted(own - set(TITLES)):
            found.append(f"{file_of(op)}: {name}'s docstring names lesson {number:02}; there is none")
        named = own | lessons_named(importlib.import_module(op.__module__).__doc__)
        if derives.get(name) and not named & derives[name]:
            where = ", ".join(f"{n:02}" for n in sorted(derives[name]))
            found.append(f"{file_of(op)}: lesson {where} derives {name}; its docstring does not say `Lesson {where}.`")
        if not derives.get(name) and "=" not in (op.__doc__ or ""):
            found.append(f"{file_of(op)}: {name} is in no lesson and has no equation in its docstring")
    if numbers == set(TITLES):
        everything = " ".join(equation.what for source in sources for equation in source.equations)
        for formula in FORMULAS:
            if not re.search(rf"\b{formula}\b", everything):
                found.append(f"no row of a summary table names {formula}")
    return found


def _exists(reference: str) -> bool:
    """minitorch/path.py or minitorch/path.py::name"""
    path, _, name = reference.partition("::")
    file = ROOT / path
    if "/" not in path or not file.is_file():
        return False
    return not name or bool(re.search(rf"^\s*(def|class) {re.escape(name)}\b", file.read_text(), flags=re.M))


def _test_exists(reference: str, rows: set[str]) -> bool:
    if reference.startswith("cases:"):
        return reference.removeprefix("cases:") in rows
    return reference.startswith("tests/") and "::" in reference and _exists(reference)


# --- what the op table knows -----------------------------------------------------------------------------------------


def table() -> tuple[dict, dict]:
    """Runs one small sample of each row with a note-taker in `Op.apply`.

    Returns {op: {"rows": [...], "sample": {...}}} and {row: [ops]}. An op's rows begin with the most specific.
    """
    from minitorch.autograd.engine import Op
    from minitorch.backend import reference_ops
    from tests.cases import CASES
    from tests.cases.harness import Library, evaluate, leaves, order_of

    def small(sample):
        return sum(array.size for array in leaves(sample)) <= 64

    known = set(ops().values())
    calls: list[tuple[type, tuple, dict]] = []
    original = Op.__dict__["apply"]

    def apply(cls, *inputs, **options):
        if cls in known:
            calls.append((cls, inputs, options))
        return original.__func__(cls, *inputs, **options)

    made_of: dict[str, list[str]] = {}
    tries: dict[str, list] = {}  # op -> [(how specific, row, sample)]
    Op.apply = classmethod(apply)  # type: ignore[assignment]
    try:
        with reference_ops(), np.errstate(all="ignore"):
            for case in CASES:
                for k, sample in enumerate(
                    [s for s in case.samples() if s.smooth and not s.large and s.gradient and small(s)][:14]
                ):
                    inputs = leaves(sample)
                    if not case.gradient or not inputs or not all(a.dtype == np.float64 and a.size for a in inputs):
                        continue
                    for order in (
                        (0, order_of(case, sample)) if k < 2 else (0,)
                    ):  # the second for ops that only gradients use
                        calls.clear()
                        try:
                            evaluate(Library(), case, sample, order)
                        except Exception:  # a broken op: its own tests say so
                            continue
                        names = list(dict.fromkeys(op.__name__ for op, *_ in calls))
                        if order == 0:
                            made_of[case.name] = sorted({*made_of.get(case.name, ()), *names})
                        for op, tensors, options in {(id(c[0])): c for c in calls}.values():  # one of each op
                            tries.setdefault(op.__name__, []).append(
                                (1000 * (order > 0) + len(names), case.name, _encode_call(tensors, options))
                            )
    finally:
        Op.apply = original  # type: ignore[method-assign]

    found = {}
    for name in ops():
        best = sorted(tries.get(name, []), key=lambda t: (t[0], _same_name(name, t[1])))
        rows = list(dict.fromkeys(row for _, row, _ in best))[:3]
        samples = [s for *_, s in best if s is not None]
        found[name] = {"rows": rows, "sample": _good_sample(ops()[name], samples)}
    return found, made_of


def _good_sample(op: type, samples: list[dict]) -> dict | None:
    """The first, nearest to a good size, on which differences agree: not at a kink, not constrained to be symmetric."""
    from minitorch.explain import numeric_check

    for sample in sorted(samples, key=_distance_from_good_size)[:6]:
        try:
            check = numeric_check(op, sample)
        except (RuntimeError, TypeError, ValueError, IndexError):  # an op that writes, or needs more than its inputs
            continue
        if check and check["worst"] < 1e-6:
            return sample
    return None


def _same_name(op: str, row: str) -> bool:
    """False, so first, for the row that bears the op's name."""
    return op.lower() != row.rpartition(".")[2].replace("_", "").lower()


def _distance_from_good_size(sample: dict) -> float:
    """Small, but with more than one element and, if possible, more than one axis."""
    size = sum(int(np.prod(np.shape(v["array"]))) for v in sample["inputs"] if isinstance(v, dict) and "array" in v)
    return abs(size - 8)


def _encode_call(inputs: tuple, options: dict) -> dict | None:
    try:
        return {"inputs": [_encode(v) for v in inputs], "options": {k: _encode(v) for k, v in options.items()}}
    except TypeError:
        return None


def _encode(value: Any) -> Any:
    """As JSON; what cannot be written so, or is large, raises TypeError. `minitorch.explain` reads it back."""
    array = getattr(value, "array", value)
    if isinstance(array, np.ndarray):
        if array.size > 32:
            raise TypeError("large")
        numbers = np.round(array, 4).tolist() if array.dtype.kind == "f" else array.tolist()
        made = {"array": numbers, "dtype": array.dtype.name, "shape": list(array.shape)}
        return {**made, "tensor": True} if array is not value else made
    if isinstance(value, (tuple, list)):
        return {type(value).__name__ if type(value) is list else "tuple": [_encode(v) for v in value]}
    if isinstance(value, slice):
        return {"slice": [_encode(v) for v in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(type(value).__name__)


def ops_data(found: dict, made_of: dict) -> str:
    def lines(content: dict) -> str:
        rows = [
            f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(content.items())
        ]
        return "{\n" + ",\n".join(rows) + "\n }"

    return f'{{\n "ops": {lines(found)},\n "functions": {lines(made_of)}\n}}\n'


# --- the page --------------------------------------------------------------------------------------------------------


def page(sources: list[Source], rows_of: dict) -> str:
    out = [
        "# The gradient atlas",
        "",
        "Every equation that a lesson derives, with the op that computes it and the test that holds it; below, the ops that no",
        "lesson derives, with the derivation in their docstrings. Generated by `make lessons`; `minitorch.explain(\"softmax\")`",
        "shows one op with its source and a live check. A test `cases:NAME` is the row NAME of the op table",
        "(`tests/cases/`): values against PyTorch, gradients of first and second order against central differences.",
        "",
    ]  # fmt: skip
    known, derived = ops(), set()
    for source in sources:
        out += [f"## {source.number:02} {source.title}", ""]
        out += [
            f"[{source.name}.ipynb]({source.name}.ipynb), solved: [solved/{source.name}.ipynb](solved/{source.name}.ipynb)",
            "",
        ]
        out += ["| | equation | what | op and file | test |", "|---|---|---|---|---|"]
        for e in source.equations:
            derived |= set(e.ops)
            places = [
                f"`{o}` in [{file_of(known[o])}](../{file_of(known[o])})" if o in known else f"`{o}`" for o in e.ops
            ]
            tests = ["a cell of the lesson" if t == "here" else t if t == "definition" else f"`{t}`" for t in e.tests]
            cells = [e.number, _inline(e.latex), e.what, ", ".join(places) or "-", ", ".join(tests)]
            out.append("| " + " | ".join(cells) + " |")
        out.append("")
    out += ["## Outside the lessons", ""]
    module = ""
    for name, op in known.items():
        if name in derived:
            continue
        if op.__module__ != module:
            module = op.__module__
            out += [f"### {file_of(op)}", ""]
        doc = inspect.cleandoc(op.__doc__ or "")
        rows = ", ".join(f"`cases:{row}`" for row in rows_of.get(name, {}).get("rows", []))
        planned = sorted(lessons_named(vars(op).get("__doc__")))
        note = f" (lesson {', '.join(f'{n:02}' for n in planned)}, to come)" if planned else ""
        out += [
            f"**{name}**{note}{', ' if rows and not note else ' ' if rows else ''}{rows}",
            "",
            "```text",
            doc,
            "```",
            "",
        ]
    return "\n".join(out).rstrip() + "\n"


def _inline(latex: str) -> str:
    return "$" + latex.replace("|", r"\vert ").replace("\n", " ") + "$"


def make(sources: list[Source]) -> dict[Path, str]:
    """The generated files that all lessons share. Raises on dangling references."""
    from tests.cases import CASES

    wrong = problems(sources, {case.name for case in CASES})
    if wrong:
        raise LessonError("\n".join(wrong))
    found, made_of = table()
    return {ATLAS: page(sources, found), OPS: ops_data(found, made_of), README: readme(sources)}


def readme(sources: list[Source]) -> str:
    """Its table with a link for every lesson that exists."""
    text = README.read_text(encoding="utf-8")
    for source in sources:
        row = rf"^\| {source.number:02} \| [^|]* \|"
        text, found = re.subn(row, f"| {source.number:02} | [{source.title}]({source.name}.ipynb) |", text, flags=re.M)
        if found != 1:
            raise LessonError(f"lessons/README.md has no row for lesson {source.number:02}")
    return text
