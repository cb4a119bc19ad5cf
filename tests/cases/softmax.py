"""Softmax and its logarithm."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import FLOATS, SPECIAL, E, S, edge, large, named, rough, row


def along(d):
    yield from (S(d(2, 3), 1), S(d(2, 3, 4), 1), S(d(2, 3, 4), -1), S(d(3), 0), S(d(), 0), S(d(0, 3), 1), S(d(2, 0), 0),
        S(d(3, 1), 1), S(d.transposed(3, 4), 1), S(d.flipped(3, 4), 0), S(d.gapped(3, 4), -1))
    yield from (S(d(3, 4) * 300, 1), S(d(3, 4) - 1e4, 0), S(d(2, 3), dim=1, dtype=named("float64")))
    yield from (large(d(40, 30), 1), large(d(300, 120) * 3, -1), large(d(4, 5, 70), 1), large(d.transposed(30, 40), 1),
        edge(np.resize(SPECIAL, (130, 9)), 1))
    yield from (rough(np.array([[0.0, -np.inf, 1.0], [-np.inf, -np.inf, 2.0]]), 1),
        rough(np.array([[np.inf, 1.0], [np.nan, 1.0]]), 1), rough(np.full((1, 3), -np.inf), 1))


for name in ("softmax", "log_softmax"):
    row(name, along, dtypes=FLOATS, errors=lambda d: [E(r"(?s)2.*-2|range|dim", d(2, 3), 2)])
    row(f"nn.functional.{name}", along)
row("nn.functional.softmin", along)
