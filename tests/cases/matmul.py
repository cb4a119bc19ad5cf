"""Products."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import Draw, E, S, large, row

MISMATCH = r"(?s)2.*3.*4.*5"


def products(d: Draw):
    shapes = [((2, 3), (3, 4)), ((3, ), (3, )), ((2, 3), (3, )), ((3, ), (3, 4)), ((5, 2, 3), (5, 3, 4)),
        ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (3, )), ((3, ), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 4)),
        ((1, 2, 3), (5, 3, 1)), ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((2, 3), (3, 0)), ((4, 2, 0), (0, 3)),
        ((0, 2, 3), (3, 4)), ((0, ), (0, )), ((5, 1, 3), (5, 3, 1))]
    yield from (S(d(*a), d(*b)) for a, b in shapes)
    yield from (S(d.transposed(2, 3), d.transposed(3, 4)), S(d.flipped(2, 3), d.gapped(3, 4)),
        S(d.transposed(3, 2, 3), d(3, 3, 4)))
    x = d(3, 3)
    yield from (S(x, x), S(d.int(2, 3), d.int(3, 4)), S(d.int(3), d.int(3)))
    yield from (large(d(70, 60), d(60, 80)), large(d.transposed(90, 60), d.transposed(60, 70)),
        large(d.flipped(70, 60), d.gapped(60, 80)), large(d.transposed(6, 40, 40), d(6, 40, 40)),
        large(d(2, 3, 40, 40), np.swapaxes(d(2, 40, 3, 40), 1, 2)))


row("matmul", products, errors=lambda d: [E(MISMATCH, d(2, 3), d(4, 5)), E("(?s)3.*4", d(3), d(4)),
    E("(?i)0-?d|1-?d|dim", d(), d(3)), E("(?i)dtype|float|int|long", d(2, 2), d.int(2, 2)),
    E("(?s)2.*3|broadcast", d(2, 1, 1), d(3, 1, 1))])
row("operator @", lambda d: [S(d(2, 3), d(3, 4)), S(d(3), d(3, 2))], call=lambda m, x, y: x @ y)
row("mm", lambda d: [S(d(2, 3), d(3, 4)), S(d(0, 3), d(3, 2)), S(d.transposed(2, 3), d.flipped(3, 4)),
    S(d(1, 1), d(1, 1))], errors=lambda d: [E(MISMATCH, d(2, 3), d(4, 5)), E("mm|2-?D|matri", d(3), d(3))])
row("bmm", lambda d: [S(d(5, 2, 3), d(5, 3, 4)), S(d(0, 2, 3), d(0, 3, 4)),
    S(d.transposed(2, 3, 4), d.flipped(2, 4, 1))], errors=lambda d: [E("(?s)5.*4", d(5, 2, 3), d(4, 3, 2)),
    E("bmm|3-?D", d(2, 3), d(3, 2))])
row("mv", lambda d: [S(d(2, 3), d(3)), S(d(0, 3), d(3)), S(d.transposed(2, 3), d.flipped(3))],
    errors=lambda d: [E("(?s)2.*3.*4", d(2, 3), d(4))])
row("dot", lambda d: [S(d(3), d(3)), S(d(0), d(0)), S(d.flipped(3), d.gapped(3)), S(d.int(3), d.int(3))],
    covers=("vdot", ), errors=lambda d: [E("(?s)3.*4", d(3), d(4)), E("(?i)1-?d|dot", d(2, 2), d(2, 2))])
row("outer", lambda d: [S(d(3), d(4)), S(d(0), d(3)), S(d.flipped(2), d(1))], covers=("ger", ),
    errors=lambda d: [E("(?i)1-?d|outer", d(2, 2), d(2))])
row("addmm", lambda d: [S(d(2, 4), d(2, 3), d(3, 4)), S(d(4), d(2, 3), d(3, 4), beta=0.5, alpha=2.0),
    S(d(2, 1), d(2, 3), d(3, 4), beta=0), S(d(), d(2, 3), d(3, 4)), S(d(2), d(1, 0), d(0, 2))],
    errors=lambda d: [E(MISMATCH, d(2), d(2, 3), d(4, 5))])
row("baddbmm", lambda d: [S(d(5, 2, 4), d(5, 2, 3), d(5, 3, 4)), S(d(4), d(5, 2, 3), d(5, 3, 4), beta=0.5, alpha=2.0)])

EINSUM = [("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
    ("i,i->", (3, ), (3, )), ("i,j->ij", (3, ), (4, )), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)),
    ("ii->i", (3, 3)), ("ii", (3, 3)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("...ij,...jk->...ik", (5, 2, 3), (5, 3, 4)), ("b...,b...->b", (2, 3, 4), (2, 3, 4)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)), ("ij,j", (2, 3), (3, )), ("bi,bj->bij", (2, 3), (2, 4)),
    ("ij,ij->ij", (2, 3), (2, 3)), ("i,j,k->kji", (2, ), (3, ), (4, )), ("ij,kl->", (2, 3), (2, 2)),
    ("ijk->kij", (2, 3, 4)), ("i j, j k -> i k", (2, 3), (3, 4)), ("ij,jk->ik", (0, 3), (3, 2)), ("iij->j", (2, 2, 3)),
    ("...i,...i->...", (2, 1, 3), (4, 3))]
row("einsum", lambda d: [S(e, *(d(*s) for s in shapes)) for e, *shapes in EINSUM],
    errors=lambda d: [E("(?s)j|3", "ij,jk->ik", d(2, 3), d(4, 5)), E("z", "ij->z", d(2, 3)), E("2.*1", "ij,jk", d(2, 3)),
    E("(?s)3|2", "ijk->i", d(2, 3))])
row("tensordot", lambda d: [S(d(2, 3, 4), d(3, 4, 5)), S(d(2, 3), d(3, 4), dims=1), S(d(2, 3), d(4, 5), dims=0),
    S(d(2, 3, 4), d(4, 3, 5), dims=([1, 2], [1, 0])), S(d(3), d(3), 1)],
    errors=lambda d: [E("(?s)3.*4", d(2, 3), d(4, 5), dims=1)])
row("nn.functional.linear", lambda d: [S(d(2, 3), d(4, 3)), S(d(2, 3), d(4, 3), d(4)), S(d(5, 2, 3), d(4, 3), d(4)),
    S(d(3), d(4, 3), d(4)), S(d(3), d(4, 3)), S(d(0, 3), d(4, 3), d(4)), S(d(2, 0), d(4, 0), d(4)),
    S(d.transposed(2, 3), d.transposed(4, 3), d.flipped(4)), S(d(2, 3), d(3), None),
    large(d(5, 20, 60), d(80, 60), d(80)), large(d.transposed(70, 60), d(80, 60)), large(d(20, 60), d(300, 60), d(300))],
    errors=lambda d: [E("(?s)3.*4|4.*3", d(2, 3), d(5, 4))])
