"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import minitorch

from ...tensor import Tensor, wrap


def default_collate(batch: Sequence) -> Any:
    """Stacks samples: tensors and arrays along a new first axis, numbers into a tensor, containers member by member.

    Text and bytes stay lists. A tuple becomes a list, a named tuple and a dict stay what they are.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        arrays = [sample.array for sample in batch if isinstance(sample, Tensor) and not sample.requires_grad]
        if len(arrays) == len(batch) and _alike(arrays):
            return wrap(first.xp.stack(arrays))
        return minitorch.stack(list(batch))
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SaUO":
            raise TypeError(f"default_collate: an array of {first.dtype} cannot become a tensor")
        if _alike(batch):
            return minitorch.as_tensor(np.stack(batch))
        return minitorch.stack([minitorch.as_tensor(a) for a in batch])
    if isinstance(first, np.generic) and not isinstance(first, (str, bytes)):
        return minitorch.as_tensor(np.array(batch))
    if isinstance(first, float):
        return minitorch.tensor(batch, dtype=minitorch.float64)
    if isinstance(first, int):
        return minitorch.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        for i, sample in enumerate(batch):
            if missing := [key for key in first if key not in sample]:
                raise KeyError(f"default_collate: sample {i} of the batch has no key {missing[0]!r}, sample 0 has it")
        return _rebuilt(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*map(default_collate, zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        lengths = [len(sample) for sample in batch]
        if len(set(lengths)) > 1:
            raise RuntimeError(f"each element in list of batch should be of equal size, but got the lengths {lengths}")
        members = [default_collate(member) for member in zip(*batch, strict=True)]
        return members if isinstance(first, tuple) else _rebuilt(first, members)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
        f"{type(first)}; pass a collate_fn to the DataLoader"
    )


def default_convert(data: Any) -> Any:
    """NumPy arrays and numbers in a sample become tensors; everything else stays."""
    if isinstance(data, Tensor) or isinstance(data, (str, bytes)):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SaUO" else minitorch.as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence):
        return _rebuilt(data, [default_convert(value) for value in data])
    return data


def _alike(arrays: Sequence) -> bool:
    """One array type, one dtype, one shape: then the array library stacks them, at once."""
    first = arrays[0]
    return all(type(a) is type(first) and a.dtype == first.dtype and a.shape == first.shape for a in arrays)


def _rebuilt(container: Any, content: Any) -> Any:
    """`content` in a container of the same type, with the same attributes, where that is possible."""
    made: Any
    try:
        if isinstance(container, MutableMapping):
            made = copy.copy(container)
            made.update(content)
            return made
        if isinstance(container, MutableSequence):
            made = copy.copy(container)
            for i, value in enumerate(content):
                made[i] = value
            return made
        constructor: Callable = type(container)
        return constructor(content)
    except TypeError:  # its constructor wants something else
        return content
