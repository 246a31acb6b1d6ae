"""Resizes an image in memory before it is scanned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.errors import ImageError
from fullfield.geometry.region import Pair
from fullfield.image.decode import pixel_limit

ScaleFactor = float | tuple[float, float]


def scanned_size(size: Pair, *, scale: ScaleFactor | None, max_pixels: int | None = None) -> Pair:
    """Height and width after resizing, px: ``round(size * scale)``, at least 1.

    Args:
        size: height and width before.
        scale: one factor, or one per axis.
        max_pixels: most pixels of the result; ``None`` is Pillow's limit for files.

    Raises:
        ImageError: the factor is not a positive number, or the result has more than ``max_pixels``.

    Examples:
        >>> scanned_size((480, 641), scale=0.25)
        (120, 160)
    """
    ky, kx = (_factor(f) for f in (scale if isinstance(scale, tuple) else (scale, scale)))
    result = max(1, round(size[0] * ky)), max(1, round(size[1] * kx))
    limit = max_pixels or pixel_limit()
    if result != size and result[0] * result[1] > limit:
        raise ImageError(
            "scale",
            f"{size[0]}x{size[1]} px would become {result[0]}x{result[1]}, more than {limit} pixels",
            fix="use a smaller scale, or raise PIL.Image.MAX_IMAGE_PIXELS",
        )
    return result


def _factor(value: float | None) -> float:
    try:
        number = 1.0 if value is None else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ImageError("scale", f"{value} is not a positive number", fix="use 0.5 to halve the image, 2 to double it")
    return number


def resize(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The image ``(y, x, c)`` at ``size``: antialiased Lanczos of radius 3, clipped to the image's own range.

    Unsigned 8- and 16-bit pixels keep their type; others become float32, as Pillow resamples them.

    Shape: ``(y, x, c)`` -> ``(*size, c)``
    """
    if pixels.shape[:2] == size:
        return pixels
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(_lanczos(np.ascontiguousarray(pixels), size))
    planes = [_plane(pixels[:, :, channel], size) for channel in range(pixels.shape[2])]
    return np.stack(planes, axis=2)


def _plane(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if plane.dtype == np.uint8:
        return np.asarray(_lanczos(np.ascontiguousarray(plane), size))
    floats = np.ascontiguousarray(plane, dtype=np.float32)
    result: NDArray[np.float32] = np.asarray(_lanczos(floats, size)).clip(floats.min(), floats.max())
    if plane.dtype == np.uint16:
        return np.rint(result).astype(np.uint16)
    return result


def _lanczos(array: NDArray[Any], size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.LANCZOS)
