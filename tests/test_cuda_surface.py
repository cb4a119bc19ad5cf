"""minitorch.cuda without a GPU, minitorch.backends, the process-wide switches, the oldest constructors, second names:
beside PyTorch's, and what they say when they are called wrongly."""

import copy
import inspect
import pickle
import subprocess
import sys
import types
from functools import partial

import numpy as np
import pytest

import minitorch
from minitorch import backends, cuda, jit, legacy
from minitorch import random as mrandom
from minitorch.backend import settings
from minitorch.ops import aliases
from tests.guard import GuardArray, guard

no_gpu = pytest.mark.skipif(cuda.is_available(), reason="about what happens without a GPU")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


# --- cuda ------------------------------------------------------------------------------------------------------------

QUIET = {
    "is_available": (),
    "device_count": (),
    "is_initialized": (),
    "manual_seed": (3,),
    "manual_seed_all": (3,),
    "seed": (),
    "seed_all": (),
    "empty_cache": (),
    "memory_allocated": (),
    "max_memory_allocated": (),
    "memory_reserved": (),
    "max_memory_reserved": (),
    "is_bf16_supported": (),
    "get_rng_state_all": (),
    "get_arch_list": (),
}


@no_gpu
@pytest.mark.parametrize("name", QUIET)
def test_questions_without_a_gpu(torch, name):
    if torch.cuda.is_available():
        pytest.skip("PyTorch sees a GPU")
    assert getattr(cuda, name)(*QUIET[name]) == getattr(torch.cuda, name)(*QUIET[name])


LOUD = {
    "current_device": (), "set_device": (0,), "get_device_name": (), "get_device_capability": (0,),
    "get_device_properties": (0,), "synchronize": (), "init": (), "initial_seed": (), "get_rng_state": (), "Stream": (),
    "Event": (), "current_stream": (), "default_stream": (), "mem_get_info": (), "reset_peak_memory_stats": (),
    "ipc_collect": (), "FloatTensor": ([1.0],),
}  # fmt: skip


@no_gpu
@pytest.mark.parametrize("name", LOUD)
def test_what_needs_a_gpu_says_what_to_install(name):
    with pytest.raises(RuntimeError, match=r"needs CuPy.*minitorch\[cuda12\]|no CUDA device"):
        getattr(cuda, name)(*LOUD[name])


@no_gpu
def test_contexts_without_a_gpu():
    with cuda.device(0), cuda.device("cuda:1"), cuda.device_of(minitorch.ones(1)), cuda.stream(None):
        assert minitorch.ones(1).device.type == "cpu"
    with pytest.raises(ValueError, match="seed"):
        cuda.manual_seed(2**70)
    assert issubclass(cuda.OutOfMemoryError, RuntimeError)
    with pytest.raises(AttributeError, match="no 'nvtx'"):
        _ = cuda.nvtx


class FakeCuPy:
    """What cuda.py asks of CuPy, with its names: two GPUs of which nothing is real."""

    def __init__(self):
        self.current, self.log = 0, []
        fake = self

        class Device:
            def __init__(self, i):
                self.i, self.mem_info = i, (10, 20)

            def __enter__(self):
                fake.log.append(f"enter {self.i}")

            def __exit__(self, *exc):
                fake.log.append(f"exit {self.i}")

            def synchronize(self):
                fake.log.append(f"synchronize {self.i}")

        properties = {"name": b"GPU", "major": 9, "minor": 0, "totalGlobalMem": 80, "multiProcessorCount": 132}
        runtime = types.SimpleNamespace(
            getDeviceCount=lambda: 2, getDevice=lambda: self.current, setDevice=lambda i: setattr(self, "current", i),
            getDeviceProperties=lambda i: properties,
        )  # fmt: skip
        self.cuda = types.SimpleNamespace(runtime=runtime, Device=Device)
        pool = types.SimpleNamespace(
            used_bytes=lambda: 5, total_bytes=lambda: 7, free_all_blocks=lambda: self.log.append("free")
        )
        self.get_default_memory_pool = lambda: pool


