"""The transforms as functions of an image: a Pillow image or a tensor (..., C, H, W), as torchvision's are.

Pillow computes what is done to its images, so that the bytes are torchvision's; on tensors it is minitorch's own ops,
and gradients go through wherever numbers do.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

import minitorch

from ...nn import functional as F
from ...tensor import Tensor
from .._pillow import is_image, pillow

MAXIMUM = {"uint8": 255, "int8": 2**7 - 1, "int16": 2**15 - 1, "int32": 2**31 - 1, "int64": 2**63 - 1}
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


class InterpolationMode(Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


# Pillow's own numbers for them, which are accepted instead.
PILLOW_NUMBER = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
BY_NUMBER = {number: InterpolationMode(name) for name, number in PILLOW_NUMBER.items() if name != "nearest-exact"}


def interpolation_mode(mode: InterpolationMode | int) -> InterpolationMode:
    if isinstance(mode, InterpolationMode):
        return mode
    if mode in BY_NUMBER:
        return BY_NUMBER[mode]
    raise TypeError(
        f"Argument interpolation should be a InterpolationMode or a corresponding Pillow integer constant, got {mode!r}"
    )


def _check(img: Any, name: str) -> None:
    """An error that says what `name` takes, unless img is an image."""
    if isinstance(img, Tensor):
        if img.ndim < 2:
            raise TypeError(f"{name}: a tensor image has at least two dimensions (H, W), got {list(img.shape)}")
    elif not is_image(img):
        raise TypeError(
            f"{name}: img should be a PIL Image or a tensor (..., C, H, W), got {type(img).__name__}; "
            "ToTensor() or ToPILImage() makes one of an array"
        )


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width]"""
    _check(img, "get_dimensions()")
    if isinstance(img, Tensor):
        return [1 if img.ndim == 2 else img.shape[-3], *img.shape[-2:]]
    return [len(img.getbands()), img.height, img.width]


def get_image_size(img: Any) -> list[int]:
    """[width, height]"""
    return get_dimensions(img)[:0:-1]


def get_image_num_channels(img: Any) -> int:
    return get_dimensions(img)[0]


# --- between Pillow, arrays and tensors ------------------------------------------------------------------------------


def to_tensor(pic: Any) -> Tensor:
    """A Pillow image or array (H, W, C) -> tensor (C, H, W); bytes become floats from 0 to 1."""
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        x = minitorch.from_numpy(np.ascontiguousarray(np.atleast_3d(pic).transpose(2, 0, 1)))
    elif is_image(pic):
        x = pil_to_tensor(pic)
        if pic.mode == "1":
            x = x.to(minitorch.uint8) * 255
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    return x.to(minitorch.get_default_dtype()).div(255) if x.dtype is minitorch.uint8 else x


