"""Module: registration, walking, hooks, state dictionaries, conversion, printing; and the containers."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import minitorch
from minitorch import nn


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def tensor(*values, **options):
    return minitorch.tensor(list(values), **options)


def make_net(nn):
    """The same model in minitorch and in PyTorch."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.norm = nn.LayerNorm(4)
            self.blocks = nn.ModuleList([nn.Linear(4, 4, bias=False) for _ in range(2)])
            self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Sequential(nn.GELU(), nn.Linear(4, 2))})
            self.tied = nn.Linear(4, 4)
            self.tied.weight = self.blocks[0].weight
            self.drop = nn.Dropout(0.1)
            self.empty = None
            self.register_parameter("nothing", None)

        def forward(self, x):
            x = self.norm(self.first(x))
            for block in self.blocks:
                x = block(x)
            return self.heads["a"](self.tied(x))

    net = Net()
    lib = minitorch if nn is minitorch.nn else pytest.importorskip("torch")
    net.register_buffer("running", lib.zeros(2))
    net.register_buffer("scratch", lib.ones(3), persistent=False)
    return net


# --- registration ----------------------------------------------------------------------------------------------------


def test_parameters_are_found_in_order_and_once():
    net = make_net(nn)
    names = [name for name, _ in net.named_parameters()]
    assert names == [
        "first.weight", "first.bias", "norm.weight", "norm.bias", "blocks.0.weight", "blocks.1.weight",
        "heads.a.weight", "heads.a.bias", "heads.b.1.weight", "heads.b.1.bias", "tied.bias",
    ]  # fmt: skip
    assert len(list(net.parameters())) == len(names)
    both = [name for name, _ in net.named_parameters(remove_duplicate=False)]
    assert both.index("tied.weight") == both.index("tied.bias") - 1 and len(both) == len(names) + 1
    assert [name for name, _ in net.named_parameters(prefix="x", recurse=False)] == []
    assert [name for name, _ in net.named_buffers()] == ["running", "scratch"]
    assert [name for name, _ in net.named_children()] == ["first", "norm", "blocks", "heads", "tied", "drop"]
    assert [name for name, _ in net.named_modules()][:3] == ["", "first", "norm"]


@pytest.mark.parity
def test_walks_equal_pytorch(torch):
    ours, theirs = make_net(nn), make_net(torch.nn)
    for walk in ("named_parameters", "named_buffers", "named_children", "named_modules"):
        assert [name for name, _ in getattr(ours, walk)()] == [name for name, _ in getattr(theirs, walk)()], walk
    for options in ({"remove_duplicate": False}, {"prefix": "p", "recurse": False}):
        assert [n for n, _ in ours.named_parameters(**options)] == [n for n, _ in theirs.named_parameters(**options)]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert dict(ours.state_dict()._metadata) == dict(theirs.state_dict()._metadata)
    assert repr(ours) == repr(theirs)
    assert [n for n in dir(ours) if n in ("first", "running", "nothing", "heads")] == [
        "first",
        "heads",
        "nothing",
        "running",
    ]


