"""What the programs with images share: batches that are moved and mirrored at random, what a model says of images, reports."""

from pathlib import Path

import numpy as np

import minitorch
from minitorch import datasets, no_grad
from minitorch.datasets.corpus import hash_share
from minitorch.vision._pillow import pillow

MEAN, STD = 0.45, 0.225  # of photographs, about ImageNet's: published weights see what they know


def scaled(images: np.ndarray) -> minitorch.Tensor:
    """uint8 (B, C, H, W) -> float32, mean about 0 and standard deviation about 1"""
    return minitorch.from_numpy(images.astype(np.float32) * np.float32(1 / 255 / STD) - np.float32(MEAN / STD))


def random_crop(images: np.ndarray, padding: int) -> np.ndarray:
    """Each image moved by up to `padding` points in both directions, with black where it was not. (B, C, H, W), the same"""
    B, C, H, W = images.shape
    padded = np.zeros((B, C, H + 2 * padding, W + 2 * padding), images.dtype)
    padded[:, :, padding : padding + H, padding : padding + W] = images
    cuts = np.lib.stride_tricks.sliding_window_view(padded, (H, W), axis=(2, 3))  # (B, C, 2p + 1, 2p + 1, H, W), a view
    y, x = minitorch.randint(0, 2 * padding + 1, (2, B)).numpy()
    return cuts[np.arange(B), :, y, x]  # (B, C, H, W)


def random_flip(images: np.ndarray) -> np.ndarray:
    """Half of the images, drawn at random, mirrored left to right. (B, C, H, W), the same"""
    mirrored = minitorch.rand(len(images)).numpy() < 0.5
    return np.where(mirrored[:, None, None, None], images[..., ::-1], images)


class ImageBatches:
    """All images in a new random order each epoch, as batches {"images": (B, C, H, W), "labels": (B,)}.

    `padding`, `flip`: crops and mirror images at random, made of a whole batch at once.
    """

    def __init__(self, images, labels, batch_size, padding=0, flip=False):
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.padding, self.flip = padding, flip

    def __len__(self):
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self):
        order = minitorch.randperm(len(self.labels)).numpy()
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            images = self.images[rows]
            if self.padding:
                images = random_crop(images, self.padding)
            if self.flip:
                images = random_flip(images)
            yield {"images": scaled(images), "labels": minitorch.from_numpy(self.labels[rows])}


@no_grad()
def probabilities(model, images: np.ndarray, batch_size: int = 100) -> np.ndarray:
    """uint8 (N, C, H, W) -> (N, classes); `model` in evaluation mode."""
    device = next(model.parameters()).device
    parts = [
        model(scaled(images[i : i + batch_size]).to(device)).softmax(-1).cpu().numpy()
        for i in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts)


def accuracy(model, data) -> float:
    return float((probabilities(model, data.images).argmax(-1) == data.labels).mean())


def report(run, title: str, data, model) -> None:
    """The classes' table, a confusion matrix, and the worst errors as a picture."""
    chances = probabilities(model, data.images)
    run.say(f"\n## {title}: {len(data)} images\n")
    run.per_class(data.labels, chances.argmax(-1), data.classes)
    run.say(f"accuracy {run.figures['accuracy']:.4f}")
    plot_errors(data.images, chances, data.labels, data.classes, run.folder / f"{run.prefix('errors')}.png")


def predict(inputs: list[str], model, data, classes, channels: int, size: int) -> None:
    """A line for each input, an image file or the number of an image in the split that `data()` reads."""
    numbers = [name for name in inputs if name.isdigit()]
    split = data() if numbers else None
    for name in inputs:
        if name in numbers:
            if int(name) >= len(split):
                raise ValueError(f"there is no image {name}: the split has 0 to {len(split) - 1}")
            image, truth = split.images[int(name)], f" (is {split.classes[split.labels[int(name)]]})"
        else:
            image, truth = read_image(name, channels, size), ""
        chances = probabilities(model, image[None])[0]
        print(f"{classes[int(chances.argmax())]} {chances.max():.3f}  {name}{truth}")


def read_image(file: str, channels: int, size: int) -> np.ndarray:
    """An image file as uint8 (channels, size, size). Grey ones come light on black, as the data's: paper is inverted."""
    Image = pillow("reading an image file")
    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.LANCZOS)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no image {file!r}") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} is not an image that Pillow reads: {error}") from None
    pixels = np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)  # (size, size, C) -> (C, size, size)
    edge = np.concatenate([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], axis=-1)
    return 255 - pixels if channels == 1 and edge.mean() > 127 else pixels


def own_images(split: str, root: str | None, size: int) -> datasets.Images:
    """Image files of one's own, root/class/file, four fifths of them to learn from."""
    if root is None or not Path(root).is_dir():
        raise FileNotFoundError(
            f"--task folder: --data must name a folder that holds a folder of images a class, got {root}"
        )
    if split not in ("train", "validation"):
        raise ValueError(f"--task folder has the splits train and validation, got {split}")
    classes = sorted(folder.name for folder in Path(root).iterdir() if folder.is_dir())
    images, labels = [], []
    for label, name in enumerate(classes):
        for file in sorted(file for file in Path(root, name).iterdir() if file.name[0] != "."):
            # By a hash of what is in it: a file that is there twice is on one side.
            if (hash_share(file.read_bytes().decode("latin-1")) < 0.2) == (split == "validation"):
                images.append(read_image(str(file), 3, size))
                labels.append(label)
    if len(classes) < 2 or not images:
        raise ValueError(f"{root}: {len(images)} images of {len(classes)} classes are too few for the split {split}")
    return datasets.Images(np.stack(images), np.array(labels), classes)


def plot_errors(images: np.ndarray, chances: np.ndarray, labels: np.ndarray, classes: list[str], path: Path) -> None:
    """The 30 images on which the model is most sure, and wrong."""
    from plots import plt

    wrong = sorted(np.flatnonzero(chances.argmax(-1) != labels), key=lambda i: -chances[i].max())
    if not wrong:
        path.unlink(missing_ok=True)
        return
    figure = plt.figure(figsize=(10, 9.5))
    for place, i in enumerate(wrong[:30]):
        axes = figure.add_axes((place % 6 / 6 + 0.01, 0.8 - place // 6 / 5 + 0.005, 0.147, 0.15))
        axes.axis("off")
        image = images[i].transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
        axes.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray")
        said = int(chances[i].argmax())
        axes.set_title(f"{classes[said]} {chances[i, said]:.2f}\nis {classes[labels[i]]}", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
