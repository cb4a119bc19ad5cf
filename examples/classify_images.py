"""A residual network learns to tell clothes apart, and takes what it has learnt to photographs, of which there are few.

    python examples/classify_images.py                                                train on Fashion-MNIST
    python examples/classify_images.py --task cifar10 --model runs/classify_images/fashion_mnist/model
    python examples/classify_images.py --task cifar10 --out runs/cifar10_scratch      the same without what was learnt
    python examples/classify_images.py --predict shoe.png 17                          a file, and test image 17
    python examples/classify_images.py --task folder --data photos --model timm/resnet18.tv_in1k --size 224
                                                                    your own files, photos/CLASS/FILE, in any number of classes

--model also takes published weights: a folder, a .safetensors file in torchvision's naming, or a hub id such as
timm/resnet18.tv_in1k. A network for grey images takes colour ones by the mean of their three colours: the filters of its
first convolution are repeated and divided by 3. The head is always new. A part of the training images is the validation
split; the test images are used once, at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import common
from images import ImageBatches, accuracy, own_images, predict, report
from minitorch.models.resnet import ResNet, ResNetConfig

import minitorch
from minitorch import datasets
from minitorch.nn import functional as F
from minitorch.training import parameter_groups


@dataclass
class Task:
    """A data set, and the recipe that was found for it on its training and validation images."""

    what: str
    load: Callable  # split, root -> images, labels, classes
    size: int
    split: str  # for the report
    epochs: int
    lr: dict[str, float]  # of training from random weights, and of each --method with --model
    padding: int


# fmt: off
RATES = {"new": 0.1, "full": 0.05, "frozen": 0.1}
TASKS = {
    "fashion_mnist": Task("grey images of clothes", datasets.fashion_mnist, 28, "test", 8, RATES, padding=2),
    "cifar10": Task("photographs", datasets.cifar10_4k, 32, "test", 40, RATES, padding=4),
    "folder": Task("image files, FOLDER/CLASS/FILE, in --data FOLDER", own_images, 32, "validation", 40, RATES, padding=4),
}
# fmt: on


def images_of(args, task: Task, split: str):
    if args.task == "folder":
        return task.load(split, args.data, args.size)
    return task.load(split, root=args.data)


def make_model(args, run: common.Run, data) -> ResNet:
    labels = dict(enumerate(data.classes))
    channels = data.images.shape[1]
    if args.model is None:
        blocks = (args.blocks,) * 4
        return ResNet(
            ResNetConfig(
                layers=blocks, width=args.width, num_classes=len(labels), in_channels=channels, small_images=True,
                zero_init_residual=True, id2label=labels,
            )
        )  # fmt: skip
    name = common.saved_model(args, run) if Path(args.model).exists() else args.model  # a hub id
    model = ResNet.from_pretrained(name, num_classes=len(labels), id2label=labels, in_channels=channels)
    model.fc.reset_parameters()
    if args.method == "frozen":
        model.requires_grad_(False)
        model.fc.requires_grad_(True)
    return model


def train(args, task: Task, run: common.Run) -> ResNet:
    data, validation = images_of(args, task, "train"), images_of(args, task, "validation")
    if args.limit:
        data = data.select(minitorch.randperm(len(data))[: args.limit].numpy())
    run.say(f"{args.task}, {task.what}: {len(data)} to learn from, {len(validation)} to validate")

    padding = task.padding * args.size // task.size
    batches = ImageBatches(data.images, data.labels, args.batch_size, padding, flip=True)
    model = make_model(args, run, data).to(args.device)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    run.say(f"{sum(p.numel() for p in model.parameters()):,} weights, {learning:,} of them learn")
    optimizer = minitorch.optim.SGD(parameter_groups(model, args.lr, 5e-4), lr=args.lr, momentum=0.9, nesterov=True)
    steps = max(4, args.epochs * len(batches))
    schedule = minitorch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, steps, pct_start=max(0.2, 2 / steps))

    def loss(model, batch):
        if args.method == "frozen":
            model.eval()  # BatchNorm, too, keeps what it knows of the images before
        return F.cross_entropy(model(batch["images"]), batch["labels"])

    def evaluate(model):
        score = accuracy(model, validation)
        return {"validation_accuracy": score, "score": score}

    run.fit(model, batches, optimizer=optimizer, schedule=schedule, loss=loss, clip=None, evaluate=evaluate)
    model.save_pretrained(run.model)
    return model


def load(args, run: common.Run) -> ResNet:
    if not run.model.is_dir():
        raise common.no_model(run.model)
    return ResNet.from_pretrained(run.model, device=args.device)


def main() -> None:
    parser = common.options(
        __doc__, out="runs/classify_images/TASK", epochs=None, lr=None, batch_size=64, split=None, model=None,
        methods={"full": "all weights", "frozen": "only the head"},
        weights="a folder, a .safetensors file or a hub id",
        why_not="LoRA is for linear layers, and a ResNet's only one is its head",
    )  # fmt: skip
    parser.add_argument("--task", choices=TASKS, default="fashion_mnist", help="what to learn (default: fashion_mnist)")
    parser.add_argument("--width", type=int, help="channels of the new network's first layer (default: 24)")
    parser.add_argument("--blocks", type=int, help="blocks in each of its four layers (default: 1)")
    parser.add_argument(
        "--size", type=int, help="for --task folder: points of a side, to which images are brought (default: 32)"
    )
    args = parser.parse_args()
    task = TASKS[args.task]
    args.epochs = task.epochs if args.epochs is None else args.epochs
    args.lr = task.lr[args.method if args.model else "new"] if args.lr is None else args.lr
    common.complete(args, args.lr, {"width": 24, "blocks": 1})
    if args.size and args.task != "folder":
        raise ValueError(f"--size is for --task folder; the images of {args.task} have {task.size} points a side")
    args.size, args.split = args.size or task.size, args.split or task.split
    run = common.Run(args)
    if args.predict:
        model = load(args, run)
        classes, channels = model.config.id2label, model.config.in_channels
        predict(args.predict, model, lambda: images_of(args, task, args.split), classes, channels, args.size)
        return
    data = images_of(args, task, args.split)  # before the training: it might not be there
    if args.evaluate:
        model = load(args, run)
        run.check_classes(model, data.classes)
    else:
        run.begin()
        model = train(args, task, run)
    report(run, f"{args.task}, split {args.split}", data, model)
    run.finish()


if __name__ == "__main__":
    common.main(main)
