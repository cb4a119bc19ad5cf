"""Runs a notebook in a kernel, and says what went wrong in terms of its source."""

from __future__ import annotations

import os
import re
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from .source import LESSONS, Source

LIMIT = 120  # seconds for a notebook
CHECK_LIMIT = 5  # seconds for a check: "instant" on a busy machine

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run(source: Source, solved: bool) -> tuple[nbformat.NotebookNode, float]:
    """The executed notebook and the seconds it took. Failing cells keep their errors as outputs."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # two notebooks run at once
    os.environ.pop("MINITORCH_DATA", None)  # with the data that every learner has: the same notebooks everywhere
    nb = source.solved() if solved else source.learners()
    folder = LESSONS / "solved" if solved else LESSONS
    folder.mkdir(exist_ok=True)
    client = NotebookClient(
        nb,
        timeout=LIMIT,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=ERROR"],
    )
    start = time.monotonic()
    try:
        client.execute()
    except CellTimeoutError:
        raise source.error(_running(nb), f"is not done after {LIMIT} s") from None
    except DeadKernelError:
        raise source.error(_running(nb), "the kernel died") from None
    return nb, time.monotonic() - start


def _running(nb: nbformat.NotebookNode) -> int:
    """The cell that was running when the client gave up: the last that has begun."""
    begun = [i for i, cell in enumerate(nb.cells) if "execution" in cell.metadata]
    return max(begun, default=0)


def errors(nb: nbformat.NotebookNode) -> dict[int, nbformat.NotebookNode]:
    """{cell: its error}"""
    found = {}
    for i, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                found[i] = output
    return found


def seconds(cell: nbformat.NotebookNode) -> float:
    """What a cell took, from the kernel's own messages."""
    from datetime import datetime

    times = cell.metadata.get("execution", {})
    try:
        start, end = (
            datetime.fromisoformat(times[key].replace("Z", "+00:00"))
            for key in ("iopub.status.busy", "iopub.status.idle")
        )
    except KeyError:
        return 0.0
    return (end - start).total_seconds()


def describe(source: Source, nb: nbformat.NotebookNode, cell: int) -> str:
    """`lesson NN, cell k (file:line): Error: message`; the line is that of the cell's own frame."""
    error = errors(nb)[cell]
    trace = ANSI.sub("", "\n".join(error.traceback))
    count = nb.cells[cell].execution_count
    lines = re.findall(rf"Cell In\[{count}\], line (\d+)", trace)
    line = int(lines[0]) - 1 if lines and source.cells[cell].kind != "exercise" else 0
    return str(source.error(cell, f"{error.ename}: {error.evalue}", line)) + f"\n{trace}"


def problems(source: Source, solved: bool) -> tuple[nbformat.NotebookNode, float, list[str]]:
    """Runs the notebook; what is wrong with the result, in words."""
    nb, took = run(source, solved)
    failed = errors(nb)
    found = []
    checks = {} if solved else {e["check"]: e for e in source.exercises}
    for i, error in failed.items():
        if i not in checks:
            found.append(describe(source, nb, i))
            continue
        shown = ANSI.sub("", "\n".join(error.traceback))
        if error.ename != "NotYet":
            found.append(f"{describe(source, nb, i)}\n(a check fails with a hint: use @lesson.check)")
        elif checks[i]["hint"] not in shown or "Traceback" in shown or len(shown.splitlines()) > 6:
            found.append(str(source.error(i, f"shows more, or less, than its hint:\n{shown}")))
    for i, exercise in checks.items():
        if i not in failed:
            found.append(str(source.error(i, f"the stub of {', '.join(exercise['names'])} passes its check")))
        if seconds(nb.cells[i]) > CHECK_LIMIT:
            found.append(str(source.error(i, f"the check took {seconds(nb.cells[i]):.0f} s: a check is instant")))
    if took > LIMIT:
        slow = max(range(len(nb.cells)), key=lambda i: seconds(nb.cells[i]))
        words = f"the notebook took {took:.0f} s, more than {LIMIT}; this cell alone {seconds(nb.cells[slow]):.0f}"
        found.append(str(source.error(slow, words)))
    return nb, took, found


def clean(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what changes from run to run."""
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
    nb.metadata["language_info"] = {"name": "python"}
    return nb