def test_a_shared_module_is_walked_once():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, shared)
    assert [name for name, _ in net.named_modules()] == ["", "0"]
    assert [name for name, _ in net.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert len(list(net.children())) == 1


def test_reassigning_moves_a_name_between_kinds():
    net = nn.Module()
    net.x = nn.Parameter(tensor(1.0))
    net.x = nn.Parameter(tensor(2.0))
    assert list(net._parameters) == ["x"]
    del net.x
    net.x = nn.Linear(1, 1)
    assert "x" in net._modules
    net.x = nn.Parameter(tensor(3.0))
    assert "x" in net._parameters and "x" not in net._modules
    net.x = None
    assert net.x is None and net._parameters == {"x": None} and list(net.parameters()) == []
    net.y = 5
    net.y = nn.Parameter(tensor(1.0))
    assert "y" not in net.__dict__ and net.y.requires_grad
    net.z = nn.Buffer(tensor(1.0), persistent=False)
    assert list(net._buffers) == ["z"] and "z" not in net.state_dict()
    net.z = tensor(2.0)
    assert net._buffers["z"].item() == 2.0 and "z" not in net.state_dict()
    del net.z, net.y
    assert not hasattr(net, "z") and not hasattr(net, "y")
    plain = nn.Module()
    plain.t = tensor(1.0)  # a plain tensor is an attribute like any other
    assert list(plain.state_dict()) == []


def test_registration_errors():
    net = nn.Module()
    net.p = nn.Parameter(tensor(1.0))
    net.m = nn.Linear(1, 1)
    net.register_buffer("b", tensor(1.0))
    with pytest.raises(TypeError, match=r"cannot assign 'Tensor' as parameter 'p' \(nn.Parameter or None expected\)"):
        net.p = tensor(1.0)
    with pytest.raises(TypeError, match="cannot assign 'int' as child module 'm'"):
        net.m = 3
    with pytest.raises(TypeError, match="cannot assign 'float' as buffer 'b'"):
        net.b = 1.0
    with pytest.raises(KeyError, match="attribute 'forward' already exists"):
        net.register_parameter("forward", nn.Parameter(tensor(1.0)))
    with pytest.raises(KeyError, match="buffer name can.*t contain"):
        net.register_buffer("a.b", tensor(1.0))
    with pytest.raises(KeyError, match="module name can.*t be empty string"):
        net.add_module("", nn.Linear(1, 1))
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        net.add_module("x", 3)
    with pytest.raises(TypeError, match="cannot assign 'Tensor' object to parameter 'x'"):
        net.register_parameter("x", tensor(1.0))
    with pytest.raises(TypeError, match="buffer name should be a string. Got int"):
        net.register_buffer(3, tensor(1.0))
    with pytest.raises(TypeError, match="needs a Tensor, got list"):
        nn.Parameter([1.0])
    with pytest.raises(RuntimeError, match="Only Tensors of floating point dtype can require gradients"):
        nn.Parameter(tensor(1, 2))
    assert not nn.Parameter(tensor(1, 2), requires_grad=False).requires_grad
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'q'"):
        _ = net.q

    class Forgetful(nn.Module):
        def __init__(self, value):
            self.value = value

    with pytest.raises(AttributeError, match="cannot assign module before Module.__init__"):
        Forgetful(nn.Linear(1, 1))
    with pytest.raises(AttributeError, match="cannot assign parameters before Module.__init__"):
        Forgetful(nn.Parameter(tensor(1.0)))
    with pytest.raises(AttributeError, match=r"has not called super\(\).__init__"):
        Forgetful(3)(1)
    with pytest.raises(NotImplementedError, match=r'Module \[Module\] is missing the required "forward" function'):
        net(1)


def test_a_parameter_shares_memory_and_is_a_leaf():
    x = tensor(1.0, 2.0, requires_grad=True)
    p = nn.Parameter(x * 2)
    assert p.is_leaf and p.requires_grad and p.grad_fn is None
    data = tensor(1.0, 2.0)
    p = nn.Parameter(data)
    data.fill_(7.0)
    assert p.tolist() == [7.0, 7.0]
    assert nn.Parameter(data, requires_grad=False).requires_grad is False
    assert isinstance(p, minitorch.Tensor) and repr(p).startswith("Parameter containing:\ntensor(")
    y = p * p
    data.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.sum().backward()


def test_get_submodule_and_friends():
    net = make_net(nn)
    assert net.get_submodule("") is net
    assert net.get_submodule("heads.b.1") is net.heads["b"][1]
    assert net.get_parameter("heads.b.1.weight") is net.heads["b"][1].weight
    assert net.get_buffer("running") is net.running
    for call, words in (
        (lambda: net.get_submodule("heads.c"), "ModuleDict has no attribute `c`"),
        (lambda: net.get_submodule("first.weight"), "`weight` is not an nn.Module"),
        (lambda: net.get_parameter("first.running"), "Linear has no attribute `running`"),
        (lambda: net.get_parameter("running"), "`running` is not an nn.Parameter"),
        (lambda: net.get_buffer("first.weight"), "`weight` is not a buffer"),
    ):
        with pytest.raises(AttributeError, match=words):
            call()
    net.set_submodule("heads.b.1", nn.Identity())
    assert isinstance(net.heads["b"][1], nn.Identity)
    with pytest.raises(AttributeError, match="Net has no attribute `missing`"):
        net.set_submodule("missing", nn.Identity(), strict=True)
    with pytest.raises(ValueError, match="is not an nn.Module"):
        net.set_submodule("first", 3)


# --- changing the tree -----------------------------------------------------------------------------------------------


def test_train_eval_apply_and_freezing():
    net = make_net(nn)
    assert net.training and net.heads["b"][0].training
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        net.train(1)
    order = []
    net.apply(lambda m: order.append(type(m).__name__))
    assert order[-1] == "Net" and order[0] == "Linear" and len(order) == len(list(net.modules()))
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.first.requires_grad_()
    assert sum(p.requires_grad for p in net.parameters()) == 2


def test_zero_grad():
    net = nn.Linear(2, 1)
    net(minitorch.ones(3, 2)).sum().backward()
    assert net.weight.grad.tolist() == [[3.0, 3.0]]
    net.zero_grad(set_to_none=False)
    assert net.weight.grad.tolist() == [[0.0, 0.0]]
    net.zero_grad()
    assert net.weight.grad is None


def test_conversion_keeps_the_parameter_objects():
    net = make_net(nn)
    net.register_buffer("count", tensor(1, 2))
    first = net.first.weight
    net.first(minitorch.ones(1, 3)).sum().backward()
    before = first.numpy(force=True).copy()
    assert net.double() is net and net.first.weight is first
    assert first.dtype is minitorch.float64 and first.grad.dtype is minitorch.float64 and first.requires_grad
    assert net.running.dtype is minitorch.float64 and net.count.dtype is minitorch.int64
    np.testing.assert_array_equal(first.numpy(force=True), before)
    net.half()
    assert {p.dtype for p in net.parameters()} == {minitorch.float16}
    net.to(minitorch.float32)
    assert {p.dtype for p in net.parameters()} == {minitorch.float32} and net.count.dtype is minitorch.int64
    net.to("cpu", dtype=minitorch.float64)
    net.to(tensor(1.0))
    assert {p.dtype for p in net.parameters()} == {minitorch.float32}
    assert net.tied.weight is net.blocks[0].weight
    net.bfloat16()
    assert first.dtype is minitorch.bfloat16
    net.float().cpu()
    assert first.dtype is minitorch.float32 and first.is_leaf
    with pytest.raises(
        TypeError, match="nn.Module.to only accepts floating point dtypes, but got desired dtype=.*int32"
    ):
        net.to(minitorch.int32)
    optimizer = minitorch.optim.SGD(net.parameters(), lr=1.0)
    net.double()
    net.first(minitorch.ones(1, 3, dtype=minitorch.float64)).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(net.first.bias.numpy(force=True), net.first.bias.numpy(force=True))


def test_deepcopy_is_independent_and_keeps_ties():
    net = make_net(nn)
    twin = copy.deepcopy(net)
    assert twin.tied.weight is twin.blocks[0].weight and twin.tied.weight is not net.tied.weight
    with minitorch.no_grad():
        twin.first.weight.zero_()
    assert net.first.weight.abs().sum().item() > 0
    assert isinstance(twin.first.weight, nn.Parameter) and twin.first.weight.requires_grad


# --- state dictionaries ----------------------------------------------------------------------------------------------


def test_state_dict_shares_memory_and_round_trips():
    net, other = make_net(nn), make_net(nn)
    state = net.state_dict()
    assert "scratch" not in state and "nothing" not in state and "running" in state
    assert not any(t.requires_grad for t in state.values())
    assert net.state_dict(keep_vars=True)["first.weight"] is net.first.weight
    assert list(net.first.state_dict(prefix="p.")) == ["p.weight", "p.bias"]
    kept = other.first.weight
    result = other.load_state_dict(state)
    assert (
        result.missing_keys == [] and result.unexpected_keys == [] and repr(result) == "<All keys matched successfully>"
    )
    assert other.first.weight is kept
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key].numpy(), value.numpy())
    state["first.bias"].fill_(5.0)
    assert net.first.bias.tolist() == [5.0] * 4 and other.first.bias.tolist() != [5.0] * 4


