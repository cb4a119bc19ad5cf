"""How a tensor prints: as PyTorch prints it, to the character, but for the names of dtypes and graph nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .backend import dtypes
from .backend.devices import to_numpy


@dataclass(frozen=True)
class Options:
    precision: int = 4  # digits after the point
    threshold: float = 1000  # a tensor with more elements is shown by its corners
    edgeitems: int = 3  # rows and columns that a corner shows
    linewidth: int = 80
    sci_mode: bool | None = None  # None: decided from the values


PROFILES = {"default": Options(), "short": Options(precision=2, edgeitems=2), "full": Options(threshold=math.inf)}
_options = PROFILES["default"]


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors print; what is None stays, except `sci_mode`, for which None means "by the values".

    profile: "default", "short" or "full"; the other arguments then change its values.
    """
    global _options
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"set_printoptions(): unknown profile {profile!r}; expected one of {', '.join(PROFILES)}")
    given: dict[str, Any] = dict(precision=precision, threshold=threshold, edgeitems=edgeitems, linewidth=linewidth)
    changes = {name: value for name, value in given.items() if value is not None}
    _options = replace(_options if profile is None else PROFILES[profile], **changes, sci_mode=sci_mode)


def tensor_repr(tensor: Any) -> str:
    """The text of `repr(tensor)`: its numbers, then what is not as usual about it."""
    plain = type(tensor).__name__ in ("Tensor", "Parameter")
    opening = ("tensor" if plain else type(tensor).__name__) + "("
    dtype, where, empty = tensor.dtype, tensor.device, tensor.numel() == 0
    notes = []
    if where.type != "cpu":
        notes.append(f"device='{where}'")
    if tensor.ndim != 1 if empty else not _options.edgeitems:
        notes.append(f"size={tuple(tensor.shape)}")
    if dtype is not dtypes.get_default_dtype() and (empty or dtype not in (dtypes.int64, dtypes.bool_)):
        notes.append(f"dtype={dtype}")
    try:
        recorded = tensor.requires_grad  # brings a view's node up to date
        if tensor.grad_fn is not None:
            notes.append(f"grad_fn=<{tensor.grad_fn.name}Backward>")
        elif recorded:
            notes.append("requires_grad=True")
    except RuntimeError:  # a view that may not be used any more (autograd/views.py) can still be looked at
        notes.append("grad_fn=<Invalid>")

    text = opening + ("[]" if empty else _numbers(tensor.array, len(opening)))
    room = _options.linewidth - (len(text) - text.rfind("\n") + 1)
    for note in notes:
        if len(note) + 2 <= room:
            text += ", " + note
            room -= len(note) + 2
        else:
            text += ",\n" + " " * len(opening) + note
            room = _options.linewidth - len(opening) - len(note)
    return text + ")"


def _numbers(array: Any, indent: int) -> str:
    shape, edge = array.shape, _options.edgeitems
    cut = array.size > _options.threshold
    if cut:  # only the corners travel from the device
        for axis, length in enumerate(shape):
            if length > 2 * edge:
                array = array[(slice(None),) * axis + ([*range(edge), *range(length - edge, length)],)]
    values = to_numpy(array)
    if dtypes.OF_NUMPY[values.dtype].is_floating_point:
        values = values.astype(np.float64)
        write, width = _float_format(values[np.isfinite(values) & (values != 0)])
    else:
        write = str
        width = max((len(str(v)) for v in values.flat), default=1)

    def block(part: np.ndarray, axis: int, indent: int) -> str:
        """`part`: the values below one place of the axes before `axis`."""
        gap = cut and shape[axis] > 2 * edge
        if axis == len(shape) - 1:
            items = [write(v).rjust(width) for v in part.tolist()]
            if gap:
                items.insert(edge, " ..." if edge else "...")
            per_line = max(1, (_options.linewidth - indent) // (width + 2))
            lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
            return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
        items = [block(row, axis + 1, indent + 1) for row in part]
        if gap:
            items.insert(edge, "...")
        return "[" + ("," + "\n" * (len(shape) - 1 - axis) + " " * (indent + 1)).join(items) + "]"

    return block(values, 0, indent) if shape else write(values.item()).rjust(width)


def _float_format(values: np.ndarray) -> tuple[Callable[[float], str], int]:
    """How to write numbers like these (finite, not 0), and how wide the widest is.

    Whole numbers as "3.", others with `precision` digits; with exponents when they are large, tiny or far apart.
    """
    whole, scientific = bool((values == np.ceil(values)).all()), False
    if values.size:
        small, large = float(np.abs(values).min()), float(np.abs(values).max())
        scientific = large / small > 1000 or large > 1e8 or (small < 1e-4 and not whole)
        if _options.sci_mode is not None:
            scientific = _options.sci_mode

    def write(value: float) -> str:
        if scientific:
            return f"{value:.{_options.precision}e}"
        if whole:
            return f"{value:.0f}" + "." * math.isfinite(value)
        return f"{value:.{_options.precision}f}"

    return write, max((len(write(v)) for v in values.tolist()), default=1)
