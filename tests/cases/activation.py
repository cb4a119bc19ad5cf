"""The activations with corners, activations in place, dropout of channels."""

import numpy as np

from tests.cases.table import FLOATS, MILD, NUMBERS, SPECIAL, E, S, away_from, const, large, nonzero, rough, row, unary

F = "nn.functional."
NOT_INT = lambda d: [E("(?i)float|not implemented|dtype", d.int(3))]  # noqa: E731
SHRINK = away_from(-0.5, 0.5, -1.0, 1.0)
for name in ("hardshrink", F + "hardshrink"):
    unary(name, SHRINK, options=[{"lambd": 1.0}, {"lambd": 0.0}], errors=NOT_INT)
unary(F + "softshrink", SHRINK, options=[{"lambd": 1.0}, {"lambd": 0.0}], errors=lambda d: [*NOT_INT(d), E("(?i)lambda", d(3), -1.0)])
CORNERS = {"domain": away_from(-3.0, 3.0, low=-5.0, high=5.0), "special": np.array([*SPECIAL, 3.0])}
unary(F + "hardsigmoid", gradient=False, errors=NOT_INT, **CORNERS)  # PyTorch's slope is 1/6 in float32 for float64 too
unary(F + "hardsigmoid (gradient)", call=lambda m, x: m.nn.functional.hardsigmoid(x), torch=False, **CORNERS)
unary(F + "hardswish", away_from(-3.0, 3.0, low=-5.0, high=5.0), special=np.array([*MILD[1:], 3.0]), errors=NOT_INT)
row(F + "threshold", lambda d: [S(d(3, 4), 0.5, 20.0), S(d(3, 4), -1.0, 0), S(d(), 0.5, 1.0), S(d(0), 0.5, 1.0), S(d.transposed(3, 4), 0.5, 2.0), S(d.int(5), 1, 7), rough(SPECIAL.copy(), 0.5, 1.0)], domain=away_from(0.5, -1.0), dtypes=NUMBERS)
for name in ("prelu", F + "prelu"):
    row(name, lambda d: [S(d(3, 4), d(1)), S(d(3, 4), d(4)), S(d(2, 3, 4), d(3)), S(d(5), d()), S(d(), d(1)), S(d(0, 3), d(3)), S(d.transposed(3, 4), d.flipped(4)), rough(MILD.copy(), np.array([0.25])), S(d(3), d(1))], domain=nonzero,
        errors=lambda d: [E("(?s)2.*3", d(2, 3), d(2)), E("(?i)1D|dim", d(3), d(1, 1)), E("(?i)dtype|promot", d(3), np.ones(1, "float32")), E("(?i)float|not implemented", d.int(3), d.int(1))])  # fmt: skip

INPLACE = [("relu", ()), ("silu", ()), ("leaky_relu", (0.2,)), ("elu", (0.5,)), ("selu", ()), ("celu", (0.5,)), ("mish", ()), ("hardtanh", ()), ("relu6", ()), ("hardswish", ()), ("threshold", (0.5, 2.0))]


def written(m, x, name, args):
    """With inplace=True the input is the result."""
    y = x * 1
    z = getattr(m.nn.functional, name)(y, *args, inplace=True)
    assert z is y
    return z, y * 2


row("activations in place", lambda d: [S(d(3, 4), *pair) for pair in INPLACE], call=written, domain=away_from(0.0, 0.5, 1.0, -1.0), dtypes=FLOATS[2:])


def underscore(m, x, name, args):
    y = x * 1
    getattr(m.nn.functional, name + "_")(y, *args)
    return y


row("activations with an underscore", lambda d: [S(d(3, 4), *pair) for pair in INPLACE if pair[0] in ("relu", "leaky_relu", "elu", "selu", "celu", "hardtanh", "threshold")], call=underscore, domain=away_from(0.0, 0.5, 1.0, -1.0), dtypes=FLOATS[2:])

PROBABILITY = lambda d, *shape: [E("(?s)1.5|0.*1", d(*shape), 1.5), E("(?s)-0.1|0.*1", d(*shape), -0.1)]  # noqa: E731
for dims, shapes in ((1, ((2, 3, 4), (3, 4))), (2, ((2, 3, 4, 2), (2, 3, 4))), (3, ((2, 3, 2, 2, 1), (3, 2, 2, 2)))):
    row(f"{F}dropout{dims}d", lambda d, shapes=shapes: [s for shape in shapes for s in (S(d(*shape)), S(d(*shape), 0.2), S(d(*shape), p=0.0), S(d(*shape), p=1.0), S(d(*shape), 0.5, training=False))], seeded=True,
        errors=lambda d, shapes=shapes, dims=dims: [*PROBABILITY(d, *shapes[0]), *([E("(?i)2D or 3D", d(3))] if dims == 1 else [])])  # fmt: skip
row(F + "alpha_dropout", lambda d: [S(d(3, 4), 0.5, True), S(d(40), 0.2, True), S(d(3, 4)), S(d(3), 0.0, True), S(d(3), 1.0, True), S(d(0), 0.5, True), S(d(3, 4), p=0.7, training=True, inplace=False)], seeded=True, tol=4, errors=lambda d: PROBABILITY(d, 3))
row(F + "feature_alpha_dropout", lambda d: [S(d(3, 4, 2), 0.5, True), S(d(2, 20, 2, 2), 0.2, True), S(d(3, 4, 2)), S(d(3, 2), 1.0, True)], seeded=True, tol=4, errors=lambda d: PROBABILITY(d, 3, 2))
row("feature_dropout", lambda d: [S(d(3, 4, 2), 0.5, True), S(d(3, 4, 2), 0.5, False)], seeded=True)


def bias_gelu(m, x, b):
    from minitorch.ops.activation import BiasGELU

    return BiasGELU.apply(x, b)


row("BiasGELU", lambda d: [S(d(2, 3), d(3)), S(d(2, 3, 8), d(8)), S(d.transposed(4, 3), d.gapped(3)), S(d(2, 8), const(d(8))), S(const(d(2, 3)), d(3)), S(d(0, 3), d(3)), S(d(1, 1), d(1)),
    large(d(40, 24), d(24)), large(d(700, 33), d(33)), rough(np.array([[1.0, np.inf], [np.nan, 1.0]]), np.zeros(2))], call=bias_gelu, torch=False)
