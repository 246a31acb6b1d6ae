"""Removes regions that are not sure enough, or too small, and fills holes: on regions and their borders alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.label_regions import Indices, Regions, unite

NONE, MISSING = 0x7FFE, 0x7FFF
"""Codes of pixels whose score is below the threshold, and of those without a score; lower codes are segments."""
_Numbered = tuple[Regions, Indices]  # regions, and the number of each original one among them


def without_weak(regions: Regions) -> _Numbered:
    """The regions without segments of which no pixel is strong: these have no class."""
    weak = (regions.code < NONE) & ~regions.strong
    return unite(replace(regions, code=np.where(weak, np.uint16(NONE), regions.code)))


def without_small(regions: Regions, least: int) -> _Numbered:
    """The regions with segments of at least ``least`` pixels.

    All smaller segments at once become part of the neighbour with which they share the longest border, of equal ones
    of the larger, then of the first. That is a segment of at least ``least`` pixels, or pixels below the threshold;
    those that touch neither wait for those that do. What is left touches only pixels without a score, and has no class.
    """
    numbers = np.arange(regions.count)
    while True:
        small = (regions.code < NONE) & (regions.area < least)
        target = _longest_border(regions, small, (regions.code <= NONE) & ~small)
        moved = target >= 0
        codes = regions.code.copy()
        codes[moved] = regions.code[target[moved]]
        if not moved.any():
            codes[small] = NONE
        regions, owner = unite(replace(regions, code=codes))
        numbers = owner[numbers]
        if not moved.any():
            return regions, numbers


def _longest_border(regions: Regions, some: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Indices:
    """The wanted neighbour of each of some regions with the longest border, else the larger, else the first; or -1."""
    own = np.append(regions.first, regions.second)
    other = np.append(regions.second, regions.first)
    border = np.append(regions.border, regions.border)
    use = some[own] & wanted[other]
    own, other, border = own[use], other[use], border[use]
    order = np.lexsort((other, -regions.area[other], -border, own))
    first = np.ones(len(order), np.bool_)
    first[1:] = own[order][1:] != own[order][:-1]
    found = np.full(regions.count, -1, np.int64)
    found[own[order][first]] = other[order][first]
    return found


def without_holes(regions: Regions, most: int) -> _Numbered:
    """The regions with holes of at most ``most`` pixels filled.

    A hole is a connected region without a class, whatever the reason, that does not touch the raster's edge and whose
    neighbours are all of one class.
    """
    empty = np.where(regions.code >= NONE, np.uint16(NONE), regions.code)
    regions, numbers = unite(replace(regions, code=empty))
    least, greatest = np.full(regions.count, MISSING, np.int64), np.full(regions.count, -1, np.int64)
    for own, other in ((regions.first, regions.second), (regions.second, regions.first)):
        np.minimum.at(least, own, regions.code[other])
        np.maximum.at(greatest, own, regions.code[other])
    hole = (regions.code == NONE) & (regions.area <= most) & ~regions.outer & (least == greatest) & (greatest < NONE)
    filled, owner = unite(replace(regions, code=np.where(hole, least, regions.code).astype(np.uint16)))
    return filled, owner[numbers]
