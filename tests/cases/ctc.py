"""CTC: the likelihood of shorter sequences."""

import numpy as np

from tests.cases.table import Draw, E, S, const, rough, row

F = "nn.functional."


def labels(d: Draw, *shape: int) -> np.ndarray:
    return d.int(*shape, low=1, high=5)


def of_logits(m, x, *args, **options):
    return m.nn.functional.ctc_loss(m.nn.functional.log_softmax(x, -1), *args, **options)


def sequences(d: Draw):
    lengths = np.array([7, 5, 6]), np.array([3, 2, 1])
    for reduction in ("mean", "sum", "none"):
        yield S(d(7, 3, 5), labels(d, 3, 3), *lengths, reduction=reduction)
    yield S(d(7, 3, 5), labels(d, 6), *lengths)
    yield S(d(7, 3, 5), labels(d, 3, 4), (7, 5, 6), (3, 2, 1))
    yield S(d(7, 2, 5), labels(d, 2, 3) - 1, np.array([7, 7]), np.array([2, 3]), blank=4)
    yield S(d(7, 5), labels(d, 3), np.array(7), np.array(3))
    yield S(d(7, 5), labels(d, 3), (7,), (3,), reduction="none")
    yield S(d(7, 2, 5), np.array([[1, 1, 2], [3, 3, 3]]), np.array([7, 7]), np.array([3, 3]))
    yield S(d(4, 2, 5), labels(d, 2, 2), np.array([4, 4]), np.array([0, 2]))
    yield S(d(3, 2, 5) * 20, np.array([[1, 2], [3, 1]]), np.array([3, 3]), np.array([2, 2]), reduction="none")
    yield S(d(1, 2, 5), labels(d, 2, 1), np.array([1, 1]), np.array([1, 1]))
    yield S(d(7, 3, 5), labels(d, 3, 3).astype("int32"), (7, 7, 7), (3, 2, 1))
    yield S(d(40, 2, 5), labels(d, 2, 9), (40, 31), (9, 7))
    yield S(d(5, 6, 7).transpose(0, 2, 1)[:, :3, :5], labels(d, 3, 2), (5, 5, 4), (2, 2, 1))
    impossible = np.array([[1, 1, 1], [1, 2, 3]])
    yield rough(d(4, 2, 5), impossible, np.array([4, 4]), np.array([3, 3]), reduction="none", zero_infinity=True)


GOOD = np.array([3, 3])
WRONG = lambda d: [  # noqa: E731
    E("reduction|avg", d(3, 2, 5), labels(d, 2, 1), GOOD, np.array([1, 1]), reduction="avg"), E("blank", d(3, 2, 5), labels(d, 2, 1), GOOD, np.array([1, 1]), blank=5),
    E("input_lengths", d(3, 2, 5), labels(d, 2, 1), np.array([3]), np.array([1, 1])), E("target_lengths", d(3, 2, 5), labels(d, 2, 1), GOOD, np.array([1])), E("input_lengths|3", d(3, 2, 5), labels(d, 2, 1), np.array([4, 4]), np.array([1, 1])),
    E("(?i)targets|tensor", d(3, 2, 5), labels(d, 3), GOOD, np.array([1, 1])), E("(?i)targets|tensor", d(3, 2, 5), labels(d, 2, 1), GOOD, np.array([2, 1])),
]  # fmt: skip
row(F + "ctc_loss of logits", sequences, call=of_logits, covers=("ctc_loss",), dtypes=("float32", "float64"), tol=20)
row(
    F + "ctc_loss",
    lambda d: (
        [
            rough(np.log(np.full((4, 2, 5), 0.2)), np.array([[1, 2], [3, 3]]), (4, 4), (2, 2), reduction=r)
            for r in ("mean", "none")
        ]
        + [rough(np.log(np.full((4, 2, 5), 0.2)), np.array([[1, 2], [3, 3]]), (2, 3), (2, 1))]
    ),
    dtypes=("float32", "float64"),
    result=None,
    errors=WRONG,
)
row(
    F + "ctc_loss (impossible)",
    lambda d: [
        S(const(d(4, 2, 5)), np.array([[1, 1, 1], [1, 2, 3]]), (4, 4), (3, 3), reduction="none"),
        S(const(d(4, 2, 5)), np.array([[1, 1], [1, 2]]), (4, 0), (2, 2), reduction="none"),
        S(const(d(4, 2, 5)), np.array([[1, 1], [1, 2]]), (4, 0), (2, 0), reduction="none"),
    ],
    call=of_logits,
    gradient=False,
    dtypes=("float32", "float64"),
    tol=20,
)
