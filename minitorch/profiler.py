"""PyTorch's torch.profiler, on Python's cProfile: where a program spends its time, by function of minitorch and NumPy."""

from __future__ import annotations

import contextlib
import cProfile
import enum
import io
import pstats
from collections.abc import Callable
from typing import Any

from .missing import names as _names

__all__ = ["ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule"]
__getattr__ = _names(__name__)


class ProfilerActivity(enum.Enum):
    """What may be watched. Everything is seen from Python, so the choice has no effect."""

    CPU = 0
    CUDA = 2
    XPU = 1


class ProfilerAction(enum.Enum):
    """What a `schedule` says of a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


class record_function(contextlib.ContextDecorator):
    """A name for a block or a function. cProfile knows the functions by their own names."""

    def __init__(self, name: str, args: str | None = None):
        self.name = name

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """Steps in cycles: `wait` are left out, then `warmup`, then `active` are recorded; `repeat` cycles (0: no end)."""

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        cycle = wait + warmup + active
        if skip_first_wait and step >= 0:
            step += wait
        if step < 0 or (repeat and step >= repeat * cycle):
            return ProfilerAction.NONE
        place = step % cycle
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD_AND_SAVE if place == cycle - 1 else ProfilerAction.RECORD

    return action


class Averages:
    """The recorded times, as `table()`."""

    def __init__(self, watched: cProfile.Profile):
        self._watched = watched

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """cProfile's table, the longest first: by the time in the function itself if `sort_by` speaks of "self", else
        with what it called."""
        text = io.StringIO()
        stats = pstats.Stats(self._watched, stream=text)
        stats.sort_stats("tottime" if sort_by and "self" in sort_by else "cumulative").print_stats(row_limit)
        return text.getvalue()


class profile:
    """Watches the block, or the steps that `schedule` chooses between calls of `step()`."""

    def __init__(
        self,
        *,
        activities: Any = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        **options: Any,
    ):
        self.schedule, self.on_trace_ready, self.step_num = schedule, on_trace_ready, 0
        self._watched = cProfile.Profile()
        self._running = self._seen = False

    def _action(self) -> ProfilerAction:
        return self.schedule(self.step_num) if self.schedule else ProfilerAction.RECORD

    def _set(self, running: bool) -> None:
        if running and not self._running:
            self._watched.enable()
            self._seen = True
        elif self._running and not running:
            self._watched.disable()
        self._running = running

    def start(self) -> None:
        self._set(self._action() in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE))

    def step(self) -> None:
        """The next step begins."""
        done = self._action() is ProfilerAction.RECORD_AND_SAVE
        self.step_num += 1
        if done:
            self._set(False)
            self._ready()
        self.start()

    def stop(self) -> None:
        running = self._running
        self._set(False)
        if running:
            self._ready()

    def _ready(self) -> None:
        if self.on_trace_ready:
            self.on_trace_ready(self)

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> Averages:
        """The times so far, by function."""
        if not self._seen:
            raise RuntimeError("key_averages(): nothing was recorded: no step of the schedule was active")
        return Averages(self._watched)
