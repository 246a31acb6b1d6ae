"""Images stored turned or mirrored, read upright."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.image.raster import About, Raster, differs

# TIFF and Exif orientation -> whether rows and columns are exchanged, then rows turned round, then columns.
# Source: TIFF 6.0, section 8, tag 274.
_STEPS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


def upright(raster: Raster, orientation: object) -> Raster:
    """The image as it is meant to be seen; the raster itself where it stands so already.

    Args:
        raster: as stored.
        orientation: of TIFF's tag 274; what is unknown turns nothing.
    """
    steps = _STEPS.get(orientation) if isinstance(orientation, int) else None
    return raster if steps is None else TurnedRaster(raster, *steps)


@dataclass(frozen=True, eq=False)
class TurnedRaster:
    """An image with its axes exchanged, then turned round.

    Args:
        inner: the image as stored.
        swap: exchange rows and columns.
        flip_y: then turn rows round.
        flip_x: then turn columns round.
    """

    inner: Raster
    swap: bool
    flip_y: bool
    flip_x: bool

    @property
    def name(self) -> str:
        """The file."""
        return self.inner.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels, upright."""
        height, width, channels = self.inner.shape
        return (width, height, channels) if self.swap else (height, width, channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.inner.dtype

    @property
    def about(self) -> About:
        """Of the image upright; where it lies on the map is not followed."""
        about = self.inner.about
        if not self.swap:
            return replace(about, georeference=None)
        return replace(
            about,
            tile=about.tile[::-1],
            levels=tuple((width, height) for height, width in about.levels),
            mpp=None if about.mpp is None else about.mpp[::-1],
            georeference=None,
        )

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels of a region, upright. Shape: ``(y, x, c)``"""
        return self._turned(self.inner.read(*self._stored(top, bottom, left, right)))

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Which pixels of a region hold something."""
        found = self.inner.valid(*self._stored(top, bottom, left, right))
        return None if found is None else self._turned(found)

    def mask(self, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Which of some pixels read hold something."""
        mask = getattr(self.inner, "mask", None)  # of readers that tell it from the pixels
        if mask is None:
            return differs(pixels, self.about.nodata)
        found: NDArray[np.bool_] | None = mask(pixels)  # each pixel by itself, so turned as they are
        return found

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, small."""
        small = self.inner.thumbnail(side)
        return None if small is None else self._turned(small)

    def close(self) -> None:
        """Closes the file."""
        self.inner.close()

    def _stored(self, top: int, bottom: int, left: int, right: int) -> tuple[int, int, int, int]:
        height, width, _ = self.shape
        if self.flip_y:
            top, bottom = height - bottom, height - top
        if self.flip_x:
            left, right = width - right, width - left
        return (left, right, top, bottom) if self.swap else (top, bottom, left, right)

    def _turned(self, array: NDArray[Any]) -> NDArray[Any]:
        if self.swap:
            array = array.swapaxes(0, 1)
        if self.flip_y:
            array = array[::-1]
        return array[:, ::-1] if self.flip_x else array
