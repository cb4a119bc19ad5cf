"""RNN, LSTM, GRU, their cells, and nn.utils.rnn."""

import copy
import itertools
import pickle
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minitorch
from minitorch import nn
from minitorch.nn.utils import rnn as R
from tests.test_nn_attention import intel

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
KINDS = {"RNN": {}, "RNN relu": {"nonlinearity": "relu"}, "LSTM": {}, "GRU": {}}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def make(lib, kind, *args, **options):
    return getattr(lib.nn, kind.split()[0])(*args, **KINDS[kind], **options)


def same_pair(torch, kind, *args, dtype="float64", seed=3, **options):
    """A layer and PyTorch's, each from the same seed: the same numbers must come."""
    pair = []
    for lib in (minitorch, torch):
        lib.manual_seed(seed)
        pair.append(make(lib, kind, *args, **options))
    ours, theirs = pair
    names = [(name, tuple(p.shape)) for name, p in theirs.named_parameters()]
    assert [(name, tuple(p.shape)) for name, p in ours.named_parameters()] == names
    for p, q in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert repr(ours) == repr(theirs)
    return ours.to(getattr(minitorch, dtype)), theirs.to(getattr(torch, dtype))


def flat(value):
    return [leaf for v in value for leaf in flat(v)] if isinstance(value, (tuple, list)) else [value]


def run(lib, layer, arrays, dtype, lengths=None, enforce_sorted=True, seed=None):
    """Outputs, and the gradients of input, states and parameters for one cotangent."""
    x, *states = (lib.tensor(a.astype(dtype), requires_grad=True) for a in arrays)
    if seed is not None:
        lib.manual_seed(seed)
    given = x
    utils = lib.nn.utils.rnn
    if lengths is not None:
        given = utils.pack_padded_sequence(x, lengths, layer.batch_first, enforce_sorted)
    output, last = layer(given) if not states else layer(given, states[0] if len(states) == 1 else tuple(states))
    if lengths is not None:
        indices = given.sorted_indices
        assert (indices is None) == enforce_sorted and output.sorted_indices is indices
        output, back = utils.pad_packed_sequence(output, layer.batch_first)
        assert back.tolist() == list(lengths)
    outputs = [output, *flat(last)]
    loss = sum((o * lib.tensor(numbers(*o.shape, seed=i).astype(dtype))).sum() for i, o in enumerate(outputs))
    loss.backward()
    grads = [t.grad for t in (x, *states)] + [p.grad for p in layer.parameters()]
    return [o.detach().numpy() for o in outputs] + [g.numpy() for g in grads]


def compare(torch, pair, arrays, dtype="float64", **options):
    ours, theirs = run(minitorch, pair[0], arrays, dtype, **options), run(torch, pair[1], arrays, dtype, **options)
    assert len(ours) == len(theirs)
    tolerance = {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"rtol": 2e-4, "atol": 3e-5}
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape and a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a, b, **tolerance)


def state_arrays(layer, batch):
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 2 if layer.mode == "LSTM" else 1]
    return [numbers(rows, *([] if batch is None else [batch]), size, seed=5) for size in sizes]


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_equal_pytorch(torch, kind, dtype):
    """Over the constructor's grid: values and all gradients."""
    T, B, C, H = 4, 3, 5, 6
    grid = list(itertools.product((1, 2), *[(True, False)] * 3)) if dtype == "float64" else [(2, True, False, True)]
    for i, (layers, bias, batch_first, both) in enumerate(grid):
        options = {"num_layers": layers, "bias": bias, "batch_first": batch_first, "bidirectional": both}
        for P in (0, 2) if kind == "LSTM" and dtype == "float64" else (0,):
            pair = same_pair(torch, kind, C, H, dtype=dtype, **options | ({"proj_size": P} if P else {}))
            x = numbers(*((B, T) if batch_first else (T, B)), C, seed=i)
            states, alone = state_arrays(pair[0], B), state_arrays(pair[0], None)
            compare(torch, pair, [x, *states], dtype)
            if i % 2:
                compare(torch, pair, [x], dtype)
                compare(torch, pair, [x, *states], dtype, lengths=[4, 2, 1])
                compare(torch, pair, [numbers(T, C)], dtype)
            else:
                compare(torch, pair, [x], dtype, lengths=[2, 4, 2], enforce_sorted=False)
                compare(torch, pair, [numbers(T, C), *alone], dtype)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parity
