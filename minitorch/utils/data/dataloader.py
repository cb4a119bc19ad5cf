"""DataLoader: batches of a dataset, in PyTorch's order from the same seed, in this process or by workers.

What is drawn when, as in PyTorch: an iterator draws one seed for the workers when it is made (from `generator`, or the
default one), also when there are none; the sampler draws when its first index is wanted.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

import numpy as np

from ...backend import fastpath, random
from . import worker
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, check_generator, draw_seed

VERSION = 1  # of state_dict()
T_co = TypeVar("T_co", covariant=True)


class _Endless(Sampler):
    """The sampler of an IterableDataset, which has no indices."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class DataLoader(Generic[T_co]):
    """Iterating gives batches. Arguments are PyTorch's.

    shuffle: a new random order each time.   sampler, batch_sampler: an order of one's own.   drop_last: no shorter last
    batch.   collate_fn: from a list of samples to a batch.   batch_size=None: samples as they are, one by one.
    num_workers: processes that fetch, each prefetch_factor batches ahead; the batches come in the same order with any
    number of them.   generator: where seeds and orders are drawn, instead of the default generator.

    `state_dict()` is the position; `load_state_dict` makes the next iteration go on from there, with the batch that
    would have come next. The default generator is the caller's to save and restore (`get_rng_state`): an iteration that
    goes on draws nothing from it.
    """

    _fixed = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable | None = None,
        batch_sampler: Iterable | None = None,
        num_workers: int = 0,
        collate_fn: Callable | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ):
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0:
            for name, value, off in (
                ("prefetch_factor", prefetch_factor, None), ("persistent_workers", persistent_workers, False),
                ("multiprocessing_context", multiprocessing_context, None), ("timeout", timeout, 0),
            ):  # fmt: skip
                if value != off:
                    raise ValueError(f"{name} option needs num_workers > 0: without workers it has no meaning")
        elif prefetch_factor is None:
            prefetch_factor = 2
        elif prefetch_factor < 1:
            raise ValueError(f"prefetch_factor option should be positive, got {prefetch_factor}")
        if not in_order:
            raise ValueError("in_order=False is not supported: minitorch's batches always come in order")
        if pin_memory or pin_memory_device:
            warnings.warn("pin_memory has no effect: minitorch has no pinned memory", stacklevel=2)

        self._streaming = isinstance(dataset, IterableDataset)
        if self._streaming:
            for name, value in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                    )
        elif not hasattr(dataset, "__getitem__"):
            raise TypeError(f"DataLoader(): a dataset needs __getitem__ and __len__, {type(dataset).__name__} has none")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")

        check_generator("DataLoader()", generator)
        if sampler is None:
            if self._streaming:
                sampler = _Endless()
            else:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn or (default_collate if batch_sampler is not None else default_convert)
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._crew: _Crew | None = None  # workers that persist
        self._position: _Position | None = None  # of the latest iterator
        self._resume: dict | None = None  # for the next one
        if num_workers:
            _context(multiprocessing_context)
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or num_workers
            if num_workers > cores:
                warnings.warn(
                    f"DataLoader(num_workers={num_workers}): more workers than the {cores} processors that this "
                    "process may use; loading may get slower",
                    stacklevel=2,
                )
        self._fixed = True

    def __setattr__(self, name: str, value: Any) -> None:
        fixed = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
        if self._fixed and name in fixed:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def _fetching(self) -> tuple[Any, bool, Callable, bool]:
        """The arguments of a Fetcher."""
        return self.dataset, self.batch_sampler is not None, self.collate_fn, self.drop_last

    @property
    def _index_sampler(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        if not self._streaming:
            return len(self._index_sampler)
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        resume, self._resume = self._resume, None
        if self.num_workers == 0:
            return _SingleIterator(self, resume)
        if resume is not None and self._crew is not None:
            self._crew.stop()
            self._crew = None
        iterator = _WorkersIterator(self, resume, self._crew)
        if self.persistent_workers:
            self._crew = iterator.crew
        return iterator

    # --- the position ------------------------------------------------------------------------------------------------

    def _generators(self) -> list[Any]:
        """The generators that the order may come from, besides the default one."""
        owners = (self, self.batch_sampler, self.sampler, getattr(self.batch_sampler, "sampler", None))
        found = {id(g): g for g in (getattr(owner, "generator", None) for owner in owners) if g is not None}
        found.pop(id(random.default_generator), None)
        return [g for g in found.values() if hasattr(g, "state_array")]

    def _stateful_sampler(self) -> Any:
        for sampler in (self._index_sampler, getattr(self.batch_sampler, "sampler", None)):
            if hasattr(sampler, "state_dict") and hasattr(sampler, "load_state_dict"):
                return sampler
        return None

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a position to mean the same."""
        length = None
        with suppress(TypeError, NotImplementedError):  # not every stream has one
            length = len(self.dataset)
        return {
            "version": VERSION,
            "dataset_length": length,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "sampler": type(self.sampler).__name__,
            "num_workers": self.num_workers if self._streaming else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """The position of the latest iteration: how many batches it has given, and where its order came from.

        Plain values and arrays, which `minitorch.save` takes.
        """
        if self._resume is not None:
            return self._resume
        sampler = self._stateful_sampler()
        state = {
            **self._identity(),
            "batches": None,
            "generators": [g.state_array() for g in self._generators()],
            "sampler_state": _sampler_state(sampler),
        }
        if self._position is not None and (self.persistent_workers or not self._position.finished):
            state.update(self._position.state())
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The next iteration goes on from this position."""
        for name, mine in self._identity().items():
            if name not in state_dict:
                raise KeyError(f"DataLoader.load_state_dict(): no {name!r} in it: not the state_dict() of a DataLoader")
            if state_dict[name] != mine:
                raise ValueError(
                    f"DataLoader.load_state_dict(): the position was saved with {name} {state_dict[name]!r}, this "
                    f"DataLoader has {mine!r}: its batches would be others"
                )
        if len(state_dict["generators"]) != len(self._generators()):
            raise ValueError("DataLoader.load_state_dict(): saved with another number of generators than this one has")
        if state_dict["batches"] is None:  # between two iterations
            for generator, saved in zip(self._generators(), state_dict["generators"], strict=True):
                generator.set_state_array(saved)
            if state_dict["sampler_state"] is not None:
                self._stateful_sampler().load_state_dict(state_dict["sampler_state"]["state"])
        goes_on = state_dict["batches"] is not None or self.persistent_workers and state_dict.get("workers")
        self._resume = dict(state_dict) if goes_on else None
        self._position = None


class _Position:
    """Where an iterator is, and how to come there again. The loader keeps it; it keeps no worker alive.

    Coming there again means running the sampler again: `start` holds the generators as they were before it, `first` as
    they were when the first index was asked for, if somebody else drew from them in between.
    """

    def __init__(self, loader: DataLoader, resume: dict | None, seeded: bool = True):
        self.own = loader._generators()
        self.stateful = loader._stateful_sampler()
        self.sampler_states: dict[int, Any] = {}  # a batch's number -> the sampler's state after its indices
        self.batch_size = loader.batch_size
        self.sampler_state = _sampler_state(self.stateful)
        self.stream_state: Callable[[], dict | None] = lambda: None
        self.finished = False
        self.batches = 0
        self.seeded = seeded  # whether a seed for workers was drawn: not by those that persist
        self.workers: list[dict] = []
        self.turn = 0  # the worker whose batch comes next
        self.first: dict | None = None
        if resume is None:
            self.start = self._snapshot()
            self.sampler_iter = iter(loader._index_sampler)
            self.base_seed = draw_seed(loader.generator) if seeded else 0
            self.untouched: dict | None = self._snapshot()
        else:
            self._replay(loader, resume)
        self.taken = self.batches  # index batches that the sampler has given: with workers, more than have arrived

    def _snapshot(self) -> dict:
        return {
            "default": random.default_generator.state_array(),
            "own": [generator.state_array() for generator in self.own],
        }

    def _set(self, snapshot: dict) -> None:
        random.default_generator.set_state_array(snapshot["default"])
        for generator, state in zip(self.own, snapshot["own"], strict=True):
            generator.set_state_array(state)

    def _replay(self, loader: DataLoader, resume: dict) -> None:
        """Runs the sampler as it ran, up to the batch that comes next; the default generator does not notice."""
        self.start, self.first, self.batches = resume["start"], resume["first"], resume["batches"]
        self.base_seed, self.seeded, self.turn = resume["base_seed"], resume["seeded"], resume["turn"]
        self.sampler_state = resume["sampler_state"]
        now = random.default_generator.state_array()
        try:
            self._set(self.start)
            if self.sampler_state is not None:
                self.stateful.load_state_dict(self.sampler_state["state"])
            self.sampler_iter = iter(loader._index_sampler if not (self.sampler_state or {}).get("ended") else ())
            if self.seeded:
                draw_seed(loader.generator)
            self.untouched = None if self.batches else self._snapshot()
            if self.first is not None:
                self._set(self.first)
            for n in range(0 if loader._streaming or self.sampler_state is not None else self.batches):
                if next(self.sampler_iter, self) is self:
                    raise RuntimeError(
                        f"DataLoader: saved after batch {self.batches}, but now {type(loader.sampler).__name__} ends "
                        f"after {n}: the dataset or the sampler is not the one that was saved"
                    )
        finally:
            random.default_generator.set_state_array(now)

    def next_indices(self) -> Any:
        if self.untouched is not None:
            before, self.untouched = self.untouched, None
            now = self._snapshot()
            if not all(map(np.array_equal, [before["default"], *before["own"]], [now["default"], *now["own"]])):
                self.first = now
        indices = next(self.sampler_iter)
        self.taken += 1
        if self.stateful is not None:
            short = self.batch_size is not None and len(indices) < self.batch_size  # it has come to its end
            self.sampler_states[self.taken] = _sampler_state(self.stateful, ended=short)
        return indices

    def arrived(self) -> None:
        self.batches += 1
        if self.stateful is not None:
            self.sampler_state = self.sampler_states.pop(self.batches)

    def state(self) -> dict[str, Any]:
        return {
            "batches": None if self.finished else self.batches,
            "base_seed": self.base_seed,
            "seeded": self.seeded,
            "start": self.start,
            "first": self.first,
            "sampler_state": _sampler_state(self.stateful) if self.finished else self.sampler_state,
            "stream": self.stream_state(),
            "turn": self.turn,
            "workers": [dict(state) for state in self.workers],
        }


def _sampler_state(sampler: Any, ended: bool = False) -> dict | None:
    return None if sampler is None else {"state": sampler.state_dict(), "ended": ended}


class _SingleIterator:
    """Fetches in this process, when a batch is asked for."""

    def __init__(self, loader: DataLoader, resume: dict | None):
        self.position = position = loader._position = _Position(loader, resume)
        state = resume["stream"] if resume else None
        self.fetcher = worker.Fetcher(*loader._fetching(), state=state)
        if resume and loader._streaming and state is None:
            now = random.default_generator.state_array()
            self.fetcher.skip(position.batches, next(position.sampler_iter))
            random.default_generator.set_state_array(now)
        position.stream_state = self.fetcher.state
        self.loader = loader

    def __iter__(self) -> _SingleIterator:
        return self

    def __next__(self) -> Any:
        try:
            batch = self.fetcher.fetch(self.position.next_indices())
        except StopIteration:
            self.position.finished = True
            raise
        self.position.arrived()
        return batch

    def __len__(self) -> int:
        return len(self.loader)


# --- workers ---------------------------------------------------------------------------------------------------------


def _context(method: Any) -> Any:
    if method is None or isinstance(method, BaseContext):
        return method or multiprocessing.get_context()
    methods = multiprocessing.get_all_start_methods()
    if not isinstance(method, str):
        raise TypeError(f"multiprocessing_context: expected a start method or a context, got {type(method).__name__}")
    if method not in methods:
        raise ValueError(f"multiprocessing_context: expected one of {methods}, got {method!r}")
    return multiprocessing.get_context(method)


class _Crew:
    """The worker processes, and the pipes to them."""

    def __init__(self, loader: DataLoader, base_seed: int, resume: list[dict]):
        self.owner = os.getpid()
        self.size, self.timeout, self.base_seed = loader.num_workers, loader.timeout, base_seed
        self.tasks: list[Any] = []
        self.results: list[Any] = []
        self.processes: list[Any] = []
        self.epoch = 0
        context = _context(loader.multiprocessing_context)
        if context.get_start_method() == "fork":
            fastpath.ACTIVE[np]  # imports the kernels, if nothing has yet: here once, and not in every worker
        places = [None] * loader.batch_size if loader.batch_size else None
        try:
            for i in range(self.size):
                task_out, task_in = context.Pipe(duplex=False)
                result_out, result_in = context.Pipe(duplex=False)
                self.tasks.append(task_in)
                self.results.append(result_out)
                state = {**resume[i], "places": places} if resume else None
                place = (task_out, result_in, i, self.size)
                process = context.Process(
                    target=worker.work,
                    args=(*place, loader._fetching(), base_seed, loader.worker_init_fn, state),
                    daemon=True,
                )
                process.start()
                self.processes.append(process)
                task_out.close()  # ours: a pipe whose only writer has died ends, instead of waiting for ever
                result_in.close()
        except BaseException as error:
            self.stop()
            if isinstance(error, (AttributeError, TypeError, pickle.PicklingError)):
                raise type(error)(
                    f"{error}. The start method {context.get_start_method()!r} sends the dataset, collate_fn and "
                    "worker_init_fn to the workers as pickles: define these at the top level of a module"
                ) from error
            raise

    def send(self, i: int, indices: Any) -> None:
        try:
            self.tasks[i].send((self.epoch, indices))
        except OSError:
            self.died(i)

    def receive(self, i: int) -> Any:
        """The worker's next answer in this epoch."""
        deadline = time.monotonic() + self.timeout
        while True:
            left = max(0.0, deadline - time.monotonic()) if self.timeout else None
            ready = connection.wait([self.results[i], self.processes[i].sentinel], left)
            if not ready:
                raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds: worker {i} is still fetching")
            try:
                if self.results[i] not in ready and not self.results[i].poll():
                    self.died(i)
                answer = worker.receive_object(self.results[i])
            except (EOFError, OSError):
                self.died(i)
            if answer[0] == self.epoch:  # others are of an epoch that was left before its end
                return answer

    def died(self, i: int) -> None:
        process = self.processes[i]
        process.join(1)
        code, pid = process.exitcode, process.pid
        how = f"exit code {code}" if code is None or code >= 0 else f"killed by signal {-code}"
        self.stop()
        raise RuntimeError(
            f"DataLoader worker {i} (pid {pid}) exited unexpectedly: {how}"
            + ("; did the system run out of memory?" if code == -9 else "")
        )

    def stop(self) -> None:
        if os.getpid() != self.owner:
            return  # a copy in a forked process: the workers are not its children
        for pipe in self.tasks:
            with suppress(OSError):
                pipe.send(None)
                pipe.close()
        for pipe in self.results:
            pipe.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.terminate()
                process.join(5)
        self.tasks, self.results, self.processes = [], [], []

    def __del__(self) -> None:
        self.stop()


def _worker_state(random_state: Any = None) -> dict[str, Any]:
    """What is known of a worker at the start of an epoch. `start` and `random`: its streams then, and by now."""
    return {"batches": 0, "ended": False, "stream": None, "start": random_state, "random": random_state}


class _WorkersIterator:
    """Keeps the workers busy, in turns, and gives their batches in the order of the sampler."""

    def __init__(self, loader: DataLoader, resume: dict | None, crew: _Crew | None):
        self.loader, n = loader, loader.num_workers
        before = resume["workers"] if resume else loader._position.workers if crew and loader._position else []
        fresh = crew is not None or resume is not None and resume["batches"] is None  # a new epoch of the same workers
        self.position = position = _Position(loader, None if fresh else resume, seeded=not fresh)
        loader._position = position
        if before and len(before) != n:
            warnings.warn(
                f"DataLoader: saved with {len(before)} workers, goes on with {n}: the samples are the same, but random "
                "numbers that the workers draw will be others",
                stacklevel=3,
            )
            before, position.turn = [], 0
        if fresh:
            position.base_seed = resume["base_seed"] if resume else crew.base_seed if crew else 0
            position.workers = [_worker_state(state["random"]) for state in before]
        else:
            position.workers = [dict(state) for state in before]
        if crew is None:
            crew = _Crew(loader, position.base_seed, position.workers)
        else:
            crew.epoch += 1
        self.epoch = crew.epoch
        position.workers = position.workers or [_worker_state() for _ in range(n)]
        self.crew: _Crew | None = crew
        self.persistent = loader.persistent_workers
        self.ahead = loader.prefetch_factor * n  # type: ignore[operator]
        self.exhausted = False  # the sampler
        self.turn = position.turn
        self.pending: deque[int] = deque()  # the workers whose answers are awaited, in order
        self._fill()

    def __iter__(self) -> _WorkersIterator:
        return self

    def __len__(self) -> int:
        return len(self.loader)

    def _fill(self) -> None:
        assert self.crew is not None
        workers = self.position.workers
        while len(self.pending) < self.ahead and not self.exhausted and not all(state["ended"] for state in workers):
            try:
                indices = self.position.next_indices()
            except StopIteration:
                self.exhausted = True
                return
            while workers[self.turn]["ended"]:
                self.turn = (self.turn + 1) % len(workers)
            self.crew.send(self.turn, indices)
            self.pending.append(self.turn)
            self.turn = (self.turn + 1) % len(workers)

    def __next__(self) -> Any:
        while self.pending and self.crew is not None:
            if self.epoch != self.crew.epoch:
                raise RuntimeError("DataLoader: a later iteration has taken over the persistent workers of this one")
            i = self.pending.popleft()
            _, kind, content, state = self.crew.receive(i)
            known = self.position.workers[i]
            known["ended"] = known["ended"] or kind == worker.END
            if state is not None:
                known["stream"] = state["stream"]
                known["random"] = state["random"] or known["random"]
                known["start"] = state["start"] or known["start"]
            self._fill()
            self.position.turn = self.pending[0] if self.pending else self.turn
            if kind == worker.END:
                continue
            known["batches"] += 1
            self.position.arrived()
            if kind == worker.ERROR:
                content.reraise()
            return content
        self.position.finished = True
        if not self.persistent and self.crew is not None:
            self.crew.stop()
        self.crew = None
        raise StopIteration
