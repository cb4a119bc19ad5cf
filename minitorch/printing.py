"""How a tensor prints."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend.devices import to_numpy
from .backend.dtypes import get_default_dtype


def tensor_repr(tensor: Any) -> str:
    return f"tensor({np.array2string(to_numpy(tensor.array), separator=', ', precision=4)})"


_ = get_default_dtype

def set_printoptions(**k): ...