def pil_to_tensor(pic: Any) -> Tensor:
    """A Pillow image -> tensor (C, H, W) of the same numbers."""
    if not is_image(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    array = np.array(pic, np.int16) if pic.mode.startswith("I;16") else np.array(pic)
    return minitorch.from_numpy(np.ascontiguousarray(np.atleast_3d(array).transpose(2, 0, 1)))


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (C, H, W) or array (H, W, C) -> Pillow image; floats are taken to be from 0 to 1."""
    Image = pillow("to_pil_image()")
    if isinstance(pic, Tensor):
        array = pic.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(pic, np.ndarray):
        array = pic
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    if array.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.")
    array = np.atleast_3d(array)
    channels = array.shape[2]
    if not 1 <= channels <= 4:
        raise ValueError(f"pic should not have > 4 channels. Got {channels} channels.")
    if array.dtype.kind == "f" and mode != "F":
        array = (array * 255).astype(np.uint8)
    if channels == 1:
        array = array[:, :, 0]
        by_type = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}
        modes = [by_type[array.dtype.name]] if array.dtype.name in by_type else []
    else:
        modes = {2: ["LA"], 3: ["RGB", "YCbCr", "HSV"], 4: ["RGBA", "CMYK", "RGBX"]}[channels]
        modes = modes if array.dtype == np.uint8 else []
    if not modes:
        raise TypeError(f"Input type {array.dtype} is not supported for {channels} channels")
    if mode is not None and mode not in modes:
        raise ValueError(f"mode {mode!r} does not fit {channels} channels of {array.dtype}; use one of {modes}")
    mode, array = mode or modes[0], np.ascontiguousarray(array)
    raw = {"I": "I;32NS", "I;16": "I;16NS" if hasattr(Image, "I;16NS") else "I;16", "F": "F;32NF"}.get(mode, mode)
    return Image.frombytes(mode, (array.shape[1], array.shape[0]), array.tobytes(), "raw", raw)


def convert_image_dtype(image: Tensor, dtype: Any = minitorch.float32) -> Tensor:
    """Between floats from 0 to 1 and integers from 0 to the dtype's maximum."""
    if not isinstance(image, Tensor):
        raise TypeError(f"convert_image_dtype(): expected a tensor, got {type(image).__name__}")
    if image.dtype is dtype or (image.dtype.is_floating_point and dtype.is_floating_point):
        return image.to(dtype)
    if dtype.is_floating_point:
        return image.to(dtype) / MAXIMUM[image.dtype.numpy.name]
    high = MAXIMUM[dtype.numpy.name]
    if image.dtype.is_floating_point:
        if high > 2 ** (image.array.dtype.itemsize * 8 - 2):
            raise RuntimeError(f"The cast from {image.dtype} to {dtype} cannot be performed safely.")
        return image.mul(high + 1.0 - 1e-3).to(dtype)  # each integer gets an equal share of [0, 1]
    low = MAXIMUM[image.dtype.numpy.name]
    if low > high:
        return minitorch.div(image, (low + 1) // (high + 1), rounding_mode="floor").to(dtype)
    return image.to(dtype) * ((high + 1) // (low + 1))


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """y = (x - mean) / std, channel by channel."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ValueError(
            f"Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = {tuple(tensor.shape)}"
        )
    m, d = (minitorch.as_tensor(v, dtype=tensor.dtype, device=tensor.device) for v in (mean, std))
    if any(v.ndim == 1 and len(v) not in (1, tensor.shape[-3]) for v in (m, d)):
        raise RuntimeError(
            f"normalize(): {len(m)} means and {len(d)} deviations do not fit the {tensor.shape[-3]} channels of "
            f"{list(tensor.shape)}"
        )
    if (d == 0).any():
        raise ValueError(f"normalize(): std evaluated to zero after conversion to {tensor.dtype}: division by zero")
    m, d = (v.view(-1, 1, 1) if v.ndim == 1 else v for v in (m, d))
    return tensor.sub_(m).div_(d) if inplace else (tensor - m) / d


# --- geometry --------------------------------------------------------------------------------------------------------


def hflip(img: Any) -> Any:
    _check(img, "hflip()")
    return img.flip(-1) if isinstance(img, Tensor) else img.transpose(pillow("hflip()").Transpose.FLIP_LEFT_RIGHT)


def vflip(img: Any) -> Any:
    _check(img, "vflip()")
    return img.flip(-2) if isinstance(img, Tensor) else img.transpose(pillow("vflip()").Transpose.FLIP_TOP_BOTTOM)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """The rectangle; what of it lies outside is 0."""
    _check(img, "crop()")
    bottom, right = top + height, left + width
    if not isinstance(img, Tensor):
        return img.crop((left, top, right, bottom))
    _, h, w = get_dimensions(img)
    cut = img[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    outside = [max(min(0, right) - left, 0), max(min(0, bottom) - top, 0)]
    outside += [max(right - max(w, left), 0), max(bottom - max(h, top), 0)]
    return pad(cut, outside) if any(outside) else cut


def center_crop(img: Any, output_size: int | Sequence[int]) -> Any:
    height, width = two_sizes(output_size)
    _, h, w = get_dimensions(img)
    if width > w or height > h:
        extra = [max(width - w, 0), max(height - h, 0)]
        img = pad(img, [n // 2 for n in extra] + [(n + 1) // 2 for n in extra])
        _, h, w = get_dimensions(img)
        if (height, width) == (h, w):
            return img
    return crop(img, round((h - height) / 2), round((w - width) / 2), height, width)


def five_crop(img: Any, size: int | Sequence[int]) -> tuple:
    """The four corners and the centre."""
    height, width = two_sizes(size)
    _, h, w = get_dimensions(img)
    if width > w or height > h:
        raise ValueError(f"Requested crop size {size} is bigger than input size {(h, w)}")
    corners = [(top, left) for top in (0, h - height) for left in (0, w - width)]
    return *(crop(img, *at, height, width) for at in corners), center_crop(img, [height, width])


def ten_crop(img: Any, size: int | Sequence[int], vertical_flip: bool = False) -> tuple:
    return five_crop(img, size) + five_crop(vflip(img) if vertical_flip else hflip(img), size)


def pad(img: Any, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> Any:
    """padding: one number, or [left and right, top and bottom], or [left, top, right, bottom]; negative ones cut."""
    _check(img, "pad()")
    if not isinstance(padding, (int, tuple, list)):
        raise TypeError(f"pad(): expected padding to be an int or a sequence of ints, got {type(padding).__name__}")
    if padding_mode not in PADDING_MODES:
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
    given = [padding] if isinstance(padding, int) else list(padding)
    if len(given) not in (1, 2, 4):
        raise ValueError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(given)} element tuple")
    left, top, right, bottom = (given * 4)[:4]
    if not isinstance(img, Tensor):
        return _pad_image(img, (left, top, right, bottom), fill, padding_mode)
    if padding_mode == "constant":
        if not isinstance(fill, (int, float, type(None))):
            raise TypeError(f"pad(): the fill of a tensor is one number, got {fill!r}")
        return F.pad(img, [left, right, top, bottom], value=fill or 0)
    rows, columns = (
        _padded_places(n, *ends, padding_mode) for n, ends in zip(img.shape[-2:], ((top, bottom), (left, right)))
    )
    return img[..., minitorch.from_numpy(rows)[:, None], minitorch.from_numpy(columns)]


def _padded_places(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """Which of `size` rows each row of the padded image shows."""
    if mode == "reflect" and max(before, after) >= size:
        raise RuntimeError(f"pad(): reflect shows at most {size - 1} of {size} rows, got the padding {before, after}")
    kept = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
    return np.pad(kept, (max(before, 0), max(after, 0)), mode)  # type: ignore[call-overload]


def _pad_image(img: Any, padding: tuple[int, int, int, int], fill: Any, padding_mode: str) -> Any:
    left, top, right, bottom = padding
    if padding_mode == "constant":
        from PIL import ImageOps

        return ImageOps.expand(img, border=padding, fill=_fill(fill, img))
    if min(padding) < 0:
        img = img.crop((max(-left, 0), max(-top, 0), img.width - max(-right, 0), img.height - max(-bottom, 0)))
    array = np.asarray(img)
    around = [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))] + [(0, 0)] * (array.ndim - 2)
    padded = pillow("pad()").fromarray(np.pad(array, around, padding_mode))  # type: ignore[call-overload]
    if img.mode == "P":
        padded.putpalette(img.getpalette())
    return padded


def _fill(fill: Any, img: Any) -> Any:
    """The colour in Pillow's form: a number for one channel, a tuple for more."""
    channels = len(img.getbands())
    values = list(fill) if isinstance(fill, (tuple, list)) else [fill or 0]
    values = values * channels if len(values) == 1 else values
    if len(values) != channels:
        raise ValueError(
            f"The number of elements in 'fill' does not match the number of channels of the image "
            f"({len(values)} != {channels})"
        )
    values = values if img.mode == "F" else [int(v) for v in values]
    return tuple(values) if channels > 1 else values[0]


def resize(
    img: Any,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """One number is the length of the shorter side, the other keeps the proportions."""
    mode = interpolation_mode(interpolation).value
    _, h, w = get_dimensions(img)
    height, width = _resized(h, w, size, max_size)
    if (height, width) == (h, w):
        return img
    if not isinstance(img, Tensor):
        if antialias is False:
            warnings.warn(
                "Anti-alias option is always applied for PIL Image input. Argument antialias is ignored.", stacklevel=2
            )
        return img.resize((width, height), PILLOW_NUMBER[mode])
    x = _batch_of_floats(img)
    if mode not in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        raise ValueError(f"Interpolation mode {mode!r} is unsupported with Tensor input")
    if mode.startswith("nearest"):
        y = F.interpolate(x, size=[height, width], mode=mode)
    elif antialias:
        rows, columns = (
            minitorch.tensor(_resampling(n, m, mode), dtype=x.dtype, device=x.device)
            for n, m in zip((h, w), (height, width))
        )
        y = rows @ x @ columns.t()  # (B, C, height, h) (h, w) (w, width)
    else:
        y = F.interpolate(x, size=[height, width], mode=mode, align_corners=False)
    return _as_before(y.clamp(0, 255) if mode == "bicubic" and img.dtype is minitorch.uint8 else y, img)


def _resized(h: int, w: int, size: Any, max_size: int | None) -> tuple[int, int]:
    sizes = [size] if isinstance(size, int) else list(size)
    if len(sizes) not in (1, 2):
        raise ValueError(f"Size must be an int or a 1 or 2 element tuple/list, not a {len(sizes)} element tuple/list")
    if len(sizes) == 2:
        if max_size is not None:
            raise ValueError("max_size should only be passed if size specifies the length of the smaller edge")
        return sizes[0], sizes[1]
    short, long = sizes[0], int(sizes[0] * max(h, w) / min(h, w))
    if max_size is not None:
        if max_size <= short:
            raise ValueError(
                f"max_size = {max_size} must be strictly greater than the requested size for the smaller edge size = "
                f"{size}"
            )
        if long > max_size:
            short, long = int(max_size * short / long), max_size
    return (long, short) if w <= h else (short, long)


def _resampling(size: int, new: int, mode: str) -> np.ndarray:
    """The matrix (new, size) that resizes a line: a triangle or a cubic, as wide as the pixels of the smaller image."""
    scale = size / new
    reach = (1 if mode == "bilinear" else 2) * max(scale, 1)
    centre = (scale * (np.arange(new) + 0.5))[:, None]
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + reach + 0.5).astype(np.int64), size)
    at = np.arange(size)
    t = np.abs((at - centre + 0.5) / max(scale, 1))
    if mode == "bilinear":
        weight = np.maximum(1 - t, 0)
    else:  # Keys' cubic with a = -1/2
        weight = np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, np.where(t < 2, ((-0.5 * t + 2.5) * t - 4) * t + 2, 0))
    weight = np.where((at >= first) & (at < stop), weight, 0)
    return weight / weight.sum(1, keepdims=True)


def _batch_of_floats(img: Tensor) -> Tensor:
    x = img.reshape(*(1,) * (4 - img.ndim), *img.shape) if img.ndim < 4 else img
    return x if img.dtype in (minitorch.float32, minitorch.float64) else x.to(minitorch.float32)


def _as_before(y: Tensor, img: Tensor) -> Tensor:
    """In the shape and dtype of img, rounded if that is an integer."""
    y = y.reshape(*img.shape[:-2], *y.shape[-2:])
    return y if img.dtype.is_floating_point and y.dtype is img.dtype else y.round().to(img.dtype)


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def rotate(
    img: Any,
    angle: float,
    interpolation: InterpolationMode | int = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[int] | None = None,
    fill: Any = None,
) -> Any:
    """Turned by `angle` degrees, counter-clockwise."""
    mode = interpolation_mode(interpolation).value
    _check(img, "rotate()")
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")
    if not isinstance(img, Tensor):
        return img.rotate(angle, PILLOW_NUMBER[mode], expand, center, fillcolor=_fill(fill, img))
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"Interpolation mode {mode!r} is unsupported with Tensor input")
    _, h, w = get_dimensions(img)
    # Pixel p of the result shows the pixel R (p - c) + c of the image, measured from the image's middle.
    cosine, sine = math.cos(math.radians(-angle)), math.sin(math.radians(-angle))
    cx, cy = (0.0, 0.0) if center is None else (center[0] - w * 0.5, center[1] - h * 0.5)
    matrix = [
        [cosine, sine, -cosine * cx - sine * cy + cx],
        [-sine, cosine, sine * cx - cosine * cy + cy],
    ]
    width, height = _turned_size(np.array(matrix), w, h) if expand else (w, h)
    x = _batch_of_floats(img)
    xs, ys = (minitorch.arange(n, dtype=x.dtype, device=x.device) - (n * 0.5 - 0.5) for n in (width, height))
    ones = minitorch.ones(height, width, dtype=x.dtype, device=x.device)
    points = minitorch.stack([ones * xs, ones * ys[:, None], ones], -1)  # (height, width, 3)
    theta = minitorch.tensor(matrix, dtype=x.dtype, device=x.device).t()
    theta = theta / minitorch.tensor([0.5 * w, 0.5 * h], dtype=x.dtype, device=x.device)
    grid = (points.reshape(1, -1, 3) @ theta).reshape(1, height, width, 2).expand(x.shape[0], -1, -1, -1)
    if fill is None:
        return _as_before(F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=False), img)
    # One channel more, of ones: where it comes out as less, the colour shows.
    x = minitorch.cat([x, minitorch.ones_like(x[:, :1])], 1)
    y = F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=False)
    y, mask = y[:, :-1], y[:, -1:]
    colour = minitorch.tensor(list(fill) if isinstance(fill, (tuple, list)) else [fill], dtype=x.dtype, device=x.device)
    colour = colour.view(1, -1, 1, 1)
    y = minitorch.where(mask < 0.5, colour, y) if mode == "nearest" else y * mask + (1.0 - mask) * colour
    return _as_before(y, img)


