"""Rasterizes polygons conservatively: every grid cell that a polygon touches is marked, however thin it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.mask.grid import FULL, MaskGrid

_EVENTS = 1 << 20  # crossings of rows by edges processed together: about 100 MB
_MOST_EVENTS = 1 << 23  # of one polygon
_NEAR = 1e-9  # grid cells: an edge along a cell's side enters neither cell, up to rounding


class Rings(NamedTuple):
    """The rings of polygons, one after the other; none is empty.

    Args:
        points: ``(n, 2)``, x and y.
        lengths: ``(m,)``, points of each ring.
        owners: ``(m,)``, ascending: the number of the polygon that each ring belongs to.
    """

    points: NDArray[np.float64]
    lengths: NDArray[np.intp]
    owners: NDArray[np.intp]

    def following(self) -> NDArray[np.intp]:
        """Index of the next point of its ring, for every point."""
        found = np.arange(1, len(self.points) + 1)
        stops = np.cumsum(self.lengths)
        found[stops - 1] = stops - self.lengths
        return found


def burn(polygons: Rings, size: tuple[int, int], shape: tuple[int, int]) -> MaskGrid:
    """Polygons as a grid of ``shape`` over an image of ``size``.

    A cell that a boundary enters is touched (1 of 255), a cell whose centre is inside is full. The inside of a polygon
    is by the even-odd rule; polygons are united.

    Args:
        polygons: outer rings and holes, in pixel edges of the image.
        size: height and width of the image, px.
        shape: rows and columns of the grid.

    Raises:
        ImageError: a polygon crosses the grid's rows more often than memory allows.
    """
    rows, columns = shape
    pixel = size[0] / rows, size[1] / columns
    touched, full = (np.zeros((rows, columns + 1), np.int32) for _ in range(2))
    for edges, owner in _edges(polygons, pixel, rows):
        _trace(edges, touched)
        _fill(edges, owner, full)
    for runs in (touched, full):
        np.cumsum(runs, axis=1, out=runs)
    cells = np.where(full[:, :-1] > 0, np.uint8(FULL), (touched[:, :-1] > 0).astype(np.uint8))
    return MaskGrid(cells, pixel)


def _edges(
    polygons: Rings, pixel: tuple[float, float], rows: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.intp]]]:
    """Edges ``(n, 4)`` as x0, y0, x1, y1 in grid cells and each one's polygon; as many whole polygons as fit."""
    if not len(polygons.points):
        return
    owner = np.repeat(polygons.owners, polygons.lengths)
    points = polygons.points / pixel[::-1]
    edges = np.hstack([points, points[polygons.following()]])
    y = edges[:, 1::2].clip(0, rows)
    events = np.cumsum(np.abs(y[:, 1] - y[:, 0]) + 1)
    ends = np.flatnonzero(np.diff(owner, append=-1)) + 1  # where polygons end
    crossed = np.diff(events[ends - 1], prepend=0)
    if crossed.max() > _MOST_EVENTS:
        raise ImageError(
            "mask",
            f"polygon {owner[ends[crossed.argmax()] - 1]} crosses the grid's rows {crossed.max():.0f} times, "
            f"{_MOST_EVENTS} at most are read",
            fix="simplify it, or give a raster mask",
        )
    start = 0
    while start < len(edges):
        done = events[start - 1] if start else 0.0
        fit = int(np.searchsorted(events[ends - 1], done + _EVENTS, "right"))
        stop = int(ends[np.clip(fit - 1, np.searchsorted(ends, start, "right"), len(ends) - 1)])
        yield edges[start:stop], owner[start:stop]
        start = stop


def _trace(edges: NDArray[np.float64], runs: NDArray[np.int32]) -> None:
    """Marks the cells that an edge passes through, as start and stop of a run in each row."""
    rows, columns = runs.shape[0], runs.shape[1] - 1
    x0, y0, x1, y1 = edges.T
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    first = np.floor(low + _NEAR).clip(0, rows)
    last = np.ceil(high - _NEAR).clip(0, rows)
    which, row = _each_row(first, last)
    x0, y0, x1, y1 = edges[which].T
    slope = np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=y1 != y0)
    flat = y1 == y0
    a = np.where(flat, x0, x0 + (np.clip(row, np.minimum(y0, y1), np.maximum(y0, y1)) - y0) * slope)
    b = np.where(flat, x1, x0 + (np.clip(row + 1, np.minimum(y0, y1), np.maximum(y0, y1)) - y0) * slope)
    left = np.floor(np.minimum(a, b) + _NEAR)
    right = np.ceil(np.maximum(a, b) - _NEAR)
    line = row * (columns + 1)
    _mark(runs, line + left.clip(0, columns).astype(np.intp), line + right.clip(0, columns).astype(np.intp))


def _fill(edges: NDArray[np.float64], owner: NDArray[np.intp], runs: NDArray[np.int32]) -> None:
    """Marks the cells whose centres lie inside: in each row of each polygon between pairs of crossings."""
    rows, columns = runs.shape[0], runs.shape[1] - 1
    low, high = edges[:, 1::2].min(axis=1), edges[:, 1::2].max(axis=1)
    which, row = _each_row(np.ceil(low - 0.5).clip(0, rows), np.ceil(high - 0.5).clip(0, rows))
    x0, y0, x1, y1 = edges[which].T
    x = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    column = np.ceil(x - 0.5).clip(0, columns).astype(np.int64)
    places = ((owner[which] - owner[0]) * rows + row) * (columns + 1) + column
    places.sort()  # by polygon, row and column; a closed ring crosses a row an even number of times
    _mark(runs, places[::2] % runs.size, places[1::2] % runs.size)


def _each_row(first: NDArray[np.float64], last: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of edge and row, for every row in ``[first, last)`` of every edge."""
    count = np.maximum(last - first, 0).astype(np.intp)
    which = np.repeat(np.arange(len(count)), count)
    start = np.repeat(np.cumsum(count) - count, count)
    return which, np.arange(len(which)) - start + first.astype(np.intp)[which]


def _mark(runs: NDArray[np.int32], start: NDArray[np.intp], stop: NDArray[np.intp]) -> None:
    """Adds 1 at the places where runs start and subtracts 1 where they stop: empty runs leave no mark."""
    flat = runs.reshape(-1)  # a view: NumPy adds along one axis ten times faster
    np.add.at(flat, start, 1)
    np.add.at(flat, stop, -1)
