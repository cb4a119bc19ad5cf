"""CUDA kernels on a machine without a GPU.

`emulated` is the guard (tests/guard.py) with what minitorch's kernels need of CuPy beside arrays: `RawModule` compiles the
same CUDA source as C++ (cuda_on_cpu.h) and runs it on NumPy's memory. `with device():` gives the device "guard" this
namespace, and the fast paths for CuPy.

`compile_for` compiles a source with NVRTC for a GPU that need not be there.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests import guard as _guard
from tests.emulator import cublas
from tests.guard import GuardArray, Namespace

HEADER = Path(__file__).parent / "cuda_on_cpu.h"
COMPILER = shutil.which("g++") or shutil.which("clang++")
CACHE = Path(tempfile.gettempdir()) / f"minitorch-emulator-{os.getuid()}"
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')


def kernels_of(source: str) -> dict[str, list[str]]:
    """The kernels of a source, each with the C types of its parameters."""
    if "##" in source and COMPILER:  # a macro makes kernels: they are there after the preprocessor
        command = [COMPILER, "-E", "-P", "-w", "-xc++", "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    found = {}
    for name, parameters in _KERNEL.findall(source):
        types = [re.sub(r"\b__restrict__\b|\w+\s*$", "", p.strip()).strip() for p in parameters.split(",") if p.strip()]
        found[name] = [re.sub(r"\b__restrict__\b", "", t).strip() for t in types]
    return found


def _translate(source: str) -> str:
    """The source as C++, with an entry for each kernel that takes its arguments by address."""
    entries = []
    for name, types in kernels_of(source).items():
        given = ", ".join(f"*({t}*)a[{i}]" for i, t in enumerate(types))
        entries.append(
            f"static void emulated_{name}(void** a) {{ {name}({given}); }}\n"
            f'extern "C" const char* run_{name}(void** a, const unsigned* grid, const unsigned* block, size_t shared, '
            f"int descending) {{ return emulated::run(emulated_{name}, a, grid, block, shared, descending); }}"
        )
    return "\n".join([f'#include "{HEADER}"', "#line 1", source, *entries])


def build(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The source as a shared library, from the cache if it has been compiled before."""
    if COMPILER is None:
        raise RuntimeError("the emulator needs a C++ compiler: g++ or clang++")
    flags = ["-O1", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=fast", "-w", *(o for o in options if o[:2] == "-D")]
    text = _translate(source)
    key = hashlib.sha256("\0".join([text, HEADER.read_text(), *flags]).encode()).hexdigest()[:24]
    library = CACHE / f"{key}.so"
    if not library.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as room:
            path = Path(room) / "kernel.cpp"
            path.write_text(text)
            done = subprocess.run([COMPILER, *flags, str(path), "-o", f"{room}/kernel.so"], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"the emulator's compiler refused a kernel:\n{done.stderr[:4000]}")
            os.replace(f"{room}/kernel.so", library)
    return ctypes.CDLL(str(library))


_BYTES = {"float": 4, "int": 4, "unsigned": 4, "u32": 4, "bool": 1, "half_t": 2, "bfloat_t": 2}


class RawModule:
    """cupy.RawModule, as far as launch.py uses it."""

    descending = False  # the order in which threads take turns
    launched: list[tuple[str, tuple, tuple]] = []  # (kernel, grid, block), for tests

    def __init__(self, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc"):
        self.kernels, self.library = kernels_of(code), build(code, options)

    def get_function(self, name: str) -> Any:
        types = self.kernels[name]
        run = getattr(self.library, f"run_{name}")
        run.restype = ctypes.c_char_p

        def launch(grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
            if len(args) != len(types):
                raise TypeError(f"{name} takes {len(types)} arguments ({', '.join(types)}), got {len(args)}")
            if any(not isinstance(g, (int, np.integer)) or g < 1 for g in (*grid, *block)):
                raise ValueError(f"{name}: grid {grid} and block {block} have to be of positive integers")
            if grid[0] > 2**31 - 1 or max((*grid[1:], 1)) > 65535:
                raise ValueError(f"{name}: grid {grid} is larger than a GPU takes")
            values = [_as_c(name, i, value, types[i]) for i, value in enumerate(args)]
            pointers = (ctypes.c_void_p * max(len(values), 1))(*(ctypes.addressof(v) for v in values))
            sizes = [(ctypes.c_uint * 3)(*(*size, 1, 1)[:3]) for size in (grid, block)]
            RawModule.launched.append((name, tuple(grid), tuple(block)))
            error = run(pointers, *sizes, ctypes.c_size_t(shared_mem), int(RawModule.descending))
            if error:
                raise RuntimeError(f"{name}, grid {grid}, block {block}: {error.decode()}")

        return SimpleFunction(launch)


class SimpleFunction:
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, launch: Any):
        self._launch = launch

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError(f"{shared_mem} bytes of shared memory have to be asked for: max_dynamic_shared_size_bytes")
        self._launch(grid, block, args, shared_mem=shared_mem)


def _as_c(kernel: str, i: int, value: Any, kind: str) -> Any:
    """An argument as C data; its size is compared with the parameter's, which CuPy does not do."""
    if kind.endswith("*"):
        if value is None:
            return ctypes.c_void_p(0)
        if not isinstance(value, GuardArray):
            raise TypeError(f"{kernel}: parameter {i} is {kind}, got {type(value).__name__}")
        return ctypes.c_void_p(value._hidden.__array_interface__["data"][0])
    if isinstance(value, np.ndarray) and value.dtype.names and value.size == 1:  # a struct, which CuPy passes by value
        return (ctypes.c_char * value.nbytes).from_buffer_copy(value.tobytes())
    if not isinstance(value, np.generic):
        raise TypeError(f"{kernel}: parameter {i} is {kind}, got {type(value).__name__}; NumPy's scalars say their size")
    wanted = _BYTES.get(kind, 8)
    floating = kind in ("float", "double")
    if value.nbytes != wanted or (value.dtype.kind == "f") != floating:
        raise TypeError(f"{kernel}: parameter {i} is {kind}, got {value.dtype}")
    return (ctypes.c_char * value.nbytes).from_buffer_copy(value.tobytes())


class _Emulated(Namespace):
    """The guard with CuPy's `RawModule`."""

    __name__ = "emulated"
    RawModule = RawModule
    cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDevice=lambda: 0, getDeviceCount=lambda: 1, **cublas.RUNTIME),
        cublas=cublas,
        device=SimpleNamespace(get_cublas_handle=cublas.get_cublas_handle),
        get_current_stream=lambda: SimpleNamespace(ptr=0, synchronize=lambda: None),
        using_allocator=lambda allocator: nullcontext(),
    )

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(malloc=None)


