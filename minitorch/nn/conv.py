"""Convolutions as layers.      Lesson 07."""

import math

import minitorch

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


def _repeat(value, n):
    """(3, 3) for 3 and n = 2; tuples as they are."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


class _Conv(Module):
    """What all convolutions have: sizes, a weight, a bias. `n` is the number of spatial axes.

    Weight and bias start uniform in +-1/sqrt(fan_in), which for the weight is Kaiming's uniform with a = sqrt(5).
    """

    n = 0

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, transposed, output_padding, groups, bias, padding_mode, device, dtype):  # fmt: skip # noqa: E501
        super().__init__()
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name} must be divisible by groups, got {channels} and {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _repeat(kernel_size, self.n), _repeat(stride, self.n)
        self.padding = padding if isinstance(padding, str) else _repeat(padding, self.n)
        self.dilation, self.output_padding = _repeat(dilation, self.n), _repeat(output_padding, self.n)
        self.transposed, self.padding_mode = transposed, padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError(f"padding='same' is not supported for strided convolutions, got stride {self.stride}")
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(f"padding_mode must be zeros, reflect, replicate or circular, but got {padding_mode!r}")
        channels = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(minitorch.empty((*channels, *self.kernel_size), device=device, dtype=dtype))
        self.register_parameter("bias", None)
        if bias:
            self.bias = Parameter(minitorch.empty(out_channels, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self):
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fan_in = math.prod(self.weight.shape[1:])
        if self.bias is not None and fan_in:
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        padding = self.padding
        if self.padding_mode != "zeros":
            if padding == "same":
                total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
                pairs = [(t // 2, t - t // 2) for t in total]
            else:
                pairs = [(p, p) for p in (_repeat(0, self.n) if padding == "valid" else padding)]
            input = F.pad(input, [p for pair in reversed(pairs) for p in pair], mode=self.padding_mode)
            padding = 0
        convolve = getattr(F, f"conv{self.n}d")
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (usual,) * self.n:
                text += f", {name}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Convolution(_Conv):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
        padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, False, 0, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip


class Conv1d(_Convolution):
    """The convolution of x: (B, in, L) with W: (out, in/groups, k), plus b: (out,)."""

    n = 1


class Conv2d(_Convolution):
    """The convolution of x: (B, in, H, W) with W: (out, in/groups, kh, kw), plus b: (out,)."""

    n = 2


class Conv3d(_Convolution):
    """The convolution of x: (B, in, D, H, W) with W: (out, in/groups, kd, kh, kw), plus b: (out,)."""

    n = 3


class _ConvTranspose(_Conv):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
        dilation=1, padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}, got {padding_mode!r}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, True, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input, output_size=None):
        convolve = getattr(F, f"conv_transpose{self.n}d")
        extra = self.output_padding if output_size is None else self._output_padding(input, output_size)
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _output_padding(self, input, output_size):
        """The output padding that makes the result `output_size`: several sizes are strided down to one."""
        wanted = tuple(output_size)[-self.n :]
        options = zip(input.shape[-self.n :], self.stride, self.padding, self.dilation, self.kernel_size)
        least = [(i - 1) * s - 2 * p + d * (k - 1) + 1 for i, s, p, d, k in options]
        if len(wanted) != self.n or any(not 0 <= w - m < s for w, m, s in zip(wanted, least, self.stride)):
            largest = [m + s - 1 for m, s in zip(least, self.stride)]
            raise ValueError(
                f"requested an output size of {list(output_size)}, but valid sizes range from {least} to {largest} "
                f"for an input of {list(input.shape[2:])}"
            )
        return tuple(w - m for w, m in zip(wanted, least))


class ConvTranspose1d(_ConvTranspose):
    """The transposed convolution of x: (B, in, L) with W: (in, out/groups, k), plus b: (out,)."""

    n = 1


class ConvTranspose2d(_ConvTranspose):
    """The transposed convolution of x: (B, in, H, W) with W: (in, out/groups, kh, kw), plus b: (out,)."""

    n = 2


class ConvTranspose3d(_ConvTranspose):
    """The transposed convolution of x: (B, in, D, H, W) with W: (in, out/groups, kd, kh, kw), plus b: (out,)."""

    n = 3


class Unfold(Module):
    """The patches of (B, C, H, W) that a kernel sees, as columns: (B, C kh kw, positions)."""

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input):
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns (B, C kh kw, positions) added back to (B, C, *output_size)."""

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input):
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
