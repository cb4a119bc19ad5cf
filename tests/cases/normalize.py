"""Normalisation over the last axes, and to unit length."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import E, S, large, rough, row

F = "nn.functional."
row(F + "layer_norm", lambda d: [S(d(2, 3), (3, )), S(d(2, 3), (3, ), d(3), d(3)),
    S(d(2, 3, 4), (3, 4), d(3, 4), d(3, 4)), S(d(2, 3, 4), (4, ), d(4)), S(d(2, 3, 4), (4, ), None, d(4)),
    S(d(5), (5, ), d(5), d(5), 0.1), S(d(2, 3, 4), [2, 3, 4]), S(d(0, 3), (3, ), d(3), d(3)),
    S(d.transposed(3, 4), (4, ), d(4), d(4)), S(d.flipped(3, 4), (4, ), d.flipped(4), d.gapped(4)),
    S(d(3, 1), (1, ), d(1), d(1)), S(d(3, 4) * 50 + 1000, (4, ), d(4), d(4)), large(d(40, 30), (30, ), d(30), d(30)),
    large(d(300, 120), (120, ), d(120), d(120)), large(d(40, 30), (30, ), d(30)), large(d(40, 30), (30, )),
    large(d(40, 5, 6), (5, 6), d(5, 6), d(5, 6)), large(d.transposed(40, 30), (30, ), d(30), d(30)),
    rough(np.full((2, 3), 2.5), (3, ), eps=1e-3), rough(np.array([[1.0, np.inf], [np.nan, 1.0]]), (2, ))], tol=10,
    errors=lambda d: [E("(?s)3.*4|4.*3", d(2, 3), (4, )), E("(?s)3.*4|4.*3", d(2, 3), (3, ), d(4))])
row(F + "rms_norm", lambda d: [S(d(2, 3), (3, )), S(d(2, 3), (3, ), d(3)), S(d(2, 3, 4), (3, 4), d(3, 4)),
    S(d(2, 3, 4), (4, ), d(4), 0.1), S(d(3), (3, ), d(3)), S(d(0, 3), (3, ), d(3)),
    S(d.transposed(3, 4), (4, ), d.flipped(4)), rough(np.zeros((2, 3)), (3, ), eps=1e-3)], tol=4,
    errors=lambda d: [E("(?s)3.*4|4.*3", d(2, 3), (4, ))])
row(F + "normalize", lambda d: [S(d(2, 3)), S(d(2, 3), p=1.0), S(d(2, 3, 4), dim=-1), S(d(3), dim=0),
    S(d(2, 3), p=3.0, dim=0), rough(np.zeros((1, 3)))])
