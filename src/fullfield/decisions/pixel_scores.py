"""Scores at the pixels of an image: interpolated between the centres of windows, the same bits for any region."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair, Region
from fullfield.store.encoding import activated
from fullfield.store.maps import Activation, ScoreMap, decoded


@dataclass(frozen=True)
class _Axis:
    """The cells that some pixels of one axis are interpolated from.

    Args:
        index: cells of each pixel ``(pixels, n)``, counted from ``low``.
        shares: their shares; each row sums to 1.
        nearest: cell nearest to each pixel's centre, counted from ``low``; arbitrary where ``inside`` is false.
        inside: whether that cell is in the map.
        low, high: the cells needed, half-open.
    """

    index: NDArray[np.intp]
    shares: NDArray[np.float64]
    nearest: NDArray[np.intp]
    inside: NDArray[np.bool_]
    low: int
    high: int


@dataclass(frozen=True)
class PixelScores:
    """Scores of some classes at the pixels of the whole image, read by region.

    Bilinear between the centres of windows; beyond the outermost centres the outermost cells extend by half a cell, and
    by a whole one where windows reach beyond the image, so that its last pixels have scores too.
    Cells without a score have no share. Every number is computed by itself in a fixed order, without matrix products,
    so that it does not depend on the region that is read.

    Args:
        scores: the map.
        bands: which of its bands.
        activation: turns the network's scores into probabilities first.
        size: height and width of the grid of pixels over the whole image.
    """

    scores: ScoreMap
    bands: tuple[int, ...]
    activation: Activation | None
    size: Pair

    @property
    def bytes_of_cells(self) -> int:
        """Bytes of the cells that are read for one pixel, in float64 twice."""
        placement = self.scores.spec.placement
        pixel = math.prod(n / m for n, m in zip(placement.image, self.size, strict=True))
        return math.ceil(16 * self.scores.spec.shape[0] * pixel / math.prod(placement.spacing))

    def read(self, region: Region) -> tuple[NDArray[np.bool_], Iterator[NDArray[np.float64]]]:
        """Which pixels ``(y, x)`` have scores, and the scores of each class in turn; arbitrary where there is none."""
        top, bottom, left, right = region
        y, x = (
            _axis(self.scores.spec.placement, 0, self.size, (top, bottom)),
            _axis(self.scores.spec.placement, 1, self.size, (left, right)),
        )
        shape = bottom - top, right - left
        if y.low >= y.high or x.low >= x.high:
            return np.zeros(shape, np.bool_), (np.zeros(shape) for _ in self.bands)
        cells, known = self._cells(y, x)
        valid = (y.inside[:, None] & x.inside) & known.take(y.nearest, 0).take(x.nearest, 1)
        return valid, self._planes(cells, known, y, x)

    def _cells(self, y: _Axis, x: _Axis) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Scores of the chosen classes at some cells, 0 for none; and which cells have all of them."""
        region = y.low, y.high, x.low, x.high
        numbers = self.scores.read(*region)
        if self.activation is None:
            numbers = numbers[list(self.bands)]
        cells = wide_activated(decoded(numbers, self.scores.spec), self.activation)
        if self.activation is not None:
            cells = cells[list(self.bands)]
        known = np.isfinite(cells).all(axis=0) & self.scores.valid(*region)
        return np.where(known, cells, 0.0), known

    def _planes(
        self, cells: NDArray[np.float64], known: NDArray[np.bool_], y: _Axis, x: _Axis
    ) -> Iterator[NDArray[np.float64]]:
        """Each class at each pixel."""
        weight = None if known.all() else _mixed(known.astype(np.float64), y, x)
        for plane in cells:
            mixed = _mixed(plane, y, x)
            if weight is not None:
                np.divide(mixed, weight, out=mixed, where=weight > 0)
            yield mixed


def wide_activated(scores: NDArray[np.floating], activation: Activation | None) -> NDArray[np.float64]:
    """Probabilities of scores ``(k, y, x)``, in the same bits whatever ``y`` and ``x`` are.

    Of a single cell NumPy would add the classes in another order than of several.
    """
    if scores.shape[1] * scores.shape[2] != 1:
        return activated(np.ascontiguousarray(scores), activation)
    return activated(np.repeat(scores, 2, axis=2), activation)[:, :, :1]


def _axis(placement: Placement, axis: int, size: Pair, span: Pair) -> _Axis:
    """The cells of the pixels ``[start, stop)`` of one axis."""
    count, cell = placement.shape[axis], placement.spacing[axis]
    pixel = placement.image[axis] / size[axis]
    centres = (np.arange(*span) + 0.5) * pixel
    place = np.round((centres - placement.centre(-0.5, -0.5)[axis]) / cell - 0.5, 9)  # a centre is met exactly
    nearest: NDArray[np.intp] = np.clip(np.floor(place + 0.5), 0, count - 1).astype(np.intp)
    around = 1.0 if placement.padding[2 * axis] > 0 else 0.5  # windows beyond the image: the next one has no centre
    inside = (place >= -around) & (place < count - 1 + around)
    if not inside.any():
        return _Axis(np.zeros((0, 0), np.intp), np.zeros((0, 0)), nearest, inside, 0, 0)
    wide = max(1.0, pixel / cell)  # where pixels are larger than cells, every cell counts
    reach = math.ceil(wide)
    index = np.floor(place).astype(np.intp)[:, None] + np.arange(1 - reach, reach + 1)
    shares = np.clip(1 - np.abs(place[:, None] - index) / wide, 0, None)
    total = np.zeros(len(place))
    for share in shares.T:
        total += share
    shares /= total[:, None]
    index = np.clip(index, 0, count - 1)
    low, high = int(index[inside].min()), int(index[inside].max()) + 1
    index, nearest = np.clip(index - low, 0, high - low - 1), np.clip(nearest - low, 0, high - low - 1)
    return _Axis(index, shares, nearest, inside, low, high)


def _mixed(cells: NDArray[np.float64], y: _Axis, x: _Axis) -> NDArray[np.float64]:
    """Sum of the cells of each pixel, each times its share."""
    rows = np.zeros((len(y.index), cells.shape[1]))
    for index, share in zip(y.index.T, y.shares.T, strict=True):
        rows += cells[index] * share[:, None]
    out = np.zeros((len(rows), len(x.index)))
    for index, share in zip(x.index.T, x.shares.T, strict=True):
        out += rows[:, index] * share
    return out
