"""Fast paths: a second class for an op that computes the same faster, on one array library, when it accepts.

    @fast_path(Softmax, "numpy")
    class SoftmaxCPU(Softmax):
        @staticmethod
        def accepts(x, *, axis=-1): ...      # cheap; False: the reference op runs
        def forward(self, x, *, axis=-1): ...
        def backward(self, dy): ...          # on arrays only
        def reference_saved(self): ...       # what Softmax.forward would have saved: gradients of gradients use it

Forward and backward are replaced together. `with reference_ops():` switches every fast path off.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import Any

_PATHS: dict[str, dict[type, type]] = {}  # a namespace's name -> {reference op: fast op}


def fast_path(reference: type, namespace: str):
    """Class decorator: the decorated subclass of `reference` is tried first for arrays of `namespace`."""

    def register(fast: Any) -> Any:
        if not issubclass(fast, reference):
            raise TypeError(f"{fast.__name__} must be a subclass of {reference.__name__}, whose fast path it is")
        fast.reference = reference
        _PATHS.setdefault(namespace, {})[reference] = fast
        return fast

    return register


class _Paths(dict):
    """Namespace -> its fast paths; the kernels of a namespace are imported when it is met for the first time."""

    def __missing__(self, xp: Any) -> dict[type, type]:
        room = {"numpy": "cpu", "cupy": "cuda"}.get(xp.__name__)
        if room is not None:
            try:
                importlib.import_module(f"minitorch.kernels.{room}")
            except ModuleNotFoundError as error:
                if not (error.name or "").startswith(("minitorch.kernels", "numba", "llvmlite")):
                    raise  # the folder may be deleted, and numba is optional; anything else is a fault
        self[xp] = _PATHS.setdefault(xp.__name__, {})
        return self[xp]


class _NoPaths(dict):
    def __missing__(self, xp: Any) -> dict[type, type]:
        return {}


_all, _none = _Paths(), _NoPaths()
ACTIVE: dict = _all  # `Op.apply` asks ACTIVE[xp].get(op)


@contextmanager
def reference_ops():
    """Inside this block every op runs its reference formula: for lessons, tests and measurements."""
    global ACTIVE
    before, ACTIVE = ACTIVE, _none
    try:
        yield
    finally:
        ACTIVE = before