def test_load_state_dict_reports_everything_at_once():
    net = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.Linear(3, 1)))
    state = net.state_dict()
    del state["a.bias"]
    state["b.weight"] = minitorch.zeros(2, 3)
    state["a.c.d"] = state["z"] = minitorch.zeros(1)
    state["b.bias"] = [1.0]
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    assert text.startswith('Error(s) in loading state_dict for Sequential:\n\tMissing key(s) in state_dict: "a.bias". ')
    assert 'Unexpected key(s) in state_dict: "z", "a.c.d". ' in text
    assert (
        "size mismatch for b.weight: copying a param with shape minitorch.Size([2, 3]) from checkpoint, "
        "the shape in current model is minitorch.Size([1, 3])." in text
    )
    assert "expected Tensor or Tensor-like object from checkpoint but received <class 'list'>" in text
    with pytest.raises(RuntimeError, match="size mismatch") as error:
        net.load_state_dict(state, strict=False)
    assert "Missing" not in str(error.value)
    del state["b.weight"], state["b.bias"]
    result = net.load_state_dict(state, strict=False)
    assert set(result.missing_keys) == {"a.bias", "b.weight", "b.bias"} and set(result.unexpected_keys) == {
        "z",
        "a.c.d",
    }
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        net.load_state_dict([1])


