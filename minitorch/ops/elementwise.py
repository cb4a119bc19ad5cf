"""Element by element: arithmetic, powers, exponentials, trigonometry, rounding, choice. y[i] depends on x[i] alone.

dx_i = dy_i . f'(x_i)                       (chain rule, lesson 00; broadcasting's gradient, lesson 02)
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.engine import Op
from ..backend import dtypes
from ..tensor import Tensor
from . import special
from ._method import tensor_method, unbroadcast


class Cast(Op):
    """y = x in another dtype.                dx = dy in x's dtype"""

    promote = None

    def forward(self, x, *, dtype):
        self.save(x.dtype)
        return x.astype(dtype)

    def backward(self, dy):
        (dtype,) = self.saved
        return dy.astype(dtype)


class Clone(Op):
    """y = a copy of x.                       dx = dy"""

    promote = None

    def forward(self, x):
        return x.copy()

    def backward(self, dy):
        return dy


# --- arithmetic ------------------------------------------------------------------------------------------------------


class Add(Op):
    """y = a + b.                             da = dy,  db = dy            (summed back where broadcast)"""

    def forward(self, a, b):
        if a.shape != b.shape:
            self.save(a.shape, b.shape)
        return a + b

    def backward(self, dy):
        if not self.saved:
            return dy, dy
        a, b = self.saved
        return (unbroadcast(dy, a) if self.needs[0] else None), (unbroadcast(dy, b) if self.needs[1] else None)


class Sub(Op):
    """y = a - b.                             da = dy,  db = -dy"""

    def forward(self, a, b):
        self.save(a.shape, b.shape)
        return self.xp.subtract(a, b)

    def backward(self, dy):
        a, b = self.saved
        return (unbroadcast(dy, a) if self.needs[0] else None), (unbroadcast(-dy, b) if self.needs[1] else None)


class Mul(Op):
    """y = a b.                               da = dy b,  db = dy a"""

    def forward(self, a, b):
        shapes = None if a.shape == b.shape else (a.shape, b.shape)
        self.save(a if self.needs[1] else None, b if self.needs[0] else None, shapes)
        return a * b

    def backward(self, dy):
        a, b, shapes = self.saved
        da = dy * b if self.needs[0] else None
        db = dy * a if self.needs[1] else None
        return (da, db) if shapes is None else (unbroadcast(da, shapes[0]), unbroadcast(db, shapes[1]))


class Div(Op):
    """y = a / b.                             da = dy / b,  db = -dy a / b^2"""

    promote = "float"

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b, a.shape)
        return self.xp.divide(a, b)

    def backward(self, dy):
        a, b, a_shape = self.saved
        da = unbroadcast(dy / b, a_shape) if self.needs[0] else None
        db = unbroadcast(-dy * (a / b) / b, b.shape) if self.needs[1] else None
        return da, db


class FloorDivide(Op):
    """y = floor(a / b), as Python's //: no gradient (a step function)."""

    differentiable = False

    def forward(self, a, b):
        if b.dtype.kind != "f" and (b == 0).any():
            raise RuntimeError("ZeroDivisionError: integer division by zero")
        return self.xp.floor_divide(a, b)


class TruncDivide(Op):
    """y = a / b rounded toward zero: da = db = 0."""

    def forward(self, a, b):
        self.save(a.shape, b.shape)
        if b.dtype.kind != "f":
            if (b == 0).any():
                raise RuntimeError("ZeroDivisionError: integer division by zero")
            return self.xp.floor_divide(a - self.xp.fmod(a, b), b)  # exact: a - fmod(a, b) is a multiple of b
        return self.xp.trunc(self.xp.divide(a, b))

    def backward(self, dy):
        a, b = self.saved
        return self.xp.zeros(a, dy.dtype), self.xp.zeros(b, dy.dtype)