def test_packed_sequences_equal_pytorch(torch, data):
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    layers, both, batch_first = data.draw(st.integers(1, 3)), data.draw(st.booleans()), data.draw(st.booleans())
    enforce = data.draw(st.booleans()) and lengths == sorted(lengths, reverse=True)
    options = {"num_layers": layers, "bidirectional": both, "batch_first": batch_first}
    if kind == "LSTM" and data.draw(st.booleans()):
        options["proj_size"] = 2
    pair = same_pair(torch, kind, 3, 4, **options)
    times, batch = max(lengths), len(lengths)
    x = numbers(*((batch, times) if batch_first else (times, batch)), 3)
    states = state_arrays(pair[0], batch) if data.draw(st.booleans()) else []
    compare(torch, pair, [x, *states], lengths=lengths, enforce_sorted=enforce)


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_draws_pytorchs_numbers(torch, kind):
    if intel():
        pytest.skip("on Intel processors PyTorch draws dropout with MKL, which gives other numbers")
    for both, batch_first, p in ((False, False, 0.3), (True, True, 0.5), (True, False, 1.0)):
        options = {"num_layers": 3, "dropout": p, "bidirectional": both, "batch_first": batch_first}
        pair = same_pair(torch, kind, 5, 6, **options)
        x = numbers(4, 3, 5)
        lengths = [4, 4, 2] if not batch_first else [3, 3, 1, 1]
        compare(torch, pair, [x], seed=1)
        compare(torch, pair, [x], seed=2, lengths=lengths)
        np.testing.assert_array_equal(minitorch.rand(3).numpy(), torch.rand(3).numpy())
        for layer in pair:
            layer.eval()
        compare(torch, pair, [x], seed=3)


@pytest.mark.parity
def test_state_dicts_go_both_ways(torch):
    for kind, options in (("RNN", {}), ("GRU", {"bias": False}), ("LSTM", {"proj_size": 3, "bidirectional": True})):
        theirs, ours = make(torch, kind, 4, 5, num_layers=2, **options), make(minitorch, kind, 4, 5, 2, **options)
        ours.load_state_dict({name: minitorch.from_numpy(t.numpy()) for name, t in theirs.state_dict().items()})
        compare(torch, (ours, theirs), [numbers(3, 2, 4)], "float32")
        again = make(torch, kind, 4, 5, num_layers=2, **options)
        again.load_state_dict({name: torch.from_numpy(t.numpy()) for name, t in ours.state_dict().items()})
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), theirs.parameters()))
        assert [len(group) for group in ours.all_weights] == [len(group) for group in theirs.all_weights]


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["RNNCell", "RNNCell relu", "LSTMCell", "GRUCell"])
def test_cells_equal_pytorch(torch, name, dtype):
    for bias, batch, given_states in itertools.product((True, False), ((), (3,)), (True, False)):
        options = {"bias": bias} | ({"nonlinearity": "relu"} if "relu" in name else {})
        found = []
        for lib in (minitorch, torch):
            lib.manual_seed(0)
            cell = getattr(lib.nn, name.split()[0])(4, 5, **options).to(getattr(lib, dtype))
            x = lib.tensor(numbers(*batch, 4).astype(dtype), requires_grad=True)
            states = [lib.tensor(numbers(*batch, 5, seed=s).astype(dtype), requires_grad=True) for s in (1, 2)]
            hx = (tuple(states) if name == "LSTMCell" else states[0]) if given_states else None
            outputs = []
            for _ in range(3):
                hx = cell(x, hx)
                outputs += flat(hx)
            loss = sum((o * lib.tensor(numbers(*o.shape, seed=i).astype(dtype))).sum() for i, o in enumerate(outputs))
            loss.backward()
            grads = [t.grad.numpy() for t in (x, *states, *cell.parameters()) if t.grad is not None]
            found.append([*[o.detach().numpy() for o in outputs], *grads, repr(cell)])
        assert len(found[0]) == len(found[1]) and found[0].pop() == found[1].pop()
        for a, b in zip(*found):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 if dtype == "float32" else 1e-12)