def test_the_calls_that_are_made_of_cupy(monkeypatch):
    fake = FakeCuPy()
    monkeypatch.setattr(cuda, "_cupy", lambda: fake)
    assert cuda.is_available() and cuda.device_count() == 2 and cuda.current_device() == 0
    cuda.set_device("cuda:1")
    assert cuda.current_device() == 1 and cuda.get_device_name() == "GPU" and cuda.get_device_capability(0) == (9, 0)
    assert cuda.get_device_properties(0).total_memory == 80 and cuda.mem_get_info() == (10, 20)
    assert cuda.memory_allocated(0) == 5 and cuda.max_memory_allocated() == 7 and cuda.is_bf16_supported()
    cuda.synchronize(0), cuda.empty_cache()
    assert fake.log == ["enter 0", "exit 0", "enter 1", "exit 1", "synchronize 0", "free"]
    with cuda.device(0):
        assert cuda.current_device() == 0
    assert cuda.current_device() == 1
    for wrong, words in ((5, "invalid device ordinal 5; there are 2"), ("cpu", "expected a cuda device, but got: cpu")):
        with pytest.raises((RuntimeError, ValueError), match=words):
            cuda.synchronize(wrong)


# --- backends --------------------------------------------------------------------------------------------------------


def test_flags_read_back_what_was_set(torch):
    for path, name, value in [
        ("cudnn", "enabled", False), ("cudnn", "benchmark", True), ("cudnn", "deterministic", True),
        ("cudnn", "allow_tf32", False), ("cudnn", "benchmark_limit", 3), ("cuda.matmul", "allow_tf32", True),
        ("cuda.matmul", "allow_fp16_reduced_precision_reduction", False),
        ("cuda.matmul", "allow_bf16_reduced_precision_reduction", False), ("mkldnn", "enabled", False),
    ]:  # fmt: skip
        ours, theirs = backends, torch.backends
        for part in path.split("."):
            ours, theirs = getattr(ours, part), getattr(theirs, part)
        before = getattr(ours, name)
        if name != "benchmark_limit":
            assert before == getattr(theirs, name), name
        setattr(ours, name, value)
        assert getattr(ours, name) == value
        setattr(ours, name, before)


def test_unknown_flags_are_errors():
    for module in (backends.cudnn, backends.mkldnn, backends.cuda.matmul):
        with pytest.raises(AttributeError, match="has no flag 'bechmark'; it has"):
            module.bechmark = True
        with pytest.raises(AttributeError, match="has no flag 'bechmark'"):
            _ = module.bechmark
    with pytest.raises(RuntimeError, match="benchmark expects a bool, but got str"):
        backends.cudnn.benchmark = "yes"
    with pytest.raises(RuntimeError, match="benchmark_limit expects a int, but got bool"):
        backends.cudnn.benchmark_limit = True
    with pytest.raises(TypeError, match="enable_flash_sdp.. expects a bool"):
        backends.cuda.enable_flash_sdp(1)


def test_flags_for_a_while():
    with backends.cudnn.flags(enabled=False, benchmark=True):
        assert not backends.cudnn.enabled and backends.cudnn.benchmark
        with pytest.raises(ValueError), backends.mkldnn.flags(enabled=False):
            raise ValueError
    assert backends.cudnn.enabled and not backends.cudnn.benchmark and backends.mkldnn.enabled
    with backends.cuda.sdp_kernel(enable_flash=False):
        assert not backends.cuda.flash_sdp_enabled() and backends.cuda.math_sdp_enabled()
    assert backends.cuda.flash_sdp_enabled()


