"""The CUDA attention, on the emulator: values and gradients are the reference formula's; nothing of the scores is kept."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from tests import emulator

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
import minitorch  # noqa: E402
from minitorch.backend import reference_ops  # noqa: E402
from minitorch.backend.random import Generator  # noqa: E402
from minitorch.kernels.cuda import launch  # noqa: E402
from minitorch.kernels.cuda.attention import AttentionCUDA, Kept  # noqa: E402
from minitorch.ops.attention import Attention  # noqa: E402
from minitorch.tensor import wrap  # noqa: E402
from tests.guard import GuardArray  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")
FLOAT32, FLOAT16, BFLOAT16 = (np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16))
DTYPES = [FLOAT32, FLOAT16, BFLOAT16]
# Of the largest number in the array. Half precision rounds P, dS and the results, each to 8 or 11 bits.
TOLERANCE = {FLOAT32: 1e-5, FLOAT16: 2e-3, BFLOAT16: 1.2e-2}


@pytest.fixture(autouse=True)
def device():
    with emulator.device() as name:
        yield name


@pytest.fixture(params=[False, True], ids=["ascending", "descending"])
def order(request, monkeypatch):
    monkeypatch.setattr(emulator.RawModule, "descending", request.param)


def drawn(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(np.float32).astype(dtype)


def inputs(dtype, B, h, L, S, d, e, seed=0):
    """q, k, v, dy."""
    rng = np.random.default_rng(seed)
    return [drawn(rng, dtype, B, h, *shape) for shape in ((L, d), (S, d), (S, e), (L, e))]


def as_device(x):
    return GuardArray(x) if isinstance(x, np.ndarray) else x


def on_the_gpu(q, k, v, dy, mask=None, needs=(True, True, True, False), keep=None, **options):
    """y, dq, dk, dv, dmask of the CUDA kernels, as float32 NumPy arrays, and the op."""
    op = AttentionCUDA()
    op.xp, op.needs = emulator.emulated, needs
    options = {"causal": False, "scale": q.shape[-1] ** -0.5, "factor": 1.0, "keep": keep, **options}
    arrays = [as_device(x) for x in (q, k, v, mask)]
    assert op.accepts(*arrays, **options)
    y = op.forward(*arrays, **options)
    grads = op.backward(as_device(dy))
    assert y.dtype == q.dtype and all(g is None or g.dtype == q.dtype for g in grads)
    return [g if g is None else g.get().astype(np.float32) for g in (y, *grads)], op


def by_formula(q, k, v, dy, mask=None, needs=(True, True, True, False), keep=None, **options):
    """The same by the reference op, computed in float64."""
    op = Attention()
    op.xp, op.needs = np, needs
    wide = [x if x is None or x.dtype == bool else x.astype(np.float64) for x in (q, k, v, mask, dy)]
    options = {"causal": False, "scale": q.shape[-1] ** -0.5, "factor": 1.0, "keep": keep, **options}
    with reference_ops(), np.errstate(all="ignore"):
        return [op.forward(*wide[:4], **options), *op.backward(wide[4])]


def same(results, expected, dtype):
    for name, a, b in zip(("y", "dq", "dk", "dv", "dmask"), results, expected, strict=True):
        if a is None or b is None:
            continue
        assert a.shape == b.shape
        finite = np.isfinite(b)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
        if finite.any():
            room = TOLERANCE[dtype] * max(np.abs(b[finite]).max(), 0.1)
            np.testing.assert_allclose(a[finite], b[finite], rtol=0, atol=room, err_msg=name)


def masks(dtype, B, h, L, S):
    rng = np.random.default_rng(5)
    some = rng.random((L, S)) < 0.6
    some[3 % L] = False  # a row that sees nothing
    return {
        "none": {},
        "causal": {"causal": True},
        "keys": {"mask": np.arange(S)[None, None, None] < np.array([S, max(S // 3, 1)] * B)[:B, None, None, None]},
        "booleans": {"mask": some},
        "transposed": {"mask": np.asfortranarray(rng.random((B, h, L, S)) < 0.5)},
        "numbers": {"mask": drawn(rng, dtype, B, 1, L, S)},
    }


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "causal", "keys", "booleans", "transposed", "numbers"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_reference(dtype, kind, order):
    """Several pieces in each direction, sizes that are no multiples of them, rows that no vector load fits."""
    sizes = (2, 1, 70, 75, 13, 9) if kind in ("causal", "keys") else (1, 2, 75, 70, 24, 16)
    options = masks(dtype, *sizes[:4])[kind]
    arrays = inputs(dtype, *sizes)
    same(on_the_gpu(*arrays, **options)[0], by_formula(*arrays, **options), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "sizes", [(1, 2, 1, 1, 4, 4), (2, 2, 1, 140, 64, 64), (1, 1, 65, 40, 128, 20), (1, 1, 5, 133, 33, 65)], ids=str
)
def test_sizes(dtype, sizes):
    arrays = inputs(dtype, *sizes)
    same(on_the_gpu(*arrays)[0], by_formula(*arrays), dtype)
    L, S = sizes[2:4]
    for l, s in {(L, S), (S, L)} if max(L, S) < 70 else ():
        arrays = inputs(dtype, *sizes[:2], l, s, *sizes[4:])
        same(on_the_gpu(*arrays, causal=True)[0], by_formula(*arrays, causal=True), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_few_queries_divide_the_keys(dtype, order):
    """What the parts give is put together: also where a part sees nothing, or no part does, or a key is no number."""
    L, S = 3, 530
    q, k, v, dy = inputs(dtype, 1, 2, L, S, 16, 8)
    shown = np.random.default_rng(0).random((L, S)) < 0.5
    shown[0, :300], shown[1, 250:], shown[2] = False, False, False
    emulator.RawModule.launched.clear()
    for options in ({}, {"mask": shown}, {"mask": np.where(shown, 0, -np.inf).astype(dtype)}, {"causal": True}):
        same(on_the_gpu(q, k, v, dy, **options)[0], by_formula(q, k, v, dy, **options), dtype)
    assert sum(name == "join" for name, *_ in emulator.RawModule.launched) == 4
    k = k.copy()
    k[0, 1, 400, 2] = np.nan
    same(on_the_gpu(q, k, v, dy)[0], by_formula(q, k, v, dy), dtype)
    kept = Kept((1, 2, L, S), 0.5, generator())
    options = {"factor": 2.0, "causal": False}
    expected = by_formula(q, k, v, dy, keep=kept.array(emulator.emulated).get(), **options)
    same(on_the_gpu(q, k, v, dy, keep=kept, **options)[0], expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_heads_are_cut_out_without_copies(dtype):
    B, T, h, d = 2, 37, 3, 16
    rng = np.random.default_rng(1)
    qkv = drawn(rng, dtype, B, T, 3, h, d)
    q, k, v = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    dy = drawn(rng, dtype, B, T, h, d).transpose(0, 2, 1, 3)
    results, op = on_the_gpu(q, k, v, dy)
    same(results, by_formula(q, k, v, dy), dtype)
    assert all(np.shares_memory(x._hidden, qkv) for x in op.saved[-2][:3])
    y = op.forward(*map(as_device, (q, k, v, None)), causal=False, scale=1.0, keep=None, factor=1.0)
    assert y.transpose(0, 2, 1, 3).flags.c_contiguous
    backwards = [x[:, :, ::-1] for x in (q, k, v, dy)]
    same(on_the_gpu(*backwards)[0], by_formula(*backwards), dtype)
    columns = [np.asfortranarray(x) for x in (q, k, v, dy)]
    same(on_the_gpu(*columns)[0], by_formula(*columns), dtype)
    shared = [q, np.broadcast_to(k[:, :1], k.shape), np.broadcast_to(v[:, :, :1], v.shape), dy]
    same(on_the_gpu(*shared)[0], by_formula(*shared), dtype)


@pytest.mark.parametrize("axes", [2, 3])
def test_fewer_axes(axes):
    arrays = [x.reshape(x.shape[1:])[(0,) * (3 - axes)] for x in inputs(FLOAT32, 1, 3, 20, 40, 8, 8)]
    mask = np.random.default_rng(0).random((20, 40)) < 0.5
    same(on_the_gpu(*arrays, mask=mask)[0], by_formula(*arrays, mask=mask), FLOAT32)


@pytest.mark.parametrize("needs", list(itertools.product([False, True], repeat=4)), ids=str)
def test_only_what_is_needed(needs):
    arrays = inputs(FLOAT16, 1, 1, 20, 40, 8, 8)
    mask = drawn(np.random.default_rng(3), FLOAT16, 20, 40)
    emulator.RawModule.launched.clear()
    results, _ = on_the_gpu(*arrays, mask=mask, needs=needs)
    names = {name for name, *_ in emulator.RawModule.launched}
    expected = by_formula(*arrays, mask=mask, needs=needs)
    for needed, a, b in zip((True, *needs), results, expected):
        assert not needed or (a is not None and b is not None)
    same(results, expected, FLOAT16)
    if not needs[3]:  # a mask's gradient is left to the formula
        assert ("backward_queries" in names) == needs[0] and ("backward_keys" in names) == (needs[1] or needs[2])


# --- numbers that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_and_infinity_arrive_where_they_do_in_the_reference(dtype, value):
    q, k, v, dy = inputs(dtype, 1, 1, 40, 70, 8, 8)
    shown = np.random.default_rng(2).random((40, 70)) < 0.8
    for at in range(4):
        changed = [a.copy() for a in (q, k, v, dy)]
        changed[at][0, 0, 33, 2] = value
        for options in ({}, {"mask": shown}):
            results, expected = on_the_gpu(*changed, **options)[0], by_formula(*changed, **options)
            np.testing.assert_array_equal(np.isnan(results[0]), np.isnan(expected[0]))
            for a, b in zip(results[:4], expected):  # the sum of dP P may be NaN where that of dy y is infinite
                np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


def test_masks_at_the_edge_of_the_numbers():
    q, k, v, dy = inputs(FLOAT32, 1, 1, 4, 40, 8, 8)
    lowest = np.zeros((4, 40), np.float32)
    lowest[1] = np.finfo(np.float32).min  # all the same: a mean
    lowest[2, :35] = -np.inf
    lowest[3, 5:] = np.finfo(np.float32).min
    results, expected = on_the_gpu(q, k, v, dy, mask=lowest)[0], by_formula(q, k, v, dy, mask=lowest)
    np.testing.assert_allclose(
        results[0][0, 0, 1], v[0, 0].mean(0), atol=1e-6
    )  # float64 sees the scores beside the mask
    np.testing.assert_allclose(results[0][0, 0, [0, 2, 3]], expected[0][0, 0, [0, 2, 3]], atol=1e-5)
    gone = np.full((4, 40), -np.inf, np.float32)
    assert np.isnan(on_the_gpu(q, k, v, dy, mask=gone)[0][0]).all()  # as a softmax of them
    hidden, *grads = on_the_gpu(q, k, v, dy, mask=np.zeros((1, 40), bool))[0]
    assert not hidden.any() and not any(g.any() for g in grads[:3])


# --- dropout ----------------------------------------------------------------------------------------------------------


def generator():
    return Generator(device="guard").manual_seed(7)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dropout(dtype, causal, order):
    """The kernels' mask is the one that Kept makes, in all three of them; it is drawn again in backward."""
    B, h, L, S = 2, 2, 67, 71
    arrays = inputs(dtype, B, h, L, S, 16, 8)
    kept = Kept((B, h, L, S), 0.3, generator())
    whole = kept.array(emulator.emulated).get()
    assert abs(whole.mean() - 0.7) < 0.01
    options = {"causal": causal, "factor": 1 / 0.7}
    results, op = on_the_gpu(*arrays, keep=kept, **options)
    same(results, by_formula(*arrays, keep=whole, **options), dtype)
    assert max(x.size for x in op.saved if hasattr(x, "size")) < B * h * L * S


