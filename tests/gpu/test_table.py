"""The op table on a GPU: reference ops on CuPy against NumPy, CUDA kernels against reference ops, half precision."""

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, leaves, order_of, same

PLAIN = [case for case in CASES if not case.seeded]
names = pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)


def compare(actual, expected, what, tol, dtype=None):
    for kind in ("outputs", "first", "second"):
        for i, (a, b) in enumerate(zip(getattr(actual, kind), getattr(expected, kind), strict=True)):
            same(a, b, f"{what}: {kind}[{i}]", tol, dtype)


@names
def test_cupy_equals_numpy(case):
    from minitorch.backend import reference_ops

    with reference_ops(), np.errstate(all="ignore"):
        for index, sample in enumerate(case.samples()):
            if sample.large:
                continue
            order = order_of(case, sample)
            expected, actual = (evaluate(Library(device), case, sample, order) for device in ("cpu", "cuda"))
            assert actual.dtypes == expected.dtypes, describe(case, index, sample)
            compare(actual, expected, describe(case, index, sample), max(case.tol, 100))


@names
def test_kernels_equal_the_reference(case):
    """In float32; of both orders, and the kernels' own backward, which runs without create_graph."""
    from minitorch.backend import reference_ops

    with np.errstate(all="ignore"):
        for index, sample in enumerate(case.samples()):
            other = cast(sample, "float32")
            order = order_of(case, other)
            results = [evaluate(Library("cuda"), case, other, o) for o in {order, min(order, 1)}]
            with reference_ops():
                expected = evaluate(Library("cpu"), case, other, order)
            for result in results:
                if not result.second:
                    result.second = expected.second
                compare(result, expected, describe(case, index, other), 20 * case.tol, "float32")


@names
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(case, dtype):
    """Against the CPU, which computes in float32 and rounds."""
    if dtype not in case.dtypes:
        pytest.skip(f"the row has no {dtype}")
    with np.errstate(all="ignore"):
        for index, sample in enumerate(case.samples()):
            other = cast(sample, dtype)
            if sample.large or not leaves(other):
                continue
            order = min(order_of(case, other), 1)
            expected, actual = (evaluate(Library(device), case, other, order) for device in ("cpu", "cuda"))
            assert actual.dtypes == expected.dtypes, describe(case, index, other)
            compare(actual, expected, describe(case, index, other), 4 * case.tol, dtype)