def test_what_is_not_there_says_so():
    assert not (backends.cudnn.is_available() or backends.mps.is_available() or backends.mps.is_built())
    assert backends.cudnn.version() is None and not backends.mkl.is_available() and not backends.openmp.is_available()
    assert not backends.mkldnn.is_available() and backends.cpu.get_cpu_capability() == "DEFAULT"
    assert isinstance(backends.cuda.is_built(), bool) and not backends.cudnn.is_acceptable(minitorch.ones(1))
    import minitorch.backends.cudnn as module

    assert module is backends.cudnn


# --- switches --------------------------------------------------------------------------------------------------------


def test_threads():
    before = settings.get_num_threads()
    code = "from minitorch.backend import settings as s; s.set_num_threads(1); print(s.get_num_threads()); "
    code += "import threadpoolctl as t; print({p['num_threads'] for p in t.threadpool_info()})"
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:2] == ["1", "{1}"]
    assert settings.get_num_threads() == before >= 1


def test_threads_without_threadpoolctl():
    code = "import sys; sys.modules['threadpoolctl'] = None; from minitorch.backend import settings as s; "
    code += "s.set_num_threads(7); print(s.get_num_threads())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "7\n" and "without threadpoolctl" in run.stderr


def test_determinism_and_precision(torch):
    try:
        for L in (settings, torch):
            assert not L.are_deterministic_algorithms_enabled() and L.get_deterministic_debug_mode() == 0
            L.use_deterministic_algorithms(True, warn_only=True)
            assert L.are_deterministic_algorithms_enabled() and L.is_deterministic_algorithms_warn_only_enabled()
            assert L.get_deterministic_debug_mode() == 1
            L.set_deterministic_debug_mode("error")
            assert L.get_deterministic_debug_mode() == 2
            assert L.get_float32_matmul_precision() == "highest"
            L.set_float32_matmul_precision("medium")
            assert L.get_float32_matmul_precision() == "medium"
        assert backends.cuda.matmul.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
        with pytest.warns(UserWarning, match="no effect"):
            settings.set_float32_matmul_precision("low")
    finally:
        for L in (settings, torch):
            L.use_deterministic_algorithms(False)
            L.set_float32_matmul_precision("highest")


def test_default_device():
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    made = lambda: [  # noqa: E731
        minitorch.zeros(2), minitorch.tensor([1]), minitorch.arange(3), minitorch.rand(2), minitorch.randperm(3),
        minitorch.eye(2), minitorch.full((2,), 3.0), minitorch.nn.Linear(2, 2).weight, minitorch.as_tensor([1, 2]),
    ]  # fmt: skip
    assert settings.get_default_device() == minitorch.device("cpu")
    try:
        settings.set_default_device("guard")
        assert {str(t.device) for t in made()} == {"guard"} and str(settings.get_default_device()) == "guard"
        assert (
            str(minitorch.zeros(2, device="cpu").device) == "cpu"
            and str(minitorch.from_numpy(np.ones(1)).device) == "cpu"
        )
    finally:
        settings.set_default_device(None)
    with minitorch.device("guard"):
        assert {str(t.device) for t in made()} == {"guard"}
        with minitorch.device("cpu"):
            assert {str(t.device) for t in made()} == {"cpu"}
        assert {str(t.device) for t in made()} == {"guard"}
    assert {str(t.device) for t in made()} == {"cpu"}


def test_default_tensor_type():
    try:
        settings.set_default_tensor_type("torch.DoubleTensor")
        assert minitorch.tensor([1.0]).dtype is minitorch.float64 and minitorch.Tensor([1]).dtype is minitorch.float64
        settings.set_default_tensor_type(legacy.FloatTensor)
        assert minitorch.zeros(1).dtype is minitorch.float32
    finally:
        minitorch.set_default_dtype(minitorch.float32)


def test_anomaly():
    try:
        settings.set_anomaly_enabled(True)
        assert settings.is_anomaly_enabled() and settings.is_anomaly_check_nan_enabled()
        with pytest.raises(RuntimeError, match="Sqrt made a NaN"):
            minitorch.tensor([-1.0], requires_grad=True).sqrt()
    finally:
        settings.set_anomaly_enabled(False)
    assert not settings.is_anomaly_enabled()


