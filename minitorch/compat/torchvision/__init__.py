"""`import torchvision` in a process started by a program that `python -m minitorch.run` runs (see minitorch/run.py)."""

import sys

from minitorch.run import answer_torch

answer_torch()

import minitorch.vision  # noqa: E402

sys.modules["torchvision"] = minitorch.vision
