"""What the code that runs inside a captured CUDA graph has to know (minitorch/cuda/graphs.py captures).

A graph replays the kernels of a step with the arguments that they had when it was captured. So what changes from step to
step has to be in the GPU's memory, and code that puts numbers there says how to renew them before each replay; and what
cannot be replayed, a number that goes to the CPU or comes from it, is refused.
"""

from __future__ import annotations

from collections.abc import Callable


class Capture:
    """A capture that is going on."""

    def __init__(self) -> None:
        self.refresh: list[Callable[[], None]] = []  # called before each replay, outside of any capture


current: Capture | None = None


def before_replay(function: Callable[[], None]) -> None:
    """While a graph is captured: `function()` is called before each replay of it. Otherwise nothing."""
    if current is not None:
        current.refresh.append(function)


def refuse(what: str) -> None:
    """While a graph is captured: an error that says what cannot be captured, and what to do."""
    if current is not None:
        raise RuntimeError(f"cuda.graph: {what} cannot be captured")
