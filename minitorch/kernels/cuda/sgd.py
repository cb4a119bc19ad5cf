"""SGD: one launch for all parameters of a group."""

from __future__ import annotations

from ...backend import capture
from ...backend.devices import namespace_of
from ...backend.fastpath import fast_path
from ...optim.sgd import SGD
from ...tensor import Tensor, wrap
from .adam import device_lr, number
from .launch import Source, contiguous
from .many import KINDS, here, launch, numbers, usable

_source = Source("sgd.cu")


def numbers_of(group):
    """The kernel's numbers, in the order of sgd.cu."""
    return (
        number(group["lr"]), float(group["momentum"]), float(group["dampening"]), float(group["weight_decay"]),
        float(group["nesterov"]), -1.0 if group["maximize"] else 1.0,
    )  # fmt: skip


def row(xp, p, g, state, group, seen):
    """The table's row of a parameter, or None: the textbook's update takes it.

    The first step's buffer is the gradient itself. A buffer of zeros gives the same, momentum 0 + g, unless there is
    dampening; and whether the first step was left out (found_inf) need not be known then.
    """
    kind = KINDS.get(g.dtype)
    if kind is None or not (usable(xp, p) and here(xp, g) and p.size == g.size) or (p.size and p.data.ptr in seen):
        return None
    where = 0
    if group["momentum"] != 0:
        if state.get("momentum_buffer") is None:
            if group["dampening"] != 0:
                return None
            capture.refuse("making an optimizer's state", "call the step at least once before it is captured")
            state["momentum_buffer"] = wrap(xp.zeros_like(p))
        buffer = state["momentum_buffer"].array
        if not usable(xp, buffer) or buffer.size != p.size:
            return None
        where = buffer.data.ptr
    seen.add(p.data.ptr)
    return p.size, kind, p.data.ptr, g.data.ptr, where


@fast_path(SGD, "cupy")
class SGDCUDA(SGD):
    takes_found_inf = True

    @staticmethod
    def update_all(entries, group):
        xp = namespace_of(entries[0][0])
        lr = device_lr(xp, group)
        if isinstance(group["lr"], Tensor) and lr is None:
            return entries
        rows, copies, left = [], [], []
        seen: set = set()
        for entry in entries:
            p, g, state = entry
            copies.append(contiguous(g))  # kept until the launch
            line = row(xp, p, copies[-1], state, group, seen)
            if line is None:
                left.append(entry)
            else:
                rows.append(line)
        if any(line[0] for line in rows):
            given, now = numbers(xp, lambda: numbers_of(group["now"]()))
            launch(_source, "sgd", xp, rows, given, lr, group["found_inf"], now)
        return left
