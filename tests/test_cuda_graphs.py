"""CUDA graphs without a GPU (tests/emulator/graphs.py): a captured training step gives what the step gives."""

import gc
import random as python_random
import warnings

import numpy as np
import pytest

import minitorch
from minitorch import cuda, nn, optim
from minitorch.backend import capture, fastpath
from minitorch.backend.capture import CaptureError
from minitorch.backend.random import Generator
from minitorch.cuda import graphs
from minitorch.nn import functional as F
from minitorch.tensor import wrap
from tests.emulator import COMPILER
from tests.emulator import graphs as emulated

pytestmark = pytest.mark.skipif(COMPILER is None, reason="the emulator needs g++ or clang++")


@pytest.fixture
def gpu():
    with emulated.device() as name:
        minitorch.manual_seed(0)
        yield name
    assert capture.current is None and capture.watch is None and gc.isenabled()
    assert type(fastpath.ACTIVE) is not graphs._OnlyGPU and not emulated.allocators and len(emulated._streams) == 1


class Classifier(nn.Module):
    """A Transformer of one layer over tokens, with dropout everywhere."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(self.embed(x)).mean(1))


def perceptron():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


def batches(kind, n, device):
    rng = np.random.default_rng(1)
    for i in range(n):
        rows = 4 if kind is perceptron or i % 5 else 3  # now and then another shape
        x = rng.integers(0, 20, (rows, 5)) if kind is Classifier else rng.standard_normal((rows, 6), dtype=np.float32)
        yield wrap(x).to(device), wrap(rng.integers(0, 3, rows)).to(device)


def training(kind, device, captured, n=20, **options):
    """n steps with clipping and a schedule: losses, the parameters, and where the random stream is."""
    minitorch.manual_seed(3)
    model = kind().to(device)
    optimizer = optim.AdamW(model.parameters(), lr=0.02)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return {"loss": loss, "norm": norm}

    run = cuda.graph(step, device=device, **options) if captured else step
    losses = []
    for x, y in batches(kind, n, device):
        result = run(x, y)
        losses.append((result["loss"], result["norm"]))  # read later: replays must not overwrite them
        schedule.step()
    numbers = np.array([[a.item(), b.item()] for a, b in losses])
    state = [t.cpu().numpy() for t in (*model.state_dict().values(), *(p.grad for p in model.parameters()))]
    return numbers, state, minitorch.ops.random._on_device["guard"].state_array(), run


@pytest.mark.parametrize("kind", [perceptron, Classifier])
def test_a_captured_training_is_the_training(gpu, kind):
    n = 20 if kind is perceptron else 12
    numbers, state, stream, _ = training(kind, gpu, False, n)
    again, replayed, after, run = training(kind, gpu, True, n)
    assert len(run._graphs) == (1 if kind is perceptron else 2)
    np.testing.assert_array_equal(again, numbers)
    for a, b in zip(replayed, state, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(after, stream)
    assert len(set(numbers[:, 0])) == len(numbers)


def test_mixed_precision_in_a_capture(gpu):
    """autocast and GradScaler inside, with a gradient that becomes infinite: the step is left out, the scale falls."""

    def train(captured):
        minitorch.manual_seed(3)
        model = nn.Linear(6, 3).to(gpu)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scaler = minitorch.amp.GradScaler(gpu, init_scale=2.0**10, growth_interval=3)

        def step(x, y):
            optimizer.zero_grad()
            with minitorch.amp.autocast(gpu, dtype=minitorch.float16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            return loss

        run = cuda.graph(step, device=gpu) if captured else step
        figures = []
        for i, (x, y) in enumerate(batches(perceptron, 10, gpu)):
            loss = run((x * float("inf")) if i in (1, 6) else x, y)
            optimizer.param_groups[0]["lr"] *= 0.9
            figures.append([loss.item(), scaler.get_scale(), *model.weight.detach().cpu().numpy().ravel().tolist()])
        return np.array(figures)

    expected = train(False)
    np.testing.assert_array_equal(train(True), expected)
    assert {2.0**9, 2.0**10} <= set(expected[:, 1]) and np.isfinite(expected[-1]).all()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit(gpu, accumulate):
    from minitorch.training import fit

    def train(graph):
        minitorch.manual_seed(3)
        model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.2), nn.Linear(4, 3)).to(gpu)
        data = [{"x": x.cpu(), "labels": y.cpu()} for x, y in batches(perceptron, 7, gpu)]
        loss = lambda model, batch: F.cross_entropy(model(batch["x"]), batch["labels"])  # noqa: E731
        history = fit(
            model, data, epochs=2, lr=0.05, loss=loss, accumulate=accumulate, progress=False, graph=graph,
            evaluate=lambda model: {"weight": model[0].weight.abs().sum().item()},
        )  # fmt: skip
        return [(record["loss"], record["weight"], record["lr"]) for record in history]

    assert train(True) == train(False)


def test_fit_needs_a_gpu():
    from minitorch.training import fit

    with pytest.raises(ValueError, match="graph=True: CUDA graphs need a model on a GPU; this one is on cpu"):
        fit(nn.Linear(2, 2), [], epochs=1, optimizer=None, lr=0.1, graph=True)


def test_texts_are_padded_to_few_lengths():
    from minitorch.text.batches import pad, widen

    batch = pad([{"input_ids": [5, 6, 7], "labels": [1, 2, 3]}, {"input_ids": [8], "labels": [4]}], 9)
    wide = widen(batch, 4, pad_id=9)
    assert wide["input_ids"].tolist() == [[5, 6, 7, 9], [8, 9, 9, 9]]
    assert wide["labels"].tolist() == [[1, 2, 3, -100], [4, -100, -100, -100]]
    assert wide["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert widen(batch, 16, 5)["input_ids"].shape == (2, 5) and widen(batch, 3)["input_ids"].shape == (2, 3)
    assert widen({**batch, "labels": minitorch.tensor([0, 1])}, 4)["labels"].tolist() == [0, 1]


def test_dropout_draws_anew_and_a_new_seed_begins_again(gpu):
    step = cuda.graph(lambda x: F.dropout(x, 0.5), device=gpu)
    x = minitorch.ones(64, device=gpu)
    drawn = [step(x).tolist() for _ in range(8)]
    assert len({tuple(values) for values in drawn}) == 8
    minitorch.manual_seed(0)
    assert [step(x).tolist() for _ in range(8)] == drawn
    minitorch.manual_seed(5)
    expected = [F.dropout(x, 0.5).tolist() for _ in range(2)]
    minitorch.manual_seed(5)
    assert step(x).tolist() == expected[0]  # a replay
    assert F.dropout(x, 0.5).tolist() == expected[1]  # goes on where it stopped


@pytest.mark.parametrize("draw", ["random_u32", "normal", "uniform"])
def test_reserved_words_in_a_capture(gpu, draw):
    generator, twin = Generator(gpu).manual_seed(4), Generator(gpu).manual_seed(4)
    generator.random_u64(3), twin.random_u64(3)
    words = lambda n: getattr(generator, draw)(n).astype(np.float64)  # noqa: E731
    step = cuda.graph(lambda: (wrap(words(5)), wrap(words(4))), device=gpu)
    for _ in range(6):
        for values in step():
            assert values.tolist() == getattr(twin, draw)(values.numel()).tolist()
        np.testing.assert_array_equal(generator.state_array(), twin.state_array())


def test_reserve():
    class OnNumPy(minitorch.backend.random.DeviceGenerator):
        def _start_engine(self):
            self.xp = np

    generator = OnNumPy().manual_seed(0)
    start, base, offset = generator.reserve(4)
    assert (type(start), base, offset) == (int, None, 0)
    assert generator.reserve(1) == (start, None, 4)
    words = OnNumPy().manual_seed(0).random_u64(5)
    k = np.arange(1, 6, dtype=np.uint64)
    mixed = minitorch.backend.random._mix(np.uint64(start) + k * np.uint64(0x9E3779B97F4A7C15))
    np.testing.assert_array_equal(words, mixed)


def test_checkpointed_activations_in_a_capture(gpu):
    """The second forward pass goes back in the random stream, to a place that the capture knows."""
    from minitorch.utils.checkpoint import checkpoint

    layer = nn.Linear(8, 8).to(gpu)

    def step(x):
        layer.zero_grad()
        y = checkpoint(lambda x: F.dropout(layer(x), 0.5), x, use_reentrant=False)
        y.sum().backward()
        return y, layer.weight.grad

    x = minitorch.ones(2, 8, device=gpu)
    minitorch.manual_seed(1)
    expected = [tuple(t.tolist() for t in step(x)) for _ in range(7)]
    minitorch.manual_seed(1)
    captured = cuda.graph(step, device=gpu)
    assert [tuple(t.tolist() for t in captured(x)) for _ in range(7)] == expected
    assert len(captured._graphs) == 1


# ---- gradients, versions, what is seen from outside -----------------------------------------------------------------


def test_gradients_accumulate_over_replays(gpu):
    w = minitorch.ones(3, device=gpu, requires_grad=True)

    def step(x):
        (w * x).sum().backward()

    captured = cuda.graph(step, device=gpu)
    total = np.zeros(3)
    for i in range(12):
        if i in (6, 9):
            w.grad = None
            total = np.zeros(3)
        if i == 10:
            w.grad = minitorch.full((3,), 7.0, device=gpu)
            total = np.full(3, 7.0)
        x = minitorch.tensor([1.0, i, 2.0]).to(gpu)
        captured(x)
        total += x.cpu().numpy()
        np.testing.assert_array_equal(w.grad.cpu().numpy(), total)
    assert len(captured._graphs) == 2  # with a gradient before, and without


def test_gradients_of_two_shapes(gpu):
    w = minitorch.ones(3, device=gpu, requires_grad=True)

    def step(x):
        w.grad = None
        (w * x).sum().backward()

    captured = cuda.graph(step, device=gpu)
    for i in range(12):
        x = minitorch.full((i % 2 + 1, 3), float(i), device=gpu)
        captured(x)
        assert w.grad.tolist() == [float(i) * (i % 2 + 1)] * 3
    assert len(captured._graphs) == 2


def test_a_replay_is_a_change_in_place(gpu):
    w = minitorch.ones(3, device=gpu, requires_grad=True)

    def step(x):
        with minitorch.no_grad():
            w.mul_(x)

    captured = cuda.graph(step, device=gpu)
    layer = nn.Identity()
    layer.w = nn.Parameter(w.detach())

    def through(x):
        with minitorch.no_grad():
            layer(x)
            layer.w.mul_(x)

    captured = cuda.graph(through, device=gpu)
    x = minitorch.ones(3, device=gpu)
    for _ in range(4):
        captured(x)
    version = layer.w._version
    y = (layer.w * layer.w).sum()
    captured(x)
    assert layer.w._version == version + 1
    with pytest.raises(RuntimeError, match="modified by an in-place"):
        y.backward()


def test_evaluation_and_training_are_two_graphs(gpu):
    layer = nn.Dropout(0.5)
    captured = cuda.graph(lambda x: layer(x), device=gpu)
    x = minitorch.ones(32, device=gpu)
    for i in range(12):
        layer.train(i % 2 == 0)
        zeros = sum(value == 0 for value in captured(x).tolist())
        assert (zeros > 0) == layer.training
    assert len(captured._graphs) == 2


def test_an_exchanged_array_is_noticed(gpu):
    layer = nn.Linear(3, 1, bias=False).to(gpu)
    captured = cuda.graph(lambda x: layer(x), device=gpu)
    x = minitorch.ones(1, 3, device=gpu)
    for i in range(8):
        layer.weight.data = minitorch.full((1, 3), float(i), device=gpu)
        assert captured(x).item() == 3.0 * i
    layer.weight.data.fill_(5.0)  # in place: the graph reads it
    assert captured(x).item() == 15.0


def test_another_parameter_and_another_state_are_noticed(gpu):
    layer = nn.Linear(3, 1, bias=False).to(gpu)
    optimizer = optim.AdamW(layer.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = layer(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    def train(step):
        minitorch.manual_seed(0)
        x = minitorch.ones(1, 3, device=gpu)
        layer.weight.data = minitorch.full((1, 3), 1.0, device=gpu)
        optimizer.state.clear()
        losses = [step(x).item() for _ in range(5)]
        state = optimizer.state_dict()
        losses += [step(x).item() for _ in range(3)]
        optimizer.load_state_dict(state)
        losses += [step(x).item() for _ in range(4)]
        return losses

    expected = train(step)
    optimizer = optim.AdamW(layer.parameters(), lr=0.1)
    assert train(cuda.graph(step, device=gpu)) == expected

    head = nn.Linear(3, 1, bias=False).to(gpu)
    through = cuda.graph(lambda x: head(x), device=gpu)
    for i in range(8):
        head.weight = nn.Parameter(minitorch.full((1, 3), float(i // 2), device=gpu))
        assert through(minitorch.ones(1, 3, device=gpu)).item() == 3.0 * (i // 2)


def test_constants_and_structures(gpu):
    calls = []

    def step(batch, *, scale, plus=None):
        calls.append(scale)
        out = batch["x"] * scale
        return [out if plus is None else out + plus, (None, {"twice": out * 2})]

    captured = cuda.graph(step, device=gpu)
    x = minitorch.ones(2, device=gpu)
    for i in range(12):
        out, (none, more) = captured({"x": x * i}, scale=2.0 if i % 2 else 3.0, plus=x)
        factor = 2 if i % 2 else 3
        assert out.tolist() == [i * factor + 1] * 2 and none is None and more["twice"].tolist() == [2 * i * factor] * 2
    assert len(captured._graphs) == 2 and len(calls) == 5  # three in warm-up, then each is captured


def test_too_many_shapes_are_told_of(gpu):
    captured = cuda.graph(lambda x: x + 1, device=gpu, limit=2, warmup=1)
    with pytest.warns(UserWarning, match="limit of 2 graphs"):
        for i in range(12):
            assert captured(minitorch.ones(1 + i % 4, device=gpu)).tolist() == [2.0] * (1 + i % 4)
    assert len(captured._graphs) == 2
    captured.reset()
    assert not captured._graphs and "0 captured" in repr(captured)


def test_outputs_are_copies_without_a_graph(gpu):
    w = minitorch.ones(2, device=gpu, requires_grad=True)
    captured = cuda.graph(lambda x: (w * x, x), device=gpu)
    for i in range(6):
        x = minitorch.full((2,), float(i), device=gpu)
        y, same = captured(x)
        assert not y.requires_grad and y.tolist() == same.tolist() == [i, i]


# ---- what is refused ------------------------------------------------------------------------------------------------


def refused(step, words, *args, gpu, line=True):
    captured = cuda.graph(step, device=gpu, warmup=2)
    captured(*args), captured(*args)
    with pytest.raises(RuntimeError, match=words) as caught:
        captured(*args)
    if line:
        assert __file__ in str(caught.value)
    assert isinstance(caught.value, CaptureError) and capture.active() is None
    with emulated.Stream():
        x = minitorch.ones(2, device=gpu) + 1  # all goes on as before
    assert x.tolist() == [2, 2]


def test_reading_numbers_is_refused(gpu):
    x = minitorch.ones(3, device=gpu)
    refused(lambda x: x * x.sum().item(), "reading numbers back|reading a number back", x, gpu=gpu)
    refused(lambda x: x if (x > 0).all() else -x, "reading", x, gpu=gpu)
    refused(lambda x: x.cpu().to(x.device), "reading", x, gpu=gpu)
    refused(lambda x: x[x > 0], "reading|depends on data", x, gpu=gpu)
    refused(lambda x: x.nonzero(), "reading|depends on data", x, gpu=gpu)


def test_the_cpu_is_refused(gpu):
    x = minitorch.ones(3, device=gpu)
    here = minitorch.ones(3)
    refused(lambda x: x + minitorch.tensor([1.0, 2.0, 3.0], device=x.device), "from the CPU to the GPU", x, gpu=gpu)
    refused(lambda x: (here + here, x)[1], "operation on CPU tensors", x, gpu=gpu)
    refused(lambda x: x * python_random.random(), "Python's random", x, gpu=gpu, line=False)
    refused(lambda x: x * float(np.random.rand()), "numpy.random", x, gpu=gpu, line=False)
    step = cuda.graph(lambda x: x, device=gpu)
    with pytest.raises(RuntimeError, match=r"tensor 0 among the inputs is on cpu.*\.to\('cuda'\)"):
        step(here)
    with pytest.raises(TypeError, match="NumPy array"):
        step(np.ones(3))
    with pytest.raises(TypeError, match="no hash"):
        step(bytearray(b"x"))
    with pytest.raises(RuntimeError, match="requires a gradient"):
        step(minitorch.ones(2, device=gpu, requires_grad=True))


def test_outputs_that_a_replay_cannot_renew_are_refused(gpu):
    x = minitorch.ones(3, device=gpu)
    for value, words in ((1.5, "of type float"), (minitorch.ones(2), "a tensor on cpu")):
        with pytest.raises(RuntimeError, match=f"output 1 of the step is {words}"):
            cuda.graph(lambda x, value=value: (x, value), device=gpu)(x)


def test_what_the_cpu_counts_is_refused(gpu):
    layer = nn.Linear(3, 1).to(gpu)
    x = minitorch.ones(2, 3, device=gpu)

    def step_with(optimizer, schedule=None):
        def step(x):
            optimizer.zero_grad()
            layer(x).sum().backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()

        return step

    refused(step_with(optim.Adagrad(layer.parameters())), "Adagrad that has no kernel", x, gpu=gpu)
    optimizer = optim.AdamW(layer.parameters())
    refused(step_with(optimizer, optim.lr_scheduler.StepLR(optimizer, 5)), "scheduler.step", x, gpu=gpu)
    refused(
        lambda x: minitorch.manual_seed(0) and F.dropout(x), "random stream|CPU tensors|stream on the CPU", x, gpu=gpu
    )


def test_exchanged_buffers_are_refused(gpu):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", minitorch.zeros(1, device=gpu))

        def forward(self, x):
            self.seen = self.seen + 1
            return x * self.seen

    layer = Counter()
    refused(
        lambda x: layer(x),
        "a new 'seen' in the place of the old one",
        minitorch.ones(1, device=gpu),
        gpu=gpu,
        line=False,
    )


def test_products_of_cupys_own_are_refused(gpu):
    x = minitorch.ones(2, 2, device=gpu, dtype=minitorch.float64)
    refused(lambda x: x @ x, "a matrix product in CuPy's own way", x, gpu=gpu)


def test_the_steps_own_errors_are_its_own(gpu):
    state = []

    def step(x):
        state.append(0)
        if len(state) == 2:
            raise KeyError("mine")
        return x

    captured = cuda.graph(step, device=gpu, warmup=1)
    captured(minitorch.ones(1, device=gpu))
    with pytest.raises(KeyError, match="mine"):
        captured(minitorch.ones(1, device=gpu))
    assert captured(minitorch.ones(1, device=gpu)).tolist() == [1.0]


def test_without_a_gpu():
    if cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="device 'cuda'"):
        cuda.graph(lambda x: x)
    with pytest.raises(RuntimeError, match="device 'cuda'"):
        cuda.CUDAGraph()
    assert cuda.is_current_stream_capturing() is False


# ---- PyTorch's names ------------------------------------------------------------------------------------------------


def test_cudagraph(gpu):
    g = cuda.CUDAGraph(_xp=emulated.emulator.emulated)
    x = minitorch.ones(3, device=gpu)
    with pytest.raises(RuntimeError, match="nothing has been captured"):
        g.replay()
    with cuda.graph(g):
        assert cuda.is_current_stream_capturing()
        y = x * 2
        x += 1
        with pytest.raises(RuntimeError, match="another capture"):
            cuda.CUDAGraph(_xp=emulated.emulator.emulated).capture_begin()
    assert x.tolist() == [1, 1, 1] and not cuda.is_current_stream_capturing()
    for i in range(3):
        g.replay()
        assert y.tolist() == [2.0 * (i + 1)] * 3
    with pytest.raises(RuntimeError, match="holds a captured graph already"):
        g.capture_begin()
    other = cuda.CUDAGraph(_xp=emulated.emulator.emulated)
    with cuda.graph(other, pool=g.pool()):
        y.copy_(x)
    assert other.pool() is g.pool()
    g.reset()
    with pytest.raises(RuntimeError, match="nothing has been captured"):
        g.replay()
    other.replay()
    assert y.tolist() == x.tolist()
    with pytest.raises(RuntimeError, match="default"):
        cuda.CUDAGraph(_xp=emulated.emulator.emulated).capture_begin()
    with pytest.raises(RuntimeError, match="capture_begin"):
        other.capture_end()
    with pytest.raises(TypeError, match="a function that does a step"):
        cuda.graph(3)


def test_no_warnings(gpu):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training(perceptron, gpu, True, n=6)
