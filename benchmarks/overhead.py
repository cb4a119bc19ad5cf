"""The cost of one small op, forward and backward together, beside PyTorch's.

A chain y = y * b of `--length` multiplications of 1-element float32 tensors that require gradients: next to no
arithmetic, so what is measured is what the libraries add to it. Both run in this process, one after the other in every
round, on one thread; the table shows the median of the rounds, in microseconds per op.
"""

import argparse
import os
import statistics
import sys
import time

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def programs(lib, length):
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


def measure(libs, length, rounds):
    """Median microseconds per op: {part: {library: time}}."""
    parts = {lib.__name__: programs(lib, length) for lib in libs}
    times: dict = {}
    for i in range(rounds + rounds // 10):
        for part in parts[libs[0].__name__]:
            for lib in libs if i % 2 else libs[::-1]:
                run = parts[lib.__name__][part]
                start = time.perf_counter()
                run()
                spent = time.perf_counter() - start
                if i >= rounds // 10:  # the first rounds warm up
                    times.setdefault(part, {}).setdefault(lib.__name__, []).append(spent / length * 1e6)
    return {part: {lib: statistics.median(values) for lib, values in each.items()} for part, each in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=50, help="ops in the chain (default: 50)")
    parser.add_argument("--rounds", type=int, default=300, help="rounds, each runs both libraries (default: 300)")
    options = parser.parse_args()

    import minitorch

    libs = [minitorch]
    try:
        import torch

        torch.set_num_threads(1)
        libs.append(torch)
    except ImportError:
        print("PyTorch is not installed: minitorch alone (pip install torch to compare)", file=sys.stderr)

    medians = measure(libs, options.length, options.rounds)
    print(
        f"microseconds per op, median of {options.rounds} alternating rounds, chain of {options.length} ops on 1 element"
    )
    print(f"{'':24}{'minitorch':>10}{'PyTorch':>10}{'ratio':>8}")
    for part, each in medians.items():
        ours, theirs = each["minitorch"], each.get("torch")
        beside = f"{theirs:10.2f}{ours / theirs:8.2f}" if theirs else f"{'-':>10}{'-':>8}"
        print(f"{part:24}{ours:10.2f}{beside}")


if __name__ == "__main__":
    main()
