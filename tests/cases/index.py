"""Reading and writing parts of a tensor: indexing, gather and scatter, masks, sorting."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import ALL, NUMBERS, Draw, E, S, const, distinct, large, rough, row

E_ = Ellipsis


def indices(d: Draw):
    """Index expressions into a tensor of shape (4, 3, 5)."""
    i, j = np.array([0, 2, 2, -1]), np.array([1, 0, 2, 1])
    yield from (0, -1, (1, 2), (1, -1, 3), slice(None), slice(1, 3), slice(None, None, 2), slice(3, 100), slice(2, 1),
        slice(-3, -1))
    yield from (None, E_, (E_, 0), (0, E_), (None, 1, None), (slice(None), None, 0), (E_, slice(1, 4, 2)),
        (slice(None), 1, slice(2)), (), (0, 0, 0, None))
    yield from (i, i[:2].reshape(1, 2), (i, j), (i, slice(None), j), (slice(None), j, i), (i, 1), (1, j), (E_, j),
        (i, None, j), (None, i), (slice(1, 3), j))
    yield from (i[:0], np.array(2), (np.array(1), slice(None), j), (i[:, None], j[None, :2]), (i.astype("int32"), j),
        [0, 2], ([0, 2], [1, 1]), (slice(None), [2, 0, 0]))
    mask = np.array([True, False, True, True])
    yield from (mask, (slice(None), mask[:3]), (mask, 0), (mask, None), d.bool(4, 3), d.bool(4, 3, 5),
        (0, d.bool(3, 5)), np.zeros(4, bool), (mask, np.array([0, 1, 2])), True, False, (d.bool(4, 3), 2),
        (slice(1), mask[:3], 1))


BASIC = (0, (1, 2), slice(1, 3), slice(None, None, 2), None, E_, (E_, 0), (slice(None), 1, slice(2)), (None, 1, None),
    (E_, slice(1, 4, 2)))
WRONG = lambda d: [E("(?s)4", d(4, 3), 4), E("(?s)-5|4", d(4, 3), -5), E("(?i)too many|3", d(4, 3), (0, 0, 0)),
    E("(?s)7", d(4, 3), np.array([7])), E("(?s)3.*4|4.*3", d(4, 3), np.ones(3, bool)),
    E("(?s)2.*3", d(4, 3), (np.array([0, 1]), np.array([0, 1, 2]))), E("(?i)int", d(4), 1.5),
    E("(?i)int|float|ind", d(4), np.array([0.5])), E("(?i)step|neg", d(4), slice(None, None, -1)), E("too many.*0|0-d", d(), 0)]

row("getitem", lambda d: [S(make(4, 3, 5), index) for index in indices(d) for make in (d, )] + [S(make(4, 3, 5),
    index) for index in ((1, 2), (slice(1, 3), np.array([0, 2]))) for make in (d.transposed, d.flipped)] + [S(d(), E_),
    S(d(), None), S(d(0, 3), slice(1)), S(d(3, 0), 1), S(d(), np.array(True)), S(d.int(4), np.array([1, 1])),
    large(d(50, 7), np.arange(200) % 53 - 3), large(d(4, 5, 60), np.array([[3, -1, 3], [0, 0, 0]]))],
    call=lambda m, x, index: x[index], dtypes=ALL, errors=WRONG)
row("getitem view", lambda d: [S(d(4, 3, 5), index) for index in BASIC], call=lambda m, x, index: x[index], view=True)


def write(m, x, index, value):
    y = x.clone()
    y[index] = value
    return y


def writes(d: Draw):
    for index in indices(d):
        hit = np.zeros((4, 3, 5))[to_numpy(index)]
        repeated = any(isinstance(part,
            np.ndarray) and part.dtype.kind == "i" and part.size > 2 for part in (index if isinstance(index,
            tuple) else (index, )))
        repeated |= "2, 0, 0" in repr(index)
        yield S(d(4, 3, 5), index, 1.5)
        if hit.size and not repeated:  # which of two values for one place stays is not promised
            yield S(d(4, 3, 5), index, d(*hit.shape))
            yield S(d(4, 3, 5), index, d(*hit.shape[-1:]))
            yield S(d(4, 3, 5), index, d())
    yield from (S(d.transposed(4, 3), (slice(None), 0), d(4)), S(d.flipped(4, 3), 1, d(3)),
        S(d(3), slice(0, 2), d.int(2)), S(d.int(3), 0, 7), S(d.int(3), slice(0, 2), 1.9), S(d(), E_, 2.0),
        S(d(), E_, d()))
    yield S(d(2, 3), 0, d(1, 1, 3))


def to_numpy(index):
    return tuple(to_numpy(i) for i in index) if isinstance(index, tuple) else index


row("setitem", writes, call=write, dtypes=ALL, errors=lambda d: [E("(?s)3.*2|2.*3", d(4, 3), 0, d(2)),
    E("(?s)9", d(4, 3), 9, 0.0), E("(?s)9", d(4, 3), np.array([9]), 0.0), E("2.*3", d(4, 3), slice(0, 2), d(3, 3))])


def write_to_view(m, x, value):
    """A write through a view of a view changes the base, and the gradient goes round the part that was overwritten."""
    y = x * 2
    part = y[1:].transpose(0, 1)[0]
    part.mul_(value)
    y.t()[1] = value[:1].expand(4)
    return y, part * 1


row("a view changed in place", lambda d: [S(d(4, 3), d(3))], call=write_to_view)

# ---------------------------------------------------------------- gather and scatter

INDEX = lambda d, *shape, high=3: d.int(*shape, low=0, high=high)
OUT_OF_RANGE = "(?s)(5.*3|3.*5|range|bound)"
row("gather", lambda d: [S(d(3, 4), 0, INDEX(d, 2, 4)), S(d(3, 4), 1, INDEX(d, 3, 6)), S(d(3, 4), -1, INDEX(d, 2, 2)),
    S(d(3), 0, INDEX(d, 5)), S(d(2, 3, 4), 1, INDEX(d, 2, 5, 3)), S(d(), 0, np.array(0)), S(d(3, 4), 0, INDEX(d, 0, 4)),
    S(d.transposed(3, 4), 0, INDEX(d, 2, 4)), S(d.flipped(3), 0, INDEX(d, 3))], dtypes=ALL,
    errors=lambda d: [E(OUT_OF_RANGE, d(3, 4), 0, np.full((2, 4), 5)), E("(?i)int64|dtype|int", d(3), 0, d(3)),
    E("(?i)dim|shape|size", d(3, 4), 0, np.zeros(2, int))])
row("take_along_dim", lambda d: [S(d(3, 4), INDEX(d, 2, 4), 0), S(d(3, 4), INDEX(d, 3, 1), 1), S(d(3, 4), INDEX(d, 5)),
    S(d(1, 4), INDEX(d, 3, 2), dim=1)])


def unique_index(d: Draw, *shape: int, dim: int, high: int) -> np.ndarray:
    """Index values that do not repeat along `dim`."""
    return np.moveaxis(np.argsort(d.rng.random((*np.delete(shape, dim), high)), -1)[..., : shape[dim]], -1, dim)


def scatters(d: Draw):
    yield from (S(d(3, 4), 0, unique_index(d, 2, 4, dim=0, high=3), d(2, 4)),
        S(d(3, 4), 1, unique_index(d, 3, 2, dim=1, high=4), d(3, 2)),
        S(d(3, 4), -1, unique_index(d, 2, 2, dim=1, high=4), const(d(3, 4))))
    yield from (S(d(3), 0, np.array([2, 0]), d(2)), S(d(3, 4), 0, INDEX(d, 0, 4), d(0, 4)),
        S(d.transposed(3, 4), 0, unique_index(d, 3, 4, dim=0, high=3), d.flipped(3, 4)))


row("scatter", lambda d: [*scatters(d), S(d(3, 4), 0, INDEX(d, 2, 4), 1.5), S(d(3), 0, np.array([1, 1]), 2)],
    dtypes=ALL, errors=lambda d: [E(OUT_OF_RANGE, d(3, 4), 0, np.full((2, 4), 5), d(2, 4)),
    E("4.*3", d(3), 0, np.zeros(4, int), d(3))])
row("scatter_add", lambda d: [*scatters(d), S(d(3, 4), 0, INDEX(d, 5, 4), d(5, 4)),
    S(d(3), 0, np.array([1, 1, 1, 0]), d(4)), S(d(), 0, np.array(0), d())], dtypes=NUMBERS,
    errors=lambda d: [E(OUT_OF_RANGE, d(3), 0, np.array([5]), d(1))])
for name in ("scatter", "scatter_add"):  # PyTorch has no gradient where src is larger than the index
    row(f"{name} of a part of src", lambda d: [S(d(3, 4), -1, unique_index(d, 2, 2, dim=1, high=4), d(3, 4))],
        call=lambda m, *a, name=name: getattr(m, name)(*a), torch=False)
row("index_select", lambda d: [S(d(3, 4), 0, np.array([2, 0, 2])), S(d(3, 4), 1, np.array([3])),
    S(d(3, 4), -1, np.array([1, 1])), S(d(3), 0, np.array([], int)), S(d.transposed(3, 4), 0, np.array([1, 0])),
    S(d(3), 0, np.array(1))], dtypes=ALL, errors=lambda d: [E(OUT_OF_RANGE, d(3, 4), 0, np.array([5]))])
row("index_add", lambda d: [S(d(3, 4), 0, np.array([2, 0, 2]), d(3, 4)), S(d(3, 4), 1, np.array([1, 1]), d(3, 2),
    alpha=2), S(d(3), 0, np.array([0, 0]), d(2)), S(d(3), 0, np.array([], int), d(0)),
    large(d(5, 300), 0, np.arange(40) % 3, d(40, 300)), large(d(90), 0, np.arange(1500) % 80, d(1500))], dtypes=NUMBERS,
    errors=lambda d: [E(OUT_OF_RANGE, d(3), 0, np.array([5]), d(1)), E("2.*3", d(3), 0, np.array([0, 1]), d(3))])
row("masked_fill", lambda d: [S(d(3, 4), d.bool(3, 4), 2), S(d(3, 4), d.bool(3, 4), 1.5),
    rough(d(3, 4), d.bool(4), float("-inf")), S(d(3), d.bool(2, 3), 0), S(d(3, 4), d.bool(3, 1), d()),
    S(d.int(3), d.bool(3), 7), S(d(0), d.bool(0), 1.0), S(d.transposed(3, 4), d.bool(3, 4), 2.0)], dtypes=NUMBERS,
    errors=lambda d: [E("(?i)bool", d(3), d.int(3), 0.0), E("(?s)2.*3", d(3), d.bool(2), 0.0),
    E("(?i)0-d|0 dim|scalar", d(3), d.bool(3), d(3))])
row("masked_select", lambda d: [S(d(3, 4), d.bool(3, 4)), S(d(3, 4), d.bool(4)), S(d(3, 1), d.bool(3, 4)),
    S(d(3), np.zeros(3, bool)), S(d(0), d.bool(0)), S(d.transposed(3, 4), d.bool(3, 4))], dtypes=ALL)
row("where", lambda d: [S(d.bool(3, 4), d(3, 4), d(3, 4)), S(d.bool(4), d(3, 1), d(4)), S(d.bool(3), d(3), 1.5),
    S(d.bool(3), 2, d(3)), S(d.bool(3), 1.0, 2.0), S(d.bool(3), d.int(3), d(3)), S(np.array(True), d(2), d(2)),
    S(d.bool(0), d(0), d()), S(d.bool(3, 4), d.transposed(3, 4), d.flipped(4))], dtypes=ALL,
    errors=lambda d: [E("(?s)3.*2", d.bool(3), d(2), d(3))])
row("where (condition alone)", lambda d: [S(d.bool(3, 4)), S(d.ties(4))], call=lambda m, x: m.where(x), gradient=False,
    result=None)
row("nonzero", lambda d: [S(d.ties(3, 4)), S(d.bool(5)), S(d.bool(2, 3), as_tuple=True), S(np.zeros(3)), S(d(0, 2)),
    S(np.array(2.0))], gradient=False, dtypes=ALL, result="int64")
row("Tensor.fill_", lambda d: [S(d(2, 3), 1.5), S(d(2), d())], call=lambda m, x, v: (x * 1).fill_(v))
row("Tensor.copy_", lambda d: [S(d(2, 3), d(3)), S(d(2, 3), d.int(2, 3)), S(d(2, 3), d(2, 3))], call=lambda m, x,
    v: (x * 1).copy_(v), errors=lambda d: [E("(?s)3.*2|2.*3", d(3), d(2))])
row("Tensor.zero_", lambda d: [S(d(2, 3))], call=lambda m, x: (x * 1).zero_())

# ---------------------------------------------------------------- order

row("sort", lambda d: [S(d(3, 4)), S(d(3, 4), dim=0), S(d(3, 4), descending=True), S(d(5), dim=-1, descending=True),
    S(d(0)), S(d(2, 0)), S(d(1)), S(d()), S(d.transposed(3, 4)), S(d.flipped(5)), S(d.int(20), stable=True),
    S(d.bool(7), stable=True), rough(d.ties(4, 9), stable=True, dim=1), rough(d.ties(9), stable=True, descending=True,
    dim=0), rough(np.array([1.0, np.nan, -np.inf, np.inf, 0.0]))], domain=distinct, dtypes=NUMBERS, result=None)
row("argsort", lambda d: [S(d(3, 4)), S(d(3, 4), dim=0), S(d(3, 4), dim=1, descending=True), S(d(0)), S(d()),
    rough(d.ties(9), stable=True), rough(d.ties(9), stable=True, descending=True)], domain=distinct, dtypes=NUMBERS,
    gradient=False, result="int64")
row("topk", lambda d: [S(d(5), 2), S(d(2, 120), 3), S(d(120, 2), 4, 0, largest=False), S(d(3, 4), 2), S(d(3, 4), 2, dim=0), S(d(3, 4), 3, largest=False),
    S(d(3, 4), 4, sorted=True), S(d(3), 0), S(d.transposed(3, 4), 1), S(d(), 1), S(d.int(3).cumsum() * 7 + np.arange(3),
    2)], domain=distinct, dtypes=NUMBERS, result=None, errors=lambda d: [E("(?s)topk|k|range", d(3), 4)])
