"""Products that are not plain matrix products, turning and stacking."""

import numpy as np

from tests.cases.table import ALL, NUMBERS, E, S, row

DTYPES = "(?i)dtype"
row("vdot", lambda d: [S(d(3), d(3)), S(d(0), d(0)), S(d.flipped(3), d.gapped(3)), S(d.int(3), d.int(3))], dtypes=NUMBERS, errors=lambda d: [E("(?s)3.*4", d(3), d(4)), E("(?i)1-?d|vector", d(2, 2), d(2, 2)), E(DTYPES, d(3), d.int(3))])
row("inner", lambda d: [S(d(3), d(3)), S(d(2, 3), d(4, 3)), S(d(2, 3), d(3)), S(d(2, 3, 2), d(4, 2)), S(d(), d(2, 3)), S(d(3), d()), S(d(2, 0), d(3, 0)), S(d.transposed(2, 3), d.flipped(4, 3)), S(d.int(3), d.int(3))], dtypes=NUMBERS, errors=lambda d: [E("(?s)3.*2", d(2, 3), d(3, 2)), E(DTYPES, d(3), d.int(3))])
row("kron", lambda d: [S(d(2, 3), d(3, 2)), S(d(3), d(2, 3)), S(d(), d(2, 3)), S(d(2), d(3)), S(d(2, 1, 2), d(2, 2)), S(d(0, 2), d(2, 2)), S(d(2, 2), d.int(2)), S(d(2, 3), d.flipped(2, 2))], dtypes=NUMBERS)
row("cross", lambda d: [S(d(3), d(3), dim=0), S(d(2, 3), d(2, 3), dim=1), S(d(3, 4), d(3, 4), dim=0), S(d(2, 3, 4), d(2, 3, 4), dim=-2), S(d(2, 3), d(1, 3), dim=-1), S(d(0, 3), d(0, 3), dim=1), S(d(4, 3, 3), d(4, 3, 3)), S(d.int(3), d.int(3), dim=0), S(d.transposed(2, 3), d.flipped(2, 3), dim=1)],
    dtypes=NUMBERS, errors=lambda d: [E("(?s)3", d(2, 2), d(2, 2)), E("3", d(2, 3), d(2, 3), dim=0), E("(?i)dimensions", d(2, 3), d(3), dim=0)])  # fmt: skip
row("trace", lambda d: [S(d(3, 3)), S(d(2, 4)), S(d(4, 2)), S(d(1, 1)), S(d(0, 3)), S(d.transposed(3, 4)), S(d.flipped(3, 3)), S(d.int(3, 3))], dtypes=NUMBERS, result="sum", errors=lambda d: [E("(?i)matri", d(3)), E("(?i)matri", d(2, 2, 2))])
row("nn.functional.bilinear", lambda d: [S(d(2, 3), d(2, 4), d(5, 3, 4)), S(d(2, 3), d(2, 4), d(5, 3, 4), d(5)), S(d(2, 2, 3), d(2, 2, 1), d(2, 3, 1), d(2)), S(d(3), d(4), d(2, 3, 4)), S(d(0, 3), d(0, 4), d(2, 3, 4), d(2)), S(d.transposed(2, 3), d.flipped(2, 4), d(5, 3, 4), None)],
    tol=4, dtypes=("float32", "float64"), errors=lambda d: [E("(?s)3.*4", d(2, 4), d(2, 4), d(5, 3, 4)), E("(?s)2.*3", d(2, 3), d(3, 4), d(5, 3, 4)), E("(?s)5|bias", d(2, 3), d(2, 4), d(5, 3, 4), d(4))])  # fmt: skip
row("dstack", lambda d: [S([d(2), d(2)]), S([d(2, 3), d(2, 3)]), S((d(2, 3, 1), d(2, 3, 4))), S([d(), d()]), S([d(0), d(0)]), S([d.int(2), d(2)]), S([d.transposed(2, 3), d.flipped(2, 3)])], dtypes=ALL, errors=lambda d: [E("(?i)empty|non-empty", []), E("(?s)2.*3|size", [d(2), d(3)])])
row("rot90", lambda d: [S(d(2, 3), k) for k in (1, 2, 3, 4, -1, 5)] + [S(d(2, 3, 4), 1, [1, 2]), S(d(2, 3, 4), -1, (2, 0)), S(d(2, 3), 1, [-1, 0]), S(d(0, 3)), S(d.transposed(3, 4)), S(d.flipped(3, 4), 3), S(np.arange(4).reshape(2, 2))], dtypes=ALL, errors=lambda d: [E("different", d(2, 3), 1, (0, 0)), E("dims", d(3)), E("dims", d(2, 3), 1, (0, 1, 0)), E("(?i)range", d(2, 3), 1, (0, 2))])
