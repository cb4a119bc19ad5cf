"""minitorch.func beside torch.func: values, structures, nesting, what stays in the graph, the words of the errors."""

from collections import OrderedDict

import numpy as np
import pytest

import minitorch
from minitorch import func as F
from minitorch import nn
from tests.guard import GuardArray, guard


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


RNG = np.random.default_rng(0)
X, Y, M = RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=(2, 3))


def both(program):
    """The program under both libraries: program(library, its func, tensor) -> a nested structure of tensors."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    ours = program(minitorch, minitorch.func, minitorch.tensor)
    theirs = program(torch, torch.func, torch.tensor)
    same(ours, theirs)


def same(ours, theirs):
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs) and type(ours).__name__ == type(theirs).__name__
        return [same(ours[key], theirs[key]) for key in theirs]
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs) and isinstance(ours, (tuple, list))
        return [same(a, b) for a, b in zip(ours, theirs)]
    if not hasattr(theirs, "requires_grad"):
        assert ours == theirs
        return None
    assert tuple(ours.shape) == tuple(theirs.shape) and str(ours.dtype)[-7:] == str(theirs.dtype)[-7:]
    assert ours.requires_grad == theirs.requires_grad
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    tol = 1e-10 if a.dtype == np.float64 else 2e-6
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
    return None


def f(x):
    return (x.sin() * x.exp()).sum()


def g(x, y):
    return (x * y.cos()).sum() + (x * x).prod()


def v(x):
    return x.exp() * x[0] + x.flip(0) ** 2


PROGRAMS = {
    "grad": lambda L, F, t: F.grad(f)(t(X)),
    "grad of argument 1": lambda L, F, t: F.grad(g, argnums=1)(t(X), t(Y)),
    "grad of argument -1": lambda L, F, t: F.grad(g, argnums=-1)(t(X), t(Y)),
    "grad of two": lambda L, F, t: F.grad(g, argnums=(1, 0))(t(X), t(Y)),
    "grad with keywords": lambda L, F, t: F.grad(lambda x, *, k: (x * k).sum())(t(X), k=t(Y)),
    "grad of containers": lambda L, F, t: F.grad(lambda d: (d["a"] * d["b"][0] ** d["b"][1]).sum())(
        {"a": t(X), "b": [t(abs(Y)), t(2.0)]}
    ),
    "grad and value": lambda L, F, t: F.grad_and_value(f)(t(X)),
    "grad and aux": lambda L, F, t: F.grad(lambda x: (f(x), {"twice": 2 * x, "k": (x,)}), has_aux=True)(t(X)),
    "grad and value and aux": lambda L, F, t: F.grad_and_value(lambda x: (f(x), x * 2), has_aux=True)(t(X)),
    "grad of grad": lambda L, F, t: F.grad(F.grad(lambda x: x**4))(t(1.5)),
    "four times": lambda L, F, t: F.grad(F.grad(F.grad(F.grad(lambda x: x**5))))(t(1.5)),
    "grad inside a function": lambda L, F, t: F.grad(lambda x: x * F.grad(lambda y: x + y)(t(2.0)))(t(3.0)),
    "grad inside, of the same": lambda L, F, t: F.grad(lambda x: x * F.grad(lambda y: x * y * y)(x))(t(3.0)),
    "grad of a sum of grads": lambda L, F, t: F.grad(lambda x: F.grad(f)(x).sum())(t(X)),
    "no path": lambda L, F, t: F.grad(lambda x: t(1.0))(t(X)),
    "path of one": lambda L, F, t: F.grad(lambda x, y: x.sum(), argnums=(0, 1))(t(X), t(Y)),
    "detached": lambda L, F, t: F.grad(lambda x: (x.detach() * x).sum())(t(X)),
    "of a parameter outside": lambda L, F, t: (lambda w: F.grad(lambda x: (x * x * w).sum())(t(X)))(t(Y, requires_grad=True)),
    "of a tensor that requires gradients": lambda L, F, t: F.grad(f)(t(X, requires_grad=True)),
    "of an intermediate result": lambda L, F, t: F.grad(f)(t(X, requires_grad=True) * 2),
    "vjp": lambda L, F, t: (lambda o, b: (o, b(t(Y))))(*F.vjp(v, t(X))),
    "vjp of two": lambda L, F, t: (lambda o, b: (o, b(t(1.5))))(*F.vjp(g, t(X), t(Y))),
    "vjp twice": lambda L, F, t: (lambda o, b: (b(t(X)), b(t(Y))))(*F.vjp(v, t(X))),
    "vjp of containers": lambda L, F, t: (lambda o, b: (o, b({"s": t(X), "c": (t(Y),)})))(
        *F.vjp(lambda d: {"s": d["x"].sin(), "c": (d["x"].cos(),)}, {"x": t(X)})
    ),
    "vjp and aux": lambda L, F, t: (lambda o, b, aux: (o, b(t(Y)), aux))(*F.vjp(lambda x: (v(x), x), t(X), has_aux=True)),
    "jvp": lambda L, F, t: F.jvp(v, (t(X),), (t(Y),)),
    "jvp of two": lambda L, F, t: F.jvp(g, (t(X), t(Y)), (t(Y), t(X))),
    "jvp and aux": lambda L, F, t: F.jvp(lambda x: (v(x), x * 3), (t(X),), (t(Y),), has_aux=True),
    "jvp of containers": lambda L, F, t: F.jvp(lambda d: {"o": d["a"] * 2}, ({"a": t(X)},), ({"a": t(Y)},)),
    "jvp without a path": lambda L, F, t: F.jvp(lambda x: t(X), (t(X),), (t(Y),)),
    "jvp of vjp": lambda L, F, t: F.jvp(F.grad(f), (t(X),), (t(Y),)),
    "grad of jvp": lambda L, F, t: F.grad(lambda x: F.jvp(v, (x,), (t(Y),))[1].sum())(t(X)),
    "grad of jvp along x": lambda L, F, t: F.grad(lambda x: F.jvp(v, (t(Y),), (x,))[1].sum())(t(X)),
    "linearize": lambda L, F, t: (lambda o, d: (o, d(t(Y)), d(t(X))))(*F.linearize(v, t(X))),
    "jacrev": lambda L, F, t: F.jacrev(v)(t(X)),
    "jacrev of matrices": lambda L, F, t: F.jacrev(lambda m: m.T @ m)(t(M)),
    "jacrev of two": lambda L, F, t: F.jacrev(lambda x, y: x * y, argnums=(0, 1))(t(X), t(Y)),
    "jacrev of a tuple of one": lambda L, F, t: F.jacrev(lambda x, y: x * y, argnums=(1,))(t(X), t(Y)),
    "jacrev of containers": lambda L, F, t: F.jacrev(lambda d: {"p": d["a"] * d["b"]})({"a": t(X), "b": t(Y)}),
    "jacrev of several outputs": lambda L, F, t: F.jacrev(lambda x: (x * 2, x.sum()))(t(X)),
    "jacrev and aux": lambda L, F, t: F.jacrev(lambda x: (v(x), x.sum()), has_aux=True)(t(X)),
    "jacrev in chunks": lambda L, F, t: F.jacrev(v, chunk_size=2)(t(X)),
    "jacfwd": lambda L, F, t: F.jacfwd(v)(t(X)),
    "jacfwd of two": lambda L, F, t: F.jacfwd(lambda x, y: x * y.sin(), argnums=(0, 1))(t(X), t(Y)),
    "jacfwd of matrices": lambda L, F, t: F.jacfwd(lambda m: m.T @ m)(t(M)),
    "jacfwd of several outputs": lambda L, F, t: F.jacfwd(lambda x: (x * 2, x.sum()))(t(X)),
    "jacfwd and aux": lambda L, F, t: F.jacfwd(lambda x: (v(x), x.sum()), has_aux=True)(t(X)),
    "jacrev of jacfwd": lambda L, F, t: F.jacrev(F.jacfwd(v))(t(X)),
    "jacfwd of jacrev": lambda L, F, t: F.jacfwd(F.jacrev(v))(t(X)),
    "hessian": lambda L, F, t: F.hessian(f)(t(X)),
    "hessian of two": lambda L, F, t: F.hessian(g, argnums=(0, 1))(t(X), t(Y)),
    "hessian of a vector function": lambda L, F, t: F.hessian(v)(t(X)),
    "vmap": lambda L, F, t: F.vmap(lambda x: x.sum() * x)(t(M)),
    "vmap of two": lambda L, F, t: F.vmap(lambda x, y: x @ y, in_dims=(0, None))(t(M), t(X)),
    "vmap along 1": lambda L, F, t: F.vmap(lambda x: x * 2, in_dims=1, out_dims=1)(t(M)),
    "vmap along -1": lambda L, F, t: F.vmap(lambda x: x.sum(), in_dims=-1)(t(M)),
    "vmap of containers": lambda L, F, t: F.vmap(lambda d: (d["a"] + d["b"], d["b"]), in_dims=({"a": 0, "b": 0},))(
        {"a": t(M), "b": t(M)}
    ),
    "vmap, outputs along several": lambda L, F, t: F.vmap(lambda x: (x, x * 2), out_dims=(0, 1))(t(M)),
    "vmap of vmap": lambda L, F, t: F.vmap(F.vmap(lambda x: x * x))(t(M)),
    "vmap of grad": lambda L, F, t: F.vmap(F.grad(lambda w, x: (w * x).sin().sum()), in_dims=(None, 0))(t(X), t(M)),
    "grad of vmap": lambda L, F, t: F.grad(lambda m: F.vmap(lambda x: x.prod())(m).sum())(t(M)),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_pytorch(torch, name):
    both(PROGRAMS[name])


def test_ordinary_gradients_go_on_through(torch):
    def program(L, F, t):
        x, w = t(X, requires_grad=True), t(Y, requires_grad=True)
        F.grad(lambda x: (x * x * w).sum())(x).prod().backward()
        a = t(X, requires_grad=True)
        F.hessian(f)(a).sum().backward()
        b = t(X, requires_grad=True)
        output, back = F.vjp(v, b)
        (output.sum() + back(t(Y))[0].sum()).backward()
        c = t(X, requires_grad=True)
        F.vjp(v, t(X))[1](c)[0].sum().backward()
        return x.grad, w.grad, a.grad, b.grad, c.grad

    both(program)


def test_no_grad_inside_counts_and_outside_does_not(torch):
    def program(L, F, t):
        def inside(x):
            with L.no_grad():
                constant = x**3
            return (x**3 - constant).sum()

        with L.no_grad():
            outside = (
                F.grad(f)(t(X)),
                F.grad(f)(t(X, requires_grad=True)),
                F.jacrev(v)(t(X)),
                F.jvp(v, (t(X),), (t(Y),)),
            )
        return F.grad(inside)(t(X)), outside

    both(program)


def test_arguments_are_left_alone():
    x = minitorch.tensor(X, requires_grad=True)
    F.grad(f)(x)
    F.hessian(f)(x)
    assert x.grad is None and x.is_leaf
    y = minitorch.tensor(X)
    F.grad(f)(y)
    assert not y.requires_grad


def test_named_tuples_and_ordered_dicts():
    from collections import namedtuple

    Point = namedtuple("Point", "x y")
    out = F.grad(lambda p: p.x * p.y)(Point(minitorch.tensor(2.0), minitorch.tensor(3.0)))
    assert type(out) is Point and (out.x.item(), out.y.item()) == (3.0, 2.0)
    out = F.grad(lambda d: d["b"] * d["a"])(OrderedDict(b=minitorch.tensor(2.0), a=minitorch.tensor(3.0)))
    assert type(out) is OrderedDict and list(out) == ["b", "a"]


# --- functional_call -------------------------------------------------------------------------------------------------


def network(L):
    L.manual_seed(0)
    return L.nn.Sequential(L.nn.Linear(3, 4), L.nn.BatchNorm1d(4), L.nn.Linear(4, 1))


def test_functional_call(torch):
    def program(L, F, t):
        model = network(L).double()
        x = t(RNG_DATA)
        doubled = {name: p.detach() * 2 for name, p in model.named_parameters()}
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        everything = F.functional_call(model, (doubled, buffers), (x,))
        some = F.functional_call(model, {"0.weight": doubled["0.weight"]}, x)
        after = dict(model.named_buffers())["1.running_mean"]
        model.eval()
        gradients = F.grad(lambda p: (F.functional_call(model, p, (x,)) ** 2).mean())(doubled)
        keyword = F.functional_call(model[0], doubled_first(doubled), kwargs={"input": x})
        return everything, some, buffers["1.running_mean"], after, gradients, keyword, model[0].weight

    both(program)


RNG_DATA = np.random.default_rng(5).normal(size=(6, 3))


def doubled_first(parameters):
    return {"weight": parameters["0.weight"], "bias": parameters["0.bias"]}


def test_per_sample_gradients(torch):
    def program(L, F, t):
        model = L.nn.Linear(3, 2).double()
        parameters = {"weight": t(M), "bias": t([0.5, -0.5]).double()}

        def loss(p, x):
            return (F.functional_call(model, p, (x,)) ** 2).sum()

        return F.vmap(F.grad(loss), in_dims=(None, 0))(parameters, t(RNG_DATA))

    both(program)


def test_ensembles():
    models = [nn.Linear(3, 2) for _ in range(4)]
    parameters, buffers = F.stack_module_state(models)
    assert tuple(parameters["weight"].shape) == (4, 2, 3) and parameters["weight"].requires_grad and not buffers
    x = minitorch.randn(5, 3)
    together = F.vmap(lambda p, b: F.functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    for i, model in enumerate(models):
        np.testing.assert_allclose(together[i].detach().numpy(), model(x).detach().numpy(), rtol=1e-6)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def test_tied_weights():
    model, x = Tied(), minitorch.ones(1, 2)
    twice = minitorch.eye(2) * 2
    assert F.functional_call(model, {"a.weight": twice}, x).tolist() == [[4.0, 4.0]]
    only_one = F.functional_call(model, {"a.weight": twice}, x, tie_weights=False)
    np.testing.assert_allclose(only_one.detach().numpy(), 2 * model.a(x).detach().numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match="tied. Consider using tie_weights=False"):
        F.functional_call(model, {"a.weight": twice, "b.weight": minitorch.eye(2)}, x)
    assert model.a.weight is model.b.weight and isinstance(model.a.weight, nn.Parameter)


def test_the_module_is_restored_after_an_error():
    model = nn.Linear(3, 2)
    before = model.weight
    with pytest.raises(RuntimeError):
        F.functional_call(model, {"weight": minitorch.ones(2, 3)}, minitorch.ones(4, 7))
    assert model.weight is before


# --- errors ----------------------------------------------------------------------------------------------------------


def bad(L, F):
    t = L.tensor
    x, y = t([1.0, 2.0]), t([3.0, 4.0])
    linear = L.nn.Linear(2, 2)
    return [
        (lambda: F.grad(lambda x: x)(x), RuntimeError, "(?i)scalar tensor, got .*1 dims.*vjp or jacrev"),
        (lambda: F.grad(lambda x: 3.0)(x), RuntimeError, "(?i)expected .*to return .*tensor, got"),
        (lambda: F.grad(lambda x: x.sum(), argnums=1)(x), RuntimeError, "(?i)got argnum=1, but only 1 positional inputs"),
        (lambda: F.grad(lambda x: x.sum(), argnums=-2)(x), RuntimeError, "(?i)but only 1 positional inputs"),
        (lambda: F.grad(lambda x: x.sum(), argnums="a")(x), RuntimeError, "argnums must be int or Tuple"),
        (lambda: F.grad(lambda x: x.sum(), argnums=())(x), RuntimeError, "argnums must be non-empty"),
        (lambda: F.grad(lambda x, y: x.sum(), argnums=(0, 0))(x, y), RuntimeError, "unique"),
        (lambda: F.grad(lambda x: x.sum())(3.0), None, None),
        (lambda: F.grad(lambda x: x.sum())(t([1, 2])), RuntimeError, "(?i)floating point"),
        (lambda: F.grad(lambda x: x.sum(), has_aux=True)(x), RuntimeError, "(?i)tuple"),
        (lambda: F.vjp(lambda x: x, x)[1](t([1.0])), RuntimeError, None),
        (lambda: F.vjp(lambda x: (x, x), x)[1](x), RuntimeError, None),
        (lambda: F.vjp(lambda x: 3, x), RuntimeError, "(?i)tensor"),
        (lambda: F.jvp(lambda x: x, x, x), RuntimeError, "(?i)expected.* primals to be a tuple"),
        (lambda: F.jvp(lambda x: x, (x,), x), RuntimeError, None),
        (lambda: F.jvp(lambda x: x, (x,), (x, x)), RuntimeError, None),
        (lambda: F.jvp(lambda x: x, (x,), (t([1.0]),)), RuntimeError, None),
        (lambda: F.jvp(lambda x: x, (), ()), RuntimeError, None),
        (lambda: F.jacrev(lambda x: x, argnums=3)(x), RuntimeError, "(?i)argnum"),
        (lambda: F.jacrev(lambda x: x, chunk_size=0)(x), ValueError, "`chunk_size` should be greater than 0"),
        (lambda: F.jacrev(lambda x: 1.0)(x), RuntimeError, "(?i)tensor"),
        (lambda: F.vmap(lambda a, b: a)(x, t([1.0])), ValueError, "(?i)same size"),
        (lambda: F.vmap(lambda a: a, in_dims=2)(x), ValueError, "in_dims"),
        (lambda: F.vmap(lambda a: a, in_dims=None)(x), ValueError, "(?i)in_?dims"),
        (lambda: F.vmap(lambda a: a, in_dims=(0, 0))(x), ValueError, "in_dims"),
        (lambda: F.vmap(lambda a: a, randomness="x")(x), RuntimeError, "randomness"),
        (lambda: F.vmap(lambda a: a + L.rand(1))(x), RuntimeError, "randomness"),
        (lambda: F.vmap(lambda a: 3)(x), None, None),
        (lambda: F.functional_call(linear, [1], x), ValueError, None),
        (lambda: F.functional_call(linear, 3, x), ValueError, "(?i)expected"),
        (lambda: F.functional_call(linear, ({"weight": x}, {"weight": x}), x), ValueError, "multiple dictionaries"),
        (lambda: F.functional_call(linear, {"weight": linear.weight}, x, strict=True), RuntimeError, "(?is)missing.*bias"),
        (lambda: F.functional_call(linear, {**dict(linear.named_parameters()), "q": x}, x, strict=True), RuntimeError, "(?is)unexpec.*q"),
        (lambda: F.functional_call(linear, {"a.b": x}, x), AttributeError, None),
        (lambda: F.functional_call(linear, {"weight": 3}, x), TypeError, "3|int"),
        (lambda: F.stack_module_state([]), RuntimeError, "at least one model"),
        (lambda: F.stack_module_state([L.nn.Linear(1, 1), L.nn.Linear(1, 1).eval()]), RuntimeError, "same training/eval mode"),
        (lambda: F.stack_module_state([L.nn.Linear(1, 1), L.nn.ReLU()]), RuntimeError, "same class"),
    ]  # fmt: skip


@pytest.mark.parametrize("i", range(38))
def test_errors(i):
    call, kind, words = bad(minitorch, F)[i]
    with pytest.raises(kind or Exception, match=words):
        call()


def test_errors_are_pytorchs(torch):
    calls = bad(torch, torch.func)
    assert len(calls) == 38
    wrong = []
    for i, (call, kind, words) in enumerate(calls):
        try:
            with pytest.raises(kind or Exception, match=words):
                call()
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
            wrong.append((i, type(error).__name__, str(error)[:200]))
    assert not wrong, wrong


def test_on_another_array_library():
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    results = []
    for device in ("cpu", "guard"):
        x = minitorch.tensor(X).to(device)
        found = [
            F.grad(f)(x),
            F.hessian(f)(x),
            F.jacfwd(v)(x),
            F.jvp(v, (x,), (x,))[1],
            F.vmap(F.grad(f))(x.reshape(3, 1)),
        ]
        assert {str(t.device) for t in found} == {device}
        results.append([t.cpu().numpy() for t in found])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12)
