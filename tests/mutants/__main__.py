"""`make mutants`: tries every mutant, and reports those that no test notices.

Each mutant lives in a process of its own, forked from this one, that runs the tests of the op table which reach its
line, closest and quickest first, and ends at the first that fails. A test that takes far too long, and a process that
dies, count as failures. PyTorch is needed: what holds a `forward` to its values is the comparison with PyTorch.
Fast paths are off. Results: runs/mutants/report.md and results.json; exit status 1 below 98 %.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402

from tests.mutants import equivalents  # noqa: E402
from tests.mutants.generate import Mutant, mutants, targets  # noqa: E402
from tests.mutants.tests import Item, collect, hunters, index_of, note_lines  # noqa: E402

GOAL = 0.98
OUT = Path(__file__).parent.parent.parent / "runs" / "mutants"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--op", action="append", help="only this op, or op.method, or helper function; may be repeated")
    parser.add_argument("--family", action="append", help="only this file of minitorch/ops; may be repeated")
    parser.add_argument("--sample", type=int, help="only so many of them, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of that choice")
    parser.add_argument("--survivors-only", action="store_true", help="only those that survived in the last run")
    parser.add_argument(
        "--check-equivalents", action="store_true", help="only those listed as equivalent: do they hold?"
    )
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--limit", type=int, default=400, help="tests to try on a mutant at most, 0: all that reach it")
    parser.add_argument("--out", type=Path, default=OUT, help="where the report and the cache go")
    return parser.parse_args()


# --- one mutant ------------------------------------------------------------------------------------------------------


class TooLong(BaseException):
    pass


def attempt(mutant: Mutant, tests: list[Item]) -> tuple[str, str]:
    """(how it was caught, by which test); ("survived", "")."""

    def out_of_time(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGPROF, out_of_time)
    try:
        mutant.apply()
    except Exception as error:
        return "survived", f"cannot be applied: {error}"
    for item in tests:
        signal.setitimer(signal.ITIMER_PROF, 10 + 10 * item.seconds)
        try:
            item.run()
        except TooLong:
            return "time", item.name
        except AssertionError:
            return "wrong result", item.name
        except BaseException as error:
            if type(error).__name__ == "Skipped":
                continue
            if type(error).__name__ == "Failed":  # pytest's: an error that had to come did not
                return "wrong result", item.name
            return "exception", item.name
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return "survived", ""


def fork(mutant: Mutant, tests: list[Item]) -> tuple[int, int]:
    """A process that tries the mutant; its id, and the pipe where its answer comes."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        with open("/proc/self/statm") if sys.platform == "linux" else open(os.devnull) as file:
            pages = int((file.read() or "0").split()[0])
        if pages:  # a wrong shape may ask for more memory than there is
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (3 << 30),) * 2)
        answer = attempt(mutant, tests)
        os.write(writing, json.dumps(answer).encode())
    finally:
        os._exit(0)


def run(work: Iterable[tuple[Mutant, list[Item]]], jobs: int) -> Iterator[tuple[Mutant, str, str]]:
    """(mutant, how, by which test), as they come, from `jobs` processes at a time."""
    waiting = iter(work)
    running: dict[int, tuple[int, Mutant, float]] = {}  # pipe -> its process, its mutant, when to end it
    while True:
        while len(running) < jobs:
            try:
                mutant, tests = next(waiting)
            except StopIteration:
                break
            if not tests:
                yield mutant, "survived", "no test runs this line"
                continue
            process, pipe = fork(mutant, tests)
            limit = 120 + 5 * sum(item.seconds for item in tests)
            running[pipe] = process, mutant, time.monotonic() + limit
        if not running:
            return
        ready, _, _ = select.select(list(running), [], [], 1.0)
        late = [pipe for pipe, (_, _, end) in running.items() if time.monotonic() > end and pipe not in ready]
        for pipe in ready + late:
            process, mutant, _ = running.pop(pipe)
            if pipe in late:
                os.kill(process, signal.SIGKILL)
            answer = b"" if pipe in late else os.read(pipe, 1 << 16)
            os.close(pipe)
            os.waitpid(process, 0)
            how, by = json.loads(answer) if answer else ("time" if pipe in late else "crash", "")
            yield mutant, how, by


# --- all of them -----------------------------------------------------------------------------------------------------


def chosen(options: argparse.Namespace) -> list[Mutant]:
    found = []
    for target in targets():
        owner = target.name.partition(".")[0]
        if options.op and not {owner, target.name} & set(options.op):
            continue
        if not options.family or target.family in options.family:
            found += mutants(target)
    if options.survivors_only:
        before = {tuple(key) for key in json.loads((options.out / "results.json").read_text())["survived"]}
        found = [mutant for mutant in found if mutant.key in before]
    if options.sample is not None and options.sample < len(found):
        found = random.Random(options.seed).sample(found, options.sample)
    return found


