"""Each fast path beside its reference op and beside PyTorch: milliseconds, forward and forward with backward."""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import minitorch
import minitorch.nn.functional as ours

WORK = {
    "Softmax": ("softmax.py", lambda F, x, w: F.softmax(x, -1)),
    "LayerNorm": ("layernorm.py", lambda F, x, w: F.layer_norm(x, (x.shape[-1],), w, w)),
    "GELU": ("gelu.py", lambda F, x, w: F.gelu(x)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="for PyTorch; set OMP_NUM_THREADS to the same number")
    args = parser.parse_args()
    import torch
    import torch.nn.functional as theirs

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((args.rows, args.columns), dtype=np.float32), np.ones(args.columns, np.float32)

    def prepare(framework, F, function):
        a, b = framework.tensor(x, requires_grad=True), framework.tensor(w, requires_grad=True)
        g = framework.tensor(x)

        def forward():
            return function(F, a, b)

        def both():
            a.grad = b.grad = None
            function(F, a, b).backward(g)

        return forward, both

    def milliseconds(run) -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3

    def reference(run):
        def inside():
            with minitorch.reference_ops():
                run()

        return inside

    print("| op | file | reference | fast path | PyTorch |\n|---|---|---|---|---|")
    for name, (file, function) in WORK.items():
        mine, torchs = prepare(minitorch, ours, function), prepare(torch, theirs, function)
        columns = [[reference(run) for run in mine], mine, torchs]
        for pair in columns:
            for run in pair:
                run()
        times = [[[], []] for _ in columns]
        for _ in range(args.rounds):
            for pair, kept in zip(columns, times):
                for run, values in zip(pair, kept):
                    values.append(milliseconds(run))
        cells = [" / ".join(f"{statistics.median(v):.1f}" for v in kept) for kept in times]
        print(f"| {name} | cpu/{file} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
