"""Reads images that are stored rotated or mirrored as their TIFF or EXIF orientation shows them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fullfield.image.raster import ArrayRaster, ImageMetadata, Raster, data_mask, raster_text

# TIFF and EXIF orientation -> whether to transpose, then to reverse rows, then to reverse columns.
# Source: TIFF 6.0, section 8, tag 274.
_STEPS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


def oriented(raster: Raster, orientation: object) -> Raster:
    """The image as its orientation shows it; the raster itself if that is as stored.

    Args:
        raster: as stored.
        orientation: value of TIFF's tag 274; unknown values are ignored.
    """
    steps = _STEPS.get(orientation) if isinstance(orientation, int) else None
    return raster if steps is None else OrientedRaster(raster, *steps)


def orientation_of(picture: Image.Image) -> object:
    """Value of the EXIF tag of an opened picture; ``None`` without one, or with metadata that cannot be read."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001  of damaged metadata: any of many types
        return None


def oriented_array(pixels: NDArray[Any], orientation: object) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` as their orientation shows them."""
    raster = oriented(ArrayRaster(pixels), orientation)
    height, width, _ = raster.shape
    return np.ascontiguousarray(raster.read(0, height, 0, width))


@dataclass(frozen=True, eq=False)
class OrientedRaster:
    """An image transposed and flipped; implements ``Raster``.

    Args:
        inner: the image as stored.
        transpose: exchange rows and columns.
        flip_y: then reverse the rows.
        flip_x: then reverse the columns.
    """

    inner: Raster
    transpose: bool
    flip_y: bool
    flip_x: bool

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def name(self) -> str:
        """The file."""
        return self.inner.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels, as shown."""
        height, width, channels = self.inner.shape
        return (width, height, channels) if self.transpose else (height, width, channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.inner.dtype

    @property
    def metadata(self) -> ImageMetadata:
        """The metadata of the image as shown; a georeference is dropped."""
        metadata = self.inner.metadata
        if not self.transpose:
            return replace(metadata, georeference=None)
        return replace(
            metadata,
            tile=metadata.tile[::-1],
            levels=tuple((width, height) for height, width in metadata.levels),
            mpp=None if metadata.mpp is None else metadata.mpp[::-1],
            georeference=None,
        )

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region."""
        return self._as_shown(self.inner.read(*self._stored(top, bottom, left, right)))

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels of a region."""
        valid = self.inner.valid(*self._stored(top, bottom, left, right))
        return None if valid is None else self._as_shown(valid)

    def mask(self, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid ones among pixels already read."""
        mask = getattr(self.inner, "mask", None)  # of readers that need only the pixels
        if mask is None:
            return data_mask(pixels, self.metadata.nodata)
        valid: NDArray[np.bool_] | None = mask(pixels)
        return valid

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, small."""
        small = self.inner.thumbnail(side)
        return None if small is None else self._as_shown(small)

    def close(self) -> None:
        """Closes the file."""
        self.inner.close()

    def _stored(self, top: int, bottom: int, left: int, right: int) -> tuple[int, int, int, int]:
        height, width, _ = self.shape
        if self.flip_y:
            top, bottom = height - bottom, height - top
        if self.flip_x:
            left, right = width - right, width - left
        return (left, right, top, bottom) if self.transpose else (top, bottom, left, right)

    def _as_shown(self, array: NDArray[Any]) -> NDArray[Any]:
        if self.transpose:
            array = array.swapaxes(0, 1)
        if self.flip_y:
            array = array[::-1]
        return array[:, ::-1] if self.flip_x else array
