"""Fast paths for NumPy arrays: loops compiled by numba, the optional extra `fast`. Importing this registers them.

They are compiled here, all of them, before the first one is chosen, and kept on disk; so no result depends on when.
"""

import sys
import threading
import time

import numba  # noqa: F401  (its own start takes a while; the message below is about compiling)

_done = threading.Event()


def _tell_if_slow(start: float = time.process_time()) -> None:
    """Says so when more than a second is spent; of the processor, so that a busy machine is no reason."""
    while not _done.wait(0.25):
        if time.process_time() - start > 1:
            print("minitorch: compiling the CPU kernels, once for this machine ...", file=sys.stderr, flush=True)
            return


threading.Thread(target=_tell_if_slow, daemon=True).start()
try:
    from . import (
        adam,
        attention,
        batchnorm,
        clip,
        conv,
        cross_entropy,
        dropout,
        gelu,
        layernorm,
        matmul,
        maxpool,
        random,
        recurrent,
        relu,
        scatter,
        sgd,
        softmax,
    )
finally:
    _done.set()

__all__ = [
    "adam",
    "attention",
    "batchnorm",
    "clip",
    "conv",
    "cross_entropy",
    "dropout",
    "gelu",
    "layernorm",
    "matmul",
    "maxpool",
    "random",
    "recurrent",
    "relu",
    "scatter",
    "sgd",
    "softmax",
]
