"""Layers and losses: against PyTorch with the same weights, gradients too; and by hand."""

import math

import numpy as np
import pytest

import minitorch
from minitorch import nn


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def numbers(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def compare(ours, theirs, arrays, torch, *, atol=2e-6, **options):
    """Run both modules on the same arrays; compare outputs, and all gradients for one cotangent."""
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    results = []
    for lib, module in ((minitorch, ours), (torch, theirs)):
        tensors = [lib.from_numpy(np.array(a)) for a in arrays]
        for t in tensors:
            if t.is_floating_point():
                t.requires_grad_()
        out = module(*tensors, **options)
        cotangent = lib.from_numpy(numbers(*out.shape, seed=9).astype(np.float32).reshape(tuple(out.shape)))
        (out * cotangent).sum().backward()
        grads = [t.grad for t in tensors if t.requires_grad] + [p.grad for p in module.parameters()]
        results.append([out.detach().numpy()] + [g.numpy() for g in grads])
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=atol)


LAYERS = {
    "Linear": (lambda nn: nn.Linear(4, 3), [numbers(2, 5, 4)]),
    "Linear 1d": (lambda nn: nn.Linear(4, 3, bias=False), [numbers(4)]),
    "Identity": (lambda nn: nn.Identity(1, x=2), [numbers(2, 3)]),
    "Flatten": (lambda nn: nn.Flatten(), [numbers(2, 3, 4)]),
    "Flatten all": (lambda nn: nn.Flatten(0, 1), [numbers(2, 3, 4)]),
    "Unflatten": (lambda nn: nn.Unflatten(1, (2, -1)), [numbers(2, 6)]),
    "LayerNorm": (lambda nn: nn.LayerNorm(6), [numbers(2, 3, 6)]),
    "LayerNorm 2d": (lambda nn: nn.LayerNorm((3, 6), eps=1e-3), [numbers(2, 3, 6)]),
    "LayerNorm plain": (lambda nn: nn.LayerNorm(6, elementwise_affine=False), [numbers(2, 6)]),
    "LayerNorm no bias": (lambda nn: nn.LayerNorm(6, bias=False), [numbers(2, 6)]),
    "Embedding": (lambda nn: nn.Embedding(5, 3), [np.array([[0, 4, 4], [2, 0, 1]])]),
    "Embedding padding": (lambda nn: nn.Embedding(5, 3, padding_idx=4), [np.array([[0, 4, 4], [2, 0, 1]])]),
    "Embedding max_norm": (lambda nn: nn.Embedding(5, 3, max_norm=1.0, norm_type=1.0), [np.array([0, 4, 4, 2])]),
    "ReLU": (lambda nn: nn.ReLU(), [numbers(3, 4)]),
    "GELU": (lambda nn: nn.GELU(), [numbers(3, 4)]),
    "GELU tanh": (lambda nn: nn.GELU("tanh"), [numbers(3, 4)]),
    "Tanh": (lambda nn: nn.Tanh(), [numbers(3, 4)]),
    "Sigmoid": (lambda nn: nn.Sigmoid(), [numbers(3, 4)]),
    "SELU": (lambda nn: nn.SELU(), [numbers(3, 4)]),
    "SiLU": (lambda nn: nn.SiLU(), [numbers(3, 4)]),
    "Mish": (lambda nn: nn.Mish(), [numbers(3, 4)]),
    "Hardtanh": (lambda nn: nn.Hardtanh(-0.5, 0.3), [numbers(3, 4)]),
    "ReLU6": (lambda nn: nn.ReLU6(), [numbers(3, 4) * 6]),
    "LeakyReLU": (lambda nn: nn.LeakyReLU(0.2), [numbers(3, 4)]),
    "ELU": (lambda nn: nn.ELU(0.7), [numbers(3, 4)]),
    "CELU": (lambda nn: nn.CELU(0.7), [numbers(3, 4)]),
    "Softplus": (lambda nn: nn.Softplus(2.0, 1.5), [numbers(3, 4)]),
    "Tanhshrink": (lambda nn: nn.Tanhshrink(), [numbers(3, 4)]),
    "LogSigmoid": (lambda nn: nn.LogSigmoid(), [numbers(3, 4)]),
    "Softsign": (lambda nn: nn.Softsign(), [numbers(3, 4)]),
    "GLU": (lambda nn: nn.GLU(1), [numbers(3, 4)]),
    "Softmin": (lambda nn: nn.Softmin(dim=1), [numbers(3, 4)]),
    "RMSNorm": (lambda nn: nn.RMSNorm(6, eps=1e-3), [numbers(2, 3, 6)]),
    "RMSNorm plain": (lambda nn: nn.RMSNorm((3, 6), elementwise_affine=False), [numbers(2, 3, 6)]),
    "Softmax": (lambda nn: nn.Softmax(dim=1), [numbers(3, 4, 2)]),
    "LogSoftmax": (lambda nn: nn.LogSoftmax(dim=-1), [numbers(3, 4)]),
    "Dropout in evaluation": (lambda nn: nn.Dropout(0.5).eval(), [numbers(3, 4)]),
    "Sequential": (lambda nn: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), [numbers(3, 4)]),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parity
