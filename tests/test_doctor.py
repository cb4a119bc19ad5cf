"""`python -m minitorch.doctor`, here and on machines that a module in CuPy's place describes."""

import subprocess
import sys
import types
from importlib import metadata

import numpy as np
import pytest

from minitorch import doctor


class CUDARuntimeError(RuntimeError):
    pass


def machine(
    packages=("cupy-cuda13x",), *, imports=None, driver=13000, runtime=13020, count=1, devices_fail=None, **trials
):
    """A CuPy that behaves as told. trials: "compile", "elementwise" or "product" -> the error that it raises."""

    def device_count():
        if devices_fail is not None:
            raise CUDARuntimeError(devices_fail)
        return count

    def trial(name):
        if name in trials:
            raise trials[name]

    class Array(np.ndarray):
        def __mul__(self, other):
            trial("elementwise")
            return np.asarray(self) * other

    def array(values):
        return np.asarray(values, np.float32).view(Array)

    def raw_module(code, options, backend):
        trial("compile")
        assert "doctor" in code and backend == "nvrtc"

        def kernel(grid, block, arguments):
            arguments[0][...] = 2 * np.arange(block[0])

        return types.SimpleNamespace(get_function=lambda name: kernel)

    def matmul(a, b):
        trial("product")
        return np.asarray(a) @ np.asarray(b)

    properties = {"name": b"NVIDIA H200", "major": 9, "minor": 0}
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(
            runtimeGetVersion=lambda: runtime, driverGetVersion=lambda: driver, getDeviceCount=device_count,
            getDeviceProperties=lambda i: properties,
        ),
        Device=lambda i: types.SimpleNamespace(mem_info=(70 << 30, 139 << 30)),
    )  # fmt: skip
    cupy.RawModule, cupy.matmul, cupy.asnumpy = raw_module, matmul, np.asarray
    cupy.zeros = lambda n, dtype: array(np.zeros(n))
    cupy.arange = lambda n, dtype: array(np.arange(n))
    cupy.ones = lambda shape, dtype: array(np.ones(shape))
    return cupy, packages, imports


@pytest.fixture
def examine(monkeypatch, capsys):
    """Runs the doctor on a machine; (exit status, what it printed)."""

    def run(cupy, packages, imports, has_driver=False):
        importing = doctor.import_module

        def import_module(name):
            if name == "cupy":
                if imports is not None:
                    raise imports
                return cupy
            return importing(name)

        installed = [types.SimpleNamespace(metadata={"Name": p}, version="14.2.0") for p in ("numpy", *packages)]
        monkeypatch.setattr(doctor, "import_module", import_module)
        monkeypatch.setattr(metadata, "distributions", lambda: installed)
        monkeypatch.setattr(doctor.os.path, "exists", lambda path: has_driver if path == doctor.DRIVER else False)
        status = doctor.main([])
        return status, capsys.readouterr().out

    return run


NO_CUPY = ModuleNotFoundError("No module named 'cupy'")
CASES = {
    "all well": (machine(), {}, 0, ["ok     CuPy        cupy-cuda13x 14.2.0", "ok     driver      for CUDA 13.0",
        "ok     runtime     CUDA 13.2", "NVIDIA H200, 139.00 GiB, of which 70.00 GiB free, compute capability 9.0",
        "ok     NVRTC       works", "ok     headers     works", "ok     cuBLAS      works", 'device="cuda"']),
    "two GPUs": (machine(count=2), {}, 0, ["ok     cuda:0 ", "ok     cuda:1 "]),
    "no CuPy, no driver": (machine((), imports=NO_CUPY), {}, 0, ["none   CuPy", "without a GPU it is not needed"]),
    "no CuPy, a driver": (machine((), imports=NO_CUPY), {"has_driver": True}, 0,
        ["not installed, though there is an NVIDIA driver", 'pip install "minitorch[cuda13]"', 'pip install "minitorch[cuda12]"']),
    "CuPy that cannot be imported": (machine(imports=ImportError("=====\nadvice\nImportError: libnvrtc.so.13\n=====")), {}, 1,
        ["wrong  CuPy", "cupy-cuda13x 14.2.0 cannot be imported: ImportError: libnvrtc.so.13", "pip uninstall cupy-cuda13x"]),
    "two CuPys": (machine(("cupy-cuda12x", "cupy-cuda13x")), {}, 1,
        ["several packages", "pip uninstall cupy-cuda12x cupy-cuda13x; then"]),
    "no driver": (machine(driver=0, devices_fail="cudaErrorInsufficientDriver: too old"), {}, 0,
        ["none   driver", "no NVIDIA driver, so no GPU: everything runs on the CPU"]),
    "driver too old": (machine(driver=12040, devices_fail="cudaErrorInsufficientDriver: too old"), {"has_driver": True}, 1,
        ["wrong  driver", "for CUDA 12.4, CuPy for CUDA 13.2", "cudaErrorInsufficientDriver",
         'the CuPy that fits: pip install "minitorch[cuda12]", or a newer driver']),
    "driver that answers nothing": (machine(devices_fail="cudaErrorNoDevice: no CUDA-capable device"), {"has_driver": True}, 1,
        ["cudaErrorNoDevice", "nvidia-smi", "--gpus all"]),
    "GPUs hidden": (machine(count=0), {}, 0, ["none   GPU", "CUDA_VISIBLE_DEVICES"]),
    "no compiler": (machine(compile=RuntimeError("libnvrtc.so.13: cannot open shared object file")), {}, 1,
        ["wrong  NVRTC", "libnvrtc.so.13", 'pip install "cupy-cuda13x[ctk]"', "ok     cuBLAS"]),
    "no headers": (machine(("cupy-cuda12x",), runtime=12090,
        elementwise=RuntimeError('catastrophic error: cannot open source file "vector_types.h"')), {}, 1,
        ["wrong  headers", "vector_types.h", 'pip install "cupy-cuda12x[ctk]"']),
    "no cuBLAS": (machine(product=ImportError("libcublas.so.13: cannot open shared object file")), {}, 1,
        ["wrong  cuBLAS", "libcublas.so.13", "[ctk]"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_it_says(name, examine):
    described, where, expected, words = CASES[name]
    status, printed = examine(*described, **where)
    assert status == expected, printed
    for line in (*words, "ok     Python", "ok     NumPy"):
        assert line in printed, f"{line!r} not in\n{printed}"
    assert ("wrong" in printed) == bool(expected)
    assert ('device="cuda"' in printed) == (name in ("all well", "two GPUs"))


def test_wrong_numbers_are_noticed(examine):
    cupy, *rest = machine()
    cupy.matmul = lambda a, b: np.zeros((2, 2))
    status, printed = examine(cupy, *rest)
    assert status == 1 and "computed [[0.0, 0.0], [0.0, 0.0]], expected [[2.0, 2.0], [2.0, 2.0]]" in printed


def test_without_numba(monkeypatch, examine):
    monkeypatch.setitem(sys.modules, "numba", None)
    status, printed = examine(*machine())
    assert status == 0 and "none   numba" in printed and 'pip install "minitorch[fast]"' in printed


def test_as_a_command():
    done = subprocess.run([sys.executable, "-m", "minitorch.doctor"], capture_output=True, text=True)
    assert done.returncode == 0 or "wrong" in done.stdout, done.stderr
    assert done.stdout.startswith("ok     Python")
    done = subprocess.run(
        [sys.executable, "-m", "minitorch.doctor", "--help"], capture_output=True, text=True, check=True
    )
    assert "python -m minitorch.doctor" in done.stdout
