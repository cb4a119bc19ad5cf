"""The op table, by family. `CASES` holds every row; `table.py` says how a row is written."""

from tests.cases import attention, elementwise, index, loss, matmul, normalize, random, reduce, shape, softmax  # noqa: F401
from tests.cases.table import CASES as CASES