def test_layers_equal_pytorch(torch, name):
    make, arrays = LAYERS[name]
    torch.manual_seed(0)
    compare(make(nn), make(torch.nn), arrays, torch)


@pytest.mark.parity
def test_dropout_draws_as_pytorch(torch):
    if torch.nn.functional.dropout(torch.ones(64), 0.5).shape and torch.backends.mkl.is_available() and intel():
        pytest.skip("on Intel processors PyTorch draws dropout with MKL, which gives other numbers")
    for shape in ((3,), (5, 17), (4, 8, 16)):
        torch.manual_seed(1)
        minitorch.manual_seed(1)
        ours = nn.Dropout(0.3)(minitorch.ones(shape))
        theirs = torch.nn.Dropout(0.3)(torch.ones(shape))
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def intel():
    try:
        with open("/proc/cpuinfo") as info:
            return "GenuineIntel" in info.read()
    except OSError:
        return False


def test_dropout_meaning():
    minitorch.manual_seed(0)
    layer = nn.Dropout(0.25)
    y = layer(minitorch.ones(40_000))
    assert set(np.unique(y.numpy()).tolist()) == {0.0, np.float32(1 / 0.75).item()}
    assert abs(y.mean().item() - 1) < 0.02 and abs((y == 0).float().mean().item() - 0.25) < 0.01
    x = minitorch.ones(10)
    assert layer.eval()(x).tolist() == x.tolist()
    assert nn.Dropout(1.0)(x).tolist() == [0.0] * 10
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1, but got 1.5"):
        nn.Dropout(1.5)


def test_linear_by_hand():
    layer = nn.Linear(2, 3)
    with minitorch.no_grad():
        layer.weight.copy_(minitorch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]]))
        layer.bias.copy_(minitorch.tensor([0.0, 10.0, 1.0]))
    assert layer(minitorch.tensor([[2.0, 4.0]])).tolist() == [[10.0, 6.0, 9.0]]
    assert layer.extra_repr() == "in_features=2, out_features=3, bias=True"


