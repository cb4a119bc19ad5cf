"""A perceptron learns to read handwritten digits: 784 points, 512 hidden units, 10 classes. Less than a minute.

    python examples/digits.py                              train on MNIST, report on its test images
    python examples/digits.py --limit 1000                 from 1,000 images only
    python examples/digits.py --model runs/digits --method lora --out runs/more     go on from what is learnt
    python examples/digits.py --predict digit.png 17       what the saved model reads in a file, and in test image 17

A part of the training images is the validation split: it says which epoch was best. The test images are used once, for
the figure at the end. Lessons 02 to 05 derive all of it.
"""

import dataclasses
from pathlib import Path

import common
from images import ImageBatches, accuracy, predict, report
from minitorch.models.mlp import MLP, MLPConfig

import minitorch
from minitorch import datasets
from minitorch.nn import functional as F
from minitorch.optim.lr_scheduler import linear_warmup_decay


def make_model(args, run: common.Run, classes: int) -> MLP:
    """A new one, or that of --model."""
    if args.model is None:
        return MLP(MLPConfig(hidden_sizes=tuple(args.hidden), output_size=classes, dropout=args.dropout))
    file = common.saved_model(args, run)
    saved = load(file)
    if saved.config.output_size != classes:
        raise ValueError(f"{file} has {saved.config.output_size} classes, the data {classes}")
    if args.method != "full" and not len(saved.hidden):
        raise ValueError(f"{file} has an output layer alone, so --method {args.method} would train all of it")
    dropout = saved.config.dropout if args.dropout is None else args.dropout
    model = MLP(dataclasses.replace(saved.config, dropout=dropout))
    model.load_state_dict(saved.state_dict())
    return model


def train(args, run: common.Run) -> MLP:
    data, validation = datasets.mnist("train", root=args.data), datasets.mnist("validation", root=args.data)
    if args.limit:
        data = data.select(minitorch.randperm(len(data))[: args.limit].numpy())
    run.say(f"MNIST: {len(data)} digits to learn from, {len(validation)} to validate")

    batches = ImageBatches(data.images, data.labels, args.batch_size)
    model = make_model(args, run, len(data.classes))
    run.say(f"{sum(p.numel() for p in model.parameters()):,} weights")
    steps = args.epochs * len(batches)
    model = common.peft_model(model, args, steps, whole=["output"]).to(args.device)
    optimizer = minitorch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=args.lr)

    def evaluate(model):
        score = accuracy(model, validation)
        return {"validation_accuracy": score, "score": score}

    run.fit(
        model,
        batches,
        optimizer=optimizer,
        schedule=linear_warmup_decay(optimizer, steps // 10, steps),
        loss=common.regularised(lambda model, batch: F.cross_entropy(model(batch["images"]), batch["labels"])),
        clip=None,
        evaluate=evaluate,
    )
    model = common.merged(model)
    minitorch.save(model.cpu(), run.model)
    return model


def load(file: Path, device: str = "cpu") -> MLP:
    if not file.is_file():
        raise common.no_model(file)
    model = minitorch.load(file, map_location=device)
    if not isinstance(model, MLP):
        raise ValueError(f"{file} does not hold a model of this program")
    return model


def main() -> None:
    parser = common.options(
        __doc__, out="runs/digits", epochs=10, lr=1e-3, batch_size=128, methods=common.FURTHER, model=None,
        split="test", patience=3,
    )  # fmt: skip
    parser.add_argument("--hidden", type=int, nargs="*", help="units of the hidden layers (default: 512)")
    parser.add_argument("--dropout", type=float, help="share of hidden units left out (default: 0.1, or as in --model)")
    args = parser.parse_args()
    common.complete(args, 1e-3, {"hidden": [512]}, free={"dropout": 0.1})
    if any(units < 1 for units in args.hidden or ()):
        raise SystemExit(f"--hidden: at least 1 unit in each layer, got {args.hidden}")
    run = common.Run(args)
    run.model = run.folder / "model.ckpt"
    if args.predict:
        model = load(run.model, args.device)
        predict(args.predict, model, lambda: datasets.mnist(args.split, root=args.data), range(10), channels=1, size=28)
        return
    data = datasets.mnist(args.split, root=args.data)  # before the training: it might not be there
    if args.evaluate:
        model = load(run.model, args.device)
    else:
        run.begin()
        model = train(args, run)
    report(run, f"MNIST, split {args.split}", data, model)
    run.finish()


if __name__ == "__main__":
    common.main(main)
