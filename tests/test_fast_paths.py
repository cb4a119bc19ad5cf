"""Every fast path against its reference op: values, gradients of both orders; and that it is chosen at all."""

import importlib

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, order_of, same

DTYPES = ("float32", "float64")


def fast_ops(namespace="numpy", kind=None):
    """The classes that are registered for NumPy arrays: of ops, or of optimizers."""
    from minitorch.autograd.engine import Op
    from minitorch.backend import fastpath

    kind = kind or Op

    fastpath.ACTIVE[np]  # imports the kernels
    found = fastpath._PATHS.get(namespace, {})
    return {reference: fast for reference, fast in found.items() if issubclass(reference, kind)}


class Watch:
    """Counts, for each fast op, how often it was chosen."""

    def __init__(self, fast):
        self.fast, self.count, self.originals = fast, dict.fromkeys(fast.values(), 0), {}

    def __enter__(self):
        for op in self.fast.values():
            self.originals[op] = op.forward

            def forward(node, *arrays, _op=op, _original=op.forward, **options):
                self.count[_op] += 1
                return _original(node, *arrays, **options)

            op.forward = forward
        return self

    def __exit__(self, *_):
        for op, original in self.originals.items():
            op.forward = original


def test_fast_equals_reference_over_the_table():
    from minitorch.backend import reference_ops

    fast = fast_ops()
    if not fast:
        pytest.skip("no fast path is registered here: numba is not installed, or minitorch/kernels is not there")
    with Watch(fast) as watch, np.errstate(all="ignore"):
        for case in CASES:
            for index, sample in enumerate(case.samples()):
                for dtype in DTYPES:
                    other = cast(sample, dtype)
                    order = order_of(case, other)
                    before = sum(watch.count.values())
                    actual = evaluate(Library(), case, other, order)
                    if sum(watch.count.values()) == before:
                        continue
                    again = evaluate(Library(), case, other, min(order, 1))  # the fast backward: without create_graph
                    after = sum(watch.count.values())
                    with reference_ops():
                        expected = evaluate(Library(), case, other, order)
                    assert sum(watch.count.values()) == after, "a fast path ran under reference_ops()"
                    what = describe(case, index, other)
                    for kind, result in (
                        ("outputs", actual),
                        ("first", actual),
                        ("second", actual),
                        ("outputs", again),
                        ("first", again),
                    ):
                        for i, (a, b) in enumerate(zip(getattr(result, kind), getattr(expected, kind), strict=True)):
                            same(a, b, f"{what}: {kind}[{i}] of the fast path", 8 * case.tol, dtype)
    idle = sorted(op.__name__ for op, count in watch.count.items() if not count)
    assert not idle, (
        f"registered, and chosen by no sample of tests/cases (give the row a `large` one): {', '.join(idle)}"
    )


def test_a_fast_path_is_a_whole_op():
    """Forward and backward are replaced together, and the reference's saved values can be given back."""
    for reference, fast in fast_ops().items():
        assert issubclass(fast, reference) and fast.reference is reference
        for name in ("accepts", "forward", "backward", "reference_saved"):
            assert name in vars(fast) or any(
                name in vars(c) for c in fast.__mro__[1:] if c is not reference and c not in reference.__mro__
            ), f"{fast.__name__} has no {name}"


def heads(rng, batch, length, count, width):
    """(B, h, T, d), cut out of (B, T, h d) as a model does it."""
    import minitorch

    x = minitorch.tensor(rng.standard_normal((batch, length, count * width)).astype(np.float32), requires_grad=True)
    return x, x.reshape(batch, length, count, width).transpose(1, 2)


