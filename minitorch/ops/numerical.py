"""Element by element what numerical programs want besides: the gamma function and its kin, parts and signs of floats,
the larger one where there are NaNs, greatest common divisors.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.convert import scalar
from ..autograd.engine import Op
from ..backend import dtypes
from ..tensor import Tensor
from . import special
from ._method import as_tensor_like, need_tensors, tensor_method, unbroadcast
from .arithmetic import mul, pow, where
from .comparison import Compare, Test, isnan


class LGamma(Op):
    """y = log |gamma(x)|.                    dx = dy psi(x),  psi = (log gamma)', the digamma function"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return special.lgamma(x, self.xp)

    def backward(self, dy):
        (x,) = self.saved
        return dy * self.run(PolyGamma, x, n=0)


class PolyGamma(Op):
    """y = psi^(n)(x), the n-th derivative of psi = (log gamma)'.        dx = dy psi^(n+1)(x)"""

    promote = "float"

    def forward(self, x, *, n):
        self.save(x, n)
        return special.polygamma(n, x, self.xp)

    def backward(self, dy):
        x, n = self.saved
        return dy * self.run(PolyGamma, x, n=n + 1)


class Sinc(Op):
    """y = sin(pi x) / (pi x), 1 at 0.        dx = dy (cos(pi x) - y) / x        (0 at 0)"""

    promote = "float"

    def forward(self, x):
        xp = self.xp
        z = xp.where(x == 0, 1.0, x * math.pi).astype(x.dtype)
        y = xp.where(x == 0, 1.0, xp.sin(z) / z).astype(x.dtype)
        self.save(x, y)
        return y

    def backward(self, dy):
        x, y = self.saved
        slope = (self.xp.cos(x * math.pi) - y) / self.xp.where(x == 0, 1.0, x)
        return dy * self.xp.where(x == 0, 0.0, slope)


class Hypot(Op):
    """y = sqrt(a^2 + b^2), without overflow. da = dy a / y,  db = dy b / y"""

    def forward(self, a, b):
        y = self.xp.hypot(a, b)
        self.save(a, b, y)
        return y

    def backward(self, dy):
        a, b, y = self.saved
        return unbroadcast(dy * (a / y), a.shape), unbroadcast(dy * (b / y), b.shape)


class LogAddExp2(Op):
    """y = log2(2^a + 2^b).                   da = dy s,  db = dy (1 - s),  s = 1 / (1 + 2^(b-a))"""

    def forward(self, a, b):
        self.save(a, b)
        return self.xp.logaddexp2(a, b)

    def backward(self, dy):
        a, b = self.saved
        from .activation import Sigmoid

        z = (a - b) * math.log(2.0)
        return unbroadcast(dy * self.run(Sigmoid, z), a.shape), unbroadcast(dy * self.run(Sigmoid, -z), b.shape)


class CopySign(Op):
    """y = |a| with the sign of b.            da = dy y / a  (0 at 0),  db = 0"""

    promote = "float"

    def forward(self, a, b):
        y = self.xp.copysign(a, b)
        self.save(self.xp.where(a == 0, 0.0, y / a).astype(y.dtype), a.shape, b.shape)
        return y

    def backward(self, dy):
        signs, a, b = self.saved
        return unbroadcast(dy * signs, a), self.xp.zeros(b, dy.dtype)


class Frexp(Op):
    """x = y 2^e,  1/2 <= |y| < 1,  e whole.  dx = dy 2^-e"""

    def forward(self, x):
        y, e = self.xp.frexp(x)
        self.save(self.xp.ldexp(self.xp.ones_like(x), -e))
        return y, e

    def backward(self, dy, de):
        (scale,) = self.saved
        return dy * scale


class NextAfter(Op):
    """y = the floating point number after a on the way to b.        da = dy where a != b, else 0,  db = 0

    y - a is constant but for rounding.
    """

    def forward(self, a, b):
        self.save(a != b, a.shape, b.shape)
        return self.xp.nextafter(a, b)

    def backward(self, dy):
        apart, a, b = self.saved
        return unbroadcast(dy * apart, a), self.xp.zeros(b, dy.dtype)


# --- public functions ------------------------------------------------------------------------------------------------


def _need_float(name: str, *tensors: Any) -> None:
    need_tensors(name, *tensors)
    for t in tensors:
        if not t.dtype.is_floating_point:
            raise RuntimeError(f"{name}(): expected floating point tensors, got {t.dtype}")


@tensor_method(inplace=True)
def lgamma(input):
    """The logarithm of the absolute value of the gamma function."""
    return LGamma.apply(input)


@tensor_method(inplace=True)
def digamma(input):
    """The derivative of `lgamma`."""
    return PolyGamma.apply(input, n=0)


def polygamma(n, input):
    """The n-th derivative of `digamma`."""
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, got {n}")
    return PolyGamma.apply(input, n=int(n))


