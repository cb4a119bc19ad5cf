"""Views and in-place changes: what is shared, whose gradient goes where, and what is refused with which words.

The end of the file runs random programs of views and writes: gradients of the first and second order against central
differences, and step by step beside PyTorch, with a list of the cases where only one of the two refuses.
"""

import collections
import random

import numpy as np
import pytest

import minitorch
from minitorch.autograd import grad

VIEWS = {
    "[0]": lambda t: t[0],
    "[1:]": lambda t: t[1:],
    "[..., ::2]": lambda t: t[..., ::2],
    "[:, None]": lambda t: t[:, None],
    "transpose": lambda t: t.transpose(0, 1),
    "movedim": lambda t: t.movedim(0, -1),
    "unsqueeze": lambda t: t.unsqueeze(0),
    "squeeze": lambda t: t.squeeze(),
    "view(-1)": lambda t: t.view(-1),
    "reshape(-1)": lambda t: t.reshape(-1),
    "flatten": lambda t: t.flatten(),
    "diagonal": lambda t: t.diagonal(),
    "expand_as itself": lambda t: t.expand_as(t),
    "narrow": lambda t: t.narrow(-1, 0, 1),
    "select": lambda t: t.select(-1, 0),
    "unfold": lambda t: t.unfold(0, 2, 1),
    "expand": lambda t: t.expand(2, *t.shape),
    "split": lambda t: t.split(1)[0],
    "unbind": lambda t: t.unbind(0)[-1],
    "detach": lambda t: t.detach(),
}


def leaf(*shape):
    n = int(np.prod(shape))
    return minitorch.arange(1.0, n + 1.0, dtype=minitorch.float64).reshape(shape).requires_grad_()


def tensor(values, **options):
    return minitorch.tensor(values, dtype=minitorch.float64, **options)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory_and_counter(name):
    base = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    view = VIEWS[name](base)
    assert np.shares_memory(view.numpy(), base.numpy())
    version = view._version
    base.fill_(7.0)
    assert (view.numpy() == 7.0).all() and view._version == base._version == version + 1


def test_copies_do_not_share():
    base = tensor([[1.0, 2.0], [3.0, 4.0]])
    for copy in (base.t().reshape(4), base[[0, 1]], base[base > 0], base.clone(), base * 1, base.flip(0)):
        copy.fill_(0)
    assert base.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("name", [name for name in VIEWS if name not in ("expand", "split", "unbind", "unfold")])
def test_writing_to_a_view_writes_to_the_base(name):
    base = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    view = VIEWS[name](base)
    view.fill_(9.0)
    assert (base.numpy() == 9.0).sum() == view.numel()


# --- gradients -------------------------------------------------------------------------------------------------------


def test_a_change_of_the_base_reaches_its_views():
    x = leaf(3)
    y = x * 1
    v = y[1:]
    y.mul_(10)
    assert v.tolist() == [20.0, 30.0] and v.requires_grad and not v.is_leaf
    (v * tensor([1.0, 2.0])).sum().backward()
    assert x.grad.tolist() == [0.0, 10.0, 20.0]


def test_a_change_of_a_view_reaches_the_base():
    x = leaf(3)
    y = x * 1
    y[1:].mul_(10)
    (y * tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [1.0, 20.0, 30.0]


def test_a_chain_of_views():
    """The transpose of a slice of a reshape, changed in place."""
    x = leaf(6)
    y = x * 1
    v = y.reshape(2, 3)[:, 1:].t()  # [[2, 5], [3, 6]]
    assert v.tolist() == [[2.0, 5.0], [3.0, 6.0]]
    v.mul_(tensor([[1.0, 10.0], [100.0, 1000.0]]))
    assert y.tolist() == [1.0, 2.0, 300.0, 4.0, 50.0, 6000.0]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 100.0, 1.0, 10.0, 1000.0]


def test_several_views_of_one_base():
    x = leaf(4)
    y = x * 1
    a, b, c = y[:2], y[1:3], y.view(2, 2)
    a.mul_(2)  # y = 2x0, 2x1, x2, x3
    b.mul_(b.detach().clone())  # y1 * 4, y2 * 3
    assert c.tolist() == [[2.0, 16.0], [9.0, 4.0]]
    c.sum().backward()
    assert x.grad.tolist() == [2.0, 8.0, 3.0, 1.0]


