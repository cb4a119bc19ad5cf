"""What follows backward on a GPU: optimizers, gradient clipping, GradScaler; on the emulator, against the CPU."""

import ctypes

import ml_dtypes
import numpy as np
import pytest

import minitorch
from minitorch import nn, optim
from minitorch.backend import capture, devices, reference_ops
from minitorch.optim.optimizer import Optimizer
from minitorch.tensor import wrap
from tests import emulator

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
from minitorch.kernels.cuda import launch, many  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")

SHAPES = [(3, 5), (1,), (), (7, 33), (0,), (2, 9001), (4, 4), (many.CHUNK,)]


@pytest.fixture(params=["ascending", "descending"])
def order(request, monkeypatch):
    monkeypatch.setattr(emulator.RawModule, "descending", request.param == "descending")


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(emulator.RawModule, "launched", [])
    with emulator.device() as name:
        yield name


@pytest.fixture
def no_waiting(monkeypatch):
    """Reading a number back to the CPU is an error."""
    monkeypatch.setattr(devices, "sync_debug", 2)


def launched():
    """The kernels since the last call."""
    names = [name for name, _, _ in emulator.RawModule.launched]
    emulator.RawModule.launched.clear()
    return names


def there(array, device):
    """The array as a tensor on the device."""
    return minitorch.tensor(array, device=device)


def both(device, shapes=SHAPES, seed=0):
    """The same parameters on the CPU and on the device."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return [[nn.Parameter(there(a, where)) for a in arrays] for where in ("cpu", device)]


def give(rng, pairs, device, scale=1.0, dtype=np.float32):
    """Gradients for pairs of parameters; on the device of `dtype`."""
    for p, q in zip(*pairs):
        g = np.asarray(scale * rng.normal(size=p.shape), dtype=dtype)
        p.grad = minitorch.tensor(g.astype(np.float32))
        q._grad = wrap(emulator.emulated.asarray(g))  # `.grad` refuses another dtype than the parameter's


def same(pairs, rtol=1e-5, atol=1e-6, what=lambda p: p.detach()):
    for i, (p, q) in enumerate(zip(*pairs)):
        a, b = what(p), what(q)
        assert (a is None) == (b is None), i
        if a is not None:
            np.testing.assert_allclose(b.cpu().numpy(), a.cpu().numpy(), rtol=rtol, atol=atol, err_msg=f"number {i}")


OPTIMIZERS = [
    (optim.Adam, {}),
    (optim.Adam, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6, "maximize": True}),
    (optim.Adam, {"amsgrad": True}),
    (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "maximize": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
]


@pytest.mark.parametrize("kind,options", OPTIMIZERS, ids=lambda v: getattr(v, "__name__", None) or "-".join(v))
def test_ten_steps(device, order, kind, options, no_waiting):
    pairs = both(device)
    a, b = (kind(params, **options) for params in pairs)
    rng = np.random.default_rng(1)
    for _ in range(10):
        give(rng, pairs, device)
        with reference_ops():
            a.step()
        b.step()
        names = [name for name in launched() if name != "put"]
        assert names == ([] if options.get("amsgrad") else ["sgd" if kind is optim.SGD else "adam"]) or (
            options.get("dampening") and names == []
        )
    devices.sync_debug = 0
    same(pairs, rtol=2e-5)
    for p, q in zip(*pairs):
        assert a.state[p].keys() == b.state[q].keys()
        for name in a.state[p]:
            same(([a.state[p][name]], [b.state[q][name]]), what=lambda t: t)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("kind", [optim.AdamW, optim.SGD])
def test_gradients_of_half_precision(device, order, kind, dtype):
    """They are read as they are: the update is that with the same numbers in float32."""
    pairs = both(device)
    a, b = (kind(params, lr=0.1) for params in pairs)
    rng = np.random.default_rng(2)
    for _ in range(3):
        give(rng, pairs, device, dtype=dtype)
        a.step()
        b.step()
        assert [name for name in launched() if name != "put"] == ["sgd" if kind is optim.SGD else "adam"]
    same(pairs)


def test_what_a_kernel_cannot_take_is_left(device):
    """Arrays that are not contiguous, that share memory, of float64; a gradient that is not contiguous is copied."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=(6, 8)).astype(np.float32)
    for kind in (optim.AdamW, optim.SGD):
        pairs = []
        for where in ("cpu", device):
            x = there(base, where)
            whole, half = nn.Parameter(x[:3]), nn.Parameter(x[:3])
            assert whole.array is not half.array
            across = there(base, where).T.detach().requires_grad_()
            double = there(base.astype(np.float64), where).requires_grad_()
            turned = there(base, where).requires_grad_()
            pairs.append([whole, half, across, double, turned])
        a, b = (kind(params, lr=0.1) for params in pairs)
        for _ in range(3):
            for p, q in zip(*pairs):
                g = rng.normal(size=p.shape[::-1]).astype(p.array.dtype)
                p.grad, q.grad = minitorch.tensor(g).T, there(g, device).T
            with reference_ops():
                a.step()
            b.step()
        assert [n for n in launched() if n != "put"] == ["sgd" if kind is optim.SGD else "adam"] * 3
        same(pairs, rtol=2e-5)


