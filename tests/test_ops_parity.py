"""The whole op table against PyTorch: values, dtypes, gradients of both orders, views, in-place forms, errors."""

from dataclasses import replace

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, call, cast, describe, evaluate, flatten, function, leaves, order_of, same, walk
from tests.cases.table import const, named

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
ROWS = [case for case in CASES if case.torch]
# PyTorch has these with an underscore too, for boolean results in a numeric tensor and the like; minitorch has not.
NOT_IN_PLACE = set("eq ne lt le gt ge logical_and logical_or logical_xor logical_not swapaxes".split())


def name(case):
    return case.name


def reference(torch_library, case, sample, order):
    """PyTorch's answer; of the highest order that it implements here."""
    while True:
        try:
            return evaluate(torch_library, case, sample, order), order
        except (RuntimeError, NotImplementedError):
            if order < 2:
                raise
            order -= 1


def compare(torch_library, case, sample, index, dtype):
    what = describe(case, index, sample)
    expected, order = reference(torch_library, case, sample, order_of(case, sample))
    actual = evaluate(Library(), case, sample, order)
    assert actual.dtypes == expected.dtypes, f"{what}: dtypes {actual.dtypes}, expected {expected.dtypes}"
    if expected.differentiable != actual.differentiable:  # a constant may or may not carry a gradient of zeros
        assert not any(np.any(g) for g in (*expected.first, *actual.first)), f"{what}: requires_grad of the outputs"
        expected.second = actual.second = []
    lowest = {value.name for value in sample.kwargs.values() if isinstance(value, named) and "float" in value.name}
    dtype = min(lowest | {dtype}, key=lambda d: ("float32", "float64").index(d))
    for kind, slack in (("outputs", 1.0), ("first", 4.0), ("second", 16.0)):
        ours, theirs = getattr(actual, kind), getattr(expected, kind)
        assert len(ours) == len(theirs), f"{what}: {len(ours)} {kind}, expected {len(theirs)}"
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if kind == "first":
                a, b = without_nan_inputs(sample, a, b)
            same(a, b, f"{what}: {kind}[{i}]", case.tol * slack, dtype)


def without_nan_inputs(sample, a, b):
    """The gradient where an input is NaN means nothing: it is not compared."""
    for leaf in leaves(sample):
        if leaf.shape == a.shape == b.shape:
            a, b = np.where(np.isnan(leaf), 0, a).astype(a.dtype), np.where(np.isnan(leaf), 0, b).astype(b.dtype)
    return a, b


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", ROWS, ids=name)
def test_equals_pytorch(case, dtype, torch_library):
    for index, sample in enumerate(case.samples()):
        compare(torch_library, case, cast(sample, dtype) if dtype != "float64" else sample, index, dtype)


@pytest.mark.parametrize("case", [case for case in ROWS if case.dtypes], ids=name)
def test_other_dtypes_equal_pytorch(case, torch_library):
    """Integers, booleans, half precision: what PyTorch accepts gives PyTorch's values in PyTorch's dtype."""
    for index, sample in enumerate(case.samples()[:1]):
        for dtype in ("bfloat16", "float16", "uint8", "int8", "int16", "int32", "int64", "bool"):
            other = cast(sample, dtype)
            try:
                expected = evaluate(torch_library, case, other)
            except (RuntimeError, TypeError, NotImplementedError, IndexError, ValueError):
                continue  # PyTorch has no kernel for it, or no meaning
            if dtype not in case.dtypes:
                continue
            actual = evaluate(Library(), case, other)
            what = describe(case, index, other)
            assert actual.dtypes == expected.dtypes, f"{what}: dtypes {actual.dtypes}, expected {expected.dtypes}"
            for a, b in zip(actual.outputs, expected.outputs, strict=True):
                same(a, b, what, case.tol, dtype if dtype in ("bfloat16", "float16") else None)


@pytest.mark.parametrize("case", ROWS, ids=name)
def test_method_in_place_form_and_view_are_pytorchs(case, torch_library):
    """PyTorch's methods are methods here; its forms with an underscore exist here, with equal results."""
    torch, ours = torch_library.module, Library()
    short = case.name.rpartition(".")[2]
    if case.call is not None or not case.samples():
        return
    if case.name == short and callable(getattr(torch.Tensor, short, None)):
        assert hasattr(ours.module.Tensor, short), f"Tensor.{short} is missing"
    if case.view:
        shares_memory(ours, torch_library, case)
    if callable(getattr(torch.Tensor, short + "_", None)) and not (
        short.endswith("_") or case.seeded or short in NOT_IN_PLACE
    ):
        in_place(ours, torch_library, case, short + "_")


def shares_memory(ours, torch_library, case):
    for index, sample in enumerate(case.samples()):
        flipped = any(s < 0 for a in leaves(sample) for s in a.strides)
        if flipped or not leaves(sample):
            continue
        value, (x, *_) = call(torch_library, case, sample, True)
        y = flatten(value)[0]
        if not y.numel():
            continue
        expected = x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
        value, (x, *_) = call(ours, case, sample, True)
        y = flatten(value)[0]
        actual = np.may_share_memory(x.array, y.array)
        assert actual == expected, f"{describe(case, index, sample)}: shares memory {actual}, expected {expected}"


def in_place(ours, torch_library, case, method):
    assert hasattr(ours.module.Tensor, method), f"Tensor.{method} is missing"
    changed = replace(case, call=lambda m, x, *a, **k: getattr(x.clone(), method)(*a, **k))
    if case.view:  # transpose_ and the like: minitorch has them for tensors outside of graphs
        changed = replace(changed, gradient=False)
    for index, sample in enumerate(case.samples()):
        if not sample.args or not isinstance(sample.args[0], np.ndarray):
            continue
        try:
            reference(torch_library, changed, sample, order_of(changed, sample))
        except (RuntimeError, TypeError, NotImplementedError):
            continue
        compare(torch_library, changed, sample, index, "float64")


@pytest.mark.parametrize("case", [case for case in ROWS if case.failures()], ids=name)
def test_pytorch_refuses_the_same(case, torch_library):
    """The table's error cases are errors in PyTorch too, of a kind that `except` clauses written for it catch."""
    for error in case.failures():
        run = lambda lib: function(case, lib.module)(*convert(lib, error.args), **convert(lib, error.kwargs))  # noqa: E731, B023
        with pytest.raises(Exception) as theirs:
            run(torch_library)
        with pytest.raises(Exception) as mine:
            run(Library())
        assert isinstance(mine.value, (type(theirs.value), RuntimeError, IndexError, TypeError, ValueError))


def convert(lib, value):
    def visit(v):
        if isinstance(v, named):
            return getattr(lib.module, v.name)
        array = v.array if isinstance(v, const) else v
        return lib.tensor(array) if isinstance(array, np.ndarray) else v

    return walk(value, visit)
