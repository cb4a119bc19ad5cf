"""Images under torchvision's names: `datasets`, `models`, `transforms` and `utils`. Images as such come from Pillow, an extra."""

from .. import missing
from . import datasets, transforms, utils

__getattr__ = missing.names(__name__, lazy=("models",))
