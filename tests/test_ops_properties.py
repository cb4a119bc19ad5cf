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


# --- the rest of the families against NumPy --------------------------------------------------------------------------

FEWER = settings(max_examples=30)


def check_bilinear(out, *factors):
    """<grad of each factor, factor> = <c, out>: linear in each."""
    c, gradients = grads(out, *factors)
    total = (c * out.detach().numpy()).sum()
    for g, x in zip(gradients, factors):
        assert g.shape == tuple(x.shape)
        np.testing.assert_allclose((g * x.detach().numpy()).sum(), total, rtol=1e-8, atol=1e-8)


@FEWER
@given(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3))
def test_other_functions_of_two_operands_broadcast(shapes):
    a, b = (values(s, 10 * i) for i, s in enumerate(shapes.input_shapes))
    x, y = leaf(a), leaf(b)
    positive = np.asarray(abs(a) + 0.5)
    p, square = leaf(positive), a * a + b * b
    with np.errstate(all="ignore"):
        for ours, theirs, left, da, db in (
            (minitorch.maximum(x, y), np.maximum(a, b), x, a > b, b > a),
            (minitorch.minimum(x, y), np.minimum(a, b), x, a < b, b < a),
            (minitorch.atan2(x, y), np.arctan2(a, b), x, b / square, -a / square),
            (p**y, positive**b, p, b * positive ** (b - 1), positive**b * np.log(positive)),
            (minitorch.logaddexp(x, y), np.logaddexp(a, b), x, 1 / (1 + np.exp(b - a)), 1 / (1 + np.exp(a - b))),
        ):
            assert tuple(ours.shape) == shapes.result_shape
            np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-12)
            c, found = grads(ours, left, y)
            for g, slope, shape in zip(found, (da, db), (a.shape, b.shape)):
                expected = undo_broadcast(np.broadcast_to(c * slope, shapes.result_shape), shape)
                np.testing.assert_allclose(g, expected, rtol=1e-9, atol=1e-10)


@FEWER
@given(shape_and_axes(SOLID))
def test_other_reductions(drawn):
    shape, axes, keepdim = drawn
    assume(axes)
    a = values(shape)
    x = leaf(a)
    y = x.amin(axes, keepdim=keepdim)
    np.testing.assert_array_equal(y.detach().numpy(), a.min(axes, keepdims=keepdim))
    check_linear(x, y)
    y = x.std(axes, correction=0, keepdim=keepdim)
    np.testing.assert_allclose(y.detach().numpy(), a.std(axes, keepdims=keepdim), rtol=1e-10, atol=1e-12)
    check_linear(x, y)  # homogeneous, as the norm is
    y = x.norm(2, axes, keepdim)
    np.testing.assert_allclose(y.detach().numpy(), np.sqrt((a * a).sum(axes, keepdims=keepdim)), rtol=1e-12)
    check_linear(x, y)
    axis = axes[0]
    y = x.prod(axis, keepdim=keepdim)
    np.testing.assert_allclose(y.detach().numpy(), a.prod(axis, keepdims=keepdim), rtol=1e-12)
    c, (g,) = grads(y, x)
    c = c if keepdim else np.expand_dims(c, axis)
    np.testing.assert_allclose(g, c * a.prod(axis, keepdims=True) / a, rtol=1e-9)
    for name in ("argmax", "argmin"):
        k = getattr(x, name)(axis, keepdim)
        np.testing.assert_array_equal(k.numpy(), getattr(a, name)(axis, keepdims=keepdim))
    value, k = x.max(axis, keepdim=keepdim)
    np.testing.assert_array_equal(value.detach().numpy(), a.max(axis, keepdims=keepdim))
    check_linear(x, value)
    np.testing.assert_array_equal(x.any(axis).numpy(), a.any(axis))
    np.testing.assert_allclose(x.cumprod(axis).detach().numpy(), a.cumprod(axis), rtol=1e-12)


