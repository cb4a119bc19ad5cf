"""Gradients of gradients, to any order, through the same formulas.

Each order is checked against central differences of the order below it, in float64, along random directions, with the
reference ops and with the fast paths. Then what they are for: Hessians, Jacobians and their products, and penalties on
gradients that train.
"""

import contextlib
import math

import numpy as np
import pytest

import minitorch
from minitorch.autograd import functional, grad
from minitorch.nn import functional as F

H = 1e-4


def draw(seed, *shape):
    return np.asarray(np.random.default_rng(seed).uniform(-1, 1, shape))


def scalar(out, seed=50):
    """A scalar of one output or several, with weights that are random and a curve, so that no order is lost."""
    outputs = out if isinstance(out, (tuple, list)) else (out,)
    return sum(
        (t.sin() * minitorch.from_numpy(draw(seed + i, *t.shape))).sum()
        for i, t in enumerate(outputs)
        if t.is_floating_point()
    )


def derivatives(f, arrays, order):
    """[d1, d2 ...]: d_k is the k-th derivative along the directions u_1 ... u_k, a number each."""
    inputs = [minitorch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    value, found = scalar(f(*inputs)), []
    for k in range(order):
        gradients = grad(value, inputs, create_graph=True, materialize_grads=True)
        value = sum((g * minitorch.from_numpy(draw(90 + 10 * k + i, *g.shape))).sum() for i, g in enumerate(gradients))
        found.append(value.item())
        if not value.requires_grad:
            break
    return found + [0.0] * (order - len(found))


def differences(f, arrays, order):
    """The same numbers, each by the four-point rule from the order below."""
    found = []
    for k in range(order):
        directions = [draw(90 + 10 * k + i, *a.shape) for i, a in enumerate(arrays)]

        def below(h, k=k, directions=directions):
            moved = [np.asarray(a + h * u) for a, u in zip(arrays, directions, strict=True)]
            if k:
                return derivatives(f, moved, k)[-1]
            return scalar(f(*map(minitorch.from_numpy, moved))).item()

        found.append((8 * (below(H) - below(-H)) - (below(2 * H) - below(-2 * H))) / (12 * H))
    return found


INDEX = np.array([2, 0, 2])


def dropped(x):
    minitorch.manual_seed(3)
    return F.dropout(x * x, 0.4)


def written(x, w):
    y = x * w[:4]
    view = y.t()[1:]
    view.mul_(w.sum())
    y[0] = y[1].clone() * x[2]
    return y


def filled(x, w):
    buffer = minitorch.zeros(3, 4, dtype=minitorch.float64)
    for i in range(3):
        buffer[i] = x[i] * w * (buffer[i - 1].clone() if i else 1.0)
    return buffer


# name: (function, shapes of its inputs, tolerance's factor)
SEVEN = {
    "softmax": (lambda x: x.softmax(-1), [(3, 4)]),
    "softmax along the first axis": (lambda x: x.softmax(0), [(3, 4)]),
    "matmul": (lambda a, b: a @ b, [(3, 4), (4, 2)]),
    "matmul, broadcast": (lambda a, b: a @ b, [(2, 1, 3, 4), (3, 4, 2)]),
    "matmul with itself": (lambda a: a @ a.t() @ a, [(3, 3)]),
    "linear": (lambda x, w, b: F.linear(x, w, b), [(2, 3, 4), (5, 4), (5,)]),
    "LayerNorm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), [(3, 4), (4,), (4,)]),
    "LayerNorm without weights": (lambda x: F.layer_norm(x, (4,)), [(3, 4)]),
    "LayerNorm over two axes": (lambda x, w: F.layer_norm(x, (2, 4), w), [(3, 2, 4), (2, 4)]),
    "max": (lambda x: x.max(1)[0] * x.max(), [(3, 4)]),
    "max, keepdim": (lambda x: (x - x.max(0, keepdim=True)[0]) ** 3, [(3, 4)]),
    "amax": (lambda x: x.amax((0, 1)), [(2, 3, 4)]),
    "index": (lambda x: x[minitorch.from_numpy(INDEX)] ** 2, [(3, 4)]),
    "index, written": (
        lambda x, w: (x * 1).index_add(0, minitorch.from_numpy(INDEX), w**2) * x,
        [(3, 4), (3, 4)],
    ),
    "gather": (lambda x: x.gather(0, minitorch.tensor([[0, 2, 1, 0], [2, 2, 0, 1]])) ** 3, [(3, 4)]),
    "scatter_add": (
        lambda x, w: x.scatter_add(0, minitorch.tensor([[0, 2, 1, 0], [2, 2, 0, 1]]), w**2) ** 2,
        [(3, 4), (2, 4)],
    ),
    "scatter": (
        lambda x, w: (x**2).scatter(1, minitorch.tensor([[0], [3], [1]]), w**2) ** 2,
        [(3, 4), (3, 1)],
    ),
    "embedding": (lambda w: F.embedding(minitorch.tensor([[0, 2], [2, 2]]), w) ** 3, [(3, 4)]),
    "sort": (lambda x: x.sort(1)[0] ** 2 * minitorch.arange(4.0), [(3, 4)]),
    "dropout": (dropped, [(3, 4)]),
    "a view changed in place": (written, [(3, 4), (4,)]),
    "a buffer that is filled": (filled, [(3, 4), (4,)]),
}
MORE = {
    "broadcasting": (lambda a, b: a * b + a / (b + 3) - a**2 * b, [(3, 1), (4,)]),
    "0-d": (lambda a, b: (a * b).exp() * a, [(), ()]),
    "a chain": (lambda x: (x.tanh().exp() * x.sigmoid()).log(), [(3,)]),
    "gelu": (lambda x: F.gelu(x) + F.gelu(x, approximate="tanh"), [(4,)]),
    "norms": (lambda x: x.norm() + x.var() + x.logsumexp(0).sum(), [(3, 4)]),
    "cross entropy": (lambda x: F.cross_entropy(x, minitorch.tensor([1, 0, 3])), [(3, 4)]),
    "cross entropy, smoothed": (
        lambda x: F.cross_entropy(x, minitorch.tensor([1, -100, 3]), label_smoothing=0.1, reduction="none"),
        [(3, 4)],
    ),
    "attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        [(2, 3, 4), (2, 3, 4), (2, 3, 2)],
    ),
    "shapes": (
        lambda x: minitorch.cat([x.t().reshape(2, 6), x.flip(0).reshape(2, 6) ** 2]).permute(1, 0).cumsum(0) ** 2,
        [(3, 4)],
    ),
    "split, the first part unused": (lambda x: (x * x).split(2)[1] ** 2, [(4, 3)]),
    "where": (lambda a, b: minitorch.where(a > b, a**3, a * b**2), [(3, 4), (4,)]),
}
ALL = SEVEN | MORE


