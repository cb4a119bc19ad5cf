"""Everything that knows which array library is in use: devices, dtypes, random streams, the fast-path switch."""

from .allocator import keep_freed_memory
from .devices import CPU, device, device_of, namespace_for, namespace_of, register_namespace, to_device, to_numpy
from .dtypes import dtype, get_default_dtype, promote_types, set_default_dtype
from .fastpath import fast_path, reference_ops

__all__ = [
    "CPU",
    "device",
    "device_of",
    "dtype",
    "fast_path",
    "get_default_dtype",
    "namespace_for",
    "namespace_of",
    "promote_types",
    "reference_ops",
    "register_namespace",
    "set_default_dtype",
    "to_device",
    "to_numpy",
]

keep_freed_memory()
