"""CuPy's manners on a machine without a GPU: an array type over NumPy that never becomes a NumPy array by itself.

Code written for NumPy breaks on CuPy in a few ways: it lets an array slip back to NumPy, mixes the two, takes the
scalar that NumPy returns for a full reduction, uses a function or an option that CuPy has not. On `GuardArray` and its
namespace `guard` each of these raises an error here. What CuPy does, and its lists of names, were read from CuPy 14.2.
Where CuPy transfers silently the guard is stricter; where it wraps an index that is out of range, so does the guard.

A number that goes to the CPU makes the CPU wait for the GPU. In minitorch that may happen in backend/devices.py alone, where it
is reported and refused in captured graphs: the guard raises `Synchronisation` when any other of its modules, or a model, reads
an array (`bool`, `int`, `float`, `item`, `get` ...), or calls what waits inside CuPy: `nonzero`, `unique`, `bincount`, an index
with a mask, `linalg`.

`minitorch.backend.register_namespace("guard", guard, GuardArray)` makes it the device "guard".
"""

from __future__ import annotations

import operator
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

# CuPy's functions of the same meaning as NumPy's. Not in it: errstate, insert, unstack, vecdot, spacing, nditer, ...
FUNCTIONS = frozenset(
    """
    all allclose amax amin angle any append apply_along_axis arange argmax argmin argpartition argsort argwhere around
    array array_equal array_split asanyarray asarray ascontiguousarray asfortranarray astype atleast_1d atleast_2d
    atleast_3d average bincount broadcast_arrays broadcast_to choose clip column_stack compress concat concatenate copy
    copyto corrcoef count_nonzero cov cross cumprod cumsum delete diag diag_indices diagflat diagonal diff digitize dot
    dsplit dstack einsum empty empty_like expand_dims extract eye fill_diagonal flatnonzero flip fliplr flipud
    fromfunction full full_like histogram hsplit hstack identity indices inner interp isclose isin isneginf isposinf ix_
    kron lexsort linspace logspace matmul matrix_transpose max mean median meshgrid min moveaxis nan_to_num
    nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian nanmin nanprod nanstd nansum nanvar nonzero ones
    ones_like outer pad partition percentile permute_dims place prod ptp put put_along_axis putmask quantile ravel
    ravel_multi_index repeat require reshape resize roll rollaxis rot90 round searchsorted select sort split squeeze
    stack std sum swapaxes take take_along_axis tensordot tile trace transpose trapezoid tri tril tril_indices
    trim_zeros triu triu_indices union1d unique unravel_index unwrap vander var vdot vsplit vstack where zeros
    zeros_like
    """.split()
)
UFUNCS = frozenset(
    """
    abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh
    bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor
    cbrt ceil conj conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2 expm1 fabs fix float_power
    floor floor_divide fmax fmin fmod frexp gcd greater greater_equal heaviside hypot i0 invert isfinite isinf isnan lcm
    ldexp left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or
    logical_xor maximum minimum mod modf multiply negative nextafter not_equal positive pow power rad2deg radians
    reciprocal remainder right_shift rint sign signbit sin sinc sinh sqrt square subtract tan tanh true_divide trunc
    """.split()
)
PLAIN = frozenset(
    "broadcast_shapes can_cast finfo iinfo isdtype isscalar issubdtype promote_types".split()
)  # no arrays
ABOUT = frozenset(
    "may_share_memory ndim result_type shape shares_memory size iscomplexobj isrealobj".split()
)  # no array out
NAMES = frozenset(
    """
    bool bool_ complex128 complex64 complexfloating dtype double e euler_gamma float16 float32 float64 floating generic
    half inexact inf int16 int32 int64 int8 int_ integer intp nan ndindex newaxis number pi r_ c_ s_ signedinteger
    single uint16 uint32 uint64 uint8 unsignedinteger index_exp
    """.split()
)
# Options that NumPy has and CuPy has not.
REFUSED = {
    name: frozenset(
        ("where", "initial", "mean", "correction", "kind", "order", "subok", "like", "device", "stable", "mode")
    )
    for name in (*FUNCTIONS, "method")
}
REFUSED["sort"] = REFUSED["argsort"] = frozenset(("order", "stable"))  # kind is taken (and ignored: it is stable)
for _name in ("array", "copy", "ravel", "reshape", "zeros", "ones", "empty", "full", "astype", "pad", "quantile"):
    REFUSED[_name] -= {"order", "mode"}