# --- without PyTorch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_cell_step_by_step(kind, both):
    """Also with padding: each packed sequence alone gives what it gives in company."""
    minitorch.manual_seed(0)
    layer = make(minitorch, kind, 3, 4, bidirectional=both, dtype=minitorch.float64)
    lengths = [5, 2, 3]
    x = minitorch.from_numpy(numbers(5, 3, 3)).requires_grad_()
    packed = R.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, last = layer(packed)
    output, _ = R.pad_packed_sequence(output)
    cells = []
    for suffix in ("", "_reverse")[: 1 + both]:
        options = {"nonlinearity": "relu"} if "relu" in kind else {}
        cell = getattr(nn, kind.split()[0] + "Cell")(3, 4, dtype=minitorch.float64, **options)
        cell.load_state_dict({n: getattr(layer, f"{n}_l0{suffix}").detach() for n in cell.state_dict()})
        cells.append(cell)
    loss = 0
    for b, length in enumerate(lengths):
        for direction, cell in enumerate(cells):
            hx, part = None, slice(4 * direction, 4 * direction + 4)
            for t in range(length)[:: 1 - 2 * direction]:
                hx = cell(x[t, b], hx)
                h = hx[0] if kind == "LSTM" else hx
                np.testing.assert_allclose(output[t, b, part].tolist(), h.tolist(), rtol=1e-12)
                loss = loss + (h * minitorch.from_numpy(numbers(5, 3, 8)[t, b, part])).sum()
            for state, expected in zip(flat(last), flat(hx)):
                np.testing.assert_allclose(state[direction, b].tolist(), expected.tolist(), rtol=1e-12)
        assert output[length:, b].abs().sum().item() == 0
    (slow,) = minitorch.autograd.grad(loss, [x])
    (fast,) = minitorch.autograd.grad((output * minitorch.from_numpy(numbers(5, 3, 8)[..., : 4 + 4 * both])).sum(), [x])
    np.testing.assert_allclose(fast.numpy(), slow.numpy(), rtol=1e-10, atol=1e-14)
    assert slow[2:, 1].abs().sum().item() == 0


def test_lstm_by_hand():
    """One unit whose gates are pushed open or shut: it adds up what comes."""
    layer = nn.LSTM(1, 1)
    with minitorch.no_grad():
        for p in layer.parameters():
            p.zero_()
        layer.bias_ih_l0.copy_(minitorch.tensor([50.0, 50.0, 0.0, 50.0]))  # i, f, o open
        layer.weight_ih_l0[2] = 1.0
    x = minitorch.tensor([0.5, -1.0, 2.0]).reshape(3, 1, 1)
    output, (h, c) = layer(x)
    np.testing.assert_allclose(c.item(), x.tanh().sum().item(), rtol=1e-6)
    np.testing.assert_allclose(output.reshape(-1).tolist(), x.tanh().cumsum(0).tanh().reshape(-1).tolist(), rtol=1e-6)
    assert h.item() == output[-1].item()


@pytest.mark.parametrize("kind", KINDS)
def test_large_inputs_do_not_overflow(kind):
    layer = make(minitorch, kind, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1e4, -1e4):
            x = minitorch.full((3, 2, 2), scale, requires_grad=True)
            output = layer(x)[0]
            output.sum().backward()
            assert np.isfinite(output.detach().numpy()).all() and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_may_be_changed_in_place_copied_and_pickled(kind):
    layer = make(minitorch, kind, 3, 4)
    x = minitorch.randn(5, 2, 3, requires_grad=True)
    output, last = layer(x)
    (output * 2).sum().backward()
    expected = x.grad.clone()
    x.grad = None
    output, last = layer(x)
    output.mul_(2)
    for state in flat(last):
        state.zero_()
    output.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), expected.numpy())
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other(x)[0].tolist() == layer(x)[0].tolist() and other.flatten_parameters() is None
        other.double()
        assert other(x.double())[0].dtype == minitorch.float64


@pytest.mark.parametrize("kind", KINDS)
def test_only_some_gradients_and_no_batch(kind):
    layer = make(minitorch, kind, 3, 4, num_layers=2, bidirectional=True)
    for p in layer.parameters():
        p.requires_grad_(False)
    layer.weight_hh_l0.requires_grad_()
    output, last = layer(minitorch.randn(4, 2, 3))
    flat(last)[-1].sum().backward()
    assert layer.weight_hh_l0.grad.abs().sum().item() > 0 and layer.weight_ih_l0.grad is None
    output, last = layer(minitorch.randn(4, 0, 3))
    assert output.shape == (4, 0, 8) and flat(last)[0].shape == (4, 0, 4)
    output.sum().backward()
    with minitorch.no_grad():
        assert layer(minitorch.randn(4, 2, 3))[0].grad_fn is None