tensor_method(lambda self, n: polygamma(n, self), name="polygamma", inplace=True)


@tensor_method(inplace=True)
def mvlgamma(input, p):
    """The multivariate `lgamma`: p (p - 1) / 4 log(pi) + sum over i < p of lgamma(x - i / 2)."""
    if p < 1:
        raise RuntimeError(f"mvlgamma(): p has to be greater than or equal to 1, got {p}")
    steps = Tensor.new_tensor(input if input.dtype.is_floating_point else input.float(), [-i / 2 for i in range(p)])
    return lgamma(input.unsqueeze(-1) + steps).sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


@tensor_method(inplace=True)
def sinc(input):
    """sin(pi x) / (pi x), 1 at 0."""
    return Sinc.apply(input)


@tensor_method(inplace=True)
def hypot(input, other):
    """sqrt(input^2 + other^2)."""
    _need_float("hypot", input, other)
    return Hypot.apply(input, other)


@tensor_method
def logaddexp2(input, other):
    """log2(2^input + 2^other), without overflow."""
    _need_float("logaddexp2", input, other)
    return LogAddExp2.apply(input, other)


@tensor_method(inplace=True)
def copysign(input, other):
    """|input| with the sign of other, a tensor or a number."""
    need_tensors("copysign", input)
    return CopySign.apply(input, as_tensor_like(other, input))


@tensor_method
def fmax(input, other):
    """The larger of each pair; a number where the other is NaN."""
    need_tensors("fmax", input, other)
    return where((input >= other) | isnan(other), input, other)


@tensor_method
def fmin(input, other):
    """The smaller of each pair; a number where the other is NaN."""
    need_tensors("fmin", input, other)
    return where((input <= other) | isnan(other), input, other)


@tensor_method(inplace=True)
def deg2rad(input):
    """Degrees as radians."""
    return mul(input, math.pi / 180.0)


@tensor_method(inplace=True)
def rad2deg(input):
    """Radians as degrees."""
    return mul(input, 180.0 / math.pi)


@tensor_method(inplace=True)
def float_power(input, exponent):
    """input to the power exponent, in float64."""
    base, exponent = (t.to(dtypes.float64) if isinstance(t, Tensor) else t for t in (input, exponent))
    if not isinstance(base, Tensor):
        need_tensors("float_power", exponent)
        base = scalar(base, exponent.device, dtypes.float64)
    return pow(base, exponent)


@tensor_method(inplace=True)
def ldexp(input, other):
    """input * 2^other."""
    need_tensors("ldexp", input)
    if isinstance(other, Tensor) and input.dtype.is_floating_point and not other.dtype.is_floating_point:
        other = other.to(input.dtype)
    return mul(input, pow(2.0, other))


class FrexpResult(tuple):
    """(mantissa, exponent), as PyTorch's named result."""

    mantissa = property(lambda self: self[0])
    exponent = property(lambda self: self[1])


@tensor_method
def frexp(input):
    """(mantissa in [1/2, 1) with the sign, exponent as int32), with input = mantissa * 2^exponent."""
    _need_float("frexp", input)
    return FrexpResult(Frexp.apply(input))


@tensor_method(inplace=True)
def nextafter(input, other):
    """The next floating point number after input on the way to other."""
    _need_float("nextafter", input, other)
    return NextAfter.apply(input, other)


@tensor_method(inplace=True)
def heaviside(input, values):
    """0 below 0, 1 above, `values` at 0; no gradient."""
    need_tensors("heaviside", input, values)
    if input.dtype is not values.dtype:
        raise RuntimeError(f"heaviside(): expected tensors of one dtype, got {input.dtype} and {values.dtype}")
    x = input.detach()
    step = (x > 0).to(x.dtype)
    return where(x == 0, values.detach(), step)


def _whole(name: str, input: Tensor, other: Tensor) -> Any:
    need_tensors(name, input, other)
    for t in (input, other):
        if t.dtype.category != 1:
            raise RuntimeError(f"{name}(): expected integer tensors, got {t.dtype}")
    return Compare.apply(input, other, function=name)


@tensor_method(inplace=True)
def gcd(input, other):
    """The greatest common divisor of integers."""
    return _whole("gcd", input, other)


@tensor_method(inplace=True)
def lcm(input, other):
    """The least common multiple of integers."""
    return _whole("lcm", input, other)


@tensor_method
def signbit(input):
    """Whether the sign is minus; of -0.0 too."""
    return Test.apply(input, function="signbit") if input.dtype.is_floating_point else input < 0


@tensor_method
def isposinf(input):
    """Whether each element is inf."""
    return input == math.inf


@tensor_method
def isneginf(input):
    """Whether each element is -inf."""
    return input == -math.inf


@tensor_method
def isreal(input):
    """True for each element: there are no complex tensors."""
    return (input == input) | True
