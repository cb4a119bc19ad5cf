"""Transforms of images, under torchvision's names: of Pillow images and of tensors (..., C, H, W).

The random ones draw from minitorch's generator what torchvision draws from PyTorch's, in the same order: the same seed
gives the same crops and flips. `RandomChoice` and `RandomOrder` draw from Python's `random`, as torchvision's do.
"""

from __future__ import annotations

import math
import numbers
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import minitorch

from ... import missing, nn
from ...tensor import Tensor
from . import functional
from .functional import PADDING_MODES, InterpolationMode, get_dimensions, interpolation_mode, two_sizes

F = functional

__all__ = [
    "CenterCrop", "ColorJitter", "Compose", "ConvertImageDtype", "FiveCrop", "Grayscale", "InterpolationMode", "Lambda",
    "Normalize", "PILToTensor", "Pad", "RandomApply", "RandomChoice", "RandomCrop", "RandomErasing", "RandomGrayscale",
    "RandomHorizontalFlip", "RandomOrder", "RandomResizedCrop", "RandomRotation", "RandomVerticalFlip", "Resize",
    "TenCrop", "ToPILImage", "ToTensor", "functional",
]  # fmt: skip


__getattr__ = missing.names(__name__)


def _uniform(low: float, high: float) -> float:
    return minitorch.empty(1).uniform_(float(low), float(high)).item()


def _randint(stop: int) -> int:
    return int(minitorch.randint(0, stop, size=(1,)).item())


def _happens(p: float) -> bool:
    return bool(minitorch.rand(1).item() < p)


def _listed(name: str, transforms: Sequence, *first: str) -> str:
    return "\n".join([f"{name}(", *(f"    {line}" for line in first), *(f"    {t}" for t in transforms), ")"])


# --- several transforms ----------------------------------------------------------------------------------------------


class Compose:
    """One after the other."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = transforms

    def __call__(self, img):
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


class Lambda:
    def __init__(self, lambd: Callable):
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img):
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RandomApply(nn.Module):
    """All of them, with probability p, or none."""

    def __init__(self, transforms: Sequence[Callable], p: float = 0.5):
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img):
        if self.p < minitorch.rand(1).item():
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms, f"p={self.p}")


class _OfSeveral:
    def __init__(self, transforms: Sequence[Callable]):
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


class RandomOrder(_OfSeveral):
    def __call__(self, img):
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for i in order:
            img = self.transforms[i](img)
        return img


class RandomChoice(_OfSeveral):
    """One of them; p: their weights."""

    def __init__(self, transforms: Sequence[Callable], p: Sequence[float] | None = None):
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            raise TypeError("Argument p should be a sequence")
        self.p = p

    def __call__(self, *args):
        return random.choices(self.transforms, weights=self.p)[0](*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


# --- between Pillow, arrays and tensors ------------------------------------------------------------------------------


class ToTensor:
    """A Pillow image or array (H, W, C) -> tensor (C, H, W); bytes become floats from 0 to 1."""

    def __call__(self, pic) -> Tensor:
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """A Pillow image -> tensor (C, H, W) of the same numbers."""

    def __call__(self, pic) -> Tensor:
        return F.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToPILImage:
    def __init__(self, mode: str | None = None):
        self.mode = mode

    def __call__(self, pic):
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({f'mode={self.mode}' if self.mode is not None else ''})"


class ConvertImageDtype(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, image):
        return F.convert_image_dtype(image, self.dtype)


class Normalize(nn.Module):
    """y = (x - mean) / std, channel by channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False):
        super().__init__()
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def forward(self, tensor: Tensor) -> Tensor:
        return F.normalize(tensor, self.mean, self.std, self.inplace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std})"


# --- geometry --------------------------------------------------------------------------------------------------------


