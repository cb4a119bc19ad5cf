"""Activation functions.      Lessons 03 (sigmoid) and 06 (ReLU, tanh, GELU)."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import views
from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import fastpath
from ..tensor import Tensor
from . import special
from ._method import in_place, tensor_method, unbroadcast
from .arithmetic import clamp, where
from .matmul import linear


class ReLU(Op):
    """y = max(x, 0).                         dx = dy [x > 0]          (0 at 0; y > 0 exactly where x > 0)

    Lesson 06.
    """

    def forward(self, x):
        y = self.xp.maximum(x, self.xp.zeros((), x.dtype))
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (y > 0)


class LeakyReLU(Op):
    """y = x where x > 0, else slope x.       dx = dy or slope dy"""

    def forward(self, x, *, slope):
        self.save(x > 0, slope)
        return self.xp.where(x > 0, x, x * x.dtype.type(slope))

    def backward(self, dy):
        positive, slope = self.saved
        return self.xp.where(positive, dy, dy * slope)


class Tanh(Op):
    """y = tanh x.                            dx = dy (1 - y^2)      Lesson 06."""

    promote = "float"

    def forward(self, x):
        y = self.xp.tanh(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (1 - y * y)


class Sigmoid(Op):
    """y = 1 / (1 + e^-x).                    dx = dy y (1 - y)

    Computed as (1 + tanh(x/2)) / 2 would lose small values; e^-|x| never overflows.

    Lesson 03.
    """

    promote = "float"

    def forward(self, x):
        e = self.xp.exp(-self.xp.abs(x))
        y = self.xp.where(x >= 0, 1, e) / (1 + e)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (y * (1 - y))


class Logit(Op):
    """y = log(x / (1 - x)).                  dx = dy / (x (1 - x)), NaN where y is"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.log(x / (1 - x))

    def backward(self, dy):
        (x,) = self.saved
        return self.xp.where((x < 0) | (x > 1), float("nan"), dy / (x * (1 - x)))


class LogSigmoid(Op):
    """y = log(1 / (1 + e^-x)) = min(x, 0) - log(1 + e^-|x|).         dx = dy (1 - e^y)"""

    promote = "float"

    def forward(self, x):
        y = self.xp.minimum(x, 0) - self.xp.log1p(self.xp.exp(-self.xp.abs(x)))
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * -self.xp.expm1(y)


class GELU(Op):
    """y = x P(x),  P(x) = (1 + erf(x / sqrt 2)) / 2, the normal distribution function.      arXiv:1606.08415

    dx = dy (P(x) + x p(x)),  p(x) = e^(-x^2/2) / sqrt(2 pi)

    Lesson 06.
    """

    promote = "float"

    def forward(self, x):
        self.save(x)
        return x * (0.5 + 0.5 * special.erf(x * (1 / math.sqrt(2)), self.xp))

    def backward(self, dy):
        (x,) = self.saved
        return self.run(GELUGradient, x, dy)


class GELUGradient(Op):
    """y = dy (P(x) + x p(x)).                dx = g dy p(x) (2 - x^2),  d(dy) = g (P(x) + x p(x))"""

    def forward(self, x, dy):
        self.save(x, dy)
        return dy * _gelu_slope(x, self.xp)

    def backward(self, g):
        x, dy = self.saved
        density = self.xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        return g * dy * density * (2 - x * x), self.run(GELUGradient, x, g)


class BiasGELU(Op):
    """y = GELU(h),  h = x + b: what follows the product of a linear layer.      x, y: (..., C)   b: (C,)

    dx = dh = GELU'(h) dy,   db = dh, summed over all leading axes.       The rules of the sum and of GELU, one after the other.
    """

    promote = "float"

    def forward(self, x, b):
        self.save(x, b)
        return self.run(GELU, x + b)

    def backward(self, dy):
        x, b = self.saved
        dh = self.run(GELUGradient, x + b, dy)
        return dh if self.needs[0] else None, unbroadcast(dh, b.shape) if self.needs[1] else None


def _gelu_slope(x: Any, xp: Any) -> Any:
    density = xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return 0.5 + 0.5 * special.erf(x * (1 / math.sqrt(2)), xp) + x * density


class GELUTanh(Op):
    """y = x (1 + t) / 2,  t = tanh(u),  u = sqrt(2/pi) (x + 0.044715 x^3): GELU's approximation.

    dx = dy ((1 + t) / 2 + x (1 - t^2) u' / 2),  u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2)

    Lesson 06.
    """

    promote = "float"

    def forward(self, x):
        self.save(x)
        return 0.5 * x * (1 + self.xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))

    def backward(self, dy):
        (x,) = self.saved
        t = self.xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x)))
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * (x * x))
        return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)