def test_names_and_casts(torch):
    for make in (lambda L: L.ones(2), lambda L: L.tensor([1]), lambda L: [], lambda L: int, lambda L: L.ones(2).half()):
        ours = settings.typename(make(minitorch))
        assert ours.replace("minitorch", "torch") == torch.typename(make(torch))
    assert settings.typename(minitorch.nn.Linear(1, 1)).endswith("linear.Linear")
    for a in ("bool", "uint8", "int64", "float16", "float64"):
        for b in ("bool", "int8", "int64", "bfloat16", "float32"):
            theirs = torch.can_cast(getattr(torch, a), getattr(torch, b))
            assert settings.can_cast(getattr(minitorch, a), getattr(minitorch, b)) == theirs
    assert repr(settings.channels_last) == "minitorch.channels_last"
    assert copy.deepcopy(settings.strided) is settings.strided is pickle.loads(pickle.dumps(settings.strided))
    assert minitorch.ones(2).to(memory_format=settings.channels_last).shape == (2,)


def test_compile_and_jit():
    def f(x):
        return x * 2

    model = minitorch.nn.Linear(1, 1)
    assert settings.compile(f) is f and settings.compile(mode="max-autotune", fullgraph=True)(f) is f
    assert settings.compile(model, backend="eager", dynamic=True) is model
    assert jit.script(f) is f and jit.ignore(f) is f and jit.ignore(drop=True)(f) is f and not jit.is_scripting()
    for call, kind, words in [
        (lambda: settings.compile(3), TypeError, "callable function is expected"),
        (lambda: settings.compile(f, speed=3), TypeError, "speed"),
        (lambda: jit.script(model), NotImplementedError, "no compiler that the module"),
        (lambda: jit.script(3), NotImplementedError, "a int"),
        (lambda: jit.trace, AttributeError, "trace"),
    ]:
        with pytest.raises(kind, match=words):
            call()


def test_fork_rng(torch):
    for L, module in ((minitorch, mrandom), (torch, torch.random)):
        L.manual_seed(0)
        with module.fork_rng():
            L.manual_seed(5)
            L.rand(3)
        inside = L.rand(2).tolist()
        L.manual_seed(0)
        assert L.rand(2).tolist() == inside
        with module.fork_rng(enabled=False):
            L.manual_seed(3)
        assert L.random.initial_seed() == 3 if L is torch else mrandom.initial_seed() == 3


def wrong_switches(L):
    return [
        (lambda: L.set_num_threads(0), RuntimeError, "positive integer"),
        (lambda: L.set_num_threads("a"), RuntimeError, "expects an int, but got str"),
        (lambda: L.set_num_interop_threads(-1), RuntimeError, "positive integer"),
        (lambda: L.use_deterministic_algorithms(1), TypeError, "must be bool, not int"),
        (lambda: L.set_deterministic_debug_mode("x"), RuntimeError, "expected one of `default`, `warn`, `error`, but got x"),
        (lambda: L.set_deterministic_debug_mode(7), RuntimeError, "expected 0, 1, or 2, but got 7"),
        (lambda: L.set_default_device("foo"), Exception, "(?i)expected one of|device"),
        (lambda: L.set_default_tensor_type("torch.LongTensor"), TypeError, "only floating-point types"),
    ]  # fmt: skip


def test_wrong_switches(torch):
    for L in (settings, torch):
        for call, kind, words in wrong_switches(L):
            with pytest.raises(kind, match=words):
                call()
    with pytest.raises(TypeError, match="only floating-point types"):
        settings.set_default_tensor_type(minitorch.float32)
    with pytest.raises(ValueError, match="invalid type: 'torch.Foo'"):
        settings.set_default_tensor_type("torch.Foo")


# --- the oldest constructors -----------------------------------------------------------------------------------------


