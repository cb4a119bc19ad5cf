"""Python's operators on tensors: which function each one calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import elementwise as e
from ._method import in_place
from .matmul import matmul

_ARITHMETIC: dict[str, Callable] = {
    "add": e.add, "sub": e.sub, "mul": e.mul, "truediv": e.div, "floordiv": e.floor_divide, "mod": e.remainder,
    "pow": e.pow, "matmul": matmul, "and": e.bitwise_and, "or": e.bitwise_or, "xor": e.bitwise_xor,
    "lshift": e.bitwise_left_shift, "rshift": e.bitwise_right_shift,
}  # fmt: skip
_COMPARISON: dict[str, Callable] = {"eq": e.eq, "ne": e.ne, "lt": e.lt, "le": e.le, "gt": e.gt, "ge": e.ge}
_NUMBERS = (Tensor, bool, int, float)


def _operand(value: Any) -> bool:
    return isinstance(value, _NUMBERS) or (hasattr(value, "dtype") and not getattr(value, "shape", ()))


def _left(function: Callable, name: str) -> Callable:
    def operator(self, other):
        return function(self, other) if type(other) is Tensor or _operand(other) else NotImplemented

    operator.__name__ = operator.__qualname__ = name
    return operator


def _right(function: Callable, name: str) -> Callable:
    def operator(self, other):
        return function(other, self) if _operand(other) else NotImplemented

    operator.__name__ = operator.__qualname__ = name
    return operator


_DIRECT: dict[str, Callable] = {"add": e.Add.apply, "mul": e.Mul.apply, "truediv": e.Div.apply}
for _name, _function in _ARITHMETIC.items():
    setattr(Tensor, f"__{_name}__", _left(_DIRECT.get(_name, _function), f"__{_name}__"))
    setattr(Tensor, f"__r{_name}__", _right(_function, f"__r{_name}__"))
    setattr(Tensor, f"__i{_name}__", in_place(_function, f"__i{_name}__"))

for _name, _function in _COMPARISON.items():
    setattr(Tensor, f"__{_name}__", _left(_function, f"__{_name}__"))

for _name, _function in {"neg": e.neg, "pos": lambda self: self, "abs": e.abs, "invert": e.bitwise_not}.items():
    setattr(Tensor, f"__{_name}__", _function)
