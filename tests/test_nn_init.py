"""nn.init: the draws are PyTorch's, the distributions are what they say, and layers initialise as PyTorch's do."""

import math

import numpy as np
import pytest

import minitorch
from minitorch import nn
from minitorch.nn import init


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


FILLS = [  # name, shape, arguments
    ("uniform_", (7, 5), {"a": -2.0, "b": 3.0}),
    ("normal_", (7, 5), {"mean": 1.0, "std": 0.3}),
    ("normal_", (3,), {}),  # fewer than 16 numbers take another path
    ("constant_", (3, 2), {"val": 0.25}),
    ("ones_", (3, 2), {}),
    ("zeros_", (3, 2), {}),
    ("eye_", (3, 5), {}),
    ("dirac_", (4, 3, 3), {}),
    ("dirac_", (6, 2, 3, 4), {"groups": 3}),
    ("dirac_", (2, 2, 1, 3, 3), {}),
    ("trunc_normal_", (50, 9), {}),
    ("trunc_normal_", (50, 9), {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 1.5}),  # a round or two of redrawing
    ("trunc_normal_", (40, 9), {"mean": 0.0, "std": 1.0, "a": 2.0, "b": 4.0}),  # the tail: proposals from U(a, b)
    ("trunc_normal_", (40, 9), {"mean": 0.0, "std": 5.0, "a": -0.5, "b": 0.5}),
    ("xavier_uniform_", (7, 5), {"gain": 2.0}),
    ("xavier_normal_", (7, 5, 3), {}),
    ("kaiming_uniform_", (7, 5), {"a": 0.2}),
    ("kaiming_uniform_", (7, 5, 2, 2), {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", (7, 5), {"nonlinearity": "tanh"}),
    ("kaiming_normal_", (7, 5), {"mode": "fan_out", "nonlinearity": "selu"}),
    ("orthogonal_", (6, 4), {"gain": 2.0}),
    ("orthogonal_", (4, 2, 5), {}),
    ("sparse_", (10, 6), {"sparsity": 0.35, "std": 0.5}),
]


@pytest.mark.parametrize("name, shape, options", FILLS, ids=lambda v: v if isinstance(v, str) else None)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parity
def test_draws_equal_pytorch(torch, name, shape, options, dtype):
    torch.manual_seed(3)
    minitorch.manual_seed(3)
    theirs = getattr(torch.nn.init, name)(torch.empty(shape, dtype=getattr(torch, dtype)), **options)
    target = minitorch.empty(shape, dtype=getattr(minitorch, dtype))
    ours = getattr(init, name)(target, **options)
    assert ours is target
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-6, atol=1e-6 if dtype == "float32" else 1e-12)
    # the stream stands at the same place afterwards
    np.testing.assert_array_equal(minitorch.rand(3).numpy(), torch.rand(3).numpy())


@pytest.mark.parametrize(
    "name", ["uniform_", "normal_", "trunc_normal_", "xavier_normal_", "kaiming_uniform_", "orthogonal_"]
)
@pytest.mark.parity
def test_generator_argument(torch, name):
    ours, theirs = minitorch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    a = getattr(init, name)(minitorch.empty(6, 4), generator=ours)
    b = getattr(torch.nn.init, name)(torch.empty(6, 4), generator=theirs)
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-6, atol=1e-6)


@pytest.mark.parity
def test_every_initialiser_of_pytorch_exists(torch):
    theirs = {name for name in torch.nn.init.__all__ if name.endswith("_")} | {"calculate_gain"}
    missing = sorted(name for name in theirs if not hasattr(init, name))
    assert missing == []


