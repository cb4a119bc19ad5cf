"""minitorch.distributions beside torch.distributions: every quantity, its gradients, the samples from the same seed, the
words of the errors; and what needs no PyTorch: moments of samples, densities that sum to one."""

import itertools
import math

import numpy as np
import pytest

import minitorch
from minitorch import distributions as D
from tests.guard import GuardArray, guard


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


RNG = np.random.default_rng(0)
UNIT, REAL = RNG.uniform(0.05, 0.95, (3, 4)), RNG.normal(size=(3, 4))
POSITIVE = RNG.uniform(0.3, 2.0, (3, 4))

# name, parameters, a value in the support
CASES = [
    ("Bernoulli", {"probs": UNIT}, UNIT > 0.5),
    ("Bernoulli", {"logits": REAL}, UNIT > 0.5),
    ("Bernoulli", {"probs": 0.3}, UNIT > 0.5),
    ("Bernoulli", {"probs": np.array([0.0, 0.5, 1.0])}, np.array([[0.0, 1.0, 1.0]])),
    ("Categorical", {"probs": POSITIVE}, np.array([0, 3, 1])),
    ("Categorical", {"logits": REAL}, np.array([[0, 3, 1], [1, 1, 2]])),
    ("Categorical", {"probs": np.array([0.0, 0.25, 0.75])}, np.array(2)),
    ("Normal", {"loc": REAL, "scale": POSITIVE}, RNG.normal(size=(3, 4))),
    ("Normal", {"loc": REAL, "scale": 0.7}, RNG.normal(size=(2, 3, 4))),
    ("Normal", {"loc": 0.0, "scale": 1.0}, RNG.normal(size=(5,))),
    ("Normal", {"loc": REAL[:, :1], "scale": POSITIVE[0]}, RNG.normal(size=(3, 4))),
    ("Uniform", {"low": REAL, "high": REAL + POSITIVE}, REAL + 0.5 * POSITIVE),
    ("Uniform", {"low": 0.0, "high": 2.0}, np.array([0.0, 0.5, 1.9])),
    ("Exponential", {"rate": POSITIVE}, RNG.exponential(size=(3, 4))),
    ("Exponential", {"rate": 2.0}, RNG.exponential(size=(5,))),
]
IDS = [f"{name}-{'-'.join(parameters)}-{i}" for i, (name, parameters, _) in enumerate(CASES)]
SHAPES = [(), (1,), (5,), (2, 3), (0,), (20,)]


def tensor(library, value, gradient=True):
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype != np.int64:
        value = value.astype(np.float64)
    out = library.tensor(value)
    return out.requires_grad_() if gradient and value.dtype == np.float64 else out


def make(library, name, parameters, **options):
    given = {key: tensor(library, value) for key, value in parameters.items()}
    return getattr(library.distributions, name)(**given, **options), [
        t for t in given.values() if not isinstance(t, float)
    ]


def numbers(t):
    return t.detach().numpy()


def same(ours, theirs, tol=1e-12):
    assert tuple(ours.shape) == tuple(theirs.shape) and str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    assert ours.requires_grad == theirs.requires_grad
    single = ours.dtype is minitorch.float32
    tol = max(tol, 2e-6) if single else tol
    np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol=tol, atol=tol)


def same_gradients(ours, theirs, leaves, their_leaves):
    """Of a sum with weights, so that no two errors cancel."""
    weights = np.random.default_rng(1).normal(size=ours.shape)
    found = []
    for library, out, given in ((minitorch, ours, leaves), (pytest.importorskip("torch"), theirs, their_leaves)):
        if not out.requires_grad:
            continue
        total = (out * library.tensor(weights).to(out.dtype)).sum()
        found.append(library.autograd.grad(total, given, allow_unused=True, retain_graph=True))
    for a, b in zip(*found) if len(found) == 2 else ():
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9)


QUANTITIES = (
    "mean",
    "mode",
    "stddev",
    "variance",
    "probs",
    "logits",
    "loc",
    "scale",
    "low",
    "high",
    "rate",
    "param_shape",
)


