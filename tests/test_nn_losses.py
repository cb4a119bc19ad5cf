"""Activations with corners, distances, bags and the losses of nn: against PyTorch from one seed, gradients too."""

import warnings

import numpy as np
import pytest

import minitorch
from minitorch import nn


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


RNG = np.random.default_rng(5)


def x(*shape):
    """Away from the corners at 0, 0.5, 1 and 3."""
    values = RNG.uniform(0.05, 0.4, shape) + RNG.integers(-4, 5, shape) * 0.5
    return np.asarray(values, np.float32)


def ids(*shape, high=4, low=0):
    return RNG.integers(low, high, shape)


def signs(*shape):
    return RNG.choice([-1.0, 1.0], shape).astype(np.float32)


POSITIVE = np.abs(x(3, 4)) + 0.1
LABELS = np.array([[3, 0, -1, 1], [2, -1, -1, -1], [0, 1, 2, 3]])

# label: (constructor, inputs); floating inputs are differentiated, but for those after a None
MODULES = {
    "Hardshrink": (lambda n, t: n.Hardshrink(), [x(3, 4)]),
    "Hardshrink(1.1)": (lambda n, t: n.Hardshrink(1.1), [x(3, 4)]),
    "Softshrink": (lambda n, t: n.Softshrink(0.7), [x(3, 4)]),
    "Hardsigmoid": (lambda n, t: n.Hardsigmoid(), [x(3, 4) * 2]),
    "Hardswish": (lambda n, t: n.Hardswish(), [x(3, 4) * 2]),
    "Threshold": (lambda n, t: n.Threshold(0.5, -3.0), [x(3, 4)]),
    "PReLU": (lambda n, t: n.PReLU(), [x(3, 4)]),
    "PReLU of channels": (lambda n, t: n.PReLU(4, init=0.1), [x(3, 4, 2)]),
    "Softmax2d": (lambda n, t: n.Softmax2d(), [x(2, 3, 2, 2)]),
    "CosineSimilarity": (lambda n, t: n.CosineSimilarity(dim=0, eps=1e-6), [x(3, 4), x(3, 4)]),
    "PairwiseDistance": (lambda n, t: n.PairwiseDistance(1.5, keepdim=True), [x(3, 4), x(3, 4)]),
    "Bilinear": (lambda n, t: n.Bilinear(3, 2, 4), [x(5, 3), x(5, 2)]),
    "Bilinear without bias": (lambda n, t: n.Bilinear(3, 2, 4, bias=False), [x(2, 5, 3), x(2, 5, 2)]),
    "EmbeddingBag": (lambda n, t: n.EmbeddingBag(4, 3), [ids(2, 5)]),
    "EmbeddingBag sum": (lambda n, t: n.EmbeddingBag(4, 3, mode="sum"), [ids(6), np.array([0, 2]), None, x(6)]),
    "EmbeddingBag max": (lambda n, t: n.EmbeddingBag(4, 3, mode="max", padding_idx=-1), [ids(6), np.array([0, 2])]),
    "EmbeddingBag last": (lambda n, t: n.EmbeddingBag(4, 3, include_last_offset=True), [ids(5), np.array([0, 2, 5])]),
    "EmbeddingBag max_norm": (lambda n, t: n.EmbeddingBag(4, 3, max_norm=1.0), [ids(2, 3)]),
    "Embedding frequency": (lambda n, t: n.Embedding(4, 3, scale_grad_by_freq=True), [ids(2, 3)]),
}
for r in ("mean", "sum", "none"):
    MODULES |= {
        f"PoissonNLLLoss {r}": (lambda n, t, r=r: n.PoissonNLLLoss(reduction=r), [x(3, 4), None, POSITIVE]),
        f"PoissonNLLLoss full {r}": (
            lambda n, t, r=r: n.PoissonNLLLoss(False, full=True, eps=1e-3, reduction=r),
            [POSITIVE + 1, None, POSITIVE * 3],
        ),
        f"GaussianNLLLoss {r}": (
            lambda n, t, r=r: n.GaussianNLLLoss(full=True, reduction=r),
            [x(3, 4), x(3, 4), POSITIVE],
        ),
        f"MarginRankingLoss {r}": (
            lambda n, t, r=r: n.MarginRankingLoss(0.33, reduction=r),
            [x(5), x(5), None, signs(5)],
        ),
        f"HingeEmbeddingLoss {r}": (lambda n, t, r=r: n.HingeEmbeddingLoss(1.3, reduction=r), [x(5), None, signs(5)]),
        f"SoftMarginLoss {r}": (lambda n, t, r=r: n.SoftMarginLoss(reduction=r), [x(5), None, signs(5)]),
        f"CosineEmbeddingLoss {r}": (
            lambda n, t, r=r: n.CosineEmbeddingLoss(-0.3, reduction=r),
            [x(5, 3), x(5, 3), None, signs(5)],
        ),
        f"MultiMarginLoss {r}": (
            lambda n, t, r=r: n.MultiMarginLoss(2, 1.3, t([0.5, 1.0, 2.0, 1.5]), reduction=r),
            [x(3, 4), ids(3)],
        ),
        f"MultiLabelMarginLoss {r}": (lambda n, t, r=r: n.MultiLabelMarginLoss(reduction=r), [x(3, 4) * 1.1, LABELS]),
        f"MultiLabelSoftMarginLoss {r}": (
            lambda n, t, r=r: n.MultiLabelSoftMarginLoss(t([0.5, 1.0, 2.0, 1.5]), reduction=r),
            [x(3, 4), None, (x(3, 4) > 0).astype(np.float32)],
        ),
        f"TripletMarginLoss {r}": (
            lambda n, t, r=r: n.TripletMarginLoss(3.0, p=1.5, swap=True, reduction=r),
            [x(5, 3), x(5, 3), x(5, 3)],
        ),
        f"TripletMarginWithDistanceLoss {r}": (
            lambda n, t, r=r: n.TripletMarginWithDistanceLoss(distance_function=n.CosineSimilarity(), reduction=r),
            [x(5, 3), x(5, 3), x(5, 3)],
        ),
    }


