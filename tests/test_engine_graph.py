"""The graph and the backward pass: who gets a gradient, how often, of what dtype, and what is said when it cannot be.

The expected numbers are worked out by hand beside each test; PyTorch's answers are in the tests marked parity.
"""

import inspect
import threading

import numpy as np
import pytest

import minitorch
from minitorch.autograd import detect_anomaly, grad
from minitorch.autograd.engine import Op

VALUES = [1.0, 2.0, 3.0]


def leaf(values=None, dtype=None):
    return minitorch.tensor(VALUES if values is None else values, dtype=dtype, requires_grad=True)


# --- sums over paths -------------------------------------------------------------------------------------------------


def test_backward_adds_to_grad():
    x = leaf()
    (x * 2).sum().backward()
    (x * x).sum().backward()  # 2 + 2x
    assert x.grad.tolist() == [4.0, 6.0, 8.0]
    x.grad = None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_backward_adds_in_place_as_pytorch_does():
    x = leaf()
    x.sum().backward()
    held = x.grad
    x.sum().backward()
    assert x.grad is held and held.tolist() == [2.0, 2.0, 2.0]


def test_diamond():
    """y reaches the loss on two ways: dL/dx = 2x (3 + 4y), y = x^2."""
    x = leaf([2.0])
    y = x * x
    (y * 3 + y * y * 2).backward()
    assert x.grad.tolist() == [2 * 2 * (3 + 4 * 4)]


def test_the_same_tensor_as_both_inputs():
    x = leaf()
    (x * x + x - x / x).sum().backward()
    assert x.grad.tolist() == [3.0, 5.0, 7.0]


class _ScaledUnlessNone(Op):
    """y = a b, or a where there is no b."""

    def forward(self, a, b):
        self.save(b)
        return a.copy() if b is None else a * b

    def backward(self, dy):
        (b,) = self.saved
        return (dy if b is None else dy * b), None


def test_an_input_may_be_none():
    a = minitorch.tensor([1.0, 2.0], requires_grad=True)
    y = _ScaledUnlessNone.apply(a, None)
    y.sum().backward()
    assert y.tolist() == [1, 2] and a.grad.tolist() == [1, 1]
    a.grad = None
    y = _ScaledUnlessNone.apply(a, 3.0)
    y.sum().backward()
    assert y.tolist() == [3, 6] and a.grad.tolist() == [3, 3]


def test_many_diamonds_are_walked_once_each():
    """2^60 paths, 120 ops."""
    calls = 0
    x = leaf([1.0])
    y = x
    for _ in range(60):
        y = y * 0.5 + y * 0.5

        def count(g):
            nonlocal calls
            calls += 1

        y.register_hook(count)
    y.backward()
    assert x.grad.item() == 1.0 and calls == 60


def test_a_long_and_a_short_path_meet():
    """The op with the shorter path has to wait for the longer one."""
    x = leaf([3.0])
    y = x * 2
    long = y
    for _ in range(20):
        long = long + 1
    (long * y).backward()  # y (y + 20)
    assert x.grad.item() == 2 * (2 * 6 + 20)


def test_zero_dimensional_tensors():
    x = minitorch.tensor(2.0, requires_grad=True)
    seen = []
    y = x * 1
    y.register_hook(lambda g: seen.append((g * 1).item()))
    (y * y + y * 3).backward()
    assert x.grad.item() == 7.0 and seen == [7.0] and type(x.grad.array) is np.ndarray
    x.grad.zero_()  # a NumPy scalar could not be written to
    (x * 1).backward()
    assert x.grad.item() == 1.0 and x.grad.shape == ()


def test_retained_graphs_can_be_walked_again():
    x = leaf()
    y = (x * x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [6.0, 24.0, 54.0]


def test_second_backward_says_what_to_do():
    x = leaf()
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="(?s)second time.*Mul.*retain_graph=True"):
        y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        grad(y, x)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward(create_graph=True)


def test_a_shared_part_is_freed_by_the_first_of_two_losses():
    x = leaf()
    shared = x * x
    a, b = (shared * 2).sum(), (shared * 3).sum()
    a.backward()
    with pytest.raises(RuntimeError, match="second time"):
        b.backward()


def test_ops_that_saved_no_array_go_backward_again():
    x = leaf()
    y = (x - minitorch.ones(2, 3)).reshape(6).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


# --- leaves ----------------------------------------------------------------------------------------------------------


def test_leaves_and_requires_grad():
    x, constant = leaf(), minitorch.ones(3)
    y = x * constant
    assert (x.is_leaf, constant.is_leaf, y.is_leaf) == (True, True, False)
    assert (x.requires_grad, constant.requires_grad, y.requires_grad) == (True, False, True)
    assert x.grad_fn is None and repr(y.grad_fn) == "<MulBackward>" and y.grad_fn.name == "Mul"
    assert (constant * 2).is_leaf and not (constant * 2).requires_grad
    y.sum().backward()
    assert x.grad is not None and y.grad is None and constant.grad is None


