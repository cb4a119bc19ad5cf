"""Memory with the garbage collector off: reference counts alone must free what nobody needs.

Bytes are measured by tracemalloc, to which NumPy reports its arrays.
"""

import contextlib
import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minitorch
from minitorch import nn
from minitorch.autograd import Function, grad
from tests.cases import CASES
from tests.cases.harness import Library, evaluate, order_of

N = 250_000
ARRAY = 4 * N  # bytes of a float32 vector of N elements


@pytest.fixture(autouse=True, scope="module")
def what_other_tests_left():
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def collector_off():
    gc.collect()
    gc.freeze()  # what is there already need not be searched again
    gc.disable()
    yield
    gc.enable()


@contextlib.contextmanager
def measured():
    """Yields functions for the bytes that live now, and at the worst moment, counted in vectors since the block began."""
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        live = lambda: (tracemalloc.get_traced_memory()[0] - start) / ARRAY  # noqa: E731
        peak = lambda: (tracemalloc.get_traced_memory()[1] - start) / ARRAY  # noqa: E731
        yield live, peak
    finally:
        tracemalloc.stop()


def vector(requires_grad=False):
    return minitorch.rand(N, requires_grad=requires_grad)


def no_cycles(what=""):
    garbage = gc.collect()
    assert garbage == 0, f"{garbage} objects were reachable only from one another {what}"


# --- intermediates ---------------------------------------------------------------------------------------------------


def test_an_intermediate_dies_when_its_name_goes():
    x = vector(True)
    y = x + 1.0
    tensor, array = weakref.ref(y), weakref.ref(y.array)
    z = y + 1.0  # the gradient of a sum needs no values
    del y
    assert tensor() is None and array() is None
    z.sum().backward()
    assert x.grad is not None


def test_the_graph_holds_arrays_but_no_tensors():
    x = vector(True)
    y = x.exp()
    tensor, array = weakref.ref(y), weakref.ref(y.array)
    z = (y * y).sum()
    del y
    assert tensor() is None and array() is not None  # e^x's gradient reads the output
    z.backward()
    assert array() is None and z.grad_fn is not None  # freed by the backward pass, although the graph is still held


def test_no_tensor_can_be_reached_from_its_own_node():
    x = vector(True)
    y = (x * 2).tanh()
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


@pytest.mark.parametrize("keep", ["retain_graph", "create_graph"])
def test_kept_graphs_die_with_their_result(keep):
    x = vector(True)
    y = x.exp()
    array = weakref.ref(y.array)
    z = y.sum()
    del y
    if keep == "retain_graph":
        z.backward(retain_graph=True)
        assert array() is not None
    else:
        (g,) = grad(z, x, create_graph=True)
        del z
        assert array() is not None
        z = g
        del g
    del z
    assert array() is None


def test_results_without_gradients_die_at_once():
    x = vector()
    with measured() as (live, peak):
        y = x
        for _ in range(20):
            y = y * 1.5 + 0.5
        assert live() < 1.1 and peak() < 3.1  # the result; one more for the product, one for the old value
    with measured() as (live, peak):
        w = vector(True)
        with minitorch.no_grad():
            y = w
            for _ in range(20):
                y = y * 1.5 + 0.5
        assert live() < 2.1 and peak() < 4.1


def test_a_graph_saves_only_what_the_gradients_need():
    x = vector(True)
    with measured() as (live, _):
        y = x
        for _ in range(10):
            y = y + 1.0  # nothing
        assert live() < 1.1
        y = y * 3.0  # the number
        assert live() < 1.1
        y = y.reshape(-1, 10).transpose(0, 1)[2:]  # shapes; all on the same memory
        assert live() < 1.1
        y = y.exp()  # the output, which the name holds too
        assert live() < 1.9
        y = y.tanh()
        assert live() < 2.7
        z = y.sum()
        del y
        assert live() < 1.7  # two outputs of 0.8 each
        z.backward()
        assert live() < 1.1  # x.grad


