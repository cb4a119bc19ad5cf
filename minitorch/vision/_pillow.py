"""Pillow, imported when the first image is made: the data sets' tensors and the transforms of tensors need none."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def pillow(purpose: str) -> ModuleType:
    """The module PIL.Image."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"{purpose} needs Pillow: pip install 'minitorch[vision]'") from None
    return Image


def is_image(thing: Any) -> bool:
    module = sys.modules.get("PIL.Image")  # no image can exist before it is imported
    return module is not None and isinstance(thing, module.Image)
