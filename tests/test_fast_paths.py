"""Every fast path against its reference op: values, gradients of both orders; and that it is chosen at all."""

import importlib

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, order_of, same

DTYPES = ("float32", "float64")


def fast_ops(namespace="numpy", kind=None):
    """The classes that are registered for NumPy arrays: of ops, or of optimizers."""
    from minitorch.autograd.engine import Op
    from minitorch.backend import fastpath

    kind = kind or Op

    fastpath.ACTIVE[np]  # imports the kernels
    found = fastpath._PATHS.get(namespace, {})
    return {reference: fast for reference, fast in found.items() if issubclass(reference, kind)}


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


OPTIONS = [{}, {"weight_decay": 0.3}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"maximize": True}, {"amsgrad": True},
           {"weight_decay": 0.3, "decoupled_weight_decay": True}]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fast_optimizers_equal_their_textbook_updates(options):
    """25 steps from the same start, on large and small parameters, contiguous or not: equal to rounding."""
    import inspect

    import minitorch
    from minitorch.optim import Optimizer

    for optimizer in fast_ops(kind=Optimizer):
        if not set(options) <= set(inspect.signature(optimizer).parameters):
            continue
        sides = []
        for reference in (False, True):
            minitorch.manual_seed(0)
            shapes = [(3,), (70, 50), (300, 400), ()]
            parameters = [minitorch.nn.Parameter(minitorch.randn(*shape)) for shape in shapes]
            parameters.append(minitorch.nn.Parameter(minitorch.randn(20, 60).t()))
            start = [p.detach().clone() for p in parameters]
            chosen = optimizer(parameters, lr=0.03, **options)
            for _ in range(25):
                for p in parameters:
                    p.grad = minitorch.randn(*p.shape)
                if reference:
                    with minitorch.reference_ops():
                        chosen.step()
                else:
                    chosen.step()
            sides.append((parameters, chosen.state_dict()["state"]))
        (fast, fast_state), (slow, slow_state) = sides
        for a, b, c in zip(fast, slow, start):
            assert not minitorch.equal(a, c)
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)
        for n in fast_state:
            for name in fast_state[n]:
                ours, theirs = (s[n][name].numpy() for s in (fast_state, slow_state))
                np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6, err_msg=f"{optimizer.__name__} {name}")


def test_the_kernels_can_be_deleted():
    """Nothing but `backend` knows of them, and it copes without."""
    spec = importlib.util.find_spec("minitorch.backend.fastpath")
    assert spec is not None