@pytest.mark.parity
def test_load_state_dict_errors_equal_pytorch(torch):
    ours, theirs = make_net(nn), make_net(torch.nn)
    bad = {key: value.numpy() for key, value in theirs.state_dict().items()}
    del bad["norm.bias"], bad["blocks.1.weight"]
    bad["first.weight"] = np.zeros((4, 4), np.float32)
    bad["blocks.7.weight"] = bad["extra"] = bad["heads.a.weight.more"] = np.zeros(1, np.float32)

    def message(net, make):
        with pytest.raises(RuntimeError) as error:
            net.load_state_dict({key: make(value) for key, value in bad.items()})
        return str(error.value)

    expected = message(theirs, torch.from_numpy).replace("torch.Size", "minitorch.Size")
    assert message(ours, minitorch.from_numpy) == expected


@pytest.mark.parity
def test_loads_arrays_and_pytorch_tensors(torch):
    ours, theirs = make_net(nn), make_net(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[key].numpy(), value.numpy())
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(
        ours(minitorch.from_numpy(x)).numpy(force=True), theirs(torch.from_numpy(x)).detach().numpy(), atol=1e-5
    )


def test_load_with_assign_and_other_dtype():
    net = nn.Linear(2, 1)
    double = {
        "weight": minitorch.ones(1, 2, dtype=minitorch.float64),
        "bias": minitorch.zeros(1, dtype=minitorch.float64),
    }
    net.load_state_dict(double)
    assert net.weight.dtype is minitorch.float32 and net.weight.tolist() == [[1.0, 1.0]]
    net.weight.requires_grad_(False)
    net.load_state_dict(double, assign=True)
    assert net.weight.dtype is minitorch.float64 and isinstance(net.weight, nn.Parameter)
    assert not net.weight.requires_grad and net.bias.requires_grad


def test_extra_state_and_load_hooks():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.new = nn.Parameter(minitorch.zeros(1))

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    source, target = Counter(), Counter()
    source.calls = 3
    state = source.state_dict()
    assert state["_extra_state"] == {"calls": 3}
    state["old"] = state.pop("new")

    def rename(module, state_dict, prefix, *rest):
        state_dict[prefix + "new"] = state_dict.pop(prefix + "old")

    seen = []
    target.register_load_state_dict_pre_hook(rename)
    target.register_load_state_dict_post_hook(lambda module, keys: seen.append(keys))
    target.load_state_dict(state)
    assert target.calls == 3 and len(seen) == 1
    assert "old" in state  # the caller's dictionary stays as it was
    with pytest.raises(RuntimeError, match='Missing key.s. in state_dict: "_extra_state"'):
        Counter().load_state_dict({"new": minitorch.zeros(1)})
    with pytest.raises(RuntimeError, match='Unexpected key.s. in state_dict: "_extra_state"'):
        nn.Linear(1, 1).load_state_dict({**nn.Linear(1, 1).state_dict(), "_extra_state": 1})
    source.register_state_dict_post_hook(lambda module, state, prefix, meta: state.pop("_extra_state") and None)
    assert list(source.state_dict()) == ["new"]