class Resize(nn.Module):
    """size: (height, width), or the length of the shorter side."""

    def __init__(self, size, interpolation=InterpolationMode.BILINEAR, max_size=None, antialias=True):
        super().__init__()
        if not isinstance(size, (int, Sequence)):
            raise TypeError(f"Size should be int or sequence. Got {type(size)}")
        if isinstance(size, Sequence) and len(size) not in (1, 2):
            raise ValueError("If size is a sequence, it should have 1 or 2 values")
        self.size = size
        self.max_size = max_size
        self.interpolation = interpolation_mode(interpolation)
        self.antialias = antialias

    def forward(self, img):
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, interpolation={self.interpolation.value}, "
            f"max_size={self.max_size}, antialias={self.antialias})"
        )


class CenterCrop(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = two_sizes(size)

    def forward(self, img):
        return F.center_crop(img, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class FiveCrop(CenterCrop):
    """The four corners and the centre: five images."""

    def forward(self, img):
        return F.five_crop(img, self.size)


class TenCrop(nn.Module):
    """Those of `FiveCrop`, and those of the image's reflection."""

    def __init__(self, size, vertical_flip: bool = False):
        super().__init__()
        self.size = two_sizes(size)
        self.vertical_flip = vertical_flip

    def forward(self, img):
        return F.ten_crop(img, self.size, self.vertical_flip)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, vertical_flip={self.vertical_flip})"


class Pad(nn.Module):
    """padding: one number, or (left and right, top and bottom), or (left, top, right, bottom)."""

    def __init__(self, padding, fill=0, padding_mode: str = "constant"):
        super().__init__()
        if not isinstance(padding, (numbers.Number, tuple, list)):
            raise TypeError("Got inappropriate padding arg")
        if not isinstance(fill, (numbers.Number, tuple, list)):
            raise TypeError("Got inappropriate fill arg")
        if padding_mode not in PADDING_MODES:
            raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
        if isinstance(padding, Sequence) and len(padding) not in (1, 2, 4):
            raise ValueError(
                f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(padding)} element tuple"
            )
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def forward(self, img):
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode})"


class RandomCrop(nn.Module):
    """A rectangle of that size from anywhere in the image, which is padded first."""

    def __init__(self, size, padding=None, pad_if_needed: bool = False, fill=0, padding_mode: str = "constant"):
        super().__init__()
        self.size = two_sizes(size)
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img, output_size) -> tuple[int, int, int, int]:
        """top, left, height, width"""
        _, h, w = get_dimensions(img)
        height, width = output_size
        if h < height or w < width:
            raise ValueError(f"Required crop size {(height, width)} is larger than input image size {(h, w)}")
        if (h, w) == (height, width):
            return 0, 0, h, w
        return _randint(h - height + 1), _randint(w - width + 1), height, width

    def forward(self, img):
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        _, h, w = get_dimensions(img)
        if self.pad_if_needed and w < self.size[1]:
            img = F.pad(img, [self.size[1] - w, 0], self.fill, self.padding_mode)
        if self.pad_if_needed and h < self.size[0]:
            img = F.pad(img, [0, self.size[0] - h], self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, padding={self.padding})"


class _WithProbability(nn.Module):
    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = p

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomHorizontalFlip(_WithProbability):
    def forward(self, img):
        return F.hflip(img) if _happens(self.p) else img


class RandomVerticalFlip(_WithProbability):
    def forward(self, img):
        return F.vflip(img) if _happens(self.p) else img


def _range(name: str, value) -> None:
    if not isinstance(value, Sequence):
        raise TypeError(f"{name} should be a sequence")


def _area_and_ratio(area: float, scale, log_ratio) -> tuple[float, float]:
    """A share of the area, and a proportion whose logarithm is uniform."""
    return area * _uniform(*scale), minitorch.exp(minitorch.empty(1).uniform_(*log_ratio)).item()


