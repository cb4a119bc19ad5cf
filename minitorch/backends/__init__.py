"""PyTorch's torch.backends: switches of libraries that minitorch does not use. They are accepted, and read back what was
set, so that programs which set them run; what is not here is an error."""

from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
