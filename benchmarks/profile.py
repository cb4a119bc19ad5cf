"""Where the time of a minitorch step goes: by op, forward and backward, with calls and shares.

    python -m benchmarks.profile bert
    python -m benchmarks.profile gpt --shapes --top 40

Every op's forward and backward, the random streams, clipping and the optimizer are timed, each without what it calls
among them; what is left is the engine (`Op.apply`, the walk with its sums of gradients) and the model's own Python.
The watching costs about a microsecond a call, which the last lines show.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from .timing import busy, once, set_threads, warm_up


class Profiler:
    """`watch` replaces a function by one that notes calls and seconds under a key, without those of watched callees."""

    def __init__(self):
        self.rows: dict[tuple, list] = {}  # key -> [calls, seconds]
        self.stack: list[list] = []  # [key, who, seconds of callees]
        self.undo: list[Callable[[], None]] = []
        self.closed = 0  # inside something that is shown as one

    def watch(self, owner: Any, name: str, key: Callable[..., tuple], whole: bool = False) -> None:
        """`whole`: what it calls is its own time."""
        original = vars(owner)[name] if name in vars(owner) else None
        plain = getattr(owner, name) if not isinstance(original, classmethod) else original.__func__
        rows, stack, clock = self.rows, self.stack, time.perf_counter

        def watched(*args, **options):
            if self.closed:
                return plain(*args, **options)
            who = key(*args)
            if stack and stack[-1][0] == who and stack[-1][1] is (args[0] if args else None):
                return plain(*args, **options)  # super().forward of the same op
            frame = [who, args[0] if args else None, 0.0]
            stack.append(frame)
            self.closed += whole
            start = clock()
            try:
                return plain(*args, **options)
            finally:
                spent = clock() - start
                self.closed -= whole
                stack.pop()
                if stack:
                    stack[-1][2] += spent
                row = rows.setdefault(who, [0, 0.0])
                row[0] += 1
                row[1] += spent - frame[2]

        setattr(owner, name, classmethod(watched) if isinstance(original, classmethod) else watched)
        if original is None:
            self.undo.append(lambda: delattr(owner, name))
        else:
            self.undo.append(lambda: setattr(owner, name, original))

    def close(self) -> None:
        while self.undo:
            self.undo.pop()()


def everything_below(cls: type) -> Iterator[type]:
    for below in cls.__subclasses__():
        yield below
        yield from everything_below(below)


def shapes(arrays: Any) -> str:
    return " ".join("x".join(map(str, a.shape)) or "0-d" for a in arrays if hasattr(a, "shape"))


def watch_all(profiler: Profiler, job: Any, by_shape: bool) -> None:
    """Rows are (name, phase, kernel or reference, shapes)."""
    from minitorch.autograd import engine
    from minitorch.backend.random import Generator

    def of(phase: str, arrays: Callable) -> Callable:
        def key(op, *args):
            kind = "kernel" if op.reference is not None else ""
            if phase == "forward" and any(frame[0][1] == "backward" for frame in profiler.stack):
                return op.name, "in backward", kind, shapes(arrays(args)) if by_shape else ""
            return op.name, phase, kind, shapes(arrays(args)) if by_shape else ""

        return key

    for cls in dict.fromkeys([engine.Op, *everything_below(engine.Op)]):
        if "forward" in vars(cls):
            profiler.watch(cls, "forward", of("forward", lambda args: args))
        if "backward_arrays" in vars(cls):
            profiler.watch(cls, "backward_arrays", of("backward", lambda args: args[0]))
    for name, value in list(vars(Generator).items()):
        if callable(value) and not name.startswith("_"):
            profiler.watch(Generator, name, lambda *args, name=name: (f"random {name}", "", "", ""))
    profiler.watch(engine.Op, "apply", lambda *args: ("engine: Op.apply", "forward", "", ""))
    profiler.watch(engine, "walk", lambda *args: ("engine: the walk, sums of gradients", "backward", "", ""))
    if job.optimizer is not None:
        for name in ("step", "zero_grad"):
            key = type(job.optimizer).__name__ + "." + name, "", "", ""
            profiler.watch(job.optimizer, name, lambda *args, key=key: key, whole=True)
    if job.clip is not None:
        profiler.watch(
            job.lib.nn.utils, "clip_grad_norm_", lambda *args: ("clip_grad_norm_", "", "", ""), whole=True
        )  # fmt: skip


def profile(job: Any, steps: int, by_shape: bool = False) -> tuple[dict[tuple, list], float, float]:
    """Rows, seconds of a watched step, and of a step before."""
    before = statistics.median(once(job.step) for _ in range(steps))
    profiler = Profiler()
    watch_all(profiler, job, by_shape)
    try:
        watched = [once(job.step) for _ in range(steps)]
    finally:
        profiler.close()
    return profiler.rows, sum(watched) / steps, before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("--steps", type=int, default=0, help="watched steps; 0: for about five seconds")
    parser.add_argument("--shapes", action="store_true", help="a row for each op and shapes")
    parser.add_argument("--top", type=int, default=30, help="rows (30)")
    parser.add_argument("--reference", action="store_true", help="without kernels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=json.loads, default={}, help='other sizes: {"batch": 8}')
    args = parser.parse_args()
    set_threads(args.threads)
    import minitorch

    from .workloads import WORKLOADS, chosen

    job = (WORKLOADS.get(args.workload) or chosen(args.workload)[0])(minitorch, **args.sizes)
    with minitorch.reference_ops() if args.reference else nullcontext():
        each = warm_up(job.step)
        steps = args.steps or max(3, min(1000, round(5 / each)))
        rows, total, before = profile(job, steps, args.shapes)
    rows[("Python outside the ops", "", "", "")] = [steps, total * steps - sum(row[1] for row in rows.values())]
    print(f"{args.workload}: {steps} steps, {args.threads} threads. {busy()}")
    print(f"\n{'op':38}{'':12}{'':8}{'calls':>8}{'us/call':>10}{'ms/step':>10}{'share':>8}  ")
    ordered = sorted(rows.items(), key=lambda item: -item[1][1])
    for (name, phase, kind, shape), (calls, seconds) in ordered[: args.top]:
        print(f"{name:38}{phase:12}{kind:8}{calls / steps:8.1f}{seconds / calls * 1e6:10.1f}"
              f"{seconds / steps * 1e3:10.3f}{seconds / steps / total:8.1%}  {shape}")  # fmt: skip
    rest = ordered[args.top :]
    if rest:
        print(f"{f'{len(rest)} more':38}{'':20}{'':18}{sum(r[1] for _, r in rest) / steps * 1e3:10.3f}")
    for phase in ("forward", "backward"):
        print(f"all {phase}: {sum(r[1] for k, r in rows.items() if k[1].endswith(phase)) / steps * 1e3:.3f} ms")
    print(f"a step: {total * 1e3:.3f} ms while watched, {before * 1e3:.3f} ms (median) before")


if __name__ == "__main__":
    main()