# --- hooks -----------------------------------------------------------------------------------------------------------


def test_forward_hooks_see_and_change():
    layer = nn.Linear(2, 2)
    calls = []
    with layer.register_forward_pre_hook(lambda m, args: calls.append("pre") or (args[0] * 0,)):
        handle = layer.register_forward_hook(lambda m, args, out: calls.append(args[0].tolist()) or out + 1)
        y = layer(minitorch.ones(1, 2))
    np.testing.assert_allclose(y.tolist(), (layer.bias + 1).unsqueeze(0).tolist())
    assert calls == ["pre", [[0.0, 0.0]]]
    handle.remove()
    handle.remove()
    layer(minitorch.ones(1, 2))
    assert len(calls) == 2

    order = []
    layer.register_forward_hook(lambda *a: order.append(1) and None)
    layer.register_forward_hook(lambda *a: order.append(2) and None, prepend=True)
    layer(minitorch.ones(1, 2))
    assert order == [2, 1]


def test_hooks_with_keyword_arguments():
    class Scale(nn.Module):
        def forward(self, x, factor=1.0):
            return x * factor

    m = Scale()
    m.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] * 2}), with_kwargs=True)
    seen = []
    m.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs["factor"]), with_kwargs=True)
    assert m(tensor(1.0), factor=3.0).item() == 6.0 and seen == [6.0]
    m.register_forward_pre_hook(lambda m, args, kwargs: 5, with_kwargs=True)
    with pytest.raises(RuntimeError, match="forward pre-hook must return None or a tuple of"):
        m(tensor(1.0), factor=3.0)


def test_the_old_backward_hook_names_the_new_one():
    with pytest.raises(NotImplementedError, match="use register_full_backward_hook"):
        nn.Linear(1, 1).register_backward_hook(lambda *a: None)


def test_always_called_hooks_run_when_forward_raises():
    class Broken(nn.Module):
        def forward(self, x):
            raise KeyError("broken")

    m, seen = Broken(), []
    m.register_forward_hook(lambda *a: seen.append("no"))
    m.register_forward_hook(lambda *a: seen.append("yes"), always_call=True)
    with pytest.raises(KeyError, match="broken"):
        m(1)
    assert seen == ["yes"]

    m, seen = nn.Identity(), []
    m.register_forward_hook(lambda *a: seen.append("once"), always_call=True)
    m.register_forward_hook(lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        m(1)
    assert seen == ["once"]


def backward_hook_scenario(lib):
    """Runs the same program on minitorch and PyTorch and returns what its hooks saw."""
    seen = []

    def show(grads):
        return [None if g is None else [round(float(v), 4) for v in g.reshape(-1)] for g in grads]

    class Two(lib.nn.Module):
        def forward(self, a, b, k):
            return a * b * k, (a + b).sum()

    m = Two()
    m.register_full_backward_hook(lambda m, gi, go: seen.append(("hook", show(gi), show(go))))
    a = lib.tensor([1.0, 2.0], requires_grad=True)
    b = lib.tensor([3.0, 4.0])
    y, s = m(a, b, 2)
    (y.sum() * 3 + s).backward()
    seen.append(a.grad.tolist())

    m = lib.nn.Linear(2, 1, bias=False)
    with lib.no_grad():
        m.weight.fill_(2.0)
    m.register_full_backward_pre_hook(lambda m, go: (go[0] * 10,))
    m.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,))
    m.register_full_backward_hook(lambda m, gi, go: seen.append(("second", show(gi), show(go))))
    x = lib.tensor([[1.0, 5.0]], requires_grad=True)
    m(x).sum().backward()
    seen += [x.grad.tolist(), m.weight.grad.tolist()]
    y = m(x)
    lib.autograd.grad(y.sum(), [x])
    return seen


