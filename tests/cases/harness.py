"""Runs a sample of the op table under one library: outputs, first and second gradients, as plain NumPy arrays.

`evaluate` is the only way in. It runs the same calls under minitorch (on any device) and under PyTorch, which differ
only in the few methods of `Library`; every test of the table compares two of its results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from tests.cases.table import Case, Sample, const, named


class Library:
    """What the harness needs of minitorch, on `device`."""

    name = "minitorch"

    def __init__(self, device: str = "cpu"):
        import minitorch

        self.module: Any = minitorch
        self.device = device

    def tensor(self, array: np.ndarray, requires_grad: bool = False):
        array = np.asarray(array)
        place = {"cpu": self.module.from_numpy, "cuda": self.on_the_gpu}.get(self.device, self.on_the_guard)
        tensor = place(array)
        return tensor.requires_grad_() if requires_grad else tensor

    def on_the_guard(self, array: np.ndarray):
        """With the array's own layout, which `.to` would not keep."""
        from minitorch.tensor import wrap
        from tests.guard import GuardArray

        return wrap(GuardArray(array.copy() if array.base is None else array))

    def on_the_gpu(self, array: np.ndarray):
        """With the same order of axes, directions and repeated elements."""
        from minitorch.backend.devices import device, namespace_for
        from minitorch.tensor import wrap

        xp = namespace_for(device("cuda"))
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        once = tuple(slice(0, 1) if stride == 0 else slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)
        upright = xp.asarray(np.ascontiguousarray(array[once].transpose(order)))
        back = upright.transpose([order.index(axis) for axis in range(array.ndim)])
        turned = back[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
        return wrap(turned if turned.shape == array.shape else xp.broadcast_to(turned, array.shape))

    def is_tensor(self, value) -> bool:
        return isinstance(value, self.module.Tensor)

    def array(self, tensor) -> np.ndarray:
        return np.array(tensor.detach().cpu().numpy())

    def dtype(self, tensor) -> str:
        return np.dtype(tensor.dtype.numpy).name

    def grad(self, outputs, inputs, cotangents, create_graph: bool = False):
        return self.module.autograd.grad(outputs, inputs, cotangents, create_graph=create_graph, allow_unused=True)


class Torch(Library):
    name = "torch"

    def __init__(self) -> None:
        import torch

        self.module = torch

    def tensor(self, array: np.ndarray, requires_grad: bool = False):
        array = np.asarray(array)
        if array.dtype == ml_dtypes.bfloat16:
            tensor = self.module.from_numpy(array.astype(np.float32)).to(self.module.bfloat16)
        else:
            tensor = self.module.from_numpy(array.copy() if any(s < 0 for s in array.strides) else array)
        return tensor.requires_grad_() if requires_grad else tensor

    def array(self, tensor) -> np.ndarray:
        tensor = tensor.detach()
        if tensor.dtype == self.module.bfloat16:
            return tensor.float().numpy().astype(ml_dtypes.bfloat16)
        return tensor.numpy(force=True).copy()

    def dtype(self, tensor) -> str:
        return str(tensor.dtype).removeprefix("torch.")


def is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16


def walk(value: Any, visit: Callable[[Any], Any]) -> Any:
    """`value` with every leaf replaced by `visit(leaf)`."""
    if type(value) in (tuple, list):
        return type(value)(walk(v, visit) for v in value)
    if isinstance(value, dict):
        return {k: walk(v, visit) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(walk(value.start, visit), walk(value.stop, visit), walk(value.step, visit))
    return visit(value)


def rebuild(sample: Sample, change: Callable[[np.ndarray], np.ndarray], constants: bool = True) -> Sample:
    """The sample with every floating array changed; the same array twice stays the same array twice."""
    done: dict[int, np.ndarray] = {}

    def visit(value):
        if isinstance(value, const) and constants:
            return const(visit(value.array))
        if isinstance(value, np.ndarray) and is_float(value):
            if id(value) not in done:
                changed = change(value)
                done[id(value)] = changed if isinstance(changed, const) else np.asarray(changed)
            return done[id(value)]
        return value

    return Sample(walk(sample.args, visit), walk(sample.kwargs, visit), sample.smooth, sample.gradient, sample.large)


def cast(sample: Sample, dtype: str) -> Sample:
    """The sample with its floating arrays in another dtype and the same layout."""

    def change(array: np.ndarray) -> np.ndarray:
        if dtype == "float64":
            return array
        signs = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)
        if dtype == "bool":
            values = array > 0
        elif dtype in ("bfloat16", "float16", "float32"):
            with np.errstate(over="ignore"):
                values = array[signs].astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype, order="K")[signs]
        else:
            whole = np.nan_to_num(np.round(array * 8), posinf=40, neginf=-40).clip(
                -40, 40
            )  # keeps distinct values apart
            values = (whole + 40 if dtype == "uint8" else whole).astype(dtype)
        return np.asarray(values)

    return rebuild(sample, change)


