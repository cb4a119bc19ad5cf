"""The CUDA kernels over rows on the emulator: softmax, LayerNorm, cross-entropy, dropout + residual + LayerNorm.

tests/test_cuda_kernels.py compares them in float32 over the op table. Here: half precisions, rows of every kind (short, long,
not aligned, more than there are blocks), NaN and infinities, labels, and what dropout keeps.

Half precisions are read as they are, computed in float32 and rounded once at the end. So an output may differ from the float32
reference of the same (rounded) inputs by half a unit in the last place and what float32 rounds: TOLERANCE. A gradient that goes
through a saved half-precision output (softmax) has a few such roundings.
"""

import ml_dtypes
import numpy as np
import pytest

import minitorch
from minitorch.backend import checks, reference_ops
from minitorch.backend.random import Generator
from minitorch.nn import functional as F
from minitorch.ops.random import Dropout
from minitorch.ops.residual import DropoutAddLayerNorm
from minitorch.tensor import wrap
from tests import emulator

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
from minitorch.kernels.cuda import layernorm  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")

HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
DTYPES = [np.dtype(np.float32), *HALVES]
TOLERANCE = {"float32": 4e-6, "float16": 2.0**-11 + 4e-6, "bfloat16": 2.0**-8 + 4e-6}


@pytest.fixture(autouse=True)
def device():
    with emulator.device() as name, np.errstate(all="ignore"):
        yield name


@pytest.fixture
def launched(monkeypatch):
    found = []
    monkeypatch.setattr(emulator.RawModule, "launched", found)
    return found


def numbers(*shape, dtype=np.float32, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32).astype(dtype)


def on_device(array, requires_grad=False, offset=0):
    """The array as a tensor on the device; offset: in elements, where it begins in a larger array."""
    room = emulator.emulated.asarray(np.zeros(array.size + offset, array.dtype))
    room[offset:] = emulator.emulated.asarray(array.reshape(-1))
    tensor = wrap(room[offset:].reshape(array.shape))
    return tensor.requires_grad_() if requires_grad else tensor


def on_cpu(array, requires_grad=False, offset=0):
    """Its reference: in float32."""
    floating = array.dtype in DTYPES
    tensor = minitorch.from_numpy(array.astype(np.float32) if floating else array.copy())
    return tensor.requires_grad_() if requires_grad and floating else tensor


def close(actual, expected, dtype, what, roundings=1, largest=2e-6):
    """Within `roundings` times the tolerance relative to the element, or `largest` times the largest element."""
    assert actual.array.dtype == dtype, f"{what}: {actual.array.dtype}"
    a, b = (np.asarray(t.detach().cpu().numpy(), np.float64) for t in (actual, expected))
    tolerance = roundings * TOLERANCE[np.dtype(dtype).name]
    finite = np.abs(b[np.isfinite(b)])
    floor = largest * finite.max(initial=0) + (2.0**-24 if dtype == np.float16 else 0)  # its smallest step
    bad = ~np.isclose(a, b, tolerance, floor, equal_nan=True)
    assert a.shape == b.shape and not bad.any(), (
        f"{what}: {a[bad][:4]}, expected {b[bad][:4]} ({bad.sum()} of {b.size})"
    )


def compare(function, arrays, dtype, offset=0, roundings=1, constants=(), largest=2e-6):
    """Values and gradients of function(*tensors) on the device against the reference, in float32 on the CPU."""
    results = []
    for place in (on_device, on_cpu):
        tensors = [None if a is None else place(a, True, offset) for a in arrays]
        fixed = [place(a) for a in constants]
        with reference_ops() if place is on_cpu else minitorch.enable_grad():
            y = function(*tensors, *fixed)
            dy = place(np.asarray(numbers(*y.shape, dtype=dtype, seed=9), dtype))
            y.backward(dy)
        results.append((y, *[t if t is None else t.grad for t in tensors]))
    for i, (actual, expected) in enumerate(zip(*results, strict=True)):
        assert (actual is None) == (expected is None)
        if actual is not None:
            close(actual, expected, dtype, "y" if i == 0 else f"gradient {i - 1}", roundings, largest if i else 2e-6)


