"""Gradient clipping; parameters as a vector."""

import math

import numpy as np
import pytest

import minitorch
from minitorch import nn
from minitorch.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def parameters(lib, *grads):
    out = []
    for grad in grads:
        p = lib.nn.Parameter(lib.zeros(np.shape(grad)))
        p.grad = lib.tensor(grad)
        out.append(p)
    return out


def test_clip_grad_norm_by_hand():
    a, b = parameters(minitorch, [3.0, 0.0], [[4.0]])
    unused = nn.Parameter(minitorch.ones(2))
    total = clip_grad_norm_([a, unused, b], max_norm=1.0)
    assert total.item() == 5.0 and total.shape == ()
    np.testing.assert_allclose([a.grad.tolist(), b.grad.tolist()[0] + [0.0]], [[0.6, 0.0], [0.8, 0.0]], rtol=1e-5)
    kept = a.grad
    assert clip_grad_norm_(a, 10.0).item() == pytest.approx(0.6)
    assert a.grad is kept and a.grad.tolist()[0] == pytest.approx(0.6)  # a smaller norm stays as it is
    assert clip_grad_norm_([unused], 1.0).item() == 0.0
    (c,) = parameters(minitorch, [1.0, math.inf])
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        clip_grad_norm_([c], 1.0, error_if_nonfinite=True)
    assert clip_grad_norm_([c], 1.0).item() == math.inf


@pytest.mark.parametrize("norm_type", [0, 0.5, 1, 2.0, 3.5, math.inf, -math.inf])
@pytest.mark.parity
def test_clip_grad_norm_equals_pytorch(torch, norm_type):
    grads = [[[0.5, -2.0, 3.0]], [1.5], [-0.25, 4.0]]
    ours, theirs = parameters(minitorch, *grads), parameters(torch, *grads)
    a = clip_grad_norm_(ours, 0.7, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm_type)
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-6)
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6)


def test_clip_grad_norm_of_half_precision_sums_in_single():
    p = nn.Parameter(minitorch.zeros(2000, dtype=minitorch.float16))
    p.grad = minitorch.full((2000,), 10.0, dtype=minitorch.float16)  # the sum of squares, 200000, is beyond float16
    assert clip_grad_norm_([p], 1e9).item() == pytest.approx(math.sqrt(2000) * 10, rel=1e-3)


def test_clip_grad_value():
    a, b = parameters(minitorch, [3.0, -0.1], [[-4.0]])
    clip_grad_value_([a, b, nn.Parameter(minitorch.ones(1))], 0.5)
    assert a.grad.tolist() == pytest.approx([0.5, -0.1]) and b.grad.tolist() == [[-0.5]]


def test_parameters_as_a_vector():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    vector = parameters_to_vector(net.parameters())
    assert vector.shape == (13,) and vector[:2].tolist() == net[0].weight[0].tolist()
    (vector**2).sum().backward()
    np.testing.assert_allclose(net[1].bias.grad.tolist(), (2 * net[1].bias).tolist())
    vector_to_parameters(minitorch.arange(13).float(), net.parameters())
    assert net[0].weight.tolist() == [[0, 1], [2, 3], [4, 5]] and net[1].bias.tolist() == [12]
    assert isinstance(net[0].weight, nn.Parameter) and net[0].weight.requires_grad and net[0].weight.is_leaf
    with pytest.raises(ValueError, match="the vector has 5 elements, the parameters have 13"):
        vector_to_parameters(minitorch.ones(5), net.parameters())
    with pytest.raises(TypeError, match="expected Tensor, but got: list"):
        vector_to_parameters([1.0], net.parameters())
