"""Fast paths for CuPy arrays: CUDA kernels, compiled on first use. Importing this registers them; nothing is compiled."""

from . import softmax

__all__ = ["softmax"]
