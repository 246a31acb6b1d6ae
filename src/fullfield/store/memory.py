"""A sink that keeps the scores in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray


class ArraySink:
    """Scores gathered into one array ``(k, y, x)``."""

    def __init__(self, classes: int, shape: tuple[int, int], dtype: DTypeLike) -> None:
        self.array: NDArray[np.floating] = np.zeros((classes, *shape), dtype)

    def write(self, row: int, column: int, scores: NDArray[np.floating]) -> None:
        """Takes the block ``(k, y, x)`` whose first cell is ``(row, column)``."""
        _, rows, columns = scores.shape
        self.array[:, row : row + rows, column : column + columns] = scores

    def part(self, first: tuple[int, int], every: tuple[int, int]) -> ArraySink:
        """A sink that writes into every so many rows and columns of this one's array."""
        part = ArraySink.__new__(ArraySink)
        part.array = self.array[:, first[0] :: every[0], first[1] :: every[1]]
        return part
