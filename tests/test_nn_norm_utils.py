"""Weight and spectral normalization, orthogonal weights, parametrizations, fused batch normalization, skip_init."""

import copy

import numpy as np
import pytest

import minitorch
from minitorch import nn
from minitorch.nn import utils
from minitorch.nn.utils import parametrizations, parametrize
from tests.guard import GuardArray, guard

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated in favor of:FutureWarning")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


LAYERS = {
    "Linear": (lambda nn: nn.Linear(5, 4), (3, 5)),
    "wide Linear": (lambda nn: nn.Linear(4, 6, bias=False), (3, 4)),
    "square Linear": (lambda nn: nn.Linear(4, 4), (3, 4)),
    "Conv2d": (lambda nn: nn.Conv2d(3, 4, (2, 3)), (2, 3, 5, 5)),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(3, 4, 2), (2, 3, 5)),
    "Embedding": (lambda nn: nn.Embedding(6, 3), None),
}
NORMS = {
    "weight_norm": lambda u, m: u.weight_norm(m),
    "weight_norm, dim=1": lambda u, m: u.weight_norm(m, "weight", dim=1),
    "weight_norm, one norm": lambda u, m: u.weight_norm(m, dim=None),
    "spectral_norm": lambda u, m: u.spectral_norm(m),
    "spectral_norm, options": lambda u, m: u.spectral_norm(m, "weight", n_power_iterations=3, eps=1e-6, dim=1),
    "parametrizations.weight_norm": lambda u, m: u.parametrizations.weight_norm(m, dim=1),
    "parametrizations.weight_norm, one": lambda u, m: u.parametrizations.weight_norm(m, dim=None),
    "parametrizations.spectral_norm": lambda u, m: u.parametrizations.spectral_norm(m, n_power_iterations=2),
    "parametrizations.spectral_norm, dim=-1": lambda u, m: u.parametrizations.spectral_norm(m, dim=-1),
}
ORTHOGONAL = {
    "default": {},
    "cayley": {"orthogonal_map": "cayley"},
    "matrix_exp": {"orthogonal_map": "matrix_exp"},
    "householder": {"orthogonal_map": "householder"},
    "householder, plain": {"orthogonal_map": "householder", "use_trivialization": False},
    "cayley, plain": {"orthogonal_map": "cayley", "use_trivialization": False},
}


def build(lib, layer, norm):
    lib.manual_seed(0)
    make, shape = LAYERS[layer]
    module = norm(lib.nn.utils, make(lib.nn))
    x = (
        lib.arange(6)
        if shape is None
        else lib.from_numpy(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    )
    return module, x


def train(lib, module, x, steps=4):
    """Outputs of some steps of SGD, of evaluation, and the gradients and the state at the end."""
    optimizer = lib.optim.SGD(module.parameters(), lr=0.05)
    values = []
    for _ in range(steps):
        optimizer.zero_grad()
        y = module(x)
        (y**3 + y).mean().backward()
        values += [y.detach().numpy(), *(p.grad.numpy().copy() for p in module.parameters())]
        optimizer.step()
    module.eval()
    values.append(module(x).detach().numpy())
    return values


def compare(torch, layer, norm, tolerance=2e-5):
    (ours, x), (theirs, z) = (build(lib, layer, norm) for lib in (minitorch, torch))
    assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=2e-6)
    for a, b in zip(train(minitorch, ours, x), train(torch, theirs, z)):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    other, _ = build(minitorch, layer, norm)  # theirs continues here
    other.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    np.testing.assert_allclose(other.eval()(x).detach().numpy(), theirs(z).detach().numpy(), rtol=1e-4, atol=1e-5)
    return ours, theirs


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parity
def test_norms_equal_pytorch(torch, norm, layer):
    compare(torch, layer, NORMS[norm])


