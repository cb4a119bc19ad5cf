"""PyTorch's own sample databases, run under PyTorch and under minitorch, and compared.

PyTorch tests itself with `op_db`, which says for each operation on which inputs it is to be tried, in which dtypes,
which methods and operators are the same function, and what must be an error; and with `module_db`, the same for layers.
Here both libraries run every sample: `translate` turns what a sample holds (tensors with their strides, dtypes,
functions, small programs that call `torch`) into minitorch's, `Call` runs it, `differences` compares. `excluded` says
by rule what is left out: what minitorch documents not to have. `REPORT` counts.
"""

from __future__ import annotations

import contextlib
import functools
import random
import types
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import torch

import minitorch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal import common_utils
    from torch.testing._internal.common_methods_invocations import op_db  # noqa: F401
    from torch.testing._internal.common_modules import module_db  # noqa: F401
    from torch.testing._internal.opinfo import core as opinfo_core


def seed_all(seed: int = 1234) -> None:
    """What PyTorch's samples are drawn with. `torch.manual_seed` would also write down the stack, for CUDA's seeds."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


# Before each list and each sample: the seeds, and a search of the stack for a unittest. They took most of the time.
common_utils.set_rng_seed = seed_all
common_utils.extract_test_fn = opinfo_core.extract_test_fn = lambda: None

with contextlib.suppress(ImportError):  # PyTorch's test utilities have changed what all tests of this process would use
    import hypothesis

    hypothesis.settings.load_profile("default")

DTYPES = {getattr(torch, name): getattr(minitorch, name) for name in minitorch.backend.dtypes.DTYPES}
INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
HALVES = (torch.float16, torch.bfloat16)
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, ArithmeticError)


# ---------------------------------------------------------------- what is PyTorch's, under minitorch


class Excluded(Exception):
    """A sample that asks for what minitorch documents not to have; the message is the rule."""


def _namespaces() -> Iterator[tuple[Any, Any]]:
    yield torch.nn.functional, minitorch.nn.functional
    for path in ("", "Tensor", "linalg", "special", "nn"):
        if not path or path in dir(minitorch):
            yield (getattr(torch, path), getattr(minitorch, path)) if path else (torch, minitorch)


def _counterparts() -> dict:
    table: dict = {torch: minitorch, torch.Size: minitorch.Size, torch.device: minitorch.device}
    for theirs, ours in _namespaces():
        for name in set(dir(theirs)) & set(dir(ours)):
            value = getattr(theirs, name)
            if (name[0] != "_" or theirs is torch.Tensor) and callable(value):
                table.setdefault(value, getattr(ours, name))
    return table | DTYPES


def _seeded(function, *args, **kwargs):
    """PyTorch's `wrapper_set_seed`, under minitorch."""
    minitorch.manual_seed(42)
    return function(*args, **kwargs)


COUNTERPARTS = _counterparts()
FORMATS = (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)


class Functions:
    """minitorch, with every method as a function besides, as PyTorch has `torch.zero_`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(minitorch if name in dir(minitorch) else minitorch.Tensor, name)


def names_in(code: types.CodeType | None) -> set:
    found = set(code.co_names) if code is not None else set()
    for constant in code.co_consts if code is not None else ():
        if isinstance(constant, types.CodeType):
            found |= names_in(constant)
    return found


def program(function: types.FunctionType) -> Callable:
    """A Python function of PyTorch's tests, with minitorch where it says `torch`."""
    if function.__name__ == "wrapper_set_seed":
        return _seeded
    used = names_in(function.__code__)
    known = {k: v for k, v in function.__globals__.items() if k in used or k == "__builtins__"}
    changed = {
        k: translate_function(v) if isinstance(v, (types.FunctionType, types.ModuleType)) else v
        for k, v in known.items()
    }
    if known.get("torch") is torch:
        changed["torch"] = Functions()
    changed["__builtins__"] = function.__globals__.get("__builtins__", __builtins__)
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(types.CellType(translate_function(cell.cell_contents)))
        except ValueError:
            cells.append(types.CellType())
    defaults = function.__defaults__ and tuple(translate_function(d) for d in function.__defaults__)
    copy = types.FunctionType(function.__code__, changed, function.__name__, defaults, tuple(cells))
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_programs: dict = {}


