"""Reprojects a georeferenced mask onto a georeferenced image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.raster import Georeference
from fullfield.mask.grid import MOST_CELLS, MaskGrid
from fullfield.packages import import_packages

LONGITUDE_LATITUDE = "OGC:CRS84"  # RFC 7946, section 4
MOST_REPROJECTED = MOST_CELLS // 4  # most cells of a grid that is converted between coordinate systems point by point
_NEAR = 1e-6  # grid cells: a mask cell's edge so close to a grid cell's edge lies on it, up to rounding
_ROWS = 256  # rows of a mask converted together
_TOGETHER = 1 << 18  # points converted together, as lists of Python's numbers: about 40 MB


def grid_shape(size: tuple[int, int], most: int = MOST_CELLS) -> tuple[int, int]:
    """Rows and columns of the finest grid over an image of ``size`` with at most ``most`` cells, one per pixel at best.

    Examples:
        >>> grid_shape((3000, 4000)), grid_shape((100_000, 200_000))
        ((3000, 4000), (2858, 5715))
    """
    factor = 1
    while math.ceil(size[0] / factor) * math.ceil(size[1] / factor) > most:
        factor = max(factor + 1, math.isqrt(size[0] * size[1] // most))
    return math.ceil(size[0] / factor), math.ceil(size[1] / factor)


def _geo(where: str = "map coordinates") -> Any:
    """The modules rasterio and rasterio.warp.

    Raises:
        ImageError: it is not installed.
    """
    rasterio, warp = import_packages(
        "rasterio", "rasterio.warp", extra="geo", where=where, what="need the package rasterio"
    )
    return rasterio, warp


def parse_crs(name: str, where: str) -> str:
    """A coordinate system as WKT, by name.

    Raises:
        ImageError: the name is unknown.
    """
    rasterio, _ = _geo(where)
    try:
        text: str = rasterio.crs.CRS.from_user_input(name).to_wkt()
    except rasterio.errors.CRSError as error:
        raise ImageError(where, f"names the unknown coordinate system {name!r}", fix="export it again") from error
    return text


def same_crs(first: str, second: str) -> bool:
    """Whether two texts describe the same coordinate system."""
    if first == second:
        return True
    rasterio, _ = _geo()
    one, other = (rasterio.crs.CRS.from_user_input(text) for text in (first, second))
    return bool(one == other)


def to_crs(points: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Points ``(n, 2)`` (x, y) converted between coordinate systems; infinite outside the target's domain."""
    _, warp = _geo()
    parts = np.split(points, range(_TOGETHER, len(points), _TOGETHER))
    return np.concatenate([np.array(warp.transform(source, target, *part.T), np.float64)[:2].T for part in parts])


def to_pixels(points: NDArray[np.float64], at: Georeference) -> NDArray[np.float64]:
    """Map points ``(n, 2)`` (x, y) in pixel edges (x, y) of an image."""
    a, b, c, d, e, f = at.transform
    return (points - (c, f)) @ np.linalg.inv([[a, b], [d, e]]).T


def on_map(points: NDArray[np.float64], at: Georeference) -> NDArray[np.float64]:
    """Pixel edges ``(n, 2)`` (x, y) as map points: the inverse of ``to_pixels``."""
    a, b, c, d, e, f = at.transform
    mapped: NDArray[np.float64] = points @ np.array([[a, b], [d, e]]).T + (c, f)
    return mapped