@pytest.mark.parametrize("layer", ["Linear", "wide Linear", "square Linear"])
@pytest.mark.parametrize("options", ORTHOGONAL)
@pytest.mark.parity
def test_orthogonal_equals_pytorch(torch, options, layer):
    options = ORTHOGONAL[options]

    def norm(u, m):
        if not options.get("use_trivialization", True) and options["orthogonal_map"] == "householder":
            (minitorch if u is utils else torch).nn.init.orthogonal_(m.weight)
        return u.parametrizations.orthogonal(m, **options)

    ours, _ = compare(torch, layer, norm, 1e-4)
    W = ours.weight.detach().double().numpy()
    gram = W @ W.T if W.shape[0] < W.shape[1] else W.T @ W
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


# --- meaning ---------------------------------------------------------------------------------------------------------


def test_weight_norm_by_hand_and_removed():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = minitorch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert utils.weight_norm(layer) is layer
    assert layer.weight_g.tolist() == [[5.0], [2.0]] and list(layer.state_dict()) == ["weight_g", "weight_v"]
    with minitorch.no_grad():
        layer.weight_g.fill_(10.0)
    np.testing.assert_allclose(layer(minitorch.eye(2)).T.tolist(), [[6.0, 8.0], [0.0, 10.0]], rtol=1e-6)
    utils.remove_weight_norm(layer)
    assert isinstance(layer.weight, nn.Parameter) and list(layer.state_dict()) == ["weight"]
    np.testing.assert_allclose(layer.weight.tolist(), [[6.0, 8.0], [0.0, 10.0]], rtol=1e-6)
    assert not layer._forward_pre_hooks


def test_spectral_norm_bounds_the_layer_and_is_removed():
    minitorch.manual_seed(0)
    for norm in (utils.spectral_norm, parametrizations.spectral_norm):
        layer = norm(nn.Linear(8, 6))
        x = minitorch.randn(3, 8)
        for _ in range(60):
            layer(x)
        assert np.linalg.svd(layer.weight.detach().numpy())[1][0] == pytest.approx(1.0, rel=1e-4)
    layer.eval()
    before = layer.parametrizations.weight[0]._u.clone()
    layer(x)
    assert layer.parametrizations.weight[0]._u.tolist() == before.tolist()
    layer = utils.remove_spectral_norm(utils.spectral_norm(nn.Linear(8, 6)))
    assert set(layer.state_dict()) == {"weight", "bias"} and isinstance(layer.weight, nn.Parameter)
    first = utils.spectral_norm(nn.Linear(4, 4))
    y = first(minitorch.randn(2, 4))
    first(minitorch.randn(2, 4))  # changes u and v, which the first graph does not need
    y.sum().backward()
    vector = parametrizations.spectral_norm(nn.LayerNorm(4))
    np.testing.assert_allclose(vector.weight.norm().item(), 1.0, rtol=1e-6)


def test_states_of_the_older_weight_norm_can_be_loaded():
    minitorch.manual_seed(0)
    old, new = utils.weight_norm(nn.Linear(3, 2)), parametrizations.weight_norm(nn.Linear(3, 2))
    new.load_state_dict(old.state_dict())
    x = minitorch.randn(4, 3)
    assert new(x).tolist() == old(x).tolist()


class Symmetric(nn.Module):
    def forward(self, X):
        return X.triu() + X.triu(1).transpose(-2, -1)

    def right_inverse(self, A):
        return A.triu()


class Count(nn.Module):
    calls = 0

    def forward(self, X):
        Count.calls += 1
        return 2 * X


def test_a_parametrization_of_ones_own():
    layer = nn.Linear(3, 3)
    before = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert parametrize.is_parametrized(layer) and parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias") and isinstance(layer, nn.Linear)
    assert layer.parametrizations.weight.original is before and type(layer).__name__ == "ParametrizedLinear"
    assert layer.weight.tolist() == layer.weight.T.tolist()
    layer(minitorch.randn(2, 3)).sum().backward()
    assert before.grad is not None and before.grad.tril(-1).tolist() == minitorch.zeros(3, 3).tolist()
    A = minitorch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    layer.weight = A
    assert layer.weight.tolist() == A.tolist()
    clone = copy.deepcopy(layer)
    assert clone.weight.tolist() == A.tolist() and clone.parametrizations.weight.original is not before
    parametrize.register_parametrization(layer, "weight", Count())
    assert layer.weight.tolist() == (2 * A).tolist() and clone.weight.tolist() == A.tolist()
    Count.calls = 0
    with parametrize.cached():
        assert layer.weight is layer.weight and Count.calls == 1
        with parametrize.cached():
            layer.weight  # noqa: B018
    layer.weight  # noqa: B018
    assert Count.calls == 2
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and layer.weight is before and layer.weight.tolist() == (2 * A).tolist()
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    parametrize.remove_parametrizations(clone, "weight", leave_parametrized=False)
    assert clone.weight.tolist() == A.triu().tolist()


