"""Labels that are points: each is a sample, at the cell whose window's centre is nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.labels import UNLABELLED, Samples, Targets, fractional_cells, window_centres
from fullfield.geometry.placement import Placement
from fullfield.mask.polygons import Rings


@dataclass(frozen=True, eq=False)
class PointLabels:
    """Points and their classes; implements ``CellLabels``.

    Args:
        placement: of the map.
        points: ``(n, 2)``, x and y in px of the image.
        codes: ``(n,)``, of their classes.
        distance: px of the image within which a point is found.
        outside: class of the cells farther than that from every point; ``None`` leaves these out.
    """

    placement: Placement
    points: NDArray[np.float64]
    codes: NDArray[np.intp]
    distance: float
    outside: int | None = None

    @property
    def unit(self) -> str:
        """Points, and cells where these have a class too."""
        return "points" if self.outside is None else "points and cells"

    @cached_property
    def _placed(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Row, column and code of the points on the map, by row."""
        cells, (rows, columns) = self._cells[self._on_map], self.placement.shape
        x, y = np.floor(cells).astype(np.intp).clip(0, (columns - 1, rows - 1)).T
        order = np.argsort(y, kind="stable")
        return y[order], x[order], self.codes[self._on_map][order]

    @cached_property
    def _cells(self) -> NDArray[np.float64]:
        return fractional_cells(self.placement, self.points)

    @cached_property
    def _on_map(self) -> NDArray[np.bool_]:
        """Which points some cell of the map covers."""
        on_map: NDArray[np.bool_] = np.all((self._cells >= 0) & (self._cells <= self.placement.shape[::-1]), axis=1)
        return on_map

    @property
    def targets(self) -> Targets:
        """All points on the map that are not left out."""
        kept = self._on_map & (self.codes != UNLABELLED)
        points = self.points[kept]
        one_each = Rings(points, np.ones(len(points), np.intp), np.arange(len(points)))
        return Targets(one_each, self.codes[kept], self.distance)

    @property
    def left_out(self) -> dict[str, int]:
        """Points without a class, and points that no cell of the map covers."""
        off = len(self.points) - len(self._placed[0])
        return {
            "points outside the map, left out": off,
            "points left out by their class": int((self.codes == UNLABELLED).sum()),
        }

    def samples(self, top: int, left: int, rows: int, columns: int) -> Samples:
        """The points whose nearest cell lies in a block, and of cells far from all points the class outside."""
        row, column, codes = self._within(top, left, rows, columns)
        cells, codes = (row * columns + column)[codes != UNLABELLED], codes[codes != UNLABELLED]
        if self.outside is None:
            return Samples(cells, codes)
        far = np.flatnonzero(self._far(top, left, rows, columns))
        return Samples(np.concatenate([cells, far]), np.concatenate([codes, np.full(len(far), self.outside)]))

    def _within(
        self, top: int, left: int, rows: int, columns: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Row and column in a block, and code, of the points whose nearest cell lies in it."""
        row, column, codes = self._placed
        part = slice(*np.searchsorted(row, (top, top + rows)))
        inside = (column[part] >= left) & (column[part] < left + columns)
        return row[part][inside] - top, column[part][inside] - left, codes[part][inside]

    def _far(self, top: int, left: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells of a block are farther than the distance from every point, and nearest to none."""
        y = window_centres(self.placement, top, rows, 0)
        x = window_centres(self.placement, left, columns, 1)
        far = np.ones((rows, columns), np.bool_)
        reach = self.distance + np.array(self.placement.spacing)
        px, py = self.points.T
        near = (py > y[0] - reach[0]) & (py < y[-1] + reach[0]) & (px > x[0] - reach[1]) & (px < x[-1] + reach[1])
        for point_x, point_y in self.points[near]:
            i = slice(*np.searchsorted(y, (point_y - reach[0], point_y + reach[0])))
            j = slice(*np.searchsorted(x, (point_x - reach[1], point_x + reach[1])))
            far[i, j] &= (y[i, None] - point_y) ** 2 + (x[j] - point_x) ** 2 > self.distance**2
        row, column, _ = self._within(top, left, rows, columns)
        far[row, column] = False
        return far
