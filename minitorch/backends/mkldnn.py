"""Intel's oneDNN: not used. Its flags are kept and read back."""

from typing import Any

from .flags import make, set_for_a_while


def is_available() -> bool:
    """False: convolutions and products are NumPy's."""
    return False


_module = make(__name__, {"enabled": True, "deterministic": False, "allow_tf32": True, "fp32_precision": "none"})


def flags(enabled: Any = None, deterministic: Any = None, allow_tf32: Any = None, fp32_precision: Any = None) -> Any:
    """Inside `with`, the flags have these values."""
    return set_for_a_while(
        _module, enabled=enabled, deterministic=deterministic, allow_tf32=allow_tf32, fp32_precision=fp32_precision
    )
