"""The most frequent element, medians, covariances, trapezoids, membership."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import NUMBERS, E, S, const, distinct, edge, positive, rough, row

row("mode", lambda d: [rough(d.ties(4, 5)), rough(d.ties(4, 5), 0), rough(d.ties(2, 5, 3), 1, keepdim=True), S(d(5)),
    S(d()), S(d.int(4, 6)), S(d.transposed(3, 4), 0), S(d(0, 3))], domain=distinct, result=None, dtypes=NUMBERS,
    errors=lambda d: [E("(?i)non-zero|dim", d(3, 0))])
NANS = lambda d, *shape: np.where(d.bool(*shape), np.nan, d(*shape))
row("nanmedian", lambda d: [S(d(5)), S(d(4, 3), 0), S(d(3, 4), dim=-1, keepdim=True), S(d()), S(d.int(5)), S(d(3, 4)),
    S(d.transposed(3, 5), 1), rough(NANS(d, 4, 5), 1), rough(np.array([1.0, np.nan, 3.0, 2.0]))], domain=distinct,
    result=None)
row("msort", lambda d: [S(d(5, 2)), S(d(4)), S(d.int(4, 2))], domain=distinct)
row("cov", lambda d: [S(d(3, 5)), S(d(5)), S(d(2, 4), correction=0), edge(d(2, 4), correction=5), S(d.transposed(3, 4)), edge(d()),
    S(d(2, 4), fweights=d.int(4, low=1)), S(d(2, 4), aweights=d(4, domain=positive)), S(d.int(2, 4)),
    S(d(2, 4), fweights=d.int(4, low=1), aweights=const(d(4, domain=positive)), correction=2)], result=None, tol=4,
    errors=lambda d: [E("two", d(2, 2, 2)), E("fweights", d(2, 3), fweights=d(3)), E("aweights", d(2, 3), aweights=d(2))])
row("corrcoef", lambda d: [S(d(3, 6)), S(d(2, 5)), S(d(4)), S(d.int(2, 6))], result=None, tol=20, second=False)
POINTS = lambda d, *shape: np.cumsum(d(*shape, domain=positive), -1)
for name in ("trapezoid", "cumulative_trapezoid"):
    row(name, lambda d: [S(d(5)), S(d(3, 5)), S(d(3, 5), dx=0.5), S(d(3, 5), dim=0), S(d(3, 5), POINTS(d, 5)),
        S(d(3, 5), POINTS(d, 3), dim=0), S(d(3, 5), POINTS(d, 3, 5)), S(d(2, 3, 4), POINTS(d, 3, 4)), S(d(2, 1)),
        S(d.int(4)), S(d.transposed(3, 4))], result=None, tol=2, errors=lambda d: [E("x", d(2, 3), d(2))])
row("trapz", lambda d: [S(d(5)), S(d(3, 5), POINTS(d, 5)), S(d(3, 5), dx=2.0, dim=0)])
row("renorm", lambda d: [S(d(3, 4), p, 0, 1.0) for p in (1, 2, 3, 0.5)] + [S(d(3, 4, 2), 2, 1, 2.0), S(d(3, 4), 2, -1, 100.0)],
    tol=2, errors=lambda d: [E("2 dim", d(3), 2, 0, 1.0), E("(?i)p", d(3, 2), -1, 0, 1.0)])
row("isin", lambda d: [S(d.int(3, 4), d.int(3)), S(d.ties(3, 4), np.array([0.0, 2.0])), S(d.int(3, 4), 2), S(2, d.int(3)),
    S(d.int(3), d.int(0)), S(d.int(4), d.int(2), invert=True), S(d.int(4), d.int(2), assume_unique=True),
    edge(np.array([np.nan, 1.0]), np.array([np.nan]))], gradient=False, dtypes=("int64", "float32"), result="bool")
