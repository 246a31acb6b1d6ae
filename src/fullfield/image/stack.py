"""Several files whose bands are those of one image, on the grid of the finest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Region
from fullfield.image.checks import check_region
from fullfield.image.place import IDENTITY
from fullfield.image.raster import AffineTransform, ImageMetadata, Raster, raster_text
from fullfield.image.sample import data_of, sampled
from fullfield.image.selection import Resampling

_MASKS = 8  # regions whose masks are cached, for the ``valid`` that follows a ``read``


@dataclass(frozen=True, eq=False)
class StackedFile:
    """One file of a stack.

    Args:
        raster: the file.
        transform: from points of the stack to points of the file, in px.
        bands: those of the file that are read.
    """

    raster: Raster
    transform: AffineTransform
    bands: tuple[int, ...]

    def read(
        self, region: Region, size: tuple[int, int], resampling: Resampling
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pixels ``(y, x, c)`` of a region of a stack of some size, and which hold data."""
        same = self.transform == IDENTITY and self.raster.shape[:2] == size
        pixels, held = (
            data_of(self.raster, region) if same else sampled(self.raster, self.transform, region, resampling)
        )
        chosen = list(self.bands)
        return (pixels, held) if chosen == list(range(pixels.shape[2])) else (pixels[:, :, chosen], held[:, :, chosen])


@dataclass(frozen=True, eq=False)
class StackRaster:
    """The bands of several files as one image; implements ``Raster``.

    Args:
        name: of the first file, and how many more there are.
        shape: height and width, px, and channels.
        dtype: of the pixels: the smallest type that holds those of all files.
        metadata: of the image.
        files: those that a band is read of.
        order: of the image's channels, among the bands of ``files`` one after the other.
        resampling: of files on other grids.
        fill: value of pixels that hold nothing.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    metadata: ImageMetadata
    files: tuple[StackedFile, ...]
    order: tuple[int, ...]
    resampling: Resampling
    fill: float
    _valid: OrderedDict[Region, NDArray[np.bool_]] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __repr__(self) -> str:
        return raster_text(self)

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region.

        Raises:
            ImageError: a file is damaged there, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        parts = [each.read(region, self.shape[:2], self.resampling) for each in self.files]
        order = list(self.order)
        pixels = np.concatenate([part.astype(self.dtype, copy=False) for part, _ in parts], axis=2)[:, :, order]
        held = np.concatenate([mask for _, mask in parts], axis=2)[:, :, order]
        if not held.all():
            pixels = np.where(held, pixels, np.array(self.fill).astype(self.dtype))
        valid = np.asarray(held.all(axis=2) if self.metadata.every_band else held.any(axis=2))
        with self._lock:
            self._valid[region] = valid
            while len(self._valid) > _MASKS:
                self._valid.popitem(last=False)
        return np.ascontiguousarray(pixels)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the pixels of which any band holds data, or all do; ``None`` if all pixels are valid."""
        if not self.metadata.masked:
            return None
        region = (top, bottom, left, right)
        with self._lock:
            found = self._valid.get(region)
        if found is None:
            self.read(*region)
            with self._lock:
                found = self._valid.get(region)
        return None if found is None or found.all() else found

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, small; ``None`` where a file has no thumbnail, or lies on another extent."""
        height, width, _ = self.shape
        size = max(1, round(height * side / max(height, width))), max(1, round(width * side / max(height, width)))
        parts = []
        for each in self.files:
            small = each.raster.thumbnail(side)
            if small is None:
                return None
            parts.append(_on(small[:, :, list(each.bands)], each, (height, width), size))
        return np.concatenate([part.astype(self.dtype, copy=False) for part in parts], axis=2)[:, :, list(self.order)]

    def close(self) -> None:
        """Closes the files."""
        for each in self.files:
            each.raster.close()


def _on(small: NDArray[Any], file: StackedFile, whole: tuple[int, int], size: tuple[int, int]) -> NDArray[Any]:
    """A file's thumbnail at the pixels of the stack's, the nearest of each; 0 beyond the file."""
    a, b, c, d, e, f = file.transform
    y = ((np.arange(size[0]) + 0.5) * whole[0] / size[0])[:, None]
    x = ((np.arange(size[1]) + 0.5) * whole[1] / size[1])[None, :]
    fy, fx = small.shape[0] / file.raster.shape[0], small.shape[1] / file.raster.shape[1]
    row = np.floor((d * x + e * y + f) * fy).astype(np.intp)
    column = np.floor((a * x + b * y + c) * fx).astype(np.intp)
    inside = (row >= 0) & (row < small.shape[0]) & (column >= 0) & (column < small.shape[1])
    found = small[row.clip(0, small.shape[0] - 1), column.clip(0, small.shape[1] - 1)]
    return np.asarray(np.where(inside[:, :, None], found, small.dtype.type(0)))
