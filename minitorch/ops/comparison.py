"""Comparisons, logic, and questions with a yes or no for each element: boolean results, no gradients."""

from __future__ import annotations

from typing import Any

from ..autograd.engine import Op
from ..backend.devices import host
from ..tensor import Tensor, wrap
from ._method import need_tensors, tensor_method


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


def _comparison(name: str, function: str) -> Any:
    numbers = not name.startswith("logical")  # may be compared with

    def call(input, other):
        need_tensors(name, *(input,) if numbers else (input, other))
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
    need_tensors("isclose", input, other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"isclose: expected tensors of one dtype, got {input.dtype} and {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: expected rtol and atol not below zero, got {rtol} and {atol}")
    xp = input.xp
    return wrap(xp.asarray(xp.isclose(input.detach().array, other.detach().array, rtol, atol, equal_nan)))


@tensor_method
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all elements are close (`isclose`)."""
    return host(isclose(input, other, rtol, atol, equal_nan).array.all())


@tensor_method
def equal(input, other):
    """Whether two tensors have the same shape and elements."""
    return input.shape == other.shape and host((input.array == other.array).all())
