"""MNIST, FashionMNIST and CIFAR10, under torchvision's names and in its folders.

A data set is looked for in `root`, then in the folder that the environment variable MINITORCH_DATA names, and only then
downloaded, if `download=True`. A file is checked before it is believed: its checksum after the download, its
header and size when it is read.

CIFAR-10's authors offer their images as pickles for Python and as plain bytes. torchvision reads the pickles; reading a
pickle can run any code, so minitorch takes the bytes: the same images in the same order, in `cifar-10-batches-bin`.
"""

from __future__ import annotations

import math
import os
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minitorch

from .. import missing
from ..tensor import Tensor
from ..utils.data import Dataset
from ..utils.download import CHUNK, download, unpacked
from ..utils.files import LoadError, atomic_file
from ._pillow import pillow
from .transforms.functional import to_pil_image

__all__ = ["CIFAR10", "FakeData", "FashionMNIST", "MNIST", "VisionDataset"]

__getattr__ = missing.names(__name__)


class _Both:
    """The transforms of an image and of its target."""

    def __init__(self, transform: Callable | None = None, target_transform: Callable | None = None):
        self.transform = transform
        self.target_transform = target_transform

    def __call__(self, image, target):
        image = image if self.transform is None else self.transform(image)
        return image, target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        lines = ["StandardTransform"]
        for head, transform in (("Transform: ", self.transform), ("Target transform: ", self.target_transform)):
            if transform is not None:
                lines.append(head + repr(transform).replace("\n", "\n" + " " * len(head)))
        return "\n".join(lines)


class VisionDataset(Dataset):
    """Images with labels: a subclass defines `__getitem__` and `__len__`."""

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        transforms: Callable | None = None,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
    ):
        separate = transform is not None or target_transform is not None
        if transforms is not None and separate:
            raise ValueError("Only transforms or transform/target_transform can be passed as argument")
        self.root = os.path.expanduser(root) if isinstance(root, str) else root
        self.transform = transform
        self.target_transform = target_transform
        self.transforms = _Both(transform, target_transform) if separate else transforms

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} is a VisionDataset: it must define __len__()")

    def _sample(self, array: np.ndarray, target: int) -> tuple[Any, Any]:
        image = pillow(f"an image of {type(self).__name__} (its .data are tensors without it)").fromarray(array)
        return _Both(self.transform, self.target_transform)(image, target)

    def __repr__(self) -> str:
        lines = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            lines.append(f"Root location: {self.root}")
        lines += self.extra_repr().splitlines()
        if self.transforms is not None:
            lines.append(repr(self.transforms))
        return "\n".join([f"Dataset {type(self).__name__}", *(f"    {line}" for line in lines)])

    def extra_repr(self) -> str:
        return ""


def _data_folder(name: str) -> Path | None:
    folder = os.environ.get("MINITORCH_DATA")
    return Path(folder) / name if folder else None