def old(L, T):
    """Calls of the oldest constructors; T: the module that holds FloatTensor and its like."""
    t = L.tensor
    return {
        "nothing": lambda: L.Tensor(),
        "sizes": lambda: L.Tensor(2, 3) * 0,
        "one size": lambda: L.Tensor(3) * 0,
        "a Size": lambda: L.Tensor(t([[1.0, 2.0]]).shape) * 0,
        "list": lambda: L.Tensor([1, 2]),
        "nested": lambda: L.Tensor([[1.5], [2]]),
        "tuple": lambda: L.Tensor((2, 2)),
        "range": lambda: L.Tensor(range(3)),
        "array": lambda: L.Tensor(np.array([1.5, 2.0])),
        "integers' array": lambda: L.Tensor(np.arange(3)),
        "integer tensor": lambda: L.Tensor(t([1, 2])),
        "tensors": lambda: L.Tensor([t(1), t(2.0)]),
        "LongTensor": lambda: T.LongTensor([1, 2]),
        "LongTensor of floats": lambda: T.LongTensor([1.5]),
        "LongTensor of sizes": lambda: T.LongTensor(2, 3) * 0,
        "LongTensor of an array": lambda: T.LongTensor(np.array([1.5])),
        "IntTensor": lambda: T.IntTensor([True, False]),
        "ShortTensor": lambda: T.ShortTensor([3]),
        "CharTensor": lambda: T.CharTensor([-3]),
        "ByteTensor": lambda: T.ByteTensor([3, -1]),
        "BoolTensor": lambda: T.BoolTensor([0, 2]),
        "HalfTensor": lambda: T.HalfTensor([0.5]),
        "DoubleTensor": lambda: T.DoubleTensor([0.1]),
        "BFloat16Tensor": lambda: T.BFloat16Tensor([0.5]).float(),
        "FloatTensor": lambda: T.FloatTensor([[1, 2], [3, 4]]),
        "device": lambda: T.FloatTensor([1], device="cpu"),
        "new": lambda: t([1.5]).new([3, 4]),
        "new of sizes": lambda: t([1]).new(2, 2) * 0,
        "new of integers": lambda: t([1]).new([3.7]),
        "type": lambda: t([1.5]).type("torch.LongTensor"),
        "type of a class": lambda: t([1]).type(T.FloatTensor),
        "type of a dtype": lambda: t([1]).type(L.float64),
        "type of itself": lambda: t([1.0]).type("torch.FloatTensor"),
    }


@pytest.mark.parametrize("name", old(minitorch, legacy))
def test_oldest_constructors(torch, name):
    ours, theirs = old(minitorch, legacy)[name](), old(torch, torch)[name]()
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1] and tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def wrong_old(L, T):
    t = L.tensor
    return [
        (lambda: L.Tensor(3.0), TypeError, r"data must be a sequence \(got float\)"),
        (lambda: L.Tensor(None), TypeError, r"data must be a sequence \(got NoneType\)"),
        (lambda: L.Tensor({1: 2}), TypeError, r"data must be a sequence \(got dict\)"),
        (lambda: L.Tensor(True), TypeError, r"data must be a sequence \(got bool\)"),
        (lambda: L.Tensor("a"), TypeError, "invalid data type 'str'"),
        (lambda: L.Tensor([1, "a"]), TypeError, "number"),
        (lambda: L.Tensor([[1], [2, 3]]), ValueError, "expected sequence"),
        (lambda: L.Tensor(2, 3.0), TypeError, "size"),
        (lambda: L.Tensor(2, [1]), TypeError, "size"),
        (lambda: L.Tensor([1], [2]), TypeError, None),
        (lambda: L.Tensor(-1), RuntimeError, "negative dimension -1"),
        (lambda: L.Tensor([1], requires_grad=True), TypeError, "requires_grad"),
        (lambda: L.Tensor([1], device="cuda"), RuntimeError, "legacy constructor expects device type: cpu but device type: cuda"),
        (lambda: T.LongTensor(t([1.0])), TypeError, "expected"),
        (lambda: T.ByteTensor([300]), RuntimeError, "without overflow"),
        (lambda: t([1]).type("torch.Foo"), ValueError, "invalid type: 'torch.Foo'"),
        (lambda: T.FloatTensor([1], dtype=L.int32), TypeError, "dtype"),
    ]  # fmt: skip


