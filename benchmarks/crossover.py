"""From which size does the GPU pay? minitorch on the CPU beside minitorch on the GPU, plain and as a CUDA graph.

    python3 -m benchmarks.crossover --only mlp,gpt

For each workload one size grows; a row says how long a training step takes on each side. The CPU is left out of further
rows when its step took longer than a second. Without a GPU it says so and does nothing.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .gpu import about, no_gpu, place, train_step
from .timing import cpu

RESULTS = Path(__file__).with_name("crossover.md")
LONGEST = 1.0  # seconds of a step on the CPU, after which larger sizes are not tried there

# workload, what grows, and its sizes
LADDERS: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "mlp": ("width of two hidden layers, batch 128", [
        (str(w), {"widths": (w, w, w, 10)}) for w in (16, 64, 128, 256, 512, 1024, 2048)]),
    "cnn": ("images in a batch", [(str(b), {"batch": b}) for b in (1, 4, 16, 64, 256)]),
    "resnet": ("images in a batch", [(str(b), {"batch": b}) for b in (1, 4, 16, 64, 256)]),
    "lstm": ("hidden size, 64 steps, batch 32", [(str(h), {"hidden": h}) for h in (16, 64, 256, 512)]),
    "gpt": ("width, 4 layers, 12 x 64 characters", [
        (str(w), {"width": w}) for w in (16, 32, 64, 128, 256, 512)]),
    "bert": ("sequences of 128 tokens in a batch, 4 layers, width 256", [
        (str(b), {"batch": b, "masked": 19 * b, "places": True}) for b in (1, 2, 8, 32)]),
}  # fmt: skip


def seconds(step: Callable[[], Any], wait: Callable[[], Any], least: float) -> float:
    """The median time of a step; of one that takes long, the first."""
    for _ in range(5):
        start = time.perf_counter()
        step()
        wait()
        if (first := time.perf_counter() - start) > 5 * LONGEST:
            return first
    times: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < least or len(times) < 3:
        wait()
        start = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rows(name: str, least: float) -> list[list[str]]:
    import minitorch

    from .workloads import WORKLOADS

    found, slow = [], False
    for label, sizes in LADDERS[name][1]:
        times: dict[str, float] = {}
        for side in ("cpu", "gpu", "graph"):
            if side == "cpu" and slow:
                continue
            job = WORKLOADS[name](minitorch, **sizes)
            if side != "cpu":
                place(job, "cuda")
            step = train_step(job, minitorch, False)
            step = minitorch.cuda.graph(step) if side == "graph" else step
            wait = (lambda: None) if side == "cpu" else minitorch.cuda.synchronize
            times[side] = seconds(lambda step=step, job=job: step(*job.batch()), wait, least)
        slow = slow or times["cpu"] > LONGEST
        cpu_time = times.get("cpu")
        shares = [f"{cpu_time / times[s]:.2f}" if cpu_time else "" for s in ("gpu", "graph")]
        found.append(
            [label, *(f"{1e3 * times[s]:.3f}" if s in times else "" for s in ("cpu", "gpu", "graph")), *shares]
        )
    return found


def verdict(table: list[list[str]], column: int) -> str:
    """The first size from which the GPU is ahead, and stays so."""
    ahead = [row[0] for row in table if row[column] and float(row[column]) > 1]
    behind = [i for i, row in enumerate(table) if row[column] and float(row[column]) <= 1]
    from_here = [row[0] for row in table[(behind[-1] + 1 if behind else 0) :] if row[0] in ahead]
    return from_here[0] if from_here else "no size tried"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.crossover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help=f"of {', '.join(LADDERS)}, with commas")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each size and side (0.5)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the report's file (benchmarks/crossover.md)")
    parser.add_argument("--minutes", type=float, default=8.0, help="no workload is begun after so many (8)")
    args = parser.parse_args()
    names = [name.strip() for name in args.only.split(",") if name.strip()] or list(LADDERS)
    if unknown := [name for name in names if name not in LADDERS]:
        parser.error(f"--only: no {', '.join(unknown)}; there are {', '.join(LADDERS)}")
    if (why := no_gpu()) is not None:
        print(why)
        return
    page = [
        "# From which size the GPU pays",
        "",
        f"{datetime.date.today()}, {cpu()} beside {about()}.",
        "",
        "`python3 -m benchmarks.crossover`: milliseconds of a training step, and how many times faster the GPU is.",
        "",
    ]
    begin = time.monotonic()
    for name in names:
        if time.monotonic() - begin > 60 * args.minutes:
            page += [f"{name}: not run, the time was over", ""]
            continue
        found = rows(name, args.seconds)
        heads = [LADDERS[name][0], "CPU", "GPU", "GPU, graph", "CPU / GPU", "CPU / graph"]
        said = f"{name}: the GPU pays from {verdict(found, 4)} on, with graphs from {verdict(found, 5)}"
        print(said, flush=True)
        page += [f"## {said}", ""]
        page += ["| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *found)] + [""]
        args.out.write_text("\n".join(page))
    args.out.write_text("\n".join(page))
    print(f"Written: {args.out}")


if __name__ == "__main__":
    main()