AT = {  # dtypes that atomic updates exist for
    "add": "int32 uint32 uint64 float16 float32 float64", "subtract": "int32 uint32",
    "maximum": "int32 uint32 uint64 float32 float64", "minimum": "int32 uint32 uint64 float32 float64",
}  # fmt: skip

METHODS = frozenset(
    """
    all any argmax argmin argpartition argsort astype choose clip compress conj copy cumprod cumsum diagonal dot flatten
    max mean min nonzero partition prod ptp ravel repeat reshape round searchsorted squeeze std sum swapaxes take trace
    transpose var view
    """.split()
)


WAITING = frozenset(
    "argwhere bincount extract flatnonzero histogram nonzero unique union1d compress trim_zeros".split()
)


class Synchronisation(AssertionError):
    """minitorch made the CPU wait for the GPU behind devices.py's back."""


def _waits(what: str) -> None:
    """Called where CuPy would wait for the GPU."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "") == __name__:
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "") if frame is not None else ""
    if name.startswith("minitorch") and name not in ("minitorch.backend.devices", "minitorch.backend.checks"):
        raise Synchronisation(
            f"{what} waits for the GPU, at {frame.f_code.co_filename}:{frame.f_lineno}: use devices.host, to_numpy or "
            "nonzero, or for a check backend/checks.py"
        )


# What CuPy has, but not for bfloat16: `where`, and so the triangles, would give float32.
NOT_OF_BFLOAT16 = frozenset(
    "argpartition argsort around clip einsum lexsort partition round searchsorted sort tril triu unique where".split()
)


def _check_bfloat16(name: str, args: tuple) -> None:
    arrays = [a for a in args if isinstance(a, GuardArray) and a.dtype.name == "bfloat16"]
    if arrays and (name in NOT_OF_BFLOAT16 or (name == "matmul" and max(a.ndim for a in arrays) > 2)):
        raise TypeError(f"cupy.{name} does not take bfloat16 arrays" + ", stacks of matrices" * (name == "matmul"))


class _Flags:
    """As CuPy's: nothing is ever read-only, so there is no `writeable`."""

    def __init__(self, flags: Any):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata
        self.forc, self.fnc = flags.forc, flags.fnc