class RandomResizedCrop(nn.Module):
    """A rectangle of a random share of the area (`scale`) and random proportions (`ratio`), resized to `size`."""

    def __init__(
        self,
        size,
        scale=(0.08, 1.0),
        ratio=(3.0 / 4.0, 4.0 / 3.0),
        interpolation=InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ):
        super().__init__()
        self.size = two_sizes(size)
        _range("Scale", scale)
        _range("Ratio", ratio)
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        self.interpolation = interpolation_mode(interpolation)
        self.antialias = antialias
        self.scale = scale
        self.ratio = ratio

    @staticmethod
    def get_params(img, scale, ratio) -> tuple[int, int, int, int]:
        """top, left, height, width"""
        _, h, w = get_dimensions(img)
        log_ratio = minitorch.log(minitorch.tensor(ratio)).tolist()
        for _ in range(10):
            area, proportion = _area_and_ratio(h * w, scale, log_ratio)
            width, height = round(math.sqrt(area * proportion)), round(math.sqrt(area / proportion))
            if 0 < width <= w and 0 < height <= h:
                return _randint(h - height + 1), _randint(w - width + 1), height, width
        # Ten tries did not fit: as much of the middle as the proportions allow.
        height, width = h, w
        if w / h < min(ratio):
            height = round(w / min(ratio))
        elif w / h > max(ratio):
            width = round(h * max(ratio))
        return (h - height) // 2, (w - width) // 2, height, width

    def forward(self, img):
        place = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, *place, self.size, self.interpolation, antialias=self.antialias)

    def __repr__(self) -> str:
        scale, ratio = (tuple(round(v, 4) for v in values) for values in (self.scale, self.ratio))
        return (
            f"{type(self).__name__}(size={self.size}, scale={scale}, ratio={ratio}, "
            f"interpolation={self.interpolation.value}, antialias={self.antialias})"
        )


class RandomRotation(nn.Module):
    """Turned by an angle from -degrees to degrees, or from degrees[0] to degrees[1]."""

    def __init__(self, degrees, interpolation=InterpolationMode.NEAREST, expand: bool = False, center=None, fill=0):
        super().__init__()
        if isinstance(degrees, numbers.Number):
            if degrees < 0:  # type: ignore[operator]
                raise ValueError("If degrees is a single number, it must be positive.")
            degrees = [-degrees, degrees]  # type: ignore[operator]
        for name, value in (("degrees", degrees), ("center", (0, 0) if center is None else center)):
            if not isinstance(value, Sequence):
                raise TypeError(f"{name} should be a sequence of length 2.")
            if len(value) != 2:
                raise ValueError(f"{name} should be a sequence of length 2.")
        if not isinstance(fill, (Sequence, numbers.Number, type(None))):
            raise TypeError("Fill should be either a sequence or a number.")
        self.degrees = [float(d) for d in degrees]
        self.center = center
        self.interpolation = interpolation_mode(interpolation)
        self.expand = expand
        self.fill = 0 if fill is None else fill

    @staticmethod
    def get_params(degrees) -> float:
        return _uniform(*degrees)

    def forward(self, img):
        fill = self.fill
        if isinstance(img, Tensor) and isinstance(fill, numbers.Number):
            fill = [fill] * get_dimensions(img)[0]
        return F.rotate(img, self.get_params(self.degrees), self.interpolation, self.expand, self.center, fill)

    def __repr__(self) -> str:
        center = f", center={self.center}" if self.center is not None else ""
        return (
            f"{type(self).__name__}(degrees={self.degrees}, interpolation={self.interpolation.value}, "
            f"expand={self.expand}{center}, fill={self.fill})"
        )