def test_wrong_calls_of_the_oldest_constructors(torch):
    for L, T in ((minitorch, legacy), (torch, torch)):
        for call, kind, words in wrong_old(L, T):
            with pytest.raises(kind, match=words):
                call()


def test_types_of_tensors():
    x = minitorch.ones(2)
    assert (
        isinstance(x, legacy.FloatTensor)
        and not isinstance(x, legacy.LongTensor)
        and not isinstance([1], legacy.FloatTensor)
    )
    assert isinstance(x.long(), legacy.LongTensor) and isinstance(x, minitorch.Tensor)
    assert x.type() == "minitorch.FloatTensor" and repr(legacy.FloatTensor) == "<class 'minitorch.FloatTensor'>"
    assert legacy.FloatTensor.dtype is minitorch.float32 and not legacy.FloatTensor.is_cuda and cuda.FloatTensor.is_cuda


def test_the_oldest_constructor_of_a_tensor_shares_its_memory_and_graph():
    w = minitorch.ones(2, requires_grad=True)
    x = minitorch.Tensor(w)
    (x * 3).sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]
    plain = minitorch.ones(2)
    minitorch.Tensor(plain).add_(1)
    assert plain.tolist() == [2.0, 2.0]


def test_a_numpy_array_is_copied():
    array = np.ones(2, np.float32)
    minitorch.Tensor(array).add_(1)
    assert array.tolist() == [1.0, 1.0]


def test_subclasses_of_tensor():
    class Named(minitorch.Tensor):
        pass

    x = Named([1, 2])
    assert type(x) is Named and x.dtype is minitorch.float32 and (x + 1).tolist() == [2.0, 3.0]


# --- second names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", aliases.METHODS)
def test_second_names(torch, name):
    unwrapped = [inspect.unwrap(f) for f in (getattr(minitorch.Tensor, name), aliases.METHODS[name])]
    assert unwrapped[0] is unwrapped[1]
    assert hasattr(torch.Tensor, name) and (name in dir(torch))
    if hasattr(minitorch.Tensor, name + "_"):
        assert hasattr(torch.Tensor, name + "_"), name


@pytest.mark.parametrize("name", aliases.FUNCTIONS)
def test_functions_exist_in_pytorch(torch, name):
    assert hasattr(torch, name)


def second_names(L):
    t = L.tensor
    x, m, i = t([-0.5, 0.25]), t([[1.0, 2.0], [3.0, 7.5]]), t([1, 2])
    return {
        "arccos": lambda: x.arccos(),
        "arctan2": lambda: x.arctan2(x + 1),
        "arcsinh_": lambda: x.clone().arcsinh_(),
        "fix": lambda: (x * 3).fix(),
        "fix_": lambda: (x * 3).fix_(),
        "divide": lambda: x.divide(2, rounding_mode="floor"),
        "divide_": lambda: x.clone().divide_(2),
        "subtract": lambda: x.subtract(x, alpha=3),
        "greater": lambda: x.greater(0),
        "less_equal": lambda: x.less_equal(x),
        "sgn": lambda: x.sgn(),
        "moveaxis": lambda: m.moveaxis(0, 1),
        "swapdims": lambda: m.swapdims(0, 1),
        "inverse": lambda: m.inverse(),
        "ger": lambda: x.ger(x),
        "mH": lambda: m.mH,
        "H": lambda: m.H,
        "adjoint": lambda: m[None].adjoint(),
        "positive": lambda: x.positive(),
        "real": lambda: x.real,
        "conj": lambda: x.conj(),
        "argwhere": lambda: m.argwhere(),
        "gt_": lambda: x.clone().gt_(0),
        "eq_": lambda: i.clone().eq_(t([1, 3])),
        "logical_not_": lambda: x.clone().logical_not_(),
        "logical_and_": lambda: i.clone().logical_and_(t([0, 1])),
        "le_": lambda: x.clone().le_(x),
        "slogdet": lambda: L.linalg.slogdet(m)[1],
        "slogdet's sign": lambda: L.linalg.slogdet(m)[0],
        "logdet": lambda: m.logdet(),
        "logdet, negative": lambda: m.flip(0).logdet(),
        "erfinv": lambda: x.erfinv(),
        "get_device": lambda: t(x.get_device()),
        "is_cpu": lambda: t(x.is_cpu),
        "is_nonzero": lambda: t(t(0.0).is_nonzero()),
        "is_same_size": lambda: t(x.is_same_size(m)),
        "ndimension": lambda: t(m.ndimension()),
        "is_sparse": lambda: t(x.is_sparse),
        "is_inference": lambda: t(x.is_inference()),
        "is_pinned": lambda: t(x.is_pinned()),
    }


