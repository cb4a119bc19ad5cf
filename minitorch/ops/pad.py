"""Padding: more elements at the ends of the last axes, or fewer."""

from __future__ import annotations

from ..autograd.engine import Op
from ..tensor import Tensor
from ._windows import padded
from .index import Slice
from .shape import cat, expand, flip, narrow


class Pad(Op):
    """y = x with a constant around it.          padding: ((before, after), ...) of the last axes, none negative

    dx = the part of dy where x stands
    """

    promote = None

    def forward(self, x, *, padding, value):
        self.save(padding, x.shape)
        return padded(self.xp, x, padding, value) if any(map(any, padding)) else x.copy()

    def backward(self, dy):
        padding, shape = self.saved
        inner = zip(padding, shape[len(shape) - len(padding) :])
        return self.run(Slice, dy, index=(Ellipsis, *(slice(before, before + n) for (before, _), n in inner)))


def _ends(x: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    """x with elements of its own at both ends of one axis."""
    n = x.shape[dim]
    if mode == "replicate":
        sizes = lambda count: [count if d == dim else -1 for d in range(x.ndim)]  # noqa: E731
        left, right = expand(narrow(x, dim, 0, 1), sizes(before)), expand(narrow(x, dim, n - 1, 1), sizes(after))
    elif mode == "circular":
        left, right = narrow(x, dim, n - before, before), narrow(x, dim, 0, after)
    else:
        left, right = flip(narrow(x, dim, 1, before), dim), flip(narrow(x, dim, n - 1 - after, after), dim)
    return cat([part for part, count in ((left, before), (x, 1), (right, after)) if count], dim)


def pad(input, pad, mode="constant", value=None):
    """input with pad = (before, after of the last axis, before, after of the one before it, ...); negative numbers cut.

    mode: constant (value, 0 by default), reflect (mirrored, the border once), replicate (of the border), circular.
    """
    pad = tuple(int(p) for p in pad)
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise RuntimeError(
            f"pad: expected an even number of values, at most 2 for each of the {input.ndim} dimensions of input of "
            "size "
            f"{list(input.shape)}, got {pad}"
        )
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(f"pad: expected mode constant, reflect, replicate or circular, got {mode!r}")
    pairs = tuple((pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2))  # in the order of the axes
    lead = input.ndim - len(pairs)
    sizes = [n + a + b for n, (a, b) in zip(input.shape[lead:], pairs)]
    if any(s < 0 for s in sizes) or (mode != "constant" and 0 in sizes):
        raise RuntimeError(
            f"pad: the input size {list(input.shape)}, plus negative padding {pad}, resulted in a negative output "
            "size: "
            f"{sizes}, which is invalid"
        )
    if mode != "constant":
        if value is not None and value != 0:
            raise ValueError(f"pad: padding mode {mode!r} doesn't take in value argument, got {value!r}")
        if not (1 <= len(pairs) <= 3 and lead in (1, 2)):
            raise NotImplementedError(
                f"pad: mode {mode!r} pads the last axis of 2D or 3D input, the last two of 3D or 4D, the last three "
                "of 4D or "
                f"5D; got input of size {list(input.shape)} and padding {pad}"
            )
        for n, pair in zip(input.shape[lead:], pairs):
            if mode == "circular" and max(pair) > n or mode == "reflect" and max(pair) >= n or n == 0:
                limit = "be less than" if mode == "reflect" else "not be greater than"
                raise RuntimeError(
                    f"pad: in mode {mode!r} the padding size should {limit} the corresponding input dimension, but got "
                    f"padding {pad} for input of size {list(input.shape)}"
                )
    x = input
    cut = tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(input.shape[lead:], pairs))
    if min(pad, default=0) < 0 and mode in ("constant", "circular"):
        x = Slice.apply(x, index=(Ellipsis, *cut))
    if mode == "constant":
        return Pad.apply(
            x, padding=tuple((max(0, a), max(0, b)) for a, b in pairs), value=0 if value is None else value
        )
    for d, (a, b) in enumerate(pairs):
        x = _ends(x, lead + d, max(0, a), max(0, b), mode)
    if min(pad) < 0 and mode != "circular":
        x = Slice.apply(
            x, index=(Ellipsis, *(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape[lead:], pairs)))
        )
    return x if x is not input else input.clone()
