"""Fine-tuning MiniLM with minitorch and with PyTorch + transformers: the same texts in the same batches, the same recipe.

    python -m benchmarks.finetune --model FOLDER --tasks sst2,conll2003,finance,banking77 --seeds 3

AdamW with weight decay 0.01 on matrices, warmup 0.1, linear decay to 0, batches of 32 texts of similar length, gradients
clipped to norm 1, the model's own dropout. Each training is a process of its own, and the two libraries take turns. The
time is that of the training steps. Figures are of the validation split: accuracy, and of tagged entities seqeval's F1.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from .timing import cpu, set_threads

RESULTS = Path(__file__).with_name("finetune.md")
HEAD = """\
| task | seeds | figure | minitorch | PyTorch | minitorch, s | PyTorch, s | PyTorch / minitorch | measured |
|---|---|---|---|---|---|---|---|---|"""
# epochs, learning rate, longest text in word pieces
RECIPES = {
    "sst2": (3, 5e-5, 128),
    "conll2003": (3, 1e-4, 128),
    "finance": (3, 1e-4, 128),
    "banking77": (6, 2e-4, 64),
}


def features(task: str, tokenizer, split: str, max_length: int):
    """Features with labels, the classes, and for tags the sentences."""
    from minitorch import datasets

    if task == "conll2003":
        data = datasets.conll2003(split)
        numbers = {name: number for number, name in enumerate(data.classes)}
        found = []
        for tags, feature in zip(data.tags, tokenizer.word_features(data.sentences, max_length=max_length)):
            words = feature["word_ids"]
            first = [word is not None and word != before for word, before in zip(words, [None, *words])]
            labels = [numbers[tags[word]] if is_first else -100 for word, is_first in zip(words, first)]
            found.append({"input_ids": feature["input_ids"], "labels": labels})
        return found, data.classes
    data = {"sst2": datasets.sst2, "finance": datasets.financial_phrasebank, "banking77": datasets.banking77}[task](
        split
    )
    rows = tokenizer.features(data.texts, max_length=max_length)
    return [{"input_ids": row["input_ids"], "labels": label} for row, label in zip(rows, data.labels)], data.classes


def train(
    task: str, library: str, model_name: str, seed: int, threads: int, epochs: int | None, limit: int | None
) -> dict:
    """One training, in this process."""
    import minitorch
    from minitorch.text.batches import LengthBatches, pad
    from minitorch.text.tokenizer import Tokenizer
    from minitorch.training import parameter_groups

    standard, lr, max_length = RECIPES[task]
    epochs = epochs or standard
    tokenizer = Tokenizer.from_pretrained(model_name)
    training, classes = features(task, tokenizer, "train", max_length)
    validation, _ = features(task, tokenizer, "validation", max_length)
    training = training[:limit]
    minitorch.manual_seed(seed)
    sampler = LengthBatches([len(f["input_ids"]) for f in training], 32)
    order = [list(sampler) for _ in range(epochs)]
    lengths = LengthBatches([len(f["input_ids"]) for f in validation], 64, shuffle=False)
    numbers = {name: number for number, name in enumerate(classes)}
    steps = epochs * len(sampler)
    lib = importlib.import_module(library)
    lib.set_num_threads(threads)
    lib.manual_seed(seed)
    kind = "TokenClassification" if task == "conll2003" else "SequenceClassification"
    if library == "torch":
        import transformers

        linear = transformers.get_linear_schedule_with_warmup
        transformers.utils.logging.disable_progress_bar()
        names = {"label2id": numbers, "id2label": {number: name for name, number in numbers.items()}}
        model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(model_name, **names)
    else:
        from minitorch.models import bert

        linear = minitorch.optim.lr_scheduler.linear_warmup_decay
        model = getattr(bert, f"BertFor{kind}").from_pretrained(model_name, label2id=numbers)

    def tensors(rows):
        batch = pad(rows)
        return batch if lib is minitorch else {name: lib.from_numpy(value.numpy()) for name, value in batch.items()}

    optimizer = lib.optim.AdamW(parameter_groups(model, lr), lr=lr)
    schedule = linear(optimizer, steps // 10, steps)
    seconds = 0.0
    for epoch in range(epochs):
        model.train()
        for rows in order[epoch]:
            batch = tensors([training[i] for i in rows])
            start = time.perf_counter()
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            loss.item()
            seconds += time.perf_counter() - start
    model.eval()
    said: list = [None] * len(validation)
    with lib.no_grad():
        for rows in lengths:
            batch = tensors([validation[i] for i in rows])
            batch.pop("labels")
            best = model(**batch).logits.argmax(-1)
            for i, row in zip(rows, best.tolist()):
                said[i] = row
    return {"seconds": seconds, "steps": steps} | score(task, classes, validation, said)


def score(task: str, classes: list[str], validation: list[dict], said: list) -> dict[str, float]:
    if task != "conll2003":
        return {"accuracy": sum(f["labels"] == best for f, best in zip(validation, said)) / len(said)}
    from seqeval.metrics import f1_score
    from sklearn.metrics import f1_score as token_f1

    true = [[classes[label] for label in f["labels"] if label != -100] for f in validation]
    tags = [
        [classes[best] for best, label in zip(row, f["labels"]) if label != -100] for f, row in zip(validation, said)
    ]
    flat = [tag for row in true for tag in row], [tag for row in tags for tag in row]
    figures = {"entity_f1": float(f1_score(true, tags))}
    for average in ("weighted", "macro"):
        figures[f"token_{average}_f1"] = float(token_f1(*flat, average=average))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(RECIPES), help="with commas (default: all)")
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2", help="a folder or a hub id")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each (1)")
    parser.add_argument("--threads", type=int, default=2, help="for both libraries (2)")
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--limit", type=int, help="only the first so many training examples: a quick look")
    parser.add_argument("--write", action="store_true", help="put the tasks' rows into benchmarks/finetune.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a child: task,library,seed
    args = parser.parse_args()
    set_threads(args.threads)
    if args.one:
        task, library, seed = args.one.split(",")
        print(json.dumps(train(task, library, args.model, int(seed), args.threads, args.epochs, args.limit)))
        return
    found: dict[tuple[str, str], list[dict]] = {}
    tasks = args.tasks.split(",")
    for task in tasks:
        if task not in RECIPES:
            raise SystemExit(f"--tasks: {task!r} is unknown; there are {', '.join(RECIPES)}")
        for seed in range(args.seeds):
            for library in ("minitorch", "torch"):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.finetune",
                    *sys.argv[1:],
                    "--one",
                    f"{task},{library},{seed}",
                ]
                child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                result = json.loads(child.stdout.splitlines()[-1])
                found.setdefault((task, library), []).append(result)
                figures = " ".join(
                    f"{name} {value:.4f}" for name, value in result.items() if name not in ("seconds", "steps")
                )
                print(f"{task} seed {seed} {library}: {figures}, {result['seconds']:.0f} s", flush=True)
    rows = []
    for task in tasks:
        ours, theirs = found[task, "minitorch"], found[task, "torch"]
        times = [statistics.mean(result["seconds"] for result in side) for side in (ours, theirs)]
        for name in [name for name in ours[0] if name not in ("seconds", "steps")]:
            mean = [statistics.mean(result[name] for result in side) for side in (ours, theirs)]
            rows.append(
                f"| {task} | {args.seeds} | {name.replace('_', ' ')} | {mean[0]:.4f} | {mean[1]:.4f} "
                f"| {times[0]:.0f} | {times[1]:.0f} | {times[1] / times[0]:.2f} | {datetime.date.today()} |"
            )
    print("\n".join([HEAD, *rows]))
    if args.write:
        write(rows, tasks, args)


def write(rows: list[str], tasks: list[str], args: argparse.Namespace) -> None:
    """The tasks' rows into the table; those of other tasks stay, because all in one run would take two hours."""
    before = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    rows += [row for row in before if any(row.startswith(f"| {task} |") for task in RECIPES if task not in tasks)]
    rows.sort(key=lambda row: list(RECIPES).index(row.split(" | ")[0][2:]))
    about = f"`python -m benchmarks.finetune`, {cpu()}, {args.threads} threads; validation splits, times in seconds."
    head = "# Fine-tuning MiniLM beside PyTorch with transformers"
    RESULTS.write_text("\n".join([head, "", about, "", HEAD, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