def translate_function(value: Any) -> Any:
    """minitorch's counterpart of a function, class, module or dtype; other values as they are."""
    if isinstance(value, functools.partial):
        inner = translate_function(value.func)
        return value if inner is value.func else functools.partial(inner, *value.args, **value.keywords)
    try:
        if value in COUNTERPARTS:
            return COUNTERPARTS[value]
    except TypeError:
        return value
    if isinstance(value, types.FunctionType) and value.__module__.startswith("torch"):
        if value.__module__.startswith("torch.testing"):
            if value not in _programs:
                _programs[value] = None  # a function that calls itself
                _programs[value] = program(value)
            return _programs[value]
        raise Excluded(f"the argument is a function that minitorch has not: {value.__module__}.{value.__name__}")
    return value


def array_of(tensor: Any) -> np.ndarray:
    """The values of a tensor of PyTorch's: a new array with the same strides on a copy of the same memory."""
    tensor = tensor.detach().resolve_neg()
    memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage().clone())
    if tensor.dtype == torch.bfloat16:
        memory = memory.view(torch.int16)
    flat = memory.numpy()
    if tensor.dtype == torch.bfloat16:
        flat = flat.view(ml_dtypes.bfloat16)
    strides = [s * flat.itemsize for s in tensor.stride()]
    if not tensor.numel():
        return np.lib.stride_tricks.as_strided(np.empty(0, flat.dtype), tensor.shape, strides)
    return np.lib.stride_tricks.as_strided(flat[tensor.storage_offset() :], tensor.shape, strides)


def excluded_tensor(tensor: Any) -> str | None:
    if tensor.layout is not torch.strided:
        return "sparse tensors"
    if tensor.is_quantized:
        return "quantized tensors"
    if tensor.is_nested:
        return "nested tensors"
    if tensor.device.type != "cpu":
        return f"device {tensor.device.type}"
    if tensor.dtype not in DTYPES:
        return "complex dtypes" if tensor.is_complex() else f"dtype {str(tensor.dtype)[6:]}"
    return None