def _turned_size(matrix: np.ndarray, w: int, h: int) -> tuple[int, int]:
    """Width and height of the smallest image that holds all of the turned one."""
    corners = np.array([[x * w, y * h, 1.0] for x in (-0.5, 0.5) for y in (-0.5, 0.5)]) @ matrix.T
    corners += (w * 0.5, h * 0.5)
    most, least = (np.trunc(v / 1e-4) * 1e-4 for v in (corners.max(0), corners.min(0)))  # 3.00000001 is 3
    width, height = np.ceil(most) - np.floor(least)
    return int(width), int(height)


def erase(img: Any, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Tensor:
    """The rectangle of h rows and w columns at (i, j) becomes v."""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}")
    y = img if inplace else img.clone()
    y[..., i : i + h, j : j + w] = v
    return y


# --- colours ---------------------------------------------------------------------------------------------------------


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """0.299 R + 0.587 G + 0.114 B, in one channel or in three equal ones."""
    channels, _, _ = get_dimensions(img)
    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels should be either 1 or 3, got {num_output_channels}")
    if not isinstance(img, Tensor):
        grey = img.convert("L")
        return grey if num_output_channels == 1 else pillow("Grayscale").merge("RGB", (grey,) * 3)
    if img.ndim < 3 or channels not in (1, 3):
        raise TypeError(f"Input image tensor permitted channel values are [1, 3], but found {channels}")
    if channels == 3:
        r, g, b = img.unbind(-3)
        grey = (0.2989 * r + 0.587 * g + 0.114 * b).to(img.dtype).unsqueeze(-3)
    else:
        grey = img.clone()
    return grey.expand(*grey.shape[:-3], 3, -1, -1) if num_output_channels == 3 else grey


