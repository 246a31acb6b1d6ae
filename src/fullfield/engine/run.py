"""Runs a plan: reads tiles from a source, runs each tile's program, writes scores to a sink."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fullfield.canonical.pipeline import Canonical
from fullfield.engine.heap import Heap
from fullfield.engine.programs import Programs
from fullfield.engine.protocols import Sink, Source, WantedCells
from fullfield.planning import Plan, Tile
from fullfield.planning.shards import first_cell

Progress = Callable[[int, int, int], None]


def run(
    plan: Plan,
    net: Canonical,
    source: Source,
    sink: Sink,
    *,
    where: WantedCells | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes the scores of every window of ``source`` to ``sink``, tile by tile.

    Args:
        plan: for this image and network.
        net: the network in canonical form, in the type and on the device to compute with.
        where: the cells wanted; tiles that have none are neither read nor written.
        progress: told after every tile: windows done, windows in all, pixels of the image done.
    """
    programs = Programs(net)
    heap = Heap(plan)
    rows, columns = plan.image
    done = 0
    for part in plan.runs:
        first = part.offset[0] // plan.step[0], part.offset[1] // plan.step[1]
        target = sink if part is plan else sink.part(first, part.every)
        for tile in part.tiles():
            if where is None or wanted(where, part, tile).any():
                block = source.read(*programs.region(part, tile))
                target.write(tile.row, tile.column, programs.run(part, tile, block))
                heap.settle()
            done += tile.rows * tile.columns
            if progress is not None:
                progress(done, plan.windows, rows * columns * done // plan.windows)


def wanted(where: WantedCells, part: Plan, tile: Tile) -> NDArray[np.bool_]:
    """Which cells ``(rows, columns)`` of a tile of a pass are wanted."""
    (row, column), (y, x) = first_cell(part, tile), part.every
    return where.cells(row, column, (tile.rows - 1) * y + 1, (tile.columns - 1) * x + 1)[::y, ::x]


def run_tiles(plan: Plan, net: Canonical, source: Source, tiles: Iterable[Tile]) -> Iterator[NDArray[np.floating]]:
    """The scores of some tiles of a plan in a single pass, as a scan of the whole image would give them.

    Shape: ``(k, y, x)`` for each tile, in their order
    """
    programs = Programs(net)
    return (programs.run(plan, tile, source.read(*programs.region(plan, tile))) for tile in tiles)
