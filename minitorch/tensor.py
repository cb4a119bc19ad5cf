"""Tensor: an array, its gradient, and its place in the graph. Operations are in ops/, gradients in their `backward`."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .backend import capture, devices, dtypes
from .backend.devices import device, device_of, namespace_of, to_numpy


class Size(tuple):
    """A shape: a tuple with `numel()`."""

    def numel(self) -> int:
        n = 1
        for length in self:
            n *= length
        return n

    def __getitem__(self, index):  # a slice of a Size is a Size
        part = super().__getitem__(index)
        return Size(part) if isinstance(index, slice) else part

    def __repr__(self) -> str:
        return f"{dtypes.NAMESPACE}.Size({list(self)})"


class Tensor:
    """An n-dimensional array that remembers how it was made. `minitorch.tensor(data)` makes one.

    array: the NumPy or CuPy array.   grad: a Tensor of the same shape, after `backward()`.
    grad_fn: the op that made it (None for a leaf).   requires_grad: whether gradients flow to or through it.
    """

    # Defaults in the class: an instance holds what differs. `array` and `_counter` are always its own.
    array: Any
    _grad: Any = None
    grad_fn: Any = None
    _requires_grad = False
    _index = 0  # which output of grad_fn this is
    _hooks: dict[int, Callable] | None = None
    _after_hooks: dict[int, Callable] | None = None
    # views and in-place changes: autograd/views.py
    _counter: list  # [how often the memory was changed in place], shared by all views
    _base: Any = None
    _chain: Any = ()
    _seen = 0
    _written = 0
    _made_without_grad = False
    __array_priority__ = 100
    __array_ufunc__ = None  # array * tensor goes to Tensor.__rmul__

    def __init__(self, *data: Any, device: Any = None):
        """PyTorch's oldest constructor: Tensor([1, 2]) or Tensor(2, 3), float32 whatever comes (legacy.py).

        `minitorch.tensor(data)` is the one to use; inside minitorch it is `wrap(array)`, on the array's own memory.
        """
        from .legacy import initialize

        initialize(self, data, device)

    if TYPE_CHECKING:  # the operations, added by `tensor_method` in ops/

        def __getattr__(self, name: str) -> Any: ...

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # reached only when the ordinary look-up fails
            from .missing import Message

            message = f"Tensor has no attribute {name!r}" if name[0] == "_" else Message(name, Tensor, "Tensor")
            raise AttributeError(message, name=name, obj=self)

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self.array.shape)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.array.shape[self._dim(dim)]

    def _dim(self, dim: int) -> int:
        n = max(self.array.ndim, 1)
        if not -n <= dim < n:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
        return dim % n

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def dim(self) -> int:
        return self.array.ndim

    def numel(self) -> int:
        return int(self.array.size)

    nelement = numel

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.OF_NUMPY[self.array.dtype]

    @property
    def device(self) -> device:
        return device_of(self.array)

    @property
    def xp(self) -> Any:
        """The array library of this tensor: numpy, or cupy."""
        return namespace_of(self.array)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    def get_device(self) -> int:
        """The number of the GPU that holds it; -1 on the CPU."""
        return (self.device.index or 0) if self.is_cuda else -1

    @property
    def itemsize(self) -> int:
        return int(self.array.itemsize)

    element_size = lambda self: self.itemsize  # noqa: E731

    @property
    def nbytes(self) -> int:
        return self.numel() * self.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Steps in elements, not in bytes as NumPy gives them."""
        steps = tuple(s // self.array.itemsize for s in self.array.strides)
        return steps if dim is None else steps[self._dim(dim)]

    def is_contiguous(self) -> bool:
        return bool(self.array.flags.c_contiguous)

    def data_ptr(self) -> int:
        if hasattr(self.array, "__array_interface__"):  # `.data` is none for bfloat16
            return self.array.__array_interface__["data"][0]
        return self.array.data.ptr

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        return False

    def is_signed(self) -> bool:
        return self.dtype.is_signed

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]

    def __iter__(self):
        if not self.array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    __hash__ = object.__hash__  # by identity, although == compares elements

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any().item())

    def __repr__(self) -> str:
        from .printing import tensor_repr

        return tensor_repr(self)

    def __format__(self, spec: str) -> str:
        number = self.array.ndim == 0 and (
            spec or type(self) is Tensor
        )  # f"{loss}" is 0.6931471824645996, as in PyTorch
        return format(self.item(), spec) if number else object.__format__(self, spec)

    # --- gradients ---------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        if self._base is not None:
            self._refresh()
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.array.dtype not in dtypes.FLOATING:
            raise RuntimeError(f"only tensors of floating point dtype can require gradients; this one is {self.dtype}")
        if not value and self.grad_fn is not None:
            raise RuntimeError("only a leaf tensor's requires_grad can be switched off; use detach() for this one")
        if bool(value) != self.requires_grad:
            self._requires_grad = bool(value)
            self._base, self._chain = None, ()  # a leaf from here on, also if it was a view of a plain tensor

    @property
    def grad(self) -> Any:
        """The gradient, a Tensor of the same shape; None before `backward()`."""
        if capture.watch is not None and self.grad_fn is None and self._requires_grad:
            capture.saw_leaf(self)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            if value.array.shape != self.array.shape or value.array.dtype != self.array.dtype:
                raise RuntimeError(
                    f"grad: a tensor of shape {tuple(self.shape)} and {self.dtype} cannot have a gradient of shape "
                    f"{tuple(value.shape)} and {value.dtype}"
                )
        self._grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        return self.requires_grad is False or self.grad_fn is None

    @property
    def output_nr(self) -> int:
        return self._index

    @property
    def retains_grad(self) -> bool:
        return self._retains

    _retains = False

    @property
    def _version(self) -> int:
        return self._counter[0]

    def bump_version(self) -> None:
        """Tells the engine that `array` was changed directly: graphs that had saved it refuse to go backward."""
        self._counter[0] += 1

    def _refresh(self) -> None:
        from .autograd.views import refresh

        refresh(self)

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None) -> None:
        """Adds d(self)/d(leaf) to the `.grad` of each leaf. `gradient`: the cotangent; ones for a single element."""
        from .autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same memory, outside the graph."""
        out = wrap(self.array[...])
        out._counter = self._counter
        return out

    def detach_(self) -> Tensor:
        if self._base is not None:
            raise RuntimeError("detach_() of a view is not possible; use detach()")
        self.grad_fn, self._requires_grad, self._index = None, False, 0
        return self

    @property
    def data(self) -> Tensor:
        """A detached tensor on the same memory, whose in-place changes the graph is not told of (as in PyTorch)."""
        out = self.detach()
        out._counter = [0]
        return out

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        if self._requires_grad and value.array.dtype not in dtypes.FLOATING:
            raise RuntimeError(f"data: a tensor that requires gradients cannot hold {value.dtype}")
        self.array = value.detach().array

    def retain_grad(self) -> None:
        """Keeps the gradient of this intermediate result in `.grad` too."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad(): this tensor does not require gradients")
        if self.grad_fn is None or self._retains:
            return
        self._retains = True
        self._op_hooks()[0] = weakref.ref(self)  # the engine comes to it after the hooks, whose ids start at 1

    def _op_hooks(self) -> dict:
        if self.grad_fn.hooks is None:
            self.grad_fn.hooks = {}
        return self.grad_fn.hooks.setdefault(self._index, {})

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Calls `hook(grad)` when this tensor's gradient is complete; what it returns, if not None, replaces it."""
        if not self.requires_grad:
            raise RuntimeError("register_hook(): this tensor does not require gradients")
        if self.grad_fn is not None:
            return RemovableHandle(self._op_hooks(), hook)
        if self._hooks is None:
            self._hooks = {}
        return RemovableHandle(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> RemovableHandle:
        """Calls `hook(tensor)` after `.grad` of this leaf has been brought up to date."""
        if self.grad_fn is not None or not self._requires_grad:
            raise RuntimeError("register_post_accumulate_grad_hook(): only leaf tensors that require gradients have it")
        if self._after_hooks is None:
            self._after_hooks = {}
        return RemovableHandle(self._after_hooks, hook)

    # --- to Python, NumPy, other devices -----------------------------------------------------------------------------

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        return devices.host(self.array)

    def tolist(self) -> Any:
        array = to_numpy(self.array)
        return (array.astype(np.float32) if self.dtype is dtypes.bfloat16 else array).tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The NumPy array on the same memory. Writes through it are not seen by the graph's version counters."""
        if force:
            return to_numpy(self.detach().array)
        if self.requires_grad:
            raise RuntimeError("numpy(): this tensor requires gradients; use tensor.detach().numpy()")
        if not isinstance(self.array, np.ndarray):
            raise TypeError(f"numpy(): this tensor is on {self.device}; use tensor.cpu().numpy()")
        return self.array

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    @property
    def __cuda_array_interface__(self):
        if not self.is_cuda:
            raise AttributeError(f"__cuda_array_interface__: this tensor is on {self.device}")
        return self.detach().array.__cuda_array_interface__

    def __dlpack__(self, **kwargs: Any):
        if self.requires_grad:
            raise RuntimeError("__dlpack__(): this tensor requires gradients; use tensor.detach()")
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __bool__(self) -> bool:
        if self.array.size != 1:
            count = "more than one value" if self.array.size else "no values"
            raise RuntimeError(f"Boolean value of Tensor with {count} is ambiguous")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.size != 1 or self.dtype.category == 2:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def cpu(self) -> Tensor:
        return self.to(devices.CPU)

    def cuda(self, device: Any = None) -> Tensor:
        index = device if isinstance(device, int) or device is None else devices.device(device).index
        return self.to(devices.device("cuda", index))

    def pin_memory(self) -> Tensor:
        return self

    # --- copies ------------------------------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        if self.grad_fn is not None:
            raise RuntimeError("only leaf tensors can be deep-copied: this one was made by an operation; detach() it")
        out = wrap(self.array.copy("K"), self._requires_grad, type(self))
        memo[id(self)] = out
        if self.grad is not None:
            out.grad = self.grad.__deepcopy__(memo)
        return out

    def __reduce__(self):
        if self.grad_fn is not None:
            raise RuntimeError("a tensor that an operation made cannot be sent to another process; detach() it")
        return _restore, (type(self), to_numpy(self.array), self._requires_grad, str(self.device))


def wrap(array: Any, requires_grad: bool = False, cls: type[Tensor] = Tensor) -> Any:
    """A tensor on an array's own memory: what everything here makes tensors with."""
    tensor = object.__new__(cls)
    tensor.array = array
    tensor._counter = [0]
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def _restore(cls: type[Tensor], array: np.ndarray, requires_grad: bool, where: str) -> Tensor:
    array = array.view(dtypes.OF_NUMPY[array.dtype].numpy)  # a dtype that travelled is equal, but not identical
    return wrap(devices.to_device(array, device(where)), requires_grad, cls)


class RemovableHandle:
    """What registering a hook returns; `remove()` takes the hook away again."""

    _next = 0

    def __init__(self, hooks: dict, hook: Callable):
        RemovableHandle._next += 1
        self.id, self._hooks = RemovableHandle._next, hooks
        hooks[self.id] = hook

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()
