"""Sequences of different lengths: padded to one tensor, or packed without padding.

Packed, the rows lie time by time: those of time 0 of all sequences, the longest first, then those of time 1 of all that
have a time 1, and so on. `batch_sizes` counts them. So [a b c] and [x] become

    data = a x b c     batch_sizes = 2 1 1
"""

from collections import namedtuple
from collections.abc import Iterable

import minitorch

from ...tensor import Tensor


class PackedSequence(namedtuple("PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])):
    """What `pack_padded_sequence` and `pack_sequence` make, and recurrent layers take and return.

    sorted_indices: the given number of each packed sequence; unsorted_indices: the way back. None: they were in order.
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError(
                    f"PackedSequence: without batch_sizes, data is expected to be (data, batch_sizes), "
                    f"got {type(data).__name__}"
                )
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                f"PackedSequence: batch_sizes should always be on CPU, got them on {batch_sizes.device}. Let "
                "pack_padded_sequence or pack_sequence make it."
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with(self, data):
        if data is self.data:
            return self
        sorted_indices, unsorted_indices = (None if t is None else t.to(data.device) for t in self[2:])
        return type(self)(data, self.batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args, **kwargs):
        """As Tensor.to of `data`; the indices go with it, batch_sizes stays on the CPU."""
        return self._with(self.data.to(*args, **kwargs))

    def cuda(self, *args, **kwargs):
        return self._with(self.data.cuda(*args, **kwargs))

    def cpu(self):
        return self._with(self.data.cpu())

    def double(self):
        return self.to(minitorch.float64)

    def float(self):
        return self.to(minitorch.float32)

    def half(self):
        return self.to(minitorch.float16)

    def long(self):
        return self.to(minitorch.int64)

    def int(self):
        return self.to(minitorch.int32)

    def short(self):
        return self.to(minitorch.int16)

    def char(self):
        return self.to(minitorch.int8)

    def byte(self):
        return self.to(minitorch.uint8)

    def pin_memory(self):
        return self

    def is_pinned(self):
        return False

    @property
    def is_cuda(self):
        return self.data.is_cuda


def invert_permutation(permutation):
    """p -> q with q[p[i]] = i; None stays None."""
    if permutation is None:
        return None
    return permutation.argsort()


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Padded sequences, (T, B, ...) or batch first, as a PackedSequence.

    enforce_sorted: the lengths must decrease; False: they may come in any order.
    """
    name = "pack_padded_sequence"
    if not isinstance(input, Tensor) or input.dim() < 2:
        got = f"shape {tuple(input.shape)}" if isinstance(input, Tensor) else type(input).__name__
        raise RuntimeError(f"{name}: expected a padded input of at least 2 dimensions, (T, B, ...), got {got}")
    lengths = _lengths(lengths, name)
    if batch_first:
        input = input.transpose(0, 1)
    if not input.numel():
        raise RuntimeError(f"{name}: Cannot pack empty tensors, got an input of shape {tuple(input.shape)}.")
    times, batch = input.shape[:2]
    if len(lengths) != batch:
        raise RuntimeError(
            f"{name}: Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} (batch_size={batch})"
        )
    sorted_indices = None
    if not enforce_sorted:
        lengths, order = minitorch.sort(lengths, descending=True, stable=True)
        sorted_indices = order.to(input.device)
        input = input.index_select(1, sorted_indices)
    elif (lengths[1:] > lengths[:-1]).any():
        raise RuntimeError(
            f"{name}: `lengths` array must be sorted in decreasing order when `enforce_sorted` is True, got "
            f"{lengths.tolist()}. You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence."
        )
    shortest, longest = int(lengths[-1]), int(lengths[0])
    if shortest <= 0:
        raise RuntimeError(
            f"{name}: Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0: "
            f"{shortest}"
        )
    if longest > times:
        raise RuntimeError(f"{name}: expected lengths of at most {times}, the times of the input, got {longest}")
    live = minitorch.arange(longest).unsqueeze(1) < lengths  # (T, B): the true ones lie in the order of packing
    data = input[:longest][live.to(input.device)] if shortest < longest else input[:longest].flatten(0, 1).clone()
    return PackedSequence(data, live.sum(1), sorted_indices, None)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """(padded, lengths): the inverse of pack_padded_sequence.       padded: (T, B, ...), or batch first"""
    name = "pad_packed_sequence"
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"{name}: expected a PackedSequence, got {type(sequence).__name__}")
    data, batch_sizes, _, unsorted_indices = sequence
    times, batch = len(batch_sizes), int(batch_sizes[0])
    if total_length is not None and total_length < times:
        raise ValueError(
            f"{name}: Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {times}"
        )
    total = times if total_length is None else total_length
    live = minitorch.arange(batch) < batch_sizes.unsqueeze(1)  # (T, B)
    lengths = live.sum(0)
    if total > times:
        live = minitorch.cat([live, minitorch.zeros(total - times, batch, dtype=minitorch.bool)])
    padded = data.new_full((total, batch, *data.shape[1:]), padding_value)
    padded = minitorch.index_put(padded, (live.to(data.device),), data)
    if unsorted_indices is not None:
        padded, lengths = padded.index_select(1, unsorted_indices), lengths[unsorted_indices.cpu()]
    return padded.transpose(0, 1) if batch_first else padded, lengths


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Sequences (L, ...) of different lengths as one tensor: (T, B, ...), or batch first."""
    name = "pad_sequence"
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"{name}: Expected iterable for input sequences, but got arg of type: {type(sequences)}")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"{name}: Expected padding_side to be one of left or right, but got {padding_side}.")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError(f"{name}: received an empty list of sequences")
    for i, x in enumerate(sequences):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: expected Tensor as element {i}, but got {type(x).__name__}")
        if not x.dim() or x.shape[1:] != sequences[0].shape[1:]:
            rest = "".join(f", {n}" for n in sequences[0].shape[1:])
            raise RuntimeError(f"{name}: expected sequences of shape (L{rest}), got {tuple(x.shape)} as element {i}")
    longest = max(len(x) for x in sequences)
    first, rows = sequences[0], []
    for x in sequences:
        x = x.to(first.dtype)
        if len(x) < longest:
            padding = first.new_full((longest - len(x), *first.shape[1:]), padding_value)
            x = minitorch.cat([x, padding] if padding_side == "right" else [padding, x])
        rows.append(x)
    return minitorch.stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The sequences, each without its padding: the inverse of pad_sequence (padded on the right)."""
    name = "unpad_sequence"
    lengths = _lengths(lengths, name).tolist()
    rows = (padded_sequences if batch_first else padded_sequences.transpose(0, 1)).unbind(0)
    if len(rows) != len(lengths):
        raise ValueError(f"{name}: expected as many lengths as sequences, {len(rows)}, got {len(lengths)}")
    return [row[: max(length, 0)].clone() for row, length in zip(rows, lengths)]


def pack_sequence(sequences, enforce_sorted=True):
    """Sequences (L, ...) of different lengths as a PackedSequence."""
    sequences = list(sequences)
    padded = pad_sequence(sequences)
    return pack_padded_sequence(padded, [len(x) for x in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The sequences of a PackedSequence, as a list."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)


def _lengths(lengths, name):
    """Lengths, a list or a tensor, as a 1-D int64 tensor on the CPU."""
    if not isinstance(lengths, Tensor):
        lengths = minitorch.tensor(list(lengths))
    if lengths.dim() != 1 or lengths.device.type != "cpu":
        raise RuntimeError(
            f"{name}: 'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D "
            f"{lengths.device} {lengths.dtype} tensor"
        )
    return lengths.to(minitorch.int64)