class Arguments:
    """The arguments of one call, for both libraries; a tensor that stands twice in them stays one tensor."""

    def __init__(self, value: Any, dtype: Any = None):
        self.memo: dict[int, tuple] = {}
        self.kept: list = []  # so that no id is used twice
        self.leaves: list[tuple] = []  # tensors that want a gradient, of PyTorch and of minitorch
        self.dtype = dtype  # floating tensors are converted to it
        self.theirs = self.convert(value, 0)
        self.ours = self.convert(value, 1)

    def convert(self, value: Any, side: int) -> Any:
        if isinstance(value, torch.Tensor):
            return self.tensor(value)[side]
        if isinstance(value, torch.Size):
            return minitorch.Size(value) if side else value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self.convert(v, side) for v in value))
        if isinstance(value, (tuple, list)):
            return type(value)(self.convert(v, side) for v in value)
        if isinstance(value, dict):
            return {k: self.convert(v, side) for k, v in value.items() if k not in ("layout",)}
        if isinstance(value, slice):
            return slice(*(self.convert(v, side) for v in (value.start, value.stop, value.step)))
        if isinstance(value, torch.dtype):
            if value not in DTYPES:
                raise Excluded("complex dtypes" if value.is_complex else f"dtype {str(value)[6:]}")
            if self.dtype is not None and value.is_floating_point:
                value = self.dtype
            return DTYPES[value] if side else value
        if isinstance(value, complex):
            raise Excluded("complex dtypes")
        if isinstance(value, torch.device) or (isinstance(value, str) and value in ("cuda", "meta")):
            if torch.device(value).type != "cpu":
                raise Excluded(f"device {torch.device(value).type}")
            return minitorch.device("cpu") if side else value
        if value in FORMATS if isinstance(value, torch.memory_format) else False:
            return str(value) if side else value
        if isinstance(value, torch.Generator):
            if not side:
                return value.clone_state()
            generator = minitorch.Generator()
            generator.set_state(minitorch.from_numpy(value.get_state().numpy()))
            return generator
        if isinstance(value, torch.nn.Module):
            return module_like(value) if side else value
        return translate_function(value) if side else value

    def tensor(self, tensor: Any) -> tuple:
        if id(tensor) not in self.memo:
            reason = excluded_tensor(tensor)
            if reason:
                raise Excluded(reason)
            if tensor.ndim > 64:
                raise Excluded("more than the 64 dimensions that NumPy has")
            array = array_of(tensor)
            if self.dtype is not None and tensor.dtype.is_floating_point:
                array = array.astype(DTYPES[self.dtype].numpy)
                theirs = tensor.detach().to(self.dtype)
            else:
                memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage().clone())
                theirs = torch.as_strided(memory, tensor.shape, tensor.stride(), tensor.storage_offset())
            pair = theirs, minitorch.from_numpy(array)
            if tensor.requires_grad:
                pair = tuple(t.requires_grad_() for t in pair)
                self.leaves.append(pair)
            self.memo[id(tensor)] = pair
            self.kept.append(tensor)
        return self.memo[id(tensor)]


def module_like(module: Any) -> Any:
    """A layer as an argument: one without parameters, or a transformer's."""
    if isinstance(module, torch.nn.TransformerEncoderLayer):
        first = module.self_attn
        copy = minitorch.nn.TransformerEncoderLayer(
            first.embed_dim, first.num_heads, module.linear1.out_features, module.dropout.p,
            translate_function(module.activation), module.norm1.eps, first.batch_first, module.norm_first,
            first.in_proj_bias is not None,
        )  # fmt: skip
        copy.to(DTYPES[next(module.parameters()).dtype])
        copy.load_state_dict({k: minitorch.from_numpy(array_of(v)) for k, v in module.state_dict().items()})
        return copy
    if type(module) not in COUNTERPARTS or list(module.parameters()):
        raise Excluded(f"the argument is a layer that minitorch has not: {type(module).__name__}")
    copy = COUNTERPARTS[type(module)]()
    for key in module.__constants__:
        setattr(copy, key, getattr(module, key))
    return copy


# ---------------------------------------------------------------- comparing

TOLERANCE = {  # relative; absolute, as a part of the largest value
    "float64": (1e-10, 1e-11),
    "float32": (5e-6, 5e-6),
    "float16": (2e-3, 2e-3),
    "bfloat16": (1.6e-2, 1e-2),
}


def to_array(tensor: Any) -> np.ndarray:
    if isinstance(tensor, minitorch.Tensor):
        return np.asarray(tensor.detach().array)
    tensor = tensor.detach().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.float().numpy().astype(ml_dtypes.bfloat16)
    return tensor.numpy(force=True)


def is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, minitorch.Tensor))


def flatten(value: Any) -> list:
    if isinstance(value, (tuple, list)) and not isinstance(value, (torch.Size, minitorch.Size)):
        return [leaf for v in value for leaf in flatten(v)]
    if isinstance(value, dict):
        return [leaf for k in sorted(value) for leaf in flatten(value[k])]
    return [value]


def excess(ours: np.ndarray, theirs: np.ndarray, slack: float) -> tuple[np.ndarray, np.ndarray]:
    """Where two floating arrays differ by more than the tolerance, and by how much they may."""
    rtol, atol = (slack * t for t in TOLERANCE[theirs.dtype.name])
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.abs(b[np.isfinite(b)])
    allowed = rtol * np.abs(b) + atol * max(1.0, min(float(finite.max()), 1e30) if finite.size else 1.0)
    with np.errstate(all="ignore"):
        wrong = ~((np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b)))
    return wrong, allowed


