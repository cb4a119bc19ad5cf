"""Distinct elements, counts, places in a sorted sequence, quantiles."""

import numpy as np

from tests.cases.table import ALL, NUMBERS, SPECIAL, Draw, E, S, const, distinct, rough, row

COUNTED = {"gradient": False, "dtypes": ALL, "result": None}
T = {"return_inverse": True, "return_counts": True}
row("unique", lambda d: [S(d.ties(12)), S(d.ties(3, 4)), S(d.ties(3, 4), **T), S(d.ties(20), return_counts=True), S(d.ties(6, 2), dim=0, **T), S(d.ties(2, 6), dim=1, **T), S(d.ties(2, 6, 2), dim=-2, **T), S(d.int(9), **T), S(d.bool(5), **T), S(np.array(3.0), **T), S(d(0), **T), S(np.array([3.0, np.nan, 1.0, np.nan, 1.0]), **T), S(d.ties(5, 3).T, dim=1, return_inverse=True)],
    errors=lambda d: [E(r"(?s)-?2.*3|3.*2|range", d(2, 3), dim=3)], **COUNTED)  # fmt: skip
row("unique_consecutive", lambda d: [S(d.ties(20)), S(d.ties(3, 8), **T), S(d.ties(9, 1), dim=0, **T), S(np.array([[1.0, 1.0, 2.0], [3.0, 3.0, 3.0]]), dim=1, **T), S(d(0), **T), S(np.array(2.0), **T)], **COUNTED)
BELOW = {"low": 0, "high": 5}
row("bincount", lambda d: [S(d.int(9, **BELOW)), S(d.int(9, **BELOW), minlength=8), S(d.int(3, dtype="uint8", **BELOW)), S(d.int(0)), S(d.int(0), minlength=3), S(d.int(9, **BELOW), const(d(9))), S(d.int(4, **BELOW), d.int(4)), S(d.int(4, **BELOW)[::-1], const(d.flipped(4)), minlength=6)],
    gradient=False, dtypes=(), result=None, errors=lambda d: [E("(?i)int", d(3)), E("negative", np.array([-1])), E("(?s)1-?d", d.int(2, 2, low=0)), E("weights", d.int(3, low=0), d(2)), E("minlength", d.int(3, low=0), None, -1)])  # fmt: skip
row("histc", lambda d: [S(d(20)), S(d(4, 5), 7), S(d(20), 4, -1, 1), S(d(20), bins=3, min=0, max=2), S(np.ones(5), 3), S(d(0), 4), S(np.array([1.0, 2, 3, 4, np.nan]), 3, 1, 4), S(np.array([np.inf, 0.5, -np.inf]), 2, 0, 1), S(d.transposed(3, 4), 5)],
    gradient=False, dtypes=("float32", "float64"), errors=lambda d: [E("bins", d(3), 0), E("max|larger", d(3), 3, 2, 1), E("finite", np.array([np.inf, 1.0])), E("(?i)float|not implemented", d.int(3))])  # fmt: skip


def sequences(d: Draw):
    one, many = np.sort(d.ties(7)), np.sort(d(2, 3, 5))
    for o in ({}, {"right": True}, {"side": "right"}, {"side": "left"}, {"out_int32": True}):
        yield from (S(one, d.ties(4), **o), S(many, d(2, 3, 4), **o), S(one, d.ties(2, 3), **o))
    order = np.argsort(-one, kind="stable")
    yield from (S(one, 1.5), S(one, d()), S(-one, d.ties(4), sorter=order), S(d(0), d(3)), S(one, d(0)), S(one, SPECIAL), S(np.sort(d.int(9)), d.int(4)), S(np.sort(d(4)), d.int(4)), S(many, d(2, 3, 0)), S(one[::-1][::-1], d.flipped(4)))


row("searchsorted", sequences, gradient=False, dtypes=NUMBERS, result="int64", errors=lambda d: [E("side", d(3), d(2), side="up"), E("side", d(3), d(2), side="left", right=True), E("(?i)dim", d(), d(2)), E("(?s)2, 3.*4", d(2, 3), d(4)), E("sorter", d(3), d(2), sorter=d.int(2)), E("sorter", d(2), d(2), sorter=np.array([0, 7]))])
row("bucketize", lambda d: [S(d.ties(9), np.array([0.0, 1.0, 2.0])), S(d(3, 4), np.sort(d(5)), right=True), S(1.5, np.array([0.0, 1.0, 2.0])), S(d(3), np.sort(d(2)), out_int32=True), S(d.int(4), np.array([-1, 2, 3]))],
    gradient=False, dtypes=NUMBERS, result="int64", errors=lambda d: [E("(?i)1 dim|boundaries", d(3), d(2, 2))])  # fmt: skip
row("kthvalue", lambda d: [S(d(5), 2), S(d(3, 4), 1), S(d(3, 4), 3, dim=0), S(d(3, 4), 2, dim=1, keepdim=True), S(d(), 1), S(d.transposed(3, 4), 4), S(d.flipped(5), 5)], domain=distinct, dtypes=NUMBERS, result=None, errors=lambda d: [E("k", d(3), 0), E("k", d(3), 4), E("(?s)range|3", d(2, 3), 1, 3)])

MODES = ("linear", "lower", "higher", "midpoint", "nearest")


def quantiles(d: Draw):
    q = const(np.array([0.1, 0.5, 0.85]))
    yield from (S(d(7), 0.3), S(d(3, 4), 0.5), S(d(3, 4), 0.2, dim=0), S(d(3, 4), q, dim=1), S(d(3, 4), q, dim=1, keepdim=True), S(d(3, 4), q, keepdim=True), S(d(2, 3, 4), 0.9, dim=1, keepdim=True), S(d(3, 4), 0.25, keepdim=True))
    yield from (S(d(5), 0.0), S(d(5), 1.0), S(d(), 0.5), S(d(1), q), S(d.transposed(4, 3), q, dim=0), S(d(5), np.array([0.3, 0.6])), S(d(5), const(np.array(0.3))), S(d(3, 5), q, dim=-1))
    yield from (S(d(6), v, interpolation=mode) for mode in MODES for v in (0.37, q))
    yield from (rough(np.array([[1.0, np.nan, 3.0], [5.0, 4.0, 2.0], [np.nan, np.nan, np.nan]]), v, dim=1) for v in (0.5, q))


BAD = lambda d: [E(r"\[0, 1\]", d(3), 1.5), E(r"\[0, 1\]", d(3), const(np.array([0.5, 2.0]))), E("(?i)dtype|float", d.int(3), 0.5), E("empty", d(0), 0.5), E("interpolation", d(3), 0.5, interpolation="x"), E("(?i)1D|dim", d(3), const(np.array([[0.5]]))), E("(?s)range|2", d(3), 0.5, dim=2), E("dtype", d(3), np.array([0, 1]))]  # noqa: E731
for name in ("quantile", "nanquantile"):
    row(name, quantiles, domain=distinct, dtypes=("float32", "float64"), errors=BAD, tol=2)
