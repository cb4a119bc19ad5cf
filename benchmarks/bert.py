"""A whole training step of a mini BERT beside PyTorch eager's: forward, losses, backward, clipping, AdamW.

The same model file, weights, batches and options on both sides; first the losses are compared (dropout off), then
steps alternate in one run, two threads each. Prints the table; `--help` lists the sizes.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

import numpy as np
from minitorch.models import bert as mini_bert

import minitorch
from benchmarks.under_torch import load_under_torch


def batch(rng: np.random.Generator, args: argparse.Namespace) -> dict[str, np.ndarray]:
    ids = rng.integers(5, args.vocab, (args.batch, args.length))
    labels = np.full(ids.shape, -100)
    places = rng.permutation(ids.size)[: args.masked]
    labels.reshape(-1)[places] = ids.reshape(-1)[places]
    types = (np.arange(args.length) >= args.length // 2).astype(np.int64)[None].repeat(args.batch, 0)
    return {
        "input_ids": ids, "token_type_ids": types, "attention_mask": np.ones_like(ids), "labels": labels,
        "next_sentence_label": rng.integers(0, 2, args.batch),
    }  # fmt: skip


class Side:
    """One framework's model and optimizer."""

    def __init__(self, framework, models, args, state=None):
        self.framework = framework
        config = models.BertConfig(
            vocab_size=args.vocab, hidden_size=args.hidden, num_hidden_layers=args.layers,
            num_attention_heads=args.heads, intermediate_size=4 * args.hidden, max_position_embeddings=args.length,
        )  # fmt: skip
        framework.manual_seed(0)
        self.model = models.BertForPreTraining(config)
        if state is not None:
            self.model.load_state_dict({k: framework.tensor(v) for k, v in state.items()})
        self.optimizer = framework.optim.AdamW(self.model.parameters(), lr=1e-4)

    def loss(self, arrays):
        return self.model(**{k: self.framework.tensor(v) for k, v in arrays.items()}).loss

    def step(self, arrays) -> float:
        start = time.perf_counter()
        loss = self.loss(arrays)
        self.optimizer.zero_grad()
        loss.backward()
        self.framework.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return time.perf_counter() - start


def products(args: argparse.Namespace) -> float:
    """The time of the step's matrix products alone, at NumPy's rate: the floor."""
    tokens, C, d = args.batch * args.length, args.hidden, args.hidden // args.heads
    shapes = [((tokens, C), (C, C))] * 4 * args.layers + [
        ((tokens, C), (C, 4 * C)),
        ((tokens, 4 * C), (4 * C, C)),
    ] * args.layers
    shapes += [((args.masked, C), (C, args.vocab)), ((args.masked, C), (C, C))]
    n = args.batch * args.heads
    shapes += [
        ((n, args.length, d), (n, d, args.length)),
        ((n, args.length, args.length), (n, args.length, d)),
    ] * args.layers
    rng = np.random.default_rng(0)
    made = {s: rng.standard_normal(s, dtype=np.float32) for pair in shapes for s in pair}
    start = time.perf_counter()
    for a, b in shapes:
        y = made[a] @ made[b]
        y @ made[b].swapaxes(-1, -2)
        made[a].swapaxes(-1, -2) @ y
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, default in (
        ("layers", 4), ("hidden", 256), ("heads", 4), ("batch", 32), ("length", 128), ("vocab", 8192), ("masked", 614),
        ("rounds", 7), ("threads", 2),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()

    import torch

    torch.set_num_threads(args.threads)
    ours = Side(minitorch, mini_bert, args)
    theirs = Side(
        torch, load_under_torch("models/bert.py"), args, {k: v.numpy() for k, v in ours.model.state_dict().items()}
    )
    rng = np.random.default_rng(0)
    for side in (ours, theirs):
        side.model.eval()
    arrays = batch(rng, args)
    a, b = ours.loss(arrays).item(), theirs.loss(arrays).item()
    print(f"loss, dropout off: minitorch {a:.6f}, PyTorch {b:.6f}")
    assert abs(a - b) < 1e-4, "the two sides do not compute the same"
    for side in (ours, theirs):
        side.model.train()
        side.step(arrays)

    times: dict[str, list[float]] = {"minitorch": [], "PyTorch eager": [], "its matrix products": []}
    for _ in range(args.rounds):
        arrays = batch(rng, args)
        times["minitorch"].append(ours.step(arrays))
        times["PyTorch eager"].append(theirs.step(arrays))
        times["its matrix products"].append(products(args))
    print(
        f"{platform.machine()}, {args.threads} threads, NumPy {np.__version__}, PyTorch {torch.__version__}, {args.rounds} rounds"
    )
    print("| | median s | min | max |\n|---|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    ratio = statistics.median(times["PyTorch eager"]) / statistics.median(times["minitorch"])
    print(f"PyTorch's time / minitorch's time: {ratio:.2f}")


if __name__ == "__main__":
    main()
