"""Polygons as lists of rings, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fullfield.mask.polygons import Rings

Polygon = tuple[NDArray[np.float64], ...]


def rings_of(polygons: Sequence[Polygon]) -> Rings:
    """The rings of polygons, one after the other, without empty ones."""
    rings = [(owner, ring) for owner, polygon in enumerate(polygons) for ring in polygon if len(ring)]
    points = np.concatenate([np.empty((0, 2)), *(ring for _, ring in rings)])
    lengths, owners = [len(ring) for _, ring in rings], [owner for owner, _ in rings]
    return Rings(points, np.array(lengths, np.intp), np.array(owners, np.intp))
