"""After the first step the bias has become a matrix, one bias for each example. Nothing complains until the batch ends.

A linear layer in plain NumPy. Tool: the library's gradients of the same numbers.        Needs lessons 01 and 02.
"""

import numpy as np

import minitorch


def broken(x, W, b, dy):
    """The gradients of y = x W + b.           x: (N, D)   W: (D, C)   b: (C,)   y, dy: (N, C)"""
    return dy @ W.T, x.T @ dy, dy


def numbers():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in ((5, 4), (4, 3), (3,), (5, 3))]


def symptom(backward):
    x, W, b, dy = numbers()
    _, _, db = backward(x, W, b, dy)
    b = b - 0.1 * db  # a step of gradient descent
    assert b.shape == (3,)


def examine(backward):
    x, W, b, dy = numbers()
    inputs = [minitorch.tensor(a, requires_grad=True) for a in (x, W, b)]
    y = inputs[0] @ inputs[1] + inputs[2]
    library = minitorch.autograd.grad(y, inputs, minitorch.from_numpy(dy))
    for name, ours, right in zip(("dx", "dW", "db"), backward(x, W, b, dy), library):
        assert ours.shape == tuple(right.shape), f"{name} has shape {ours.shape}, the library's {tuple(right.shape)}"
        assert np.allclose(ours, right.numpy()), f"{name} differs from the library's"


# --- the answer ----------------------------------------------------------------------------------------------------
# b was broadcast: it is read once for every row, so its gradient is the sum over the rows.


def fixed(x, W, b, dy):
    return dy @ W.T, x.T @ dy, dy.sum(0)
