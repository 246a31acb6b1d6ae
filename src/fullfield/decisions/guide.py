"""The image that a guided filter follows, read by region as integers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.guided_filter import GUIDE_LEVELS
from fullfield.errors import ImageError
from fullfield.exporters.grid import cover
from fullfield.geometry.region import Pair, Region
from fullfield.image.decode import decode
from fullfield.image.open import open
from fullfield.image.raster import ArrayRaster, Raster, finest_level, is_raster
from fullfield.image.resample import resampled

_READ_BYTES = 32 << 20  # of pixels read at once to find their range


@dataclass(frozen=True)
class Guide:
    """An image of one or three channels; of two or four the last, alpha, is left out, others are averaged to grey.

    Args:
        raster: in the size of the labels.
        low, high: pixel values that become 0 and ``GUIDE_LEVELS``.
    """

    raster: Raster
    low: float
    high: float

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 3 if self.raster.shape[2] in (3, 4) else 1

    def read(self, region: Region) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Pixels ``(c, y, x)`` of a region, and which of them ``(y, x)`` are valid."""
        pixels = _channels(self.raster.read(*region).astype(np.float64, copy=False))
        valid = np.isfinite(pixels).all(axis=2)
        known = self.raster.valid(*region)
        if known is not None:
            valid &= known
        part = np.clip((np.where(valid[:, :, None], pixels, self.low) - self.low) / (self.high - self.low), 0, 1)
        return np.rint(part * GUIDE_LEVELS).astype(np.int64).transpose(2, 0, 1), valid


def open_guide(image: object, original: Pair, size: Pair) -> Guide:
    """The image that was scanned as a guide of ``size`` px.

    Black and white are the pixel values that the file declares, else those of 8 bits, else the least and the greatest
    of the image, which is read once to find them.

    Args:
        image: array, tensor, PIL image, path, or what ``fullfield.open`` returns.
        original: height and width of the finest level of the image that was scanned, px.
        size: height and width of the labels, px.

    Raises:
        ImageError: no image, or one of another size than ``original``.
    """
    if isinstance(image, (str, os.PathLike)):
        image = open(image)
    raster = image if is_raster(image) else ArrayRaster(decode(image)[0])
    height, width = finest_level(raster).size
    if (height, width) != original:
        what = f"the image has {height}x{width} px, the scores are of an image of {original[0]}x{original[1]} px"
        raise ImageError("image", what, fix="give the image that was scanned")
    low, high = _range(raster)
    return Guide(resampled(raster, size), low, high if high > low else low + 1.0)


def _range(raster: Raster) -> tuple[float, float]:
    """Pixel values of black and white."""
    if raster.metadata.value_range is not None:
        return raster.metadata.value_range
    if raster.dtype in (np.uint8, np.bool_):
        return 0.0, float(np.iinfo(np.uint8).max) if raster.dtype == np.uint8 else 1.0
    low, high = math.inf, -math.inf
    for region in _strips(raster):
        pixels = _channels(raster.read(*region))
        valid = raster.valid(*region)
        known = np.isfinite(pixels) if valid is None else np.isfinite(pixels) & valid[:, :, None]
        if known.any():
            low, high = min(low, float(pixels[known].min())), max(high, float(pixels[known].max()))
    return (low, high) if high >= low else (0.0, 1.0)


def _strips(raster: Raster) -> Iterator[Region]:
    """Regions that cover an image, in whole rows of its tiles where a row is not too large."""
    height, width, channels = raster.shape
    tile_rows, tile_columns = (max(1, side) for side in raster.metadata.tile)
    most = max(1, _READ_BYTES // (channels * raster.dtype.itemsize))
    rows = min(height, tile_rows, max(1, most // min(width, tile_columns)))
    columns = max(1, most // rows)
    return cover((0, height, 0, width), rows, columns)


def _channels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey or RGB."""
    if pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
    if pixels.shape[2] in (1, 3):
        return pixels
    total = np.zeros(pixels.shape[:2])
    for channel in np.moveaxis(pixels, 2, 0):  # one by one: in the same order for every region
        total += channel
    total /= pixels.shape[2]
    return total[:, :, None]
