"""Batches of texts: padded no further than their longest, and made of texts of similar length.

A batch costs what its longest text costs. In random batches of sentences much of that is padding; in batches cut from
pools that are sorted by length, little.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import minitorch
from minitorch import Tensor
from minitorch.utils.data import DataLoader, Sampler

IGNORE = -100  # the label of a position that the loss leaves out


class LengthBatches(Sampler):
    """A batch sampler for `DataLoader(batch_sampler=)`: lists of indices of texts of similar length.

    The order is random at every iteration; pools of `pool` batches are sorted by length and cut into batches, whose order
    is random again. Without shuffle: by length, the longest first, so that what does not fit in memory fails at once.
    Random numbers are the default generator's.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, shuffle: bool = True, pool: int = 50):
        if batch_size < 1 or pool < 1:
            raise ValueError(f"batch_size and pool must be at least 1, got {batch_size} and {pool}")
        self.lengths, self.batch_size, self.shuffle, self.pool = list(lengths), batch_size, shuffle, pool

    def __iter__(self) -> Iterator[list[int]]:
        order, size = list(range(len(self.lengths))), self.batch_size
        if not self.shuffle:
            order.sort(key=lambda i: -self.lengths[i])
            yield from (order[i : i + size] for i in range(0, len(order), size))
            return
        order = minitorch.randperm(len(order)).tolist()
        pool = self.pool * size
        # The short batch is cut off before sorting: left over from the sorted ones, it would always hold the longest.
        order, rest = order[: len(order) - len(order) % size], order[len(order) - len(order) % size :]
        batches = [rest] if rest else []
        for start in range(0, len(order), pool):
            part = sorted(order[start : start + pool], key=lambda i: self.lengths[i])
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        yield from (batches[i] for i in minitorch.randperm(len(batches)).tolist())

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)


def pad(features: Sequence[dict[str, Any]], pad_id: int = 0) -> dict[str, Tensor]:
    """A batch: each feature padded to the longest; `attention_mask` is 0 where there is padding.

    features: {"input_ids": [...], ...}. Lists, one entry for each token, are padded on the right: input_ids with pad_id,
    labels with -100, all others with 0. Numbers, as a text's label, and tensors stay as they are.
    -> (B, T), (B,) or, of tensors, (B, ...) each
    """
    if not features:
        raise ValueError("pad: there are no features, and a batch has at least one")
    length = max(len(feature["input_ids"]) for feature in features)
    fill = {"input_ids": pad_id, "labels": IGNORE}
    batch = {}
    for name, first in features[0].items():
        column = [feature[name] for feature in features]
        if isinstance(first, (list, tuple)):
            column = [[*values, *[fill.get(name, 0)] * (length - len(values))] for values in column]
        batch[name] = minitorch.tensor(column)
    if "attention_mask" not in batch:
        sizes = [len(feature["input_ids"]) for feature in features]
        batch["attention_mask"] = minitorch.tensor([[1] * size + [0] * (length - size) for size in sizes])
    return batch


def widen(batch: dict[str, Tensor], multiple: int, most: int | None = None, pad_id: int = 0) -> dict[str, Tensor]:
    """The same batch, padded further: its length becomes a multiple of `multiple`, but at most `most`, so that batches come
    in few lengths. Tensors of the shape of input_ids, (B, T), are filled up as `pad` does; labels that are not integers
    belong to the text, not to its tokens, and are not."""
    before = batch["input_ids"].shape[1]
    length = max(before, min(-(-before // multiple) * multiple, most or before + multiple))
    fill = {"input_ids": pad_id, "labels": IGNORE}

    def wider(name: str, t: Tensor) -> Tensor:
        of_text = name == "labels" and t.is_floating_point()
        if t.shape[:2] != batch["input_ids"].shape or of_text or length == before:
            return t
        return minitorch.cat([t, t.new_full((len(t), length - before, *t.shape[2:]), fill.get(name, 0))], 1)

    return {name: wider(name, t) for name, t in batch.items()}


def text_batches(
    tokenizer: Any, texts: Sequence[str], labels: Sequence[float] | Sequence[Sequence[float]], *, batch_size: int = 32,
    shuffle: bool = True, max_length: int | None = None,
) -> DataLoader:  # fmt: skip
    """Labelled texts as batches for `training.fit`.

    labels: for each text a class, a whole number; or a number to predict; or a row, 0 or 1 for each class, (N, classes).
    """
    if len(texts) != len(labels):
        raise ValueError(f"there are {len(texts)} texts and {len(labels)} labels: one label for each text is expected")
    columns = label_column(labels)
    features = tokenizer.features(texts, max_length=max_length)
    return batches([{**f, "labels": label} for f, label in zip(features, columns)], tokenizer.pad, batch_size, shuffle)


def label_column(labels: Sequence) -> list:
    """Labels as `pad` takes them: integers, floats where one is not whole (a regression), or float tensors for rows."""
    try:
        values = np.array(labels)
    except ValueError:  # rows of different lengths
        values = np.array(None)
    if text := next((str(label) for label in values.flat if isinstance(label, str)), None):
        raise ValueError(
            f"labels must be numbers, got {text!r}: give each class a number, as in label2id = {{'negative': 0, "
            "'positive': 1}, and take label2id[label]"
        )
    if values.dtype.kind not in "biuf" or values.ndim not in (1, 2) or not np.isfinite(values).all():
        raise ValueError(
            "labels must be a finite number for each text, or for each text a row with as many numbers as there are classes"
        )
    if values.ndim == 2:  # floats even where all are whole: that is how a model tells them from classes
        return [minitorch.tensor(row) for row in values.astype(np.float32)]
    return values.astype(np.int64 if (values == np.floor(values)).all() else np.float64).tolist()


def batches(features: list[dict], pad: Callable, batch_size: int = 32, shuffle: bool = True) -> DataLoader:
    """A DataLoader over features in batches of similar length."""
    lengths = [len(feature["input_ids"]) for feature in features]
    return DataLoader(features, batch_sampler=LengthBatches(lengths, batch_size, shuffle), collate_fn=pad)  # type: ignore[arg-type]
