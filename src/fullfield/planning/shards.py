"""The blocks of a score map, each computed, written and recorded as one. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fullfield.errors import GeometryError
from fullfield.geometry.region import Pair
from fullfield.planning.plan import Plan, Tile


@dataclass(frozen=True)
class Shards:
    """A grid of blocks of cells over a plan's map, counted row by row.

    Args:
        plan: how the cells are computed.
        size: rows and columns of a block; a multiple of the tiles, so that no tile lies in two blocks.

    Raises:
        GeometryError: it is not such a multiple.
    """

    plan: Plan
    size: Pair

    def __post_init__(self) -> None:
        tile = tile_extent(self.plan)
        for n, t, whole in zip(self.size, tile, self.plan.shape, strict=True):
            if n < 1 or (n % t and n < whole):
                raise GeometryError(
                    "shard",
                    "{}x{} cells are no multiple of the tile of {}x{}".format(*self.size, *tile),
                    fix="use whole tiles",
                )

    @property
    def counts(self) -> Pair:
        """Blocks along y and x."""
        (rows, columns), (y, x) = self.plan.shape, self.size
        return -(-rows // y), -(-columns // x)

    def __len__(self) -> int:
        return math.prod(self.counts)

    def box(self, index: int) -> Tile:
        """The cells of one block; the last of a row or column is smaller.

        Post: blocks are disjoint, and together they are the map.
        """
        i, j = divmod(index, self.counts[1])
        row, column = i * self.size[0], j * self.size[1]
        return Tile(
            row,
            column,
            min(self.size[0], self.plan.shape[0] - row),
            min(self.size[1], self.plan.shape[1] - column),
        )

    def tiles(self, index: int) -> Iterator[tuple[Plan, Tile]]:
        """The tiles of a block in the order in which they run, each with its pass."""
        box = self.box(index)
        for part in self.plan.all_passes:
            rows = _cells(part, 0, box.row, box.rows)
            columns = _cells(part, 1, box.column, box.columns)
            for i in range(rows.start, rows.stop, part.tile[0]):
                for j in range(columns.start, columns.stop, part.tile[1]):
                    yield part, Tile(i, j, min(part.tile[0], rows.stop - i), min(part.tile[1], columns.stop - j))

    def share(self, rank: int, world: int) -> range:
        """The blocks of one of ``world`` processes, every ``world``-th.

        Raises:
            GeometryError: there is no such process.
        """
        if not 0 <= rank < world:
            raise GeometryError("rank", f"{rank} is not one of {world} processes", fix=f"use 0 to {max(world, 1) - 1}")
        return range(rank, len(self), world)


def tile_extent(plan: Plan) -> Pair:
    """Rows and columns of the map over which one tile of any pass lies."""
    every = plan.all_passes[0].cell_stride
    return plan.tile[0] * every[0], plan.tile[1] * every[1]


def first_cell(part: Plan, tile: Tile) -> Pair:
    """Row and column of the map where a tile of a pass begins; its cells are ``part.cell_stride`` apart."""
    start = [o // (s // e) for o, s, e in zip(part.offset, part.step, part.cell_stride, strict=True)]
    return start[0] + tile.row * part.cell_stride[0], start[1] + tile.column * part.cell_stride[1]


def map_cells(part: Plan, tile: Tile) -> tuple[slice, slice]:
    """Rows and columns of the map that a tile of a pass fills."""
    (row, column), (y, x) = first_cell(part, tile), part.cell_stride
    return slice(row, row + (tile.rows - 1) * y + 1, y), slice(column, column + (tile.columns - 1) * x + 1, x)


def _cells(part: Plan, axis: int, first: int, count: int) -> range:
    """The cells of a pass, as it counts them, within the map's cells ``[first, first + count)``."""
    every, start = part.cell_stride[axis], part.offset[axis] // (part.step[axis] // part.cell_stride[axis])
    low, high = -(-(first - start) // every), -(-(first + count - start) // every)
    return range(max(low, 0), min(high, part.shape[axis]))
