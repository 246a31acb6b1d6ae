"""Runs a plan: reads ahead, computes tile by tile, and writes behind, to a sink in memory or on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.heap import Heap
from fullfield.engine.layouts import Layouts
from fullfield.engine.progress import OnProgress, Progress
from fullfield.engine.protocols import Sink, Source, WantedCells
from fullfield.engine.threads import AHEAD, ReadAhead, Worker, quick_switching
from fullfield.planning import Plan, Tile
from fullfield.planning.shards import Shards, first_cell

_Read = tuple[NDArray[np.bool_] | None, NDArray[np.floating] | None]


def run(
    plan: Plan,
    net: Canonical,
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
        net: the network in canonical form, in the type and on the device to compute with.
        source: the image.
        sink: takes the scores.
        where: the cells wanted; tiles without any are neither read nor computed.
        progress: called after every tile and every block.
        ahead: tiles that may be read before they are needed; 0 to read each when it is.

    Returns:
        How it went.
    """
    shards, blocks = Shards(plan, sink.block), tuple(sink.todo)
    engine = TorchEngine(net)
    layouts, heap = Layouts(engine), Heap(plan)
    meter = _Meter.of(shards, blocks, plan.memory.remark, progress)
    tasks = (
        partial(_read, source, where, part, tile, layouts.region(part, tile))
        for block in blocks
        for part, tile in shards.tiles(block)
    )
    with (
        quick_switching(),
        Worker("fullfield-finish") as finisher,
        Worker("fullfield-put", inline=True) as putter,
        ReadAhead(tasks, ahead) as reads,
    ):
        for block in blocks:
            for part, tile in shards.tiles(block):
                with meter.reading():
                    mask, pixels = next(reads)
                wanted = pixels is not None
                if pixels is not None:
                    scores = engine.compile(part, layouts.layout(part, tile))(pixels)
                    del pixels
                    putter.take(partial(sink.put, block, _cells(part, tile), scores, mask))
                    del scores
                    heap.settle()
                meter.tile_done(tile, computed=wanted)
            putter.settle()
            with meter.writing():
                finisher.take(partial(sink.finish, block))
            meter.block_done()
        finisher.settle()
    return meter.snapshot()


def run_tiles(plan: Plan, net: Canonical, source: Source, tiles: Iterable[Tile]) -> Iterator[NDArray[np.floating]]:
    """The scores of some tiles of a plan in a single pass, equal to those of a scan of the whole image.

    Shape: ``(k, y, x)`` for each tile, in their order
    """
    engine = TorchEngine(net)
    layouts = Layouts(engine)
    return (
        engine.compile(plan, layouts.layout(plan, tile))(source.read(*layouts.region(plan, tile))) for tile in tiles
    )


def _read(
    source: Source, where: WantedCells | None, part: Plan, tile: Tile, region: tuple[int, int, int, int]
) -> _Read:
    """Which cells of a tile are wanted (``None`` for all), and its pixels if any are."""
    if where is None:
        return None, source.read(*region)
    rows, columns = _cells(part, tile)
    mask = where.cells(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    mask = mask[:: rows.step, :: columns.step]
    if not mask.any():
        return mask, None
    return (None if mask.all() else mask), source.read(*region)


def _cells(part: Plan, tile: Tile) -> tuple[slice, slice]:
    """Rows and columns of the map that a tile of a pass fills."""
    (row, column), (y, x) = first_cell(part, tile), part.cell_stride
    return slice(row, row + (tile.rows - 1) * y + 1, y), slice(column, column + (tile.columns - 1) * x + 1, x)


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

    @contextmanager
    def reading(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.reading_s += time.perf_counter() - began

    @contextmanager
    def writing(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.writing_s += time.perf_counter() - began

    def tile_done(self, tile: Tile, *, computed: bool) -> None:
        self.done += tile.rows * tile.columns
        self.computed += tile.rows * tile.columns if computed else 0
        self._report()

    def block_done(self) -> None:
        self.blocks += 1
        self._report()

    def _report(self) -> None:
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
