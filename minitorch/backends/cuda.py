"""Switches of CUDA's libraries. `matmul.allow_tf32` is another name for `set_float32_matmul_precision`. The others are kept and
read back, like the choice among attention kernels, of which there is one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..backend import settings
from .flags import Flags, make


def is_built() -> bool:
    """Whether CuPy is installed, so that a CUDA device can be used where there is one."""
    return importlib.util.find_spec("cupy") is not None


class _Products(Flags):
    def _get(self, name: str) -> Any:
        return settings.matmul_precision != "highest" if name == "allow_tf32" else super()._get(name)

    def _set(self, name: str, value: Any) -> None:
        if name == "allow_tf32":
            settings.set_float32_matmul_precision("high" if value else "highest")
        else:
            super()._set(name, value)


matmul = make(
    __name__ + ".matmul",
    {
        "allow_tf32": False, "allow_fp16_reduced_precision_reduction": True,
        "allow_bf16_reduced_precision_reduction": True, "allow_fp16_accumulation": False, "fp32_precision": "none",
    },
    _Products,
)  # fmt: skip

_attention = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


def _kernel(name: str) -> tuple:
    def enable(enabled: bool) -> None:
        if not isinstance(enabled, bool):
            raise TypeError(f"enable_{name}_sdp() expects a bool, but got {type(enabled).__name__}")
        _attention[name] = enabled

    def enabled() -> bool:
        return _attention[name]

    enable.__doc__ = f"Kept, and read back by `{name}_sdp_enabled()`: there is one kernel for attention."
    enabled.__doc__ = f"What `enable_{name}_sdp` was told."
    return enable, enabled


enable_flash_sdp, flash_sdp_enabled = _kernel("flash")
enable_mem_efficient_sdp, mem_efficient_sdp_enabled = _kernel("mem_efficient")
enable_math_sdp, math_sdp_enabled = _kernel("math")
enable_cudnn_sdp, cudnn_sdp_enabled = _kernel("cudnn")


def is_flash_attention_available() -> bool:
    """False: there is one kernel for attention."""
    return False


@contextmanager
def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> Iterator[None]:
    """Inside, attention kernels are enabled and disabled: kept and read back."""
    before = dict(_attention)
    _attention.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield
    finally:
        _attention.update(before)
