"""What stands between minitorch and a GPU: numbers that come back, checks that are found late, several GPUs, memory.

Without a GPU: on the guard (tests/guard.py), which also makes believe in several GPUs, and with modules that stand for CuPy.
"""

import copy
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

import minitorch
from minitorch import cuda
from minitorch.autograd import convert
from minitorch.backend import capture, checks, devices, memory
from minitorch.cuda import several
from minitorch.nn import functional as F
from tests import emulator
from tests.cases import CASES
from tests.cases.harness import Library, evaluate, flatten, order_of
from tests.guard import GuardArray, guard, several_gpus


@pytest.fixture(autouse=True)
def guard_device():
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    yield
    checks.forget()
    devices.sync_debug = 0
    for found in checks._flags.values():
        found.captured = False


@pytest.fixture
def capturing(monkeypatch):
    """As if a graph were being captured."""
    monkeypatch.setattr(capture, "current", capture.Capture())


def on_guard(values, **options):
    return minitorch.tensor(values, **options).to("guard")


# --- numbers that come back ------------------------------------------------------------------------------------------

READS = {
    "item": lambda x: x[0].item(),
    "float": lambda x: float(x[1]),
    "bool": lambda x: bool((x > 0).all()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(force=True),
    "mask": lambda x: x[x > 1],
    "nonzero": lambda x: x.nonzero(),
    "print": lambda x: repr(x),
    "linalg": lambda x: minitorch.linalg.inv(x.reshape(1, 2)[:, :1]),
}


@pytest.mark.parametrize("name", READS)
def test_a_number_that_comes_back_is_reported_with_its_line(name):
    x = on_guard([1.0, 2.0])
    cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):  # every time, not once for each line
            READS[name](x)
            assert (
                caught and caught[-1].filename == __file__ and "synchronizing CUDA operation" in str(caught[-1].message)
            )
            line = caught[-1].lineno
            assert f'"{name}": lambda' in open(__file__).read().splitlines()[line - 1]
            caught.clear()
    cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match=rf"called a synchronizing CUDA operation.*{__file__}:{line}"):
        READS[name](x)
    cuda.set_sync_debug_mode(0)
    READS[name](x)


def test_work_on_the_gpu_alone_is_not_reported():
    x, k = on_guard([[1.0, -2.0]]).requires_grad_(), on_guard([0])
    cuda.set_sync_debug_mode("error")
    y = (x * 2 + 1).exp().sum() + F.cross_entropy(x, k) + F.embedding(k, x).sum() + x.gather(1, k[None]).sum()
    y.backward()
    z = x.detach().clone()
    z[z > 0] = 3  # one number for all places
    cuda.set_sync_debug_mode("default")
    assert z.tolist() == [[3.0, -2.0]] and x.grad is not None


def test_the_debug_mode_is_read_back_and_checked():
    for mode, number in (("warn", 1), (2, 2), ("default", 0), (1, 1), ("error", 2), (0, 0)):
        cuda.set_sync_debug_mode(mode)
        assert cuda.get_sync_debug_mode() == number
    for wrong in ("loud", 3, True, None):
        with pytest.raises(RuntimeError, match="invalid value of debug_mode"):
            cuda.set_sync_debug_mode(wrong)


def test_the_guard_finds_what_goes_another_way(monkeypatch):
    from tests.guard import Synchronisation

    x = on_guard([1.0, 2.0])
    function = types.FunctionType((lambda a: bool(a.any())).__code__, {"__name__": "minitorch.ops.somewhere"})
    with pytest.raises(Synchronisation, match=r"bool\(\) waits for the GPU"):
        function(x.array)
    assert devices.host(x.array.any()) is True and devices.host(np.float32(2)) == 2.0
    assert type(devices.host(x.to(minitorch.bfloat16)[0].array)) is float


