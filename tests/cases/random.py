"""Random tensors, the same from the same seed as PyTorch's, and dropout."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import E, S, edge, large, named, nonzero, probability, rough, row

DRAWN = {"seeded": True, "gradient": False, "dtypes": (), "result": None, "tol": 4}

for name in ("rand", "randn"):
    row(name, lambda d: [S(3), S(2, 9), S((4, 5)), S(40), S(5, dtype=named("float64")), S(17, dtype=named("float64")),
        S(0)], **DRAWN)
    row(f"{name}_like", lambda d: [S(d(3, 4)), S(d(20), dtype=named("float32"))], **DRAWN)
row("randint", lambda d: [S(10, (3, 4)), S(-5, 5, (20, )), S(0, 2**40, (5, )), S(10, (3, ), dtype=named("int32"))],
    errors=lambda d: [E("(?s)5.*3|from|low", 5, 3, (2, ))], **DRAWN)
row("randint_like", lambda d: [S(d.int(3, 4), 10), S(d.int(3), -5, 5)], **DRAWN)
row("randperm", lambda d: [S(1), S(10), S(100), S(0)], **DRAWN)
row("bernoulli", lambda d: [S(d(3, 4)), S(d(50)), S(d.transposed(3, 4))], domain=probability,
    errors=lambda d: [E("(?s)0.*1", np.array([1.5]))], **DRAWN)
row("normal", lambda d: [S(d(20), d(20)), S(d(3), 2.0), S(1.0, d(3)), S(0.0, 1.0, (4, 5)), S(2.0, 3.0, (3, ))],
    domain=probability, errors=lambda d: [E("std", 0.0, -1.0, (2, ))], **DRAWN)
row("multinomial", lambda d: [S(d(5), 3), S(d(5), 8, replacement=True), S(d(2, 5), 4, True), S(d(2, 5), 2)],
    domain=probability, errors=lambda d: [E("3.*4", d(3), 4)], **DRAWN)
FILLS = {"uniform_": (-1.0, 2.0), "normal_": (1.0, 2.0), "exponential_": (2.0,), "bernoulli_": (0.3,), "random_": (0, 10)}
for name, args in FILLS.items():
    row(f"Tensor.{name}", lambda d, args=args: [S(d(3, 4), *args), S(d(20), *args), S(d(3))], **DRAWN)

F = "nn.functional."
row(F + "dropout", lambda d: [S(d(3, 4)), S(d(3, 4), 0.2), S(d(40), p=0.9), S(d(3), 0.0), S(d(3), 1.0),
    S(d(3, 4), 0.5, training=False), S(d(0)), S(d()), rough(d.transposed(3, 4), 0.4), large(d(40, 30), 0.3)], seeded=True,
    errors=lambda d: [E("(?s)1.5|-?0.*1", d(3), 1.5), E("-0.1", d(3), -0.1)])
row("dropout", lambda d: [S(d(3, 4), 0.3, True), S(d(3, 4), 0.3, False)], seeded=True)
row(F + "gumbel_softmax", lambda d: [S(d(3, 4)), S(d(40)), S(d(3, 4), tau=0.5, dim=0), rough(d(2, 3), hard=True), rough(d(4), 2.0, True)],
    seeded=True, tol=4)
row("gumbel_softmax (its choice)", lambda d: [edge(d(5, 4), hard=True), edge(d(20, 30), 0.3, True, dim=0)], seeded=True, tol=4,
    call=lambda m, *a, **o: m.nn.functional.gumbel_softmax(*a, **o), gradient=False)
row(F + "rrelu", lambda d: [S(d(3, 4), 0.1, 0.3, True), S(d(40), training=True), S(d(3, 4)), S(d(2, 3), 0.2, 0.2, True),
    S(d.transposed(3, 4), training=True), S(d(2, 2), training=True, inplace=False), S(d(0), training=True)], domain=nonzero,
    seeded=True, tol=2, errors=lambda d: [E("(?i)lower", d(3), 0.5, 0.1, True)])
row("rrelu", lambda d: [S(d(3, 4), 0.1, 0.3, True)], domain=nonzero, seeded=True, tol=2)
row(F + "rrelu_", lambda d: [S(d(3, 4), 0.1, 0.3, True), S(d(3, 4))], domain=nonzero, seeded=True, tol=2,
    call=lambda m, x, *a: m.nn.functional.rrelu_(x * 1, *a), covers=("rrelu_",))
