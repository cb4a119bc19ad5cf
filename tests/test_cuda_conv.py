"""Convolution, pooling and BatchNorm on CUDA, on the emulator: against the reference ops on the CPU, in all three dtypes.

In half precision the inputs are rounded first, and the reference computes in float32: what remains is the rounding of the
results and, in convolutions, of the columns on their way back. The tolerance is relative to the largest number of the
expected array: 2^-21 x 16 in float32, 2 units in the last place in float16 (2^-10 each) and bfloat16 (2^-7 each).
"""

import numpy as np
import pytest

import minitorch
from minitorch.nn import functional as F
from tests import emulator

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
from minitorch.kernels.cuda import batchnorm, conv  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")

DTYPES = [minitorch.float32, minitorch.float16, minitorch.bfloat16]
TOLERANCE = {minitorch.float32: 2**-17, minitorch.float16: 2 * 2**-10, minitorch.bfloat16: 2 * 2**-7}


@pytest.fixture(params=[False, True], ids=["ascending", "descending"])
def device(request, monkeypatch):
    monkeypatch.setattr(emulator.RawModule, "descending", request.param)
    with emulator.device() as name:
        yield name


@pytest.fixture
def plain_device():
    with emulator.device() as name:
        yield name


def numbers(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def run(function, arrays, dtype, device, second=0):
    """The outputs, and the gradients of the floating-point ones with cotangents that have nothing regular."""
    inputs = [None if a is None else minitorch.tensor(a, dtype=dtype, device=device).requires_grad_() for a in arrays]
    outputs = function(*inputs)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    graded = [y for y in outputs if y.is_floating_point()]
    for i, y in enumerate(graded):
        cotangent = minitorch.tensor(numbers(*y.shape, seed=7 + i), dtype=y.dtype, device=device)
        y.backward(cotangent, retain_graph=True)
    return outputs, [None if t is None else t.grad for t in inputs]


def compare(function, *arrays, device, dtype=minitorch.float32, scale=1.0, kernels=()):
    """Runs the function on the device and, with the reference ops, on the CPU; says which kernels were started."""
    rounded = [None if a is None else minitorch.tensor(a, dtype=dtype).float().numpy() for a in arrays]
    emulator.RawModule.launched.clear()
    with np.errstate(all="ignore"):
        actual = run(function, rounded, dtype, device)
    started = {name for name, *_ in emulator.RawModule.launched}
    with minitorch.reference_ops(), np.errstate(all="ignore"):
        expected = run(function, rounded, minitorch.float32, "cpu")
    for what, found, wanted in zip(("output", "gradient"), actual, expected):
        for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
            if a is None or b is None:
                assert a is b
                continue
            assert a.shape == b.shape
            assert a.dtype is (dtype if a.is_floating_point() else b.dtype), f"{what} {i}: {a.dtype}"
            a, b = (t.detach().cpu().to(minitorch.float64).numpy() for t in (a, b))
            finite = np.abs(b[np.isfinite(b)])
            limit = TOLERANCE[dtype] * scale * max(1e-3, finite.max(initial=0))
            np.testing.assert_allclose(a, b, rtol=0, atol=limit, err_msg=f"{what} {i}, {dtype}")
    missing = set(kernels) - started
    assert not missing, f"not started: {missing}; started: {started}"
    return started


# --- convolution -----------------------------------------------------------------------------------------------------

CONVOLUTIONS = [  # x, W, options
    ((2, 3, 7, 5), (4, 3, 3, 3), {"padding": 1}),
    ((3, 2, 9, 6), (5, 2, 2, 3), {"stride": (2, 1), "padding": (0, 2), "dilation": (2, 1)}),
    ((1, 1, 5, 5), (1, 1, 5, 5), {}),
    ((2, 3, 6, 5), (2, 3, 2, 4), {"padding": "same"}),  # one element more behind than in front
    ((2, 4, 8, 7), (6, 2, 3, 3), {"padding": 1, "groups": 2, "stride": 3}),
    ((2, 5, 6, 7), (10, 1, 3, 3), {"padding": 2, "groups": 5, "dilation": 2}),  # every channel alone
    ((3, 4, 5, 3), (7, 4, 1, 1), {}),
    ((3, 4, 5, 3), (7, 4, 1, 1), {"stride": 2}),
    ((3, 4, 5, 3), (7, 4, 1, 1), {"padding": 1}),
    ((3, 4, 5, 3), (6, 2, 1, 1), {"groups": 2}),
    ((2, 3, 11), (4, 3, 3), {"stride": 2, "padding": 1}),
]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("x, W, options", CONVOLUTIONS, ids=str)
def test_convolution(x, W, options, bias, device):
    function = F.conv2d if len(x) == 4 else F.conv1d
    b = numbers(W[0], seed=3) if bias else None
    compare(lambda x, W, b: function(x, W, b, **options), numbers(*x), numbers(*W), b, device=device)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("x, W, options", CONVOLUTIONS, ids=str)
def test_convolution_in_half_precision(x, W, options, dtype, plain_device):
    function = F.conv2d if len(x) == 4 else F.conv1d
    compare(
        lambda x, W, b: function(x, W, b, **options), numbers(*x), numbers(*W), numbers(W[0]),
        device=plain_device, dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2}], ids=str)
