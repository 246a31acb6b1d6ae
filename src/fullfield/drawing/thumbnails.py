"""Images as 8-bit pictures: pixel for pixel, or reduced where they are too large to draw."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.drawing.overlay import photograph
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair
from fullfield.image.decode import decode
from fullfield.image.open import open
from fullfield.image.raster import ArrayRaster, Raster, is_raster
from fullfield.mask.thumbnail import make_thumbnail

_WHOLE = 1 << 24  # pixels of the largest image that is drawn pixel for pixel


@dataclass(frozen=True)
class Photo:
    """An image as 8-bit RGB.

    Args:
        pixels: ``(y, x, 3)``.
        image: height and width of the original image, px.
    """

    pixels: NDArray[np.uint8]
    image: Pair

    @property
    def reduced(self) -> bool:
        """Whether this is a thumbnail of the image."""
        return self.pixels.shape[:2] != self.image

    def placed(self, placement: Placement) -> Placement:
        """Where cells lie on this picture of the image that ``placement`` is of."""
        return replace(placement, image=(self.pixels.shape[0], self.pixels.shape[1]))


def photo_of(image: object, *, side: int) -> Photo:
    """An image as a picture; a thumbnail of at most ``side`` px a side where the image has over 16.7 million pixels.

    Args:
        image: array, tensor, PIL image, path, or what ``fullfield.open`` returns.
        side: px of the thumbnail's longer side.

    Raises:
        ImageError: it is no image, or cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        image = open(image)
    raster = image if is_raster(image) else ArrayRaster(decode(image)[0])
    height, width, _ = raster.shape
    whole = height * width <= _WHOLE
    return Photo(photograph(raster.read(0, height, 0, width) if whole else _small(raster, side)), (height, width))


def widest_range(low: Any, high: Any) -> int:
    """The band with the widest range of scores; of several within 0.1 %, the last: "face", not "background".

    Args:
        low, high: least and greatest score of every band, float; NaN, or ``high < low``, for a band without scores.
    """
    with np.errstate(over="ignore"):  # of infinite scores
        span = np.where(high < low, 0, np.nan_to_num(high) - np.nan_to_num(low))
    return int(np.flatnonzero(span >= 0.999 * span.max())[-1])


def _small(raster: Raster, side: int) -> Any:
    """The image with at most ``side`` px a side, in its own type."""
    cheap = raster.thumbnail(side)
    if cheap is not None:
        return cheap
    small = make_thumbnail(raster, side)
    return np.rint(small).astype(raster.dtype) if raster.dtype.kind in "ui" else small
