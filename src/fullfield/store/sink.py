"""A score map on disk, encoded, written and recorded block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Pair
from fullfield.planning import Tile
from fullfield.planning.shards import Shards
from fullfield.store.counts import TileCounts
from fullfield.store.encoding import ScoreEncoder
from fullfield.store.journal import Journal


class BlockWriter(Protocol):
    """Writes whole blocks of stored numbers, each to files of its own."""

    def write(self, row: int, column: int, block: NDArray[Any], valid: NDArray[np.bool_] | None) -> tuple[Path, ...]:
        """Writes the block ``(bands, y, x)`` that begins at cell ``(row, column)``; returns its files."""
        ...

    def write_empty(self, row: int, column: int) -> tuple[Path, ...]:
        """The same for a block without scores."""
        ...


class StoreSink:
    """Takes scores into a store; a block is recorded in the journal once its files are on the disk.

    Args:
        shards: the blocks of the map.
        encoder: how scores are stored.
        writer: of the store.
        journal: of the store.
        share: the blocks of this process.
        check: called before a block is written; raises if the image is not the one that the scan began with.
    """

    writes = True

    def __init__(
        self,
        shards: Shards,
        encoder: ScoreEncoder,
        writer: BlockWriter,
        journal: Journal,
        share: Sequence[int],
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.shards, self.encoder, self.writer, self.journal, self.share = shards, encoder, writer, journal, share
        self.check = check
        self._finished = set(journal.finished)
        self._open: dict[int, _Block] = {}

    @property
    def block(self) -> Pair:
        """Rows and columns of a block."""
        return self.shards.size

    @property
    def todo(self) -> list[int]:
        """Blocks of this process that neither this run nor an earlier one finished."""
        return [block for block in self.share if block not in self._finished]

    def put(
        self, block: int, cells: tuple[slice, slice], scores: NDArray[np.floating], mask: NDArray[np.bool_] | None
    ) -> None:
        """Encodes the scores of one tile."""
        if block not in self._open:
            self._open[block] = _Block.empty(self.encoder, self.shards.box(block))
        self._open[block].put(self.encoder, cells, scores, mask)

    def finish(self, block: int) -> None:
        """Writes a block and records it.

        Raises:
            ImageError: the image was changed since the scan began.
        """
        self.check()
        box = self.shards.box(block)
        filled = self._open.pop(block, None)
        if filled is None:
            self.journal.record(block, self.writer.write_empty(box.row, box.column), TileCounts().sums())
        else:
            files = self.writer.write(box.row, box.column, filled.numbers, filled.mask)
            self.journal.record(block, files, filled.counts.sums())
        self._finished.add(block)


@dataclass(frozen=True, eq=False)
class _Block:
    """A block that is being filled.

    Args:
        box: its cells.
        numbers: as stored.
        valid: which cells have scores.
        counts: of scores that could not be stored as they are.
    """

    box: Tile
    numbers: NDArray[Any]
    valid: NDArray[np.bool_]
    counts: TileCounts = field(default_factory=TileCounts)

    @classmethod
    def empty(cls, encoder: ScoreEncoder, box: Tile) -> _Block:
        return cls(box, encoder.empty(box.rows, box.columns), np.zeros((box.rows, box.columns), bool))

    def put(
        self,
        encoder: ScoreEncoder,
        cells: tuple[slice, slice],
        scores: NDArray[np.floating],
        mask: NDArray[np.bool_] | None,
    ) -> None:
        encoded = encoder.encode(scores, mask)
        rows, columns = (
            slice(s.start - origin, s.stop - origin, s.step)
            for s, origin in zip(cells, (self.box.row, self.box.column), strict=True)
        )
        self.numbers[:, rows, columns] = encoded.block
        self.valid[rows, columns] = True if mask is None else mask
        self.counts.add(cells, encoded)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Which cells have scores; ``None`` where all do."""
        return None if self.valid.all() else self.valid
