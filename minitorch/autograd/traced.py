"""A backward formula, run on the tape: proxies over Tensors that have NumPy's method names and semantics.

`Op.backward` is written once, for arrays. For gradients of gradients it runs on `Traced` values instead: each array
function that it uses becomes the tensor operation of the same meaning, which is recorded like any other. The list is
closed: a function that is not here fails with its name, and a test holds the formulas in ops/ to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.dtypes import OF_NUMPY
from ..tensor import Tensor, wrap


def _ops():
    from .. import ops

    return ops


def _lift(value: Any) -> Any:
    """What a tensor operation takes for this operand: tensors for proxies and arrays, numbers as they are."""
    if isinstance(value, Traced):
        return value.tensor
    if isinstance(value, np.generic):  # NumPy's comparison of 0-d arrays
        value = np.asarray(value)
    return wrap(value) if hasattr(value, "dtype") and hasattr(value, "reshape") else value


def unwrap(value: Any, xp: Any) -> Any:
    if value is None or isinstance(value, Tensor):
        return value
    return value.tensor if isinstance(value, Traced) else wrap(xp.asarray(value))


def _binary(name: str, reflected: bool = False):
    def method(self: Traced, other: Any) -> Traced:
        a, b = (_lift(other), self.tensor) if reflected else (self.tensor, _lift(other))
        return Traced(getattr(_ops(), name)(a, b))

    return method


def _compare(name: str):
    def method(self: Traced, other: Any) -> Any:  # no gradient goes through a comparison: a plain array
        other = other.tensor.array if isinstance(other, Traced) else other
        return getattr(self.tensor.array, name)(other)

    return method


class Traced:
    """A Tensor that a formula written for arrays can use."""

    __slots__ = ("tensor",)
    __array_ufunc__ = None  # array * traced: NumPy and CuPy leave the operation to this class
    __array_priority__ = 1000
    tensor: Tensor

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    @property
    def shape(self) -> tuple:
        return self.tensor.array.shape

    @property
    def ndim(self) -> int:
        return self.tensor.array.ndim

    @property
    def size(self) -> int:
        return self.tensor.array.size

    @property
    def dtype(self) -> Any:
        return self.tensor.array.dtype

    __add__, __radd__ = _binary("add"), _binary("add", True)
    __sub__, __rsub__ = _binary("sub"), _binary("sub", True)
    __mul__, __rmul__ = _binary("mul"), _binary("mul", True)
    __truediv__, __rtruediv__ = _binary("div"), _binary("div", True)
    __pow__, __rpow__ = _binary("pow"), _binary("pow", True)
    __matmul__, __rmatmul__ = _binary("matmul"), _binary("matmul", True)
    __lt__, __le__ = _compare("__lt__"), _compare("__le__")
    __gt__, __ge__ = _compare("__gt__"), _compare("__ge__")
    __eq__, __ne__ = _compare("__eq__"), _compare("__ne__")  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __neg__(self) -> Traced:
        return Traced(_ops().neg(self.tensor))

    def __getitem__(self, index: Any) -> Traced:
        return Traced(_ops().index.Index.apply(self.tensor, index=index))

    def sum(self, axis=None, keepdims=False) -> Traced:
        return Traced(_ops().reduce.Sum.apply(self.tensor, axis=axis, keepdims=keepdims))

    def mean(self, axis=None, keepdims=False) -> Traced:
        return Traced(_ops().reduce.Mean.apply(self.tensor, axis=axis, keepdims=keepdims))

    def reshape(self, *shape) -> Traced:
        given = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return Traced(_ops().reshape(self.tensor, tuple(given)))

    def transpose(self, *axes) -> Traced:
        if not axes:
            axes = tuple(reversed(range(self.ndim)))
        return Traced(_ops().permute(self.tensor, axes[0] if isinstance(axes[0], (tuple, list)) else axes))

    def swapaxes(self, a: int, b: int) -> Traced:
        return Traced(_ops().transpose(self.tensor, a, b))

    def astype(self, dtype: Any, copy: bool = True) -> Traced:
        return Traced(self.tensor.to(OF_NUMPY[dtype]))


def _concatenate(arrays, axis=0):
    return _ops().cat([_lift(a) for a in arrays], axis)


def _stack(arrays, axis=0):
    return _ops().stack([_lift(a) for a in arrays], axis)


def _tensor_function(name: str):
    return lambda *operands: getattr(_ops(), name)(*map(_lift, operands))


# name in NumPy -> the same on tensors
FUNCTIONS: dict[str, Any] = {
    **{
        name: _tensor_function(name)
        for name in (
            "exp",
            "log",
            "log1p",
            "expm1",
            "sqrt",
            "square",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "abs",
            "sign",
            "reciprocal",
        )  # fmt: skip
    },
    **{
        numpy_name: _tensor_function(name)
        for numpy_name, name in (
            ("add", "add"),
            ("subtract", "sub"),
            ("multiply", "mul"),
            ("divide", "div"),
            ("power", "pow"),
            ("matmul", "matmul"),
        )  # fmt: skip
    },
    "maximum": lambda a, b: _ops().arithmetic.Maximum.apply(_lift(a), _lift(b)),
    "minimum": lambda a, b: _ops().arithmetic.Minimum.apply(_lift(a), _lift(b)),
    "negative": lambda x: -Traced(_lift(x)),
    "where": lambda c, a, b: _ops().where(_lift(c), _lift(a), _lift(b)),
    "sum": lambda x, axis=None, keepdims=False: Traced(_lift(x)).sum(axis, keepdims),
    "mean": lambda x, axis=None, keepdims=False: Traced(_lift(x)).mean(axis, keepdims),
    "cumsum": lambda x, axis: _ops().cumsum(_lift(x), axis),
    "flip": lambda x, axis: _ops().flip(_lift(x), axis),
    "reshape": lambda x, shape: Traced(_lift(x)).reshape(shape),
    "transpose": lambda x, axes: Traced(_lift(x)).transpose(axes),
    "swapaxes": lambda x, a, b: Traced(_lift(x)).swapaxes(a, b),
    "moveaxis": lambda x, a, b: _ops().movedim(_lift(x), a, b),
    "expand_dims": lambda x, axis: _expand_dims(_lift(x), axis),
    "squeeze": lambda x, axis: _ops().squeeze(_lift(x), axis),
    "broadcast_to": lambda x, shape: _ops().broadcast_to(_lift(x), shape),
    "concatenate": _concatenate,
    "stack": _stack,
    "take_along_axis": lambda x, index, axis: _ops().take_along_dim(_lift(x), _lift(index), axis),
    "triu": lambda x, k=0: _ops().triu(_lift(x), k),
    "tril": lambda x, k=0: _ops().tril(_lift(x), k),
}


def _expand_dims(x: Tensor, axis: Any) -> Tensor:
    axes = axis if isinstance(axis, tuple) else (axis,)
    full = x.array.ndim + len(axes)
    for a in sorted(a % full for a in axes):
        x = _ops().unsqueeze(x, a)
    return x


class Namespace:
    """The `xp` of a traced backward: functions of FUNCTIONS record; on plain arrays it is the library itself."""

    __name__ = "traced"

    def __init__(self, xp: Any):
        self.xp = xp

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self.xp, name)
        if isinstance(plain, type) or not callable(plain):
            return plain

        def function(*args: Any, **kwargs: Any) -> Any:
            if not any(isinstance(v, Traced) for a in args for v in (a if isinstance(a, (list, tuple)) else (a,))):
                return plain(*args, **kwargs)
            if name in ("zeros_like", "ones_like", "isnan", "isinf", "shape", "argmax", "argmin"):  # constants
                return plain(args[0].tensor.array, *args[1:], **kwargs)
            if name not in FUNCTIONS:
                raise NotImplementedError(f"a backward formula may not use xp.{name}: it is not in traced.FUNCTIONS")
            result = FUNCTIONS[name](*args, **kwargs)
            return result if isinstance(result, Traced) else Traced(result)

        setattr(self, name, function)
        return function

    def run(self, op: Any, *values: Any, **options: Any) -> Any:
        result = op.apply(*[_lift(v) for v in values], **options)
        return tuple(map(Traced, result)) if isinstance(result, tuple) else Traced(result)


_namespaces: dict[str, Namespace] = {}


def namespace(xp: Any) -> Namespace:
    return _namespaces.setdefault(xp.__name__, Namespace(xp))