class MNIST(VisionDataset):
    """Handwritten digits, 28 x 28: `root/MNIST/raw/train-images-idx3-ubyte` and so on, also as .gz.

    data: uint8 tensor (N, 28, 28); targets: int64 tensor (N,). ds[i]: a Pillow image and an int.
    """

    mirrors = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    classes = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight",
        "9 - nine",
    ]  # fmt: skip
    folder = "mnist"  # in MINITORCH_DATA

    def __init__(
        self,
        root: str | os.PathLike,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        folder = self._found()
        if folder is None:
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        start = os.path.join(folder, "train" if train else "t10k")
        data, targets = read_labelled_idx(f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte", len(self.classes))
        self.data = minitorch.from_numpy(data)
        self.targets: Tensor = minitorch.from_numpy(targets)

    @property
    def raw_folder(self) -> str:
        return os.path.join(self.root or "", type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}

    def _found(self) -> str | None:
        """The first folder that holds all four files, packed or not."""
        packed = [name for name, _ in self.resources]
        folders: list[Any] = [self.raw_folder, _data_folder(self.folder)]
        for folder in filter(None, folders):
            paths = [os.path.join(folder, name) for name in packed]
            if all(os.path.isfile(path) or os.path.isfile(path.removesuffix(".gz")) for path in paths):
                return os.fspath(folder)
        return None

    def download(self) -> None:
        """Fetches the files that are in neither place, unpacked too, for torchvision."""
        if self._found():
            return
        os.makedirs(self.raw_folder, exist_ok=True)
        for name, md5 in self.resources:
            path = os.path.join(self.raw_folder, name)
            download([mirror + name for mirror in self.mirrors], path, md5)
            with unpacked(path) as packed, atomic_file(path.removesuffix(".gz")) as file:
                while chunk := packed.read(CHUNK):
                    file.write(chunk)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._sample(self.data[index].numpy(), int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """Pictures of clothes in MNIST's format. arXiv:1708.07747"""

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    folder = "fashion_mnist"


class CIFAR10(VisionDataset):
    """Photographs, 32 x 32: `root/cifar-10-batches-bin/data_batch_1.bin` and so on.

    data: uint8 array (N, 32, 32, 3); targets: list of N ints. ds[i]: a Pillow image and an int.
    """

    base_folder = "cifar-10-batches-bin"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    filename = "cifar-10-binary.tar.gz"
    tgz_md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    train_list = [f"data_batch_{i}.bin" for i in range(1, 6)]
    test_list = ["test_batch.bin"]
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    batch = 10_000  # images a file
    first_images = "cifar10_4k/cifar10_first4000_lossless.bin"  # in MINITORCH_DATA: the beginning of the training set

    def __init__(
        self,
        root: str | os.PathLike,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ):
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        folders = [os.path.join(root, self.base_folder), _data_folder(self.base_folder)]
        first = _data_folder(self.first_images) if train else None
        folder = self._found(folders)
        if folder is None and download and not (first and first.is_file()):
            self.download()
            folder = self._found(folders)
        if folder is not None:
            names = self.train_list if train else self.test_list
            parts = [read_records(os.path.join(folder, name), self.batch) for name in names]
        elif first and first.is_file():
            parts = [read_records(os.fspath(first))]
            warnings.warn(f"CIFAR10: {first} has only the first {len(parts[0][1]):,} training images", stacklevel=2)
        else:
            pickles = os.path.join(root, "cifar-10-batches-py")
            hint = (
                f". {pickles} holds pickles, which minitorch does not read; download=True fetches the same images as bytes"
                if os.path.isdir(pickles)
                else ""
            )
            raise RuntimeError(f"Dataset not found or corrupted. You can use download=True to download it{hint}")
        self.data = np.concatenate([images for images, _ in parts])
        self.targets = [label for _, labels in parts for label in labels]

    @property
    def class_to_idx(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}

    def _found(self, folders: list) -> str | None:
        for folder in folders:
            if folder and all(os.path.isfile(os.path.join(folder, n)) for n in self.train_list + self.test_list):
                return os.fspath(folder)
        return None

    def download(self) -> None:
        """Fetches the archive and unpacks the six files of images, and nothing else, whatever it holds."""
        os.makedirs(os.path.join(self.root or "", self.base_folder), exist_ok=True)
        archive = os.path.join(self.root or "", self.filename)
        download([self.url], archive, self.tgz_md5)
        with tarfile.open(archive, "r:gz") as tar:
            for name in self.train_list + self.test_list:
                member = tar.getmember(f"{self.base_folder}/{name}")
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or member.size != self.batch * RECORD:
                    raise LoadError(f"{archive}: {member.name} is not a file of {self.batch * RECORD:,} bytes")
                with atomic_file(os.path.join(self.root or "", self.base_folder, name)) as file:
                    file.write(source.read())

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._sample(self.data[index], self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"


class FakeData(VisionDataset):
    """`size` images of noise with random labels; each is drawn anew, from a seed of its own."""

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, ...] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        random_offset: int = 0,
    ):
        super().__init__(None, transform=transform, target_transform=target_transform)
        self.size = size
        self.image_size = image_size
        self.num_classes = num_classes
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"{type(self).__name__} index out of range")
        generator = minitorch.Generator().manual_seed(index + self.random_offset)
        image = to_pil_image(minitorch.randn(*self.image_size, generator=generator))
        target = minitorch.randint(0, self.num_classes, (1,), generator=generator)[0]
        image, target = _Both(self.transform, self.target_transform)(image, target)
        return image, target.item() if isinstance(target, Tensor) else target

    def __len__(self) -> int:
        return self.size


# --- files -----------------------------------------------------------------------------------------------------------


def read_idx(path: str, axes: int) -> np.ndarray:
    """The array of bytes in an idx file, or in path.gz, with that many axes.

    Two bytes 0, one for the type (8: bytes), one for the number of axes; the sizes, big-endian; the numbers.
    """
    path = path if os.path.isfile(path) else path + ".gz"
    with unpacked(path) as file:
        start = file.read(4)
        if start != bytes([0, 0, 8, axes]):
            raise LoadError(
                f"{path}, at byte 0: expected the idx header 0000080{axes} ({axes} axes of bytes), got {start.hex() or 'nothing'}"
            )
        sizes = file.read(4 * axes)
        if len(sizes) < 4 * axes:
            raise LoadError(f"{path}, at byte {4 + len(sizes)}: truncated in the header")
        shape = [int.from_bytes(sizes[4 * i : 4 * i + 4], "big") for i in range(axes)]
        begin, needed = 4 + 4 * axes, math.prod(shape)
        parts, left = [], needed + 1  # read as it comes: a header can claim any size
        while left and (part := file.read(min(left, CHUNK))):
            parts.append(part)
            left -= len(part)
    data = b"".join(parts)
    if len(data) < needed:
        raise LoadError(
            f"{path}, at byte {begin + len(data):,}: truncated: the shape {shape} takes {needed:,} bytes, "
            f"{len(data):,} follow the header"
        )
    if len(data) > needed:
        raise LoadError(f"{path}, at byte {begin + needed:,}: more bytes follow than the shape {shape} takes")
    return np.frombuffer(bytearray(data), np.uint8).reshape(shape)


def read_labelled_idx(images: str, labels: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W) and labels (N,) from two idx files."""
    data, targets = read_idx(images, 3), read_idx(labels, 1).astype(np.int64)
    if len(targets) != len(data):
        raise LoadError(f"{images} and {labels}: {len(data):,} images and {len(targets):,} labels")
    if wrong := np.flatnonzero(targets >= classes).tolist():
        raise LoadError(
            f"{labels}, at byte {8 + wrong[0]:,}: label {targets[wrong[0]]} is not one of {classes} classes"
        )
    return data, targets


RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue plane


def read_records(path: str, count: int | None = None) -> tuple[np.ndarray, list[int]]:
    """CIFAR-10's plain format: images (N, 32, 32, 3) and labels."""
    size = os.path.getsize(path)
    if size % RECORD or size == 0 or count not in (None, size // RECORD):
        raise LoadError(
            f"{path}, at byte {size - size % RECORD:,}: truncated or altered: {size:,} bytes are not "
            f"{count or 'a number of'} records of {RECORD:,}"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, RECORD)
    if wrong := np.flatnonzero(records[:, 0] > 9).tolist():
        raise LoadError(f"{path}, at byte {wrong[0] * RECORD:,}: label {records[wrong[0], 0]} is not one of 10 classes")
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].tolist()