def test_saved_arrays_go_during_the_backward_pass():
    """The peak of the pass is what forward had saved and a few more, not twice as much."""
    x = vector(True)
    with measured() as (live, peak):
        y = x
        for _ in range(10):
            y = y.tanh()
        z = y.sum()
        del y
        assert 9.9 < live() < 10.1
        tracemalloc.reset_peak()
        z.backward()
        assert live() < 1.1 and peak() < 14.1


def test_a_constant_input_is_not_saved_for_nobody():
    """x * c with a constant x: only x is needed, for c's gradient; and the other way round."""
    x, c = vector(), vector(True)
    with measured() as (live, _):
        doubled = c * 2.0
        z = x * doubled
        del doubled
        assert live() < 1.1
        del z


def test_forward_and_backward_over_and_over():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    data = minitorch.rand(256, 64)
    sizes = []
    with measured() as (live, _):
        for _ in range(6):
            loss = (model(data) ** 2).mean()
            model.zero_grad()
            loss.backward()
            sizes.append(live() * ARRAY)
    assert max(sizes[1:]) - sizes[1] < 3000, sizes


def test_views_do_not_keep_graphs_of_graphs():
    """In a loop of in-place changes the base's nodes make a chain; nothing else stays."""
    x = vector(True)
    with measured() as (live, _):
        y = x * 1.0
        for _ in range(20):
            y[:10] += 1.0
        assert live() < 2.1
        y.sum().backward()
        del y
        assert live() < 1.1
    no_cycles()


def test_in_place_chains_use_one_vector_more():
    y = vector()
    with measured() as (live, peak):
        for _ in range(10):
            y.mul_(1.5).add_(0.5).clamp_(0.0, 2.0)
        assert live() < 0.1 and peak() < 2.6  # clamp: two results of one vector and its masks
    with measured() as (live, peak), minitorch.no_grad():
        w = vector(True)
        for _ in range(10):
            w.mul_(1.5)
            w += 0.5
        assert live() < 1.1 and peak() < 2.6  # 2.5 while rand draws


# --- cycles ----------------------------------------------------------------------------------------------------------


def make_transformer():
    return nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)


@pytest.mark.parametrize("reference", [True, False], ids=["reference ops", "fast paths"])
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_training_step_makes_no_cycles(reference, optimizer):
    layer, head, table = make_transformer(), nn.Linear(16, 7), nn.Embedding(11, 16)
    parameters = [*layer.parameters(), *head.parameters(), *table.parameters()]
    steps = getattr(minitorch.optim, optimizer)(parameters, lr=0.01)
    ids = minitorch.randint(0, 11, (4, 5))

    def step():
        logits = head(nn.functional.gelu(layer(table(ids))))
        loss = nn.functional.cross_entropy(logits.reshape(-1, 7), ids.reshape(-1) % 7)
        steps.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        steps.step()
        return loss.item()

    with minitorch.reference_ops() if reference else contextlib.nullcontext():
        step()  # compiles, imports
        gc.collect()
        step()
    no_cycles("after a training step")


def test_evaluation_makes_no_cycles():
    layer = make_transformer().eval()
    with minitorch.no_grad():
        layer(minitorch.rand(2, 3, 16))
        gc.collect()
        layer(minitorch.rand(2, 3, 16)).softmax(-1).topk(2)
    no_cycles()


ROWS = [case for case in CASES if case.gradient]


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_no_op_makes_a_cycle(case):
    """Forward, backward, and the gradient of the gradient, of each row of the op table."""
    sample = next((s for s in case.samples() if order_of(case, s)), None)
    if sample is None:
        pytest.skip("no sample of it wants a gradient")
    lib, order = Library(), order_of(case, sample)
    evaluate(lib, case, sample, order=order)
    gc.collect()
    evaluate(lib, case, sample, order=order)
    no_cycles(f"after {case.name}")


