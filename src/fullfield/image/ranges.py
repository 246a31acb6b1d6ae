"""Finds the least and greatest pixel values of an image: stored ones, of all pixels, or of a small part of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.raster import ArrayRaster, Raster, read_valid

Range = tuple[float, float]
RangeSource = Literal["statistics", "approximate statistics", "all pixels", "a thumbnail", "some of the pixels"]

_SIDE = 1024  # px of the thumbnail in which the range of pixel values is found
_PARTS = 4  # rows and columns of parts that are read instead where a large image has no pyramid
_PART = 256  # px a side of these
_ALL_BYTES = 16 << 20  # of an image that is read whole


@dataclass(frozen=True)
class BandRanges:
    """The least and greatest valid pixel value of every band.

    Args:
        ranges: of each; ``None`` of one without a valid pixel.
        source: what they are of.
    """

    ranges: tuple[Range | None, ...]
    source: RangeSource

    @property
    def exact(self) -> bool:
        """Whether no pixel can lie outside."""
        return self.source in ("statistics", "all pixels")


def band_ranges(raster: Raster) -> BandRanges | None:
    """The range of each band: what the file stores, else that of all pixels of a small image, else about that.

    Returns:
        ``None`` where the pixels that would be read are damaged.
    """
    stored = raster.metadata.statistics
    if stored is not None:
        return BandRanges(stored.ranges, "approximate statistics" if stored.approximate else "statistics")
    height, width, bands = raster.shape
    with contextlib.suppress(ImageError):
        if height * width * bands * raster.dtype.itemsize <= _ALL_BYTES:
            pixels, valid = read_valid(raster, (0, height, 0, width))
            chosen = pixels if valid is None else pixels[valid][None]
            return BandRanges(_of_bands([chosen], bands, raster.metadata.nodata), "all pixels")
        parts = parts_of(raster)
        source: RangeSource = "a thumbnail" if len(parts) == 1 else "some of the pixels"
        return BandRanges(_of_bands(parts, bands, raster.metadata.nodata), source)
    return None


def found_range(raster: Raster) -> Range | None:
    """Least and greatest finite pixel value of a thumbnail, or of parts of an image that has none."""
    with contextlib.suppress(ImageError):  # damaged there; the scan may not come there
        return _widest([_extremes(part, raster.metadata.nodata) for part in parts_of(raster)])
    return None


def _of_bands(parts: list[NDArray[Any]], bands: int, nodata: float | None) -> tuple[Range | None, ...]:
    return tuple(_widest([_extremes(part[:, :, band], nodata) for part in parts]) for band in range(bands))


def _widest(spans: list[Range | None]) -> Range | None:
    there = [span for span in spans if span is not None]
    return (min(low for low, _ in there), max(high for _, high in there)) if there else None


def parts_of(raster: Raster) -> list[NDArray[Any]]:
    """A small image of all, or parts of one that has none ``(y, x, c)``."""
    height, width, _ = raster.shape
    if isinstance(raster, ArrayRaster):
        hop = max(1, max(height, width) // _SIDE)
        return [raster.pixels[::hop, ::hop]]
    small = raster.thumbnail(_SIDE)
    if small is not None:
        return [small]
    sides = (1, _PART * _PART) if height == 1 else (_PART, _PART)
    tops, lefts = (
        np.unique(np.linspace(0, max(0, n - side), _PARTS).astype(int)).tolist()
        for n, side in zip((height, width), sides, strict=True)
    )
    return [raster.read(y, min(height, y + sides[0]), x, min(width, x + sides[1])) for y in tops for x in lefts]


def _extremes(pixels: NDArray[Any], nodata: float | None) -> Range | None:
    if nodata is None and pixels.size and np.isfinite(low := pixels.min()) and np.isfinite(high := pixels.max()):
        return float(low), float(high)
    there = np.isfinite(pixels) & (pixels != nodata)
    return (float(pixels[there].min()), float(pixels[there].max())) if there.any() else None
