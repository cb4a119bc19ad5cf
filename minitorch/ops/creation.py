"""New tensors, and the same tensor with another dtype or on another device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.convert import in_range
from ..autograd.engine import Op
from ..backend import devices, dtypes
from ..backend.devices import device_of, namespace_for, to_device, to_numpy
from ..backend.dtypes import as_dtype, get_default_dtype
from ..tensor import Tensor, wrap
from ._method import in_order_of, read_shape, tensor_method
from .arithmetic import Cast


class ToDevice(Op):
    """y = x on another device.               dx = dy on x's device"""

    promote = None

    def forward(self, x, *, target):
        self.save(device_of(x))
        return to_device(x, target)

    def backward(self, dy):
        (source,) = self.saved
        if not hasattr(dy, "tensor"):
            return to_device(dy, source)
        return self.run(ToDevice, dy, target=source)


def _new(array: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    where = devices.get_default() if device is None else devices.device(device)
    if dtype is not None:
        array = array.astype(as_dtype(dtype).numpy, copy=False)
    if where is not devices.CPU:
        array = to_device(array, where)
    return wrap(array, requires_grad)


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new leaf tensor with a copy of `data`: numbers, nested lists, NumPy arrays or tensors.

    Python floats become the default dtype, integers int64, booleans bool; arrays and tensors keep theirs.
    """
    if isinstance(data, Tensor):
        device = data.device if device is None else device
        return _new(data.array.copy(), dtype, device, requires_grad)
    if isinstance(data, np.ndarray) or (hasattr(data, "dtype") and hasattr(data, "shape")):
        array = np.array(data)
        if array.dtype not in dtypes.OF_NUMPY:
            array = _known_dtype(array)
        return _new(array.astype(dtypes.OF_NUMPY[array.dtype].numpy), dtype, device, requires_grad)
    return _new(_from_python(data, dtype), dtype, device, requires_grad)


def _known_dtype(array: np.ndarray) -> np.ndarray:
    native = array.dtype.newbyteorder("=")
    if native in dtypes.OF_NUMPY:
        return array.astype(native)
    widened = {"uint16": np.int32, "uint32": np.int64}.get(array.dtype.name)
    if widened is None:
        names = ", ".join(d.name for d in dtypes.ALL)
        raise TypeError(f"cannot make a tensor of an array of dtype {array.dtype}; minitorch has {names}")
    return array.astype(widened)


def _plain(value: Any, place: str) -> Any:
    """Nested lists of numbers; not a function within the next one, which would be a reference cycle at every call."""
    if isinstance(value, Tensor):
        return to_numpy(value.detach().array).tolist()
    if isinstance(value, (list, tuple, range)):
        return [_plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (bool, int, float, np.generic)):
        return value
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):  # a deque, say
        return [_plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
    raise TypeError(f"tensor(): expected a number at data{place}, got {type(value).__name__}")


def _from_python(data: Any, dtype: Any) -> np.ndarray:
    data = _plain(data, "")
    try:
        array = np.array(data)
    except ValueError:
        raise ValueError(f"tensor(): expected sequences of equal length at each level, got {data!r}") from None
    except OverflowError:
        raise RuntimeError("tensor(): an integer is too large for int64") from None
    if array.dtype.kind == "O" or array.dtype.kind not in "biuf":
        raise ValueError(f"tensor(): expected numbers in sequences of equal length, got {data!r}")
    if dtype is None:
        kind = "f" if array.size == 0 else array.dtype.kind
        if isinstance(data, np.generic):
            return array
        found = {"b": dtypes.bool_, "i": dtypes.int64, "u": dtypes.int64}.get(kind, get_default_dtype())
        return array.astype(found.numpy)
    wanted = as_dtype(dtype)
    if wanted.category == 1 and array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(wanted.numpy)
        least = limits.min or -limits.max  # PyTorch lets uint8 wrap: -1 is 255
        if int(array.min()) < least or int(array.max()) > limits.max:
            raise RuntimeError(f"tensor(): a value cannot be converted to {wanted} without overflow")
    return array


def from_numpy(array):
    """A tensor on the array's own memory: changes to one are seen in the other."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy(): expected np.ndarray (got {type(array).__name__})")
    if array.dtype not in dtypes.OF_NUMPY:
        raise TypeError(
            f"from_numpy(): can't convert an array of {array.dtype}; minitorch.tensor(array) makes a converted copy"
        )
    return wrap(array.view(np.ndarray) if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")))


def as_tensor(data, dtype=None, device=None):
    """`data` as a tensor, on the same memory where possible."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype) if (dtype is not None or device is not None) else data
    if device is None and devices.get_default() is not devices.CPU:
        device = devices.get_default()
    if isinstance(data, np.ndarray) and data.dtype in dtypes.OF_NUMPY:
        return from_numpy(data).to(device=device, dtype=dtype) if (dtype or device) else from_numpy(data)
    return tensor(data, dtype=dtype, device=device)


def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=False):
    """As `as_tensor`; copy=True always copies."""
    out = tensor(obj, dtype=dtype, device=device) if copy else as_tensor(obj, dtype, device)
    return out.requires_grad_() if requires_grad else out


def from_dlpack(ext_tensor):
    """A tensor on the memory of any object with `__dlpack__`."""
    on_cpu = int(ext_tensor.__dlpack_device__()[0]) == 1
    xp = np if on_cpu else namespace_for(devices.device("cuda"))
    return wrap(xp.from_dlpack(ext_tensor))


def _make(shape: tuple, dtype: Any, device: Any, requires_grad: bool, fill: Any) -> Tensor:
    where = devices.get_default() if device is None else devices.device(device)
    xp = namespace_for(where)
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"trying to create a tensor with negative dimension {min(shape)}: {list(shape)}")
    if fill == 0 and not _is_negative_zero(fill):
        array = xp.zeros(shape, d.numpy)
    else:
        whole = d.category == 1 and np.asarray(in_range(fill, d)).astype(d.numpy).item()
        array = xp.full(shape, whole if d.category == 1 else fill, d.numpy)
    if where.index is not None:
        array = to_device(array, where)
    return wrap(array, requires_grad)


def _is_negative_zero(fill: Any) -> bool:
    return isinstance(fill, float) and math.copysign(1.0, fill) < 0


def zeros(*shape, size=None, dtype=None, device=None, requires_grad=False):
    """A tensor of zeros."""
    return _make(read_shape(shape if size is None else (*shape, size), "zeros"), dtype, device, requires_grad, 0)


def ones(*shape, size=None, dtype=None, device=None, requires_grad=False):
    """A tensor of ones."""
    return _make(read_shape(shape if size is None else (*shape, size), "ones"), dtype, device, requires_grad, 1)


def empty(*shape, size=None, dtype=None, device=None, requires_grad=False, memory_format=None):
    """A tensor to be written to; minitorch fills it with zeros, so that nothing undefined is ever read."""
    return _make(read_shape(shape if size is None else (*shape, size), "empty"), dtype, device, requires_grad, 0)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """A tensor filled with one value, whose type gives the dtype unless it is given."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    d = dtypes.number_dtype(value) if dtype is None else dtype
    return _make(read_shape((size,) if not isinstance(size, int) else (size,), "full"), d, device, requires_grad, value)


def _like(make: Any, name: str) -> Any:
    def like(input, *args, dtype=None, device=None, requires_grad=False, memory_format=None):
        out = make(
            input.array.shape, *args, dtype=input.dtype if dtype is None else dtype,
            device=input.device if device is None else device, requires_grad=requires_grad,
        )  # fmt: skip
        if not input.array.flags.c_contiguous and not str(memory_format).endswith("contiguous_format"):
            out.array = in_order_of(input.array, out.array)
        return out

    like.__name__ = like.__qualname__ = name
    like.__doc__ = f"`{name[:-5]}` with the shape, dtype and device of `input`, and its axes' order in memory."
    return like


zeros_like, ones_like = _like(zeros, "zeros_like"), _like(ones, "ones_like")
empty_like, full_like = _like(empty, "empty_like"), _like(full, "full_like")


def _new_method(make: Any, name: str) -> None:
    def method(self, *args, dtype=None, device=None, requires_grad=False, **named):
        return make(
            *args, dtype=self.dtype if dtype is None else dtype,
            device=self.device if device is None else device, requires_grad=requires_grad, **named,
        )  # fmt: skip

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[4:]}` with this tensor's dtype and device."
    tensor_method(method)


for _name, _function in (
    ("new_zeros", zeros), ("new_ones", ones), ("new_empty", empty), ("new_full", full), ("new_tensor", tensor),
):  # fmt: skip
    _new_method(_function, _name)


def _range_dtype(values: tuple, dtype: Any) -> dtypes.dtype:
    if dtype is not None:
        return as_dtype(dtype)
    return get_default_dtype() if any(isinstance(v, (float, np.floating)) for v in values) else dtypes.int64


def arange(start=0, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... below end."""
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    d = _range_dtype((start, end, step), dtype)
    length = (end - start) / step if step and d is not dtypes.int64 else None
    if d.category == 1:  # PyTorch counts in integers
        start, end, step = int(start), int(end), int(step)
    if step == 0:
        raise RuntimeError("arange: step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"arange: upper bound and lower bound inconsistent with step sign: {start} to {end} by {step}"
        )
    n = math.ceil((end - start) / step if length is None else length)
    exact = np.int64 if all(isinstance(v, (int, np.integer)) for v in (start, step)) else np.float64
    return _new((start + np.arange(n, dtype=exact) * step).astype(d.numpy), None, device, requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """`steps` numbers at equal distances, both ends included."""
    if steps < 0:
        raise RuntimeError(f"linspace: number of steps must be non-negative, got {steps}")
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    return _new(_steps(start, end, steps, d).astype(d.numpy), None, device, requires_grad)


def _steps(start: Any, end: Any, steps: int, d: dtypes.dtype) -> np.ndarray:
    """For an integer dtype between the integral parts, and counted from the nearer end, as PyTorch does."""
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    if d.category != 1:
        return np.linspace(float(start), float(end), steps)
    start, end, i = int(start), int(end), np.arange(steps)
    step = (end - start) / max(steps - 1, 1)
    return np.where(i < steps // 2, start + step * i, end - step * (steps - 1 - i)) if steps != 1 else np.array([start])


def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, requires_grad=False):
    """base to the powers of linspace(start, end, steps)."""
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    return _new(np.power(float(base), _steps(start, end, steps, d)).astype(d.numpy), None, device, requires_grad)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """Ones on the diagonal, zeros elsewhere."""
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    return _new(np.eye(n, m, dtype=d.numpy), None, device, requires_grad)


def tril_indices(row, col, offset=0, *, dtype=None, device=None):
    """The places of the lower triangle of a (row, col) matrix: (2, count)."""
    return _new(np.stack(np.tril_indices(row, offset, col)), dtypes.int64 if dtype is None else dtype, device, False)


def triu_indices(row, col, offset=0, *, dtype=None, device=None):
    """The places of the upper triangle of a (row, col) matrix: (2, count)."""
    return _new(np.stack(np.triu_indices(row, offset, col)), dtypes.int64 if dtype is None else dtype, device, False)


def meshgrid(*tensors, indexing="ij"):
    """Grids of coordinates: one tensor for each input, all of the shape of their product."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    from .shape import broadcast_tensors, transpose

    n = len(tensors)
    grids = broadcast_tensors(*[t.reshape((1,) * i + (-1,) + (1,) * (n - i - 1)) for i, t in enumerate(tensors)])
    return tuple(transpose(g, 0, 1) for g in grids) if indexing == "xy" and n > 1 else grids


# --- conversions -----------------------------------------------------------------------------------------------------


@tensor_method
def to(self, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
    """The tensor with another dtype, on another device, or with both of another tensor; itself if nothing changes."""
    for a in args:
        if isinstance(a, dtypes.dtype):
            dtype = a
        elif isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, (str, int, devices.device)) and not isinstance(a, bool):
            device = a
        elif a is not None and not isinstance(a, bool):
            raise TypeError(f"to(): expected a dtype, a device or a tensor, got {a!r}")
    out = self
    if device is not None:
        where = devices.device(device)
        if self.device.type != where.type or (where.index is not None and where != self.device):
            out = ToDevice.apply(out, target=where)
    if dtype is not None and as_dtype(dtype).numpy != out.array.dtype:
        out = Cast.apply(out, dtype=as_dtype(dtype).numpy)
    elif dtype is not None and out.array.dtype is not as_dtype(dtype).numpy:
        out = out.detach() if not out.requires_grad else out.clone()  # equal, but a dtype object from elsewhere
        out.array = out.array.view(as_dtype(dtype).numpy)
    return out.clone() if copy and out is self else out


@tensor_method(name="type")
def _type(self, dtype=None, non_blocking=False):
    """The name of the tensor's type, or the tensor converted to `dtype`: one, or FloatTensor and its like, or a name."""
    from ..legacy import read_type, type_name

    if dtype is None:
        return type_name(self.dtype, self.device.type)
    wanted, where = read_type(dtype)
    return to(self, wanted) if where is None else to(self, wanted, device=where)


@tensor_method
def new(self, *data, device=None):
    """A new tensor of this one's dtype: of a shape, new(2, 3), or of data, new([1, 2])."""
    from ..legacy import build

    return build(data, self.dtype, self.device if device is None else devices.device(device))


@tensor_method
def type_as(self, other):
    """The tensor with other's dtype."""
    return to(self, other.dtype)


for _name, _dtype in (
    ("float", dtypes.float32), ("double", dtypes.float64), ("half", dtypes.float16), ("bfloat16", dtypes.bfloat16),
    ("long", dtypes.int64), ("int", dtypes.int32), ("short", dtypes.int16), ("char", dtypes.int8),
    ("byte", dtypes.uint8), ("bool", dtypes.bool_),
):  # fmt: skip
    setattr(Tensor, _name, lambda self, memory_format=None, _dtype=_dtype: to(self, _dtype))


def is_tensor(obj):
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input):
    """Whether the tensor's dtype is a floating point one."""
    return input.is_floating_point()


def numel(input):
    """The number of elements."""
    return input.numel()


def result_type(tensor1, tensor2):
    """The dtype that an operation on the two (tensors or numbers) gives."""
    both = (tensor1, tensor2)
    return dtypes.result_dtype(
        [t.dtype for t in both if isinstance(t, Tensor) and t.ndim],
        [t.dtype for t in both if isinstance(t, Tensor) and not t.ndim],
        [dtypes.number_dtype(t) for t in both if not isinstance(t, Tensor)],
    )
