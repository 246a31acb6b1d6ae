"""A large image at another size, resampled once from its own pixels, block by block of the wanted grid.

The filter is ``resize``'s: antialiased Lanczos of radius 3. A block is computed whole from the pixels its filter
touches, whatever part of it is asked for, so that a pixel has one value however it is read, and blocks meet without
a seam. Rows come in strips, so that memory does not grow with the factor.
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
from fullfield.image.cache import CachedRaster, TileCache, cached, row_bytes
from fullfield.image.formats.checks import check_region, check_size
from fullfield.image.raster import About, Raster

_BLOCK = 512  # px of the wanted grid
_STRIP_BYTES = 32 << 20  # of raw pixels read at once
_ROW_BYTES = 512 << 20  # of raw strips kept while a row of blocks is made of them, at most
_KEPT = 4  # blocks, for the mask asked for after the pixels
_LANCZOS, _TRIANGLE = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR

Block = tuple[NDArray[Any], NDArray[np.bool_] | None]


@dataclass(frozen=True)
class _Axis:
    """One axis of a block: which pixels its filters touch, and where the block lies among them.

    Args:
        start, stop: the raw pixels touched.
        low, high: the block's edges in raw pixels, counted from ``start``.
        count: pixels of the block.
    """

    start: int
    stop: int
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, first: int, last: int, *, raw: int, wanted: int) -> _Axis:
        """Of the wanted pixels ``[first, last)``."""
        scale = raw / wanted
        margin = 3.0 * max(scale, 1.0) + 1.0
        low, high = first * raw / wanted, last * raw / wanted
        start, stop = max(0, math.floor(low - margin)), min(raw, math.ceil(high + margin))
        return cls(start, stop, low - start, high - start, last - first)

    def touched(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """First and past-the-last raw pixel that Lanczos weighs for each wanted one, counted from ``start``."""
        scale = (self.high - self.low) / self.count
        radius = 3.0 * max(scale, 1.0)
        centres = self.low + (np.arange(self.count) + 0.5) * scale
        first = np.floor(centres - radius - 0.5).astype(np.intp).clip(0, None)  # one more: Pillow's boxes are float32
        last = np.ceil(centres + radius + 0.5).astype(np.intp).clip(None, self.stop - self.start)
        return first, last


@dataclass(frozen=True, eq=False)
class ResampledRaster:
    """A raster at another size; implements ``Raster``.

    Args:
        source: the raster as the file has it.
        shape: height and width wanted, px, and channels.
        about: the source's, brought to the wanted size.
        clip: least and largest value that is given.
    """

    source: Raster
    shape: tuple[int, int, int]
    about: About
    clip: tuple[float, float] | None
    _blocks: OrderedDict[tuple[int, int], Block] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def name(self) -> str:
        """The file."""
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
        """Which pixels ``(y, x)`` hold something: those where at least half of the triangle's weight does."""
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
        """The source's."""
        return self.source.thumbnail(min(side, max(self.shape[:2])))

    def close(self) -> None:
        """Closes the source."""
        with self._lock:
            self._blocks.clear()
        self.source.close()

    def _keys(self, region: tuple[int, int, int, int]) -> list[tuple[int, int]]:
        high, wide = self.about.tile
        top, bottom, left, right = region
        rows, columns = range(top // high, -(-bottom // high)), range(left // wide, -(-right // wide))
        return [(row, column) for row in rows for column in columns]

    def _overlap(
        self, key: tuple[int, int], region: tuple[int, int, int, int]
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part of a block that lies in a region, counted from the block's corner and from the region's."""
        (high, wide), (top, bottom, left, right) = self.about.tile, region
        y, x = key[0] * high, key[1] * wide
        y0, y1, x0, x1 = max(y, top), min(y + high, bottom), max(x, left), min(x + wide, right)
        inside = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        return inside, (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))

    def _block(self, key: tuple[int, int]) -> Block:
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        (high, wide), (height, width, _), raw = self.about.tile, self.shape, self.source.shape
        y = _Axis.of(key[0] * high, min(height, key[0] * high + high), raw=raw[0], wanted=height)
        x = _Axis.of(key[1] * wide, min(width, key[1] * wide + wide), raw=raw[1], wanted=width)
        block = _resampled_block(self.source, y, x, self)
        with self._lock:
            self._blocks[key] = block
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return block


def resampled(raster: Raster, size: tuple[int, int], *, clip: tuple[float, float] | None = None) -> Raster:
    """The raster at ``size``: antialiased Lanczos on the raw pixels, computed block by block when read.

    Equal to ``resize`` of the whole image up to rounding. A pixel that holds nothing does not bleed: where the filter
    touches one, the triangle's average of those that hold something is taken.

    Args:
        raster: of any size.
        size: height and width, px.
        clip: range that values are kept to, the filter overshooting at edges; the type's own for integers. Floats
            that must not leave the range a network takes need it.

    Raises:
        ImageError: the size is empty.
    """
    if tuple(raster.shape[:2]) == tuple(size):
        return raster
    check_size(size, raster.name)
    if raster.dtype.kind not in "uif":
        raise ImageError(raster.name, f"{raster.dtype} pixels cannot be resampled", fix="give whole or real numbers")
    sy, sx = raster.shape[0] / size[0], raster.shape[1] / size[1]
    raster, about = _rows_kept(raster, (sy, sx), size), raster.about
    changed = replace(
        about,
        identity={"source": about.identity, "resampled": list(size)},
        tile=(_side(sy, size[0]), _side(sx, size[1])),
        levels=(size,),
        level=0,
        mpp=None if about.mpp is None else (about.mpp[0] * sy, about.mpp[1] * sx),
        georeference=None if about.georeference is None else about.georeference.moved(0, 0, (sy, sx)),
        held_bytes=about.held_bytes + (raster.cache.most_bytes if isinstance(raster, CachedRaster) else 0),
    )
    return ResampledRaster(raster, (*size, raster.shape[2]), changed, clip)


def _rows_kept(raster: Raster, scale: tuple[float, float], size: tuple[int, int]) -> Raster:
    """The raster, its strips kept while a row of blocks is made of them, where that takes no more than 512 MiB."""
    rows, columns = (math.ceil((_side(s, n) + 6) * max(s, 1.0)) + 8 for s, n in zip(scale, size, strict=True))
    strip = max(1, _STRIP_BYTES // (columns * raster.shape[2] * max(4, raster.dtype.itemsize)))
    needed = row_bytes(raster, (min(rows, strip), columns)) and row_bytes(raster, (rows, columns))
    return cached(raster, TileCache(needed)) if 0 < needed <= _ROW_BYTES else raster


def _side(scale: float, wanted: int) -> int:
    """Side of a block, px: fewer for large factors, so that a column of raw pixels stays small."""
    side = _BLOCK
    while side > 16 and side * scale > 16 * _BLOCK:
        side //= 2
    return min(side, wanted)


def _resampled_block(source: Raster, y: _Axis, x: _Axis, wanted: ResampledRaster) -> Block:
    """A block's pixels ``(y, x, c)`` and which of them hold something (``None``: all)."""
    kind = _work_type(source.dtype)
    across = np.empty((y.stop - y.start, x.count, source.shape[2]), kind)
    for top, bottom in _strips(source, y, x):
        valid = source.valid(top, bottom, x.start, x.stop)
        if valid is not None and not valid.all():
            return _holed_block(source, y, x, wanted)
        pixels = source.read(top, bottom, x.start, x.stop).astype(kind, copy=False)
        across[top - y.start : bottom - y.start] = _across(pixels, x, _LANCZOS)
    return _finished(_down(across, y, _LANCZOS), wanted), None


def _holed_block(source: Raster, y: _Axis, x: _Axis, wanted: ResampledRaster) -> Block:
    """As ``_resampled_block`` where some pixels hold nothing.

    A normalised convolution, ``T(v*m) / T(m)`` with the mask ``m``, in all pixels whose Lanczos filter touches a hole.
    Its triangle is nowhere negative, so that the quotient stays between the values averaged.

    Source: Knutsson & Westin 1993, Normalized and differential convolution, doi 10.1109/CVPR.1993.341081
    """
    rows, channels, kind = y.stop - y.start, source.shape[2], _work_type(source.dtype)
    sharp = np.empty((rows, x.count, channels), kind)
    soft = np.empty((rows, x.count, channels + 1), np.float32)
    holes = np.empty((rows, x.count), np.bool_)
    for top, bottom in _strips(source, y, x):
        at = slice(top - y.start, bottom - y.start)
        found = source.valid(top, bottom, x.start, x.stop)
        valid = np.ones((bottom - top, x.stop - x.start), np.bool_) if found is None else found
        pixels = source.read(top, bottom, x.start, x.stop).astype(kind, copy=False)
        pixels = np.where(valid[:, :, None], pixels, kind.type(0))
        sharp[at] = _across(pixels, x, _LANCZOS)
        weighed = np.concatenate([pixels.astype(np.float32, copy=False), valid[:, :, None].astype(np.float32)], axis=2)
        soft[at] = _across(weighed, x, _TRIANGLE)
        holes[at] = _any_touched(~valid, x, axis=1)
    averages = _down(soft, y, _TRIANGLE)
    weights = averages[:, :, channels:]
    averages = averages[:, :, :channels] / np.maximum(weights, np.float32(1e-6))
    pixels = _down(sharp, y, _LANCZOS).astype(np.float32)
    pixels = np.where(_any_touched(holes, y, axis=0)[:, :, None], averages, pixels)
    valid = weights[:, :, 0] >= 0.5
    pixels = _finished(pixels, wanted)
    about = wanted.about
    pixels[~valid] = about.background or (0 if about.nodata is None else about.nodata)
    return pixels, valid


def _work_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What Pillow resamples: 8-bit pixels as they are, others as float32."""
    return np.dtype(np.uint8) if dtype == np.uint8 else np.dtype(np.float32)


def _strips(source: Raster, y: _Axis, x: _Axis) -> list[tuple[int, int]]:
    """Rows to read together: whole rows of the file's tiles where those are small enough."""
    row_bytes = (x.stop - x.start) * source.shape[2] * max(4, source.dtype.itemsize)
    rows = max(1, _STRIP_BYTES // row_bytes)
    tile = source.about.tile[0]
    if tile <= 4 * rows:
        rows = max(1, rows // tile) * tile
        edges = range((y.start // rows + 1) * rows, y.stop, rows)
    else:
        edges = range(y.start + rows, y.stop, rows)
    cuts = [y.start, *edges, y.stop]
    return list(pairwise(cuts))


def _across(pixels: NDArray[Any], x: _Axis, kernel: Image.Resampling) -> NDArray[Any]:
    """Rows resampled to the block's columns."""
    return _pillow(pixels, (pixels.shape[0], x.count), (x.low, 0.0, x.high, float(pixels.shape[0])), kernel)


def _down(pixels: NDArray[Any], y: _Axis, kernel: Image.Resampling) -> NDArray[Any]:
    """Columns resampled to the block's rows."""
    return _pillow(pixels, (y.count, pixels.shape[1]), (0.0, y.low, float(pixels.shape[1]), y.high), kernel)


def _pillow(
    pixels: NDArray[Any], size: tuple[int, int], box: tuple[float, float, float, float], kernel: Image.Resampling
) -> NDArray[Any]:
    """A box ``(x0, y0, x1, y1)`` of the pixels at another size; the filter sees what lies around the box."""
    width_height = (size[1], size[0])
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(width_height, kernel, box=box))
    planes = [np.ascontiguousarray(pixels[:, :, channel]) for channel in range(pixels.shape[2])]
    return np.stack([np.asarray(Image.fromarray(p).resize(width_height, kernel, box=box)) for p in planes], axis=2)


def _any_touched(flags: NDArray[np.bool_], axis_: _Axis, *, axis: int) -> NDArray[np.bool_]:
    """Along one axis, for each wanted pixel whether its Lanczos filter touches a flag."""
    first, last = axis_.touched()
    flags = np.moveaxis(flags, axis, 0)
    sums = np.zeros((flags.shape[0] + 1, flags.shape[1]), np.int32)
    np.cumsum(flags, axis=0, out=sums[1:])
    return np.moveaxis(sums[last] > sums[first], 0, axis)


def _finished(pixels: NDArray[Any], wanted: ResampledRaster) -> NDArray[Any]:
    """Pixels in the wanted type and range, a new array."""
    low, high = wanted.clip or (-math.inf, math.inf)
    if wanted.dtype.kind == "u":
        limit = float(np.iinfo(wanted.dtype).max)
        pixels = np.rint(pixels) if pixels.dtype.kind == "f" else pixels
        low, high = max(low, 0.0), min(high, limit)
        return pixels.clip(math.ceil(low), math.floor(high)).astype(wanted.dtype)
    return pixels.clip(low, high).astype(wanted.dtype) if wanted.clip else pixels.astype(wanted.dtype)
