"""Sums, products, extremes, moments, norms, running sums."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import (
    ALL,
    AXES,
    FLOATS,
    MILD,
    NUMBERS,
    ONE_AXIS,
    SPECIAL,
    Draw,
    E,
    S,
    distinct,
    edge,
    named,
    reduction,
    rough,
    row,
)

WRONG_AXIS = lambda d: [E(r"(?s)-?2.*3|3.*2", d(2, 3), dim=3)]
TO = lambda d: [S(d(2, 3), dtype=named("float64")), rough(d(2, 3), dim=1, dtype=named("float32")),
    S(d.int(2, 3), dtype=named("float32"))]

reduction("sum", dtypes=ALL, result="sum", more=lambda d: [*TO(d), S(d(2, 3), dim=()), S(d.bool(3, 4), dim=1),
    S(d.int(3, 4, dtype="uint8", low=0))], errors=WRONG_AXIS)
reduction("nansum", dtypes=ALL, result="sum")
reduction("mean", dtypes=FLOATS, more=lambda d: [*TO(d), S(d(2, 3), dim=())],
    errors=lambda d: [*WRONG_AXIS(d), E("(?i)mean.*(int64|long)", d.int(3))])
reduction("nanmean")
reduction("prod", axes=ONE_AXIS, dtypes=ALL, result="sum",
    more=lambda d: [*TO(d), *(S(np.array(zeros) * d(4), **o) for zeros in ([1, 0, 1, 1], [0, 1, 0, 1]) for o in ({},
    {"dim": 0}))], errors=WRONG_AXIS)
for name in ("amax", "amin"):
    reduction(name, distinct, empty=False, dtypes=ALL,
        more=lambda d: [rough(d.ties(3, 4)), rough(np.ones((2, 3)), dim=0)], errors=lambda d,
        name=name: [*WRONG_AXIS(d), E(name, d(2, 0), dim=1)])
for name in ("max", "min"):
    reduction(name, distinct, axes=ONE_AXIS, empty=False, dtypes=ALL, result=None,
        more=lambda d: [rough(d.ties(3, 4)), rough(np.array([1.0, np.nan, 2.0]))],
        errors=lambda d, name=name: [*WRONG_AXIS(d), E(name, d(0)), E(name, d(2, 0), dim=1)])
    row(f"{name} of two", lambda d: [S(d(2, 3), d(3) + 0.125)], call=lambda m, x, y, name=name: getattr(m, name)(x, y),
        domain=distinct)
reduction("aminmax", distinct, axes=(), empty=False, dtypes=ALL,
    more=lambda d: [S(d(2, 3, 4), dim=1), S(d(2, 3), dim=-1, keepdim=True)])
for name in ("argmax", "argmin"):
    reduction(name, distinct, axes=ONE_AXIS, empty=False, gradient=False, dtypes=NUMBERS, result="int64",
        more=lambda d: [rough(d.ties(3, 4)), S(d(3, 4), keepdim=True)], errors=lambda d,
        name=name: [*WRONG_AXIS(d), E(name, d(0))])
for name in ("any", "all"):
    reduction(name, gradient=False, dtypes=ALL, result=lambda dtype: "uint8" if dtype == "uint8" else "bool",
        more=lambda d: [rough(d.ties(3, 4), dim=1), S(d.bool(3, 4)), S(d.bool(3, 4), dim=0), S(np.zeros(3)),
        S(np.ones(3))])


def moments(d: Draw):
    some = (*AXES, {"dim": 1, "correction": 0}, {"dim": (0, 1), "correction": 2}, {"dim": 0, "unbiased": False},
        {"unbiased": False}, {"correction": 0})
    yield from (S(d(2, 3, 4), **o) for o in some)
    yield from (S(d.transposed(3, 4), dim=0), S(d.flipped(3, 4), dim=-1), S(d(2, 3)), S(d(5)), rough(d(5) * 0.1 + 10.0),
        S(d(3, 0), dim=0, correction=0))
    yield from (rough(np.full((2, 3), 2.5), dim=1, correction=0), rough(d(3, 1), dim=1), rough(d()),
        rough(d(2, 0), dim=1), rough(MILD.reshape(3, 4), dim=1), rough(d(0), correction=0))


for name in ("var", "std", "var_mean", "std_mean"):
    row(name, moments, tol=4, errors=lambda d: [E(r"(?s)-?2.*3|3.*2", d(2, 3), dim=3)])


def off_zero(rng, size):
    """Distinct in size too, and none near zero."""
    return (rng.permutation(size) + 1.0) * 0.25 * rng.choice([-1.0, 1.0], size)


def norms(d: Draw):
    yield from (S(d(2, 3)), S(d()), S(d(0)), S(d(2, 3, 4), dim=1), S(d(2, 3, 4), dim=(0, 2), keepdim=True),
        S(d(2, 3), "fro"), S(d(2, 3), "fro", dim=(0, 1)), S(d(2, 0), dim=0))
    for p in (1, 2, 3, 2.5, 0.5, -1, np.inf, -np.inf):
        p = float(p)
        yield from (S(d(3, 4), p), S(d.transposed(3, 4), p, dim=1), S(d(3, 4), p, dim=0, keepdim=True))
    yield from (S(d(3, 4), 0), rough(np.zeros((2, 3)), dim=1), rough(np.zeros(3)), rough(np.zeros(3), 1),
        rough(np.zeros(3), 3), rough(np.array([2.0, -2.0, 1.0]), float("inf")), rough(SPECIAL.copy()),
        S(d(2, 3), dim=1, dtype=named("float64")), rough(np.array([0.0, 1.0, 0.0])))


row("norm", norms, domain=off_zero, tol=2)
reduction("logsumexp", axes=AXES, whole=False, empty=False, more=lambda d: [S(d(3, 4) * 300, dim=1), S(d(2, 0), dim=0),
    edge(np.full((2, 3), -np.inf), dim=1)])
reduction("count_nonzero", axes=({"dim": 0}, {"dim": (0, 2)}), gradient=False, dtypes=ALL, result="int64",
    more=lambda d: [rough(d.ties(3, 4)), rough(d.ties(3, 4), dim=1)], call=lambda m, x, dim=None,
    keepdim=False: m.count_nonzero(x, dim=dim), covers=("count_nonzero", ))


def running(d: Draw):
    yield from (S(d(5), 0), S(d(2, 3, 4), 1), S(d(2, 3, 4), -1), S(d(), 0), S(d(0), 0), S(d(2, 0), 0), S(d(3, 1), 1),
        S(d.transposed(3, 4), 1), S(d.flipped(3, 4), dim=0))
    yield from (S(d.int(4), 0), S(d(3), 0, dtype=named("float64")), edge(SPECIAL.copy(), 0), rough(d.ties(3, 5), 1))


row("cumsum", running, dtypes=ALL, result="sum", errors=WRONG_AXIS)
row("cumprod", lambda d: [*running(d), *(S(np.array(zeros) * d(2, 4), 1) for zeros in ([1, 0, 1, 1], [0, 1, 0, 1]))],
    dtypes=ALL, result="sum")
reduction("median", distinct, axes=ONE_AXIS, empty=False, dtypes=NUMBERS, result=None)
