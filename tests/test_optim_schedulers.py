"""Learning-rate schedules beside PyTorch's, by their closed forms, and saved and resumed."""

import importlib
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
    return lib.optim.SGD([{"params": [params[0]]}, {"params": [params[1]], "lr": 0.5}], lr=2.0, momentum=0.3, **options)


def make_adam(lib):
    params = [lib.tensor([1.0], requires_grad=True) for _ in range(2)]
    return lib.optim.Adam([{"params": [params[0]]}, {"params": [params[1]], "lr": 0.5}], lr=2.0)


def swa(schedulers):
    """The library's swa_utils, from its lr_scheduler."""
    return importlib.import_module(schedulers.__name__.replace("lr_scheduler", "swa_utils"))


SCHEDULES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 0.9**t),
    "LambdaLR for each group": lambda s, o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: t / 10]),
    "LinearLR": lambda s, o: s.LinearLR(o, start_factor=0.25, end_factor=0.75, total_iters=7),
    "StepLR": lambda s, o: s.StepLR(o, step_size=4, gamma=0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, milestones=[3, 8, 8, 12], gamma=0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.5, total_iters=6),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, gamma=0.8),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.1),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 1 - 1 / (t + 2)),
    "MultiplicativeLR for each group": lambda s, o: s.MultiplicativeLR(o, [lambda t: 0.9, lambda t: t / 5]),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, total_iters=8, power=2.0),
    "PolynomialLR, linear": lambda s, o: s.PolynomialLR(o, total_iters=30),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.05),
    "CosineAnnealingWarmRestarts, equal rounds": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=6),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, [1.0, 2.0], step_size_up=4, cycle_momentum=False),
    "CyclicLR, triangular2": lambda s, o: s.CyclicLR(
        o, [0.1, 0.2], 1.0, step_size_up=2, step_size_down=3, mode="triangular2", base_momentum=0.5, max_momentum=0.95
    ),
    "CyclicLR, exp_range": lambda s, o: s.CyclicLR(
        o, 0.1, 1.0, step_size_up=3, mode="exp_range", gamma=0.9, base_momentum=[0.1, 0.2], max_momentum=[0.5, 0.6]
    ),
    "CyclicLR, own scale": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 3, scale_fn=lambda n: 1 / n, scale_mode="cycle"),
    "CyclicLR, own scale of the step": lambda s, o: s.CyclicLR(
        o, 0.1, 1.0, 3, scale_fn=lambda t: 1 / (t + 1), scale_mode="iterations"
    ),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=20),
    "OneCycleLR, linear": lambda s, o: s.OneCycleLR(
        o,
        [1.0, 3.0],
        epochs=4,
        steps_per_epoch=5,
        pct_start=0.4,
        anneal_strategy="linear",
        div_factor=10.0,
        final_div_factor=100.0,
        base_momentum=[0.7, 0.8],
        max_momentum=[0.9, 0.99],
    ),
    "OneCycleLR, three phases": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=24, three_phase=True),
    "OneCycleLR without momentum": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=24, cycle_momentum=False),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, total_iters=4), s.ExponentialLR(o, 0.9), s.StepLR(o, 5)]
    ),
    "SequentialLR of a chain": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=4), s.PolynomialLR(o, 9)], milestones=[4]
    ),
    "SWALR": lambda s, o: swa(s).SWALR(o, [0.1, 0.7], anneal_epochs=6),
    "SWALR, linear": lambda s, o: swa(s).SWALR(o, 0.2, anneal_epochs=4, anneal_strategy="linear"),
    "SWALR at once": lambda s, o: swa(s).SWALR(o, 0.2, anneal_epochs=0),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 9), s.ExponentialLR(o, 0.5)], milestones=[4, 13]
    ),
    "SequentialLR from lambda": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 3), s.StepLR(o, 2, 0.5), s.LambdaLR(o, lambda t: 1 / (t + 1))], milestones=[3, 9]
    ),
}