def test_transposed_convolution(options, dtype, plain_device):
    x, W = numbers(2, 4, 3, 5), numbers(4, 3, 3, 2)
    b = numbers(3 * options.get("groups", 1))
    compare(lambda x, W, b: F.conv_transpose2d(x, W, b, **options), x, W, b, device=plain_device, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_columns_are_made_for_a_part_of_the_batch(dtype, plain_device, monkeypatch):
    one = 3 * 9 * 20 * (4 if dtype is minitorch.float32 else 2)
    arrays = numbers(5, 3, 6, 7), numbers(4, 3, 3, 3), numbers(4)
    for room, parts in ((5 * one, 1), (2 * one, 3), (1, 5)):
        monkeypatch.setattr(conv, "COLUMNS", room)
        compare(F.conv2d, *arrays, device=plain_device, dtype=dtype, scale=2 if parts > 1 else 1)
        emulator.RawModule.launched.clear()
        x, W, b = (minitorch.tensor(a, dtype=dtype, device=plain_device) for a in arrays)
        F.conv2d(x, W, b)
        assert [name for name, *_ in emulator.RawModule.launched].count("read_columns") == parts


def test_more_channels_than_a_grid_has_rows(plain_device, monkeypatch):
    monkeypatch.setattr(conv, "ROWS", 2)
    compare(F.conv2d, numbers(2, 5, 4, 3), numbers(7, 5, 2, 2), numbers(7), device=plain_device)
    compare(lambda x, W: F.conv2d(x, W, groups=5), numbers(2, 5, 4, 3), numbers(5, 1, 2, 2), device=plain_device)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_modes(mode, plain_device):
    layer = minitorch.nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode=mode)
    W, b = (p.detach().numpy() for p in (layer.weight, layer.bias))

    def call(x, W, b):
        return minitorch.func.functional_call(layer, {"weight": W, "bias": b}, (x,))

    compare(call, numbers(2, 2, 5, 4), W, b, device=plain_device, kernels=["read_columns"])


def test_infinities_and_nan_go_where_the_formula_takes_them(plain_device):
    x, W = numbers(2, 2, 6, 5), numbers(3, 2, 3, 3)
    x[0, 0, 2, 2], x[1, 1, 0, 0], x[1, 0, 5, 4] = np.inf, np.nan, -np.inf
    compare(lambda x, W: F.conv2d(x, W, padding=1), x, W, device=plain_device)
    compare(lambda x, W: F.conv2d(x, W[:, :, :1, :1]), x, W, device=plain_device)
    W[1, 1, 0, 2] = np.inf  # times the zeros of the padding: NaN
    compare(lambda x, W: F.conv2d(x, W, padding=1), numbers(2, 2, 6, 5), W, device=plain_device)


