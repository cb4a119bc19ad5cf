"""Datasets, samplers and the DataLoader: PyTorch's order from the same seed; workers; positions that resume."""

import gc
import multiprocessing
import os
import random as python_random
import signal
import time
import weakref
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import minitorch
from minitorch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*more workers than:UserWarning", "ignore:.*fork:DeprecationWarning", "ignore:This DataLoader will create"
)


class Numbers(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i


def same(a, b):
    """The same structure, numbers and dtypes, of minitorch's and PyTorch's tensors."""
    return plain(a) == plain(b)


def plain(x):
    if hasattr(x, "dtype") and hasattr(x, "tolist"):
        return str(x.dtype).split(".")[-1], tuple(x.shape), x.tolist()
    if isinstance(x, dict):
        return type(x).__name__, {key: plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x).__name__, [plain(value) for value in x]
    return x


# --- the same order as PyTorch ---------------------------------------------------------------------------------------


def test_recorded_orders():
    """What PyTorch 2.13 gives: so the order is held where PyTorch is not installed, too."""
    minitorch.manual_seed(0)
    loader = DataLoader(Numbers(10), batch_size=4, shuffle=True, collate_fn=list)
    assert list(loader) == RECORDED["first"]
    assert list(loader) == RECORDED["second"]
    assert list(WeightedRandomSampler([1, 2, 3, 4], 8)) == RECORDED["weighted"]
    assert list(RandomSampler(Numbers(5), replacement=True, num_samples=8)) == RECORDED["replacement"]
    assert [list(s.indices) for s in random_split(Numbers(7), [0.5, 0.5])] == RECORDED["split"]
    assert minitorch.rand(2).tolist() == pytest.approx(RECORDED["rand"], abs=1e-7)


RECORDED = {
    "first": [[6, 7, 1, 4], [2, 0, 9, 8], [3, 5]],
    "second": [[2, 4, 7, 0], [8, 9, 5, 3], [6, 1]],
    "weighted": [3, 3, 1, 2, 2, 1, 2, 1],
    "replacement": [3, 1, 1, 1, 2, 2, 2, 2],
    "split": [[1, 6, 0, 3], [5, 4, 2]],
    "rand": [0.17591017484664917, 0.2698335647583008],
}


def loaders(data, dataset, samplers, workers):
    """The same loaders of minitorch or PyTorch; `data` is either's utils.data."""
    more = {"num_workers": workers, "collate_fn": list}
    yield data.DataLoader(dataset, **more)
    yield data.DataLoader(dataset, 4, shuffle=True, **more)
    yield data.DataLoader(dataset, 4, shuffle=True, drop_last=True, **more)
    yield data.DataLoader(dataset, None, shuffle=True, num_workers=workers, collate_fn=lambda x: x)
    yield data.DataLoader(dataset, 3, sampler=samplers.RandomSampler(dataset, True, 70), **more)
    yield data.DataLoader(dataset, 3, sampler=samplers.RandomSampler(dataset, num_samples=30), **more)
    yield data.DataLoader(dataset, 5, sampler=samplers.WeightedRandomSampler(range(1, 24), 40), **more)
    yield data.DataLoader(dataset, 5, sampler=samplers.SubsetRandomSampler(range(3, 20)), **more)
    yield data.DataLoader(
        dataset, batch_sampler=samplers.BatchSampler(samplers.SubsetRandomSampler(range(9)), 2, True), **more
    )
    if workers:
        yield data.DataLoader(dataset, 4, shuffle=True, persistent_workers=True, **more)


@pytest.mark.parity
@pytest.mark.parametrize("workers", [0, 2])
def test_same_batches_and_draws_as_pytorch(workers):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    dataset = Numbers(23)
    theirs = loaders(torch.utils.data, dataset, torch.utils.data, workers)
    ours = loaders(minitorch.utils.data, dataset, minitorch.utils.data, workers)
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        torch.manual_seed(i)
        minitorch.manual_seed(i)
        for _ in range(2):
            assert list(mine) == list(other), i
            assert minitorch.get_rng_state().tolist() == torch.get_rng_state().tolist(), i
            assert len(mine) == len(other)


@pytest.mark.parity
def test_same_draws_from_a_generator_as_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    for workers in (0, 2):
        g, h = minitorch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
        mine = DataLoader(Numbers(11), 3, True, collate_fn=list, generator=g, num_workers=workers)
        other = torch.utils.data.DataLoader(Numbers(11), 3, True, collate_fn=list, generator=h, num_workers=workers)
        before = minitorch.get_rng_state().tolist()
        for _ in range(2):
            assert list(mine) == list(other) and g.get_state().tolist() == h.get_state().tolist()
        assert minitorch.get_rng_state().tolist() == before
    for weights in ([0.1, 0.9, 3.0], minitorch.tensor([1, 2, 3]), (w for w in [1.0, 2.0])):
        assert len(list(WeightedRandomSampler(weights, 50))) == 50
    torch.manual_seed(1)
    minitorch.manual_seed(1)
    for lengths in ([3, 4, 4], [0.3, 0.3, 0.4], [0.5, 0.5], [1 / 3] * 3):
        mine, other = random_split(Numbers(11), lengths), torch.utils.data.random_split(Numbers(11), lengths)
        assert [list(s.indices) for s in mine] == [list(s.indices) for s in other]


Pair = namedtuple("Pair", "x y")
BATCHES = [
    [1, 2, 3], [1.0, 2.0], [True, False], ["a", "b"], [b"a", b"b"], [np.float32(1), np.float32(2)], [np.float64(1)],
    [np.int32(4)], [np.bool_(True)], [np.ones((2, 3), np.float32)] * 2, [np.array(1, np.uint8)] * 2,
    [np.ones((0, 2))] * 3, [{"a": 1, "b": np.ones(2)}] * 2, [(1, 2.0, "x")] * 3, [[1, [2.0, 3]]] * 2,
    [Pair(1, 2.0)] * 2, [OrderedDict(a=1)] * 2, [(np.ones(2), {"k": [1, (2, "z")]})] * 2,
]  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_collate_as_pytorch(batch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    assert same(default_collate(batch), torch.utils.data.default_collate(batch))
    for sample in (batch, batch[0]):
        assert same(default_convert(sample), torch.utils.data.default_convert(sample))


def test_collate():
    x = [minitorch.arange(3.0) + i for i in range(2)]
    assert same(default_collate([(t, i) for i, t in enumerate(x)]), [minitorch.stack(x), minitorch.tensor([0, 1])])
    leaf = minitorch.ones(2, requires_grad=True)
    default_collate([leaf, leaf]).sum().backward()
    assert leaf.grad.tolist() == [2, 2]
    for batch, kind, words in [
        ([np.ones(2), np.ones(3)], RuntimeError, r"equal size.*\[2\] at entry 0 and \[3\] at entry 1"),
        ([{"a": 1}, {"b": 1}], KeyError, "sample 1 of the batch has no key 'a'"),
        ([object()], TypeError, "found <class 'object'>; pass a collate_fn"),
        ([np.array(["a"])], TypeError, "array of <U1 cannot become a tensor"),
        ([(1, 2), (1,)], RuntimeError, r"should be of equal size, but got the lengths \[2, 1\]"),
    ]:
        with pytest.raises(kind, match=words):
            default_collate(batch)


# --- datasets and samplers -------------------------------------------------------------------------------------------


def test_datasets():
    x, y = minitorch.arange(20.0).reshape(10, 2), minitorch.arange(10)
    data = TensorDataset(x, y)
    assert len(data) == 10 and same(data[3], (x[3], y[3]))
    joined = data + TensorDataset(x[:2], y[:2])
    assert isinstance(joined, ConcatDataset) and len(joined) == 12
    assert same(joined[10], data[0]) and same(joined[-1], data[1]) and same(joined[-12], data[0])
    with pytest.raises(IndexError, match="index 12 is out of range for a ConcatDataset of 12 samples"):
        joined[12]
    with pytest.raises(ValueError, match="index -13 is out of range"):
        joined[-13]
    part = Subset(joined, [11, 0, 5])
    assert same([part[i] for i in range(3)], [joined[11], joined[0], joined[5]])
    with pytest.raises(AssertionError, match=r"Size mismatch between tensors.*\[10, 9\]"):
        TensorDataset(x, y[:9])
    with pytest.raises(TypeError, match="argument 1 is a list"):
        TensorDataset(x, [1])
    with pytest.raises(NotImplementedError, match="must define __getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="overrides __getitem__ but not __getitems__"):
        type("Half", (Subset,), {"__getitem__": lambda self, i: 0})(data, [0])
    assert list(Count(2) + Count(3)) == [0, 1, 0, 1, 2]


def test_random_split():
    with pytest.warns(UserWarning, match="split at index 1 is 0"):
        parts = random_split(Numbers(3), [0.9, 0.1])
    assert [len(p) for p in parts] == [3, 0]
    assert sorted(i for p in random_split(Numbers(10), [3, 7]) for i in p) == list(range(10))
    for lengths in ([3, 8], [0.5, 0.6], [11, -1]):
        with pytest.raises(ValueError, match="Sum of input lengths does not equal the length of the input dataset!"):
            random_split(Numbers(10), lengths)


def test_a_tensor_dataset_is_indexed_once_a_batch(monkeypatch):
    """The fast way gives what collating row by row gives."""
    x, y = minitorch.arange(24.0).reshape(8, 3), minitorch.arange(8)
    data = Subset(TensorDataset(x, y), [7, 6, 5, 3, 1])
    weights = TensorDataset(minitorch.ones(3, requires_grad=True))
    (batch,) = DataLoader(weights, 3)
    batch[0].sum().backward()
    assert weights.tensors[0].grad.tolist() == [1, 1, 1]
    minitorch.manual_seed(2)
    fast = list(DataLoader(data, 2, shuffle=True))
    minitorch.manual_seed(2)
    assert same(fast, list(DataLoader(data, 2, shuffle=True, collate_fn=lambda b: default_collate(b))))
    monkeypatch.setattr(TensorDataset, "__getitem__", None)
    assert len(list(DataLoader(data, 2))) == 3


def test_samplers():
    assert list(BatchSampler(SequentialSampler(range(7)), 3, False)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(BatchSampler(SequentialSampler(range(7)), 3, True)) == [[0, 1, 2], [3, 4, 5]]
    assert [len(BatchSampler(range(7), 3, drop)) for drop in (False, True)] == [3, 2]
    assert sorted(SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]
    assert set(WeightedRandomSampler([0, 1, 0, 1], 50)) == {1, 3}
    assert sorted(WeightedRandomSampler([1, 1, 1], 3, replacement=False)) == [0, 1, 2]
    for make, words in [
        (lambda: RandomSampler([]), "num_samples=0: the dataset is empty"),
        (lambda: DataLoader([], shuffle=True), "the dataset is empty"),
        (lambda: RandomSampler(range(3), num_samples=-1), "positive integer value, but got num_samples=-1"),
        (lambda: BatchSampler(range(3), 0, False), "batch_size=0"),
        (lambda: BatchSampler(range(3), True, False), "batch_size=True"),
        (lambda: BatchSampler(range(3), 2, 1), "drop_last=1"),
        (lambda: WeightedRandomSampler([[1.0]], 1), "1d sequence"),
        (lambda: WeightedRandomSampler([1.0], 0), "num_samples=0"),
    ]:
        with pytest.raises((ValueError, TypeError), match=words):
            make()
    with pytest.raises(TypeError, match="expected a minitorch.Generator"):
        DataLoader(Numbers(3), shuffle=True, generator=3)


def test_options_of_the_loader():
    numbers = Numbers(5)
    for kind, words, options in [
        (ValueError, "mutually exclusive with shuffle", dict(shuffle=True, sampler=[0])),
        (ValueError, "batch_sampler option is mutually exclusive", dict(batch_sampler=[[0]], batch_size=2)),
        (ValueError, "batch_size=None option disables", dict(batch_size=None, drop_last=True)),
        (ValueError, "num_workers option should be non-negative", dict(num_workers=-1)),
        (ValueError, "timeout option should be non-negative", dict(timeout=-1)),
        (ValueError, "prefetch_factor option needs num_workers > 0", dict(prefetch_factor=2)),
        (ValueError, "persistent_workers option needs num_workers > 0", dict(persistent_workers=True)),
        (ValueError, "in_order=False is not supported", dict(in_order=False)),
        (ValueError, "expected one of .*fork", dict(num_workers=1, multiprocessing_context="spoon")),
        (TypeError, "a dataset needs __getitem__", dict(dataset=3)),
        (ValueError, "IterableDataset: expected unspecified sampler", dict(dataset=Count(3), sampler=[0])),
        (ValueError, "IterableDataset: expected unspecified shuffle", dict(dataset=Count(3), shuffle=True)),
    ]:
        with pytest.raises(kind, match=words):
            DataLoader(**{"dataset": numbers, **options})
    with pytest.warns(UserWarning, match="pin_memory has no effect"):
        DataLoader(numbers, pin_memory=True)
    loader = DataLoader(numbers, 2)
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
    assert len(loader) == 3 and len(iter(loader)) == 3
    assert same(list(loader), [minitorch.tensor(b) for b in ([0, 1], [2, 3], [4])])
    assert list(DataLoader([1, "a", (2,)], None)) == [1, "a", [2]]
    assert list(DataLoader(numbers, batch_sampler=[[3, 1], [0]], collate_fn=list)) == [[3, 1], [0]]


def test_a_loader_frees_its_dataset_without_the_collector():
    gc.disable()
    try:
        loader = DataLoader(Numbers(4), 2, shuffle=True)
        alive = weakref.ref(loader.dataset)
        next(iter(loader))
        loader.state_dict()
        del loader
        assert alive() is None
    finally:
        gc.enable()


# --- streams ---------------------------------------------------------------------------------------------------------


class Count(IterableDataset):
    """0 .. n-1, the workers taking turns; in a worker with a random number."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        for i in range(self.n):
            if info is None:
                yield i
            elif i % info.num_workers == info.id or i < 4:  # the first ones by every worker
                yield i, info.id, python_random.random()

    def __len__(self):
        return self.n


class Shuffled(Count):
    """A stream in an order that is drawn at its start, in each worker another one."""

    def __iter__(self):
        yield from python_random.sample(range(self.n), self.n)


class Resumable(Count):
    """A stream that knows where it is, and starts where it was told to."""

    read, told = 0, None

    def __iter__(self):
        self.read, self.told = self.told or 0, None
        while self.read < self.n:
            self.read += 1
            yield self.read - 1

    def state_dict(self):
        return {"read": self.read}

    def load_state_dict(self, state):
        self.told = state["read"]


def test_streams():
    assert list(DataLoader(Count(5), 2, collate_fn=list)) == [[0, 1], [2, 3], [4]]
    assert list(DataLoader(Count(5), 2, collate_fn=list, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(DataLoader(Count(3), None)) == [0, 1, 2]
    assert [len(DataLoader(Count(5), size, drop_last=drop)) for size, drop in ((2, False), (2, True))] == [3, 2]
    assert len(DataLoader(Count(5), None)) == 5
    batches = list(DataLoader(Count(11), 2, num_workers=2, collate_fn=list))
    assert [[i for i, _, _ in b] for b in batches] == [[0, 1], [0, 1], [2, 3], [2, 3], [4, 6], [5, 7], [8, 10], [9]]
    assert [b[0][1] for b in batches] == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parity
def test_streams_as_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")

    class Theirs(torch.utils.data.IterableDataset):
        def __iter__(self):
            info = torch.utils.data.get_worker_info()
            return iter(range(10 * info.id, 10 * info.id + 2 + 5 * info.id))

    class Ours(IterableDataset):
        def __iter__(self):
            info = get_worker_info()
            return iter(range(10 * info.id, 10 * info.id + 2 + 5 * info.id))

    for size in (1, 2, None):
        options = dict(batch_size=size, num_workers=3, collate_fn=lambda x: x)
        assert list(DataLoader(Ours(), **options)) == list(torch.utils.data.DataLoader(Theirs(), **options))


# --- workers ---------------------------------------------------------------------------------------------------------


class Draws(Numbers):
    """With what the streams of the process give."""

    def __getitem__(self, i):
        return i, int(minitorch.randint(0, 2**31, ()).item()), python_random.random(), float(np.random.rand())


class TheirDraws(Numbers):
    def __getitem__(self, i):
        import torch

        return i, int(torch.randint(0, 2**31, ()).item()), python_random.random(), float(np.random.rand())


@pytest.mark.parity
def test_workers_are_seeded_as_pytorch_seeds_them():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    torch.manual_seed(8)
    minitorch.manual_seed(8)
    options = dict(batch_size=2, num_workers=2, collate_fn=list)
    for _ in range(2):
        assert list(DataLoader(Draws(8), **options)) == list(torch.utils.data.DataLoader(TheirDraws(8), **options))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_give_the_same_batches(workers):
    data = TensorDataset(minitorch.randn(50, 7), minitorch.arange(50))
    expected, found = [], []
    for n, batches in ((0, expected), (workers, found)):
        minitorch.manual_seed(3)
        loader = DataLoader(data, 8, shuffle=True, num_workers=n, collate_fn=default_collate)
        for _ in range(2):
            batches.extend(loader)
        batches.append(minitorch.rand(1))
    assert same(found, expected)
    assert not multiprocessing.active_children()


def set_number(worker_id):
    get_worker_info().dataset.n = 100 + worker_id


class Shown(Numbers):
    def __getitem__(self, i):
        info = get_worker_info()
        return self.n, info.id, info.num_workers, info.dataset is self, os.getpid() != info.dataset.home

    def __len__(self):
        return 4


def test_worker_info_and_init():
    assert get_worker_info() is None
    data = Shown(0)
    data.home = os.getpid()
    loader = DataLoader(data, 1, num_workers=2, worker_init_fn=set_number, collate_fn=list)
    assert list(loader) == [[(100, 0, 2, True, True)], [(101, 1, 2, True, True)]] * 2
    assert data.n == 0


class Failing(Numbers):
    def __getitem__(self, i):
        if i == 3:
            raise self.kinds[0]("three", *self.kinds[1:])
        return i


class Picky(Exception):
    def __init__(self, message, more):
        super().__init__(message)


@pytest.mark.parametrize(
    "kinds, caught", [((ValueError,), ValueError), ((KeyError,), KeyError), ((Picky, 1), RuntimeError)]
)
def test_errors_come_with_the_workers_traceback(kinds, caught):
    data = Failing(6)
    data.kinds = kinds
    iterator = iter(DataLoader(data, 1, num_workers=2, collate_fn=list))
    assert [next(iterator) for _ in range(3)] == [[0], [1], [2]]
    with pytest.raises(caught) as error:
        next(iterator)
    text = str(error.value)
    assert f"Caught {kinds[0].__name__} in DataLoader worker process 1.\nOriginal Traceback" in text
    assert "raise self.kinds[0]" in text and "three" in text
    assert list(iterator) == [[4], [5]]  # it goes on


class Stopping(Numbers):
    def __getitem__(self, i):
        return next(iter([])) if i == 2 else i


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stop_iteration_is_no_end(workers):
    with pytest.raises(RuntimeError, match="the dataset, or collate_fn, raised StopIteration"):
        list(DataLoader(Stopping(4), num_workers=workers))


def test_errors_outside_the_dataset():
    def broken_init(worker_id):
        raise RuntimeError(f"init of {worker_id}")

    with pytest.raises(RuntimeError, match="(?s)in DataLoader worker process 0.*init of 0"):
        list(DataLoader(Numbers(4), num_workers=2, worker_init_fn=broken_init))
    with pytest.raises(Exception, match="(?s)in DataLoader worker process 0.*[Pp]ickle"):
        list(DataLoader(Numbers(2), num_workers=1, collate_fn=lambda batch: lambda: batch))
    with pytest.raises((AttributeError, TypeError, Exception), match="define these at the top level of a module"):
        list(DataLoader(Numbers(2), num_workers=1, collate_fn=lambda b: b, multiprocessing_context="spawn"))


class Slow(Numbers):
    def __getitem__(self, i):
        if i == 1:
            if self.n == 77:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(30)
        return i


def test_a_dead_worker_and_a_slow_one_are_noticed():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader worker 1 \(pid \d+\) exited unexpectedly: killed by signal 9"):
        list(DataLoader(Slow(77), num_workers=2))
    iterator = iter(DataLoader(Slow(2), num_workers=2, timeout=0.3))
    assert next(iterator).tolist() == [0]
    with pytest.raises(RuntimeError, match="DataLoader timed out after 0.3 seconds"):
        next(iterator)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    assert time.monotonic() - start < 5


def test_an_iterator_that_is_left_ends_its_workers():
    for batch in DataLoader(Numbers(1000), num_workers=2):
        assert batch.tolist() == [0]
        assert len(multiprocessing.active_children()) == 2
        break
    assert not multiprocessing.active_children()


def test_workers_that_persist():
    loader = DataLoader(Shown(0), 1, num_workers=2, persistent_workers=True, collate_fn=pids)
    loader.dataset.home = 0
    first = list(loader)
    iterator = iter(loader)
    next(iterator)  # left before its end: what is on the way is not mixed up with the next epoch's
    assert list(loader) == first and len({pid for pid, _ in first}) == 2
    with pytest.raises(RuntimeError, match="a later iteration has taken over"):
        next(iterator)
    stream = DataLoader(Resumable(3), 1, num_workers=1, persistent_workers=True, collate_fn=list)
    assert [list(stream) for _ in range(3)] == [[[0], [1], [2]]] * 3
    del loader, iterator, stream
    assert not multiprocessing.active_children()


def pids(batch):
    return os.getpid(), [b[:3] for b in batch]


def test_spawned_workers():
    loader = DataLoader(Numbers(6), 2, num_workers=1, multiprocessing_context="spawn")
    assert same(list(loader), [minitorch.tensor([i, i + 1]) for i in (0, 2, 4)])


class Big(Numbers):
    def __getitem__(self, i):
        return {"image": np.full((64, 1000), i, np.float32), "f": np.full((3, 2), i).T, "empty": np.ones(0)}


def test_large_batches_come_whole():
    batches = list(DataLoader(Big(8), 4, num_workers=2, prefetch_factor=3))
    assert same(batches, list(DataLoader(Big(8), 4)))
    batches[0]["image"].add_(1)  # they can be written to


# --- positions -------------------------------------------------------------------------------------------------------


class Private(Sampler):
    """A sampler with random numbers of its own, which only its state can bring back."""

    def __init__(self, n):
        self.n, self.random, self.state = n, np.random.default_rng(0), None

    def __len__(self):
        return self.n

    def __iter__(self):
        order, done = self.state or (self.random.permutation(self.n).tolist(), 0)
        for done in range(done, self.n):  # noqa: B020
            self.state = order, done + 1
            yield order[done]
        self.state = None

    def state_dict(self):
        return {"random": self.random.bit_generator.state, "state": self.state}

    def load_state_dict(self, state):
        self.random.bit_generator.state = state["random"]
        self.state = tuple(state["state"]) if state["state"] else None


class Eager(Sampler):
    """Draws when the iteration begins, not when the first index is wanted."""

    def __iter__(self):
        return iter(minitorch.randperm(11).tolist())

    def __len__(self):
        return 11


CASES = {
    "sequential": lambda: DataLoader(Numbers(11), 4, collate_fn=list),
    "shuffle": lambda: DataLoader(Numbers(11), 4, shuffle=True, collate_fn=list),
    "drop_last": lambda: DataLoader(Numbers(11), 4, shuffle=True, drop_last=True, collate_fn=list),
    "generator": lambda: DataLoader(
        Numbers(11), 4, shuffle=True, generator=minitorch.Generator().manual_seed(1), collate_fn=list
    ),
    "replacement": lambda: DataLoader(Numbers(11), 4, sampler=RandomSampler(Numbers(9), True, 50), collate_fn=list),
    "weighted": lambda: DataLoader(Numbers(11), 4, sampler=WeightedRandomSampler(range(11), 9), collate_fn=list),
    "batch_sampler": lambda: DataLoader(
        Numbers(11), batch_sampler=BatchSampler(SubsetRandomSampler(range(9)), 2, False), collate_fn=list
    ),
    "eager": lambda: DataLoader(Numbers(11), 4, sampler=Eager(), collate_fn=list),
    "private": lambda: DataLoader(Numbers(11), 4, sampler=Private(11), collate_fn=list),
    "one by one": lambda: DataLoader(Numbers(5), None, shuffle=True),
    "stream": lambda: DataLoader(Count(9), 2, collate_fn=list),
    "resumable": lambda: DataLoader(Resumable(9), 2, collate_fn=list),
}
WITH_WORKERS = {
    "workers": lambda: DataLoader(Draws(9), 2, shuffle=True, num_workers=2, collate_fn=list),
    "private, workers": lambda: DataLoader(Numbers(11), 4, sampler=Private(11), num_workers=2, collate_fn=list),
    "persistent": lambda: DataLoader(
        Draws(7), 2, shuffle=True, num_workers=2, persistent_workers=True, collate_fn=list
    ),
    "stream, workers": lambda: DataLoader(Count(7), 2, num_workers=2, collate_fn=list),
    "shuffled, persistent": lambda: DataLoader(Shuffled(6), 2, num_workers=2, persistent_workers=True, collate_fn=list),
    "resumable, workers": lambda: DataLoader(Resumable(5), 2, num_workers=2, collate_fn=list),
    "resumable, persistent": lambda: DataLoader(
        Resumable(5), 2, num_workers=2, persistent_workers=True, collate_fn=list
    ),
}


@pytest.mark.parametrize("make", [*CASES.values(), *WITH_WORKERS.values()], ids=[*CASES, *WITH_WORKERS])
def test_every_position_resumes(make, request):
    """From the state at each place of a run a new loader goes on to the run's end: the same batches and draws."""
    epochs = 2
    every = 1 if request.node.callspec.id in CASES else 3
    minitorch.manual_seed(7)
    loader, run, states = make(), [], []

    def note(epoch):
        states.append((file_round_trip(loader.state_dict()), minitorch.get_rng_state(), epoch, len(run)))

    for epoch in range(epochs):
        note(epoch)
        for batch in loader:
            run.append((batch, minitorch.rand(3).tolist()))  # the training draws, too
            note(epoch)
    note(epochs)
    for state, random_state, epoch, n in states[::every]:
        minitorch.manual_seed(99)
        resumed, rest = make(), []
        resumed.load_state_dict(state)
        assert plain(resumed.state_dict()["batches"]) == state["batches"]
        minitorch.set_rng_state(random_state)
        for _ in range(epoch, epochs):
            for batch in resumed:
                rest.append((batch, minitorch.rand(3).tolist()))
        assert rest == run[n:], n


def file_round_trip(state):
    import io

    file = io.BytesIO()
    minitorch.serialization.save(state, file)
    return minitorch.serialization.load(file)


def test_draws_between_the_iterator_and_its_first_batch():
    minitorch.manual_seed(1)
    loader = DataLoader(Numbers(9), 2, shuffle=True, collate_fn=list)
    iterator = iter(loader)
    before = loader.state_dict(), minitorch.get_rng_state()
    minitorch.rand(5)  # PyTorch's sampler has not drawn its seed yet
    first, state, random_state, rest = next(iterator), loader.state_dict(), minitorch.get_rng_state(), list(iterator)
    loader.load_state_dict(state)
    minitorch.set_rng_state(random_state)
    assert list(loader) == rest
    loader.load_state_dict(before[0])
    minitorch.set_rng_state(before[1])
    iterator = iter(loader)
    minitorch.rand(5)
    assert [next(iterator), *iterator] == [first, *rest]


def test_a_position_of_another_loader_is_refused():
    loader = DataLoader(Numbers(9), 2, shuffle=True)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    for other, words in [
        (DataLoader(Numbers(8), 2, shuffle=True), "dataset_length 9, this DataLoader has 8"),
        (DataLoader(Numbers(9), 3, shuffle=True), "batch_size 2, this DataLoader has 3"),
        (DataLoader(Numbers(9), 2), "sampler 'RandomSampler', this DataLoader has 'SequentialSampler'"),
        (DataLoader(Numbers(9), 2, shuffle=True, drop_last=True), "drop_last False"),
        (DataLoader(Numbers(9), 2, shuffle=True, generator=minitorch.Generator()), "another number of generators"),
    ]:
        with pytest.raises(ValueError, match=words):
            other.load_state_dict(state)
    with pytest.raises(KeyError, match="not the state_dict"):
        loader.load_state_dict({"model": 1})
    with pytest.warns(UserWarning, match="saved with 2 workers, goes on with 3"):
        a, b = (DataLoader(Numbers(9), 2, num_workers=n, collate_fn=list) for n in (2, 3))
        iterator = iter(a)
        next(iterator)
        b.load_state_dict(a.state_dict())
        assert list(b) == list(iterator)


def test_a_shorter_sampler_is_noticed():
    class Shrinking(Sampler):
        n = 8

        def __iter__(self):
            return iter(range(self.n))

    loader = DataLoader(Numbers(9), 2, sampler=Shrinking())
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    loader.sampler.n = 3
    loader.load_state_dict(state)
    with pytest.raises(RuntimeError, match="saved after batch 3, but now Shrinking ends after 2"):
        iter(loader)
