"""CUDA graphs: a step's kernels are recorded once and then started together, with one call.

A small model's step is hundreds of short kernels, and the CPU needs longer to start them than the GPU to run them. A graph
takes the CPU out: `replay` starts all of them with the arguments that they had, on the same memory.

    @cuda.graph                                    # or: step = cuda.graph(step)
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for x, y in batches:
        loss = step(x, y)

What does a replay leave out? All Python. So what Python did for the step has to be on the GPU (the seed of dropout, the
optimizer's numbers: `backend/capture.py`), or is noticed here: gradients that were there before, arrays that were put in
the place of others, evaluation in place of training. The rest is refused, by the one who would be wrong.

Memory. A graph has a pool of its own, since its kernels write to the addresses of the capture: what was a temporary array
then must not be anybody's later. Graphs that are replayed one after the other may share a pool: each may overwrite the
others' temporaries, none needs them any more. What outlives a replay is the parameters, which were there before; the
gradients, which each graph keeps; and outputs, which are copied.
"""

from __future__ import annotations

import functools
import gc
import os
import random as python_random
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import autocast
from ..autograd.grad_mode import mode
from ..backend import capture, checks, devices, fastpath, random
from ..backend.capture import CaptureError
from ..optim.optimizer import register_optimizer_step_pre_hook
from ..tensor import Tensor, wrap
from ..utils._pytree import tree_flatten, tree_unflatten

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_lock = threading.Lock()  # one capture at a time


# --- memory ----------------------------------------------------------------------------------------------------------


class Pool:
    """Memory for graphs. It lives until nothing in it is used: CuPy's arrays hold the block, not the pool."""

    def __init__(self, xp: Any):
        def more(size: int) -> Any:
            try:
                return xp.cuda.MemoryPointer(xp.cuda.Memory(size), 0)
            except xp.cuda.runtime.CUDARuntimeError as error:
                # CuPy would free unused blocks and try again; but the graphs' kernels use them.
                raise CaptureError(
                    f"cuda.graph: an allocation of {size} bytes failed inside the capture ({error}); let go of other "
                    "tensors, or use smaller or fewer shapes"
                ) from error

        self.memory = memory = xp.cuda.MemoryPool(more)
        weakref.finalize(self, _retired.append, memory).atexit = False
        free_unused()


_retired: list[Any] = []  # CuPy's pools whose graphs are gone; tensors may still be in them


def free_unused() -> None:
    """Gives the memory of graphs that are gone back, except where a tensor (a gradient, say) is still in it."""
    _retired[:] = [memory for memory in _retired if memory.used_bytes()]


# --- PyTorch's names -------------------------------------------------------------------------------------------------


