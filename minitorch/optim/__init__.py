"""Optimizers and learning-rate schedules, under PyTorch's names."""

from . import lr_scheduler
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .groups import weight_decay_groups
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler", "weight_decay_groups"]

from ..missing import names as _names  # noqa: E402

__getattr__ = _names(__name__)