@pytest.mark.parametrize("name, parameters, value", CASES, ids=IDS)
def test_quantities(torch, name, parameters, value):
    ours, leaves = make(minitorch, name, parameters)
    theirs, their_leaves = make(torch, name, parameters)
    assert ours.batch_shape == theirs.batch_shape and ours.event_shape == theirs.event_shape
    assert ours.has_rsample == theirs.has_rsample and ours.has_enumerate_support == theirs.has_enumerate_support
    assert repr(ours).split("tensor")[0].replace("minitorch", "torch") == repr(theirs).split("tensor")[0]
    for quantity in QUANTITIES:
        assert hasattr(ours, quantity) == hasattr(theirs, quantity), quantity
        if hasattr(ours, quantity):
            a, b = getattr(ours, quantity), getattr(theirs, quantity)
            if quantity == "param_shape":
                assert a == b
                continue
            same(a, b)
            same_gradients(a, b, leaves, their_leaves)
    for method in ("entropy", "perplexity"):
        a, b = getattr(ours, method)(), getattr(theirs, method)()
        same(a, b)
        same_gradients(a, b, leaves, their_leaves)
    if ours.has_enumerate_support:
        for expand in (True, False):
            same(ours.enumerate_support(expand), theirs.enumerate_support(expand))
    support, theirs_support = ours.support, theirs.support
    assert support.is_discrete == theirs_support.is_discrete and support.event_dim == theirs_support.event_dim


@pytest.mark.parametrize("name, parameters, value", CASES, ids=IDS)
def test_functions_of_a_value(torch, name, parameters, value):
    ours, leaves = make(minitorch, name, parameters)
    theirs, their_leaves = make(torch, name, parameters)
    for method in ("log_prob", "cdf"):
        x, y = tensor(minitorch, value), tensor(torch, value)
        if method == "cdf" and name in ("Bernoulli", "Categorical"):
            with pytest.raises(NotImplementedError, match=f"{name} does not implement cdf"):
                ours.cdf(x)
            continue
        a, b = getattr(ours, method)(x), getattr(theirs, method)(y)
        single = any(isinstance(v, float) for v in parameters.values())  # parameters in float32, values in float64
        same(a, b, 1e-6 if single else 1e-11)
        floating = [x] if x.is_floating_point() else [], [y] if y.is_floating_point() else []
        same_gradients(a, b, leaves + floating[0], their_leaves + floating[1])
    if ours.has_rsample:
        p = np.broadcast_to(UNIT, np.broadcast_shapes(UNIT.shape, tuple(ours.batch_shape)))
        x, y = tensor(minitorch, p), tensor(torch, p)
        a, b = ours.icdf(x), theirs.icdf(y)
        same(a, b, 1e-9)
        same_gradients(a, b, [*leaves, x], [*their_leaves, y])


@pytest.mark.parametrize("name, parameters, value", CASES, ids=IDS)
def test_samples_are_pytorchs(torch, name, parameters, value):
    if name == "Exponential":
        from tests.test_random import _intel

        if _intel() and torch.backends.mkl.is_available():
            pytest.skip("on Intel processors PyTorch draws exponential numbers with MKL, which gives others")
    ours, leaves = make(minitorch, name, parameters)
    theirs, their_leaves = make(torch, name, parameters)
    for shape, method in itertools.product(SHAPES, ("sample", "rsample")):
        if shape == (0,) and name == "Categorical":
            continue  # neither can draw no samples
        minitorch.manual_seed(7), torch.manual_seed(7)
        if method == "rsample" and not ours.has_rsample:
            with pytest.raises(NotImplementedError, match="has_rsample is False"):
                ours.rsample(shape)
            continue
        a, b = getattr(ours, method)(shape), getattr(theirs, method)(shape)
        same(a, b, 1e-9)
        assert tuple(a.shape) == (*shape, *ours.batch_shape)
        assert minitorch.get_rng_state().numpy().tobytes() == torch.get_rng_state().numpy().tobytes()
        same_gradients(a, b, leaves, their_leaves)


