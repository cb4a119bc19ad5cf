"""Optimizers: 25 steps beside PyTorch's with every option, one step by hand, groups, state, errors."""

import inspect
import itertools
import math

import numpy as np
import pytest

import minitorch
from minitorch import nn, optim
from tests.guard import GuardArray, guard


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def grid(**options):
    names, values = zip(*options.items())
    return [dict(zip(names, choice)) for choice in itertools.product(*values)]


RUNS = [
    *[
        ("SGD", o)
        for o in grid(lr=[0.1], momentum=[0, 0.9], dampening=[0, 0.3], weight_decay=[0, 0.1], maximize=[False, True])
    ],
    *[("SGD", o) for o in grid(lr=[0.1], momentum=[0.9], nesterov=[True], weight_decay=[0, 0.1])],
    *[("Adam", o) for o in grid(lr=[0.05], weight_decay=[0, 0.1], amsgrad=[False, True], maximize=[False, True])],
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.6), "eps": 1e-3}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    *[("AdamW", o) for o in grid(lr=[0.05], weight_decay=[0, 0.1], amsgrad=[False, True], maximize=[False, True])],
    ("AdamW", {"foreach": True, "eps": 1e-6}),
    *[
        ("RMSprop", o)
        for o in grid(
            lr=[0.02], momentum=[0, 0.8], centered=[False, True], weight_decay=[0, 0.1], maximize=[False, True]
        )
    ],
    ("RMSprop", {"alpha": 0.5, "eps": 1e-3}),
    *[
        ("Adagrad", o)
        for o in grid(
            lr=[0.1],
            lr_decay=[0, 0.1],
            weight_decay=[0, 0.1],
            initial_accumulator_value=[0, 0.5],
            maximize=[False, True],
        )
    ],
]

MAXIMIZE = [False, True]
RUNS_64 = [  # in float64, where 25 steps leave no rounding to hide in
    *[("Adadelta", o) for o in grid(lr=[1.0], weight_decay=[0, 0.1], maximize=MAXIMIZE)],
    ("Adadelta", {"lr": 0.3, "rho": 0.5, "eps": 1e-3, "foreach": True}),
    ("Adadelta", {"rho": 1.0}),
    *[("Adamax", o) for o in grid(lr=[0.05], weight_decay=[0, 0.1], maximize=MAXIMIZE)],
    ("Adamax", {"betas": (0.5, 0.6), "eps": 1e-3, "foreach": False}),
    *[
        ("NAdam", o)
        for o in grid(lr=[0.05], weight_decay=[0, 0.1], decoupled_weight_decay=[False, True], maximize=MAXIMIZE)
    ],
    ("NAdam", {"betas": (0.5, 0.6), "eps": 1e-3, "momentum_decay": 0.1}),
    *[
        ("RAdam", o)
        for o in grid(lr=[0.05], weight_decay=[0, 0.1], decoupled_weight_decay=[False, True], maximize=MAXIMIZE)
    ],
    ("RAdam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3}),
    *[("ASGD", o) for o in grid(lr=[0.05], lambd=[1e-4, 0.1], t0=[1e6, 5], weight_decay=[0, 0.1], maximize=MAXIMIZE)],
    ("ASGD", {"alpha": 0.5, "foreach": False}),
    *[("Rprop", o) for o in grid(lr=[0.01, 0.1], maximize=MAXIMIZE)],
    ("Rprop", {"etas": (0.3, 2.0), "step_sizes": (1e-3, 0.05)}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "fused": True}),
    ("Adam", {"lr": 0.05, "fused": True, "amsgrad": True}),
    ("Adagrad", {"lr": 0.05, "fused": True}),
    ("RMSprop", {"lr": 0.05, "foreach": False}),
]
PYTORCHS = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop"]
ALL = [*PYTORCHS, "LAMB"]

SHAPES = ((3, 4), (5,), (), (1, 2, 2))


