"""Times that can be trusted: programs in turn, block by block; each a function here, or a process (sides.py).

Before each block: garbage is collected (and left switched on: what a library leaves to the collector is its own cost),
and the other library's threads get a moment to fall asleep, because waiting threads of OpenMP and BLAS spin for some
20 ms after their last work. The order changes from round to round. A slow phase of the machine hits all programs.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAUSE = 0.05  # seconds before a block
BLOCK = 0.25  # seconds of a block, at least one step
SHORT = 0.05  # of shorter steps the first one of a block is left out: it finds cold caches
ROUNDS = 5  # at least


def set_threads(n: int) -> None:
    """Two threads for everybody. Call it before NumPy, numba or PyTorch are imported: most read it only then."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(n)


def once(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def warm_up(run: Callable[[], object], steps: int = 3) -> float:
    """Runs until kernels are compiled and allocators full; returns about how long a step takes."""
    times = [once(run) for _ in range(steps)]
    while sum(times) < BLOCK:
        times.append(once(run))
    return statistics.median(times[1:] or times)


class Here:
    """A function as a side in this process; see sides.py for those with processes of their own."""

    def __init__(self, run: Callable[[], object]):
        self.run, self.length = run, 0.0

    def ask(self, what: object) -> Any:
        if what == "warm-up":
            self.length = warm_up(self.run)
            return self.length
        assert isinstance(what, int)
        gc.collect()
        if 0 < self.length < SHORT:
            self.run()
        return [once(self.run) for _ in range(what)]


def alternate(
    programs: dict[str, Any], seconds: float, steps: int | None = None,
    progress: Callable[[float], object] = lambda share: None,
) -> dict[str, list[list[float]]]:  # fmt: skip
    """For each program the times of its steps, block by block: for `seconds` of measured time each, or just `steps`."""
    sides = {name: side if hasattr(side, "ask") else Here(side) for name, side in programs.items()}
    if steps is not None:
        return {name: [side.ask(steps)] for name, side in sides.items()}
    length = {name: side.ask("warm-up") for name, side in sides.items()}
    blocks: dict[str, list[list[float]]] = {name: [] for name in sides}
    spent = 0.0
    order = list(sides)
    while spent < seconds * len(sides) or len(blocks[order[0]]) < ROUNDS:
        for name in order:
            time.sleep(PAUSE)
            times = sides[name].ask(max(1, round(BLOCK / length[name])))
            blocks[name].append(times)
            spent += sum(times)
            progress(min(1.0, spent / (seconds * len(sides)), len(blocks[order[-1]]) / ROUNDS))
        order.reverse()
    return blocks


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def of_steps(blocks: list[list[float]]) -> tuple[float, float, float]:
    return quartiles([t for block in blocks for t in block])


def ratio(theirs: list[list[float]], ours: list[list[float]]) -> tuple[float, float, float]:
    """The ratio of the medians, between the quartiles of the ratios block by block."""
    low, _, high = quartiles([statistics.median(t) / statistics.median(o) for t, o in zip(theirs, ours)])
    return low, of_steps(theirs)[1] / of_steps(ours)[1], high


def cpu() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def busy() -> str:
    """A warning if other programs keep the machine busy, or nothing."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return (
        f"the machine is busy (load {load:.1f} on {cores} cores): these times say little" if load > 0.75 * cores else ""
    )