def test_full_backward_hooks():
    assert backward_hook_scenario(minitorch) == [
        ("hook", [[19.0, 25.0], [0.0, 0.0], None], [[3.0, 3.0], [1.0]]),
        [19.0, 25.0],
        ("second", [[21.0, 21.0]], [[10.0]]),
        [[21.0, 21.0]],
        [[10.0, 50.0]],
        ("second", [[21.0, 21.0]], [[10.0]]),
    ]


@pytest.mark.parity
def test_full_backward_hooks_equal_pytorch(torch):
    assert backward_hook_scenario(minitorch) == backward_hook_scenario(torch)


def test_full_backward_hook_without_gradient_at_the_inputs():
    m, seen = nn.Linear(2, 1), []
    m.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    m(minitorch.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]
    assert m.weight.grad.tolist() == [[1.0, 1.0]]
    with minitorch.no_grad():
        m(minitorch.ones(1, 2))
    bad = nn.Linear(2, 1)
    bad.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    x = minitorch.ones(1, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2, but expected 1"):
        bad(x).sum().backward()
    strange = nn.Module()
    strange.forward = lambda x: {"y": x}
    strange.register_full_backward_hook(lambda *a: None)
    with pytest.warns(UserWarning, match="module output should be a Tensor or a tuple of Tensors"):
        strange(x)


def second_order_scenario(lib):
    m, seen = lib.nn.Tanh(), []
    m.register_full_backward_hook(lambda m, gi, go: seen.append(go[0].tolist()))
    x = lib.tensor([0.5], requires_grad=True)
    (g,) = lib.autograd.grad(m(x).sum(), [x], create_graph=True)
    g.sum().backward()
    return x.grad.tolist(), seen


def test_backward_hooks_and_second_order():
    grad, seen = second_order_scenario(minitorch)
    t = np.tanh(0.5)
    np.testing.assert_allclose(grad, [-2 * t * (1 - t * t)], rtol=1e-5)
    assert seen == [[1.0]]  # the second pass reaches the input from inside the module, past the output: no hook


@pytest.mark.parity
def test_backward_hooks_and_second_order_equal_pytorch(torch):
    ours, theirs = second_order_scenario(minitorch), second_order_scenario(torch)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    assert ours[1] == theirs[1]


# --- containers ------------------------------------------------------------------------------------------------------


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    x = minitorch.ones(4, 2)
    np.testing.assert_array_equal(net(x).tolist(), c(b(a(x))).tolist())
    assert len(net) == 3 and net[-1] is c and list(net[:2]) == [a, b] and isinstance(net[1:], nn.Sequential)
    assert [name for name, _ in nn.Sequential(OrderedDict(first=a, second=b)).named_children()] == ["first", "second"]
    net.append(b).insert(0, b)
    assert list(net) == [b, a, b, c, b] and list(net._modules) == ["0", "1", "2", "3", "4"]
    assert net.pop(0) is b and list(net._modules) == ["0", "1", "2", "3"]
    del net[1:3]
    assert list(net) == [a, b] and list(net._modules) == ["0", "1"]
    net[1] = c
    assert list(net) == [a, c]
    assert list(net + nn.Sequential(b)) == [a, c, b] and list(net * 2) == [a, c, a, c] and list(2 * net) == [a, c, a, c]
    net += nn.Sequential(b)
    assert list(net) == [a, c, b]
    for call, error, words in (
        (lambda: net[7], IndexError, "index 7 is out of range"),
        (lambda: net + [a], ValueError, "supports only objects of Sequential class"),
        (lambda: net * 0, ValueError, "Non-positive multiplication factor 0"),
        (lambda: nn.Sequential(3), TypeError, "int is not a Module subclass"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_module_list_and_dict():
    layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    assert len(layers) == 3 and len(list(layers.parameters())) == 6 and isinstance(layers[:2], nn.ModuleList)
    last = layers[-1]
    layers.insert(0, nn.ReLU())
    assert layers[3] is last and layers.pop(-1) is last and len(layers) == 3
    layers += [nn.Tanh()]
    layers.append(last).extend([nn.GELU()])
    assert [type(m).__name__ for m in layers] == ["ReLU", "Linear", "Linear", "Tanh", "Linear", "GELU"]
    del layers[0]
    assert list(layers._modules) == ["0", "1", "2", "3", "4"]
    assert len(layers + [nn.ReLU()]) == 6
    with pytest.raises(IndexError, match="index 9 is out of range"):
        layers[9]
    with pytest.raises(TypeError, match="ModuleList.extend should be called with an iterable, but got int"):
        layers.extend(3)

    table = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Linear(1, 2)})
    assert list(table) == ["b", "a"] and "a" in table and len(table) == 2 and len(list(table.parameters())) == 2
    table["c"] = nn.Tanh()
    table.update([("d", nn.GELU())])
    assert list(table.keys()) == ["b", "a", "c", "d"] and table.pop("b").extra_repr() == ""
    del table["c"]
    assert [k for k, _ in table.items()] == ["a", "d"] and len(list(table.values())) == 2
    table.clear()
    assert len(table) == 0
    with pytest.raises(ValueError, match="ModuleDict update sequence element #0 has length 1; 2 is required"):
        table.update([("d",)])


def test_parameter_containers():
    values = nn.ParameterList([minitorch.ones(2), nn.Parameter(minitorch.zeros(1)), "text"])
    assert len(values) == 3 and len(list(values.parameters())) == 2 and values[-1] == "text"
    assert isinstance(values[0], nn.Parameter) and [type(v).__name__ for v in values[:2]] == ["Parameter", "Parameter"]
    values[0] = minitorch.ones(5)
    values += [minitorch.ones(1)]
    assert values[0].shape == (5,) and len(values) == 4 and [n for n, _ in values.named_parameters()] == ["0", "1", "3"]
    with pytest.raises(RuntimeError, match="ParameterList should not be called"):
        values()
    with pytest.raises(TypeError, match="ParameterList.extend should be called with an iterable, but got Tensor"):
        values.extend(minitorch.ones(2))

    table = nn.ParameterDict({"w": minitorch.ones(2), "n": 3})
    assert list(table) == ["w", "n"] and isinstance(table["w"], nn.Parameter) and table["n"] == 3
    assert table.setdefault("v", minitorch.zeros(1)) is table["v"] and table.get("none") is None
    assert len(list(table.parameters())) == 2 and table.popitem()[0] == "v" and table.pop("n") == 3
    assert list((table | {"z": minitorch.ones(1)}).keys()) == ["w", "z"] and len(table) == 1
    with pytest.raises(KeyError, match="missing"):
        table["missing"]


@pytest.mark.parity
def test_printing_equals_pytorch(torch):
    def build(lib):
        nn = lib.nn
        return [
            nn.Sequential(
                nn.Linear(2, 3, bias=False), nn.ReLU(inplace=True), nn.Identity(), nn.Flatten(), nn.Unflatten(1, (2, 1))
            ),
            nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)]),
            nn.ModuleList(),
            nn.ModuleDict(
                {"a": nn.Embedding(4, 2, padding_idx=1, max_norm=1.0), "b": nn.LayerNorm((2, 3), bias=False)}
            ),
            nn.MultiheadAttention(4, 2),
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(4, 2, 8), 3, norm=nn.LayerNorm(4), enable_nested_tensor=False
            ),
            nn.Softmax(dim=-1),
            nn.Sequential(
                nn.SELU(), nn.SiLU(True), nn.Mish(), nn.Hardtanh(-1, 2, True), nn.ReLU6(True), nn.LeakyReLU()
            ),
            nn.Sequential(nn.ELU(inplace=True), nn.CELU(2.0), nn.Softplus(), nn.Tanhshrink(), nn.GLU(), nn.Softmin(1)),
            nn.RMSNorm(3),
            nn.SmoothL1Loss(),
            nn.LogSoftmax(1),
            nn.GELU("tanh"),
            nn.Sigmoid(),
            nn.Dropout(0.25),
            nn.CrossEntropyLoss(),
            nn.BCEWithLogitsLoss(),
            nn.MSELoss(),
            nn.ParameterList([lib.ones(2, 3)]),
            nn.LayerNorm(3, elementwise_affine=False),
        ]

    for ours, theirs in zip(build(minitorch), build(torch)):
        expected = repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear").replace("torch.", "minitorch.")
        assert repr(ours) == expected
