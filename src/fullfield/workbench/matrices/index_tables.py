"""Tables of the cell that every tap of a window reads along one axis, from which the matrices are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError

Array = NDArray[Any]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_MODES: dict[str, Literal["constant", "reflect", "edge", "wrap"]] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def window_taps(
    cells: int, kernel: int, stride: int, low: int, high: int, dilation: int, *, mode: str = "zeros", count: int
) -> Ints:
    """``table[i, u]``: the cell that output ``i`` reads with tap ``u``; -1 where it reads zeros.

    Args:
        cells: of the input.
        low, high: padding cells before and after it.
        mode: torch's name of the padding mode.
        count: cells of the output.

    Raises:
        GeometryError: more padding than the mode can fill from so few cells.

    Examples:
        >>> window_taps(4, 3, 1, 1, 1, 1, count=4).tolist()
        [[-1, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, -1]]
    """
    if (mode == "reflect" and max(low, high) >= cells) or (mode == "circular" and max(low, high) > cells):
        raise GeometryError("padding", f"{mode} padding of {max(low, high)} on {cells} cells", fix="pad by less")
    end = (count - 1) * stride + dilation * (kernel - 1) + 1
    options: dict[str, Any] = {"constant_values": -1} if mode == "zeros" else {}
    padded = np.pad(np.arange(cells), (low, high), mode=_MODES[mode], **options)
    padded = np.pad(padded, (0, max(0, end - len(padded))), constant_values=-1)  # a window that reaches beyond the edge
    return np.asarray(padded[np.arange(count)[:, None] * stride + np.arange(kernel) * dilation], np.int64)


def adaptive_taps(cells: int, count: int) -> Ints:
    """The table of an adaptive pool: output ``i`` reads the cells from ``i*n // m`` to ``ceil((i+1)*n / m)``.

    Source: torch ``adaptive_avg_pool2d``.
    Examples:
        >>> adaptive_taps(5, 2).tolist()
        [[0, 1, 2], [2, 3, 4]]
    """
    starts = np.arange(count) * cells // count
    stops = -(-(np.arange(count) + 1) * cells // count)
    table = starts[:, None] + np.arange(int((stops - starts).max()))
    return np.where(table < stops[:, None], table, -1)


@dataclass(frozen=True)
class Reach:
    """Which inputs every output reads, as the product of three tables: over channels, y and x.

    The number of ones of the product is the number of entries of the matrix: exact for one layer, an upper bound for
    several in a row.
    """

    channels: Bools
    y: Bools
    x: Bools

    @property
    def entries(self) -> int:
        """Entries of the matrix."""
        return int(self.channels.sum()) * int(self.y.sum()) * int(self.x.sum())

    def after(self, earlier: Reach) -> Reach:
        """Which inputs of the earlier layer this layer's outputs read."""
        pairs = ((self.channels, earlier.channels), (self.y, earlier.y), (self.x, earlier.x))
        found = [(a.astype(np.float32) @ b.astype(np.float32)) > 0 for a, b in pairs]
        return Reach(found[0], found[1], found[2])

    def gathered(self, outputs: int) -> Reach:
        """The same for a following layer whose outputs all read every value."""
        channels = np.broadcast_to(self.channels.any(0), (outputs, self.channels.shape[1]))
        y, x = (np.asarray(table.any(0))[None] for table in (self.y, self.x))
        return Reach(channels, y, x)


def read_mask(table: Ints, cells: int) -> Bools:
    """``found[i, n]``: whether output ``i`` reads cell ``n``."""
    found = np.zeros((len(table), cells + 1), bool)
    np.put_along_axis(found, table, True, axis=1)
    return found[:, :cells]