@pytest.mark.parametrize("hidden", ["nothing", "causal", "booleans", "a whole row", "numbers", "a NaN", "an infinity"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_attention(hidden, p):
    """The table has no dropout: the same weights are dropped; NaN and infinities arrive where they do in the reference."""
    import minitorch
    from minitorch.nn import functional as F

    rng = np.random.default_rng(0)
    (x, q), (y, k), (z, v) = heads(rng, 2, 37, 3, 12), heads(rng, 2, 83, 3, 12), heads(rng, 2, 83, 3, 8)
    shown = rng.random((2, 1, 37, 83)) > 0.4
    shown[..., 0], shown[1, 0, 5] = True, hidden != "a whole row"
    mask = {"booleans": shown, "a whole row": shown, "numbers": np.where(shown, 0.5, -np.inf).astype(np.float32)}
    dy = minitorch.tensor(rng.standard_normal((2, 37, 24)).astype(np.float32))
    if hidden in ("a NaN", "an infinity"):
        with minitorch.no_grad():
            x[1, 4, 3] = np.nan if hidden == "a NaN" else np.inf

    def attend(create_graph):
        minitorch.manual_seed(0)
        given = minitorch.tensor(mask[hidden]) if hidden in mask else None
        a = F.scaled_dot_product_attention(q, k, v, given, dropout_p=p, is_causal=hidden == "causal")
        a = a.transpose(1, 2).reshape(2, 37, 24)
        first = minitorch.autograd.grad(a, (x, y, z), dy, create_graph=create_graph, retain_graph=True)
        if not create_graph:
            return [a.detach(), *first]
        return [a.detach(), *first, *minitorch.autograd.grad([g.square().sum() for g in first], (x, y, z))]

    for create_graph in (False, True):
        with np.errstate(all="ignore"):
            fast = attend(create_graph)
            with minitorch.reference_ops():
                reference = attend(create_graph)
        for i, (a, b) in enumerate(zip(fast, reference, strict=True)):
            a, b = a.detach().numpy(), b.detach().numpy()
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1, np.nanmax(np.abs(b))), err_msg=str(i))


OPTIONS = [{}, {"weight_decay": 0.3}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"maximize": True}, {"amsgrad": True},
           {"weight_decay": 0.3, "decoupled_weight_decay": True}, {"momentum": 0.9, "dampening": 0.2},
           {"momentum": 0.9, "nesterov": True, "weight_decay": 0.3, "maximize": True}]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fast_optimizers_equal_their_textbook_updates(options):
    """25 steps from the same start, on large and small parameters, contiguous or not: equal to rounding."""
    import inspect

    import minitorch
    from minitorch.optim import Optimizer

    for optimizer in fast_ops(kind=Optimizer):
        if optimizer.__module__.partition(".")[0] != "minitorch":  # a test's
            continue
        if not set(options) <= set(inspect.signature(optimizer).parameters):
            continue
        sides = []
        for reference in (False, True):
            minitorch.manual_seed(0)
            shapes = [(3,), (70, 50), (0, 4), (300, 400), (), (0,)]
            parameters = [minitorch.nn.Parameter(minitorch.randn(*shape)) for shape in shapes]
            parameters.append(minitorch.nn.Parameter(minitorch.randn(20, 60).t()))
            parameters.append(minitorch.nn.Parameter(minitorch.randn(6, dtype=minitorch.float64)))
            late = minitorch.nn.Parameter(minitorch.randn(40, 50))  # with step counts of its own
            start = [p.detach().clone() for p in (*parameters, late)]
            chosen = optimizer(
                [{"params": [late, *parameters[:2]], "lr": 0.01}, {"params": parameters[2:]}], lr=0.03, **options
            )
            parameters.append(late)
            for step in range(25):
                for p in parameters:
                    p.grad = minitorch.randn(*p.shape, dtype=p.dtype)
                parameters[2].grad = minitorch.randn(*parameters[2].shape[::-1]).t()  # not contiguous
                late.grad = late.grad if step % 3 else None
                versions = [p._version for p in parameters]
                if reference:
                    with minitorch.reference_ops():
                        chosen.step()
                else:
                    chosen.step()
                for p, version in zip(parameters, versions):
                    assert p._version == version + (p.grad is not None)
            sides.append((parameters, chosen.state_dict()["state"]))
        (fast, fast_state), (slow, slow_state) = sides
        for a, b, c in zip(fast, slow, start):
            assert not a.numel() or not minitorch.equal(a, c)
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)
        for n in fast_state:
            for name in fast_state[n]:
                ours, theirs = (s[n][name].numpy() for s in (fast_state, slow_state))
                np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6, err_msg=f"{optimizer.__name__} {name}")