def row(optimizer, scheduler):
    rates = [float(lr) for lr in [g["lr"] for g in optimizer.param_groups] + scheduler.get_last_lr()]
    return [*rates, getattr(scheduler, "last_epoch", 0)] + [
        g.get("momentum") or g["betas"][0] for g in optimizer.param_groups
    ]


def trace(lib, name, steps=20, make=make):
    optimizer = make(lib)
    scheduler = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
    rows = [row(optimizer, scheduler)]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rows.append(row(optimizer, scheduler))
    return rows, scheduler


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parity
def test_equals_pytorch(torch, name):
    ours, our_scheduler = trace(minitorch, name)
    theirs, their_scheduler = trace(torch, name)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    expected = {k: v for k, v in their_scheduler.state_dict().items() if k != "_get_lr_called_within_step"}
    found = our_scheduler.state_dict()
    assert set(found) == set(expected)
    for key, value in expected.items():
        if key in ("_last_lr", "base_lrs"):
            np.testing.assert_allclose(found[key], value, rtol=1e-12)
        elif key != "_schedulers":
            assert found[key] == value, key


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in SCHEDULES if "Cycl" in n])
@pytest.mark.parity
def test_adams_beta_moves_as_in_pytorch(torch, name):
    ours, _ = trace(minitorch, name, make=make_adam)
    theirs, _ = trace(torch, name, make=make_adam)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def make_with_tensors(lib):
    optimizer = make(lib)
    for group in optimizer.param_groups:
        group["lr"] = lib.tensor(group["lr"], dtype=lib.float64)
    return optimizer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parity
def test_tensors_as_learning_rates_equal_pytorch(torch, name):
    ours, scheduler = trace(minitorch, name, make=make_with_tensors)
    theirs, _ = trace(torch, name, make=make_with_tensors)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert all(isinstance(g["lr"], minitorch.Tensor) for g in scheduler.optimizer.param_groups)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parity
def test_state_moves_between_the_libraries(torch, name):
    """A schedule that stopped after 7 steps in one library goes on in the other."""
    expected, _ = trace(torch, name)
    for source, target in ((torch, minitorch), (minitorch, torch)):
        _, scheduler = trace(source, name, steps=7)
        states = scheduler.state_dict(), scheduler.optimizer.state_dict()
        optimizer = make(target)
        resumed = SCHEDULES[name](target.optim.lr_scheduler, optimizer)
        resumed.load_state_dict(states[0])
        optimizer.load_state_dict(states[1])
        for later in expected[8:]:
            optimizer.step()
            resumed.step()
            np.testing.assert_allclose(row(optimizer, resumed), later, rtol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in SCHEDULES if n[:5] not in ("Chain", "Seque", "SWALR")])
@pytest.mark.parity
def test_last_epoch_resumes_as_in_pytorch(torch, name):
    """A new scheduler with last_epoch on an optimizer whose groups hold what the first one left."""

    def run(lib):
        rows, scheduler = trace(lib, name, steps=6)
        state = scheduler.optimizer.state_dict()
        optimizer = make(lib)
        optimizer.load_state_dict(state)

        class AtSix:  # the constructors with one more argument
            def __getattr__(self, kind):
                return lambda *args, **options: getattr(lib.optim.lr_scheduler, kind)(*args, **options, last_epoch=6)

        scheduler = SCHEDULES[name](AtSix(), optimizer)
        rows = [row(optimizer, scheduler)]
        for _ in range(5):
            optimizer.step()
            scheduler.step()
            rows.append(row(optimizer, scheduler))
        return rows

    np.testing.assert_allclose(run(minitorch), run(torch), rtol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in SCHEDULES if n[:5] not in ("Chain", "Seque", "SWALR")])
@pytest.mark.parity
def test_jumps_equal_pytorch(torch, name):
    def run(lib):
        optimizer = make(lib)
        scheduler = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
        rows = []
        for epoch in (3, 11, 0, 7):
            optimizer.step()
            scheduler.step(epoch)
            rows.append(row(optimizer, scheduler))
            scheduler.step()
            rows.append(row(optimizer, scheduler))
        return rows

    np.testing.assert_allclose(run(minitorch), run(torch), rtol=1e-12)


