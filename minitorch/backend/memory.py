"""A GPU's memory: CuPy's pool keeps what was freed for the next array; where no more is to be had, an error says what is."""

from __future__ import annotations

from typing import Any


class OutOfMemoryError(RuntimeError, MemoryError):
    """A GPU has not the memory that a tensor needs. `cuda.OutOfMemoryError`; a RuntimeError, as PyTorch's."""


def install(cupy: Any) -> None:
    """From here on an allocation that fails raises `OutOfMemoryError`. An allocator that somebody has chosen stays."""
    pool = cupy.get_default_memory_pool()
    if cupy.cuda.get_allocator() != pool.malloc:
        return

    def malloc(size: int) -> Any:
        try:
            return pool.malloc(size)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfMemoryError(_explain(cupy, pool, size)) from error

    cupy.cuda.set_allocator(malloc)


def _explain(cupy: Any, pool: Any, size: int) -> str:
    index = cupy.cuda.runtime.getDevice()
    free, total = cupy.cuda.Device(index).mem_info
    used, reserved = pool.used_bytes(), pool.total_bytes()
    limit = pool.get_limit()
    of = f"{in_words(total)} in all, {in_words(free)} free" + (f", a limit of {in_words(limit)}" if limit else "")
    return (
        f"CUDA out of memory: tried to allocate {in_words(size)} on GPU {index} ({of}); this process's tensors take "
        f"{in_words(used)}, and {in_words(reserved - used)} are reserved for new ones, in pieces that are too small. A smaller "
        "batch with gradient accumulation, `cuda.amp.autocast`, `utils.checkpoint`, evaluation under `no_grad()` and letting "
        "go of old results (`del loss`) take less; `cuda.empty_cache()` gives what is reserved back to the GPU"
    )


def in_words(size: int) -> str:
    """A number of bytes: 512 bytes, 20.00 MiB, 1.50 GiB."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << power:
            return f"{size / (1 << power):.2f} {unit}"
    return f"{size} bytes"