def difference(ours: Any, theirs: Any, slack: float = 1.0, truth: Callable[[], Any] | None = None) -> str | None:
    """The first difference between two results, in words. `truth`: PyTorch's result in float64."""
    if not is_tensor(theirs):
        if isinstance(theirs, torch.dtype):
            theirs = DTYPES.get(theirs)
        if isinstance(theirs, float) and isinstance(ours, float):
            return None if np.isclose(ours, theirs, 1e-6, 1e-12, equal_nan=True) else f"{ours!r}, expected {theirs!r}"
        if isinstance(theirs, torch.Size):
            theirs = minitorch.Size(theirs)
        return None if type(ours) is type(theirs) and ours == theirs else f"{ours!r}, expected {theirs!r}"
    if not is_tensor(ours):
        return f"a {type(ours).__name__}, expected a tensor"
    if ours.array.dtype not in minitorch.backend.dtypes.OF_NUMPY:
        return f"NumPy dtype {ours.array.dtype}, expected {theirs.dtype}"
    if theirs.dtype not in DTYPES:
        raise Excluded("complex dtypes" if theirs.is_complex() else f"dtype {str(theirs.dtype)[6:]}")
    if ours.dtype is not DTYPES[theirs.dtype]:
        return f"dtype {ours.dtype}, expected {theirs.dtype}"
    if tuple(ours.shape) != tuple(theirs.shape):
        return f"shape {tuple(ours.shape)}, expected {tuple(theirs.shape)}"
    a, b = to_array(ours), to_array(theirs)
    if theirs.dtype.is_floating_point:
        wrong, allowed = excess(a, b, slack)
        if wrong.any() and truth is not None:  # badly conditioned: as near to the truth as PyTorch is
            exact = truth()
            if exact is not None and exact.shape == theirs.shape:
                exact = to_array(exact).astype(np.float64)
                with np.errstate(all="ignore"):
                    error = np.abs(b.astype(np.float64) - exact)
                    error = np.where(np.isfinite(error), error, 0)
                    near = np.abs(a.astype(np.float64) - exact) <= 4 * max(error.max(), 0) + allowed
                wrong &= ~near
    else:
        wrong = a != b
    if not wrong.any():
        return None
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"at {where} {a[where]!r}, expected {b[where]!r} ({int(wrong.sum())} of {wrong.size} differ)"


@dataclass
class Result:
    """What one library computed: outputs; the gradients of <outputs, cotangents>; and of <those, probes>."""

    outputs: list = field(default_factory=list)
    first: list = field(default_factory=list)
    second: list = field(default_factory=list)


def noise(shape: tuple, dtype: Any, seed: int) -> Any:
    """A random cotangent, for both libraries."""
    values = np.random.default_rng(seed).standard_normal(tuple(shape))
    return torch.from_numpy(np.asarray(values)).to(dtype)


def pairs_of(cotangents: list, requires_grad: bool) -> tuple[list, list]:
    theirs = [c.clone().requires_grad_(requires_grad) for c in cotangents]
    ours = [minitorch.from_numpy(array_of(c)).requires_grad_(requires_grad) for c in cotangents]
    return theirs, ours


def gradients(roots: list, variables: list, cotangents: list, create_graph: bool) -> list:
    grad = torch.autograd.grad if isinstance(roots[0], torch.Tensor) else minitorch.autograd.grad
    found = grad(roots, variables, cotangents, create_graph=create_graph, allow_unused=True)
    zeros = torch.zeros_like if isinstance(roots[0], torch.Tensor) else minitorch.zeros_like
    return [zeros(v) if g is None else g for g, v in zip(found, variables)]


class Mismatch(Exception):
    """A difference, in words."""


