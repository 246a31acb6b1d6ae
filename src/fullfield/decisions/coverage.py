"""The weight of each window in a decision: every pixel of the image counts alike, however many windows cover it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.selected import Selected
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Region
from fullfield.mask.grid import map_blocks

WEIGHT_BITS = 52
"""Of a weight: a float64 holds it without rounding."""
_SUM_BITS = 62  # of a sum over the strips of a window
_SIDE = 512  # cells a side of the blocks in which the area is counted


class _Strips(NamedTuple):
    """One axis of the image, cut where a window starts or stops: the same windows cover all px of a strip.

    Args:
        lengths: px of each strip.
        first, last: windows ``[first, last)`` cover it.
        start, stop: of each window, its strips ``[start, stop)``.
    """

    lengths: NDArray[np.int64]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    start: NDArray[np.intp]
    stop: NDArray[np.intp]

    def along(self) -> NDArray[np.float64]:
        """Each window's weight along this axis, where all windows have scores: the sum of 1/windows over its px."""
        share = self.lengths / np.maximum(self.last - self.first, 1)
        total = np.zeros(len(self.start))
        for k in range(int((self.stop - self.start).max())):
            inside = self.start + k < self.stop
            total[inside] += share[self.start[inside] + k]
        return total

    def like_the_middle(self) -> NDArray[np.bool_]:
        """The windows whose strips are as long, and covered by as many windows, as those of the middle one."""
        middle, lengths = len(self.start) // 2, self.stop - self.start
        alike, counts = lengths == lengths[middle], self.last - self.first
        for k in range(int(lengths[middle])):
            at, wanted = np.where(alike, self.start + k, self.start[middle] + k), self.start[middle] + k
            alike = alike & (self.lengths[at] == self.lengths[wanted]) & (counts[at] == counts[wanted])
        return np.asarray(alike)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Weights of the windows with scores of a map.

    A window weighs the sum over its pixels in the image of 1 / (number of windows with scores that cover the pixel), so
    that the weights add up to the number of covered pixels. Where all windows have scores this is the product of one
    weight along y and one along x. Weights are whole multiples of a power of 2: their sums do not depend on any order.

    Args:
        placement: of the map on the image.
        selected: the windows.
    """

    placement: Placement
    selected: Selected

    @cached_property
    def window_area(self) -> int:
        """Of a window, px."""
        return self.placement.window[0] * self.placement.window[1]

    @cached_property
    def unit_bits(self) -> int:
        """Weights are multiples of ``2^-unit_bits`` px, and less than ``2^52`` of these."""
        return WEIGHT_BITS - self.window_area.bit_length()

    @cached_property
    def _axes(self) -> tuple[_Strips, _Strips]:
        return _strips(self.placement, 0), _strips(self.placement, 1)

    @cached_property
    def _along(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._axes[0].along(), self._axes[1].along()

    @cached_property
    def _inside(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The rows and columns whose windows are cut into strips like those of the middle one."""
        return self._axes[0].like_the_middle(), self._axes[1].like_the_middle()

    @cached_property
    def _plain(self) -> float:
        """The weight of a window like the one in the middle, if all windows around it have scores."""
        middle = [count // 2 for count in self.placement.shape]
        strips = [slice(int(a.start[k]), int(a.stop[k])) for a, k in zip(self._axes, middle, strict=True)]
        areas = np.multiply.outer(*(axis.lengths[part] for axis, part in zip(self._axes, strips, strict=True)))
        counts = np.multiply.outer(
            *(axis.last[part] - axis.first[part] for axis, part in zip(self._axes, strips, strict=True))
        )
        return float(self._rounded(self._shares(areas, counts).sum() * 2.0**-self._sum_bits))

    def weights(self, region: Region) -> NDArray[np.float64]:
        """Weights ``(y, x)`` of a block of windows, px; those of windows without scores have no meaning."""
        top, bottom, left, right = region
        if self.selected.all:
            product = np.multiply.outer(self._along[0][top:bottom], self._along[1][left:right])
            return self._rounded(product)
        y, x = (
            slice(int(axis.start[low]), int(axis.stop[high - 1]))
            for axis, low, high in zip(self._axes, (top, left), (bottom, right), strict=True)
        )
        known = self.selected.read(self._covering(y, x))
        if known.all() and self._inside[0][top:bottom].all() and self._inside[1][left:right].all():
            return np.full((bottom - top, right - left), self._plain)
        area = np.multiply.outer(self._axes[0].lengths[y], self._axes[1].lengths[x])
        ends = [
            (axis.start[block] - strips.start, axis.stop[block] - strips.start)
            for axis, block, strips in zip(self._axes, (slice(top, bottom), slice(left, right)), (y, x), strict=True)
        ]
        sums = _boxes(self._shares(area, self._counts(known, y, x)), *ends)
        return self._rounded(sums * 2.0**-self._sum_bits)

    @property
    def _sum_bits(self) -> int:
        """Parts of a weight are multiples of ``2^-_sum_bits`` px, so that their sum over a window fits 64 bits."""
        return _SUM_BITS - self.window_area.bit_length()

    def _shares(self, area: NDArray[np.int64], counts: NDArray[Any]) -> NDArray[np.uint64]:
        """Area over the number of windows that cover it, as whole numbers; 0 where none does."""
        shares = (area * 2.0**self._sum_bits) / np.maximum(counts, 1)
        shares[counts == 0] = 0
        return np.asarray(np.rint(shares), np.uint64)

    def _rounded(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return rounded(weights, self.unit_bits)

    def covered_pixels(self) -> int:
        """Pixels of the scanned image that some window with scores covers."""
        if self.selected.all:
            along = [int(axis.lengths[axis.last > axis.first].sum()) for axis in self._axes]
            return along[0] * along[1]
        total, (top, bottom, left, right) = 0, self.selected.box
        for i, j, rows, columns in map_blocks(bottom - top, right - left, _SIDE):
            y, x = (
                _own(axis, first + at, first + at + count, end)
                for axis, first, at, count, end in zip(
                    self._axes, (top, left), (i, j), (rows, columns), (bottom, right), strict=True
                )
            )
            known = self.selected.read(self._covering(y, x))
            if known.any():
                area = np.multiply.outer(self._axes[0].lengths[y], self._axes[1].lengths[x])
                total += int(area[self._counts(known, y, x) > 0].sum())
        return total

    def effective(self) -> float:
        """Covered pixels over a window's: as many windows as would cover them without overlap, at least 1.

        The mean weighs every covered pixel alike. If a score is the mean of independent pixels of its window, two
        scores correlate by their windows' common share; then ``1 / sum(p_i p_j r_ij)`` of a large map's normalized
        weights is this number, but for windows along the map's edges.

        Source: Griffith 2005, Annals of the AAG 95(4), eq. 3, 10.1111/j.1467-8306.2005.00484.x
        """
        return max(1.0, self.covered_pixels() / self.window_area)

    def _covering(self, y: slice, x: slice) -> Region:
        """The windows that cover some strips: a half-open rectangle of cells."""
        (top, bottom), (left, right) = (
            (int(axis.first[strips].min(initial=len(axis.start))), int(axis.last[strips].max(initial=0)))
            for axis, strips in zip(self._axes, (y, x), strict=True)
        )
        return top, max(top, bottom), left, max(left, right)

    def _counts(self, known: NDArray[np.bool_], y: slice, x: slice) -> NDArray[np.uint32]:
        """Windows with scores that cover each pair of a strip along y and one along x.

        Args:
            known: which of the windows that cover them have scores.
            y, x: the strips.
        """
        top, _, left, _ = self._covering(y, x)
        spans = [
            (axis.first[strips] - low, np.maximum(axis.last[strips], axis.first[strips]) - low)
            for axis, strips, low in zip(self._axes, (y, x), (top, left), strict=True)
        ]
        return _boxes(known.astype(np.uint32), *spans)


def rounded(weights: NDArray[np.float64], unit_bits: int) -> NDArray[np.float64]:
    """The nearest multiples of ``2^-unit_bits``."""
    unit = 2.0**-unit_bits
    return np.rint(weights / unit) * unit


def _own(axis: _Strips, low: int, high: int, end: int) -> slice:
    """The strips of a block of windows that no later block counts."""
    return slice(int(axis.start[low]), int(axis.stop[high - 1]) if high == end else int(axis.start[high]))


def _strips(placement: Placement, axis: int) -> _Strips:
    """The strips of the scanned image along an axis."""
    length, before = placement.scanned[axis], placement.padding[2 * axis]
    low = np.arange(placement.shape[axis], dtype=np.int64) * placement.step[axis] - before
    low, high = low.clip(0, length), (low + placement.window[axis]).clip(0, length)
    edges = np.unique(np.concatenate([low, high]))
    first, last = np.searchsorted(high, edges[1:], "left"), np.searchsorted(low, edges[:-1], "right")
    return _Strips(np.diff(edges), first, last, np.searchsorted(edges, low), np.searchsorted(edges, high))


def _boxes(
    numbers: NDArray[Any],
    y: tuple[NDArray[np.intp], NDArray[np.intp]],
    x: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> NDArray[Any]:
    """Sums over the boxes ``[start, stop)`` of all pairs along y and x, which fit the unsigned type of the numbers.

    The running sums may wrap around; their differences are right all the same.
    """
    down = np.zeros((numbers.shape[0] + 1, numbers.shape[1]), numbers.dtype)
    np.cumsum(numbers, axis=0, dtype=numbers.dtype, out=down[1:])
    rows = down[y[1]] - down[y[0]]
    across = np.zeros((rows.shape[0], rows.shape[1] + 1), numbers.dtype)
    np.cumsum(rows, axis=1, dtype=numbers.dtype, out=across[:, 1:])
    return np.asarray(np.take(across, x[1], axis=1) - np.take(across, x[0], axis=1))
