"""A lesson's source, and what is made from it: the learner's notebook, the solved one, the data that ships.

The source is a Python file in jupytext's percent format, lessons/src/NN_name.py. AUTHORS.md describes its markers.
Everything that is wrong with one is reported as `lesson NN, cell k (file:line): ...`.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ROOT / "lessons"
SOURCES = LESSONS / "src"
DATA = ROOT / "minitorch" / "lessons"

KINDS = {"exercise", "check", "summary"}
COLUMNS = ["equation", "what", "op", "test"]
TITLES = {
    0: "A derivative that you can check", 1: "An autograd engine in 100 lines", 2: "Tensors", 3: "Logistic regression",
    4: "Softmax and cross-entropy", 5: "Descent", 6: "A deep network by hand", 7: "Convolution", 8: "Recurrence",
    9: "Normalization", 10: "Attention", 11: "The Transformer", 12: "GPT", 13: "BERT pretraining", 14: "Fine-tuning",
}  # fmt: skip


class LessonError(Exception):
    """Something wrong with a lesson, with its place in the source."""


@dataclass
class Cell:
    type: str
    text: str
    tags: list[str]
    line: int  # of the source, where the cell's text begins

    @property
    def kind(self) -> str | None:
        return next((tag for tag in self.tags if tag in KINDS), None)


@dataclass
class Equation:
    number: str
    latex: str
    cell: int
    what: str = ""
    ops: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)


class Source:
    """One lesson."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.stem
        if not re.fullmatch(r"\d\d_[a-z0-9_]+", self.name):
            raise LessonError(f"{path}: a source is called NN_name.py")
        self.number = int(self.name[:2])
        text = path.read_text(encoding="utf-8")
        starts = [i + 2 for i, line in enumerate(text.splitlines()) if re.match(r"# %%( |$)", line)]
        cells = jupytext.reads(text, fmt="py:percent").cells
        if len(starts) != len(cells):
            raise LessonError(f"{path}: {len(cells)} cells, but {len(starts)} lines that begin with `# %%`")
        self.cells = [
            Cell(c.cell_type, c.source, list(c.metadata.get("tags", [])), line) for c, line in zip(cells, starts)
        ]

    def error(self, cell: int, words: str, line: int = 0) -> LessonError:
        """`line`: within the cell, from 0."""
        file = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return LessonError(f"lesson {self.number:02}, cell {cell} ({file}:{self.cells[cell].line + line}): {words}")

    # --- the two notebooks -------------------------------------------------------------------------------------------

    def learners(self) -> nbformat.NotebookNode:
        return self._notebook(solved=False)

    def solved(self) -> nbformat.NotebookNode:
        return self._notebook(solved=True)

    def _notebook(self, solved: bool) -> nbformat.NotebookNode:
        nb = nbformat.v4.new_notebook()
        nb.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        for i, cell in enumerate(self.cells):
            text, tags = cell.text, list(cell.tags)
            if cell.kind == "exercise":
                text = self.exercise_text(i, solved)
            if cell.kind == "check" and not solved:
                tags.append("raises-exception")  # "run all" goes on after it
            make = nbformat.v4.new_markdown_cell if cell.type == "markdown" else nbformat.v4.new_code_cell
            made = make(text)
            made.id = f"cell-{i:03}"
            made.metadata = {"tags": tags} if tags else {}
            nb.cells.append(made)
        return nb

    def exercise_text(self, cell: int, solved: bool) -> str:
        """Between `# --- solution` and `# --- end` the solution; in the learner's notebook what follows `# --- stub`,
        out of its comment, or else a line that does nothing."""
        out: list[str] = []
        state, stub, indent, found = "", [], "", 0
        for k, line in enumerate(self.cells[cell].text.splitlines()):
            marker = re.fullmatch(r"(\s*)# --- (solution|stub|end)\s*", line)
            if not marker:
                if state == "":
                    out.append(line)
                elif state == "solution" and solved:
                    out.append(line)
                elif state == "stub":
                    comment = re.fullmatch(r"(\s*)#(?: (.*))?", line)
                    if not comment or not line.startswith(indent):
                        raise self.error(cell, "a stub is a comment, indented as its marker", k)
                    stub.append((indent + (comment[2] or "")).rstrip())
                continue
            step = marker[2]
            if (state, step) not in {("", "solution"), ("solution", "stub"), ("solution", "end"), ("stub", "end")}:
                raise self.error(cell, f"`# --- {step}` is out of order", k)
            if step == "solution":
                indent, stub, found = marker[1], [], found + 1
            elif step == "end" and not solved:
                out += stub or [indent + "...  # your code here"]
            state = "" if step == "end" else step
        if state or not found:
            raise self.error(cell, "an exercise needs `# --- solution` and `# --- end`")
        return "\n".join(out)

    # --- what else can be read from it -------------------------------------------------------------------------------

    @cached_property
    def title(self) -> str:
        first = self.cells[0].text.splitlines()[0] if self.cells[0].type == "markdown" else ""
        expected = f"# {self.number:02} {TITLES.get(self.number, '')}"
        if first.strip() != expected:
            raise self.error(0, f"the first cell is Markdown and begins with `{expected}`, not {first!r}")
        return TITLES[self.number]

    @cached_property
    def exercises(self) -> list[dict]:
        """For each: the names that are checked, the solution, the hint, the numbers of its two cells."""
        found = []
        code = [i for i, cell in enumerate(self.cells) if cell.type == "code"]
        for i, after in zip(code, [*code[1:], None]):
            if self.cells[i].kind == "check" and self.cells[code[code.index(i) - 1]].kind != "exercise":
                raise self.error(i, "a check follows its exercise")
            if self.cells[i].kind != "exercise":
                continue
            if after is None or self.cells[after].kind != "check":
                raise self.error(i, 'the next code cell after an exercise is tagged "check"')
            names, hint = self._check_call(after)
            solution = self.exercise_text(i, solved=True)
            defined = {n.name for n in ast.parse(solution).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
            if not set(names) <= defined:
                raise self.error(after, f"checks {', '.join(names)}; the exercise defines {', '.join(defined)}")
            found.append({"names": names, "solution": solution, "hint": hint, "cell": i, "check": after})
        if not 3 <= len(found) <= 8:
            raise self.error(0, f"{len(found)} exercises: a lesson has 3 to 6 (8 at most)")
        return found

    def _check_call(self, cell: int) -> tuple[list[str], str]:
        for node in ast.walk(ast.parse(self.cells[cell].text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "check":
                hints = [k.value for k in node.keywords if k.arg == "hint"]
                try:
                    return [ast.literal_eval(a) for a in node.args], ast.literal_eval(hints[0])
                except (ValueError, IndexError):
                    break
        raise self.error(cell, 'a check is `@lesson.check("name", hint="...")` with literal strings')

    @cached_property
    def equations(self) -> list[Equation]:
        """The numbered equations, in order, with their rows of the summary table."""
        own = f"{self.number:02}"
        found: dict[str, Equation] = {}
        for i, cell in enumerate(self.cells):
            if cell.type != "markdown":
                continue
            for block in re.finditer(r"\$\$(.*?)\$\$", cell.text, flags=re.S):
                line = cell.text[: block.start()].count("\n")
                tags = re.findall(r"\\tag\{(.*?)\}", block[1])
                if len(tags) > 1:
                    raise self.error(i, f"one \\tag for each $$ block, not {len(tags)}", line)
                for tag in tags:
                    if tag != f"{own}.{len(found) + 1}":
                        raise self.error(i, f"\\tag{{{tag}}} where ({own}.{len(found) + 1}) comes next", line)
                    latex = re.sub(r"\s+", " ", re.sub(r"\\tag\{.*?\}", "", block[1])).strip()
                    found[tag] = Equation(tag, latex, i)
        for i, cell in enumerate(self.cells):
            text = re.sub(r"\$\$.*?\$\$", lambda b: "\n" * b[0].count("\n"), cell.text, flags=re.S)
            for reference in re.finditer(rf"\(({own}\.\d+)\)", text):
                if reference[1] not in found:
                    line = text[: reference.start()].count("\n")
                    raise self.error(i, f"({reference[1]}) is mentioned, but no equation has this number", line)
        self._read_summary(found)
        return list(found.values())

    def _read_summary(self, found: dict[str, Equation]) -> None:
        where = [i for i, cell in enumerate(self.cells) if cell.kind == "summary"]
        if len(where) != 1:
            raise self.error(0, f'{len(where)} cells are tagged "summary"; a lesson has one, with its table')
        cell = where[0]
        rows = [
            (k, [part.strip() for part in line.strip().strip("|").split("|")])
            for k, line in enumerate(self.cells[cell].text.splitlines())
            if line.strip().startswith("|")
        ]
        if not rows or rows[0][1] != COLUMNS:
            raise self.error(cell, f"the summary table's columns are {' | '.join(COLUMNS)}")
        named = set()
        for k, row in rows[2:]:
            if len(row) != len(COLUMNS):
                raise self.error(cell, f"a row of {len(row)} columns ('|' in a formula? write \\vert)", k)
            numbers = re.findall(r"\((\d\d\.\d+)\)", row[0])
            if not numbers:
                raise self.error(cell, f"{row[0]!r} is no equation number like ({self.number:02}.1)", k)
            for number in numbers:
                if number not in found:
                    raise self.error(cell, f"({number}) is no equation of this lesson", k)
                found[number].what = row[1]
                found[number].ops = [part for part in re.split(r"[,\s]+", row[2].replace("`", "")) if part not in "-–—"]
                found[number].tests = [part for part in re.split(r"[,\s]+", row[3].replace("`", "")) if part]
                named.add(number)
        code = "\n".join(c.text for c in self.cells if c.type == "code")
        for number, equation in found.items():
            if number not in named:
                raise self.error(equation.cell, f"equation ({number}) has no row in the summary table")
            if not equation.tests:
                raise self.error(
                    cell, f"({number}): the test column is empty: cases:ROW, tests/FILE::TEST, here, definition"
                )
            if "here" in equation.tests and f"({number})" not in code:
                raise self.error(
                    equation.cell, f"({number}) is said to be checked here, but no code cell mentions `# ({number})`"
                )

    def data(self) -> str:
        """What ships in the package: the exercises' finished versions and the equations."""
        content = {
            "lesson": f"{self.number:02}",
            "title": self.title,
            "exercises": [{"names": e["names"], "solution": e["solution"]} for e in self.exercises],
            "equations": [
                {"number": e.number, "what": e.what, "latex": e.latex, "ops": e.ops, "tests": e.tests}
                for e in self.equations
            ],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    # --- the files ---------------------------------------------------------------------------------------------------

    @property
    def learners_file(self) -> Path:
        return LESSONS / f"{self.name}.ipynb"

    @property
    def solved_file(self) -> Path:
        return LESSONS / "solved" / f"{self.name}.ipynb"

    @property
    def data_file(self) -> Path:
        return DATA / f"{self.number:02}.json"


def sources(only: list[str] | None = None) -> list[Source]:
    """All lessons, or those whose numbers are given."""
    wanted = {int(number) for number in only or ()}
    found = [Source(path) for path in sorted(SOURCES.glob("[0-9][0-9]_*.py"))]
    missing = wanted - {source.number for source in found}
    if missing:
        raise LessonError(f"no source in lessons/src for lesson {', '.join(f'{n:02}' for n in sorted(missing))}")
    return [source for source in found if not wanted or source.number in wanted]


def differences(made: nbformat.NotebookNode, file: Path) -> list[int]:
    """The cells in which a notebook on disk is not what its source makes now; outputs do not count."""
    if not file.exists():
        return [0]
    kept = nbformat.read(file, as_version=4)

    def key(nb, i):
        if i >= len(nb.cells):
            return None
        return nb.cells[i].cell_type, nb.cells[i].source, nb.cells[i].metadata.get("tags", [])

    return [i for i in range(max(len(made.cells), len(kept.cells))) if key(made, i) != key(kept, i)]


def write(file: Path, text: str) -> None:
    """Only if it changes; the file is never seen half written."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
