"""What fetches batches, in the main process or in a worker process, and the worker's side of the conversation.

The main process and a worker talk through two pipes. A task is (epoch, indices); each is answered, in order, by
(epoch, kind, content, state). Two threads in the worker keep the pipes moving, so that neither side ever waits for the
other to read: that is what lets a worker work ahead.
"""

from __future__ import annotations

import os
import pickle
import queue
import random as python_random
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backend import random
from ...tensor import wrap
from .collate import default_collate
from .dataset import IterableDataset, Subset, TensorDataset

DATA, END, ERROR = "data", "end", "error"
WATCH = 5.0  # seconds between looks at whether the main process still lives


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker knows of itself: its number, how many there are, its seed, its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a DataLoader's worker: its WorkerInfo. In the main process: None."""
    return _worker_info


# --- fetching --------------------------------------------------------------------------------------------------------


class Fetcher:
    """Makes batches of a dataset: from indices, or, of an IterableDataset, the next ones."""

    def __init__(self, dataset: Any, batched: bool, collate: Callable, drop_last: bool, *, state: dict | None = None):
        self.dataset, self.batched, self.collate, self.drop_last = dataset, batched, collate, drop_last
        self.stream: Any = None
        self.ended = False
        if isinstance(dataset, IterableDataset):
            self.ended = state is not None and state["ended"]
            restore = state if not self.ended else None  # at its end it starts afresh, in the next epoch
            if restore and restore["kind"] == "dataset":
                self.dataset.load_state_dict(restore["state"])
            self.stream = iter(dataset)
            if restore and restore["kind"] == "iterator":
                self.stream.load_state_dict(restore["state"])

    def fetch(self, indices: Any) -> Any:
        if self.stream is not None:
            return self.collate(self._next(indices))
        if self.batched and self.collate is default_collate:
            rows = _tensor_rows(self.dataset, indices)
            if rows is not None:
                return rows
        try:
            return self.collate(self._samples(indices) if self.batched else self.dataset[indices])
        except StopIteration as error:  # it would look like the end of the data
            raise RuntimeError("the dataset, or collate_fn, raised StopIteration") from error

    def _samples(self, indices: list[int]) -> list[Any]:
        many = getattr(self.dataset, "__getitems__", None)
        return many(indices) if callable(many) else [self.dataset[i] for i in indices]

    def _next(self, places: Any) -> Any:
        if not self.batched:
            return next(self.stream)
        batch: list[Any] = []
        while not self.ended and len(batch) < len(places):
            try:
                batch.append(next(self.stream))
            except StopIteration:
                self.ended = True
        if not batch or self.drop_last and len(batch) < len(places):
            raise StopIteration
        return batch

    def skip(self, batches: int, places: Any) -> None:
        """Reads a stream again up to where it was, when nobody can tell that place otherwise."""
        for _ in range(batches):
            try:
                self._next(places)
            except StopIteration:
                self.ended = True

    def state(self) -> dict | None:
        """Where the stream is, if the dataset or its iterator can tell."""
        for kind, owner in (("iterator", self.stream), ("dataset", self.dataset)):
            if self.stream is not None and hasattr(owner, "state_dict") and hasattr(owner, "load_state_dict"):
                return {"kind": kind, "state": owner.state_dict(), "ended": self.ended}
        return None


def _tensor_rows(dataset: Any, indices: list[int]) -> list[Any] | None:
    """The batch of a TensorDataset, or of a Subset of one, in one indexing a tensor: what collating its rows gives."""
    while type(dataset) is Subset:
        indices, dataset = [dataset.indices[i] for i in indices], dataset.dataset
    if type(dataset) is not TensorDataset:
        return None
    where = np.asarray(indices, np.int64)
    return [
        wrap(t.array[where]) if isinstance(t.array, np.ndarray) and not t.requires_grad else t[where]
        for t in dataset.tensors
    ]


# --- errors ----------------------------------------------------------------------------------------------------------


class _Message(str):
    """A text that shows its line breaks in a KeyError, too."""

    def __repr__(self) -> str:
        return str(self)


@dataclass
class Failure:
    """An exception on its way from a worker to the main process: its type and the traceback's text."""

    kind: type[BaseException] | None
    name: str
    text: str

    @classmethod
    def current(cls, place: str) -> Failure:
        error = sys.exc_info()[1]
        assert error is not None
        kind: type[BaseException] | None = type(error)
        try:
            pickle.dumps(kind)
        except Exception:  # a class that the main process cannot find
            kind = None
        trace = "".join(traceback.format_exception(error))
        return cls(kind, type(error).__name__, f"Caught {type(error).__name__} {place}.\nOriginal {trace}")

    def reraise(self) -> None:
        try:
            error = (self.kind or RuntimeError)(_Message(self.text))
        except Exception:  # its constructor wants something else
            error = RuntimeError(self.text)
        raise error


# --- the worker ------------------------------------------------------------------------------------------------------


