"""Fine-tune a pretrained BERT to put texts into classes: sentiment, a bank customer's intent, the mood of finance news.

    python examples/classify_text.py --task sst2                            train, validate, save
    python examples/classify_text.py --task sst2 --predict "a fine film"    what the saved model says
    python examples/classify_text.py --task sst2 --evaluate --split test    the saved model on a test split

Lesson 14 derives what happens here. --method chooses which weights learn (minitorch.peft); the training loop is
minitorch.training.fit.
"""

import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import common
import numpy as np
from minitorch.models.bert import BertForSequenceClassification

import minitorch
from minitorch import datasets
from minitorch.datasets.corpus import is_held_out
from minitorch.nn import functional as F
from minitorch.optim.lr_scheduler import linear_warmup_decay
from minitorch.text.batches import text_batches
from minitorch.training import average_of_runs, predict, r_drop


@dataclass
class Task:
    """A data set, and the recipe that was found for it on its training and validation texts."""

    what: str
    load: Callable  # split, root -> texts, labels, classes
    epochs: int
    lr: float  # from which those of the methods follow
    max_length: int = 128
    # for --method full alone:
    full_lr: float | None = None  # if it is not lr
    average: int = 1  # trainings, whose weights are averaged
    r_drop: float = 0.0  # weight of two passes' agreement


def own_texts(split: str, root: str | None) -> datasets.TextClassification:
    """The lines `text TAB label` of a file of one's own: four fifths of them to learn from, or all (to --evaluate on)."""
    if root is None or not os.path.isfile(root):
        raise FileNotFoundError(f"--task file: --data must name a file of lines text TAB label, got {root}")
    if split not in ("train", "validation", "all"):
        raise ValueError(f"--task file has the splits train, validation and all, got {split}")
    rows = []
    for number, line in enumerate(common.text_lines(root), 1):
        if not line.strip():
            continue
        text, tab, label = line.rstrip().rpartition("\t")
        if not text.strip() or not label.strip():
            raise ValueError(f"{root}, line {number}: expected text TAB label, got {line.rstrip()[:100]!r}")
        rows.append((text, label.strip()))
    classes = sorted({label for _, label in rows})
    # By the text's hash: a text that is there twice is on one side.
    held_out = [is_held_out(" ".join(text.lower().split()), 0.2) for text, _ in rows]
    chosen = [row for row, held in zip(rows, held_out) if split == "all" or held == (split == "validation")]
    if not chosen or len(classes) < 2 and split != "all":
        raise ValueError(
            f"{root}: a training needs two classes or more, and enough texts to hold some back; there are {len(rows)} lines "
            f"text TAB label, of {len(classes)} classes"
        )
    return datasets.TextClassification(
        [text for text, _ in chosen], [classes.index(label) for _, label in chosen], classes
    )


TASKS = {
    "sst2": Task("sentiment of a film review's sentence", datasets.sst2, 3, 5e-5, full_lr=1e-4, average=3, r_drop=2),
    "rt_polarity": Task("sentiment of a film review's sentence", datasets.rt_polarity, 3, 5e-5),
    "imdb": Task("sentiment of a whole film review", datasets.imdb, 3, 5e-5, 256),
    "banking77": Task("intent of a bank's customer", datasets.banking77, 6, 2e-4, average=3),
    "finance": Task("sentiment of finance news", datasets.financial_phrasebank, 4, 2e-4, average=3, r_drop=2),
    "file": Task("lines text TAB label in --data FILE", own_texts, 3, 5e-5),
}


def choices(model, features, tokenizer, progress=False) -> np.ndarray:
    """The class of each text, (N,)"""
    logits = predict(model, features, tokenizer.pad, progress=progress)
    return np.array([row.argmax().item() for row in logits])


