"""A GPT that reads characters: it learns to continue Shakespeare's plays, or any text, letter by letter. Lesson 12.

    python examples/char_gpt.py                                        train (some minutes), write samples, save
    python examples/char_gpt.py --generate "ROMEO:" --temperature 0.8  what the saved model writes
    python examples/char_gpt.py --data FILE --out runs/mine            learn from another text

The defaults are nanoGPT's recipe for a CPU: 800,000 parameters, 2000 steps, and a published validation loss of 1.88.
The last tenth of the text is for validation; its loss is taken over all of it.
"""

import argparse
import json
import math
from pathlib import Path

import common
import matplotlib
import numpy as np
from minitorch.models import generation
from minitorch.models.gpt import GPT2Config, GPT2LMHeadModel

import minitorch
from minitorch import datasets
from minitorch.nn import functional as F
from minitorch.training import fit, parameter_groups

matplotlib.use("Agg")  # a file, no window
import matplotlib.pyplot as plt  # noqa: E402


class Characters:
    """The tokenizer: number i stands for the i-th of the text's characters, which are sorted."""

    def __init__(self, characters: str):
        self.characters = "".join(sorted(set(characters)))
        self.codes = code_points(self.characters)

    def encode(self, text: str) -> np.ndarray:
        codes = code_points(text)
        ids = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        if unknown := set(codes[self.codes[ids] != codes].tolist()):
            raise ValueError(f"characters that the training text does not have: {''.join(map(chr, sorted(unknown)))!r}")
        return ids.astype(np.int64)

    def decode(self, ids) -> str:
        return "".join(self.characters[i] for i in ids)


def code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


class Windows:
    """`steps` batches, of windows cut at random places: `block` characters, and as labels those one place further."""

    def __init__(self, ids: np.ndarray, batch_size: int, block: int, steps: int):
        self.ids, self.batch_size, self.steps = minitorch.from_numpy(ids), batch_size, steps
        self.places = minitorch.arange(block)

    def __len__(self):
        return self.steps

    def __iter__(self):
        for _ in range(self.steps):
            start = minitorch.randint(len(self.ids) - len(self.places), (self.batch_size, 1))
            places = start + self.places  # (B, T)
            yield {"input_ids": self.ids[places], "labels": self.ids[places + 1]}


def loss(model, batch) -> minitorch.Tensor:
    """The mean over all places of -log p(next character)."""
    logits = model(batch["input_ids"]).logits  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


@minitorch.no_grad()
def text_loss(model, ids: np.ndarray, block: int, device="cpu") -> float:
    """The loss over a whole text in windows side by side (what is left over at its end is less than one)."""
    n = (len(ids) - 1) // block
    inputs, labels = (
        minitorch.from_numpy(part.reshape(n, block)) for part in (ids[: n * block], ids[1 : n * block + 1])
    )
    total = 0.0
    for i in range(0, n, 64):
        batch = {"input_ids": inputs[i : i + 64].to(device), "labels": labels[i : i + 64].to(device)}
        total += loss(model, batch).item() * len(batch["labels"])
    return total / n


def pair_loss(train: np.ndarray, validation: np.ndarray, V: int) -> float:
    """What counting reaches: each character predicted from the one before it, by how often the pair was seen."""
    counts = np.ones((V, V))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    return float(-np.log(counts / counts.sum(1, keepdims=True))[validation[:-1], validation[1:]].mean())


def cosine(optimizer, steps: int, warmup: int, least: float) -> minitorch.optim.lr_scheduler.LambdaLR:
    """The rate rises over `warmup` steps, then falls along half a cosine to `least` of its height."""

    def factor(step):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        share = min(1.0, (step - warmup) / max(1, steps - warmup))
        return least + (1 - least) * (1 + math.cos(math.pi * share)) / 2

    return minitorch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def train(args, run: common.Run) -> None:
    text = Path(args.data).read_text(encoding="utf-8") if args.data else datasets.tinyshakespeare()
    characters = Characters(text)
    V, ids = len(characters.characters), characters.encode(text)
    learn, validation = ids[: int(0.9 * len(ids))], ids[int(0.9 * len(ids)) :]
    if len(validation) <= args.block:
        raise ValueError(
            f"the text has {len(ids)} characters: its last tenth, for validation, must be longer than a window, "
            f"--block {args.block}"
        )
    baseline = pair_loss(learn, validation, V)
    config = GPT2Config(
        vocab_size=V, n_positions=args.block, n_embd=args.width, n_layer=args.layers, n_head=args.heads,
        resid_pdrop=args.dropout, embd_pdrop=args.dropout, attn_pdrop=args.dropout,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).to(args.device)
    size = sum(p.numel() for p in model.parameters())
    run.say(
        f"{len(learn):,} characters to learn from, {len(validation):,} to validate, {V} different; {size:,} parameters"
    )

    groups = parameter_groups(model, args.lr, weight_decay=0.1)
    optimizer = minitorch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99))
    history = fit(
        model,
        Windows(learn, args.batch_size, args.block, args.eval_every),  # an "epoch": the steps between two evaluations
        epochs=args.steps // args.eval_every,
        optimizer=optimizer,
        schedule=cosine(optimizer, args.steps, args.warmup, least=0.1),
        loss=loss,
        evaluate=lambda model: evaluate(model, validation, args),
        checkpoint=run.checkpoint,
        resume=args.resume,
        graph=args.graph,
    )
    model.save_pretrained(run.model)
    (run.model / "characters.json").write_text(json.dumps(characters.characters) + "\n", encoding="utf-8")
    plot(history, baseline, args.eval_every, run.folder / "curves.png")

    best = min(history, key=lambda record: record["validation_loss"])
    seconds = sum(record["seconds"] for record in history)
    run.figures |= {
        "validation_loss": best["validation_loss"],
        "pair_loss": baseline,
        "seconds": seconds,
        "parameters": size,
    }
    run.say(
        f"validation loss {best['validation_loss']:.4f} after {best['epoch'] * args.eval_every} steps "
        f"(counting pairs of characters: {baseline:.4f}), "
        f"that is {best['validation_loss'] / math.log(2):.3f} bits a character; {seconds:.0f} s"
    )
    run.say(f"\n## Samples, temperature {args.temperature}\n")
    run.say("\n```text\n" + "\n\n---\n\n".join(write(model, characters, "\n", args, samples=3)) + "\n```")