def run(lib, make, arrays):
    """The module's text and weights from one seed, its result, and all gradients for one cotangent."""
    lib.manual_seed(0)
    module = make(lib.nn, lib.tensor)
    weights = {key: value.numpy().copy() for key, value in module.state_dict().items()}
    constants = next((i for i, a in enumerate(arrays) if a is None), len(arrays))
    tensors = [lib.from_numpy(a.copy()) for a in arrays if a is not None]
    wanted = [t for t in tensors[:constants] if t.is_floating_point()]
    for t in wanted:
        t.requires_grad_()
    y = module(*tensors)
    cotangent = np.random.default_rng(1).normal(size=tuple(y.shape)).astype(np.float32)
    (y * lib.from_numpy(np.asarray(cotangent))).sum().backward()
    grads = [t.grad for t in wanted] + [p.grad for p in module.parameters()]
    return repr(module), weights, [y.detach().numpy(), *(g.numpy() for g in grads)]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parity
def test_modules_equal_pytorch(torch, name):
    make, arrays = MODULES[name]
    ours, theirs = run(minitorch, make, arrays), run(torch, make, arrays)
    assert ours[0] == theirs[0]
    assert ours[1].keys() == theirs[1].keys()
    for key in ours[1]:
        np.testing.assert_allclose(ours[1][key], theirs[1][key], rtol=1e-6, atol=1e-7)
    for a, b in zip(ours[2], theirs[2], strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parity
def test_ctc_loss_equals_pytorch(torch):
    logits, targets = x(8, 3, 5), ids(3, 3, low=1, high=5)
    for options in ({}, {"reduction": "sum"}, {"blank": 4, "zero_infinity": True, "reduction": "none"}):
        results = []
        for lib in (minitorch, torch):
            z = lib.from_numpy(logits.copy()).requires_grad_()
            lengths = lib.tensor([8, 6, 7]), lib.tensor([3, 2, 1])
            labels = lib.from_numpy(targets - (options.get("blank") == 4))
            loss = lib.nn.CTCLoss(**options)(lib.nn.functional.log_softmax(z, -1), labels, *lengths)
            loss.sum().backward()
            results.append((loss.detach().numpy(), z.grad.numpy()))
        for a, b in zip(*results):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_ctc_of_every_path_by_hand():
    """Two times, one label: the paths are 1 1, 0 1 and 1 0."""
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    log_probs = minitorch.from_numpy(np.log(p)[:, None])
    loss = nn.CTCLoss(reduction="sum")(log_probs, minitorch.tensor([[1]]), (2,), (1,))
    np.testing.assert_allclose(loss.item(), -np.log(0.5 * 0.3 + 0.2 * 0.3 + 0.5 * 0.6))
    (hopeless,) = nn.CTCLoss(reduction="none")(log_probs, minitorch.tensor([[1, 1]]), (2,), (2,)).tolist()
    assert hopeless == float("inf")


def test_dropout_of_channels_in_evaluation_is_nothing():
    y = minitorch.ones(2, 3, 4, 4, 4)
    for layer in (nn.Dropout3d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()):
        assert layer.eval()(y) is y
        assert not layer.train()(y).equal(y)
        assert repr(layer) == f"{type(layer).__name__}(p=0.5, inplace=False)"


def test_embedding_bag_from_pretrained():
    table = minitorch.arange(8.0).reshape(4, 2)
    bag = nn.EmbeddingBag.from_pretrained(table, mode="sum", padding_idx=0)
    assert not bag.weight.requires_grad and bag(minitorch.tensor([[1, 0, 3]])).tolist() == [[8.0, 10.0]]
    fresh = nn.EmbeddingBag(4, 3, padding_idx=2)
    assert fresh.weight[2].tolist() == [0.0, 0.0, 0.0]
    assert repr(fresh) == "EmbeddingBag(4, 3, mode='mean', padding_idx=2)"


def test_embedding_bag_divides_gradients_by_the_frequency():
    """As its documentation says; PyTorch's own CPU kernel takes another row's frequency."""
    bag = nn.EmbeddingBag(3, 2, mode="sum", scale_grad_by_freq=True)
    bag(minitorch.tensor([[0, 2], [2, 2]])).sum().backward()
    assert bag.weight.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]


