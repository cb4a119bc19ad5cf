"""NVIDIA's cuDNN: not used, convolutions on a GPU are products of matrices. Its flags are kept and read back.

What `deterministic` and `benchmark` are for holds anyhow: the same algorithm runs every time.
"""

from typing import Any

from .flags import make, set_for_a_while


def is_available() -> bool:
    """False: cuDNN is not used."""
    return False


def version() -> None:
    """None: cuDNN is not used."""


def is_acceptable(tensor: Any) -> bool:
    """False: cuDNN is not used."""
    return False


_module = make(
    __name__,
    {
        "enabled": True, "benchmark": False, "benchmark_limit": 10, "deterministic": False, "allow_tf32": True,
        "fp32_precision": "none",
    },
)  # fmt: skip


def flags(
    enabled: Any = None, benchmark: Any = None, benchmark_limit: Any = None, deterministic: Any = None,
    allow_tf32: Any = None, fp32_precision: Any = None,
) -> Any:  # fmt: skip
    """Inside `with`, the flags have these values."""
    return set_for_a_while(
        _module, enabled=enabled, benchmark=benchmark, benchmark_limit=benchmark_limit, deterministic=deterministic,
        allow_tf32=allow_tf32, fp32_precision=fp32_precision,
    )  # fmt: skip