def train(lib, name, options, steps=25, dtype="float32"):
    """A curved loss with gradients that change sign and size; the last parameter has a gradient every other step."""
    rng = np.random.default_rng(0)
    dtype = getattr(lib, dtype)
    params = [lib.tensor(rng.normal(size=s).tolist(), dtype=dtype, requires_grad=True) for s in SHAPES]
    targets = [[lib.tensor(rng.normal(size=s).tolist(), dtype=dtype) for s in SHAPES] for _ in range(steps)]
    optimizer = getattr(lib.optim, name)(params, **options)
    for i, target in enumerate(targets):
        optimizer.zero_grad()
        loss = sum((((p - t) ** 2).sum() + (p * t).sin().sum() for p, t in zip(params[: 4 - i % 2], target)))
        loss.backward()
        optimizer.step()
    return params, optimizer


def named(options):
    return options if isinstance(options, str) else "-".join(f"{k}={x}" for k, x in options.items())


def same_state(ours, theirs, rtol, atol):
    """Two state_dicts: the same keys, options, shapes, dtypes and numbers."""
    assert [set(g) for g in ours["param_groups"]] == [set(g) for g in theirs["param_groups"]]
    assert [dict(g) for g in ours["param_groups"]] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for number, state in theirs["state"].items():
        assert set(ours["state"][number]) == set(state)
        for key, value in state.items():
            found = ours["state"][number][key]
            assert found.shape == tuple(value.shape) and str(found.dtype)[-7:] == str(value.dtype)[-7:], key
            np.testing.assert_allclose(found.numpy(), value.numpy(), rtol=rtol, atol=atol, err_msg=f"{number} {key}")


@pytest.mark.parametrize("name, options", RUNS, ids=named)
@pytest.mark.parity
def test_25_steps_equal_pytorch(torch, name, options):
    ours, our_optimizer = train(minitorch, name, options)
    theirs, their_optimizer = train(torch, name, options)
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-6)
    same_state(our_optimizer.state_dict(), their_optimizer.state_dict(), 1e-5, 1e-6)


@pytest.mark.parametrize("name, options", RUNS_64, ids=named)
@pytest.mark.parity
def test_25_steps_in_double_precision_equal_pytorch(torch, name, options):
    ours, our_optimizer = train(minitorch, name, options, dtype="float64")
    theirs, their_optimizer = train(torch, name, options, dtype="float64")
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-9, atol=1e-9)
    same_state(our_optimizer.state_dict(), their_optimizer.state_dict(), 1e-7, 1e-9)


@pytest.mark.parametrize("name", PYTORCHS)
@pytest.mark.parity
def test_groups_and_schedules_equal_pytorch(torch, name):
    """Two groups with options of their own, a third one later, rates and momentums that a schedule moves."""

    def run(lib):
        rng = np.random.default_rng(0)
        params = [lib.tensor(rng.normal(size=s), requires_grad=True) for s in SHAPES]
        second = {"lr": 0.2} if name == "Rprop" else {"lr": 0.2, "weight_decay": 0.1}
        optimizer = getattr(lib.optim, name)([{"params": params[:2]}, {"params": params[2], **second}], lr=0.05)
        momentum = "betas" in optimizer.defaults or "momentum" in optimizer.defaults
        scheduler = lib.optim.lr_scheduler.OneCycleLR(
            optimizer, [0.1, 0.3], total_steps=25, cycle_momentum=momentum, base_momentum=0.5
        )
        for i in range(25):
            if i == 12:
                scheduler = lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
                optimizer.add_param_group({"params": [params[3]], "lr": 0.01, "maximize": True, "initial_lr": 0.01})
            optimizer.zero_grad(set_to_none=i % 2 == 0)
            sum(((p - 1) ** 4).sum() for p in params).backward()
            optimizer.step()
            if i != 12:
                scheduler.step()
        return [p.detach().numpy() for p in params], optimizer

    (ours, a), (theirs, b) = run(minitorch), run(torch)
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p, q, rtol=1e-7, atol=1e-9)
    rates = [[(g["lr"], g.get("momentum"), g.get("betas")) for g in o.param_groups] for o in (a, b)]
    assert str(rates[0]) == str(rates[1])


