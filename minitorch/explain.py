"""`minitorch.explain("softmax")`: an op's equation, source, derivation and tests, and its gradient checked on the spot."""

from __future__ import annotations

import difflib
import html
import inspect
import json
import textwrap
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .autograd.engine import Op
from .tensor import Tensor

_SHOWN = 8  # elements of each gradient, side by side
_STEP = 1e-5


def explain(thing: Any) -> Explanation:
    """Explains an op: a name ("softmax"), a public function, an Op class, a tensor's grad_fn.

    The result shows itself in a notebook and at the prompt; a script prints it.
    """
    if isinstance(thing, Tensor):
        if thing.grad_fn is None:
            raise ValueError("explain: this tensor has no grad_fn: no op made it, or it was made under no_grad")
        thing = thing.grad_fn
    if isinstance(thing, Op):
        thing = thing.reference or type(thing)
    if isinstance(thing, type) and issubclass(thing, Op):
        return Explanation(thing.__name__, [thing.reference or thing])
    name = thing if isinstance(thing, str) else getattr(thing, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"explain: expected a name, a function, an Op or a grad_fn, got {type(thing).__name__}")
    short = name.rpartition(".")[2]
    ops = _ops()
    known = {_plain(op): [op] for op in ops} | {
        _plain(row): made_of
        for row, made_of in sorted(_table()["functions"].items(), reverse=True)
        if _plain(row) not in map(_plain, ops)
    }
    names = known.get(_plain(short))
    found = [ops[n] for n in names or () if n in ops]
    if not found:
        rows = [row.rpartition(".")[2] for row in _table()["functions"]]
        near = difflib.get_close_matches(short, [*rows, *ops], n=3, cutoff=0.5)
        close = f" Nearest: {', '.join(dict.fromkeys(near))}." if near else ""
        raise ValueError(f"explain: no op or differentiable function is called {name!r}.{close}")
    return Explanation(short, found)


def _plain(name: str) -> str:
    return name.rpartition(".")[2].replace("_", "").lower()


@lru_cache
def _table() -> dict:
    """ops.json, which `make lessons` writes: for each op its tests and a sample, for each function its ops."""
    file = Path(__file__).parent / "lessons" / "ops.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"ops": {}, "functions": {}}


@lru_cache
def _derivations() -> dict[str, list[tuple[str, str, dict]]]:
    """{op: [(lesson, title, equation)]}"""
    found: dict[str, list] = {}
    for file in sorted((Path(__file__).parent / "lessons").glob("[0-9][0-9].json")):
        lesson = json.loads(file.read_text(encoding="utf-8"))
        for equation in lesson["equations"]:
            for op in equation["ops"]:
                found.setdefault(op, []).append((lesson["lesson"], lesson["title"], equation))
    return found


def _ops() -> dict[str, type[Op]]:
    def below(cls: type[Op]):
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    return {op.__name__: op for op in below(Op) if op.reference is None and op.__module__.startswith("minitorch.ops.")}


class Explanation:
    """What `explain` found. `print` it, or leave it as the last line of a notebook's cell."""

    def __init__(self, name: str, ops: list[type[Op]]):
        self.name, self.ops = name, ops

    def _parts(self):
        """(kind, content): what both forms show, in order."""
        if len(self.ops) > 1:
            yield "text", f"{self.name} is made of {len(self.ops)} ops: {', '.join(op.__name__ for op in self.ops)}."
        for op in self.ops:
            yield "title", f"{op.__name__}, in {op.__module__.replace('.', '/')}.py"
            yield "code", inspect.cleandoc(vars(op).get("__doc__") or "no docstring")
            derived = _derivations().get(op.__name__, [])
            for lesson, title, equation in derived:
                yield (
                    "equation",
                    (f"Lesson {lesson}, {title}, ({equation['number']}) {equation['what']}", equation["latex"]),
                )
            if not derived and not _promised(op):
                yield "text", "No lesson derives it: the derivation is the docstring above."
            for method in (op.forward, op.backward):
                yield "code", textwrap.dedent(inspect.getsource(method)).rstrip()
            rows = _table()["ops"].get(op.__name__, {}).get("rows", [])
            tests = [t for *_, e in derived for t in e["tests"] if "::" in t]
            if rows or tests:
                named = ", ".join([f"cases:{row}" for row in rows] + list(dict.fromkeys(tests)))
                yield (
                    "text",
                    f"Tests: {named}"
                    + (
                        f"; python -m pytest tests/test_ops_gradients.py -k {rows[0].rpartition('.')[2]}"
                        if rows
                        else ""
                    ),
                )
            yield "check", numeric_check(op)

    def __repr__(self) -> str:
        out: list[str] = []
        for kind, content in self._parts():
            if kind == "title":
                out += [content, "-" * len(content)]
            elif kind == "code":
                out += [textwrap.indent(content, "    "), ""]
            elif kind == "equation":
                out += [content[0], f"    {content[1]}", ""]
            elif kind == "check":
                out += [_check_text(content), ""]
            else:
                out += [content, ""]
        return "\n".join(out).rstrip()

    def _repr_markdown_(self) -> str:
        out: list[str] = []
        for kind, content in self._parts():
            if kind == "title":
                out.append(f"### {content}")
            elif kind == "code":
                out.append(f"```python\n{content}\n```")
            elif kind == "equation":
                out += [content[0] + ":", f"$${content[1]}$$"]
            elif kind == "check":
                out.append(_check_table(content))
            else:
                out.append(html.escape(content, quote=False))
        return "\n\n".join(out)


