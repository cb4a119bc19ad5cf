"""LBFGS: both line searches beside PyTorch's, what they promise, and its state."""

import numpy as np
import pytest

import minitorch
from minitorch import nn, optim
from minitorch.optim.lbfgs import cubic_minimum, strong_wolfe


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


class Rosenbrock:
    def __init__(self, lib, n=2, dtype="float64"):
        start = np.resize([-1.2, 1.0], n)
        self.params = [lib.tensor(start, dtype=getattr(lib, dtype), requires_grad=True)]

    def loss(self):
        return rosenbrock(self.params[0])


class Network:
    """A regression with two layers and a parameter that has no gradient."""

    def __init__(self, lib, n=None, dtype="float64"):
        rng = np.random.default_rng(0)
        dtype = getattr(lib, dtype)
        self.x, self.y = (lib.tensor(rng.normal(size=s), dtype=dtype) for s in ((20, 3), (20, 1)))
        shapes = (8, 3), (8,), (1, 8), (1,), (2,)
        self.params = [lib.tensor(0.5 * rng.normal(size=s), dtype=dtype, requires_grad=True) for s in shapes]
        self.f = lib.nn.functional

    def loss(self):
        W, b, V, c, _ = self.params
        return self.f.mse_loss(self.f.linear(self.f.linear(self.x, W, b).tanh(), V, c), self.y)


def minimise(lib, Problem, options, steps=25, optimizer=None, **kind):
    problem = Problem(lib, **kind)
    optimizer = lib.optim.LBFGS(problem.params, **options)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = problem.loss()
        loss.backward()
        losses.append(loss.item())
        return loss

    returned = [optimizer.step(closure).item() for _ in range(steps)]
    return problem.params, optimizer, losses, returned


OPTIONS = {
    "fixed": {"lr": 0.1, "max_iter": 4},
    "fixed, one iteration": {"lr": 0.002, "max_iter": 1},
    "fixed, short memory": {"lr": 0.05, "max_iter": 7, "history_size": 2, "max_eval": 2},
    "wolfe": {"line_search_fn": "strong_wolfe", "max_iter": 3},
    "wolfe, short memory": {"line_search_fn": "strong_wolfe", "max_iter": 2, "history_size": 3, "lr": 0.5},
    "wolfe, few evaluations": {"line_search_fn": "strong_wolfe", "max_iter": 6, "max_eval": 4},
    "wolfe, tolerant": {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-2, "tolerance_change": 1e-3},
}


@pytest.mark.parametrize(
    "name, Problem",
    [(name, Rosenbrock) for name in OPTIONS] + [(name, Network) for name in ("fixed", "wolfe", "wolfe, short memory")],
)
@pytest.mark.parity
def test_25_steps_equal_pytorch(torch, name, Problem):
    (p, a, our_losses, ours), (q, b, their_losses, theirs) = (
        minimise(lib, Problem, OPTIONS[name]) for lib in (minitorch, torch)
    )
    assert len(our_losses) == len(their_losses)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
    for x, y in zip(p, q):
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=1e-6, atol=1e-7)
    found, expected = a.state_dict(), b.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    found, expected = found["state"][0], expected["state"][0]
    assert set(found) == set(expected)
    for key, value in expected.items():
        if isinstance(value, list):
            assert len(found[key]) == len(value)
            pairs = [(x, y) for x, y in zip(found[key], value) if y is not None]
        else:
            pairs = [(found[key], value)]
        for x, y in pairs:
            tolerance = 1e-4 * (1 + abs(np.asarray(y)).max())
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-3, atol=tolerance, err_msg=key)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["fixed", "wolfe"])
def test_state_moves_between_the_libraries(torch, name):
    def convert(value, lib):
        if isinstance(value, dict):
            return {k: convert(v, lib) for k, v in value.items()}
        if isinstance(value, list):
            return [convert(v, lib) for v in value]
        return lib.from_numpy(value.numpy().copy()) if hasattr(value, "numpy") else value

    for source, target in ((torch, minitorch), (minitorch, torch)):
        params, optimizer, *_ = minimise(source, Network, OPTIONS[name], steps=3)
        results = []
        for lib in (source, target):
            problem = Network(lib)
            with lib.no_grad():
                for p, value in zip(problem.params, params):
                    p.copy_(lib.tensor(value.detach().numpy()))
            other = lib.optim.LBFGS(problem.params, lr=3.0)
            other.load_state_dict(convert(optimizer.state_dict(), lib))

            def closure(other=other, problem=problem):
                other.zero_grad()
                loss = problem.loss()
                loss.backward()
                return loss

            for _ in range(4):
                other.step(closure)
            results.append([p.detach().numpy() for p in problem.params])
        for a, b in zip(*results):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype, goal", [("float64", 1e-14), ("float32", 1e-9)])