to_grayscale = rgb_to_grayscale


def _blend(x: Tensor, other: Tensor, ratio: float) -> Tensor:
    high = 1 if x.dtype.is_floating_point else MAXIMUM[x.dtype.numpy.name]
    return (ratio * x + (1.0 - ratio) * other).clamp(0, high).to(x.dtype)


def _enhanced(img: Any, kind: str, name: str, factor: float) -> Any:
    """Pillow's enhancer of that kind; None for a tensor."""
    _check(img, f"adjust_{name}()")
    if factor < 0:
        raise ValueError(f"{name}_factor ({factor}) is not non-negative.")
    if isinstance(img, Tensor):
        if get_dimensions(img)[0] not in (1, 3):
            raise TypeError(f"adjust_{name}(): a tensor image has 1 or 3 channels, got {list(img.shape)}")
        return None
    from PIL import ImageEnhance

    return getattr(ImageEnhance, kind)(img).enhance(factor)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 is black, 1 the image."""
    y = _enhanced(img, "Brightness", "brightness", brightness_factor)
    return _blend(img, minitorch.zeros_like(img), brightness_factor) if y is None else y


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 is grey, 1 the image."""
    y = _enhanced(img, "Contrast", "contrast", contrast_factor)
    if y is not None:
        return y
    grey = rgb_to_grayscale(img) if get_dimensions(img)[0] == 3 else img
    grey = grey if grey.dtype.is_floating_point else grey.to(minitorch.float32)
    return _blend(img, grey.mean((-3, -2, -1), keepdim=True), contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 is black and white, 1 the image."""
    y = _enhanced(img, "Color", "saturation", saturation_factor)
    if y is not None:
        return y
    return img if get_dimensions(img)[0] == 1 else _blend(img, rgb_to_grayscale(img), saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """The colours turned round the circle, by 180 degrees at -0.5 and 0.5."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    channels, _, _ = get_dimensions(img)
    if channels == 1:
        return img
    if isinstance(img, Tensor):
        h, s, v = _hsv(convert_image_dtype(img, minitorch.float32))
        return convert_image_dtype(_rgb((h + hue_factor).remainder(1.0), s, v), img.dtype)
    Image = pillow("adjust_hue()")
    h, s, v = img.convert("HSV").split()
    turned = np.array(h) + np.array(int(hue_factor * 255) % 256, np.uint8)  # modulo 256
    return Image.merge("HSV", (Image.fromarray(turned), s, v)).convert(img.mode)


def _hsv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r, g, b = x.unbind(-3)
    most, least = x.amax(-3), x.amin(-3)
    grey = most == least
    one = minitorch.ones_like(most)
    spread = minitorch.where(grey, one, most - least)
    rc, gc, bc = ((most - c) / spread for c in (r, g, b))
    h = minitorch.where(most == r, bc - gc, minitorch.where(most == g, 2.0 + rc - bc, 4.0 + gc - rc))
    return (h / 6.0 + 1.0).fmod(1.0), (most - least) / minitorch.where(grey, one, most), most


def _rgb(h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    sector = (h * 6.0).floor()
    f = h * 6.0 - sector
    p, q, t = ((v * (1.0 - part)).clamp(0.0, 1.0) for part in (s, s * f, s * (1.0 - f)))
    table = minitorch.stack(  # (..., sector, channel, H, W)
        [minitorch.stack(c, -3) for c in ((v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q))], -4
    )
    chosen = (sector.long() % 6)[..., None, None, :, :].expand(*h.shape[:-2], 1, 3, *h.shape[-2:])
    return table.gather(-4, chosen).squeeze(-4)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """y = gain x^gamma, for x from 0 to 1."""
    _check(img, "adjust_gamma()")
    if gamma < 0:
        raise ValueError("Gamma should be a non-negative real number")
    if isinstance(img, Tensor):
        x = convert_image_dtype(img, img.dtype if img.dtype.is_floating_point else minitorch.float32)
        return convert_image_dtype((gain * x.pow(gamma)).clamp(0, 1), img.dtype)
    table = [int((256 - 1e-3) * gain * (value / 255.0) ** gamma) for value in range(256)] * 3
    return img.convert("RGB").point(table).convert(img.mode)


def two_sizes(size: Any, message: str = "Please provide only two dimensions (h, w) for size.") -> tuple[int, int]:
    """(height, width) from one number or two."""
    if isinstance(size, numbers.Number):
        return int(size), int(size)  # type: ignore[call-overload]
    if len(size) not in (1, 2):
        raise ValueError(message)
    return size[0], size[-1]