def random_state() -> tuple:
    """The streams of this process: minitorch's, Python's, NumPy's."""
    return random.default_generator.state_array(), python_random.getstate(), np.random.get_state()


def set_random_state(state: tuple) -> None:
    random.default_generator.set_state_array(state[0])
    python_random.setstate(state[1])
    np.random.set_state(state[2])


def _same(a: tuple | None, b: tuple) -> bool:
    if a is None:
        return False
    return np.array_equal(a[0], b[0]) and a[1] == b[1] and a[2][2:] == b[2][2:] and np.array_equal(a[2][1], b[2][1])


def work(
    tasks: Any,
    results: Any,
    worker_id: int,
    num_workers: int,
    make_fetcher: tuple[Any, bool, Callable, bool],
    base_seed: int,
    init: Callable[[int], None] | None,
    resume: dict | None,
) -> None:
    """The life of a worker. `make_fetcher`: the Fetcher's arguments; `resume`: the state that an earlier one was in."""
    global _worker_info
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process; the main one ends the workers
    os.environ["OMP_NUM_THREADS"] = "1"  # for our kernels: the workers are the parallelism
    seed = base_seed + worker_id
    python_random.seed(seed)
    random.default_generator.manual_seed(seed)
    np.random.seed(numpy_seed(base_seed, worker_id))
    _worker_info = WorkerInfo(worker_id, num_workers, seed, make_fetcher[0])
    inbox, outbox, stopped = _start_threads(tasks, results)
    place = f"in DataLoader worker process {worker_id}"

    failure: Failure | None = None
    fetcher: Fetcher | None = None
    try:
        if init is not None:
            init(worker_id)
        if resume and resume["start"] is not None:
            set_random_state(resume["start"])
        fetcher = Fetcher(*make_fetcher, state=resume["stream"] if resume else None)
        if resume and resume["stream"] is None and fetcher.stream is not None:
            fetcher.skip(resume["batches"], resume["places"])
        if resume and resume["random"] is not None:
            set_random_state(resume["random"])
    except Exception:
        failure = Failure.current(place)

    epoch, ended = 0, False
    start: tuple | None = None  # the random streams at the start of a later epoch
    before: tuple | None = None
    while True:
        task = inbox.get()
        if stopped.is_set():
            return
        if failure is not None:
            outbox.put((task[0], ERROR, failure, None))
            continue
        if task[0] != epoch:  # workers that persist start the dataset again
            epoch, ended, start = task[0], False, random_state()
            if fetcher is None or fetcher.stream is not None:
                fetcher = Fetcher(*make_fetcher)
        assert fetcher is not None
        kind, content = END, None
        if not ended:
            try:
                kind, content = DATA, fetcher.fetch(task[1])
            except StopIteration:
                ended = True
            except Exception:
                kind, content = ERROR, Failure.current(place)
        now = random_state()
        state = {"stream": fetcher.state(), "random": None if _same(before, now) else now, "start": start}
        before, start = now, None
        outbox.put((task[0], kind, content, state))
        del content  # memory: the next batch may be long in coming


def numpy_seed(base_seed: int, worker_id: int) -> np.ndarray:
    """The seed of np.random in a worker, as in PyTorch."""
    entropy = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return np.random.SeedSequence(entropy).generate_state(4)


def _start_threads(tasks: Any, results: Any) -> tuple[Any, Any, threading.Event]:
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    outbox: queue.SimpleQueue = queue.SimpleQueue()
    stopped = threading.Event()
    main_pid = os.getppid()

    def receive() -> None:
        while True:
            try:
                while not tasks.poll(WATCH):
                    if os.getppid() != main_pid:
                        os._exit(1)
                task = tasks.recv()
            except (EOFError, OSError):
                os._exit(1)  # the main process is gone
            if task is None:
                stopped.set()  # nobody waits for what has not been fetched yet
            inbox.put(task)

    def send() -> None:
        while True:
            answer = outbox.get()
            try:
                send_object(results, answer)
            except (BrokenPipeError, ConnectionResetError):
                return  # nobody reads any more
            except Exception:  # the batch cannot be pickled
                failure = Failure.current(f"in DataLoader worker process {_worker_info.id if _worker_info else '?'}")
                send_object(results, (answer[0], ERROR, failure, None))

    for target in (receive, send):
        threading.Thread(target=target, daemon=True).start()
    return inbox, outbox, stopped


def send_object(connection: Any, value: Any) -> None:
    """Sends a pickle, and its arrays' bytes after it, without a copy of them."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    connection.send_bytes(pickle.dumps((body, [r.nbytes for r in raw])))
    for view in raw:
        if view.nbytes:
            connection.send_bytes(view)


def receive_object(connection: Any) -> Any:
    body, sizes = pickle.loads(connection.recv_bytes())
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        if buffer.size:
            connection.recv_bytes_into(buffer)
    return pickle.loads(body, buffers=buffers)