@pytest.mark.parametrize("kind", KINDS)
def test_second_order(kind):
    layer = make(minitorch, kind, 2, 3, bidirectional=True, dtype=minitorch.float64)

    def f(x):
        output, _ = layer(R.pack_padded_sequence(x, [3, 1]))
        return output.data

    x = minitorch.from_numpy(numbers(3, 2, 2)).requires_grad_()
    assert minitorch.autograd.gradcheck(f, (x,)) and minitorch.autograd.gradgradcheck(f, (x,))


def test_on_the_guard():
    from tests.guard import GuardArray, guard

    minitorch.backend.register_namespace("guard", guard, GuardArray)
    for kind in KINDS:
        layer = make(minitorch, kind, 3, 4, num_layers=2, bidirectional=True, batch_first=True)
        x, results = minitorch.randn(2, 5, 3), []
        for device in ("cpu", "guard"):
            layer.to(device)
            layer.zero_grad()
            packed = R.pack_padded_sequence(x.to(device), [3, 5], batch_first=True, enforce_sorted=False)
            output, last = layer(packed.to(device))
            padded, _ = R.pad_packed_sequence(output, batch_first=True, total_length=6)
            (padded.sum() + flat(last)[0].sum() + layer(x.to(device))[0].sum()).backward()
            assert str(padded.device) == str(output.sorted_indices.device) == device
            parts = R.unpack_sequence(output)
            again = R.pack_sequence(parts, enforce_sorted=False).cpu()
            results.append([padded, layer.weight_hh_l0_reverse.grad, again.data, *R.unpack_sequence(again.double())])
        for a, b in zip(*results):
            np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().cpu().numpy(), rtol=1e-6)
        cell = getattr(nn, kind.split()[0] + "Cell")(3, 4).to("guard")
        flat(cell(x[0].to("guard")))[0].sum().backward()


# --- packing and padding ---------------------------------------------------------------------------------------------


def described(packed):
    names = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
    return [None if getattr(packed, n) is None else getattr(packed, n).tolist() for n in names]


def test_packing_by_hand():
    a, b, c = (minitorch.tensor(v) for v in ([1, 2, 3], [4, 5], [6]))
    packed = R.pack_sequence([a, b, c])
    assert described(packed) == [[1, 4, 6, 2, 5, 3], [3, 2, 1], None, None]
    data, batch_sizes, sorted_indices, unsorted_indices = packed
    assert data is packed.data and batch_sizes is packed[1] and sorted_indices is unsorted_indices is None
    assert [t.tolist() for t in R.unpack_sequence(packed)] == [[1, 2, 3], [4, 5], [6]]
    mixed = R.pack_sequence([c, a, b], enforce_sorted=False)
    assert described(mixed) == [[1, 4, 6, 2, 5, 3], [3, 2, 1], [1, 2, 0], [2, 0, 1]]
    assert [t.tolist() for t in R.unpack_sequence(mixed)] == [[6], [1, 2, 3], [4, 5]]
    padded, lengths = R.pad_packed_sequence(mixed, True, padding_value=-1, total_length=4)
    assert padded.tolist() == [[6, -1, -1, -1], [1, 2, 3, -1], [4, 5, -1, -1]] and lengths.tolist() == [1, 3, 2]
    assert R.pad_sequence([c, b], padding_value=9, padding_side="left").tolist() == [[9, 4], [6, 5]]
    assert R.pad_sequence(iter([c, b]), batch_first=True).tolist() == [[6, 0], [4, 5]]
    assert R.invert_permutation(minitorch.tensor([2, 0, 1])).tolist() == [1, 2, 0]
    assert R.invert_permutation(None) is None


def test_packed_sequences_move_and_convert():
    packed = R.pack_sequence([minitorch.tensor([1.0]), minitorch.tensor([2.0, 3.0])], enforce_sorted=False)
    assert packed.to(minitorch.float32) is packed and packed.cpu() is packed and packed.float() is packed
    assert not packed.is_cuda and not packed.is_pinned()
    for name, dtype in (("double", "float64"), ("half", "float16"), ("long", "int64"), ("int", "int32"),
                        ("short", "int16"), ("char", "int8"), ("byte", "uint8")):  # fmt: skip
        other = getattr(packed, name)()
        assert isinstance(other, R.PackedSequence) and other.data.dtype == getattr(minitorch, dtype)
        assert described(other) == described(packed) and other.batch_sizes.dtype == minitorch.int64
    assert described(R.PackedSequence((packed.data, packed.batch_sizes)))[2:] == [None, None]
    by_hand = R.PackedSequence(packed.data, packed.batch_sizes, packed.sorted_indices)
    assert by_hand.unsorted_indices.tolist() == [1, 0]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parity