def test_bernoulli_of_transposed_probabilities(torch):
    p = RNG.random((7, 9))
    minitorch.manual_seed(1), torch.manual_seed(1)
    ours = D.Bernoulli(minitorch.tensor(p).t()).sample((3,))
    theirs = torch.distributions.Bernoulli(torch.tensor(p).t()).sample((3,))
    same(ours, theirs)


@pytest.mark.parametrize("name, parameters, value", CASES, ids=IDS)
def test_expand(torch, name, parameters, value):
    ours, theirs = make(minitorch, name, parameters)[0], make(torch, name, parameters)[0]
    target = (2, *ours.batch_shape)
    a, b = ours.expand(target), theirs.expand(target)
    assert type(a) is type(ours) and a.batch_shape == b.batch_shape == target
    same(a.entropy(), b.entropy())
    same(a.mean, b.mean)
    minitorch.manual_seed(2), torch.manual_seed(2)
    same(a.sample((3,)), b.sample((3,)), 1e-9)


PAIRS = [
    (
        "Bernoulli",
        {"probs": np.array([0.0, 0.3, 1.0, 0.0, 1.0, 0.4])},
        "Bernoulli",
        {"probs": np.array([0.2, 0.7, 0.5, 0.0, 0.0, 1.0])},
    ),
    ("Bernoulli", {"logits": REAL}, "Bernoulli", {"probs": UNIT}),
    ("Categorical", {"logits": REAL}, "Categorical", {"probs": POSITIVE}),
    ("Categorical", {"probs": np.array([0.0, 0.5, 0.5])}, "Categorical", {"probs": np.array([0.5, 0.0, 0.5])}),
    ("Normal", {"loc": REAL, "scale": POSITIVE}, "Normal", {"loc": 0.5, "scale": 1.5}),
    ("Exponential", {"rate": POSITIVE}, "Exponential", {"rate": 0.7}),
    ("Uniform", {"low": REAL, "high": REAL + POSITIVE}, "Uniform", {"low": -1.0, "high": 1.5}),
    ("Uniform", {"low": REAL, "high": REAL + POSITIVE}, "Normal", {"loc": REAL, "scale": POSITIVE}),
    ("Uniform", {"low": REAL, "high": REAL + POSITIVE}, "Exponential", {"rate": POSITIVE}),
    ("Exponential", {"rate": POSITIVE}, "Normal", {"loc": REAL, "scale": POSITIVE}),
    ("Exponential", {"rate": POSITIVE}, "Uniform", {"low": 0.0, "high": 1.0}),
    ("Normal", {"loc": REAL, "scale": POSITIVE}, "Uniform", {"low": 0.0, "high": 1.0}),
    ("Normal", {"loc": REAL, "scale": POSITIVE}, "Exponential", {"rate": 1.0}),
]


@pytest.mark.parametrize("first, p, second, q", PAIRS, ids=[f"{a}-{b}-{i}" for i, (a, _, b, _) in enumerate(PAIRS)])
def test_kl_divergence(torch, first, p, second, q):
    found = []
    for library in (minitorch, torch):
        (a, leaves), (b, more) = make(library, first, p), make(library, second, q)
        found.append((library.distributions.kl_divergence(a, b), leaves + more))
    (ours, leaves), (theirs, their_leaves) = found
    same(ours, theirs, 1e-10)
    if np.isfinite(numbers(theirs)).all():
        same_gradients(ours, theirs, leaves, their_leaves)