def test_strong_wolfe_finds_the_bottom_of_rosenbrocks_valley(dtype, goal):
    options = {"line_search_fn": "strong_wolfe", "max_iter": 100, "tolerance_grad": 1e-10, "tolerance_change": 1e-15}
    params, optimizer, losses, _ = minimise(minitorch, Rosenbrock, options, steps=3, n=6, dtype=dtype)
    assert losses[-1] < goal
    np.testing.assert_allclose(params[0].tolist(), np.ones(6), rtol=1e-4)
    assert optimizer.state[params[0]]["func_evals"] == len(losses)


def test_a_quadratic_is_solved_in_as_many_iterations_as_it_has_dimensions():
    A = minitorch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]], dtype=minitorch.float64)
    b = minitorch.tensor([1.0, -2.0, 0.5], dtype=minitorch.float64)
    x = minitorch.zeros(3, dtype=minitorch.float64, requires_grad=True)
    optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe", max_iter=30, tolerance_change=1e-15)

    def closure():
        optimizer.zero_grad()
        loss = 0.5 * x @ A @ x - b @ x
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(x.tolist(), minitorch.linalg.solve(A, b).tolist(), rtol=1e-6)


def test_it_stops_where_the_gradient_is_small_and_runs_hooks():
    x = minitorch.ones(2, requires_grad=True)
    optimizer = optim.LBFGS([x])
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append(1))

    def closure():
        optimizer.zero_grad()
        loss = ((x - 1) ** 2).sum()
        loss.backward()
        return loss

    with minitorch.no_grad():
        assert optimizer.step(closure).item() == 0.0
    assert x.tolist() == [1.0, 1.0] and seen == [1] and optimizer.state[x] == {"func_evals": 1, "n_iter": 0}


def test_the_search_keeps_the_wolfe_conditions():
    rng = np.random.default_rng(0)
    for _ in range(30):
        a, b, c = rng.normal(size=3)

        def f(x, a=a, b=b, c=c):  # bounded below, with more than one valley
            return 0.1 * x**4 + a * x**2 + b * x + np.sin(5 * c * x)

        def slope(x, a=a, b=b, c=c):
            return 0.4 * x**3 + 2 * a * x + b + 5 * c * np.cos(5 * c * x)

        d = -np.sign(slope(0.0))
        calls = []

        def probe(t, d=d, f=f, slope=slope, calls=calls):
            calls.append(t)
            return f(t * d), minitorch.tensor([slope(t * d)])

        direction = minitorch.tensor([d])
        start = slope(0.0) * d
        found, g, t, used = strong_wolfe(
            probe, 1.0, f(0.0), minitorch.tensor([slope(0.0)]), direction, start, 1.0, 1e-9, 25
        )
        assert used == len(calls) and found == pytest.approx(f(t * d)) and g.item() == pytest.approx(slope(t * d))
        assert found <= f(0.0) + 1e-4 * t * start and abs(slope(t * d) * d) <= 0.9 * abs(start) + 1e-9


def test_cubic_minimum():
    def point(t):  # t^3 - 3 t: least at 1
        return t, t**3 - 3 * t, None, 3 * t**2 - 3

    assert cubic_minimum(point(0.0), point(3.0), 0.0, 3.0) == pytest.approx(1.0)
    assert cubic_minimum(point(3.0), point(0.0), 0.0, 3.0) == pytest.approx(1.0)
    assert cubic_minimum(point(0.0), point(3.0), 2.0, 3.0) == 2.0
    falling = (0.0, 0.0, None, -1.0), (1.0, -2 / 3, None, -1.0)  # no minimum
    assert cubic_minimum(*falling, 0.0, 4.0) == 2.0


def test_it_trains_a_module():
    minitorch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    x = minitorch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = minitorch.tensor([[0.0], [1.0], [1.0], [0.0]])
    optimizer = optim.LBFGS(net.parameters(), lr=minitorch.tensor(1.0), line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    assert closure().item() < 1e-4
