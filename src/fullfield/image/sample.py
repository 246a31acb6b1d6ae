"""Samples an image at the pixel centres of another grid: the nearest pixel, or between the four around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Region
from fullfield.image.nodata import empty_values
from fullfield.image.raster import AffineTransform, Raster, read_valid
from fullfield.image.selection import Resampling

_EDGE = 1e-6  # px: centres so close to a pixel's edge lie on it, up to rounding
_HALF = 0.5 - 1e-6  # least weight of the pixels that hold data where a sample does


def sampled(
    raster: Raster, transform: AffineTransform, region: Region, resampling: Resampling
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """An image at the pixels of a region of another grid, and which of its bands hold data there.

    Bilinear samples are the average of the four pixels around the centre, weighted by their distance; pixels that hold
    nothing, or lie beyond the image's edge, have no weight. A sample holds data if its centre lies on the image, and at
    least half of the weight is on pixels that do.

    Args:
        raster: the image.
        transform: from points of the other grid to points of the image, in px.
        region: of the other grid.
        resampling: ``nearest`` or ``bilinear``.

    Returns:
        Pixels ``(y, x, c)`` in the image's type, 0 where they hold nothing; and the mask ``(y, x, c)``.
    """
    top, bottom, left, right = region
    a, b, c, d, e, f = transform
    y, x = np.arange(top, bottom)[:, None] + 0.5, np.arange(left, right)[None, :] + 0.5
    sx, sy = np.broadcast_arrays(a * x + b * y + c, d * x + e * y + f)
    height, width, bands = raster.shape
    inside = (sx > -_EDGE) & (sx < width - _EDGE) & (sy > -_EDGE) & (sy < height - _EDGE)
    if not inside.any():
        return np.zeros((*inside.shape, bands), raster.dtype), np.zeros((*inside.shape, bands), np.bool_)
    taps = _nearest(sx, sy) if resampling == "nearest" else _bilinear(sx, sy)
    taps = [(rows.clip(0, height - 1), columns.clip(0, width - 1), weight) for rows, columns, weight in taps]
    rows, columns = [tap[0][inside] for tap in taps], [tap[1][inside] for tap in taps]
    y0, y1 = min(int(r.min()) for r in rows), max(int(r.max()) for r in rows) + 1
    x0, x1 = min(int(c.min()) for c in columns), max(int(c.max()) for c in columns) + 1
    pixels, held = data_of(raster, (y0, y1, x0, x1))
    found = [((r - y0).clip(0, y1 - y0 - 1), (c - x0).clip(0, x1 - x0 - 1), weight) for r, c, weight in taps]
    if resampling == "nearest":
        rows_of, columns_of, _ = found[0]
        valid = held[rows_of, columns_of] & inside[:, :, None]
        return np.where(valid, pixels[rows_of, columns_of], pixels.dtype.type(0)), valid
    return _averaged(pixels, held, found, inside)


def data_of(raster: Raster, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels ``(y, x, c)`` of a region, and which of them hold data: not nodata, not NaN, not masked."""
    pixels, valid = read_valid(raster, region)
    held = np.ones(pixels.shape, np.bool_) if valid is None else np.repeat(valid[:, :, None], pixels.shape[2], axis=2)
    empty = empty_values(pixels, raster.metadata.nodata)
    return pixels, held if empty is None else held & ~empty


_Tap = tuple[NDArray[np.intp], NDArray[np.intp], Any]


def _nearest(sx: NDArray[np.float64], sy: NDArray[np.float64]) -> list[_Tap]:
    return [(np.floor(sy + _EDGE).astype(np.intp), np.floor(sx + _EDGE).astype(np.intp), None)]


def _bilinear(sx: NDArray[np.float64], sy: NDArray[np.float64]) -> list[_Tap]:
    """Row, column and weight of the four pixels around each point."""
    column, row = np.floor(sx - 0.5), np.floor(sy - 0.5)
    wx, wy = sx - 0.5 - column, sy - 0.5 - row
    rows, columns = row.astype(np.intp), column.astype(np.intp)
    return [(rows + i, columns + j, (wy if i else 1 - wy) * (wx if j else 1 - wx)) for i in (0, 1) for j in (0, 1)]


def _averaged(
    pixels: NDArray[Any], held: NDArray[np.bool_], taps: list[_Tap], inside: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The weighted average of the taps that hold data, in the pixels' type."""
    kind = np.float32 if pixels.dtype in (np.uint8, np.uint16, np.int16, np.float32) else np.float64
    numbers = np.where(held, pixels, pixels.dtype.type(0)).astype(kind)
    total: NDArray[np.floating] = np.zeros((*inside.shape, pixels.shape[2]), kind)
    weights: NDArray[np.floating] = np.zeros(total.shape, kind)
    for rows, columns, weight in taps:
        part = weight[:, :, None].astype(kind)
        total += part * numbers[rows, columns]
        weights += part * held[rows, columns]
    valid = (weights >= _HALF) & inside[:, :, None]
    average = total / np.maximum(weights, kind(1e-6))
    if pixels.dtype.kind in "uib":
        average = np.floor(average + kind(0.5))  # halves up, as GDAL rounds them
    return np.where(valid, average, 0).astype(pixels.dtype), valid