def main() -> int:
    options = arguments()
    every = chosen(options)
    listed = equivalents.read()
    reviewed = [mutant for mutant in every if mutant.key in listed]
    trying = reviewed if options.check_equivalents else [mutant for mutant in every if mutant.key not in listed]
    if options.list:
        for mutant in every:
            print(f"{mutant}    ({mutant.kind}{', equivalent' if mutant.key in listed else ''})\n")
        print(f"{len(every)} mutants, of which {len(reviewed)} are listed as equivalent")
        return 0
    try:
        import torch  # noqa: F401
        from tqdm import tqdm
    except ModuleNotFoundError as error:
        print(f"{error}: `make mutants` installs what this needs", file=sys.stderr)
        return 2

    import gc

    from minitorch.backend import reference_ops

    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.time()
    with reference_ops():
        items = note_lines(collect(), targets(), options.out / "lines.json", tqdm)
        for item in items[:: max(1, len(items) // 100)]:  # PyTorch's first calls are slow
            try:
                item.run()
            except BaseException as error:
                if type(error).__name__ != "Skipped":
                    raise
        index = index_of(items)
        gc.collect()
        gc.freeze()
        results: list[tuple[Mutant, str, str]] = []
        work = ((mutant, hunters(mutant, index, options.limit)) for mutant in trying)
        with tqdm(total=len(trying), desc="mutants", unit="", smoothing=0.02) as bar:
            survived = 0
            try:
                for result in run(work, options.jobs):
                    results.append(result)
                    survived += result[1] == "survived"
                    bar.set_postfix(survived=survived, refresh=False)
                    bar.update()
            except KeyboardInterrupt:
                print(f"\ninterrupted: the report is about the {len(results)} of {len(trying)} that were tried")
    if options.check_equivalents:
        wrong = [result for result in results if result[1] != "survived"]
        for mutant, how, by in wrong:
            print(f"listed as equivalent, but caught ({how}, {by}):\n{mutant}")
        print(f"{len(results)} listed as equivalent, {len(wrong)} of them wrongly")
        return int(bool(wrong))
    return report(options, every, reviewed, results, time.time() - start)


def report(
    options: argparse.Namespace, every: list[Mutant], reviewed: list[Mutant],
    results: list[tuple[Mutant, str, str]], seconds: float,
) -> int:  # fmt: skip
    total = len(results) + len(reviewed)
    survivors = sorted((m.target.family, m.target.name, str(m), m, by) for m, how, by in results if how == "survived")
    caught = len(results) - len(survivors)
    share = caught / len(results) if results else 1.0
    stale = equivalents.stale() if not (options.op or options.family or options.sample) else []

    line = (
        f"{total} mutants, {caught} caught, {len(reviewed)} equivalent (reviewed), {len(survivors)} survived: "
        f"{share:.2%} caught of those that are not equivalent"
    )
    command = "python -m tests.mutants " + " ".join(sys.argv[1:])
    text = [
        f"# Mutants\n\n{line}.\n",
        f"`{command.strip()}`, {seconds / 60:.1f} minutes with {options.jobs} processes.\n",
    ]
    hows = Counter(how for _, how, _ in results if how != "survived")
    text.append("Caught by: " + ", ".join(f"{how} {n}" for how, n in hows.most_common()) + ".\n")
    tests = Counter(by.partition("[")[0] for _, how, by in results if how != "survived" and by)
    text.append("The test that came first: " + ", ".join(f"{name} {n}" for name, n in tests.most_common()) + ".\n")
    for title, group in (("family", lambda m: m.target.family), ("kind", lambda m: m.kind)):
        text.append(f"| {title} | mutants | caught | equivalent | survived |\n|---|---|---|---|---|")
        tried = Counter(group(m) for m, _, _ in results)
        lost = Counter(group(m) for *_, m, _ in survivors)
        listed = Counter(group(m) for m in reviewed)
        for name in sorted(tried | listed):
            row = tried[name] + listed[name], tried[name] - lost[name], listed[name], lost[name]
            text.append(f"| {name} | " + " | ".join(map(str, row)) + " |")
        text.append("")
    if survivors:
        text.append("## Survivors\n\nEach wants a sample in tests/cases, or a place in equivalent.txt.\n\n```")
        text += [f"{m}" + (f"    {by}\n" if by else "") for *_, m, by in survivors] + ["```\n"]
    if stale:
        text.append("## Entries of equivalent.txt that no longer exist\n\n```\n" + "\n".join(stale) + "\n```\n")
    (options.out / "report.md").write_text("\n".join(text))
    (options.out / "results.json").write_text(
        json.dumps(
            {
                "survived": [m.key for *_, m, _ in survivors],
                "caught": [(m.key, how, by) for m, how, by in results if how != "survived"],
            }
        )
    )
    print(f"{line}\n{options.out / 'report.md'}")
    if stale:
        print(f"{len(stale)} entries of equivalent.txt no longer exist")
    return int(share < GOAL or len(results) < len(every) - len(reviewed))


if __name__ == "__main__":
    sys.exit(main())
