"""Python's operators on tensors: which function each one calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import arithmetic as a
from . import comparison as c
from ._method import in_place
from .elementwise import abs
from .matmul import matmul

_ARITHMETIC: dict[str, Callable] = {
    "add": a.add, "sub": a.sub, "mul": a.mul, "truediv": a.div, "floordiv": a.floor_divide, "mod": a.remainder,
    "pow": a.pow, "matmul": matmul, "and": c.bitwise_and, "or": c.bitwise_or, "xor": c.bitwise_xor,
    "lshift": c.bitwise_left_shift, "rshift": c.bitwise_right_shift,
}  # fmt: skip
_COMPARISON: dict[str, Callable] = {"eq": c.eq, "ne": c.ne, "lt": c.lt, "le": c.le, "gt": c.gt, "ge": c.ge}
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


def _direct(op: type, name: str) -> Callable:
    """The commonest operators reach their op without a function in between."""

    def operator(self, other):
        return op.apply(self, other) if type(other) is Tensor or _operand(other) else NotImplemented

    operator.__name__ = operator.__qualname__ = name
    return operator


_DIRECT: dict[str, Any] = {"add": a.Add, "mul": a.Mul, "truediv": a.Div}
for _name, _function in _ARITHMETIC.items():
    _dunder = f"__{_name}__"
    setattr(Tensor, _dunder, _direct(_DIRECT[_name], _dunder) if _name in _DIRECT else _left(_function, _dunder))
    setattr(Tensor, f"__r{_name}__", _right(_function, f"__r{_name}__"))
    setattr(Tensor, f"__i{_name}__", in_place(_function, f"__i{_name}__"))

for _name, _function in _COMPARISON.items():
    setattr(Tensor, f"__{_name}__", _left(_function, f"__{_name}__"))

for _name, _function in {"neg": a.neg, "pos": lambda self: self, "abs": abs, "invert": c.bitwise_not}.items():
    setattr(Tensor, f"__{_name}__", _function)