def test_fast_optimizers_leave_odd_arrays_to_the_textbook():
    """Parameters that share memory, infinite ones, and a gradient that no longer fits."""
    import minitorch

    def stepped(optimizer, reference):
        shared = np.linspace(-1, 1, 3000, dtype=np.float32)
        whole, again = (minitorch.nn.Parameter(minitorch.from_numpy(shared)) for _ in range(2))
        infinite = minitorch.nn.Parameter(minitorch.tensor([np.inf, 1.0, np.nan, -np.inf]))
        for p in (whole, again, infinite):
            p.grad = minitorch.ones(*p.shape)
        infinite.grad[1] = np.inf
        chosen = optimizer([whole, again, infinite])
        for _ in range(3):
            if reference:
                with minitorch.reference_ops():
                    chosen.step()
            else:
                chosen.step()
        infinite.data = minitorch.zeros(3)
        with pytest.raises(ValueError):
            chosen.step()
        return [shared, *(s.numpy() for s in chosen.state[infinite].values()), infinite.detach().numpy()]

    optim = minitorch.optim
    for make in (optim.Adam, optim.AdamW, optim.SGD, lambda p: optim.SGD(p, momentum=0.9, nesterov=False)):
        with np.errstate(all="ignore"):
            for a, b in zip(stepped(make, False), stepped(make, True)):
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("change", [None, np.nan, np.inf, "float64", "transposed", "shared"])
def test_fast_clipping_equals_the_functions_one_by_one(change):
    import minitorch

    functions = minitorch.nn.utils
    shapes = [(0,), (3,), (70, 50), (300, 400), (), (0, 2), (5000,), (6,)]

    def results():
        minitorch.manual_seed(0)
        parameters = [minitorch.nn.Parameter(minitorch.zeros(*shape)) for shape in shapes]
        if change == "float64":
            parameters[-1] = minitorch.nn.Parameter(minitorch.zeros(6, dtype=minitorch.float64))
        for p in parameters:
            p.grad = minitorch.randn(*p.shape, dtype=p.dtype)
        if change == "transposed":
            parameters[2].grad = minitorch.randn(50, 70).t()
        elif change == "shared":
            parameters[2].grad = parameters[3].grad.reshape(-1)[:3500].reshape(70, 50)
            parameters[7].grad = parameters[3].grad[0, :6]
        elif isinstance(change, float):
            parameters[3].grad[2, 2] = change
            with pytest.raises(RuntimeError, match="non-finite"):
                functions.get_total_norm([p.grad for p in parameters], error_if_nonfinite=True)
        grads = [p.grad for p in parameters]
        found = [functions.get_total_norm(grads), functions.clip_grad_norm_(parameters[1:4], 1e9)]
        found.append(functions.clip_grad_norm_(parameters, 300.0))
        assert all(g._version for g in grads)
        found += [g.clone() for g in grads]
        functions.clip_grad_value_(parameters, 0.4)
        return found + grads

    with np.errstate(all="ignore"):
        fast = results()
        with minitorch.reference_ops():
            reference = results()
    for a, b in zip(fast, reference, strict=True):
        assert a.dtype is b.dtype
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-6)


def test_the_kernels_can_be_deleted():
    """Nothing but `backend` knows of them, and it copes without."""
    spec = importlib.util.find_spec("minitorch.backend.fastpath")
    assert spec is not None


# --- convolutions, normalisation and pooling of images ---------------------------------------------------------------