def test_packing_equals_pytorch(torch, data):
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    rest = data.draw(st.sampled_from([(), (2,), (2, 3)]))
    batch_first, side = data.draw(st.booleans()), data.draw(st.sampled_from(["left", "right"]))
    enforce = lengths == sorted(lengths, reverse=True) and data.draw(st.booleans())
    longer, as_tensor = data.draw(st.integers(0, 2)), data.draw(st.booleans())
    found = []
    for lib in (minitorch, torch):
        utils = lib.nn.utils.rnn
        parts = [lib.tensor(numbers(n, *rest, seed=n), requires_grad=True) for n in lengths]
        other = utils.pad_sequence(parts, batch_first, 0.5, side)
        packed = utils.pack_sequence(parts, enforce)
        padded, back = utils.pad_packed_sequence(packed, batch_first, 1.5, max(lengths) + longer)
        sizes = lib.tensor(lengths) if as_tensor else lengths
        again = utils.pack_padded_sequence(padded, sizes, batch_first, enforce)
        unpacked = utils.unpack_sequence(again)
        unpadded = utils.unpad_sequence(padded.clone(), lib.tensor(lengths), batch_first)
        outputs = [other, packed.data, padded, again.data, *unpacked, *unpadded]
        loss = sum((o * lib.tensor(numbers(*o.shape, seed=i))).sum() for i, o in enumerate(outputs))
        loss.backward()
        outputs += [p.grad for p in parts]
        found.append((described(packed), described(again), back.tolist(), [o.detach().tolist() for o in outputs]))
    for a, b in zip(*(f[-1] for f in found)):
        np.testing.assert_allclose(a, b, rtol=1e-14)
    assert [f[2:3] for f in found[:1]] == [f[2:3] for f in found[1:]]
    for mine, other in zip(found[0][:2], found[1][:2]):
        assert mine[1:] == other[1:]


# --- wrong calls -----------------------------------------------------------------------------------------------------


def zeros(*shape, **options):
    return minitorch.zeros(*shape, **options)


def packed_of(*lengths, features=3):
    return R.pack_sequence([zeros(n, features) for n in lengths])


