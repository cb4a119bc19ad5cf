"""Modules without initialisation."""

import inspect

import minitorch

from ..module import Module


def skip_init(module_cls, *args, **kwargs):
    """A module whose initial values are of no interest, because others are loaded: it leaves the random stream alone."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    state = minitorch.get_rng_state()
    try:
        return module_cls(*args, **kwargs)
    finally:
        minitorch.set_rng_state(state)
