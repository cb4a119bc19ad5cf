"""The tests that hunt the mutants: every test of tests/test_ops_*.py, one by one, and the lines of ops/ that it runs."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mutants.generate import OPS, Mutant, Target, tree_of

TESTS = Path(__file__).parent.parent
SETTINGS = "_hypothesis_internal_use_settings"  # where `@settings` leaves them
LEFT_OUT = ("test_ops_complete.py",)  # it runs the whole table in one test


@dataclass
class Item:
    """One test with its parameters."""

    name: str
    function: Callable
    arguments: dict
    seconds: float = 0.0
    lines: dict[str, list[int]] = field(default_factory=dict)  # "softmax.Softmax.backward" -> lines from its first one

    def run(self) -> None:
        self.function(**self.arguments)


def collect() -> list[Item]:
    """pytest's own collection, its parametrization taken apart."""
    import hypothesis
    import pytest

    import minitorch
    from tests.cases import CASES
    from tests.cases.harness import Torch
    from tests.guard import GuardArray, guard

    found: list[Any] = []

    class Collector:
        def pytest_collection_finish(self, session: Any) -> None:
            found.extend(session.items)

    files = [str(path) for path in sorted(TESTS.glob("test_ops_*.py")) if path.name not in LEFT_OUT]
    options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "--rootdir", str(TESTS.parent)]
    with contextlib.redirect_stdout(io.StringIO()):
        status = pytest.main([*options, *files], plugins=[Collector()])
    if status:
        raise SystemExit(f"collecting the tests failed (pytest's status {int(status)})")
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    library = Torch()
    library.module.set_num_threads(1)
    for case in CASES:
        case.samples()
    items = []
    for item in found:
        if hasattr(item.function, "hypothesis"):  # a failure is enough, it need not be made small
            own = getattr(item.function, SETTINGS, None)
            setattr(item.function, SETTINGS, hypothesis.settings(own, phases=[hypothesis.Phase.generate]))
        arguments = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        if "torch_library" in item.fixturenames:
            arguments["torch_library"] = library
        items.append(Item(item.nodeid.rpartition("/")[2], item.function, arguments))
    return items


# --- which test runs which line --------------------------------------------------------------------------------------


def trace(item: Item, codes: dict[Any, tuple[str, int]]) -> None:
    """Runs the test, noting its time and the lines of the target functions that it executes."""
    lines: dict[str, set[int]] = {}

    def enter(frame: Any, event: str, argument: Any) -> Any:
        where = codes.get(frame.f_code)
        if where is None:
            return None
        name, first = where
        seen = lines.setdefault(name, {0})

        def line(frame: Any, event: str, argument: Any) -> Any:
            seen.add(frame.f_lineno - first)
            return line

        return line

    start = time.perf_counter()
    sys.settrace(enter)
    try:
        item.run()
    finally:
        sys.settrace(None)
    item.seconds = time.perf_counter() - start
    item.lines = {name: sorted(seen) for name, seen in lines.items()}


def codes_of(targets: list[Target]) -> dict[Any, tuple[str, int]]:
    """The code objects of each target function and of what is defined inside it."""
    found: dict[Any, tuple[str, int]] = {}
    for target in targets:
        waiting = [target.function.__code__]
        while waiting:
            code = waiting.pop()
            found[code] = full_name(target), target.tree.lineno
            waiting += [c for c in code.co_consts if hasattr(c, "co_code")]
    return found


def full_name(target: Target) -> str:
    return f"{target.family}.{target.name}"


def fingerprint() -> str:
    """Of all that decides which test runs which line; docstrings and comments do not."""
    digest = hashlib.sha256()
    for path in sorted(OPS.glob("*.py")):
        tree = tree_of(path.stem)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                # lines count from the function's first one, so what stands before a function does not matter
                where = [n.lineno - node.lineno for n in ast.walk(node) if isinstance(n, ast.stmt)]
                digest.update(f"{node.name}{where}{ast.dump(node)}".encode())
    for path in [*sorted(TESTS.glob("test_ops_*.py")), *sorted((TESTS / "cases").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def note_lines(items: list[Item], targets: list[Target], cache: Path, progress: Callable) -> list[Item]:
    """The items with their lines, from the cache if nothing has changed. Tests that fail are left out, and named."""
    key = fingerprint()
    known = json.loads(cache.read_text()) if cache.exists() else {}
    if known.get("key") != key:
        codes, notes = codes_of(targets), {}
        for item in progress(items, desc="which test runs which line"):
            try:
                trace(item, codes)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                if type(error).__name__ != "Skipped":
                    print(f"left out, it fails without any mutant: {item.name}: {error}"[:500], file=sys.stderr)
                continue
            notes[item.name] = item.seconds, item.lines
        known = {"key": key, "items": notes}
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(known))
    passing = [item for item in items if item.name in known["items"]]
    for item in passing:
        item.seconds, item.lines = known["items"][item.name]
    return passing


def index_of(items: list[Item]) -> dict[tuple[str, int], list[Item]]:
    found: dict[tuple[str, int], list[Item]] = {}
    for item in items:
        for name, lines in item.lines.items():
            for line in lines:
                found.setdefault((name, line), []).append(item)
    return found


def hunters(mutant: Mutant, index: dict[tuple[str, int], list[Item]], limit: int) -> list[Item]:
    """The tests that run the mutant's line: the quickest and closest ones first, those that run little else."""
    name, (first, last) = full_name(mutant.target), mutant.lines
    found = {item.name: item for line in range(first, last + 1) for item in index.get((name, line), [])}

    def cost(item: Item) -> float:
        return (item.seconds + 0.005) * sum(map(len, item.lines.values()))

    ordered = sorted(found.values(), key=cost)
    return ordered[:limit] if limit else ordered
