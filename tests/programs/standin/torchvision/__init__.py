"""The little of torchvision that the programs beside it use, so that they run under PyTorch where it is not installed.

A second implementation, in plain PyTorch and Pillow, that shares nothing with minitorch.vision: when the programs print
the same losses under both, the two agree on every crop and every pixel.
"""

from . import datasets, transforms
