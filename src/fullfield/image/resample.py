"""Resamples a large image to another size, block by block.

The filter is the one of ``resize``: antialiased Lanczos of radius 3. Blocks are always computed whole, from all pixels
under their filter, so that a pixel has the same value however it is read, and there are no seams between blocks. Rows
are read in strips, so that memory does not grow with the factor.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.errors import ImageError
from fullfield.geometry.region import Region
from fullfield.image.cache import CachedRaster, TileCache, cached, row_bytes
from fullfield.image.checks import check_region, check_size
from fullfield.image.nodata import fill_nodata
from fullfield.image.raster import ImageMetadata, Raster, raster_text, read_valid

_BLOCK = 512  # px a side, of the resampled image
_STRIP_BYTES = 32 << 20  # of source pixels read at once
_ROW_BYTES = 512 << 20  # most bytes of source tiles cached while a row of blocks is computed
_CACHED = 4  # blocks, for the ``valid`` that follows a ``read``
_LANCZOS, _TRIANGLE = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR

Block = tuple[NDArray[Any], NDArray[np.bool_] | None]


@dataclass(frozen=True)
class _BlockAxis:
    """One axis of a block, and the source pixels under its filters.

    Args:
        start, stop: the source pixels to read.
        low, high: the block's edges in source pixels, counted from ``start``.
        count: pixels of the block.
    """

    start: int
    stop: int
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, first: int, last: int, *, source: int, target: int) -> _BlockAxis:
        """The axis of the target pixels ``[first, last)``; ``source`` and ``target`` are the images' lengths, px."""
        scale = source / target
        margin = 3.0 * max(scale, 1.0) + 1.0
        low, high = first * source / target, last * source / target
        start, stop = max(0, math.floor(low - margin)), min(source, math.ceil(high + margin))
        return cls(start, stop, low - start, high - start, last - first)

    def supports(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The source pixels ``[first, last)`` under the Lanczos filter of each pixel, counted from ``start``."""
        scale = (self.high - self.low) / self.count
        radius = 3.0 * max(scale, 1.0)
        centres = self.low + (np.arange(self.count) + 0.5) * scale
        first = np.floor(centres - radius - 0.5).astype(np.intp).clip(0, None)  # Pillow's boxes are float32
        last = np.ceil(centres + radius + 0.5).astype(np.intp).clip(None, self.stop - self.start)
        return first, last


@dataclass(frozen=True, eq=False)
class ResampledRaster:
    """A raster resampled to another size; implements ``Raster``.

    Args:
        source: the raster in its own size.
        shape: height and width after resampling, px, and channels.
        metadata: the source's metadata, converted to the new size.
        clip: least and largest pixel value.
    """

    source: Raster
    shape: tuple[int, int, int]
    metadata: ImageMetadata
    clip: tuple[float, float] | None
    _blocks: OrderedDict[tuple[int, int], Block] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def name(self) -> str:
        """Path or URL of the source."""
        return self.source.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """The source's for unsigned 8- and 16-bit pixels, else float32."""
        return self.source.dtype if self.source.dtype in (np.uint8, np.uint16) else np.dtype(np.float32)

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region.

        Raises:
            ImageError: the source is damaged there, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        out = np.empty((bottom - top, right - left, self.shape[2]), self.dtype)
        for key in self._keys(region):
            pixels, _ = self._block(key)
            inside, outside = self._overlap(key, region)
            out[outside] = pixels[inside]
        return out

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels: at least half of the triangle filter's weight is valid."""
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        out = np.ones((bottom - top, right - left), np.bool_)
        for key in self._keys(region):
            _, valid = self._block(key)
            if valid is not None:
                inside, outside = self._overlap(key, region)
                out[outside] = valid[inside]
        return None if out.all() else out

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The source's thumbnail."""
        return self.source.thumbnail(min(side, max(self.shape[:2])))

    def close(self) -> None:
        """Closes the source."""
        with self._lock:
            self._blocks.clear()
        self.source.close()

    def _keys(self, region: Region) -> list[tuple[int, int]]:
        high, wide = self.metadata.tile
        top, bottom, left, right = region
        rows, columns = range(top // high, -(-bottom // high)), range(left // wide, -(-right // wide))
        return [(row, column) for row in rows for column in columns]

    def _overlap(self, key: tuple[int, int], region: Region) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The common part of a block and a region, in indices of the block and of the region."""
        (high, wide), (top, bottom, left, right) = self.metadata.tile, region
        y, x = key[0] * high, key[1] * wide
        y0, y1, x0, x1 = max(y, top), min(y + high, bottom), max(x, left), min(x + wide, right)
        inside = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        return inside, (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))

    def _block(self, key: tuple[int, int]) -> Block:
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        (high, wide), (height, width, _), source = self.metadata.tile, self.shape, self.source.shape
        y = _BlockAxis.of(key[0] * high, min(height, key[0] * high + high), source=source[0], target=height)
        x = _BlockAxis.of(key[1] * wide, min(width, key[1] * wide + wide), source=source[1], target=width)
        block = _resampled_block(self.source, y, x, self)
        with self._lock:
            self._blocks[key] = block
            while len(self._blocks) > _CACHED:
                self._blocks.popitem(last=False)
        return block


def resampled(raster: Raster, size: tuple[int, int], *, clip: tuple[float, float] | None = None) -> Raster:
    """The raster at another size: antialiased Lanczos on its own pixels, computed block by block when they are read.

    Equal to ``resize`` of the whole image up to rounding. Invalid pixels do not bleed into others: where the filter
    covers one, the average of the valid pixels under a triangle filter is taken.

    Args:
        raster: of any size.
        size: height and width, px.
        clip: range to clip values to, because the filter overshoots at edges; integers are clipped to their type.

    Raises:
        ImageError: the size is empty.
    """
    if tuple(raster.shape[:2]) == tuple(size):
        return raster
    check_size(size, raster.name)
    if raster.dtype.kind not in "uif":
        raise ImageError(raster.name, f"{raster.dtype} pixels cannot be resampled", fix="give integers or floats")
    sy, sx = raster.shape[0] / size[0], raster.shape[1] / size[1]
    raster, metadata = _with_row_cache(raster, (sy, sx), size), raster.metadata
    changed = replace(
        metadata,
        identity={"source": metadata.identity, "resampled": list(size)},
        tile=(_side(sy, size[0]), _side(sx, size[1])),
        mpp=None if metadata.mpp is None else (metadata.mpp[0] * sy, metadata.mpp[1] * sx),
        georeference=None if metadata.georeference is None else metadata.georeference.moved(0, 0, (sy, sx)),
        held_bytes=metadata.held_bytes + (raster.cache.most_bytes if isinstance(raster, CachedRaster) else 0),
    )
    return ResampledRaster(raster, (*size, raster.shape[2]), changed, clip)


def _with_row_cache(raster: Raster, scale: tuple[float, float], size: tuple[int, int]) -> Raster:
    """The raster with a cache for one row of blocks, if it needs one and that takes at most 512 MiB."""
    rows, columns = (math.ceil((_side(s, n) + 6) * max(s, 1.0)) + 8 for s, n in zip(scale, size, strict=True))
    strip = max(1, _STRIP_BYTES // (columns * raster.shape[2] * max(4, raster.dtype.itemsize)))
    needed = row_bytes(raster, (min(rows, strip), columns)) and row_bytes(raster, (rows, columns))
    return cached(raster, TileCache(needed)) if 0 < needed <= _ROW_BYTES else raster


def _side(scale: float, length: int) -> int:
    """Side of a block, px: smaller for large factors, so that a column of source pixels stays small."""
    side = _BLOCK
    while side > 16 and side * scale > 16 * _BLOCK:
        side //= 2
    return min(side, length)


def _resampled_block(source: Raster, y: _BlockAxis, x: _BlockAxis, target: ResampledRaster) -> Block:
    """A block's pixels ``(y, x, c)`` and the mask of its valid ones (``None``: all)."""
    kind = _work_type(source.dtype)
    across = np.empty((y.stop - y.start, x.count, source.shape[2]), kind)
    for top, bottom in _strips(source, y, x):
        pixels, valid = _data(source, (top, bottom, x.start, x.stop))
        if valid is not None and not valid.all():
            return _block_with_invalid(source, y, x, target)
        pixels = pixels.astype(kind, copy=False)
        across[top - y.start : bottom - y.start] = _across(pixels, x, _LANCZOS)
    return _clipped(_down(across, y, _LANCZOS), target), None


def _block_with_invalid(source: Raster, y: _BlockAxis, x: _BlockAxis, target: ResampledRaster) -> Block:
    """As ``_resampled_block``, where some source pixels are invalid.

    Pixels whose Lanczos filter covers an invalid one get a normalised convolution, ``T(v*m) / T(m)`` with the mask
    ``m``. The triangle ``T`` is never negative, so that the quotient stays between the values averaged.

    Source: Knutsson & Westin 1993, Normalized and differential convolution, doi 10.1109/CVPR.1993.341081
    """
    rows, channels, kind = y.stop - y.start, source.shape[2], _work_type(source.dtype)
    sharp = np.empty((rows, x.count, channels), kind)
    soft = np.empty((rows, x.count, channels + 1), np.float32)
    invalid = np.empty((rows, x.count), np.bool_)
    for top, bottom in _strips(source, y, x):
        rows_of = slice(top - y.start, bottom - y.start)
        pixels, mask = _data(source, (top, bottom, x.start, x.stop))
        valid = np.ones((bottom - top, x.stop - x.start), np.bool_) if mask is None else mask
        pixels = np.where(valid[:, :, None], pixels.astype(kind, copy=False), kind.type(0))
        sharp[rows_of] = _across(pixels, x, _LANCZOS)
        weighed = np.concatenate([pixels.astype(np.float32, copy=False), valid[:, :, None].astype(np.float32)], axis=2)
        soft[rows_of] = _across(weighed, x, _TRIANGLE)
        invalid[rows_of] = _any_covered(~valid, x, axis=1)
    averages = _down(soft, y, _TRIANGLE)
    weights = averages[:, :, channels:]
    averages = averages[:, :, :channels] / np.maximum(weights, np.float32(1e-6))
    pixels = _down(sharp, y, _LANCZOS).astype(np.float32)
    pixels = np.where(_any_covered(invalid, y, axis=0)[:, :, None], averages, pixels)
    valid = weights[:, :, 0] >= 0.5
    pixels = _clipped(pixels, target)
    metadata = target.metadata
    pixels[~valid] = metadata.background or (0 if metadata.nodata is None else metadata.nodata)
    return pixels, valid


def _data(source: Raster, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Pixels of a region and the valid ones; nodata and NaN of single channels, which a filter would spread, are 0."""
    pixels, valid = read_valid(source, region)
    return fill_nodata(pixels, None, nodata=source.metadata.nodata), valid


def _work_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that Pillow resamples in: uint8 for 8-bit pixels, else float32."""
    return np.dtype(np.uint8) if dtype == np.uint8 else np.dtype(np.float32)


def _strips(source: Raster, y: _BlockAxis, x: _BlockAxis) -> list[tuple[int, int]]:
    """Rows ``[top, bottom)`` to read together: whole rows of the file's tiles if these are small enough."""
    row_bytes = (x.stop - x.start) * source.shape[2] * max(4, source.dtype.itemsize)
    rows = max(1, _STRIP_BYTES // row_bytes)
    tile = source.metadata.tile[0]
    if tile <= 4 * rows:
        rows = max(1, rows // tile) * tile
        edges = range((y.start // rows + 1) * rows, y.stop, rows)
    else:
        edges = range(y.start + rows, y.stop, rows)
    cuts = [y.start, *edges, y.stop]
    return list(pairwise(cuts))


def _across(pixels: NDArray[Any], x: _BlockAxis, kernel: Image.Resampling) -> NDArray[Any]:
    """Pixels resampled along x."""
    return _pillow(pixels, (pixels.shape[0], x.count), (x.low, 0.0, x.high, float(pixels.shape[0])), kernel)


def _down(pixels: NDArray[Any], y: _BlockAxis, kernel: Image.Resampling) -> NDArray[Any]:
    """Pixels resampled along y."""
    return _pillow(pixels, (y.count, pixels.shape[1]), (0.0, y.low, float(pixels.shape[1]), y.high), kernel)


def _pillow(
    pixels: NDArray[Any], size: tuple[int, int], box: tuple[float, float, float, float], kernel: Image.Resampling
) -> NDArray[Any]:
    """A box ``(x0, y0, x1, y1)`` of the pixels at another size; the filter reads the pixels around the box."""
    width_height = (size[1], size[0])
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(width_height, kernel, box=box))
    planes = [np.ascontiguousarray(pixels[:, :, channel]) for channel in range(pixels.shape[2])]
    return np.stack([np.asarray(Image.fromarray(p).resize(width_height, kernel, box=box)) for p in planes], axis=2)


def _any_covered(flags: NDArray[np.bool_], block_axis: _BlockAxis, *, axis: int) -> NDArray[np.bool_]:
    """Along one axis, whether the Lanczos filter of each pixel covers a true flag."""
    first, last = block_axis.supports()
    flags = np.moveaxis(flags, axis, 0)
    sums = np.zeros((flags.shape[0] + 1, flags.shape[1]), np.int32)
    np.cumsum(flags, axis=0, out=sums[1:])
    return np.moveaxis(sums[last] > sums[first], 0, axis)


def _clipped(pixels: NDArray[Any], target: ResampledRaster) -> NDArray[Any]:
    """Pixels in the target's type and range, a new array."""
    low, high = target.clip or (-math.inf, math.inf)
    if target.dtype.kind == "u":
        limit = float(np.iinfo(target.dtype).max)
        pixels = np.rint(pixels) if pixels.dtype.kind == "f" else pixels
        low, high = max(low, 0.0), min(high, limit)
        return pixels.clip(math.ceil(low), math.floor(high)).astype(target.dtype)
    return pixels.clip(low, high).astype(target.dtype) if target.clip else pixels.astype(target.dtype)