@pytest.mark.parametrize("reference", [True, False], ids=["reference ops", "fast paths"])
@pytest.mark.parametrize("name", ALL)
def test_second_order(name, reference):
    f, shapes = ALL[name]
    arrays = [draw(i, *shape) for i, shape in enumerate(shapes)]
    with minitorch.reference_ops() if reference else contextlib.nullcontext():
        np.testing.assert_allclose(derivatives(f, arrays, 2), differences(f, arrays, 2), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_third_order(name):
    f, shapes = ALL[name]
    arrays = [draw(i, *shape) for i, shape in enumerate(shapes)]
    np.testing.assert_allclose(derivatives(f, arrays, 3), differences(f, arrays, 3), rtol=1e-6, atol=1e-7)


def test_the_check_can_fail():
    """A wrong second derivative is seen: the closed form of exp's gradient with a constant in place of the output."""
    exact = lambda x: x.exp()  # noqa: E731
    arrays = [draw(0, 3)]

    def wrong(x):
        return x.detach().exp() * (x - x.detach() + 1)  # the value and the first derivative of e^x, and no second

    assert math.isclose(derivatives(exact, arrays, 1)[0], derivatives(wrong, arrays, 1)[0])
    assert abs(derivatives(wrong, arrays, 2)[1] - differences(exact, arrays, 2)[1]) > 1e-3


def test_ninth_order():
    """Every derivative of e^x is e^x; the ninth of x^9 is 9!."""
    x = minitorch.tensor(0.5, dtype=minitorch.float64, requires_grad=True)
    y, z = x.exp(), x**9
    for _ in range(9):
        (y,) = grad(y, x, create_graph=True)
        (z,) = grad(z, x, create_graph=True)
    np.testing.assert_allclose(y.item(), math.exp(0.5), rtol=1e-12)
    np.testing.assert_allclose(z.item(), math.factorial(9), rtol=1e-12)


def test_mixed_derivatives_commute():
    a, b = (minitorch.from_numpy(draw(i, 3)).requires_grad_() for i in range(2))
    y = ((a * b).softmax(0) * (a + b).tanh()).sum()
    (ga,) = grad(y, a, create_graph=True)
    (gb,) = grad(y, b, create_graph=True)
    u, v = (minitorch.from_numpy(draw(i, 3)) for i in (5, 6))
    np.testing.assert_allclose(
        (grad((ga * u).sum(), b, retain_graph=True)[0] * v).sum().item(), (grad((gb * v).sum(), a)[0] * u).sum().item()
    )


def test_the_cotangent_is_differentiated_too():
    """g = v cos(x): dg/dv = cos(x)."""
    x, v = (minitorch.from_numpy(draw(i, 3)).requires_grad_() for i in range(2))
    (g,) = grad(x.sin(), x, v, create_graph=True)
    by_v, by_x = grad(g.sum(), [v, x])
    np.testing.assert_allclose(by_v.numpy(), np.cos(x.detach().numpy()))
    np.testing.assert_allclose(by_x.numpy(), -np.sin(x.detach().numpy()) * v.detach().numpy())


# --- exchanged data, kept graphs -------------------------------------------------------------------------------------


def test_data_exchanged_between_the_orders():
    """The second pass belongs to the first one's values: d2 x^3 = 6 x at the old x; the leaf holds the new one.

    (PyTorch reads the leaf again there, and gives 6 times the new value.)
    """
    x = minitorch.tensor([1.0, 2.0], requires_grad=True)
    y = (x**3).sum()
    (g,) = grad(y, x, create_graph=True)
    x.data = minitorch.tensor([100.0, 200.0])
    assert grad(g.sum(), x)[0].tolist() == [6.0, 12.0]


def test_data_exchanged_between_forward_and_a_traced_backward():
    x = minitorch.tensor([1.0, 2.0], requires_grad=True)
    y = (x**3).sum()
    x.data = minitorch.tensor([100.0, 200.0])
    (g,) = grad(y, x, create_graph=True)
    assert g.tolist() == [3.0, 12.0] and grad(g.sum(), x)[0].tolist() == [6.0, 12.0]
    (x * x).sum().backward()
    assert x.grad.tolist() == [200.0, 400.0]


def test_an_optimizer_step_between_the_orders_is_reported():
    x = minitorch.tensor([1.0, 2.0], requires_grad=True)
    (g,) = grad((x**3).sum(), x, create_graph=True)
    with minitorch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an in-place"):
        g.sum().backward()


def test_retain_graph_and_create_graph():
    x = minitorch.tensor([1.0, 2.0], dtype=minitorch.float64, requires_grad=True)
    y = (x.exp() * x).sum()
    first = grad(y, x, create_graph=True)[0]
    again = grad(y, x, create_graph=True)[0]  # create_graph keeps y's graph
    a = grad(first.sum(), x, retain_graph=True)[0]
    b = grad(first.sum(), x, retain_graph=True)[0]
    c = grad(again.sum(), x)[0]  # frees what all of them share
    expected = np.exp([1.0, 2.0]) * np.array([3.0, 4.0])
    for second in (a, b, c):
        np.testing.assert_allclose(second.numpy(), expected)
    with pytest.raises(RuntimeError, match="second time"):
        grad(first.sum(), x)
    third = (x.exp() * x).sum()
    grad(third, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="second time"):
        third.backward()


def test_graphs_of_one_value_accumulate_in_grad():
    x = minitorch.tensor([2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True)  # 3 x^2
    (x**2).sum().backward(create_graph=True)  # 2 x
    assert x.grad.item() == 16.0
    assert grad(x.grad, x)[0].item() == 14.0  # 6 x + 2


# --- functional ------------------------------------------------------------------------------------------------------


def test_jacobian():
    a = minitorch.from_numpy(draw(0, 3))
    j = functional.jacobian(lambda x: x.exp().unsqueeze(1) * minitorch.tensor([1.0, 2.0]), a)
    assert j.shape == (3, 2, 3) and not j.requires_grad
    np.testing.assert_allclose(j.numpy(), np.einsum("i,k,ij->ikj", np.exp(a.numpy()), [1, 2], np.eye(3)))


def test_jacobian_of_several_inputs_and_outputs():
    a, b = minitorch.from_numpy(draw(0, 2)), minitorch.from_numpy(draw(1, 3))
    j = functional.jacobian(lambda x, y: (x.sum() * y, x * 2), (a, b))
    assert [[tuple(block.shape) for block in row] for row in j] == [[(3, 2), (3, 3)], [(2, 2), (2, 3)]]
    np.testing.assert_allclose(j[0][0].numpy(), np.outer(b.numpy(), [1, 1]))
    np.testing.assert_allclose(j[0][1].numpy(), a.sum().item() * np.eye(3))
    assert (j[1][1].numpy() == 0).all()
    with pytest.raises(RuntimeError, match="strict"):
        functional.jacobian(lambda x, y: (x.sum() * y, x * 2), (a, b), strict=True)


def test_hessian():
    A = draw(0, 3, 3)
    x = minitorch.from_numpy(draw(1, 3))
    h = functional.hessian(lambda x: x @ minitorch.from_numpy(A) @ x + (x**3).sum(), x)
    np.testing.assert_allclose(h.numpy(), A + A.T + np.diag(6 * x.numpy()), rtol=1e-12)
    with pytest.raises(RuntimeError, match="single element"):
        functional.hessian(lambda x: x * 2, x)


def test_hessian_of_several_inputs():
    x, y = minitorch.from_numpy(draw(0, 2)), minitorch.from_numpy(draw(1, 3))
    h = functional.hessian(lambda x, y: x.sum() * (y**2).sum(), (x, y))
    np.testing.assert_allclose(h[0][0].numpy(), 0)
    np.testing.assert_allclose(h[0][1].numpy(), np.outer([1, 1], 2 * y.numpy()))
    np.testing.assert_allclose(h[1][0].numpy(), h[0][1].numpy().T)
    np.testing.assert_allclose(h[1][1].numpy(), 2 * x.sum().item() * np.eye(3))


def test_products():
    A = draw(0, 3, 4)
    f = lambda x: (minitorch.from_numpy(A) @ x).tanh()  # noqa: E731
    x, v, u = (minitorch.from_numpy(draw(i, n)) for i, n in ((1, 4), (2, 3), (3, 4)))
    value = np.tanh(A @ x.numpy())
    J = (1 - value**2)[:, None] * A
    out, product = functional.vjp(f, x, v)
    np.testing.assert_allclose(out.numpy(), value)
    np.testing.assert_allclose(product.numpy(), v.numpy() @ J)
    out, product = functional.jvp(f, x, u)
    np.testing.assert_allclose(out.numpy(), value)
    np.testing.assert_allclose(product.numpy(), J @ u.numpy())
    g = lambda x: f(x).sum()  # noqa: E731
    H = functional.hessian(g, x).numpy()
    for which in (functional.hvp, functional.vhp):
        out, product = which(g, x, u)
        np.testing.assert_allclose(out.item(), value.sum())
        np.testing.assert_allclose(product.numpy(), H @ u.numpy())


def test_products_with_a_graph():
    """create_graph: what they return can be differentiated itself, with respect to the inputs that were given."""
    x = minitorch.from_numpy(draw(0, 3)).requires_grad_()
    u = minitorch.from_numpy(draw(1, 3))
    for which, expected in [
        (functional.jvp, lambda x, u: -np.sin(x) * u),  # d/dx sum cos(x) u
        (functional.vjp, lambda x, u: -np.sin(x) * u),
    ]:
        _, product = which(lambda x: x.sin(), x, u, create_graph=True)
        np.testing.assert_allclose(grad(product.sum(), x)[0].numpy(), expected(x.detach().numpy(), u.numpy()))
    j = functional.jacobian(lambda x: x**3, x, create_graph=True)
    np.testing.assert_allclose(grad(j.sum(), x)[0].numpy(), 6 * x.detach().numpy())


def test_v_may_be_left_out_where_there_is_one_choice():
    x = minitorch.tensor([2.0])
    assert functional.jvp(lambda x: x**2, x)[1].item() == 4.0
    assert functional.vjp(lambda x: (x**2).sum(), minitorch.ones(3))[1].tolist() == [2.0, 2.0, 2.0]
    assert functional.hvp(lambda x: (x**3).sum(), x)[1].item() == 12.0
    two = minitorch.ones(2)
    for which in (functional.jvp, functional.hvp):
        with pytest.raises(RuntimeError, match="v can only be None"):
            which(lambda x: (x**2).sum(), two)
        with pytest.raises(RuntimeError, match="v has shape"):
            which(lambda x: (x**2).sum(), two, minitorch.ones(3))
    with pytest.raises(RuntimeError, match="v can only be None"):
        functional.vjp(lambda x: x, two)
    with pytest.raises(RuntimeError, match="v has shape"):
        functional.vjp(lambda x: x, two, minitorch.ones(3))
    with pytest.raises(TypeError, match="floating"):
        functional.jacobian(lambda x: x, minitorch.tensor([1, 2]))


def test_functional_leaves_its_inputs_alone():
    x = minitorch.ones(2)
    functional.hessian(lambda x: (x**2).sum(), x)
    assert not x.requires_grad and x.grad is None
    with minitorch.no_grad():
        assert functional.jacobian(lambda x: x * 3, x).tolist() == [[3.0, 0.0], [0.0, 3.0]]


def small_network(lib):
    """A function whose Hessian is full: two layers, softmax, layer norm, an index."""
    W, V = (lib.from_numpy(draw(i, 4, 4)) for i in range(2))

    def f(x):
        h = lib.nn.functional.layer_norm((x @ W).tanh(), (4,))
        return ((h @ V).softmax(-1)[lib.tensor([0, 2, 2])] ** 2).sum() + (x.max(1)[0] * x[:, 0]).sum()

    return f


@pytest.mark.parity
def test_functional_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    a, u = draw(5, 3, 4), draw(6, 3, 4)

    def everything(lib):
        fn, f, x, v = lib.autograd.functional, small_network(lib), lib.from_numpy(a.copy()), lib.from_numpy(u.copy())
        row = lambda x: (x @ x.t()).softmax(0)  # noqa: E731
        w = lib.from_numpy(draw(7, 3, 3))
        return [
            fn.hessian(f, x),
            fn.hvp(f, x, v)[1],
            fn.vhp(f, x, v)[1],
            fn.jacobian(row, x),
            fn.vjp(row, x, w)[1],
            fn.jvp(row, x, v)[1],
            *(b for rows in fn.hessian(lambda x, w: (w @ x).tanh().sum(), (x, w)) for b in rows),
        ]

    for ours, theirs in zip(everything(minitorch), everything(torch), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-12)


# --- penalties on gradients ------------------------------------------------------------------------------------------


def critic(lib):
    lib.manual_seed(0)
    return lib.nn.Sequential(lib.nn.Linear(2, 32), lib.nn.Tanh(), lib.nn.LayerNorm(32), lib.nn.Linear(32, 1))


def train_critic(lib, steps=60):
    """The critic of a WGAN-GP (arXiv:1704.00028) on two clouds: gap and penalty of each step."""
    net = critic(lib)
    optimizer = lib.optim.Adam(net.parameters(), lr=0.02, betas=(0.5, 0.9))
    rng = np.random.default_rng(0)
    gaps, penalties = [], []
    for _ in range(steps):
        real, fake = rng.normal(2, 0.5, (64, 2)), rng.normal(-2, 0.5, (64, 2))
        share = rng.uniform(size=(64, 1))
        real, fake, between = (
            lib.from_numpy(v.astype("float32")) for v in (real, fake, share * real + (1 - share) * fake)
        )
        between.requires_grad_()
        (g,) = lib.autograd.grad(net(between).sum(), between, create_graph=True)
        penalty = ((g.norm(2, dim=1) - 1) ** 2).mean()
        gap = net(fake).mean() - net(real).mean()
        optimizer.zero_grad()
        (gap + 10 * penalty).backward()
        optimizer.step()
        gaps.append(gap.item())
        penalties.append(penalty.item())
    return gaps, penalties


def test_a_gradient_penalty_trains():
    gaps, penalties = train_critic(minitorch)
    assert np.mean(penalties[-10:]) < 0.2 * penalties[0], penalties
    assert np.mean(gaps[-10:]) < -3.0, gaps  # the clouds are 5.7 apart; slope 1 tells them apart by as much


def test_without_the_penalty_the_slope_grows():
    """So that the test above measures the penalty's gradient and not the critic's growth."""
    net = critic(minitorch)
    optimizer = minitorch.optim.Adam(net.parameters(), lr=0.02, betas=(0.5, 0.9))
    x = minitorch.randn(64, 2)
    for _ in range(60):
        optimizer.zero_grad()
        (net(x - 2).mean() - net(x + 2).mean()).backward()
        optimizer.step()
    x.requires_grad_()
    (g,) = grad(net(x).sum(), x)
    assert g.norm(2, dim=1).mean().item() > 2


@pytest.mark.parity
def test_a_gradient_penalty_trains_as_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    ours, theirs = train_critic(minitorch, 20), train_critic(torch, 20)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)


def test_a_step_inside_the_graph():
    """MAML's inner step: the loss after one step of gradient descent, differentiated through the step."""
    w = minitorch.tensor([1.0, -2.0], dtype=minitorch.float64, requires_grad=True)
    a = np.array([3.0, 0.5])

    def loss(w):
        return (minitorch.from_numpy(a) * w**2).sum()

    (g,) = grad(loss(w), w, create_graph=True)
    loss(w - 0.1 * g).backward()  # w (1 - 0.2 a): d/dw = 2 a w (1 - 0.2 a)^2
    np.testing.assert_allclose(w.grad.numpy(), 2 * a * w.detach().numpy() * (1 - 0.2 * a) ** 2)
