"""Finds the cells of a map whose windows touch a mask, or are covered by it, with integral images."""

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

MOST_CELLS = 1 << 24  # of a grid: 16 MiB, and 64 MiB for its integral image
FULL = 255
_NEAR = 1e-6  # grid cells: a window's edge so close to a cell's edge lies on it, up to rounding
_SIDE = 2048  # cells a side of the blocks in which a whole map is evaluated


@dataclass(frozen=True, eq=False)
class MaskGrid:
    """A mask as a grid over the image: the share of each grid cell that is inside the mask.

    Grid cell ``(a, b)`` covers pixels ``[a*p, (a+1)*p) x [b*q, (b+1)*q)`` of the original image, ``(p, q) = pixel``.

    Args:
        cells: ``(rows, columns)``, from 0 (outside) to 255 (inside); at least 1 if any part is inside.
        pixel: height and width of a grid cell, px of the original image.
    """

    cells: NDArray[np.uint8]
    pixel: tuple[float, float]

    @cached_property
    def touched(self) -> NDArray[Any]:
        """Integral image of the cells that are not 0: entry ``(a, b)`` counts those in ``[:a, :b]``."""
        return _integral(self.cells != 0)

    @cached_property
    def covered(self) -> NDArray[Any]:
        """Integral image of the coverage, in 255ths of a grid cell."""
        return _integral(self.cells)

    @property
    def share(self) -> float:
        """Share of the grid cells that are not 0."""
        return float(np.count_nonzero(self.cells) / self.cells.size)


def grid_from_mask(inside: NDArray[np.bool_], size: tuple[int, int]) -> MaskGrid:
    """The grid of a mask ``(rows, columns)`` that spans an image of height and width ``size``, px."""
    rows, columns = inside.shape
    return MaskGrid(inside.astype(np.uint8) * np.uint8(FULL), (size[0] / rows, size[1] / columns))


def _integral(cells: NDArray[Any]) -> NDArray[Any]:
    """The integral image: sums over ``[:a, :b]`` for every corner ``(a, b)``."""
    most = cells.size * (1 if cells.dtype == np.bool_ else FULL)
    kind = np.uint32 if most < 2**32 else np.uint64
    sums = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), kind)
    np.cumsum(cells, axis=0, dtype=kind, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


@dataclass(frozen=True, eq=False)
class MaskCells:
    """Cells whose window touches a mask, or is covered by it; implements ``engine.protocols.WantedCells``.

    Windows are converted to pixels of the original image and clipped to it, so that padding counts neither as inside
    nor as area.

    Args:
        grid: the mask.
        placement: of the map on the image.
        min_coverage: least share of the window's area in the image that must be inside; with 0 any touch is enough.
    """

    grid: MaskGrid
    placement: Placement
    min_coverage: float = 0.0

    def __post_init__(self) -> None:
        check_coverage(self.min_coverage)

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Whether each cell ``(rows, columns)`` of the block that starts at ``(row, column)`` is wanted."""
        y, x = window_edges(self.placement, row, rows, 0), window_edges(self.placement, column, columns, 1)
        return windows_on_mask(self.grid, y, x, self.min_coverage)


@dataclass(frozen=True)
class AllOf:
    """Cells that all conditions want; implements ``engine.protocols.WantedCells``."""

    conditions: tuple[WantedCells, ...]

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Evaluates the conditions for a block in order, and stops when no cell is left."""
        wanted = np.ones((rows, columns), np.bool_)
        for condition in self.conditions:
            wanted &= condition.cells(row, column, rows, columns)
            if not wanted.any():
                break
        return wanted


def check_coverage(value: float) -> None:
    """Checks a share of an area.

    Raises:
        GeometryError: not a number from 0 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise GeometryError(
            "min_coverage", f"{value!r} is not from 0 to 1", fix="use 0 for any touch, 0.5 for half of a window"
        )


def window_edges(placement: Placement, first: int, count: int, axis: int) -> NDArray[np.float64]:
    """Start and stop of the windows of a map's rows (axis 0) or columns (axis 1), clipped to the image.

    Shape: ``(2, count)``, px of the original image.
    """
    low = np.arange(first, first + count) * placement.step[axis] - placement.padding[2 * axis]
    edges = np.stack([low, low + placement.window[axis]])
    length = placement.scanned[axis]
    return edges.clip(0, length) * placement.image[axis] / length


def windows_on_mask(
    grid: MaskGrid, y: NDArray[np.float64], x: NDArray[np.float64], min_coverage: float
) -> NDArray[np.bool_]:
    """Whether each rectangle ``y`` × ``x`` (px) touches the mask, or is covered by it.

    Shape: ``(2, n)``, ``(2, m)`` -> ``(n, m)``
    """
    v, u = y / grid.pixel[0], x / grid.pixel[1]
    if min_coverage == 0:
        t, b = _overlapped_cells(v, grid.cells.shape[0])
        l, r = _overlapped_cells(u, grid.cells.shape[1])
        s = grid.touched
        # unsigned differences wrap around alike, so that the comparison is right
        found: NDArray[np.bool_] = (s[np.ix_(b, r)] - s[np.ix_(t, r)]) != (s[np.ix_(b, l)] - s[np.ix_(t, l)])
        found &= (b > t)[:, None]
        found &= r > l
        return found
    inside = _coverage(grid.covered, v, u)
    area = (v[1] - v[0])[:, None] * (u[1] - u[0])
    enough: NDArray[np.bool_] = (inside > 0) & (inside >= (min_coverage - 1e-9) * FULL * area)
    return enough


def _overlapped_cells(edges: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The grid cells ``[first, last)`` that intervals overlap."""
    low, high = np.floor(edges[0] + _NEAR), np.ceil(edges[1] - _NEAR)
    return np.stack([low, high]).clip(0, count).astype(np.intp)


def _coverage(sums: NDArray[Any], v: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coverage of rectangles in 255ths of a grid cell, taking each cell's coverage as uniform."""
    u = u.clip(0, sums.shape[1] - 1)  # of a part of an image, windows may begin before it
    left = min(int(u.min(initial=u.max(initial=0))), sums.shape[1] - 2)
    sums, u = sums[:, left : int(u.max(initial=0)) + 2], u - left
    rows = _interpolated(sums, v[1], 0) - _interpolated(sums, v[0], 0)
    return _interpolated(rows, u[1], 1) - _interpolated(rows, u[0], 1)


def _interpolated(sums: NDArray[Any], at: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """An integral image interpolated at fractional rows or columns."""
    last = sums.shape[axis] - 1
    at = at.clip(0, last)
    low = np.minimum(np.floor(at).astype(np.intp), last - 1)
    part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
    found: NDArray[np.float64] = np.take(sums, low, axis) * (1 - part) + np.take(sums, low + 1, axis) * part
    return found


def map_blocks(rows: int, columns: int, side: int = _SIDE) -> Iterator[tuple[int, int, int, int]]:
    """The blocks of a map: first row, first column, rows, columns of each."""
    for i in range(0, rows, side):
        for j in range(0, columns, side):
            yield i, j, min(side, rows - i), min(side, columns - j)


def any_wanted(cells: WantedCells, shape: tuple[int, int]) -> bool:
    """Whether any cell of a map of ``shape`` is wanted."""
    return any(bool(cells.cells(*block).any()) for block in map_blocks(*shape))
