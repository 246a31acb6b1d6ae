"""Where the cells of a shared node lie in one table: a row for each cell of each family, a column for each channel.

A strip is then one gather of rows by a constant index, whatever families it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullfield.geometry.strip import Family, Piece, Strip
from fullfield.geometry.tile import AxisCells, TileLayout

FamilyPair = tuple[Family, Family]  # along y and x
Index = NDArray[np.int32]


@dataclass(frozen=True)
class WindowBox:
    """Windows ``[top, bottom) x [left, right)`` of a tile."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def count(self) -> int:
        """Windows in the box."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True)
class FamilyRows:
    """The rows of one family: ``windows`` maps of ``cells``, one after the other, each row by row.

    Args:
        first: row of the table.
        windows: maps along y and x: one for each window, or for each shift on an axis on which windows share cells.
        cells: of one map, along y and x.
    """

    first: int
    windows: tuple[int, int]
    cells: tuple[int, int]

    @property
    def count(self) -> int:
        """Rows."""
        return self.windows[0] * self.windows[1] * self.cells[0] * self.cells[1]


class Table:
    """The rows of one node's families.

    Args:
        layout: the tile's cells.
        name: of the node.
    """

    def __init__(self, layout: TileLayout, name: str) -> None:
        self.axes = layout.y[name], layout.x[name]
        self.windows = layout.windows
        self.blocks: Mapping[FamilyPair, FamilyRows] = self._blocks()

    def _blocks(self) -> dict[FamilyPair, FamilyRows]:
        found: dict[FamilyPair, FamilyRows] = {}
        first = 0
        for pair in ((fy, fx) for fy in self.axes[0].families for fx in self.axes[1].families):
            windows = [axis.maps(f, n) for axis, f, n in zip(self.axes, pair, self.windows, strict=True)]
            cells = [axis.extent(f) for axis, f in zip(self.axes, pair, strict=True)]
            found[pair] = FamilyRows(first, (windows[0], windows[1]), (cells[0], cells[1]))
            first += found[pair].count
        return found

    def index(self, out: FamilyPair, strips: tuple[Strip, Strip], box: WindowBox) -> Index:
        """The rows that family ``out`` of a reader takes, in its order; in padding those of the cells beside it.

        Shape: ``(windows along y, along x, y, x)``; one for each shift along an axis on which ``out`` belongs to none.
        """
        bounds = (box.top, box.bottom), (box.left, box.right)
        joined = np.concatenate(
            [
                np.concatenate([self._part(out, (py, px), bounds) for px in strips[1].pieces], axis=3)
                for py in strips[0].pieces
            ],
            axis=2,
        )
        for dim, strip in ((2, strips[0]), (3, strips[1])):
            low, high = strip.padding
            pads = [(0, 0)] * dim + [(max(0, low), max(0, high))] + [(0, 0)] * (3 - dim)
            joined = np.pad(joined, pads, mode="edge")
            # Dropped after padding: a strip wholly in the padding drops the only cell that it could be cut from.
            joined = joined.take(range(max(0, -low), max(0, -low) + strip.length), axis=dim)
        return joined

    def _part(
        self, out: FamilyPair, pieces: tuple[Piece, Piece], bounds: tuple[tuple[int, int], tuple[int, int]]
    ) -> Index:
        """The rows of one rectangle of cells."""
        block = self.blocks[pieces[0].family, pieces[1].family]
        (wy, y), (wx, x) = (
            _positions(axis, f, piece, span)
            for axis, f, piece, span in zip(self.axes, out, pieces, bounds, strict=True)
        )
        (_, columns), (height, width) = block.windows, block.cells
        # row = first + ((wy * columns + wx) * height + y) * width + x, apart by axis
        down = (wy[:, None] * columns * height + y) * width
        across = wx[:, None] * height * width + x
        found: Index = (block.first + down[:, None, :, None] + across[None, :, None, :]).astype(np.int32)
        return found


def _positions(
    axis: AxisCells, out: Family, piece: Piece, bounds: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Along one axis, the windows whose maps are read, and the cells of each.

    Shape: ``(windows,)``, ``(windows, cells)``
    """
    cells = np.arange(piece.start, piece.stop)
    low = axis.region[0]
    if piece.family != "interior":
        windows = np.arange(*bounds)
        return windows, np.broadcast_to(cells, (len(windows), len(cells)))
    if out == "interior":
        maps = np.arange(axis.shifts)
        return maps, np.broadcast_to(cells - low, (len(maps), len(cells)))
    on_map, maps = np.divmod(np.arange(*bounds), axis.shifts)
    return maps, on_map[:, None] * axis.hop + cells * axis.ratio - low


def gather_rows(rows: Tensor, index: Tensor, shape: list[int], pads: list[int], fill: float) -> Tensor:
    """Rows of a table as maps, with a number in their padding.

    Shape: ``(rows, channels)``, ``(windows * y * x,)`` -> ``shape``, which is ``(windows, y, x, channels)``
    Args:
        rows: the table.
        index: of its rows, ``int32``.
        shape: of the result.
        pads: cells of padding on the left, on the right, at the top and at the bottom, counted in ``shape``.
        fill: the number in the padding.
    """
    strip = torch.index_select(rows, 0, index).view(shape)
    for dim, low, high in ((2, pads[0], pads[1]), (1, pads[2], pads[3])):
        if low:
            strip.narrow(dim, 0, low).fill_(fill)
        if high:
            strip.narrow(dim, shape[dim] - high, high).fill_(fill)
    return strip