def test_views_of_views_changed_at_every_level():
    x = leaf(2, 3)
    y = x * 1
    v = y[1]
    w = v[1:]
    y.mul_(2)
    v.add_(w[0])  # row 1 gets its own second element, as it is now
    w.mul_(3)
    expected = [[2.0, 4.0, 6.0], [18.0, 60.0, 66.0]]
    assert y.tolist() == expected and v.tolist() == expected[1] and w.tolist() == expected[1][1:]
    (w * tensor([1.0, 10.0])).sum().backward()  # 3 (y1 + y1) + 30 (y2 + y1), y = 2x
    assert x.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, 72.0, 60.0]]


def test_the_old_value_of_an_overwritten_part_gets_no_gradient():
    x, w = leaf(3), leaf(2)
    y = x * 1
    v = y[:2]
    v.copy_(w)
    (y * y).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 6.0] and w.grad.tolist() == [2.0, 4.0]


def test_constants_written_over_everything():
    x = leaf(3)
    for write in (lambda y: y.zero_(), lambda y: y.fill_(2.0), lambda y: y.copy_(tensor([1.0, 2.0, 3.0])),
                  lambda y: y.uniform_(), lambda y: y.__setitem__(slice(None), 1.0)):  # fmt: skip
        x.grad = None
        y = x * 1
        v = y[1:]
        write(y)
        assert y.requires_grad and v.requires_grad
        (y.sum() + v.sum()).backward()
        assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_a_plain_buffer_takes_a_part_that_requires_grad():
    w = leaf(3)
    buffer = minitorch.zeros(2, 3, dtype=minitorch.float64)
    above, below = buffer[0], buffer[1]
    below.copy_(w * 2)
    assert buffer.requires_grad and above.requires_grad and below.requires_grad and not buffer.is_leaf
    (buffer * tensor([[5.0, 5.0, 5.0], [1.0, 2.0, 3.0]])).sum().backward()
    assert w.grad.tolist() == [2.0, 4.0, 6.0]


def test_a_loop_that_fills_a_buffer():
    """The usual way to unroll a recurrence."""
    x = leaf(1)
    states = minitorch.zeros(5, 1, dtype=minitorch.float64)
    h = x * 1
    for t in range(5):
        h = h * 2
        states[t] = h
    assert states.flatten().tolist() == [2.0, 4.0, 8.0, 16.0, 32.0]
    (states * tensor([[1.0], [0.0], [1.0], [0.0], [1.0]])).sum().backward()
    assert x.grad.tolist() == [2.0 + 8.0 + 32.0]


INDICES = {
    "integer": 1,
    "negative integer": -1,
    "slice": slice(0, 2),
    "steps": (slice(None), slice(0, None, 2)),
    "ellipsis": (Ellipsis, 0),
    "new axis": (None, 1),
    "list": [0, 2],
    "tensor": lambda: minitorch.tensor([2, 0]),
    "two tensors": lambda: (minitorch.tensor([0, 1]), minitorch.tensor([2, 1])),
    "broadcast tensors": lambda: (minitorch.tensor([[0], [2]]), minitorch.tensor([0, 1])),
    "tensor and slice": lambda: (slice(1, None), minitorch.tensor([1, 0])),
    "tensor between slices": lambda: (minitorch.tensor([1, 0]), slice(None)),
    "mask": lambda: tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, -1.0]]) > 0,
    "mask of rows": lambda: minitorch.tensor([True, False, True]),
    "NumPy array": np.array([0, 2]),
    "0-d tensor": lambda: minitorch.tensor(1),
    "boolean": True,
    "everything": Ellipsis,
}


