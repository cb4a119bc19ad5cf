"""Running maxima, minima and log-sums, differences of neighbours."""

import numpy as np

from tests.cases.table import FLOATS, NUMBERS, SPECIAL, Draw, E, S, distinct, edge, rough, row

WRONG_AXIS = lambda d: [E(r"(?s)-?2.*3|3.*2|range", d(2, 3), 3)]  # noqa: E731


def scans(d: Draw):
    yield from (S(d(5), 0), S(d(2, 3, 4), 1), S(d(2, 3, 4), -1), S(d(), 0), S(d(0), 0), S(d(2, 0), 0), S(d(2, 0), 1), S(d(3, 1), 1), S(d.transposed(3, 4), 1), S(d.flipped(3, 4), dim=0), S(d.gapped(2, 5), 1), S(d(17), 0))


for name in ("cummax", "cummin"):
    row(name, lambda d: [*scans(d), S(d.int(9), 0), rough(d.ties(3, 9), 1), rough(np.array([1.0, np.nan, 3.0, np.nan, -np.inf, np.inf]), 0), rough(SPECIAL.reshape(4, 4).copy(), 1), S(d.bool(5), 0)], domain=distinct, dtypes=NUMBERS, result=None, errors=WRONG_AXIS)
row("logcumsumexp", lambda d: [*scans(d), S(d(3, 5) * 30, 1), edge(np.array([-np.inf, -np.inf, 1.0, -np.inf, 2.0]), 0), edge(SPECIAL.copy(), 0)], dtypes=FLOATS, errors=lambda d: [*WRONG_AXIS(d), E("(?i)float|not implemented", d.int(3), 0)])
row("diff", lambda d: [
    S(d(5)), S(d(2, 3, 4), dim=1), S(d(2, 3, 4), n=2), S(d(3, 4), 2, 0), S(d(4), n=0), S(d(3), n=7), S(d(1)), S(d(0)), S(d(2, 0), dim=1), S(d.bool(2, 5)), S(d.int(5)), S(d.transposed(3, 4)), S(d.flipped(3, 4), dim=0),
    S(d(3, 4), prepend=d(3, 2)), S(d(3, 4), dim=0, append=d(1, 4)), S(d(3, 4), n=2, prepend=d(3, 1), append=d(3, 1)), S(d(2), n=3, prepend=d(1), append=d(2)),
], dtypes=NUMBERS, errors=lambda d: [E("(?i)dim", d()), E("order|n", d(3), n=-1), E(r"(?s)-?2.*3|3.*2|range", d(2, 3), dim=3), E("(?i)dim", d(2, 3), prepend=d(3))])  # fmt: skip