@FEWER
@given(SOLID, st.data())
def test_views(shape, data):
    """Values, gradients, and that the memory is the same."""
    a = values(shape)
    x = leaf(a)
    axis = data.draw(st.integers(-a.ndim, a.ndim - 1))
    n = a.shape[axis]
    start = data.draw(st.integers(0, n - 1))
    length = data.draw(st.integers(0, n - start))
    size = data.draw(st.integers(1, n))
    step = data.draw(st.integers(1, 3))
    to = data.draw(st.integers(-a.ndim, a.ndim - 1))
    new = data.draw(st.integers(-a.ndim - 1, a.ndim))
    front = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    windows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(a, size, axis), axis % a.ndim, 0)[::step]
    parts = [
        (x.narrow(axis, start, length), np.take(a, range(start, start + length), axis)),
        (x.select(axis, start), np.take(a, start, axis)),
        (x.movedim(axis, to), np.moveaxis(a, axis, to)),
        (x.transpose(axis, to), np.swapaxes(a, axis, to)),
        (x.unsqueeze(new), np.expand_dims(a, new)),
        (x.squeeze(), np.squeeze(a)),
        (x.expand(*front, *shape), np.broadcast_to(a, (*front, *shape))),
        (x.unfold(axis, size, step), np.moveaxis(windows, 0, axis % a.ndim)),
        (x.flatten(axis % a.ndim), a.reshape(*shape[: axis % a.ndim], -1)),
    ]
    if a.ndim > 1:
        offset = data.draw(st.integers(-3, 3))
        parts += [(x.tril(offset), np.tril(a, offset)), (x.triu(offset), np.triu(a, offset))]
        if axis % a.ndim != to % a.ndim and -a.shape[axis] < offset < a.shape[to]:
            parts.append((x.diagonal(offset, axis, to), a.diagonal(offset, axis, to)))
    for y, expected in parts:
        np.testing.assert_array_equal(y.detach().numpy(), expected)
        check_linear(x, y)


@FEWER
@given(SOLID, st.data())
def test_writing_at_an_index(shape, data):
    """y = x with v at the index: dx is 0 there, dv is dy there, summed where v was broadcast."""
    a = values(shape)
    index = data.draw(
        st.one_of(
            npst.basic_indices(shape, allow_ellipsis=True),
            npst.arrays(bool, shape),
            st.tuples(
                npst.arrays(
                    np.int64, st.integers(1, min(3, shape[0])), elements=st.integers(0, shape[0] - 1), unique=True
                )
            ),
        )
    )
    assume(forward_only(index))
    target = a[index].shape
    v = values(data.draw(st.sampled_from([target, target[1:], (1,) * len(target)])), 7)
    assume(v.ndim <= len(target) and np.broadcast_shapes(v.shape, target) == target)
    x, w = leaf(a), leaf(v)
    parts = index if isinstance(index, tuple) else (index,)
    ours = tuple(minitorch.from_numpy(i) if isinstance(i, np.ndarray) else i for i in parts)
    y = x.clone()
    y[ours] = w
    expected = a.copy()
    expected[index] = v
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    c, (gx, gv) = grads(y, x, w)
    kept = c.copy()
    kept[index] = 0
    np.testing.assert_allclose(gx, kept)
    np.testing.assert_allclose(gv, undo_broadcast(c[index], v.shape), atol=1e-12)


