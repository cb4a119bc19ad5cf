"""CUDA kernels over elements, on the emulator: arithmetic and its broadcast sums, activations, casts, random numbers, dropout, rows
by number; and half precision of every CUDA kernel over the op table."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import minitorch
from minitorch.backend import random, reference_ops
from tests import emulator
from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, order_of, same
from tests.test_fast_paths import Watch, fast_ops

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")

HALF = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
ROUNDING = {"float32": 2e-6, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # a unit in the last place of 1, or two
F = minitorch.nn.functional


@pytest.fixture(autouse=True)
def device():
    with emulator.device() as name:
        yield name


def tensor(array, requires_grad=True):
    return Library("guard").tensor(np.array(array), requires_grad)


def get(t):
    return np.asarray(t.detach().cpu().numpy(), np.float64)


def launched(run):
    """The kernels that `run()` starts, and its result."""
    before = len(emulator.RawModule.launched)
    result = run()
    return [name for name, *_ in emulator.RawModule.launched[before:]], result


def test_half():
    """Every kernel that takes float16 and bfloat16 as they are, over the op table: values and gradients are those of the
    reference, which computes in float32 and rounds after each op, to 4 times the table's tolerance of the dtype."""
    fast = {reference: op for reference, op in fast_ops("cupy").items() if op.half}
    wrong = []
    with Watch(fast) as watch, np.errstate(all="ignore"):
        for row, case in enumerate(CASES):
            if case.seeded and ("dropout" not in case.name or "attention" in case.name):  # needs a device's stream
                continue
            for index, sample in enumerate(case.samples()):
                dtype = "float16" if (row + index) % 2 else "bfloat16"
                other = cast(sample, dtype)
                order = min(order_of(case, other), 1)
                before = sum(watch.count.values())
                try:
                    actual = evaluate(Library("guard"), case, other, order)
                except Exception as error:
                    try:  # a row that is not for half precision, or not on this device
                        with reference_ops():
                            evaluate(Library("guard"), case, other, order)
                        wrong.append(f"{describe(case, index, other)}: {error!r}")
                    except Exception:
                        pass
                    continue
                if sum(watch.count.values()) == before:
                    continue
                with reference_ops():
                    expected = evaluate(Library(), case, other, order)
                for kind in ("outputs", "first"):
                    for i, pair in enumerate(zip(getattr(actual, kind), getattr(expected, kind), strict=True)):
                        try:
                            same(*pair, f"{describe(case, index, other)}: {kind}[{i}]", 4 * case.tol, dtype)
                        except AssertionError as error:
                            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)
    idle = {op.__name__ for op, count in watch.count.items() if not count}
    idle.discard("ConvolutionWeightCUDA")  # an op of gradients of gradients
    assert not idle, f"take half precision, and chosen by no sample: {', '.join(sorted(idle))}"


SHAPES = [
    ((5, 7), (5, 7)), ((129,), (129,)), ((4, 3, 5), (5,)), ((3, 5), (4, 3, 5)), ((4, 3, 5), (3, 5)), ((300, 33), (33,)),
    ((5, 1), (5, 300)), ((2, 6, 4, 5), (1, 6, 1, 1)), ((2, 6, 7, 7), (6, 1, 1)), ((3, 70), ()), ((), (3, 70)),
    ((70, 300), (1, 1)), ((1, 5, 7), (5, 7)), ((1,), ()), ((4096, 3), (3,)),
]  # fmt: skip


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("dtype", HALF)
def test_arithmetic_of_half_precision(dtype, descending, monkeypatch):
    """Values, and gradients with their broadcast sums, which are those of float32, rounded once."""
    monkeypatch.setattr(emulator.RawModule, "descending", descending)
    rng = np.random.default_rng(0)
    operators = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
    }
    for (a_shape, b_shape), (name, f) in itertools.product(SHAPES, operators.items()):
        a, b = (rng.uniform(0.5, 2, shape).astype(HALF[dtype]) for shape in (a_shape, b_shape))
        dy = rng.standard_normal(np.broadcast_shapes(a_shape, b_shape)).astype(HALF[dtype])
        results = []
        for make, kind in ((tensor, HALF[dtype]), (lambda x: minitorch.tensor(x, requires_grad=True), np.float32)):
            s, t = make(a.astype(kind)), make(b.astype(kind))
            y = f(s, t)
            y.backward(make(dy.astype(kind)).detach())
            assert type(y.grad_fn).__name__ == (f"{name.title()}CUDA" if make is tensor else name.title())
            results.append([get(v) for v in (y, s.grad, t.grad)])
        for actual, expected in zip(*results):
            scale = np.abs(expected).max() + (0 if name == "mul" else 1)
            np.testing.assert_allclose(
                actual, expected, ROUNDING[dtype], 2 * ROUNDING[dtype] * scale, err_msg=f"{name} {a_shape}"
            )