class CUDAGraph:
    """The kernels that were started between `capture_begin` and `capture_end`; `with cuda.graph(g):` calls the two.

    The capture runs nothing. `replay()` runs all, reading and writing the same memory: put new numbers into the tensors
    that the work began with (`x.copy_(new)`), replay, and read the tensors that it made.
    """

    def __init__(self, keep_graph: bool = False, *, _xp: Any = None):
        self._xp = devices.namespace_for(devices.device("cuda")) if _xp is None else _xp
        self._graph: Any = None
        self._pool: Pool | None = None
        self._refresh: list[Callable[[], None]] = []
        self._leave: list[Callable[[], None]] = []

    def capture_begin(self, pool: Pool | None = None, capture_error_mode: str = "global") -> None:
        """From here on the current stream's work is recorded. It must not be the default one: `with cuda.stream(s):`.

        pool: another graph's `pool()`, to share its memory; the two must never run at the same time.
        """
        if self._graph is not None or self._leave:
            raise RuntimeError("CUDAGraph: it holds a captured graph already; reset() it, or make another one")
        if not _lock.acquire(blocking=False):
            raise RuntimeError(
                "CUDAGraph: another capture is going on; there can be one at a time, and none inside one"
            )
        xp, self._pool = self._xp, pool or Pool(self._xp)
        undo = self._leave = [_lock.release]
        try:
            gc.collect()
            if gc.isenabled():  # what a collection frees may wait for the GPU
                gc.disable()
                undo.append(gc.enable)
            xp.get_default_memory_pool().free_all_blocks()  # so that there is room
            stream = xp.cuda.get_current_stream()
            _forget_casts()
            before = _cpu_draws()
            checks.prepare(xp)  # memory of the common pool, set to 0 once and not by each replay
            stream.begin_capture()
            self._end = lambda: (stream.end_capture(), before)
            allocator = xp.cuda.using_allocator(self._pool.memory.malloc)
            allocator.__enter__()
            undo.append(lambda: allocator.__exit__(None, None, None))
            fast, fastpath.ACTIVE = fastpath.ACTIVE, _OnlyGPU(fastpath.ACTIVE)  # type: ignore[assignment]
            undo.append(lambda: setattr(fastpath, "ACTIVE", fast))
            current = capture.current = capture.Capture()

            def finish() -> None:
                capture.current = None
                for function in current.finish:
                    function()
                self._refresh = current.refresh
                _forget_casts()

            undo.append(finish)
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        while self._leave:
            self._leave.pop()()

    def capture_end(self) -> None:
        """The end of what is recorded; `replay()` may follow."""
        if not self._leave:
            raise RuntimeError("CUDAGraph.capture_end(): nothing is being captured; capture_begin() comes first")
        try:
            self._graph, before = self._end()
            changed = [name for name, state in _cpu_draws().items() if state != before[name]]
            if changed:
                self._graph = None
                raise CaptureError(
                    f"cuda.graph: the step draws random numbers from {' and '.join(changed)}: a replay would use the same "
                    "ones again. Draw them before the step and pass them in as a tensor, or draw on the GPU (device='cuda')"
                )
        finally:
            self._undo()

    def _abandon(self) -> None:
        """The end of a capture that failed."""
        try:
            self._end()
        except Exception:
            pass  # the stream says once more that its capture became invalid
        finally:
            self._graph = None
            self._undo()

    def replay(self) -> None:
        """Runs what was captured, on the current stream."""
        if self._graph is None:
            raise RuntimeError("CUDAGraph.replay(): nothing has been captured, or it was reset")
        for function in self._refresh:
            function()
        self._graph.launch()

    def reset(self) -> None:
        """Lets go of the graph and its memory; tensors made in it stay as they are."""
        if self._leave:
            raise RuntimeError("CUDAGraph.reset(): a capture is going on")
        self._graph, self._pool, self._refresh = None, None, []
        free_unused()

    def pool(self) -> Pool:
        """Its memory, for `capture_begin(pool=...)` of another graph."""
        if self._pool is None:
            raise RuntimeError("CUDAGraph.pool(): nothing has been captured, or it was reset")
        return self._pool


def graph_pool_handle() -> Pool:
    """Memory for several graphs: `cuda.graph(g, pool=...)`."""
    return Pool(devices.namespace_for(devices.device("cuda")))


def is_current_stream_capturing() -> bool:
    """Whether work is being recorded into a graph instead of running; without a GPU False."""
    if capture.active() is not None:
        return True
    if "cuda" not in devices._ARRAY_TYPES:
        return False
    cuda = devices.namespace_for(devices.device("cuda")).cuda
    return bool(cuda.runtime.streamIsCapturing(cuda.get_current_stream().ptr))


