"""Determinants, inverses, factorizations, norms of matrices. Signs and bases of vectors differ between libraries: the
rows compare what does not depend on them."""

import numpy as np

from tests.cases.table import Draw, E, S, const, rough, row

FULL = ("float32", "float64")
L = "linalg."


def wrong(d: Draw, *rest, square=True):
    return ([E("(?i)square", d(2, 3), *rest)] if square else []) + [
        E("(?i)dim", d(3), *rest),
        E("(?i)float|dtype|int|long", d.int(3, 3), *rest),
    ]


def regular(d: Draw, *shape: int) -> np.ndarray:
    """Square matrices far from singular ones."""
    return d(*shape) + 3 * np.eye(shape[-1])


def matrices(d: Draw):
    yield from (
        S(regular(d, 3, 3)),
        S(regular(d, 2, 4, 4)),
        S(regular(d, 1, 1)),
        S(regular(d, 2, 3, 2, 2)),
        S(regular(d, 3, 3).T),
        S(regular(d, 3, 3)[::-1, ::-1]),
        S(d(0, 2, 2)),
    )


SINGULAR = lambda d: [E("(?i)singular|invers", np.zeros((2, 2)))]  # noqa: E731
row(L + "inv", lambda d: [*matrices(d), S(d(0, 0))], dtypes=FULL, tol=40, errors=lambda d: [*wrong(d), *SINGULAR(d)])
row(
    L + "det",
    lambda d: [*matrices(d), S(d(0, 0)), S(regular(d, 3, 3)[::-1]), S(-regular(d, 2, 3, 3))],
    dtypes=FULL,
    tol=40,
    errors=wrong,
)
row(
    L + "det (singular, where PyTorch's gradient is 0)",
    lambda d: [S(np.array([[1.0, 2.0], [2.0, 4.0]])), S(np.zeros((3, 3))), S(np.diag([1.0, 2.0, 0.0]))],
    call=lambda m, x: m.linalg.det(x),
    dtypes=FULL,
    second=False,
    torch=False,
)
row(L + "slogdet", lambda d: [*matrices(d), S(d(0, 0))], dtypes=FULL, tol=40, errors=wrong)
row("logdet", lambda d: [*matrices(d), S(d(0, 0))], dtypes=FULL, tol=40, errors=wrong)
row(L + "solve", lambda d: [
    S(regular(d, 3, 3), d(3)), S(regular(d, 3, 3), d(3, 2)), S(regular(d, 2, 3, 3), d(2, 3, 2)), S(regular(d, 2, 3, 3), d(2, 3)), S(regular(d, 3, 3), d(2, 3, 1)), S(regular(d, 2, 1, 3, 3), d(4, 3, 2)), S(regular(d, 2, 3, 3), d(3, 2)),
    S(regular(d, 3, 3), d(2, 3), left=False), S(regular(d, 3, 3).T, d.flipped(3, 2)), S(regular(d, 3, 3), d(3, 0)), S(d(0, 3, 3), d(0, 3, 2)),
], dtypes=FULL, tol=40, errors=lambda d: [*wrong(d, d(3)), E("(?i)singular", np.zeros((2, 2)), d(2)), E("(?s)3.*2|2.*3", regular(d, 3, 3), d(2, 2))])  # fmt: skip


def symmetric(function):
    """The function of (x + x^T) / 2: differences then move along symmetric matrices, where it is defined."""
    return lambda m, x, *args, **options: function(m, (x + x.transpose(-2, -1)) / 2, *args, **options)


def definite(m, x, **options):
    return m.linalg.cholesky(
        m.matmul(x, x.transpose(-2, -1)) + 0.5 * m.eye(x.shape[-2], dtype=x.dtype, device=x.device), **options
    )


row(
    L + "cholesky of x x^T",
    lambda d: [*matrices(d), S(regular(d, 3, 3), upper=True), S(d(2, 3, 5))],
    call=definite,
    covers=("cholesky",),
    dtypes=FULL,
    tol=40,
)
row(
    L + "cholesky",
    lambda d: [
        S(np.array([[4.0, 1.0], [1.0, 3.0]])),
        S(np.eye(3)),
        S(d(0, 0)),
        rough(np.array([[4.0, 3.0], [1.0, 3.0]])),
        S(np.eye(2) * 3, upper=True),
    ],
    call=symmetric(lambda m, x, **o: m.linalg.cholesky(x, **o)),
    dtypes=FULL,
    tol=10,
)
row(
    L + "cholesky (its gradient is symmetric)",
    lambda d: [rough(np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 5.0]]))],
    call=lambda m, x: m.linalg.cholesky(x),
    dtypes=FULL,
    tol=10,
    result=None,
)
row(
    L + "cholesky (errors)",
    lambda d: [S(const(np.eye(2)))],
    call=lambda m, x: m.linalg.cholesky(x),
    gradient=False,
    dtypes=FULL,
    errors=lambda d: [*wrong(d), E("(?i)definite", -np.eye(3)), E("(?i)definite", np.stack([np.eye(2), -np.eye(2)]))],
)

