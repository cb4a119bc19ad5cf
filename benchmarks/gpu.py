"""minitorch on the GPU beside PyTorch, in one run: plain, and whole training steps as CUDA graphs. `make bench-gpu`.

    python3 -m benchmarks.gpu --only gpt,bert --minutes 5

Each library has a process of its own; both stay on the GPU and are timed in turn. First three steps with dropout off must
give the same losses. A step is forward, backward, clipping and the optimizer, on batches that are on the GPU already.
Launches are what CUPTI counts in one plain step (kernels, copies, fills); memory is the most that the library's pool held.
Without a GPU it says so and does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("gpu.md")
MODES = ("eager", "graph")
ROUNDS = 3
BERT_BASE = {"layers": 12, "width": 768, "heads": 12, "batch": 8, "length": 512, "vocab": 30522, "masked": 614}


@dataclass(frozen=True)
class Task:
    name: str
    workload: str
    sizes: dict = field(default_factory=dict)
    bfloat16: bool = False  # the forward pass under autocast


TASKS = [
    Task("tiny", "tiny"),
    Task("mlp", "mlp"),
    Task("gpt", "gpt"),
    Task("bert", "bert", {"places": True}),
    Task("BERT-base 8x512", "bert", {**BERT_BASE, "places": True}, True),
    Task("gpt-large", "gpt-large"),
    Task("gpt-large, bfloat16", "gpt-large", bfloat16=True),
    Task("minilm", "minilm"),
    Task("cnn", "cnn"),
    Task("resnet", "resnet"),
    Task("lstm", "lstm"),
    Task("gru", "gru"),
]


def train_step(job: Any, lib: Any, bfloat16: bool) -> Callable[..., Any]:
    """One training step as a function of a batch."""

    def step(*batch: Any) -> Any:
        context = lib.autocast("cuda", lib.bfloat16) if bfloat16 else contextlib.nullcontext()
        with context:
            loss = job.loss(*batch)
        job.optimizer.zero_grad()
        loss.backward()
        if job.clip is not None:
            lib.nn.utils.clip_grad_norm_(job.model.parameters(), job.clip)
        job.optimizer.step()
        return loss.detach()

    return step


def place(job: Any, device: str) -> Any:
    """The model and the batches on the device; the optimizer keeps its parameters."""
    job.model.to(device)
    job.batches = [[t.to(device) for t in batch] for batch in job.batches]
    return job


def torch_graph(job: Any, torch: Any, bfloat16: bool) -> Callable[..., Any]:
    """The step captured as PyTorch's documentation shows it: warmed up on a side stream, static inputs."""
    for group in job.optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    step, static = train_step(job, torch, bfloat16), [t.clone() for t in job.batches[0]]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(*static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    job.optimizer.zero_grad()
    with torch.cuda.graph(graph):
        loss = step(*static)

    def replay(*batch: Any) -> Any:
        for target, source in zip(static, batch):
            target.copy_(source)
        graph.replay()
        return loss

    return replay


class Bench:
    """What the process of one library does when it is asked."""

    def __init__(self, library: str):
        self.lib = importlib.import_module(library)
        self.ours = library == "minitorch"
        self.steps: dict[str, Any] = {}
        if not self.ours:
            self.lib.backends.cudnn.allow_tf32 = False  # on by default, unlike that of matrix products

    def make(self, task: Task, dropout: bool) -> Any:
        from .workloads import WORKLOADS

        return place(WORKLOADS[task.workload](self.lib, dropout=dropout, **task.sizes), "cuda")

    def losses(self, task: Task) -> list[float]:
        """Of three steps with dropout off."""
        job = self.make(task, dropout=False)
        step = train_step(job, self.lib, task.bfloat16)
        return [float(step(*job.batch())) for _ in range(3)]

    def start(self, task: Task) -> dict[str, str]:
        """Builds the step in both modes; which failed, and why."""
        self.steps.clear()
        self.free()
        failed = {}
        for mode in MODES:
            try:
                job = self.make(task, dropout=True)
                if mode == "eager":
                    step = train_step(job, self.lib, task.bfloat16)
                elif self.ours:
                    step = self.lib.cuda.graph(train_step(job, self.lib, task.bfloat16))
                else:
                    step = torch_graph(job, self.lib, task.bfloat16)
                for _ in range(6):
                    step(*job.batch())
                self.lib.cuda.synchronize()
                self.steps[mode] = (step, job)
            except Exception as error:
                failed[mode] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        return failed

    def seconds(self, mode: str, least: float) -> list[float]:
        """Seconds a step, in blocks of about `least` seconds in all."""
        step, job = self.steps[mode]
        count, times = 4, []
        spent = 0.0
        while spent < least:
            self.lib.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(count):
                step(*job.batch())
            self.lib.cuda.synchronize()
            length = time.perf_counter() - begin
            times.append(length / count)
            spent += length
            count = max(1, min(1000, int(count * least / 5 / length)))
        return times[1:] or times

    def memory(self, task: Task) -> float:
        """Megabytes that the pool held at most during three plain steps."""
        self.steps.clear()
        self.free()
        self.lib.cuda.reset_peak_memory_stats()
        job = self.make(task, dropout=True)
        step = train_step(job, self.lib, task.bfloat16)
        for _ in range(3):
            step(*job.batch())
        self.lib.cuda.synchronize()
        return self.lib.cuda.max_memory_reserved() / 2**20

    def launches(self, task: Task) -> int:
        """Kernels, copies and fills of one plain step, whoever launches them: PyTorch's profiler sees all of CUDA. It
        stays attached and slows down what comes after it, so this is asked when everything has been timed."""
        from torch.profiler import ProfilerActivity, profile

        self.steps.clear()
        self.free()
        job = self.make(task, dropout=True)
        step = train_step(job, self.lib, task.bfloat16)
        for _ in range(3):
            step(*job.batch())
        self.lib.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            step(*job.batch())
            self.lib.cuda.synchronize()
        return sum(
            event.count for event in found.key_averages()
            if "CUDA" in str(event.device_type) and not getattr(event, "is_user_annotation", False)
        )  # fmt: skip

    def free(self) -> None:
        import gc

        gc.collect()
        self.lib.cuda.empty_cache()


def serve(pipe: Any, library: str) -> None:
    bench = Bench(library)
    pipe.send(None)
    while (message := pipe.recv()) is not None:
        name, *values = message
        try:
            pipe.send((True, getattr(bench, name)(*values)))
        except Exception as error:
            pipe.send((False, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"))


class Side:
    """The caller's end of a process."""

    def __init__(self, library: str):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, library), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def ask(self, *message: Any) -> Any:
        try:
            self.pipe.send(message)
            good, value = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError("its process died") from error
        if not good:
            raise RuntimeError(value)
        return value

    def close(self) -> None:
        self.process.terminate()
        self.process.join()


def started() -> dict[str, Side]:
    """A process for each library. After an error of CUDA's a process is of no more use: then new ones."""
    return {name: Side(name) for name in ("minitorch", "torch")}


def measure(task: Task, sides: dict[str, Side], seconds: float) -> dict[str, Any]:
    """Times of each library and mode, launches, memory, and what failed."""
    result: dict[str, Any] = {"times": {}, "launches": {}, "memory": {}, "notes": []}
    histories = {name: side.ask("losses", task) for name, side in sides.items()}
    first, *others = histories.values()
    limit = 2e-2 if task.bfloat16 else 1e-3
    for other in others:
        if any(not abs(a - b) <= limit * max(1.0, abs(b)) for a, b in zip(first, other)):
            raise RuntimeError(f"the libraries' losses differ: {histories}")
    result["losses"] = first
    failed = set()
    for name, side in sides.items():
        for mode, why in side.ask("start", task).items():
            failed.add((name, mode))
            result["notes"].append(f"{task.name}, {name}, {mode}: {why}")
    order = [(mode, name) for mode in MODES for name in sides if (name, mode) not in failed]
    for _ in range(ROUNDS):
        for mode, name in order:
            result["times"].setdefault((name, mode), []).extend(sides[name].ask("seconds", mode, seconds / ROUNDS))
        order.reverse()
    for name, side in sides.items():
        try:
            result["memory"][name] = side.ask("memory", task)
        except RuntimeError as error:
            result["notes"].append(f"{task.name}, {name}, memory: {error}")
    return result


def table(results: dict[str, dict]) -> str:
    """The Markdown table."""
    pairs = [(name, mode) for mode in MODES for name in ("minitorch", "torch")]
    shown = {"minitorch": "minitorch", "torch": "PyTorch"}
    heads = ["workload", *(f"{shown[name]} {mode}, ms" for name, mode in pairs),
             "PyTorch eager / minitorch eager", "PyTorch eager / minitorch graph", "PyTorch graph / minitorch graph",
             "launches, minitorch / PyTorch", "MB, minitorch / PyTorch"]  # fmt: skip
    lines = [heads, ["---"] * len(heads)]
    for task, result in results.items():
        ms = {pair: 1e3 * statistics.median(times) for pair, times in result["times"].items()}

        def ratio(above: tuple, below: tuple, ms: dict = ms) -> str:
            return f"{ms[above] / ms[below]:.2f}" if above in ms and below in ms else ""

        def both(values: dict, form: str) -> str:
            return " / ".join(format(values[n], form) if n in values else "?" for n in ("minitorch", "torch"))

        lines.append([
            task, *(f"{ms[pair]:.3f}" if pair in ms else "" for pair in pairs),
            ratio(("torch", "eager"), ("minitorch", "eager")), ratio(("torch", "eager"), ("minitorch", "graph")),
            ratio(("torch", "graph"), ("minitorch", "graph")), both(result["launches"], "d"), both(result["memory"], ".0f"),
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def no_gpu() -> str | None:
    """Why nothing can be measured here; None where it can."""
    try:
        from minitorch import cuda
    except ImportError as error:
        return f"There is no GPU that minitorch can use here ({error}): nothing was run."
    if cuda.is_available():
        return None
    return "There is no GPU that minitorch can use here: nothing was run. `python3 -m minitorch.doctor` says more."


def about() -> str:
    """The machine and the versions, in one line."""
    import platform

    import cupy
    import numpy
    import torch

    from minitorch import cuda

    runtime = cupy.cuda.runtime.runtimeGetVersion()
    return (
        f"{cuda.get_device_name()}, CUDA {runtime // 1000}.{runtime % 1000 // 10}, CuPy {cupy.__version__}, "
        f"PyTorch {torch.__version__}, NumPy {numpy.__version__}, Python {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="parts of workloads' names, with commas")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each library and mode (2)")
    parser.add_argument("--minutes", type=float, default=7.5, help="no workload is begun after so many (7.5)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the table's file (benchmarks/gpu.md)")
    args = parser.parse_args()
    words = [word.strip() for word in args.only.split(",") if word.strip()]
    tasks = [task for task in TASKS if not words or any(word in task.name for word in words)]
    if not tasks:
        parser.error(f"--only {args.only}: expected parts of {', '.join(task.name for task in TASKS)}")
    if (why := no_gpu()) is not None:
        print(why)
        return
    begin = time.monotonic()
    machine = about()
    sides = started()
    results: dict[str, dict] = {}
    notes: list[str] = []

    def write() -> None:
        page = ["# minitorch and PyTorch on a GPU", "", f"{datetime.date.today()}, {machine}.", "",
                "`python3 -m benchmarks.gpu`: medians of training steps; float32 unless another type is named (TF32 off in "
                "both libraries).", "", table(results), "", *(f"- {note}" for note in notes), ""]  # fmt: skip
        args.out.write_text("\n".join(page))

    for task in tasks:
        if time.monotonic() - begin > 60 * args.minutes:
            notes.append(f"{task.name}: not run, the time was over")
            continue
        try:
            results[task.name] = measure(task, sides, args.seconds)
        except RuntimeError as error:
            notes.append(f"{task.name}: {error}")
            for side in sides.values():
                side.close()
            sides = started()
            continue
        notes += results[task.name].pop("notes")
        print(table({task.name: results[task.name]}).splitlines()[-1], flush=True)
        write()
    for task in tasks:
        for name, side in sides.items():
            if task.name in results and time.monotonic() - begin < 60 * (args.minutes + 1):
                try:
                    results[task.name]["launches"][name] = side.ask("launches", task)
                except RuntimeError as error:
                    notes.append(f"{task.name}, {name}, launches: {error}")
    write()
    print(f"\n{table(results)}\n" + "\n".join(f"Note: {note}" for note in notes) + f"\nWritten: {args.out}")


if __name__ == "__main__":
    main()
