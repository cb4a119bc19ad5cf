"""LSTM and GRU on CUDA, on the emulator: against the reference ops on the CPU, in all three dtypes.

In half precision the state is rounded after every step, and so are the gradients that go back through the steps. The
tolerance is relative to the largest number of the expected array: 2^-17 in float32; for the 5 to 7 steps here 8 units in
the last place of float16 (2^-10 each) and of bfloat16 (2^-7 each).
"""

import numpy as np
import pytest

import minitorch
from minitorch import nn
from tests import emulator
from tests.test_cuda_conv import DTYPES, compare, numbers, plain_device  # noqa: F401

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")

STEPS = 8  # units in the last place, in parts of what tests/test_cuda_conv.py takes


@pytest.fixture(params=[False, True], ids=["ascending", "descending"])
def device(request, monkeypatch):
    monkeypatch.setattr(emulator.RawModule, "descending", request.param)
    with emulator.device() as name:
        yield name


def layer(kind, **options):
    """A layer, and the call of it as a function of all its arrays: the input, the states, the parameters."""
    made = getattr(nn, kind)(3, 4, **options)
    parameters = dict(made.named_parameters())
    directions = (2 if options.get("bidirectional") else 1) * options.get("num_layers", 1)

    def call(x, h, c, *values):
        states = (h, c) if kind == "LSTM" else h
        y, last = minitorch.func.functional_call(made, dict(zip(parameters, values)), (x, states))
        return [y, *(last if kind == "LSTM" else (last,))]

    def arrays(T, B):
        c = numbers(directions, B, 4, seed=2) if kind == "LSTM" else None
        weights = [p.detach().numpy() for p in parameters.values()]
        return numbers(T, B, 3), numbers(directions, B, 4, seed=1), c, *weights

    return call, arrays


OPTIONS = [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}]
KERNELS = {kind: {f"{kind.lower()}_forward", f"{kind.lower()}_backward"} for kind in ("LSTM", "GRU")}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_sequences(kind, options, device):
    call, arrays = layer(kind, **options)
    for T, B in ((1, 1), (5, 3)):
        compare(call, *arrays(T, B), device=device, kernels=KERNELS[kind])


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_sequences_in_half_precision(kind, options, dtype, plain_device):  # noqa: F811
    call, arrays = layer(kind, **options)
    compare(call, *arrays(6, 5), device=plain_device, dtype=dtype, scale=STEPS / 2, kernels=KERNELS[kind])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_packed_sequences(kind, dtype, plain_device):  # noqa: F811
    """Sequences of several lengths, in both directions: some end early, or begin late, and keep their states."""
    call, arrays = layer(kind, bidirectional=True)
    x, *others = arrays(7, 4)

    def packed(x, *others):
        rows = nn.utils.rnn.pack_padded_sequence(x, [7, 5, 5, 2])
        y, *last = call(rows, *others)
        return [nn.utils.rnn.pad_packed_sequence(y)[0], *last]

    scale = 1 if dtype is minitorch.float32 else STEPS / 2
    compare(packed, x, *others, device=plain_device, dtype=dtype, scale=scale, kernels=KERNELS[kind])


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_one_kernel_a_step(kind, plain_device):  # noqa: F811
    call, arrays = layer(kind)
    inputs = [a if a is None else minitorch.tensor(a, device=plain_device, requires_grad=True) for a in arrays(5, 2)]
    emulator.RawModule.launched.clear()
    y = call(*inputs)[0]
    names = [name for name, *_ in emulator.RawModule.launched]
    assert names.count(f"{kind.lower()}_forward") == 5
    emulator.RawModule.launched.clear()
    y.sum().backward()
    names = [name for name, *_ in emulator.RawModule.launched]
    assert names.count(f"{kind.lower()}_backward") == 5


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gradients_of_the_gates_and_of_gradients(kind, plain_device):  # noqa: F811
    """The gates are outputs for the gradient's gradient; the kernels take gradients of them too."""
    from minitorch.ops.recurrent import GRUSequence, LSTMSequence

    op, n, states = (LSTMSequence, 4, 2) if kind == "LSTM" else (GRUSequence, 3, 1)

    def call(x, W, *states):
        outputs = (
            op.apply(x, *states, W, None, batch_sizes=(3, 3, 2), reverse=False)
            if kind == "LSTM"
            else op.apply(x, *states, W, None, batch_sizes=(3, 3, 2), reverse=False)
        )
        y = outputs[0]
        first = minitorch.autograd.grad(y, [x, W, *states], minitorch.ones_like(y), create_graph=True)
        return [*outputs, *first]

    arrays = numbers(8, n * 4), numbers(n * 4, 4), *(numbers(3, 4, seed=i) for i in range(states))
    compare(call, *arrays, device=plain_device, scale=4, kernels=KERNELS[kind])


def test_nan_and_large_numbers(plain_device):  # noqa: F811
    for kind in ("LSTM", "GRU"):
        call, arrays = layer(kind)
        x, *others = arrays(4, 3)
        x[0, 1], x[2, 2, 0], x[1, 0] = np.nan, np.inf, 1e4
        compare(call, x, *others, device=plain_device)


def test_what_the_kernels_leave_to_the_reference(plain_device):  # noqa: F811
    call, arrays = layer("LSTM", proj_size=2)
    x, h, c, *weights = arrays(3, 2)
    emulator.RawModule.launched.clear()
    compare(call, x, h[..., :2].copy(), c, *weights, device=plain_device)
    call, arrays = layer("GRU")
    inputs = [
        a if a is None else minitorch.tensor(a, dtype=minitorch.float64, device=plain_device) for a in arrays(3, 2)
    ]
    emulator.RawModule.launched.clear()
    call(*inputs)
    assert not any(name.startswith("gru") for name, *_ in emulator.RawModule.launched)