@dataclass
class Call:
    """One function on one set of arguments under both libraries."""

    theirs: Callable
    ours: Callable
    process: Callable | None = None  # what PyTorch's tests compare of the output: of eigenvectors not the sign
    order: int = 0  # of gradients
    shapes_only: bool = False
    slack: float = 1.0
    both_refuse: bool = False  # what PyTorch refuses must be refused
    seeded: bool = False  # draws random numbers: both from the same seed
    ties: Any = None  # the input of a sort: where it holds equal elements, the indices are left open

    def compare(self, value: Any) -> None:
        """Raises Mismatch, or Excluded."""
        self.value = value
        self.exact: Result | None = None
        arguments = Arguments(value)
        try:
            with quiet():
                expected = self.outputs(self.theirs, arguments.theirs, self.process)
        except REFUSALS as refusal:
            self.must_refuse(arguments, refusal)
            return
        for leaf in flatten(expected):
            if isinstance(leaf, complex):
                raise Excluded("complex dtypes")
            if isinstance(leaf, torch.Tensor) and (reason := excluded_tensor(leaf)):
                raise Excluded(reason)
        try:
            actual = self.outputs(self.ours, arguments.ours, self.process and translate_function(self.process))
        except Excluded:
            raise
        except Exception as error:
            raise Mismatch(f"{type(error).__name__}: {str(error)[:300]}") from error
        if len(expected) != len(actual):
            raise Mismatch(f"{len(actual)} outputs, expected {len(expected)}")
        if self.ties is not None and self.ties.numel() != self.ties.unique().numel():
            REPORT.notes["indices not compared: the order of equal elements is left open"] += 1
            kept = [i for i, b in enumerate(expected) if b.dtype != torch.int64 or (i == 0 and len(expected) == 2)]
            actual, expected = [actual[i] for i in kept], [expected[i] for i in kept]
        self.rounded = expected
        self.check_outputs(actual, expected)
        if self.order and any(map(wants_gradient, (*expected, *actual))) and not self.shapes_only:
            self.compare_gradients(arguments, actual, expected)

    def check_outputs(self, actual: list, expected: list) -> None:
        for i, (a, b) in enumerate(zip(actual, expected)):
            if self.shapes_only:
                a, b = (v * 0 if is_tensor(v) else type(v) for v in (a, b))
                a, b = (minitorch.zeros_like(a), torch.zeros_like(b)) if is_tensor(a) and is_tensor(b) else (a, b)
            self.check(a, b, f"output {i}", "outputs", i)

    def refuse(self, value: Any) -> None:
        """For a sample that is to be an error."""
        arguments = Arguments(value)
        try:
            with quiet():
                self.outputs(self.theirs, arguments.theirs, None)
        except REFUSALS as refusal:
            self.must_refuse(arguments, refusal)
            return
        raise Excluded("PyTorch accepts what it lists as an error")

    def outputs(self, function: Callable, arguments: tuple, process: Callable | None) -> list:
        args, kwargs = arguments
        if self.seeded:
            torch.default_generator.manual_seed(42)
            minitorch.manual_seed(42)
        result = function(*args, **kwargs)
        return flatten(process(result) if process else result)

    def must_refuse(self, arguments: Arguments, refusal: Exception) -> None:
        """PyTorch's error must be an error here too, of a kind that programs written for PyTorch catch."""
        try:
            self.outputs(self.ours, arguments.ours, None)
        except REFUSALS:
            return
        except Exception as error:
            raise Mismatch(f"refused with {type(error).__name__}: {error}") from error
        if self.both_refuse:
            raise Mismatch(f"accepted; PyTorch says {type(refusal).__name__}: {str(refusal)[:200]}")
        raise Excluded("PyTorch refuses the sample itself")

    def check(self, ours: Any, theirs: Any, what: str, kind: str, index: int) -> None:
        rounded = is_tensor(theirs) and theirs.dtype in (torch.float32, *HALVES)
        truth = (lambda: self.truth(kind, index)) if rounded else None
        found = difference(ours, theirs, self.slack * {"outputs": 1, "first": 4, "second": 32}[kind], truth)
        if found:
            raise Mismatch(f"{what}: {found}")

    def truth(self, kind: str, index: int) -> Any:
        """What PyTorch computes in float64 from the same numbers."""
        if self.exact is None:
            self.exact = Result()
            with quiet(), contextlib.suppress(*REFUSALS):
                arguments = Arguments(self.value, torch.float64)
                self.exact.outputs = self.outputs(self.theirs, arguments.theirs, self.process)
                if self.order and arguments.leaves:
                    live = [i for i, t in enumerate(self.exact.outputs) if wants_gradient(t)]
                    cotangents = [
                        noise(self.exact.outputs[i].shape, self.rounded[i].dtype, i).to(torch.float64) for i in live
                    ]
                    roots = [self.exact.outputs[i] for i in live]
                    self.exact.first = gradients(roots, [pair[0] for pair in arguments.leaves], cotangents, False)
        found = getattr(self.exact, kind)
        return found[index] if index < len(found) and isinstance(found[index], torch.Tensor) else None

    def compare_gradients(self, arguments: Arguments, actual: list, expected: list) -> None:
        live = [i for i, t in enumerate(expected) if wants_gradient(t)]
        mine = [i for i, t in enumerate(actual) if wants_gradient(t)]
        if not live:
            if mine:
                raise Mismatch(f"outputs that require gradients: {mine}, expected none")
            return
        cotangents = [noise(expected[i].shape, expected[i].dtype, i) for i in live]
        variables = [[pair[side] for pair in arguments.leaves] for side in (0, 1)]
        order = self.order
        while True:
            weights = pairs_of(cotangents, order > 1)
            roots = [expected[i] for i in live]
            try:
                with quiet():
                    first = gradients(roots, variables[0], weights[0], order > 1)
                    second = self.again(first, variables[0], weights[0]) if order > 1 else []
                break
            except REFUSALS:
                if order == 1:
                    REPORT.notes["no gradient in PyTorch"] += 1
                    return
                order = 1  # PyTorch has no second one here; the graph must be made anew
                fresh = Arguments(self.value)
                expected = self.outputs(self.theirs, fresh.theirs, self.process)
                variables[0] = [pair[0] for pair in fresh.leaves]
        if live != mine:
            raise Mismatch(f"outputs that require gradients: {mine}, expected {live}")
        roots = [actual[i] for i in live]
        try:
            mine_first = gradients(roots, variables[1], weights[1], order > 1)
            mine_second = self.again(mine_first, variables[1], weights[1]) if order > 1 else []
        except Exception as error:
            raise Mismatch(f"gradient: {type(error).__name__}: {str(error)[:300]}") from error
        nan = [torch.isnan(a.detach()) for a, _ in arguments.leaves]
        if any(n.any() for n in nan):
            REPORT.notes["gradients compared only where no input is NaN"] += 1
            if len({n.shape for n in nan}) > 1:
                return
            nan = functools.reduce(torch.logical_or, nan)
            first = [b.masked_fill(nan, 0) for b in first]
            mine_first = [a.masked_fill(minitorch.from_numpy(nan.numpy()), 0) for a in mine_first]
            second = []
        for i, (a, b) in enumerate(zip(mine_first, first)):
            self.check(a, b, f"gradient {i}", "first", i)
        for i, (a, b) in enumerate(zip(mine_second, second)):
            if b.numel() and torch.isnan(b).all() and not minitorch.isnan(a).any():
                REPORT.notes["second gradient that is NaN in PyTorch, at a kink, and a number in minitorch"] += 1
                continue
            self.check(a, b, f"second gradient {i}", "second", i)

    def again(self, first: list, variables: list, weights: list) -> list:
        """The gradients of <first gradients, probes> in all variables and cotangents."""
        ours = bool(first) and isinstance(first[0], minitorch.Tensor)
        zeros = minitorch.zeros_like if ours else torch.zeros_like
        live = [i for i, g in enumerate(first) if g.requires_grad]
        if not live:
            return [zeros(v) for v in variables + weights]
        probes = [noise(tuple(first[i].shape), torch.float64, 100 + i) for i in live]
        if ours:
            probes = [minitorch.from_numpy(array_of(p)) for p in probes]
        return gradients([first[i] for i in live], variables + weights, probes, False)