class Remainder(Op):
    """y = a - b floor(a / b), the sign of b.  da = dy,  db = -dy floor(a / b)"""

    def forward(self, a, b):
        if b.dtype.kind != "f" and (b == 0).any():
            raise RuntimeError("ZeroDivisionError: integer remainder by zero")
        self.save(self.xp.floor_divide(a, b) if self.needs[1] else None, a.shape, b.shape)
        return self.xp.remainder(a, b)

    def backward(self, dy):
        quotient, a, b = self.saved
        da = unbroadcast(dy, a) if self.needs[0] else None
        return da, (unbroadcast(-dy * quotient, b) if self.needs[1] else None)


class Fmod(Op):
    """y = a - b trunc(a / b), the sign of a.  da = dy,  db = -dy trunc(a / b)"""

    def forward(self, a, b):
        if b.dtype.kind != "f" and (b == 0).any():
            raise RuntimeError("ZeroDivisionError: integer fmod by zero")
        self.save(self.xp.trunc(self.xp.divide(a, b)) if self.needs[1] else None, a.shape, b.shape)
        return self.xp.fmod(a, b)

    def backward(self, dy):
        quotient, a, b = self.saved
        da = unbroadcast(dy, a) if self.needs[0] else None
        return da, (unbroadcast(-dy * quotient, b) if self.needs[1] else None)


class Neg(Op):
    """y = -x.                                dx = -dy"""

    def forward(self, x):
        return self.xp.negative(x)

    def backward(self, dy):
        return -dy


class Pow(Op):
    """y = a^b.                               da = dy b a^(b-1),  db = dy a^b log a

    Where b = 0: da = 0. Where a = 0 and b >= 0: db = 0 (0^b is constant for b > 0).
    """

    def forward(self, a, b):
        if a.dtype.kind != "f" and b.dtype.kind != "f" and b.ndim == 0 and b.dtype.kind == "i" and b < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed; make one of them a float")
        y = self.xp.power(a, b) if a.dtype.kind == "f" else _integer_power(self.xp, a, b)
        self.save(a, b, y if self.needs[1] else None)
        return y

    def backward(self, dy):
        a, b, y = self.saved
        da = db = None
        if self.needs[0]:
            slope = b * a ** self.xp.where(b == 0, 1.0, b - 1)
            da = unbroadcast(dy * self.xp.where(b == 0, 0.0, slope), a.shape)
        if self.needs[1]:
            flat = (a == 0) & (b >= 0)
            db = unbroadcast(dy * self.xp.where(flat, 0.0, y * self.xp.log(self.xp.where(flat, 1.0, a))), b.shape)
        return da, db


def _integer_power(xp, a, b):
    """Integer powers; a negative exponent gives 0, and 1 or -1 where the base is 1 or -1, as PyTorch does."""
    if b.dtype.kind != "i" or not (b < 0).any():
        return xp.power(a, b)
    y = xp.power(a, xp.abs(b))
    return xp.where((b < 0) & (a != 1) & (a != -1), 0, y).astype(y.dtype)


class PowNumber(Op):
    """y = x^p for a number p.                dx = dy p x^(p-1)"""

    def forward(self, x, *, exponent):
        self.save(x, exponent)
        if exponent == 2:
            return self.xp.multiply(x, x)
        return self.xp.power(x, self.xp.asarray(exponent, dtype=x.dtype))

    def backward(self, dy):
        x, p = self.saved
        if p == 2:
            return dy * (x + x)
        return dy * (p * x ** (p - 1)) if p != 0 else dy * self.xp.zeros_like(x)


class Maximum(Op):
    """y = max(a, b).                         da = dy [a > b] + dy/2 [a = b],  db likewise: ties share"""

    def forward(self, a, b):
        self.save(a, b)
        return self.xp.maximum(a, b)

    def backward(self, dy):
        a, b = self.saved
        share = (a > b) + 0.5 * (a == b)
        share = share.astype(dy.dtype)
        return unbroadcast(dy * share, a.shape), unbroadcast(dy * (1 - share), b.shape)