@pytest.mark.parity
def test_gains(torch):
    for name in ("linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)


def test_meaning():
    minitorch.manual_seed(0)
    w = minitorch.empty(200, 300)
    bound = math.sqrt(6 / 500)
    init.xavier_uniform_(w)
    assert w.abs().max().item() <= bound and abs(w.std().item() - bound / math.sqrt(3)) < 1e-3
    init.kaiming_normal_(w, nonlinearity="relu")
    assert abs(w.std().item() - math.sqrt(2 / 300)) < 1e-3
    init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu")
    assert abs(w.std().item() - math.sqrt(2 / 200)) < 1e-3
    init.trunc_normal_(w, mean=1.0, std=2.0, a=0.5, b=1.5)
    assert 0.5 <= w.min().item() and w.max().item() <= 1.5
    q = init.orthogonal_(minitorch.empty(4, 6), gain=3.0)
    np.testing.assert_allclose((q @ q.t()).tolist(), 9 * np.eye(4), atol=1e-5)
    s = init.sparse_(minitorch.empty(20, 5), sparsity=0.41)
    assert (s == 0).sum(0).tolist() == [9] * 5
    assert init.eye_(minitorch.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    p = nn.Parameter(minitorch.empty(3, 3))
    assert init.normal_(p) is p and p.is_leaf and p.requires_grad


def test_errors():
    for call, error, words in (
        (lambda: init.calculate_gain("gelu"), ValueError, "Unsupported nonlinearity gelu"),
        (lambda: init.calculate_gain("leaky_relu", True), ValueError, "negative_slope True not a valid number"),
        (lambda: init.xavier_uniform_(minitorch.empty(3)), ValueError, "fewer than 2 dimensions"),
        (lambda: init.kaiming_normal_(minitorch.empty(3, 3), mode="fan"), ValueError, "Mode fan not supported"),
        (lambda: init.eye_(minitorch.empty(3)), ValueError, "Only tensors with 2 dimensions"),
        (lambda: init.dirac_(minitorch.empty(3, 3)), ValueError, "Only tensors with 3, 4, or 5 dimensions"),
        (lambda: init.dirac_(minitorch.empty(3, 3, 1), groups=2), ValueError, "dim 0 must be divisible by groups"),
        (lambda: init.orthogonal_(minitorch.empty(3)), ValueError, "Only tensors with 2 or more dimensions"),
        (lambda: init.sparse_(minitorch.empty(3), 0.1), ValueError, "Only tensors with 2 dimensions"),
    ):
        with pytest.raises(error, match=words):
            call()
    with pytest.warns(UserWarning, match="zero-element tensors is a no-op"):
        init.kaiming_uniform_(minitorch.empty(0, 3))
    with pytest.warns(UserWarning, match="mean is more than 2 std from"):
        init.trunc_normal_(minitorch.empty(3), mean=9.0, std=1.0, a=2.0, b=5.0)


LAYERS = {
    "Linear": lambda nn: nn.Linear(7, 5),
    "Linear without bias": lambda nn: nn.Linear(7, 5, bias=False),
    "Embedding": lambda nn: nn.Embedding(11, 6, padding_idx=-2),
    "LayerNorm": lambda nn: nn.LayerNorm(5),
    "MultiheadAttention": lambda nn: nn.MultiheadAttention(8, 2),
    "MultiheadAttention, all options": lambda nn: nn.MultiheadAttention(8, 2, add_bias_kv=True, kdim=5, vdim=6),
    "MultiheadAttention without bias": lambda nn: nn.MultiheadAttention(8, 2, bias=False),
    "TransformerEncoderLayer": lambda nn: nn.TransformerEncoderLayer(8, 2, 16),
    "TransformerEncoder": lambda nn: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, nn.LayerNorm(8)
    ),
    "Sequential": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parity
def test_layers_initialise_as_pytorch(torch, name):
    torch.manual_seed(11)
    minitorch.manual_seed(11)
    theirs, ours = LAYERS[name](torch.nn), LAYERS[name](nn)
    expected, found = theirs.state_dict(), ours.state_dict()
    assert list(expected) == list(found)
    for key in expected:
        np.testing.assert_allclose(found[key].numpy(), expected[key].numpy(), rtol=2e-6, atol=1e-7, err_msg=key)
    np.testing.assert_array_equal(minitorch.rand(3).numpy(), torch.rand(3).numpy())


def test_layers_start_as_documented():
    minitorch.manual_seed(0)
    layer = nn.Linear(400, 100)
    assert layer.weight.abs().max().item() <= 0.05 and layer.bias.abs().max().item() <= 0.05
    assert layer.weight.abs().max().item() > 0.0499
    table = nn.Embedding(50, 200, padding_idx=3)
    assert table.weight[3].abs().sum().item() == 0 and abs(table.weight.std().item() - 0.99) < 0.02
    norm = nn.LayerNorm(4)
    assert norm.weight.tolist() == [1.0] * 4 and norm.bias.tolist() == [0.0] * 4
    attention = nn.MultiheadAttention(8, 2)
    assert attention.in_proj_bias.abs().sum().item() == 0 and attention.out_proj.bias.abs().sum().item() == 0
    again = nn.Linear(400, 100, dtype=minitorch.float64)
    assert again.weight.dtype is minitorch.float64
