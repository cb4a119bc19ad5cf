"""PyTorch's oldest constructors: Tensor([1, 2]), Tensor(2, 3), FloatTensor(...), LongTensor(...) and so on.

Numbers alone are a shape; anything else is data, of which they make a copy in their own dtype. `minitorch.tensor`,
`zeros` and `empty` say which one is meant.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .backend import devices, dtypes
from .ops import creation
from .tensor import Size, Tensor


def build(data: tuple, dtype: dtypes.dtype, where: devices.device, name: str = "new()") -> Tensor:
    """What the constructor of a dtype makes of its arguments."""
    if not data:
        return creation.empty(0, dtype=dtype, device=where)
    first = data[0]
    if isinstance(first, Tensor):
        if len(data) > 1:
            raise TypeError(f"{name}: a tensor is given, and {data[1]!r} besides")
        if first.dtype is not dtype:
            raise TypeError(f"{name}: expected a tensor of {dtype}, got {first.dtype}; convert it: tensor.to({dtype})")
        return first.view_as(first)
    if isinstance(first, Size) or (not isinstance(first, (bool, np.ndarray)) and hasattr(first, "__index__")):
        if isinstance(first, Size) and len(data) > 1:
            raise TypeError(f"{name}: a size is given, and {data[1]!r} besides")
        try:
            shape = tuple(operator.index(n) for n in (first if isinstance(first, Size) else data))
        except TypeError:
            raise TypeError(f"{name}: a size must be integers, got {data!r}") from None
        return creation.empty(shape, dtype=dtype, device=where)
    if len(data) > 1:
        raise TypeError(f"{name}: expected integers, a size, or one sequence, got {len(data)} arguments: {data!r}")
    if isinstance(first, str):
        raise TypeError(f"{name}: invalid data type 'str'")
    if not isinstance(first, (list, tuple, range, np.ndarray)) or (isinstance(first, np.ndarray) and not first.ndim):
        raise TypeError(f"{name}: data must be a sequence (got {type(first).__name__})")
    if isinstance(first, np.ndarray):  # converted as NumPy does it, without a check of the range
        return creation.tensor(first).to(dtype).to(where)
    return creation.tensor(first, dtype=dtype, device=where)


def initialize(tensor: Tensor, data: tuple, device: Any) -> None:
    """Tensor(*data): the default dtype, on the CPU. Another tensor, of whatever dtype: on the same memory, at the same
    place in the graph."""
    where = _checked(device, devices.CPU, "Tensor")
    of_tensor = len(data) == 1 and isinstance(data[0], Tensor)
    dtype = data[0].dtype if of_tensor else dtypes.get_default_dtype()
    vars(tensor).update(vars(build(data, dtype, where)))


def _checked(device: Any, own: devices.device, name: str) -> devices.device:
    where = own if device is None else devices.device(device)
    if where.type != own.type:
        raise RuntimeError(
            f"{name}: legacy constructor expects device type: {own.type} but device type: {where.type} was passed"
        )
    return where


class TensorType(type):
    """The type of FloatTensor and its like: they are called like classes, and `isinstance` asks for the dtype."""

    dtype: dtypes.dtype
    device_type: str

    def __call__(cls, *data: Any, device: Any = None) -> Tensor:
        return build(
            data, cls.dtype, _checked(device, devices.device(cls.device_type), cls.__name__), f"{cls.__name__}()"
        )

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype is cls.dtype and value.device.type == cls.device_type

    def __repr__(cls) -> str:
        return f"<class '{type_name(cls.dtype, cls.device_type)}'>"

    @property
    def is_cuda(cls) -> bool:
        """Whether its tensors are on a GPU."""
        return cls.device_type == "cuda"


_NAMES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int",
    "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
}  # fmt: skip


def type_name(dtype: dtypes.dtype, device_type: str = "cpu") -> str:
    """torch.FloatTensor, minitorch.cuda.LongTensor: what `tensor.type()` returns."""
    room = "" if device_type == "cpu" else f".{device_type}"
    return f"{dtypes.NAMESPACE}{room}.{_NAMES[dtype.name]}Tensor"


def typed(dtype: dtypes.dtype, device_type: str = "cpu") -> Any:
    """The class of tensors of one dtype on one kind of device."""
    space = {
        "dtype": dtype,
        "device_type": device_type,
        "__doc__": f"Tensors of {dtype.name}, as in PyTorch's oldest code.",
    }
    return TensorType(_NAMES[dtype.name] + "Tensor", (), space)


TYPED = {_NAMES[d.name] + "Tensor": typed(d) for d in dtypes.ALL}
FloatTensor, DoubleTensor, HalfTensor, BFloat16Tensor = (
    TYPED[n + "Tensor"] for n in ("Float", "Double", "Half", "BFloat16")
)
LongTensor, IntTensor, ShortTensor = (TYPED[n + "Tensor"] for n in ("Long", "Int", "Short"))
CharTensor, ByteTensor, BoolTensor = (TYPED[n + "Tensor"] for n in ("Char", "Byte", "Bool"))


def read_type(value: Any) -> Any:
    """(dtype, device type or None) of what `tensor.type(...)` and `set_default_tensor_type` are given: FloatTensor, its
    name, or a dtype."""
    if isinstance(value, TensorType):
        return value.dtype, value.device_type
    if isinstance(value, str):
        package, _, name = value.partition(".")
        room, _, last = name.rpartition(".")
        found = next((d for d in dtypes.ALL if _NAMES[d.name] + "Tensor" == last), None)
        if package not in ("torch", "minitorch") or room not in ("", "cuda") or found is None:
            raise ValueError(f"invalid type: {value!r}; expected a dtype, or a name such as 'torch.FloatTensor'")
        return found, room or "cpu"
    if isinstance(value, dtypes.dtype):
        return value, None
    raise ValueError(f"invalid type: {value!r}; expected a dtype, FloatTensor or its like, or its name")