def evaluate(model, validation: np.ndarray, args) -> dict[str, float]:
    value = text_loss(model, validation, args.block, args.device)
    return {"validation_loss": value, "score": -value}


def write(model, characters: Characters, prompt: str, args, samples: int = 1) -> list[str]:
    """`samples` continuations of the prompt, with it."""
    if not prompt:
        raise ValueError("--generate needs at least one character to begin with")
    start = minitorch.from_numpy(characters.encode(prompt)).repeat(samples, 1).to(args.device)  # (samples, S)
    block = model.config.n_positions

    def step(tokens, cache):  # the window moves, and with it everybody's position: there is nothing to keep in a cache
        return model(tokens[:, -block:], logits_to_keep=1).logits[:, -1], None

    tokens = generation.sample(
        step, start, max_new_tokens=args.length, temperature=args.temperature, top_k=args.top_k, top_p=args.top_p
    )
    return [characters.decode(row).strip("\n") for row in tokens.tolist()]


def load(args, run: common.Run) -> tuple[GPT2LMHeadModel, Characters]:
    file = run.model / "characters.json"
    if not file.is_file():
        raise SystemExit(
            f"there is no saved model in {run.model}: train one first (the same command without --generate)"
        )
    model = GPT2LMHeadModel.from_pretrained(run.model).to(args.device)
    characters = Characters(json.loads(file.read_text(encoding="utf-8")))
    if len(characters.characters) != model.config.vocab_size:
        raise ValueError(
            f"{file} holds {len(characters.characters)} characters, the model knows {model.config.vocab_size}"
        )
    return model, characters


def plot(history: list[dict], baseline: float, eval_every: int, path: Path) -> None:
    steps = [record["epoch"] * eval_every for record in history]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(
        steps,
        [record["loss"] for record in history],
        color="0.6",
        marker=".",
        label="training, mean since the last point",
    )
    axes.plot(steps, [record["validation_loss"] for record in history], marker="o", label="validation")
    axes.axhline(baseline, color="C3", linestyle="--", label="counting pairs")
    axes.set(xlabel="step", ylabel="loss, nats a character")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(name, default, text, kind=None):
        shown = "" if default is None else f" (default: {default})"
        parser.add_argument(name, type=kind or type(default), default=default, help=text + shown)

    add("--data", None, "a text file in UTF-8 (default: tiny Shakespeare, from $MINITORCH_DATA or downloaded)", str)
    add("--layers", 4, "blocks")
    add("--heads", 4, "attention heads")
    add("--width", 128, "width, a multiple of the heads")
    add("--block", 64, "characters that the model sees at once")
    add("--dropout", 0.0, "in all layers; nanoGPT has 0.2 in its larger model")
    add("--batch-size", 12, "windows in a step")
    add("--steps", 2000, "steps of training, a multiple of --eval-every")
    add("--eval-every", 250, "steps between evaluations, each with a checkpoint")
    add("--lr", 1e-3, "highest learning rate; it falls to a tenth")
    add("--warmup", 100, "steps in which the rate rises")
    add("--seed", 1337, "of the first weights, the windows, dropout and samples")
    add("--device", "cpu", "cpu or cuda")
    parser.add_argument(
        "--graph", action="store_true", help="capture the training step as a CUDA graph (with --device cuda)"
    )
    add("--out", "runs/char_gpt", "the run's folder: model, report, curves")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--generate", metavar="PROMPT", help="do not train: let the saved model in --out continue this")
    add("--length", 500, "characters to write")
    add("--temperature", 0.8, "of the samples: below 1 safer, above 1 wilder")
    add("--top-k", None, "draw only from the k most probable characters", int)
    add("--top-p", None, "draw only from the fewest characters that have this probability together", float)
    parser.set_defaults(evaluate=False, split=None)  # options of the other programs' report
    return parser


def check(args) -> None:
    """Settings that could only fail later, or do nothing."""
    for name in ("layers", "heads", "width", "block", "batch_size", "steps", "eval_every", "length"):
        if getattr(args, name) < 1:
            raise SystemExit(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if args.width % args.heads:
        raise SystemExit(f"--width {args.width} must be a multiple of --heads {args.heads}")
    if args.steps % args.eval_every:
        raise SystemExit(f"--steps {args.steps} must be a multiple of --eval-every {args.eval_every}")
    if not 0 <= args.dropout < 1:
        raise SystemExit(f"--dropout must be in [0, 1), got {args.dropout}")
    generation.check_sampling(args.temperature, args.top_k, args.top_p)


def main() -> None:
    args = options().parse_args()
    check(args)
    run = common.Run(args)
    if args.generate is not None:
        minitorch.manual_seed(args.seed)
        model, characters = load(args, run)
        print(write(model, characters, args.generate, args)[0])
        return
    run.begin()
    train(args, run)
    run.finish()


if __name__ == "__main__":
    common.main(main)