def test_only_empty_parameters(device):
    for kind in (optim.AdamW, optim.SGD):
        p = nn.Parameter(minitorch.zeros(0, 3, device=device))
        optimizer = kind([p], lr=0.1)
        p.grad = minitorch.zeros(0, 3, device=device)
        optimizer.step()
        nn.utils.clip_grad_norm_([p], 1.0)
        if kind is optim.AdamW:
            assert optimizer.state[p]["step"].item() == 1


def test_tables_are_written_only_when_addresses_change(device):
    pairs = both(device)
    optimizer = optim.AdamW(pairs[1])
    give(np.random.default_rng(4), pairs, device)
    for i in range(3):
        nn.utils.clip_grad_norm_(pairs[1], 1.0)
        optimizer.step()
        first = ["put", "total_norm", "shrink", "put", "adam"]
        assert launched() == (first if i == 0 else [name for name in first if name != "put"])


def test_many_rows(device):
    """A table that needs several launches of `put`, and a loop of the threads over its rows."""
    pairs = both(device, [(i % 7 + 1,) for i in range(300)])
    a, b = (optim.AdamW(params, lr=0.1) for params in pairs)
    rng = np.random.default_rng(5)
    for _ in range(2):
        give(rng, pairs, device)
        a.step()
        b.step()
        assert launched().count("adam") == 1
    same(pairs, rtol=2e-5)


@pytest.mark.parametrize("kind", [optim.AdamW, optim.SGD])
def test_learning_rates(device, kind, no_waiting, monkeypatch):
    """Of a scheduler, of a tensor on the CPU, of a tensor on the device, and groups with rates of their own."""
    for how in ("schedule", "cpu", "device"):
        pairs = both(device, [(3,), (5,)])
        rates = [0.1, minitorch.tensor(0.1) if how == "cpu" else there(0.1, device) if how == "device" else 0.1]
        with monkeypatch.context() as patch:
            patch.setattr(devices, "sync_debug", 0)  # the range of lr is checked once, as in PyTorch
            optimizers = [
                kind([{"params": params[:1]}, {"params": params[1:], "weight_decay": 0.5}], lr=lr)
                for params, lr in zip(pairs, rates)
            ]
        schedules = [optim.lr_scheduler.ExponentialLR(o, 0.5) for o in optimizers] if how == "schedule" else []
        rng = np.random.default_rng(6)
        for i in range(4):
            give(rng, pairs, device)
            for optimizer in optimizers:
                optimizer.step()
            for schedule in schedules:
                schedule.step()
            if i == 1 and not schedules:
                for group in optimizers[0].param_groups:
                    group["lr"] = 0.05
                rates[1].fill_(0.05)
        assert {"put", "adam" if kind is optim.AdamW else "sgd"} == set(launched())
        devices.sync_debug = 0
        same(pairs)
        devices.sync_debug = 2


TEXTBOOK = [
    (getattr(optim, name), options)
    for name, options in [
        ("Adadelta", {}), ("Adagrad", {}), ("Adamax", {}), ("ASGD", {}), ("LAMB", {}), ("NAdam", {}), ("RAdam", {}),
        ("RMSprop", {"momentum": 0.9, "centered": True}), ("Rprop", {}), ("Adam", {"amsgrad": True}),
    ]
]  # fmt: skip


