"""Pictures of batches."""

from __future__ import annotations

import math
from typing import Any

import minitorch

from ..tensor import Tensor
from ._pillow import pillow


def make_grid(
    tensor: Tensor | list[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Images (B, C, H, W), or a list of (C, H, W), side by side in rows of `nrow`: one image (C, rows, columns).

    normalize: `value_range`, or from the least to the greatest number, becomes 0 to 1; with scale_each image by image.
    """
    if isinstance(tensor, list) and all(isinstance(t, Tensor) for t in tensor):
        tensor = minitorch.stack(tensor)
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor).__name__}")
    if value_range is not None and not isinstance(value_range, tuple):
        raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
    with minitorch.no_grad():
        x = tensor.reshape(*(1,) * (4 - tensor.ndim), *tensor.shape) if tensor.ndim < 4 else tensor
        B, C, H, W = x.shape
        if C == 1:
            x, C = x.expand(-1, 3, -1, -1), 3
        if normalize:
            axes = (1, 2, 3) if scale_each else (0, 1, 2, 3)
            low = x.amin(axes, keepdim=True) if value_range is None else value_range[0]
            high = x.amax(axes, keepdim=True) if value_range is None else value_range[1]
            spread = high - low
            x = (x.clamp(low, high) - low) / (
                spread.clamp(min=1e-5) if isinstance(spread, Tensor) else max(spread, 1e-5)
            )
        if B == 1:
            return x.squeeze(0)
        columns = min(nrow, B)
        height, width = H + padding, W + padding
        grid = x.new_full((C, height * math.ceil(B / columns) + padding, width * columns + padding), pad_value)
        for k in range(B):
            top, left = k // columns * height + padding, k % columns * width + padding
            grid[:, top : top + H, left : left + W] = x[k]
        return grid


def save_image(tensor: Tensor | list[Tensor], fp: Any, format: str | None = None, **kwargs) -> None:
    """Writes the image, or `make_grid`'s of several, to a file; numbers from 0 to 1. The name's ending says how."""
    Image = pillow("save_image()")
    grid = make_grid(tensor, **kwargs)
    array = (grid.mul(255) + 0.5).clamp(0, 255).permute(1, 2, 0).to("cpu", minitorch.uint8).contiguous().numpy()
    Image.fromarray(array).save(fp, format=format)
