"""Activation recomputation: the same gradients, of every order, for less memory."""

import gc
import tracemalloc

import numpy as np
import pytest

import minitorch
from minitorch import nn
from minitorch.utils.checkpoint import checkpoint, checkpoint_sequential

F = nn.functional


@pytest.fixture
def net():
    minitorch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 4)).to(minitorch.float64)


def gradients(net, function, use, x):
    """The value, the gradients, and their gradients, of something with the function inside."""
    minitorch.manual_seed(1)
    h = x * 2
    outside = h.exp()
    y = use(lambda a, more: function(a) * more["w"].sum() + outside, h, {"w": h})
    loss = (F.dropout(y, 0.5) ** 2).sum()  # the stream goes on where it would have
    inputs = [x, *net.parameters()]
    first = minitorch.autograd.grad(loss, inputs, create_graph=True)
    second = minitorch.autograd.grad(sum((g**3).sum() for g in first), inputs)
    return [loss, *first, *second]


@pytest.mark.parametrize("reentrant", [None, True, False])
def test_the_same_gradients(net, reentrant):
    x = minitorch.randn(3, 4, dtype=minitorch.float64, requires_grad=True)

    def use(function, *args):
        return checkpoint(function, *args, use_reentrant=reentrant)

    def nested(a):
        return net(checkpoint(net, a, use_reentrant=reentrant))

    for function, plain in ((net, net), (nested, lambda a: net(net(a)))):
        expected = gradients(net, plain, lambda f, *args: f(*args), x)
        found = gradients(net, function, use, x)
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=1e-12, atol=1e-300)


def test_backward_is_the_same_to_the_bit(net):
    x = minitorch.randn(3, 4, dtype=minitorch.float64, requires_grad=True)
    found = []
    for use in (net, lambda a: checkpoint(net, a)):
        net.zero_grad()
        x.grad = None
        minitorch.manual_seed(2)
        use(x).square().sum().backward()
        found.append([x.grad.tolist(), *(p.grad.tolist() for p in net.parameters()), minitorch.rand(2).tolist()])
    assert found[0] == found[1]


def test_what_goes_in_and_comes_out(net):
    x = minitorch.ones(2, 4, dtype=minitorch.float64)

    def function(a, *, pair, scale=1):
        y = net(a) * scale
        return {"y": y, "more": [pair[0] + y.sum(), a, None, a.argmax()], "n": 3}

    out = checkpoint(function, x, pair=(minitorch.ones(()).double(), 2), scale=3)
    assert out["n"] == 3 and out["more"][1] is x and out["more"][2] is None and not out["more"][3].requires_grad
    (out["y"].sum() * 0 + out["more"][0]).backward()
    assert all(p.grad is not None for p in net.parameters())
    with minitorch.no_grad():
        assert not checkpoint(net, x).requires_grad
    assert not checkpoint(lambda a: a * 2, x).requires_grad
    calls = []
    leaf = minitorch.ones(2, requires_grad=True)
    checkpoint(lambda a: (calls.append(1), a * 3)[1], leaf).sum().backward()
    assert len(calls) == 2 and leaf.grad.tolist() == [3, 3]


def test_it_saves_memory():
    deep = nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(24)])
    x = minitorch.randn(512, 32)
    peaks, found = [], []
    gc.disable()
    try:
        for use in (deep, lambda v: checkpoint_sequential(deep, 6, v, use_reentrant=False)):
            deep.zero_grad()
            tracemalloc.start()
            use(x).sum().backward()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            found.append([p.grad.tolist() for p in deep.parameters()])
    finally:
        gc.enable()
    assert found[0] == found[1]
    assert peaks[1] < 0.6 * peaks[0], peaks


def test_errors(net):
    x = minitorch.ones(2, 4, dtype=minitorch.float64)
    y = checkpoint(net, x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()
    y = checkpoint(net, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    for change in (lambda: net[0].weight.mul_(2), lambda: x.add_(1)):
        y = checkpoint(net, x).sum()
        with minitorch.no_grad():
            change()
        with pytest.raises(RuntimeError, match="gradient of Checkpoint has been modified by an in-place operation"):
            y.backward()
    sizes = iter([2, 1, 2, 1])

    def fickle(a):
        return net(a[: next(sizes)])

    with pytest.raises(RuntimeError, match=r"checkpoint: run again.*output 0 was float64 of \(2, 4\), now.*\(1, 4\)"):
        checkpoint(fickle, x).sum().backward()
    others = iter([net, nn.Linear(4, 4).double()])
    with pytest.raises(RuntimeError, match="uses other tensors than the first time"):
        checkpoint(lambda a: next(others)(a), x).sum().backward()
    with pytest.raises(ValueError, match="determinism_check should be"):
        checkpoint(net, x, determinism_check="strict")
    with pytest.raises(ValueError, match="expected from 1 to 4 segments, got 5"):
        checkpoint_sequential(net, 5, x)
