"""Every fast path against its reference op: values, gradients of both orders; and that it is chosen at all."""

import importlib

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, order_of, same

DTYPES = ("float32", "float64")


def fast_ops(namespace="numpy"):
    """The classes that are registered for NumPy arrays."""
    from minitorch.backend import fastpath

    fastpath.ACTIVE[np]  # imports the kernels
    return dict(fastpath._PATHS.get(namespace, {}))


class Watch:
    """Counts, for each fast op, how often it was chosen."""

    def __init__(self, fast):
        self.fast, self.count, self.originals = fast, dict.fromkeys(fast.values(), 0), {}

    def __enter__(self):
        for op in self.fast.values():
            self.originals[op] = op.forward

            def forward(node, *arrays, _op=op, _original=op.forward, **options):
                self.count[_op] += 1
                return _original(node, *arrays, **options)

            op.forward = forward
        return self

    def __exit__(self, *_):
        for op, original in self.originals.items():
            op.forward = original


def test_fast_equals_reference_over_the_table():
    from minitorch.backend import reference_ops

    fast = fast_ops()
    if not fast:
        pytest.skip("no fast path is registered here: numba is not installed, or minitorch/kernels is not there")
    with Watch(fast) as watch, np.errstate(all="ignore"):
        for case in CASES:
            for index, sample in enumerate(case.samples()):
                for dtype in DTYPES:
                    other = cast(sample, dtype)
                    order = order_of(case, other)
                    before = sum(watch.count.values())
                    actual = evaluate(Library(), case, other, order)
                    if sum(watch.count.values()) == before:
                        continue
                    again = evaluate(Library(), case, other, min(order, 1))  # the fast backward: without create_graph
                    after = sum(watch.count.values())
                    with reference_ops():
                        expected = evaluate(Library(), case, other, order)
                    assert sum(watch.count.values()) == after, "a fast path ran under reference_ops()"
                    what = describe(case, index, other)
                    for kind, result in (
                        ("outputs", actual),
                        ("first", actual),
                        ("second", actual),
                        ("outputs", again),
                        ("first", again),
                    ):
                        for i, (a, b) in enumerate(zip(getattr(result, kind), getattr(expected, kind), strict=True)):
                            same(a, b, f"{what}: {kind}[{i}] of the fast path", 8 * case.tol, dtype)
    idle = sorted(op.__name__ for op, count in watch.count.items() if not count)
    assert not idle, (
        f"registered, and chosen by no sample of tests/cases (give the row a `large` one): {', '.join(idle)}"
    )


def test_a_fast_path_is_a_whole_op():
    """Forward and backward are replaced together, and the reference's saved values can be given back."""
    for reference, fast in fast_ops().items():
        assert issubclass(fast, reference) and fast.reference is reference
        for name in ("accepts", "forward", "backward", "reference_saved"):
            assert name in vars(fast) or any(
                name in vars(c) for c in fast.__mro__[1:] if c is not reference and c not in reference.__mro__
            ), f"{fast.__name__} has no {name}"


def test_the_kernels_can_be_deleted():
    """Nothing but `backend` knows of them, and it copes without."""
    spec = importlib.util.find_spec("minitorch.backend.fastpath")
    assert spec is not None