def test_every_pair_is_offered_or_refused_as_in_pytorch(torch):
    made = {
        "Bernoulli": {"probs": UNIT}, "Categorical": {"probs": POSITIVE}, "Normal": {"loc": REAL, "scale": POSITIVE},
        "Uniform": {"low": REAL, "high": REAL + POSITIVE}, "Exponential": {"rate": POSITIVE},
    }  # fmt: skip
    for a, b in itertools.product(made, made):
        outcomes = []
        for library in (minitorch, torch):
            p, q = make(library, a, made[a])[0], make(library, b, made[b])[0]
            try:
                library.distributions.kl_divergence(p, q)
                outcomes.append("a number")
            except NotImplementedError:
                outcomes.append("refused")
        assert outcomes[0] == outcomes[1], (a, b)


def test_independent(torch):
    found = []
    for library in (minitorch, torch):
        D = library.distributions
        loc, scale = tensor(library, REAL), tensor(library, POSITIVE)
        d = D.Independent(D.Normal(loc, scale), 1)
        other = D.Independent(D.Normal(loc * 0, scale * 2), 1)
        library.manual_seed(0)
        sample, rsample = d.sample((2,)), d.rsample((5,))
        big = d.expand((6, 3))
        found.append([
            d.log_prob(sample), d.entropy(), sample, rsample, d.mean, d.variance, d.stddev, d.mode, big.entropy(),
            D.kl_divergence(d, other), D.Independent(D.Bernoulli(tensor(library, UNIT)), 2).entropy(),
            D.Independent(D.Bernoulli(tensor(library, UNIT)), 0).enumerate_support(),
        ])  # fmt: skip
        assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((3,), (4,))
        assert (tuple(big.batch_shape), tuple(big.event_shape)) == ((6, 3), (4,))
        assert d.has_rsample and not d.has_enumerate_support and d.support.event_dim == 1
    for ours, theirs in zip(*found):
        same(ours, theirs, 1e-9)


def test_second_derivatives(torch):
    found = []
    for library in (minitorch, torch):
        loc, scale = tensor(library, REAL), tensor(library, POSITIVE)
        out = library.distributions.Normal(loc, scale).log_prob(library.tensor(UNIT)).sum()
        (first,) = library.autograd.grad(out, scale, create_graph=True)
        found.append(library.autograd.grad((first**2).sum(), [loc, scale]))
    for ours, theirs in zip(*found):
        same(ours, theirs, 1e-10)


# --- errors ----------------------------------------------------------------------------------------------------------


