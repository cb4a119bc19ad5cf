"""The threads of the CPU kernels: every chunk exactly once, whatever else happens at the same time."""

import os
import random
import sys
import threading

import numpy as np
import pytest

import minitorch

pytest.importorskip("numba", reason="the kernels need numba")

from minitorch.kernels.cpu import (  # noqa: E402
    blas,
    matmul,
    pool,  # noqa: E402
)
from minitorch.kernels.cpu import compile as kernels  # noqa: E402
from minitorch.kernels.cpu.pool import Pool  # noqa: E402

WORK = pool._work


@kernels.kernel
def _count(args, start, stop):
    counts, amount = kernels.integers(args, 0), kernels.integer(args, 1)
    for i in range(start, stop):
        counts[i] += amount


@pytest.fixture
def threads():
    before = kernels.THREADS

    def use(n):
        kernels.set_threads(n)

    yield use
    kernels.set_threads(before)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_every_row_once(threads, n):
    threads(n)
    for rows in [1, 2, 5, 64, 1001]:
        counts = np.zeros(rows, np.int64)
        for repeat in range(300):
            kernels.over_rows(_count, rows, 1 << 20, counts, 1, each=1 + repeat % 3)
        assert (counts == 300).all(), rows


class Interleaved:
    """The pool's own code as Python threads of which one moves at a time, from one atomic operation to the next.

    Which one is drawn from a seed, so a schedule that breaks the pool comes back with its number.
    """

    def __init__(self, monkeypatch, seed):
        self.words, self.random, self.calls = {}, random.Random(seed), []
        self.turn, self.running, self.current = threading.Condition(), set(), None
        atomics = {
            "_load": lambda at: self.words.get(at, 0),
            "_store": lambda at, value: self.words.__setitem__(at, value),
            "_add": lambda at, value: self.words.__setitem__(at, self.words.get(at, 0) + value),
            "_exchange_if": self.exchange_if,
            "_call": lambda *call: self.calls.append(call),
        }
        for name, operation in atomics.items():
            monkeypatch.setattr(pool, name, self.in_turn(operation))
        monkeypatch.setattr(pool, "_work", WORK.py_func)

    def exchange_if(self, at, expected, new):
        if self.words.get(at, 0) != expected:
            return False
        self.words[at] = new
        return True

    def in_turn(self, operation):
        def wait_and_do(*arguments):
            me = threading.current_thread().name
            with self.turn:
                self.turn.wait_for(lambda: self.current == me)
                result = operation(*arguments)
                self.pass_on()
            return result

        return wait_and_do

    def pass_on(self):
        # mostly the same thread goes on: a rare change in a bad place is what has to be found
        if self.running and (self.current not in self.running or self.random.random() < 0.2):
            self.current = self.random.choice(sorted(self.running))
        self.turn.notify_all()

    def run(self, *functions):
        def body(function):
            me = threading.current_thread().name
            with self.turn:
                self.running.add(me)
                self.turn.wait_for(lambda: self.current is not None)
            try:
                function()
            finally:
                with self.turn:
                    self.running.discard(me)
                    self.pass_on()

        workers = [
            threading.Thread(target=body, args=(function,), name=str(i), daemon=True)
            for i, function in enumerate(functions)
        ]
        for worker in workers:
            worker.start()
        with self.turn:
            while len(self.running) < len(workers):
                self.turn.wait(0.001)
            self.pass_on()
        for worker in workers:
            worker.join(60)
            assert not worker.is_alive()