@pytest.mark.parametrize("name", INDICES)
def test_setitem_inside_a_graph(name):
    """y[i] = w: the gradient of y's old values is 0 there, w's is what is there; w is broadcast, too."""
    index = INDICES[name]
    index = index() if callable(index) else index
    numpy_index = index
    if isinstance(index, minitorch.Tensor):
        numpy_index = index.numpy()
    elif isinstance(index, tuple):
        numpy_index = tuple(i.numpy() if isinstance(i, minitorch.Tensor) else i for i in index)
    values = np.arange(1.0, 10.0).reshape(3, 3)
    shape = values[numpy_index].shape
    c = np.random.default_rng(0).standard_normal((3, 3))
    there = np.zeros((3, 3))
    there[numpy_index] = 1
    for w_shape in {shape, shape[-1:], (), (1, *shape), (1, 1)}:
        x = minitorch.from_numpy(values).requires_grad_()
        w_values = np.random.default_rng(1).standard_normal(w_shape)
        w = minitorch.from_numpy(np.asarray(w_values)).requires_grad_()
        y = x * 1
        y[index] = w * 2
        expected = values.copy()
        expected[numpy_index] = np.broadcast_to(w_values * 2, (1, 1, *shape)).reshape(shape)
        np.testing.assert_array_equal(y.detach().numpy(), expected)
        (y * minitorch.from_numpy(c)).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), c * (1 - there))
        part = c[numpy_index]
        part = part.reshape((1,) * (len(w_shape) - part.ndim) + part.shape)
        repeated = tuple(range(part.ndim - len(w_shape))) + tuple(d for d in range(-len(w_shape), 0) if w_shape[d] == 1)
        np.testing.assert_allclose(w.grad.numpy(), 2 * part.sum(repeated, keepdims=True).reshape(w_shape))


@pytest.mark.parametrize("name", INDICES)
def test_augmented_setitem(name):
    """y[i] *= 3: read, multiplied in place, written back."""
    index = INDICES[name]
    index = index() if callable(index) else index
    x = leaf(3, 3)
    y = x * 1
    y[index] *= 3
    (y * y).sum().backward()
    changed = y.detach().numpy() != x.detach().numpy()
    np.testing.assert_array_equal(y.detach().numpy(), np.where(changed, 3, 1) * x.detach().numpy())
    np.testing.assert_array_equal(x.grad.numpy(), np.where(changed, 18, 2) * x.detach().numpy())


def test_overlapping_parts():
    x = leaf(4)
    y = x * 1
    y[1:] = y[:-1]  # the old values, not those that are being written
    assert y.tolist() == [1.0, 1.0, 2.0, 3.0]
    (y * tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    assert x.grad.tolist() == [11.0, 100.0, 1000.0, 0.0]


# --- copy_ and dtypes ------------------------------------------------------------------------------------------------


def test_copy_broadcasts_and_converts():
    w = minitorch.tensor([1.5, 2.5], requires_grad=True)  # float32
    y = leaf(2, 2) * 1
    assert y.copy_(w) is y and y.dtype is minitorch.float64
    (y * tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert w.grad.tolist() == [4.0, 6.0] and w.grad.dtype is minitorch.float32
    integers = minitorch.zeros(2, dtype=minitorch.int64)
    integers.copy_(minitorch.tensor([1.9, -1.9]))
    assert integers.tolist() == [1, -1]
    integers[0] = minitorch.tensor(2.7)
    assert integers.tolist() == [2, -1]
    for shape in ((3,), (1, 2)):  # too long, and one dimension too many
        with pytest.raises(RuntimeError, match="expand"):
            leaf(2).clone().copy_(minitorch.zeros(shape))
    with pytest.raises(TypeError, match="int"):
        integers.copy_(3)


def test_copy_of_a_leaf_is_no_alias():
    w = leaf(2)
    y = minitorch.zeros(2, dtype=minitorch.float64)
    y.copy_(w)
    y.mul_(3)
    assert w.tolist() == [1.0, 2.0] and w.is_leaf
    y.sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]


def test_in_place_results_must_fit():
    x = minitorch.ones(2, dtype=minitorch.int64)
    with pytest.raises(RuntimeError, match="mul_.*float32.*int64"):
        x.mul_(1.5)
    with pytest.raises(RuntimeError, match="div_.*float32.*int64"):
        x.div_(2)
    with pytest.raises(RuntimeError, match="__iadd__.*float32"):
        x += 0.5
    with pytest.raises(RuntimeError, match="add_.*int64.*bool"):
        minitorch.ones(2, dtype=minitorch.bool).add_(1)
    assert x.tolist() == [1, 1] and x._version == 0  # refused before anything was written
    y = minitorch.ones(2, dtype=minitorch.float16)
    y.mul_(minitorch.full((2,), 1.5, dtype=minitorch.float64))  # category for category, precision may shrink
    assert y.dtype is minitorch.float16 and y.tolist() == [1.5, 1.5]
    small = minitorch.ones(2, dtype=minitorch.uint8)
    small += minitorch.tensor([300, 1])
    assert small.dtype is minitorch.uint8 and small.tolist() == [45, 2]
    with pytest.raises(RuntimeError, match=r"add_.*\(2, 2\).*\(2,\)"):
        minitorch.ones(2).add_(minitorch.ones(2, 2))


def test_in_place_with_another_precision_in_a_graph():
    x, w = minitorch.tensor([1.0, 2.0], requires_grad=True), leaf(2)
    y = x * 1
    y.mul_(w)
    assert y.dtype is minitorch.float32
    y.sum().backward()
    assert x.grad.dtype is minitorch.float32 and x.grad.tolist() == [1.0, 2.0]
    assert w.grad.dtype is minitorch.float64 and w.grad.tolist() == [1.0, 2.0]


# --- the saved value, and augmented assignment -----------------------------------------------------------------------


def test_an_op_in_place_keeps_the_value_that_its_gradient_needs():
    x = leaf(3)
    for change, slope in [
        (lambda y: y.mul_(y.detach().clone()), lambda v: v),
        (lambda y: y.sin_(), np.cos),
        (lambda y: y.pow_(3), lambda v: 3 * v**2),
        (lambda y: y.log_(), lambda v: 1 / v),
        (lambda y: y.exp_(), np.exp),
        (lambda y: y.mul_(y), lambda v: 2 * v),
        (lambda y: y.div_(y.detach() + 1), lambda v: 1 / (v + 1)),
    ]:
        x.grad = None
        y = x * 1
        change(y)
        y.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), slope(x.detach().numpy()))