class Minimum(Op):
    """y = min(a, b).                         da = dy [a < b] + dy/2 [a = b],  db likewise: ties share"""

    def forward(self, a, b):
        self.save(a, b)
        return self.xp.minimum(a, b)

    def backward(self, dy):
        a, b = self.saved
        share = (a < b) + 0.5 * (a == b)
        share = share.astype(dy.dtype)
        return unbroadcast(dy * share, a.shape), unbroadcast(dy * (1 - share), b.shape)


class Clamp(Op):
    """y = min(max(x, lowest), highest).      dx = dy where lowest <= x <= highest, else 0"""

    def forward(self, x, *, lowest=None, highest=None):
        inside = True
        y = x
        if lowest is not None:
            inside = x >= lowest
            y = self.xp.maximum(y, self.xp.asarray(lowest, dtype=x.dtype))
        if highest is not None:
            inside = (x <= highest) & inside
            y = self.xp.minimum(y, self.xp.asarray(highest, dtype=x.dtype))
        self.save(inside)
        return y

    def backward(self, dy):
        (inside,) = self.saved
        return dy * inside


class Where(Op):
    """y = a where the condition holds, else b.   da = dy there, db = dy elsewhere, 0 on the other side"""

    promote = None

    def forward(self, condition, a, b):
        self.save(condition, a.shape, b.shape)
        return self.xp.where(condition, a, b)

    def backward(self, dy):
        condition, a, b = self.saved
        zero = self.xp.zeros((), dy.dtype)
        da = unbroadcast(self.xp.where(condition, dy, zero), a) if self.needs[1] else None
        db = unbroadcast(self.xp.where(condition, zero, dy), b) if self.needs[2] else None
        return None, da, db


# --- functions of one variable ---------------------------------------------------------------------------------------


class Exp(Op):
    """y = e^x.                               dx = dy y"""

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
    """y = log x.                             dx = dy / x"""

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


class Compare(Op):
    """Comparisons and logic: boolean results, no gradient."""

    differentiable = False

    def forward(self, a, b, *, function):
        return getattr(self.xp, function)(a, b)


class Test(Op):
    """Boolean questions about one value (isnan, logical_not ...) and integer complements: no gradient."""

    differentiable = False
    promote = None

    def forward(self, x, *, function):
        return getattr(self.xp, function)(x)


# --- public functions ------------------------------------------------------------------------------------------------


def _scaled(other: Any, alpha: Any, name: str) -> Any:
    return other if alpha == 1 else mul(other, alpha) if isinstance(other, Tensor) else other * alpha


@tensor_method(inplace=True)
def add(input, other, *, alpha=1):
    """input + alpha * other, broadcast."""
    return Add.apply(input, other) if alpha == 1 else Add.apply(input, _scaled(other, alpha, "add"))


@tensor_method(inplace=True)
def sub(input, other, *, alpha=1):
    """input - alpha * other, broadcast."""
    for t in (input, other):
        if isinstance(t, bool) or (isinstance(t, Tensor) and t.dtype is dtypes.bool_):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported; use logical_xor or ~"
            )
    return Sub.apply(input, other) if alpha == 1 else Sub.apply(input, _scaled(other, alpha, "sub"))


@tensor_method
def rsub(input, other, *, alpha=1):
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


@tensor_method(inplace=True)
def mul(input, other):
    """input * other, broadcast."""
    return Mul.apply(input, other)


