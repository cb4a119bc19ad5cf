"""A GPT that reads characters: it learns to continue Shakespeare's plays, or any text, letter by letter. Lesson 12.

    python examples/char_gpt.py                                        train (some minutes), write samples, save
    python examples/char_gpt.py --generate "ROMEO:" --temperature 0.8  what the saved model writes
    python examples/char_gpt.py --data FILE --out runs/mine            learn from another text
    python examples/char_gpt.py --data FILE --out runs/mine --model runs/char_gpt --method lora    go on from what is learnt
    python examples/char_gpt.py --evaluate --data FILE --split all     how much the saved model is surprised by a text

The defaults are nanoGPT's recipe for a CPU: 800,000 parameters, 2000 steps, and a published validation loss of 1.88.
The last tenth of the text is for validation; its loss is taken over all of it. A model that goes on with --model keeps
its characters, and a text may have no others.
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
            raise ValueError(
                f"characters that the model's training text does not have: {''.join(map(chr, sorted(unknown)))!r}"
            )
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


def read(args) -> str:
    return Path(args.data).read_text(encoding="utf-8") if args.data else datasets.tinyshakespeare()


def cut(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is there to learn from, and the last tenth."""
    return ids[: int(0.9 * len(ids))], ids[int(0.9 * len(ids)) :]


def make_model(args, run: common.Run, text: str) -> tuple[GPT2LMHeadModel, Characters]:
    """A new one for the text's characters, or that of --model."""
    dropout = {} if args.dropout is None else dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), args.dropout)
    if args.model is not None:
        return load(common.saved_model(args, run), **dropout)
    characters = Characters(text)
    config = GPT2Config(
        vocab_size=len(characters.characters), n_positions=args.block, n_embd=args.width, n_layer=args.layers,
        n_head=args.heads, **dropout, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config), characters


def train(args, run: common.Run) -> None:
    text = read(args)
    model, characters = make_model(args, run, text)
    V, ids, block = len(characters.characters), characters.encode(text), model.config.n_positions
    learn, validation = cut(ids)
    if len(validation) <= block:
        raise ValueError(
            f"the text has {len(ids)} characters: its last tenth, for validation, must be longer than a window, "
            f"{'--block' if args.model is None else 'of the model'} {block}"
        )
    learn = learn[: args.limit]
    if len(learn) <= block:
        raise ValueError(f"--limit {args.limit} must be more than a window, {block} characters")
    baseline = pair_loss(learn, validation, V)
    size = sum(p.numel() for p in model.parameters())
    run.say(
        f"{len(learn):,} characters to learn from, {len(validation):,} to validate, {V} different; {size:,} parameters"
    )

    begun = None
    if args.model is not None:
        begun = text_loss(model.to(args.device), validation, block, args.device)
        run.say(f"validation loss {begun:.4f} before the training")
    model = common.peft_model(model, args, args.steps).to(args.device)
    groups = parameter_groups(model, args.lr, weight_decay=0.1)
    optimizer = minitorch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99))
    run.replace()
    history = fit(
        model,
        Windows(learn, args.batch_size, block, args.eval_every),  # an "epoch": the steps between two evaluations
        epochs=args.steps // args.eval_every,
        optimizer=optimizer,
        schedule=cosine(optimizer, args.steps, args.warmup, least=0.1),
        loss=common.regularised(loss),
        evaluate=lambda model: evaluate(model, validation, args),
        patience=args.patience,
        checkpoint=run.checkpoint,
        resume=args.resume,
        graph=args.graph,
    )
    model = common.merged(model)
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
        **({} if begun is None else {"validation_loss_before": begun}),
    }
    run.say(
        f"validation loss {best['validation_loss']:.4f} after {best['epoch'] * args.eval_every} steps "
        f"(counting pairs of characters: {baseline:.4f}), "
        f"that is {best['validation_loss'] / math.log(2):.3f} bits a character; {seconds:.0f} s"
    )
    run.say(f"\n## Samples, temperature {args.temperature}\n")
    run.say("\n```text\n" + "\n\n---\n\n".join(write(model, characters, "\n", args, samples=3)) + "\n```")


def evaluate(model, validation: np.ndarray, args) -> dict[str, float]:
    value = text_loss(model, validation, model.config.n_positions, args.device)
    return {"validation_loss": value, "score": -value}


