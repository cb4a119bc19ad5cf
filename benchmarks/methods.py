"""Every way to fine-tune beside full fine-tuning, on one task: what learns, memory, time per step, accuracy.

    python -m benchmarks.methods --model FOLDER                    all methods on SST-2, three epochs each
    python -m benchmarks.methods --methods full,lora --epochs 1 --limit 640

Each method runs in a process of its own, with the settings of `minitorch.peft.recipes`, the same seed, batches and
schedule (AdamW, warmup over a tenth of the steps, then linearly to 0). SST-2 is looked for in MINITORCH_DATA, or
downloaded. Memory is the highest during the first epoch beyond the loaded model: activations, gradients, the optimizer's
state and what the method adds. On the CPU it is the process's, on a GPU the allocator's.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

from .memory import _forget_peak, _status
from .timing import set_threads

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LR = 5e-5  # of full fine-tuning
HEAD = ("method", "trained", "%", "memory (MB)", "ms/step", "epochs", "learning rate", "accuracy")


def run(method: str, args: argparse.Namespace) -> dict:
    """One method, in this process."""
    import random

    from minitorch.models.bert import BertForSequenceClassification

    import minitorch
    from minitorch import datasets, optim
    from minitorch.optim.lr_scheduler import linear_warmup_decay
    from minitorch.peft.recipes import RATES, apply_method
    from minitorch.text.batches import text_batches
    from minitorch.text.tokenizer import Tokenizer
    from minitorch.training import fit, parameter_groups, predict

    train, dev = datasets.sst2("train"), datasets.sst2("validation")
    if args.limit:
        chosen = random.Random(args.seed).sample(range(len(train)), min(args.limit, len(train)))
        train = train.select(chosen)
        dev = dev.select(range(min(args.limit, len(dev))))
    minitorch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_pretrained(args.model)
    batches = text_batches(tokenizer, train.texts, train.labels, batch_size=args.batch_size, max_length=128)
    held_out = tokenizer.features(dev.texts, max_length=128)
    steps, lr = args.epochs * len(batches), args.lr or LR * RATES[method]
    model = BertForSequenceClassification.from_pretrained(args.model, num_labels=2).to(args.device)

    peak = Peak(model, next(iter(batches)), args.device)
    model = apply_method(model, method, steps).to(args.device)
    optimizer = optim.AdamW(parameter_groups(model, lr), lr=lr)

    def evaluate(model):
        peak.stop()
        logits = predict(model, held_out, tokenizer.pad)
        right = sum(int(row.argmax().item() == label) for row, label in zip(logits, dev.labels))
        return {"accuracy": right / len(dev), "score": right / len(dev)}

    history = fit(
        model, batches, epochs=args.epochs, optimizer=optimizer, schedule=linear_warmup_decay(optimizer, steps // 10, steps),
        evaluate=evaluate, name=method,
    )  # fmt: skip
    best = max(history, key=lambda record: record["accuracy"])
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    base = sum(p.numel() for name, p in model.named_parameters() if not is_added(name))
    return {
        "method": method, "trained": trained, "parameters": base, "memory": peak.megabytes, "lr": lr,
        "step": 1000 * min(record["seconds"] for record in history) / len(batches), "accuracy": best["accuracy"],
        "best_epoch": best["epoch"], "epochs": args.epochs, "history": history,
    }  # fmt: skip


def is_added(name: str) -> bool:
    return any(part in name for part in (".lora_", ".adapter_", "prompt_encoder.", ".modules_to_save."))


class Peak:
    """The most memory from here until `stop()`, beyond what is in use now."""

    def __init__(self, model, batch, device):
        import minitorch

        self.cuda = minitorch.cuda if "cuda" in device else None
        with minitorch.no_grad():  # kernels, thread pools and buffers that the library keeps
            model(**{name: value.to(device) for name, value in batch.items()})
        if self.cuda:
            self.cuda.reset_peak_memory_stats()
            self.before = self.cuda.memory_allocated()
        else:
            self.before = _status("VmRSS") if _forget_peak() else float("nan")
        self.megabytes: float | None = None

    def stop(self) -> None:
        if self.megabytes is None:
            now = self.cuda.max_memory_allocated() / 2**20 if self.cuda else _status("VmHWM")
            self.megabytes = now - (self.before / 2**20 if self.cuda else self.before)


def in_child(method: str, args: argparse.Namespace) -> dict:
    """The same in a new process."""
    command = [sys.executable, "-m", "benchmarks.methods", "--one", method, "--model", str(args.model)]
    for name in ("epochs", "batch_size", "seed", "threads", "device", "limit", "lr"):
        if getattr(args, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent)
    if result.returncode != 0:
        raise SystemExit(f"{method}: failed, see above")
    *progress, last = result.stdout.strip().splitlines()
    print("\n".join(progress), flush=True)
    return json.loads(last)


def table(results: list[dict]) -> str:
    rows = [HEAD]
    for r in results:
        share = 100 * r["trained"] / r["parameters"]
        rows.append((
            r["method"], f"{r['trained']:,}", f"{share:.2f}", f"{r['memory']:.0f}", f"{r['step']:.0f}",
            f"{r['best_epoch']} of {r['epochs']}", f"{r['lr']:g}", f"{r['accuracy']:.4f}",
        ))  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(HEAD) - 1) + "|", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default=MODEL, help=f"a folder or a hub id (default: {MODEL})")
    add("--methods", default="full,lora,adalora,adapter,prefix,bitfit,frozen", help="which, with commas (default: all)")
    add("--epochs", type=int, default=3)
    add("--batch-size", type=int, default=32)
    add("--lr", type=float, help="of all methods alike (default: of each its own)")
    add("--limit", type=int, help="only the first N examples: a quick look")
    add("--seed", type=int, default=0)
    add("--device", default="cpu")
    add("--threads", type=int, default=2)
    add("--write", action="store_true", help="write benchmarks/methods.md")
    add("--one", help=argparse.SUPPRESS)  # what a child process does
    args = parser.parse_args()
    set_threads(args.threads)
    if args.one:
        print(json.dumps(run(args.one, args)))
        return

    from minitorch.peft.recipes import METHODS

    methods = [name.strip() for name in args.methods.split(",")]
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise SystemExit(f"--methods: {', '.join(unknown)} is unknown; there are {', '.join(METHODS)}")
    results = []
    for method in methods:
        results.append(in_child(method, args))
        print(table(results) + "\n", flush=True)
    if args.write:
        cut = f" --limit {args.limit}" if args.limit else ""
        text = "\n".join([
            "# Ways to fine-tune", "",
            f"`python -m benchmarks.methods --model {Path(args.model).name} --epochs {args.epochs}{cut}` on "
            f"{platform.machine()}, {args.device}, {args.threads} threads: SST-2, batches of {args.batch_size}, seed "
            f"{args.seed}. What the columns mean: [methods.py](methods.py).", "", table(results), "",
        ])  # fmt: skip
        (Path(__file__).parent / "methods.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
