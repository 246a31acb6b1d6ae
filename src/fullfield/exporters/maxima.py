"""Finds local maxima: cells whose score is the greatest within a distance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def reach_of(spacing: tuple[float, float], distance: float) -> list[int]:
    """Half-width in cells of each row of a disc of ``distance`` px, from its middle row outwards.

    Examples:
        >>> reach_of((4.0, 4.0), 8.0)
        [2, 1, 0]
    """
    rows = math.floor(distance / spacing[0] + 1e-9)
    across = (math.sqrt(max(0.0, distance**2 - (row * spacing[0]) ** 2)) for row in range(rows + 1))
    return [math.floor(half / spacing[1] + 1e-9) for half in across]


def local_maxima(scores: NDArray[np.floating], mask: NDArray[np.bool_], reach: list[int]) -> NDArray[np.bool_]:
    """Which cells of ``mask`` have no greater cell of ``mask`` within the disc.

    Of equal cells the first in reading order counts as the greatest, so that no two maxima are within the distance.
    The result depends on the cells of the disc alone, so that a map may be read in parts that overlap by a disc.

    Shape: ``(y, x)`` all
    """
    rank = np.full(scores.size, -1, np.int64)
    chosen = np.flatnonzero(mask.ravel())
    order = np.lexsort((-chosen, scores.ravel()[chosen]))
    rank[chosen[order]] = np.arange(len(chosen))
    ranks = rank.reshape(scores.shape)
    greatest = np.full(scores.shape, -1, np.int64)
    rows = len(scores)
    for away, half in enumerate(reach):
        wide = _running(ranks, half)
        for shift in {away, -away}:
            low, high = max(0, -shift), min(rows, rows - shift)
            if low < high:
                np.maximum(greatest[low:high], wide[low + shift : high + shift], out=greatest[low:high])
    found: NDArray[np.bool_] = mask & (ranks == greatest)
    return found


def _running(ranks: NDArray[np.int64], half: int) -> NDArray[np.int64]:
    """The greatest of each cell and its ``half`` neighbours on either side in the row, by doubling."""
    wide = np.pad(ranks, ((0, 0), (half, half)), constant_values=-1)
    length, wanted = 1, 2 * half + 1
    while 2 * length <= wanted:
        wide = np.maximum(wide[:, : wide.shape[1] - length], wide[:, length:])
        length *= 2
    rest = wanted - length
    return np.maximum(wide[:, : wide.shape[1] - rest], wide[:, rest:]) if rest else wide