def test_requires_grad_can_be_switched_on_leaves_only():
    x = minitorch.ones(3)
    assert x.requires_grad_() is x and x.requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad
    y = leaf() * 2
    y.requires_grad_(True)  # it does already
    with pytest.raises(RuntimeError, match=r"leaf.*detach\(\)"):
        y.requires_grad = False


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_integers_do_not_require_gradients(dtype):
    with pytest.raises(RuntimeError, match=f"floating point.*{dtype}"):
        minitorch.ones(3, dtype=getattr(minitorch, dtype)).requires_grad_()
    with pytest.raises(RuntimeError, match="floating point"):
        minitorch.tensor([1, 2], requires_grad=True)


def test_detach_shares_memory_and_leaves_the_graph():
    x = leaf()
    y = x * 2
    d = y.detach()
    assert not d.requires_grad and d.is_leaf and d.data_ptr() == y.data_ptr()
    (y * d).sum().backward()  # d is a constant
    assert x.grad.tolist() == [4.0, 8.0, 12.0]
    z = y.exp()
    z.detach().zero_()
    with pytest.raises(RuntimeError, match="Exp.*modified"):
        z.sum().backward()


def test_data_shares_memory_and_the_graph_is_not_told():
    x = leaf()
    y = x.exp()
    y.data.zero_()
    y.sum().backward()  # e^x's gradient reads its output
    assert x.grad.tolist() == [0.0, 0.0, 0.0]
    x.data = minitorch.tensor([5.0, 6.0, 7.0])
    assert x.tolist() == [5.0, 6.0, 7.0] and x.requires_grad and x.is_leaf
    x.data.add_(1)
    assert x.tolist() == [6.0, 7.0, 8.0]
    with pytest.raises(TypeError, match="Tensor"):
        x.data = 3
    with pytest.raises(RuntimeError, match="int64"):
        x.data = minitorch.tensor([1, 2, 3])


def test_detach_in_place():
    x = leaf()
    y = x * 2
    assert y.detach_() is y and y.is_leaf and not y.requires_grad
    with pytest.raises(RuntimeError, match="view"):
        (x * 2)[0:1].detach_()


def test_assigned_gradients_are_checked():
    x = leaf()
    x.grad = minitorch.ones(3)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0, 3.0]
    with pytest.raises(TypeError, match="int"):
        x.grad = 3
    with pytest.raises(RuntimeError, match=r"\(3,\).*\(2,\)"):
        x.grad = minitorch.ones(2)
    with pytest.raises(RuntimeError, match="float32.*float64"):
        x.grad = minitorch.ones(3, dtype=minitorch.float64)


# --- modes -----------------------------------------------------------------------------------------------------------


def recording():
    return (leaf() * 2).requires_grad


@pytest.mark.parametrize(
    "off", [minitorch.no_grad, minitorch.inference_mode, lambda: minitorch.set_grad_enabled(False)]
)
def test_modes_as_contexts(off):
    with off():
        assert not recording() and not minitorch.is_grad_enabled()
        with minitorch.enable_grad():
            assert recording()
        with minitorch.set_grad_enabled(True):
            assert recording()
        assert not recording()
    assert recording()


@pytest.mark.parametrize(
    "off", [minitorch.no_grad, minitorch.inference_mode, lambda: minitorch.set_grad_enabled(False)]
)
def test_modes_end_when_the_block_raises(off):
    with pytest.raises(KeyError), off():
        raise KeyError
    assert recording()


@pytest.mark.parametrize(
    "off", [minitorch.no_grad(), minitorch.no_grad, minitorch.inference_mode(), minitorch.inference_mode]
)
def test_modes_as_decorators(off):
    @off
    def f(a, *, b):
        """The name and the words stay."""
        return recording(), a + b

    assert f(1, b=2) == (False, 3) and f.__name__ == "f" and "words" in f.__doc__
    assert recording()
    with minitorch.enable_grad():
        assert f(1, b=2) == (False, 3)


def test_enable_grad_and_set_grad_enabled_as_decorators():
    @minitorch.enable_grad()
    def on():
        return recording()

    @minitorch.set_grad_enabled(False)
    def off():
        return recording()

    assert recording()  # decorating switches nothing
    assert not off() and recording()
    with minitorch.no_grad():
        assert on() and not recording()


def test_set_grad_enabled_as_a_call():
    minitorch.set_grad_enabled(False)
    try:
        assert not recording()
    finally:
        minitorch.set_grad_enabled(True)
    assert recording()


def test_inference_mode():
    with minitorch.inference_mode():
        assert minitorch.is_inference_mode_enabled()
        with minitorch.inference_mode(False):
            assert recording() and not minitorch.is_inference_mode_enabled()
        assert not recording() and minitorch.is_inference_mode_enabled()
    assert not minitorch.is_inference_mode_enabled()


