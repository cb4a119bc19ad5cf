"""Custom operations (`autograd.Function`), and the checks that find a wrong gradient in one (`gradcheck`)."""

import numpy as np
import pytest

import minitorch
from minitorch.autograd import Function, grad, gradcheck, gradgradcheck
from minitorch.autograd.engine import Op
from minitorch.autograd.function import once_differentiable


def tensor(values, requires_grad=True):
    return minitorch.tensor(values, dtype=minitorch.float64, requires_grad=requires_grad)


def draw(*shape, seed=0):
    array = np.asarray(np.random.default_rng(seed).uniform(0.5, 1.5, shape))
    return minitorch.from_numpy(array).requires_grad_()


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * 3 * x**2


class CubeInTwoSteps(Function):
    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * 3 * x**2


class ExpFromOutput(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * y


class Scale(Function):
    """Tensors and other things, None among them."""

    @staticmethod
    def forward(ctx, x, factor, w, name, nothing):
        ctx.factor, ctx.name, ctx.nothing = factor, name, nothing
        ctx.save_for_backward(x, None, w)
        return x * factor * w

    @staticmethod
    def backward(ctx, dy):
        x, none, w = ctx.saved_tensors
        assert none is None and ctx.name == "name" and ctx.nothing is None
        return dy * ctx.factor * w, None, dy * ctx.factor * x, None, None


class Both(Function):
    """Two outputs of two inputs."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b, a + b.exp()

    @staticmethod
    def backward(ctx, d_product, d_sum):
        a, b = ctx.saved_tensors
        return d_product * b + d_sum, d_product * a + d_sum * b.exp()


@pytest.mark.parametrize("function", [Cube, CubeInTwoSteps, ExpFromOutput], ids=lambda f: f.__name__)
def test_right_functions_of_one_tensor(function):
    x = draw(2, 3)
    assert gradcheck(function.apply, x) and gradgradcheck(function.apply, x)
    y = function.apply(x)
    assert y.requires_grad and not y.is_leaf and function.__name__ in repr(y.grad_fn)
    with minitorch.no_grad():
        assert not function.apply(x).requires_grad
    assert function.apply(x.detach()).grad_fn is None


def test_the_third_derivative():
    x = tensor([2.0])
    for function, expected in ((Cube, 6.0), (ExpFromOutput, np.exp(2.0))):
        g = function.apply(x)
        for _ in range(3):
            (g,) = grad(g, x, create_graph=True)
        np.testing.assert_allclose(g.item(), expected)


def test_several_inputs_and_other_arguments():
    x, w = draw(3), draw(3, seed=1)
    call = lambda x, w: Scale.apply(x, 2.5, w, "name", None)  # noqa: E731
    assert gradcheck(call, (x, w)) and gradgradcheck(call, (x, w))
    call(x, w.detach()).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2.5 * w.detach().numpy())
    assert w.grad is None


def test_several_outputs():
    a, b = draw(3), draw(3, seed=1)
    assert gradcheck(Both.apply, (a, b)) and gradgradcheck(Both.apply, (a, b))
    product, _ = Both.apply(a, b)
    product.sum().backward()  # the other output's gradient is zero
    assert a.grad.tolist() == b.tolist() and b.grad.tolist() == a.tolist()


def test_functions_inside_a_graph():
    x = draw(3)
    f = lambda x: Cube.apply(ExpFromOutput.apply(x * 2) + Both.apply(x, x)[1])[1:].sum() * x  # noqa: E731
    assert gradcheck(f, x) and gradgradcheck(f, x)


def test_needs_input_grad():
    seen = []

    class Watch(Function):
        @staticmethod
        def forward(ctx, a, number, b):
            seen.append(("forward", ctx.needs_input_grad))
            return a * b

        @staticmethod
        def backward(ctx, dy):
            seen.append(("backward", ctx.needs_input_grad))
            return dy, None, dy

    a, b = draw(2), draw(2)
    Watch.apply(a, 3, b.detach()).sum().backward()
    assert seen == [("forward", (True, False, False)), ("backward", (True, False, False))]


def test_forward_is_not_recorded_and_backward_only_when_asked():
    seen = []

    class Watch(Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(minitorch.is_grad_enabled())
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            seen.append(minitorch.is_grad_enabled())
            return dy * 2

    x = draw(2)
    grad(Watch.apply(x).sum(), x)
    grad(Watch.apply(x).sum(), x, create_graph=True)
    assert seen == [False, False, False, True]


def test_non_differentiable_outputs():
    class SortedWithRanks(Function):
        @staticmethod
        def forward(ctx, x):
            values, indices = x.sort()
            rounded = values.round()
            ctx.mark_non_differentiable(rounded)
            ctx.save_for_backward(indices)
            return values, indices, rounded

        @staticmethod
        def backward(ctx, d_values, d_indices, d_rounded):
            assert d_indices is None
            (indices,) = ctx.saved_tensors
            return minitorch.zeros_like(d_values).scatter(0, indices, d_values)

    x = tensor([3.0, 1.0, 2.0])
    values, indices, rounded = SortedWithRanks.apply(x)
    assert values.requires_grad and not indices.requires_grad and not rounded.requires_grad
    (values * tensor([1.0, 2.0, 3.0], False)).sum().backward()
    assert x.grad.tolist() == [3.0, 1.0, 2.0]
    assert gradcheck(lambda x: SortedWithRanks.apply(x)[0], x)


def test_gradients_of_unused_outputs():
    seen = []

    def make(materialize):
        class Two(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.set_materialize_grads(materialize)
                return x * 2, x * 3

            @staticmethod
            def backward(ctx, da, db):
                seen.append((da is None, None if db is None else db.tolist()))
                return (0 if da is None else da * 2) + (0 if db is None else db * 3)

        return Two

    x = tensor([1.0, 2.0])
    make(True).apply(x)[0].sum().backward()
    make(False).apply(x)[0].sum().backward()
    make(False).apply(x)[1].sum().backward()
    assert seen == [(False, [0.0, 0.0]), (False, None), (True, [1.0, 1.0])]
    assert x.grad.tolist() == [7.0, 7.0]


def test_none_stands_for_no_gradient():
    class First(Function):
        @staticmethod
        def forward(ctx, a, b):
            return a * 1

        @staticmethod
        def backward(ctx, dy):
            return dy, None

    a, b = draw(2), draw(2)
    First.apply(a, b).sum().backward()
    assert a.grad.tolist() == [1.0, 1.0] and b.grad is None
    c = draw(2)
    (First.apply(a, b * c) + c).sum().backward()
    assert c.grad.tolist() == [1.0, 1.0]


# --- in place --------------------------------------------------------------------------------------------------------


class ExpInPlace(Function):
    @staticmethod
    def forward(ctx, x):
        x.exp_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * y


def test_dirty_inputs():
    def f(x):
        y = x * 2
        z = ExpInPlace.apply(y)
        assert z is y
        return y * x

    x = draw(3)
    assert gradcheck(f, x) and gradgradcheck(f, x)
    with pytest.raises(RuntimeError, match="ExpInPlace.*leaf"):
        ExpInPlace.apply(draw(3))


def test_a_dirty_view_changes_its_base():
    def f(x):
        y = x * 2
        v = y[1:]
        ExpInPlace.apply(v)
        return y * y + v.sum()

    x = draw(3)
    assert gradcheck(f, x) and gradgradcheck(f, x)


def test_dirty_inputs_are_reported():
    x = draw(3)
    y = x * 1
    z = y.sin()
    ExpInPlace.apply(y)
    with pytest.raises(RuntimeError, match="Sin has been modified"):
        z.sum().backward()
    y = x * 1
    z = y.sin()
    with minitorch.no_grad():
        ExpInPlace.apply(y)
    with pytest.raises(RuntimeError, match="Sin has been modified"):
        z.sum().backward()

    class Raw(Function):
        """Changes the array, of which only mark_dirty tells."""

        @staticmethod
        def forward(ctx, x):
            x.detach().numpy()[...] = 0
            ctx.mark_dirty(x)
            return x

    y = x * 1
    z = y.sin()
    with minitorch.no_grad():
        Raw.apply(y)
    with pytest.raises(RuntimeError, match="Sin has been modified"):
        z.sum().backward()

    class Lost(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x * 2

    with pytest.raises(RuntimeError, match="Lost.*dirty was not returned"):
        Lost.apply(x * 1)


def test_an_input_that_is_returned():
    class Reverse(Function):
        """The gradient changes its sign (arXiv:1409.7495)."""

        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, dy):
            return -dy

    x = tensor([1.0, 2.0])
    y = Reverse.apply(x)
    assert y is not x and y.tolist() == [1.0, 2.0]
    (y * y).sum().backward()
    assert x.grad.tolist() == [-2.0, -4.0] and x.is_leaf
    with pytest.raises(RuntimeError, match="in-place|in place|leaf"):
        y.mul_(2)  # it would change x


def test_views_that_a_function_returns():
    class Half(Function):
        @staticmethod
        def forward(ctx, x):
            return x[:2]

        @staticmethod
        def backward(ctx, dy):
            return minitorch.cat([dy * 10, dy * 0])  # so that it shows whose gradient it is

    x = tensor([1.0, 2.0, 3.0, 4.0])
    y = x * 1
    half = Half.apply(y)
    half.sum().backward()
    assert x.grad.tolist() == [10.0, 10.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="custom Function"):
        half.mul_(2)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="custom Function"):
        half.sum()


def test_saved_tensors_are_watched_and_freed():
    x = draw(3)
    y = x * 1
    z = Cube.apply(y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="Cube has been modified"):
        z.sum().backward()
    z = Cube.apply(x).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="(?s)second time.*Cube.*retain_graph=True"):
        z.backward()


# --- how gradients must look -----------------------------------------------------------------------------------------


def returning(gradients):
    class Given(Function):
        @staticmethod
        def forward(ctx, x, number=None):
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            return gradients(dy)

    return Given


@pytest.mark.parametrize(
    "gradients, arguments, message",
    [
        (lambda dy: (dy, dy), (), r"incorrect number of gradients \(expected 1, got 2\)"),
        (lambda dy: (), (), r"incorrect number of gradients \(expected 1, got 0\)"),
        (lambda dy: dy, (3,), r"incorrect number of gradients \(expected 2, got 1\)"),
        (lambda dy: (dy, dy), (3,), "gradient for argument 1, which is not a tensor"),
        (lambda dy: dy[:1], (), r"got shape \(1,\), expected \(2,\)"),
        (lambda dy: dy.reshape(2, 1), (), r"got shape \(2, 1\), expected \(2,\)"),
    ],
)
def test_errors_of_backward(gradients, arguments, message):
    for options in ({}, {"create_graph": True}):
        with pytest.raises(RuntimeError, match=message):
            returning(gradients).apply(tensor([1.0, 2.0]), *arguments).sum().backward(**options)


def test_a_gradient_must_be_a_tensor():
    with pytest.raises(TypeError, match="Given.backward.*gradient 0.*float"):
        returning(lambda dy: 2.0).apply(tensor([1.0])).backward()


def test_more_nones_than_arguments_do_no_harm():
    x = tensor([1.0])
    returning(lambda dy: (dy, None, None)).apply(x).backward()
    assert x.grad.item() == 1.0


def test_gradients_are_summed_and_converted_as_the_input_needs_it():
    """As PyTorch does: a gradient of the broadcast shape is summed, one of another precision is converted."""

    class Times(Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x * w

        @staticmethod
        def backward(ctx, dy):
            x, w = ctx.saved_tensors
            return dy * w, dy * x

    w = draw(3)
    assert gradcheck(Times.apply, (draw(2, 3, seed=1), w)) and gradgradcheck(Times.apply, (draw(2, 3, seed=1), w))
    assert gradcheck(Times.apply, (draw(2, 1), draw(2, 3))) and gradgradcheck(Times.apply, (draw(2, 1), draw(2, 3)))
    x = minitorch.ones(3, requires_grad=True)
    g = grad(Times.apply(x, w).sum(), x)[0]
    assert g.dtype is minitorch.float32
    y = x * 1
    assert grad(Times.apply(y, w).sum(), y)[0].dtype is minitorch.float32


def test_a_gradient_may_stay_the_functions_own():
    kept = minitorch.ones(2)

    class Constant(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, dy):
            return kept

    x = minitorch.zeros(2, requires_grad=True)
    Constant.apply(x).sum().backward()
    Constant.apply(x).sum().backward()
    x.grad.mul_(5)
    assert x.grad.tolist() == [10.0, 10.0] and kept.tolist() == [1.0, 1.0]


def test_what_is_missing_is_named():
    class Nothing(Function):
        pass

    class Forward(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

    with pytest.raises(NotImplementedError, match="forward"):
        Nothing.apply(tensor([1.0]))
    with pytest.raises(NotImplementedError, match="backward"):
        Forward.apply(tensor([1.0])).backward()


def test_only_tensors_are_saved():
    class Number(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x, 3)
            return x * 1

    with pytest.raises(TypeError, match="int.*ctx"):
        Number.apply(tensor([1.0]))


class CubeOnce(Cube):
    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * 3 * x**2


def test_once_differentiable():
    x = tensor([2.0])
    assert gradcheck(CubeOnce.apply, x)
    (g,) = grad(CubeOnce.apply(x), x, create_graph=True)
    assert g.item() == 12.0
    with pytest.raises(RuntimeError, match="CubeOnce twice.*once_differentiable"):
        grad(g, x)
    (g,) = grad(CubeOnce.apply(x) + x**2, x, create_graph=True)  # not silently without the function's part
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


# --- gradcheck -------------------------------------------------------------------------------------------------------


def binary(backward):
    """a * b with a given gradient, as a custom Function."""

    class Product(Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, dy):
            return backward(dy, *ctx.saved_tensors)

    return Product.apply


RIGHT = binary(lambda dy, a, b: (dy * b, dy * a))
PLANTED = {
    "sign": binary(lambda dy, a, b: (dy * b, -dy * a)),
    "factor": binary(lambda dy, a, b: (dy * b * 1.01, dy * a)),
    "exchanged": binary(lambda dy, a, b: (dy * a, dy * b)),
    "the cotangent left out": binary(lambda dy, a, b: (b * 1, dy * a)),
    "one element": binary(lambda dy, a, b: (dy * b, dy * a * tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]], False))),
    "None": binary(lambda dy, a, b: (dy * b, None)),
    "mean for sum": binary(lambda dy, a, b: (dy * b, dy.mean() * a)),
}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", PLANTED)
def test_gradcheck_finds_planted_bugs(name, fast):
    a, b = draw(2, 3), draw(2, 3, seed=1)
    assert gradcheck(RIGHT, (a, b), fast_mode=fast)
    with pytest.raises(RuntimeError, match=r"gradcheck: output 0 with respect to input [01]"):
        gradcheck(PLANTED[name], (a, b), fast_mode=fast)
    assert gradcheck(PLANTED[name], (a, b), fast_mode=fast, raise_exception=False) is False


class Broadcast(Op):
    """a * b; what is broadcast is not summed back."""

    def forward(self, a, b):
        self.save(a, b)
        return a * b

    def backward(self, dy):
        a, b = self.saved
        return dy * b, dy * a


class BroadcastFirst(Broadcast):
    """... or only the first row is taken."""

    def backward(self, dy):
        a, b = self.saved
        return dy * b, (dy * a)[0] if self.saved[1].ndim == 1 else dy * a


def test_gradcheck_finds_a_missing_sum():
    a, b = draw(2, 3), draw(3, seed=1)
    assert gradcheck(Broadcast.apply, (a, draw(2, 3)))
    with pytest.raises(RuntimeError, match=r"input 1: the gradient has shape \(2, 3\), the input \(3,\)"):
        gradcheck(Broadcast.apply, (a, b))
    with pytest.raises(RuntimeError, match="with respect to input 1"):
        gradcheck(BroadcastFirst.apply, (a, b))
    assert gradcheck(lambda a, b: a * b, (a, b))


def test_gradcheck_says_where_and_how_much():
    with pytest.raises(
        RuntimeError, match=r"output 1 with respect to input 1.*derivative is 2\.0.*numeric one (3\.0|2\.9)"
    ):
        gradcheck(lambda a, b: (a + b, binary(lambda dy, a, b: (dy * b, dy * 2))(a, b)), (tensor([3.0]), tensor([4.0])))


def test_gradgradcheck_finds_a_wrong_second_derivative():
    """The first derivative is right; one factor of it is not differentiated."""
    frozen = binary(lambda dy, a, b: (dy * b.detach(), dy * a))
    a, b = draw(2, 3), draw(2, 3, seed=1)
    assert gradcheck(frozen, (a, b))
    assert gradgradcheck(RIGHT, (a, b))
    with pytest.raises(RuntimeError, match="gradcheck"):
        gradgradcheck(frozen, (a, b))
    assert gradgradcheck(frozen, (a, b), raise_exception=False) is False
    curved = binary(lambda dy, a, b: (dy * b * (dy + 3) / (dy.detach() + 3), dy * a))
    assert gradcheck(curved, (a, b))
    with pytest.raises(RuntimeError, match="gradcheck"):
        gradgradcheck(curved, (a, b))  # only the cotangent's derivative is wrong


def test_gradgradcheck_with_given_cotangents():
    a, b = draw(2, 3), draw(2, 3, seed=1)
    assert gradgradcheck(RIGHT, (a, b), draw(2, 3, seed=2))


def test_gradcheck_of_what_it_cannot_check():
    with pytest.raises(ValueError, match="require gradients"):
        gradcheck(RIGHT, (draw(2).detach(), draw(2).detach()))
    with pytest.raises(ValueError, match="input 1 is minitorch.float32.*float64"):
        gradcheck(RIGHT, (draw(2), minitorch.ones(2, requires_grad=True)))


def test_gradcheck_of_unusual_functions():
    x = draw(2, 3)
    assert gradcheck(lambda x, n, w: x**n * w, (x, 3, draw(3).detach()))  # arguments that are not checked
    assert gradcheck(lambda x: (x.max(1).values, x.argmax(1)), x)  # integer outputs
    assert gradcheck(lambda x: x.detach() * 0 + 1.0, x)  # constant: all derivatives zero
    assert gradcheck(lambda x: x[:0].sum() + x.sum(), x)
    assert gradcheck(lambda x: x.t().reshape(-1)[::2], x)
    with pytest.raises(RuntimeError):
        gradcheck(lambda x: x.detach() * x.detach(), x)  # not constant, and yet no gradient
    assert x.grad is None  # nothing was left behind
    with minitorch.no_grad():
        assert gradcheck(lambda x: x * x, x)


# --- parity ----------------------------------------------------------------------------------------------------------


def programs(lib):
    """Custom functions as PyTorch's documentation writes them."""
    Base = lib.autograd.Function

    class Polynomial(Base):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return 0.5 * (5 * x**3 - 3 * x)

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return dy * 1.5 * (5 * x**2 - 1)

    class Affine(Base):
        @staticmethod
        def forward(x, w, b=None):
            y = x.mm(w.t())
            return y if b is None else y + b.unsqueeze(0).expand_as(y)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, dy):
            x, w, b = ctx.saved_tensors
            dx = dw = db = None
            if ctx.needs_input_grad[0]:
                dx = dy.mm(w)
            if ctx.needs_input_grad[1]:
                dw = dy.t().mm(x)
            if b is not None and ctx.needs_input_grad[2]:
                db = dy.sum(0)
            return dx, dw, db

    class Straight(Base):
        """Rounds; its gradient is that of the identity."""

        @staticmethod
        def forward(ctx, x):
            return x.round()

        @staticmethod
        def backward(ctx, dy):
            return dy.clone()

    make = lambda *shape, seed=0: lib.from_numpy(draw(*shape, seed=seed).detach().numpy().copy()).requires_grad_()  # noqa: E731

    def run(f, *tensors):
        y = f(*tensors)
        total = (y * y.detach().cos()).sum()
        first = lib.autograd.grad(total, tensors, create_graph=True)
        if not any(g.requires_grad for g in first):
            return [g.detach().numpy() for g in first]
        second = lib.autograd.grad(sum((g**2).sum() for g in first), tensors, materialize_grads=True)
        return [t.detach().numpy() for t in (y, *first, *second)]

    return [
        run(Polynomial.apply, make(3, 4)),
        run(Affine.apply, make(3, 4), make(2, 4, seed=1), make(2, seed=2)),
        run(lambda x, w: Affine.apply(x, w, None), make(3, 4), make(2, 4, seed=1)),
        run(lambda x: Straight.apply(x * 3) * x, make(5)),
    ]


@pytest.mark.parity
def test_functions_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    for ours, theirs in zip(programs(minitorch), programs(torch), strict=True):
        for value, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12)