@pytest.mark.parametrize("name", PYTORCHS)
@pytest.mark.parity
def test_double_precision_equals_pytorch(torch, name):
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    ours, _ = train(minitorch, name, options, dtype="float64")
    theirs, _ = train(torch, name, options, dtype="float64")
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PYTORCHS)
@pytest.mark.parity
def test_state_moves_between_the_libraries(torch, name):
    """A state that PyTorch saved after 5 steps continues here as it does there, and the other way round."""
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}

    def convert(value, lib):
        if isinstance(value, dict):
            return {k: convert(v, lib) for k, v in value.items()}
        if isinstance(value, list):
            return [convert(v, lib) for v in value]
        return lib.from_numpy(value.numpy().copy()) if hasattr(value, "numpy") else value

    def go_on(lib, params, optimizer):
        for _ in range(5):
            optimizer.zero_grad()
            sum((p**2).sum() for p in params).backward()
            optimizer.step()
        return [p.detach().numpy() for p in params]

    for source, target in ((torch, minitorch), (minitorch, torch)):
        params, optimizer = train(source, name, options, steps=5)
        copies = [target.tensor(p.detach().numpy().tolist(), requires_grad=True) for p in params]
        other = getattr(target.optim, name)(copies, lr=123.0)
        other.load_state_dict(convert(optimizer.state_dict(), target))
        for a, b in zip(go_on(source, params, optimizer), go_on(target, copies, other)):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


# --- by hand ---------------------------------------------------------------------------------------------------------


def one(value=1.0, grad=2.0, **options):
    p = minitorch.tensor([value], requires_grad=True, **options)
    p.grad = minitorch.tensor([grad], **options)
    return p


def test_first_steps_by_hand():
    p = one()
    optimizer = optim.SGD([p], lr=0.1, momentum=0.5)
    optimizer.step()
    assert p.item() == pytest.approx(0.8)  # b = g
    optimizer.step()
    assert p.item() == pytest.approx(0.8 - 0.1 * (0.5 * 2 + 2))
    p = one()
    optim.SGD([p], lr=0.1, maximize=True).step()
    assert p.item() == pytest.approx(1.2)
    p = one(grad=-7.0)
    optim.Adam([p], lr=0.1).step()
    assert p.item() == pytest.approx(1.1)  # the first step is lr, whatever the gradient's size
    p = one(grad=0.0)
    optim.AdamW([p], lr=0.1, weight_decay=0.5).step()
    assert p.item() == pytest.approx(0.95)  # decay alone
    p = one()
    optim.Adagrad([p], lr=0.1, initial_accumulator_value=12.0).step()
    assert p.item() == pytest.approx(1 - 0.1 * 2 / 4)
    p = one()
    optim.RMSprop([p], lr=0.1, alpha=0.75, eps=0.0).step()
    assert p.item() == pytest.approx(1 - 0.1 * 2 / math.sqrt(0.25 * 4))


RECORDED = [  # the sum of the squared parameters after 25 steps of PyTorch 2.13, in float64
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}, 4.32925745),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}, 159342815199.3184),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True}, 3.840001661),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.1, "maximize": True}, 48.807984456),
    ("RMSprop", {"lr": 0.02, "momentum": 0.8, "centered": True, "weight_decay": 0.1}, 0.833831261),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}, 8.90531288),
]


@pytest.mark.parametrize("name, options, expected", RECORDED)
def test_25_steps_as_recorded(name, options, expected):
    params, _ = train(minitorch, name, options, dtype="float64")
    assert sum((p**2).sum().item() for p in params) == pytest.approx(expected, rel=1e-8)


def test_parameters_are_changed_in_place_and_the_graph_notices():
    p = one()
    array, version = p.array, p._version
    y = p * p
    optimizer = optim.Adam([p])
    optimizer.step()
    assert p.array is array and p._version > version and p.is_leaf and p.requires_grad
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()
    state = optimizer.state[p]
    assert not any(t.requires_grad for t in state.values()) and isinstance(state["exp_avg"], minitorch.Tensor)
    assert state["step"].item() == 1.0 and state["step"].shape == ()
    assert p.grad.tolist() == [2.0]  # the gradient itself stays as it was


def test_parameters_without_gradient_are_left_alone():
    p, q = one(), minitorch.tensor([1.0], requires_grad=True)
    optimizer = optim.AdamW([p, q], lr=0.1)
    optimizer.step()
    assert q.item() == 1.0 and q not in optimizer.state
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0] and q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_closure_runs_with_gradients_and_its_loss_is_returned():
    p = minitorch.tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    with minitorch.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert p.item() == 1.5