def test_a_class_is_no_function():
    with pytest.raises(TypeError, match="class"):
        minitorch.no_grad()(dict)


def test_generators_hold_the_mode_only_while_they_run():
    @minitorch.no_grad()
    def steps():
        got = yield recording()
        yield got, recording()
        return recording()

    generator = steps()
    assert next(generator) is False
    assert recording()  # it waits
    assert generator.send("sent") == ("sent", False)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value is False and recording()
    assert inspect.isgeneratorfunction(steps)


def test_generators_get_what_is_thrown_and_are_closed():
    events = []

    @minitorch.no_grad()
    def steps():
        try:
            yield 1
        except KeyError:
            events.append(recording())
            yield 2
        try:
            yield 3
        finally:
            events.append(recording())

    generator = steps()
    assert next(generator) == 1
    assert generator.throw(KeyError) == 2
    assert next(generator) == 3
    generator.close()
    assert events == [False, False] and recording()


def test_each_thread_has_its_own_mode():
    inside, leave, seen = threading.Event(), threading.Event(), {}

    def other():
        with minitorch.no_grad():
            inside.set()
            leave.wait(10)
            seen["other"] = recording()

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    seen["main"] = recording()
    with minitorch.no_grad():
        fresh = threading.Thread(target=lambda: seen.setdefault("fresh", recording()))
        fresh.start()
        fresh.join()
    leave.set()
    thread.join()
    assert seen == {"main": True, "fresh": True, "other": False}


def test_backward_in_several_threads():
    """Graphs of their own over shared leaves' values."""
    results = [None] * 4

    def work(i):
        x = leaf([float(i + 1)])
        y = x
        for _ in range(200):
            y = y * 1.01 + x
        y.backward()
        results[i] = x.grad.item()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    expected = sum(1.01**k for k in range(201))
    np.testing.assert_allclose(results, expected, rtol=1e-4)


def test_backward_works_under_no_grad():
    x = leaf()
    y = (x * x).sum()
    with minitorch.no_grad():
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0] and not x.grad.requires_grad


# --- backward and grad: their arguments ------------------------------------------------------------------------------


def test_backward_with_a_cotangent():
    x = leaf()
    (x * x).backward(minitorch.tensor([1.0, 0.0, -1.0]))
    assert x.grad.tolist() == [2.0, 0.0, -6.0]


def test_cotangents_take_the_tensors_dtype():
    x = leaf()
    y = x * 1
    assert grad(y, y, minitorch.ones(3, dtype=minitorch.float64))[0].dtype is minitorch.float32
    (x * 1).backward(minitorch.ones(3, dtype=minitorch.float64))
    assert x.grad.dtype is minitorch.float32


def test_backward_of_several_tensors():
    x = leaf()
    a, b = x * 2, (x * x).sum()
    minitorch.autograd.backward([a, b], [minitorch.ones(3), None])
    assert x.grad.tolist() == [4.0, 6.0, 8.0]


def test_backward_to_some_inputs_only():
    x, w = leaf(), leaf([4.0, 5.0, 6.0])
    y = x * w
    seen = []
    y.register_hook(lambda g: seen.append(1))
    y.sum().backward(inputs=[x])
    assert x.grad.tolist() == [4.0, 5.0, 6.0] and w.grad is None and seen == [1]
    y = x * w
    (y * 2).sum().backward(inputs=y)
    assert y.grad.tolist() == [2.0, 2.0, 2.0] and w.grad is None and x.grad.tolist() == [4.0, 5.0, 6.0]
    with pytest.raises(RuntimeError, match="inputs is empty"):
        (x * w).sum().backward(inputs=[])