@pytest.mark.parametrize("T_mult", [1, 2, 3])
@pytest.mark.parity
def test_warm_restarts_at_fractions_of_an_epoch_equal_pytorch(torch, T_mult):
    def run(lib):
        scheduler = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(make(lib), T_0=2, T_mult=T_mult, eta_min=0.1)
        rows = []
        for i in range(80):
            scheduler.step(i / 4)
            rows.append([*scheduler.get_last_lr(), scheduler.last_epoch, scheduler.T_cur, scheduler.T_i])
        return rows

    np.testing.assert_allclose(run(minitorch), run(torch), rtol=1e-12, atol=1e-12)


PLATEAUS = {
    "default": {"patience": 2},
    "max": {"mode": "max", "patience": 1, "threshold": 0.1},
    "absolute": {"threshold_mode": "abs", "threshold": 0.3, "patience": 1, "factor": 0.5},
    "max, absolute": {"mode": "max", "threshold_mode": "abs", "threshold": 0.3, "patience": 1, "factor": 0.5},
    "cooldown": {"patience": 0, "cooldown": 3, "factor": 0.5},
    "floor": {"patience": 0, "min_lr": [0.3, 0.1], "factor": 0.5},
    "small changes": {"patience": 0, "factor": 0.5, "eps": 0.3},
}


@pytest.mark.parametrize("name", PLATEAUS)
@pytest.mark.parity
def test_plateaus_equal_pytorch(torch, name):
    metrics = np.concatenate([[5, 4, 3.99, 4, 4, 4.1, 2, 2, 2, 2, 2.2, math.nan, 0.5], 3 + np.sin(np.arange(20))])

    def run(lib):
        optimizer = make(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **PLATEAUS[name])
        rows, states = [], []
        for i, metric in enumerate(metrics):
            scheduler.step(lib.tensor(metric) if i % 2 else metric)
            rows.append(row(optimizer, scheduler))
            states.append(scheduler.state_dict())
        return rows, states[-1]

    (ours, found), (theirs, expected) = run(minitorch), run(torch)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert found == expected


def test_a_plateau_lowers_the_rate_and_resumes():
    optimizer = make(minitorch)
    scheduler = schedulers.ReduceLROnPlateau(optimizer, patience=1, factor=0.5)
    for metric in (1.0, 1.0):
        scheduler.step(metric)
    assert scheduler.get_last_lr() == [2.0, 0.5] and scheduler.num_bad_epochs == 1
    other = schedulers.ReduceLROnPlateau(optimizer)
    other.load_state_dict(scheduler.state_dict())
    other.step(1.0)
    assert other.get_last_lr() == [1.0, 0.25] and not other.in_cooldown
    optimizer.add_param_group({"params": [minitorch.ones(1, requires_grad=True)], "lr": 4.0})
    for _ in range(2):
        other.step(1.0)
    assert other.get_last_lr() == [0.5, 0.125, 2.0]
    floors = schedulers.ReduceLROnPlateau(make(minitorch), patience=0, min_lr=[0.1, 0.1])
    floors.optimizer.add_param_group({"params": [minitorch.ones(1, requires_grad=True)], "lr": 4.0})
    with pytest.raises(RuntimeError, match="Please modify the `min_lrs` field"):
        [floors.step(1.0) for _ in range(2)]