h, x = zeros(1, 2, 4), zeros(5, 2, 3)
PLAIN = True, 1, 0.0, False, False
WRONG = [  # what to call, the kind of error, the words that it must hold
    (lambda: nn.LSTM(3, 4)(zeros(0, 2, 3)), RuntimeError, "length to be larger than 0"),
    (lambda: nn.LSTM(3, 4)(zeros(3)), ValueError, "LSTM: Expected input to be 2D or 3D, got 1D"),
    (lambda: nn.GRU(3, 4)(zeros(1, 1, 1, 3)), ValueError, "GRU: Expected input to be 2D or 3D, got 4D"),
    (lambda: nn.RNN(3, 4)(zeros(5, 2, 6)), RuntimeError, "RNN: .*input_size. Expected 3, got 6"),
    (lambda: nn.RNN(3, 4)(zeros(5, 2, 3).double()), ValueError, "RNN: .*float64.*float32"),
    (lambda: nn.GRU(3, 4)([1, 2]), TypeError, "GRU: expected a Tensor or a PackedSequence.*list"),
    (lambda: nn.GRU(3, 4)(x, zeros(1, 3, 4)), RuntimeError, r"GRU: Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]"),
    (lambda: nn.GRU(3, 4, 2)(x, h), RuntimeError, r"GRU: Expected hidden size \(2, 2, 4\), got \[1, 2, 4\]"),
    (lambda: nn.GRU(3, 4)(x, zeros(2, 4)), RuntimeError, "GRU: For batched 3-D input, hx should also be 3-D.*2-D"),
    (lambda: nn.GRU(3, 4)(x[:, 0], h), RuntimeError, "GRU: For unbatched 2-D input, hx should also be 2-D.*3-D"),
    (lambda: nn.GRU(3, 4)(x, (h, h)), TypeError, "GRU: expected hx to be a Tensor, got tuple"),
    (lambda: nn.GRU(3, 4)(x, h.double()), RuntimeError, "gru: .*float32 and .*float64"),
    (lambda: nn.LSTM(3, 4)(x, h), TypeError, "LSTM: expected hx to be two Tensors.*got Tensor"),
    (lambda: nn.LSTM(3, 4)(x, (h,)), TypeError, "LSTM: expected hx to be two Tensors.*got 1 of them"),
    (lambda: nn.LSTM(3, 4)(x, (h, zeros(2, 4))), RuntimeError, r"LSTM: For batched.*\(3-D, 2-D\)"),
    (lambda: nn.LSTM(3, 4)(x[:, 0], (h, h)), RuntimeError, r"LSTM: For unbatched.*\(3-D, 3-D\)"),
    (lambda: nn.LSTM(3, 4)(x, (h, zeros(1, 2, 5))), RuntimeError, r"LSTM: Expected hidden\[1\] size \(1, 2, 4\).*5"),
    (lambda: nn.LSTM(3, 4, proj_size=2)(x, (h, h)), RuntimeError, r"LSTM: Expected hidden\[0\] size \(1, 2, 2\).*4"),
    (lambda: nn.LSTM(3, 4)(packed_of(3, 2, features=5)), RuntimeError, "LSTM: .*Expected 3, got 5"),
    (lambda: nn.LSTM(3, 4)(packed_of(3, 2, 1), (h, h)), RuntimeError, r"LSTM: Expected hidden\[0\] size \(1, 3, 4\)"),
    (lambda: nn.LSTM(3, 4)(packed_of(3, 2).double()), ValueError, "LSTM: .*float64.*float32"),
    (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "LSTM: proj_size has to be smaller than hidden_size, 4, got 4"),
    (lambda: nn.LSTM(3, 4, proj_size=-1), ValueError, "LSTM: proj_size.*positive.*-1"),
    (lambda: nn.GRU(3, 4, proj_size=2), ValueError, "GRU: proj_size.*only supported for LSTM"),
    (lambda: nn.RNN(3, 4, proj_size=2), ValueError, "RNN: proj_size.*only supported for LSTM"),
    (lambda: nn.RNN(3, 4, nonlinearity="sin"), ValueError, "RNN: Unknown nonlinearity 'sin'"),
    (lambda: nn.LSTM(3, 0), ValueError, "LSTM: hidden_size must be greater than zero"),
    (lambda: nn.LSTM(0, 3), ValueError, "LSTM: input_size must be greater than zero"),
    (lambda: nn.LSTM(3, 4, 0), ValueError, "LSTM: num_layers must be greater than zero"),
    (lambda: nn.LSTM(3.0, 4), TypeError, "LSTM: input_size should be of type int, got: float"),
    (lambda: nn.LSTM(3, "4"), TypeError, "LSTM: hidden_size should be of type int, got: str"),
    (lambda: nn.GRU(3, 4, bias=1), TypeError, "GRU: bias should be of type bool, got: int"),
    (lambda: nn.GRU(3, 4, batch_first="no"), TypeError, "GRU: batch_first should be of type bool, got: str"),
    (lambda: nn.GRU(3, 4, dropout=2), ValueError, r"GRU: dropout should be a number in range \[0, 1\].*2"),
    (lambda: nn.GRU(3, 4, dropout=True), ValueError, "GRU: dropout should be a number"),
    (lambda: nn.RNNBase("ABC", 3, 4), ValueError, "RNNBase: Unrecognized RNN mode: 'ABC'"),
    (
        lambda: nn.LSTMCell(3, 4)(zeros(2, 5)),
        RuntimeError,
        "LSTMCell: input has inconsistent input_size: got 5 exp.* 3",
    ),
    (lambda: nn.LSTMCell(3, 4)(zeros(2, 2, 3)), ValueError, "LSTMCell: Expected input to be 1D or 2D, got 3D"),
    (lambda: nn.LSTMCell(3, 4)(x[0], h[0]), TypeError, "LSTMCell: expected hx to be two Tensors.*got Tensor"),
    (lambda: nn.LSTMCell(3, 4)(x[0], (h, h)), ValueError, r"LSTMCell: Expected hx\[0\] to be 1D or 2D, got 3D"),
    (lambda: nn.LSTMCell(3, 4)(x[0], (h[0], zeros(2, 5))), RuntimeError, "hidden1.*got 5, expected 4"),
    (lambda: nn.GRUCell(3, 4)(x[0], zeros(3, 4)), RuntimeError, "GRUCell: Input batch size 2.*hidden0 batch size 3"),
    (lambda: nn.GRUCell(3, 4)(x[0], zeros(2, 5)), RuntimeError, "GRUCell: hidden0.*got 5, expected 4"),
    (lambda: nn.GRUCell(3, 4)(x[0], zeros(4)), ValueError, "GRUCell: Expected hidden to be 2D.*got 1D"),
    (lambda: nn.GRUCell(3, 4)(x[0, 0], h[0]), ValueError, "GRUCell: Expected hidden to be 1D.*got 2D"),
    (lambda: nn.GRUCell(3, 4)("x"), TypeError, "GRUCell: expected a Tensor as input, got str"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="sin")(x[0]), RuntimeError, "RNNCell: Unknown nonlinearity: sin"),
    (lambda: minitorch.lstm(x[0], (h, h), [], *PLAIN, False), RuntimeError, r"lstm: .*3 dimensions.*\(2, 3\)"),
    (lambda: minitorch.gru(x[0], minitorch.tensor([2]), h, [], *PLAIN), RuntimeError, "gru: expected 4 parameters"),
    (lambda: minitorch.gru(zeros(3, 3), minitorch.tensor([1, 2]), h, [], *PLAIN), RuntimeError, r"decrease.*\[1, 2\]"),
    (lambda: R.pack_padded_sequence(x, [5]), RuntimeError, r"len\(lengths\).*got 1 \(batch_size=2\)"),
    (lambda: R.pack_padded_sequence(x, [3, 5]), RuntimeError, r"decreasing.*\[3, 5\].*enforce_sorted=False"),
    (lambda: R.pack_padded_sequence(x, [5, 0]), RuntimeError, "greater than 0.*<= 0: 0"),
    (lambda: R.pack_padded_sequence(x, [0, 5], enforce_sorted=False), RuntimeError, "greater than 0"),
    (lambda: R.pack_padded_sequence(x, [6, 5]), RuntimeError, "at most 5.*got 6"),
    (lambda: R.pack_padded_sequence(zeros(5), [5]), RuntimeError, r"at least 2 dimensions.*\(5,\)"),
    (lambda: R.pack_padded_sequence(zeros(5, 0, 3), []), RuntimeError, r"empty tensors.*\(5, 0, 3\)"),
    (lambda: R.pack_padded_sequence(x, minitorch.tensor([[5, 3]])), RuntimeError, "1D CPU int64.*2D"),
    (lambda: R.pack_sequence([zeros(2), zeros(3)]), RuntimeError, r"decreasing.*\[2, 3\]"),
    (lambda: R.pad_packed_sequence(packed_of(3, 1), total_length=2), ValueError, "total_length=2.*3"),
    (lambda: R.pad_packed_sequence(x), TypeError, "expected a PackedSequence, got Tensor"),
    (lambda: R.pad_sequence([]), RuntimeError, "empty list of sequences"),
    (lambda: R.pad_sequence(5), RuntimeError, "Expected iterable.*int"),
    (lambda: R.pad_sequence([zeros(2), None]), TypeError, "element 1.*NoneType"),
    (lambda: R.pad_sequence([zeros(2, 3), zeros(2, 4)]), RuntimeError, r"\(L, 3\), got \(2, 4\) as element 1"),
    (lambda: R.pad_sequence([zeros(())]), RuntimeError, r"\(L\), got \(\)"),
    (lambda: R.pad_sequence([zeros(2)], padding_side="up"), RuntimeError, "left or right, but got up"),
    (lambda: R.unpad_sequence(x, minitorch.tensor([5])), ValueError, "as many lengths as sequences, 2, got 1"),
    (lambda: R.PackedSequence(zeros(3)), AssertionError, r"\(data, batch_sizes\), got Tensor"),
]


@pytest.mark.parametrize(("call", "kind", "words"), WRONG, ids=[f"{i}-{w[2][:25]}" for i, w in enumerate(WRONG)])
def test_wrong_calls_say_what_is_wrong(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert re.search(words, str(caught.value), re.DOTALL), str(caught.value)


def test_dropout_of_one_layer_warns():
    with pytest.warns(UserWarning, match="dropout=0.5 and num_layers=1"):
        nn.LSTM(3, 4, dropout=0.5)