def test_the_other_factor_needs_the_old_value():
    x, w = leaf(3), leaf(3)
    y = x * 1
    y.mul_(w)
    y.sum().backward()
    assert w.grad.tolist() == [1.0, 2.0, 3.0]
    assert grad((x * 1).mul_(w).mul_(w).sum(), w)[0].tolist() == [2.0, 8.0, 18.0]


def test_augmented_assignment():
    x = leaf(2)
    y = x * 1
    alias, version = y, y._version
    y += 1
    y -= x
    y *= 3
    y /= 2
    y **= 2
    assert y is alias and y._version == version + 5 and y.tolist() == [2.25, 2.25]
    z = y
    z = z + 1  # not in place
    assert z is not y and y.tolist() == [2.25, 2.25]
    with minitorch.no_grad():
        x += 10
    assert x.tolist() == [11.0, 12.0] and x.is_leaf and x.requires_grad


# --- what is refused -------------------------------------------------------------------------------------------------


def test_leaves_are_not_changed_while_recording():
    x = leaf(2)
    for change in (lambda: x.add_(1), lambda: x.__setitem__(0, 1.0), lambda: x.zero_(), lambda: x.__imul__(2)):
        with pytest.raises(RuntimeError, match="(?s)leaf.*requires grad.*no_grad"):
            change()
    for view in (x[0:1], x.view(2, 1), x.detach().requires_grad_()):
        with pytest.raises(RuntimeError, match="leaf"):
            view.mul_(2)
    plain = minitorch.zeros(2, dtype=minitorch.float64)
    part = plain[0:1].requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        part.mul_(2)
    assert x.tolist() == [1.0, 2.0]
    with minitorch.no_grad():
        x[0] = 5.0
    assert x.tolist() == [5.0, 2.0]


def test_expanded_tensors_are_not_written():
    y = leaf(3) * 1
    for shared in (y.expand(2, 3), y.view(1, 3).expand(4, 3)[1:], y.unfold(0, 2, 1)):
        with pytest.raises(RuntimeError, match="mul_.*expanded.*clone"):
            shared.mul_(2)
    y.expand(1, 3).mul_(2)  # nothing is repeated
    assert y.tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("name", ["split", "chunk", "unbind", "iteration", "a single part"])
def test_one_of_several_views_is_not_changed(name):
    make = {
        "split": lambda y: y.split(1),
        "chunk": lambda y: y.chunk(3),
        "unbind": lambda y: y.unbind(),
        "iteration": lambda y: list(y),
        "a single part": lambda y: y.split(3),
    }[name]
    x = leaf(3)
    y = x * 1
    part = make(y)[0]
    with pytest.raises(RuntimeError, match="(?s)mul_.*several views.*clone"):
        part.mul_(2)
    part.clone().mul_(2)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="(?s)several views.*modified in place"):
        part.sum()
    assert "grad_fn=<Invalid>" in repr(part)
    plain = tensor([1.0, 2.0, 3.0])
    make(plain)[0].mul_(2)  # nothing to get wrong without gradients
    assert plain.tolist()[0] == 2.0