def test_several_tensors_and_buffers():
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    parametrize.register_parametrization(layer, "bias", Count())
    value = layer.weight.detach().clone()
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer.weight, nn.Parameter)
    np.testing.assert_allclose(layer.weight.tolist(), value.tolist())
    norm = nn.BatchNorm1d(2)
    parametrize.register_parametrization(norm, "running_mean", Count())
    assert "parametrizations.running_mean.original" in dict(norm.named_buffers())
    parametrize.remove_parametrizations(norm, "running_mean")
    assert "running_mean" in dict(norm.named_buffers())
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    layer.weight = 2 * value
    np.testing.assert_allclose(layer.weight.tolist(), (2 * value).tolist(), rtol=1e-6)


def test_second_derivatives():
    """Gradients of gradients through the computed weights, by differences."""
    minitorch.manual_seed(0)
    norms = {
        "weight": parametrizations.weight_norm, "spectral": parametrizations.spectral_norm,
        "exp": parametrizations.orthogonal, "householder": lambda m: parametrizations.orthogonal(m, orthogonal_map="householder"),
        "cayley": lambda m: parametrizations.orthogonal(m, orthogonal_map="cayley"),
    }  # fmt: skip
    x = minitorch.randn(2, 3, dtype=minitorch.float64)
    for name, norm in norms.items():
        layer = norm(nn.Linear(3, 3, bias=False, dtype=minitorch.float64)).eval()
        originals = list(layer.parameters())
        with minitorch.no_grad():
            for p in originals:
                p.add_(0.1 * minitorch.randn(p.shape, dtype=p.dtype))

        def slopes():
            loss = (layer(x) ** 3).sum()  # noqa: B023
            grads = minitorch.autograd.grad(loss, originals, create_graph=True)  # noqa: B023
            return sum((g * g).sum() for g in grads)

        second = minitorch.autograd.grad(slopes(), originals)
        directions = [
            minitorch.randn(p.shape, dtype=p.dtype).tril(0 if name in ("weight", "spectral") else -1) for p in originals
        ]
        exact = sum((g * d).sum().item() for g, d in zip(second, directions))
        step, values = 1e-5, []
        for sign in (1, -2):
            with minitorch.no_grad():
                for p, d in zip(originals, directions):
                    p.add_(sign * step * d)
            values.append(slopes().item())
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(exact, rel=1e-5), name


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("affine, bias", [(True, True), (False, True), (True, False)])
def test_fused_batch_normalization(transpose, affine, bias):
    minitorch.manual_seed(0)
    kind = nn.ConvTranspose2d if transpose else nn.Conv2d
    pairs = [
        (kind(3, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine), minitorch.randn(5, 3, 6, 6)),
        (nn.Linear(3, 4, bias=bias), nn.BatchNorm1d(4, affine=affine), minitorch.randn(9, 3)),
    ]
    for layer, norm, x in pairs:
        for _ in range(3):
            norm(layer(x))  # statistics that are not 0 and 1
        if affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
        layer.eval()
        norm.eval()
        if isinstance(layer, nn.Linear):
            fused = utils.fuse_linear_bn_eval(layer, norm)
        else:
            fused = utils.fuse_conv_bn_eval(layer, norm, transpose)
            W, b = utils.fuse_conv_bn_weights(
                layer.weight,
                layer.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
                transpose,
            )
            assert W.tolist() == fused.weight.tolist() and b.tolist() == fused.bias.tolist()
        np.testing.assert_allclose(fused(x).tolist(), norm(layer(x)).tolist(), rtol=1e-4, atol=1e-5)
        assert isinstance(fused.bias, nn.Parameter) and fused is not layer and fused.weight is not layer.weight