REFUSED = [
    (lambda: nn.Bilinear(0, 2, 3), ValueError, "in1_features"),
    (lambda: nn.EmbeddingBag(3, 2, padding_idx=3), AssertionError, "padding_idx"),
    (lambda: nn.EmbeddingBag(3, 2, sparse=True), NotImplementedError, "sparse"),
    (lambda: nn.EmbeddingBag(3, 2, _weight=minitorch.ones(2, 2)), AssertionError, "num_embeddings"),
    (lambda: nn.EmbeddingBag.from_pretrained(minitorch.ones(2)), AssertionError, "2-dimensional"),
    (lambda: nn.EmbeddingBag(3, 2)(minitorch.tensor([1])), ValueError, "offsets"),
    (lambda: nn.MultiMarginLoss(p=3), ValueError, "p == 2"),
    (lambda: nn.MultiMarginLoss(weight=minitorch.ones(1, 2)), ValueError, "1-dimensional"),
    (lambda: nn.TripletMarginLoss(margin=0.0), ValueError, "margin"),
    (lambda: nn.TripletMarginWithDistanceLoss(margin=-1.0), ValueError, "margin"),
    (lambda: nn.Softmax2d()(minitorch.ones(2, 3)), ValueError, "3D or 4D"),
    (lambda: nn.PReLU(3)(minitorch.ones(2, 4)), RuntimeError, "prelu.*4"),
    (lambda: nn.AlphaDropout(1.5), ValueError, "1.5"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[2])
def test_wrong_calls_are_refused(case):
    call, error, words = case
    with pytest.raises(error, match=words):
        call()


def test_a_weighted_mean_in_half_precision_counts_in_float32():
    """A sum of bfloat16 ones stops at 256."""
    z, t = minitorch.zeros(3000, 4, dtype=minitorch.bfloat16), minitorch.arange(3000) % 4
    loss = minitorch.nn.functional.cross_entropy(z, t, weight=minitorch.ones(4, dtype=minitorch.bfloat16))
    assert loss.item() == pytest.approx(np.log(4), rel=1e-2)


def test_the_mean_of_no_labels_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = minitorch.nn.functional.cross_entropy(minitorch.zeros(0, 4), minitorch.zeros(0, dtype=minitorch.int64))
    assert np.isnan(loss.item())
