"""Fast paths for NumPy arrays: loops compiled by numba, the optional extra `fast`. Importing this registers them.

They are compiled here, all of them, before the first one is chosen, and kept on disk; so no result depends on when.
"""

import sys
import threading

import numba  # noqa: F401  (its own start takes a while; the message below is about compiling)

_patience = threading.Timer(
    1.0, lambda: print("minitorch: compiling the CPU kernels, once for this machine ...", file=sys.stderr, flush=True)
)
_patience.daemon = True
_patience.start()
try:
    from . import gelu, layernorm, softmax
finally:
    _patience.cancel()

__all__ = ["gelu", "layernorm", "softmax"]