class _Capturing:
    """`with cuda.graph(g):` captures into g, on a stream of its own."""

    def __init__(self, g: CUDAGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"):
        self.graph, self.pool, self.mode = g, pool, capture_error_mode
        self.stream = g._xp.cuda.Stream(non_blocking=True) if stream is None else getattr(stream, "cupy", stream)

    def __enter__(self) -> None:
        self.stream.wait_event(self.graph._xp.cuda.get_current_stream().record())
        self.stream.__enter__()
        try:
            self.graph.capture_begin(self.pool, self.mode)
        except BaseException:
            self.stream.__exit__(None, None, None)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                try:
                    self.graph.capture_end()
                except Exception as failed:
                    error = failed
            else:
                self.graph._abandon()
        finally:
            self.stream.__exit__(None, None, None)
        if error is not None and ((explained := _explained(error)) is not error or kind is None):
            raise explained from error


# --- a whole step ----------------------------------------------------------------------------------------------------


class _Captured:
    """A step captured for one shape of inputs and one state of what it uses."""

    def __init__(self, g: CUDAGraph, inputs: list[Tensor]):
        self.graph, self.inputs = g, inputs
        self.outputs: list[Tensor | None] = []
        self.structure: Any = None
        self.incoming: list[tuple[Tensor, Any]] = []  # leaves whose gradient the step adds to, and that gradient
        self.gradients: list[tuple[Tensor, Any]] = []  # leaves and their gradients after the step
        self.kept: list[_Kept] = []
        self.versions: list[tuple[list, int]] = []  # counters of changes in place, and by how much a step moves them

    def is_of_now(self) -> bool:
        """Whether all parameters and buffers are where they were: no other tensor, no other array (`.data = `, `.to`)."""
        for place, key, t, array in self.kept:
            if t.array is not array or (place is not None and place.get(key) is not t):
                return False
        return True


class StepGraph:
    """What `cuda.graph(step)` gives: call it as the step. See `graph`."""

    def __init__(self, step: Callable, warmup: int, limit: int, where: devices.device):
        if warmup < 1 or limit < 1:
            raise ValueError(f"cuda.graph: expected warmup >= 1 and limit >= 1, got warmup={warmup}, limit={limit}")
        functools.update_wrapper(self, step, updated=())
        self.step, self.warmup, self.limit, self.device = step, warmup, limit, where
        self._xp: Any = devices.namespace_for(where)
        self._stream: Any = None
        self._pool: Pool | None = None
        self._calls = 0  # without a graph to replay
        self._warm: set[Any] = set()  # keys with which the step has run, but has not been captured
        self._graphs: dict[Any, _Captured] = {}  # (signature of the inputs, state of what the step uses) -> graph
        self._seen = capture.Watch()
        self._leaves: list[Tensor] = []
        self._full = False

    def __repr__(self) -> str:
        return f"<cuda.graph of {getattr(self.step, '__name__', self.step)!s}: {len(self._graphs)} captured>"

    def reset(self) -> None:
        """Forgets all graphs: the next calls warm up and capture again."""
        self._graphs.clear()
        self._warm.clear()
        self._calls, self._full, self._pool = 0, False, None
        free_unused()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree_flatten((args, kwargs))
        signature = (structure_key(structure), *[self._described(i, leaf) for i, leaf in enumerate(leaves)])
        key = (signature, self._state())
        captured = self._graphs.get(key)
        if captured is not None and not captured.is_of_now():
            del self._graphs[key]
            captured = None
        if captured is None:
            self._calls += 1
            if self._calls <= self.warmup or key not in self._warm:
                if len(self._graphs) + len(self._warm) < self.limit:
                    self._warm.add(key)
                elif key not in self._warm and not self._full:
                    self._full = True
                    warnings.warn(
                        f"cuda.graph: the limit of {self.limit} graphs is reached; calls with other shapes or other constants "
                        "run without a graph. Pad batches to fewer shapes, pass numbers that change as tensors, or raise "
                        "`limit`",
                        stacklevel=2,
                    )
                return self._run(args, kwargs)
            captured = self._capture(leaves, structure)
            self._warm.discard(key)
            self._graphs[signature, self._state_of(captured, key[1])] = captured
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return self._replay(captured, tensors)

    # --- what distinguishes one call from another ---

    def _described(self, i: int, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            if type(leaf.array) is not self._xp.ndarray:
                raise RuntimeError(
                    f"cuda.graph: tensor {i} among the inputs is on {leaf.device}, expected {self.device}: the step's "
                    "inputs are copied on the GPU before each replay; move it there first, with .to('cuda')"
                )
            if leaf.requires_grad:
                raise RuntimeError(
                    f"cuda.graph: tensor {i} among the inputs requires a gradient, which a replay would put into its own "
                    "copy of it; pass it detached, or let the step use it without passing it in"
                )
            return leaf.array.shape, leaf.array.dtype
        if isinstance(leaf, np.ndarray):
            raise TypeError(f"cuda.graph: input {i} is a NumPy array; make it a tensor on the GPU")
        try:
            hash(leaf)
        except TypeError:
            raise TypeError(
                f"cuda.graph: input {i} is of type {type(leaf).__name__}, which has no hash; inputs are tensors, and "
                "constants by which graphs are told apart"
            ) from None
        return type(leaf), leaf

    def _state(self) -> Any:
        """What decides which kernels the step would start, beside its inputs."""
        here, seen = autocast.here, self._seen
        return (
            mode.enabled,
            None if here.table is None else (here.device, here.dtype),
            tuple([m.training for m in seen.modules]),
            tuple([(p._grad is None, p._requires_grad) for p in self._leaves]),
            tuple([(o._loads, sum(len(group["params"]) for group in o.param_groups)) for o in seen.optimizers]),
        )

    def _state_of(self, captured: _Captured, before: Any) -> Any:
        """The state in which it was captured; the capture may have seen leaves that the warm-up had not."""
        known = len(before[3])
        return (*before[:3], (*before[3], *((True, p._requires_grad) for p in self._leaves[known:])), before[4])

    def _note_leaves(self) -> None:
        """The leaves that have been seen, without those that lived only in the step."""
        seen = self._seen
        seen.leaves = {key: ref for key, ref in seen.leaves.items() if ref() is not None}
        self._leaves = [p for ref in seen.leaves.values() if (p := ref()) is not None]

    # --- running, capturing, replaying ---

    def _run(self, args: tuple, kwargs: dict) -> Any:
        """The step itself. Its outputs are handed on as those of a replay are: without a graph behind them."""
        with _Watching(self._seen):
            outputs, structure = tree_flatten(self.step(*args, **kwargs))
        self._note_leaves()
        _check_outputs(outputs, self._xp)
        return tree_unflatten([t if t is None else t.detach() for t in outputs], structure)

    def _capture(self, leaves: list, structure: Any) -> _Captured:
        xp = self._xp
        self._stream = self._stream or xp.cuda.Stream(non_blocking=True)
        self._pool = self._pool or Pool(xp)
        inputs = [wrap(xp.array(leaf.array)) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        captured = _Captured(CUDAGraph(_xp=xp), [t for t in inputs if isinstance(t, Tensor)])
        args, kwargs = tree_unflatten(inputs, structure)
        seen = self._seen
        before = {p: p._grad for p in self._leaves}
        kept = _kept(self._leaves, seen)
        counters = {id(t._counter): (t._counter, t._counter[0]) for _, _, t, _ in kept}
        numbers = [(t, array.copy()) for _, _, t, array in kept if type(array) is np.ndarray]

        def restore() -> None:
            for p, gradient in before.items():
                p._grad = gradient
            for tensor, value in numbers:
                tensor.array[...] = value

        try:
            with _Capturing(captured.graph, self._pool, self._stream), _Watching(seen):
                outputs, captured.structure = tree_flatten(self.step(*args, **kwargs))
                _check_outputs(outputs, xp)
                _check_kept(kept, numbers, _kept(self._leaves, seen))
        except BaseException:
            restore()
            captured.graph.reset()
            raise
        captured.outputs = [t if t is None else t.detach() for t in outputs]
        self._note_leaves()
        for p in self._leaves:
            after = p._grad
            captured.gradients.append((p, after))
            if after is not None and after is before.get(p):
                captured.incoming.append((p, after))
        captured.kept = kept
        captured.versions = [(c, c[0] - count) for c, count in counters.values() if c[0] != count]
        for counter, change in captured.versions:
            counter[0] -= change  # the replay that follows adds it
        return captured

    def _replay(self, captured: _Captured, tensors: list[Tensor]) -> Any:
        for static, given in zip(captured.inputs, tensors):
            if static.array is not given.array:
                static.array[...] = given.array
        for p, gradient in captured.incoming:
            if p._grad is not gradient and p._grad is not None:
                gradient.array[...] = p._grad.array
        captured.graph.replay()
        for p, after in captured.gradients:
            p._grad = after
        for counter, change in captured.versions:
            counter[0] += change
        return tree_unflatten([t if t is None else wrap(t.array.copy()) for t in captured.outputs], captured.structure)


def graph(
    step: Any, pool: Any = None, stream: Any = None, capture_error_mode: str = "global", *, warmup: int = 3,
    limit: int = 16, device: Any = "cuda",
) -> Any:  # fmt: skip
    """A step as a CUDA graph: `step = cuda.graph(step)`, then call it as before. Each call is exactly one step.

    The first `warmup` calls run as they would without it (they compile kernels and make the optimizer's state). The next
    one captures the step and replays it; later ones replay it, on copies of their input tensors. Inputs are tensors on the
    GPU, in nested lists, tuples and dicts, and constants. Other shapes or dtypes, other constants, eval() instead of
    train(), gradients that are there before the step or not: each such call gets a graph of its own the second time that it
    comes, up to `limit` graphs (beyond, calls run without, after a warning). All share one pool of memory; each has its own
    gradients.

    The step returns tensors (or None), in any structure; they come as copies without a graph behind them. A parameter's
    `.grad` is the graph's own memory, which its next replay overwrites.

    Python in the step runs while it warms up and while it is captured, not in a replay. Everything of minitorch follows:
    dropout draws new numbers, learning rates may change between calls, optimizers count on. Refused, with a RuntimeError
    that says what and where: reading numbers on the CPU (`.item()`, `if loss > 3:`), tensors on the CPU, new tensors from
    Python's numbers, shapes that depend on data, `scheduler.step()` inside, and optimizers whose numbers are the CPU's.
    Without a GPU: RuntimeError.

    `with cuda.graph(g):` for a CUDAGraph g is PyTorch's form: pool, stream and capture_error_mode are for this one.
    """
    if isinstance(step, CUDAGraph):
        return _Capturing(step, pool, stream, capture_error_mode)
    if not callable(step):
        raise TypeError(f"cuda.graph: expected a function that does a step, or a CUDAGraph, got {type(step).__name__}")
    if pool is not None or stream is not None:
        raise TypeError(
            "cuda.graph(step): pool and stream are for `with cuda.graph(g):`; a step's graphs have their own"
        )
    return StepGraph(step, warmup, limit, devices.device(device))


# --- what a replay would leave out -----------------------------------------------------------------------------------


class _Watching:
    """Inside, leaves, modules and optimizers that are used are noted."""

    def __init__(self, seen: capture.Watch):
        self.seen = seen

    def __enter__(self) -> None:
        self.before, capture.watch = capture.watch, self.seen
        self.seen.thread = threading.get_ident()
        self.handle = register_optimizer_step_pre_hook(self._step)

    def __exit__(self, *error: Any) -> None:
        capture.watch = self.before
        self.handle.remove()

    def _step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.seen.thread == threading.get_ident():
            self.seen.optimizers[optimizer] = None


class _OnlyGPU:
    """The fast paths while a graph is captured: every op asks them, so one on CPU tensors is noticed."""

    def __init__(self, paths: Any):
        self.paths, self.thread = paths, threading.get_ident()

    def __getitem__(self, xp: Any) -> Any:
        if xp is np and threading.get_ident() == self.thread:
            raise CaptureError(
                "cuda.graph: an operation on CPU tensors cannot be captured: a replay would leave it out; do it before "
                "the step, or move the tensors to the GPU there"
            )
        return self.paths[xp]


def _forget_casts() -> None:
    """autocast's casts of parameters: those from before would be constants of the graph, those of the graph hold nothing."""
    if autocast.here.cache is not None:
        autocast.here.cache.clear()


def _cpu_draws() -> dict[str, Any]:
    """The states of the CPU's random streams."""
    name, keys, *rest = np.random.get_state()
    return {
        "minitorch's stream on the CPU": random.default_generator.state_array().tobytes(),
        "Python's random": python_random.getstate(),
        "numpy.random": (name, np.asarray(keys).tobytes(), *rest),
    }


_Kept = tuple[Any, Any, Tensor, Any]  # the dictionary that has it, or None; its key there; the tensor; its array


def _kept(leaves: list[Tensor], seen: capture.Watch) -> list[_Kept]:
    """The tensors that live from step to step: those of the modules that it calls and of its optimizers, and leaves."""
    found: dict[int, _Kept] = {}

    def add(place: Any, key: Any, t: Any) -> None:
        if isinstance(t, Tensor):
            found.setdefault(id(t), (place, key, t, t.array))

    for module in seen.modules:
        for place in (module._parameters, module._buffers):
            for key, t in place.items():
                add(place, key, t)
    for optimizer in seen.optimizers:
        for state in list(optimizer.state.values()):
            for key, t in state.items():
                add(state, key, t)
    for p in leaves:
        add(None, None, p)
    return list(found.values())


def _check_kept(kept: list[_Kept], numbers: list, now: list[_Kept]) -> None:
    """After the step has run for the capture: what lives on must be the same tensors, on the same arrays."""
    for place, key, t, array in kept:
        if t.array is not array or (place is not None and place.get(key) is not t):
            raise CaptureError(
                f"cuda.graph: the step puts a new {'array in the place of a parameter' if key is None else key!r}"
                f"{'' if key is None else ' in the place of the old one'}: replays would read the old one again and again. "
                "Change it in place (copy_, mul_, add_)"
            )
    before = {id(t) for _, _, t, _ in kept}
    for place, key, t, array in now:
        if place is not None and id(t) not in before and type(array) is not np.ndarray:
            raise CaptureError(
                f"cuda.graph: {key!r} came into being in the captured step, so each replay would begin it anew: call the "
                "step more often before (warmup=...), or make it before the step"
            )
    for t, value in numbers:
        if not np.array_equal(t.array, value):
            raise CaptureError(
                "cuda.graph: an optimizer counts its steps on the CPU, which a replay does not: call optimizer.step() "
                "after the captured step"
            )


def _check_outputs(outputs: list, xp: Any) -> None:
    for i, t in enumerate(outputs):
        if t is not None and not (isinstance(t, Tensor) and type(t.array) is xp.ndarray):
            what = f"a tensor on {t.device}" if isinstance(t, Tensor) else f"of type {type(t).__name__}"
            raise CaptureError(
                f"cuda.graph: output {i} of the step is {what}: a replay could not renew it. A step returns tensors on "
                "the GPU, or None, in lists, tuples and dicts"
            )


def structure_key(structure: Any) -> Any:
    """A structure of inputs as something that has a hash."""
    context = structure.context
    context = tuple(context) if isinstance(context, list) else context
    return structure.kind, context, tuple(map(structure_key, structure.children))


# --- errors ----------------------------------------------------------------------------------------------------------

_REASONS = (  # words in the message of CuPy or CUDA -> what it means for the step
    ("cuBLAS", "a matrix product in CuPy's own way (float64, integers, or outside of minitorch's operations)",
     "use float32, float16 or bfloat16"),
    ("cuSOLVER", "a decomposition (solve, svd, qr, ...)", "compute it outside of the step"),
    ("H2D", "a copy from the CPU to the GPU (a new tensor from Python's numbers, .to('cuda'))",
     "make the tensor before the step, and pass it in or keep it"),
    ("D2H", "reading a number back to the CPU, or a shape that depends on data",
     "return the tensor, and read it after the step"),
    ("synchronous", "an operation that waits for the GPU", "do it outside of the step"),
    ("StreamCapture", "an operation that waits for the GPU, or work on another stream", "do it outside of the step"),
    ("stream is capturing", "an operation that waits for the GPU", "do it outside of the step"),
)  # fmt: skip


def _explained(error: BaseException) -> BaseException:
    """The error of a failed capture with the reason and the line; errors that are the step's own are left alone."""
    if isinstance(error, CaptureError):
        reason = str(error)
    elif isinstance(error, MemoryError):
        reason = f"cuda.graph: an allocation failed inside the capture ({error})"
    else:
        text = f"{type(error).__name__}: {error}"
        found = next((each for each in _REASONS if each[0] in text), None)
        if found is None or not isinstance(error, (RuntimeError, NotImplementedError)):
            return error
        reason = f"cuda.graph: {found[1]} cannot be captured; {found[2]}\n({text})"
    line = _line(error)
    return CaptureError(reason if line in reason else f"{reason}\n{line}")


def _line(error: BaseException) -> str:
    """The step's own line that led to the error: the one that called minitorch last."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    inside = [f.filename.startswith(_PACKAGE) for f in frames]
    last = len(frames) - 1 - inside[::-1].index(True) if any(inside) else 0
    own = [f for f, ours in zip(frames[: last + 1], inside) if not ours]
    own = own or [f for f in frames[last + 1 :] if f"{os.sep}cupy{os.sep}" not in f.filename]
    return f'  File "{own[-1].filename}", line {own[-1].lineno}, in {own[-1].name}\n    {own[-1].line}' if own else ""