def leaves(sample: Sample) -> list[np.ndarray]:
    """The arrays that want a gradient, each once, in the order of the call."""
    found: dict[int, np.ndarray] = {}

    def visit(value):
        if isinstance(value, np.ndarray) and is_float(value):
            found[id(value)] = value

    walk((sample.args, sample.kwargs), visit)
    return list(found.values())


def substitute(sample: Sample, arrays: list[np.ndarray]) -> Sample:
    replacement = {id(old): new for old, new in zip(leaves(sample), arrays, strict=True)}
    return rebuild(sample, lambda array: replacement[id(array)], constants=False)


def flatten(value: Any) -> list:
    if isinstance(value, (tuple, list)):
        return [leaf for v in value for leaf in flatten(v)]
    return [value]


@dataclass
class Result:
    outputs: list = field(default_factory=list)  # arrays, or plain values
    dtypes: list[str] = field(default_factory=list)
    first: list = field(default_factory=list)  # a gradient for each of `leaves(sample)`
    second: list = field(default_factory=list)  # and for each cotangent after them
    third: list = field(default_factory=list)
    differentiable: bool = False


def function(case: Case, module: Any) -> Callable:
    """The function that a row names, under `module`."""
    if case.call is not None:
        return lambda *args, **kwargs: case.call(module, *args, **kwargs)  # type: ignore[misc]
    owner, _, name = case.name.rpartition(".")
    if owner == "Tensor":
        method = getattr(module.Tensor, name)
        return lambda tensor, *args, **kwargs: method(tensor, *args, **kwargs)
    for part in owner.split(".") if owner else ():
        module = getattr(module, part)
    return getattr(module, name)


