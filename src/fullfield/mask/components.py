"""Labels the connected components of a mask, and removes small ones; needs no scipy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels and areas of the 8-connected components of true pixels.

    Runs of a row are joined with those of the row above; a component is numbered by its first run.

    Shape: labels ``(y, x)``, 0 outside; areas ``(n + 1,)`` px, entry 0 of the outside.
    """
    rows, columns = inside.shape
    padded = np.zeros((rows, columns + 2), np.int8)
    padded[:, 1:-1] = inside
    change = np.diff(padded, axis=1)
    row, start = np.nonzero(change == 1)
    stop = np.nonzero(change == -1)[1]
    owner = joined(*_neighbours(row, start, stop, columns), len(row))
    names, owner = np.unique(owner, return_inverse=True)
    lengths = stop - start
    areas = np.bincount(owner + 1, weights=lengths, minlength=len(names) + 1).astype(np.int64)
    areas[0] = inside.size - lengths.sum()
    labels = np.zeros(inside.shape, np.int32)
    labels[inside] = np.repeat(owner + 1, lengths)  # both in row order
    return labels, areas


def _neighbours(
    row: NDArray[np.intp], start: NDArray[np.intp], stop: NDArray[np.intp], columns: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of runs in neighbouring rows that touch, corners included."""
    wide = columns + 2
    ends = row * wide + stop
    # first run of the row above that ends at or after this one's start; last that starts at or before its end
    first = np.searchsorted(ends, (row - 1) * wide + start, "left")
    last = np.searchsorted(row * wide + start, (row - 1) * wide + stop, "right")
    count = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(row)), count)
    above = np.arange(len(below)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    return below, above


def joined(a: NDArray[np.intp], b: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """The least index that each of ``count`` runs is connected to, directly or through others."""
    name = np.arange(count)
    while True:
        least = np.minimum(name[a], name[b])
        following = name.copy()
        np.minimum.at(following, name[a], least)
        np.minimum.at(following, name[b], least)
        following = np.minimum(following, following[following])
        while (following[following] != following).any():
            following = following[following]
        if (following == name).all():
            return name
        name = following


def remove_small(inside: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """The mask without components of fewer than ``least`` pixels."""
    labels, areas = components(inside)
    keep = areas >= least
    keep[0] = False
    found: NDArray[np.bool_] = keep[labels]
    return found


def fill_small_holes(inside: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """The mask with holes of fewer than ``least`` pixels filled."""
    return ~remove_small(~inside, least)
