"""Reads images that are stored rotated or mirrored as their TIFF or EXIF orientation shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata, Origin, Raster, raster_text

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
    return raster if steps is None else OrientedRaster(raster, *steps, _metadata_as_shown(raster.metadata, steps[0]))


def _metadata_as_shown(metadata: ImageMetadata, transpose: bool) -> ImageMetadata:
    """The metadata of a turned image; a georeference is dropped."""
    changed = replace(metadata, georeference=None, origin=Origin())
    if not transpose:
        return changed
    return replace(
        changed,
        tile=metadata.tile[::-1],
        levels=tuple((width, height) for height, width in metadata.levels),
        mpp=None if metadata.mpp is None else metadata.mpp[::-1],
    )


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


def oriented_georeference(at: Georeference | None, orientation: object, size: tuple[int, int]) -> Georeference | None:
    """The georeference of an image as its orientation shows it, from that of the image as stored.

    Args:
        at: as stored.
        orientation: value of TIFF's tag 274.
        size: height and width as shown, px.

    Examples:
        >>> stored = Georeference(None, (2.0, 0.0, 100.0, 0.0, -2.0, 500.0))
        >>> oriented_georeference(stored, 3, (10, 20)).transform  # turned by 180 degrees
        (-2.0, 0.0, 140.0, 0.0, 2.0, 480.0)
    """
    steps = _STEPS.get(orientation) if isinstance(orientation, int) else None
    if at is None or steps is None:
        return at
    transpose, flip_y, flip_x = steps

    def on_map(y: float, x: float) -> tuple[float, float]:
        y, x = (size[0] - y if flip_y else y), (size[1] - x if flip_x else x)
        return at.on_map(x, y) if transpose else at.on_map(y, x)

    (c, f), (across_x, across_y), (down_x, down_y) = on_map(0, 0), on_map(0, 1), on_map(1, 0)
    return Georeference(at.crs, (across_x - c, down_x - c, c, across_y - f, down_y - f, f))


@dataclass(frozen=True, eq=False)
class OrientedRaster:
    """An image transposed and flipped; implements ``Raster``.

    Args:
        inner: the image as stored.
        transpose: exchange rows and columns.
        flip_y: then reverse the rows.
        flip_x: then reverse the columns.
        metadata: of the image as shown.
    """

    inner: Raster
    transpose: bool
    flip_y: bool
    flip_x: bool
    metadata: ImageMetadata

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

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region."""
        return self._as_shown(self.inner.read(*self._stored(top, bottom, left, right)))

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels of a region."""
        valid = self.inner.valid(*self._stored(top, bottom, left, right))
        return None if valid is None else self._as_shown(valid)

    @property
    def mask(self) -> Callable[[NDArray[Any]], NDArray[np.bool_] | None] | None:
        """Function that finds the valid ones among pixels already read, if the reader has one."""
        return getattr(self.inner, "mask", None)

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