class GuardArray:
    """An array of the device "guard"; or, while `several_gpus()` lasts, of one of the GPUs that it makes believe in."""

    __slots__ = ("_hidden", "base", "_number", "__weakref__")
    __array_priority__ = 100
    _hidden: np.ndarray
    base: Any
    gpus, current = 0, 0  # how many GPUs there are, and which one is the current one

    def __init__(self, array: np.ndarray, base: GuardArray | None = None):
        self._hidden = array if array.flags.writeable else _writable(array)
        self.base = base
        self._number = GuardArray.current if base is None else base._number

    @property
    def device(self) -> Any:
        if not GuardArray.gpus:
            raise AttributeError("device")
        return SimpleNamespace(id=self._number)

    def _here(self) -> np.ndarray:
        """What it holds, for work on the current GPU."""
        if self._number != GuardArray.current:
            raise ValueError(
                f"Array device must be same as the current device: array device = {self._number} while current = "
                f"{GuardArray.current}"
            )
        return self._hidden

    # --- the explicit ways out ---------------------------------------------------------------------------------------

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        _waits("get()")
        if out is None:
            return np.array(self._hidden, order="C")
        out[...] = self._hidden
        return out

    def item(self) -> Any:
        _waits("item()")
        return self._hidden.item()

    def tolist(self) -> Any:
        _waits("tolist()")
        return self._hidden.tolist()

    def tobytes(self, order: str = "C") -> bytes:
        _waits("tobytes()")
        return self._hidden.tobytes(order)

    def __bool__(self) -> bool:
        _waits("bool()")
        return bool(self._hidden)

    def __int__(self) -> int:
        _waits("int()")
        return int(self._hidden)

    def __float__(self) -> float:
        _waits("float()")
        return float(self._hidden)

    # --- the implicit ones -------------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: Any = None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any):
        if method == "__call__" and len(inputs) == 2 and not kwargs and isinstance(inputs[0], np.generic):
            return getattr(guard, ufunc.__name__)(*inputs)  # a NumPy scalar on the left of an operator
        raise TypeError(f"numpy.{ufunc.__name__} of a device array: use xp.{ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any):
        raise TypeError(f"numpy.{function.__name__} of a device array: use xp.{function.__name__}")

    # --- what it is --------------------------------------------------------------------------------------------------

    shape = property(lambda self: self._hidden.shape)
    dtype = property(lambda self: self._hidden.dtype)
    ndim = property(lambda self: self._hidden.ndim)
    size = property(lambda self: self._hidden.size)
    itemsize = property(lambda self: self._hidden.itemsize)
    nbytes = property(lambda self: self._hidden.nbytes)
    strides = property(lambda self: self._hidden.strides)
    flags = property(lambda self: _Flags(self._hidden.flags))
    data = property(lambda self: SimpleNamespace(ptr=self._hidden.__array_interface__["data"][0]))
    T = property(lambda self: _wrap(self._hidden.T, self))
    mT = property(lambda self: _wrap(self._hidden.mT, self))

    def __len__(self) -> int:
        return len(self._hidden)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"guard.{self._hidden!r}"

    __hash__ = None  # type: ignore[assignment]

    # --- operators ---------------------------------------------------------------------------------------------------

    def __neg__(self):
        return _wrap(-self._here())

    def __pos__(self):
        return _wrap(+self._here())

    def __abs__(self):
        return _wrap(abs(self._here()))

    def __invert__(self):
        return _wrap(~self._here())

    # --- parts -------------------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> GuardArray:
        return _wrap(self._hidden[_index(index, self.shape)], self)  # of a 0-d result a view too, not NumPy's scalar

    def __setitem__(self, index: Any, value: Any) -> None:
        value = _operand(value)
        while isinstance(value, np.ndarray) and value.ndim and value.shape[0] == 1:  # as CuPy does, and as NumPy does
            value = value[0]
        self._here()[_index(index, self.shape)] = value

    def fill(self, value: Any) -> None:
        self._here().fill(_operand(value))

    def sort(self, axis: int = -1) -> None:
        self._here().sort(axis, kind="stable")

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(f"a CuPy array has no attribute {name!r}, or the guard does not know it")
        if name in WAITING:
            _waits(f"{name}()")
        view = name in ("diagonal", "ravel", "reshape", "squeeze", "swapaxes", "transpose", "view")
        method = getattr(self._hidden if view else self._here(), name)

        def call(*args: Any, **kwargs: Any) -> Any:
            _check_options(
                name, name if name in ("sort", "argsort", "astype", "ravel", "reshape", "copy") else "method", kwargs
            )
            return _wrap(method(*map(_operand, args), **{k: _operand(v) for k, v in kwargs.items()}), self)

        return call


class _Memory:
    """The memory of a read-only view, to be written to: CuPy knows no read-only arrays, broadcast ones included."""

    def __init__(self, array: np.ndarray):
        self.owner = array
        kind = array.dtype if array.dtype.kind in "biuf" else np.dtype(f"u{array.itemsize}")  # bfloat16
        pointer = array.__array_interface__["data"][0]
        self.__array_interface__ = {
            "version": 3,
            "data": (pointer, False),
            "typestr": kind.str,
            "shape": array.shape,
            "strides": array.strides,
        }


def _writable(array: np.ndarray) -> np.ndarray:
    return np.asarray(_Memory(array)).view(array.dtype)


def _wrap(value: Any, *sources: Any) -> Any:
    """A result of NumPy's as guard arrays; one that shares a source's memory is a view of it."""
    if isinstance(value, (tuple, list)):
        return (
            type(value)(_wrap(v, *sources) for v in value)
            if type(value) in (tuple, list)
            else tuple(_wrap(v, *sources) for v in value)
        )
    if isinstance(value, np.generic):
        return GuardArray(np.asarray(value))
    if not isinstance(value, np.ndarray):
        return value
    for source in sources:
        if isinstance(source, GuardArray) and np.may_share_memory(value, source._hidden) and value.size:
            return GuardArray(value, source if source.base is None else source.base)
    return GuardArray(value)


def _operand(value: Any) -> Any:
    """A function's argument for NumPy; NumPy's arrays are refused."""
    if isinstance(value, GuardArray):
        return value._here()
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: a NumPy array meets device arrays")
    if type(value) in (tuple, list):
        return type(value)(map(_operand, value))
    return value


def _index(index: Any, shape: tuple) -> Any:
    """The index for NumPy, with CuPy's wrapping of integers in arrays that are out of range."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(p, (GuardArray, np.ndarray, list)) for p in parts):
        return parts if any(p is Ellipsis for p in parts) else (*parts, Ellipsis)
    parts = tuple(_operand(p) for p in parts)
    taken = sum(
        p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else p is not None and p is not Ellipsis for p in parts
    )
    axis, wrapped = 0, []
    for p in parts:
        if p is Ellipsis:
            axis += len(shape) - taken
        elif isinstance(p, np.ndarray) and p.dtype == bool:
            _waits("an index with a mask")
            axis += p.ndim
        elif p is not None:
            if isinstance(p, np.ndarray) and axis < len(shape) and shape[axis] and p.dtype.kind in "iu":
                p = p % shape[axis]
            axis += 1
        wrapped.append(p)
    return tuple(wrapped) if isinstance(index, tuple) else wrapped[0]


def _check_options(name: str, key: str, kwargs: dict) -> None:
    for option in REFUSED.get(key, frozenset()).intersection(kwargs):
        raise TypeError(f"cupy.{name} has no option {option!r}")


def _binary(name: str) -> Any:
    function = getattr(operator, name)

    def forward(self: GuardArray, other: Any) -> Any:
        other = _other(other)
        return other if other is NotImplemented else _wrap(function(self._here(), other))

    def reflected(self: GuardArray, other: Any) -> Any:
        other = _other(other)
        return other if other is NotImplemented else _wrap(function(other, self._here()))

    def in_place(self: GuardArray, other: Any) -> Any:
        other = _other(other)
        if other is NotImplemented:
            return other
        function(self._here(), other, out=self._hidden) if isinstance(function, np.ufunc) else _assign(
            self, function, other
        )
        return self

    return forward, reflected, in_place


def _assign(target: GuardArray, function: Any, other: Any) -> None:
    result = function(target._here(), other)
    if not np.can_cast(result.dtype, target.dtype, "same_kind"):
        raise TypeError(f"cannot cast from {result.dtype} to {target.dtype} in place")
    if result.shape != target.shape:
        raise ValueError(f"a result of shape {result.shape} does not fit into shape {target.shape} in place")
    target._hidden[...] = result


def _other(value: Any) -> Any:
    if isinstance(value, GuardArray):
        return value._here()
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: a NumPy array meets a device array in an operator")
    return value if isinstance(value, (bool, int, float, np.generic)) else NotImplemented


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    _key = _name + "_" if _name in ("and", "or") else _name
    _forward, _reflected, _in_place = _binary(_key)
    setattr(GuardArray, f"__{_name}__", _forward)
    setattr(GuardArray, f"__r{_name}__", _reflected)
    if _name != "matmul":
        setattr(GuardArray, f"__i{_name}__", _in_place)
for _name in "lt le gt ge eq ne".split():
    setattr(GuardArray, f"__{_name}__", _binary(_name)[0])


class _Ufunc:
    def __init__(self, name: str):
        self.__name__ = name
        self.ufunc = getattr(np, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out")
        result = self.ufunc(*map(_operand, args), **{k: _operand(v) for k, v in kwargs.items()})
        return out if isinstance(out, GuardArray) else _wrap(result)

    def at(self, a: GuardArray, index: Any, value: Any = None) -> None:
        if a.dtype.name not in AT.get(self.__name__, "").split():
            raise TypeError(f"cupy.{self.__name__}.at does not support {a.dtype}")
        self.ufunc.at(a._hidden, _index(index, a.shape), _operand(value))

    def outer(self, a: Any, b: Any) -> Any:
        return _wrap(self.ufunc.outer(_operand(a), _operand(b)))

    def reduce(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"cupy.{self.__name__}.reduce")
        return _wrap(self.ufunc.reduce(_operand(array), axis=axis, dtype=dtype, keepdims=keepdims))

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"cupy.{self.__name__}.accumulate")
        return _wrap(self.ufunc.accumulate(_operand(array), axis=axis, dtype=dtype))


class _Function:
    def __init__(self, name: str):
        self.__name__ = name
        self.function = getattr(np, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__
        _check_options(name, name, kwargs)
        _check_bfloat16(name, args)
        if name in WAITING:
            _waits(f"{name}()")
        if (
            name in ("array", "asarray", "ascontiguousarray", "asanyarray")
            and args
            and not isinstance(args[0], GuardArray)
        ):
            data = args[0] if isinstance(args[0], np.ndarray) else _operand(args[0])
            return GuardArray(np.array(data, *args[1:], **kwargs))  # the explicit way in: a copy
        if name == "asarray" and args[0]._number != GuardArray.current:
            return GuardArray(args[0]._hidden.copy())  # from one GPU to another
        if name == "einsum":
            kwargs.pop("optimize", None)
        out = kwargs.get("out")
        result = self.function(*map(_operand, args), **{k: _operand(v) for k, v in kwargs.items()})
        if isinstance(result, bool):
            result = np.asarray(result)  # array_equal, allclose
        if name == "count_nonzero":
            result = np.asarray(result)
        return out if isinstance(out, GuardArray) else _wrap(result, *args)


class _Linalg:
    """cupy.linalg, as far as it is NumPy's."""

    NAMES = frozenset(
        "cholesky det eigh eigvalsh inv lstsq matrix_power matrix_rank norm pinv qr slogdet solve svd".split()
    )

    def __getattr__(self, name: str) -> Any:
        if name not in self.NAMES:
            raise AttributeError(f"cupy.linalg has no {name!r}")
        if name not in ("norm", "matrix_power"):
            _waits(f"linalg.{name}")
        function = getattr(np.linalg, name)
        return lambda *args, **kwargs: _wrap(function(*map(_operand, args), **kwargs))


class _Strides:
    """cupy.lib.stride_tricks"""

    def as_strided(self, x: GuardArray, shape: tuple, strides: tuple) -> GuardArray:
        return _wrap(np.lib.stride_tricks.as_strided(_operand(x), shape, strides), x)

    def sliding_window_view(self, x: GuardArray, window_shape: Any, axis: Any = None) -> GuardArray:
        return _wrap(np.lib.stride_tricks.sliding_window_view(_operand(x), window_shape, axis), x)


class Namespace:
    """What `import cupy` gives, as far as minitorch may use it."""

    __name__ = "guard"
    ndarray = GuardArray
    linalg = _Linalg()
    lib = SimpleNamespace(stride_tricks=_Strides())

    def asnumpy(self, array: GuardArray) -> np.ndarray:
        return array.get()

    def __getattr__(self, name: str) -> Any:
        if name in UFUNCS:
            value: Any = _Ufunc(name)
        elif name in FUNCTIONS:
            value = _Function(name)
        elif name in PLAIN or name in NAMES:
            value = getattr(np, name)
        elif name in ABOUT:
            function = getattr(np, name)
            value = lambda *args, **kwargs: function(*map(_operand, args), **kwargs)  # noqa: E731
        else:
            raise AttributeError(f"CuPy has no {name!r}, or the guard does not know it")
        setattr(self, name, value)
        return value


guard = Namespace()


class _Device:
    """cupy.cuda.Device: inside `with` the current one."""

    def __init__(self, number: int):
        if not 0 <= number < GuardArray.gpus:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id, self._before = number, []

    def __enter__(self) -> _Device:
        self._before.append(GuardArray.current)
        GuardArray.current = self.id
        return self

    def __exit__(self, *exc: Any) -> None:
        GuardArray.current = self._before.pop()


class _GPUs(Namespace):
    """CuPy on a machine with several GPUs, as far as devices.py uses it. An array meets only those of its own GPU."""

    __name__ = "gpus"
    streams: list = []  # what streams were told: ("record" or "wait", GPU)

    def __init__(self) -> None:
        def stream() -> Any:
            number = GuardArray.current
            return SimpleNamespace(
                record=lambda: self.streams.append(("record", number)),
                wait_event=lambda event: self.streams.append(("wait", number)),
                synchronize=lambda: None,
            )

        runtime = SimpleNamespace(
            getDevice=lambda: GuardArray.current,
            getDeviceCount=lambda: GuardArray.gpus,
            setDevice=lambda number: setattr(GuardArray, "current", number),
        )
        self.cuda = SimpleNamespace(runtime=runtime, Device=_Device, get_current_stream=stream)


@contextmanager
def several_gpus(count: int = 2) -> Any:
    """Inside this block there are devices "cuda:0", "cuda:1" ... on which the guard computes."""
    from minitorch.backend import checks, devices
    from minitorch.cuda import several

    namespace, before = _GPUs(), devices._ARRAY_TYPES.get("cuda")
    registered = devices.NAMESPACES.get(GuardArray)
    devices.register_namespace("cuda", namespace, GuardArray)
    GuardArray.gpus, GuardArray.current, devices.several = count, 0, True
    installed = several.install()
    try:
        yield namespace
    finally:
        for space, name, function in installed:
            setattr(space, name, function)
        for key in [key for key in checks._flags if key[0] is namespace]:
            del checks._flags[key]
        GuardArray.gpus, GuardArray.current, devices.several = 0, 0, False
        devices._ARRAY_TYPES.pop("cuda")
        if before is not None:
            devices._ARRAY_TYPES["cuda"] = before
        devices.NAMESPACES.pop(GuardArray)
        if registered is not None:
            devices.NAMESPACES[GuardArray] = registered