def test_dropouts_words():
    """Each weight has 16 bits of its own; the stream goes on after them; `base` moves it, as a captured graph does."""
    g = generator()
    first, second = (Kept((3, 5, 7), 0.5, g).array(emulator.emulated).get() for _ in range(2))
    assert first.shape == (3, 5, 7) and (first != second).any()
    both = Kept((6, 5, 7), 0.5, generator()).array(emulator.emulated).get()
    np.testing.assert_array_equal(both, np.concatenate([first, second]))
    arrays = inputs(FLOAT32, 1, 3, 5, 7, 4, 4)
    moved = Kept((1, 3, 5, 7), 0.5, generator())
    moved.offset, moved.base = -5, emulator.emulated.asarray(np.array([5 + 3 * 3 * 4], np.uint64))
    results, _ = on_the_gpu(*arrays, keep=moved)
    same(results, by_formula(*arrays, keep=second[None]), FLOAT32)
    for p, mean in ((0.0, 1.0), (1.0, 0.0)):
        assert Kept((9, 9), p, g).array(emulator.emulated).get().mean() == mean
        assert not p or not on_the_gpu(*arrays, keep=Kept((1, 3, 5, 7), p, g))[0][0].any()
    with pytest.raises(ValueError, match="between 0 and 1, but got 1.5"):
        Kept((2, 2), 1.5, g)