class SiLU(Op):
    """y = x s,  s = 1 / (1 + e^-x).          dx = dy (s + y (1 - s))          arXiv:1702.03118"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return x / (1 + self.xp.exp(-x))

    def backward(self, dy):
        (x,) = self.saved
        s = self.run(Sigmoid, x)
        return dy * (s + x * s * (1 - s))


class ELU(Op):
    """y = x where x > 0, else a (e^(x k) - 1).      dx = dy, or dy a k e^(x k)          arXiv:1511.07289"""

    promote = "float"

    def forward(self, x, *, alpha, scale=1.0, input_scale=1.0):
        self.save(x, alpha, scale, input_scale)
        low = alpha * self.xp.expm1(self.xp.minimum(x, 0) * input_scale)
        return (self.xp.where(x > 0, x, low) * scale).astype(x.dtype)

    def backward(self, dy):
        x, alpha, scale, k = self.saved
        positive = x > 0
        low = alpha * k * self.xp.exp(self.xp.where(positive, 0.0, x) * k)
        return dy * scale * self.xp.where(positive, 1.0, low)


class Softplus(Op):
    """y = log(1 + e^(b x)) / b, and x where b x > threshold.         dx = dy / (1 + e^(-b x))"""

    promote = "float"

    def forward(self, x, *, beta, threshold):
        self.save(x, beta, threshold)
        z = x * beta
        soft = (self.xp.maximum(z, 0) + self.xp.log1p(self.xp.exp(-self.xp.abs(z)))) / beta
        return self.xp.where(z > threshold, x, soft)

    def backward(self, dy):
        x, beta, threshold = self.saved
        return dy * self.xp.where(x * beta > threshold, 1.0, self.run(Sigmoid, x * beta))


class HardShrink(Op):
    """y = x where |x| > l, else 0.           dx = dy [|x| > l]         (NaN stays)"""

    def forward(self, x, *, l):
        inside = (x >= -l) & (x <= l)
        self.save(inside)
        return self.xp.where(inside, self.xp.zeros((), x.dtype), x)

    def backward(self, dy):
        (inside,) = self.saved
        return self.xp.where(inside, 0.0, dy)


class SoftShrink(Op):
    """y = x - l sign(x) where |x| > l, else 0.      dx = dy [|x| > l]         (NaN stays)"""

    def forward(self, x, *, l):
        xp = self.xp
        inside = (x >= -l) & (x <= l)
        self.save(inside)
        return xp.where(inside, 0, x - xp.where(x > 0, l, -l)).astype(x.dtype)

    def backward(self, dy):
        (inside,) = self.saved
        return self.xp.where(inside, 0.0, dy)


class HardSigmoid(Op):
    """y = min(max(x + 3, 0), 6) / 6.         dx = dy / 6 where -3 < x < 3"""

    def forward(self, x):
        xp = self.xp
        self.save((x > -3) & (x < 3))
        return (xp.minimum(xp.maximum(x + 3, 0), 6) / 6).astype(x.dtype)

    def backward(self, dy):
        (inside,) = self.saved
        return self.xp.where(inside, dy * (1 / 6), 0.0)


class HardSwish(Op):
    """y = x min(max(x + 3, 0), 6) / 6.       dx = dy (x / 3 + 1/2) where -3 < x < 3, dy above      arXiv:1905.02244"""

    def forward(self, x):
        xp = self.xp
        self.save(x)
        return (x * xp.minimum(xp.maximum(x + 3, 0), 6) / 6).astype(x.dtype)

    def backward(self, dy):
        (x,) = self.saved
        return self.xp.where(x <= -3, 0.0, self.xp.where(x < 3, dy * (x * (1 / 3) + 0.5), dy))


# --- public functions ------------------------------------------------------------------------------------------------


def _into(input: Tensor, y: Tensor, inplace: bool, name: str) -> Tensor:
    """The result, written into the input if that is asked for."""
    return views.write(input, y, name) if inplace else y


def _floating(input: Tensor, name: str) -> None:
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating point tensor, got {input.dtype}")


@tensor_method(inplace=True)
def relu(input, inplace=False):
    """max(x, 0)."""
    return input.relu_() if inplace is True else ReLU.apply(input)


@tensor_method(inplace=True)
def tanh(input):
    """Hyperbolic tangent."""
    return Tanh.apply(input)


@tensor_method(inplace=True)
def sigmoid(input):
    """1 / (1 + exp(-x))."""
    return Sigmoid.apply(input)


@tensor_method(inplace=True)
def logit(input, eps=None):
    """log(x / (1 - x)), with x clamped to [eps, 1 - eps] if eps is given."""
    return Logit.apply(input if eps is None else clamp(input, eps, 1 - eps))


def logsigmoid(input):
    """log(sigmoid(x)), without underflow."""
    return LogSigmoid.apply(input)


def gelu(input, approximate="none"):
    """x times the normal distribution function of x; approximate="tanh" for the form of GPT-2."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate argument must be either none or tanh, got {approximate!r}")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"gelu: expected a floating point tensor, got {input.dtype}")
    return (GELU if approximate == "none" else GELUTanh).apply(input)


