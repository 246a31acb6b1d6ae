"""Greedy non-maximum suppression, exactly, of more windows than fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.candidates import CANDIDATE, Candidates, best


@dataclass(frozen=True)
class SuppressionRule:
    """When a window suppresses another one.

    Args:
        overlap: where the intersection of the two is more than this share of their union.
        distance: or where their centres are at most so many px apart.
        across_classes: whatever their classes; by default only windows of its own class.
    """

    overlap: float | None = None
    distance: float | None = None
    across_classes: bool = False

    def suppressed(self, one: Candidates, others: Candidates) -> NDArray[np.bool_]:
        """Which of some windows one window suppresses if its score is greater."""
        if self.distance is not None:
            apart = np.sqrt((others["y"] - one["y"]) ** 2 + (others["x"] - one["x"]) ** 2)
            found: NDArray[np.bool_] = apart <= self.distance
        else:
            assert self.overlap is not None
            found = overlap(one, others) > self.overlap
        return found if self.across_classes else found & (others["cls"] == one["cls"])


def overlap(one: Candidates, others: Candidates) -> NDArray[np.float64]:
    """Intersection over union of a window and some others."""
    height = np.minimum(one["bottom"], others["bottom"]) - np.maximum(one["top"], others["top"])
    width = np.minimum(one["right"], others["right"]) - np.maximum(one["left"], others["left"])
    common = height.clip(0) * width.clip(0)
    return np.asarray(common / (area(one) + area(others) - common))


def area(found: Candidates) -> NDArray[np.float64]:
    """Areas in px."""
    return np.asarray((found["bottom"] - found["top"]) * (found["right"] - found["left"]))


def suppress(
    read: Callable[[], Iterator[Candidates]], rule: SuppressionRule, *, reach: tuple[float, float], most: int
) -> Candidates:
    """The windows that no kept one before them suppresses, in order.

        kept(w)  if no v before w with kept(v) suppresses w

    Windows are taken in their order, ``most`` at a time; those that a kept one suppresses are passed over. So the
    result is that of the whole list, whatever ``most`` is; a list that does not fit is read several times.

    Args:
        read: the windows, in any order; called for each part.
        rule: when one suppresses another.
        reach: px (y, x) within which lie the centres of all that a window can suppress.
        most: windows in memory, besides those that are kept.
    """
    kept = np.empty(0, CANDIDATE)
    last: Candidates | None = None
    while True:
        before = _Bins(kept, reach)

        def undecided(some: Candidates, before: _Bins = before) -> NDArray[np.bool_]:
            return ~before.suppress(some, rule)

        found, complete = best(read(), most, last, undecided)
        if len(found):
            last = found[-1:].copy()
            kept = np.concatenate([kept, _greedy(found, rule, reach)])
        if complete:
            return kept


def _greedy(found: Candidates, rule: SuppressionRule, reach: tuple[float, float]) -> Candidates:
    """The kept ones of some windows in order."""
    open_ones = np.ones(len(found), np.bool_)
    bins = _Bins(found, reach)
    ranges = bins.around(found)
    for number in range(len(found)):
        if open_ones[number]:
            near = bins.members(ranges[:, :, number])
            near = near[near > number]
            near = near[open_ones[near]]
            if len(near):
                open_ones[near[rule.suppressed(found[number], found[near])]] = False
    return found[open_ones]


class _Bins:
    """Windows by where their centres lie, in bins of the reach: all within it are in the nine bins around.

    Args:
        found: the windows.
        reach: height and width of a bin, px.
    """

    def __init__(self, found: Candidates, reach: tuple[float, float]) -> None:
        self._found, self._reach = found, reach
        row, column = self._place(found)
        self._order = np.lexsort((column, row))
        self._rows, self._columns = row[self._order], column[self._order]
        self._low = int(column.min(initial=0)) - 2
        self._wide = int(column.max(initial=0)) - self._low + 3
        self._codes = self._rows * self._wide + self._columns - self._low

    def _place(self, found: Candidates) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        y, x = (np.floor(found[name] / side).astype(np.int64) for name, side in zip("yx", self._reach, strict=True))
        return y, x

    def around(self, found: Candidates) -> NDArray[np.intp]:
        """Of each window, the ranges of the sorted codes of three rows of three bins. Shape: ``(3, 2, n)``"""
        row, column = self._place(found)
        column = (column - self._low).clip(0, self._wide - 1)
        rows = (row + shift for shift in (-1, 0, 1))
        codes = [(each * self._wide + column - 1, each * self._wide + column + 1) for each in rows]
        return np.array([[self._codes.searchsorted(a, "left"), self._codes.searchsorted(b, "right")] for a, b in codes])

    def members(self, ranges: NDArray[np.intp]) -> NDArray[np.intp]:
        """The windows in some ranges."""
        return np.concatenate([self._order[first:last] for first, last in ranges])

    def suppress(self, some: Candidates, rule: SuppressionRule) -> NDArray[np.bool_]:
        """Which of some windows one of these suppresses."""
        gone = np.zeros(len(some), np.bool_)
        if not len(self._found) or not len(some):
            return gone
        bins = _Bins(some, self._reach)
        ranges = bins.around(self._found)
        for number in np.flatnonzero((ranges[:, 1] > ranges[:, 0]).any(axis=0)):
            near = bins.members(ranges[:, :, number])
            near = near[~gone[near]]
            if len(near):
                gone[near[rule.suppressed(self._found[number], some[near])]] = True
        return gone
