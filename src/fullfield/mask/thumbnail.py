"""Computes a thumbnail of an image by reading all of it once, if no pyramid provides one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.image.raster import Raster

_BLOCK = 2048  # px a side, about, of the blocks read


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
    height, width, channels = raster.shape
    factor = -(-max(height, width) // side)
    shape = -(-height // factor), -(-width // factor)
    sums = np.zeros((*shape, channels), np.float64)
    counts = np.zeros((*shape, 1), np.int32)
    tile = raster.metadata.tile
    sides = tuple(t * max(1, _BLOCK // t) for t in tile)
    stage, done = StageReporter(progress, "finding the background", height * width, "px"), 0
    for top in range(0, height, sides[0]):
        for left in range(0, width, sides[1]):
            region = (top, min(height, top + sides[0]), left, min(width, left + sides[1]))
            _add(raster, region, factor, sums, counts)
            done += (region[1] - region[0]) * (region[3] - region[2])
            stage.report(done)
    with np.errstate(invalid="ignore", divide="ignore"):
        np.divide(sums, counts, out=sums)
    return sums.astype(np.float32)


def _add(
    raster: Raster,
    region: tuple[int, int, int, int],
    factor: int,
    sums: NDArray[np.float64],
    counts: NDArray[np.int32],
) -> None:
    """Adds the pixels of a region, which need not start at a block's edge, to the sums and counts of the blocks."""
    top, bottom, left, right = region
    valid = raster.valid(*region)
    if valid is not None and not valid.any():
        return
    pixels = raster.read(*region)
    known = np.ones((*pixels.shape[:2], 1), np.bool_) if valid is None else valid[:, :, None]
    known = known & np.isfinite(pixels).all(axis=2, keepdims=True)
    starts = [
        np.unique(np.maximum(np.arange(low // factor * factor, high, factor), low) - low)
        for low, high in ((top, bottom), (left, right))
    ]
    blocks = np.s_[top // factor : -(-bottom // factor), left // factor : -(-right // factor)]
    counts[blocks] += _sum(known, starts, np.int32)
    sums[blocks] += _sum(pixels if known.all() else np.where(known, pixels, 0), starts, np.float64)


def _sum(values: NDArray[Any], starts: list[NDArray[np.intp]], dtype: type) -> NDArray[Any]:
    rows = np.add.reduceat(values, starts[0], axis=0, dtype=dtype)
    found: NDArray[Any] = np.add.reduceat(rows, starts[1], axis=1, dtype=dtype)
    return found