def test_views_made_without_gradients_are_not_changed_with_them():
    x = leaf(3)
    y = x * 1
    with minitorch.no_grad():
        view = y[1:]
    with pytest.raises(RuntimeError, match="no_grad"):
        view.mul_(2)
    with minitorch.no_grad():
        view.mul_(2)
    assert y.tolist() == [1.0, 4.0, 6.0]


def test_asking_a_view_without_gradients_does_not_end_its_graph():
    x = leaf(3)
    y = x * 1
    v = y[1:]
    y.mul_(2)
    with minitorch.no_grad():
        assert v.requires_grad
        v * 2
    v.sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 2.0]


def test_read_only_arrays():
    array = np.ones(3)
    array.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        minitorch.from_numpy(array).add_(1)


# --- versions --------------------------------------------------------------------------------------------------------

SAVED = {
    "Mul": (lambda y: y * y.sin(), lambda y: y.add_(1)),
    "Exp": (lambda y: y.exp(), None),
    "Softmax": (lambda y: y.softmax(0), None),
    "MatMul": (lambda y: y @ (y * 2).clone().t(), lambda y: y.zero_()),
    "PowNumber": (lambda y: y**3, lambda y: y[0].mul_(2)),
    "Log": (lambda y: y.log(), lambda y: y.view(-1)[0:1].fill_(3)),
    "Div": (lambda y: 1 / y, lambda y: y.detach().mul_(2)),
    "LayerNorm": (lambda y: minitorch.layer_norm(y, (3,)), lambda y: y.copy_(y.clone())),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_changed_saved_value_is_reported_with_the_ops_name(name):
    compute, change = SAVED[name]
    y = leaf(2, 3) * 1
    with minitorch.reference_ops():
        z = compute(y)
        total = z.sum()
        (change or (lambda _: z.mul_(2)))(y)
        what = "output 0" if change is None else "input"
        with pytest.raises(RuntimeError, match=f"(?s)gradient of {name} has been modified.*{what}.*version 1.*clone"):
            total.backward()


def test_changes_that_no_gradient_needs_are_allowed():
    x = leaf(3)
    y = x * 1
    z = y + 1
    y.zero_()
    z.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_a_version_counts_each_change_once():
    y = leaf(4) * 1
    v = y.view(2, 2)[0]
    assert y._version == 0
    y.add_(1)
    v.mul_(2)
    y[0] = 3.0
    y.detach().zero_()
    with minitorch.no_grad():
        v.fill_(1.0)
    assert y._version == v._version == 5
    y.data.zero_()  # the graph is not told
    assert y._version == 5
    y.bump_version()
    assert v._version == 6


def test_index_tensors_may_change():
    """PyTorch refuses these; here the graph keeps the indices that were used."""
    x = leaf(3)
    index, mask = minitorch.tensor([0, 1]), minitorch.tensor([True, False, False])
    outputs = [x[index], x.gather(0, index), x[mask], x.index_select(0, index), x.masked_select(mask)]
    written = x * 1
    written[index] = 0.0
    target = minitorch.tensor([0])
    outputs += [written, minitorch.nn.functional.cross_entropy(x.view(1, 3), target, reduction="none")]
    expected = [grad(out.sum(), x, retain_graph=True)[0].tolist() for out in outputs]
    index.add_(1)
    mask.fill_(True)
    target.fill_(2)
    assert [grad(out.sum(), x)[0].tolist() for out in outputs] == expected


# --- random programs -------------------------------------------------------------------------------------------------


def setitem(t, index, value):
    t[index] = value


OPS = {
    "mul": lambda t, o, w: t * w,
    "square": lambda t, o, w: t * t,
    "times other": lambda t, o, w: t * o,
    "exp": lambda t, o, w: (t * 0.3).exp(),
    "sin": lambda t, o, w: t.sin(),
    "softmax": lambda t, o, w: t.softmax(0),
    "clone": lambda t, o, w: t.clone(),
    "plus other": lambda t, o, w: t + o,
}
WRITES = {
    "mul_ number": lambda t, o, w: t.mul_(0.7),
    "mul_": lambda t, o, w: t.mul_(w),
    "mul_ other": lambda t, o, w: t.mul_(o),
    "add_": lambda t, o, w: t.add_(w, alpha=2),
    "add_ other": lambda t, o, w: t.add_(o),
    "sub_ half of itself": lambda t, o, w: t.sub_(t * 0.5),
    "mul_ itself": lambda t, o, w: t.mul_(t),
    "div_": lambda t, o, w: t.div_(1.5 + w * w),
    "sin_": lambda t, o, w: t.sin_(),
    "exp_": lambda t, o, w: t.mul_(0.3).exp_(),
    "tanh_": lambda t, o, w: t.tanh_(),
    "pow_": lambda t, o, w: t.pow_(2),
    "neg_": lambda t, o, w: t.neg_(),
    "zero_": lambda t, o, w: t.zero_(),
    "fill_": lambda t, o, w: t.fill_(0.5),
    "copy_": lambda t, o, w: t.copy_(w),
    "copy_ other": lambda t, o, w: t.copy_(o),
    "masked_fill_": lambda t, o, w: t.masked_fill_(w > 0, 0.25),
    "[0] =": lambda t, o, w: setitem(t, 0, 1.5),
    "[0] = other": lambda t, o, w: setitem(t, 0, o),
    "[1:] =": lambda t, o, w: setitem(t, slice(1, None), w[1:] * 2),
    "[..., 0] *=": lambda t, o, w: setitem(t, (Ellipsis, 0), t[..., 0] * 3),
    "[mask] =": lambda t, o, w: setitem(t, w > 0, 0.75),
    "[list] =": lambda t, o, w: setitem(t, [0], w[:1]),
    "[:] = other": lambda t, o, w: setitem(t, slice(None), o),
    "+=": lambda t, o, w: t.__iadd__(w),
    "*= other": lambda t, o, w: t.__imul__(o),
}
SHAPES = [(2, 3), (3,), (3, 3), (2, 1, 3)]


def program(seed, plain=False):
    """Random steps: (kind, name, which of the tensors held, which other, under no_grad). plain: only what can be
    differentiated by differences: nothing that a gradient is not told of."""
    rng = random.Random(seed)
    steps = []
    for _ in range(rng.randint(3, 8)):
        draw, which, other = rng.random(), rng.randrange(1, 8), rng.randrange(8)
        which = 0 if rng.random() < 0.03 else which
        if draw < 0.4:
            name, off = rng.choice(list(VIEWS)), rng.random() < 0.05
            steps.append(("view", "transpose" if plain and name == "detach" else name, which, other, off and not plain))
        elif draw < 0.55:
            steps.append(("op", rng.choice(list(OPS)), which, other, False))
        else:
            steps.append(("write", rng.choice(list(WRITES)), which, other, rng.random() < 0.06 and not plain))
    return steps


def noise(lib, seed, shape):
    return lib.from_numpy(np.random.default_rng(seed).uniform(-1, 1, tuple(shape)))


class Refused(Exception):
    pass


def run(lib, steps, start, constant):
    """Runs a program; returns x, a scalar made of all tensors that it holds, and their values after each step."""
    x = lib.from_numpy(start.copy()).requires_grad_()
    held = [x, x * 1.0, lib.from_numpy(constant.copy())]
    values = []
    for n, (kind, name, which, other, off) in enumerate(steps):
        t, o = held[which % len(held)], held[other % len(held)]
        try:
            w = noise(lib, n, t.shape)
            with lib.set_grad_enabled(not off):
                if kind == "view":
                    held.append(VIEWS[name](t))
                elif kind == "op":
                    held.append(OPS[name](t, o, w))
                else:
                    WRITES[name](t, o, w)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise Refused(n, f"{kind} {name}", str(error)) from None
        values.append([h.detach().numpy().copy() for h in held])
    try:
        total = sum(((h * h.cos()) * noise(lib, 1000 + n, h.shape)).sum() for n, h in enumerate(held))
    except RuntimeError as error:
        raise Refused(len(steps), "reading", str(error)) from None
    return x, total, values


def gradients(lib, x, total):
    """The gradient of total, and the gradient of that along a random direction."""
    if not total.requires_grad:
        return None, None
    (g,) = lib.autograd.grad(total, x, create_graph=True, allow_unused=True)
    second = None
    if g is not None and g.requires_grad:
        (second,) = lib.autograd.grad((g * noise(lib, 77, g.shape)).sum(), x, allow_unused=True)
    return tuple(None if t is None else t.detach().numpy() for t in (g, second))


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_random_programs_against_differences(start):
    """d total along u, and d <g, v> along u, by central differences through the whole program."""
    compared = 0
    for seed in range(start, start + 100):
        steps = program(seed, plain=True)
        shape = SHAPES[seed % len(SHAPES)]
        rng = np.random.default_rng(seed)
        a, c, u = (rng.uniform(-1, 1, shape) for _ in range(3))
        v = np.random.default_rng(77).uniform(-1, 1, shape)
        try:
            found = gradients(minitorch, *run(minitorch, steps, a, c)[:2])
        except (Refused, RuntimeError):
            continue  # whether it should be is PyTorch's to say, below
        if found[0] is None:
            continue
        h = 1e-5
        ends = [run(minitorch, steps, a + s * h * u, c) for s in (1, -1)]
        numeric = (ends[0][1].item() - ends[1][1].item()) / (2 * h)
        context = f"seed {seed}: {steps}"
        np.testing.assert_allclose((found[0] * u).sum(), numeric, rtol=1e-6, atol=1e-7, err_msg=context)
        slopes = [gradients(minitorch, x, total)[0] for x, total, _ in ends]
        numeric = ((slopes[0] - slopes[1]) * v).sum() / (2 * h)
        second = 0.0 if found[1] is None else (found[1] * u).sum()
        np.testing.assert_allclose(second, numeric, rtol=1e-5, atol=1e-6, err_msg=context)
        compared += 1
    assert compared > 20


# Programs that only one of the two refuses: words of the refusal -> why.
ONLY_PYTORCH_REFUSES = {
    "modified by an inplace operation": "an op in place saved its own input or output there; here it has kept a copy "
    "(mul_ by itself, exp_ and then another change), so the gradient is right: the differences above say so",
    "refer to a single memory location": "an operand overlaps the tensor that is written; here it is read first",
    "A view was created in no_grad mode": "reading such a view after its base was changed; here it follows the base",
    "a leaf Variable that requires grad is being used": "a view of a plain buffer, changed after its buffer had taken "
    "a part that requires gradients; PyTorch takes the view for a leaf",
    "This view is the output of a function that returns multiple views": "the base was changed under no_grad, which "
    "changes no gradient, or the part is not used afterwards",
}  # fmt: skip
ONLY_MINITORCH_REFUSES = {
    "expanded tensor": "a part of an expanded tensor that by itself repeats nothing (x.expand(2, 3)[0])",
    "one of several views that one operation returned": "at the reading; PyTorch refuses the backward pass",
}


def outcome(lib, steps, a, c):
    """(step, words) of a refusal, else the values and gradients."""
    try:
        x, total, values = run(lib, steps, a, c)
    except Refused as refusal:
        return refusal.args[0], refusal.args[2], None
    try:
        return len(steps), "", (values, gradients(lib, x, total))
    except RuntimeError as error:
        return len(steps), str(error), None


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("start", range(0, 1200, 100))
def test_random_programs_beside_pytorch(start):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    count = collections.Counter()
    for seed in range(start, start + 100):
        steps = program(seed)
        rng = np.random.default_rng(seed)
        a, c = (rng.uniform(-1, 1, SHAPES[seed % len(SHAPES)]) for _ in range(2))
        (at, ours, mine), (there, theirs, its) = outcome(minitorch, steps, a, c), outcome(torch, steps, a, c)
        context = f"seed {seed}: {steps}; minitorch: {ours or 'runs'}; PyTorch: {theirs or 'runs'}"
        if ours and theirs and at == there:
            count["both refuse"] += 1
        elif theirs and (not ours or there < at):
            assert any(words in theirs for words in ONLY_PYTORCH_REFUSES), context
            count["only PyTorch"] += 1
        elif ours:
            assert any(words in ours for words in ONLY_MINITORCH_REFUSES), context
            count["only minitorch"] += 1
        else:
            if not overlapping_product(steps):
                for after, expected in zip(mine[0], its[0], strict=True):
                    for value, other in zip(after, expected, strict=True):
                        np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-12, err_msg=context)
            for g, expected in zip(mine[1], its[1], strict=True):
                assert (g is None) == (expected is None), context
                if g is not None:
                    np.testing.assert_allclose(g, expected, rtol=1e-8, atol=1e-10, err_msg=context)
            count["equal"] += 1
    assert count["equal"] > 15 and count["both refuse"] > 15, count


def overlapping_product(steps):
    """PyTorch's result depends on the order of its loop where a tensor is multiplied by a broadcast part of itself."""
    return any(name in ("mul_ other", "*= other") for _, name, *_ in steps)
