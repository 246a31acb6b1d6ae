"""Finds local maxima: cells whose score is the greatest within a distance, one of each plateau."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.mask.components import joined

CellIndices = NDArray[np.intp]


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
    """Which cells of ``mask`` have no greater cell of ``mask`` within the disc; of a plateau, all its cells.

    The result depends on the cells of the disc alone, so that a map may be read in parts that overlap by a disc.

    Shape: ``(y, x)`` all
    """
    ranks = np.full(scores.shape, -1, np.int64)
    ranks[mask] = np.unique(scores[mask], return_inverse=True)[1]
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


class Maxima(NamedTuple):
    """One cell of each plateau, its first in reading order.

    Args:
        rows, columns: of the cells.
        scores: of the cells.
        last: last row of each plateau.
    """

    rows: CellIndices
    columns: CellIndices
    scores: NDArray[np.floating]
    last: CellIndices


class _Runs(NamedTuple):
    """Runs of maxima in a row, in reading order, and the first cell of the plateau that each belongs to."""

    row: CellIndices
    start: CellIndices
    stop: CellIndices
    first: CellIndices
    score: NDArray[np.floating]

    def chosen(self, which: NDArray[np.bool_]) -> _Runs:
        """Some of the runs."""
        return _Runs(self.row[which], self.start[which], self.stop[which], self.first[which], self.score[which])

    def followed_by(self, others: _Runs) -> _Runs:
        """These runs and others below them."""
        first, second = self._asdict(), others._asdict()
        return _Runs(**{name: np.concatenate([first[name], second[name]]) for name in self._fields})


class Plateaus:
    """Chooses one cell of each plateau while a map passes strip by strip.

    Maxima within the distance of each other have equal scores, for the greater would exclude the other. Linked to each
    other in a chain they are one plateau, however far it extends.

    Args:
        reach: of the disc.
        columns: of the map.
    """

    def __init__(self, reach: list[int], columns: int) -> None:
        self._reach, self._columns = reach, columns
        self._open: _Runs | None = None

    @property
    def any_open(self) -> bool:
        """Whether a plateau may extend into the next strip."""
        return self._open is not None and len(self._open.row) > 0

    def push(self, top: int, maxima: NDArray[np.bool_], scores: NDArray[np.floating], *, end: bool) -> Maxima:
        """The plateaus that no later row can extend, ordered by their last row, then by their first cell.

        Args:
            top: the strip's first row.
            maxima: of the strip, whole plateaus.
            scores: of its cells.
            end: whether it is the last strip.
        """
        runs = self._runs(top, maxima, scores)
        if self._open is not None:
            runs = self._open.followed_by(runs)
        owner = joined(*self._links(runs), len(runs.row))
        firsts = np.full(len(owner), np.iinfo(np.intp).max, np.intp)
        np.minimum.at(firsts, owner, runs.first)
        lasts = np.zeros(len(owner), np.intp)
        np.maximum.at(lasts, owner, runs.row)
        within = top + len(maxima) - len(self._reach) + 1
        closed = lasts[owner] < within if not end else np.ones(len(owner), np.bool_)
        self._open = runs._replace(first=firsts[owner]).chosen(~closed & (runs.row >= within))
        chosen = closed & (owner == np.arange(len(owner)))
        first, last, score = firsts[chosen], lasts[chosen], runs.score[chosen]
        order = np.lexsort((first, last))
        return Maxima(first[order] // self._columns, first[order] % self._columns, score[order], last[order])

    def _runs(self, top: int, maxima: NDArray[np.bool_], scores: NDArray[np.floating]) -> _Runs:
        """Runs of neighbouring maxima; each cell by itself where the distance is less than a cell."""
        row, start = np.nonzero(maxima)
        if self._reach[0]:
            follows = np.zeros(len(row), np.bool_)
            follows[1:] = (row[1:] == row[:-1]) & (start[1:] == start[:-1] + 1)
            begins = np.flatnonzero(~follows)
            lengths = np.diff(np.append(begins, len(row)))
            row, start = row[begins], start[begins]
        else:
            lengths = np.ones(len(row), np.intp)
        values = scores[row, start]
        return _Runs(row + top, start, start + lengths, (row + top) * self._columns + start, values)

    def _links(self, runs: _Runs) -> tuple[CellIndices, CellIndices]:
        """Pairs of runs within the distance of each other, and of open runs of one plateau."""
        wide = self._columns + 2 * max(self._reach) + 2  # so that a row's cells and its neighbours' stay apart
        starts, ends = runs.row * wide + runs.start, runs.row * wide + runs.stop - 1
        _, index, number = np.unique(runs.first, return_index=True, return_inverse=True)
        below, above = [np.arange(len(runs.row))], [index[number]]
        for away, half in enumerate(self._reach):
            first = np.searchsorted(ends, (runs.row - away) * wide + runs.start - half, "left")
            last = np.searchsorted(starts, (runs.row - away) * wide + runs.stop - 1 + half, "right")
            count = np.maximum(last - first, 0)
            one = np.repeat(np.arange(len(runs.row)), count)
            below.append(one)
            above.append(np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count))
        return np.concatenate(below), np.concatenate(above)