def test_skip_init_leaves_the_random_stream_alone():
    minitorch.manual_seed(0)
    expected = minitorch.rand(3).tolist()
    minitorch.manual_seed(0)
    layer = utils.skip_init(nn.Linear, 3, 4, bias=False, dtype=minitorch.float64)
    assert layer.weight.shape == (4, 3) and layer.weight.dtype is minitorch.float64
    assert minitorch.rand(3).tolist() == expected


def test_clipping_in_two_halves():
    p = nn.Parameter(minitorch.zeros(2))
    p.grad = minitorch.tensor([3.0, 4.0])
    total = utils.get_total_norm([p.grad])
    utils.clip_grads_with_norm_(p, 1.0, total)
    np.testing.assert_allclose(p.grad.tolist(), [0.6, 0.8], rtol=1e-5)
    utils.clip_grads_with_norm_([p], 10.0, utils.get_total_norm([p.grad]))
    np.testing.assert_allclose(p.grad.tolist(), [0.6, 0.8], rtol=1e-5)


def test_runs_on_the_guard():
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    x = minitorch.randn(4, 3)
    norms = (
        utils.weight_norm, utils.spectral_norm, parametrizations.weight_norm, parametrizations.spectral_norm,
        *(lambda m, kind=kind: parametrizations.orthogonal(m, orthogonal_map=kind) for kind in ("matrix_exp", "householder")),
    )  # fmt: skip
    for norm in norms:
        minitorch.manual_seed(0)
        layer = norm(nn.Linear(3, 3))
        expected = copy.deepcopy(layer.state_dict())
        on_guard = norm(nn.Linear(3, 3).to("guard"))
        on_guard.load_state_dict(expected)
        y = on_guard.eval()(x.to("guard"))
        y.sum().backward()
        np.testing.assert_allclose(y.cpu().tolist(), layer.eval()(x).tolist(), atol=1e-6)


def test_the_older_weight_norm_says_what_follows_it():
    with pytest.warns(FutureWarning, match="in favor of `nn.utils.parametrizations.weight_norm`"):
        utils.weight_norm(nn.Linear(2, 2))


class Narrow(nn.Module):
    def forward(self, X):
        return X[:1]


class Double(nn.Module):
    def forward(self, X):
        return X.double()


class Pair(nn.Module):
    def forward(self, a, b=None):
        return a

    def right_inverse(self, X):
        return X, 3


class Text(nn.Module):
    def right_inverse(self, X):
        return "text"


class Nothing(nn.Module):
    def forward(self, X):
        return None


class WrongInverse(nn.Module):
    def forward(self, X):
        return X

    def right_inverse(self, X):
        return X.double()


