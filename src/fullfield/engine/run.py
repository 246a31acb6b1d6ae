"""Runs a plan: reads ahead, computes tile by tile, and writes behind, to a sink in memory or on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.heap import Heap
from fullfield.engine.layouts import Layouts, own_scores, region_of
from fullfield.engine.progress import OnProgress, Progress
from fullfield.engine.protocols import Engine, Sink, Source, Waiting, WantedCells, begin
from fullfield.engine.threads import AHEAD, ReadAhead, Worker, short_switch_interval
from fullfield.geometry.tile import TileLayout
from fullfield.planning import Plan, Tile
from fullfield.planning.shards import Shards, map_cells


def run(
    plan: Plan,
    engine: Engine,
    source: Source,
    sink: Sink,
    *,
    where: WantedCells | None = None,
    progress: OnProgress | None = None,
    ahead: int = AHEAD,
) -> Progress:
    """Computes the blocks that a sink still needs.

    However it ends, the sink has finished every block whose tiles were all computed; an interruption waits for the one
    that is being written. Calling it again with the same sink computes the rest.

    Args:
        plan: for this image and network.
        engine: runs the network's programs.
        source: the image.
        sink: takes the scores.
        where: the cells wanted; tiles without any are neither read nor computed.
        progress: called after every tile and every block.
        ahead: tiles that may be read before they are needed; 0 to read each when it is.

    Returns:
        How it went.
    """
    shards, blocks = Shards(plan, sink.block), tuple(sink.todo)
    heap = Heap(plan)
    meter = _Meter.of(shards, blocks, plan.memory.remark, progress)
    with (
        heap,
        short_switch_interval(),
        Worker("fullfield-finish", inline=not sink.writes) as finisher,
        Worker("fullfield-put", inline=True) as putter,
        ReadAhead(_reads(shards, blocks, Layouts(engine), source, where), ahead) as reads,
    ):
        for block in blocks:
            while (read := next(reads)) is not None:
                tile, pixels = read.tile, read.pixels
                meter.reading_s = reads.waited_s
                if pixels is not None:
                    scores = begin(engine.compile(read.part, read.layout), pixels)
                    putter.submit(partial(_put, sink, block, tile, read.cells, scores, read.mask))
                    del read, pixels, scores
                    heap.trim_excess()
                    meter.computed += tile.rows * tile.columns
                meter.done += tile.rows * tile.columns
                meter.report()
            putter.wait()
            finisher.submit(partial(sink.finish, block))
            meter.writing_s = finisher.waited_s
            meter.blocks += 1
            meter.report()
        finisher.wait()
    return meter.snapshot()


def run_tiles(plan: Plan, engine: Engine, source: Source, tiles: Iterable[Tile]) -> Iterator[NDArray[np.floating]]:
    """The scores of some tiles of a plan in a single pass, equal to those of a scan of the whole image.

    Shape: ``(k, y, x)`` for each tile, in their order
    """
    layouts = Layouts(engine)
    for tile in tiles:
        layout = layouts.layout(plan, tile)
        yield own_scores(tile, engine.compile(plan, layout)(source.read(*region_of(plan, tile, layout))))


class _Read(NamedTuple):
    """What is known of a tile before it is computed.

    Args:
        part: the pass that it belongs to.
        tile: in the count of the pass.
        layout: of the tile.
        cells: rows and columns of the map that it fills.
        mask: which of these are wanted; ``None`` for all.
        pixels: of its region; ``None`` if no cell is wanted.
    """

    part: Plan
    tile: Tile
    layout: TileLayout
    cells: tuple[slice, slice]
    mask: NDArray[np.bool_] | None
    pixels: NDArray[np.floating] | None


def _reads(
    shards: Shards, blocks: Iterable[int], layouts: Layouts, source: Source, where: WantedCells | None
) -> Iterator[Callable[[], _Read | None]]:
    """Tasks that read the tiles of blocks in their order; after each block one that returns ``None``."""
    for block in blocks:
        for part, tile in shards.tiles(block):
            yield partial(_read, part, tile, layouts.layout(part, tile), source, where)
        yield _nothing


def _read(part: Plan, tile: Tile, layout: TileLayout, source: Source, where: WantedCells | None) -> _Read:
    cells, mask = map_cells(part, tile), None
    if where is not None:
        mask = wanted_of(where, cells)
        if not mask.any():
            return _Read(part, tile, layout, cells, mask, None)
        mask = None if mask.all() else mask
    return _Read(part, tile, layout, cells, mask, source.read(*region_of(part, tile, layout)))


def wanted_of(where: WantedCells, cells: tuple[slice, slice]) -> NDArray[np.bool_]:
    """Which of a tile's cells of the map are wanted."""
    rows, columns = cells
    found = where.cells(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    return found[:: rows.step, :: columns.step]


def _put(
    sink: Sink, block: int, tile: Tile, cells: tuple[slice, slice], scores: Waiting, mask: NDArray[np.bool_] | None
) -> None:
    """Waits for the scores of a tile, and stores them."""
    sink.put(block, cells, own_scores(tile, scores()), mask)


def _nothing() -> None:
    """Reads nothing."""


@dataclass
class _Meter:
    """Measures a scan, and reports it."""

    progress: OnProgress | None
    remark: str
    total: int
    blocks_total: int
    pixels_per_window: float
    done: int = 0
    computed: int = 0
    blocks: int = 0
    reading_s: float = 0.0
    writing_s: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, shards: Shards, blocks: Iterable[int], remark: str, progress: OnProgress | None) -> _Meter:
        boxes = [shards.box(block) for block in blocks]
        windows = sum(box.rows * box.columns for box in boxes)
        return cls(progress, remark, windows, len(boxes), math.prod(shards.plan.image) / shards.plan.windows)

    def report(self) -> None:
        if self.progress is not None:
            self.progress(self.snapshot())

    def snapshot(self) -> Progress:
        return Progress(
            "scanning",
            self.done,
            self.total,
            blocks=self.blocks,
            blocks_total=self.blocks_total,
            computed=self.computed,
            pixels=self.done * self.pixels_per_window,
            elapsed_s=time.perf_counter() - self.began,
            reading_s=self.reading_s,
            writing_s=self.writing_s,
            remark=self.remark,
        )