def test_what_the_kernels_leave_to_the_reference(plain_device):
    options = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    accepts = conv.ConvolutionCUDA.accepts
    x, W = numbers(2, 3, 5, 5), numbers(4, 3, 3, 3)
    assert accepts(x, W, None, out=(3, 3), **options)
    assert not accepts(x[:0], W, None, out=(3, 3), **options)
    assert not accepts(x, W[:0], None, out=(3, 3), **options)
    assert not accepts(x.astype(np.float64), W.astype(np.float64), None, out=(3, 3), **options)
    for shape in ((0, 3, 5, 5), (2, 3, 5, 5)):
        x, w = (minitorch.tensor(a, dtype=minitorch.float64, device=plain_device) for a in (numbers(*shape), W))
        emulator.RawModule.launched.clear()
        assert F.conv2d(x, w).shape == (shape[0], 4, 3, 3)
        assert "read_columns" not in {name for name, *_ in emulator.RawModule.launched}


def test_sums_of_channels_in_parts(plain_device, monkeypatch):
    monkeypatch.setattr(conv, "PART", 32)
    started = compare(
        lambda b: F.conv2d(minitorch.tensor(numbers(3, 2, 9, 8), device=b.device), minitorch.tensor(
            numbers(5, 2, 3, 3), device=b.device), b), numbers(5), device=plain_device,
    )  # fmt: skip
    assert {"sum_channels", "sum_parts"} <= started


# --- pooling ---------------------------------------------------------------------------------------------------------

MAXIMA = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0), "dilation": (2, 1)},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3},
]


def tricky(*shape):
    """Ties, NaN and infinities, every number one that bfloat16 holds."""
    x = np.round(numbers(*shape) * 2)
    yield x
    yield np.where(x > 2, np.nan, x)
    yield np.where(x < 0, -np.inf, x)
    yield np.full_like(x, -np.inf)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", MAXIMA, ids=str)
def test_max_pool(options, dtype, plain_device):
    for x in tricky(2, 3, 9, 7):
        for indices in (False, True):
            call = lambda t: F.max_pool2d(t, return_indices=indices, **options)  # noqa: B023, E731
            compare(call, x, device=plain_device, dtype=dtype, kernels=["max_forward", "max_backward"])


@pytest.mark.parametrize("out", [(2, 2), (4, 3), (9, 7), (11, 1)], ids=str)
def test_adaptive_max_pool(out, device):
    for x in tricky(2, 2, 9, 7):
        call = lambda t: F.adaptive_max_pool2d(t, out, return_indices=True)  # noqa: E731
        compare(call, x, device=device, kernels=["max_forward", "max_backward"])


def test_pools_of_sequences(device):
    x = numbers(2, 3, 13)
    compare(lambda t: F.max_pool1d(t, 3, 2, 1), x, device=device, kernels=["max_forward"])
    compare(lambda t: F.adaptive_max_pool1d(t, 5), x, device=device, kernels=["max_forward"])
    compare(lambda t: F.avg_pool1d(t, 4, 3, 2), x, device=device, kernels=["window_sum", "window_spread"])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
        {"kernel_size": 3, "divisor_override": 2},
    ],
    ids=str,
)
def test_average_pool(options, dtype, plain_device):
    call = lambda t: F.avg_pool2d(t, **options)  # noqa: E731
    compare(call, numbers(2, 3, 9, 7), device=plain_device, dtype=dtype, kernels=["window_sum", "window_spread"])


def test_gradients_of_gradients(plain_device):
    """The reference's formulas take over from what the kernels saved."""

    def twice(function):
        def call(x, *parameters):
            y = function(x, *parameters)
            cotangent = minitorch.tensor(numbers(*y.shape, seed=5), device=x.device, requires_grad=True)
            given = [x, *parameters]
            first = minitorch.autograd.grad(y, given, cotangent, create_graph=True)
            return [y, *first]

        return call

    x = numbers(2, 3, 6, 5)
    compare(
        twice(lambda x, W, b: F.conv2d(x, W, b, padding=1)), x, numbers(2, 3, 3, 3), numbers(2), device=plain_device
    )
    compare(twice(lambda x: F.max_pool2d(x * x, 2)), x, device=plain_device)
    compare(twice(lambda x: F.avg_pool2d(x * x, 2)), x, device=plain_device)
    norm = lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True)  # noqa: E731
    compare(twice(norm), x, numbers(3), numbers(3), device=plain_device, scale=8)