@FEWER
@given(SOLID, st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
def test_joining_and_parting(shape, lengths, data):
    """Pieces of different lengths: cat and split undo each other, in values and gradients."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = [tuple(n if i == axis % len(shape) else m for i, m in enumerate(shape)) for n in lengths]
    arrays = [values(size, i) for i, size in enumerate(sizes)]
    pieces = [leaf(a) for a in arrays]
    whole = minitorch.cat(pieces, axis)
    joined = np.concatenate(arrays, axis)
    np.testing.assert_array_equal(whole.detach().numpy(), joined)
    c, found = grads(whole, *pieces)
    for g, expected in zip(found, np.split(c, np.cumsum(lengths)[:-1], axis)):
        np.testing.assert_array_equal(g, expected)
    x = leaf(joined)
    parts = x.split(lengths, axis)
    for part, expected in zip(parts, arrays):
        np.testing.assert_array_equal(part.detach().numpy(), expected)
    which = data.draw(st.integers(0, len(parts) - 1))
    check_linear(x, parts[which])  # the others get no gradient
    rows = [leaf(values(shape, i)) for i in range(len(lengths))]
    stacked = minitorch.stack(rows, axis)
    np.testing.assert_array_equal(
        stacked.detach().numpy(), np.stack([values(shape, i) for i in range(len(rows))], axis)
    )
    c, found = grads(stacked, *rows)
    for i, g in enumerate(found):
        np.testing.assert_array_equal(g, np.take(c, i, axis % (len(shape) + 1) if axis >= 0 else axis))
    if joined.shape[axis]:
        chunks = x.chunk(data.draw(st.integers(1, 4)), axis)
        np.testing.assert_array_equal(np.concatenate([p.detach().numpy() for p in chunks], axis), joined)
        for part, expected in zip(x.unbind(axis), np.moveaxis(joined, axis, 0)):
            np.testing.assert_array_equal(part.detach().numpy(), expected)


@FEWER
@given(st.data())
def test_einsum_of_one_and_three_operands_and_an_ellipsis(data):
    sizes = {letter: data.draw(st.integers(1, 3)) for letter in "abcd"}
    terms = [
        data.draw(st.lists(st.sampled_from("abc"), unique=True, max_size=2))
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    letters = sorted({letter for term in terms for letter in term})
    output = data.draw(st.lists(st.sampled_from(letters), unique=True, max_size=3)) if letters else []
    lead = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    dots = "..." if lead else ""
    equation = f"{','.join(dots + ''.join(term) for term in terms)}->{dots}{''.join(output)}"
    arrays = [values((*lead, *(sizes[i] for i in term)), k) for k, term in enumerate(terms)]
    factors = [leaf(a) for a in arrays]
    out = minitorch.einsum(equation, *factors)
    np.testing.assert_allclose(out.detach().numpy(), np.einsum(equation, *arrays), rtol=1e-9, atol=1e-10)
    check_bilinear(out, *factors)
    n = sizes["d"]
    square = leaf(values((n, n)))
    for equation in ("dd->d", "dd->"):
        out = minitorch.einsum(equation, square)
        np.testing.assert_allclose(out.detach().numpy(), np.einsum(equation, square.detach().numpy()), atol=1e-12)
        check_linear(square, out)


@FEWER
@given(
    npst.mutually_broadcastable_shapes(signature="(n,k),(k,m)->(n,m)", max_dims=2, min_side=1, max_side=3), st.data()
)
def test_other_products(shapes, data):
    a, b = (values(s, i) for i, s in enumerate(shapes.input_shapes))
    x, w = leaf(a), leaf(np.ascontiguousarray(values(b.shape[-2:], 4).T))
    out = minitorch.nn.functional.linear(x, w)
    np.testing.assert_allclose(out.detach().numpy(), a @ w.detach().numpy().T, rtol=1e-10, atol=1e-10)
    check_bilinear(out, x, w)
    axes = data.draw(st.integers(0, 1))
    p, q = leaf(values(a.shape[-2:])), leaf(values(b.shape[-2:], 1))
    out = minitorch.tensordot(p, q, axes)
    np.testing.assert_allclose(
        out.detach().numpy(), np.tensordot(p.detach().numpy(), q.detach().numpy(), axes), rtol=1e-10, atol=1e-10
    )
    check_bilinear(out, p, q)
    u, v = leaf(values(a.shape[-1:])), leaf(values(b.shape[-1:], 2))
    check_bilinear(minitorch.outer(u, v), u, v)
    np.testing.assert_allclose(minitorch.outer(u, v).detach().numpy(), np.outer(u.detach().numpy(), v.detach().numpy()))