@pytest.mark.parametrize("name", ALL)
def test_every_optimizer_solves_a_small_problem(name):
    minitorch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    x = minitorch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = minitorch.tensor([[0.0], [1.0], [1.0], [0.0]])
    options = {
        "SGD": {"lr": 0.1, "momentum": 0.9}, "ASGD": {"lr": 0.3}, "Adagrad": {"lr": 0.2}, "Adadelta": {"lr": 5.0},
        "LAMB": {"lr": 0.02, "weight_decay": 0.0},
    }.get(name, {"lr": 0.03})  # fmt: skip
    optimizer = getattr(optim, name)(net.parameters(), **options)
    for _ in range(400):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02


# --- groups ----------------------------------------------------------------------------------------------------------


def test_groups_have_their_own_options():
    p, q, r = one(), one(), one()
    optimizer = optim.SGD([{"params": [p]}, {"params": q, "lr": 0.5}], lr=0.1)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5]
    optimizer.add_param_group({"params": [r], "lr": 0.0})
    optimizer.step()
    assert [p.item(), q.item(), r.item()] == pytest.approx([0.8, 0.0, 1.0])
    optimizer.param_groups[2]["lr"] = 1.0
    optimizer.step()
    assert r.item() == pytest.approx(-1.0)
    assert "Parameter Group 1" in repr(optimizer) and "    lr: 0.5" in repr(optimizer)


@pytest.mark.parity
def test_printing_equals_pytorch(torch):
    for name in PYTORCHS:
        _, ours = train(minitorch, name, {}, steps=1)
        _, theirs = train(torch, name, {}, steps=1)
        assert repr(ours) == repr(theirs)


@pytest.mark.parity
def test_signatures_equal_pytorchs(torch):
    def plain(f):
        return [
            (p.name, None if callable(p.default) else p.default, p.kind)
            for p in inspect.signature(f).parameters.values()
        ]

    for name in [*PYTORCHS, "LBFGS"]:
        assert plain(getattr(optim, name)) == plain(getattr(torch.optim, name)), name
    for module in ("lr_scheduler", "swa_utils"):
        ours, theirs = getattr(optim, module), getattr(torch.optim, module)
        for name in theirs.__all__:
            assert plain(getattr(ours, name)) == plain(getattr(theirs, name)), name
    for name in vars(torch.optim.Optimizer):
        if name.startswith("register_") or name in ("zero_grad", "state_dict", "load_state_dict", "add_param_group"):
            assert plain(getattr(optim.Optimizer, name)) == plain(getattr(torch.optim.Optimizer, name)), name


def test_named_parameters():
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"] == [net.weight, net.bias]
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([("a", net.weight), net.bias], lr=0.1)
    with pytest.raises(ValueError, match="all optimizer param groups should be with/without names"):
        optimizer.add_param_group({"params": [one()]})


def test_weight_decay_groups():
    net = nn.Sequential(
        nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.MultiheadAttention(4, 2, add_bias_kv=True)
    )
    net[1].weight.requires_grad_(False)
    decayed, others = optim.weight_decay_groups(net, 0.1)
    assert decayed["weight_decay"] == 0.1 and others["weight_decay"] == 0.0
    by_id = {id(p): name for name, p in net.named_parameters()}
    assert [by_id[id(p)] for p in decayed["params"]] == ["0.weight", "3.in_proj_weight", "3.out_proj.weight"]
    assert [by_id[id(p)] for p in others["params"]] == [
        "1.bias", "2.weight", "2.bias", "3.in_proj_bias", "3.bias_k", "3.bias_v", "3.out_proj.bias",
    ]  # fmt: skip
    assert len(optim.weight_decay_groups(nn.LayerNorm(3), 0.1)) == 1
    optim.AdamW([decayed, others], lr=0.1)


