"""Maps the pixels of one georeferenced image to those of another, by their transforms."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from fullfield.image.raster import AffineTransform
from fullfield.packages import import_packages

_ALIGNED = 1e-6  # px by which the grids of two images may differ and count as one, up to rounding
IDENTITY: AffineTransform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def same_crs(first: str, second: str) -> bool:
    """Whether two texts describe the same coordinate system.

    Raises:
        ImageError: the texts differ, and rasterio is not installed, which knows what they mean.
    """
    if first == second:
        return True
    (crs,) = import_packages("rasterio.crs", extra="geo", where="map coordinates", what="need the package rasterio")
    return bool(crs.CRS.from_user_input(first) == crs.CRS.from_user_input(second))


def crs_name(crs: str | None) -> str:
    """A coordinate system in a few words, for reports: its authority's code where there is one, else its name.

    Examples:
        >>> crs_name(None), crs_name('LOCAL_CS["site grid"]')
        ('no coordinate system', 'site grid')
    """
    if crs is None:
        return "no coordinate system"
    try:
        from rasterio.crs import CRS  # type: ignore[import-untyped]

        found = CRS.from_user_input(crs).to_authority()
    except Exception:  # noqa: BLE001  rasterio is not installed, or does not know it: its name is enough
        found = None
    return ":".join(found) if found else [*crs.split('"'), crs][1]


def projected_unit(crs: str) -> float | None:
    """Metres of a unit of a projected coordinate system; ``None`` of others, or where nothing installed knows it.

    Examples:
        >>> projected_unit('PROJCS["UTM",GEOGCS["WGS 84",UNIT["degree",0.0174]],UNIT["metre",1]]')
        1.0
    """
    text = crs.lstrip().upper()
    if text.startswith(("PROJCS[", "PROJCRS[", "PROJECTEDCRS[")):
        units = re.findall(r'(?:LENGTH)?UNIT\s*\[\s*"[^"]*"\s*,\s*([0-9.E+-]+)', text)
        return float(units[-1]) if units else None
    if find_spec("pyproj") is None:
        return None
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        found = CRS.from_user_input(crs)
    except CRSError:
        return None
    return float(found.axis_info[0].unit_conversion_factor) if found.is_projected else None


def between(target: AffineTransform, source: AffineTransform) -> AffineTransform:
    """The transform from points of one image to points of another, both in px from their corners.

    Examples:
        >>> between((10, 0, 500, 0, -10, 900), (20, 0, 480, 0, -20, 900))
        (0.5, 0.0, 1.0, 0.0, 0.5, 0.0)
    """
    a, b, c, d, e, f = source
    inverse = np.linalg.inv(np.array([[a, b], [d, e]], np.float64))
    linear = inverse @ np.array([[target[0], target[1]], [target[3], target[4]]], np.float64)
    shift = inverse @ np.array([target[2] - c, target[5] - f], np.float64)
    return tuple(float(n) + 0.0 for n in (*linear[0], shift[0], *linear[1], shift[1]))  # type: ignore[return-value]


def is_aligned(transform: AffineTransform, size: tuple[int, int]) -> bool:
    """Whether a transform leaves every point of an image of some size where it is, up to rounding."""
    corners = corner_points(size)
    return bool(np.abs(moved(corners, transform) - corners).max() <= _ALIGNED * max(1.0, *size) ** 0.5)


def corner_points(size: tuple[int, int]) -> NDArray[np.float64]:
    """The four corners ``(x, y)`` of an image of some height and width. Shape: ``(4, 2)``"""
    height, width = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def moved(points: NDArray[np.float64], transform: AffineTransform) -> NDArray[np.float64]:
    """Points ``(n, 2)`` (x, y) after a transform."""
    a, b, c, d, e, f = transform
    x, y = points[:, 0], points[:, 1]
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def covered_share(transform: AffineTransform, size: tuple[int, int], source: tuple[int, int]) -> float:
    """Part of an image, 0 to 1, that another one covers.

    Args:
        transform: from points of the image to points of the other one.
        size: height and width of the image, px.
        source: height and width of the other one, px.

    Examples:
        >>> covered_share((0.5, 0, -5, 0, 0.5, 0), (20, 20), (10, 10))
        0.5
    """
    corners = moved(corner_points(size), transform)
    whole = _area(corners)
    for axis, limit in ((0, source[1]), (1, source[0])):
        corners = _cut(_cut(corners, axis, 0.0, 1.0), axis, float(limit), -1.0)
    return _area(corners) / whole if len(corners) else 0.0


def _cut(polygon: NDArray[np.float64], axis: int, limit: float, sign: float) -> NDArray[np.float64]:
    """The part of a convex polygon ``(n, 2)`` on one side of a line.

    Source: Sutherland & Hodgman 1974, Reentrant polygon clipping, doi 10.1145/360767.360802
    """
    found = []
    for one, other in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        inside, next_inside = sign * (one[axis] - limit) >= 0, sign * (other[axis] - limit) >= 0
        if inside:
            found.append(one)
        if inside != next_inside:
            share = (limit - one[axis]) / (other[axis] - one[axis])
            found.append(one + share * (other - one))
    return np.array(found, np.float64).reshape(-1, 2)


def _area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


def pixel_length(transform: AffineTransform) -> float:
    """The side of a square of a pixel's area, in the units of the map.

    Examples:
        >>> pixel_length((10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
        10.0
    """
    a, b, _, d, e, _ = transform
    return math.sqrt(abs(a * e - b * d))