@pytest.mark.parametrize("name", second_names(minitorch))
def test_second_names_compute_the_same(torch, name):
    ours, theirs = second_names(minitorch)[name](), second_names(torch)[name]()
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1] and tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.double().numpy(), theirs.double().numpy(), rtol=2e-6)


def test_wrong_second_names():
    x = minitorch.ones(2, 2, 2)
    for call, kind, words in [
        (lambda: x.H, RuntimeError, "only supported on matrices"),
        (lambda: minitorch.tensor([True]).positive(), RuntimeError, "bool tensor is not supported"),
        (lambda: minitorch.ones(2).is_nonzero(), RuntimeError, "ambiguous"),
        (lambda: minitorch.ones(2, 3).logdet(), RuntimeError, "(?i)square"),
        (lambda: minitorch.ones(2, 2).inverse(), RuntimeError, "(?i)singular|invers"),
    ]:
        with pytest.raises(kind, match=words):
            call()


# --- random fills of tensors whose axes lie in another order ---------------------------------------------------------

LAYOUTS = {
    "transposed": lambda z: z(5, 7).t(),
    "small": lambda z: z(2, 3).t(),
    "permuted": lambda z: z(3, 4, 5).permute(2, 0, 1),
    "gapped": lambda z: z(4, 10)[:, ::2],
    "column": lambda z: z(6, 6)[:, 2],
    "of length 1": lambda z: z(5, 1, 7).permute(2, 1, 0),
}
FILLS = [
    ("uniform_", (-1.0, 2.0)),
    ("normal_", (1.0, 2.0)),
    ("exponential_", (2.0,)),
    ("random_", (0, 10)),
    ("bernoulli_", (0.3,)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fill, args", FILLS, ids=[name for name, _ in FILLS])
def test_fills_go_through_the_memory(torch, layout, fill, args):
    from tests.test_random import _intel

    if fill in ("bernoulli_", "exponential_") and _intel() and torch.backends.mkl.is_available():
        pytest.skip("on Intel processors PyTorch draws these with MKL, which gives others")
    for dtype in ("float32", "float64"):
        made = []
        for L in (minitorch, torch):
            L.manual_seed(3)
            x = LAYOUTS[layout](partial(L.zeros, dtype=getattr(L, dtype)))
            made.append(getattr(x, fill)(*args))
        np.testing.assert_allclose(made[0].numpy(), made[1].numpy(), rtol=2e-6, atol=1e-7)
        assert minitorch.get_rng_state().numpy().tobytes() == torch.get_rng_state().numpy().tobytes()


def test_bernoulli_fill_with_probabilities(torch):
    p = np.random.default_rng(0).random((7, 5))
    made = []
    for L in (minitorch, torch):
        L.manual_seed(3)
        made.append(L.zeros(5, 7).t().bernoulli_(L.tensor(p)).numpy())
    np.testing.assert_array_equal(*made)
