"""Outlines in degrees, where what is straight on the map is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Place = Callable[[Floats, Floats], tuple[Floats, Floats]]
_STRAY = 0.25  # cells that a straight line in degrees may be off: half of what is promised


def dense(corners: Floats, place: Place) -> tuple[Floats, Floats]:
    """Corners of a ring with so many points between them that straight lines in degrees stay on its sides.

    Every side is halved until a quarter, its middle and three quarters of it lie within ``_STRAY`` cells of the line.
    """
    starts, stops = corners, np.roll(corners, -1, axis=0)
    order = np.arange(len(corners), dtype=np.float64)  # along the ring
    length = 1.0
    found, places = [corners], [order]
    while len(starts):
        bent = _bent(starts, stops, place)
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


def _bent(starts: Floats, stops: Floats, place: Place) -> NDArray[np.bool_]:
    """Which sides leave their straight lines in degrees by more than ``_STRAY`` cells."""
    shares = (0.25, 0.5, 0.75)
    probes = [starts + share * (stops - starts) for share in shares]
    around = [one + step for one in probes for step in ((0, 0), (0, 1), (1, 0))]
    x, y = place(*np.concatenate([starts, stops, *around]).T)  # at once: a call takes far longer than its points
    (x0, x1, *xs), (y0, y1, *ys) = np.split(x, 2 + len(around)), np.split(y, 2 + len(around))
    found = np.zeros(len(starts), np.bool_)
    for n, share in enumerate(shares):
        (px, rx, dx), (py, ry, dy) = xs[3 * n : 3 * n + 3], ys[3 * n : 3 * n + 3]
        a, b, c, d = rx - px, dx - px, ry - py, dy - py  # degrees a cell
        off_x, off_y = x0 + share * (x1 - x0) - px, y0 + share * (y1 - y0) - py
        with np.errstate(divide="ignore", invalid="ignore"):
            cells = np.hypot(d * off_x - b * off_y, a * off_y - c * off_x) / np.abs(a * d - b * c)
        found |= ~(cells <= _STRAY) & (np.abs(x1 - x0) <= 180)
    return found
