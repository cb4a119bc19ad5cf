"""`import torch` in a process started by a program that `python -m minitorch.run` runs (see minitorch/run.py)."""

from minitorch.run import answer_torch

answer_torch()