def test_create_graph_makes_gradients_that_have_gradients():
    x = leaf()
    (x * x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad and x.grad.tolist() == [3.0, 12.0, 27.0]
    (second,) = grad(x.grad.sum(), x)
    assert second.tolist() == [6.0, 12.0, 18.0]


def test_create_graph_alone_keeps_the_graph_and_retain_graph_decides():
    x = leaf()
    y = (x * x).sum()
    y.backward(create_graph=True)
    y.backward()  # create_graph implies retain_graph
    z = (x * x).sum()
    z.backward(create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="second time"):
        z.backward()


def test_a_gradient_that_depends_on_nothing_has_no_graph():
    x = leaf()
    (g,) = grad((x * 2).sum(), x, create_graph=True)
    assert not g.requires_grad


def test_grad_touches_no_grad():
    x, w = leaf(), leaf([4.0, 5.0, 6.0])
    y = x * w
    found = grad((y * y).sum(), [x, y, w])
    assert [g.tolist() for g in found] == [[32.0, 100.0, 216.0], [8.0, 20.0, 36.0], [8.0, 40.0, 108.0]]
    assert x.grad is None and w.grad is None and y.grad is None
    assert not any(g.requires_grad for g in found)


def test_grad_of_several_outputs_with_cotangents():
    x = leaf()
    a, b = x * 2, x * x
    (g,) = grad([a, b], [x], [minitorch.tensor([1.0, 0.0, 0.0]), minitorch.tensor([0.0, 1.0, 0.0])])
    assert g.tolist() == [2.0, 4.0, 0.0]
    (g,) = grad((x.sum(), (x * 3).sum()), x, grad_outputs=(None, minitorch.tensor(2.0)))
    assert g.tolist() == [7.0, 7.0, 7.0]


def test_unused_inputs():
    x, unused = leaf(), leaf([1.0])
    y = (x * 1).sum()
    with pytest.raises(RuntimeError, match="(?s)input 1.*not to have been used.*allow_unused=True"):
        grad(y, [x, unused], retain_graph=True)
    assert grad(y, [x, unused], retain_graph=True, allow_unused=True)[1] is None
    zeros = grad(y, [x, unused], retain_graph=True, materialize_grads=True)[1]
    assert zeros.tolist() == [0.0] and zeros.dtype is minitorch.float32
    with pytest.raises(ValueError, match="materialize_grads"):
        grad(y, [x, unused], allow_unused=False, materialize_grads=True)


def test_grad_of_a_tensor_with_respect_to_itself():
    y = leaf() * 2
    assert grad(y, y, minitorch.tensor(VALUES))[0].tolist() == VALUES
    x = leaf()
    assert grad(x, x, minitorch.tensor(VALUES))[0].tolist() == VALUES


def test_grad_stops_at_what_it_was_asked_for():
    """Ops beyond the inputs are neither run nor freed."""
    x = leaf()
    y = x * x
    z = (y * y).sum()
    seen = []
    x.register_hook(lambda g: seen.append(g))
    assert grad(z, y)[0].tolist() == [2.0, 8.0, 18.0]
    assert seen == []
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def test_grad_leaves_branches_alone_that_do_not_lead_to_the_inputs():
    x, w = leaf(), leaf()
    side, seen = w * w, []
    side.register_hook(lambda g: seen.append(g))
    y = (x * side).sum()
    assert grad(y, x, retain_graph=True)[0].tolist() == [1.0, 4.0, 9.0] and not seen
    y.backward(inputs=[x])
    assert not seen and w.grad is None
    side.sum().backward()  # its ops were not freed either
    assert w.grad.tolist() == [2.0, 4.0, 6.0]


def test_batched_gradients_are_not_offered():
    x = leaf()
    with pytest.raises(NotImplementedError, match="is_grads_batched"):
        grad(x * 1, x, minitorch.ones(2, 3), is_grads_batched=True)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: minitorch.ones(3).sum().backward(), "does not require grad and does not have a grad_fn"),
        (lambda x: (x * 1).backward(), r"grad can be implicitly created only for scalar outputs.*\(3,\)"),
        (lambda x: (x * 1).backward(minitorch.ones(2)), r"Mismatch in shape.*\(2,\).*\(3,\)"),
        (lambda x: grad((x * 1).sum(), minitorch.ones(3)), "input 0 does not require grad"),
        (lambda x: grad([x.sum(), x.sum()], x, [minitorch.tensor(1.0)]), "2 tensors and 1 gradients"),
        (lambda x: minitorch.autograd.backward([x.sum()], [None, None]), "1 tensors and 2 gradients"),
    ],
)
def test_errors_of_backward_and_grad(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(leaf())


def test_backward_of_something_that_is_no_tensor():
    with pytest.raises(TypeError, match="Tensor.*float"):
        minitorch.autograd.backward([1.0])


# --- hooks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intermediate", [False, True])
def test_hooks_see_and_replace(intermediate):
    x = leaf()
    t = x * 1 if intermediate else x
    seen = []
    first = t.register_hook(lambda g: seen.append(g.tolist()))
    second = t.register_hook(lambda g: g * 10)
    third = t.register_hook(lambda g: g + 1)
    y = (t * 2).sum()
    y.backward(retain_graph=True)
    assert seen == [[2.0, 2.0, 2.0]] and x.grad.tolist() == [21.0, 21.0, 21.0]
    first.remove()
    second.remove()
    second.remove()  # twice does no harm
    x.grad = None
    y.backward(retain_graph=True)
    assert len(seen) == 1 and x.grad.tolist() == [3.0, 3.0, 3.0]
    with third:
        pass
    x.grad = None
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("intermediate", [False, True])
def test_one_function_as_two_hooks(intermediate):
    """Removal takes away the registration that it belongs to: ((1 * 2) + 1), not ((1 + 1) * 2)."""
    x = leaf()
    t = x * 1 if intermediate else x
    double = lambda g: g * 2  # noqa: E731
    t.register_hook(double)
    t.register_hook(lambda g: g + 1)
    t.register_hook(double).remove()
    t.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0, 3.0]