@pytest.mark.parametrize("kind,options", TEXTBOOK, ids=lambda v: getattr(v, "__name__", None) or "-".join(v))
def test_the_textbooks_updates_do_not_wait_either(device, kind, options, no_waiting):
    pairs = both(device, [(3, 4), (5,), ()])
    a, b = (kind(params, **options) for params in pairs)
    rng = np.random.default_rng(7)
    for _ in range(7):
        give(rng, pairs, device)
        a.step()
        b.step()
    devices.sync_debug = 0
    same(pairs, rtol=3e-5, atol=3e-6)


def test_zero_grad(device, no_waiting):
    pairs = both(device)
    optimizer = optim.SGD(pairs[1], lr=0.1)
    give(np.random.default_rng(8), pairs, device)
    grads = [p.grad for p in pairs[1]]
    pairs[1][3].grad[0, 0] = float("nan")
    launched()
    optimizer.zero_grad(set_to_none=False)
    assert launched() == ["put", "zero"]
    assert all(p.grad is g for p, g in zip(pairs[1], grads))
    devices.sync_debug = 0
    assert not any(g.cpu().numpy().any() for g in grads)
    optimizer.zero_grad()
    assert all(p.grad is None for p in pairs[1])


# --- clipping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_norm", [1.0, 1e6])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clip_grad_norm(device, order, norm_type, max_norm, no_waiting):
    pairs = both(device, [shape for shape in SHAPES if shape != (0,) or norm_type != float("inf")])
    give(np.random.default_rng(9), pairs, device)
    expected = nn.utils.clip_grad_norm_(pairs[0], max_norm, norm_type)
    launched()
    actual = nn.utils.clip_grad_norm_(pairs[1], max_norm, norm_type)
    assert launched() == (["put", "total_norm", "shrink"] if norm_type == 2 else ["put", "shrink"])
    devices.sync_debug = 0
    assert actual.device.type == device and actual.dtype is minitorch.float32
    np.testing.assert_allclose(actual.item(), expected.item(), rtol=1e-5)
    same(pairs, what=lambda p: p.grad, rtol=1e-5)


def test_clipping_is_the_same_each_time(device):
    """The sums are added in one order."""
    grads = [there(np.random.default_rng(i).normal(size=50_000).astype(np.float32), device) for i in range(3)]
    norms = {nn.utils.get_total_norm(grads).item() for _ in range(3)}
    emulator.RawModule.descending = True
    try:
        norms |= {nn.utils.get_total_norm(grads).item()}
    finally:
        emulator.RawModule.descending = False
    assert len(norms) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_clipping_numbers_that_are_not_finite(device, bad):
    pairs = both(device, [(3,), (4,)])
    give(np.random.default_rng(10), pairs, device)
    for p in (pairs[0][0], pairs[1][0]):
        p.grad[1] = bad
    for params in pairs:
        with pytest.raises(RuntimeError, match="non-finite"):
            nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    norms = [nn.utils.clip_grad_norm_(params, 1.0) for params in pairs]
    assert str(norms[0].item()) == str(norms[1].item())
    same(pairs, what=lambda p: p.grad)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_clipping_half_precision(device, dtype):
    rng = np.random.default_rng(11)
    grads = [rng.normal(size=shape).astype(dtype) for shape in [(33, 5), (64,)]]
    expected = [minitorch.tensor(g.astype(np.float32)) for g in grads]
    actual = [wrap(emulator.emulated.asarray(g)) for g in grads]
    norm = nn.utils.get_total_norm(expected)
    assert "total_norm" not in launched()
    total = nn.utils.get_total_norm(actual)
    assert launched() == ["put", "total_norm"] and total.array.dtype == dtype
    np.testing.assert_allclose(total.float().item(), norm.item(), rtol=1e-2)
    params = [nn.Parameter(wrap(emulator.emulated.zeros(g.shape, dtype))) for g in grads]
    for p, g in zip(params, actual):
        p.grad = g
    launched()
    nn.utils.clip_grads_with_norm_(params, 0.5, norm.to(device))
    assert launched() == ["shrink"]
    same(([g * (0.5 / norm) for g in expected], actual), rtol=1e-2, atol=1e-4, what=lambda g: g.float())


def test_clip_grad_value(device, order):
    pairs = both(device)
    give(np.random.default_rng(12), pairs, device)
    for params in pairs:
        params[0].grad[0, 0] = float("nan")
        nn.utils.clip_grad_value_(params, 0.3)
    assert "clamp" in launched()
    same(pairs, rtol=0, atol=0, what=lambda p: p.grad)


