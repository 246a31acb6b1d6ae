"""Computes a thumbnail of an image by reading all of it once, if no pyramid provides one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.geometry.region import Pair, Region
from fullfield.image.raster import Raster, read_valid

_VALUES = 1 << 22  # numbers of the blocks read, about, unless a tile of the file has more: bounds the memory


def make_thumbnail(raster: Raster, side: int, progress: OnProgress | None = None) -> NDArray[np.float32]:
    """The whole image with at most ``side`` px on its longer side.

    The reader's own thumbnail if it has one; else all of the image is read, and a pixel is the mean of a block's valid
    pixels.

    Shape: ``(y, x, c)``; NaN where no pixel of a block is valid.

    Args:
        progress: called after every block that is read.
    """
    ready = raster.thumbnail(side)
    if ready is not None:
        return ready.astype(np.float32)
    out = np.empty((*reduced_size(raster, side), raster.shape[2]), np.float32)
    top = 0
    for rows in thumbnail_rows(raster, side, progress):
        out[top : top + len(rows)] = rows
        top += len(rows)
    return out


def reduced_size(raster: Raster, side: int) -> Pair:
    """Height and width of the image reduced by the least whole factor that brings it to ``side`` px, px."""
    factor = _factor(raster, side)
    return -(-raster.shape[0] // factor), -(-raster.shape[1] // factor)


def _factor(raster: Raster, side: int) -> int:
    return -(-max(raster.shape[:2]) // side)


def thumbnail_rows(raster: Raster, side: int, progress: OnProgress | None = None) -> Iterator[NDArray[np.float32]]:
    """The rows of the image reduced to at most ``side`` px a side, some at a time; all of the image is read once.

    Shape: ``(rows, x, c)``; NaN where no pixel of a block is valid.

    Args:
        progress: called after every block that is read.
    """
    height, width, channels = raster.shape
    factor, columns = _factor(raster, side), reduced_size(raster, side)[1]
    high, wide = _block(raster, factor)
    stage, done = StageReporter(progress, "finding the background", height * width, "px"), 0
    sums, first = _Sums.of(0, columns, channels), 0
    for top in range(0, height, high):
        bottom = min(height, top + high)
        sums = sums.extended(-(-bottom // factor) - first)
        for left in range(0, width, wide):
            region = (top, bottom, left, min(width, left + wide))
            _add(raster, region, factor, sums, first)
            done += (bottom - top) * (region[3] - left)
            stage.report(done)
        complete = -(-bottom // factor) if bottom == height else bottom // factor
        if complete > first:
            yield sums.means(complete - first)
            sums, first = sums.without(complete - first), complete


def _block(raster: Raster, factor: int) -> Pair:
    """Height and width of the blocks read, px: whole tiles of the file, first side by side, then one below the other.

    Rows of the thumbnail that are not complete take memory too: a block is no higher than keeps them few.
    """
    (height, width, channels), (tile_height, tile_width) = raster.shape, raster.metadata.tile
    tiles = max(1, _VALUES // (channels * tile_height * tile_width))
    across = min(tiles, -(-width // tile_width))
    open_rows = max(1, _VALUES // (-(-width // factor) * channels))
    down = max(1, min(tiles // across, open_rows * factor // tile_height, -(-height // tile_height)))
    return down * tile_height, across * tile_width


@dataclass(frozen=True)
class _Sums:
    """Sums ``(y, x, c)`` and numbers ``(y, x, 1)`` of the pixels of blocks."""

    sums: NDArray[np.float64]
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, rows: int, columns: int, channels: int) -> _Sums:
        return cls(np.zeros((rows, columns, channels)), np.zeros((rows, columns, 1), np.int32))

    def extended(self, rows: int) -> _Sums:
        """With rows of zeros below, so many rows in all."""
        more = _Sums.of(rows - len(self.sums), *self.sums.shape[1:])
        return _Sums(np.concatenate([self.sums, more.sums]), np.concatenate([self.counts, more.counts]))

    def without(self, rows: int) -> _Sums:
        """Without the first rows."""
        return _Sums(self.sums[rows:].copy(), self.counts[rows:].copy())

    def means(self, rows: int) -> NDArray[np.float32]:
        """Of the first rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.sums[:rows] / self.counts[:rows]).astype(np.float32)


def _add(raster: Raster, region: Region, factor: int, sums: _Sums, first: int) -> None:
    """Adds the pixels of a region, which need not start at a block's edge, to the sums, whose row 0 is ``first``."""
    top, bottom, left, _ = region
    pixels, valid = read_valid(raster, region)
    if valid is not None and not valid.any():
        return
    rows = max(1, _VALUES // (pixels.shape[1] * pixels.shape[2]))  # of a tile that is larger than a block
    for low in range(0, bottom - top, rows):
        part = slice(low, low + rows)
        _add_pixels(pixels[part], None if valid is None else valid[part], (top + low, left), factor, sums, first)


def _add_pixels(
    pixels: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    corner: Pair,
    factor: int,
    sums: _Sums,
    first: int,
) -> None:
    known = np.ones((*pixels.shape[:2], 1), np.bool_) if valid is None else valid[:, :, None]
    if pixels.dtype.kind == "f":
        known = known & np.isfinite(pixels).all(axis=2, keepdims=True)
    ends = [(low, low + count) for low, count in zip(corner, pixels.shape[:2], strict=True)]
    starts = [np.unique(np.maximum(np.arange(low // factor * factor, high, factor), low) - low) for low, high in ends]
    (top, bottom), (left, right) = ends
    blocks = np.s_[top // factor - first : -(-bottom // factor) - first, left // factor : -(-right // factor)]
    sums.counts[blocks] += _sum(known, starts, np.int32)
    sums.sums[blocks] += _sum(pixels if known.all() else np.where(known, pixels, 0), starts, np.float64)


def _sum(values: NDArray[Any], starts: list[NDArray[np.intp]], dtype: type) -> NDArray[Any]:
    rows = np.add.reduceat(values, starts[0], axis=0, dtype=dtype)
    found: NDArray[Any] = np.add.reduceat(rows, starts[1], axis=1, dtype=dtype)
    return found