IMAGES = {
    "one of everything": ((1, 1, 7, 5), (1, 1, 3, 3), {"padding": 1}),
    "stride 2": ((2, 3, 7, 5), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    "strides and paddings that differ": ((3, 4, 9, 6), (10, 4, 3, 2), {"stride": (2, 1), "padding": (2, 1)}),
    "dilation": ((2, 3, 8, 8), (9, 3, 3, 3), {"padding": 2, "dilation": 2}),
    "stride and dilation": ((2, 2, 11, 10), (17, 2, 3, 3), {"stride": 2, "padding": 2, "dilation": 2}),
    "1x1, stride 2": ((5, 3, 7, 5), (8, 3, 1, 1), {"stride": 2}),
    "a stride beyond the kernel": ((2, 3, 2, 9), (2, 3, 2, 2), {"stride": 3}),
    "a padding beyond the kernel": ((2, 3, 5, 5), (5, 3, 1, 1), {"padding": 2}),
    "padding on one side": ((2, 3, 6, 5), (5, 3, 2, 4), {"padding": "same"}),
    "groups": ((2, 4, 7, 5), (6, 2, 3, 3), {"groups": 2}),
    "bands of rows": ((2, 16, 40, 300), (9, 16, 3, 3), {"padding": 1}),
    "bands of rows, stride 2": ((2, 40, 45, 200), (9, 40, 3, 3), {"stride": 2, "padding": 1}),
    "many small images": ((33, 8, 8, 8), (8, 8, 3, 3), {"padding": 1}),
}


def both_ways(function, *arrays, turned=False, seed=0):
    """Results, gradients and gradients of gradients of function(*tensors), by the fast path and by the reference."""
    import minitorch

    sides = []
    for reference in (False, True):
        minitorch.manual_seed(seed)
        tensors = [minitorch.tensor(a, requires_grad=True) for a in arrays]

        def run(tensors=tensors):
            y = function(*tensors)
            shape = (*y.shape[:-2], y.shape[-1], y.shape[-2]) if turned else y.shape
            dy = minitorch.randn(*shape).requires_grad_()
            dy = dy.mT if turned else dy
            first = minitorch.autograd.grad(y, tensors, dy, retain_graph=True)
            traced = minitorch.autograd.grad(y, tensors, dy, create_graph=True)
            loss = sum((g * g).sum() for g in traced)
            second = minitorch.autograd.grad(loss, [*tensors, dy], allow_unused=True)
            return [y, *first, *traced, *second]

        if reference:
            with minitorch.reference_ops():
                sides.append(run())
        else:
            with Watch(fast_ops()) as watch:
                sides.append(run())
    for i, (a, b) in enumerate(zip(*sides)):
        assert (a is None) is (b is None)
        if a is not None:
            a, b = a.detach().numpy(), b.detach().numpy()
            assert a.shape == b.shape and a.dtype == b.dtype
            scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * scale, err_msg=f"result {i}")
    return {op.__name__ for op, count in watch.count.items() if count}


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("turned", [False, True], ids=["", "dy turned"])
@pytest.mark.parametrize("name", IMAGES)
def test_fast_convolutions(name, turned):
    from minitorch.nn import functional as F

    x, w, options = IMAGES[name]
    used = both_ways(lambda *t: F.conv2d(*t, **options), images(*x), images(*w), images(w[0]), turned=turned)
    assert not fast_ops() or ("ConvolutionCPU" in used) is (name != "groups")


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 2}], ids=str)
def test_fast_transposed_convolutions(options):
    from minitorch.nn import functional as F

    used = both_ways(lambda *t: F.conv_transpose2d(*t, **options), images(3, 4, 7, 5), images(4, 9, 3, 3), images(9))
    assert not fast_ops() or "ConvolutionTransposeCPU" in used


@pytest.mark.parametrize("where", ["x", "w", "dy"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_fast_convolutions_keep_infinities_where_they_are(where, value):
    import minitorch
    from minitorch.nn import functional as F

    arrays = {"x": images(2, 3, 7, 5), "w": images(4, 3, 3, 3), "dy": images(2, 4, 4, 3)}
    arrays[where].reshape(-1)[7] = value
    sides = []
    for reference in (False, True):
        x, w, dy = (minitorch.tensor(a, requires_grad=True) for a in arrays.values())
        if reference:
            with minitorch.reference_ops(), np.errstate(all="ignore"):
                y = F.conv2d(x, w, stride=2, padding=1)
                sides.append([y, *minitorch.autograd.grad(y, (x, w), dy)])
        else:
            y = F.conv2d(x, w, stride=2, padding=1)
            with np.errstate(all="ignore"):
                sides.append([y, *minitorch.autograd.grad(y, (x, w), dy)])
    for a, b in zip(*sides):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_fast_convolutions_do_not_depend_on_the_number_of_threads():
    compiled = pytest.importorskip("minitorch.kernels.cpu.compile")
    from minitorch.kernels.cpu import conv

    x, w, dy = images(33, 8, 20, 20), images(16, 8, 3, 3), images(33, 16, 20, 20)
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
    before, found = compiled.THREADS, []
    try:
        for threads in (1, 3):
            compiled.set_threads(threads)
            y = conv.forward(x, w, None, out=(20, 20), **options)
            found.append(
                (y, conv.spread(dy, w, None, size=(20, 20), **options), *conv.weight(x, dy, kernel=(3, 3), **options))
            )
    finally:
        compiled.set_threads(before)
    for a, b in zip(*found):
        assert np.array_equal(a, b)


POOLS = [
    {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": (2, 3), "stride": (1, 2)},
    {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 2}, {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": (1, 4), "stride": 3, "padding": (0, 2)},
]  # fmt: skip


@pytest.mark.parametrize("options", POOLS, ids=str)
def test_fast_max_pool(options):
    from minitorch.nn import functional as F

    for shape in ((1, 1, 7, 5), (3, 4, 12, 13)):
        x = images(*shape)
        for special in (x, np.round(x), np.where(x < 0.5, -np.inf, x), np.where(x > 1.5, np.nan, x)):
            used = both_ways(lambda t: F.max_pool2d(t, **options), special)
            assert not fast_ops() or "MaxPoolCPU" in used


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(2, 1, 7, 5), (5, 3, 7, 5), (9, 4), (3, 2, 1), (4, 6, 33)], ids=str)
def test_fast_batch_norm(shape, affine):
    from minitorch.nn import functional as F
    from minitorch.ops.normalize import Standardize

    x, vectors = 3 + 2 * images(*shape), [images(shape[1], seed=1), images(shape[1], seed=2)] if affine else []
    used = both_ways(lambda x, *v: F.batch_norm(x, None, None, *v, training=True), x, *vectors)
    assert not fast_ops() or ("StandardizeCPU" in used) is bool(np.prod(shape[2:]) >= 4)
    full = [v.reshape(1, -1, *(1,) * (len(shape) - 2)) for v in vectors] or [None, None]

    def statistics(x, *v):  # the means and variances have gradients of their own
        parts = Standardize.apply(x, *(v or (None, None)), axes=(0, *range(2, len(shape))), eps=1e-5)
        return parts[0] + 2 * parts[1] + 3 * parts[2]

    both_ways(statistics, x, *(full if affine else []))


def test_fast_relu():
    import minitorch

    x = images(40, 50)
    x[0, :6] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40]
    dy = images(50, 40).T.copy()
    dy[:, 1] = np.inf
    sides = []
    for reference in (False, True):
        a, d = minitorch.tensor(x, requires_grad=True), minitorch.tensor(dy.T.copy()).t()
        with np.errstate(all="ignore"):
            if reference:
                with minitorch.reference_ops():
                    y = a.relu()
                    sides.append((y, *minitorch.autograd.grad(y, a, d)))
            else:
                y = a.relu()
                sides.append((y, *minitorch.autograd.grad(y, a, d)))
    for a, b in zip(*sides):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy(), equal_nan=True)