# --- BatchNorm -------------------------------------------------------------------------------------------------------

SHAPES = [(5, 3, 4, 3), (4, 7), (3, 2, 33), (1, 3, 2, 1, 5), (9, 1, 8, 8)]


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("chunk", [4096, 16], ids=["one chunk", "chunks"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm(shape, chunk, affine, device, monkeypatch):
    monkeypatch.setattr(batchnorm, "CHUNK", chunk)
    vectors = [numbers(shape[1], seed=i) if affine else None for i in (1, 2)]
    started = compare(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), 3 + 2 * numbers(*shape), *vectors,
        device=device, scale=8,
    )  # fmt: skip
    chunks = np.prod(shape) // shape[1] > chunk
    assert {"forward", "backward"} <= started and ("chunk_moments" in started) is bool(chunks)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_batch_norm_in_half_precision(training, dtype, plain_device):
    x, w, b = 3 + 2 * numbers(6, 5, 7, 3), numbers(5, seed=1), numbers(5, seed=2)

    def call(x, w, b):
        mean, variance = (minitorch.tensor(a, dtype=x.dtype, device=x.device) for a in (w0, 1 + w0 * w0))
        return [F.batch_norm(x, mean, variance, w, b, training=training), mean, variance]

    w0 = np.arange(-2, 3, dtype=np.float32) / 2
    compare(lambda *v: call(*v)[0], x, w, b, device=plain_device, dtype=dtype)


def test_a_mean_far_from_zero_costs_no_digits(plain_device, monkeypatch):
    monkeypatch.setattr(batchnorm, "CHUNK", 50)
    x = (numbers(6, 2, 10, 10) + 1e4).astype(np.float32)
    y = F.batch_norm(minitorch.tensor(x, device=plain_device), None, None, training=True).cpu().numpy()
    z = x.astype(np.float64)
    z = (z - z.mean((0, 2, 3), keepdims=True)) / np.sqrt(z.var((0, 2, 3), keepdims=True) + 1e-5)
    assert abs(y - z).max() < 2e-3  # float32 holds numbers near 10^4 to 5e-4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_running_statistics_stay_on_the_device(dtype, plain_device):
    layers = [minitorch.nn.BatchNorm2d(3, momentum=0.3).to(dtype) for _ in range(2)]
    layers[0].to(plain_device)
    for step in range(3):
        x = minitorch.tensor(1 + 3 * numbers(4, 3, 5, 2, seed=step), dtype=dtype)
        emulator.RawModule.launched.clear()
        layers[0](x.to(plain_device))
        assert [name for name, *_ in emulator.RawModule.launched].count("follow") == 2
        layers[1](x)
    for name in ("running_mean", "running_var"):
        a, b = (getattr(layer, name).cpu().double().numpy() for layer in layers)
        np.testing.assert_allclose(a, b, rtol=4 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert layers[0].num_batches_tracked.device.type == "guard" and layers[0].num_batches_tracked.cpu().item() == 3


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("chunk", [4096, 16], ids=["one chunk", "chunks"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_in_evaluation(shape, chunk, affine, device, monkeypatch):
    monkeypatch.setattr(batchnorm, "CHUNK", chunk)
    vectors = [numbers(shape[1], seed=i) if affine else None for i in (1, 2)]

    def call(x, w, b):
        mean, variance = (minitorch.tensor(a, device=x.device) for a in (numbers(C, seed=3), numbers(C, seed=4) ** 2))
        return F.batch_norm(x, mean, variance, w, b)

    C = shape[1]
    started = compare(call, 3 + 2 * numbers(*shape), *vectors, device=device, scale=8)
    assert {"rescale", "rescale_backward"} <= started and ("rescale_weights" in started) is affine


def test_batch_norm_with_nan(plain_device):
    x = numbers(4, 3, 5, 2)
    x[0, 0, 0, 0], x[1, 2, 3, 1] = np.nan, np.inf
    compare(lambda x: F.batch_norm(x, None, None, training=True), x, device=plain_device)
