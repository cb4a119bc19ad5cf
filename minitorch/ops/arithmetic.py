"""Arithmetic of two operands, powers, choice, and copies: + - * / ** max where ...

da = dy . dy/da,  db = dy . dy/db, each summed back where its operand was broadcast      (lessons 00 and 02)
"""

from __future__ import annotations

from typing import Any

from ..autograd.convert import in_range, scalar
from ..autograd.engine import Op
from ..backend import checks, dtypes
from ..tensor import Tensor
from ._method import need_tensors, tensor_method, unbroadcast
from .comparison import isnan


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
    """y = a copy of x, its axes in the same order in memory ("K"), or in their own ("C").      dx = dy"""

    promote = None

    def forward(self, x, *, order="K"):
        return x.copy() if x.flags.c_contiguous else x.copy(order)

    def backward(self, dy):
        return dy


class Add(Op):
    """y = a + b.                             da = dy,  db = dy            (summed back where broadcast)

    Lesson 01.
    """

    takes_numbers = True

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
    """y = a - b.                             da = dy,  db = -dy      Lesson 01."""

    takes_numbers = True

    def forward(self, a, b):
        if a.shape != b.shape:
            self.save(a.shape, b.shape)
        return self.xp.subtract(a, b)

    def backward(self, dy):
        if not self.saved:
            return dy, (-dy if self.needs[1] else None)
        a, b = self.saved
        return (unbroadcast(dy, a) if self.needs[0] else None), (unbroadcast(-dy, b) if self.needs[1] else None)


class Mul(Op):
    """y = a b.                               da = dy b,  db = dy a      Lesson 01."""

    takes_numbers = True

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
    """y = a / b.                             da = dy / b,  db = -dy a / b^2 = -da y      Lesson 01."""

    promote = "float"

    takes_numbers = True

    def forward(self, a, b):
        y = self.xp.divide(a, b)
        self.save(y if self.needs[1] else None, b, a.shape)
        return y

    def backward(self, dy):
        y, b, a_shape = self.saved
        da = dy / b
        db = unbroadcast(-da * y, b.shape) if self.needs[1] else None
        return (unbroadcast(da, a_shape) if self.needs[0] else None), db


class FloorDivide(Op):
    """y = floor(a / b), as Python's //: no gradient (a step function)."""

    differentiable = False

    takes_numbers = True

    def forward(self, a, b):
        if b.dtype.kind != "f":
            checks.require(b != 0, "ZeroDivisionError: integer division by zero")
        return self.xp.floor_divide(a, b)


class RoundedDivide(Op):
    """y = a / b rounded down or toward zero: da = db = 0."""

    takes_numbers = True

    def forward(self, a, b, *, rounding):
        self.save(a.shape, b.shape)
        if b.dtype.kind != "f":
            checks.require(b != 0, "ZeroDivisionError: integer division by zero")
            if rounding == "trunc":
                a = a - self.xp.fmod(a, b)  # a multiple of b: the division is exact
        elif rounding == "trunc":
            return self.xp.trunc(self.xp.divide(a, b))
        return self.xp.floor_divide(a, b)

    def backward(self, dy):
        a, b = self.saved
        return self.xp.zeros(a, dy.dtype), self.xp.zeros(b, dy.dtype)


class Remainder(Op):
    """y = a - b floor(a / b), the sign of b.  da = dy,  db = -dy floor(a / b)"""

    def forward(self, a, b):
        if b.dtype.kind != "f":
            checks.require(b != 0, "ZeroDivisionError: integer remainder by zero")
        self.save(self.xp.floor_divide(a, b) if self.needs[1] else None, a.shape, b.shape)
        return self.xp.remainder(a, b)

    def backward(self, dy):
        quotient, a, b = self.saved
        da = unbroadcast(dy, a) if self.needs[0] else None
        return da, (unbroadcast(-dy * quotient, b) if self.needs[1] else None)


class Fmod(Op):
    """y = a - b trunc(a / b), the sign of a.  da = dy,  db = -dy trunc(a / b)"""

    def forward(self, a, b):
        if b.dtype.kind != "f":
            checks.require(b != 0, "ZeroDivisionError: integer fmod by zero")
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


# --- public functions ------------------------------------------------------------------------------------------------


def _integer_power(xp, a, b):
    """Integer powers; a negative exponent gives 0, and 1 or -1 where the base is 1 or -1, as PyTorch does."""
    if b.dtype.kind != "i" or checks.known(b >= 0):
        return xp.power(a, b)
    y = xp.power(a, xp.abs(b))
    return xp.where((b < 0) & (a != 1) & (a != -1), 0, y).astype(y.dtype)


