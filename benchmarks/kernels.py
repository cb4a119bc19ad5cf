"""Each fast path beside its reference op and beside PyTorch: milliseconds, forward and forward with backward.

    python -m benchmarks.kernels --only GELU LSTM --threads 2

Prints the rows of the table in minitorch/kernels/README.md. An optimizer's step is one number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from .timing import alternate, busy, of_steps, set_threads

# name -> file, shapes of the inputs (R, C: --rows, --columns), the call. "labels": whole numbers below C.
WORK: dict[str, tuple[str, tuple, Callable]] = {
    "Softmax": ("softmax", ("RC",), lambda F, x: F.softmax(x, -1)),
    "LogSoftmax": ("softmax", ("RC",), lambda F, x: F.log_softmax(x, -1)),
    "CrossEntropy": ("cross_entropy", ("RC", "labels"), lambda F, x, y: F.cross_entropy(x, y)),
    "LayerNorm": ("layernorm", ("RC", "C", "C"), lambda F, x, w, b: F.layer_norm(x, x.shape[-1:], w, b)),
    "GELU": ("gelu", ("RC",), lambda F, x: F.gelu(x)),
    "GELU, tanh": ("gelu", ("RC",), lambda F, x: F.gelu(x, approximate="tanh")),
    "ReLU": ("relu", ("RC",), lambda F, x: F.relu(x)),
    "Dropout": ("dropout", ("RC",), lambda F, x: F.dropout(x, 0.1)),
    "Linear": ("matmul", ("RC", "CC", "C"), lambda F, x, W, b: F.linear(x, W, b)),
    "Attention": ("attention", ("BhTd", "BhTd", "BhTd"), lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v)),
    "Attention, causal": (
        "attention", ("BhTd", "BhTd", "BhTd"), lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    ),
    "Embedding": ("scatter", ("labels", "CC"), lambda F, ids, W: F.embedding(ids, W)),
    "Conv2d": ("conv", ((64, 32, 26, 26), (64, 32, 3, 3)), lambda F, x, W: F.conv2d(x, W)),
    "MaxPool2d": ("maxpool", ((64, 64, 24, 24),), lambda F, x: F.max_pool2d(x, 2)),
    "BatchNorm": ("batchnorm", ((32, 32, 32, 32), (32,)), lambda F, x, w: F.batch_norm(x, None, None, w, w, training=True)),
}  # fmt: skip
RECURRENT = {"LSTM": "64 steps, batch 32, 128 to 256", "GRU": "64 steps, batch 32, 128 to 256"}
# no forward pass: one number
STEPS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adam", "clip_grad_norm_": "clip"}


def inputs(lib: Any, names: tuple, rows: int, columns: int) -> list:
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = {"RC": (rows, columns), "C": (columns,), "CC": (columns, columns), "BhTd": (32, 4, 128, 64)}
    made = []
    for name in names:
        if name == "labels":
            made.append(lib.tensor(rng.integers(0, columns, rows)))
        else:
            shape = shapes.get(name, name)
            made.append(lib.tensor(rng.standard_normal(shape, dtype=np.float32), requires_grad=True))
    return made


def prepare(lib: Any, name: str, rows: int, columns: int) -> tuple[Callable, Callable]:
    """The forward pass, and forward with backward."""
    if name in STEPS:
        (p,) = inputs(lib, ("RC",), rows, columns)
        p.grad = lib.ones_like(p)
        if name == "clip_grad_norm_":
            return (lambda: lib.nn.utils.clip_grad_norm_([p], 1.0),) * 2
        return (getattr(lib.optim, name)([p], lr=1e-3).step,) * 2
    if name in RECURRENT:
        net = getattr(lib.nn, name)(128, 256)
        leaves = inputs(lib, ((64, 32, 128),), rows, columns)

        def forward():
            return net(leaves[0])[0]

        leaves += list(net.parameters())
    else:
        _, names, function = WORK[name]
        leaves = inputs(lib, names, rows, columns)

        def forward():
            return function(lib.nn.functional, *leaves)

    dy = lib.ones_like(forward().detach())

    def both():
        for leaf in leaves:
            leaf.grad = None
        forward().backward(dy)

    return forward, both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*WORK, *RECURRENT, *STEPS]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="OP", help=f"of {', '.join(every)}")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=0.5, help="measured for each number (0.5)")
    parser.add_argument("--steps", type=int, help="just so many calls, without warm-up: to see whether it runs")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    set_threads(args.threads)
    import torch

    import minitorch

    torch.set_num_threads(args.threads)
    print(f"{args.rows} x {args.columns}, {args.threads} thread(s). {busy()}".rstrip())
    print("| op | file | reference | fast path | PyTorch |\n|---|---|---|---|---|", flush=True)

    def reference(run: Callable) -> Callable:
        def inside():
            with minitorch.reference_ops():
                run()

        return inside

    for name in args.only:
        mine, theirs = (prepare(lib, name, args.rows, args.columns) for lib in (minitorch, torch))
        sides = {"reference": tuple(map(reference, mine)), "fast": mine, "torch": theirs}
        parts = ("step",) if name in STEPS else ("forward", "both")
        programs = {f"{side} {part}": run for side, pair in sides.items() for part, run in zip(parts, pair)}
        times = alternate(programs, args.seconds, args.steps)
        cells = [" / ".join(f"{of_steps(times[f'{side} {p}'])[1] * 1e3:.1f}" for p in parts) for side in sides]
        file = WORK[name][0] if name in WORK else STEPS.get(name, "recurrent")
        print(f"| {name} | {f'cpu/{file}.py' if file else ''} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
