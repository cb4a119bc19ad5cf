"""Learning-rate schedules beside PyTorch's, by their closed forms, and saved and resumed."""

import math
import warnings

import numpy as np
import pytest

import minitorch
from minitorch import optim
from minitorch.optim import lr_scheduler as schedulers


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def make(lib, **options):
    params = [lib.tensor([1.0], requires_grad=True) for _ in range(2)]
    return lib.optim.SGD([{"params": [params[0]]}, {"params": [params[1]], "lr": 0.5}], lr=2.0, **options)


SCHEDULES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 0.9**t),
    "LambdaLR for each group": lambda s, o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: t / 10]),
    "LinearLR": lambda s, o: s.LinearLR(o, start_factor=0.25, end_factor=0.75, total_iters=7),
    "StepLR": lambda s, o: s.StepLR(o, step_size=4, gamma=0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, milestones=[3, 8, 8, 12], gamma=0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.5, total_iters=6),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, gamma=0.8),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.1),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 9), s.ExponentialLR(o, 0.5)], milestones=[4, 13]
    ),
    "SequentialLR from lambda": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 3), s.StepLR(o, 2, 0.5), s.LambdaLR(o, lambda t: 1 / (t + 1))], milestones=[3, 9]
    ),
}


def trace(lib, name, steps=20):
    optimizer = make(lib)
    scheduler = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
    rows = [[g["lr"] for g in optimizer.param_groups] + scheduler.get_last_lr() + [scheduler.last_epoch]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rows.append([g["lr"] for g in optimizer.param_groups] + scheduler.get_last_lr() + [scheduler.last_epoch])
    return rows, scheduler


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parity
def test_equals_pytorch(torch, name):
    ours, our_scheduler = trace(minitorch, name)
    theirs, their_scheduler = trace(torch, name)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    expected = {k: v for k, v in their_scheduler.state_dict().items() if k != "_get_lr_called_within_step"}
    assert set(our_scheduler.state_dict()) == set(expected)
    for key in ("last_epoch", "_step_count", "milestones", "lr_lambdas"):
        assert our_scheduler.state_dict().get(key) == expected.get(key), key


CLOSED = {
    "LambdaLR": lambda t: 0.9**t,
    "LinearLR": lambda t: 0.25 + 0.5 * min(t, 7) / 7,
    "StepLR": lambda t: 0.3 ** (t // 4),
    "MultiStepLR": lambda t: 0.5 ** sum(t >= m for m in (3, 8, 8, 12)),
    "ConstantLR": lambda t: 0.5 if t < 6 else 1.0,
    "ExponentialLR": lambda t: 0.8**t,
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name):
    rows, _ = trace(minitorch, name)
    np.testing.assert_allclose([r[0] for r in rows], [2.0 * CLOSED[name](t) for t in range(21)], rtol=1e-9)
    np.testing.assert_allclose([r[1] for r in rows], [0.5 * CLOSED[name](t) for t in range(21)], rtol=1e-9)


def test_cosine_closed_form():
    rows, _ = trace(minitorch, "CosineAnnealingLR")
    expected = [0.1 + (2.0 - 0.1) * (1 + math.cos(math.pi * t / 5)) / 2 for t in range(21)]
    np.testing.assert_allclose([r[0] for r in rows], expected, rtol=1e-9)


def test_sequential_closed_form():
    """Each schedule counts from its milestone, with the initial rate."""
    rows, _ = trace(minitorch, "SequentialLR from lambda")

    def factor(t):
        return 0.1 if t < 3 else 0.5 ** ((t - 3) // 2) if t < 9 else 1 / (t - 9 + 1)

    np.testing.assert_allclose([r[0] for r in rows], [2.0 * factor(t) for t in range(21)], rtol=1e-9)


def test_linear_warmup_decay():
    optimizer = make(minitorch)
    scheduler = schedulers.linear_warmup_decay(optimizer, warmup_steps=4, total_steps=12)
    factors = []
    for _ in range(14):
        factors.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(factors, [0, 0.25, 0.5, 0.75, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0, 0])
    assert schedulers.linear_warmup_decay(make(minitorch), 0, 4).get_last_lr() == [2.0, 0.5]
    with pytest.raises(ValueError, match="warmup_steps has to be between 0 and total_steps, got 5 and total_steps=4"):
        schedulers.linear_warmup_decay(optimizer, 5, 4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_saved_and_resumed(name):
    expected, _ = trace(minitorch, name)
    optimizer = make(minitorch)
    scheduler = SCHEDULES[name](schedulers, optimizer)
    for _ in range(6):
        optimizer.step()
        scheduler.step()
    states = scheduler.state_dict(), optimizer.state_dict()
    resumed_optimizer = make(minitorch)
    resumed = SCHEDULES[name](schedulers, resumed_optimizer)
    resumed.load_state_dict(states[0])
    resumed_optimizer.load_state_dict(states[1])
    for row in expected[7:]:
        resumed_optimizer.step()
        resumed.step()
        assert [g["lr"] for g in resumed_optimizer.param_groups] == row[:2]
        assert resumed.get_last_lr() == row[2:4] and resumed.last_epoch == row[4]


def test_last_epoch_resumes():
    optimizer = make(minitorch)
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified in param_groups"):
        schedulers.StepLR(optimizer, 3, last_epoch=4)
    for group in optimizer.param_groups:
        group["initial_lr"] = 1.0
    scheduler = schedulers.LambdaLR(optimizer, lambda t: t, last_epoch=4)
    assert scheduler.get_last_lr() == [5.0, 5.0]


def test_a_callable_objects_attributes_are_saved():
    class Factor:
        def __init__(self, base):
            self.base = base

        def __call__(self, t):
            return self.base**t

    scheduler = schedulers.LambdaLR(make(minitorch), Factor(0.5))
    other = schedulers.LambdaLR(make(minitorch), Factor(0.9))
    other.load_state_dict(scheduler.state_dict())
    assert other.lr_lambdas[0].base == 0.5


def test_warnings_and_errors():
    optimizer = make(minitorch)
    scheduler = schedulers.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    optimizer = make(minitorch)
    scheduler = schedulers.StepLR(optimizer, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        scheduler.step()
    scheduler.step(7)  # the old convention: jump there
    assert scheduler.last_epoch == 7 and scheduler.get_last_lr() == pytest.approx([0.02, 0.005])
    other = make(minitorch)
    for call, error, words in (
        (lambda: schedulers.StepLR(3, 1), TypeError, "int is not an Optimizer"),
        (lambda: schedulers.LambdaLR(optimizer, [abs]), ValueError, "Expected 2 lr_lambdas, but got 1"),
        (
            lambda: schedulers.LinearLR(optimizer, 0),
            ValueError,
            "Starting multiplicative factor expected to be greater than 0",
        ),
        (lambda: schedulers.LinearLR(optimizer, 0.5, 2), ValueError, "Ending multiplicative factor"),
        (lambda: schedulers.ConstantLR(optimizer, 2), ValueError, "Constant multiplicative factor"),
        (lambda: schedulers.SequentialLR(optimizer, [], []), ValueError, "expects at least one scheduler"),
        (
            lambda: schedulers.SequentialLR(optimizer, [scheduler], [1]),
            ValueError,
            "number of schedulers 1 and the number",
        ),
        (
            lambda: schedulers.SequentialLR(other, [scheduler], []),
            ValueError,
            r"schedulers\[0\] \(StepLR\) has another one",
        ),
        (lambda: schedulers.SequentialLR(other, [3], []), TypeError, "is a int, not a scheduler"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_the_schedule_trains():
    p = minitorch.tensor([4.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.5)
    scheduler = schedulers.linear_warmup_decay(optimizer, 2, 20)
    for _ in range(20):
        optimizer.zero_grad()
        (p**2).sum().backward()
        optimizer.step()
        scheduler.step()
    assert abs(p.item()) < 1e-3 and optimizer.param_groups[0]["lr"] == 0.0
