"""What the engine reads from and writes to; ``io`` implements both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Source(Protocol):
    """An image as the network wants it: preprocessed once, readable by region."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width, px."""
        ...

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of the half-open region, which lies inside the image."""
        ...


class Sink(Protocol):
    """A place for scores."""

    def write(self, row: int, column: int, scores: NDArray[np.floating]) -> None:
        """Takes the block ``(k, y, x)`` whose first cell is ``(row, column)``; no block comes twice."""
        ...

    def part(self, first: tuple[int, int], every: tuple[int, int]) -> Sink:
        """The sink of every so many rows and columns, from row and column ``first`` on."""
        ...


class WantedCells(Protocol):
    """The cells of a map that are wanted."""

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells ``(rows, columns)`` of the block whose first is ``(row, column)`` are wanted."""
        ...


class Encoded(Protocol):
    """Scores as they are stored."""

    @property
    def block(self) -> NDArray[Any]:
        """Stored numbers ``(bands, y, x)``."""
        ...

    @property
    def saturated(self) -> int:
        """Scores beyond what the stored numbers can tell."""
        ...

    @property
    def nans(self) -> int:
        """Scores that are NaN."""
        ...


class Encoder(Protocol):
    """What of the scores is stored, and as what numbers."""

    def empty(self, rows: int, columns: int) -> NDArray[Any]:
        """A block ``(bands, rows, columns)`` of stored numbers that holds no scores."""
        ...

    def encode(self, scores: NDArray[np.floating], valid: NDArray[np.bool_] | None = None) -> Encoded:
        """Stored numbers of scores ``(k, y, x)``; of cells that are not ``valid``, no score."""
        ...


class BlockSink(Protocol):
    """A store on disk that takes whole blocks, from any thread."""

    def write(self, row: int, column: int, block: NDArray[Any], valid: NDArray[np.bool_] | None) -> tuple[Path, ...]:
        """Writes the block ``(bands, y, x)`` whose first cell is ``(row, column)``, and returns the files it made."""
        ...

    def write_empty(self, row: int, column: int) -> tuple[Path, ...]:
        """The same for a block that holds no scores."""
        ...
