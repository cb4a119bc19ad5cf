"""Optimizers: 25 steps beside PyTorch's with every option, one step by hand, groups, state, errors."""

import itertools
import math

import numpy as np
import pytest

import minitorch
from minitorch import nn, optim


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


@pytest.mark.parametrize(
    "name, options", RUNS, ids=lambda v: v if isinstance(v, str) else "-".join(f"{k}={x}" for k, x in v.items())
)
@pytest.mark.parity
def test_25_steps_equal_pytorch(torch, name, options):
    ours, our_optimizer = train(minitorch, name, options)
    theirs, their_optimizer = train(torch, name, options)
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-6)
    found, expected = our_optimizer.state_dict(), their_optimizer.state_dict()
    assert [set(g) for g in found["param_groups"]] == [set(g) for g in expected["param_groups"]]
    assert [{k: v for k, v in g.items()} for g in found["param_groups"]] == expected["param_groups"]
    assert found["state"].keys() == expected["state"].keys()
    for number, state in expected["state"].items():
        assert set(found["state"][number]) == set(state)
        for key, value in state.items():
            ours_value = found["state"][number][key]
            assert ours_value.shape == tuple(value.shape) and str(ours_value.dtype)[-7:] == str(value.dtype)[-7:]
            np.testing.assert_allclose(
                ours_value.numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=f"{number} {key}"
            )


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
@pytest.mark.parity
def test_double_precision_equals_pytorch(torch, name):
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    ours, _ = train(minitorch, name, options, dtype="float64")
    theirs, _ = train(torch, name, options, dtype="float64")
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
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


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_every_optimizer_solves_a_small_problem(name):
    minitorch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    x = minitorch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = minitorch.tensor([[0.0], [1.0], [1.0], [0.0]])
    options = {"SGD": {"lr": 0.1, "momentum": 0.9}, "Adagrad": {"lr": 0.2}}.get(name, {"lr": 0.03})
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
    for name in ("SGD", "AdamW", "RMSprop", "Adagrad"):
        _, ours = train(minitorch, name, {}, steps=1)
        _, theirs = train(torch, name, {}, steps=1)
        assert repr(ours) == repr(theirs)


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
        (lambda: optim.SGD([p], lr=minitorch.tensor(0.1)), TypeError, "pass lr.item"),
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
        def accepts(p, g, state, group):
            return p.size > 1

        def update(self, xp, p, g, state, group):
            p *= 0.25

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
                    self.state[p]["seen"] = self.state[p].get("seen", 0) + 1

    p = one()
    optimizer = Sign([p], 0.25)
    optimizer.step()
    assert p.item() == 0.75 and optimizer.state_dict()["state"] == {0: {"seen": 1}}
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state[p]["seen"] == 1
