"""The memory behind a tensor, for programs that ask what is shared and how much there is."""

from __future__ import annotations

from typing import Any

from .missing import names as _names
from .tensor import Tensor, wrap

__all__ = ["UntypedStorage"]
__getattr__ = _names(__name__)


class UntypedStorage:
    """The bytes that a tensor, and the tensors that are views of the same memory, lie in."""

    def __init__(self, tensor: Tensor):
        array: Any = tensor.array
        while isinstance(getattr(array, "base", None), type(array)):
            array = array.base
        self._array, self.device = array, tensor.device

    def nbytes(self) -> int:
        return int(self._array.nbytes)

    size = __len__ = nbytes

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes()

    def data_ptr(self) -> int:
        return wrap(self._array).data_ptr()

    def __repr__(self) -> str:
        return f"<{self.nbytes()} bytes on {self.device}>"


def _untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory behind the tensor; `untyped_storage().data_ptr()` is equal for views of the same memory."""
    return UntypedStorage(self)


Tensor.untyped_storage = _untyped_storage  # type: ignore[attr-defined]
