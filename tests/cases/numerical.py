"""The gamma function's kin, parts and signs of floats, divisors."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import (
    ALL,
    FLOATS,
    INTS,
    SPECIAL,
    Draw,
    E,
    S,
    between,
    binary,
    edge,
    nonzero,
    positive,
    rough,
    row,
    unary,
)  # fmt: skip

WHOLE = np.array([0.0, -0.0, -1.0, -2.0, 1.0, 2.0, 3.0, 40.0, 1e5, 1e20, -1e20, np.inf, -np.inf, np.nan])
NEGATIVE = lambda d: [rough(-d.int(3, 4, low=0) - d(3, 4, domain=between(0.2, 0.8)))]
SMALL, LARGE = between(0.2, 15.0), between(15.0, 40.0)  # PyTorch's trigamma has 9 digits for small numbers
unary("lgamma", LARGE, special=np.array([1e10, 40.5]), dtypes=ALL, result="float", tol=4,
    more=lambda d: [rough(d(20, domain=SMALL)), rough(np.array([1.0, 2.0, 1e-30])), *NEGATIVE(d), edge(WHOLE.copy())])
unary("digamma", LARGE, special=np.array([1e10, 40.5]), dtypes=ALL, result="float", tol=8,
    more=lambda d: [edge(d(20, domain=SMALL)), edge(-d.int(3, 4, low=0) - d(3, 4, domain=between(0.2, 0.8))), edge(WHOLE.copy())])
for name in ("lgamma", "digamma"):
    row(f"{name} (of small numbers)", lambda d: [S(d(3, 4)), S(-d.int(3, low=0) - d(3, domain=between(0.2, 0.8)))],
        call=lambda m, x, name=name: getattr(m, name)(x), domain=SMALL, torch=False)
row("polygamma", lambda d: [S(n, d(3, 4)) for n in (0, 1, 2, 3, 6)] + [S(2, d()), S(1, d(0)), S(1, d.transposed(2, 3)),
    rough(2, d(20, domain=SMALL)), rough(2, -d.int(3, 4, low=0) - d(3, 4, domain=between(0.2, 0.8)))], domain=LARGE, tol=20,
    errors=lambda d: [E("negative", -1, d(3))])
row("polygamma (of small numbers)", lambda d: [S(n, d(3, 4)) for n in (1, 2)], call=lambda m, n, x: m.polygamma(n, x),
    domain=between(0.3, 5.0), torch=False)
row("Tensor.polygamma", lambda d: [S(d(3), 1)], domain=LARGE, tol=20)
row("mvlgamma", lambda d: [S(d(3, 4), 1), S(d(3), 3), S(d(), 2), rough(d(3, domain=between(2.0, 9.0)), 3), S(d.int(3, low=4), 2)],
    domain=between(17.0, 40.0), tol=4, errors=lambda d: [E("p", d(3), 0)])
unary("sinc", nonzero, special=np.array([0.0, -0.0, 1.0, 0.5, np.nan]), dtypes=ALL, result="float", tol=4)
for name in ("deg2rad", "rad2deg"):
    unary(name, dtypes=ALL, result="float")
binary("hypot", nonzero, nonzero, scalars=(), dtypes=FLOATS, errors=lambda d: [E("(?i)float|Long|int64", d.int(3), d.int(3))])
binary("logaddexp2", scalars=(), dtypes=("float32", "float64"), tol=2,
    more=lambda d: [S(d(3) + 12, d(3) - 12), S(d(3) - 800, d(3) - 800)])
binary("copysign", nonzero, nonzero, scalars=(2, -0.5), dtypes=ALL, result="float")


def ordered(d: Draw):
    for shape, other in (((2, 3, 4), (2, 3, 4)), ((3, 4), (4,)), ((), ()), ((0, 2), (2,)), ((4,), ())):
        yield S(np.round(d(*shape) * 8), np.round(d(*other) * 8) + 0.5)
    yield rough(d.ties(4, 5), d.ties(5))
    yield edge(np.repeat(SPECIAL, 16), np.tile(SPECIAL, 16))
    yield S(d.int(3, 4), d.int(4))


for name in ("fmax", "fmin"):
    row(name, ordered, dtypes=ALL)
row("float_power", lambda d: [S(d(3, 4), d(4)), S(d(3), 2), S(2.5, d(3)), S(d.int(3, low=1), d.int(3, low=-2)),
    S(d.int(3), 2)], domain=positive, dtypes=("float32", "float64", *INTS), result="float64")
row("ldexp", lambda d: [S(d(3, 4), d.int(4, low=0)), S(d(3), d(3)), S(d.int(3), d.int(3))], result=None)
row("ldexp (of negative integers, where PyTorch's gradient is 0)", lambda d: [S(d(3, 4), d.int(4))],
    call=lambda m, x, e: m.ldexp(x, e), torch=False)
row("frexp", lambda d: [S(d(3, 4)), S(d() * 1e10), S(d(0)), rough(np.array([0.0, -0.0, 1.0, 0.5, 1e30, -3e-30]))],
    domain=nonzero, result=None, errors=lambda d: [E("(?i)float", d.int(3))])
row("nextafter", lambda d: [S(d(3, 4), d(4)), edge(SPECIAL.copy(), np.zeros(16)), edge(np.zeros(2), np.array([1.0, -1.0]))],
    dtypes=("float32", "float64"))
row("heaviside", lambda d: [S(d(3, 4), d(4)), S(d.ties(3, 4) - 1, d(3, 1)), S(d.int(5), d.int(5)),
    edge(SPECIAL.copy(), np.full(16, 0.5))], gradient=False, dtypes=ALL, errors=lambda d: [E("dtype", d(3), d.int(3))])
for name in ("gcd", "lcm"):
    row(name, lambda d: [S(d.int(4, 5, low=-30, high=31), d.int(5, low=-30, high=31)), S(d.int(3), np.zeros(3, "int64")),
        S(d.int(3, dtype="int32", low=1), d.int(3, low=1))], gradient=False, dtypes=(), result=None,
        errors=lambda d: [E("(?i)float|integer|implemented", d(3), d(3))])
for name in ("signbit", "isposinf", "isneginf", "isreal"):
    unary(name, gradient=False, dtypes=ALL, result="bool")
