"""The op table, by family. `CASES` holds every row; `table.py` says how a row is written."""

from tests.cases import (  # noqa: F401
    activation,
    attention,
    conv,
    ctc,
    distance,
    elementwise,
    index,
    linalg,
    loss,
    margin,
    matmul,
    normalize,
    pool,
    products,
    random,
    recurrent,
    reduce,
    resample,
    scan,
    scatter,
    search,
    shape,
    softmax,
)
from tests.cases.table import CASES as CASES
