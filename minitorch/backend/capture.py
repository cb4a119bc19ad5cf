"""What the code that runs inside a captured CUDA graph has to know (minitorch/cuda/graphs.py captures).

A graph replays the kernels of a step with the arguments that they had when it was captured. So what changes from step to
step has to be in the GPU's memory, and code that puts numbers there says how to renew them before each replay; and what
cannot be replayed, a number that goes to the CPU or comes from it, is refused.

The capture itself runs nothing on the GPU. It is followed by the first replay, and the functions given to `before_replay`
are called before that one as before every other. So a count of steps on the CPU moves in such a function, and nowhere
else while a graph is captured. A tensor made during the capture holds nothing until the replay, and its memory belongs to
the graph: keep none of them for other work (in a cache, say). CuPy's own matrix products cannot be captured: its bindings
of cuBLAS raise NotImplementedError on a stream that captures (cupy issue 6290); those of kernels/cuda/ can.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any


class Capture:
    """A capture that is going on, in the thread that made it."""

    def __init__(self) -> None:
        self.refresh: list[Callable[[], None]] = []  # called before each replay, outside of any capture
        self.finish: list[Callable[[], None]] = []  # called once, when the capture ends, whether it succeeded or not
        self.draws: dict[Any, Any] = {}  # generator -> its place in the stream while this goes on: backend/random.py
        self.thread = threading.get_ident()


class Watch:
    """What a step is seen to use, while it warms up and while it is captured. (Dictionaries, for their order.)"""

    def __init__(self) -> None:
        self.leaves: dict[int, Any] = {}  # id -> weak reference: leaf tensors whose .grad was read
        self.modules: dict[Any, None] = {}  # those that were called
        self.optimizers: dict[Any, None] = {}
        self.thread = threading.get_ident()


current: Capture | None = None
watch: Watch | None = None  # tensor.py and nn/module.py tell it


def saw_leaf(leaf: Any) -> None:
    if watch is not None and watch.thread == threading.get_ident():
        known = watch.leaves.get(id(leaf))
        if known is None or known() is not leaf:
            watch.leaves[id(leaf)] = weakref.ref(leaf)


def saw_module(module: Any) -> None:
    if watch is not None and watch.thread == threading.get_ident():
        watch.modules[module] = None


def active() -> Capture | None:
    """The capture that this thread's work goes to. Other threads (a loader's) may do what they like meanwhile."""
    return current if current is not None and current.thread == threading.get_ident() else None


def before_replay(function: Callable[[], None]) -> None:
    """While a graph is captured: `function()` is called before each replay of it. Otherwise nothing."""
    if current is not None and (capture := active()) is not None:
        capture.refresh.append(function)


def refuse(what: str, instead: str = "") -> None:
    """While a graph is captured: an error that says what cannot be captured (`what`), and what to do (`instead`)."""
    if current is not None and active() is not None:
        raise CaptureError(f"cuda.graph: {what} cannot be captured" + (f"; {instead}" if instead else ""))


def lasting(xp: Any) -> Any:
    """A context: arrays made inside have memory of the common pool, also while a graph is captured.

    In the graph's own pool an array that is made in the middle of a step may get the memory that an earlier temporary of the
    same step had, and each replay would write that temporary's numbers over what was put there before it.
    """
    cuda: Any = getattr(xp, "cuda", None)
    if not hasattr(cuda, "using_allocator"):
        return contextlib.nullcontext()
    return cuda.using_allocator(xp.get_default_memory_pool().malloc)


class CaptureError(RuntimeError):
    """Something in the step cannot be captured."""