def test_every_chunk_once_in_whatever_order_the_threads_move(monkeypatch):
    launch, serve = (getattr(pool, name).__wrapped__ for name in ("_launch", "_serve"))
    jobs = [(10, 2), (11, 5), (12, 1), (13, 4)]  # function's number, chunks: more of them than before, and fewer
    for seed in range(60):
        with monkeypatch.context() as patch:
            patch.setattr(pool, "LOOK_OUT", 12)
            schedule = Interleaved(patch, seed)
            finished = []

            def launch_all(schedule=schedule, finished=finished):
                for function, chunks in jobs:
                    launch(0, function, function + 100, 20, chunks, 0)
                    finished.append(sum(call[0] == function for call in schedule.calls))

            schedule.run(launch_all, *[lambda: serve(0, serve(0, 0))] * 2)
        expected = [
            (function, function + 100, 20 * i // chunks, 20 * (i + 1) // chunks)
            for function, chunks in jobs
            for i in range(chunks)
        ]
        assert sorted(schedule.calls) == expected, seed
        assert finished == [chunks for _, chunks in jobs], seed  # a job's end is not before its last chunk's


def test_threads_of_the_user(threads):
    """Who finds the pool busy works alone; nothing is lost."""
    threads(2)
    counts = np.zeros((4, 100), np.int64)

    def use(i):
        for _ in range(500):
            kernels.over_rows(_count, 100, 1 << 20, counts[i], i)

    users = [threading.Thread(target=use, args=(i,)) for i in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert (counts == np.arange(4)[:, None] * 500).all()


def test_after_a_rest(threads):
    """Threads that have gone to sleep wake up for the next job."""
    import time

    pool = Pool(2)
    counts = np.zeros(64, np.int64)
    block = np.array([counts.ctypes.data, 64, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    for _ in range(3):
        deadline = time.monotonic() + 10
        while not pool.sleepers and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(pool.sleepers) == 1, "the thread still looks out after ten seconds"
        pool.run(_count.address, block.ctypes.data, 64, 8, False)
    assert (counts == 3).all()
    pool.end()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork(threads):
    threads(2)
    counts = np.zeros(1000, np.int64)
    kernels.over_rows(_count, 1000, 1 << 20, counts, 1)
    child = os.fork()
    if not child:  # pragma: no cover
        kernels.over_rows(_count, 1000, 1 << 20, counts, 1)
        os._exit(0 if (counts == 2).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (counts == 1).all()


def test_results_do_not_depend_on_the_number_of_threads(threads):
    minitorch.manual_seed(0)
    x, w = minitorch.randn(300, 400), minitorch.randn(400)
    results = []
    for n in (1, 2, 5):
        threads(n)
        a = x.clone().requires_grad_()
        y = minitorch.nn.functional.layer_norm(minitorch.nn.functional.gelu(a), (400,), w, w)
        minitorch.softmax(y, -1).square().sum().backward()
        results.append(a.grad.numpy())
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.skipif(not blas.SGEMM, reason="NumPy's BLAS is not OpenBLAS here")
def test_products_of_all_layouts(threads):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    pairs = [
        (draw(300, 70), draw(70, 90)), (draw(300, 70), draw(90, 70).T), (draw(70, 300).T, draw(70, 90)),
        (draw(70, 300).T, draw(90, 70).T), (draw(33, 70), draw(91, 70).T),
        (draw(4, 300), draw(4, 300).T), (draw(128, 37), draw(300, 37).T), (draw(600, 70)[::2], draw(70, 180)[:, :90]),
        (draw(300, 70)[:, ::-1], draw(70, 90)[::-1]), (draw(5000, 1), draw(1, 300)), (draw(1, 5000), draw(5000, 300)),
        (draw(8, 300, 70), draw(8, 70, 90)), (draw(4, 2, 30, 70), draw(4, 2, 90, 70).swapaxes(-1, -2)),
        (draw(4, 30, 2, 70).transpose(0, 2, 1, 3), draw(4, 90, 2, 70).transpose(0, 2, 3, 1)),
        (draw(3, 100, 200).swapaxes(1, 2)[:, :1], draw(3, 100, 4000)), (np.broadcast_to(draw(50), (400, 50)), draw(50, 60)),
        (np.broadcast_to(draw(40, 50), (7, 40, 50)), draw(7, 50, 60)),
    ]  # fmt: skip
    for n in (1, 2, 3):
        threads(n)
        for a, b in pairs:
            message = f"{a.shape} {a.strides} @ {b.shape} {b.strides}, {n} threads"
            np.testing.assert_allclose(matmul.product(a, b), a @ b, rtol=1e-4, atol=1e-3, err_msg=message)
            if a.ndim == 2:
                bias = draw(b.shape[1])
                np.testing.assert_allclose(
                    matmul.product(a, b, bias), a @ b + bias, rtol=1e-4, atol=1e-3, err_msg=message
                )


@pytest.mark.skipif(not blas.SGEMM, reason="NumPy's BLAS is not OpenBLAS here")
def test_blas_keeps_its_threads_for_others():
    """A product of ours holds BLAS to one thread only as long as it runs."""
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def numbers():
        return [lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]

    before = numbers()
    matmul.product(np.ones((500, 500), np.float32), np.ones((500, 500), np.float32))
    assert numbers() == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is for glibc")
def test_freed_memory_stays_with_the_process():
    """Large arrays made again and again take no new pages from the operating system."""
    resource = pytest.importorskip("resource")
    from minitorch.backend import allocator

    if not allocator.keep_freed_memory():
        pytest.skip("another C library than glibc")

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(1 << 21, np.float32)  # 8 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() < 2048, "every array was mapped anew"
