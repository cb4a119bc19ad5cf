"""Time and memory of BERT's training step as batch, length, width, depth and vocabulary double: nothing may grow faster
than the arithmetic does.

    python -m benchmarks.scaling --doublings 3 --seconds 3 --write

A row is flagged where time or memory grew, from the row before, by more than 1.25 times what the arithmetic grew.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import sys
from pathlib import Path
from typing import Any

from .timing import set_threads

RESULTS = Path(__file__).with_name("scaling.md")
BASE = {"batch": 8, "length": 64, "width": 128, "layers": 2, "vocab": 4096, "heads": 4}
DIMENSIONS = ("batch", "length", "width", "layers", "vocab")
TINY = {"batch": 2, "length": 8, "width": 8, "layers": 1, "vocab": 16, "heads": 2}
TOLERANCE = 1.25
PASS = 50  # an elementwise pass over one number costs about as much as so many operations of a product


def numbers(s: dict) -> tuple[int, int, int]:
    """How many numbers a step holds: parameters, activations of all layers, scores of the vocabulary."""
    tokens, C = s["batch"] * s["length"], s["width"]
    parameters = s["layers"] * 12 * C * C + (s["vocab"] + s["length"]) * C
    scores = s["batch"] * s["heads"] * s["length"] ** 2
    return parameters, s["layers"] * (16 * tokens * C + 3 * scores), s["masked"] * s["vocab"]


def arithmetic(s: dict) -> float:
    """The work of a step: its products, and the passes over activations, scores and parameters."""
    from . import floor
    from .workloads import bert_products

    products = bert_products(s["batch"], s["length"], s["width"], s["layers"], s["heads"], True)
    products += floor.linear(s["masked"], s["width"], s["vocab"])
    parameters, activations, words = numbers(s)
    return floor.operations(products) + PASS * (8 * parameters + 3 * activations + 4 * words)


def footprint(s: dict) -> float:
    """Numbers kept at the peak: parameters four times (gradient, two moments), what backward needs, the vocabulary's scores."""
    parameters, activations, words = numbers(s)
    return 4 * parameters + activations + 3 * words


def sizes(base: dict, dimension: str | None, factor: int) -> dict:
    s = dict(base)
    if dimension is not None:
        s[dimension] *= factor
    s["masked"] = max(1, round(0.15 * s["batch"] * s["length"]))
    return s


def measure(s: dict, libs: list, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Seconds (median) and megabytes of a step for each library."""
    from . import timing
    from .memory import in_child
    from .sides import Side

    steps = {lib.__name__: Side(lib.__name__, "bert", s, {}, [], args.threads) for lib in libs}
    for name, side in steps.items():
        if side.failed is not None:
            raise SystemExit(f"{name} failed: {side.failed}")
    times = timing.alternate(steps, args.seconds, args.steps)
    for side in steps.values():
        side.close()
    return {
        name: (timing.of_steps(times[name])[1], 0.0 if args.no_memory else in_child("bert", name, args.threads, s))
        for name in steps
    }


def rows(dimension: str, measured: list[tuple[dict, dict]]) -> list[str]:
    """A Markdown row for each size, with the growth since the row before."""
    lines = []
    for i, (s, result) in enumerate(measured):
        cells, flags = [dimension, str(s[dimension])], []
        before, old = measured[i - 1] if i else (s, result)
        bounds = (arithmetic(s) / arithmetic(before), footprint(s) / footprint(before))
        for what, k, unit in (("time", 0, 1e3), ("memory", 1, 1)):
            for name, values in result.items():
                growth = values[k] / old[name][k] if old[name][k] else 0.0
                cells.append(f"{values[k] * unit:.1f}" + (f" (x{growth:.2f})" if i else ""))
                if i and growth > TOLERANCE * bounds[k]:
                    flags.append(f"{name}: {what}")
            cells.append(f"x{bounds[k]:.2f}" if i else "")
        lines.append("| " + " | ".join([*cells, ", ".join(flags)]) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--doublings", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="measured for each library and size (3)")
    parser.add_argument("--steps", type=int, help="just so many steps, without warm-up: to see whether it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(DIMENSIONS), help=f"of {','.join(DIMENSIONS)}")
    parser.add_argument("--tiny", action="store_true", help="start from a tiny model")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--write", action="store_true", help="write benchmarks/scaling.md")
    args = parser.parse_args()
    dimensions = args.only.split(",")
    if not set(dimensions) <= set(DIMENSIONS):
        parser.error(f"--only: {args.only}; there are {', '.join(DIMENSIONS)}")
    set_threads(args.threads)
    import minitorch

    from . import timing
    from .__main__ import machine

    libs: list[Any] = [minitorch]
    torch: Any = None
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(args.threads)
        libs.append(torch)
    from tqdm import tqdm

    base = TINY if args.tiny else BASE
    warning = timing.busy()
    if warning:
        print(f"Warning: {warning}", file=sys.stderr)
    names = [lib.__name__ for lib in libs]
    heads = ["dimension", "size", *(f"{n}, ms" for n in names), "arithmetic"]
    heads += [*(f"{n}, MB" for n in names), "numbers kept", "grows faster"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    bar = tqdm(disable=None, total=1 + len(dimensions) * args.doublings, unit="size")
    first = measure(sizes(base, None, 1), libs, args)
    bar.update()
    for dimension in dimensions:
        measured = [(sizes(base, None, 1), first)]
        for i in range(args.doublings):
            s = sizes(base, dimension, 2 ** (i + 1))
            bar.set_description(f"{dimension} {s[dimension]}")
            measured.append((s, measure(s, libs, args)))
            bar.update()
        lines += rows(dimension, measured)
    bar.close()
    about, text = machine(args.threads, torch), "\n".join(lines)
    print(f"\n{about}\n\n{text}")
    if args.write:
        start = ", ".join(f"{k} {v}" for k, v in base.items())
        note = f"\nNote: {warning}.\n" if warning else ""
        RESULTS.write_text(
            f"# Scaling\n\n{datetime.date.today()}, {about}. `python -m benchmarks.scaling {' '.join(sys.argv[1:])}`\n\n"
            f"A training step of BERT ({start}; 15% masked), one size doubled at a time; in brackets the growth since the "
            f"row before.\n{note}\n{text}\n"
        )
        print(f"Written: {RESULTS}")


if __name__ == "__main__":
    main()
