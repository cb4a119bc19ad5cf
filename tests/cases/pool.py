"""Pooling: windows' maxima and means, fixed and adaptive."""

import numpy as np

from tests.cases.table import E, S, distinct, edge, positive, rough, row

F = "nn.functional."
LONG = (7, 6, 5)


def windows(n, dilation):
    yield from (
        {"kernel_size": 2},
        {"kernel_size": (3, 2, 2)[:n], "stride": (1, 2, 1)[:n]},
        {"kernel_size": 3, "stride": 2, "padding": 1},
    )
    yield from (
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
        {"kernel_size": 1, "stride": 2},
    )
    if dilation:
        yield from (
            {"kernel_size": 2, "stride": 1, "dilation": 2},
            {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 3, "ceil_mode": True},
        )


def too_small(n):
    x, long = (2, 3, *LONG[:n]), LONG[:n]
    return lambda d: [
        E(f"(?s){n + 1}D.*{n + 2}D", d(3), 2), E("(?s)pad.*half.*2", d(*x), 2, padding=2), E("(?s)too small", d(*x), 8), E("(?s)kernel_size.*0", d(*x), 0), E("(?s)stride.*0", d(*x), 2, stride=0),
        E("(?s)kernel_size", d(*x), (2,) * (n + 1)), E("(?s)integer", d(*x), 2.5), E("(?s)too small|non-zero|0", d(2, 0, *long), 2),
    ]  # fmt: skip


for n in (1, 2, 3):
    LONG_N, MAX, AVG = LONG[:n], f"max_pool{n}d", f"avg_pool{n}d"

    def maxima(d, n=n, long=LONG_N):
        yield from (S(d(2, 2, *long), **o) for o in windows(n, True))
        yield from (
            S(d(2, *long), 2),
            S(d(2, 2, *long), 3, 2, 1, return_indices=True),
            S(d(2, *long), 2, return_indices=True),
            S(d.transposed(2, 2, *long), 2),
            S(d.flipped(2, 2, *long), 2),
            S(d(0, 2, *long), 2),
            S(d(2, 2, *long), 1, return_indices=True),
        )
        yield from (
            rough(d.ties(2, 2, *long), 3, 1, 1, return_indices=True),
            edge(np.where(d.bool(2, 2, *long), np.nan, d.ties(2, 2, *long)), 2, 1, return_indices=True),
        )
        yield from (
            rough(np.full((1, 1, *long), -np.inf), 3, 2, 1, return_indices=True),
            *((edge(d.int(2, 2, *long), 2, 1, 1),) if n > 1 else ()),
        )

    row(F + MAX, maxima, domain=distinct, result=None, errors=too_small(n))

    def means(d, n=n, long=LONG_N):
        yield from (S(d(2, 2, *long), **o, count_include_pad=inc) for o in windows(n, False) for inc in (True, False))
        yield from (
            S(d(2, *long), 2),
            S(d.transposed(2, 2, *long), 2),
            S(d.flipped(2, 2, *long), 3, 1, 1),
            S(d(0, 2, *long), 2),
            rough(np.where(d.bool(1, 1, *long), np.inf, 1.0), 2),
        )
        if n > 1:
            yield from (S(d(2, 2, *long), 2, divisor_override=3), S(d(2, 2, *long), 3, 2, 1, True, False, 5))

    row(
        F + AVG,
        means,
        errors=lambda d, n=n: (
            too_small(n)(d) + ([E("(?s)divisor.*zero", d(1, 1, *LONG[:n]), 2, divisor_override=0)] if n > 1 else [])
        ),
    )


def adaptive(n, more):
    def make(d):
        long = (7, 6, 4)[:n]
        for out in (1, 3, 2, (5, 3, 2)[:n], (7, 9, 5)[:n], *(((None, 2, None)[:n],) if n > 1 else ())):
            yield S(d(2, 2, *long), out)
        yield from (
            S(d(2, *long), 2),
            S(d.transposed(2, 2, *long), 3),
            S(d.flipped(2, 2, *long), 4),
            edge(d(2, 2, *long), 0),
            S(d(0, 2, *long), 2),
        )
        yield from more(d, long)

    return make


