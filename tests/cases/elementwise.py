"""Arithmetic, functions of one number, comparisons, logic, activations."""
# fmt: off
# ruff: noqa: E731

import operator

import numpy as np

from tests.cases.table import (
    ALL,
    FLOATS,
    INTS,
    MILD,
    NUMBERS,
    SPECIAL,
    Draw,
    E,
    S,
    above_one,
    away_from,
    between,
    binary,
    compare,
    const,
    distinct,
    edge,
    fractional,
    large,
    nonzero,
    positive,
    probability,
    real,
    rough,
    row,
    unary,
    unit,
)

# ---------------------------------------------------------------- one number

for name in ("exp", "exp2", "expm1", "sin", "cos", "atan", "sinh", "cosh", "tanh", "asinh", "erf", "erfc", "sigmoid"):
    unary(name, dtypes=ALL, result="float")
for name in ("sqrt", "rsqrt", "log", "log2", "log10", "log1p"):
    unary(name, positive, dtypes=ALL, result="float")
unary("reciprocal", nonzero, dtypes=ALL, result="float")
unary("tan", between(-1.2, 1.2), dtypes=ALL, result="float", tol=2)
for name in ("asin", "acos", "atanh", "erfinv"):
    unary(name, unit, dtypes=ALL, result="float")
unary("acosh", above_one, dtypes=ALL, result="float")
unary("logit", probability, special=np.array([0.0, 1.0, 0.5]),
    more=lambda d: [m(x, eps=eps) for eps in (1e-6, 0.3) for m, x in ((S, d(3, 4)), (edge, SPECIAL.copy()))]
    + [rough(np.array([-0.5, 0.5, 1.5, 2.5]))], dtypes=ALL, result="float")

unary("neg", dtypes=NUMBERS)
unary("abs", nonzero, dtypes=NUMBERS)
unary("sign", nonzero, dtypes=ALL)
unary("square", dtypes=NUMBERS)
for name in ("floor", "ceil", "trunc"):
    unary(name, fractional, dtypes=NUMBERS)
unary("round", fractional, more=lambda d: [rough(np.arange(-4.5, 5.0)), rough(d(3, 4), decimals=1),
    rough(d(3) * 50, decimals=-1)], dtypes=NUMBERS)
unary("frac", fractional)
unary("nan_to_num", options=[{"nan": 1.5}, {"nan": 0.0, "posinf": 7.0, "neginf": -7.0}], dtypes=NUMBERS)
for name in ("isnan", "isinf", "isfinite"):
    unary(name, gradient=False, dtypes=ALL, result="bool")
unary("logical_not", gradient=False, dtypes=ALL, result="bool")
row("bitwise_not", lambda d: [S(d.int(3, 4)), S(d.bool(3)), S(d.int(3, low=0, dtype="uint8")), S(d.int(0))],
    gradient=False, dtypes=())
unary("clone", dtypes=ALL)

# ---------------------------------------------------------------- arithmetic


def off_multiples(*options: dict):
    """x = (k + f) y with f in [0.2, 0.8]: the quotient is away from the integers, where the remainder jumps."""

    def make(d: Draw):
        for shape, other in (((2, 3, 4), (2, 3, 4)), ((3, 4), (4,)), ((2, 1), (1, 3)), ((), ()), ((0, 2), (2,))):
            y = d(*other, domain=nonzero)
            x = (d.int(*shape, low=-4, high=5) + d(*shape, domain=between(0.2, 0.8))) * y
            yield from (S(x, y, **o) for o in options)
        y = d(2, 1, 3, domain=between(1.0, 1.1))  # x broadcast too: k + 1/2 over what varies by a tenth
        yield from (S(1.05 * (d.int(4, 1, low=-2, high=3) + 0.5), y, **o) for o in options)
        x = d.int(3, 4, low=-4, high=5) + d(3, 4, domain=between(0.2, 0.8))
        yield from (S(x, 1, **o) for o in options)
        yield from (S(x * 2.5, -2.5, **o) for o in options)
        yield from (rough(d.int(12).astype(float), d.ties(12) - 1.5, **o) for o in options)
        yield from (rough(d.int(4, 5), d.int(5, low=1), **o) for o in options)
        yield from (rough(d.int(4, 5), -d.int(5, low=1), **o) for o in options)
        yield from (rough(np.repeat(MILD, 12), np.tile(MILD, 12), **o) for o in options)

    return make


BROADCAST = lambda d: [E(r"(?s)2, 3.*4", d(2, 3), d(4))]
INT_PAIRS = lambda d: [S(d.int(2, 3), d.int(3)), S(d.int(2, 3), 3), S(d.int(3), 2.5), S(d.int(3), d(3)),
    S(d.bool(3), d.int(3))]
