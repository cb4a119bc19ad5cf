"""What `Op.apply` does with inputs that are not yet tensors of one dtype on one device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import capture, devices, dtypes, fastpath
from ..backend.devices import CPU, device_of, namespace_for
from ..tensor import Tensor, wrap
from . import autocast

_NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)
_scalars: dict[tuple, Tensor] = {}
_captured: dict[tuple, Tensor] = {}  # of these, those that a captured graph reads: kept for ever
_beside: dict[tuple, Any] = {}


def number_beside(number: Any, dtype: np.dtype) -> Any:
    """A Python number beside a tensor of a floating-point dtype, whose dtype it takes: a 0-d array. Else None."""
    if (type(number) is not float and type(number) is not int) or dtype.kind != "f":
        return None
    array = _beside.get((number, dtype))
    if array is None:
        try:
            array = np.array(number, dtype)
        except OverflowError:  # an integer beyond float64
            return None
        if number and number == number:  # not 0.0 and -0.0, which are equal keys, nor NaN, which is none
            if len(_beside) > 1000:
                _beside.clear()
            _beside[number, dtype] = array
    return array


def apply_converted(op: Any, inputs: tuple, options: dict) -> Any:
    """Converts the inputs, runs the op, and gives the result the dtype that PyTorch's table asks for.

    float16 and bfloat16 are computed in float32: inputs are cast up, the result is cast back, both with gradients.
    """
    tensors = [t for t in inputs if isinstance(t, Tensor)]
    for i, t in enumerate(inputs):
        if not isinstance(t, (Tensor, *_NUMBERS)) and t is not None:
            hint = "; minitorch.from_numpy makes a tensor of it" if isinstance(t, np.ndarray) else ""
            raise TypeError(f"{op.__name__}: expected a Tensor for input {i}, got {type(t).__name__}{hint}")
    if not tensors and getattr(op, "takes_numbers", False):  # minitorch.add(2, 3) is a tensor, as in PyTorch
        tensors = [scalar(inputs[0], CPU, dtypes.number_dtype(inputs[0]))]
        inputs = (*tensors, *inputs[1:])
    if not tensors:
        raise TypeError(f"{op.__name__}: expected at least one Tensor among its inputs, got {inputs!r}")
    where = _common_device(op, tensors)
    if op.promote is None:
        wanted = dtypes.number_dtype(next((x for x in inputs if isinstance(x, _NUMBERS)), 0))
        return op.apply(*[_place(t, where, wanted, False) for t in inputs], **options)

    wanted = dtypes.result_dtype(
        [t.dtype for t in tensors if t.array.ndim],
        [t.dtype for t in tensors if not t.array.ndim],
        [dtypes.number_dtype(t) for t in inputs if isinstance(t, _NUMBERS)],
    )
    if op.promote == "float" and wanted.category < 2:
        wanted = dtypes.get_default_dtype()
    low = wanted.numpy in dtypes.LOW_PRECISION
    computed = dtypes.float32 if low else wanted
    if low and not all(t is None or (isinstance(t, Tensor) and t.dtype is wanted) for t in inputs):
        xp = tensors[0].xp
        fast = fastpath.ACTIVE[xp].get(op)
        if takes_half(op, fast, wanted.numpy) and all(_keeps_its_value(t, wanted) for t in inputs):
            computed, low = wanted, False  # the fast path decides when all have its dtype
    result = op.apply(*[_place(t, where, computed, True) for t in inputs], **options)
    if not low or (autocast.blocks and autocast.keeps_float32(op)):
        return result
    lower = lambda t: t.to(wanted) if t.dtype is computed else t  # noqa: E731
    return tuple(map(lower, result)) if isinstance(result, tuple) else lower(result)


def apply_elsewhere(op: Any, inputs: tuple, options: dict, where: Any) -> Any:
    """Runs the op on the GPU that holds its inputs, when another one is the current one."""
    if where == "mixed":
        _common_device(op, [t for t in inputs if isinstance(t, Tensor)])
    with where:
        return op.apply(*inputs, **options)


def _keeps_its_value(t: Any, wanted: dtypes.dtype) -> bool:
    """Whether an input of an op takes this half precision as it is: x * 2, but not x * 0.1 nor x * 1e6, which are computed in
    float32."""
    if t is None or isinstance(t, Tensor):
        return t is None or t.dtype is wanted or t.dtype is dtypes.bool_
    try:
        with np.errstate(over="ignore"):
            return float(wanted.numpy.type(t)) == t
    except OverflowError:  # an integer beyond float64
        return False


def takes_half(op: Any, fast: Any, dtype: Any) -> bool:
    """Whether arrays of a dtype that is not native may go to the fast path: half precision, and it says so."""
    if fast is None or not fast.half or dtype not in dtypes.LOW_PRECISION:
        return False
    return not (autocast.blocks and autocast.keeps_float32(op))


def _common_device(op: Any, tensors: list[Tensor]) -> Any:
    where = next((t.device for t in tensors if t.array.ndim), tensors[0].device)
    for t in tensors:
        if t.device != where and (t.array.ndim or t.device.type != "cpu"):
            raise RuntimeError(
                f"{op.__name__}: expected all tensors on one device, got {where} and {t.device}; "
                f"move one of them, for instance with .to('{where}')"
            )
    return where


def _place(t: Any, where: Any, wanted: dtypes.dtype, cast: bool) -> Any:
    if t is None:
        return None
    if not isinstance(t, Tensor):
        return scalar(t, where, wanted)
    if device_of(t.array) != where:
        t = t.to(where)
    return t.to(wanted) if cast and t.array.dtype != wanted.numpy else t


def in_range(value: Any, wanted: dtypes.dtype) -> Any:
    """The number, if `wanted` can hold it. uint8 takes -255 to -1 too, which wrap round, as in PyTorch."""
    if wanted.category == 1 and not isinstance(value, (bool, np.bool_)):
        limits = np.iinfo(wanted.numpy)
        if not (limits.min or -limits.max) <= value <= limits.max:
            raise RuntimeError(f"value {value} cannot be converted to {wanted} without overflow")
    return value


def scalar(value: Any, where: Any, wanted: dtypes.dtype) -> Tensor:
    """A Python number as a 0-d tensor. Kept, since the same few numbers come again and again.

    On a GPU it is written by a kernel that gets the number as its argument: nothing is copied from the CPU's memory.
    """
    key = (value, type(value), where, wanted)
    tensor = _scalars.get(key)
    if tensor is None:
        if wanted.category == 1:  # beyond the dtype's limits it wraps round, as PyTorch's arithmetic does
            in_range(value, dtypes.int64)
        array = np.array(value).astype(wanted.numpy)
        if where is not CPU:
            xp = namespace_for(where)
            with devices.gpu(xp, where.index):
                array = xp.full((), array.item(), array.dtype)
        tensor = wrap(array)
        if (value or isinstance(value, (int, np.integer))) and value == value and capture.current is None:
            if len(_scalars) > 1000:  # 0.0 and -0.0 are equal keys, NaN is none; a capture's memory is the graph's
                _scalars.clear()
                _scalars.update(_captured)
            _scalars[key] = tensor
    elif capture.current is not None:
        _captured[key] = tensor
    return tensor