def test_errors():
    p, q = one(), one()
    for call, error, words in (
        (lambda: optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
        (lambda: optim.SGD(p), TypeError, "should be an iterable of Tensors or dicts, but got a Tensor"),
        (lambda: optim.SGD([1.0]), TypeError, r"optimizer can only optimize Tensors, but params\[0\] is float"),
        (lambda: optim.SGD([p * 2]), ValueError, "can't optimize a non-leaf Tensor"),
        (lambda: optim.SGD([p, p]), ValueError, "a parameter group with duplicate parameters"),
        (
            lambda: optim.SGD([{"params": [p]}, {"params": [q, p]}]),
            ValueError,
            "appear in more than one parameter group",
        ),
        (lambda: optim.SGD([{"params": {p, q}}]), TypeError, "Please use a list instead"),
        (lambda: optim.SGD([p], lr=-0.1), ValueError, "Invalid learning rate: -0.1"),
        (lambda: optim.SGD([p], lr=float("nan")), ValueError, "Invalid learning rate: nan"),
        (lambda: optim.SGD([{"params": [p], "lr": -2}]), ValueError, "Invalid learning rate: -2"),
        (lambda: optim.SGD([p], momentum=-1), ValueError, "Invalid momentum value: -1"),
        (lambda: optim.SGD([p], nesterov=True), ValueError, "Nesterov momentum requires a momentum and zero dampening"),
        (lambda: optim.Adam([p], betas=(0.9, 1.0)), ValueError, "Invalid beta parameter at index 1: 1.0"),
        (lambda: optim.Adam([p], eps=-1), ValueError, "Invalid epsilon value: -1"),
        (lambda: optim.AdamW([p], weight_decay=-1), ValueError, "Invalid weight_decay value: -1"),
        (lambda: optim.RMSprop([p], alpha=-1), ValueError, "Invalid alpha value: -1"),
        (lambda: optim.Adagrad([p], lr_decay=-1), ValueError, "Invalid lr_decay value: -1"),
        (
            lambda: optim.Adagrad([p], initial_accumulator_value=-1),
            ValueError,
            "Invalid initial_accumulator_value value: -1",
        ),
        (lambda: optim.SGD([p], lr=minitorch.ones(2)), ValueError, "Tensor lr must be 1-element"),
        (lambda: optim.SGD([p], lr=minitorch.tensor(-0.5)), ValueError, "Invalid learning rate: -0.5"),
        (lambda: optim.Adam([p], capturable=True), NotImplementedError, "capturable=True is not needed"),
        (lambda: optim.NAdam([p], capturable=True), NotImplementedError, "capturable=True"),
        (lambda: optim.Rprop([p], differentiable=True), NotImplementedError, "differentiable=True"),
        (lambda: optim.Adam([p], foreach=True, fused=True), RuntimeError, "`fused` and `foreach` cannot be `True`"),
        (lambda: optim.Adadelta([p], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda: optim.Adadelta([p], rho=1.1), ValueError, "Invalid rho value: 1.1"),
        (lambda: optim.Adadelta([p], eps=-0.1), ValueError, "Invalid epsilon value: -0.1"),
        (lambda: optim.Adamax([p], betas=(1.0, 0.9)), ValueError, "Invalid beta parameter at index 0: 1.0"),
        (lambda: optim.Adamax([p], weight_decay=-1), ValueError, "Invalid weight_decay value: -1"),
        (lambda: optim.NAdam([p], betas=(0.9, -0.1)), ValueError, "Invalid beta parameter at index 1: -0.1"),
        (lambda: optim.NAdam([p], momentum_decay=-1), ValueError, "Invalid momentum_decay value: -1"),
        (lambda: optim.RAdam([p], eps=-1), ValueError, "Invalid epsilon value: -1"),
        (lambda: optim.RAdam([p], betas=(0.9, 1)), ValueError, "Invalid beta parameter at index 1: 1"),
        (lambda: optim.ASGD([p], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda: optim.ASGD([p], weight_decay=-0.1), ValueError, "Invalid weight_decay value: -0.1"),
        (lambda: optim.Rprop([p], etas=(1.2, 0.5)), ValueError, "Invalid eta values: 1.2, 0.5"),
        (lambda: optim.Rprop([p], etas=(0.5, 1.0)), ValueError, "Invalid eta values: 0.5, 1.0"),
        (lambda: optim.LAMB([p], betas=(2, 0.9)), ValueError, "Invalid beta parameter at index 0: 2"),
        (lambda: optim.LAMB([p], norm_range=(2, 1)), ValueError, "Invalid norm_range: 2, 1"),
        (lambda: optim.LAMB([p], weight_decay=-1), ValueError, "Invalid weight_decay value: -1"),
        (lambda: optim.LBFGS([p], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda: optim.LBFGS([p], line_search_fn="armijo"), RuntimeError, "only 'strong_wolfe' is supported"),
        (lambda: optim.LBFGS([p]).step(), TypeError, "closure"),
        (
            lambda: optim.LBFGS([{"params": [p]}, {"params": [q]}]),
            ValueError,
            "LBFGS doesn't support per-parameter options",
        ),
        (
            lambda: optim.SGD([p], 0.1).load_state_dict({"param_groups": []}),
            ValueError,
            "different number of parameter",
        ),
        (lambda: optim.Adam([p], differentiable=True), NotImplementedError, "do not record their updates"),
        (lambda: optim.SGD([p]).add_param_group([q]), TypeError, "param_group must be a dict"),
        (lambda: optim.Optimizer([p], {"lr": 1.0}).step(), NotImplementedError, "defines neither"),
    ):
        with pytest.raises(error, match=words):
            call()


# --- state -----------------------------------------------------------------------------------------------------------


def test_state_dict_round_trip_continues_exactly():
    params, optimizer = train(minitorch, "AdamW", {"amsgrad": True}, steps=3)
    copies = [p.detach().clone().requires_grad_() for p in params]
    other = optim.AdamW(copies, lr=9.0)
    saved = optimizer.state_dict()
    other.load_state_dict(saved)
    assert other.param_groups[0]["lr"] == 1e-3 and other.param_groups[0]["params"] == copies
    for p, q in zip(params, copies):
        p.grad, q.grad = minitorch.ones_like(p), minitorch.ones_like(q)
    optimizer.step()
    other.step()
    for p, q in zip(params, copies):
        assert p.tolist() == q.tolist()
    assert optimizer.state[params[0]]["exp_avg"] is not other.state[copies[0]]["exp_avg"]
    assert optimizer.state[params[0]]["exp_avg"].data_ptr() != other.state[copies[0]]["exp_avg"].data_ptr()


def test_loaded_state_takes_the_parameters_dtype():
    _, optimizer = train(minitorch, "Adam", {}, steps=1)
    doubles = [minitorch.zeros(s, dtype=minitorch.float64, requires_grad=True) for s in SHAPES]
    other = optim.Adam(doubles)
    other.load_state_dict(optimizer.state_dict())
    assert other.state[doubles[0]]["exp_avg"].dtype is minitorch.float64
    assert other.state[doubles[0]]["step"].dtype is minitorch.float32


def test_a_state_without_newer_options_gets_the_defaults():
    params, optimizer = train(minitorch, "SGD", {"momentum": 0.9}, steps=1)
    state = optimizer.state_dict()
    del state["param_groups"][0]["maximize"], state["param_groups"][0]["nesterov"]
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["nesterov"] is False and optimizer.param_groups[0]["maximize"] is False
    optimizer.step()


def test_adamw_stays_decoupled_with_adams_state():
    p = one()
    adam = optim.Adam([p], weight_decay=0.1)
    adamw = optim.AdamW([p])
    adamw.load_state_dict(adam.state_dict())
    assert adamw.param_groups[0]["decoupled_weight_decay"] is True and adamw.param_groups[0]["weight_decay"] == 0.1


def test_load_state_dict_errors():
    params, optimizer = train(minitorch, "Adam", {}, steps=1)
    state = optimizer.state_dict()
    two = optim.Adam([{"params": params[:1]}, {"params": params[1:]}])
    with pytest.raises(ValueError, match="a different number of parameter groups: 1, the optimizer has 2"):
        two.load_state_dict(state)
    with pytest.raises(ValueError, match="group 0 has 4 parameters, the optimizer's has 1"):
        optim.Adam(params[:1]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 has shape \(3, 4\), the parameter has shape \(5,\)"):
        optim.Adam([params[1], params[0], *params[2:]]).load_state_dict(state)
    wrong = {**state, "state": {**state["state"], 17: {}}}
    with pytest.raises(ValueError, match="state for parameter 17, which no group contains"):
        optim.Adam(params).load_state_dict(wrong)


def test_a_fast_path_replaces_update():
    from minitorch.backend import reference_ops
    from minitorch.backend.fastpath import fast_path

    class Halve(optim.Optimizer):
        def update(self, xp, p, g, state, group):
            p *= 0.5

    @fast_path(Halve, "numpy")
    class Fast(Halve):
        @staticmethod
        def update_all(entries, group):
            for p, _, _ in entries:
                if p.size > 1:
                    p *= 0.25
            return [entry for entry in entries if entry[0].size == 1]

    small, large = minitorch.ones(1, requires_grad=True), minitorch.ones(2, requires_grad=True)
    small.grad, large.grad = minitorch.ones(1), minitorch.ones(2)
    optimizer = Halve([small, large], {})
    optimizer.step()
    assert small.tolist() == [0.5] and large.tolist() == [0.25, 0.25]
    with reference_ops():
        optimizer.step()
    assert small.tolist() == [0.25] and large.tolist() == [0.125, 0.125]


def test_a_users_optimizer_with_its_own_step():
    class Sign(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    with minitorch.no_grad():
                        p.sub_(p.grad.sign() * group["lr"])
                    self.state[p]["step"] = self.state[p].get("step", 0) + 1

    p = one()
    optimizer = Sign([p], 0.25)
    optimizer.step()
    assert p.item() == 0.75 and optimizer.state_dict()["state"] == {0: {"step": 1}}
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state[p]["step"] == 1 and isinstance(optimizer.state[p]["step"], int)


# --- LAMB ------------------------------------------------------------------------------------------------------------


def lamb_of_the_paper(x, grads, lr, beta1, beta2, eps, decay, low, high):
    """arXiv:1904.00962, algorithm 2, line by line, for one layer."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        r = m_hat / (np.sqrt(v_hat) + eps)
        phi = min(max(np.linalg.norm(x), low), high)
        x = x - lr * phi / np.linalg.norm(r + decay * x) * (r + decay * x)
    return x


@pytest.mark.parametrize("norm_range", [(0.0, math.inf), (0.5, 1.5), (20.0, 30.0)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_follows_the_paper(decay, norm_range):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    grads = [[rng.normal(size=x.shape) for _ in range(25)] for x in starts]
    params = [minitorch.tensor(x, requires_grad=True) for x in starts]
    optimizer = optim.LAMB(params, lr=0.1, betas=(0.8, 0.95), weight_decay=decay, norm_range=norm_range)
    for i in range(25):
        for p, g in zip(params, grads):
            p.grad = minitorch.from_numpy(g[i])
        optimizer.step()
    for p, x, g in zip(params, starts, grads):
        expected = lamb_of_the_paper(x, g, 0.1, 0.8, 0.95, 1e-6, decay, *norm_range)
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-11, atol=1e-12)


def test_lamb_leaves_zero_and_ascends():
    p = minitorch.zeros(2, requires_grad=True)
    p.grad = minitorch.tensor([3.0, -0.1])
    optim.LAMB([p], lr=0.5).step()
    np.testing.assert_allclose(p.tolist(), [-0.5, 0.5], rtol=1e-4)  # Adam's first step: the sign
    p = one(value=2.0, grad=3.0)
    optim.LAMB([p], lr=0.1, weight_decay=0.0, maximize=True).step()
    assert p.item() == pytest.approx(2.2)  # a tenth of its size
    p = minitorch.zeros(1, requires_grad=True)
    p.grad = minitorch.zeros(1)
    optim.LAMB([p]).step()
    assert p.item() == 0.0


@pytest.mark.parametrize("name", [*ALL, "LBFGS"])
def test_runs_on_the_guard(name):
    """The same numbers on an array type that refuses every implicit way to NumPy, as CuPy does; state moves with it."""
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    options = {
        "SGD": {"momentum": 0.9},
        "LBFGS": {"line_search_fn": "strong_wolfe"},
        "Adam": {"amsgrad": True, "weight_decay": 0.1},
    }.get(name, {})
    results = []
    for device in ("cpu", "guard"):
        params = [minitorch.linspace(-1, 2, 6).reshape(2, 3).to(device), minitorch.tensor(0.5).to(device)]
        params = [p.requires_grad_() for p in params]
        optimizer = getattr(optim, name)(params, **options)

        def closure(params=params, optimizer=optimizer):
            optimizer.zero_grad()
            loss = sum(((p - 0.3) ** 4 + p).sum() for p in params)
            loss.backward()
            return loss

        for _ in range(3):
            closure()
            optimizer.step(closure)
            optimizer.load_state_dict(optimizer.state_dict())
        results.append([p.detach().cpu().tolist() for p in params])
        tensors = [(n, t) for n, t in optimizer.state[params[0]].items() if isinstance(t, minitorch.Tensor)]
        assert tensors and all(str(t.device) == ("cpu" if n in optimizer.scalars else device) for n, t in tensors)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    assert results[0][1] == pytest.approx(results[1][1])


# --- a tensor as learning rate, hooks, old states ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_tensor_as_learning_rate(name):
    lr = minitorch.tensor(0.05, dtype=minitorch.float64)
    ours, optimizer = train(minitorch, name, {"lr": lr}, steps=5, dtype="float64")
    expected, _ = train(minitorch, name, {"lr": 0.05}, steps=5, dtype="float64")
    for p, q in zip(ours, expected):
        assert p.tolist() == q.tolist()
    assert optimizer.param_groups[0]["lr"] is lr
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert lr.item() == 0.025 and scheduler.get_last_lr()[0].item() == 0.025 and scheduler.get_last_lr()[0] is not lr
    assert optimizer.param_groups[0]["initial_lr"].item() == 0.05
    other = getattr(optim, name)(ours)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"].item() == 0.025 and other.param_groups[0]["lr"] is not lr


def test_step_hooks():
    seen = []
    p = one()
    optimizer = optim.SGD([p], lr=0.25)
    first = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", o is optimizer, p.item())))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", o is optimizer, p.item())))
    everywhere = optim.optimizer.register_optimizer_step_post_hook(lambda o, *_: seen.append("all"))
    optimizer.step()
    assert seen == [("before", True, 1.0), ("after", True, 0.5), "all"]
    first.remove()
    everywhere.remove()
    optimizer.step()
    assert len(seen) == 4
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((lambda: 7.0,), {}))
    assert optimizer.step() == 7.0  # the closure that the hook put in
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple of \\(new_args, new_kwargs\\), but got 3"):
        optimizer.step()


def test_hooks_run_once_round_a_users_step():
    class Twice(optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            return super().step(closure)

    seen = []
    optimizer = Twice([one()], lr=0.25)
    optimizer.register_step_pre_hook(lambda *_: seen.append(1))
    optimizer.step()
    assert seen == [1] and optimizer.param_groups[0]["params"][0].item() == 0.0


def test_state_dict_hooks():
    seen = []
    optimizer = optim.Adam([one()])
    optimizer.step()
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("save"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "note": 5})
    optimizer.register_state_dict_post_hook(lambda o, state: state.update(more=1), prepend=True)
    state = optimizer.state_dict()
    assert seen == ["save"] and state["note"] == 5 and state["more"] == 1
    optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(state.pop("note")))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    optimizer.load_state_dict(state)
    assert seen == ["save", 5, "loaded"] and state["note"] == 5


def test_numbers_of_old_states_become_tensors():
    """Early versions of PyTorch saved the step count as a Python number."""
    params, optimizer = train(minitorch, "NAdam", {}, steps=3)
    state = optimizer.state_dict()
    plain = {k: {n: v.item() if v.dim() == 0 and n in ("step", "mu_product") else v for n, v in s.items()}
             for k, s in state["state"].items()}  # fmt: skip
    other = optim.NAdam(params)
    other.load_state_dict({**state, "state": plain})
    assert isinstance(other.state[params[0]]["step"], minitorch.Tensor)
    other.step()
    assert other.state[params[0]]["step"].item() == 4.0
    assert other.state[params[0]]["mu_product"].dtype is minitorch.float32
