"""Losses."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import E, S, const, distinct, edge, large, positive, probability, rough, row

F = "nn.functional."
REDUCTIONS = ("mean", "sum", "none")


def labels(d, *shape, classes=4):
    return d.int(*shape, low=0, high=classes)


def entropy(d):
    x, y = lambda: d(3, 4), labels(d, 3)
    w = const(d(4, domain=positive))
    gone = np.array([1, -100, 3])
    for r in REDUCTIONS:
        yield from (S(x(), y, reduction=r), S(x(), y, w, reduction=r), S(x(), gone, reduction=r),
            S(x(), gone, w, label_smoothing=0.1, reduction=r), S(x(), y, ignore_index=int(y[0]), reduction=r),
            S(x(), y, label_smoothing=0.3, reduction=r))
        yield from (S(d(2, 4, 3), labels(d, 2, 3), w, reduction=r),
            S(d(2, 4, 3, 2), labels(d, 2, 3, 2), label_smoothing=0.1, reduction=r),
            S(x(), d(3, 4, domain=probability), reduction=r),
            S(x(), d(3, 4, domain=probability), w, label_smoothing=0.2, reduction=r),
            S(d(2, 4, 3), d(2, 4, 3, domain=probability), w, reduction=r))
    yield from (S(d(4), np.array(2)), S(d(4), d(4, domain=probability)), S(x() * 200, y), S(d.transposed(3, 4), y),
        S(d.flipped(3, 4), y), rough(d(3, 4), np.full(3, -100)), rough(d(0, 4), labels(d, 0)),
        rough(d(0, 4), labels(d, 0), reduction="sum"), rough(np.array([[0.0, -np.inf], [np.inf, 1.0]]),
        np.array([0, 1])), S(d(2, 1), np.array([0, -100])), large(d(40, 30) * 20, np.arange(40) % 30),
        large(d(300, 120), np.where(np.arange(300) % 7, np.arange(300) % 120, -100), reduction="sum"),
        large(d(300, 120), np.where(np.arange(300) % 7, np.arange(300) % 120, -100), label_smoothing=0.2))


row(F + "cross_entropy", entropy, tol=4, errors=lambda d: [E("(?s)4", d(3, 4), np.array([0, 1, 4])),
    E("(?s)-1", d(3, 4), np.array([0, 1, -1])), E("(?s)3.*2", d(3, 4), labels(d, 2)),
    E("reduction|avg", d(3, 4), labels(d, 3), reduction="avg"), E("label_smoothing", d(3, 4), labels(d, 3),
    label_smoothing=1.5), E("(?s)4.*3|3.*4", d(3, 4), labels(d, 3), const(d(3)))])


def likelihood(d):
    w, gone = const(d(4, domain=positive)), np.array([1, -100, 3])
    for r in REDUCTIONS:
        yield from (S(d(3, 4), labels(d, 3), reduction=r), S(d(3, 4), labels(d, 3), w, reduction=r),
            S(d(3, 4), gone, w, reduction=r), S(d(2, 4, 3), labels(d, 2, 3), w, ignore_index=2, reduction=r),
            S(d(2, 4, 3, 2), labels(d, 2, 3, 2), reduction=r))
    yield from (S(d(4), np.array(2)), rough(d(3, 4), np.full(3, -100)), S(d.transposed(3, 4), labels(d, 3)))


row(F + "nll_loss", likelihood, errors=lambda d: [E("(?s)4", d(3, 4), np.array([0, 1, 4])),
    E("(?s)3.*2", d(3, 4), labels(d, 2))])


def pairs(*options, second=None, broadcast=True):
    def make(d):
        for o in options or ({},):
            for r in REDUCTIONS:
                yield S(d(3, 4), d(3, 4, domain=second), reduction=r, **o)
            yield from (S(d(), d(domain=second), **o), S(d.transposed(3, 4), d.flipped(3, 4, domain=second), **o),
                rough(d(0), d(0, domain=second), **o), S(d(0), d(0, domain=second), reduction="sum", **o))

    return make


MISMATCH = lambda d: [E("(?s)3.*2", d(3, domain=probability), d(2, domain=probability)),
    E("reduction|avg", d(3, domain=probability), d(3, domain=probability), reduction="avg")]
row(F + "mse_loss", pairs(), errors=MISMATCH)
row(F + "l1_loss", pairs(), domain=distinct, errors=MISMATCH)
row(F + "smooth_l1_loss", pairs({}, {"beta": 0.3}), domain=distinct, errors=MISMATCH)
row(F + "huber_loss", pairs({}, {"delta": 0.3}), domain=distinct, errors=MISMATCH)


def binary(logits):
    def make(d):
        weight = [{}, {"weight": const(d(4, domain=positive))}, {"weight": const(d(3, 4, domain=positive))}]
        if logits:
            weight += [{"pos_weight": const(d(4, domain=positive))}]
            weight += [{"pos_weight": const(d(domain=positive)), "weight": const(d(3, 1, domain=positive))}]
        for o in weight:
            for r in REDUCTIONS:
                yield S(d(3, 4), d(3, 4, domain=probability), reduction=r, **o)
        yield from (S(d(), const(np.array(1.0))), S(d.transposed(3, 4), const(d.bool(3, 4).astype(float))),
            S(d(0), d(0), reduction="sum"))
        if logits:
            yield from (S(d(3) * 100, const(np.array([0.0, 1.0, 0.0]))),
                rough(np.array([0.0, 800.0, -800.0]), const(np.array([1.0, 1.0, 1.0]))))
        else:
            yield edge(np.array([0.0, 1.0, 0.0, 1.0]), const(np.array([0.0, 1.0, 1.0, 0.0])))

    return make


row(F + "binary_cross_entropy", binary(False), domain=probability, tol=100,
    errors=lambda d: [*MISMATCH(d), E("(?s)0.*1", np.array([1.5]), np.array([1.0]))])
row(F + "binary_cross_entropy_with_logits", binary(True), errors=MISMATCH)
# PyTorch takes no gradient for pos_weight
row("a learnt pos_weight", lambda d: [S(d(3, 4), d(3, 4, domain=probability), d(4, domain=positive)), S(d(3), d(3), d())],
    call=lambda m, x, y, w: m.nn.functional.binary_cross_entropy_with_logits(x, y, pos_weight=w), torch=False)
row(F + "kl_div", lambda d: [S(d(3, 4), d(3, 4, domain=positive), reduction=r) for r in (*REDUCTIONS,
    "batchmean")] + [S(d(3, 4), d(3, 4), reduction="sum", log_target=True), rough(d(3), np.array([0.0, 1.0, 0.5]))])
