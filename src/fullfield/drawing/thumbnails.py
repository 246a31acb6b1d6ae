"""Images as 8-bit pictures, read from top to bottom: pixel for pixel, or reduced where they are too large to draw."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair
from fullfield.image.decode import decode
from fullfield.image.open import open
from fullfield.image.raster import ArrayRaster, Raster, finest_level, is_raster
from fullfield.mask.thumbnail import reduced_size, thumbnail_rows

_WHOLE = 1 << 24  # pixels of the largest image that is drawn pixel for pixel
_STRIP_BYTES = 4 << 20  # of pixels that are read together, unless a row of the file's tiles has more
_Rows = Callable[[], Iterator[NDArray[Any]]]


@dataclass(frozen=True)
class Photo:
    """An image as 8-bit RGB.

    Args:
        size: height and width of the picture, px.
        image: height and width of the image's finest level, px.
        strips: reads the picture ``(rows, x, 3)`` anew, some rows at a time, from top to bottom.
    """

    size: Pair
    image: Pair
    strips: Callable[[], Iterator[NDArray[np.uint8]]]

    @property
    def reduced(self) -> bool:
        """Whether this is smaller than the image."""
        return self.size != self.image

    def placed(self, placement: Placement) -> Placement:
        """Where cells lie on this picture of the image that ``placement`` is of."""
        return replace(placement, image=self.size)


def photo_of(image: object, *, side: int, most_pixels: int = _WHOLE, always: bool = False) -> Photo:
    """An image as a picture: 16-bit values divided by 257, floats 0..1 stretched, many channels averaged to grey.

    Args:
        image: array, tensor, PIL image, path, or what ``fullfield.open`` returns.
        side: px of the longer side of the thumbnail that is drawn in place of a larger image.
        most_pixels: of the picture; an image of more, or of more than 16.7 million, becomes a thumbnail.
        always: an image of more than ``side`` px a side becomes a thumbnail, too.

    Raises:
        ImageError: it is no image, or cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        image = open(image)
    raster = image if is_raster(image) else ArrayRaster(decode(image)[0])
    (height, width, _), finest = raster.shape, finest_level(raster).size
    if height * width <= min(_WHOLE, most_pixels) and not (always and max(height, width) > side):
        return _photo((height, width), finest, lambda: _whole(raster))
    while side > 1 and math.prod(reduced_size(raster, side)) > most_pixels:
        side -= max(1, side // 16)
    ready = raster.thumbnail(side)
    if ready is not None:
        size = (ready.shape[0], ready.shape[1])
        return _photo(size, finest, lambda: _cut(ready))
    return _photo(reduced_size(raster, side), finest, lambda: _small(raster, side))


def _photo(size: Pair, image: Pair, rows: _Rows) -> Photo:
    """The picture of rows of pixels; where numbers have no range of their own, they are read once to find it."""

    def strips() -> Iterator[NDArray[np.uint8]]:
        found: tuple[float, float] | None = None
        for strip in map(_channels, rows()):
            if found is None and strip.dtype not in (np.uint8, np.uint16):
                found = _range(rows)
            yield np.repeat(_eight_bits(strip, found), 3 // strip.shape[2], axis=2)

    return Photo(size, image, strips)


def _strips(pixels: NDArray[Any]) -> int:
    """Number of strips that an array is cut into."""
    return min(len(pixels), -(-pixels.nbytes // _STRIP_BYTES))


def _whole(raster: Raster) -> Iterator[NDArray[Any]]:
    """The pixels, in whole rows of the file's tiles; an array in memory, in strips."""
    height, width, channels = raster.shape
    rows = max(1, _STRIP_BYTES // (width * channels * raster.dtype.itemsize))
    if not isinstance(raster, ArrayRaster):
        tile = min(height, raster.metadata.tile[0])
        rows = max(1, rows // tile) * tile
    for top in range(0, height, rows):
        yield from _cut(raster.read(top, min(height, top + rows), 0, width))


def _cut(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield from np.array_split(pixels, _strips(pixels))


def _small(raster: Raster, side: int) -> Iterator[NDArray[Any]]:
    """The rows of the image with at most ``side`` px a side, in its own type; 0 where no pixel is valid."""
    for rows in thumbnail_rows(raster, side):
        for part in _cut(rows):
            yield np.rint(np.nan_to_num(part)).astype(raster.dtype) if raster.dtype.kind in "ui" else part


def _channels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey or RGB: without alpha, many channels averaged."""
    if pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
    return pixels if pixels.shape[2] in (1, 3) else pixels.mean(axis=2, keepdims=True)


def _range(rows: _Rows) -> tuple[float, float]:
    """Least and greatest value; 0 in the place of those that are not finite."""
    ends = [(float(shown.min()), float(shown.max())) for shown in map(_numbers, map(_channels, rows()))]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _numbers(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return np.nan_to_num(pixels.astype(np.float32), posinf=0, neginf=0)


def _eight_bits(pixels: NDArray[Any], ends: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Values as 8 bits; ``ends`` are the least and the greatest of the whole image."""
    if pixels.dtype == np.uint8:
        same: NDArray[np.uint8] = pixels
        return same
    if ends is None:  # 16 bits
        return np.rint(pixels / np.float32(257)).astype(np.uint8)
    numbers, (low, high) = _numbers(pixels), ends
    if low >= 0 and high <= 255:
        shown = numbers * (255 if high <= 1 else 1)
    else:
        shown = (numbers - low) * (255 / max(high - low, 1e-30))
    bright: NDArray[np.uint8] = np.rint(shown).astype(np.uint8)
    return bright


def widest_range(low: Any, high: Any) -> int:
    """The band with the widest range of scores; of several within 0.1 %, the last: "face", not "background".

    Args:
        low, high: least and greatest score of every band, float; NaN, or ``high < low``, for a band without scores.
    """
    with np.errstate(over="ignore"):  # of infinite scores
        span = np.where(high < low, 0, np.nan_to_num(high) - np.nan_to_num(low))
    return int(np.flatnonzero(span >= 0.999 * span.max())[-1])
