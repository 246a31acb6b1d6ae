"""Traces the outlines of connected regions of cells, in one sweep down the rows.

Cells that share a side are connected. Memory grows with the outlines of the open regions, not with the map: a region is
returned as soon as a row passes below it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Pair


@dataclass(eq=False)
class TracedRegion:
    """A region of connected cells and its outlines.

    Args:
        cells: number of cells.
        greatest, total: greatest score, and sum of the scores.
        first: row and column of its first cell in reading order.
        rings: corners (y, x) in cell edges, the first one not repeated. The region is on the right of each ring (y
            down), so that the outer ring has a positive ``signed_area`` and holes a negative one.
        merged_into: the region that this one became part of.
    """

    cells: int
    greatest: float
    total: float
    first: Pair
    rings: list[list[Pair]] = field(default_factory=list)
    merged_into: TracedRegion | None = None


@dataclass(eq=False)
class _Chain:
    """A part of an outline that is open at both ends; its points run with the region on the right."""

    points: deque[Pair]
    region: TracedRegion
    merged_into: _Chain | None = None


_Merged = TypeVar("_Merged", TracedRegion, _Chain)


def _root(part: _Merged) -> _Merged:
    """The region or chain that a part belongs to now."""
    while part.merged_into is not None:
        if part.merged_into.merged_into is not None:
            part.merged_into = part.merged_into.merged_into
        part = part.merged_into
    return part


class _Turn(Enum):
    """What the outlines do at a corner between the row above and this row.

    One chain may come down to the corner, one may come along the line from the left; chains leave to the right and
    down. A chain grows at its end if it runs the way of the sweep, otherwise at its start.
    """

    STRAIGHT = auto()  # no corner
    OPEN = auto()  # a new chain: one end goes right, one down
    DOWN_AT_END = auto()  # the chain from the left turns down
    DOWN_AT_START = auto()
    RIGHT_AT_END = auto()  # the chain from above turns right
    RIGHT_AT_START = auto()
    JOIN_FROM_ABOVE = auto()  # the two chains meet; the one from above comes first
    JOIN_FROM_LEFT = auto()
    JOIN_AND_OPEN = auto()  # two cells touch at the corner: the upper outline closes, a lower one opens
    CROSS = auto()  # two cells touch at the corner: from above to the right, from the left down


_NEIGHBOURHOODS = {
    # the two cells above, and the two below; # is a cell of a region
    ("..", ".."): _Turn.STRAIGHT,
    ("..", ".#"): _Turn.OPEN,
    ("..", "#."): _Turn.DOWN_AT_END,
    ("..", "##"): _Turn.STRAIGHT,
    (".#", ".."): _Turn.RIGHT_AT_START,
    (".#", ".#"): _Turn.STRAIGHT,
    (".#", "#."): _Turn.CROSS,
    (".#", "##"): _Turn.JOIN_FROM_LEFT,
    ("#.", ".."): _Turn.JOIN_FROM_ABOVE,
    ("#.", ".#"): _Turn.JOIN_AND_OPEN,
    ("#.", "#."): _Turn.STRAIGHT,
    ("#.", "##"): _Turn.RIGHT_AT_END,
    ("##", ".."): _Turn.STRAIGHT,
    ("##", ".#"): _Turn.DOWN_AT_START,
    ("##", "#."): _Turn.OPEN,
    ("##", "##"): _Turn.STRAIGHT,
}
_TURNS = tuple(_NEIGHBOURHOODS.values())  # by the four cells as bits, in reading order


def signed_area(ring: list[Any]) -> float:
    """Area of a closed ring of corners (y, x), positive if the inside is on the right with y down; in squared units.

    Examples:
        >>> signed_area([(0, 0), (0, 2), (1, 2), (1, 0)])
        2.0
    """
    y, x = np.array(ring, dtype=np.float64).T
    y, x = y - y[0], x - x[0]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


class Tracer:
    """Takes the rows of a mask one by one and returns the regions that are complete.

    Args:
        row: number of the first row.
        width: columns.
    """

    def __init__(self, row: int, width: int) -> None:
        self.row = row
        self._mask = np.zeros(width, np.bool_)
        self._regions: list[TracedRegion] = []  # of the runs in the row above
        self._runs: list[Pair] = []
        self._verticals: dict[int, _Chain] = {}

    @property
    def idle(self) -> bool:
        """Whether no region is open."""
        return not self._runs

    def push(self, mask: NDArray[np.bool_], scores: NDArray[np.floating]) -> list[TracedRegion]:
        """Adds a row; returns the regions that end above it."""
        runs = _runs(mask)
        regions = self._new(runs, scores)
        self._join(runs, regions)
        self._corners(mask, runs, regions)
        open_now = {id(_root(region)) for region in regions}
        done = {id(r): r for r in (_root(region) for region in self._regions) if id(r) not in open_now}
        self._mask, self._runs, self._regions = mask.copy(), runs, [_root(region) for region in regions]
        self.row += 1
        return sorted(done.values(), key=lambda region: region.first)

    def finish(self) -> list[TracedRegion]:
        """Returns the regions that end with the last row."""
        width = len(self._mask)
        return self.push(np.zeros(width, np.bool_), np.zeros(width))

    def _new(self, runs: list[Pair], scores: NDArray[np.floating]) -> list[TracedRegion]:
        """A region for each run of the row."""
        if not runs:
            return []
        edges = np.array(runs).ravel()
        row = np.append(scores, scores[:1]).astype(np.float64)  # reduceat needs every edge inside
        greatest, total = np.maximum.reduceat(row, edges)[::2].tolist(), np.add.reduceat(row, edges)[::2].tolist()
        return [
            TracedRegion(stop - start, most, some, (self.row, start))
            for (start, stop), most, some in zip(runs, greatest, total, strict=True)
        ]

    def _join(self, runs: list[Pair], regions: list[TracedRegion]) -> None:
        """Merges the regions of runs that share a side with one in the row above."""
        above = 0
        for (start, stop), region in zip(runs, regions, strict=True):
            while above < len(self._runs) and self._runs[above][1] <= start:
                above += 1
            other = above
            while other < len(self._runs) and self._runs[other][0] < stop:
                _merge(_root(self._regions[other]), _root(region))
                other += 1

    def _corners(self, mask: NDArray[np.bool_], runs: list[Pair], regions: list[TracedRegion]) -> None:
        """Extends, joins and closes the outlines at the corners on the line between the last row and this one."""
        if np.array_equal(mask, self._mask):
            return
        ends = {x for run in (*runs, *self._runs) for x in run}
        starts = {start: region for (start, _), region in zip(runs, regions, strict=True)}
        stops = {stop: region for (_, stop), region in zip(runs, regions, strict=True)}
        level: _Chain | None = None  # along the line, from the left
        up, low = (b"\0" + row.tobytes() + b"\0" for row in (self._mask, mask))  # far faster to index than arrays
        for x in sorted(ends):
            turn = _TURNS[up[x] << 3 | up[x + 1] << 2 | low[x] << 1 | low[x + 1]]
            if turn is not _Turn.STRAIGHT:
                level = self._corner(x, turn, level, starts.get(x) or stops.get(x))

    def _corner(self, x: int, turn: _Turn, level: _Chain | None, region: TracedRegion | None) -> _Chain | None:
        """One corner; returns the chain that continues along the line to the right."""
        point = self.row, x
        match turn:
            case _Turn.OPEN:
                return self._open(point, region)
            case _Turn.DOWN_AT_END | _Turn.DOWN_AT_START:
                left = _open_chain(level)
                _extend(left, point, at_end=turn is _Turn.DOWN_AT_END)
                self._verticals[x] = left
                return None
        above = _open_chain(self._verticals.pop(x))
        match turn:
            case _Turn.RIGHT_AT_END | _Turn.RIGHT_AT_START:
                _extend(above, point, at_end=turn is _Turn.RIGHT_AT_END)
                return above
            case _Turn.CROSS:
                left = _open_chain(level)
                _extend(above, point, at_end=False)
                _extend(left, point, at_end=True)
                self._verticals[x] = left
                return above
            case _Turn.JOIN_FROM_LEFT:
                _join_chains(_open_chain(level), above, point)
                return None
        _join_chains(above, _open_chain(level), point)
        return self._open(point, region) if turn is _Turn.JOIN_AND_OPEN else None

    def _open(self, point: Pair, region: TracedRegion | None) -> _Chain:
        """A new chain from a corner, right and down."""
        assert region is not None, "an outline begins at the end of a run"
        self._verticals[point[1]] = chain = _Chain(deque([point]), region)
        return chain


def _open_chain(chain: _Chain | None) -> _Chain:
    assert chain is not None, "an outline has no gaps"
    return _root(chain)


def _extend(chain: _Chain, point: Pair, *, at_end: bool) -> None:
    if at_end:
        chain.points.append(point)
    else:
        chain.points.appendleft(point)


def _join_chains(first: _Chain, second: _Chain, point: Pair) -> None:
    """Joins the chain that ends at a corner with the one that starts there; a chain that meets itself is a ring."""
    first.points.append(point)
    if first is second:
        _root(first.region).rings.extend(_simple(list(first.points)))
        return
    if len(first.points) >= len(second.points):
        first.points.extend(second.points)
        second.merged_into = first
    else:
        second.points.extendleft(reversed(first.points))
        first.merged_into = second


def _simple(ring: list[Pair]) -> list[list[Pair]]:
    """Splits a ring at points where it touches itself: a hole that meets the outer ring at a corner is its own ring."""
    if len(set(ring)) == len(ring):
        return [ring]
    found, way, place = [], list[Pair](), dict[Pair, int]()
    for point in ring:
        if point in place:
            loop = way[place[point] :]
            found.append(loop)
            for passed in loop[1:]:
                del place[passed]
            del way[place[point] + 1 :]
        else:
            place[point] = len(way)
            way.append(point)
    return [*found, way]


def _runs(mask: NDArray[np.bool_]) -> list[Pair]:
    """Half-open runs of cells in a row."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _merge(one: TracedRegion, other: TracedRegion) -> None:
    """Makes one region part of the other, the one with fewer outlines."""
    if one is other:
        return
    keep, gone = (one, other) if len(one.rings) >= len(other.rings) else (other, one)
    keep.cells += gone.cells
    keep.total += gone.total
    keep.greatest = max(keep.greatest, gone.greatest)
    keep.first = min(keep.first, gone.first)
    keep.rings += gone.rings
    gone.rings, gone.merged_into = [], keep