def test_a_gradient_that_two_parameters_have_is_clipped_twice(device):
    for where in ("cpu", device):
        p, q = (nn.Parameter(minitorch.zeros(2, device=where)) for _ in range(2))
        p.grad = q.grad = minitorch.tensor([3.0, 4.0], device=where)
        nn.utils.clip_grads_with_norm_([p, q], 1.0, there(2.0, where))
        np.testing.assert_allclose(p.grad.cpu().numpy(), [0.75, 1.0], rtol=1e-5)


def test_versions_move(device):
    """Changes in place are seen: a saved gradient that was clipped cannot be used by a backward pass."""
    p = nn.Parameter(minitorch.ones(2, device=device))
    p.grad = minitorch.ones(2, device=device)
    before = p.grad._version
    nn.utils.clip_grad_norm_([p], 0.1)
    assert p.grad._version == before + 1
    before = p._version
    optim.SGD([p], lr=0.1).step()
    assert p._version == before + 1


# --- GradScaler ------------------------------------------------------------------------------------------------------

SCRIPT = [1.0, 2.0, float("inf"), 1.0, float("nan"), 0.5, 0.5, 0.5, -float("inf"), 0.5, 0.5]
SCALER = {"init_scale": 1024.0, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 2}


def scripted(L, where, make):
    """Parameters, state and scaler after each of the script's steps."""
    scaler = L.amp.GradScaler(where, **SCALER)
    p, q = (L.nn.Parameter(L.tensor(x, device=where)) for x in ([1.0, 2.0], [[3.0]]))
    optimizer = make(L, [p, q])
    seen = []
    for g in SCRIPT:
        optimizer.zero_grad()
        loss = (p * L.tensor([g, 1.0], device=where)).sum() + (q * q).sum()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        L.nn.utils.clip_grad_norm_([p, q], 1.0)
        scaler.step(optimizer)
        scaler.update()
        state = scaler.state_dict() if devices.sync_debug == 0 else None  # which waits
        seen.append((p.detach().clone(), q.detach().clone(), state))
    return scaler, optimizer, seen


MAKERS = {
    "AdamW": lambda L, params: L.optim.AdamW(params, lr=0.1),
    "Adam": lambda L, params: L.optim.Adam(params, lr=0.1, weight_decay=0.1),
    "momentum": lambda L, params: L.optim.SGD(params, lr=0.1, momentum=0.9),
    "dampening": lambda L, params: L.optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5),
    "RMSprop": lambda L, params: L.optim.RMSprop(params, lr=0.1),
    "amsgrad": lambda L, params: L.optim.Adam(params, lr=0.1, amsgrad=True),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "reference"])
