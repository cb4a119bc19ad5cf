"""Losses with margins, and likelihoods."""

import numpy as np

from tests.cases.table import Draw, E, S, const, edge, positive, probability, rough, row

F = "nn.functional."
REDUCTIONS = ("mean", "sum", "none")
FULL = ("float32", "float64")


def signs(d: Draw, *shape: int) -> const:
    return const(d.rng.choice([-1.0, 1.0], shape))


def reduced(*samples):
    """Each sample with every reduction, and the old spelling of it."""
    for s in samples:
        for r in REDUCTIONS:
            yield S(*s.args, **s.kwargs, reduction=r)
    yield S(*samples[0].args, **samples[0].kwargs, size_average=False)
    yield S(*samples[0].args, **samples[0].kwargs, reduce=False)


AVG = lambda *args, **o: E("reduction|avg", *args, **o, reduction="avg")  # noqa: E731
row(F + "margin_ranking_loss", lambda d: [*reduced(S(d(5), d(5), signs(d, 5)), S(d(3, 4), d(3, 4), signs(d, 3, 4), margin=0.7)), S(d(3), d(3), d(3)), S(d(0), d(0), d(0), reduction="sum")], dtypes=FULL, errors=lambda d: [AVG(d(3), d(3), d(3)), E("(?i)dim", d(3), d(3), d(3, 1)), E("_loss.*(?s:3.*2|2.*3)", d(3), d(2), d(3))])
row(F + "hinge_embedding_loss", lambda d: [*reduced(S(d(5), signs(d, 5)), S(d(3, 4), signs(d, 3, 4), margin=0.3)), rough(d(4), np.array([1.0, -1.0, 0.0, 2.0])), S(d(3), signs(d, 3))], dtypes=FULL, errors=lambda d: [AVG(d(3), d(3)), E("_loss.*(?s:3.*2|2.*3)", d(3), d(2))])
row(F + "soft_margin_loss", lambda d: [*reduced(S(d(5), signs(d, 5)), S(d(3, 4), const(d(3, 4)))), S(d(), signs(d)), S(d(0), const(d(0)), reduction="sum")], dtypes=FULL, errors=lambda d: [AVG(d(3), d(3)), E("_loss.*(?s:3.*2|2.*3)", d(3), d(2))])
row(F + "cosine_embedding_loss", lambda d: [*reduced(S(d(5, 3), d(5, 3), signs(d, 5)), S(d(5, 3), d(5, 3), signs(d, 5), margin=-0.5)), S(d(3), d(3), signs(d)), edge(np.zeros((2, 3)), d(2, 3), const(np.array([1.0, -1.0])))], dtypes=FULL, tol=4,
    errors=lambda d: [AVG(d(2, 3), d(2, 3), d(2)), E("(?s)3.*4|3", d(2, 3), d(2, 4), d(2)), E("(?i)target|1D|dim", d(2, 3), d(2, 3), d(2, 3))])  # fmt: skip
TRIPLE = lambda d, *s: (d(*s), d(*s), d(*s))  # noqa: E731
row(F + "triplet_margin_loss", lambda d: [*reduced(S(*TRIPLE(d, 5, 3)), S(*TRIPLE(d, 5, 3), margin=3.0, swap=True), S(*TRIPLE(d, 4, 3), p=1.0, eps=0.01)), S(*TRIPLE(d, 3)), S(*TRIPLE(d, 4, 2), margin=2.5, p=3)], dtypes=FULL, tol=4,
    errors=lambda d: [AVG(*TRIPLE(d, 2, 3)), E("margin", *TRIPLE(d, 2, 3), margin=0.0), E("(?i)dim", d(2, 3), d(2, 3), d(3)), E("_loss.*(?s:3.*2|2.*3)", d(4, 3), d(4, 3), d(4, 2))])  # fmt: skip
