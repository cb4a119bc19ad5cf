"""Random programs of views and in-place changes: values as NumPy's shared memory gives them, gradients by differences.

A program starts from y = 1 * x and does random steps: take a view of something it has, change something in place, read
something into the total. The same steps run on NumPy arrays, whose views share memory as PyTorch's do. The gradient of
the total with respect to x is compared with central differences through the NumPy program.
"""

import numpy as np
import pytest

import minitorch

VIEWS = [
    ("first", lambda t: t[0, ...], lambda t: t.ndim > 0 and t.shape[0] > 0),
    ("tail", lambda t: t[1:], lambda t: t.ndim > 0 and t.shape[0] > 1),
    ("every second", lambda t: t[..., ::2], lambda t: t.ndim > 0),
    ("transpose", lambda t: t.swapaxes(0, 1) if isinstance(t, np.ndarray) else t.transpose(0, 1), lambda t: t.ndim > 1),
    ("new axis", lambda t: t[:, None], lambda t: t.ndim > 0 and t.ndim < 4),
    ("flat", lambda t: t.reshape(-1), lambda t: t.flags.c_contiguous),
    ("diagonal", lambda t: t.diagonal(), lambda t: t.ndim == 2 and min(t.shape) > 0),
    ("squeeze", lambda t: t.squeeze(), lambda t: t.ndim > 1),
]


def writable(array):
    if not array.flags.writeable:  # np.diagonal
        array.flags.writeable = True
    return array


def set_part(t, w):
    t[slice(0, 1) if t.ndim else Ellipsis] = 1.5


def copy_part(t, w):
    if t.ndim:
        t[0:1] = t[-1:] * 2


CHANGES = [
    ("mul_ number", lambda t, w: t.mul_(0.7), lambda a, w: np.multiply(a, 0.7, out=a)),
    ("add_ constant", lambda t, w: t.add_(w(t)), lambda a, w: np.add(a, w(a), out=a)),
    ("mul_ constant", lambda t, w: t.mul_(w(t)), lambda a, w: np.multiply(a, w(a), out=a)),
    ("sin_", lambda t, w: t.sin_(), lambda a, w: np.sin(a, out=a)),
    ("zero_", lambda t, w: t.zero_(), lambda a, w: a.fill(0)),
    ("copy_ of itself", lambda t, w: t.copy_(t.clone().cos()), lambda a, w: a.__setitem__(..., np.cos(a))),
    ("set a part", set_part, set_part),
    ("set a part to another", copy_part, copy_part),
    ("masked", lambda t, w: t.masked_fill_(w(t) > 0, 0.5), lambda a, w: a.__setitem__(w(a) > 0, 0.5)),
]  # fmt: skip


def weights(seed, shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


def program(seed, start, lib=minitorch):
    """Runs the program on an array or a tensor; the steps depend on the seed and on shapes only."""
    rng = np.random.default_rng(seed)
    tensor = not isinstance(start, np.ndarray)
    shadow = np.zeros(tuple(start.shape))  # decides which steps are possible
    held = [(start * 1.0, shadow)]
    total = (held[0][0] * 0.0).sum()
    trace = []
    for step in range(int(rng.integers(4, 12))):
        value, form = held[int(rng.integers(len(held)))]
        kind = rng.random()
        if kind < 0.4:
            label, take, possible = VIEWS[int(rng.integers(len(VIEWS)))]
            if possible(form):
                view = take(value)
                held.append((view if tensor else writable(view), writable(take(form))))
                trace.append(f"v{len(held) - 1} = {label}")
        elif kind < 0.8:
            label, on_tensor, on_array = CHANGES[int(rng.integers(len(CHANGES)))]
            number = seed * 100 + step

            def w(like, number=number):
                array = weights(number, tuple(like.shape))
                return array if isinstance(like, np.ndarray) else lib.from_numpy(array)

            (on_tensor if tensor else on_array)(value, w)
            trace.append(f"{label} on v{[id(h[1]) for h in held].index(id(form))}")
        else:
            factor = weights(seed * 100 + step, tuple(form.shape))
            total = total + (value * (lib.from_numpy(factor) if tensor else factor)).sum()
            trace.append("read")
    for i, (value, form) in enumerate(held):
        factor = weights(seed + 7 * i, tuple(form.shape))
        total = total + (value * (lib.from_numpy(factor) if tensor else factor)).sum()
    return total, trace


@pytest.mark.parametrize("start", range(0, 300, 25))
def test_random_programs(start):
    for seed in range(start, start + 25):
        shape = [(3, 4), (2, 3, 2), (4,), (3, 3), (1, 4)][seed % 5]
        a = weights(seed, shape)
        x = minitorch.from_numpy(a.copy()).requires_grad_()
        total, trace = program(seed, x)
        expected, _ = program(seed, a)
        np.testing.assert_allclose(total.item(), expected, rtol=1e-11, atol=1e-11, err_msg=str(trace))
        (g,) = minitorch.autograd.grad([total], [x])
        v = weights(seed + 1, shape)
        h = 1e-4
        along = [program(seed, a + k * h * v)[0] for k in (1, -1, 2, -2)]
        numeric = (8 * (along[0] - along[1]) - (along[2] - along[3])) / (12 * h)
        np.testing.assert_allclose(
            (g.numpy() * v).sum(), numeric, rtol=1e-6, atol=1e-7, err_msg=f"seed {seed}: {trace}"
        )


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(0, 300, 10))
def test_random_programs_are_pytorchs(seed, torch_library):
    """The same programs, in PyTorch: none is refused there that runs here, and the gradients are equal."""
    a = weights(seed, (3, 4))
    gradients = []
    for lib in (torch_library.module, minitorch):
        x = lib.from_numpy(a.copy()).requires_grad_()
        total, _ = program(seed, x, lib)
        total.backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)