def bad(library):
    """Calls that must fail, each with words that its message holds."""
    D, t = library.distributions, library.tensor
    good = D.Normal(t([0.0, 1.0]), t([1.0, 2.0]))
    return [
        (lambda: D.Bernoulli(probs=t([0.5, 1.5])), ValueError, r"probs .*shape \(2,\).*Interval\(lower_bound=0.0, upper_bound=1.0\)"),
        (lambda: D.Bernoulli(probs=t([-0.1])), ValueError, "parameter probs"),
        (lambda: D.Bernoulli(logits=t([math.nan])), ValueError, r"parameter logits .*Real\(\)"),
        (lambda: D.Bernoulli(), ValueError, "Either `probs` or `logits`"),
        (lambda: D.Bernoulli(0.5, 0.5), ValueError, "Either `probs` or `logits`"),
        (lambda: D.Bernoulli("a"), ValueError, "instances of Number"),
        (lambda: D.Categorical(), ValueError, "Either `probs` or `logits`"),
        (lambda: D.Categorical(probs=t(0.5)), ValueError, "at least one-dimensional"),
        (lambda: D.Categorical(logits=t(0.5)), ValueError, "at least one-dimensional"),
        (lambda: D.Categorical(probs=t([-1.0, 2.0])), ValueError, r"parameter probs.*Simplex\(\)"),
        (lambda: D.Categorical(probs=t([0.0, 0.0])), ValueError, "parameter probs"),
        (lambda: D.Categorical(logits=t([math.nan, 0.0])), ValueError, r"parameter logits.*IndependentConstraint\(Real\(\), 1\)"),
        (lambda: D.Categorical(t([0.5, 0.5])).log_prob(t(2)), ValueError, r"(?s)IntegerInterval\(lower_bound=0, upper_bound=1\)"),
        (lambda: D.Categorical(t([0.5, 0.5])).log_prob(t(0.5)), ValueError, "within the support"),
        (lambda: D.Normal(0.0, -1.0), ValueError, r"parameter scale .*GreaterThan\(lower_bound=0.0\)"),
        (lambda: D.Normal(0.0, 0.0), ValueError, "parameter scale"),
        (lambda: D.Normal(math.nan, 1.0), ValueError, "parameter loc"),
        (lambda: D.Normal(None, 1.0), ValueError, "instances of Number"),
        (lambda: good.log_prob(1.0), ValueError, "must be a Tensor"),
        (lambda: good.log_prob(t([1.0, 2.0, 3.0])), ValueError, "not broadcastable with batch_shape"),
        (lambda: good.log_prob(t([math.nan, 0.0])), ValueError, r"within the support \(Real\(\)\)"),
        (lambda: good.cdf(t([math.nan, 0.0])), ValueError, "within the support"),
        (lambda: D.Uniform(1.0, 0.0), ValueError, "parameter low .*LessThan"),
        (lambda: D.Uniform(0.0, 1.0).log_prob(t(2.0)), ValueError, r"within the support \(Interval"),
        (lambda: D.Uniform(0.0, 1.0).cdf(t(-1.0)), ValueError, "within the support"),
        (lambda: D.Exponential(0.0), ValueError, "parameter rate .*GreaterThan"),
        (lambda: D.Exponential(t([1.0, -1.0])), ValueError, "parameter rate"),
        (lambda: D.Exponential(1.0).log_prob(t(-1.0)), ValueError, r"GreaterThanEq\(lower_bound=0.0\)"),
        (lambda: D.Bernoulli(0.5).log_prob(t(0.5)), ValueError, r"Boolean\(\)"),
        (lambda: D.Independent(good, 2), ValueError, "reinterpreted_batch_ndims"),
        (lambda: D.Independent(good, 1).log_prob(t([0.0, 1.0, 2.0])), ValueError, "not broadcastable"),
        (lambda: D.Independent(D.Bernoulli(t([0.5])), 1).enumerate_support(), NotImplementedError, "cartesian"),
        (lambda: D.kl_divergence(D.Uniform(0.0, 1.0), D.Bernoulli(0.5)), NotImplementedError, "Uniform and q type Bernoulli"),
        (lambda: D.kl_divergence(D.Independent(good, 1), D.Independent(good, 0)), NotImplementedError, None),
        (lambda: D.Distribution.set_default_validate_args(3), ValueError, None),
    ]  # fmt: skip


@pytest.mark.parametrize("i", range(35))
def test_errors(i):
    call, kind, words = bad(minitorch)[i]
    with pytest.raises(kind, match=words):
        call()


def test_errors_are_pytorchs(torch):
    assert len(bad(torch)) == 35
    for call, kind, words in bad(torch):
        with pytest.raises(kind, match=words):
            call()


def test_what_only_minitorch_says():
    for call, kind, words in [
        (lambda: D.Poisson, AttributeError, "no Poisson; it has Bernoulli"),
        (lambda: D.Categorical([0.5, 0.5]), TypeError, "Tensor for probs, got list"),
        (lambda: D.Bernoulli(0.5).rsample(), NotImplementedError, "Bernoulli has no rsample"),
        (lambda: D.Categorical(minitorch.ones(2)).icdf(minitorch.tensor(0.5)), NotImplementedError, "implement icdf"),
        (lambda: D.Normal(0.0, 1.0).enumerate_support(), NotImplementedError, "Normal does not implement enumerate"),
        (lambda: D.register_kl(int, D.Normal), TypeError, "Expected type_p to be a Distribution"),
    ]:
        with pytest.raises(kind, match=words):
            call()


