"""Converts outlines to degrees, where straight sides of the map are curved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.exporters.antimeridian import Floats, area, split_at_antimeridian, unwrapped
from fullfield.exporters.coordinates import ToCoordinates
from fullfield.geometry.region import Pair

_LONGEST = 90.0  # degrees of longitude that a side may span
_STRAY = 0.25  # cells that a straight line in degrees may be off: half of the promised error


def polygons_in_degrees(rings: list[list[Pair]], to_degrees: ToCoordinates) -> list[list[Floats]]:
    """The polygons of a region in degrees, cut at the antimeridian: each an outer ring and its holes.

    Args:
        rings: corners in cells, the outer ring first.
        to_degrees: longitudes and latitudes of points in cells.

    Raises:
        ImageError: the region contains a pole; shapely is needed and not installed.
    """
    found = []
    for number, ring in enumerate(rings):
        x, y = to_degrees(*densified(np.array(ring, np.float64), to_degrees))
        longitudes = unwrapped(x)
        if longitudes is None:
            what = "a region contains a pole, and is no polygon in degrees"
            raise ImageError("coordinates", what, fix='pass coordinates="map", or rows="points"')
        points = np.stack([longitudes, y], axis=1)
        found.append(points if (area(points) > 0) == (number == 0) else points[::-1])
    return split_at_antimeridian(found)


def densified(corners: Floats, to_degrees: ToCoordinates) -> tuple[Floats, Floats]:
    """A ring with enough points on its sides that straight lines in degrees follow them.

    Each side is halved until the points at 1/4, 1/2 and 3/4 of it lie within ``_STRAY`` cells of the line in degrees,
    and until it spans at most a quarter of the earth, so that a jump of longitudes is recognised.
    """
    starts, stops = corners, np.roll(corners, -1, axis=0)
    order = np.arange(len(corners), dtype=np.float64)  # position along the ring
    length = 1.0
    found, places = [corners], [order]
    while len(starts):
        bent = _bent(starts, stops, to_degrees)
        starts, stops, order, length = starts[bent], stops[bent], order[bent], length / 2
        middle = (starts + stops) / 2
        found.append(middle)
        places.append(order + length)
        if length < 2**-30 or not len(starts):
            break
        starts, stops = np.concatenate([starts, middle]), np.concatenate([middle, stops])
        order = np.concatenate([order, order + length])
    y, x = np.concatenate(found)[np.argsort(np.concatenate(places), kind="stable")].T
    return y, x


def _bent(starts: Floats, stops: Floats, to_degrees: ToCoordinates) -> NDArray[np.bool_]:
    """Which sides are farther than ``_STRAY`` cells from straight lines in degrees."""
    shares = (0.25, 0.5, 0.75)
    probes = [starts + share * (stops - starts) for share in shares]
    around = [one + step for one in probes for step in ((0, 0), (0, 1), (1, 0))]
    x, y = to_degrees(*np.concatenate([starts, stops, *around]).T)  # all at once: calls are slow, points are not
    (x0, x1, *xs), (y0, y1, *ys) = np.split(x, 2 + len(around)), np.split(y, 2 + len(around))
    x0, *middles, x1 = np.unwrap(np.stack([x0, *xs[::3], x1]), period=360, axis=0)
    found: NDArray[np.bool_] = np.abs(x1 - x0) > _LONGEST
    for n, (share, px) in enumerate(zip(shares, middles, strict=True)):
        (at, rx, dx), (py, ry, dy) = xs[3 * n : 3 * n + 3], ys[3 * n : 3 * n + 3]
        a, b, c, d = _short_way(rx - at), _short_way(dx - at), ry - py, dy - py  # degrees a cell
        off_x, off_y = x0 + share * (x1 - x0) - px, y0 + share * (y1 - y0) - py
        with np.errstate(divide="ignore", invalid="ignore"):
            cells = np.hypot(d * off_x - b * off_y, a * off_y - c * off_x) / np.abs(a * d - b * c)
        found |= ~(cells <= _STRAY)
    return found


def _short_way(degrees: Floats) -> Floats:
    """A difference of longitudes, between -180 and 180."""
    return np.where(np.abs(degrees) > 180, (degrees + 180) % 360 - 180, degrees)