def adaptive_mistakes(n):
    long = (7, 6, 4)[:n]
    return lambda d: [
        E(f"(?s){n + 1}D.*{n + 2}D", d(3), 2),
        E("(?s)output_size", d(2, 2, *long), (2,) * (n + 1)),
        E("(?s)non-zero", d(2, 2, *(0,) * n), 2),
        E("(?s)output_size.*-1", d(2, 2, *long), -1),
    ]


for n in (1, 2, 3):
    row(
        F + f"adaptive_avg_pool{n}d",
        adaptive(
            n, lambda d, long: [rough(np.where(np.arange(np.prod(long)).reshape(1, 1, *long) == 3, np.inf, 1.0), 4)]
        ),
        tol=4,
        errors=adaptive_mistakes(n),
    )
for n in (1, 2):
    row(
        F + f"adaptive_max_pool{n}d",
        adaptive(
            n,
            lambda d, long: [
                S(d(2, 2, *long), 3, return_indices=True),
                S(d(2, *long), 2, return_indices=True),
                rough(d.ties(2, 2, *long), 4, return_indices=True),
                edge(np.where(d.bool(2, 2, *long), np.nan, 1.0), 3),
            ],
        ),
        domain=distinct,
        result=None,
        errors=lambda d, n=n: [*adaptive_mistakes(n)(d), E("(?s)non-zero", d(2, 0, *(3,) * n), 2)],
    )

row(F + "max_unpool1d", lambda d: [S(d(2, 2, 3), np.array([[[0, 3, 4], [1, 2, 5]]] * 2), 2), S(d(2, 3), np.array([[0, 3, 4], [1, 2, 6]]), 2, output_size=(7,)), S(d(1, 1, 2), np.array([[[1, 3]]]), 3, 2, 1, (4,))],
    errors=lambda d: [E("(?s)invalid max index.*9", d(1, 1, 2), np.array([[[0, 9]]]), 2), E("(?s)output_size", d(1, 1, 2), np.array([[[0, 3]]]), 2, output_size=(9,)), E("(?s)int64.*shape", d(1, 1, 2), np.array([[[0]]]), 2)])  # fmt: skip
row(F + "max_unpool2d", lambda d: [S(d(2, 2, 2, 2), np.array([[[[0, 3], [9, 14]], [[5, 6], [8, 11]]]] * 2), 2), S(d(1, 2, 2), np.array([[[0, 3], [12, 15]]]), 2, output_size=(5, 5)), S(d(1, 1, 2, 2), np.array([[[[0, 2], [6, 8]]]]), (2, 2), (2, 2), 1, (1, 1, 3, 3))],
    errors=lambda d: [E("(?s)invalid max index.*99", d(1, 1, 1, 1), np.array([[[[99]]]]), 2), E("(?s)3D.*4D", d(2, 2), np.zeros((2, 2), int), 2)])  # fmt: skip

row(
    F + "adaptive_max_pool3d",
    lambda d: [
        S(d(2, 2, 4, 5, 3), 2),
        S(d(2, 4, 5, 3), (2, None, 3), return_indices=True),
        S(d.transposed(1, 2, 4, 4, 4), 3),
    ],
    domain=distinct,
    result=None,
)
for n in (1, 2, 3):
    row(
        F + f"lp_pool{n}d",
        lambda d, n=n: [
            S(d(2, 2, *LONG[:n]), 2, 2),
            S(d(2, *LONG[:n]), 3.0, 2, 1),
            S(d(2, 2, *LONG[:n]), 1.5, 3, stride=2, ceil_mode=True),
            S(d.transposed(2, 2, *LONG[:n]), 2.0, 2),
        ],
        domain=positive,
        tol=4,
    )
row(
    F + "max_unpool3d",
    lambda d: [S(d(1, 2, 2, 2, 2), np.arange(8).reshape(1, 1, 2, 2, 2).repeat(2, 1) * 5, 2), S(d(1, 1, 1, 2), np.array([[[[3, 9]]]]), 2)],
)