BY_ZERO = lambda d, **o: [E("(?i)zero", d.int(3), np.array([2, 0, 1]), **o)]
ALPHA = lambda d: [S(d(2, 3), d(3), alpha=2.5), S(d(2, 3), d(1, 3), alpha=-1), S(d.int(3), d.int(3), alpha=3)]

binary("add", dtypes=ALL, more=lambda d: ALPHA(d) + INT_PAIRS(d), errors=BROADCAST)
binary("sub", dtypes=NUMBERS, more=lambda d: ALPHA(d) + INT_PAIRS(d)[:4], errors=BROADCAST)
binary("rsub", dtypes=NUMBERS, more=ALPHA)
binary("mul", dtypes=ALL, more=INT_PAIRS, errors=BROADCAST)
binary("div", real, nonzero, dtypes=ALL, result="float", more=INT_PAIRS,
    errors=lambda d: [*BROADCAST(d), E("rounding_mode", d(2), d(2), rounding_mode="up"),
    *BY_ZERO(d, rounding_mode="trunc"), *BY_ZERO(d, rounding_mode="floor")])
binary("true_divide", real, nonzero, dtypes=ALL, result="float", covers=("divide",))
row("div ", off_multiples({"rounding_mode": "floor"}, {"rounding_mode": "trunc"}), call=lambda m, x, y,
    **o: m.div(x, y, **o), dtypes=NUMBERS)
row("floor_divide", off_multiples({}), dtypes=NUMBERS, gradient=False, errors=lambda d: [*BROADCAST(d), *BY_ZERO(d)])
row("fmod", off_multiples({}), dtypes=NUMBERS, errors=BY_ZERO)
row("remainder", off_multiples({}), dtypes=NUMBERS, errors=BY_ZERO)
binary("atan2", nonzero, nonzero, scalars=(), dtypes=ALL, result="float")
binary("logaddexp", scalars=(), more=lambda d: [S(d(3) + 12, d(3) - 12), S(d(3) - 800, d(3) - 800),
    rough(d(3) + 500, d(3) - 500)])
binary("xlogy", positive, positive, scalars=(2, 0.5), dtypes=ALL, result="float",
    more=lambda d: [S(2.0, d(3)), rough(np.zeros(3), np.array([0.0, 1.0, 2.0]))])


def ordered(d: Draw):
    """Two arrays without a tie between them."""
    shapes = (((2, 3, 4), (2, 3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), ()), ((0, 2), (2,)), ((4,), ()))
    for shape, other in shapes:
        yield S(d(*shape, domain=distinct), d(*other, domain=distinct) + 0.125)
    yield S(d.transposed(3, 4, domain=distinct), d.flipped(3, 4, domain=distinct) + 0.125)
    yield rough(d.ties(4, 5), d.ties(5))
    yield rough(np.repeat(SPECIAL, 16), np.tile(SPECIAL, 16))
    yield S(d.int(3, 4), d.int(4))


for name in ("maximum", "minimum"):
    row(name, ordered, dtypes=ALL)

POW = lambda d: [*(S(d(2, 3, domain=nonzero), p) for p in (0, 1, 2, 3, -1, -2, 2.0, 4.0)), S(d(3), 0.5), S(d(3), -0.5),
    S(d(3), 1.7), S(d(2, 3, domain=nonzero), const(d.int(3, low=-3, high=4).astype(float))),
    S(d(3), np.array([1, 2, 3])), rough(SPECIAL.copy(), 0), rough(SPECIAL.copy(), 1), rough(SPECIAL.copy(), 2),
    edge(SPECIAL.copy(), 0.5), rough(SPECIAL.copy(), -1), rough(SPECIAL.copy(), 3), S(d.int(3, 4), 2), S(d.int(3), 0),
    S(d.int(3), d.int(3, low=0)), S(d.int(3), 2.0), S(2, d(3)), S(2.5, d(2, 3)), rough(0, d(3)), S(2, d.int(3, low=0)),
    S(np.repeat(np.arange(-3, 4), 7), np.tile(np.arange(-3, 4), 7)),
    S(np.arange(4).astype("uint8"), np.array([2, 0, 1, 3]).astype("uint8"))]
binary("pow", positive, real, scalars=(), more=POW, dtypes=NUMBERS, errors=lambda d: [E("(?i)negative", d.int(3), -1)])

binary("lerp", scalars=(), more=lambda d: [S(d(2, 3), d(2, 3), 0.3), S(d(2, 3), d(3), 0.8), S(d(2, 3), d(3), d(2, 1)),
    S(d(3), d(2, 3), d()), S(d(0), d(0), 0.5)], call=lambda m, x, y, w=0.25: m.lerp(x, y, w), covers=("lerp", ))
