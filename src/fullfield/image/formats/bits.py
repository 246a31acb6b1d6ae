"""Finds how many bits of a pixel value a file says that it uses: 12 of 16, say."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from fullfield.image.formats.tiff_mpp import ome_pixels


def bits_range(bits: int | None, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Pixel values of black and white where fewer bits are used than an unsigned type has; ``None`` otherwise.

    Examples:
        >>> bits_range(12, np.dtype("uint16")), bits_range(16, np.dtype("uint16")), bits_range(12, np.dtype("float32"))
        ((0.0, 4095.0), None, None)
        >>> bits_range(4, np.dtype("uint8"))
        (0.0, 15.0)
    """
    if bits is None or dtype.kind != "u" or not 0 < bits < 8 * dtype.itemsize:
        return None
    return 0.0, float(2**bits - 1)


def tiff_bits(tif: Any, page: Any, index: int, images: int) -> int:
    """Bits of a series of a TIFF: OME's ``SignificantBits``, else those that are stored.

    Args:
        tif: an open ``tifffile.TiffFile``.
        page: a page of the series.
        index: of the series in the file.
        images: number of series.
    """
    if tif.is_ome and tif.ome_metadata:
        with suppress(KeyError, ValueError):
            return int(ome_pixels(tif.ome_metadata, index, images)["SignificantBits"])
    return int(page.bitspersample)


def gdal_bits(dataset: Any, bands: tuple[int, ...]) -> int | None:
    """Bits of some bands, counted from 1, of a raster that GDAL reads: its ``NBITS``, if it is the same for all."""
    found = {dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") for band in bands}
    only = found.pop() if len(found) == 1 else None
    return int(only) if only is not None and only.isdecimal() else None
