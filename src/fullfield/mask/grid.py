"""Which cells of a map are wanted, from a picture of the image that says where to look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.protocols import WantedCells
from fullfield.errors import GeometryError
from fullfield.geometry.placement import Placement

MOST_CELLS = 1 << 24  # of a grid: 16 MiB, and 64 MiB for its sums
FULL = 255
_NEAR = 1e-6  # of a grid cell: edges nearer than that are one edge, whatever the rounding
_SIDE = 2048  # cells a side of the blocks in which a whole map is asked for


@dataclass(frozen=True, eq=False)
class MaskGrid:
    """A picture of an image: how much of each of its cells is inside.

    Grid cell ``(a, b)`` covers pixels ``[a*p, (a+1)*p) x [b*q, (b+1)*q)`` of the original image, ``(p, q) = pixel``.

    Args:
        cells: ``(rows, columns)``, 0 for nothing, 255 for all, 1 at least where anything is inside.
        pixel: height and width of a grid cell, px of the original image.
    """

    cells: NDArray[np.uint8]
    pixel: tuple[float, float]

    @cached_property
    def touched(self) -> NDArray[Any]:
        """Integral image of the cells that are not empty: entry ``(a, b)`` counts those of ``[:a, :b]``."""
        return _integral(self.cells != 0)

    @cached_property
    def covered(self) -> NDArray[Any]:
        """Integral image of the coverage, in 255ths of a grid cell."""
        return _integral(self.cells)

    @property
    def share(self) -> float:
        """Part of the grid that is not empty, 0 to 1."""
        return float(np.count_nonzero(self.cells) / self.cells.size)


def grid_from_mask(inside: NDArray[np.bool_], size: tuple[int, int]) -> MaskGrid:
    """The grid of a mask that spans an image of height and width ``size``, px."""
    rows, columns = inside.shape
    return MaskGrid(inside.astype(np.uint8) * np.uint8(FULL), (size[0] / rows, size[1] / columns))


def _integral(cells: NDArray[Any]) -> NDArray[Any]:
    """Sums over ``[:a, :b]`` for every corner ``(a, b)``."""
    most = cells.size * (1 if cells.dtype == np.bool_ else FULL)
    kind = np.uint32 if most < 2**32 else np.uint64
    sums = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), kind)
    np.cumsum(cells, axis=0, dtype=kind, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


@dataclass(frozen=True, eq=False)
class MaskCells:
    """Cells whose window touches a mask, or is covered by it; implements ``engine.protocols.WantedCells``.

    The window of cell ``(i, j)`` is that of the placement, brought to pixels of the original image. What of it lies
    outside the image counts for nothing, neither inside nor in the window's area.

    Args:
        grid: the mask.
        placement: of the map on the image.
        min_coverage: least part of the window's area in the image that must be inside; 0 asks for a touch only.
    """

    grid: MaskGrid
    placement: Placement
    min_coverage: float = 0.0

    def __post_init__(self) -> None:
        check_coverage(self.min_coverage)

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells ``(rows, columns)`` of the block whose first is ``(row, column)`` are wanted."""
        y, x = window_edges(self.placement, row, rows, 0), window_edges(self.placement, column, columns, 1)
        return wanted(self.grid, y, x, self.min_coverage)


@dataclass(frozen=True)
class AllOf:
    """Cells that all of several ``WantedCells`` want."""

    wheres: tuple[WantedCells, ...]

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells ``(rows, columns)`` of a block all of them want; who comes later is not asked in vain."""
        found = np.ones((rows, columns), np.bool_)
        for where in self.wheres:
            found &= where.cells(row, column, rows, columns)
            if not found.any():
                break
        return found


@dataclass(frozen=True)
class Everywhere:
    """All cells."""

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """True ``(rows, columns)`` times."""
        return np.ones((rows, columns), np.bool_)


def check_coverage(value: float) -> None:
    """Passes a part of a whole.

    Raises:
        GeometryError: not a number from 0 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise GeometryError(
            "min_coverage", f"{value!r} is not from 0 to 1", fix="use 0 for any touch, 0.5 for half of a window"
        )


def window_edges(placement: Placement, first: int, count: int, axis: int) -> NDArray[np.float64]:
    """Where the windows of rows (axis 0) or columns (1) of a map start and stop, clipped to the image.

    Shape: ``(2, count)``, px of the original image.
    """
    low = np.arange(first, first + count) * placement.step[axis] - placement.padding[2 * axis]
    edges = np.stack([low, low + placement.window[axis]])
    length = placement.scanned[axis]
    return edges.clip(0, length) * placement.image[axis] / length


def wanted(grid: MaskGrid, y: NDArray[np.float64], x: NDArray[np.float64], min_coverage: float) -> NDArray[np.bool_]:
    """Which of the rectangles ``y`` × ``x`` (px) touch the mask or are covered by it.

    Shape: ``(2, n)``, ``(2, m)`` -> ``(n, m)``
    """
    v, u = y / grid.pixel[0], x / grid.pixel[1]
    if min_coverage == 0:
        t, b = _outward(v, grid.cells.shape[0])
        l, r = _outward(u, grid.cells.shape[1])
        s = grid.touched
        # sums wrap around together, so that the difference is right in unsigned numbers too
        found: NDArray[np.bool_] = (s[np.ix_(b, r)] - s[np.ix_(t, r)]) != (s[np.ix_(b, l)] - s[np.ix_(t, l)])
        found &= (b > t)[:, None]
        found &= r > l
        return found
    inside = _within(grid.covered, v, u)
    area = (v[1] - v[0])[:, None] * (u[1] - u[0])
    enough: NDArray[np.bool_] = (inside > 0) & (inside >= (min_coverage - 1e-9) * FULL * area)
    return enough


def _outward(edges: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """First and one past the last grid cell that intervals have something in common with."""
    low, high = np.floor(edges[0] + _NEAR), np.ceil(edges[1] - _NEAR)
    return np.stack([low, high]).clip(0, count).astype(np.intp)


def _within(sums: NDArray[Any], v: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coverage within rectangles, in 255ths of a grid cell; a cell's coverage is taken to be even over it."""
    left = min(int(u.min(initial=u.max(initial=0))), sums.shape[1] - 2)
    sums, u = sums[:, left : int(u.max(initial=0)) + 2], u - left
    rows = _between(sums, v[1], 0) - _between(sums, v[0], 0)
    return _between(rows, u[1], 1) - _between(rows, u[0], 1)


def _between(sums: NDArray[Any], at: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """An integral image at fractional rows or columns."""
    last = sums.shape[axis] - 1
    at = at.clip(0, last)
    low = np.minimum(np.floor(at).astype(np.intp), last - 1)
    part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
    found: NDArray[np.float64] = np.take(sums, low, axis) * (1 - part) + np.take(sums, low + 1, axis) * part
    return found


def blocks(rows: int, columns: int, side: int = _SIDE) -> Iterator[tuple[int, int, int, int]]:
    """A map, block by block: first row, first column, rows, columns."""
    for i in range(0, rows, side):
        for j in range(0, columns, side):
            yield i, j, min(side, rows - i), min(side, columns - j)


def count_wanted(where: WantedCells, shape: tuple[int, int]) -> int:
    """Cells of a map of ``shape`` that are wanted."""
    return sum(int(np.count_nonzero(where.cells(*block))) for block in blocks(*shape))


def any_wanted(where: WantedCells, shape: tuple[int, int]) -> bool:
    """Whether some cell of a map of ``shape`` is wanted."""
    return any(bool(where.cells(*block).any()) for block in blocks(*shape))
