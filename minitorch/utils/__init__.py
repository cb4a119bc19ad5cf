"""Around training: data loading (`data`), recomputation (`checkpoint`), files. Imported when they are used."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("checkpoint", "data", "files"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'minitorch.utils' has no attribute {name!r}")