def test_validate_args_switches_the_checks():
    D.Normal(0.0, -1.0, validate_args=False)
    d = D.Bernoulli(0.5, validate_args=False)
    assert math.isfinite(d.log_prob(minitorch.tensor(0.5)).item())
    try:
        D.Distribution.set_default_validate_args(False)
        D.Exponential(-1.0)
        with pytest.raises(ValueError, match="rate"):
            D.Exponential(-1.0, validate_args=True)
    finally:
        D.Distribution.set_default_validate_args(True)


def test_subclasses():
    class Half(D.Normal):
        def __init__(self, loc):
            super().__init__(loc, 0.5)

    with pytest.raises(NotImplementedError, match=r"custom .expand\(\) method"):
        Half(minitorch.zeros(2)).expand((3, 2))
    assert D.kl_divergence(Half(0.0), D.Normal(0.0, 0.5)).item() == 0.0  # the parent's formula

    @D.register_kl(Half, Half)
    def twice_nothing(p, q):
        return "special"

    assert D.kl_divergence(Half(0.0), Half(1.0)) == "special"


# --- without PyTorch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, parameters, value", CASES, ids=IDS)
def test_moments_of_samples(name, parameters, value):
    d, _ = make(minitorch, name, parameters)
    if name == "Categorical":
        return
    minitorch.manual_seed(0)
    x = d.sample((20000,))
    error = 5 * numbers(d.stddev) / math.sqrt(20000)
    assert (np.abs(numbers(x.mean(0) - d.mean)) <= error + 1e-12).all()
    np.testing.assert_allclose(numbers(x.double().var(0)), numbers(d.variance), rtol=0.1, atol=1e-9)
    assert bool(d.support.check(x).all())


def test_densities_sum_to_one():
    x = minitorch.linspace(-8, 8, 20001, dtype=minitorch.float64)
    step = 16 / 20000
    assert float(D.Normal(0.3, 1.2).log_prob(x).exp().sum()) * step == pytest.approx(1, abs=1e-6)
    assert float(D.Uniform(-1.0, 2.0, validate_args=False).log_prob(x).exp().sum()) * step == pytest.approx(1, abs=1e-3)
    d = D.Categorical(logits=minitorch.tensor(REAL))
    assert numbers(d.log_prob(d.enumerate_support()).exp().sum(0)) == pytest.approx(np.ones(3))
    b = D.Bernoulli(logits=minitorch.tensor(REAL))
    assert numbers(b.log_prob(b.enumerate_support()).exp().sum(0)) == pytest.approx(np.ones((3, 4)))


@pytest.mark.parametrize("name, parameters, value", CASES, ids=IDS)
def test_on_another_array_library(name, parameters, value):
    """On arrays that refuse to become NumPy's by themselves."""
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    results = []
    for device in ("cpu", "guard"):
        given = {key: minitorch.tensor(v).to(device) for key, v in parameters.items()}
        d, x = getattr(D, name)(**given), minitorch.tensor(value).to(device)
        minitorch.manual_seed(0)
        sample = x if name in ("Bernoulli", "Categorical") else d.sample((3,))  # the guard has no generator of its own
        parts = [sample, d.entropy(), d.log_prob(x), D.kl_divergence(d, d)]
        assert {str(part.device) for part in parts} == {device}
        if d.has_rsample:
            parts += [d.cdf(x), d.rsample((2,)), d.icdf(x * 0 + 0.3)]
        results.append([part.cpu().double().numpy() for part in parts])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_score_function_gradient():
    """REINFORCE on a bandit: the log_prob's gradient, and the policy finds the best arm."""
    minitorch.manual_seed(0)
    reward = minitorch.tensor([0.1, 1.0, 0.3])
    logits = minitorch.zeros(3, requires_grad=True)
    for _ in range(200):
        d = D.Categorical(logits=logits)
        action = d.sample((32,))
        advantage = reward[action] - reward[action].mean()
        loss = -(d.log_prob(action) * advantage).mean()
        (g,) = minitorch.autograd.grad(loss, logits)
        with minitorch.no_grad():
            logits -= 0.5 * g
    assert int(logits.argmax()) == 1 and float(D.Categorical(logits=logits).probs[1]) > 0.9