# --- inside a capture ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READS)
def test_a_capture_refuses_numbers_that_come_back(name, capturing):
    x = minitorch.tensor([1.0, 2.0])
    x.array = guard.full((2,), 2.0, np.float32)
    with pytest.raises(RuntimeError, match=rf"{__file__}:\d+\) cannot be captured"):
        READS[name](x)


def test_a_capture_refuses_numbers_that_come_from_the_cpu(monkeypatch):
    x = on_guard([1.0, 2.0])
    assert (x * 7.25)[[1, 0]].tolist() == [14.5, 7.25]  # the warm-up leaves 7.25 and the index there
    kept = dict(convert._scalars)
    with monkeypatch.context() as patch:
        patch.setattr(capture, "current", capture.Capture())
        with pytest.raises(RuntimeError, match=rf"copying numbers from the CPU to the GPU \({__file__}:\d+\)"):
            minitorch.ones(2).to("guard")
        with pytest.raises(RuntimeError, match="from the CPU to the GPU"):
            x[[0, 0, 1]]
        y = (x * 7.25)[[1, 0]] + 8.125
    assert y.tolist() == [22.625, 15.375] and convert._scalars == kept  # 8.125 is in the graph's memory: not kept
    assert any(key[0] == 7.25 for key in convert._captured)


# --- late checks -----------------------------------------------------------------------------------------------------

