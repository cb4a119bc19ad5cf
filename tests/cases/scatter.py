"""Writing into places that an index names."""

import numpy as np

from tests.cases.index import OUT_OF_RANGE
from tests.cases.table import ALL, NUMBERS, Draw, E, S, distinct, edge, rough, row

k = lambda *values: np.array(values, np.int64)  # noqa: E731
DTYPE = "(?i)dtype|scalar type"
row("index_copy", lambda d: [S(d(3, 4), 0, k(2, 0), d(2, 4)), S(d(3, 4), -1, k(1), d(3, 1)), S(d(3), 0, k(), d(0)), S(d(), 0, k(0), d()), S(d.transposed(3, 4), 1, k(3, 1), d.flipped(3, 2)), S(d(3), 0, np.array(1), d()), S(d.int(4), 0, k(1, 3), d.int(2))],
    dtypes=ALL, errors=lambda d: [E(OUT_OF_RANGE, d(3), 0, k(5), d(1)), E(OUT_OF_RANGE + "|-1", d(3), 0, k(-1), d(1)), E("(?s)2.*1|1.*2|source", d(3, 2), 0, k(1), d(2, 2)), E(DTYPE, d(3), 0, k(1), d.int(1)), E("(?i)dim|index", d(3), 0, np.zeros((1, 1), int), d(1)), E("(?i)dim|source", d(3, 2), 0, k(1), d(2))])  # fmt: skip
row("index_fill", lambda d: [S(d(3, 4), 0, k(2, 0), 1.5), S(d(3, 4), 1, k(1, -1), 2), S(d(3, 4), 0, k(1, 1), d()), S(d(3), 0, k(), 1.0), S(d(), 0, k(0), 3.0), S(d.int(3), 0, k(1), 7), S(d.transposed(3, 4), 0, k(0), 0.5), S(d(3), 0, np.array(1), 4.0)],
    dtypes=NUMBERS, errors=lambda d: [E(OUT_OF_RANGE, d(3), 0, k(5), 1.0), E("(?i)0-?dim", d(3), 0, k(1), d(1)), E("(?i)int", d(3), 0, d(1), 1.0)])  # fmt: skip
row("index_put", lambda d: [
    S(d(3, 4), (k(0, 2), k(1, 3)), d(2)), S(d(3, 4), (k(0, 2),), d(4)), S(d(3, 4), (k(0, 2),), d()), S(d(3, 4), (k(0, 0, 1),), d(3, 4), accumulate=True), S(d(3, 4), (k(0, 0), k(1, 1)), d(2), True), S(d(3, 4), (k(-1),), d(1, 4)),
    S(d(3, 4), (np.array([True, False, True]),), d(4)), S(d(3, 4), (d.bool(3, 4),), d(), accumulate=True), S(d(3, 4), (k(0, 2)[:, None], k(1, 3)), d(2, 2)), S(d(3), (k(),), d(0)), S(d.int(3), (k(1),), d.int(1)), S(d(3), (k(1, 1),), d(), True),
], dtypes=(), result=None, errors=lambda d: [E("(?s)5.*3|5|range|bound", d(3), (k(5),), d()), E(DTYPE, d(3), (k(1),), d.int(1)), E("(?i)too many|3", d(3), (k(1), k(1)), d()), E("(?i)shape|broadcast", d(3), (k(1, 2),), d(3))])  # fmt: skip
row("take", lambda d: [S(d(3, 4), k(0, 11, -1)), S(d(3, 4), np.array([[0, 5], [5, 2]])), S(d(3), k()), S(d(), k(0, 0)), S(d.transposed(3, 4), k(1, 7)), S(d.flipped(3, 4), np.array(4))],
    dtypes=ALL, errors=lambda d: [E("(?s)6|range|bound", d(2, 3), k(6)), E("(?s)-7|range|bound", d(2, 3), k(-7)), E("(?i)long|int64", d(3), d.int(1, dtype="int32"))])  # fmt: skip


def put(m, x, *args, **options):
    return x.put(*args, **options)


