"""The matrix products of a step alone, with np.matmul on arrays of the same shapes: no program that does them through
NumPy can be faster. Results go into arrays that are there already, so that nothing but products is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

# The shapes of two arrays, and whether the last two dimensions of each are swapped first.
Product = tuple[tuple[int, ...], bool, tuple[int, ...], bool]


def linear(rows: int, inputs: int, outputs: int, train: bool = True) -> list[Product]:
    """y = x W^T; dx = dy W; dW = dy^T x."""
    x, W, y = (rows, inputs), (outputs, inputs), (rows, outputs)
    return [(x, False, W, True)] + ([(y, False, W, False), (y, True, x, False)] if train else [])


def feed_forward(rows: int, width: int, train: bool = True) -> list[Product]:
    return linear(rows, width, 4 * width, train) + linear(rows, 4 * width, width, train)


def attention(n: int, T: int, d: int, train: bool = True) -> list[Product]:
    """s = q k^T; y = a v; da = dy v^T; dv = a^T dy; dq = ds k; dk = ds^T q. In full, also where half is masked."""
    q, s = (n, T, d), (n, T, T)
    forward = [(q, False, q, True), (s, False, q, False)]
    return forward + ([(q, False, q, True), (s, True, q, False), (s, False, q, False), (s, True, q, False)] if train else [])  # fmt: skip


def program(products: Iterable[Product]) -> Callable[[], None]:
    """A function that does them all once."""
    rng = np.random.default_rng(0)
    made: dict[tuple[int, ...], Any] = {}
    calls = []

    def array(shape, swapped):
        if shape not in made:
            made[shape] = rng.standard_normal(shape, dtype=np.float32)
        return made[shape].swapaxes(-1, -2) if swapped else made[shape]

    results: dict[tuple[int, ...], Any] = {}
    for a, swap_a, b, swap_b in products:
        left, right = array(a, swap_a), array(b, swap_b)
        shape = (*left.shape[:-1], right.shape[-1])
        calls.append((left, right, results.setdefault(shape, np.empty(shape, np.float32))))

    def run():
        for left, right, result in calls:
            np.matmul(left, right, out=result)

    return run


def operations(products: Iterable[Product]) -> int:
    """Multiplications and additions."""
    total = 0
    for a, swap_a, b, swap_b in products:
        n, k = (a[-1], a[-2]) if swap_a else (a[-2], a[-1])
        total += 2 * int(np.prod(a[:-2], dtype=np.int64)) * n * k * (b[-2] if swap_b else b[-1])
    return total
