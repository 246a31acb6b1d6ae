"""The windows that a decision is made of: those that have scores, in the whole map or in a region."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.protocols import WantedCells
from fullfield.geometry.region import Region
from fullfield.store.levels import level_grid
from fullfield.store.maps import MapSpec, ScoreMap, filled


@dataclass(frozen=True, eq=False)
class Selected:
    """Some cells of a map.

    Args:
        shape: rows and columns of the map.
        box: half-open rectangle of cells that holds all of them.
        count: how many there are.
        bits: the cells of the box, eight to a byte along x; ``None`` where all of them are selected.
    """

    shape: tuple[int, int]
    box: Region
    count: int
    bits: NDArray[np.uint8] | None = None

    @property
    def all(self) -> bool:
        """Whether these are all cells of the map."""
        return self.bits is None and self.box == (0, self.shape[0], 0, self.shape[1])

    def read(self, region: Region) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region of the map are selected."""
        (t, b, l, r), (top, bottom, left, right) = self.box, region
        found = np.zeros((max(0, bottom - top), max(0, right - left)), np.bool_)
        y, x = slice(max(top, t), min(bottom, b)), slice(max(left, l), min(right, r))
        if y.start >= y.stop or x.start >= x.stop:
            return found
        inside = found[y.start - top : y.stop - top, x.start - left : x.stop - left]
        if self.bits is None:
            inside[:] = True
            return found
        first = (x.start - l) // 8
        bytes_ = self.bits[y.start - t : y.stop - t, first : -(-(x.stop - l) // 8)]
        skipped = x.start - l - 8 * first
        inside[:] = np.unpackbits(bytes_, axis=1, count=skipped + x.stop - x.start)[:, skipped:]
        return found


def select(scores: ScoreMap, wanted: WantedCells | None = None, box: Region | None = None) -> Selected:
    """The cells that have a score of some class; of these the wanted ones inside a rectangle of cells.

    What is in memory at a time is a chunk of the map, and one bit a cell.
    """
    _, rows, columns = scores.spec.shape
    top, bottom, left, right = box = box or (0, rows, 0, columns)
    bits = np.zeros((bottom - top, -(-(right - left) // 8)), np.uint8)
    count = 0
    for i, i_end, j, j_end in _strips_of_bytes(scores.spec, box):
        known = _scored(scores, (i, i_end, j, j_end))
        if wanted is not None and known.any():
            known &= wanted.cells(i, j, i_end - i, j_end - j)
        count += int(np.count_nonzero(known))
        packed = np.packbits(known, axis=1)
        first = (j - left) // 8
        bits[i - top : i_end - top, first : first + packed.shape[1]] = packed
    every = count == (bottom - top) * (right - left)
    return Selected((rows, columns), box, count, None if every else bits)


def chunk_regions(spec: MapSpec, box: Region) -> Iterator[Region]:
    """A rectangle of cells, cut at the inner chunks of its store."""
    _, height, width = level_grid(spec, 0).chunk
    top, bottom, left, right = box
    for i in range(top // height * height, bottom, height):
        for j in range(left // width * width, right, width):
            yield max(i, top), min(i + height, bottom), max(j, left), min(j + width, right)


def _strips_of_bytes(spec: MapSpec, box: Region) -> Iterator[Region]:
    """A rectangle of cells, cut about at its inner chunks, and along x at multiples of 8 from its left."""
    _, height, width = level_grid(spec, 0).chunk
    height, width = max(height, 64), max(64, -(-width // 8) * 8)
    top, bottom, left, right = box
    for i in range(top // height * height, bottom, height):
        for j in range(left, right, width):
            yield max(i, top), min(i + height, bottom), j, min(j + width, right)


def _scored(scores: ScoreMap, region: Region) -> NDArray[np.bool_]:
    """Which cells ``(y, x)`` of a region have a score that is not NaN in some band; most need the first bands only."""
    bands, depth = scores.spec.shape[0], level_grid(scores.spec, 0).chunk[0]
    known = filled(scores.read(*region, slice(0, depth)), scores.spec)
    if depth < bands and not known.all() and (scores.valid(*region) & ~known).any():
        for first in range(depth, bands, depth):
            known |= filled(scores.read(*region, slice(first, min(first + depth, bands))), scores.spec)
    return known