row("addcmul", lambda d: [S(d(2, 3), d(2, 3), d(2, 3)), S(d(2, 3), d(3), d(2, 1), value=2.5),
    S(d(), d(2), d(2), value=-1), S(d(0), d(0), d(0)), S(d.int(3), d.int(3), d.int(3), value=2),
    S(d.transposed(2, 3), d.flipped(2, 3), d(3))], dtypes=NUMBERS)
row("addcdiv", lambda d: [S(d(2, 3), d(2, 3), d(2, 3, domain=nonzero)), S(d(2, 3), d(3), d(2, 1, domain=nonzero),
    value=2.5), S(d(), d(2), d(2, domain=nonzero), value=-1), S(d(0), d(0), d(0)),
    rough(np.ones(3), np.array([0.0, 1.0, -1.0]), np.zeros(3))])

CLAMPED = away_from(-0.5, 0.75, 1.0)
LIMITS = [{"min": -0.5}, {"max": 0.75}, {"min": -0.5, "max": 0.75}, {"min": 2.0, "max": -2.0}]
unary("clamp", CLAMPED, options=LIMITS, dtypes=NUMBERS, call=lambda m, x, min=1, max=None: m.clamp(x, min, max),
    covers=("clamp", "clip"), more=lambda d: [rough(np.array([-0.5, 0.75, 0.0]), -0.5, 0.75),
    S(d(3, 4, domain=distinct), d(4, domain=distinct) - 0.6, d(3, 1, domain=distinct) + 0.7),
    S(d(3, 4, domain=distinct), None, d(4, domain=distinct) + 0.125),
    S(d(3, 4, domain=distinct), d(4, domain=distinct) + 0.125), S(d.int(5), -2, 2), S(d.int(5), -1.5),
    edge(d.ties(3, 4), d.ties(4), d.ties(3, 1))], errors=lambda d: [E("min.*max", d(3), None, None)])
unary("clamp_min", CLAMPED, call=lambda m, x, min=1: m.clamp_min(x, min), covers=("clamp_min", ), dtypes=NUMBERS,
    more=lambda d: [S(d(3, domain=distinct), d(3, domain=distinct) + 0.125)])
unary("clamp_max", CLAMPED, call=lambda m, x, max=1: m.clamp_max(x, max), covers=("clamp_max", ), dtypes=NUMBERS,
    more=lambda d: [S(d(3, domain=distinct), d(3, domain=distinct) + 0.125)])

# ---------------------------------------------------------------- comparison, logic, bits

for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    compare(name, errors=BROADCAST)
for name in ("logical_and", "logical_or", "logical_xor"):
    compare(name, call=lambda m, x, y, name=name: getattr(m, name)(x, m.as_tensor(y)), covers=(name,))
CLOSE = lambda d: [rough(x, x + s * 1e-6 * d(16), **o) for x in (SPECIAL.copy(), ) for s in (0, 1, 100) for o in ({},
    {"equal_nan": True}, {"rtol": 1e-2, "atol": 1e-3})]
row("isclose", lambda d: [S(d(3, 4), d(4)), *CLOSE(d)], gradient=False, result="bool")
row("allclose", lambda d: [S(d(3, 4), d(4)), *CLOSE(d), S(d(0), d(0))], gradient=False, result="bool")
row("equal", lambda d: [S(d(3, 4), d(3, 4)), S(np.ones(3), np.ones(3)), S(np.ones(3), np.ones((1, 3))), S(d(0), d(0)),
    rough(SPECIAL, SPECIAL)], gradient=False, result=None)

WHOLE = INTS + ("bool",)
BITS = lambda d: [S(d.int(3, 4), d.int(3, 4)), S(d.int(3, 4), d.int(4)), S(d.int(3), 6), S(d.bool(3, 4), d.bool(4)),
    S(d.int(3, dtype="int32"), d.int(3, low=0, dtype="uint8")), S(d.bool(3), d.int(3)), S(d.int(0), d.int(0))]
for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    row(name, BITS, gradient=False, dtypes=())
SHIFTS = lambda d: [S(d.int(3, 4), d.int(4, low=0)), S(d.int(3, 4), 2), S(d.int(5, low=0, dtype="uint8"), 3),
    S(d.int(3, dtype="int32"), d.int(3, low=0))]
for name in ("bitwise_left_shift", "bitwise_right_shift"):
    row(name, SHIFTS, gradient=False, dtypes=())

# ---------------------------------------------------------------- operators


def reflected(op):
    """`tensor op number` and `number op tensor`, and tensors that broadcast."""
    return lambda m, x, y: (op(x, y), op(y, x))


OPERANDS = lambda d: [S(d(2, 3), d(3)), S(d(2, 3), 2), S(d(2, 3), 1.5), S(d(), d(2)), S(d(0), 3), S(d.int(3, low=1), 2),
    S(d.int(3, low=1), 2.5), S(d.int(3, low=1), d(3))]