def test_layer_norm_by_hand():
    layer = nn.LayerNorm(4, eps=0.0)
    y = layer(minitorch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    np.testing.assert_allclose(y.tolist(), [np.array([-1.5, -0.5, 0.5, 1.5]) / math.sqrt(1.25)], rtol=1e-6)
    with pytest.raises((RuntimeError, ValueError), match="4"):
        layer(minitorch.ones(2, 3))


def test_embedding_by_hand():
    table = nn.Embedding(3, 2, padding_idx=1)
    ids = minitorch.tensor([[0, 1], [2, 2]])
    y = table(ids)
    assert y.shape == (2, 2, 2) and y[0, 1].tolist() == [0.0, 0.0]
    y.sum().backward()
    assert table.weight.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
    fixed = nn.Embedding.from_pretrained(minitorch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert not fixed.weight.requires_grad and fixed(minitorch.tensor([1])).tolist() == [[3.0, 4.0]]
    assert nn.Embedding(3, 2, padding_idx=-1).padding_idx == 2
    short = nn.Embedding.from_pretrained(minitorch.tensor([[3.0, 4.0], [0.3, 0.4]]), max_norm=1.0)
    np.testing.assert_allclose(short(minitorch.tensor([0, 1])).tolist(), [[0.6, 0.8], [0.3, 0.4]], atol=1e-5)
    np.testing.assert_allclose(short.weight[0].tolist(), [0.6, 0.8], atol=1e-5)  # in place
    for call, error, words in (
        (lambda: nn.Embedding(3, 2, padding_idx=3), AssertionError, "Padding_idx must be within num_embeddings"),
        (lambda: nn.Embedding(3, 2, sparse=True), NotImplementedError, "no sparse gradients"),
        (lambda: nn.Embedding(3, 2, _weight=minitorch.ones(2, 2)), AssertionError, "Shape of weight does not match"),
        (lambda: nn.Embedding.from_pretrained(minitorch.ones(2)), AssertionError, "expected to be 2-dimensional"),
        (lambda: table(minitorch.tensor([3])), IndexError, "3"),
        (lambda: nn.Hardtanh(1.0, 1.0), AssertionError, "must be greater than min_val"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_constructor_options():
    layer = nn.Linear(2, 3, dtype=minitorch.float64, device="cpu")
    assert layer.weight.dtype is minitorch.float64 and layer(minitorch.ones(1, 2, dtype=minitorch.float64)).shape == (
        1,
        3,
    )
    with pytest.raises(TypeError, match="element of type str at pos 1"):
        nn.Unflatten(1, (2, "3"))
    with pytest.raises(TypeError, match="unflattened_size must be a tuple of ints"):
        nn.Unflatten(1, 4)


# --- losses ----------------------------------------------------------------------------------------------------------

PROBABILITIES = 1 / (1 + np.exp(-numbers(4, 3)))
CLASSES = np.array([2, 0, -100, 1])
LOSSES = {
    "L1": (lambda nn, t, r: nn.L1Loss(reduction=r), [numbers(4, 3), numbers(4, 3, seed=1)]),
    "MSE": (lambda nn, t, r: nn.MSELoss(reduction=r), [numbers(4, 3), numbers(4, 3, seed=1)]),
    "SmoothL1": (lambda nn, t, r: nn.SmoothL1Loss(beta=0.5, reduction=r), [numbers(4, 3), numbers(4, 3, seed=1)]),
    "Huber": (lambda nn, t, r: nn.HuberLoss(delta=0.5, reduction=r), [numbers(4, 3), numbers(4, 3, seed=1)]),
    "KLDiv": (lambda nn, t, r: nn.KLDivLoss(reduction=r), [numbers(4, 3), PROBABILITIES]),
    "KLDiv of logarithms": (
        lambda nn, t, r: nn.KLDivLoss(reduction={"sum": "batchmean"}.get(r, r), log_target=True),
        [numbers(4, 3), numbers(4, 3, seed=1)],
    ),
    "NLL": (lambda nn, t, r: nn.NLLLoss(reduction=r), [numbers(4, 3), CLASSES]),
    "NLL weighted": (
        lambda nn, t, r: nn.NLLLoss(weight=t([0.2, 1.0, 3.0]), ignore_index=1, reduction=r),
        [numbers(4, 3), np.array([2, 0, 1, 1])],
    ),
    "CrossEntropy": (lambda nn, t, r: nn.CrossEntropyLoss(reduction=r), [numbers(4, 3), CLASSES]),
    "CrossEntropy 2d": (
        lambda nn, t, r: nn.CrossEntropyLoss(reduction=r),
        [numbers(2, 3, 2), np.array([[2, 0], [-100, 1]])],
    ),
    "CrossEntropy all options": (
        lambda nn, t, r: nn.CrossEntropyLoss(
            weight=t([0.2, 1.0, 3.0]), ignore_index=0, reduction=r, label_smoothing=0.1
        ),
        [numbers(4, 3), np.array([2, 0, 1, 1])],
    ),
    "CrossEntropy probabilities": (
        lambda nn, t, r: nn.CrossEntropyLoss(weight=t([0.2, 1.0, 3.0]), reduction=r, label_smoothing=0.2),
        [numbers(4, 3), PROBABILITIES / PROBABILITIES.sum(1, keepdims=True)],
    ),
    "BCE": (lambda nn, t, r: nn.BCELoss(reduction=r), [PROBABILITIES, (numbers(4, 3, seed=1) > 0).astype(np.float32)]),
    "BCE weighted": (
        lambda nn, t, r: nn.BCELoss(weight=t([0.5, 2.0, 1.0]), reduction=r),
        [PROBABILITIES, (numbers(4, 3, seed=1) > 0).astype(np.float32)],
    ),
    "BCEWithLogits": (
        lambda nn, t, r: nn.BCEWithLogitsLoss(reduction=r),
        [numbers(4, 3) * 30, (numbers(4, 3, seed=1) > 0).astype(np.float32)],
    ),
    "BCEWithLogits pos_weight": (
        lambda nn, t, r: nn.BCEWithLogitsLoss(weight=t([0.5, 2.0, 1.0]), pos_weight=t([3.0, 1.0, 0.1]), reduction=r),
        [numbers(4, 3), (numbers(4, 3, seed=1) > 0).astype(np.float32)],
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parity
def test_losses_equal_pytorch(torch, name, reduction):
    make, arrays = LOSSES[name]
    results = []
    for lib in (minitorch, torch):
        module = make(lib.nn, lib.tensor, reduction)
        x, target = (lib.from_numpy(np.array(a)) for a in arrays)
        x.requires_grad_()
        loss = module(x, target)
        cotangent = lib.from_numpy(np.asarray(numbers(*loss.shape, seed=5), np.float32).reshape(tuple(loss.shape)))
        (loss * cotangent).sum().backward()
        results.append((loss.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*results):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_losses_by_hand():
    logits = minitorch.tensor([[1.0, 1.0], [0.0, math.log(3.0)]])
    target = minitorch.tensor([0, 1])
    loss = nn.CrossEntropyLoss(reduction="none")(logits, target)
    np.testing.assert_allclose(loss.tolist(), [math.log(2), math.log(4 / 3)], rtol=1e-6)
    ignoring = nn.CrossEntropyLoss(ignore_index=1)(logits, target)
    np.testing.assert_allclose(ignoring.item(), math.log(2), rtol=1e-6)
    weighted = nn.CrossEntropyLoss(weight=minitorch.tensor([1.0, 3.0]))(logits, target)
    np.testing.assert_allclose(weighted.item(), (math.log(2) + 3 * math.log(4 / 3)) / 4, rtol=1e-6)
    huge = minitorch.tensor([[1e4, -1e4]])
    assert nn.CrossEntropyLoss()(huge, minitorch.tensor([1])).item() == 2e4
    assert nn.BCEWithLogitsLoss()(huge, minitorch.tensor([[0.0, 1.0]])).item() == 1e4
    assert nn.MSELoss()(minitorch.tensor([1.0, 2.0]), minitorch.tensor([0.0, 0.0])).item() == 2.5
    assert nn.L1Loss(reduction="sum")(minitorch.tensor([1.0, -2.0]), minitorch.tensor([0.0, 0.0])).item() == 3.0
    positive = nn.BCEWithLogitsLoss(pos_weight=minitorch.tensor([3.0]), weight=minitorch.tensor([2.0]), reduction="sum")
    value = positive(minitorch.zeros(2, 1), minitorch.tensor([[1.0], [0.0]])).item()
    assert value == pytest.approx(2 * (3 * math.log(2) + math.log(2)))
    assert nn.MSELoss(reduce=False).reduction == "none" and nn.MSELoss(size_average=False).reduction == "sum"
    assert "weight" in nn.NLLLoss(weight=minitorch.ones(2)).state_dict()
    with pytest.raises((IndexError, ValueError, RuntimeError), match="2"):
        nn.CrossEntropyLoss()(logits, minitorch.tensor([0, 2]))
