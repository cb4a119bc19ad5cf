"""The cost of one small op, forward and backward apart, beside PyTorch's: microseconds per op.

    python -m benchmarks.overhead --length 50

A chain y = y * b of multiplications of 1-element float32 tensors that require gradients: next to no arithmetic, so what
is measured is what the libraries add to it. One thread, in turn.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

from .timing import alternate, busy, of_steps, set_threads


def programs(lib: Any, length: int) -> dict[str, Callable[[], None]]:
    """The parts that are measured, by name; each returns nothing and leaves nothing behind."""
    a, b = lib.ones(1, requires_grad=True), lib.ones(1, requires_grad=True)

    def chain():
        y = a
        for _ in range(length):
            y = y * b
        return y

    def forward():
        chain()

    def forward_without_graph():
        with lib.no_grad():
            chain()

    def both():
        chain().backward()
        a.grad = b.grad = None

    return {"forward": forward, "forward under no_grad": forward_without_graph, "forward and backward": both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=50, help="ops in the chain (50)")
    parser.add_argument("--seconds", type=float, default=1, help="measured for each number (1)")
    parser.add_argument("--steps", type=int, help="just so many chains, without warm-up: to see whether it runs")
    args = parser.parse_args()
    set_threads(1)
    import minitorch

    libs: list[Any] = [minitorch]
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        libs.append(torch)
    else:
        print("PyTorch is not installed: minitorch alone (pip install torch to compare)")

    parts = {lib.__name__: programs(lib, args.length) for lib in libs}
    print(f"microseconds per op, chains of {args.length} ops on 1 element. {busy()}".rstrip())
    print(
        "| | " + " | ".join(lib.__name__ for lib in libs) + " | torch / minitorch |\n|---|" + "---|" * (len(libs) + 1)
    )
    for part in parts["minitorch"]:
        times = alternate({name: each[part] for name, each in parts.items()}, args.seconds, args.steps)
        medians = [of_steps(times[name])[1] / args.length * 1e6 for name in parts]
        cells = [f"{m:.2f}" for m in medians] + [f"{medians[1] / medians[0]:.2f}" if len(medians) > 1 else ""]
        print(f"| {part} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
