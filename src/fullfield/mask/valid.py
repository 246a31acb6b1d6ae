"""Finds the cells whose windows touch valid pixels, or are covered by them."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Raster
from fullfield.mask.grid import MOST_CELLS, MaskGrid, check_coverage, window_edges, windows_on_mask
from fullfield.mask.masks import reduce

_BLOCK = 1024  # px a side, about, of the blocks in which validity is read
_CACHE_BYTES = 64 << 20  # of reduced blocks
_FINE = 16  # grid cells per window side at least, where windows do not start on whole pixels


@runtime_checkable
class Sparse(Protocol):
    """An image whose file shows, without decoding pixels, that a part of it has no valid pixel."""

    def absent(self, top: int, bottom: int, left: int, right: int) -> bool:
        """Whether a half-open region is known to have no valid pixel, such as tiles that the file does not store."""
        ...


@dataclass(frozen=True, eq=False)
class ValidCells:
    """Cells whose window touches valid pixels; implements ``engine.protocols.WantedCells`` for any number of threads.

    Validity is read block by block when cells are evaluated, and cached on the coarsest grid on which all windows start
    and stop, which is exact. If the image is resized, grid cells are at most a 16th of a window, and a window that ends
    so close to a valid pixel may count as touching it. Coverage is counted in 255ths of a grid cell.

    Args:
        raster: the image.
        placement: of the map on the image as it is read.
        min_coverage: least share of the window's area in the image that must be valid; with 0 one pixel is enough.
    """

    raster: Raster
    placement: Placement
    min_coverage: float = 0.0
    _blocks: OrderedDict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        check_coverage(self.min_coverage)
        if self.placement.image != self.raster.shape[:2]:
            raise ImageError(
                self.raster.name,
                f"has {self.raster.shape[:2]} px, the map belongs to an image of {self.placement.image}",
                fix="use the placement of this image",
            )

    @property
    def pixel(self) -> tuple[int, int]:
        """Height and width of a grid cell, px."""
        at = self.placement
        y, x = (
            math.gcd(at.step[a], at.window[a], at.padding[2 * a])
            if at.scanned == at.image
            else max(1, int(at.window[a] / at.scale[a]) // _FINE)
            for a in (0, 1)
        )
        return y, x

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Whether each cell ``(rows, columns)`` of the block that starts at ``(row, column)`` is wanted.

        Raises:
            ImageError: the image cannot be read there.
        """
        if rows * columns == 0:
            return np.zeros((rows, columns), np.bool_)
        y, x = window_edges(self.placement, row, rows, 0), window_edges(self.placement, column, columns, 1)
        p, q = self.pixel
        top, left = math.floor(y.min() / p), math.floor(x.min() / q)
        bottom, right = math.ceil(y.max() / p), math.ceil(x.max() / q)
        if bottom <= top or right <= left:
            return np.zeros((rows, columns), np.bool_)
        if (bottom - top) * (right - left) > MOST_CELLS and rows * columns > 1:
            return self._halves(row, column, rows, columns)
        grid = MaskGrid(self._assembled(top, bottom, left, right), (p, q))
        return windows_on_mask(grid, y - top * p, x - left * q, self.min_coverage)

    def _halves(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """The cells of a block whose windows span too many grid cells, in two halves."""
        if rows >= columns:
            n = rows // 2
            parts = self.cells(row, column, n, columns), self.cells(row + n, column, rows - n, columns)
            return np.concatenate(parts)
        n = columns // 2
        parts = self.cells(row, column, rows, n), self.cells(row, column + n, rows, columns - n)
        return np.concatenate(parts, axis=1)

    def _assembled(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """The coverage of a region of grid cells, assembled from blocks."""
        out = np.zeros((bottom - top, right - left), np.uint8)
        side = self._side()
        for i in range(top // side[0], -(-bottom // side[0])):
            for j in range(left // side[1], -(-right // side[1])):
                block = self._block(i, j)
                y, x = i * side[0], j * side[1]
                t, b = max(top, y), min(bottom, y + block.shape[0])
                l, r = max(left, x), min(right, x + block.shape[1])
                out[t - top : b - top, l - left : r - left] = block[t - y : b - y, l - x : r - x]
        return out

    def _side(self) -> tuple[int, int]:
        """Rows and columns of grid cells in a block: whole tiles of the file, if these are whole grid cells."""
        y, x = (
            max(1, math.lcm(p, t) * max(1, _BLOCK // math.lcm(p, t)) // p)
            if math.lcm(p, t) <= 4 * _BLOCK
            else max(1, _BLOCK // p)
            for p, t in zip(self.pixel, self.raster.metadata.tile, strict=True)
        )
        return y, x

    def _block(self, i: int, j: int) -> NDArray[np.uint8]:
        """A block, cached or read; two threads may read the same block at once."""
        with self._lock:
            if (i, j) in self._blocks:
                self._blocks.move_to_end((i, j))
                return self._blocks[i, j]
        block = self._read_block(i, j)
        with self._lock:
            self._blocks[i, j] = block
            while sum(b.nbytes for b in self._blocks.values()) > _CACHE_BYTES and len(self._blocks) > 1:
                self._blocks.popitem(last=False)
        return block

    def _read_block(self, i: int, j: int) -> NDArray[np.uint8]:
        (p, q), (n, m), (height, width, _) = self.pixel, self._side(), self.raster.shape
        top, left = i * n * p, j * m * q
        bottom, right = min(height, top + n * p), min(width, left + m * q)
        shape = -(-(bottom - top) // p), -(-(right - left) // q)
        if isinstance(self.raster, Sparse) and self.raster.absent(top, bottom, left, right):
            return np.zeros(shape, np.uint8)
        valid = self.raster.valid(top, bottom, left, right)
        return np.full(shape, 255, np.uint8) if valid is None else reduce(valid, (p, q))


def may_be_empty(raster: Raster) -> bool:
    """Whether an image may have invalid pixels."""
    metadata = raster.metadata
    return metadata.masked or metadata.nodata is not None or raster.valid(0, 1, 0, 1) is not None
