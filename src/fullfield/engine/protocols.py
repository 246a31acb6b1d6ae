"""What the engine reads from and writes to; ``io`` implements both."""

from __future__ import annotations

from typing import Protocol

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


class Where(Protocol):
    """The cells of a map that are wanted."""

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells ``(rows, columns)`` of the block whose first is ``(row, column)`` are wanted."""
        ...
