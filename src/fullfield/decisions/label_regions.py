"""The connected regions of a raster of labels of any size, and which of them are neighbours.

Pixels that share a side are connected. The raster is read strip by strip; a region that reaches over several strips is
put together by union-find. Regions are numbered by their first pixel in reading order, however high the strips are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.label_file import LabelFile
from fullfield.engine.progress import StageReporter
from fullfield.errors import BudgetError
from fullfield.mask.components import joined

STRONG = 0x8000
"""Added to the code of a pixel that reaches the decisive threshold; it does not tell regions apart."""
Indices = NDArray[np.int64]
_PIXEL_BYTES = 64  # of a strip: codes, runs, regions, and the borders between them
_REGION_BYTES = 200  # of a region and its borders, while neighbours are united
_UNITED_AT = 1 << 16  # so many regions more than at the last time, or twice as many, are united


@dataclass(frozen=True)
class Regions:
    """Regions and their borders.

    Args:
        code: what the pixels of each region hold.
        area: number of these.
        strong: whether one of them is marked as strong.
        outer: whether one of them lies at the raster's edge.
        first, second: pairs of neighbours.
        border: sides of pixels that each pair shares.
    """

    code: NDArray[np.uint16]
    area: Indices
    strong: NDArray[np.bool_]
    outer: NDArray[np.bool_]
    first: Indices
    second: Indices
    border: Indices

    @property
    def count(self) -> int:
        """Number of regions."""
        return len(self.code)


@dataclass(frozen=True)
class FoundRegions:
    """The regions of a raster.

    Args:
        regions: connected, no two neighbours of one code.
        owner: the region that each region of a strip is part of, strip by strip.
        rows: rows of a strip.
    """

    regions: Regions
    owner: Indices
    rows: int


def find_regions(raster: LabelFile, *, budget_bytes: int, stage: StageReporter) -> FoundRegions:
    """The regions of a raster, in one sweep.

    Raises:
        BudgetError: there are so many that they do not fit.
    """
    (height, width), united = raster.shape, 0
    rows = max(1, min(height, budget_bytes // 4 // (_PIXEL_BYTES * width)))
    regions, owner = _empty(), np.zeros(0, np.int64)
    above: Indices | None = None
    for top, labels, found in _strips(raster, rows):
        first = len(owner)
        owner = np.append(owner, np.arange(regions.count, regions.count + found.count))
        regions = _both(regions, found)
        if above is not None:
            regions = _with_borders(regions, owner[above], owner[labels[0] + first])
        above = labels[-1] + first
        if regions.count > 2 * united + _UNITED_AT:
            regions, merged = unite(regions)
            owner, united = merged[owner], regions.count
            _check_room(regions.count, len(owner), budget_bytes)
        stage.report((top + len(labels)) * width)
    regions, merged = unite(regions)
    return FoundRegions(regions, merged[owner], rows)


def recode(raster: LabelFile, found: FoundRegions, codes: NDArray[np.uint16], *, stage: StageReporter) -> None:
    """Writes a new code into all pixels of each region, in a second sweep."""
    (_, width), first = raster.shape, 0
    for top, labels, part in _strips(raster, found.rows):
        table = codes[found.owner[first : first + part.count]]
        raster.write((top, top + len(labels), 0, width), table[labels])
        first += part.count
        stage.report((top + len(labels)) * width)


def unite(regions: Regions) -> tuple[Regions, Indices]:
    """The regions with neighbours of equal code united; and the new number of each."""
    same = regions.code[regions.first] == regions.code[regions.second]
    least = joined(regions.first[same], regions.second[same], regions.count)
    names, owner = np.unique(least, return_inverse=True)
    count = len(names)
    low, high = owner[regions.first[~same]], owner[regions.second[~same]]
    low, high = np.minimum(low, high), np.maximum(low, high)
    pairs, place = np.unique(low * count + high, return_inverse=True)
    return Regions(
        regions.code[names],
        _sums(owner, regions.area, count),
        _sums(owner, regions.strong, count) > 0,
        _sums(owner, regions.outer, count) > 0,
        pairs // max(1, count),
        pairs % max(1, count),
        _sums(place, regions.border[~same], len(pairs)),
    ), owner


def _sums(place: NDArray[np.intp], values: NDArray[np.generic], count: int) -> Indices:
    """Sums of integers by place; exact below 2^53."""
    return np.bincount(place, weights=values, minlength=count).astype(np.int64)


def _empty() -> Regions:
    none = np.zeros(0, np.int64)
    return Regions(np.zeros(0, np.uint16), none, none > 0, none > 0, none, none, none)


def _both(one: Regions, other: Regions) -> Regions:
    """The regions of both; the second's are numbered after the first's."""
    return Regions(
        np.append(one.code, other.code),
        np.append(one.area, other.area),
        np.append(one.strong, other.strong),
        np.append(one.outer, other.outer),
        np.append(one.first, other.first + one.count),
        np.append(one.second, other.second + one.count),
        np.append(one.border, other.border),
    )


def _with_borders(regions: Regions, above: Indices, below: Indices) -> Regions:
    """The regions with the borders between the last row of one strip and the first of the next."""
    pairs, border = np.unique(above * regions.count + below, return_counts=True)
    return Regions(
        regions.code, regions.area, regions.strong, regions.outer,
        np.append(regions.first, pairs // regions.count),
        np.append(regions.second, pairs % regions.count),
        np.append(regions.border, border),
    )  # fmt: skip


def _strips(raster: LabelFile, rows: int) -> Iterator[tuple[int, NDArray[np.intp], Regions]]:
    """First row of each strip, the region of each of its pixels ``(y, x)``, and its regions."""
    height, width = raster.shape
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        codes = raster.read((top, bottom, 0, width))
        runs, run = _runs(codes, at_top=top == 0, at_bottom=bottom == height)
        regions, owner = unite(runs)
        yield top, owner[run], regions


def _runs(codes: NDArray[np.uint16], *, at_top: bool, at_bottom: bool) -> tuple[Regions, NDArray[np.int32]]:
    """The runs of equal codes of each row as regions, and the run of each pixel."""
    rows, width = codes.shape
    plain = codes & ~np.uint16(STRONG)
    change = np.ones(codes.shape, np.bool_)
    np.not_equal(plain[:, 1:], plain[:, :-1], out=change[:, 1:])
    run = (np.cumsum(change.ravel(), dtype=np.int32) - 1).reshape(codes.shape)
    start = np.flatnonzero(change.ravel())
    stop = np.append(start[1:], codes.size)
    outer = (start % width == 0) | (stop % width == 0)
    outer |= at_top & (start < width)
    outer |= at_bottom & (start >= (rows - 1) * width)
    beside = np.flatnonzero(start % width != 0)
    edge = change[1:] | change[:-1]  # where the run above or below begins: both last until the next
    place = np.flatnonzero(edge.ravel())
    regions = Regions(
        plain.ravel()[start],
        stop - start,
        np.bitwise_or.reduceat(codes.ravel(), start) >= STRONG,
        outer,
        np.append(beside - 1, run[:-1].ravel()[place]),
        np.append(beside, run[1:].ravel()[place]),
        np.append(np.ones(len(beside), np.int64), np.diff(np.append(place, edge.size))),
    )
    return regions, run


def _check_room(regions: int, parts: int, budget_bytes: int) -> None:
    needed = _REGION_BYTES * regions + 8 * parts
    if needed > budget_bytes:
        what = f"{regions} segments so far need {needed} bytes of memory, {budget_bytes} are allowed"
        raise BudgetError("segments", what, fix="allow more, choose a coarser resolution, or filter: guided=16")