@tensor_method(inplace=True)
def div(input, other, *, rounding_mode=None):
    """input / other; rounding_mode None: true division, "floor": rounded down, "trunc": rounded toward zero."""
    if rounding_mode is None:
        return Div.apply(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return TruncDivide.apply(input, other)
    raise RuntimeError(f"div: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")


true_divide = tensor_method(inplace=True, name="true_divide")(lambda input, other: Div.apply(input, other))


@tensor_method(inplace=True)
def floor_divide(input, other):
    """floor(input / other); not differentiable."""
    return FloorDivide.apply(input, other)


@tensor_method(inplace=True)
def remainder(input, other):
    """The remainder with the sign of `other`, Python's %."""
    return Remainder.apply(input, other)


@tensor_method(inplace=True)
def fmod(input, other):
    """The remainder with the sign of `input`, C's fmod."""
    return Fmod.apply(input, other)


@tensor_method(inplace=True)
def neg(input):
    """-input."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported; use ~ or logical_not()")
    return Neg.apply(input)


@tensor_method(inplace=True)
def pow(input, exponent):
    """input to the power exponent; either may be a number."""
    if not isinstance(exponent, Tensor) and isinstance(input, Tensor):
        if input.dtype.is_floating_point:
            return PowNumber.apply(input, exponent=exponent)
    return Pow.apply(input, exponent)


@tensor_method(inplace=True)
def square(input):
    """input * input."""
    return pow(input, 2)


@tensor_method
def maximum(input, other):
    """The larger of each pair; NaN if one is NaN; a tie shares the gradient."""
    return Maximum.apply(input, other)


@tensor_method
def minimum(input, other):
    """The smaller of each pair; NaN if one is NaN; a tie shares the gradient."""
    return Minimum.apply(input, other)


@tensor_method(inplace=True)
def clamp(input, min=None, max=None):
    """input, but not below min nor above max. Bounds are numbers or tensors."""
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must be given")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        y = input
        if min is not None:
            y = where(isnan(y) | (y >= min), y, min)
        return y if max is None else where(isnan(y) | (y <= max), y, max)
    d = dtypes.result_dtype([input.dtype], [], [dtypes.number_dtype(b) for b in (min, max) if b is not None])
    if d.category == 1:  # the limits of an integer dtype are bounds too
        limits = dtypes.iinfo(d)
        min, max = (b if b is None else sorted((limits.min, b, limits.max))[1] for b in (min, max))
    return Clamp.apply(input.to(d), lowest=min, highest=max)


tensor_method(inplace=True, name="clip")(clamp)
clip = clamp


@tensor_method(inplace=True)
def clamp_min(input, min):
    """input, but not below min."""
    return clamp(input, min=min)


@tensor_method(inplace=True)
def clamp_max(input, max):
    """input, but not above max."""
    return clamp(input, max=max)


def where(condition, input=None, other=None):
    """input where condition holds, else other; broadcast. With the condition alone: `nonzero(as_tuple=True)`."""
    if input is None and other is None:
        from .index import nonzero

        return nonzero(condition, as_tuple=True)
    if not isinstance(condition, Tensor) or condition.dtype is not dtypes.bool_:
        got = condition.dtype if isinstance(condition, Tensor) else type(condition).__name__
        raise RuntimeError(f"where: expected a condition of dtype bool, got {got}")
    tensors = [t for t in (input, other) if isinstance(t, Tensor)]
    d = dtypes.result_dtype(
        [t.dtype for t in tensors if t.ndim], [t.dtype for t in tensors if not t.ndim],
        [dtypes.number_dtype(t) for t in (input, other) if not isinstance(t, Tensor)],
    )  # fmt: skip
    from ..autograd.convert import scalar

    a, b = (t.to(d) if isinstance(t, Tensor) else scalar(t, condition.device, d) for t in (input, other))
    return Where.apply(condition, a, b)


@tensor_method(name="where")
def _where_method(self, condition, other):
    return where(condition, self, other)


@tensor_method(inplace=True)
def masked_fill(input, mask, value):
    """input with `value` (a number or a 0-d tensor) where mask holds."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_fill: expected a mask of dtype bool, got {mask.dtype}")
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"masked_fill: expected a number or a 0-d tensor as value, got {value.ndim} dimensions")
        value = value.to(input.dtype)
    elif dtypes.number_dtype(value).category > input.dtype.category:
        raise RuntimeError(f"masked_fill: value {value} cannot be converted to {input.dtype} without loss")
    else:
        from ..autograd.convert import scalar

        value = scalar(value, input.device, input.dtype)
    return Where.apply(mask, value, input)


@tensor_method(inplace=True)
def lerp(input, end, weight):
    """input + weight * (end - input)."""
    return input + (end - input) * weight