emulated = _Emulated()


@contextmanager
def device() -> Any:
    """Inside this block the device "guard" runs the CUDA kernels."""
    import minitorch.kernels.cuda  # noqa: F401  (registers them)
    from minitorch.backend import fastpath, register_namespace

    fastpath._all[emulated] = fastpath._PATHS["cupy"]
    register_namespace("guard", emulated, GuardArray)
    try:
        yield "guard"
    finally:
        register_namespace("guard", _guard.guard, GuardArray)


def compile_for(file: str, architecture: str, **macros: Any) -> dict[str, int]:
    """Compiles a file of kernels/cuda with NVRTC for an architecture ("sm_90"): its kernels and the registers that each needs.

    nvidia-cuda-nvrtc and cuda-bindings have to be installed; a GPU is not needed.
    """
    os.environ["CUDA_CACHE_DISABLE"] = "1"  # what comes from NVRTC's cache comes without the assembler's report
    from cuda.bindings import nvrtc

    from minitorch.kernels.cuda import launch

    def done(result: tuple) -> Any:
        if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise RuntimeError(f"NVRTC: {result[0].name}")
        return result[1] if len(result) == 2 else result[1:]

    given = ("-ftz=true", "--device-as-default-execution-space")  # what CuPy adds to every compilation
    source = launch.read(file)
    program = done(nvrtc.nvrtcCreateProgram(source.encode(), file.encode(), 0, [], []))
    options = [*launch.OPTIONS, *given, f"--gpu-architecture={architecture}", "--ptxas-options=-v", *launch.define(macros)]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    log = b" " * done(nvrtc.nvrtcGetProgramLogSize(program))
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(program)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"{file} for {architecture} with {macros}:\n{log.decode()}")
    found = re.findall(r"Compiling entry function '(\w+)'.*?Used (\d+) registers", log.decode(), re.DOTALL)
    return {name: int(registers) for name, registers in found}