def _promised(op: type[Op]) -> bool:
    """Whether its docstring, or its file's, names a lesson."""
    return any("Lesson" in (text or "") for text in (vars(op).get("__doc__"), inspect.getmodule(op).__doc__))


# --- the check -------------------------------------------------------------------------------------------------------


def numeric_check(op: type[Op], sample: dict | None = None) -> dict | None:
    """Analytic and numeric gradients of one op on a sample, its own from the op table; None if it has none.

    The gradient is that of sum(dy * y) with random dy: with ones many wrong formulas would pass.
    """
    sample = sample or _table()["ops"].get(op.__name__, {}).get("sample")
    if sample is None:
        return None
    from . import from_numpy, manual_seed
    from .autograd import grad
    from .autograd.grad_mode import enable_grad, no_grad
    from .backend import reference_ops
    from .ops.random import get_rng_state, set_rng_state

    inputs = [_decode(value) for value in sample["inputs"]]
    options = {name: _decode(value) for name, value in sample["options"].items()}
    tensors = [isinstance(v, dict) and v.get("tensor", False) for v in sample["inputs"]]
    varied = [i for i, x in enumerate(inputs) if tensors[i] and x.dtype.kind == "f"]
    state = get_rng_state()

    def results(wanted: bool) -> tuple:
        manual_seed(0)  # an op that draws draws the same
        made = [
            from_numpy(x.copy()).requires_grad_(wanted and i in varied) if tensors[i] else x
            for i, x in enumerate(inputs)
        ]
        y = op.apply(*made, **options)
        return [made[i] for i in varied], list(y) if isinstance(y, tuple) else [y]

    try:
        with reference_ops(), enable_grad():
            leaves, outputs = results(True)
            outputs = [y for y in outputs if y.requires_grad]
            if not outputs:
                return None
            rng = np.random.default_rng(0)
            cotangents = [rng.uniform(-1, 1, y.shape) for y in outputs]
            analytic = grad(outputs, leaves, [from_numpy(np.asarray(c)) for c in cotangents], allow_unused=True)

        def loss() -> float:
            with reference_ops(), no_grad():
                found = [y for y in results(False)[1] if y.is_floating_point()]
            return float(sum((c * y.array).sum() for c, y in zip(cotangents, found)))

        rows: list[tuple] = []
        worst = 0.0
        for k, i in enumerate(varied):
            x = inputs[i]
            g = np.zeros_like(x) if analytic[k] is None else analytic[k].array
            for at in np.ndindex(x.shape):
                kept = x[at]
                x[at] = kept + _STEP
                above = loss()
                x[at] = kept - _STEP
                slope = (above - loss()) / (2 * _STEP)
                x[at] = kept
                worst = max(worst, abs(float(g[at]) - slope))
                if sum(row[0] == i for row in rows) < _SHOWN:
                    rows.append((i, list(at), float(g[at]), slope))
    finally:
        set_rng_state(state)
    shapes = ", ".join(f"input {i} {x.shape}" for i, x in enumerate(inputs) if tensors[i])
    shown = ", ".join(f"{name}={value}" for name, value in options.items() if np.size(value) < 9)
    return {
        "inputs": shapes + (f"; {shown}" if shown else ""),
        "outputs": ", ".join(str(tuple(y.shape)) for y in outputs),
        "rows": rows, "elements": sum(inputs[i].size for i in varied), "worst": worst,
    }  # fmt: skip


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(value["array"], value["dtype"]).reshape(value["shape"])
    if "slice" in value:
        return slice(*[_decode(v) for v in value["slice"]])
    if "ellipsis" in value:
        return Ellipsis
    return tuple(_decode(v) for v in value["tuple"]) if "tuple" in value else [_decode(v) for v in value["list"]]


def _heading(check: dict) -> str:
    return (
        f"Live check in float64: {check['inputs']}; output {check['outputs']}. "
        f"Largest difference of {check['elements']} elements: {check['worst']:.1e}"
    )


def _check_text(check: dict | None) -> str:
    if check is None:
        return "No live check: the op table has no small input for this op alone."
    lines = [_heading(check), f"    {'element':<18}{'analytic':>15}{'numeric':>15}{'difference':>13}"]
    for i, at, analytic, numeric in check["rows"]:
        lines.append(f"    {f'input {i} {at}':<18}{analytic:>15.8f}{numeric:>15.8f}{abs(analytic - numeric):>13.1e}")
    return "\n".join(lines)


def _check_table(check: dict | None) -> str:
    if check is None:
        return _check_text(check)
    lines = [_heading(check), "", "| element | analytic | numeric | difference |", "|---|---:|---:|---:|"]
    for i, at, analytic, numeric in check["rows"]:
        lines.append(f"| input {i} {at} | {analytic:.8f} | {numeric:.8f} | {abs(analytic - numeric):.1e} |")
    return "\n".join(lines)
