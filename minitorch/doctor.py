"""What minitorch finds on this machine, and what to install where something is missing.

    python -m minitorch.doctor

Each line is ok, or "none" (not there, and not needed), or "wrong", with what to do. The exit status is 0 if everything that is
installed works, 1 otherwise; a machine without a GPU is in order.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

from .backend.devices import last_line
from .backend.memory import in_words

CUDA12, CUDA13 = 'pip install "minitorch[cuda12]"', 'pip install "minitorch[cuda13]"'
DRIVER = "/proc/driver/nvidia/version"  # where NVIDIA's driver says that it is loaded

KERNEL = r"""
extern "C" __global__ void doctor(float* x) { x[threadIdx.x] = 2.f * threadIdx.x; }
"""


class Report:
    """The lines as they are found; `wrong` counts those that have to be looked after."""

    def __init__(self) -> None:
        self.wrong = 0

    def line(self, state: str, what: str, found: str, advice: str = "") -> None:
        print(f"{state:5}  {what:10}  {found}" + (f"\n{'':19}{advice}" if advice else ""))
        self.wrong += state == "wrong"

    def ok(self, what: str, found: str) -> None:
        self.line("ok", what, found)

    def none(self, what: str, found: str, advice: str = "") -> None:
        self.line("none", what, found, advice)

    def bad(self, what: str, found: str, advice: str) -> None:
        self.line("wrong", what, found, advice)


def version_of(number: int) -> str:
    """CUDA's way to write a version: 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def look_at_the_cpu(report: Report) -> None:
    """Python, NumPy, and what the compiled kernels need."""
    report.ok("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    report.ok("minitorch", import_module("minitorch").__version__)
    report.ok("NumPy", import_module("numpy").__version__)
    try:
        numba = import_module("numba")
    except ImportError as error:
        report.none(
            "numba", f"not installed ({last_line(error)})", 'faster on the CPU with it: pip install "minitorch[fast]"'
        )
        return
    from .backend.settings import get_num_threads

    report.ok("numba", f"{numba.__version__}, {get_num_threads()} threads")


def cupy_packages() -> list[str]:
    """The installed packages that bring the module `cupy`: "cupy-cuda13x 14.2.0"."""
    found = {}
    for package in metadata.distributions():
        name = (package.metadata["Name"] or "").lower()
        if re.fullmatch(r"cupy(-cuda\w+|-rocm[\w-]+)?", name):
            found[name] = package.version
    return [f"{name} {version}" for name, version in sorted(found.items())]


def look_at_the_gpu(report: Report) -> None:
    """CuPy, the driver, the GPUs, and whether kernels can be compiled and run."""
    packages = cupy_packages()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two packages: said below
            cupy = import_module("cupy")
    except ImportError as error:
        if packages:
            report.bad("CuPy", f"{', '.join(packages)} cannot be imported: {last_line(error)}", again(packages))
        elif os.path.exists(DRIVER):
            advice = f"to use the GPU: {CUDA13}, or for a driver of CUDA 12 {CUDA12}"
            report.none("CuPy", "not installed, though there is an NVIDIA driver", advice)
        else:
            report.none("CuPy", f"not installed; without a GPU it is not needed (with one: {CUDA13})")
        return
    if len(packages) > 1:
        report.bad("CuPy", f"several packages write to the same folder: {', '.join(packages)}", again(packages))
    else:
        report.ok("CuPy", packages[0] if packages else cupy.__version__)
    if not look_at_the_driver(report, cupy):
        return
    works = True
    for what, run, advice in TRIALS:
        try:
            run(cupy)
        except Exception as error:
            report.bad(what, f"{type(error).__name__}: {last_line(error)}", advice.format(toolkit=toolkit(packages)))
            works = False
        else:
            report.ok(what, "works")
    if works and len(packages) < 2:
        print('\nminitorch can compute on the GPU: device="cuda"')


def again(packages: list[str]) -> str:
    names = " ".join(p.split()[0] for p in packages)
    return f"pip uninstall {names}; then {CUDA13}, or for a driver of CUDA 12 {CUDA12}"


def toolkit(packages: list[str]) -> str:
    """The command that installs CUDA's libraries and headers for the CuPy that is there."""
    name = packages[0].split()[0] if packages else "cupy-cuda13x"
    return f'pip install "{name}[ctk]"'


def look_at_the_driver(report: Report, cupy: Any) -> bool:
    """Whether there is a GPU."""
    runtime = cupy.cuda.runtime
    needs, has = int(runtime.runtimeGetVersion()), 0
    try:
        has = int(runtime.driverGetVersion())
        count = int(runtime.getDeviceCount())
    except RuntimeError as error:  # CUDARuntimeError
        if not has and not os.path.exists(DRIVER):
            report.none("driver", "no NVIDIA driver, so no GPU: everything runs on the CPU")
        elif has // 1000 < needs // 1000:
            found = f"for CUDA {version_of(has)}, CuPy for CUDA {version_of(needs)}: {last_line(error)}"
            fitting = f"the CuPy that fits: {CUDA12}, or " if has // 1000 == 12 else ""
            report.bad("driver", found, f"{fitting}a newer driver: https://www.nvidia.com/drivers")
        else:
            advice = "does `nvidia-smi` see the GPU? In a container it has to be passed on: docker run --gpus all"
            report.bad("driver", f"for CUDA {version_of(has)}: {last_line(error)}", advice)
        return False
    report.ok("driver", f"for CUDA {version_of(has)}")
    report.ok("runtime", f"CUDA {version_of(needs)}")
    if not count:
        report.none("GPU", "the driver sees none; is CUDA_VISIBLE_DEVICES empty?")
        return False
    for i in range(count):
        found = runtime.getDeviceProperties(i)
        name = found["name"].decode()
        free, total = cupy.cuda.Device(i).mem_info
        capability = f"compute capability {found['major']}.{found['minor']}"
        report.ok(f"cuda:{i}", f"{name}, {in_words(total)}, of which {in_words(free)} free, {capability}")
    return True


def _numbers(cupy: Any, array: Any, expected: list) -> None:
    numbers = cupy.asnumpy(array).tolist()
    if numbers != expected:
        raise RuntimeError(f"computed {numbers}, expected {expected}")


def _compiled(cupy: Any) -> None:
    kernel = cupy.RawModule(code=KERNEL, options=("--std=c++17",), backend="nvrtc").get_function("doctor")
    x = cupy.zeros(3, dtype="float32")
    kernel((1,), (3,), (x,))
    _numbers(cupy, x, [0.0, 2.0, 4.0])


def _elementwise(cupy: Any) -> None:
    _numbers(cupy, cupy.arange(3, dtype="float32") * 2, [0.0, 2.0, 4.0])


def _product(cupy: Any) -> None:
    x = cupy.ones((2, 2), dtype="float32")
    _numbers(cupy, cupy.matmul(x, x), [[2.0, 2.0], [2.0, 2.0]])


TRIALS: tuple[tuple[str, Callable[[Any], None], str], ...] = (
    ("NVRTC", _compiled, "CUDA's compiler for kernels: {toolkit}"),
    ("headers", _elementwise, "CuPy's own kernels include CUDA's headers (cuda_fp16.h, vector_types.h ...): {toolkit}"),
    ("cuBLAS", _product, "CUDA's matrix products: {toolkit}"),
)


def main(arguments: list[str] | None = None) -> int:
    """Prints the report; 0 if everything that is installed works."""
    parser = argparse.ArgumentParser(prog="python -m minitorch.doctor", description=__doc__.split("\n")[0])
    parser.parse_args(arguments)
    report = Report()
    look_at_the_cpu(report)
    look_at_the_gpu(report)
    return int(report.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