def test_what_arithmetic_leaves_to_the_reference():
    """Both operands spread; operands that are not contiguous; float32."""
    half = HALF["float16"]
    for a, b in (
        (tensor(np.ones((3, 1), half)), tensor(np.ones((1, 4), half))),
        (tensor(np.ones((3, 4), half)).T, tensor(np.ones((4, 3), half))),
        (tensor(np.ones((3, 4), np.float32)), tensor(np.ones((3, 4), np.float32))),
        (tensor(np.ones((2, 3, 4, 5), half)), tensor(np.ones((2, 1, 4, 1), half))),
    ):
        kernels, y = launched(lambda a=a, b=b: a * b)
        assert "mul_forward" not in kernels and y.shape == np.broadcast_shapes(a.shape, b.shape)


def test_numbers_beside_half_precision():
    """A number that the dtype holds exactly goes to the kernel; another is not rounded to it first."""
    x = tensor(np.array([1e-3, 2, 3], np.float16))
    assert launched(lambda: x * 2)[0] == ["mul_forward"]
    kernels, y = launched(lambda: x * 1e5)
    assert "mul_forward" not in kernels
    np.testing.assert_allclose(get(y)[0], 100, 1e-2)
    assert launched(lambda: 1 - x)[0] == ["sub_forward"]


@pytest.mark.parametrize("dtype", ["float32", *HALF])
def test_special_values(dtype):
    """NaN and infinities, in and out, as the reference's on the CPU."""
    x = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 30, -30, 90, -90, 1e4, -1e4] * 3)
    dy = np.repeat([1, np.inf if dtype == "float32" else -2, np.nan], 13)  # a saved y of 1e-9 is 0 in float16: inf * 0
    x, dy = (a.astype(HALF.get(dtype, np.float32)) for a in (x, dy))
    functions = [
        F.relu, F.silu, F.gelu, lambda x: F.gelu(x, "tanh"), F.leaky_relu, F.elu, F.selu, F.celu, F.softplus, F.logsigmoid,
        F.hardsigmoid, F.hardswish, minitorch.tanh, minitorch.sigmoid, minitorch.sqrt, minitorch.rsqrt, minitorch.reciprocal,
        minitorch.abs, minitorch.exp, minitorch.log, minitorch.neg, minitorch.square, lambda x: F.softplus(x, 2.0, 5.0),
    ]  # fmt: skip
    for f in functions:
        results = []
        for make in (tensor, lambda x: minitorch.tensor(x, requires_grad=True)):
            with np.errstate(all="ignore"), reference_ops() if make is not tensor else minitorch.enable_grad():
                t = make(x)
                y = f(t)
                y.backward(make(dy).detach())
                results.append((get(y), get(t.grad)))
        name = type(y.grad_fn).__name__
        for what, actual, expected in zip(("y", "dx"), *results):
            np.testing.assert_allclose(
                actual, expected, 8 * ROUNDING[dtype], 8 * ROUNDING[dtype], err_msg=f"{name}: {what}"
            )


def test_slices_of_larger_arrays_may_begin_anywhere():
    """Their addresses are no multiples of 16 bytes."""
    x = np.random.default_rng(0).standard_normal(1003).astype(np.float32)
    whole = tensor(x, False)
    for start, stop in ((0, 1003), (1, 1003), (2, 1001), (3, 6), (4, 1000)):
        part = whole[start:stop]
        np.testing.assert_allclose(get(F.gelu(part)), get(F.gelu(minitorch.tensor(x[start:stop]))), 1e-5, 1e-6)
        assert (get(part.half().float()) == x[start:stop].astype(np.float16)).all()