# A warp's row, a block's with and without packs, a row that is longer than its threads take at once.
ROWS = [(5, 2), (6, 30), (3, 256), (2, 264), (2, 777), (1, 4640)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax(function, dtype):
    for shape in ROWS:
        x = numbers(*shape, dtype=dtype, scale=3.0)
        compare(lambda x: function(x, -1), [x], dtype, largest=4 * TOLERANCE[dtype.name])  # dx comes from the rounded y
    compare(lambda x: function(x, -1), [numbers(3, 40, dtype=dtype)], dtype, 3, largest=4 * TOLERANCE[dtype.name])


def special(n):
    """Rows that hold infinities and NaN, one of them, or nothing else."""
    x = numbers(9, n)
    x[0, 1] = -np.inf
    x[1, :] = -np.inf
    x[2, 0] = np.inf
    x[3, 1], x[3, -1] = np.inf, -np.inf
    x[4, -1] = np.nan
    x[5, :-1] = -np.inf
    x[6, :] = np.inf
    x[7, 0], x[7, 1] = -np.inf, np.nan
    return x


@pytest.mark.parametrize("n", [5, 300])
def test_not_finite(n):
    x = special(n)
    for function in (F.softmax, F.log_softmax):
        compare(lambda x, f=function: f(x, -1), [x], np.float32)
    target = np.array([1, 1, 1, 0, 0, 0, 1, 1, 2])
    for options in ({}, {"label_smoothing": 0.1}, {"ignore_index": 1}):
        compare(
            lambda x, t, o=options: F.cross_entropy(x, t, reduction="none", **o), [x], np.float32, constants=[target]
        )
    compare(lambda x: F.layer_norm(x, (n,)), [x], np.float32)
    compare(lambda x: F.rms_norm(x, (n,)), [x], np.float32)


# --- cross-entropy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cross_entropy(dtype):
    # the loss of a row is one rounding; the mean of a few rows rounds once more, and dy too
    for rows, n in ROWS:
        z, t, w = numbers(rows, n, dtype=dtype, scale=3.0), np.arange(rows) * 7 % n, np.abs(numbers(n, dtype=dtype)) + 1
        t[-1] = -100 if rows > 1 else 0
        for reduction in ("none", "sum", "mean"):
            for options in ({}, {"label_smoothing": 0.2}):
                compare(
                    lambda z, t, o=options, r=reduction: F.cross_entropy(z, t, reduction=r, **o), [z], dtype,
                    roundings=4, constants=[t],
                )  # fmt: skip
                compare(
                    lambda z, t, w, o=options, r=reduction: F.cross_entropy(z, t, w, reduction=r, **o), [z], dtype,
                    roundings=4, constants=[t, w],
                )  # fmt: skip
    compare(F.cross_entropy, [numbers(7, 301, dtype=dtype)], dtype, 3, 4, [np.arange(7, dtype=np.int32)])


def test_large_logits_stay_exact():
    """The row's largest number and the logarithm of its sum are kept apart: their sum would round."""
    z = numbers(4, 50) + 30000
    t = np.arange(4)
    x = on_device(z, True)
    F.cross_entropy(x, on_device(t)).backward()
    exact = z.astype(np.float64)
    p = np.exp(exact - exact.max(1, keepdims=True))
    expected = (p / p.sum(1, keepdims=True) - np.eye(50)[t]) / 4
    assert np.abs(x.grad.cpu().numpy() - expected).max() < 1e-7


def test_no_label_counts():
    for dtype in DTYPES:
        z = on_device(numbers(3, 5, dtype=dtype), True)
        nothing = on_device(np.full(3, -100))
        assert float(F.cross_entropy(z, nothing, reduction="sum")) == 0
        loss = F.cross_entropy(z, nothing)
        assert np.isnan(float(loss))
        loss.backward()
        assert (z.grad.cpu().numpy() == 0).all()


@pytest.mark.parametrize("n", [4, 300])
def test_a_label_that_is_no_class(n):
    for label in (n, -1, 2**40):
        z = on_device(numbers(3, n))
        checks.prepare(emulator.emulated)
        F.cross_entropy(z, on_device(np.array([0, label, 1])), reduction="none")  # reads nothing outside of the row
        with pytest.raises(IndexError, match=f"cross_entropy: target .* out of bounds for {n} classes"):
            checks.look(emulator.emulated, 0)()


def test_the_mean_stays_on_the_device(launched):
    """Forward and backward are three launches and two small array functions: no number goes to the CPU."""
    z = on_device(numbers(6, 10), True)
    loss = F.cross_entropy(z, on_device(np.arange(6)))
    assert [name for name, *_ in launched] == ["forward", "mean"]
    loss.backward()
    assert "backward" in [name for name, *_ in launched]


# --- LayerNorm --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [2, 30, 256, 264, 777])
def test_layer_norm(n, dtype):
    x, w, b = numbers(7, n, dtype=dtype), numbers(n, dtype=dtype, seed=1), numbers(n, dtype=dtype, seed=2)
    for weight, bias in ((w, b), (w, None), (None, b), (None, None)):
        compare(lambda x, w, b: F.layer_norm(x, (n,), w, b), [x, weight, bias], dtype, roundings=2)
    for weight in (w, None):
        compare(lambda x, w: F.rms_norm(x, (n,), w, 1e-5), [x, weight], dtype, roundings=2)
    compare(lambda x, w, b: F.layer_norm(x, (n,), w, b), [x, w, b], dtype, offset=1, roundings=2)


def test_more_rows_than_blocks(monkeypatch):
    """Blocks and warps go on with further rows; each has a part of dw and db."""
    monkeypatch.setattr(layernorm, "TEAMS", 6)
    monkeypatch.setattr(layernorm, "PARTS", 6)
    for n in (24, 304):
        arrays = [numbers(23, n), numbers(n, seed=1), numbers(n, seed=2)]
        compare(lambda x, w, b, n=n: F.layer_norm(x, (n,), w, b), arrays, np.float32)


def test_the_longest_row_and_a_longer_one(launched):
    compare(lambda x: F.layer_norm(x, (6144,)), [numbers(1, 6144, dtype=np.float16)], np.float16, roundings=2)
    assert launched
    launched.clear()
    F.layer_norm(on_device(numbers(1, 6152)), (6152,))
    assert not [name for name, *_ in launched if name == "forward"]


def test_variance_of_numbers_far_from_zero():
    x = numbers(4, 100) * 0.1 + 1000
    y = F.layer_norm(on_device(x), (100,)).cpu().numpy()
    exact = x.astype(np.float64)
    z = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    assert np.abs(y - z).max() < 2e-3  # the mean rounds to 6e-5, of deviations of 0.1


# --- dropout + residual + LayerNorm -----------------------------------------------------------------------------------


def composed(x, r, w, b, p, generator):
    keep = generator.bernoulli(1 - p, x.shape)
    h = Dropout.apply(x, keep=keep, scale=1 / (1 - p)) + r
    return F.layer_norm(h, (x.shape[-1],), w, b)


def generator():
    return Generator(device="guard").manual_seed(5)


@pytest.mark.parametrize("n", [24, 30, 304])
def test_what_is_dropped_is_the_same(n):
    """Fused and in three ops: values, gradients of first and second order, and where the stream is afterwards."""
    arrays = [numbers(5, n, seed=i) for i in range(2)] + [numbers(n, seed=i) for i in (2, 3)]
    results = []
    for fused in (True, False):
        tensors, g = [on_device(a, True) for a in arrays], generator()
        g.bernoulli(0.5, (3,))  # the stream is somewhere
        if fused:
            y = DropoutAddLayerNorm.apply(*tensors, p=0.3, generator=g, ndim=1, eps=1e-5)
            assert type(y.grad_fn) is not DropoutAddLayerNorm  # the fast path
        else:
            y = composed(*tensors, 0.3, g)
        dy, ddx = (on_device(numbers(5, n, seed=i), True) for i in (8, 9))
        first = minitorch.autograd.grad(y, tensors, dy, retain_graph=True)
        traced = minitorch.autograd.grad(y, tensors, dy, create_graph=True)
        second = minitorch.autograd.grad(traced[0], [*tensors[:3], dy], ddx)
        results.append(([y, *first, *traced, *second], g.state_array()))
    for i, (a, b) in enumerate(zip(results[0][0], results[1][0], strict=True)):
        close(a, b, np.float32, f"number {i}", roundings=8)
    assert (results[0][1] == results[1][1]).all()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_residual_in_half_precision(dtype):
    """The sum is not rounded: closer to float32 than three ops would be."""
    for n in (30, 264):
        arrays = [numbers(5, n, dtype=dtype, seed=i) for i in range(2)] + [
            numbers(n, dtype=dtype, seed=i) for i in (2, 3)
        ]
        keep = generator().bernoulli(0.7, (5, n)).get()

        def fused(x, r, w, b, keep=keep):
            if x.device.type == "cpu":
                return F.layer_norm(Dropout.apply(x, keep=keep, scale=1 / 0.7) + r, (x.shape[-1],), w, b)
            return DropoutAddLayerNorm.apply(x, r, w, b, p=0.3, generator=generator(), ndim=1, eps=1e-5)

        compare(fused, arrays, dtype, roundings=2)


def test_an_input_whose_memory_is_turned(launched):
    """(B, T, C) that lies as (T, B, C): no copy, the same numbers are dropped, dx lies as x does."""
    B, T, n = 3, 4, 24
    arrays = [numbers(T, B, n), numbers(B, T, n, seed=1), numbers(n, seed=2), numbers(n, seed=3)]
    results = []
    for fused in (True, False):
        base, r, w, b = (on_device(a, True) for a in arrays)
        x, g = base.transpose(0, 1), generator()
        if fused:
            y = DropoutAddLayerNorm.apply(x, r, w, b, p=0.3, generator=g, ndim=1, eps=1e-5)
        else:
            keep = g.bernoulli(0.7, (T, B, n)).transpose(1, 0, 2)
            y = F.layer_norm(Dropout.apply(x, keep=keep, scale=1 / 0.7) + r, (n,), w, b)
        dy = on_device(numbers(B, T, n, seed=8), True)
        first = minitorch.autograd.grad(y, [base, r, w, b], dy, create_graph=True)
        second = minitorch.autograd.grad(
            first[0], [base, r, dy], on_device(numbers(T, B, n, seed=9)), retain_graph=True
        )
        y.backward(dy.detach())
        results.append([y, base.grad, r.grad, w.grad, b.grad, *first, *second])
    for i, (one, other) in enumerate(zip(*results, strict=True)):
        close(one, other, np.float32, f"number {i}", roundings=8)
    assert "kept_bytes" in [name for name, *_ in launched]


def test_every_draw_is_new():
    x, r, g = on_device(np.ones((4, 32), np.float32)), on_device(np.zeros((4, 32), np.float32)), generator()
    drawn = [DropoutAddLayerNorm.apply(x, r, None, None, p=0.5, generator=g, ndim=1, eps=1e-5) for _ in range(2)]
    assert (drawn[0].cpu().numpy() != drawn[1].cpu().numpy()).any()


def test_while_a_graph_is_captured_the_stream_is_read_from_the_device():
    """`base` of a draw: k begins where the array says."""
    g, n = generator(), 40
    start, _, offset = g.reserve(0)
    x, r = on_device(numbers(2, n)), on_device(numbers(2, n, seed=1))
    base = emulator.emulated.asarray(np.array([1000], np.uint64))
    words = np.uint64(start), base, offset + 7, int(0.6 * 2**53) + 1, 1 / 0.6
    y, _ = layernorm.forward(emulator.emulated, x.array, r.array, None, None, 1, 1e-5, dropout=words)
    g.reserve(1007)
    keep = g.bernoulli(0.6, (2, n))
    expected = F.layer_norm(Dropout.apply(x, keep=keep, scale=1 / 0.6) + r, (n,))
    close(wrap(y), expected, np.float32, "y")


def test_layers_use_it_where_no_hook_can_see():
    """Without dropout (evaluation) the emulator's device can take the whole layer."""
    from minitorch import nn

    minitorch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(16, 2, 32, batch_first=True).eval()
    x, memory = numbers(2, 3, 16), numbers(2, 5, 16, seed=1)
    expected = layer(minitorch.from_numpy(x), minitorch.from_numpy(memory))
    for parameter in layer.parameters():
        parameter.data = on_device(parameter.detach().numpy())

    def check():
        y = layer(on_device(x), on_device(memory))
        close(y, expected, np.float32, "y", roundings=4)

    original = DropoutAddLayerNorm.apply.__func__
    fused = []

    def counting(cls, *args, **options):
        fused.append(1)
        return original(cls, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DropoutAddLayerNorm, "apply", classmethod(counting))
        check()
        assert len(fused) == 3
        handle = layer.norm2.register_forward_hook(lambda *args: None)
        check()
        assert len(fused) == 5
        handle.remove()
        with reference_ops():
            check()
        assert len(fused) == 5
