"""A score map in memory, filled block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fullfield.geometry.region import Pair
from fullfield.planning import Plan
from fullfield.planning.shards import Shards, tile_extent
from fullfield.store.counts import TileCounts
from fullfield.store.encoding import ScoreEncoder

_BLOCKS = 16  # at most: to finish one takes longer than to copy a small tile


class MemorySink:
    """Takes scores into an array ``(k, y, x)``. A block is one or several rows of tiles.

    Args:
        classes: of the network.
        plan: of the scan.
        dtype: of the scores.
        encoder: of scores that are not stored as they are.

    Attributes:
        array: the stored numbers; NaN, or the encoder's fill value, where no score was wanted or computed yet.
        counts: of scores that the encoder could not store as they are.
    """

    writes = False

    def __init__(self, classes: int, plan: Plan, dtype: DTypeLike, encoder: ScoreEncoder | None = None) -> None:
        self.encoder = encoder
        shape = (classes, *plan.shape)
        self.array: NDArray[Any] = np.full(shape, np.nan, dtype) if encoder is None else encoder.empty(*plan.shape)
        rows = tile_extent(plan)[0]
        rows *= -(-plan.shape[0] // (rows * _BLOCKS))
        self._shards = Shards(plan, (min(rows, plan.shape[0]), plan.shape[1]))
        self.counts = TileCounts()
        self._finished: set[int] = set()

    @property
    def block(self) -> Pair:
        """Rows and columns of a block."""
        return self._shards.size

    @property
    def todo(self) -> list[int]:
        """Blocks that are not finished."""
        return [block for block in range(len(self._shards)) if block not in self._finished]

    def put(
        self, block: int, cells: tuple[slice, slice], scores: NDArray[np.floating], mask: NDArray[np.bool_] | None
    ) -> None:
        """Takes the scores of one tile, where they are wanted."""
        if self.encoder is not None:
            encoded = self.encoder.encode(scores, mask)
            scores = encoded.block
            self.counts.add(cells, encoded)
        if mask is None:
            self.array[:, cells[0], cells[1]] = scores
        else:
            np.copyto(self.array[:, cells[0], cells[1]], scores, where=mask)

    def finish(self, block: int) -> None:
        """Notes that a block is complete."""
        self._finished.add(block)