def wants_gradient(value: Any) -> bool:
    return is_tensor(value) and value.requires_grad


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---------------------------------------------------------------- counting


@dataclass
class Outcome:
    """What became of the samples of one operation or layer."""

    name: str
    tried: int = 0
    excluded: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def run(self, what: str, call: Callable[[], None]) -> None:
        self.tried += 1
        try:
            call()
        except Excluded as rule:
            self.tried -= 1
            self.excluded[str(rule)] += 1
        except Mismatch as mismatch:
            self.failures.append(" ".join(f"{what}: {mismatch}".split()))


class Report:
    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, Outcome]] = {"operations": {}, "layers": {}}
        self.notes: Counter = Counter()
        self.missing: set[str] = set()
        self.offered: dict[str, int] = {}
        self.uncovered: dict[str, list[str]] = {}

    def lines(self) -> Iterator[str]:
        """The report, as pytest prints it at the end (conftest.py)."""
        for kind, outcomes in self.outcomes.items():
            if not outcomes:
                continue
            tried = sum(o.tried for o in outcomes.values())
            failed = sum(len(o.failures) for o in outcomes.values())
            bad = [o for o in outcomes.values() if o.failures]
            excluded = sum((o.excluded for o in outcomes.values()), Counter())
            share = 100 * (len(outcomes) - len(bad)) / len(outcomes)
            yield (
                f"{kind}: {len(outcomes)} of {self.offered.get(kind, 0)} offered were run, {len(outcomes) - len(bad)} "
                f"pass every sample ({share:.1f} %); samples: {tried}, passed {tried - failed}"
            )
            yield f"  left out by rule: {sum(excluded.values())}"
            for rule, count in excluded.most_common():
                yield f"    {count:6d}  {rule}"
            for outcome in bad:
                yield f"  FAILED {outcome.name} ({len(outcome.failures)} of {outcome.tried}): {outcome.failures[0][:600]}"
            slowest = sorted(outcomes.values(), key=lambda o: -o.seconds)[:5]
            seconds = sum(o.seconds for o in outcomes.values())
            yield f"  {seconds:.0f} s; slowest: {', '.join(f'{o.name} {o.seconds:.0f} s' for o in slowest)}"
            if self.uncovered.get(kind):
                yield f"  offered, and not in PyTorch's database: {' '.join(self.uncovered[kind])}"
        for note, count in self.notes.items():
            yield f"  {note}: {count}"
        if self.missing:
            yield f"  forms that minitorch has not: {', '.join(sorted(self.missing))}"

    def nearly_all(self, kind: str) -> None:
        """99 % of what is offered must pass every sample."""
        import pytest

        outcomes = self.outcomes[kind]
        if len(outcomes) < self.offered[kind]:
            pytest.skip(f"{len(outcomes)} of {self.offered[kind]} {kind} were run in this process")
        failed = [name for name, outcome in outcomes.items() if outcome.failures]
        assert len(failed) <= 0.01 * len(outcomes), f"{len(failed)} of {len(outcomes)} {kind} differ: {failed}"


REPORT = Report()


def seed_of(*parts: Any) -> int:
    return zlib.crc32(" ".join(map(str, parts)).encode())


def spread(items: Iterable, count: int) -> list:
    """All items, or `count` of them evenly spread, always the same."""
    items = list(items)
    if len(items) <= count:
        return items
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]