def everything_once(x):
    y = x * 2.0
    y.retain_grad()
    y.register_hook(lambda g: g * 1.0)
    x.register_hook(lambda g: None).remove()
    view = y[1:]
    view.retain_grad()
    view.mul_(3.0)
    y[0:1] = view[0:1] * 2
    a, b = (y * y).split(2)
    return (a.sum() * b.max()).tanh()


def test_hooks_retained_gradients_and_views_make_no_cycles():
    x = minitorch.rand(4, requires_grad=True)
    everything_once(x).backward()
    gc.collect()
    x.register_hook(lambda g: g * 2).remove()
    x.register_post_accumulate_grad_hook(lambda t: None).remove()
    everything_once(x).backward()
    no_cycles()


def test_retain_grad_does_not_keep_the_tensor():
    x = minitorch.rand(4, requires_grad=True)
    y = x * 2
    y.retain_grad()
    dead = weakref.ref(y)
    z = (y * 3).sum()
    del y
    assert dead() is None
    z.backward()
    assert x.grad.tolist() == [6.0] * 4


def test_a_graph_that_is_dropped_without_backward_makes_no_cycles():
    x = minitorch.rand(4, requires_grad=True)
    everything_once(x)
    gc.collect()
    everything_once(x)
    no_cycles()


def test_gradients_of_gradients_make_no_cycles():
    x = minitorch.rand(4, requires_grad=True)

    def third():
        y = (x.softmax(0) * x.tanh()).sum()
        (g,) = grad(y, x, create_graph=True)
        (h,) = grad((g * g).sum(), x, create_graph=True)
        return grad(h.sum(), x)[0]

    third()
    gc.collect()
    third()
    no_cycles()


def test_a_refused_second_backward_makes_no_cycles_of_ops():
    x = vector(True)
    y = x.exp()
    z = y.sum()
    z.backward()
    node = weakref.ref(y.grad_fn)
    with contextlib.suppress(RuntimeError):
        z.backward()
    del y, z
    gc.collect()  # the traceback may have made one
    assert node() is None


class SaveAll(Function):
    """Saves an input, an output, a constant, and keeps things on ctx."""

    @staticmethod
    def forward(ctx, x, factor):
        y = x.exp()
        z = x * factor
        ctx.save_for_backward(x, y, minitorch.ones(4))
        ctx.factor = factor
        return y, z

    @staticmethod
    def backward(ctx, dy, dz):
        x, y, ones = ctx.saved_tensors
        return dy * y * ones + dz * ctx.factor, None


def test_custom_functions_make_no_cycles():
    x = minitorch.rand(4, requires_grad=True)

    def run():
        y, z = SaveAll.apply(x, 3.0)
        (g,) = grad((y * z).sum(), x, create_graph=True)
        return grad(g.sum(), x)[0]

    run()
    gc.collect()
    run()
    no_cycles()
    y, z = SaveAll.apply(x, 3.0)
    node, tensor = weakref.ref(y.grad_fn), weakref.ref(y)
    del y
    assert tensor() is None and node() is not None
    del z
    assert node() is None


def test_custom_functions_free_what_they_saved():
    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, dy):
            return dy * ctx.saved_tensors[0]

    x = vector(True)
    y = Exp.apply(x)
    array, z = weakref.ref(y.array), y.sum()
    del y
    assert array() is not None
    z.backward()
    assert array() is None
    np.testing.assert_allclose(x.grad.numpy(), np.exp(x.detach().numpy()), rtol=1e-6)


def test_saved_indices_are_freed_too():
    x = minitorch.rand(10, requires_grad=True)
    index = minitorch.randint(0, 10, (N,))
    for read in (lambda: x[index], lambda: x.gather(0, index), lambda: x[:, None][index, 0]):
        with measured() as (live, _):
            y = read().sum()
            assert live() > 1.9  # 8-byte integers
            y.backward()
            assert live() < 0.1
