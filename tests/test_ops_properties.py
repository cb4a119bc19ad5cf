"""Properties over random shapes, axes, slices and index tuples: NumPy's semantics, and gradients that are adjoints.

For a linear operation y = A x the gradient of <c, y> is A' c, so <c, A x> = <A' c, x> holds to rounding: a check of any
shape without differences.
"""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import minitorch

settings.register_profile(
    "table", max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("table")

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
SOLID = npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def values(shape, seed=0):
    return np.asarray(np.random.default_rng(seed + len(shape)).standard_normal(shape))


def leaf(array):
    return minitorch.from_numpy(array).requires_grad_()


def cotangent(y):
    return values(tuple(y.shape), 99)


def grads(y, *inputs):
    c = cotangent(y)
    return c, [g.numpy() for g in minitorch.autograd.grad([y], list(inputs), [minitorch.from_numpy(c)])]


def check_linear(x, y):
    """<c, A x> = <A' c, x>."""
    c, (g,) = grads(y, x)
    assert g.shape == tuple(x.shape)
    np.testing.assert_allclose((c * y.detach().numpy()).sum(), (g * x.detach().numpy()).sum(), rtol=1e-9, atol=1e-9)


def undo_broadcast(g, shape):
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(shape)


@given(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4))
def test_two_operands_broadcast(shapes):
    a, b = (values(s, i) for i, s in enumerate(shapes.input_shapes))
    x, y = leaf(a), leaf(b)
    for ours, theirs, da, db in (
        (x + y, a + b, 1.0, 1.0), (x - y, a - b, 1.0, -1.0), (x * y, a * b, b, a),
        (x / (y * y + 1), a / (b * b + 1), 1 / (b * b + 1), -a * 2 * b / (b * b + 1) ** 2),
    ):  # fmt: skip
        assert tuple(ours.shape) == shapes.result_shape
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-13)
        c, (ga, gb) = grads(ours, x, y)
        np.testing.assert_allclose(
            ga, undo_broadcast(np.broadcast_to(c * da, shapes.result_shape), a.shape), rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(
            gb, undo_broadcast(np.broadcast_to(c * db, shapes.result_shape), b.shape), rtol=1e-9, atol=1e-12
        )


@given(npst.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))
def test_where_broadcasts(shapes):
    m, a, b = (values(s, i) for i, s in enumerate(shapes.input_shapes))
    x, y = leaf(a), leaf(b)
    out = minitorch.where(minitorch.from_numpy(np.asarray(m > 0)), x, y)
    np.testing.assert_array_equal(out.detach().numpy(), np.where(m > 0, a, b))
    c, (ga, gb) = grads(out, x, y)
    np.testing.assert_allclose(ga, undo_broadcast(np.where(m > 0, c, 0), a.shape), atol=1e-12)
    np.testing.assert_allclose(gb, undo_broadcast(np.where(m > 0, 0, c), b.shape), atol=1e-12)


@st.composite
def shape_and_axes(draw, shapes=SHAPES):
    shape = draw(shapes)
    axes = (
        draw(
            st.lists(st.integers(-len(shape), len(shape) - 1), unique_by=lambda i: i % len(shape), max_size=len(shape))
        )
        if shape
        else []
    )
    return shape, tuple(axes), draw(st.booleans())