LATE = {
    "embedding": (lambda k: F.embedding(k, minitorch.ones(3, 2).to(k.device)), IndexError, "embedding: index .* table of 3 rows"),
    "gather": (lambda k: minitorch.ones(1, 3).to(k.device).gather(1, k[None]), IndexError, r"gather\(\): index .* size 3"),
    "index": (lambda k: minitorch.ones(3).to(k.device)[k], IndexError, "index .* out of bounds for dimension 0 with size 3"),
    "scatter": (
        lambda k: minitorch.ones(3).to(k.device).scatter(0, k, 1.0), IndexError, r"scatter\(\): index .* size 3"
    ),
    "index_add": (
        lambda k: minitorch.ones(3).to(k.device).index_add(0, k, minitorch.ones(2).to(k.device)), IndexError, "index_add"
    ),
    "take": (lambda k: minitorch.ones(3).to(k.device).take(k), IndexError, r"take\(\): index"),
    "cross_entropy": (
        lambda k: F.cross_entropy(minitorch.ones(2, 3).to(k.device), k), IndexError, "cross_entropy: target .* for 3 classes"
    ),
    "nll_loss": (lambda k: F.nll_loss(minitorch.ones(2, 3).to(k.device), k), IndexError, "nll_loss: target"),
    "multi_margin_loss": (
        lambda k: F.multi_margin_loss(minitorch.ones(2, 3).to(k.device), k), RuntimeError, "multi_margin_loss: target"
    ),
    "one_hot": (lambda k: F.one_hot(k, 3), RuntimeError, "one_hot: class values must be smaller than num_classes"),
    "bce": (lambda k: F.binary_cross_entropy(k.float(), k.float()), RuntimeError, "between 0 and 1"),
    "division": (lambda k: k // (k - 7), RuntimeError, "ZeroDivisionError"),
}  # fmt: skip


@pytest.mark.parametrize("name", LATE)
def test_what_is_out_of_range_is_found_at_the_next_reading(name):
    run, kind, words = LATE[name]
    with pytest.raises(kind, match=words):
        run(minitorch.tensor([0, 7]))  # on the CPU at once
    with pytest.warns() if name == "division" else _quiet():
        run(on_guard([0, 7]))
    x = minitorch.ones(1).to("guard")
    with pytest.raises(kind, match=rf"(?s){words}.*Found late.*CUDA_LAUNCH_BLOCKING=1"):
        x.item()
    assert x.item() == 1.0  # said once


def _quiet():
    return warnings.catch_warnings()


def test_what_is_in_range_gives_the_same_as_on_the_cpu():
    for name, (run, _, _) in LATE.items():
        if name == "bce":
            continue
        k = minitorch.tensor([2, 1])
        np.testing.assert_allclose(run(k.to("guard")).tolist(), run(k).tolist(), err_msg=name)


def test_the_first_failure_is_the_one_that_is_told():
    k = on_guard([5])
    F.embedding(k, minitorch.ones(2, 2).to("guard"))
    minitorch.ones(3).to("guard")[k]
    with pytest.raises(IndexError, match="embedding: index .on the GPU. is out of range"):
        checks.settle(guard)
    checks.settle(guard)


def test_a_kernel_can_check():
    flag, code = checks.flag(guard, "kernel: index {} of 3", IndexError)
    assert flag.dtype == np.int32 and flag.shape == (1,) and code > 0
    assert checks.flag(guard, "kernel: index {} of 3", IndexError) == (flag, code)  # the same for ever
    minitorch.ones(1).to("guard").item()
    flag[...] = code  # what a kernel writes when a graph is replayed, of which Python hears nothing
    minitorch.ones(1).to("guard").item()
    checks.flag(guard, "another kernel's check", ValueError)
    with pytest.raises(IndexError, match=r"kernel: index \(on the GPU\) of 3"):
        minitorch.ones(1).to("guard").item()


@pytest.mark.skipif(emulator.COMPILER is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_the_check_in_one_launch(kind):
    values = np.array([0, -3, 2, 9, -4, 1] * 101).astype(kind)
    with emulator.device():
        for low, stop in ((-4, 10), (0, 3), (-3, 2), (0, 0)):
            found = checks.in_range(GuardArray(values), low, stop, f"index {{}} not in {low}, {stop}", IndexError)
            np.testing.assert_array_equal(found._hidden, values.clip(low, max(stop - 1, low)))
            assert found.dtype == kind and emulator.RawModule.launched[-1][0] == "in_range"
            if (low, stop) == (-4, 10):
                checks.settle(emulator.emulated)
                continue
            with pytest.raises(IndexError, match=rf"index \(on the GPU\) not in {low}, {stop}"):
                checks.settle(emulator.emulated)
        columns = GuardArray(values.reshape(-1, 2)[:, 0])  # not contiguous: the array functions do it
        np.testing.assert_array_equal(checks.in_range(columns, 0, 3, "m")._hidden, columns._hidden.clip(0, 2))


def test_after_a_capture_every_look_is_a_real_one(monkeypatch):
    x = on_guard([0.5, 0.5])
    with monkeypatch.context() as patch:
        patch.setattr(capture, "current", capture.Capture())
        flag, code = checks.flag(guard, "a captured check", ValueError)
    for _ in range(2):
        x.tolist()
        flag[...] = code  # a replay
        with pytest.raises(ValueError, match="a captured check"):
            x.tolist()


def test_checks_can_be_made_to_wait(monkeypatch):
    monkeypatch.setattr(checks, "at_once", True)
    with pytest.raises(IndexError, match="embedding"):
        F.embedding(on_guard([5]), minitorch.ones(2, 2).to("guard"))
    done = subprocess.run(
        [sys.executable, "-c", "from minitorch.backend import checks; print(checks.at_once)"],
        env={"CUDA_LAUNCH_BLOCKING": "1", "PATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "True"


# --- several GPUs ----------------------------------------------------------------------------------------------------


class SecondGPU(Library):
    """Tensors on cuda:1, while cuda:0 is the current GPU."""

    def on_the_guard(self, array):
        with devices.gpu(devices.namespace_for(devices.device("cuda")), 1):
            return super().on_the_guard(array)


@pytest.mark.parametrize("case", [case for case in CASES if not case.seeded], ids=lambda case: case.name)
def test_an_op_runs_on_the_gpu_that_holds_its_inputs(case):
    sample = next((s for s in case.samples() if not s.large and order_of(case, s)), None) or next(iter(case.samples()))
    with minitorch.backend.reference_ops(), np.errstate(all="ignore"):
        order = min(order_of(case, sample), 1)
        expected = evaluate(Library(), case, sample, order)
        with several_gpus():
            actual = evaluate(SecondGPU("second"), case, sample, order)
            assert GuardArray.current == 0
        for a, b in zip(
            flatten([actual.outputs, actual.first]), flatten([expected.outputs, expected.first]), strict=True
        ):
            if isinstance(b, np.ndarray):
                np.testing.assert_allclose(np.float64(a), np.float64(b), 1e-4, 1e-6)


def test_tensors_go_from_gpu_to_gpu():
    with several_gpus() as xp:
        x = minitorch.tensor([1.0, 2.0], requires_grad=True)
        a = x.to("cuda:1")
        b = (a * 2).cuda(0)
        c = (b + 1).to(minitorch.device("cuda", 1)) * a
        assert [str(t.device) for t in (a, b, c)] == ["cuda:1", "cuda:0", "cuda:1"] and a.get_device() == 1
        c.sum().backward()
        assert str(x.grad.device) == "cpu" and x.grad.tolist() == [5.0, 9.0] and GuardArray.current == 0
        assert xp.streams[:4] == [("record", 1), ("wait", 0), ("record", 0), ("wait", 1)]
        # leaves on two GPUs, used twice, so that gradients are added on both
        p, q = (minitorch.ones(2, device=f"cuda:{i}").requires_grad_() for i in range(2))
        y = (p * 2 + p).sum() + ((q * 3).sum() + q.sum()).to("cuda:0")
        y.backward()
        y = (p * p).sum() + (q * q).sum().cuda(0)
        y.backward()
        assert str(p.grad.device) == "cuda:0" and p.grad.tolist() == [5.0, 5.0]
        assert str(q.grad.device) == "cuda:1" and q.grad.tolist() == [6.0, 6.0]
        (g,) = minitorch.autograd.grad((q**3).sum(), [q], create_graph=True)
        (h,) = minitorch.autograd.grad(g.sum(), [q])
        assert h.tolist() == [6.0, 6.0] and str(h.device) == "cuda:1"
        twin = copy.deepcopy(q.detach())
        assert str(twin.device) == "cuda:1" and str(minitorch.zeros(2, device="cuda").device) == "cuda:0"
        model = minitorch.nn.Sequential(minitorch.nn.Linear(2, 3), minitorch.nn.LayerNorm(3)).cuda(1)
        loss = F.cross_entropy(model(q.detach()[None]), minitorch.tensor([1], device="cuda:1"))
        loss.backward()
        assert all(str(p.grad.device) == "cuda:1" for p in model.parameters())
        assert str(minitorch.full((2,), 3.0, device="cuda:1").device) == "cuda:1"
        assert str(minitorch.ones(2, device="cuda:1").add_(1).device) == "cuda:1"


def test_errors_with_several_gpus():
    with several_gpus():
        with pytest.raises(RuntimeError, match=r"one device, got cuda:0 and cuda:1.*\.to\('cuda:0'\)"):
            minitorch.ones(2, device="cuda:0") + minitorch.ones(2, device="cuda:1")
        with pytest.raises(
            RuntimeError, match="'cuda:5': invalid device ordinal; this machine has 'cuda:0' to 'cuda:1'"
        ):
            minitorch.ones(2).to("cuda:5")
        k = minitorch.tensor([9], device="cuda:1")
        minitorch.ones(3, device="cuda:1")[k]
        minitorch.ones(2, device="cuda:0").tolist()  # the other one has no trouble
        with pytest.raises(IndexError, match="Found late"):
            k.tolist()


def test_one_gpu_costs_nothing():
    assert devices.several is False  # and `Op.apply` asks no more than that


# --- what is wrong with CuPy, and memory -----------------------------------------------------------------------------


class FakeMemoryError(MemoryError):
    pass


def fake_cupy(count=1, error=None, allocate=None):
    """A module in CuPy's place."""

    def device_count():
        if error is not None:
            raise RuntimeError(error)
        return count

    pool = types.SimpleNamespace(
        malloc=allocate, used_bytes=lambda: 3 << 30, total_bytes=lambda: 4 << 30, get_limit=lambda: 0
    )
    cupy = types.ModuleType("cupy")
    cupy.ndarray = type("ndarray", (), {})
    cupy.get_default_memory_pool = lambda: pool
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=device_count, getDevice=lambda: 0),
        memory=types.SimpleNamespace(OutOfMemoryError=FakeMemoryError),
        get_allocator=lambda: cupy.allocator,
        set_allocator=lambda allocator: setattr(cupy, "allocator", allocator),
        Device=lambda number: types.SimpleNamespace(mem_info=(1 << 29, 80 << 30)),
    )
    cupy.allocator = allocate
    return cupy


@pytest.fixture
def no_cuda_yet(monkeypatch):
    """As in a process that has not asked for a GPU."""
    monkeypatch.setattr(devices, "_ARRAY_TYPES", {"cpu": devices._ARRAY_TYPES["cpu"]})
    monkeypatch.setattr(devices, "NAMESPACES", dict(devices.NAMESPACES))
    monkeypatch.setattr(devices, "several", False)


BROKEN = {
    "no CuPy": (None, r"needs CuPy, which cannot be imported.*minitorch\[cuda12\] or minitorch\[cuda13\]"),
    "old driver": (
        fake_cupy(error="cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"),
        r"finds no CUDA device \(cudaErrorInsufficientDriver.*minitorch.doctor",
    ),
    "no GPU": (fake_cupy(count=0), "finds no CUDA device$"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_without_a_gpu_one_is_told_why(name, monkeypatch, no_cuda_yet):
    module, words = BROKEN[name]
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert cuda.device_count() == 0 and not cuda.is_available() and not cuda.is_initialized()
    for call in (lambda: minitorch.ones(2, device="cuda"), lambda: minitorch.ones(2).cuda(), cuda.synchronize):
        with pytest.raises(RuntimeError, match=words):
            call()


def test_cupys_own_advice_is_left_out():
    error = ImportError(
        "\n====\nFailed to import CuPy.\n\nOriginal error:\n  ImportError: libcuda.so.1: no such file\n====\n"
    )
    assert devices.last_line(error) == "ImportError: libcuda.so.1: no such file"


def test_out_of_memory_says_what_is_in_use(monkeypatch, no_cuda_yet):
    def allocate(size):
        if size > 100:
            raise FakeMemoryError("Out of memory allocating")
        return "memory"

    cupy = fake_cupy(allocate=allocate)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    cuda.init()
    assert cupy.allocator(100) == "memory"
    with pytest.raises(cuda.OutOfMemoryError) as caught:
        cupy.allocator(5 << 20)
    for words in ("tried to allocate 5.00 MiB on GPU 0", "80.00 GiB in all, 512.00 MiB free", "tensors take 3.00 GiB",
                  "1.00 GiB are reserved", "smaller batch", "empty_cache()"):  # fmt: skip
        assert words in str(caught.value)
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value.__cause__, FakeMemoryError)
    assert memory.in_words(12) == "12 bytes"


def test_an_allocator_that_was_chosen_stays(monkeypatch, no_cuda_yet):
    cupy = fake_cupy(allocate=print)
    cupy.allocator = mine = lambda size: None
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    cuda.init()
    assert cupy.allocator is mine


def test_a_machine_with_several_gpus_is_noticed(monkeypatch, no_cuda_yet):
    installed = []
    monkeypatch.setattr(several, "install", lambda: installed.append(True))
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count=4))
    cuda.init()
    assert devices.several and installed