def train(args, task: Task, run: common.Run):
    data, validation = task.load("train", root=args.data), task.load("validation", root=args.data)
    texts, labels = data.texts, data.labels
    if args.limit:
        chosen = random.Random(args.seed).sample(range(len(texts)), min(args.limit, len(texts)))
        texts, labels = [texts[i] for i in chosen], [labels[i] for i in chosen]
    run.say(f"{args.task}, {task.what}: {len(texts)} texts to learn from, {len(validation.texts)} to validate")
    if args.task == "file":  # a line of headings would be one more class
        counts = [f"{name} {labels.count(number)}" for number, name in enumerate(data.classes)]
        run.say(f"classes to learn: {common.shortened(counts)}")

    numbers = {name: number for number, name in enumerate(data.classes)}
    model = common.pretrained(BertForSequenceClassification, args.model, numbers)
    tokenizer = common.tokenizer_of(args.model, model)
    longest = common.most_pieces(model, args.max_length, args.method)
    batches = text_batches(tokenizer, texts, labels, batch_size=args.batch_size, max_length=longest)
    held_out = tokenizer.features(validation.texts, max_length=longest)
    steps = args.epochs * -(-len(batches) // args.accumulate)

    model = common.peft_model(model, args, steps).to(args.device)

    def evaluate(model):
        accuracy = float((choices(model, held_out, tokenizer) == np.array(validation.labels)).mean())
        return {"validation_accuracy": accuracy, "score": accuracy}

    def train_once(number):
        optimizer = common.optimizer(model, args, args.layer_decay)
        schedule = linear_warmup_decay(optimizer, steps // 10, steps)
        loss = r_drop(args.r_drop) if args.r_drop else None
        run.fit(model, batches, number, optimizer=optimizer, schedule=schedule, evaluate=evaluate, loss=loss)

    taken = average_of_runs(model, train_once, args.average, args.seed, lambda model: evaluate(model)["score"])
    if args.average > 1:
        names = ", ".join(str(number + 1) for number in taken)
        run.say(f"averaged: the weights of the trainings {names}, of {args.average}")
    common.save_model(model, tokenizer, run.model)
    return model, tokenizer


def report(args, data, run: common.Run, model, tokenizer) -> None:
    """The classes' table on the chosen split, and the texts on which the model is most sure and wrong."""
    classes = run.check_classes(model, data.classes, by_name=True)
    features = tokenizer.features(data.texts, max_length=common.most_pieces(model, args.max_length))
    logits = minitorch.stack(predict(model, features, tokenizer.pad, progress=True))  # (N, classes)
    sure, said = F.softmax(logits, -1).max(-1)
    said, labels = said.numpy(), np.array([classes.index(data.classes[label]) for label in data.labels])
    run.say(f"\n## {args.task}, split {args.split}: {len(labels)} texts\n")
    run.per_class(labels, said, classes)
    run.say(f"accuracy {run.figures['accuracy']:.4f}, macro F1 {run.figures['macro_f1']:.4f}")
    wrong = sorted(np.flatnonzero(said != labels), key=lambda i: -sure[i].item())[:5]
    run.say("\nMost sure, and wrong:\n" if wrong else "\nNothing is wrong.")
    for i in wrong:
        text = " ".join(data.texts[i].split())
        run.say(f"- said {classes[said[i]]} ({sure[i].item():.2f}), is {classes[labels[i]]}: {text[:160]}")


def main() -> None:
    parser = common.options(__doc__, out="runs/classify_text/TASK", epochs=None, lr=None, batch_size=32)
    parser.add_argument("--task", choices=TASKS, default="sst2", help="what to learn (default: sst2)")
    parser.add_argument(
        "--max-length", type=int, help="longest text in word pieces; the rest is cut off (default: 128; imdb 256)"
    )
    parser.add_argument("--accumulate", type=int, default=1, help="batches for one step (default: 1)")
    parser.add_argument(
        "--layer-decay", type=float, default=1.0, help="each layer's rate, times the one above (default: 1)"
    )
    parser.add_argument(
        "--average",
        type=int,
        help="train so many times, and average the weights, of those trainings with which the mean does not get worse on "
        "the validation split (with --method full; default: as the task needs)",
    )
    parser.add_argument(
        "--r-drop",
        type=float,
        help="ask for the same answer from two passes with different dropout, with this weight (R-Drop; a step takes twice "
        "as long; default: 0, or as the task needs with --method full)",
    )
    args = parser.parse_args()
    task = TASKS[args.task]
    if args.average is None:
        args.average = task.average if args.method == "full" else 1
    elif args.average > 1 and args.method != "full":
        parser.error(f"--average is for --method full: a mean of {args.method}'s parts is not a mean of weights")
    if args.r_drop is not None and not 0 <= args.r_drop < math.inf:
        parser.error(f"--r-drop must be a number of at least 0, got {args.r_drop}")
    if args.r_drop is None:
        args.r_drop = task.r_drop if args.method == "full" else 0.0
    args.epochs = task.epochs if args.epochs is None else args.epochs
    if args.lr is None:
        own = args.method == "full" and task.full_lr
        args.lr = own or common.learning_rate(args.method, task.lr)
    run = common.Run(args)
    if args.max_length is None:  # a saved model reads as far as in its training
        before = run.trained_with() if args.predict or args.evaluate else {}
        args.max_length = before.get("max_length") or task.max_length
    if args.predict or args.evaluate:
        model, tokenizer = common.load_model(BertForSequenceClassification, run.model, args.device)
    if args.predict:
        features = tokenizer.features(args.predict, max_length=common.most_pieces(model, args.max_length))
        for text, logits in zip(args.predict, predict(model, features, tokenizer.pad)):
            chances = F.softmax(logits, -1)
            best = chances.argmax().item()
            print(f"{model.config.id2label[best]} {chances[best].item():.3f}  {text}")
        return
    data = task.load(args.split, root=args.data)  # before the training: it might not be there
    if not args.evaluate:
        run.begin()
        model, tokenizer = train(args, task, run)
    report(args, data, run, model, tokenizer)
    run.finish()


if __name__ == "__main__":
    common.main(main)
