"""Modules whose flags are known by name and type: an unknown one is an error, not a new attribute."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..backend import dtypes


class Flags(types.ModuleType):
    """A module, or a part of one, of which only the flags can be set."""

    _flags: dict[str, type]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or isinstance(value, types.ModuleType):  # the import system's
            object.__setattr__(self, name, value)
            return
        kind = self._known(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RuntimeError(f"{self._path()}.{name} expects a {kind.__name__}, but got {type(value).__name__}")
        self._set(name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._known(name)
        return self._get(name)

    def _known(self, name: str) -> type:
        flags = self.__dict__["_flags"]
        if name not in flags:
            raise AttributeError(f"{self._path()} has no flag {name!r}; it has {', '.join(flags)}")
        return flags[name]

    def _path(self) -> str:
        return self.__name__.replace("minitorch", dtypes.NAMESPACE, 1)

    def _get(self, name: str) -> Any:
        return self.__dict__["_values"][name]

    def _set(self, name: str, value: Any) -> None:
        self.__dict__["_values"][name] = value


def make(name: str, values: dict[str, Any], kind: type[Flags] = Flags) -> Flags:
    """The module `name` becomes one with these flags; or a new part, if no module has the name."""
    module: Any = sys.modules.get(name)
    if module is None:
        module = kind(name)
    else:
        module.__class__ = kind
    module.__dict__["_flags"] = {key: type(value) for key, value in values.items()}
    module.__dict__["_values"] = dict(values)
    return module


@contextmanager
def set_for_a_while(module: Flags, **values: Any) -> Iterator[None]:
    """Inside, the flags have these values; None leaves one as it is."""
    before = {name: getattr(module, name) for name, value in values.items() if value is not None}
    try:
        for name in before:
            setattr(module, name, values[name])
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
