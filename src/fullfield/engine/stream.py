"""Runs a plan block by block: reads ahead, computes, and writes behind, side by side."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.canonical.pipeline import Canonical
from fullfield.engine.heap import Heap
from fullfield.engine.programs import Programs, Region
from fullfield.engine.protocols import BlockSink, Encoder, Source, WantedCells
from fullfield.engine.run import wanted
from fullfield.planning import Plan, Tile
from fullfield.planning.shards import Shards, first_cell
from fullfield.store.journal import Journal

READERS = 2  # threads that read
_TURN = 0.0005  # s until a thread that waits for the interpreter gets it; Python's 0.005 holds the engine up
AHEAD = 2  # tiles read and waiting, beside the one that is computed


@dataclass
class Pace:
    """How far a stream is, and what held it up.

    Args:
        blocks, total: blocks done in this run, and to be done.
        windows, planned: done in this run, those not wanted included, and to be done.
        computed: windows of these that were computed.
        pixels: of the image, their share of it.
        started: when the run began, s.
        reading_s: time that the computation waited for pixels.
        writing_s: time that it waited for the writer.
        remark: what the user should know, if anything.
    """

    total: int
    planned: int
    blocks: int = 0
    windows: int = 0
    computed: int = 0
    pixels: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    reading_s: float = 0.0
    writing_s: float = 0.0
    remark: str = ""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.started

    @property
    def bound(self) -> str:
        """What the run waits for most: ``reader``, ``writer`` or ``compute``."""
        waits = {"reader": self.reading_s, "writer": self.writing_s}
        waits["compute"] = self.elapsed_s - sum(waits.values())
        return max(waits, key=lambda name: waits[name])


Report = Callable[[Pace], None]


@dataclass(frozen=True, eq=False)
class Stream:
    """A scan from a source that need not fit into memory to a store on disk.

    Args:
        shards: the plan and its blocks.
        net: the network in canonical form, in the type and on the device to compute with.
        source: the image.
        sink: where blocks go.
        encoder: what of the scores is stored.
        journal: where finished blocks are noted.
        beside_bytes: memory that it takes beside the computation of a tile.
        where: the cells wanted; tiles that have none are not read.
        remark: what the user should know of the run, if anything.
    """

    shards: Shards
    net: Canonical
    source: Source
    sink: BlockSink
    encoder: Encoder
    journal: Journal
    beside_bytes: int = 0
    where: WantedCells | None = None
    remark: str = ""

    def run(self, blocks: Sequence[int], progress: Report | None = None) -> Pace:
        """Computes, writes and notes some blocks, in their order.

        However it ends, what was finished is noted; an interruption waits for the block that is being written.

        Args:
            blocks: their indices.
            progress: told after every tile and every block.
        """
        pace = Pace(
            len(blocks), sum(box.rows * box.columns for box in map(self.shards.box, blocks)), remark=self.remark
        )
        programs = Programs(self.net)
        with (
            _quick_turns(),
            _Worker("fullfield-write") as writer,
            _Worker("fullfield-keep") as keeper,
            ThreadPoolExecutor(READERS, "fullfield-read") as pool,
        ):
            reads = _Reads(self, programs, pool, blocks)
            engine = _Engine(self, programs, Heap(self.shards.plan, self.beside_bytes), reads, keeper, pace, progress)
            try:
                for block in blocks:
                    cells = engine.compute(block)
                    began = time.perf_counter()
                    writer.take(partial(self._finish, block, cells))
                    pace.writing_s += time.perf_counter() - began
                    pace.blocks += 1
                    _tell(progress, pace)
                writer.settle()
            finally:
                reads.stop()
        return pace

    def _finish(self, block: int, cells: _Cells | None) -> None:
        """Writes a block and notes it."""
        if cells is None:
            box = self.shards.box(block)
            self.journal.record(block, self.sink.write_empty(box.row, box.column))
            return
        files = self.sink.write(cells.box.row, cells.box.column, cells.numbers, cells.mask())
        self.journal.record(block, files, {"saturated": cells.saturated, "nans": cells.nans})


@dataclass(frozen=True, eq=False)
class _Engine:
    """Computes the blocks of a stream from tiles that others read, and hands on what comes out, tile by tile."""

    job: Stream
    programs: Programs
    heap: Heap
    reads: _Reads
    keeper: _Worker
    pace: Pace
    progress: Report | None

    def compute(self, block: int) -> _Cells | None:
        """The cells of a block; ``None`` where none is wanted."""
        shards, pace = self.job.shards, self.pace
        cells: _Cells | None = None
        for part, tile in shards.tiles(block):
            began = time.perf_counter()
            mask, pixels = next(self.reads)
            pace.reading_s += time.perf_counter() - began
            if pixels is not None:
                cells = cells or _Cells.of(self.job.encoder, shards.box(block))
                scores = self.programs.run(part, tile, pixels)
                del pixels
                self.keeper.take(partial(cells.put, part, tile, scores, mask))
                del scores
                pace.computed += tile.rows * tile.columns
                self.heap.settle()
            pace.windows += tile.rows * tile.columns
            pace.pixels = pace.windows / shards.plan.windows * math.prod(shards.plan.image)
            _tell(self.progress, pace)
        self.keeper.settle()
        return cells


@dataclass
class _Cells:
    """A block in the making."""

    encoder: Encoder
    box: Tile
    numbers: NDArray[Any]
    valid: NDArray[np.bool_]
    saturated: int = 0
    nans: int = 0

    @classmethod
    def of(cls, encoder: Encoder, box: Tile) -> _Cells:
        return cls(encoder, box, encoder.empty(box.rows, box.columns), np.zeros((box.rows, box.columns), bool))

    def put(self, part: Plan, tile: Tile, scores: NDArray[np.floating], mask: NDArray[np.bool_] | None) -> None:
        """Takes the scores of one tile."""
        encoded = self.encoder.encode(scores, mask)
        (row, column), (y, x) = first_cell(part, tile), part.every
        top, left = row - self.box.row, column - self.box.column
        rows, columns = slice(top, top + (tile.rows - 1) * y + 1, y), slice(left, left + (tile.columns - 1) * x + 1, x)
        self.numbers[:, rows, columns] = encoded.block
        self.saturated += encoded.saturated
        self.nans += encoded.nans
        self.valid[rows, columns] = True if mask is None else mask

    def mask(self) -> NDArray[np.bool_] | None:
        """Which cells have scores; ``None`` where all do."""
        return None if self.valid.all() else self.valid


class _Worker:
    """A thread that has one task at a time; what stopped one is raised when it is handed the next, or settled."""

    def __init__(self, name: str) -> None:
        self.pool = ThreadPoolExecutor(1, name)
        self.last: Future[None] | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown()

    def take(self, task: Callable[[], None]) -> None:
        """Hands over a task, once the last is through."""
        self.settle()
        self.last = self.pool.submit(task)

    def settle(self) -> None:
        """Waits for the last task."""
        last, self.last = self.last, None
        if last is not None:
            last.result()


Read = tuple[NDArray[np.bool_] | None, NDArray[np.floating] | None]


class _Reads:
    """The tiles of some blocks in order, read by threads a little ahead of their use."""

    def __init__(self, job: Stream, programs: Programs, pool: ThreadPoolExecutor, blocks: Sequence[int]) -> None:
        self.job, self.programs, self.pool = job, programs, pool
        self.tiles = ((part, tile) for block in blocks for part, tile in job.shards.tiles(block))
        self.waiting: deque[Future[Read]] = deque()

    def __iter__(self) -> Iterator[Read]:
        return self

    def __next__(self) -> Read:
        self._fill()
        result = self.waiting.popleft().result()
        self._fill()
        return result

    def _fill(self) -> None:
        while len(self.waiting) < AHEAD:
            task = next(self.tiles, None)
            if task is None:
                return
            self.waiting.append(self.pool.submit(self._read, *task, self.programs.region(*task)))

    def _read(self, part: Plan, tile: Tile, region: Region) -> Read:
        """Which cells are wanted (``None``: all), and the pixels, unless none is."""
        if self.job.where is None:
            return None, self.job.source.read(*region)
        mask = wanted(self.job.where, part, tile)
        if not mask.any():
            return mask, None
        return (None if mask.all() else mask), self.job.source.read(*region)

    def stop(self) -> None:
        """Reads no further."""
        for future in self.waiting:
            future.cancel()


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Threads hand the interpreter over sooner: an operator of the engine ends every few hundred microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _TURN))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _tell(progress: Report | None, pace: Pace) -> None:
    if progress is not None:
        progress(pace)