def noise(shapes_of: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Random cotangents; every second one in another memory order."""
    rng = np.random.default_rng(seed)
    found = []
    for i, like in enumerate(shapes_of):
        draw = rng.standard_normal(like.shape[::-1]).T if (i + seed) % 2 else rng.standard_normal(like.shape)
        found.append(np.asarray(draw).astype(like.dtype, order="K"))
    return found


def order_of(case: Case, sample: Sample) -> int:
    """The highest order of gradients that this sample is good for."""
    if not case.gradient or not sample.gradient or not leaves(sample):
        return 0
    return 2 if case.second and (sample.smooth or sample.large) else 1


def call(lib: Library, case: Case, sample: Sample, requires_grad: bool = False) -> tuple[Any, list]:
    """The operation's result, and the tensors that want a gradient."""
    tensors: dict[int, Any] = {}

    def visit(value):
        if isinstance(value, named):
            return getattr(lib.module, value.name)
        if isinstance(value, const):
            return lib.tensor(value.array)
        if isinstance(value, np.ndarray):
            if id(value) not in tensors:
                tensors[id(value)] = lib.tensor(value, requires_grad and is_float(value))
            return tensors[id(value)]
        return value

    args, kwargs = walk(sample.args, visit), walk(sample.kwargs, visit)
    if case.seeded:
        lib.module.manual_seed(1234)
    wanted = [tensors[id(array)] for array in leaves(sample)] if requires_grad else []
    return function(case, lib.module)(*args, **kwargs), wanted


def evaluate(
    lib: Library, case: Case, sample: Sample, order: int = 0, cotangents: list[np.ndarray] | None = None, seed: int = 0
) -> Result:
    """Outputs; the gradients of <outputs, random cotangents>; from `order` 2 on those of <gradients, random>, and so on."""
    value, inputs = call(lib, case, sample, requires_grad=order > 0)
    flat = flatten(value)
    result = Result()
    for output in flat:
        tensor = lib.is_tensor(output)
        result.outputs.append(lib.array(output) if tensor else output)
        result.dtypes.append(lib.dtype(output) if tensor else type(output).__name__)
    targets = [i for i, output in enumerate(flat) if lib.is_tensor(output) and output.requires_grad]
    result.differentiable = bool(targets)
    if order == 0 or not inputs:
        return result
    zeros = [np.zeros_like(array) for array in leaves(sample)]
    result.first = zeros
    if not targets:
        return result

    if cotangents is None:
        cotangents = noise([result.outputs[i] for i in targets], seed)
    weights = [lib.tensor(array, requires_grad=order > 1) for array in cotangents]
    first = lib.grad([flat[i] for i in targets], inputs, weights, create_graph=order > 1)
    result.first = [zero if g is None else lib.array(g) for g, zero in zip(first, zeros, strict=True)]
    gradients, shapes = first, leaves(sample)
    for k in range(2, order + 1):
        variables, higher = inputs + weights, zeros + [np.zeros_like(array) for array in cotangents]
        live = [i for i, g in enumerate(gradients) if g is not None and g.requires_grad]
        probes = noise(shapes, seed + k - 1)
        roots, probed = [gradients[i] for i in live], [lib.tensor(probes[i]) for i in live]
        gradients = lib.grad(roots, variables, probed, create_graph=k < order) if live else [None] * len(variables)
        higher = [zero if g is None else lib.array(g) for g, zero in zip(gradients, higher, strict=True)]
        setattr(result, ("second", "third")[k - 2], higher)
        shapes = leaves(sample) + cotangents
    return result


# ---------------------------------------------------------------- comparing


def describe(case: Case, index: int, sample: Sample) -> str:
    def show(value) -> str:
        if isinstance(value, const):
            return f"const({show(value.array)})"
        if isinstance(value, np.ndarray):
            layout = "" if value.flags.c_contiguous else f" strides {tuple(s // value.itemsize for s in value.strides)}"
            return f"{value.dtype.name}{list(value.shape)}{layout}"
        if type(value) in (tuple, list):
            return ("({})" if isinstance(value, tuple) else "[{}]").format(", ".join(map(show, value)))
        return repr(value)

    parts = [show(a) for a in sample.args] + [f"{k}={show(v)}" for k, v in sample.kwargs.items()]
    return f"{case.name} sample {index}: ({', '.join(parts)})"


TOLERANCE = {"bfloat16": (2e-2, 1e-2), "float16": (2e-3, 1e-3), "float32": (2e-6, 1e-6), "float64": (1e-12, 1e-13)}


def same(
    actual: Any, expected: Any, what: str, tol: float = 1.0, dtype: str | None = None, exact: bool = False
) -> None:
    """Values equal within the dtype's tolerance, relative to the array's own size; shapes and dtypes exactly."""
    if not isinstance(expected, np.ndarray):
        assert type(actual) is type(expected) and actual == expected, f"{what}: {actual!r}, expected {expected!r}"
        return
    assert isinstance(actual, np.ndarray), f"{what}: {type(actual).__name__}, expected an array"
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    if exact or not is_float(expected):
        rtol = atol = 0.0
    else:
        rtol, atol = (
            tol * max(t) for t in zip(*(TOLERANCE[d] for d in {dtype, expected.dtype.name} if d), strict=True)
        )
    a, b = (np.asarray(v, np.float64 if is_float(expected) else v.dtype) for v in (actual, expected))
    if a.dtype.kind == "f":
        finite = b[np.isfinite(b)]
        if rtol and finite.size:  # cancellation: an element is as exact as the terms that it is summed from
            atol = max(atol, 0.1 * rtol * min(np.abs(finite).max(), 1e6))
        with np.errstate(invalid="ignore", over="ignore"):
            wrong = ~(np.isclose(a, b, rtol, atol, equal_nan=True))
    else:
        wrong = a != b
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: at {where} {a[where]!r}, expected {b[where]!r} ({int(wrong.sum())} of {wrong.size} differ)"
        )
