"""Finds the range of an image's pixel values by percentiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.raster import Raster, read_valid

_ACROSS = 16  # blocks a side that are read, evenly spaced
_BYTES = 1 << 18  # of a block, about


def percentile_range(raster: Raster, low: float, high: float) -> tuple[float, float]:
    """Two percentiles of the valid pixel values of all bands, linearly between values.

    Of a large image they are those of 16x16 blocks, evenly spaced, each of 256 KiB; of one of up to 64 MiB of all
    pixels.

    Raises:
        ImageError: no pixel is valid, or both percentiles are the same value.
    """
    values = np.concatenate([np.zeros(0, raster.dtype), *_blocks(raster)])
    if not len(values):
        raise ImageError(raster.name, "has no valid pixel in the blocks that are read", fix="give the range as numbers")
    found = np.percentile(values.astype(np.float64, copy=False), [low, high]).tolist()
    if not found[0] < found[1]:
        what = f"p{low:g} and p{high:g} of its pixel values are both {found[0]:g}"
        raise ImageError(raster.name, what, fix="choose percentiles farther apart, or give the range as numbers")
    return found[0], found[1]


def _blocks(raster: Raster) -> Iterator[NDArray[Any]]:
    """Valid pixel values of each block."""
    height, width, channels = raster.shape
    side = max(16, math.isqrt(_BYTES // (channels * raster.dtype.itemsize)))
    for top, bottom in _spans(height, side):
        for left, right in _spans(width, side):
            pixels, valid = read_valid(raster, (top, bottom, left, right))
            values = pixels.reshape(-1) if valid is None else pixels[valid].reshape(-1)
            yield values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    """Up to 16 parts of an axis, each in the middle of its share; all of the axis if they fit.

    Examples:
        >>> _spans(40, 16), _spans(1600, 10)[:2]
        ([(0, 16), (16, 32), (32, 40)], [(45, 55), (145, 155)])
    """
    if length <= _ACROSS * side:
        return [(start, min(start + side, length)) for start in range(0, length, side)]
    share = length / _ACROSS
    starts = [int(share * (number + 0.5) - side / 2) for number in range(_ACROSS)]
    return [(start, start + side) for start in starts]
