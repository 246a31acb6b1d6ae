"""Counts of scores that could not be stored as they are, of a map that is filled tile by tile."""

from __future__ import annotations

from fullfield.geometry.region import Pair
from fullfield.store.encoding import Encoded


class TileCounts:
    """Counts of encoded tiles. A tile that is added again, after an interruption, is counted once."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, int], Pair] = {}

    def add(self, cells: tuple[slice, slice], encoded: Encoded) -> None:
        """Adds the tile that fills these rows and columns of the map."""
        self._tiles[cells[0].start, cells[1].start] = encoded.saturated, encoded.nans

    def sums(self) -> dict[str, int]:
        """The counts of all tiles, summed up."""
        saturated, nans = (sum(pair[k] for pair in self._tiles.values()) for k in (0, 1))
        return {"nans": nans, "saturated": saturated}
