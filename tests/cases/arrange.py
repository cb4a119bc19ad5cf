"""Splits, blocks, diagonals, products of sets."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import ALL, E, S, const, row

row("tensor_split", lambda d: [S(d(7, 2), 3), S(d(2, 7), 3, 1), S(d(2, 7), [1, 3, 3], -1), S(d(5), (2, -1)), S(d(2), 4),
    S(d(6), np.array([2, 4])), S(d.transposed(3, 4), 2), S(d(0), 2)], view=True,
    errors=lambda d: [E("0", d(3), 0), E("(?i)dim", d(), 2)])
row("hsplit", lambda d: [S(d(4), 2), S(d(2, 6), 3), S(d(2, 6), [1, 4])], view=True, errors=lambda d: [E("divisible", d(2, 5), 2),
    E("(?i)dim", d(), 1)])
row("vsplit", lambda d: [S(d(4, 2), 2), S(d(6, 2), (1, 4))], view=True, errors=lambda d: [E("divisible", d(5, 2), 2),
    E("(?i)dim", d(4), 2)])
row("dsplit", lambda d: [S(d(2, 2, 4), 2), S(d(2, 2, 4), [1])], view=True, errors=lambda d: [E("(?i)dim", d(4, 4), 2)])
row("block_diag", lambda d: [S(d(2, 3), d(1, 2)), S(d(), d(3), d(2, 2)), S(d(2, 3)), S(d.int(2, 2), d(2, 1)),
    S(d(0, 2), d(2, 2)), S(d(2, 0), d(1, 2))], result=None, errors=lambda d: [E("2", d(2, 2, 2))])
row("diag_embed", lambda d: [S(d(3)), S(d(2, 3)), S(d(2, 3), 1), S(d(2, 3), -2, 0, 2), S(d(2, 3), dim1=0, dim2=1),
    S(d(2, 3), dim1=1, dim2=0, offset=1), S(d(0))], dtypes=ALL, errors=lambda d: [E("identical", d(3), 0, 1, 1)])
row("diagflat", lambda d: [S(d(3)), S(d(2, 2)), S(d(2), 1), S(d(2), -2), S(d())])
row("atleast_3d", lambda d: [S(d()), S(d(2)), S(d(2, 3)), S(d(2, 3, 1)), S([d(2), d()]), S(d(2), d(2, 2))], view=True)
row("cartesian_prod", lambda d: [S(d(2), d(3)), S(d(3)), S(d.int(2), d.int(2), d.int(3))], result=None,
    errors=lambda d: [E("1D", d(2, 2), d(2))])
row("combinations", lambda d: [S(d(4)), S(d(4), 3), S(d(3), r=2, with_replacement=True), S(d(3), 1), S(d(2), 4)],
    errors=lambda d: [E("1D", d(2, 2)), E("(?i)negative", d(2), -1)])
POWERS = lambda d: [(d(3),), (d(3), 2), (d(3), 5), (d(3), 0), (d(3), 1), (np.array([0.0, 1.0, 2.0]),)]
row("vander", lambda d: [*(S(const(x), *n) for x, *n in POWERS(d)), S(const(d(3)), N=4, increasing=True), S(d.int(3))],
    gradient=False, dtypes=("float32", "float64", "int64", "int32"), result=lambda dtype: "int64" if dtype == "int32" else dtype,
    errors=lambda d: [E("(?i)negative", d(2), -1)])
row("vander (which PyTorch does not differentiate)", lambda d: [S(*a) for a in POWERS(d)], call=lambda m, x, *n: m.vander(x, *n),
    torch=False)
row("linalg.vander", lambda d: [S(d(3)), S(d(2, 3), N=4)])
row("unravel_index", lambda d: [S(np.array([0, 5, 11]), (3, 4)), S(np.array([[7]]), (2, 2, 2)), S(np.array(3), (5,))],
    gradient=False, result=None)
row("select_scatter", lambda d: [S(d(2, 3), d(3), 0, 1), S(d(2, 3), d(2), 1, -1), S(d.transposed(2, 3), d(3), 0, 0)],
    errors=lambda d: [E("src|size|shape", d(2, 3), d(2), 0, 0)])
row("slice_scatter", lambda d: [S(d(5, 2), d(2, 2), 0, 1, 3), S(d(2, 5), d(2, 3), 1, None, None, 2), S(d(3), d(3)),
    S(d(4), d(2), start=-2)])
row("diagonal_scatter", lambda d: [S(d(3, 3), d(3)), S(d(3, 3), d(2), 1), S(d(2, 3, 3), d(3, 2), 0, 0, 1)])
row("Tensor.sum_to_size", lambda d: [S(d(2, 3), 1, 3), S(d(2, 3), 3), S(d(2, 3), (2, 1)), S(d(2, 3), 2, 3), S(d(2, 3), 1)],
    errors=lambda d: [E("expandable", d(2, 3), 2)])
