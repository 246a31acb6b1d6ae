"""Labels that are polygons: a cell belongs to the one that its window's centre lies in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.labels import UNLABELLED, Samples, Targets, fractional_cells
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair
from fullfield.mask.grid import FULL
from fullfield.mask.polygons import Rings, burn


@dataclass(frozen=True, eq=False)
class AreaLabels:
    """Polygons and their classes; implements ``CellLabels``.

    Of polygons that overlap the one of the smallest area counts, as annotations are drawn one within the other.

    Args:
        placement: of the map.
        polygons: in px of the image.
        codes: ``(n,)``, the class of each owner's polygons; -1 leaves out what lies in it.
        outside: class of cells in no polygon; ``None`` leaves these out.
    """

    placement: Placement
    polygons: Rings
    codes: NDArray[np.intp]
    outside: int | None = None
    unit: str = "cells"

    @cached_property
    def _shapes(self) -> list[_Shape]:
        """The polygons in cells, the largest first."""
        cells = self.polygons._replace(points=fractional_cells(self.placement, self.polygons.points))
        shapes = [_Shape.of(rings, owner, int(self.codes[owner])) for owner, rings in each_owner(cells)]
        return sorted(shapes, key=lambda shape: -shape.area)

    @property
    def targets(self) -> Targets | None:
        """All polygons that are not left out, where everything outside of them is labelled."""
        if self.outside is None:
            return None
        size = np.array(self.placement.shape[::-1])
        on_map = {shape.owner for shape in self._shapes if _meets(shape, size)}
        kept = (self.codes[self.polygons.owners] != UNLABELLED) & np.isin(self.polygons.owners, list(on_map))
        points = self.polygons.points[np.repeat(kept, self.polygons.lengths)]
        return Targets(Rings(points, self.polygons.lengths[kept], self.polygons.owners[kept]), self.codes, 0.0)

    @property
    def left_out(self) -> dict[str, int]:
        """Polygons without a class, and polygons that touch no cell's rectangle."""
        size = np.array(self.placement.shape[::-1])
        off = sum(not _meets(shape, size) for shape in self._shapes)
        without = int((self.codes == UNLABELLED).sum())
        return {"polygons outside the map, left out": off, "polygons left out by their class": without}

    def samples(self, top: int, left: int, rows: int, columns: int) -> Samples:
        """The cells of a block whose centres lie in a polygon."""
        outside = UNLABELLED if self.outside is None else self.outside
        codes = np.full((rows, columns), outside, np.intp)
        touched, mixed = np.zeros((2, rows, columns), np.bool_)
        for shape in self._shapes:
            shape.paint(codes, touched, mixed, top, left)
        flat = codes.ravel()
        cells = np.flatnonzero(flat != UNLABELLED)
        return Samples(cells, flat[cells], int(mixed.sum()))


@dataclass(frozen=True, eq=False)
class _Shape:
    """One label: rings in cells, its class, and the rows and columns that it spans."""

    rings: Rings
    owner: int
    code: int
    area: float
    low: NDArray[np.intp]
    high: NDArray[np.intp]

    @classmethod
    def of(cls, rings: Rings, owner: int, code: int) -> _Shape:
        low = np.floor(rings.points.min(axis=0)).astype(np.intp)
        return cls(rings, owner, code, enclosed(rings), low, np.ceil(rings.points.max(axis=0)).astype(np.intp))

    def paint(
        self, codes: NDArray[np.intp], touched: NDArray[np.bool_], mixed: NDArray[np.bool_], top: int, left: int
    ) -> None:
        """Sets the code of the cells of a block whose centres lie inside, and marks those of several classes."""
        start = np.maximum(self.low - (left, top), 0)
        stop = np.minimum(self.high - (left, top), codes.shape[::-1])
        (width, height) = stop - start
        if width <= 0 or height <= 0:
            return
        inside = centres_inside(self.rings, np.add(start, (left, top)), (height, width))
        at = slice(start[1], stop[1]), slice(start[0], stop[0])
        if self.code != UNLABELLED:
            mixed[at] |= inside & touched[at] & (codes[at] != self.code) & (codes[at] != UNLABELLED)
        touched[at] |= inside
        codes[at][inside] = self.code


def _meets(shape: _Shape, size: NDArray[np.intp]) -> bool:
    """Whether a label's bounds meet a map of so many columns and rows."""
    return bool((shape.high > 0).all() and (shape.low < size).all())


def each_owner(polygons: Rings) -> list[tuple[int, Rings]]:
    """The rings of each owner by itself."""
    stops = np.cumsum(polygons.lengths)
    first = np.flatnonzero(np.diff(polygons.owners, prepend=-1))
    found = []
    for a, b in zip(first, [*first[1:], len(polygons.owners)], strict=True):
        points = polygons.points[stops[a] - polygons.lengths[a] : stops[b - 1]]
        found.append((int(polygons.owners[a]), Rings(points, polygons.lengths[a:b], np.zeros(b - a, np.intp))))
    return found


def centres_inside(rings: Rings, start: NDArray[np.intp], size: Pair) -> NDArray[np.bool_]:
    """Which cells have their centre in a polygon: of a block of ``size`` that starts at column and row ``start``.

    Args:
        rings: in cells.
        start: first column and row.
        size: rows and columns.
    """
    inside: NDArray[np.bool_] = burn(rings._replace(points=rings.points - start), size, size).cells == FULL
    return inside


def enclosed(rings: Rings) -> float:
    """Sum of the areas that rings enclose."""
    x, y = (rings.points - rings.points[0]).T
    following = rings.following()
    twice = np.add.reduceat(x * y[following] - x[following] * y, np.cumsum(rings.lengths) - rings.lengths)
    return float(np.abs(twice).sum() / 2)