# --- recurrent layers ------------------------------------------------------------------------------------------------

WALKS = [  # inputs, hidden units, layers, batch sizes
    (3, 5, 1, (3,) * 70), (4, 40, 1, (1,) * 9), (4, 33, 1, (11,)), (4, 33, 2, (19, 19, 19)), (3, 40, 1, (20, 17, 8, 8, 3)),
]  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("walk", WALKS, ids=str)
def test_fast_recurrent_layers(kind, walk, bias):
    """Odd sizes, one sequence, one step, sequences that end early, both directions, states that are not zero."""
    from minitorch import ops, tensor

    inputs, hidden, layers, sizes = walk
    rng = np.random.default_rng(0)
    gates = {"lstm": 4, "gru": 3}[kind]
    shapes = [(sum(sizes), inputs), *[(2 * layers, sizes[0], hidden)] * (2 if kind == "lstm" else 1)]
    states = len(shapes) - 1
    for layer in range(layers):
        wide = 2 * hidden if layer else inputs
        group = [(gates * hidden, wide), (gates * hidden, hidden), *[(gates * hidden,)] * (2 * bias)]
        shapes += 2 * group

    def run(x, *rest):
        hx = rest[:states] if kind == "lstm" else rest[0]
        options = [list(rest[states:]), bias, layers, 0.0, False, True]
        return ops.PUBLIC[kind](x, tensor(sizes), hx, *options)[0]

    used = both_ways(run, *[rng.standard_normal(s).astype(np.float32) * 0.5 for s in shapes])
    assert not fast_ops() or {"lstm": "LSTMSequenceCPU", "gru": "GRUSequenceCPU"}[kind] in used


def test_fast_recurrent_layers_do_not_depend_on_the_number_of_threads():
    compiled = pytest.importorskip("minitorch.kernels.cpu.compile")
    import minitorch

    minitorch.manual_seed(0)
    net, x = minitorch.nn.LSTM(20, 48), minitorch.randn(9, 27, 20)
    before, found = compiled.THREADS, []
    try:
        for threads in (1, 3):
            compiled.set_threads(threads)
            y, _ = net(x)
            found.append([y, *minitorch.autograd.grad((y * y).sum(), list(net.parameters()))])
    finally:
        compiled.set_threads(before)
    for a, b in zip(*found):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6, atol=1e-5)