def test_errors():
    weighted, spectral = utils.weight_norm(nn.Linear(2, 2)), utils.spectral_norm(nn.Linear(2, 2))
    linear, twice, new = nn.Linear(2, 2), nn.Linear(2, 2), parametrizations.weight_norm(nn.Linear(2, 2))
    parametrize.register_parametrization(twice, "weight", Count())
    conv, norm = nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)
    register = parametrize.register_parametrization
    for call, error, words in (
        (
            lambda: utils.weight_norm(weighted),
            RuntimeError,
            "Cannot register two weight_norm hooks on the same parameter",
        ),
        (lambda: utils.spectral_norm(spectral), RuntimeError, "Cannot register two spectral_norm hooks"),
        (lambda: utils.remove_weight_norm(linear), ValueError, "weight_norm of 'weight' not found in Linear"),
        (lambda: utils.remove_spectral_norm(weighted), ValueError, "spectral_norm of 'weight' not found"),
        (lambda: utils.weight_norm(linear, "scale"), AttributeError, "has no attribute `scale`"),
        (lambda: utils.spectral_norm(nn.Linear(2, 2, bias=False), "bias"), ValueError, "parameter `bias` is None"),
        (lambda: utils.spectral_norm(linear, n_power_iterations=0), ValueError, "n_power_iterations to be positive"),
        (lambda: parametrizations.spectral_norm(linear, n_power_iterations=-1), ValueError, "to be positive, but got"),
        (lambda: parametrizations.spectral_norm(linear, dim=2), IndexError, r"in range of \[-2, 1\] but got 2"),
        (
            lambda: parametrizations.spectral_norm(linear, "scale"),
            ValueError,
            "no parameter or buffer with name 'scale'",
        ),
        (lambda: parametrizations.weight_norm(linear, "scale"), ValueError, "no parameter or buffer with name 'scale'"),
        (lambda: parametrizations.orthogonal(linear, "bias"), ValueError, "Expected a matrix or batch of matrices"),
        (lambda: parametrizations.orthogonal(linear, orthogonal_map="qr"), ValueError, "has to be one of .* Got: qr"),
        (
            lambda: register(linear, "scale", Count()),
            ValueError,
            "does not have a parameter, a buffer, or a parametrized",
        ),
        (lambda: register(linear, "weight", Narrow()), ValueError, "may not change the shape of the tensor"),
        (lambda: register(linear, "weight", Double()), ValueError, "may not change the dtype of the tensor"),
        (lambda: register(linear, "weight", Nothing()), ValueError, "must return a tensor. Got NoneType"),
        (lambda: register(linear, "weight", Pair()), ValueError, "Got element 1 of the sequence with type int"),
        (lambda: register(linear, "weight", Text()), ValueError, "must return a Tensor or a Sequence of tensors"),
        (lambda: register(linear, "weight", WrongInverse()), ValueError, "may not change the dtype: minitorch.float32"),
        (lambda: register(twice, "weight", Narrow()), ValueError, "A parametrization may not change the shape"),
        (lambda: register(twice, "weight", WrongInverse()), ValueError, "right_inverse may not change the dtype"),
        (
            lambda: setattr(twice, "weight", minitorch.ones(2, 2)),
            RuntimeError,
            "Count does not implement right_inverse",
        ),
        (
            lambda: parametrize.remove_parametrizations(linear, "weight"),
            ValueError,
            "does not have a parametrization on",
        ),
        (
            lambda: parametrize.remove_parametrizations(new, "weight", leave_parametrized=False),
            ValueError,
            "in terms of a sequence of tensors",
        ),
        (lambda: parametrize.ParametrizationList([], linear.weight), ValueError, "requires one or more modules"),
        (lambda: twice.__getstate__(), RuntimeError, "only supported through state_dict"),
        (lambda: utils.fuse_conv_bn_eval(conv, norm), AssertionError, "Fusion only for eval!"),
        (
            lambda: utils.fuse_linear_bn_eval(linear.eval(), nn.BatchNorm1d(3).eval()),
            AssertionError,
            "linear.out_features == bn.num_features",
        ),
        (
            lambda: utils.fuse_conv_bn_eval(conv.eval(), nn.BatchNorm1d(2, track_running_stats=False).eval()),
            AssertionError,
            "bn.running_mean and bn.running_var must not be None",
        ),
        (lambda: utils.skip_init(dict), RuntimeError, "Expected a Module; got <class 'dict'>"),
        (lambda: utils.skip_init(nn.ReLU), RuntimeError, "Module must support a 'device' arg"),
    ):
        with pytest.raises(error, match=words):
            call()
    assert type(linear) is nn.Linear and isinstance(linear.weight, nn.Parameter)


@pytest.mark.parametrize("affine", [False, True])
def test_statistics_may_move_on_between_evaluation_and_its_backward_pass(affine):
    norm, x = nn.BatchNorm1d(3, affine=affine).eval(), minitorch.randn(5, 3, requires_grad=True)
    norm(x).pow(2).sum().backward()
    expected, x.grad = x.grad.numpy().copy(), None
    y = norm(x).pow(2).sum()
    norm.train()(x.detach() * 3 + 1)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), expected)
