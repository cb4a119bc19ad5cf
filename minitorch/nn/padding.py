"""Padding as layers: `padding` is one number for all ends, or (left, right, top, bottom, ...)."""

from . import functional as F
from .module import Module


class _Pad(Module):
    n, mode = 0, "constant"

    def __init__(self, padding):
        super().__init__()
        self.padding = (padding,) * (2 * self.n) if isinstance(padding, int) else tuple(padding)

    def forward(self, input):
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """`value` around the last axis."""

    n = 1


class ConstantPad2d(_ConstantPad):
    """`value` around the last two axes."""

    n = 2


class ConstantPad3d(_ConstantPad):
    """`value` around the last three axes."""

    n = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self):
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """Zeros around the last axis."""

    n = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around the last two axes."""

    n = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around the last three axes."""

    n = 3


class ReflectionPad1d(_Pad):
    """The last axis continued by its mirror image, the border itself not repeated."""

    n, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The last two axes continued by their mirror image, the border itself not repeated."""

    n, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """The last three axes continued by their mirror image, the border itself not repeated."""

    n, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The border of the last axis repeated."""

    n, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The border of the last two axes repeated."""

    n, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The border of the last three axes repeated."""

    n, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """The last axis continued from its other end."""

    n, mode = 1, "circular"


class CircularPad2d(_Pad):
    """The last two axes continued from their other ends."""

    n, mode = 2, "circular"


class CircularPad3d(_Pad):
    """The last three axes continued from their other ends."""

    n, mode = 3, "circular"
