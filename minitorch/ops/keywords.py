"""Other spellings that PyTorch takes: NumPy's `axis` and `keepdims`, `out`, and the options of new tensors that have one
value here.

`install` puts a function that translates them before each public function that they concern, in the families and in
Tensor; what a function's file says stays its signature.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from ..autograd.grad_mode import mode
from ..tensor import Tensor

NEW = (
    "arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "logspace", "normal", "ones", "ones_like",
    "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "zeros", "zeros_like",
)  # fmt: skip
WITH_OUT = (
    "abs", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "amax", "amin", "argmax", "argmin", "atan2",
    "baddbmm", "bmm", "cat", "ceil", "clamp", "cos", "cumprod", "cumsum", "div", "dot", "eq", "exp", "floor", "fmod", "gather",
    "ge", "gt", "index_select", "le", "lerp", "log", "logical_and", "logical_not", "logical_or", "logsumexp", "lt", "matmul",
    "max", "maximum", "mean", "min", "minimum", "mm", "mul", "mv", "ne", "neg", "norm", "outer", "pow", "prod", "reciprocal",
    "remainder", "round", "rsqrt", "sigmoid", "sign", "sin", "softmax", "sort", "sqrt", "square", "stack", "std", "sub", "sum",
    "take", "tan", "tanh", "topk", "tril", "triu", "trunc", "var", "where",
)  # fmt: skip


def write_out(name: str, out: Any, result: Any) -> Any:
    """The result, or the tuple of results, written into `out`, which takes its shape if it has another."""
    if isinstance(result, tuple):
        for target, value in zip(out, result, strict=True):
            write_out(name, target, value)
        return tuple.__new__(type(result), out)
    if mode.enabled and (out.requires_grad or result.requires_grad):
        raise RuntimeError(
            f"{name}(): a result that is written to out= has no gradient; leave out= away, or use no_grad()"
        )
    if out.shape != result.shape:
        out.data = result.to(out.dtype)
    return out.copy_(result)


def with_dim(function: Callable, keepdim: bool, out: bool) -> Callable:
    """The function, that takes `axis` for `dim`, `keepdims` for `keepdim`, and `out`."""

    @functools.wraps(function)
    def translated(*args: Any, **options: Any) -> Any:
        if options:
            if "axis" in options:
                options["dim"] = options.pop("axis")
            if keepdim and "keepdims" in options:
                options["keepdim"] = options.pop("keepdims")
            if out and "out" in options:
                target = options.pop("out")
                if target is not None:
                    return write_out(function.__name__, target, function(*args, **options))
        return function(*args, **options)

    return translated


def with_out(function: Callable) -> Callable:
    """The function, that takes `out`."""

    @functools.wraps(function)
    def translated(*args: Any, **options: Any) -> Any:
        if options and "out" in options:
            target = options.pop("out")
            if target is not None:
                return write_out(function.__name__, target, function(*args, **options))
        return function(*args, **options)

    return translated


def new(function: Callable) -> Callable:
    """A function that makes a tensor, that takes `layout`, `pin_memory`, `memory_format` and `out` as well."""

    @functools.wraps(function)
    def translated(*args: Any, **options: Any) -> Any:
        if options:
            layout = options.pop("layout", None)
            if layout is not None and "strided" not in str(layout):
                raise NotImplementedError(
                    f"{function.__name__}(): tensors are dense, the layout {layout} does not exist"
                )
            options.pop("pin_memory", None)
            options.pop("memory_format", None)
            target = options.pop("out", None)
            if target is not None:
                options.setdefault("dtype", target.dtype)
                options.setdefault("device", target.device)
                return write_out(function.__name__, target, function(*args, **options))
        return function(*args, **options)

    return translated


def install(modules: Iterable[ModuleType], *tables: dict[str, Any]) -> None:
    """Replaces the functions in the modules and tables, and the Tensor methods that they are."""
    translated: dict[Any, Any] = {}
    space: Any
    for space in (*modules, Tensor, *tables):
        table = isinstance(space, dict)
        for name, value in list((space if table else vars(space)).items()):
            if not inspect.isfunction(value) or name.startswith("_") or not value.__module__.startswith(__package__):
                continue
            if value not in translated:
                translated[value] = _translate(value)
            if translated[value] is not value:
                if table:
                    space[name] = translated[value]
                else:
                    setattr(space, name, translated[value])


def _translate(function: Callable) -> Callable:
    name = function.__name__
    names = inspect.signature(function).parameters
    out = name in WITH_OUT and "out" not in names
    if name in NEW:
        return new(function)
    if "dim" in names and "axis" not in names:
        return with_dim(function, "keepdim" in names and "keepdims" not in names, out)
    return with_out(function) if out else function
