"""Outlines of regions of cells, found in one sweep down the rows.

Cells that share a side belong together (4-connected). Memory grows with the outlines of the regions that the sweep is
in, not with the map: a region is handed out as soon as a row passes below it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, int]


@dataclass(eq=False)
class TracedRegion:
    """A region of cells and its outlines.

    Args:
        cells: how many.
        greatest, total: of their scores.
        first: row and column of its first cell in reading order.
        rings: corners (y, x) in cell edges, without the first one again; the inside is on the right of the way (y
            down), so that the outer ring has a positive ``signed_area`` and holes negative ones.
    """

    cells: int
    greatest: float
    total: float
    first: Point
    rings: list[list[Point]] = field(default_factory=list)
    into: TracedRegion | None = None

    def root(self) -> TracedRegion:
        """The region that this one became part of."""
        found = self
        while found.into is not None:
            if found.into.into is not None:
                found.into = found.into.into
            found = found.into
        return found


@dataclass(eq=False)
class _Chain:
    """A part of an outline that is still open at both ends, in the direction of the way."""

    points: deque[Point]
    region: TracedRegion
    into: _Chain | None = None

    def root(self) -> _Chain:
        found = self
        while found.into is not None:
            if found.into.into is not None:
                found.into = found.into.into
            found = found.into
        return found


def signed_area(ring: list[Any]) -> float:
    """Of a closed ring of corners (y, x), positive where the inside is on the right with y down; in squared units.

    Examples:
        >>> signed_area([(0, 0), (0, 2), (1, 2), (1, 0)])
        2.0
    """
    y, x = np.array(ring, dtype=np.float64).T
    y, x = y - y[0], x - x[0]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


class Tracer:
    """Takes the rows of a mask one by one and gives the regions that are complete.

    Args:
        row: number of the first row.
        width: columns.
    """

    def __init__(self, row: int, width: int) -> None:
        self.row = row
        self._mask = np.zeros(width, np.bool_)
        self._regions: list[TracedRegion] = []  # of the runs in the row above
        self._runs: list[Point] = []
        self._verticals: dict[int, _Chain] = {}

    @property
    def idle(self) -> bool:
        """Whether no region is open."""
        return not self._runs

    def push(self, mask: NDArray[np.bool_], scores: NDArray[np.floating]) -> list[TracedRegion]:
        """Goes on by a row; the regions that end above it."""
        runs = _runs(mask)
        regions = self._new(runs, scores)
        self._join(runs, regions)
        self._corners(mask, runs, regions)
        open_now = {id(region.root()) for region in regions}
        done = {id(r): r for r in (region.root() for region in self._regions) if id(r) not in open_now}
        self._mask, self._runs, self._regions = mask.copy(), runs, [region.root() for region in regions]
        self.row += 1
        return sorted(done.values(), key=lambda region: region.first)

    def finish(self) -> list[TracedRegion]:
        """The regions that end with the last row."""
        width = len(self._mask)
        return self.push(np.zeros(width, np.bool_), np.zeros(width))

    def _new(self, runs: list[Point], scores: NDArray[np.floating]) -> list[TracedRegion]:
        """A region for every run of the row."""
        if not runs:
            return []
        edges = np.array(runs).ravel()
        row = np.append(scores, scores[:1]).astype(np.float64)  # reduceat wants every edge inside
        greatest, total = np.maximum.reduceat(row, edges)[::2].tolist(), np.add.reduceat(row, edges)[::2].tolist()
        return [
            TracedRegion(stop - start, most, some, (self.row, start))
            for (start, stop), most, some in zip(runs, greatest, total, strict=True)
        ]

    def _join(self, runs: list[Point], regions: list[TracedRegion]) -> None:
        """Merges the regions of runs that share a side with one in the row above."""
        above = 0
        for (start, stop), region in zip(runs, regions, strict=True):
            while above < len(self._runs) and self._runs[above][1] <= start:
                above += 1
            other = above
            while other < len(self._runs) and self._runs[other][0] < stop:
                _merge(self._regions[other].root(), region.root())
                other += 1

    def _corners(self, mask: NDArray[np.bool_], runs: list[Point], regions: list[TracedRegion]) -> None:
        """Lengthens, joins and closes the outlines at the corners on the line between the last row and this one."""
        if np.array_equal(mask, self._mask):
            return
        ends = {x for run in (*runs, *self._runs) for x in run}
        starts = {start: region for (start, _), region in zip(runs, regions, strict=True)}
        stops = {stop: region for (_, stop), region in zip(runs, regions, strict=True)}
        level: _Chain | None = None
        up, low = (b"\0" + row.tobytes() + b"\0" for row in (self._mask, mask))  # far quicker to index than arrays
        for x in sorted(ends):
            around = bool(up[x]), bool(up[x + 1]), bool(low[x]), bool(low[x + 1])
            level = self._corner(x, around, level, starts.get(x) or stops.get(x))

    def _corner(
        self, x: int, around: tuple[bool, bool, bool, bool], level: _Chain | None, region: TracedRegion | None
    ) -> _Chain | None:
        """One corner; the chain that goes on along the line to the right, if any."""
        ul, ur, ll, lr = around
        point = (self.row, x)
        up, down, left, right = ul != ur, ll != lr, ul != ll, ur != lr
        if up and down and not left and not right:
            return level  # straight down: no corner
        above = self._verticals.pop(x).root() if up else None
        before = level.root() if left and level is not None else None
        if up and down and left and right:
            if ul:  # with lr: the corner of ul closes, the one of lr opens
                _link(above, before, point, above_in=True)
                fresh = _Chain(deque([point]), _known(region))
                self._verticals[x] = fresh
                return fresh
            assert above is not None
            assert before is not None
            # ur and ll: ur's left side goes on to the right, ll's right side goes on from the left
            above.points.appendleft(point)
            before.points.append(point)
            self._verticals[x] = before
            return above
        if above is not None and before is not None:
            _link(above, before, point, above_in=ul and not ur)
            return None
        if above is not None:  # and right
            _extend(above, point, at_head=ul and not ur)
            return above
        if before is not None:  # and down
            _extend(before, point, at_head=ll and not ul)
            self._verticals[x] = before
            return None
        fresh = _Chain(deque([point]), _known(region))  # down and right
        self._verticals[x] = fresh
        return fresh


def _known(region: TracedRegion | None) -> TracedRegion:
    assert region is not None, "an outline begins at the end of a run"
    return region


def _extend(chain: _Chain, point: Point, *, at_head: bool) -> None:
    if at_head:
        chain.points.append(point)
    else:
        chain.points.appendleft(point)


def _link(above: _Chain | None, before: _Chain | None, point: Point, *, above_in: bool) -> None:
    """Joins the chain that comes in at a corner with the one that goes out; a chain that meets itself is a ring."""
    assert above is not None
    assert before is not None
    first, second = (above, before) if above_in else (before, above)
    first.points.append(point)
    if first is second:
        first.region.root().rings.extend(_simple(list(first.points)))
        return
    if len(first.points) >= len(second.points):
        first.points.extend(second.points)
        second.into = first
    else:
        second.points.extendleft(reversed(first.points))
        first.into = second


def _simple(ring: list[Point]) -> list[list[Point]]:
    """A ring that touches itself, as rings that do not: a hole that meets the outer ring at a corner is its own."""
    if len(set(ring)) == len(ring):
        return [ring]
    found, way, place = [], list[Point](), dict[Point, int]()
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


def _runs(mask: NDArray[np.bool_]) -> list[Point]:
    """Half-open runs of a row."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _merge(one: TracedRegion, other: TracedRegion) -> None:
    """Makes ``other`` part of ``one``, or the other way where that moves fewer outlines."""
    if one is other:
        return
    keep, gone = (one, other) if len(one.rings) >= len(other.rings) else (other, one)
    keep.cells += gone.cells
    keep.total += gone.total
    keep.greatest = max(keep.greatest, gone.greatest)
    keep.first = min(keep.first, gone.first)
    keep.rings += gone.rings
    gone.rings, gone.into = [], keep
