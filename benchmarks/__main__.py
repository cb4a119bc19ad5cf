"""minitorch beside PyTorch, in one run: the same weights, data, dtype and threads, in turn. See benchmarks/README.md.

    python -m benchmarks --only bert,gpt --seconds 20 --compile

First both sides run three steps with dropout off, and must give the same losses; then they are timed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from .timing import set_threads

RESULTS = Path(__file__).with_name("results.md")
NAMES = {"minitorch": "minitorch", "torch": "PyTorch", "compile": "torch.compile", "fused": "PyTorch, fused AdamW",
         "reference": "minitorch without kernels"}  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="workloads, with commas; gpt means gpt and gpt-large")
    parser.add_argument("--seconds", type=float, default=10, help="measured for each library and workload (10)")
    parser.add_argument("--steps", type=int, help="just so many steps, without warm-up: to see whether it runs")
    parser.add_argument("--threads", type=int, default=2, help="for every library (2)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--fused", action="store_true", help="PyTorch's Adam and AdamW with fused=True too")
    parser.add_argument("--reference", action="store_true", help="minitorch on its reference ops too, without kernels")
    parser.add_argument(
        "--others", action="store_true", help="tinygrad, mygrad, autograd too, those that are installed"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--sizes", type=json.loads, default={}, help='other sizes for all: {"batch": 8}')
    parser.add_argument(
        "--tiny", action="store_true", help="the sizes of the tests: with --steps 2, to see whether it runs"
    )
    parser.add_argument("--out", type=Path, help="a folder for table.md and every measured time, times.json")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results.md")
    return parser.parse_args()


def same(workload: Any, libs: list, sizes: dict) -> list:
    """Three steps with dropout off, from the same weights: what the sides return must be the same. Returns it."""
    import numpy as np

    histories: list[list] = []
    weights = None
    for lib in libs:
        job = workload(lib, dropout=False, **sizes)
        if weights is None:
            weights = job.weights()
        job.load(weights)
        histories.append([np.array(job.step().detach().numpy()) for _ in range(3)])
    for step, values in enumerate(zip(*histories)):
        for value in values[1:]:
            np.testing.assert_allclose(
                value, values[0], rtol=2e-4, atol=2e-5, err_msg=f"{workload.name}, step {step}: the sides differ"
            )
    return histories[0]


def in_words(history: list) -> str:
    if history[0].size == 1:
        return "losses " + " ".join(f"{v.item():.6f}" for v in history)
    return "mean magnitudes " + " ".join(f"{abs(v).mean():.6f}" for v in history)


def start(workload: Any, args: argparse.Namespace, torch: Any, sizes: dict, history: list) -> tuple[dict, list]:
    """The sides to time, by name, and what could not be started, in words."""
    import minitorch

    from . import others
    from .sides import Side

    ours = workload(minitorch, **sizes)
    names = ["minitorch"] + ["torch"] * (torch is not None) + ["reference"] * args.reference
    if torch is not None and args.fused and "betas" in getattr(ours.optimizer, "defaults", ()):
        names.append("fused")
    if torch is not None and args.compile and ours.model is not None:
        names.append("compile")
    if args.others and workload.name in others.CAN:
        names += others.installed()
    if ours.products:
        names.append("products")
    sides, notes = {}, []
    for name in names:
        side = Side(name, workload.name, sizes, ours.weights(), history, args.threads)
        if side.failed is None:
            sides[name] = side
        elif name in ("minitorch", "torch", "products"):
            raise SystemExit(f"{workload.name}: {name} failed: {side.failed}")
        else:
            notes.append(f"{workload.name}: {NAMES.get(name, name)} failed: {side.failed}")
    return sides, notes


def milliseconds(values: tuple[float, float, float]) -> str:
    """0.123 (0.120 to 0.131)"""
    low, middle, high = (1e3 * v for v in values)
    digits = 3 if middle < 1 else 2 if middle < 100 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(results: dict[str, dict]) -> str:
    """The Markdown table of all results."""
    from .timing import of_steps, ratio

    sides = [s for s in dict.fromkeys(n for r in results.values() for n in r["times"]) if s != "products"]
    memory = list(dict.fromkeys(n for r in results.values() for n in r["memory"]))
    heads = ["workload", *(f"{NAMES.get(s, s)}, ms" for s in sides)]
    heads += [f"{NAMES.get(s, s)} / minitorch" for s in sides[1:]]
    heads += [f"{NAMES.get(s, s)}, MB" for s in memory] + ["products / minitorch"]
    rows = []
    for name, result in results.items():
        times = result["times"]
        row = [name] + [milliseconds(of_steps(times[s])) if s in times else "" for s in sides]
        for s in sides[1:]:
            low, middle, high = ratio(times[s], times["minitorch"]) if s in times else (0.0, 0.0, 0.0)
            row.append(f"{middle:.2f} ({low:.2f} to {high:.2f})" if middle else "")
        row += [f"{result['memory'][s]:.1f}" if s in result["memory"] else "" for s in memory]
        share = of_steps(times["products"])[1] / of_steps(times["minitorch"])[1] if "products" in times else None
        rows.append([*row, "" if share is None else f"{share:.0%}"])
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(threads: int, torch: Any) -> str:
    """Machine and versions, in one line."""
    import os

    import numpy as np

    from .timing import cpu

    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    try:
        import numba

        versions.append(f"numba {numba.__version__}")
    except ImportError:
        versions.append("no numba")
    if torch is not None:
        versions.append(f"PyTorch {torch.__version__}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpu()}, {cores} cores, {platform.system()} {platform.machine()}; {threads} threads; {', '.join(versions)}"


def main() -> None:
    args = arguments()
    set_threads(args.threads)
    import minitorch

    from . import others, timing
    from .memory import in_child
    from .workloads import chosen

    torch: Any = None
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(args.threads)
    else:
        print("PyTorch is not installed: minitorch alone (make bench installs it)", file=sys.stderr)
    from tqdm import tqdm

    warnings = [text for text in [timing.busy()] if text]
    for text in warnings:
        print(f"Warning: {text}", file=sys.stderr)
    if args.others:
        missing = [name for name in others.ADAPTERS if name not in others.installed()]
        warnings += [f"not installed: {', '.join(missing)}"] if missing else []
    results: dict[str, dict] = {}
    workloads = chosen(args.only)
    for workload in [w for w in workloads if torch is not None and w.lacks()]:
        warnings.append(f"{workload.name}: left out, because {workload.needs} is not installed")
        workloads.remove(workload)
    shape = "{desc:32}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    bar = tqdm(disable=None, total=len(workloads), bar_format=shape)
    for i, workload in enumerate(workloads):
        sizes = workload.tiny if args.tiny else args.sizes
        bar.set_description_str(f"{workload.name}: same losses?")
        history = same(workload, [minitorch] + [torch] * (torch is not None), sizes)
        bar.write(
            f"{workload.name}: {workload.what}\n    three steps, dropout off, the same on both sides: {in_words(history)}",
            file=sys.stderr,
        )
        bar.set_description_str(f"{workload.name}: warm-up")
        sides, notes = start(workload, args, torch, sizes, history)
        warnings += notes

        def progress(share: float, i: int = i, name: str = workload.name) -> None:
            bar.set_description_str(name)
            bar.n = i + 0.9 * share
            bar.refresh()

        times = timing.alternate(sides, args.seconds, args.steps, progress)
        for side in sides.values():
            side.close()
        memory = {}
        if not args.no_memory:
            bar.set_description_str(f"{workload.name}: memory")
            libraries = ["minitorch"] + ["torch"] * (torch is not None)
            memory = {name: in_child(workload.name, name, args.threads, sizes) for name in libraries}
        results[workload.name] = {"what": workload.what, "times": times, "memory": memory}
        said = [f"{NAMES.get(n, n)} {timing.of_steps(t)[1] * 1e3:.3f} ms" for n, t in times.items()]
        bar.write(f"    {', '.join(said)}", file=sys.stderr)
        bar.n = i + 1
        bar.refresh()
    bar.close()

    text = table(results)
    about = machine(args.threads, torch)
    command = " ".join(
        ["python -m benchmarks", *(a if a.isprintable() and " " not in a else f"'{a}'" for a in sys.argv[1:])]
    )
    print(f"\n{about}\n\n{text}")
    for note in warnings:
        print(f"Note: {note}")
    if torch is not None and results:
        medians = [timing.ratio(r["times"]["torch"], r["times"]["minitorch"])[1] for r in results.values()]
        print(f"PyTorch's time / minitorch's: {statistics.geometric_mean(medians):.2f} (geometric mean), "
              f"{min(medians):.2f} at the least")  # fmt: skip
    page = [
        "# Results", "", f"{datetime.date.today()}, {about}.", "", f"`{command}`; README.md says how to read it.", "",
        text, "", *(f"Note: {note}.\n" for note in warnings),
        *(f"- `{name}`: {result['what']}" for name, result in results.items()), "",
    ]  # fmt: skip
    if args.write:
        RESULTS.write_text("\n".join(page))
        print(f"Written: {RESULTS}")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "table.md").write_text("\n".join(page))
        (args.out / "times.json").write_text(json.dumps({"machine": about, "command": command, "results": results}))
        print(f"Written: {args.out}/table.md, {args.out}/times.json")


if __name__ == "__main__":
    main()
