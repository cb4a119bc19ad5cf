"""A sampler that gives each of several processes its own part of a dataset, in PyTorch's order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

from ...backend.random import Generator
from .sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every num_replicas-th index from `rank` on, of a permutation drawn from seed + epoch, or in order.

    The indices are repeated from the front until they divide evenly; with drop_last the tail is left out instead.
    Nothing here starts processes or asks them: both numbers have to be given.
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ):  # fmt: skip
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "DistributedSampler: minitorch trains in one process and cannot ask how many there are; give "
                "num_replicas and rank"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank, self.epoch = dataset, num_replicas, rank, 0
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        size = len(dataset)
        self.num_samples = math.ceil(
            (size - num_replicas if drop_last and size % num_replicas else size) / num_replicas
        )
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        if self.shuffle:
            indices = Generator().manual_seed(self.seed + self.epoch).permutation(size).tolist()
        else:
            indices = list(range(size))
        if not self.drop_last and indices:
            indices = (indices * math.ceil(self.total_size / size))[: self.total_size]
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Another epoch, another permutation."""
        self.epoch = epoch
