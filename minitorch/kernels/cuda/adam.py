"""Adam and AdamW: one launch for all parameters of a group, with their step counts on the GPU."""

from __future__ import annotations

import numpy as np

from ...backend import capture
from ...backend.devices import namespace_of
from ...backend.fastpath import fast_path
from ...optim.adam import Adam, AdamW
from ...tensor import Tensor, wrap
from .launch import Source, contiguous
from .many import FLOAT32, KINDS, here, launch, numbers, usable

_source = Source("adam.cu")


def device_lr(xp, group):
    """The array of a learning rate that is a tensor on this GPU, as float32; otherwise None."""
    lr = group["lr"]
    if not isinstance(lr, Tensor) or not here(xp, lr.array):
        return None
    return lr.array if lr.array.dtype == FLOAT32 else lr.array.astype(FLOAT32)


def number(lr):
    """A learning rate for a kernel's numbers; one on the GPU is read there."""
    return (lr.item() if type(lr.array) is np.ndarray else 0.0) if isinstance(lr, Tensor) else float(lr)


def numbers_of(group):
    """The kernel's numbers, in the order of adam.cu."""
    beta1, beta2 = group["betas"]
    return (
        number(group["lr"]), float(beta1), float(beta2), float(group["weight_decay"]),
        float(group["decoupled_weight_decay"]), -1.0 if group["maximize"] else 1.0, float(group["eps"]),
    )  # fmt: skip


def row(xp, p, g, state, seen):
    """The table's row of a parameter, or None: the textbook's update takes it. The step count moves to the GPU."""
    m, v, step = state["exp_avg"].array, state["exp_avg_sq"].array, state["step"].array
    kind = KINDS.get(g.dtype)
    if kind is None or not (usable(xp, p) and usable(xp, m) and usable(xp, v) and here(xp, g)):
        return None
    if (p.size and p.data.ptr in seen) or not p.size == g.size == m.size == v.size:
        return None
    if not usable(xp, step):
        if not isinstance(step, np.ndarray):
            return None
        capture.refuse("making an optimizer's state", "call the step at least once before it is captured")
        state["step"] = wrap(xp.full((), float(step), FLOAT32))
        step = state["step"].array
    seen.add(p.data.ptr)
    return p.size, kind, p.data.ptr, g.data.ptr, m.data.ptr, v.data.ptr, step.data.ptr


@fast_path(Adam, "cupy")
class AdamCUDA(Adam):
    takes_found_inf = True

    @staticmethod
    def update_all(entries, group):
        xp = namespace_of(entries[0][0])
        lr = device_lr(xp, group)
        if group["amsgrad"] or (isinstance(group["lr"], Tensor) and lr is None):
            return entries
        rows, copies, left = [], [], []
        seen: set = set()
        for entry in entries:
            p, g, state = entry
            copies.append(contiguous(g))  # kept until the launch
            line = row(xp, p, copies[-1], state, seen)
            if line is None:
                left.append(entry)
            else:
                rows.append(line)
        if not any(line[0] for line in rows):  # no elements: no block that would count
            return entries
        given, now = numbers(xp, lambda: numbers_of(group["now"]()))
        launch(_source, "adam", xp, rows, given, lr, group["found_inf"], now)
        return left


@fast_path(AdamW, "cupy")
class AdamWCUDA(AdamW):
    takes_found_inf = True
    update_all = staticmethod(AdamCUDA.update_all)