def test_cast():
    """Between float32, float16 and bfloat16, from bool and integers: the same bits as on the CPU; gradients come back."""
    rng = np.random.default_rng(0)
    numbers = np.concatenate(
        [
            rng.standard_normal(500) * 10.0 ** rng.integers(-9, 9, 500),
            [0, -0.0, np.inf, -np.inf, np.nan, 65504, 65520, 1e-8],
        ]
    )
    floats = {"float32": np.dtype(np.float32), **HALF}
    sources = {**floats, "bool": np.dtype(bool), "int32": np.dtype(np.int32), "int64": np.dtype(np.int64)}
    with np.errstate(all="ignore"):
        for (a, source), (b, target) in itertools.product(sources.items(), floats.items()):
            if a == b:
                continue
            x = (np.nan_to_num(numbers).clip(-1e6, 1e6) if source.kind in "ib" else numbers).astype(source)
            kernels, y = launched(lambda x=x, b=b: tensor(x, False).to(getattr(minitorch, b)))
            assert kernels == ["cast"] and y.array.dtype == target
            np.testing.assert_array_equal(get(y), np.asarray(x.astype(target), np.float64), f"{a} to {b}")
            if a in floats:
                t = tensor(x[:9])
                t.to(getattr(minitorch, b)).sum().backward()
                assert t.grad.array.dtype == source and (get(t.grad) == 1).all()


def test_gradients_of_half_precision_are_added_by_the_kernel():
    x = tensor(np.arange(6).astype(HALF["bfloat16"]))
    y = x * 2
    kernels, _ = launched(lambda: (y + y.exp() * 0).sum().backward())
    assert "add_forward" in kernels and (get(x.grad) == 2).all()


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 4097])
def test_random_numbers_are_those_of_the_array_functions(n):
    """Bits are equal, floating point numbers to rounding; and the stream goes on at the same place."""

    def draw(name, *options):
        g = random.Generator(device="guard").manual_seed(5)
        g.random_u64(3)
        return get(minitorch.tensor(getattr(g, name)(*options).get())), g.random_u64(2).get()

    draws = [("bernoulli", p, (n,)) for p in (0.0, 0.1, 0.5, 1.0)]
    for dtype in (np.dtype(np.float32), *HALF.values()):
        draws += [("uniform", (n,), *ends, dtype) for ends in ((0.0, 1.0), (-0.3, 2.7), (1.0, 1.002))]
        draws += [("normal", (n,), *options, dtype) for options in ((0.0, 1.0), (3.0, 0.2))]
    for name, *options in draws:
        kernels, (actual, after) = launched(lambda name=name, options=options: draw(name, *options))
        assert kernels == [name]
        with reference_ops():
            kernels, (expected, after_the_reference) = launched(lambda name=name, options=options: draw(name, *options))
        assert not kernels
        np.testing.assert_array_equal(after, after_the_reference)
        rounding = 0 if name != "normal" else 4 * ROUNDING[options[-1].name]
        np.testing.assert_allclose(actual, expected, rounding, rounding, err_msg=f"{name} {options}")


def test_words_relative_to_a_number_on_the_device():
    """While a graph is captured the place in the stream is read from the device: the same numbers."""
    from minitorch.kernels.cuda.random import GeneratorCUDA

    class Captured:
        def __init__(self, g):
            self.g = g

        def reserve(self, n):
            start, _, offset = self.g.reserve(n)
            return start, emulator.emulated.asarray(np.array([offset - 1], np.uint64)), 1

    results = []
    for captured in (False, True):
        g = random.Generator(device="guard").manual_seed(9)
        g.reserve(11)
        y = emulator.emulated.empty(100, np.float32)
        GeneratorCUDA.normal(Captured(g) if captured else g, y, 0.0, 1.0)
        results.append(y.get())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", ["float32", *HALF])