def test_a_hook_runs_once_with_the_complete_gradient():
    x = leaf()
    y = x * 1
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: seen.append(g.tolist()))
    (y * 2 + y * 3 + x).sum().backward()
    assert seen == [[5.0, 5.0, 5.0], [6.0, 6.0, 6.0]]


def test_hooks_run_for_grad_too():
    x = leaf()
    y = x * 1
    x.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: g * 5)
    gx, gy = grad((y * 1).sum(), [x, y])
    assert gx.tolist() == [10.0] * 3 and gy.tolist() == [5.0] * 3


def test_what_a_hook_returns_stays_the_hooks():
    x = leaf()
    mine = minitorch.ones(3)
    x.register_hook(lambda g: mine)
    x.sum().backward()
    x.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0] and mine.tolist() == [1.0, 1.0, 1.0]


def test_hooks_are_recorded_when_the_graph_is_created():
    x = leaf()
    y = x * x
    handle = y.register_hook(lambda g: g * g)
    (y * y).sum().backward(create_graph=True)  # (2 x^2)^2 2x = 8 x^5
    assert x.grad.tolist() == [8.0, 256.0, 1944.0]
    handle.remove()  # the second pass goes through y too
    assert grad(x.grad.sum(), x)[0].tolist() == [40.0, 640.0, 3240.0]


@pytest.mark.parametrize("intermediate", [False, True])
def test_hooks_that_return_nonsense(intermediate):
    x = leaf()
    t = x * 1 if intermediate else x
    handle = t.register_hook(lambda g: 3)
    with pytest.raises(TypeError, match="hook.*int"):
        t.sum().backward()
    handle.remove()
    t.register_hook(lambda g: g[:1])
    with pytest.raises(RuntimeError, match=r"hook.*\(3,\).*\(1,\)"):
        t.sum().backward()


def test_hooks_where_no_gradient_comes():
    with pytest.raises(RuntimeError, match="register_hook.*does not require"):
        minitorch.ones(3).register_hook(print)
    with pytest.raises(RuntimeError, match="leaf"):
        (leaf() * 2).register_post_accumulate_grad_hook(print)
    with pytest.raises(RuntimeError, match="require"):
        minitorch.ones(3).register_post_accumulate_grad_hook(print)


def test_hooks_of_an_intermediate_stay_with_its_value():
    """A hook registered before an in-place change sees the old value's gradient, as in PyTorch."""
    x = leaf()
    y = x * 1
    seen = []
    y.register_hook(lambda g: seen.append(("before", g.tolist())))
    y.mul_(2)
    y.register_hook(lambda g: seen.append(("after", g.tolist())))
    (y * 3).sum().backward()
    assert seen == [("after", [3.0] * 3), ("before", [6.0] * 3)]


def test_post_accumulate_hooks():
    x = leaf()
    seen = []
    x.register_hook(lambda g: g * 2)
    handle = x.register_post_accumulate_grad_hook(lambda t: seen.append((t is x, t.grad.tolist())))
    y = (x * 1).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    assert seen == [(True, [2.0] * 3), (True, [4.0] * 3)]
    grad(y, x, retain_graph=True)
    assert len(seen) == 2  # nothing was accumulated
    handle.remove()
    y.backward()
    assert len(seen) == 2


def test_an_optimizer_in_a_post_accumulate_hook():
    x, w = leaf(), leaf([4.0, 5.0, 6.0])

    def step(t):
        with minitorch.no_grad():
            t -= 0.5 * t.grad
        t.grad = None

    for t in (x, w):
        t.register_post_accumulate_grad_hook(step)
    (x * w).sum().backward()
    assert x.tolist() == [-1.0, -0.5, 0.0] and w.tolist() == [3.5, 4.0, 4.5]  # both from the old values
    assert x.grad is None and w.grad is None


# --- retain_grad -----------------------------------------------------------------------------------------------------


def test_retain_grad():
    x = leaf()
    y = x * 2
    z = y * y
    y.retain_grad()
    y.retain_grad()  # twice is once
    assert y.retains_grad and not z.retains_grad and not x.retains_grad
    z.sum().backward(retain_graph=True)
    assert y.grad.tolist() == [4.0, 8.0, 12.0] and z.grad is None
    z.sum().backward()
    assert y.grad.tolist() == [8.0, 16.0, 24.0]
    x.retain_grad()  # a leaf does so anyway
    with pytest.raises(RuntimeError, match="retain_grad.*does not require"):
        minitorch.ones(2).retain_grad()


def test_retained_gradients_come_after_the_hooks():
    x = leaf()
    y = x * 1
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    y.sum().backward()
    assert y.grad.tolist() == [2.0] * 3 and x.grad.tolist() == [2.0] * 3