def test_scaler_is_pytorchs(device, make, kernels):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    _, _, expected = scripted(torch, "cpu", make)
    if kernels:
        scaler, _, actual = scripted(minitorch, device, make)
    else:
        with reference_ops(), np.errstate(invalid="ignore"):
            scaler, _, actual = scripted(minitorch, device, make)
    for (p, q, state), (p2, q2, state2) in zip(expected, actual):
        assert state == state2
        np.testing.assert_allclose(p2.cpu().numpy(), p.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(q2.cpu().numpy(), q.numpy(), rtol=1e-5, atol=1e-6)
    again = minitorch.amp.GradScaler(device)
    again.load_state_dict(scaler.state_dict())
    assert again.state_dict() == scaler.state_dict()
    scaler.update(128.0)
    assert scaler.get_scale() == 128.0
    scaler.update(there(64.0, device))
    assert scaler.get_scale() == 64.0
    scaler.load_state_dict(again.state_dict())
    assert again.state_dict() == scaler.state_dict()


@pytest.mark.parametrize("name", ["AdamW", "Adam", "momentum"])
def test_scaler_does_not_wait(device, name, no_waiting):
    scaler, optimizer, actual = scripted(minitorch, device, MAKERS[name])
    assert {"unscale", "update_scale", "total_norm", "shrink"} <= set(launched())
    devices.sync_debug = 0
    _, on_cpu, expected = scripted(minitorch, "cpu", MAKERS[name])
    for (p, q, _), (p2, q2, _) in zip(expected, actual):
        np.testing.assert_allclose(p2.cpu().numpy(), p.numpy(), rtol=1e-5)
        np.testing.assert_allclose(q2.cpu().numpy(), q.numpy(), rtol=1e-5)
    for a, b in zip(on_cpu.state.values(), optimizer.state.values()):
        if "step" in a:
            assert a["step"].item() == b["step"].item() == sum(np.isfinite(SCRIPT))


def test_scaler_refuses_float16_gradients(device):
    p = nn.Parameter(there([1.0], device).half())
    optimizer, scaler = optim.SGD([p], lr=0.1), minitorch.amp.GradScaler(device, init_scale=8.0)
    scaler.scale(p.sum()).backward()
    with pytest.raises(ValueError, match="FP16"):
        scaler.unscale_(optimizer)


# --- saving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [optim.AdamW, optim.SGD])
def test_states_go_to_the_cpu_and_back(device, kind):
    options = {"lr": 0.1, **({"momentum": 0.9} if kind is optim.SGD else {})}
    pairs = both(device)
    a, b = (kind(params, **options) for params in pairs)
    rng = np.random.default_rng(13)

    def steps(*optimizers):
        for _ in range(2):
            give(rng, pairs, device)
            for optimizer in optimizers:
                optimizer.step()

    steps(a, b)
    for first, second in ((a, b), (b, a)):  # the CPU's state on the device, and the other way round
        second.load_state_dict(first.state_dict())
        if second is a:
            assert all(t.device.type == "cpu" for state in a.state.values() for t in state.values())
        steps(a, b)
        same(pairs, rtol=3e-5)


def test_states_have_pytorchs_layout(device):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    on_cpu, ours = both(device, [(3, 4), (5,)])
    theirs = [torch.nn.Parameter(torch.tensor(p.detach().numpy().copy())) for p in on_cpu]
    a, b = torch.optim.AdamW(theirs, lr=0.1), optim.AdamW(ours, lr=0.1)

    def steps():
        for p, q in zip(theirs, ours):
            g = np.random.default_rng(15).normal(size=p.shape).astype(np.float32)
            p.grad, q.grad = torch.tensor(g), there(g, device)
        a.step()
        b.step()

    steps()
    saved = b.state_dict()["state"][0]
    assert {k: (tuple(v.shape), str(v.dtype)[6:]) for k, v in a.state_dict()["state"][0].items()} == {
        k: (tuple(v.shape), str(v.dtype)[10:]) for k, v in saved.items()
    }
    state = a.state_dict()
    state["state"] = {
        i: {k: minitorch.tensor(v.numpy().copy()) for k, v in s.items()} for i, s in state["state"].items()
    }
    b.load_state_dict(state)
    steps()
    state = b.state_dict()
    state["state"] = {i: {k: torch.tensor(v.cpu().numpy()) for k, v in s.items()} for i, s in state["state"].items()}
    a.load_state_dict(state)
    steps()
    for p, q in zip(theirs, ours):
        np.testing.assert_allclose(q.detach().cpu().numpy(), p.detach().numpy(), rtol=1e-5)
    assert b.state[ours[0]]["step"].item() == 3


# --- captured graphs: launches are kept, and repeated ------------------------------------------------------------------


class Recorded:
    """A capture on the emulator, for a step that consists of kernels alone."""

    def __init__(self, monkeypatch, step):
        self.launches = []
        self.launch = launch.Source.launch
        monkeypatch.setattr(launch.Source, "launch", lambda *args, **options: self.launches.append((args, options)))
        monkeypatch.setattr(capture, "current", capture.Capture())
        step()
        self.refresh = capture.current.refresh
        monkeypatch.undo()

    def replay(self):
        for function in self.refresh:
            function()
        for args, options in self.launches:
            self.launch(*args, **options)


@pytest.mark.parametrize("kind,options", [(optim.AdamW, {}), (optim.SGD, {"momentum": 0.9})])
def test_a_captured_step(device, monkeypatch, kind, options):
    pairs = both(device, [(3, 5), (9000,)])
    optimizers = [kind(params, lr=0.1, **options) for params in pairs]
    rng = np.random.default_rng(16)

    def finish(which):
        nn.utils.clip_grad_norm_(pairs[which], 5.0)
        optimizers[which].step()

    give(rng, pairs, device)
    finish(0)
    finish(1)
    graph = Recorded(monkeypatch, lambda: finish(1))
    same(pairs, rtol=2e-5)
    launched()
    for i, lr in enumerate((0.1, 0.1, 0.02)):
        for o in optimizers:
            for group in o.param_groups:
                group["lr"] = lr
        for p, q in zip(*pairs):
            g = rng.normal(size=p.shape).astype(np.float32)
            p.grad = minitorch.tensor(g)
            q.grad.copy_(there(g, device))  # into the graph's memory
        finish(0)
        graph.replay()
        kernels = ["total_norm", "shrink", "adam" if kind is optim.AdamW else "sgd"]
        assert launched() == ["put"] * (3, 0, 1)[i] + kernels  # two tables and the numbers; nothing; the numbers
        same(pairs, rtol=2e-5)


def test_a_captured_step_with_a_scaler(device, monkeypatch):
    pairs = both(device, [(3,), (40,)])
    optimizers = [optim.AdamW(params, lr=0.1) for params in pairs]
    scalers = [minitorch.amp.GradScaler(where, **SCALER) for where in ("cpu", device)]
    rng = np.random.default_rng(17)

    def finish(which):
        scalers[which].step(optimizers[which])
        scalers[which].update()

    give(rng, pairs, device)
    for i in (0, 1):
        scalers[i].scale(pairs[i][0].sum())
        finish(i)
    graph = Recorded(monkeypatch, lambda: finish(1))
    found = [args[-1] for args, _ in graph.launches if args[1] == "unscale"][0]
    for bad in (1.0, float("inf"), 1.0, 1.0, 1.0):
        for p, q in zip(*pairs):
            g = rng.normal(size=p.shape).astype(np.float32)
            g[0] *= bad
            p.grad = minitorch.tensor(g)
            q.grad.copy_(there(g, device))
        finish(0)
        found.fill(0)  # CuPy's, and so in the graph
        graph.replay()
        assert scalers[0].state_dict() == scalers[1].state_dict()
        same(pairs, rtol=2e-5)


def test_a_capture_without_a_step_before_is_refused(device, monkeypatch):
    for make in (MAKERS["AdamW"], MAKERS["momentum"]):
        p = nn.Parameter(there([1.0, 2.0], device))
        p.grad = there([1.0, 2.0], device)
        optimizer = make(minitorch, [p])
        with pytest.raises(capture.CaptureError, match="at least once before"):
            Recorded(monkeypatch, optimizer.step)
        monkeypatch.undo()
    scaler = minitorch.amp.GradScaler(device)
    with pytest.raises(capture.CaptureError, match="at least once before"):
        Recorded(monkeypatch, lambda: scaler.scale(p))
    monkeypatch.undo()
    optimizer = optim.RMSprop([p], lr=0.1)
    optimizer.step()
    with pytest.raises(capture.CaptureError, match="an update of RMSprop that has no kernel here"):
        Recorded(monkeypatch, optimizer.step)


def test_a_state_that_is_loaded_counts_on_the_gpu(device, monkeypatch):
    """So that the next step can be captured without another one before."""
    pairs = both(device, [(3,)])
    a, b = (optim.AdamW(params) for params in pairs)
    give(np.random.default_rng(18), pairs, device)
    a.step()
    b.step()
    b.load_state_dict(a.state_dict())
    assert b._loads == 1
    Recorded(monkeypatch, b.step)


# --- the two sides of the table ----------------------------------------------------------------------------------------


def test_python_and_cuda_agree():
    """The numbers that many.py writes and the kernels read, and that the sources are compiled with in the tests."""
    for file in ("adam.cu", "sgd.cu", "clip.cu"):
        assert f"// macros: CHUNK={many.CHUNK} NUMBERS={many.NUMBERS}\n" in launch.read(file)
    assert f"// macros: WORDS={many.WORDS}\n" in launch.read("many.cu")
    assert many.WORDS * 8 + 2 * ctypes.sizeof(ctypes.c_longlong) <= 4096  # a kernel's arguments
    assert many.THREADS == 256  # clip.cu


def test_optimizers_with_a_kernel_say_that_they_look_at_found_inf(device):
    from minitorch.backend import fastpath

    for reference, fast in fastpath._PATHS["cupy"].items():
        if issubclass(reference, Optimizer):
            assert fast.takes_found_inf
    p = nn.Parameter(there([1.0], device))
    assert optim.AdamW([p]).leaves_out() and not optim.RMSprop([p]).leaves_out()
    assert not optim.AdamW([nn.Parameter(minitorch.ones(1))]).leaves_out()
    with reference_ops():
        assert not optim.AdamW([p]).leaves_out()