class PowNumber(Op):
    """y = x^p for a number p.                dx = dy p x^(p-1)      Lesson 01."""

    def forward(self, x, *, exponent):
        self.save(x, exponent)
        if exponent == 2:
            return self.xp.multiply(x, x)
        return self.xp.power(x, x.dtype.type(exponent))

    def backward(self, dy):
        x, p = self.saved
        if p == 2:
            return dy * (x + x)
        return dy * (p * x ** (p - 1)) if p != 0 else self.xp.zeros_like(x)


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
            y = self.xp.maximum(y, x.dtype.type(lowest))
        if highest is not None:
            inside = (x <= highest) & inside
            y = self.xp.minimum(y, x.dtype.type(highest))
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
        if a.dtype == dtypes.BFLOAT16:  # which CuPy's `where` does not take; only bits are moved
            return self.xp.where(condition, a.view("uint16"), b.view("uint16")).view(a.dtype)
        return self.xp.where(condition, a, b)

    def backward(self, dy):
        condition, a, b = self.saved
        zero = self.xp.zeros((), dy.dtype)
        da = unbroadcast(self.run(Where, condition, dy, zero), a) if self.needs[1] else None
        db = unbroadcast(self.run(Where, condition, zero, dy), b) if self.needs[2] else None
        return None, da, db


def _scaled(other: Any, alpha: Any, name: str) -> Any:
    return other if alpha == 1 else mul(other, alpha) if isinstance(other, Tensor) else other * alpha


@tensor_method(inplace=True)
def add(input, other, third=None, *, alpha=1):
    """input + alpha * other, broadcast. PyTorch's older form is add(input, alpha, other)."""
    if third is not None:
        alpha, other = other, third
    return Add.apply(input, other) if alpha == 1 else Add.apply(input, _scaled(other, alpha, "add"))


def _is_bool(value: Any) -> bool:
    return value.array.dtype.kind == "b" if isinstance(value, Tensor) else isinstance(value, bool)


@tensor_method(inplace=True)
def sub(input, other, third=None, *, alpha=1):
    """input - alpha * other, broadcast. PyTorch's older form is sub(input, alpha, other)."""
    if third is not None:
        alpha, other = other, third
    if _is_bool(input) or _is_bool(other):
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported; use logical_xor or ~")
    return Sub.apply(input, other) if alpha == 1 else Sub.apply(input, _scaled(other, alpha, "sub"))


@tensor_method
def rsub(input, other, *, alpha=1):
    """other - alpha * input."""
    need_tensors("rsub", input)
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
    if rounding_mode in ("floor", "trunc"):
        return RoundedDivide.apply(input, other, rounding=rounding_mode)
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
    need_tensors("fmod", input)
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
        if input.array.dtype in dtypes.FLOATING:
            return PowNumber.apply(input, exponent=exponent)
        if isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed; make one of them a float")
    return Pow.apply(input, exponent)


@tensor_method(inplace=True)
def square(input):
    """input * input."""
    return pow(input, 2)


@tensor_method
def maximum(input, other):
    """The larger of each pair; NaN if one is NaN; a tie shares the gradient."""
    need_tensors("maximum", input, other)
    return Maximum.apply(input, other)


@tensor_method
def minimum(input, other):
    """The smaller of each pair; NaN if one is NaN; a tie shares the gradient."""
    need_tensors("minimum", input, other)
    return Minimum.apply(input, other)


@tensor_method(inplace=True)
def clamp(input, min=None, max=None):
    """input, but not below min nor above max. Bounds are numbers or tensors."""
    need_tensors("clamp", input)
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
    else:
        value = scalar(in_range(value, input.dtype), input.device, input.dtype)
    return Where.apply(mask, value, input.contiguous())  # whose result is contiguous then, as PyTorch's


@tensor_method(inplace=True)
def lerp(input, end, weight):
    """input + weight * (end - input)."""
    return input + (end - input) * weight


def _precise(input: Tensor, a: Tensor, b: Tensor) -> tuple:
    """a and b in the dtype of a sum with input, if a dtype is another: the product is not rounded before."""
    if a.dtype is b.dtype is input.dtype:
        return a, b
    tensors = (input, a, b)
    d = dtypes.result_dtype([t.dtype for t in tensors if t.ndim], [t.dtype for t in tensors if not t.ndim], [])
    return a.to(d), b.to(d)


@tensor_method(inplace=True)
def addcmul(input, tensor1, tensor2, third=None, *, value=1):
    """input + value * tensor1 * tensor2. PyTorch's older form is addcmul(input, value, tensor1, tensor2)."""
    if third is not None:
        value, tensor1, tensor2 = tensor1, tensor2, third
    tensor1, tensor2 = _precise(input, tensor1, tensor2)
    return add(input, tensor1 * tensor2, alpha=value)


@tensor_method(inplace=True)
def addcdiv(input, tensor1, tensor2, third=None, *, value=1):
    """input + value * tensor1 / tensor2. PyTorch's older form is addcdiv(input, value, tensor1, tensor2)."""
    if third is not None:
        value, tensor1, tensor2 = tensor1, tensor2, third
    tensor1, tensor2 = _precise(input, tensor1, tensor2)
    return add(input, tensor1 / tensor2, alpha=value)


@tensor_method(inplace=True)
def clone(input, *, memory_format=None):
    """A copy, with the axes in the same order in memory; gradients flow to the original."""
    if str(memory_format).endswith("contiguous_format"):
        return Clone.apply(input, order="C")
    return Clone.apply(input)
