"""Result dtypes: PyTorch's promotion written out, and the rule of each row of the op table over all dtypes."""

import ml_dtypes
import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, is_float, leaves, same

# PyTorch's table, as its documentation gives it (u1 uint8, i1 int8 ... b2 bfloat16).
NAMES = {"u1": "uint8", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64"}
NAMES |= {"f2": "float16", "b2": "bfloat16", "f4": "float32", "f8": "float64", "b1": "bool"}
PROMOTION = """
        u1  i1  i2  i4  i8  f2  b2  f4  f8  b1
    u1  u1  i2  i2  i4  i8  f2  b2  f4  f8  u1
    i1  i2  i1  i2  i4  i8  f2  b2  f4  f8  i1
    i2  i2  i2  i2  i4  i8  f2  b2  f4  f8  i2
    i4  i4  i4  i4  i4  i8  f2  b2  f4  f8  i4
    i8  i8  i8  i8  i8  i8  f2  b2  f4  f8  i8
    f2  f2  f2  f2  f2  f2  f2  f4  f4  f8  f2
    b2  b2  b2  b2  b2  b2  f4  b2  f4  f8  b2
    f4  f4  f4  f4  f4  f4  f4  f4  f4  f8  f4
    f8  f8  f8  f8  f8  f8  f8  f8  f8  f8  f8
    b1  u1  i1  i2  i4  i8  f2  b2  f4  f8  b1
"""


def table():
    head, *rows = [line.split() for line in PROMOTION.strip().splitlines()]
    return [
        (NAMES[row[0]], NAMES[column], NAMES[cell]) for row in rows for column, cell in zip(head, row[1:], strict=True)
    ]


def name(dtype):
    return np.dtype(dtype.numpy).name


def ones(minitorch, dtype, shape=(2,)):
    return minitorch.ones(shape, dtype=getattr(minitorch, dtype))


@pytest.mark.parametrize(("a", "b", "expected"), table(), ids=lambda d: d)
def test_promotion_of_two_tensors(a, b, expected):
    import minitorch

    x, y = ones(minitorch, a), ones(minitorch, b)
    for result in (x + y, x * y, minitorch.maximum(x, y), minitorch.where(x == y, x, y), minitorch.cat([x, y])):
        assert name(result.dtype) == expected
    assert name(minitorch.promote_types(x.dtype, y.dtype)) == expected
    floating = expected if expected.startswith(("float", "bfloat")) else "float32"
    assert name((x / y).dtype) == floating
    assert name((x < y).dtype) == "bool"
    # a 0-d tensor takes part only with its category: bool < integer < floating
    rank = lambda d: 0 if d == "bool" else 2 if "float" in d else 1  # noqa: E731
    assert name((x + ones(minitorch, b, ())).dtype) == (expected if rank(b) > rank(a) else a)
    assert name((ones(minitorch, a, ()) + y).dtype) == (expected if rank(a) > rank(b) else b)


@pytest.mark.parametrize("dtype", NAMES.values())
def test_promotion_with_python_numbers(dtype):
    import minitorch

    x = ones(minitorch, dtype)
    floating = "float" in dtype
    assert name((x + 1).dtype) == (dtype if dtype != "bool" else "int64")
    assert name((x + 1.5).dtype) == (dtype if floating else "float32")
    assert name((x + True).dtype) == dtype
    assert name((1.5 * x).dtype) == (dtype if floating else "float32")
    assert name((x / 2).dtype) == (dtype if floating else "float32")
    assert name((x == 1.5).dtype) == "bool"
    assert name((ones(minitorch, dtype, ()) + 1.5).dtype) == (dtype if floating else "float32")


def test_the_default_dtype_is_what_integers_become():
    import minitorch

    minitorch.set_default_dtype(minitorch.float64)
    try:
        assert name(minitorch.sqrt(minitorch.tensor([4])).dtype) == "float64"
        assert name((minitorch.tensor([1]) + 1.5).dtype) == "float64"
        assert name((minitorch.tensor([1]) / 2).dtype) == "float64"
        assert name(minitorch.tensor(1.5).dtype) == "float64"
        assert name((minitorch.ones(2, dtype=minitorch.float32) + 1.5).dtype) == "float32"
    finally:
        minitorch.set_default_dtype(minitorch.float32)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.dtypes and case.result is not None], ids=lambda case: case.name
)
def test_result_dtype(case):
    """The row's rule, for every dtype that it accepts."""
    for dtype in case.dtypes:
        sample = cast(case.samples()[0], dtype)
        result = evaluate(Library(), case, sample)
        expected = case.result_dtype(dtype)
        got = [d for d, output in zip(result.dtypes, result.outputs, strict=True) if isinstance(output, np.ndarray)]
        assert all(d == expected for d in got), f"{describe(case, 0, sample)}: {got}, expected {expected}"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if "bfloat16" in case.dtypes and case.gradient and not case.seeded and case.result],
    ids=lambda case: case.name,
)
def test_half_precision_is_float32_rounded(case, dtype):
    """Half precision: float32's values and gradients from the same numbers; gradients have their leaf's dtype."""
    sample = case.samples()[0]
    if not leaves(sample) or any(not is_float(a) for a in leaves(sample)):
        return
    low = cast(sample, dtype)
    high = cast(low, "float32")
    with np.errstate(all="ignore"):
        actual = evaluate(Library(), case, low, order=1)
        if not actual.differentiable:
            return
        cotangents = [o for o in actual.outputs if isinstance(o, np.ndarray) and is_float(o)]
        rng = np.random.default_rng(0)
        cotangents = [rng.standard_normal(o.shape).astype(o.dtype) for o in cotangents]
        actual = evaluate(Library(), case, low, order=1, cotangents=cotangents)
        expected = evaluate(Library(), case, high, order=1, cotangents=[c.astype(np.float32) for c in cotangents])
    what = describe(case, 0, low)
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    for a, b in zip(actual.outputs, expected.outputs, strict=True):
        if isinstance(a, np.ndarray) and is_float(a):
            same(a.astype(np.float32), b, what, case.tol, dtype)
    for leaf, a, b in zip(leaves(low), actual.first, expected.first, strict=True):
        assert a.dtype == leaf.dtype == kind, f"{what}: gradient of dtype {a.dtype}"
        same(a.astype(np.float32), b, f"{what}: gradient", 4 * case.tol, dtype)


def test_numpys_zeros_keep_their_sign():
    import minitorch

    x = minitorch.tensor([1.0])
    for kind in (float, np.float32, np.float64):
        for zero in (0.0, -0.0, 0.0):
            assert np.signbit((x * kind(zero)).numpy()[0]) == np.signbit(zero)
