"""Scaled dot-product attention and embeddings."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import FLOATS, E, S, const, distinct, large, rough, row


def attentions(d):
    q, k, v = (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 6)
    some = d.bool(3, 5)
    some[:, 0] = True  # no row without a key
    yield from (S(d(*q), d(*k), d(*v)), S(d(3, 4), d(5, 4), d(5, 4)), S(d(2, 3, 4), d(2, 5, 4), d(2, 5, 4)),
        S(d(*q), d(*k), d(*v), scale=0.3), S(d(*q), d(*k), d(*v), const(d(3, 5))),
        S(d(*q), d(*k), d(*v), const(d(2, 1, 1, 5))))
    yield from (S(d(*q), d(*k), d(*v), some), S(d(*q), d(*k), d(*v), attn_mask=some[None, None]),
        S(d(2, 2, 3, 4), d(2, 2, 3, 4), d(2, 2, 3, 4), is_causal=True), S(d(*q), d(*k), d(*v), is_causal=True),
        S(d(*q), d(*k), d(*v), d(2, 2, 3, 5)), S(d(*q), d(*k), d(*v), d(3, 5)))
    hidden = some.copy()
    hidden[1] = False  # this row has none: zeros
    yield from (S(d(2, 1, 3, 4), d(1, 2, 5, 4), d(1, 2, 5, 6)), S(d(*q), d(*k), d(*v), hidden))
    yield from (S(d(2, 4, 3, 4), d(2, 2, 5, 4), d(2, 2, 5, 4), enable_gqa=True),
        S(d(1, 1, 1, 4), d(1, 1, 1, 4), d(1, 1, 1, 4)), S(d.transposed(2, 2, 3, 4), d.transposed(2, 2, 3, 4),
        d.transposed(2, 2, 3, 4)))


row("nn.functional.scaled_dot_product_attention", attentions, dtypes=FLOATS, tol=4,
    errors=lambda d: [E("(?s)4.*5|5.*4", d(2, 3, 4), d(2, 3, 5), d(2, 3, 4)), E("(?i)is_causal", d(2, 3, 4), d(2, 3, 4),
    d(2, 3, 4), const(d(3, 3)), is_causal=True)])

row("scaled_dot_product_attention (dropout)", lambda d: [S(d(2, 3, 4), d(2, 5, 4), d(2, 5, 3), dropout_p=0.4),
    S(d(6, 4), d(6, 4), d(6, 4), dropout_p=0.2, is_causal=True), S(d(3, 4), d(5, 4), d(5, 2), dropout_p=0.5,
    attn_mask=const(np.array([[True, False, True, True, True]] * 2 + [[False] * 5])))], seeded=True, tol=4,
    call=lambda m, *a, **o: m.nn.functional.scaled_dot_product_attention(*a, **o), result=None)

ids = lambda d, *shape: d.int(*shape, low=0, high=4)
# the row of padding_idx gets no gradient, whatever the differences say
row("nn.functional.embedding", lambda d: [S(ids(d, 5), d(4, 3)), S(ids(d, 2, 3), d(4, 3)), S(np.array(2), d(4, 3)),
    S(np.array([0, 0, 0]), d(4, 3)), S(ids(d, 0), d(4, 3)), rough(ids(d, 6), d(4, 3), padding_idx=1),
    rough(ids(d, 6), d(4, 3), padding_idx=-1), S(ids(d, 5).astype("int32"), d(4, 3)), S(ids(d, 5), d.transposed(4, 3)),
    large(ids(d, 2, 9), d(4, 150), padding_idx=1), large(ids(d, 2, 90), d.transposed(4, 7))],
    errors=lambda d: [E("(?s)(4|range)", np.array([4]), d(4, 3)), E("(?i)int", d(2), d(4, 3)),
    E("(?s)-1|range", np.array([-1]), d(4, 3))])
row("nn.functional.one_hot", lambda d: [S(ids(d, 5), 4), S(ids(d, 2, 3), num_classes=6), S(np.array([0, 2])),
    S(np.array(1), 3)], gradient=False, dtypes=(), result=None, errors=lambda d: [E("5.*3", np.array([5]), 3),
    E("negative", np.array([-1]), 3)])
row("nn.functional.embedding (scaled by frequency)", lambda d: [rough(np.array([0, 1, 1, 3, 1]), d(4, 3),
    scale_grad_by_freq=True), rough(np.array([[0, 1], [2, 2]]), d(4, 3), padding_idx=1, scale_grad_by_freq=True)],
    call=lambda m, *args, **options: m.nn.functional.embedding(*args, **options), result=None)


def bags(d):
    index, starts = np.array([0, 3, 1, 1, 2, 3, 0]), np.array([0, 2, 2, 5])
    for mode in ("sum", "mean", "max"):
        yield from (S(index, d(4, 3), starts, mode=mode), S(index[:6].reshape(2, 3), d(4, 3), mode=mode))
        yield from (S(index, d(4, 3), np.array([0, 3, 7]), mode=mode, include_last_offset=True), S(index[:0], d(4, 3), starts[:2] * 0, mode=mode))
        yield from (rough(index, d(4, 3), starts, mode=mode, padding_idx=1), S(index, d(4, 3), starts[:1], mode=mode))
    yield from (S(index, d(4, 3), starts, mode="sum", per_sample_weights=d(7)), S(index[:6].reshape(2, 3), d(4, 3), mode="sum", per_sample_weights=d(2, 3)))
    yield from (rough(index, d(4, 3), starts, mode="sum", per_sample_weights=d(7), padding_idx=3), S(index.astype("int32"), d(4, 3), starts.astype("int32")))
    yield from (S(index, d(4, 3), starts), S(index, d(4, 3), starts, max_norm=None, norm_type=2.0))


k = lambda *values: np.array(values, np.int64)
row("nn.functional.embedding_bag", bags, domain=distinct, dtypes=("float32", "float64"), errors=lambda d: [E("offsets", k(0, 1), d(4, 3)),
    E("2D|offsets", np.zeros((2, 2), int), d(4, 3), k(0)), E(r"offsets\[0\]", k(0, 1), d(4, 3), k(1)), E("(?s)offsets.*2", k(0, 1), d(4, 3), k(0, 9)),
    E("mode", k(0, 1), d(4, 3), k(0), mode="min"), E("per_sample_weights", k(0, 1), d(4, 3), k(0), per_sample_weights=d(2)),
    E("(?s)2.*3|3.*2", k(0, 1), d(4, 3), k(0), mode="sum", per_sample_weights=d(3)), E("(?s)7|range", k(0, 7), d(4, 3), k(0)),
    E("(?i)int|Long", d(2), d(4, 3), k(0))])