# --- the function -----------------------------------------------------------------------------------------------------


def tensors(*arrays):
    return [wrap(GuardArray(x.copy())).requires_grad_() for x in arrays]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_function(dtype, monkeypatch):
    """Half precision goes to the kernels as it is; the gradient of a gradient is the formula's, with the same mask."""
    monkeypatch.setattr("minitorch.ops.random._generator", lambda given, where: stream)
    attention = minitorch.nn.functional.scaled_dot_product_attention
    q, k, v, dy = inputs(dtype, 1, 2, 9, 11, 8, 8)
    for options in ({}, {"dropout_p": 0.25}):
        stream = generator()
        emulator.RawModule.launched.clear()
        given = tensors(q, k, v)
        y = attention(*given, **options)
        assert [name for name, *_ in emulator.RawModule.launched] == ["forward"] and y.dtype is given[0].dtype
        keep = None
        if options:
            stream = generator()
            keep = Kept((1, 2, 9, 11), 0.25, stream).array(emulator.emulated).get()
        first = minitorch.autograd.grad([y], given, [wrap(GuardArray(dy))], create_graph=True)
        second = minitorch.autograd.grad([sum((g * g).sum() for g in first)], given)
        expected = by_formula(q, k, v, dy, keep=keep, factor=1 / 0.75 if options else 1.0)
        results = [t.detach().array.get().astype(np.float32) for t in (y, *first)]
        same([*results, None], expected, dtype)
        if dtype is FLOAT32:
            wide = [minitorch.from_numpy(x.astype(np.float64)).requires_grad_() for x in (q, k, v)]
            with reference_ops():
                out = Attention.apply(
                    *wide, None, causal=False, scale=8**-0.5, keep=keep, factor=1 / 0.75 if options else 1.0
                )
                grads = minitorch.autograd.grad(
                    [out], wide, [minitorch.from_numpy(dy.astype(np.float64))], create_graph=True
                )
                twice = minitorch.autograd.grad([sum((g * g).sum() for g in grads)], wide)
            for a, b in zip(second, twice):
                np.testing.assert_allclose(a.array.get(), b.numpy(), rtol=1e-3, atol=1e-4)