for label, op in {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
                  "**": operator.pow}.items():
    row(f"operator {label}", OPERANDS if label not in "-" else lambda d: OPERANDS(d)[:7], call=reflected(op),
        domain=positive, dtypes=FLOATS)
for label, op in (("//", operator.floordiv), ("%", operator.mod)):
    row(f"operator {label}", lambda d: [S((d.int(2, 3) + d(2, 3, domain=between(0.2, 0.8))) * 2.5, 2.5),
        S(d.int(5, low=1), 3), S(d.int(5, low=1), d.int(5, low=1)), S(d.int(5, low=1), 1.5)], gradient=label == "%",
        call=lambda m, x, y, op=op: op(x, y))
for label, op in {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
                  "!=": operator.ne}.items():
    row(f"operator {label}", lambda d: [S(d.ties(3, 4), d.ties(4)), S(d.ties(3), 1), S(d.int(3), 0.5)],
        call=reflected(op), gradient=False, result="bool")
for label, op in (("&", operator.and_), ("|", operator.or_), ("^", operator.xor)):
    row(f"operator {label}", lambda d: [S(d.int(3, 4), d.int(4)), S(d.bool(3), d.bool(3)), S(d.int(3), 5)],
        call=reflected(op), gradient=False, dtypes=())
for label, op in (("<<", operator.lshift), (">>", operator.rshift)):
    row(f"operator {label}", lambda d: [S(d.int(3, 4), d.int(4, low=0)), S(d.int(3), 2)], call=lambda m, x, y,
        op=op: op(x, y), gradient=False, dtypes=())
for label, op in (("neg", operator.neg), ("pos", operator.pos), ("abs", operator.abs)):
    row(f"operator {label}", lambda d: [S(d(2, 3)), S(d.int(3))], call=lambda m, x, op=op: op(x), domain=nonzero)
row("operator ~", lambda d: [S(d.int(3)), S(d.bool(3))], call=lambda m, x: ~x, gradient=False, dtypes=())


def in_place(op):
    """`y op= other` on an intermediate result: the graph goes on from the changed tensor."""

    def run(m, x, y):
        out = x * 1
        alias = out
        out = op(out, y)
        assert out is alias
        return out

    return run


for label, op in {"+=": operator.iadd, "-=": operator.isub, "*=": operator.imul, "/=": operator.itruediv,
                  "**=": operator.ipow}.items():
    row(f"operator {label}", lambda d: [S(d(2, 3), d(2, 3)), S(d(2, 3), d(3)), S(d(2, 3), 2), S(d(2, 3), 1.5)],
        call=in_place(op), domain=positive, dtypes=FLOATS, errors=lambda d: [E("(?s)2, 3.*3", d(3), d(2, 3))])

# ---------------------------------------------------------------- activations

F = "nn.functional."
unary("relu", nonzero, dtypes=NUMBERS)
unary(F + "relu", nonzero, more=lambda d: [large(d(30, 40)), large(d.transposed(30, 40))])
unary(F + "gelu", special=SPECIAL[1:], options=[{"approximate": "tanh"}, {"approximate": "none"}],
    more=lambda d: [S(d(3, 4) * 4), S(d(3, 4) * 4, approximate="tanh"), large(d(30, 40) * 3), large(d(300, 120) * 3),
    large(d.transposed(30, 40)), large(d(30, 40), approximate="tanh"), edge(np.resize(SPECIAL[1:], 1200))],
    errors=lambda d: [E("approximate.*(none|tanh)", d(3), approximate="erf")])
unary(F + "silu")
unary(F + "leaky_relu", nonzero, options=[{"negative_slope": 0.2}, {"negative_slope": 0.0}])
unary(F + "elu", nonzero, options=[{"alpha": 0.3}, {"alpha": 2.0}])
unary(F + "softplus", away_from(0.0, 10.0), options=[{"beta": 2.0}, {"beta": 0.5, "threshold": 1.0}],
    more=lambda d: [S(np.array([25.0, 19.0, -30.0])), rough(np.array([1.0, 0.5, 2.0]), 1.0, 1.0)])
unary(F + "tanh")
unary(F + "sigmoid")
unary(F + "relu6", away_from(0.0, 6.0, high=8.0))
unary(F + "selu", nonzero)
unary(F + "celu", nonzero, options=[{"alpha": 0.5}])
unary(F + "mish")
unary(F + "softsign", nonzero)
unary(F + "tanhshrink")
unary(F + "hardtanh", away_from(-1.0, 1.0), options=[{"min_val": -1.0, "max_val": 1.0}])
unary(F + "logsigmoid", more=lambda d: [S(np.array([-800.0, 800.0, 30.0]))])
row(F + "glu", lambda d: [S(d(4)), S(d(3, 4)), S(d(2, 4, 3), dim=1), S(d(0, 2))],
    errors=lambda d: [E("(?i)even|halv", d(3))])
