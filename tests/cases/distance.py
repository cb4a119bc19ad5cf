"""Distances and angles between vectors."""

import numpy as np

from tests.cases.table import Draw, E, S, distinct, edge, rough, row

FULL = ("float32", "float64")
P = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf"))


def off_ties(rng, size):
    """No two differences of the same size, so that the largest of them is one."""
    return np.cumsum(rng.uniform(0.05, 0.3, size))[rng.permutation(size)] - 2


row("dist", lambda d: [(S if p else edge)(d(3, 4), d(3, 4), p) for p in (*P, -1.0)] + [S(d(3, 4), d(4)), S(d(), d()), S(d(0), d(0)), rough(np.ones(3), np.ones(3)), S(d.transposed(3, 4), d.flipped(3, 4), 3)], domain=off_ties, dtypes=FULL, tol=4,
    errors=lambda d: [E("(?s)3.*2", d(3), d(2)), E("(?i)float|dtype", d.int(3), d.int(3))])  # fmt: skip
row("nn.functional.pairwise_distance", lambda d: [S(d(3, 4), d(3, 4), p) for p in P[1:]] + [S(d(4), d(4)), S(d(3, 4), d(4), keepdim=True), S(d(2, 3, 4), d(3, 4), eps=0.1), S(d(0, 3), d(0, 3)), rough(np.ones((2, 3)), np.ones((2, 3)))], domain=off_ties, dtypes=FULL, tol=4,
    errors=lambda d: [E("(?s)3.*2", d(2, 3), d(2, 2))])  # fmt: skip
for name in ("cosine_similarity", "nn.functional.cosine_similarity"):
    row(name, lambda d: [S(d(3, 4), d(3, 4)), S(d(3, 4), d(3, 4), dim=0), S(d(4), d(4), dim=0), S(d(2, 3, 4), d(3, 1), dim=-1), S(d(2, 3), d(2, 3), dim=1, eps=0.5), S(d(0, 3), d(0, 3)), rough(np.zeros((2, 3)), d(2, 3)), S(d.transposed(3, 4), d.flipped(3, 4)), rough(d(3, 4) * 1e3, d(3, 4) * 1e-3)], dtypes=FULL, tol=4,
        errors=lambda d: [E("(?s)3.*2", d(2, 3), d(2, 2)), E("(?s)range|2", d(2, 3), d(2, 3), 2), E("(?i)float", d.int(2, 3), d.int(2, 3))])  # fmt: skip


def tables(d: Draw):
    for p in P:
        make = rough if p in (0.5, float("inf")) else S  # too steep, or too near to a tie, for differences
        yield from (make(d(3, 4), d(5, 4), p), make(d(2, 3, 2), d(2, 4, 2), p))
    yield from (S(d(3, 4), d(2, 5, 4)), S(d(2, 1, 3, 2), d(5, 2, 2)), S(d(0, 3), d(2, 3)), S(d.transposed(3, 4), d.flipped(2, 4)), S(d(2, 3), d(2, 3), compute_mode="use_mm_for_euclid_dist"), S(d(2, 3), d(2, 3), 2.0, "donot_use_mm_for_euclid_dist"))
    yield from (S(d(27, 3, domain=distinct), d(4, 3, domain=distinct)), rough(np.ones((2, 3)), np.ones((2, 3))), rough(np.ones((2, 3)), np.ones((2, 3)), 1.0))


row("cdist", tables, domain=off_ties, dtypes=FULL, tol=20, errors=lambda d: [E("(?s)3.*2", d(2, 3), d(2, 2)), E("2D", d(3), d(2, 3)), E("negative", d(2, 3), d(2, 3), -1.0), E("(?i)float", d.int(2, 3), d.int(2, 3)), E("compute_mode", d(2, 3), d(2, 3), 2.0, "fast")])
row("nn.functional.pdist", lambda d: [S(d(4, 3)), S(d(4, 3), 1.0), S(d(3, 2), p=3.0), S(d(5, 2), float("inf")), S(d(1, 3)),
    S(d.transposed(4, 3)), S(d(3, 4), 0.0)], tol=4, second=False, errors=lambda d: [E("(?i)matrix|2D", d(3))])
row("pdist", lambda d: [S(d(4, 3))], tol=4, second=False)