class RandomErasing(nn.Module):
    """With probability p a rectangle becomes `value`, or noise ("random"). Of tensors only. arXiv:1708.04896"""

    def __init__(self, p: float = 0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value: Any = 0, inplace: bool = False):
        super().__init__()
        if not isinstance(value, (numbers.Number, str, tuple, list)):
            raise TypeError("Argument value should be either a number or str or a sequence")
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        _range("Scale", scale)
        _range("Ratio", ratio)
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError("Scale should be between 0 and 1")
        if not 0 <= p <= 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    @staticmethod
    def get_params(img, scale, ratio, value=None) -> tuple[int, int, int, int, Tensor]:
        """top, left, height, width, and what to put there"""
        C, H, W = img.shape[-3:]
        log_ratio = minitorch.log(minitorch.tensor(ratio)).tolist()
        for _ in range(10):
            area, proportion = _area_and_ratio(H * W, scale, log_ratio)
            h, w = round(math.sqrt(area * proportion)), round(math.sqrt(area / proportion))
            if h < H and w < W:
                v = minitorch.randn(C, h, w) if value is None else minitorch.tensor(value)[:, None, None]
                return _randint(H - h + 1), _randint(W - w + 1), h, w, v
        return 0, 0, H, W, img

    def forward(self, img):
        if not isinstance(img, Tensor):
            raise TypeError(f"img should be Tensor Image. Got {type(img)}; put RandomErasing behind ToTensor")
        if not _happens(self.p):
            return img
        value = None if self.value == "random" else self.value
        if value is not None:
            value = [float(v) for v in (value if isinstance(value, (tuple, list)) else [value])]
            if len(value) not in (1, img.shape[-3]):
                raise ValueError(
                    "If value is a sequence, it should have either a single value or "
                    f"{img.shape[-3]} (number of input channels)"
                )
        return F.erase(img, *self.get_params(img, self.scale, self.ratio, value), self.inplace)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}, "
            f"inplace={self.inplace})"
        )


# --- colours ---------------------------------------------------------------------------------------------------------


class Grayscale(nn.Module):
    def __init__(self, num_output_channels: int = 1):
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img):
        return F.rgb_to_grayscale(img, num_output_channels=self.num_output_channels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_output_channels={self.num_output_channels})"


class RandomGrayscale(_WithProbability):
    def __init__(self, p: float = 0.1):
        super().__init__(p)

    def forward(self, img):
        channels, _, _ = get_dimensions(img)
        return F.rgb_to_grayscale(img, num_output_channels=channels) if _happens(self.p) else img


class ColorJitter(nn.Module):
    """Each factor uniform in [max(0, 1 - value), 1 + value] or the range given, hue's in [-value, value]; in any order."""

    def __init__(self, brightness=0, contrast=0, saturation=0, hue=0):
        super().__init__()
        self.brightness = self._range(brightness, "brightness")
        self.contrast = self._range(contrast, "contrast")
        self.saturation = self._range(saturation, "saturation")
        self.hue = self._range(hue, "hue", 0, (-0.5, 0.5))

    @staticmethod
    def _range(value, name: str, center: int = 1, bound=(0, float("inf"))) -> tuple[float, float] | None:
        if isinstance(value, numbers.Number):
            if value < 0:  # type: ignore[operator]
                raise ValueError(f"If {name} is a single number, it must be non negative.")
            low = center - float(value)  # type: ignore[arg-type]
            value = (max(low, 0.0) if center else low, center + float(value))  # type: ignore[arg-type]
        elif isinstance(value, (tuple, list)) and len(value) == 2:
            value = (float(value[0]), float(value[1]))
        else:
            raise TypeError(f"{name} should be a single number or a list/tuple with length 2.")
        if not bound[0] <= value[0] <= value[1] <= bound[1]:
            raise ValueError(f"{name} values should be between {bound}, but got {value}.")
        return None if value[0] == value[1] == center else value

    @staticmethod
    def get_params(brightness, contrast, saturation, hue) -> tuple:
        """The order, and the four factors, None for those that are left alone."""
        order = minitorch.randperm(4)
        return order, *(None if r is None else _uniform(*r) for r in (brightness, contrast, saturation, hue))

    def forward(self, img):
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for i in order.tolist():
            if factors[i] is not None:
                img = adjust[i](img, factors[i])
        return img

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue})"
        )