row("Tensor.put", lambda d: [S(d(3, 4), k(0, 11, -2), d(3)), S(d(3, 4), np.array([[0, 5]]), d(2)), S(d(3, 4), k(0, 0, 3), d(3), accumulate=True), S(d(3), k(), d(0)), S(d.transposed(3, 4), k(1, 5), d.flipped(2)), S(d(), k(0), d(1))],
    call=put, dtypes=ALL, errors=lambda d: [E("(?s)6|range|bound", d(2, 3), k(6), d(1)), E("(?s)2.*1|1.*2", d(3), k(0, 1), d(1)), E(DTYPE, d(3), k(0), d.int(1))])  # fmt: skip
row("Tensor.put_", lambda d: [S(d(3, 4), k(0, 11, -2), d(3)), S(d(3, 4), k(0, 0, 3), d(3), accumulate=True)], call=lambda m, x, *args, **o: (x * 1).put_(*args, **o))
row("masked_scatter", lambda d: [S(d(3, 4), d.bool(3, 4), d(12)), S(d(3, 4), d.bool(4), d(3, 4)), S(d(3), np.zeros(3, bool), d(1)), S(d(3), d.bool(2, 3), d(6)), S(d(0), d.bool(0), d(0)), S(d.transposed(3, 4), d.bool(3, 4), d.flipped(3, 4)), S(d(), np.array(True), d(2))],
    dtypes=ALL, errors=lambda d: [E("(?i)bool", d(3), d(3), d(3)), E("(?i)source", d(3), np.ones(3, bool), d(2)), E(DTYPE, d(3), np.ones(3, bool), d.int(3))])  # fmt: skip


def reductions(d: Draw):
    for reduce in ("sum", "prod", "mean", "amax", "amin"):
        for include_self in (True, False):
            o = {"include_self": include_self}
            yield from (S(x, axis, index, src, reduce, **o) for x, axis, index, src in [
                (d(5), 0, k(0, 0, 1, 3, 3, 3), d(6)), (d(3, 4), 1, d.int(3, 6, low=0, high=4), d(3, 6)), (d(3, 4), 0, d.int(2, 4, low=0, high=3), d(2, 4)),
                (d(2, 3, 2), -2, d.int(2, 4, 2, low=0, high=3), d(2, 4, 2)), (d(), 0, np.array(0), d()), (d(3), 0, k(), d(0)), (d.transposed(3, 4), 0, d.int(2, 4, low=0, high=3), d.flipped(2, 4)),
            ])  # fmt: skip
            # an excluded element that equals the result takes a share in PyTorch, which is then lost; here it does not
            yield (rough if include_self else edge)(d.ties(4), 0, k(0, 0, 1, 3, 3, 3), d.ties(6), reduce, **o)
            yield edge(np.array([np.nan, 1.0, 2.0, np.inf]), 0, k(0, 1, 1, 2, 3), np.array([1.0, np.nan, 2.0, -np.inf, 1.0]), reduce, **o)
            yield S(d.int(4), 0, k(0, 0, 1, 3, 3, 3), d.int(6), reduce, **o)


def zeros(d: Draw):
    return [S(np.array([1.0, 2.0, 0.0]), 0, k(0, 0, 1, 1, 1, 2), np.array([0.0, 2.0, 0.0, 0.0, 3.0, 5.0]), "prod", include_self=include) for include in (True, False)]


row("scatter_reduce", reductions, domain=distinct, dtypes=NUMBERS, errors=lambda d: [E("reduce", d(3), 0, k(0), d(1), "median"), E(OUT_OF_RANGE, d(3), 0, k(5), d(1), "sum"), E(DTYPE, d(3), 0, k(0), d.int(1), "sum"), E("", d(3), 0, k(0, 1, 2, 0), d(3), "amax")])
row("scatter_reduce (products of zeros)", zeros, call=lambda m, x, *args, **o: m.scatter_reduce(x, *args, **o), torch=False)
row("scatter_reduce (products of zeros, first order)", zeros, call=lambda m, x, *args, **o: m.scatter_reduce(x, *args, **o), second=False)