SPREAD = lambda d, n, *batch: d(*batch, n, n) + np.diag(3.0 * np.arange(n) - 2)  # noqa: E731


def spectrum(m, x, **options):
    """The values, and projections on the eigenvectors."""
    w, Q = m.linalg.eigh(x, **options)
    return w, m.matmul(Q * w.sin().unsqueeze(-2), Q.transpose(-2, -1)), Q.abs()


row(
    L + "eigh",
    lambda d: [
        S(SPREAD(d, 3)),
        S(SPREAD(d, 4, 2)),
        S(SPREAD(d, 1)),
        S(SPREAD(d, 3).T),
        S(SPREAD(d, 3), UPLO="U"),
        S(d(0, 3, 3)),
        S(d(0, 0)),
        rough(np.diag([1.0, 2.0, 4.0])),
    ],
    call=symmetric(spectrum),
    covers=("eigh",),
    dtypes=FULL,
    tol=100,
)
row(
    L + "eigh (errors)",
    lambda d: [S(const(np.diag([1.0, 2.0])))],
    call=lambda m, x, **o: m.linalg.eigh(x, **o).eigenvalues,
    gradient=False,
    dtypes=FULL,
    errors=lambda d: [*wrong(d), E("(?i)UPLO|'X'", d(2, 2), UPLO="X")],
)
row(
    L + "eigh (one half is read)",
    lambda d: [S(const(SPREAD(d, 3)), UPLO=half) for half in "LU"],
    call=lambda m, x, **o: m.linalg.eigh(x, **o).eigenvalues,
    gradient=False,
    dtypes=FULL,
    tol=40,
)
row(
    L + "eigh (values alone)",
    lambda d: [S(SPREAD(d, 3)), rough(np.eye(3) * 2)],
    call=symmetric(lambda m, x: m.linalg.eigh(x).eigenvalues),
    dtypes=FULL,
    tol=40,
)


def parts(m, x, full_matrices=True):
    """The singular values, the vectors but for their signs, and products in which those cancel."""
    U, s, Vh = m.linalg.svd(x, full_matrices=full_matrices)
    k = s.shape[-1]
    U, Vh = U[..., :k], Vh[..., :k, :]
    return s, U.abs(), Vh.abs(), m.matmul(U * s.cos().unsqueeze(-2), Vh)


def spans(m, x):
    """What completes the bases is orthogonal, and has no gradient."""
    U, s, Vh = m.linalg.svd(x)
    return m.matmul(U, U.transpose(-2, -1)).detach(), m.matmul(Vh, Vh.transpose(-2, -1)).detach()


TALL = lambda d, m, n, *batch: d(*batch, m, n) + 3 * np.eye(m, n) * np.arange(1, n + 1)  # noqa: E731
row(
    L + "svd",
    lambda d: [
        S(TALL(d, 3, 3), full_matrices=False),
        S(TALL(d, 4, 2), full_matrices=False),
        S(TALL(d, 2, 4), full_matrices=False),
        S(TALL(d, 4, 2)),
        S(TALL(d, 2, 4, 3)),
        S(TALL(d, 1, 3)),
        S(TALL(d, 2, 4).T),
        S(d(0, 3, 2)),
        S(d(3, 0)),
    ],
    call=parts,
    covers=("svd",),
    dtypes=FULL,
    tol=100,
    errors=lambda d: wrong(d, square=False),
)
row(
    L + "svd (completed bases)",
    lambda d: [S(const(d(4, 2))), S(const(d(2, 4))), S(const(d(3, 3)))],
    call=spans,
    gradient=False,
    dtypes=FULL,
    tol=20,
)
row(
    L + "svd (values alone)",
    lambda d: [S(d(3, 2)), rough(np.eye(3))],
    call=lambda m, x: m.linalg.svd(x, full_matrices=False).S,
    dtypes=FULL,
    tol=100,
)
row(
    L + "qr",
    lambda d: [
        S(TALL(d, 3, 3)),
        S(TALL(d, 4, 2)),
        S(TALL(d, 2, 4)),
        S(TALL(d, 4, 2, 3)),
        S(TALL(d, 2, 3, 2)),
        S(TALL(d, 2, 4).T),
        S(TALL(d, 1, 1)),
        S(TALL(d, 3, 3), mode="complete"),
        S(TALL(d, 2, 4), mode="complete"),
        S(d(0, 3, 2)),
    ],
    dtypes=FULL,
    tol=100,
    result="same",
    errors=lambda d: [*wrong(d, square=False), E("mode", d(2, 2), mode="full")],
)
row(
    L + "qr (no gradient)",
    lambda d: [S(const(d(4, 2)), mode="complete"), S(const(d(4, 2)), mode="r"), S(const(d(2, 4)), mode="r")],
    call=lambda m, x, mode: m.linalg.qr(x, mode=mode),
    gradient=False,
    dtypes=FULL,
    tol=20,
)