@given(shape_and_axes())
def test_reductions(drawn):
    shape, axes, keepdim = drawn
    assume(axes)
    a = values(shape)
    x = leaf(a)
    with np.errstate(all="ignore"):
        y = x.sum(axes, keepdim=keepdim)
        np.testing.assert_allclose(y.detach().numpy(), a.sum(axes, keepdims=keepdim), rtol=1e-12, atol=1e-12)
        check_linear(x, y)
        if a.size:
            y = x.mean(axes, keepdim=keepdim)
            np.testing.assert_allclose(y.detach().numpy(), a.mean(axes, keepdims=keepdim), rtol=1e-12, atol=1e-12)
            check_linear(x, y)
            y = x.amax(axes, keepdim=keepdim)
            np.testing.assert_array_equal(y.detach().numpy(), a.max(axes, keepdims=keepdim))
            check_linear(x, y)  # positively homogeneous: Euler's theorem
            y = x.var(axes, correction=0, keepdim=keepdim)
            np.testing.assert_allclose(y.detach().numpy(), a.var(axes, keepdims=keepdim), rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(
                minitorch.logsumexp(x, axes, keepdim).detach().numpy(),
                np.log(np.exp(a).sum(axes, keepdims=keepdim)),
                rtol=1e-10,
            )


@given(shape_and_axes(SOLID), st.integers(0, 3))
def test_one_axis_functions(drawn, which):
    shape, axes, keepdim = drawn
    axis = axes[0] if axes else 0
    a = values(shape)
    x = leaf(a)
    np.testing.assert_allclose(x.cumsum(axis).detach().numpy(), a.cumsum(axis), rtol=1e-12, atol=1e-12)
    check_linear(x, x.cumsum(axis))
    y = minitorch.softmax(x, axis)
    np.testing.assert_allclose(y.sum(axis).detach().numpy(), np.ones_like(a.sum(axis)), rtol=1e-12)
    np.testing.assert_allclose(minitorch.softmax(x + 3.0, axis).detach().numpy(), y.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(minitorch.log_softmax(x, axis).exp().detach().numpy(), y.detach().numpy(), rtol=1e-12)
    _, (g,) = grads(y, x)
    np.testing.assert_allclose(g.sum(axis), 0, atol=1e-12)  # the outputs sum to one whatever x is
    ordered, index = x.sort(axis, descending=bool(which % 2))
    expected = np.sort(a, axis)
    np.testing.assert_array_equal(ordered.detach().numpy(), np.flip(expected, axis) if which % 2 else expected)
    np.testing.assert_array_equal(np.take_along_axis(a, index.numpy(), axis), ordered.detach().numpy())
    check_linear(x, ordered)
    k = min(which + 1, a.shape[axis])
    top, index = x.topk(k, axis)
    np.testing.assert_array_equal(top.detach().numpy(), np.take(np.flip(expected, axis), range(k), axis))
    check_linear(x, top)


@given(SHAPES, st.data())
def test_shapes(shape, data):
    a = values(shape)
    x = leaf(a)
    order = data.draw(st.permutations(range(a.ndim)))
    y = x.permute(tuple(order))
    np.testing.assert_array_equal(y.detach().numpy(), a.transpose(order))
    check_linear(x, y)
    if a.size:  # a random factorisation of the size
        sizes = [n for n in a.transpose(order).shape if n > 1]
        target = data.draw(st.permutations([*sizes, 1]))
        z = y.reshape(tuple(target))
        np.testing.assert_array_equal(z.detach().numpy(), a.transpose(order).reshape(target))
        check_linear(x, z)
    if a.ndim:
        axis = data.draw(st.integers(-a.ndim, a.ndim - 1))
        shift = data.draw(st.integers(-5, 5))
        np.testing.assert_array_equal(x.roll(shift, axis).detach().numpy(), np.roll(a, shift, axis))
        check_linear(x, x.roll(shift, axis))
        np.testing.assert_array_equal(x.flip((axis,)).detach().numpy(), np.flip(a, axis))
        check_linear(x, x.flip((axis,)))
        if a.shape[axis]:
            parts = x.split(data.draw(st.integers(1, 3)), axis)
            whole = minitorch.cat(parts, axis)
            np.testing.assert_array_equal(whole.detach().numpy(), a)
            check_linear(x, whole)
        stacked = minitorch.stack([x, x * 2], axis)
        np.testing.assert_array_equal(stacked.detach().numpy(), np.stack([a, a * 2], axis if axis >= 0 else axis))
        check_linear(x, stacked)


def forward_only(index):
    return not any(
        isinstance(i, slice) and (i.step or 1) < 0 for i in (index if isinstance(index, tuple) else (index,))
    )


def check_index(a, index, ours):
    """PyTorch takes integers, slices and None first, and then the arrays (NumPy takes integers for arrays)."""
    parts = index if isinstance(index, tuple) else (index,)
    arrays = any(isinstance(i, np.ndarray) for i in parts)
    first = tuple(slice(None) if isinstance(i, np.ndarray) else i for i in parts) if arrays else ...
    then = (
        tuple(i if isinstance(i, np.ndarray) else slice(None) for i in parts if not isinstance(i, int))
        if arrays
        else index
    )
    x = leaf(a)
    y = x[ours]
    np.testing.assert_array_equal(y.detach().numpy(), a[first][then])
    c, (g,) = grads(y, x)
    expected = np.zeros_like(a)
    np.add.at(expected[first], then, c)
    np.testing.assert_allclose(g, expected, atol=1e-12)
    written = minitorch.from_numpy(a.copy())
    written[ours] = 7.0
    other = a.copy()
    other[index] = 7.0
    np.testing.assert_array_equal(written.numpy(), other)


@given(
    SHAPES.flatmap(
        lambda s: st.tuples(st.just(s), npst.basic_indices(s, max_dims=6, allow_newaxis=True, allow_ellipsis=True))
    )
)
def test_basic_indexing(drawn):
    shape, index = drawn
    assume(forward_only(index))
    check_index(values(shape), index, index)


@given(
    npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4).flatmap(
        lambda s: st.tuples(
            st.just(s),
            npst.integer_array_indices(s, result_shape=npst.array_shapes(max_dims=2, max_side=3)),
            st.integers(0, 2),
        )
    )
)
def test_integer_array_indexing(drawn):
    shape, index, drop = drawn
    index = index[: max(1, len(index) - drop)]
    check_index(values(shape), index, tuple(minitorch.from_numpy(i) for i in index))


@given(SOLID, st.data())
def test_mixed_indexing(shape, data):
    """Integers, slices, masks and index arrays in one bracket."""
    a = values(shape)
    parts = []
    length = data.draw(st.integers(1, 3))
    for n in shape:
        kind = data.draw(st.sampled_from(["int", "slice", "array", "all"]))
        if kind == "int":
            parts.append(data.draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            parts.append(
                slice(
                    data.draw(st.integers(0, n)),
                    data.draw(st.one_of(st.none(), st.integers(0, n))),
                    data.draw(st.integers(1, 2)),
                )
            )
        elif kind == "array":
            parts.append(np.array(data.draw(st.lists(st.integers(-n, n - 1), min_size=length, max_size=length))))
        else:
            parts.append(slice(None))
    index = tuple(parts)
    check_index(a, index, tuple(minitorch.from_numpy(i) if isinstance(i, np.ndarray) else i for i in index))


@given(SOLID, st.integers(1, 3), st.data())
def test_masks(shape, dims, data):
    a = values(shape)
    mask = data.draw(npst.arrays(bool, shape[:dims]))
    check_index(a, mask, minitorch.from_numpy(mask))
    np.testing.assert_array_equal(minitorch.from_numpy(mask).nonzero().numpy(), np.argwhere(mask))


@given(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.data())
def test_gather_and_scatter_add_are_adjoint(shape, data):
    """<gather(x, i), y> = <x, scatter_add(0, i, y)>."""
    axis = data.draw(st.integers(0, len(shape) - 1))
    count = data.draw(st.integers(1, 5))
    index_shape = (*shape[:axis], count, *shape[axis + 1 :])
    index = data.draw(npst.arrays(np.int64, index_shape, elements=st.integers(0, shape[axis] - 1)))
    a, b = values(shape), values(index_shape, 5)
    i = minitorch.from_numpy(index)
    gathered = minitorch.gather(minitorch.from_numpy(a), axis, i).numpy()
    np.testing.assert_array_equal(gathered, np.take_along_axis(a, index, axis))
    scattered = minitorch.zeros(shape, dtype=minitorch.float64).scatter_add(axis, i, minitorch.from_numpy(b)).numpy()
    np.testing.assert_allclose((gathered * b).sum(), (a * scattered).sum(), rtol=1e-9, atol=1e-9)
    x, y = leaf(a), leaf(b)
    check_linear(x, minitorch.gather(x, axis, i))
    c, (ga, gb) = grads(x.scatter_add(axis, i, y), x, y)
    np.testing.assert_allclose(ga, c)
    np.testing.assert_allclose(gb, np.take_along_axis(c, index, axis))


@given(npst.mutually_broadcastable_shapes(signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, min_side=0, max_side=3))
def test_matmul(shapes):
    a, b = (values(s, i) for i, s in enumerate(shapes.input_shapes))
    x, y = leaf(a), leaf(b)
    out = x @ y
    assert tuple(out.shape) == shapes.result_shape
    np.testing.assert_allclose(out.detach().numpy(), a @ b, rtol=1e-10, atol=1e-10)
    c, (ga, gb) = grads(out, x, y)
    assert ga.shape == a.shape and gb.shape == b.shape
    total = (c * out.detach().numpy()).sum()  # bilinear: linear in each factor
    np.testing.assert_allclose([(ga * a).sum(), (gb * b).sum()], [total, total], rtol=1e-8, atol=1e-8)


@given(st.data())
def test_einsum(data):
    sizes = {letter: data.draw(st.integers(1, 3)) for letter in "abcd"}
    left, right = (data.draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1, max_size=3)) for _ in range(2))
    output = data.draw(st.lists(st.sampled_from(sorted({*left, *right})), unique=True, max_size=3))
    equation = f"{''.join(left)},{''.join(right)}->{''.join(output)}"
    a, b = values([sizes[i] for i in left]), values([sizes[i] for i in right], 3)
    x, y = leaf(a), leaf(b)
    out = minitorch.einsum(equation, x, y)
    np.testing.assert_allclose(out.detach().numpy(), np.einsum(equation, a, b), rtol=1e-10, atol=1e-10)
    c, (ga, gb) = grads(out, x, y)
    total = (c * out.detach().numpy()).sum()
    np.testing.assert_allclose([(ga * a).sum(), (gb * b).sum()], [total, total], rtol=1e-8, atol=1e-8)


@given(SOLID, st.integers(0, 2**32 - 1))
def test_gradients_add_up(shape, seed):
    """grad of a sum is the sum of grads; a tensor used twice gets both; .grad accumulates."""
    a = values(shape, seed % 1000)
    x = leaf(a)
    (x.exp() + x * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(a) + 2 * a, rtol=1e-12)
    (3 * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(a) + 2 * a + 3, rtol=1e-12)