CLOSED = {
    "LambdaLR": lambda t: 0.9**t,
    "LinearLR": lambda t: 0.25 + 0.5 * min(t, 7) / 7,
    "StepLR": lambda t: 0.3 ** (t // 4),
    "MultiStepLR": lambda t: 0.5 ** sum(t >= m for m in (3, 8, 8, 12)),
    "ConstantLR": lambda t: 0.5 if t < 6 else 1.0,
    "ExponentialLR": lambda t: 0.8**t,
    "PolynomialLR": lambda t: (1 - min(t, 8) / 8) ** 2,
    "MultiplicativeLR": lambda t: 2 / (t + 2),
    "ChainedScheduler": lambda t: (0.1 if t < 4 else 1.0) * 0.9**t * 0.1 ** (t // 5),
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


def test_restarts_cycles_and_one_cycle_by_hand():
    rates = [r[0] for r in trace(minitorch, "CosineAnnealingWarmRestarts")[0]]
    assert [t for t in range(1, 21) if rates[t] > rates[t - 1]] == [3, 9] and rates[0] == rates[3] == rates[9] == 2.0
    rows = trace(minitorch, "CyclicLR, triangular2")[0]
    np.testing.assert_allclose([r[0] for r in rows[:8]], [0.1, 0.55, 1.0, 0.7, 0.4, 0.1, 0.325, 0.55])
    np.testing.assert_allclose([r[5] for r in rows[:8]], [0.95, 0.725, 0.5, 0.65, 0.8, 0.95, 0.8375, 0.725])
    rows = trace(minitorch, "OneCycleLR, linear", steps=19)[0]
    np.testing.assert_allclose([r[0] for r in rows[:8:7]], [0.1, 1.0])
    np.testing.assert_allclose(rows[-1][:2], [0.001, 0.003])
    np.testing.assert_allclose([rows[0][5], rows[7][5], rows[-1][5]], [0.9, 0.7, 0.9])
    scheduler = trace(minitorch, "OneCycleLR, linear", steps=20)[1]
    with pytest.raises(ValueError, match="Tried to step 21 times. The specified number of total steps is 20"):
        scheduler.step()


def test_a_scale_functions_attributes_are_saved():
    class Scale:
        def __init__(self, base):
            self.base = base

        def __call__(self, x):
            return self.base**x

    scheduler, other = (schedulers.CyclicLR(make(minitorch), 0.1, 1.0, 3, scale_fn=Scale(base)) for base in (0.5, 0.9))
    other.load_state_dict(scheduler.state_dict())
    assert other.scale_fn(1) == 0.5


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
    for later in expected[7:]:
        resumed_optimizer.step()
        resumed.step()
        assert row(resumed_optimizer, resumed) == later


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
    optimizer.step()  # before the schedule was made: it does not count
    scheduler = schedulers.StepLR(make(minitorch), 3)
    scheduler.optimizer.step()
    optimizer = make(minitorch)
    scheduler = schedulers.StepLR(optimizer, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        scheduler.step()
    with pytest.warns(UserWarning, match="The epoch parameter"):
        scheduler.step(7)  # the old convention: jump there
    assert scheduler.last_epoch == 7 and scheduler.get_last_lr() == pytest.approx([0.02, 0.005])
    other = make(minitorch)
    plain = optim.Adadelta([minitorch.ones(1, requires_grad=True)])
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
        (lambda: schedulers.ChainedScheduler([]), ValueError, "ChainedScheduler expects at least one scheduler"),
        (lambda: schedulers.ChainedScheduler([scheduler], other), ValueError, "to belong to the same optimizer"),
        (
            lambda: schedulers.ChainedScheduler([schedulers.ReduceLROnPlateau(other)]),
            ValueError,
            "does not support `ReduceLROnPlateau`",
        ),
        (lambda: schedulers.ChainedScheduler([scheduler]).step(3), TypeError, "takes no epoch"),
        (lambda: schedulers.LambdaLR(other, 0.5), TypeError, "lr_lambda should be a function, but got float"),
        (lambda: schedulers.MultiplicativeLR(other, [abs, 3]), TypeError, "should be a function, but got int"),
        (lambda: schedulers.MultiplicativeLR(other, [abs]), ValueError, "Expected 2 lr_lambdas, but got 1"),
        (
            lambda: schedulers.CosineAnnealingWarmRestarts(other, 0),
            ValueError,
            "Expected positive integer T_0, but got 0",
        ),
        (lambda: schedulers.CosineAnnealingWarmRestarts(other, 2.5), ValueError, "positive integer T_0, but got 2.5"),
        (lambda: schedulers.CosineAnnealingWarmRestarts(other, 2, 0), ValueError, "Expected integer T_mult >= 1"),
        (lambda: schedulers.CosineAnnealingWarmRestarts(other, 2, 1, "a"), ValueError, "Expected float or int eta_min"),
        (
            lambda: schedulers.CosineAnnealingWarmRestarts(other, 2).step(-1),
            ValueError,
            "Expected non-negative epoch, but got -1",
        ),
        (lambda: schedulers.CyclicLR(3, 1, 2), TypeError, "int is not an Optimizer"),
        (lambda: schedulers.CyclicLR(other, [1], 2), ValueError, "base_lr has 1 values, param_groups has 2"),
        (lambda: schedulers.CyclicLR(other, 1, [2, 3, 4]), ValueError, "max_lr must have the same length"),
        (lambda: schedulers.CyclicLR(other, 1, 2, mode="sine"), ValueError, "mode is invalid and scale_fn is None"),
        (lambda: schedulers.CyclicLR(other, 1, 2, scale_mode="epoch"), ValueError, "'cycle' or 'iterations'"),
        (lambda: schedulers.CyclicLR(plain, 1, 2), ValueError, "optimizer must support momentum or beta1"),
        (lambda: schedulers.OneCycleLR(plain, 1, 20), ValueError, "optimizer must support momentum or beta1"),
        (lambda: schedulers.OneCycleLR(other, 1), ValueError, "define either total_steps OR"),
        (lambda: schedulers.OneCycleLR(other, 1, epochs=3), ValueError, "define either total_steps OR"),
        (lambda: schedulers.OneCycleLR(other, 1, 0), ValueError, "Expected positive integer total_steps, but got 0"),
        (lambda: schedulers.OneCycleLR(other, 1, 2.0), ValueError, "positive integer total_steps, but got 2.0"),
        (
            lambda: schedulers.OneCycleLR(other, 1, epochs=-1, steps_per_epoch=3),
            ValueError,
            "Expected positive integer epochs, but got -1",
        ),
        (
            lambda: schedulers.OneCycleLR(other, 1, epochs=1, steps_per_epoch=0),
            ValueError,
            "Expected positive integer steps_per_epoch, but got 0",
        ),
        (lambda: schedulers.OneCycleLR(other, 1, 9, pct_start=1.5), ValueError, "float between 0 and 1 pct_start"),
        (lambda: schedulers.OneCycleLR(other, 1, 9, pct_start=1), ValueError, "float between 0 and 1 pct_start"),
        (
            lambda: schedulers.OneCycleLR(other, 1, 9, anneal_strategy="exp"),
            ValueError,
            "anneal_strategy must be one of 'cos' or 'linear', instead got exp",
        ),
        (lambda: schedulers.OneCycleLR(other, [1], 9), ValueError, "max_lr must have the same length"),
        (lambda: schedulers.ReduceLROnPlateau(other, factor=1.0), ValueError, "Factor should be < 1.0."),
        (lambda: schedulers.ReduceLROnPlateau(3), TypeError, "int is not an Optimizer"),
        (lambda: schedulers.ReduceLROnPlateau(other, "mean"), ValueError, "mode mean is unknown!"),
        (
            lambda: schedulers.ReduceLROnPlateau(other, threshold_mode="x"),
            ValueError,
            "threshold mode x is unknown!",
        ),
        (lambda: schedulers.ReduceLROnPlateau(other, min_lr=[1]), ValueError, "expected 2 min_lrs, got 1"),
        (lambda: swa(schedulers).SWALR(other, [1.0]), ValueError, "swa_lr must have the same length"),
        (lambda: swa(schedulers).SWALR(other, 1.0, 3, "exp"), ValueError, "anneal_strategy must be one of"),
        (lambda: swa(schedulers).SWALR(other, 1.0, -3), ValueError, "anneal_epochs must be equal or greater than 0"),
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
