"""Polygons in degrees, cut where longitudes jump.

Source: RFC 7946, section 3.1.9
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SAME = 1e-9  # degrees, a tenth of a millimetre: nearer to the antimeridian is on it
_SAMPLES = 8  # corners of a hole that say in which ring it lies


def unwrapped(longitudes: Floats) -> Floats | None:
    """Longitudes along a ring without jumps, beyond 180 where it crosses that; ``None`` where it goes round a pole.

    Examples:
        >>> unwrapped(np.array([179.0, -179.0, -179.0, 179.0]))
        array([179., 181., 181., 179.])
        >>> unwrapped(np.array([0.0, 120.0, -120.0])) is None
        True
    """
    found = np.unwrap(np.append(longitudes, longitudes[:1]), period=360)
    return found[:-1] if abs(found[-1] - found[0]) < 180 else None


def cut(rings: list[Floats]) -> list[list[Floats]]:
    """The parts of a polygon between longitudes -180 and 180, each an outer ring and its holes.

    Args:
        rings: corners ``(n, 2)``, longitude and latitude: the outer ring, counter-clockwise, then holes, clockwise;
            each ``unwrapped``, no corner twice.
    """
    middles = [(ring[:, 0].min() + ring[:, 0].max()) / 2 for ring in rings]
    rings = [
        _snapped(ring - (360 * round((middle - middles[0]) / 360), 0.0))
        for ring, middle in zip(rings, middles, strict=True)
    ]
    low, high = (float(end) for end in (rings[0][:, 0].min(), rings[0][:, 0].max()))
    first, last = math.floor((low + 180) / 360), math.ceil((high + 180) / 360)
    found, rest = [], rings
    for turn in range(first, last):
        here, rest = _split(rest, 180 + 360 * turn) if turn + 1 < last else (rest, [])
        found += [[ring - (360 * turn, 0.0) for ring in polygon] for polygon in _polygons(here)]
    return found


def area(ring: Floats) -> float:
    """Area of a ring in square degrees, positive where it runs counter-clockwise."""
    x, y = (ring - ring[0]).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _snapped(ring: Floats) -> Floats:
    """Corners so near to an antimeridian that rounding may have put them there, on it."""
    x = ring[:, 0]
    line = np.round((x - 180) / 360) * 360 + 180
    return np.stack([np.where(np.abs(x - line) < _SAME, line, x), ring[:, 1]], axis=1)


def _split(rings: list[Floats], line: float) -> tuple[list[Floats], list[Floats]]:
    """What of a polygon lies west of a meridian, and east of it.

    The meridian cuts rings into chains. Where a chain ends, the inside lies along the meridian up to the beginning of
    the next one: sorted by latitude, the n-th end leads to the n-th beginning.
    """
    sides: tuple[list[Floats], list[Floats]] = [], []
    chains: tuple[list[Floats], list[Floats]] = [], []
    for ring in rings:
        east = ring[:, 0] >= line
        if east.all() or not east.any():
            sides[int(east[0])].append(ring)
            continue
        for chain in _chains(ring, east, line):
            chains[int(chain[1, 0] >= line)].append(chain)
    for found, parts in zip(sides, chains, strict=True):
        found += _joined(parts)
    return sides


def _chains(ring: Floats, east: NDArray[np.bool_], line: float) -> list[Floats]:
    """Parts of a ring between two crossings of a meridian, with these as ends."""
    before = np.flatnonzero(east != np.roll(east, -1))
    a, b = ring[before], ring[(before + 1) % len(ring)]
    latitude = a[:, 1] + (line - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    latitude = np.where(a[:, 0] == line, a[:, 1], np.where(b[:, 0] == line, b[:, 1], latitude))
    ends = np.stack([np.full(len(before), line), latitude], axis=1)
    found = []
    for n, start in enumerate(before + 1):
        following = (n + 1) % len(before)
        count = (before[following] - start) % len(ring) + 1
        inner = ring[np.arange(start, start + count) % len(ring)]
        found.append(np.concatenate([ends[n : n + 1], inner, ends[following : following + 1]]))
    return found


def _joined(chains: list[Floats]) -> list[Floats]:
    """Rings of chains, end to beginning along the meridian; what has no area is none."""
    if not chains:
        return []
    begins = np.argsort([chain[0, 1] for chain in chains], kind="stable")
    ranks = np.argsort(np.argsort([chain[-1, 1] for chain in chains], kind="stable"))
    found, left = [], set(range(len(chains)))
    while left:
        at, parts = min(left), []
        while at in left:
            left.remove(at)
            parts.append(chains[at])
            at = int(begins[ranks[at]])
        ring = np.concatenate(parts)
        ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
        if len(ring) > 2 and area(ring) != 0:
            found.append(ring)
    return found


def _polygons(rings: list[Floats]) -> list[list[Floats]]:
    """Outer rings, each with the holes that lie in it."""
    found = [[ring] for ring in rings if area(ring) > 0]
    for hole in (ring for ring in rings if area(ring) < 0):
        some = hole[:: -(-len(hole) // _SAMPLES)]
        inside = [sum(_holds(polygon[0], point) for point in some) for polygon in found]
        found[int(np.argmax(inside))].append(hole)
    return found


def _holds(ring: Floats, point: Floats) -> bool:
    """Whether a point lies in a ring: whether a line from it to the east crosses that an odd number of times."""
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    crossing = (y0 > point[1]) != (y1 > point[1])
    at = x0[crossing] + (point[1] - y0[crossing]) / (y1[crossing] - y0[crossing]) * (x1[crossing] - x0[crossing])
    return int((at > point[0]).sum()) % 2 == 1