def test_dropout(dtype):
    """Two launches, the mask and the product; the same elements stay in the gradient; NaN stays NaN."""
    x = np.random.default_rng(0).standard_normal((37, 11)).astype(HALF.get(dtype, np.float32))
    x[0, :4] = np.nan
    from minitorch.ops.random import dropout

    t = tensor(x)
    g = random.Generator(device="guard").manual_seed(3)
    kernels, y = launched(lambda: dropout(t, 0.25, generator=g))
    assert kernels == ["bernoulli", "masked"]
    keep = random.Generator(device="guard").manual_seed(3).bernoulli(0.75, x.shape).get()
    expected = np.asarray(x, np.float64) * keep / 0.75
    np.testing.assert_allclose(get(y), expected, ROUNDING[dtype])
    y.backward(tensor(np.ones_like(x), False))
    np.testing.assert_allclose(get(t.grad), keep / 0.75, ROUNDING[dtype])


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("dtype", ["float32", *HALF])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_embedding(dtype, index, descending, monkeypatch):
    """Rows, and the sum over places of equal numbers: short and long runs, within chunks of 32 places and across them."""
    from minitorch.kernels.cuda import embedding

    monkeypatch.setattr(emulator.RawModule, "descending", descending)
    rng = np.random.default_rng(0)
    kind = HALF.get(dtype, np.float32)
    for rows, columns, places, piece in (
        (50, 6, (3, 5), 1 << 15), (3, 16, (40, 10), 1 << 15), (1, 40, (70,), 1 << 15), (9, 1, (97,), 1 << 15), (7, 8, (90,), 40),
    ):  # fmt: skip
        monkeypatch.setattr(embedding, "PIECE", piece)
        W, k = rng.standard_normal((rows, columns)).astype(kind), rng.integers(0, rows, places).astype(index)
        dy = rng.standard_normal((*places, columns)).astype(kind)
        t = tensor(W)
        padding = 0 if rows > 1 else None
        kernels, y = launched(lambda t=t, k=k, p=padding: F.embedding(tensor(k, False), t, padding_idx=p))
        assert kernels == ["gather"]
        np.testing.assert_array_equal(get(y), np.asarray(W[k], np.float64))
        kernels, _ = launched(lambda y=y, dy=dy: y.backward(tensor(dy, False)))
        assert kernels[:2] == ["order", "segments"]
        dW = np.zeros((rows, columns))
        np.add.at(dW, k, np.asarray(dy, np.float64))
        if rows > 1:
            dW[0] = 0
        np.testing.assert_allclose(get(t.grad), dW, ROUNDING[dtype], 1e-5 if dtype == "float32" else ROUNDING[dtype])


def test_an_index_without_a_row_is_reported_and_never_read():
    t = tensor(np.ones((4, 3), np.float32))
    for bad in (-1, 4, 2**40):
        F.embedding(tensor(np.array([1, bad]), False), t)
        with pytest.raises(IndexError, match=r"embedding: index .* out of range for a table of 4 rows"):
            minitorch.ones(2, device="guard").cpu()
    minitorch.ones(2, device="guard").cpu()


def test_rows_added_in_half_precision_are_summed_in_float32():
    """4096 ones: a sum in bfloat16 would stop at 256."""
    x = tensor(np.zeros((2, 3), HALF["bfloat16"]))
    k = tensor(np.ones(4096, np.int64), False)
    x[k].sum().backward()
    assert (get(x.grad) == [[0] * 3, [4096] * 3]).all()


@pytest.mark.parametrize("dtype", HALF)
def test_where(dtype):
    """Bits are chosen, so NaN and infinities stay; gradients of what was spread are summed in float32."""
    a = np.array([[np.nan, np.inf, -0.0, 1]] * 300).astype(HALF[dtype])
    s, t = tensor(a), tensor(np.ones((), HALF[dtype]))
    c = tensor(np.arange(1200).reshape(300, 4) % 3 == 0, False)
    y = minitorch.where(c, s, t)
    assert type(y.grad_fn).__name__ == "WhereCUDA"
    shown = c.cpu().numpy()
    np.testing.assert_array_equal(get(y), np.where(shown, np.asarray(a, np.float64), 1))
    y.backward(tensor(np.ones_like(a), False))
    assert (get(s.grad) == shown).all() and get(t.grad) == 800