def lengths(d: Draw):
    """Away from zero, and without ties."""

    def magnitude(*shape):
        ranks = (d.rng.permutation(int(np.prod(shape))) + 1.0).reshape(shape)
        return ranks * 0.25 * d.rng.choice([-1.0, 1.0], shape)

    for ord in (2, 1, 3, 0.5, -1, float("inf"), -float("inf"), 0):
        yield from (
            S(magnitude(5), ord),
            S(magnitude(2, 3, 4), ord, dim=1),
            S(magnitude(2, 3, 4), ord, dim=(0, 2), keepdim=True),
        )
    yield from (S(magnitude(3, 4)), S(magnitude(2, 0)), S(magnitude(2, 3), dtype=None), S(magnitude(3, 4).T, 1, 0))
    yield from (
        rough(np.array(zeros), ord) for zeros in ([0.0, 0.0, 0.0], [1.0, 0.0, -2.0]) for ord in (2, 1, 3, 0.5, -1, 0)
    )


row(
    L + "vector_norm",
    lengths,
    dtypes=FULL,
    tol=4,
    errors=lambda d: [
        E("(?i)empty|least one|identity", d(0), float("inf")),
        E("(?i)float|dtype|int|long", d.int(3)),
        E(r"(?s)-?2.*3|3.*2|range", d(2, 3), dim=3),
    ],
)
ORDS = ("fro", "nuc", float("inf"), -float("inf"), 1, -1, 2, -2)
row(L + "matrix_norm", lambda d: [s for o in ORDS for s in (S(TALL(d, 3, 2), o), S(TALL(d, 2, 3, 4), o, keepdim=True), S(d(3, 2, 4) + 1, o, dim=(0, 2)), S(d(2, 3, 2), o, dim=(1, 0), keepdim=True))] + [S(TALL(d, 3, 3))], dtypes=FULL, tol=100,
    errors=lambda d: [E("(?i)dim", d(3)), E("(?i)ord", d(2, 2), 3), E("(?i)dim|2", d(2, 2), "fro", dim=(0,)), E("(?i)different|distinct|same|dim", d(2, 2), "fro", dim=(0, 0)), E("(?i)float|dtype|int|long", d.int(3, 3))])  # fmt: skip
row(L + "norm", lambda d: [S(d(3) + 1), S(d(2, 3) + 3), S(d(2, 3, 4) + 3), S(TALL(d, 3, 2), "nuc"), S(TALL(d, 3, 2), 2), S(d(4) + 3, 3), S(d(2, 3, 4) + 3, 1, dim=1), S(d(2, 3, 4), "fro", dim=(0, 2), keepdim=True), S(d(2, 3, 4), dim=(0, 2)), S(d(2, 3), dim=-1, keepdim=True), S(d(2, 3), 2.0, dim=0)], dtypes=FULL, tol=100,
    errors=lambda d: [E("(?i)1-?D|2-?D|dim", d(2, 3, 4), 2), E("(?i)ord", d(2, 2), 3)])  # fmt: skip
row(
    "norm (nuclear)",
    lambda d: [S(TALL(d, 3, 2), "nuc"), S(TALL(d, 2, 3, 4), "nuc", dim=(1, 2), keepdim=True)],
    call=lambda m, x, *args, **o: m.norm(x, *args, **o),
    dtypes=FULL,
    tol=100,
    errors=lambda d: [E("nuc|fro", d(2, 2), "max")],
)
