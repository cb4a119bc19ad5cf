"""MNIST from its files, CIFAR10 from the plain bytes, and noise."""

import gzip
import os

import numpy as np
import torch
from PIL import Image


class Images(torch.utils.data.Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.data[index])), int(self.targets[index])


class MNIST(Images):
    folder = "mnist"

    def __init__(self, root, train=True, download=False, transform=None):
        super().__init__(transform)
        start = "train" if train else "t10k"
        raw = os.path.join(root, type(self).__name__, "raw")
        raw = raw if os.path.isdir(raw) else os.path.join(os.environ["MINITORCH_DATA"], self.folder)
        with gzip.open(os.path.join(raw, f"{start}-images-idx3-ubyte.gz")) as file:
            self.data = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
        with gzip.open(os.path.join(raw, f"{start}-labels-idx1-ubyte.gz")) as file:
            self.targets = np.frombuffer(file.read()[8:], np.uint8)


class FashionMNIST(MNIST):
    folder = "fashion_mnist"


class CIFAR10(Images):
    def __init__(self, root, train=True, download=False, transform=None):
        super().__init__(transform)
        path = os.path.join(os.environ["MINITORCH_DATA"], "cifar10_4k", "cifar10_first4000_lossless.bin")
        records = np.fromfile(path, np.uint8).reshape(-1, 3073)
        self.targets = records[:, 0]
        self.data = np.ascontiguousarray(np.moveaxis(records[:, 1:].reshape(-1, 3, 32, 32), 1, 3))


class FakeData(torch.utils.data.Dataset):
    def __init__(self, size, image_size, num_classes, transform):
        self.size, self.image_size, self.num_classes, self.transform = size, image_size, num_classes, transform

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        state = torch.get_rng_state()
        torch.manual_seed(index)
        image = torch.randn(*self.image_size)
        target = torch.randint(0, self.num_classes, size=(1,))[0]
        torch.set_rng_state(state)
        pixels = (image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        return self.transform(Image.fromarray(pixels)), target.item()