def test_retained_gradients_follow_an_in_place_change():
    x = leaf()
    y = x * 1
    y.retain_grad()
    y.mul_(2)
    (y * 3).sum().backward()
    assert y.retains_grad and y.grad.tolist() == [3.0] * 3 and x.grad.tolist() == [6.0] * 3
    base = x * 1
    base.retain_grad()
    part = base[0:2]
    part.retain_grad()
    part.mul_(5)
    (base * 3).sum().backward()
    assert base.grad.tolist() == [3.0] * 3


# --- memory that gradients do not share ------------------------------------------------------------------------------

SHARING = {
    "sum of leaves": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "copies": lambda a, b: a.clone() + b.clone(),
    "views": lambda a, b: a.view(3, 1) + b.view(3, 1),
    "concatenation": lambda a, b: minitorch.cat([a, b]),
    "stack": lambda a, b: minitorch.stack([a, b]),
    "broadcast": lambda a, b: a.sum() + b.sum().expand(3),
    "through intermediates": lambda a, b: (a * 1 + b * 1) * 1,
    "where": lambda a, b: minitorch.where(minitorch.tensor([True, False, True]), a, b),
    "sum twice": lambda a, b: a + b + a + b,
    "matmul": lambda a, b: minitorch.stack([a, b]) @ minitorch.ones(3, 2),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", SHARING)
def test_gradients_are_not_one_anothers_memory(name, create_graph):
    a, b = leaf(), leaf([4.0, 5.0, 6.0])
    y = SHARING[name](a, b)
    y.retain_grad()
    v = minitorch.ones(y.shape)
    y.backward(v, create_graph=create_graph)
    grads = {"a": a.grad, "b": b.grad, "y": y.grad, "the cotangent": v}
    expected = {key: g.tolist() for key, g in grads.items()}
    for key, g in grads.items():
        with minitorch.no_grad():
            g.add_(100)
        for other, h in grads.items():
            if other != key:
                assert h.tolist() == expected[other], f"{other} changed with {key}"
        with minitorch.no_grad():
            g.sub_(100)


class SharedResult(Op):
    """One array as the gradient of both inputs."""

    def forward(self, a, b):
        return a + b

    def backward(self, dy):
        g = dy * 2
        return g, g


class SavedResult(Op):
    """What was saved, as the gradient."""

    def forward(self, a):
        self.save(self.xp.ones(a.shape, a.dtype))
        return a.copy()

    def backward(self, dy):
        return self.saved[0]


def test_results_of_an_ops_backward_that_are_not_fresh():
    a, b = leaf(), leaf()
    SharedResult.apply(a, b).sum().backward()
    a.grad.zero_()
    assert b.grad.tolist() == [2.0, 2.0, 2.0]
    x = leaf()
    y = SavedResult.apply(x).sum()
    y.backward(retain_graph=True)
    x.grad.zero_()
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_a_leaf_that_is_the_root():
    x, v = leaf(), minitorch.ones(3)
    x.backward(v)
    x.grad.add_(1)
    assert v.tolist() == [1.0, 1.0, 1.0]


def test_gradients_are_not_saved_arrays():
    x = leaf()
    w = minitorch.tensor([4.0, 5.0, 6.0])
    (x * w).sum().backward()
    x.grad.zero_()
    assert w.tolist() == [4.0, 5.0, 6.0]
    a, b = leaf(), leaf([1.0])
    (a * b).backward(minitorch.ones(3))
    a.grad.zero_()
    assert b.tolist() == [1.0]


def test_gradients_can_be_written():
    for f in (lambda x: x.sum(), lambda x: x.expand(2, 3).sum(), lambda x: x.mean(), lambda x: x[0]):
        x = leaf()
        f(x).backward()
        x.grad.mul_(2)


# --- several outputs, integers ---------------------------------------------------------------------------------------


def test_unused_outputs_have_gradient_zero():
    x = leaf([3.0, 1.0, 2.0, 5.0])
    parts = x.split([1, 2, 1])
    (parts[1] * 2).sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 2.0, 0.0]
    x.grad = None
    values, indices = x.sort()
    (values * minitorch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [3.0, 1.0, 2.0, 4.0] and not indices.requires_grad


def test_unused_outputs_with_a_created_graph():
    x = leaf([3.0, 1.0, 2.0, 5.0])
    (g,) = grad((x * x).split(2)[1].sum(), x, create_graph=True)
    assert g.tolist() == [0.0, 0.0, 4.0, 10.0]
    assert grad(g.sum(), x)[0].tolist() == [0.0, 0.0, 2.0, 2.0]


def test_integer_outputs():
    x = leaf([3.0, 1.0])
    values, indices = x.max(0)
    assert not indices.requires_grad and indices.grad_fn is None and indices.is_leaf
    with pytest.raises(RuntimeError, match="does not require grad"):
        indices.backward()
    assert not (x > 2).requires_grad and not x.argmax().requires_grad
    values.backward()
    assert x.grad.tolist() == [1.0, 0.0]


def test_a_cast_to_integers_ends_the_graph():
    x = leaf()
    y = x.to(minitorch.int64)
    assert not y.requires_grad and y.grad_fn is None


# --- dtypes ----------------------------------------------------------------------------------------------------------


def test_gradients_have_their_tensors_dtype():
    x, w = leaf(), leaf([1.0, 2.0, 3.0], minitorch.float64)
    h = leaf([1.0, 2.0, 3.0], minitorch.float16)
    y = x * w * h
    y.retain_grad()
    assert y.dtype is minitorch.float64
    y.sum().backward()
    assert [t.grad.dtype for t in (x, w, h, y)] == [t.dtype for t in (x, w, h, y)]
    assert x.grad.tolist() == [1.0, 4.0, 9.0] and h.grad.tolist() == [1.0, 4.0, 9.0]
    x.grad = None
    assert grad((x * w).sum(), x)[0].dtype is minitorch.float32


def test_zero_dimensional_float64_does_not_widen():
    x = leaf()
    scale = minitorch.tensor(2.0, dtype=minitorch.float64, requires_grad=True)
    y = x * scale
    assert y.dtype is minitorch.float32
    y.sum().backward()
    assert x.grad.dtype is minitorch.float32 and scale.grad.dtype is minitorch.float64 and scale.grad.item() == 6.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_leaves(dtype):
    x = leaf(VALUES, getattr(minitorch, dtype))
    y = (x * x).sum()
    assert y.dtype is x.dtype
    y.backward()
    assert x.grad.dtype is x.dtype and x.grad.tolist() == [2.0, 4.0, 6.0]


# --- long chains -----------------------------------------------------------------------------------------------------

LENGTH = 50_000


def test_a_chain_of_50_000_ops():
    """Forward, backward and deletion: nothing recurses."""
    x = leaf([1.0])
    y = x
    for _ in range(LENGTH):
        y = y + x
    y.backward()
    assert x.grad.item() == LENGTH + 1
    del y


def test_a_chain_of_50_000_ops_is_deleted_without_backward():
    x = leaf([1.0])
    y = x
    for _ in range(LENGTH):
        y = y * 1.0
    del y
    y = x
    for _ in range(LENGTH // 5):
        y = y.view(1)  # each a view of the one before
    assert grad(y, x)[0].item() == 1.0
    del y


def test_a_long_chain_with_a_created_graph():
    x = leaf([1.001])
    y = x
    for _ in range(2_000):
        y = y * x
    (g,) = grad(y, x, create_graph=True)
    (second,) = grad(g, x)
    n = 2_001
    np.testing.assert_allclose(second.item(), n * (n - 1) * 1.001 ** (n - 2), rtol=1e-3)
    del g, second, y


# --- anomaly mode ----------------------------------------------------------------------------------------------------

nan_on_purpose = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")


def line_of(marker):
    """The number of the line of this file that ends with the comment `# marker`."""
    lines, _ = inspect.findsource(inspect.getmodule(line_of))
    return next(i + 1 for i, line in enumerate(lines) if line.rstrip().endswith(f"# {marker}"))


@nan_on_purpose
def test_anomaly_in_the_forward_pass():
    x = leaf([-1.0, 1.0])
    with detect_anomaly(), pytest.raises(RuntimeError) as error:
        x.log()  # forward anomaly
    message = str(error.value)
    assert "Log made a NaN" in message and "(2,)" in message
    assert f'test_engine_graph.py", line {line_of("forward anomaly")}' in message and "x.log()" in message


@nan_on_purpose
def test_anomaly_in_the_backward_pass():
    x = leaf([0.0, 1.0])
    with detect_anomaly():
        y = x.sqrt()  # backward anomaly
        z = (y * minitorch.tensor([0.0, 1.0])).sum()  # dy = 0, 1/(2y) = inf: 0 * inf
        with pytest.raises(RuntimeError) as error:
            z.backward()
    message = str(error.value)
    assert "gradient of Sqrt has a NaN" in message
    assert f'test_engine_graph.py", line {line_of("backward anomaly")}' in message and "y = x.sqrt()" in message


@nan_on_purpose
def test_anomaly_in_the_backward_pass_of_a_created_graph():
    x = leaf([0.0, 1.0])
    with detect_anomaly():
        y = (x.sqrt() * minitorch.tensor([0.0, 1.0])).sum()
        with pytest.raises(RuntimeError, match="gradient of Sqrt"):
            y.backward(create_graph=True)


@nan_on_purpose
def test_anomaly_of_a_graph_that_was_recorded_before():
    x = leaf([0.0, 1.0])
    y = (x.sqrt() * minitorch.tensor([0.0, 1.0])).sum()
    with detect_anomaly(), pytest.raises(RuntimeError, match="(?s)Sqrt.*run the forward pass inside"):
        y.backward()


def test_anomaly_in_a_custom_function():
    class Broken(minitorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, dy):
            return dy * float("nan")

    x = leaf()
    with detect_anomaly():
        y = Broken.apply(x)  # custom anomaly
        with pytest.raises(RuntimeError, match=f"(?s)Broken has a NaN.*line {line_of('custom anomaly')}"):
            y.sum().backward()


@nan_on_purpose
def test_what_is_no_anomaly():
    x = leaf([float("nan"), 1.0])
    with detect_anomaly():
        (x * 2).sum().backward()  # the NaN was there before
        leaf([0.0]).log()  # -inf is no NaN
    with detect_anomaly(check_nan=False):
        leaf([-1.0]).log()
    leaf([-1.0]).log()
    assert minitorch.isnan(leaf([-1.0]).log()).all()


@nan_on_purpose
def test_anomaly_mode_as_a_decorator_and_after_an_error():
    @detect_anomaly()
    def f():
        return leaf([-1.0]).log()

    with pytest.raises(RuntimeError, match="NaN"):
        f()
    leaf([-1.0]).log()  # it is off again


# --- ops -------------------------------------------------------------------------------------------------------------


def test_an_op_with_the_wrong_number_of_gradients():
    class Wrong(Op):
        def forward(self, a, b):
            return a + b

        def backward(self, dy):
            return dy

    with pytest.raises(RuntimeError, match="Wrong.backward returned 1 gradients for 2 inputs"):
        Wrong.apply(leaf(), leaf()).sum().backward()


def test_an_op_with_a_gradient_of_the_wrong_shape():
    class Wrong(Op):
        def forward(self, a):
            return a * 2

        def backward(self, dy):
            return dy.sum(0)

    with pytest.raises(RuntimeError, match=r"\(\).*\(3,\)"):
        Wrong.apply(leaf()).sum().backward()


def test_an_op_with_a_gradient_of_another_precision():
    class Wide(Op):
        def forward(self, a):
            return a * 2

        def backward(self, dy):
            return (dy * 2).astype(np.float64)

    x = leaf()
    Wide.apply(x).sum().backward()
    assert x.grad.dtype is minitorch.float32


def test_needs_says_who_wants_a_gradient():
    seen = {}

    class Watch(Op):
        def forward(self, a, b):
            return a * b

        def backward(self, dy):
            seen["needs"] = list(self.needs)
            return dy, dy

    x = leaf()
    Watch.apply(x, minitorch.ones(3)).sum().backward()
    assert seen["needs"] == [True, False]
    with minitorch.no_grad():
        assert Watch.apply(x, x).grad_fn is None


def test_inputs_that_are_no_tensors():
    with pytest.raises(TypeError, match="from_numpy"):
        minitorch.add(leaf(), np.ones(3))
    with pytest.raises(TypeError, match="str"):
        minitorch.mul(leaf(), "2")


# --- parity ----------------------------------------------------------------------------------------------------------


def graphs(lib):
    """The same small programs in minitorch and PyTorch; what each gives is compared."""
    make = lambda values=VALUES: lib.tensor(values, requires_grad=True)  # noqa: E731

    def hooks_order():
        x, seen = make(), []
        y = x * 2
        y.retain_grad()
        y.register_hook(lambda g: g * 3)
        x.register_hook(lambda g: seen.append(g.tolist()))
        x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.tolist()))
        (y * y).sum().backward()
        return seen, y.grad.tolist(), x.grad.tolist()

    def in_place_and_retain():
        x = make()
        y = x * 1
        y.retain_grad()
        v = y[1:]
        v.retain_grad()
        v.mul_(3)
        (y * y).sum().backward()
        return y.grad.tolist(), x.grad.tolist()

    def overwritten():
        x = make()
        y = x * 1
        y.zero_()
        wants = y.requires_grad
        y.sum().backward()
        return wants, x.grad.tolist()

    def inputs_that_are_intermediates():
        x = make()
        y = x * 1
        (y * 2).sum().backward(inputs=[y])
        return y.grad.tolist(), x.grad, y.retains_grad

    def inference_switched_off():
        with lib.no_grad(), lib.inference_mode(False):
            return lib.is_grad_enabled()

    def accumulated_with_a_graph():
        x = make()
        (x * x * x).sum().backward(create_graph=True)
        (x * x).sum().backward()
        return x.grad.tolist()

    def gradient_penalty():
        x, w = make(), make([0.5, -1.0, 2.0])
        (g,) = lib.autograd.grad((x * w).tanh().sum(), x, create_graph=True)
        ((g * g).sum() - 1).square().backward()
        return [round(v, 6) for v in x.grad.tolist()], [round(v, 6) for v in w.grad.tolist()]

    return [hooks_order, in_place_and_retain, overwritten, inputs_that_are_intermediates, inference_switched_off,
            accumulated_with_a_graph, gradient_penalty]  # fmt: skip


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
@pytest.mark.parametrize("i", range(7))
def test_the_graph_is_pytorchs(i):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    ours, theirs = graphs(minitorch)[i], graphs(torch)[i]
    assert ours() == theirs(), ours.__name__