row(F + "triplet_margin_with_distance_loss", lambda d: [S(*TRIPLE(d, 5, 3), reduction=r) for r in REDUCTIONS] + [S(*TRIPLE(d, 5, 3), distance_function=lambda a, b: (a - b).abs().sum(-1), margin=3.0, swap=True)], dtypes=FULL, tol=4, errors=lambda d: [E("margin", *TRIPLE(d, 2, 3), margin=-1.0)])
CLASS = lambda d, n: d.int(n, low=0, high=4)  # noqa: E731
row(F + "multi_margin_loss", lambda d: [*reduced(S(d(5, 4), CLASS(d, 5)), S(d(5, 4), CLASS(d, 5), p=2), S(d(5, 4), CLASS(d, 5), 1, 0.3, const(d(4, domain=positive))), S(d(5, 4), CLASS(d, 5), 2, 2.0, const(d(4, domain=positive)))), S(d(4), np.array(2)), S(d(), np.array(0)), rough(d.transposed(3, 4), CLASS(d, 3))], dtypes=FULL,
    errors=lambda d: [AVG(d(2, 4), CLASS(d, 2)), E("4", d(2, 4), np.array([0, 4])), E("-1|range", d(2, 4), np.array([0, -1])), E("(?s)2.*3|target|size", d(2, 4), CLASS(d, 3)), E("p", d(2, 4), CLASS(d, 2), p=3), E("weight", d(2, 4), CLASS(d, 2), weight=const(d(3)))])  # fmt: skip
LISTS = np.array([[3, 0, -1, 1], [2, -1, -1, -1], [-1, 0, 1, 2], [0, 1, 2, 3]])
row(F + "multilabel_margin_loss", lambda d: [*reduced(S(d(4, 4), LISTS)), S(d(4), LISTS[0]), S(d(), np.array(0)), S(d.transposed(4, 4), LISTS)], dtypes=FULL, errors=lambda d: [AVG(d(4, 4), LISTS), E("4", d(2, 4), np.full((2, 4), 4)), E("(?s)2, 4.*4|size|shape", d(2, 4), LISTS)])
row(F + "multilabel_soft_margin_loss", lambda d: [*reduced(S(d(3, 4), d(3, 4, domain=probability)), S(d(3, 4), d(3, 4, domain=probability), const(d(4, domain=positive)))), S(d(4), d(4, domain=probability)), S(d(2, 3, 4), d(2, 3, 4))], dtypes=FULL, errors=lambda d: [AVG(d(2, 3), d(2, 3)), E("_loss.*(?s:3.*2|2.*3)", d(2, 3), d(2, 2))])
row(F + "poisson_nll_loss", lambda d: [*reduced(S(d(3, 4), d(3, 4)), S(d(3, 4), d(3, 4) * 3, log_input=False), S(d(3, 4), const(d(3, 4) * 3), full=True), S(d(3, 4), const(d(3, 4) * 3), False, True, eps=1e-3)), rough(d(3), const(np.array([0.0, 1.0, 2.0])), full=True)], domain=positive, dtypes=FULL, errors=lambda d: [AVG(d(3), d(3)), E("_loss.*(?s:3.*2|2.*3)", d(3), d(2))])
V = lambda d, *s: d(*s, domain=positive)  # noqa: E731
row(F + "gaussian_nll_loss", lambda d: [S(d(3, 4), d(3, 4), V(d, 3, 4), reduction=r, **o) for r in REDUCTIONS for o in ({}, {"full": True})] + [S(d(3, 4), d(3, 4), V(d, 3)), S(d(3, 4), d(3, 4), V(d, 3, 1), eps=0.5), S(d(3, 4), d(3, 4), 0.7), rough(d(3), d(3), np.array([0.0, 1e-9, 1.0]))], dtypes=FULL, tol=10,
    errors=lambda d: [AVG(d(3), d(3), V(d, 3)), E("negative", d(3), d(3), -V(d, 3)), E("(?i)var|size", d(3, 4), d(3, 4), V(d, 4)), E("_loss.*(?s:3.*2|2.*3)", d(3), d(2), V(d, 3))])  # fmt: skip