def report(args, run: common.Run) -> None:
    """The loss of the saved model on the last tenth of the text, or on all of it."""
    model, characters = load(run.model, args.device)
    ids = characters.encode(read(args))
    ids = ids if args.split == "all" else cut(ids)[1]
    if len(ids) < 2:
        raise ValueError(f"--split {args.split} of the text has {len(ids)} characters: there is nothing to predict")
    value = text_loss(model, ids, min(model.config.n_positions, len(ids) - 1), args.device)
    run.figures |= {"loss": value, "bits": value / math.log(2), "characters": len(ids)}
    run.say(
        f"{args.data or 'tiny Shakespeare'}, split {args.split}: {len(ids):,} characters, loss {value:.4f}, that is "
        f"{value / math.log(2):.3f} bits a character, a choice among {math.exp(value):.1f}"
    )


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


def load(folder: Path, device: str = "cpu", **changed) -> tuple[GPT2LMHeadModel, Characters]:
    """A saved model, with some of its settings changed, and its characters."""
    file = folder / "characters.json"
    if not file.is_file():
        raise common.no_model(folder)
    model = GPT2LMHeadModel.from_pretrained(folder, device=device, **changed)
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


NEW = {"layers": 4, "heads": 4, "width": 128, "block": 64}  # the settings of a new model
LR = 1e-3


def options() -> argparse.ArgumentParser:
    parser = common.options(
        __doc__, out="runs/char_gpt", epochs=None, lr=LR, batch_size=12, methods=common.FURTHER, model=None,
        batch="windows", unit="evaluations", limit="characters", predict=("--generate", "--predict"),
        data="a text file in UTF-8 (default: tiny Shakespeare, from $MINITORCH_DATA or downloaded)",
    )  # fmt: skip
    parser.set_defaults(seed=1337)

    def add(name, default, text, kind=None, new=False):
        shown = "" if default is None else f" (default: {default})"
        value = None if new else default
        parser.add_argument(name, type=kind or type(default), default=value, help=text + shown)

    add("--layers", NEW["layers"], "blocks", new=True)
    add("--heads", NEW["heads"], "attention heads", new=True)
    add("--width", NEW["width"], "width, a multiple of the heads", new=True)
    add("--block", NEW["block"], "characters that the model sees at once", new=True)
    add("--dropout", None, "in all layers (default: 0, or as in --model); nanoGPT has 0.2 in its larger model", float)
    add("--steps", 2000, "steps of training, a multiple of --eval-every")
    add("--eval-every", 250, "steps between evaluations, each with a checkpoint")
    add("--warmup", 100, "steps in which the rate rises to --lr; then it falls to a tenth")
    add("--length", 500, "characters to write")
    add("--temperature", 0.8, "of the samples: below 1 safer, above 1 wilder")
    add("--top-k", None, "draw only from the k most probable characters", int)
    add("--top-p", None, "draw only from the fewest characters that have this probability together", float)
    return parser


def check(args) -> None:
    """Settings that could only fail later, or do nothing."""
    if args.model is None and args.width % args.heads:
        raise SystemExit(f"--width {args.width} must be a multiple of --heads {args.heads}")
    if args.steps % args.eval_every:
        raise SystemExit(f"--steps {args.steps} must be a multiple of --eval-every {args.eval_every}")
    if args.split not in ("validation", "all"):
        raise SystemExit(f"--split {args.split}: there are validation, the last tenth of the text, and all")
    if args.split == "all" and not args.evaluate:
        raise SystemExit("--split all is for --evaluate: nine tenths of the text are learnt from")
    generation.check_sampling(args.temperature, args.top_k, args.top_p)


def main() -> None:
    args = options().parse_args()
    common.complete(args, LR, NEW, free={"dropout": 0.0})
    run = common.Run(args)
    check(args)
    if args.predict:
        minitorch.manual_seed(args.seed)
        model, characters = load(run.model, args.device)
        for prompt in args.predict:
            print(write(model, characters, prompt, args)[0])
        return
    if args.evaluate:
        report(args, run)
    else:
        run.begin()
        train(args, run)
    run.finish()


if __name__ == "__main__":
    common.main(main)
