"""The CUDA kernels without a GPU: the op table on the emulator, and every source compiled by NVRTC.

Values, and gradients of first and second order, are those of the reference ops on the CPU.
"""

import importlib.util
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests import emulator
from tests.cases import CASES
from tests.cases.harness import Library, cast, describe, evaluate, order_of, same
from tests.test_fast_paths import Watch, fast_ops

pytest.importorskip("minitorch.kernels.cuda", reason="minitorch/kernels is not there")
from minitorch.kernels.cuda import launch  # noqa: E402

FILES = sorted(path.name for path in launch.HERE.glob("*.cu"))
needs_compiler = pytest.mark.skipif(emulator.COMPILER is None, reason="the emulator needs g++ or clang++")
needs_nvrtc = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None, reason="needs nvidia-cuda-nvrtc and cuda-bindings: make test installs them"
)


@pytest.fixture
def device():
    with emulator.device() as name:
        yield name


def variants(file):
    """The macros that a file says it is compiled with: `// macros: DTYPE LOGARITHM=0,1`; all combinations."""
    found = re.search(r"^// macros:(.*)$", launch.read(file), re.MULTILINE)
    choices = [{}]
    for macro in found[1].split() if found else ["DTYPE"]:
        name, _, values = macro.partition("=")
        options = list(launch.TYPES) if not values and name == "DTYPE" else values.split(",")
        choices = [{**choice, name: value} for choice in choices for value in options]
    return choices


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("file", FILES)
def test_compiles(file, architecture):
    """And a multiprocessor's 65,536 registers are enough for the 1024 threads of the largest block, or for those that the
    kernel says it has at most: the compiler keeps to its launch bounds, and the emulator knows no registers."""
    bounded = set(re.findall(r"__launch_bounds__\(\w+\) (\w+)", launch.read(file)))
    with ThreadPoolExecutor() as pool:  # NVRTC works without Python's lock
        compiled = list(pool.map(lambda macros: emulator.compile_for(file, architecture, **macros), variants(file)))
    for macros, registers in zip(variants(file), compiled):
        assert set(emulator.kernels_of(launch.read(file))) <= set(registers) and registers, f"{macros}: {registers}"
        many = {name: n for name, n in registers.items() if n > 64 and name not in bounded}
        assert not many, f"{macros}: too many registers for blocks of 1024 threads, and no __launch_bounds__: {many}"


@needs_compiler
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
def test_table(device, descending, monkeypatch):
    """Wherever a CUDA fast path is chosen it gives what the reference gives on the CPU, whatever the threads' order."""
    from minitorch.backend import reference_ops

    monkeypatch.setattr(emulator.RawModule, "descending", descending)
    fast = fast_ops("cupy")
    with Watch(fast) as watch, np.errstate(all="ignore"):
        for case in CASES:
            if case.seeded and "dropout" not in case.name:  # draws of the CPU's stream
                continue
            for index, sample in enumerate(case.samples()):
                if sample.large and descending:
                    continue
                other = cast(sample, "float32")
                order = order_of(case, other)
                before = sum(watch.count.values())
                actual = evaluate(Library(device), case, other, order)
                if sum(watch.count.values()) == before:
                    continue
                again = evaluate(Library(device), case, other, min(order, 1))
                with reference_ops():
                    expected = evaluate(Library(), case, other, order)
                what = describe(case, index, other)
                for kind, result in (
                    ("outputs", actual), ("first", actual), ("second", actual), ("outputs", again), ("first", again),
                ):  # fmt: skip
                    for i, (a, b) in enumerate(zip(getattr(result, kind), getattr(expected, kind), strict=True)):
                        same(a, b, f"{what}: {kind}[{i}] of the CUDA kernel", 8 * case.tol, "float32")
    if not descending:
        idle = sorted(op.__name__ for op, n in watch.count.items() if not n and not getattr(op, "half_only", False))
        assert not idle, f"registered, and chosen by no sample of tests/cases: {', '.join(idle)}"


# --- the emulator itself: it must notice what a GPU would only sometimes show -----------------------------------------

SUM = """
extern "C" __global__ void sum(const float* x, float* y, i64 n) {
    float total = 0.f;
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) total += x[i];
    total = block_sum(total);
    if (threadIdx.x == 0) *y = total;
}
extern "C" __global__ void race(float* y) {
    __shared__ int written[32];
    written[threadIdx.x] = -1;
    __syncthreads();
    written[threadIdx.x] = threadIdx.x;  // and no barrier before thread 31's is read
    if (threadIdx.x == 0) *y = written[31];
}
extern "C" __global__ void divergent(float* y) {
    if (threadIdx.x < 7) return;
    __syncthreads();
}
extern "C" __global__ void partial(float* y) {
    if (threadIdx.x < 7) *y = warp_sum(1.f);
}
"""


@needs_compiler
def test_the_emulator_notices():
    module = emulator.RawModule('#line 1\n' + launch.read("common.cuh") + SUM, ("-DDTYPE=float",))
    x, y = (emulator.emulated.asarray(np.arange(n, dtype=np.float32)) for n in (1000, 1))
    module.get_function("sum")((1,), (96,), (x, y, np.int64(1000)))
    assert float(y[0]) == 499500
    with pytest.raises(TypeError, match=r"parameter 2 is i64, got int32"):
        module.get_function("sum")((1,), (96,), (x, y, np.int32(1000)))
    with pytest.raises(RuntimeError, match="have ended"):
        module.get_function("divergent")((1,), (64,), (y,))
    with pytest.raises(RuntimeError, match="32 lanes"):
        module.get_function("partial")((1,), (32,), (y,))
    results = set()
    for descending in (False, True):
        emulator.RawModule.descending = descending
        module.get_function("race")((1,), (32,), (y,))
        results.add(float(y[0]))
    emulator.RawModule.descending = False
    assert results == {-1.0, 31.0}, "the threads' order does not show the missing barrier"
