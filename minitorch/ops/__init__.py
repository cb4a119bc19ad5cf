"""Every operation: its forward pass, its gradient beside it, and its public function. One file a family.

`ops.add`, `ops.softmax` ...: the public functions of all families under one name.
"""

from typing import TYPE_CHECKING, Any

from . import (
    activation,
    aliases,
    arithmetic,
    arrange,
    attention,
    comparison,
    conv,
    creation,
    ctc,
    distance,
    elementwise,
    index,
    keywords,
    linalg,
    loss,
    margin,
    matmul,
    matrix,
    normalize,
    numerical,
    operators,
    pad,
    pool,
    random,
    recurrent,
    reduce,
    resample,
    residual,
    scan,
    scatter,
    search,
    shape,
    softmax,
    statistics,
    windows,
)
from ._method import tensor_method, unbroadcast

FAMILIES = (
    arithmetic, comparison, elementwise, activation, reduce, conv, pad, pool, resample, shape, index, matmul, softmax, normalize,
    attention, recurrent, loss, random, residual, creation, ctc, distance, margin, scan, scatter, search,
    numerical, arrange, statistics, windows,
)  # fmt: skip

keywords.install((*FAMILIES, aliases, linalg, matrix), aliases.FUNCTIONS)
PUBLIC: dict[str, Any] = {
    name: value
    for family in FAMILIES
    for name, value in vars(family).items()
    if not name.startswith("_") and callable(value) and not isinstance(value, type)
    and value.__module__ == family.__name__
}  # fmt: skip
globals().update(PUBLIC)  # ops.softmax is the function; its family is imported as minitorch.ops.softmax

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


__all__ = ["FAMILIES", "PUBLIC", "aliases", "linalg", "matrix", "operators", "tensor_method", "unbroadcast"]
