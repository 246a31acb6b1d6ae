"""Cuts polygons in degrees where longitudes jump from 180 to -180.

Source: RFC 7946, section 3.1.9
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.packages import import_packages

Floats = NDArray[np.float64]
_SAME = 1e-9  # degrees, a tenth of a millimetre: a corner nearer to the antimeridian is moved onto it


def unwrapped(longitudes: Floats) -> Floats | None:
    """Longitudes along a ring without jumps, beyond 180 where it crosses that; ``None`` if it goes around a pole.

    Examples:
        >>> unwrapped(np.array([179.0, -179.0, -179.0, 179.0]))
        array([179., 181., 181., 179.])
        >>> unwrapped(np.array([0.0, 120.0, -120.0])) is None
        True
    """
    found = np.unwrap(np.append(longitudes, longitudes[:1]), period=360)
    return found[:-1] if abs(found[-1] - found[0]) < 180 else None


def split_at_antimeridian(rings: list[Floats]) -> list[list[Floats]]:
    """The parts of a polygon between longitudes -180 and 180, each an outer ring and its holes.

    Args:
        rings: corners ``(n, 2)``, longitude and latitude: the outer ring, counter-clockwise, then holes, clockwise;
            each ``unwrapped``, no corner twice.

    Raises:
        ImageError: the polygon has to be cut, and shapely is not installed.
    """
    middles = [(ring[:, 0].min() + ring[:, 0].max()) / 2 for ring in rings]
    rings = [
        _snapped(ring - (360 * round((middle - middles[0]) / 360), 0.0))
        for ring, middle in zip(rings, middles, strict=True)
    ]
    low, high = (float(end) for end in (rings[0][:, 0].min(), rings[0][:, 0].max()))
    first, last = math.floor((low + 180) / 360), math.ceil((high + 180) / 360)
    if last - first == 1:
        return [[ring - (360 * first, 0.0) for ring in rings]]
    shapely = _shapely()
    whole = shapely.Polygon(rings[0], rings[1:])
    found = []
    for turn in range(first, last):
        west, east = 360 * turn - 180, 360 * turn + 180
        parts = shapely.get_parts(shapely.intersection(whole, shapely.box(west, -90, east, 90)))
        found += [
            [_corners(ring) - (360 * turn, 0.0) for ring in (part.exterior, *part.interiors)]
            for part in shapely.orient_polygons([part for part in parts if part.area > 0], exterior_cw=False)
        ]
    return found


def area(ring: Floats) -> float:
    """Area of a ring in square degrees, positive if it runs counter-clockwise."""
    x, y = (ring - ring[0]).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _snapped(ring: Floats) -> Floats:
    """The ring with corners that rounding may have moved off the antimeridian exactly on it."""
    x = ring[:, 0]
    line = np.round((x - 180) / 360) * 360 + 180
    return np.stack([np.where(np.abs(x - line) < _SAME, line, x), ring[:, 1]], axis=1)


def _corners(ring: Any) -> Floats:
    """Corners of a ring of shapely, without the first one repeated."""
    points: Floats = np.array(ring.coords, np.float64)[:-1]
    return points


def _shapely() -> Any:
    what = "a region crosses longitude 180, where the package shapely cuts it"
    return import_packages("shapely", extra="geo", where="coordinates", what=what)[0]
