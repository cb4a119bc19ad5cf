"""A perceptron learns to read handwritten digits: 784 points, 512 hidden units, 10 classes. Less than a minute.

    python examples/digits.py                              train on MNIST, report on its test images
    python examples/digits.py --limit 1000                 from 1,000 images only
    python examples/digits.py --predict digit.png 17       what the saved model reads in a file, and in test image 17

A part of the training images is the validation split: it says which epoch was best. The test images are used once, for
the figure at the end. Lessons 02 to 05 derive all of it.
"""

import common
from images import ImageBatches, accuracy, predict, report
from minitorch.models.mlp import MLP, MLPConfig

import minitorch
from minitorch import datasets
from minitorch.nn import functional as F
from minitorch.optim.lr_scheduler import linear_warmup_decay


def train(args, run: common.Run) -> MLP:
    data, validation = datasets.mnist("train", root=args.data), datasets.mnist("validation", root=args.data)
    if args.limit:
        data = data.select(minitorch.randperm(len(data))[: args.limit].numpy())
    run.say(f"MNIST: {len(data)} digits to learn from, {len(validation)} to validate")

    batches = ImageBatches(data.images, data.labels, args.batch_size)
    model = MLP(MLPConfig(hidden_sizes=tuple(args.hidden), output_size=len(data.classes), dropout=args.dropout))
    run.say(f"{sum(p.numel() for p in model.parameters()):,} weights")
    model.to(args.device)
    optimizer = minitorch.optim.Adam(model.parameters(), lr=args.lr)

    def evaluate(model):
        score = accuracy(model, validation)
        return {"validation_accuracy": score, "score": score}

    steps = args.epochs * len(batches)
    run.fit(
        model,
        batches,
        optimizer=optimizer,
        schedule=linear_warmup_decay(optimizer, steps // 10, steps),
        loss=lambda model, batch: F.cross_entropy(model(batch["images"]), batch["labels"]),
        clip=None,
        evaluate=evaluate,
    )
    minitorch.save(model.cpu(), run.model)
    return model


def load(args, run: common.Run) -> MLP:
    if not run.model.is_file():
        raise FileNotFoundError(
            f"there is no saved model {run.model}: train one first (the same command without --predict)"
        )
    return minitorch.load(run.model, map_location=args.device)


def main() -> None:
    parser = common.options(
        __doc__, out="runs/digits", epochs=10, lr=1e-3, batch_size=128, methods=False, split="test", patience=3
    )
    parser.add_argument(
        "--hidden", type=int, nargs="*", default=[512], help="units of the hidden layers (default: 512)"
    )
    parser.add_argument("--dropout", type=float, default=0.1, help="share of hidden units left out (default: 0.1)")
    args = parser.parse_args()
    if any(units < 1 for units in args.hidden):
        raise SystemExit(f"--hidden: at least 1 unit in each layer, got {args.hidden}")
    run = common.Run(args)
    run.model = run.folder / "model.ckpt"
    if args.predict:
        model = load(args, run)
        predict(args.predict, model, lambda: datasets.mnist(args.split, root=args.data), range(10), channels=1, size=28)
        return
    data = datasets.mnist(args.split, root=args.data)  # before the training: it might not be there
    if args.evaluate:
        model = load(args, run)
    else:
        run.begin()
        model = train(args, run)
    report(run, f"MNIST, split {args.split}", data, model)
    run.finish()


if __name__ == "__main__":
    common.main(main)