def reproject(mask: MaskGrid, at: Georeference, size: tuple[int, int], image: Georeference) -> MaskGrid:
    """A mask as a grid over the image, by the georeferences of both.

    Every cell of the mask marks the rectangle around its four corners as touched, so that none is lost; the coverage of
    a grid cell is the mask's at its centre.

    Args:
        mask: with ``pixel`` in pixels of the mask.
        at: georeference of the mask; without a coordinate system it is the image's.
        size: height and width of the image, px.
        image: georeference of the image.
    """
    same = at.crs is None or image.crs is None or same_crs(at.crs, image.crs)
    crs = None if same else (str(at.crs), str(image.crs))
    shape = grid_shape(size, MOST_CELLS if crs is None else MOST_REPROJECTED)
    pixel = size[0] / shape[0], size[1] / shape[1]
    runs = np.zeros((shape[0] + 1, shape[1] + 1), np.int32)
    for top in range(0, mask.cells.shape[0], _ROWS):
        _mark(mask, top, at, image, crs, pixel, runs)
    np.cumsum(runs, axis=0, out=runs)
    np.cumsum(runs, axis=1, out=runs)
    touched = (runs[:-1, :-1] > 0).astype(np.uint8)
    for top in range(0, shape[0], _ROWS):
        part = touched[top : top + _ROWS]
        np.maximum(part, _sampled(mask, top, at, image, crs, pixel, part.shape), out=part)
    return MaskGrid(touched, pixel)


def _mark(
    mask: MaskGrid,
    top: int,
    at: Georeference,
    image: Georeference,
    crs: tuple[str, str] | None,
    pixel: tuple[float, float],
    runs: NDArray[np.int32],
) -> None:
    """Adds the rectangles of some rows of mask cells to an array of second differences."""
    rows, columns = np.nonzero(mask.cells[top : top + _ROWS])
    if not len(rows):
        return
    least, most = np.full((2, len(rows)), np.inf), np.full((2, len(rows)), -np.inf)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corner = np.stack([(columns + dx) * mask.pixel[1], (rows + top + dy) * mask.pixel[0]], axis=1)
        points = on_map(corner, at)
        points = to_pixels(points if crs is None else to_crs(points, *crs), image)
        least, most = np.minimum(least, points.T), np.maximum(most, points.T)
    ok = np.isfinite(least).all(axis=0) & np.isfinite(most).all(axis=0)
    x0, y0 = (np.floor(low / p + _NEAR) for low, p in zip(least[:, ok], pixel[::-1], strict=True))
    x1, y1 = (np.ceil(high / p - _NEAR) for high, p in zip(most[:, ok], pixel[::-1], strict=True))
    y0, y1 = (v.clip(0, runs.shape[0] - 1).astype(np.intp) for v in (y0, y1))
    x0, x1 = (v.clip(0, runs.shape[1] - 1).astype(np.intp) for v in (x0, x1))
    for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
        np.add.at(runs, (y, x), sign)


def _sampled(
    mask: MaskGrid,
    top: int,
    at: Georeference,
    image: Georeference,
    crs: tuple[str, str] | None,
    pixel: tuple[float, float],
    shape: tuple[int, ...],
) -> NDArray[np.uint8]:
    """The mask's coverage at the centres of some rows of grid cells."""
    y, x = np.mgrid[top : top + shape[0], : shape[1]] + 0.5
    points = on_map(np.stack([x.ravel() * pixel[1], y.ravel() * pixel[0]], axis=1), image)
    points = to_pixels(points if crs is None else to_crs(points, *crs[::-1]), at)
    with np.errstate(invalid="ignore"):
        column, row = np.floor(points / mask.pixel[::-1]).T
        ok = (row >= 0) & (row < mask.cells.shape[0]) & (column >= 0) & (column < mask.cells.shape[1])
    found = np.zeros(len(points), np.uint8)
    found[ok] = mask.cells[row[ok].astype(np.intp), column[ok].astype(np.intp)]
    return found.reshape(shape[0], shape[1])


def mask_extent(mask: MaskGrid, at: Georeference) -> str:
    """The map extent of a mask's cells that are not 0, as text."""
    rows, columns = np.nonzero(mask.cells)
    edges = (
        (columns.min() * mask.pixel[1], rows.min() * mask.pixel[0]),
        ((columns.max() + 1) * mask.pixel[1], (rows.max() + 1) * mask.pixel[0]),
    )
    return map_extent(edges[0], edges[1], at)


def map_extent(first: tuple[float, float], last: tuple[float, float], at: Georeference) -> str:
    """The map extent of a rectangle of pixels (x, y), as text."""
    corners = np.array([first, (last[0], first[1]), last, (first[0], last[1])])
    points = on_map(corners, at)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return f"x {x0:.10g}..{x1:.10g}, y {y0:.10g}..{y1:.10g}"
