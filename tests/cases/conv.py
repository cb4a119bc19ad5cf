"""Convolutions, their transposes, and patches as columns."""

import numpy as np

from tests.cases.table import FLOATS, E, S, const, large, rough, row

F = "nn.functional."


def convolution(n):
    def make(d):
        k, long = (3, 2, 2)[:n], (6, 5, 4)[:n]
        yield S(d(2, 4, *long), d(6, 4, *k), d(6))
        yield S(d(4, *long), d(3, 4, *k))  # one sample, without a batch axis
        for stride, padding, dilation, groups in (
            (2, 1, 1, 1),
            (1, 2, 2, 2),
            (3, 0, 1, 4),
            ((2, 1, 3)[:n], (0, 1, 2)[:n], (1, 2, 1)[:n], 1),
        ):
            yield S(d(2, 4, *long), d(4, 4 // groups, *k), d(4), stride, padding, dilation, groups)
        yield from (
            S(d(2, 3, *long), d(2, 3, *k), d(2), padding="same"),
            S(d(2, 3, *long), d(2, 3, *k), padding="same", dilation=2),
            S(d(1, 2, *long), d(2, 2, *k), padding="valid"),
        )
        yield from (
            S(d(2, 3, *long), d(4, 3, *(1,) * n), d(4)),
            S(d(2, 3, *long), d(3, 1, *k), d(3), groups=3),
            S(d(1, 1, *k), d(1, 1, *k)),
            S(d(0, 2, *long), d(3, 2, *k), d(3)),
        )
        yield from (
            S(d.transposed(2, 3, *long), d.flipped(2, 3, *k), d.gapped(2)),
            S(d.flipped(2, 3, *long), d.transposed(2, 3, *k)),
            S(const(d(2, 3, *long)), d(2, 3, *k)),
            S(d(2, 3, *long), const(d(2, 3, *k))),
        )
        yield rough(np.where(np.arange(np.prod(long)).reshape(1, 1, *long) == 7, np.inf, 1.0), d(2, 1, *k))
        if n == 1:  # more positions than one product takes: by two samples, the last alone, and by one
            yield from (large(d(5, 2, 402), d(4, 1, 3), d(4), groups=2), large(d(2, 1, 1100), d(2, 1, 2)))

    return make


def mistakes(name, n):
    def make(d):
        k, long = (3, 2, 2)[:n], (6, 5, 4)[:n]
        x, w = d(2, 4, *long), d(6, 4, *k)
        yield from (
            E(rf"(?s)4.*channels.*3|{name}", d(2, 3, *long), w),
            E(f"(?s){n + 1}D.*{n + 2}D.*{name}", d(*long[:n]), w),
            E("(?s)groups=3.*divisible.*4", d(2, 3, *long), d(4, 1, *k), groups=3),
        )
        yield from (
            E("(?s)bias.*6.*5", x, w, d(5)),
            E("(?s)Kernel size.*greater", d(2, 4, *(1,) * n), w),
            E("(?s)same.*strided", x, w, padding="same", stride=2),
            E("(?s)valid.*wide", x, w, padding="wide"),
            E("(?s)stride.*0", x, w, stride=0),
        )
        yield from (
            E("(?s)padding.*-1", x, w, padding=-1),
            E("(?s)dilation.*0", x, w, dilation=0),
            E("(?s)groups.*0", x, w, groups=0),
            E("(?s)stride", x, w, stride=(1,) * (n + 1)),
            E("(?s)float32.*float64|float64.*float32", x, const(w.astype(np.float32))),
        )

    return make


for n in (1, 2, 3):
    name = f"conv{n}d"
    row(F + name, convolution(n), tol=4, dtypes=FLOATS, errors=mistakes(name, n))


def transposed(n):
    def make(d):
        k, long = (3, 2, 2)[:n], (4, 3, 2)[:n]
        yield from (S(d(2, 4, *long), d(4, 3, *k), d(3)), S(d(4, *long), d(4, 3, *k)))
        for stride, padding, extra, groups, dilation in (
            (2, 1, 1, 1, 1),
            (1, 1, 0, 2, 2),
            (3, 0, 2, 4, 1),
            (2, 2, 3, 1, 4),
            ((2, 1, 3)[:n], (1, 0, 1)[:n], (1, 0, 2)[:n], 2, 1),
        ):
            yield S(d(2, 4, *long), d(4, 2, *k), d(2 * groups), stride, padding, extra, groups, dilation)
        if n == 1:
            yield from (large(d(5, 2, 400), d(2, 1, 3), d(2), groups=2), large(d(2, 1, 1100), d(1, 1, 2)))
        yield from (
            S(d(0, 2, *long), d(2, 3, *k)),
            S(d(1, 1, *(1,) * n), d(1, 1, *k)),
            S(d.flipped(2, 3, *long), d.transposed(3, 2, *k), d.gapped(2)),
            S(const(d(2, 3, *long)), d(3, 2, *k)),
            S(d(2, 3, *long), const(d(3, 2, *k)), stride=2),
        )

    return make


def transposed_mistakes(name, n):
    def make(d):
        k, long = (3, 2, 2)[:n], (4, 3, 2)[:n]
        x, w = d(2, 4, *long), d(4, 3, *k)
        yield from (
            E("(?s)4.*channels.*3", d(2, 3, *long), w),
            E(f"(?s){n + 1}D.*{n + 2}D.*{name}", d(2), w),
            E("(?s)output padding.*smaller", x, w, stride=2, output_padding=2),
            E("(?s)bias.*3.*4", x, w, d(4)),
            E("(?s)too small", d(2, 4, *(1,) * n), w, padding=3),
        )

    return make


for n in (1, 2, 3):
    name = f"conv_transpose{n}d"
    row(F + name, transposed(n), tol=4, errors=transposed_mistakes(name, n))

row(
    "a transposed convolution of nothing, which PyTorch refuses",
    lambda d: [S(d(2, 3, 0), d(3, 1, 3), d(1))],
    call=lambda m, *args: m.nn.functional.conv_transpose1d(*args),
    torch=False,
)
row(F + "unfold", lambda d: [
    S(d(2, 3, 5, 6), 2), S(d(3, 5, 6), (2, 3)), S(d(2, 3, 5, 6), (2, 3), 1, 1, 2), S(d(2, 1, 6, 5), 3, dilation=2, padding=(1, 2), stride=(2, 1)), S(d(0, 2, 4, 4), 2), S(d(1, 1, 1, 1), 1), S(d.transposed(2, 3, 5, 6), (3, 2), stride=(3, 1)), S(d.flipped(2, 2, 4, 4), 2, stride=2),
], errors=lambda d: [E("(?s)3D or 4D", d(5, 6), 2), E("(?s)sliding blocks", d(2, 3, 2, 2), 3), E("(?s)kernel_size.*0", d(2, 3, 4, 4), 0)])  # fmt: skip
row(F + "fold", lambda d: [
    S(d(2, 8, 12), (4, 5), 2), S(d(8, 12), (4, 5), 2), S(d(2, 12, 4), (4, 5), (2, 3), 1, 1, (3, 3)), S(d(1, 18, 4), (6, 6), 3, dilation=2, stride=1), S(d(0, 4, 9), 4, 2), S(d.transposed(2, 8, 12), (5, 4), 2),
], errors=lambda d: [E("(?s)divisible.*7", d(2, 7, 12), (4, 5), 2), E("(?s)sliding blocks.*11", d(2, 8, 11), (4, 5), 2), E("(?s)2D or 3D", d(2, 2, 8, 12), (4, 5), 2)])  # fmt: skip
