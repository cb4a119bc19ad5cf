"""Pooling as layers.      Lesson 07."""

from . import functional as F
from .module import Module


class _MaxPool(Module):
    n = 0

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.return_indices, self.ceil_mode = padding, dilation, return_indices, ceil_mode

    def forward(self, input):
        pool = getattr(F, f"max_pool{self.n}d")
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )  # fmt: skip

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The maximum of each window of (B, C, L)."""

    n = 1


class MaxPool2d(_MaxPool):
    """The maximum of each window of (B, C, H, W)."""

    n = 2


class MaxPool3d(_MaxPool):
    """The maximum of each window of (B, C, D, H, W)."""

    n = 3


class _MaxUnpool(Module):
    n = 0

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        self.kernel_size = (kernel_size,) * self.n if isinstance(kernel_size, int) else tuple(kernel_size)
        stride = self.kernel_size if stride is None else stride
        self.stride = (stride,) * self.n if isinstance(stride, int) else tuple(stride)
        self.padding = (padding,) * self.n if isinstance(padding, int) else tuple(padding)

    def forward(self, input, indices, output_size=None):
        unpool = getattr(F, f"max_unpool{self.n}d")
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The values of MaxPool1d put back where its indices say."""

    n = 1


class MaxUnpool2d(_MaxUnpool):
    """The values of MaxPool2d put back where its indices say."""

    n = 2


class MaxUnpool3d(_MaxUnpool):
    """The values of MaxPool3d put back where its indices say."""

    n = 3


class AvgPool1d(Module):
    """The mean of each window of (B, C, L)."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        single = lambda v: tuple(v) if isinstance(v, (tuple, list)) else (v,)  # noqa: E731
        self.kernel_size, self.stride = single(kernel_size), single(kernel_size if stride is None else stride)
        self.padding, self.ceil_mode, self.count_include_pad = single(padding), ceil_mode, count_include_pad

    def forward(self, input):
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of (B, C, H, W); divisor_override: divide the sum by that instead."""

    n = 2

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input):
        pool = getattr(F, f"avg_pool{self.n}d")
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool3d(AvgPool2d):
    """The mean of each window of (B, C, D, H, W)."""

    n = 3


class _AdaptiveAvgPool(Module):
    n = 0

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input):
        return getattr(F, f"adaptive_avg_pool{self.n}d")(input, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of output_size windows that cover (B, C, L) evenly."""

    n = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that cover (B, C, H, W) evenly; None keeps a size."""

    n = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of windows that cover (B, C, D, H, W) evenly."""

    n = 3


class _AdaptiveMaxPool(Module):
    n = 0

    def __init__(self, output_size, return_indices=False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input):
        return getattr(F, f"adaptive_max_pool{self.n}d")(input, self.output_size, self.return_indices)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of output_size windows that cover (B, C, L) evenly."""

    n = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of windows that cover (B, C, H, W) evenly; None keeps a size."""

    n = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maxima of windows that cover (B, C, D, H, W) evenly; None keeps a size."""

    n = 3


class _LPPool(Module):
    n = 0

    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input):
        pool = getattr(F, f"lp_pool{self.n}d")
        return pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self):
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """(sum of x^p)^(1/p) of each window of (B, C, L)."""

    n = 1


class LPPool2d(_LPPool):
    """(sum of x^p)^(1/p) of each window of (B, C, H, W)."""

    n = 2


class LPPool3d(_LPPool):
    """(sum of x^p)^(1/p) of each window of (B, C, D, H, W)."""

    n = 3