def test_a_result_that_was_changed_is_noticed():
    q, k, v = tensors(*inputs(FLOAT32, 1, 1, 4, 4, 8, 8)[:3])
    y = minitorch.nn.functional.scaled_dot_product_attention(q, k, v)
    loss = y.sum()
    y.detach().mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an in-place operation: its output 0"):
        loss.backward()


def test_what_is_left_to_the_formula():
    options = {"causal": False, "scale": 1.0, "keep": None, "factor": 1.0}
    q, k, v, _ = map(as_device, inputs(FLOAT32, 2, 2, 4, 5, 8, 8))
    fits = lambda *given, **more: AttentionCUDA.accepts(*given, **{**options, **more})  # noqa: E731
    assert fits(q, k, v, None)
    wide = [x.astype(np.float64) for x in (q, k, v)]
    assert not fits(*wide, None) and not fits(q, *wide[1:], None)
    assert not fits(q, k[:1], v, None) and not fits(q[:, :, :0], k, v, None)
    assert not fits(q, k, v, as_device(np.zeros((4, 5), np.float64)))
    assert not fits(q, k, v, as_device(np.zeros((3, 1, 1, 4, 5), bool)))
    assert not fits(q, k, v, None, keep=as_device(np.ones((2, 2, 4, 5), bool)))
    broad = [as_device(x) for x in inputs(FLOAT32, 1, 1, 2, 2, 129, 8)[:3]]
    assert not fits(*broad, None)


