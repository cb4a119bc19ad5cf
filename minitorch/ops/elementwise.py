"""Functions of one variable, element by element: exponentials, trigonometry, rounding. y_i depends on x_i alone.

dx_i = dy_i . f'(x_i)                       (chain rule, lesson 00)
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.engine import Op
from ..backend import dtypes
from . import special
from ._method import need_tensors, tensor_method, unbroadcast
from .arithmetic import where
from .comparison import isnan

# --- public functions ------------------------------------------------------------------------------------------------


class Exp(Op):
    """y = e^x.                               dx = dy y      Lesson 01."""

    promote = "float"

    def forward(self, x):
        y = self.xp.exp(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * y


class Exp2(Op):
    """y = 2^x.                               dx = dy y log 2"""

    promote = "float"

    def forward(self, x):
        y = self.xp.exp2(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (y * math.log(2.0))


class Expm1(Op):
    """y = e^x - 1, exact near 0.             dx = dy (y + 1)"""

    promote = "float"

    def forward(self, x):
        y = self.xp.expm1(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (y + 1)


class Log(Op):
    """y = log x.                             dx = dy / x      Lesson 01."""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.log(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / x


class Log2(Op):
    """y = log x / log 2.                     dx = dy / (x log 2)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.log2(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / (x * math.log(2.0))


class Log10(Op):
    """y = log x / log 10.                    dx = dy / (x log 10)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.log10(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / (x * math.log(10.0))


class Log1p(Op):
    """y = log(1 + x), exact near 0.          dx = dy / (1 + x)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.log1p(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / (x + 1)


class Sqrt(Op):
    """y = sqrt x.                            dx = dy / (2 y)"""

    promote = "float"

    def forward(self, x):
        y = self.xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy / (y + y)


class Rsqrt(Op):
    """y = x^(-1/2).                          dx = -dy y^3 / 2"""

    promote = "float"

    def forward(self, x):
        y = 1 / self.xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (-0.5 * y * y * y)


class Reciprocal(Op):
    """y = 1 / x.                             dx = -dy y^2"""

    promote = "float"

    def forward(self, x):
        y = 1 / x
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return -dy * (y * y)


class Abs(Op):
    """y = |x|.                               dx = dy sign x          (0 at 0)"""

    def forward(self, x):
        self.save(x)
        return self.xp.abs(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy * self.xp.sign(x)


class Sin(Op):
    """y = sin x.                             dx = dy cos x"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.sin(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy * self.xp.cos(x)


class Cos(Op):
    """y = cos x.                             dx = -dy sin x"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.cos(x)

    def backward(self, dy):
        (x,) = self.saved
        return -dy * self.xp.sin(x)


class Tan(Op):
    """y = tan x.                             dx = dy (1 + y^2)"""

    promote = "float"

    def forward(self, x):
        y = self.xp.tan(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (1 + y * y)


class Asin(Op):
    """y = asin x.                            dx = dy / sqrt(1 - x^2)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.arcsin(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / self.xp.sqrt(1 - x * x)


class Acos(Op):
    """y = acos x.                            dx = -dy / sqrt(1 - x^2)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.arccos(x)

    def backward(self, dy):
        (x,) = self.saved
        return -dy / self.xp.sqrt(1 - x * x)


class Atan(Op):
    """y = atan x.                            dx = dy / (1 + x^2)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.arctan(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / (1 + x * x)


class Atan2(Op):
    """y = the angle of the point (b, a).     da = dy b / (a^2 + b^2),  db = -dy a / (a^2 + b^2)"""

    promote = "float"

    def forward(self, a, b):
        self.save(a, b)
        return self.xp.arctan2(a, b)

    def backward(self, dy):
        a, b = self.saved
        square = a * a + b * b
        scaled = self.xp.where(square == 0, 0.0, dy / self.xp.where(square == 0, 1.0, square))  # 0 at the origin
        return unbroadcast(scaled * b, a.shape), unbroadcast(-scaled * a, b.shape)


class Sinh(Op):
    """y = sinh x.                            dx = dy cosh x"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.sinh(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy * self.xp.cosh(x)


class Cosh(Op):
    """y = cosh x.                            dx = dy sinh x"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.cosh(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy * self.xp.sinh(x)


class Asinh(Op):
    """y = asinh x.                           dx = dy / sqrt(x^2 + 1)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.arcsinh(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / self.xp.sqrt(x * x + 1)


class Acosh(Op):
    """y = acosh x.                           dx = dy / sqrt(x^2 - 1)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.arccosh(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / self.xp.sqrt(x * x - 1)


class Atanh(Op):
    """y = atanh x.                           dx = dy / (1 - x^2)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return self.xp.arctanh(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / (1 - x * x)


class Erf(Op):
    """y = 2/sqrt(pi) * integral of e^(-t^2) from 0 to x.       dx = dy 2/sqrt(pi) e^(-x^2)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return special.erf(x, self.xp)

    def backward(self, dy):
        (x,) = self.saved
        return dy * (2 / math.sqrt(math.pi) * self.xp.exp(-x * x))


class Erfc(Op):
    """y = 1 - erf x, exact for large x.      dx = -dy 2/sqrt(pi) e^(-x^2)"""

    promote = "float"

    def forward(self, x):
        self.save(x)
        return special.erfc(x, self.xp)

    def backward(self, dy):
        (x,) = self.saved
        return dy * (-2 / math.sqrt(math.pi) * self.xp.exp(-x * x))


class ErfInv(Op):
    """y with erf y = x.                      dx = dy sqrt(pi)/2 e^(y^2)              dy/dx = 1 / erf'(y)"""

    promote = "float"

    def forward(self, x):
        y = special.erfinv(x, self.xp)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (math.sqrt(math.pi) / 2 * self.xp.exp(y * y))


class XLogY(Op):
    """y = a log b, and 0 where a = 0.        da = dy log b,  db = dy a / b"""

    promote = "float"

    def forward(self, a, b):
        self.save(a, b)
        y = self.xp.where((a == 0) & ~self.xp.isnan(b), self.xp.zeros((), a.dtype), a * self.xp.log(b))
        return y

    def backward(self, dy):
        a, b = self.saved
        quiet = (a == 0) & (b <= 0)
        da = unbroadcast(dy * self.xp.where(quiet, 0.0, self.xp.log(self.xp.where(quiet, 1.0, b))), a.shape)
        return da, unbroadcast(dy * a / b, b.shape)


class LogAddExp(Op):
    """y = log(e^a + e^b).                    da = dy s,  db = dy (1 - s),  s = 1 / (1 + e^(b-a))"""

    promote = "float"

    def forward(self, a, b):
        self.save(a, b)
        return self.xp.logaddexp(a, b)

    def backward(self, dy):
        a, b = self.saved
        from .activation import Sigmoid

        return unbroadcast(dy * self.run(Sigmoid, a - b), a.shape), unbroadcast(dy * self.run(Sigmoid, b - a), b.shape)


class Step(Op):
    """Piecewise constant functions (floor, ceil, round, trunc, sign): dx = 0."""

    def forward(self, x, *, function):
        if x.dtype.kind not in "fV" and function in ("floor", "ceil", "trunc", "rint"):
            return x.copy()
        y = getattr(self.xp, function)(x)
        return (
            self.xp.where(x == x, y, self.xp.zeros((), y.dtype)) if function == "sign" else y
        )  # PyTorch: sign(NaN) = 0

    def backward(self, dy):
        return self.xp.zeros_like(dy)


def _unary(op: Any, name: str, doc: str) -> Any:
    def function(input):
        return op.apply(input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return tensor_method(function, inplace=True)


exp = _unary(Exp, "exp", "e to the power of each element.")
exp2 = _unary(Exp2, "exp2", "2 to the power of each element.")
expm1 = _unary(Expm1, "expm1", "exp(x) - 1, exact near 0.")
log = _unary(Log, "log", "Natural logarithm.")
log2 = _unary(Log2, "log2", "Logarithm to base 2.")
log10 = _unary(Log10, "log10", "Logarithm to base 10.")
log1p = _unary(Log1p, "log1p", "log(1 + x), exact near 0.")
sqrt = _unary(Sqrt, "sqrt", "Square root.")
rsqrt = _unary(Rsqrt, "rsqrt", "1 / sqrt(x).")
reciprocal = _unary(Reciprocal, "reciprocal", "1 / x.")
sin = _unary(Sin, "sin", "Sine.")
cos = _unary(Cos, "cos", "Cosine.")
tan = _unary(Tan, "tan", "Tangent.")
asin = _unary(Asin, "asin", "Inverse sine.")
acos = _unary(Acos, "acos", "Inverse cosine.")
atan = _unary(Atan, "atan", "Inverse tangent.")
sinh = _unary(Sinh, "sinh", "Hyperbolic sine.")
cosh = _unary(Cosh, "cosh", "Hyperbolic cosine.")
asinh = _unary(Asinh, "asinh", "Inverse hyperbolic sine.")
acosh = _unary(Acosh, "acosh", "Inverse hyperbolic cosine.")
atanh = _unary(Atanh, "atanh", "Inverse hyperbolic tangent.")
erf = _unary(Erf, "erf", "The error function.")
erfc = _unary(Erfc, "erfc", "1 - erf(x), exact for large x.")
erfinv = _unary(ErfInv, "erfinv", "The inverse of the error function, on (-1, 1).")


@tensor_method(inplace=True)
def abs(input):
    """Absolute value; its gradient at 0 is 0."""
    return input.clone() if input.dtype is dtypes.bool_ else Abs.apply(input)


def _step(name: str, function: str) -> Any:
    def call(input):
        if input.dtype is dtypes.bool_ and name != "sign":
            raise RuntimeError(f"{name}: not defined for bool tensors")
        return input.clone() if input.dtype is dtypes.bool_ else Step.apply(input, function=function)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name} of each element; its gradient is 0."
    return tensor_method(call, inplace=True)


floor, ceil, trunc = _step("floor", "floor"), _step("ceil", "ceil"), _step("trunc", "trunc")
sign = _step("sign", "sign")


@tensor_method(inplace=True)
def round(input, *, decimals=0):
    """Rounds half to even, to `decimals` digits after the point."""
    if decimals:
        return Step.apply(input * 10.0**decimals, function="rint") / 10.0**decimals
    return Step.apply(input, function="rint")


@tensor_method(inplace=True)
def frac(input):
    """input - trunc(input)."""
    return input - trunc(input)


@tensor_method(inplace=True)
def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """Replaces NaN, inf and -inf by numbers (by default 0 and the dtype's largest and smallest)."""
    if not input.dtype.is_floating_point:
        return input.clone()
    limits = dtypes.finfo(input.dtype)
    y = where(isnan(input), nan, input)
    y = where(input == math.inf, limits.max if posinf is None else posinf, y)
    return where(input == -math.inf, limits.min if neginf is None else neginf, y)


@tensor_method(inplace=True)
def atan2(input, other):
    """The angle of the point (other, input), in (-pi, pi]."""
    need_tensors("atan2", input, other)
    return Atan2.apply(input, other)


@tensor_method(inplace=True)
def xlogy(input, other):
    """input * log(other), and 0 where input is 0."""
    return XLogY.apply(input, other)


@tensor_method
def logaddexp(input, other):
    """log(exp(input) + exp(other)), without overflow."""
    need_tensors("logaddexp", input, other)
    return LogAddExp.apply(input, other)
