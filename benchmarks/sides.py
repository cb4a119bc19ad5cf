"""A side is a process that runs one workload under one library, block by block, when it is told to.

Each has its process because libraries in one process help and hinder each other: freeing large blocks raises the
allocator's threshold for the whole process, after which NumPy's temporaries no longer come as fresh pages. A reference
AdamW over 10 million parameters takes 4 times as long alone as after a step of PyTorch's in the same process.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
from collections.abc import Callable
from typing import Any

from .timing import SHORT, once, warm_up

LIBRARIES = {"minitorch": "minitorch", "reference": "minitorch", "torch": "torch", "fused": "torch", "compile": "torch"}


def build(side: str, name: str, sizes: dict, weights: dict, history: list, threads: int) -> Callable[[], Any]:
    """The step. `history`: what three steps return without dropout, for the libraries that promise no such thing."""
    from .workloads import WORKLOADS

    if side not in LIBRARIES:
        import numpy as np

        import minitorch

        from . import floor, others

        job = WORKLOADS[name](minitorch, **sizes)
        if side == "products":
            return floor.program(job.products)
        job.load(weights)
        step = others.ADAPTERS[side](name, job)
        for value in history:
            np.testing.assert_allclose(step(), value, rtol=2e-4, atol=2e-5, err_msg="other losses")
        return step

    lib = importlib.import_module(LIBRARIES[side])
    if LIBRARIES[side] == "torch":
        lib.set_num_threads(threads)
    job = WORKLOADS[name](lib, **sizes)
    job.load(weights)
    if side == "reference":

        def step():
            with lib.reference_ops():
                return job.step()

        return step
    if side == "fused":
        for group in job.optimizer.param_groups:
            group["fused"] = True
    if side == "compile":
        job.loss = lib.compile(job.loss)
    return job.step


def threads_in_use(threads: int) -> None:
    """Fails if a thread pool of BLAS or OpenMP did not take the number."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return
    for pool in threadpool_info():
        if pool["num_threads"] != threads:
            raise RuntimeError(f"{pool['prefix']} uses {pool['num_threads']} threads, not {threads}: see --threads")


def serve(pipe: Any, *what: Any) -> None:
    """The process: builds the step, then answers numbers of steps with times."""
    try:
        step = build(*what)
        step()
        threads_in_use(what[-1])
        pipe.send(None)
    except Exception as error:
        pipe.send((str(error).strip().splitlines() or [type(error).__name__])[0])
        return
    length = 0.0
    while (count := pipe.recv()) is not None:
        if count == "warm-up":
            length = warm_up(step)
            gc.collect()
            gc.freeze()  # modules and models need not be looked through in every collection
            pipe.send(length)
            continue
        gc.collect()
        if 0 < length < SHORT:
            step()
        pipe.send([once(step) for _ in range(count)])


class Side:
    """The caller's end. `failed` says why there is nothing to time."""

    def __init__(self, side: str, name: str, sizes: dict, weights: dict, history: list, threads: int):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=serve, args=(other, side, name, sizes, weights, history, threads), daemon=True
        )
        self.process.start()
        other.close()
        self.failed = self._answer()

    def _answer(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            return "the process ended"

    def ask(self, what: Any) -> Any:
        self.pipe.send(what)
        return self._answer()

    def close(self) -> None:
        if self.process.is_alive():
            self.pipe.send(None)
        self.process.join()
