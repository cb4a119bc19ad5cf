"""PyTorch's torch.random: the default random streams, and a block that leaves them as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from .backend.random import default_generator
from .ops.random import get_rng_state, initial_seed, manual_seed, seed, set_rng_state, streams

__all__ = ["default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


@contextlib.contextmanager
def fork_rng(
    devices: Iterable | None = None, enabled: bool = True, _caller: str = "fork_rng", _devices_kw: str = "devices",
    device_type: str = "cuda",
) -> Iterator[None]:  # fmt: skip
    """Inside, random numbers may be drawn; afterwards the CPU's stream, and those of the GPUs in use, go on as if none
    had been."""
    if not enabled:
        yield
        return
    before: list[tuple[Any, Any]] = [(g, g.state_array()) for g in (default_generator, *streams().values())]
    try:
        yield
    finally:
        for generator, state in before:
            generator.set_state_array(state)