@tensor_method(inplace=True)
def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2."""
    return add(input, tensor1 * tensor2, alpha=value)


@tensor_method(inplace=True)
def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2."""
    return add(input, tensor1 / tensor2, alpha=value)


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


@tensor_method(inplace=True)
def abs(input):
    """Absolute value; its gradient at 0 is 0."""
    return input.clone() if input.dtype is dtypes.bool_ else Abs.apply(input)


tensor_method(inplace=True, name="absolute")(abs)


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
    y = masked_fill(input, isnan(input), nan)
    y = masked_fill(y, input == math.inf, limits.max if posinf is None else posinf)
    return masked_fill(y, input == -math.inf, limits.min if neginf is None else neginf)


@tensor_method(inplace=True)
def atan2(input, other):
    """The angle of the point (other, input), in (-pi, pi]."""
    return Atan2.apply(input, other)


@tensor_method(inplace=True)
def xlogy(input, other):
    """input * log(other), and 0 where input is 0."""
    return XLogY.apply(input, other)


@tensor_method
def logaddexp(input, other):
    """log(exp(input) + exp(other)), without overflow."""
    return LogAddExp.apply(input, other)


def _comparison(name: str, function: str) -> Any:
    def call(input, other):
        return Compare.apply(input, other, function=function)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"input {name} other, element by element, as booleans."
    return tensor_method(call)


eq, ne = _comparison("eq", "equal"), _comparison("ne", "not_equal")
lt, le = _comparison("lt", "less"), _comparison("le", "less_equal")
gt, ge = _comparison("gt", "greater"), _comparison("ge", "greater_equal")
logical_and, logical_or = _comparison("logical_and", "logical_and"), _comparison("logical_or", "logical_or")
logical_xor = _comparison("logical_xor", "logical_xor")


def _bitwise(name: str, function: str) -> Any:
    def call(input, other):
        for t in (input, other):
            if isinstance(t, float) or (isinstance(t, Tensor) and t.dtype.is_floating_point):
                raise RuntimeError(
                    f"{name}: expected integer or bool tensors, got {t.dtype if isinstance(t, Tensor) else t}"
                )
        return Compare.apply(input, other, function=function)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name} of integers or booleans."
    return tensor_method(call, inplace=True)


bitwise_and, bitwise_or = _bitwise("bitwise_and", "bitwise_and"), _bitwise("bitwise_or", "bitwise_or")
bitwise_xor = _bitwise("bitwise_xor", "bitwise_xor")
bitwise_left_shift = _bitwise("bitwise_left_shift", "left_shift")
bitwise_right_shift = _bitwise("bitwise_right_shift", "right_shift")


@tensor_method(inplace=True)
def bitwise_not(input):
    """~input for integers; the logical complement for booleans."""
    if input.dtype.is_floating_point:
        raise RuntimeError(f"bitwise_not: expected an integer or bool tensor, got {input.dtype}")
    return Test.apply(input, function="invert")


def _test(name: str, doc: str) -> Any:
    def call(input):
        return Test.apply(input, function=name)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return tensor_method(call)


isnan = _test("isnan", "Whether each element is NaN.")
isinf = _test("isinf", "Whether each element is inf or -inf.")
isfinite = _test("isfinite", "Whether each element is neither NaN nor infinite.")
logical_not = _test("logical_not", "Whether each element is zero.")


@tensor_method
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|input - other| <= atol + rtol |other|, element by element."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"isclose: expected tensors of one dtype, got {input.dtype} and {other.dtype}")
    xp = input.xp
    return Tensor(xp.asarray(xp.isclose(input.detach().array, other.detach().array, rtol, atol, equal_nan)))


@tensor_method
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all elements are close (`isclose`)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


@tensor_method
def equal(input, other):
    """Whether two tensors have the same shape and elements."""
    return input.shape == other.shape and bool((input.array == other.array).all())


@tensor_method(inplace=True)
def clone(input, *, memory_format=None):
    """A copy; gradients flow to the original."""
    return Clone.apply(input)
