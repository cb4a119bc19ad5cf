"""The whole op table on an array type that refuses every implicit way to NumPy, as CuPy does (tests/guard.py).

Forward, backward and backward of the backward must run there, and give what NumPy gives: it
computes underneath (only the order of a sum may differ).
"""

import sys
from contextlib import contextmanager

import numpy as np
import pytest

from minitorch.backend import checks
from tests.cases import CASES
from tests.cases.harness import Library, call, describe, evaluate, order_of, same
from tests.cases.table import Sample
from tests.guard import GuardArray, guard


@pytest.fixture(scope="module", autouse=True)
def guard_device():
    import minitorch

    minitorch.backend.register_namespace("guard", guard, GuardArray)


# Rows that cannot do without waiting for the GPU: the result's shape depends on numbers, the answer is a Python number, or the
# library looks whether it succeeded. That no other one does, forward or backward, is tested with each of them below.
WAITING = frozenset(
    """
    Tensor.to allclose bincount cholesky equal getitem gru histc index_put logdet lstm masked_scatter masked_select
    matrix_exp matrix_power nn.functional.embedding_bag nn.functional.one_hot nonzero pinverse qr repeat_interleave rnn_relu
    rnn_tanh setitem tensor_split unique unique_consecutive
    """.split()
)
WAITING |= {
    "nn.functional.ctc_loss of logits",
    "norm (nuclear)",
    "where (condition alone)",
}  # lengths; a product; places
WAITING_FAMILIES = frozenset(
    """
    scatter_reduce svd linalg.cholesky linalg.cond linalg.det linalg.eigh linalg.eigvalsh linalg.inv linalg.lstsq
    linalg.matrix_exp linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.norm linalg.pinv linalg.qr
    linalg.slogdet linalg.solve linalg.solve_triangular linalg.svd linalg.svdvals
    """.split()
)


@contextmanager
def waiting():
    """What made the CPU wait for the GPU inside the block, but for the harness, which reads the results."""
    from minitorch.backend import devices

    found = []

    def record(what):
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code is Library.array.__code__:
                return
            frame = frame.f_back
        found.append(what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "sync_debug", 1)
        patch.setattr(devices, "waits", record)
        yield found


@pytest.mark.parametrize("case", [case for case in CASES if not case.seeded], ids=lambda case: case.name)
def test_runs_on_the_guard(case):
    from minitorch.backend import reference_ops

    with reference_ops(), np.errstate(all="ignore"), waiting() as waited:
        for index, sample in enumerate(case.samples()):
            if sample.large:
                continue
            order = order_of(case, sample)
            what = describe(case, index, sample)
            expected = evaluate(Library(), case, sample, order)
            actual = evaluate(Library("guard"), case, sample, order)
            assert actual.dtypes == expected.dtypes, what
            for kind in ("outputs", "first", "second"):
                for i, (a, b) in enumerate(zip(getattr(actual, kind), getattr(expected, kind), strict=True)):
                    same(a, b, f"{what}: {kind}[{i}] on the guard", tol=0.1)
    assert bool(waited) == (case.name in WAITING or case.name.split()[0] in WAITING_FAMILIES), f"{case.name}: {waited}"


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.failures() and not case.seeded], ids=lambda case: case.name
)
def test_errors_are_found_there_too(case):
    """CuPy takes an index out of range round the end and writes to broadcast memory: the checks are minitorch's own."""
    for index, error in enumerate(case.failures()):
        sample = Sample(error.args, error.kwargs)
        with pytest.raises((RuntimeError, IndexError, TypeError, ValueError)):
            call(Library("guard"), case, sample)
            checks.settle(guard)  # what was out of range is found at the latest here
            pytest.fail(f"{describe(case, index, sample)}: no error on the guard")
        checks.forget()


def test_a_gradient_comes_back_from_the_other_device():
    import minitorch

    x = minitorch.tensor([1.0, 2.0], dtype=minitorch.float64, requires_grad=True)
    y = (x.to("guard").exp() * minitorch.tensor([3.0, 4.0], dtype=minitorch.float64, device="guard")).cpu()
    (first,) = minitorch.autograd.grad([y.sum()], [x], create_graph=True)
    (second,) = minitorch.autograd.grad([first.sum()], [x])
    expected = np.exp([1.0, 2.0]) * [3.0, 4.0]
    for g in (first.detach(), second):
        assert g.device.type == "cpu"
        np.testing.assert_allclose(g.numpy(), expected)


def test_a_mixed_operation_names_both_devices_and_the_fix():
    import minitorch

    with pytest.raises(RuntimeError, match=r"(?s)cpu.*guard.*\.to\(|guard.*cpu.*\.to\("):
        minitorch.ones(3) + minitorch.ones(3, device="guard")
    with pytest.raises(TypeError, match="cpu"):
        minitorch.ones(3, device="guard").numpy()


def test_the_guard_is_strict():
    x = guard.asarray(np.arange(6.0).reshape(2, 3))
    refused = [
        lambda: np.asarray(x), lambda: np.exp(x), lambda: np.sum(x), lambda: x + np.ones(3), lambda: np.ones(3) * x,
        lambda: x[np.array([0])], lambda: guard.concatenate([x, np.ones((1, 3))]), lambda: guard.max(x, initial=0.0),
        lambda: x.max(initial=0.0), lambda: range(x.sum()),
        lambda: guard.add.at(guard.zeros(3, "int64"), guard.asarray([0]), 1),
    ]  # fmt: skip
    for call_ in refused:
        with pytest.raises(TypeError):
            call_()
    for name in ("errstate", "insert", "nditer", "vecdot"):
        with pytest.raises(AttributeError):
            getattr(guard, name)
    with pytest.raises(NotImplementedError):
        guard.maximum.accumulate(x)
    assert type(x.sum()) is GuardArray and x.sum().shape == () and float(x.sum()) == 15.0
    assert x[1].base is x and x.reshape(3, 2)[0].base is x and x[guard.asarray([0])].base is None
    assert float(x.ravel()[guard.asarray([7])][0]) == 1.0