def linear_gelu(input, weight, bias):
    """gelu(linear(input, weight, bias)); the bias and GELU as one op where the arrays' library has a fast path for it."""
    fused = fastpath.ACTIVE[input.xp].get(BiasGELU) if bias is not None else None
    if fused is not None:
        x = linear(input, weight)
        b = bias.to(x.dtype)
        if fused.accepts(x.array, b.array):
            return BiasGELU.apply(x, b)
    return gelu(linear(input, weight, bias))


def silu(input, inplace=False):
    """x * sigmoid(x)."""
    return _into(input, SiLU.apply(input), inplace, "silu_")


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """x where x > 0, else negative_slope * x."""
    return _into(input, LeakyReLU.apply(input, slope=negative_slope), inplace, "leaky_relu_")


def elu(input, alpha=1.0, inplace=False):
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return _into(input, ELU.apply(input, alpha=alpha), inplace, "elu_")


def selu(input, inplace=False):
    """ELU with the scale and alpha that keep mean and variance (arXiv:1706.02515)."""
    return _into(input, ELU.apply(input, alpha=1.6732632423543772, scale=1.0507009873554805), inplace, "selu_")


def celu(input, alpha=1.0, inplace=False):
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (arXiv:1704.07483)."""
    return _into(input, ELU.apply(input, alpha=alpha, input_scale=1.0 / alpha), inplace, "celu_")


def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta x)) / beta, x itself above the threshold."""
    return Softplus.apply(input, beta=beta, threshold=threshold)


def mish(input, inplace=False):
    """x * tanh(softplus(x)) (arXiv:1908.08681)."""
    x = input.clone() if inplace else input
    return _into(input, x * tanh(softplus(x)), inplace, "mish_")


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """x, but not below min_val nor above max_val; no gradient at and beyond them."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val cannot be greater than max_val, got {min_val} and {max_val}")
    if not input.dtype.is_floating_point:
        min_val, max_val = int(min_val), int(max_val)
    y = where((input > min_val) & (input < max_val), input, clamp(input.detach(), min_val, max_val))
    return _into(input, y, inplace, "hardtanh_")


def relu6(input, inplace=False):
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def softsign(input):
    """x / (1 + |x|)."""
    return input / (1 + input.abs())


def tanhshrink(input):
    """x - tanh(x)."""
    return input - tanh(input)


def glu(input, dim=-1):
    """a * sigmoid(b), where a and b are the halves of the input along dim (arXiv:1612.08083)."""
    if input.shape[dim] % 2:
        raise RuntimeError(f"glu: halving dimension must be even, but dimension {dim} is size {input.shape[dim]}")
    a, b = input.chunk(2, dim)
    return a * sigmoid(b)


@tensor_method
def hardshrink(input, lambd=0.5):
    """x where |x| > lambd, else 0."""
    _floating(input, "hardshrink")
    return HardShrink.apply(input, l=abs(lambd))


def softshrink(input, lambd=0.5):
    """x moved towards 0 by lambd, 0 where |x| <= lambd."""
    _floating(input, "softshrink")
    if lambd < 0:
        raise RuntimeError(f"softshrink: lambda must be greater or equal to 0, but found {lambd}")
    return SoftShrink.apply(input, l=lambd)


def hardsigmoid(input, inplace=False):
    """A sigmoid of three straight lines: min(max(x + 3, 0), 6) / 6."""
    _floating(input, "hardsigmoid")
    return _into(input, HardSigmoid.apply(input), inplace, "hardsigmoid_")


def hardswish(input, inplace=False):
    """x * hardsigmoid(x) (arXiv:1905.02244)."""
    _floating(input, "hardswish")
    return _into(input, HardSwish.apply(input), inplace, "hardswish_")


def threshold(input, threshold, value, inplace=False):
    """x where x > threshold, else value."""
    y = where(input <= threshold, input.new_full((), value), input)
    return _into(input, y, inplace, "threshold_")


@tensor_method
@casts
def prelu(input, weight):
    """x where x > 0, else weight * x: one weight, or one for each channel, input (N, C, ...) (arXiv:1502.01852)."""
    _floating(input, "prelu")
    if weight.dtype is not input.dtype:
        raise RuntimeError(f"prelu: expected input and weight of one dtype, got {input.dtype} and {weight.dtype}")
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if not input.ndim or weight.numel() != channels:
            raise RuntimeError(
                f"prelu: Mismatch of parameter numbers and input channel size: expected 1 or {channels} elements in "
                f"weight for input of shape {tuple(input.shape)}, got {weight.numel()}"
            )
        weight = weight.reshape([-1] + [1] * (input.ndim - 2))
    elif weight.ndim and not input.ndim:
        weight = weight.reshape(())
    return where(input > 0, input, weight * input)


elu_, celu_, selu_, leaky_relu_, hardtanh_, threshold_, relu_ = (
    in_place(f, f.__name__ + "_") for f in (elu, celu, selu, leaky_relu, hardtanh, threshold, relu)
)