# --- the tensor core instruction ----------------------------------------------------------------------------------------

ONE_MMA = """
extern "C" __global__ void one_mma(const T* a, const T* b, float* c) {
    int lane = lane_of();
    u32 left[4], right[2];
    for (int i = 0; i < 4; i++) left[i] = a[8 * lane + 2 * i].bits | (u32)a[8 * lane + 2 * i + 1].bits << 16;
    for (int i = 0; i < 2; i++) right[i] = b[4 * lane + 2 * i].bits | (u32)b[4 * lane + 2 * i + 1].bits << 16;
    float sums[4];
    for (int i = 0; i < 4; i++) sums[i] = c[4 * lane + i];
    mma<T>(sums, left, right[0], right[1]);
    for (int i = 0; i < 4; i++) c[4 * lane + i] = sums[i];
}
"""


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_mma_has_the_layout_of_the_ptx_manual(dtype):
    """PTX ISA, Matrix Fragments for mma.m16n8k16: the row and column of the numbers a_i, b_i, c_i of each lane."""
    rng = np.random.default_rng(0)
    A, B, C = drawn(rng, dtype, 16, 16), drawn(rng, dtype, 16, 8), drawn(rng, FLOAT32, 16, 8)
    group, thread = np.arange(32) // 4, np.arange(32) % 4  # groupID, threadID_in_group
    a, b, c = np.empty((32, 8), dtype), np.empty((32, 4), dtype), np.empty((32, 4), np.float32)
    for i in range(8):
        row = group if i < 2 or 4 <= i < 6 else group + 8
        a[:, i] = A[row, thread * 2 + (i & 1) + (8 if i >= 4 else 0)]
    for i in range(4):
        b[:, i] = B[thread * 2 + (i & 1) + (8 if i >= 2 else 0), group]
        c[:, i] = C[group + (8 if i >= 2 else 0), thread * 2 + (i & 1)]
    module = emulator.RawModule(launch.read("mma.cuh") + ONE_MMA, launch.define({"DTYPE": dtype}))
    given = [as_device(x) for x in (a, b, c)]
    module.get_function("one_mma")((1,), (32,), tuple(given))
    expected = C + A.astype(np.float32) @ B.astype(np.float32)
    for i in range(4):
        np.testing.assert_allclose(
            given[2].get()[:, i], expected[group + (8 if i >= 2 else 0), thread * 2 + (i & 1)], atol=1e-5
        )
