"""`make lessons`: builds the notebooks, the atlas and the data that ships.

    python -m lessons.machinery [--all] [NN ...]

Without numbers: the lessons whose solved notebook is not what the source makes now. --all: every one, executed again.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat

from . import atlas, execute
from .source import ROOT, LessonError, Source, differences, sources, write


def stale(source: Source) -> bool:
    if differences(source.solved(), source.solved_file) or differences(source.learners(), source.learners_file):
        return True
    kept = nbformat.read(source.solved_file, as_version=4)
    return any(cell.cell_type == "code" and not cell.execution_count for cell in kept.cells)


def build(path: Path) -> tuple[str, list[str]]:
    """One lesson: checks the source, executes it, writes both notebooks and the data."""
    source = Source(path)
    try:
        write(source.data_file, source.data())
        write(source.learners_file, text(source.learners()))
        nb, took, wrong = execute.problems(source, solved=True)
        if wrong:
            failed = ROOT / "build" / "lessons" / source.solved_file.name
            write(failed, text(execute.clean(nb)))
            wrong.append(f"(the notebook as it ran: {failed.relative_to(ROOT)})")
        else:
            write(source.solved_file, text(execute.clean(nb)))
        return (
            f"{source.name}: {took:.0f} s, {len(source.exercises)} exercises, {len(source.equations)} equations",
            wrong,
        )
    except (LessonError, SyntaxError) as error:
        return source.name, [str(error)]


def text(nb: nbformat.NotebookNode) -> str:
    nbformat.validate(nb)
    return nbformat.writes(nb, version=4) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lessons", description=__doc__.split("\n")[0])
    parser.add_argument("numbers", nargs="*", help="which lessons: 00 05 ...")
    parser.add_argument("--all", action="store_true", help="execute every lesson again")
    options = parser.parse_args()
    try:
        everything, broken = readable(sources())
        chosen = sources(options.numbers) if options.numbers else everything + broken
        chosen = [s for s in chosen if s in broken or options.all or options.numbers or stale(s)]
    except LessonError as error:
        print(error, file=sys.stderr)
        return 1
    failed = []
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for line, wrong in pool.map(build, [source.path for source in chosen]):
            print(line if not wrong else f"{line}: FAILED\n" + "\n".join(wrong), flush=True)
            failed += wrong
    own = tuple(f"lesson {source.number:02}" for source in chosen)
    try:
        for file, content in atlas.make(everything).items():
            write(file, content)
    except LessonError as error:
        for line in str(error).splitlines():
            others = options.numbers and not any(name in line for name in own)
            print(line + (" (not one of the lessons asked for)" if others else ""), file=sys.stderr)
            failed += [] if others else [line]
        print("lessons/atlas.md stays as it is", file=sys.stderr)
    print(f"{len(chosen)} of {len(everything + broken)} lessons built, {len(failed)} problems")
    return bool(failed)


def readable(found: list[Source]) -> tuple[list[Source], list[Source]]:
    """Those whose source is well formed, and the others."""
    good, broken = [], []
    for source in found:
        try:
            source.data()
            good.append(source)
        except (LessonError, SyntaxError):
            broken.append(source)
    return good, broken


if __name__ == "__main__":
    sys.exit(main())
