"""Merges windows of one class greedily, the best match first, as OverFeat merges its boxes."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.candidates import Candidates, in_order
from fullfield.decisions.suppression import area, overlap

_EDGES = ("top", "left", "bottom", "right")


def merge(found: Candidates, limit: float, reach: tuple[float, float]) -> tuple[Candidates, NDArray[np.int64]]:
    """Merged windows in order, and of how many windows each is made.

    Of all pairs of one class the one with the least match score is replaced by the average of the two, until no score
    is at most ``limit``:

        match = distance of the centres / side + 1 - intersection / union,   side = (sqrt(area) + sqrt(area')) / 2

    The score of a merged window is the sum of those it is made of. Of equal match scores the pair that was made first
    comes first.

    Args:
        found: windows in their order.
        limit: greatest match score of a pair that is merged, less than 1: windows apart are never merged.
        reach: height and width of the largest window, px.

    Source: Sermanet et al. 2014, section 4.3, arXiv 1312.6229. There the match score is the distance of the centres and
        the intersection, without units; here both are shares.
    """
    work = _Merging(found, limit, reach)
    work.run()
    alive = work.alive[: work.count]
    boxes, counts = work.boxes[: work.count][alive], work.counts[: work.count][alive]
    boxes["map"] = np.arange(len(boxes))  # of equal ones the one that was made first comes first
    boxes = in_order(boxes)
    return boxes, counts[boxes["map"]]


class _Merging:
    """Windows, merged ones behind them, each with its best later partner."""

    def __init__(self, found: Candidates, limit: float, reach: tuple[float, float]) -> None:
        self.count, self._limit, self._reach = len(found), limit, reach
        self.boxes = np.concatenate([found, np.empty(max(0, len(found) - 1), found.dtype)])
        for centre, low, high in (("y", "top", "bottom"), ("x", "left", "right")):
            self.boxes[centre] = (self.boxes[low] + self.boxes[high]) / 2
        self.counts = np.ones(len(self.boxes), np.int64)
        self.alive = np.zeros(len(self.boxes), np.bool_)
        self.alive[: self.count] = True
        self._best = [(math.inf, -1)] * len(self.boxes)
        self._wanted_by: dict[int, set[int]] = defaultdict(set)
        self._bins: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        self._places: list[tuple[int, int, int]] = []
        self._heap: list[tuple[float, int, int]] = []
        for number in range(self.count):
            self._insert(number)

    def run(self) -> None:
        """Merges until no pair matches."""
        for number in range(self.count):
            self._seek(number)
        while self._heap:
            match, one, other = heapq.heappop(self._heap)
            if self.alive[one] and self._best[one] == (match, other):
                self._merge(one, other)

    def _merge(self, one: int, other: int) -> None:
        """Replaces two windows by their average."""
        new, boxes = self.count, self.boxes
        self.count += 1
        a, b = boxes[one], boxes[other]
        boxes[new] = a
        for name in _EDGES:
            boxes[name][new] = (a[name] + b[name]) / 2
        boxes["y"][new] = (boxes["top"][new] + boxes["bottom"][new]) / 2
        boxes["x"][new] = (boxes["left"][new] + boxes["right"][new]) / 2
        boxes["score"][new] = a["score"] + b["score"]
        self.counts[new] = self.counts[one] + self.counts[other]
        self.alive[new] = True
        for gone in (one, other):
            self.alive[gone] = False
            self._bins[self._places[gone]].remove(gone)
        self._insert(new)
        for each in sorted(self._wanted_by.pop(one, set()) | self._wanted_by.pop(other, set())):
            if self.alive[each] and self._best[each][1] in (one, other):
                self._seek(each)
        near = self._near(new)
        near = near[near < new]
        for each, match in zip(near.tolist(), self._matches(new, near).tolist(), strict=True):
            if match <= self._limit and match < self._best[each][0]:
                self._take(each, match, new)

    def _insert(self, number: int) -> None:
        box = self.boxes[number]
        place = int(box["cls"]), math.floor(box["y"] / self._reach[0]), math.floor(box["x"] / self._reach[1])
        self._places.append(place)
        self._bins[place].append(number)

    def _near(self, number: int) -> NDArray[np.intp]:
        """The windows of the class in the nine bins around."""
        cls, row, column = self._places[number]
        places = ((cls, row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
        return np.array([each for place in places for each in self._bins.get(place, ())], np.intp)

    def _seek(self, number: int) -> None:
        """Finds the best of the later windows, of equal ones the first."""
        near = self._near(number)
        near = np.sort(near[near > number])
        self._best[number] = math.inf, -1
        if len(near):
            matches = self._matches(number, near)
            at = int(matches.argmin())
            if matches[at] <= self._limit:
                self._take(number, float(matches[at]), int(near[at]))

    def _take(self, number: int, match: float, partner: int) -> None:
        self._best[number] = match, partner
        self._wanted_by[partner].add(number)
        heapq.heappush(self._heap, (match, number, partner))

    def _matches(self, one: int, others: NDArray[np.intp]) -> NDArray[np.float64]:
        a, b = self.boxes[one], self.boxes[others]
        apart = np.sqrt((b["y"] - a["y"]) ** 2 + (b["x"] - a["x"]) ** 2)
        return np.asarray(apart / ((np.sqrt(area(a)) + np.sqrt(area(b))) / 2) + (1 - overlap(a, b)))
