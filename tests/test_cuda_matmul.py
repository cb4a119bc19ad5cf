"""Products of matrices on the GPU, without one: blas.py's calls on an emulated cuBLAS, whose checks are stricter."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import minitorch
from tests import emulator
from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, order_of
from tests.emulator import cublas
from tests.emulator import emulated as xp
from tests.guard import GuardArray

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
from minitorch.kernels.cuda import blas, matmul  # noqa: E402
from tests.test_fast_paths import Watch, fast_ops  # noqa: E402

needs_compiler = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
DTYPES = {"float32": np.dtype(np.float32), **HALVES}
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # of a number that is rounded


@pytest.fixture
def device():
    with emulator.device() as name:
        cublas.calls.clear()
        yield name


def layouts(x):
    """The same matrices (a stack of them) in other places: name -> array equal to x, and whether cuBLAS reads it as it is."""
    down, across = x.shape[-2:]
    yield "plain", x, True
    yield "transposed", np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2), True
    wide = np.full((*x.shape[:-1], across + 3), np.nan, x.dtype)
    wide[..., 1 : across + 1] = x
    yield "columns of a wider one", wide[..., 1 : across + 1], True
    tall = np.full((*x.shape[:-2], 2 * down, across), np.nan, x.dtype)
    tall[..., ::2, :] = x
    yield "every other row", tall[..., ::2, :], True
    yield "backwards", np.ascontiguousarray(x[..., ::-1])[..., ::-1], across == 1
    gaps = np.full((*x.shape[:-1], 2 * across), np.nan, x.dtype)
    gaps[..., ::2] = x
    yield "every other column", gaps[..., ::2], across == 1


def reference(a, b):
    return np.matmul(a.astype(np.float64), b.astype(np.float64))


def close(y, a, b, name, rounded=None):
    """As near to the exact product as one rounding of it and a sum in float32 allow."""
    exact, sizes = reference(a, b), reference(abs(a.astype(np.float64)), abs(b.astype(np.float64)))
    allowed = EPS[rounded or name] * abs(exact) + a.shape[-1] * EPS["float32"] * sizes + 2.0**-24
    assert (abs(y.astype(np.float64) - exact) <= allowed).all()


@pytest.mark.parametrize("name", DTYPES)
def test_layouts(device, name):
    """Every pair of layouts, with sizes of 1 among them: right, and copied only where cuBLAS could not read it."""
    rng = np.random.default_rng(0)
    for n, k, m in [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 4, 1), (1, 1, 1), (70, 65, 33)]:
        for stack in [(), (3,), (2, 3)]:
            a, b = (rng.standard_normal((*stack, *s)).astype(DTYPES[name]) for s in ((n, k), (k, m)))
            for (_, x, fits_x), (_, y, fits_y) in itertools.product(layouts(a), layouts(b)):
                gx, gy = GuardArray(x), GuardArray(y)
                c = blas.product(xp, gx, gy)
                assert c.dtype == x.dtype and c.flags.c_contiguous
                close(c.get(), a, b, name)
                call = cublas.calls.pop()
                assert not cublas.calls
                if fits_x and n * k > 1:
                    assert call["B"] == gx.data.ptr
                if fits_y and m * k > 1:
                    assert call["A"] == gy.data.ptr


@pytest.mark.parametrize("name", DTYPES)
def test_stacks(device, name):
    """Broadcast stacks take no copy where one stride walks through them; heads cut out of (B, T, h d) do for one B."""
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.standard_normal(shape).astype(DTYPES[name])  # noqa: E731
    for a, b, copies in [
        (draw(3, 4), draw(5, 4, 2), 0),
        (draw(5, 3, 4), draw(4, 2), 0),
        (draw(1, 3, 4), draw(5, 4, 2), 0),
        (draw(2, 1, 3, 4), draw(2, 5, 4, 2), 1),
        (draw(2, 5, 3, 4), draw(5, 4, 2), 1),
        (draw(5, 3, 4), np.broadcast_to(draw(4, 2), (5, 4, 2)), 0),
        (draw(1, 7, 3, 4).swapaxes(1, 2), draw(1, 3, 4, 2), 0),
        (draw(2, 7, 3, 4).swapaxes(1, 2), draw(2, 3, 4, 2), 1),
        (draw(3, 4), np.broadcast_to(draw(4, 1), (4, 5)), 1),
        (draw(6, 3, 4)[::2], draw(3, 4, 2), 0),
        (draw(6, 3, 4)[::-1], draw(6, 4, 2), 1),
    ]:
        x, y = GuardArray(a), GuardArray(b)
        c = blas.product(xp, x, y)
        assert c.shape == np.matmul(a.astype(np.float32), b.astype(np.float32)).shape
        close(c.get(), a, b, name)
        (call,) = cublas.calls
        assert (call["B"] != x.data.ptr) + (call["A"] != y.data.ptr) == copies, (a.shape, b.shape, copies)
        cublas.calls.clear()


@pytest.mark.parametrize("name", DTYPES)
def test_out(device, name):
    """Into an array that is there, into a part of one, on top of one; in float32; and without anything to multiply."""
    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal(s).astype(DTYPES[name]) for s in ((2, 3, 4), (2, 4, 5)))
    room = GuardArray(np.full((2, 3, 9), np.nan, DTYPES[name]))
    assert blas.product(xp, GuardArray(a), GuardArray(b), room[..., 2:7]) is not None
    close(room.get()[..., 2:7], a, b, name)
    assert np.isnan(room.get()[..., [0, 1, 7, 8]].astype(np.float32)).all()

    before = rng.standard_normal((2, 3, 5)).astype(DTYPES[name])
    y = blas.product(xp, GuardArray(a), GuardArray(b), GuardArray(before.copy()), add=True).get()
    exact = reference(a, b) + before
    assert np.allclose(y.astype(np.float64), exact, rtol=EPS[name], atol=1e-6)

    wide = blas.product(xp, GuardArray(a), GuardArray(b), dtype=np.float32)
    assert wide.dtype == np.float32
    close(wide.get(), a, b, name, "float32")

    cublas.calls.clear()
    none = [GuardArray(x) for x in (a[..., :0], b[:, :0])]
    assert not blas.product(xp, *none).get().astype(np.float32).any()
    kept = blas.product(xp, *none, GuardArray(before.copy()), add=True)
    assert (kept.get() == before).all()
    assert blas.product(xp, GuardArray(a[:, :0]), GuardArray(b)).shape == (2, 0, 5)
    assert not cublas.calls
    for wrong in (np.zeros((2, 3, 4), DTYPES[name]), np.zeros((2, 5, 3), DTYPES[name]).swapaxes(1, 2)):
        with pytest.raises(ValueError, match=r"shape \(2, 3, 5\) with contiguous rows"):
            blas.product(xp, GuardArray(a), GuardArray(b), GuardArray(wrong))


def test_nan_and_infinity(device):
    """As in the reference: a NaN reaches its row and its column, an infinity times zero is one, nothing of `out` does."""
    a, b = np.eye(4, dtype=np.float32), np.ones((4, 4), np.float32)
    a[1, 2], b[0, 3] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        expected = a @ b
        y = blas.product(xp, GuardArray(a), GuardArray(b), GuardArray(np.full((4, 4), np.nan, np.float32)))
    np.testing.assert_array_equal(y.get(), expected)


def test_tf32_only_when_asked(device):
    """float32 stays float32 unless the setting says otherwise; half precision knows no such setting."""
    rng = np.random.default_rng(3)
    a, b = (GuardArray(rng.standard_normal(s).astype(np.float32)) for s in ((8, 32), (32, 8)))
    exact = reference(a.get(), b.get())
    error = lambda: abs(blas.product(xp, a, b).get() - exact).max()  # noqa: E731
    assert error() < 1e-5
    try:
        minitorch.backends.cuda.matmul.allow_tf32 = True
        assert minitorch.get_float32_matmul_precision() == "high"
        assert 1e-5 < error() < 1e-2
        blas.product(xp, a.astype(np.float16), b.astype(np.float16))
        minitorch.set_float32_matmul_precision("medium")
        error()
    finally:
        minitorch.set_float32_matmul_precision("highest")
    error()
    full, fast = cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    assert [call["computeType"] for call in cublas.calls] == [full, fast, full, fast, full]


def test_what_is_left_to_the_reference(device):
    one = lambda shape, dtype: GuardArray(np.zeros(shape, dtype))  # noqa: E731
    assert blas.takes(one((2, 3), np.float16), one((5, 3, 4), np.float16))
    for a, b in [
        (one((2, 3), np.float64), one((3, 4), np.float64)),
        (one((2, 3), np.int64), one((3, 4), np.int64)),
        (one((2, 3), np.float16), one((3, 4), np.float32)),
        (one((2, 0), np.float32), one((0, 4), np.float32)),
        (one((0, 3), np.float32), one((3, 4), np.float32)),
    ]:
        assert not blas.takes(a, b)
    for a, b, fits in [((1, 3, 2), (3, 2, 1), True), ((2**16, 1), (1, 2**16), False), ((2**20,), (2**20,), True)]:
        x, y = (GuardArray(np.broadcast_to(np.zeros((), np.float32), (*s, 2, 2))) for s in (a, b))
        assert blas.takes(x, y) is fits
    long = GuardArray(np.broadcast_to(np.zeros((), np.float16), (2**31, 1)))
    assert not blas.takes(long, one((1, 4), np.float16))


PRODUCTS = {
    "operator @", *"matmul mm bmm mv dot addmm baddbmm addbmm addmv einsum tensordot inner chain_matmul".split(),
    "linalg.multi_dot", "nn.functional.linear", "nn.functional.bilinear",
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("name", HALVES)
def test_table_in_half_precision(device, name):
    """All products of the table: values, and gradients of both orders, near those of the reference ops in half precision."""
    from minitorch.backend import reference_ops

    fast = fast_ops("cupy")
    with Watch(fast) as watch, np.errstate(all="ignore"):
        for case in CASES:
            if case.name not in PRODUCTS or case.seeded:
                continue
            for index, sample in enumerate(case.samples()):
                other = cast(sample, name)
                order = order_of(case, other)
                before = sum(watch.count.values())
                actual = evaluate(Library(device), case, other, order)
                if sum(watch.count.values()) == before:
                    continue
                again = evaluate(Library(device), case, other, min(order, 1))
                with reference_ops():
                    expected = evaluate(Library(), case, other, order)
                what = describe(case, index, other)
                for kind, result in (
                    ("outputs", actual), ("first", actual), ("second", actual), ("outputs", again), ("first", again),
                ):  # fmt: skip
                    for i, (a, b) in enumerate(zip(getattr(result, kind), getattr(expected, kind), strict=True)):
                        assert np.asarray(a).dtype == np.asarray(b).dtype, what
                        scale = abs(np.asarray(b, np.float32)).max(initial=1)
                        near = np.allclose(
                            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=4 * EPS[name], equal_nan=True,
                            atol=4 * EPS[name] * scale,
                        )  # fmt: skip
                        assert near, f"{what}: {kind}[{i}]"
    assert all(watch.count[op] for op in (matmul.MatMulCUDA, matmul.LinearCUDA))


# --- linear ----------------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", DTYPES)
def test_bias(device, name, descending, monkeypatch):
    """The bias in every row, and the sums of rows that are its gradient, in one part and in several."""
    monkeypatch.setattr(emulator.RawModule, "descending", descending)
    monkeypatch.setattr(matmul, "PART", 40)
    rng = np.random.default_rng(4)
    for rows, n in [(1, 1), (3, 5), (40, 33), (41, 64), (200, 40), (1000, 3)]:
        b, x = (rng.standard_normal(s).astype(DTYPES[name]) for s in ((n,), (rows, n)))
        np.testing.assert_array_equal(matmul.with_bias(xp, GuardArray(b), rows).get(), np.broadcast_to(b, (rows, n)))
        wide = np.zeros((n + 1,), DTYPES[name])
        wide[1:] = b  # its address is no multiple of a pack's size
        np.testing.assert_array_equal(matmul.with_bias(xp, GuardArray(wide)[1:], rows).get()[0], b)
        close(matmul.sum_of_rows(xp, GuardArray(x)).get()[None], np.ones((1, rows), DTYPES[name]), x, name)
        turned = GuardArray(np.ascontiguousarray(x.T)).T
        close(matmul.sum_of_rows(xp, turned).get()[None], np.ones((1, rows), DTYPES[name]), x, name)


@needs_compiler
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(device, name, bias):
    """Values and gradients against float64: rounded once. And how much is launched."""
    rng = np.random.default_rng(5)
    x, W, b, dy = (rng.standard_normal(s).astype(DTYPES[name]) for s in ((6, 7, 20), (12, 20), (12,), (6, 7, 12)))
    tensors = [minitorch.from_numpy(v).to(device).requires_grad_() for v in ([x, W, b] if bias else [x, W])]
    emulator.RawModule.launched.clear()
    y = minitorch.nn.functional.linear(*tensors)
    assert len(cublas.calls) == 1 and len(emulator.RawModule.launched) == bias
    y.backward(minitorch.from_numpy(dy).to(device))
    assert len(cublas.calls) == 3 and len(emulator.RawModule.launched) == 2 * bias
    x2, dy2 = x.reshape(42, 20), dy.reshape(42, 12)
    one = np.ones((42, 1), x.dtype)
    close(
        y.detach().cpu().numpy().reshape(42, 12), np.concatenate([x2, one], 1),
        np.concatenate([W.T, (b if bias else 0 * b)[None]], 0), name,
    )  # fmt: skip
    close(tensors[0].grad.cpu().numpy().reshape(42, 20), dy2, W, name)
    close(tensors[1].grad.cpu().numpy(), dy2.T, x2, name)
    if bias:
        close(tensors[2].grad.cpu().numpy()[None], one.T, dy2, name)


@needs_compiler
@pytest.mark.parametrize("name", HALVES)
def test_gradients_of_broadcast_stacks_are_rounded_once(device, name):
    """A matrix that a whole stack uses: its gradient is a sum over the stack, of float32."""
    rng = np.random.default_rng(6)
    a, b, dy = (rng.standard_normal(s).astype(DTYPES[name]) for s in ((4, 5), (300, 5, 3), (300, 4, 3)))
    x, y = (minitorch.from_numpy(v).to(device).requires_grad_() for v in (a, b))
    (x @ y).backward(minitorch.from_numpy(dy).to(device))
    close(
        x.grad.cpu().numpy(), np.ascontiguousarray(dy.transpose(1, 0, 2)).reshape(4, 900),
        np.ascontiguousarray(b.transpose(0, 2, 1)).reshape(900, 5), name,
    )  # fmt: skip


# --- bfloat16 arrays without a fast path ------------------------------------------------------------------------------


MOVING = "where masked_fill setitem tril triu sort argsort topk unique kthvalue mode nanmedian cummax index_fill clamp".split()


def test_bfloat16_arrays_meet_only_what_cupy_has():
    """The guard refuses what CuPy has not for bfloat16; a stricter set of functions than for other dtypes."""
    from minitorch.backend import reference_ops, register_namespace
    from tests.guard import guard

    register_namespace("guard", guard, GuardArray)
    x = GuardArray(np.ones((2, 2), HALVES["bfloat16"]))
    for refused in (lambda: guard.where(x > 0, x, x), lambda: guard.tril(x), lambda: guard.matmul(x[None], x[None])):
        with pytest.raises(TypeError, match="does not take bfloat16"):
            refused()
    seen = 0
    with np.errstate(all="ignore"), reference_ops():
        for case in CASES:
            for sample in case.samples() if case.name in MOVING else ():
                if sample.large:
                    continue
                other = cast(sample, "bfloat16")
                on_guard, on_cpu = (
                    evaluate(Library(d), case, other, min(order_of(case, other), 1)) for d in ("guard", "cpu")
                )
                for a, b in zip([*on_guard.outputs, *on_guard.first], [*on_cpu.outputs, *on_cpu.first], strict=True):
                    assert np.asarray(a).dtype == np.asarray(b).dtype
                    np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), 0.02, 0.02)
                seen += 1
    assert seen > 60
    nan = minitorch.tensor([1.0, float("nan"), 2.0]).bfloat16()
    assert nan.cummax(0)[0].isnan().tolist() == [False, True, True]


# --- mixed precision -------------------------------------------------------------------------------------------------


def train(where, dtype=None, scaled=False, steps=5):
    """The losses of a few steps of a small transformer layer and a head."""
    minitorch.manual_seed(0)
    nn, F = minitorch.nn, minitorch.nn.functional
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True).to(where)
    head = nn.Linear(16, 5).to(where)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = minitorch.optim.AdamW(parameters, lr=3e-2)
    scaler = minitorch.amp.GradScaler(where, enabled=scaled, init_scale=2.0**10)
    rng = np.random.default_rng(7)
    x = minitorch.from_numpy(rng.standard_normal((4, 6, 16)).astype(np.float32)).to(where)
    y = minitorch.from_numpy(rng.integers(0, 5, 24)).to(where)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with minitorch.amp.autocast(where, dtype=dtype or minitorch.bfloat16, enabled=dtype is not None):
            logits = head(layer(x))
            loss = F.cross_entropy(logits.flatten(0, 1), y)
        assert logits.dtype is (dtype or minitorch.float32) and loss.dtype is minitorch.float32
        scaler.scale(loss).backward()
        assert all(p.grad.dtype is minitorch.float32 for p in parameters)
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    return losses


@needs_compiler
@pytest.mark.parametrize("name", HALVES)
def test_training_in_mixed_precision_is_that_in_float32(device, name):
    exact = train("cpu")
    assert exact[-1] < 0.7 * exact[0]
    cublas.calls.clear()
    mixed = train(device, getattr(minitorch, name), scaled=name == "float16")
    kinds = {call["Atype"] for call in cublas.calls}
    assert kinds == {cublas.RUNTIME["CUDA_R_16F" if name == "float16" else "CUDA_R_16BF"]}
    np.testing.assert_allclose(mixed, exact, rtol=0.01 if name == "bfloat16" else 2e-3)


@needs_compiler
def test_gradients_add_up_in_their_tensors_dtype(device):
    """Of a half-precision tensor that is used twice, and of a float32 parameter that two autocast products use."""
    x = minitorch.ones(4, 4, device=device, dtype=minitorch.bfloat16, requires_grad=True)
    h = x * 1.0
    (h @ h + h).sum().backward()
    assert x.grad.dtype is minitorch.bfloat16 and x.grad.tolist() == [[9.0] * 4] * 4
    W = minitorch.ones(4, 4, device=device, requires_grad=True)
    with minitorch.amp.autocast(device, dtype=minitorch.float16):
        y = W @ W
        assert len({id(entry[3]) for entry in minitorch.autograd.autocast.here.cache.values()}) == 1
    y.float().sum().backward()
    assert W.grad.dtype is minitorch.float32 and W.grad.tolist() == [[8.0] * 4] * 4


# --- the emulated cuBLAS itself --------------------------------------------------------------------------------------


def test_the_emulator_refuses():
    a = np.zeros((3, 4), np.float32)
    pointer = a.ctypes.data
    good = {
        "handle": cublas.HANDLE, "transa": 0, "transb": 0, "m": 2, "n": 3, "k": 1, "alpha": blas.ONE, "A": pointer,
        "Atype": 0, "lda": 2, "B": pointer, "Btype": 0, "ldb": 1, "beta": blas.ZERO, "C": pointer, "Ctype": 0, "ldc": 4,
        "computeType": 68, "algo": -1,
    }  # fmt: skip
    cublas.gemmEx(**good)
    for wrong, words in [
        ({"lda": 1}, "lda >= 2"), ({"ldb": 0}, "ldb >= 1"), ({"transa": 1, "lda": 0}, "lda >= 1"), ({"ldc": 1}, "ldc >= 2"),
        ({"Btype": 2}, "known dtypes"), ({"Ctype": 1}, "known dtypes"), ({"computeType": 64}, "compute type"),
        ({"Atype": 2, "Btype": 2, "Ctype": 2, "computeType": 77}, "compute type"), ({"A": pointer + 2}, "address"),
        ({"m": 0}, "positive"), ({"m": np.int64(2)}, "m to be an int"), ({"k": 2**31}, "C int"), ({"handle": 0}, "handle"),
        ({"transb": True}, "transb to be an int"), ({"algo": 7}, "algorithm"),
    ]:  # fmt: skip
        with pytest.raises(cublas.CUBLASError, match=words):
            cublas.gemmEx(**{**good, **wrong})
