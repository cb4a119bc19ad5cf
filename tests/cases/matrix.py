"""Powers, pseudoinverses, least squares, ranks, triangular systems."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.linalg import FULL, SPREAD, TALL, regular, symmetric, wrong
from tests.cases.table import E, S, const, rough, row

L = "linalg."
POWERS = lambda d: [S(regular(d, 3, 3) / 2, n) for n in (0, 1, 2, 3, 5, -1, -2)] + [S(regular(d, 2, 3, 3) / 2, 3),
    S(regular(d, 3, 3).T, 2), S(d(0, 2, 2), 2)]
for name in ("matrix_power", L + "matrix_power"):
    row(name, POWERS, dtypes=FULL, tol=60, errors=lambda d: [E("(?i)square", d(2, 3), 2)])
for name in ("matrix_exp", L + "matrix_exp"):
    row(name, lambda d: [S(d(3, 3)), S(d(2, 3, 3) * 3), S(d(1, 1)), S(d(2, 2) * 1e-3), S(d(0, 0)), S(np.zeros((2, 2))),
        S(d.transposed(3, 3))], dtypes=FULL, tol=100, errors=lambda d: [E("(?i)square", d(2, 3))])
row("chain_matmul", lambda d: [S(d(2, 3), d(3, 4), d(4, 1)), S(d(2, 5), d(5, 1), d(1, 4), d(4, 3)), S(d(2, 3))], tol=4)
row(L + "multi_dot", lambda d: [S([d(2, 3), d(3, 4)]), S([d(2, 3), d(3, 4), d(4, 1)]), S([d(3), d(3, 4), d(4)]),
    S([d(2, 5), d(5, 1), d(1, 4), d(4, 3)])], tol=4, errors=lambda d: [E("2", [d(2, 2)])])
row(L + "matmul", lambda d: [S(d(2, 3), d(3))])
row("addmv", lambda d: [S(d(2), d(2, 3), d(3)), S(d(), d(2, 3), d(3), beta=0.5, alpha=2.0), S(d.int(2), d.int(2, 3), d.int(3))],
    tol=2, errors=lambda d: [E("(?s)3|size|match", d(2), d(2, 3), d(2))])
row("addr", lambda d: [S(d(2, 3), d(2), d(3)), S(d(3), d(2), d(3), beta=0.5, alpha=2.0)])
row("addbmm", lambda d: [S(d(2, 3), d(4, 2, 5), d(4, 5, 3)), S(d(2, 3), d(2, 2, 1), d(2, 1, 3), beta=2.0, alpha=0.5)], tol=2)

LOW_RANK = lambda d: d(4, 2) @ d(2, 3)
row(L + "pinv", lambda d: [S(TALL(d, 4, 2)), S(TALL(d, 2, 4)), S(TALL(d, 3, 3)), S(TALL(d, 3, 2, 2)), S(np.eye(3) * 2),
    S(d(2, 0)), S(TALL(d, 2, 3).T)], dtypes=FULL, tol=200, errors=lambda d: wrong(d, square=False))
row(L + "pinv (of a lower rank)", lambda d: [rough(LOW_RANK(d)), rough(np.zeros((2, 3))), rough(TALL(d, 4, 2), 0.5),
    rough(TALL(d, 4, 2), atol=4.0), rough(TALL(d, 4, 2), rtol=0.1)], call=lambda m, x, *a, **o: m.linalg.pinv(x, *a, **o),
    dtypes=("float64",), tol=2000, second=False, result=None)
row(L + "pinv (symmetric)", lambda d: [S(SPREAD(d, 3))], call=symmetric(lambda m, x: m.linalg.pinv(x, hermitian=True)),
    dtypes=FULL, tol=200)
row("pinverse", lambda d: [S(TALL(d, 4, 2))], dtypes=FULL, tol=200)
row(L + "matrix_rank", lambda d: [S(TALL(d, 4, 2)), S(LOW_RANK(d)), S(np.zeros((2, 3))), S(np.stack([np.eye(2), np.ones((2, 2))])),
    S(np.diag([1.0, 0.1]), 0.5), S(np.diag([1.0, 0.1]), rtol=0.5), S(np.diag([-1.0, 0.1]), hermitian=True),
    S(np.diag([1.0, 0.1]), atol=0.05, rtol=0.5)], gradient=False, dtypes=("float64",), result=None)
row(L + "lstsq", lambda d: [S(TALL(d, 4, 2), d(4, 3)), S(TALL(d, 3, 3), d(3, 1)), S(TALL(d, 2, 4), d(2, 2)),
    S(TALL(d, 4, 2, 2), d(2, 4, 1))], call=lambda m, a, b: tuple(m.linalg.lstsq(a, b))[:3], covers=("lstsq",), tol=400,
    result=None, second=False, dtypes=FULL, errors=lambda d: [E("(?s)4.*3|size|match|fit", TALL(d, 4, 2), d(3, 1))])
row(L + "lstsq (drivers)", lambda d: [S(const(TALL(d, 4, 2)), const(d(4, 3)), v) for v in ("gels", "gelsy", "gelsd", "gelss")],
    call=lambda m, a, b, v: tuple(m.linalg.lstsq(a, b, driver=v)), tol=400, gradient=False, dtypes=())
UPPER = {"upper": True}
row(L + "solve_triangular", lambda d: [S(regular(d, 3, 3), d(3, 2), upper=True), S(regular(d, 3, 3), d(3, 2), upper=False),
    S(regular(d, 3, 3), d(2, 3), upper=True, left=False), S(regular(d, 3, 3), d(3, 2), upper=False, unitriangular=True),
    S(regular(d, 2, 3, 3), d(3, 1), upper=True)], dtypes=FULL, tol=40, errors=lambda d: [E("(?i)square", d(2, 3), d(2, 1), upper=True)])
row(L + "eigvalsh", lambda d: [S(SPREAD(d, 3)), S(SPREAD(d, 3, 2)), rough(np.eye(3) * 2)],
    call=symmetric(lambda m, x: m.linalg.eigvalsh(x)), covers=("eigvalsh",), dtypes=FULL, tol=60)
row(L + "svdvals", lambda d: [S(TALL(d, 3, 2)), S(TALL(d, 2, 4, 2)), rough(np.eye(3))], dtypes=FULL, tol=60)
row(L + "cond", lambda d: [S(TALL(d, 3, 3)), S(TALL(d, 3, 3), 2), S(TALL(d, 3, 3), -2)], dtypes=FULL, tol=200)
OTHER = (1, -1, "fro", float("inf"))
row(L + "cond (other norms)", lambda d: [S(const(TALL(d, 3, 3)), p) for p in OTHER], call=lambda m, x, p: m.linalg.cond(x, p),
    gradient=False, dtypes=(), tol=200)
row(L + "cond (other norms, which PyTorch does not differentiate)", lambda d: [S(TALL(d, 3, 3), p) for p in OTHER],
    call=lambda m, x, p: m.linalg.cond(x, p), dtypes=(), torch=False)
row(L + "vecdot", lambda d: [S(d(3), d(3)), S(d(2, 3), d(3)), S(d(2, 3), d(2, 3), dim=0)], result=None, errors=lambda d: [E("(?i)float", d.int(3), d.int(3))])
row(L + "cross", lambda d: [S(d(3), d(3)), S(d(2, 3), d(1, 3)), S(d(3, 2), d(3, 2), dim=0)],
    errors=lambda d: [E("3", d(2), d(2)), E("(?i)dim|3", d(3, 2), d(3, 2))])
row(L + "diagonal", lambda d: [S(d(2, 3, 3)), S(d(3, 4), offset=1), S(d(3, 2, 3), dim1=0, dim2=2)], view=True)


def signless(m, x, *args, **options):
    """What does not depend on the vectors' signs."""
    U, S, V = m.svd(x, *args, **options)
    k = S.shape[-1]
    return S, U[..., :k].abs(), m.matmul(U[..., :k] * S.cos().unsqueeze(-2), V[..., :k].transpose(-2, -1))


row("svd", lambda d: [S(TALL(d, 3, 3)), S(TALL(d, 4, 2)), S(TALL(d, 2, 4)), S(TALL(d, 4, 2), False), S(TALL(d, 4, 2, 2))],
    call=signless, covers=("svd",), dtypes=FULL, tol=100)
row("svd (values alone)", lambda d: [S(TALL(d, 3, 2))], call=lambda m, x: m.svd(x, compute_uv=False), dtypes=FULL, tol=60)
row("cholesky", lambda d: [S(np.eye(2) * 3), S(np.array([[4.0, 1.0], [1.0, 3.0]]), True)],
    call=symmetric(lambda m, x, *a: m.cholesky(x, *a)), covers=("cholesky",), dtypes=FULL, tol=10)
row("qr", lambda d: [S(TALL(d, 4, 2)), S(TALL(d, 3, 3), False)], dtypes=FULL, tol=100)
