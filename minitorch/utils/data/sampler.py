"""Samplers: the order in which samples are taken. From the same seed, PyTorch's order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from ...backend import random
from ...tensor import Tensor

T_co = TypeVar("T_co", covariant=True)


def draw_seed(generator: Any = None) -> int:
    """A seed for another stream: two words of this one, as PyTorch's `torch.empty((), dtype=int64).random_()`."""
    return int((generator or random.default_generator).full_range((), np.int64))


def positive_int(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value!r}")
    return value


def check_generator(owner: str, generator: Any) -> Any:
    if generator is not None and not hasattr(generator, "permutation"):
        raise TypeError(f"{owner}: expected a minitorch.Generator or None as generator, got {type(generator).__name__}")
    return generator


class Sampler(Generic[T_co]):
    """An order: `__iter__` gives indices, or lists of indices; `__len__`, where it is known, says how many.

    A sampler with random draws that are not minitorch's can be resumed in the middle of an epoch if it has
    `state_dict()` and `load_state_dict(state)`; the others are run again up to where they were.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} is a Sampler: it must define __iter__()")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized):
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """A random permutation, another one each time; or, with replacement, independent indices.

    Without a generator of its own it draws from a new stream, whose seed comes from the default one: so the default
    stream moves by two words, whatever the size of the dataset. `num_samples` beyond the size starts over.
    """

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None, generator: Any = None
    ):
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement!r}")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = check_generator("RandomSampler()", generator)
        if num_samples is not None:
            positive_int("num_samples", num_samples)
        elif len(data_source) == 0:
            raise ValueError(
                "num_samples should be a positive integer value, but got num_samples=0: the dataset is empty, there is "
                "nothing to shuffle"
            )

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        generator = random.Generator().manual_seed(draw_seed()) if self.generator is None else self.generator
        if self.replacement:
            for begin in range(0, self.num_samples, 32):  # drawn as they are needed, 32 at a time
                yield from generator.randint(0, n, (min(32, self.num_samples - begin),)).tolist()
            return
        if n == 0:
            raise ValueError(f"RandomSampler: asked for {self.num_samples} samples of an empty dataset")
        for _ in range(self.num_samples // n):
            yield from generator.permutation(n).tolist()
        yield from generator.permutation(n).tolist()[: self.num_samples % n]  # drawn even when nothing is left to give

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None):
        self.indices = indices
        self.generator = check_generator("SubsetRandomSampler()", generator)

    def __iter__(self) -> Iterator[int]:
        for i in (self.generator or random.default_generator).permutation(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Index i with probability weights[i] / sum(weights); without replacement, no index twice."""

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None):
        positive_int("num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement!r}")
        values = weights.detach().cpu().numpy() if isinstance(weights, Tensor) else list(weights)
        values = np.array(values, np.float64)
        if values.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {values.shape}")
        self.weights = values
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = check_generator("WeightedRandomSampler()", generator)

    def __iter__(self) -> Iterator[int]:
        generator = self.generator or random.default_generator
        yield from generator.multinomial(self.weights, self.num_samples, self.replacement).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of another sampler; the last one may be shorter, or is dropped."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool):
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last!r}")
        self.sampler = sampler
        self.batch_size = positive_int("batch_size", batch_size)
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        n: int = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
