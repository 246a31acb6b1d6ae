"""A cache of decoded tiles (least recently used) that threads share, and rasters read through it."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Region
from fullfield.image.checks import check_region
from fullfield.image.raster import ArrayRaster, ImageMetadata, Raster, raster_text
from fullfield.planning.overhead import row_cache_bytes

_Tile = NDArray[Any]
_ValidMask = Callable[[NDArray[Any]], NDArray[np.bool_] | None]
_TOKENS = itertools.count()


class TileCache:
    """The most recently used tiles of any number of images, for any number of threads.

    Invariant: the cached tiles never take more than ``most_bytes``, and a tile that several threads need at once is
    decoded by one of them.

    Args:
        most_bytes: of cached tiles; tiles being decoded or in use come on top.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._tiles: OrderedDict[Hashable, _Tile] = OrderedDict()
        self._loading: dict[Hashable, Future[_Tile]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of the cached tiles."""
        return self._bytes

    def fetch(self, keys: Sequence[Hashable], load: Callable[[int, int], list[_Tile]]) -> list[_Tile]:
        """The tiles of some keys, in their order; missing ones are loaded in runs of neighbours.

        Args:
            keys: of neighbouring tiles.
            load: returns the tiles of ``keys[start:stop]``.
        """
        found: dict[int, _Tile] = {}
        others: dict[int, Future[_Tile]] = {}
        mine: dict[int, Future[_Tile]] = {}
        with self._lock:
            for k, key in enumerate(keys):
                if key in self._tiles:
                    self._tiles.move_to_end(key)
                    found[k] = self._tiles[key]
                elif key in self._loading:
                    others[k] = self._loading[key]
                else:
                    mine[k] = self._loading[key] = Future()
        # Own tiles are loaded before waiting for those of other threads, so that no two threads wait for each other.
        try:
            for start, stop in _runs(sorted(mine)):
                for k, tile in zip(range(start, stop), load(start, stop), strict=True):
                    found[k] = tile
                    self._insert(keys[k], tile)
                    mine.pop(k).set_result(tile)
        except BaseException as error:
            self._fail({keys[k]: future for k, future in mine.items()}, error)
            raise
        return [found[k] if k in found else others[k].result() for k in range(len(keys))]

    def drop(self, matches: Callable[[Any], bool]) -> None:
        """Drops the tiles whose keys match."""
        with self._lock:
            for key in [key for key in self._tiles if matches(key)]:
                self._bytes -= self._tiles.pop(key).nbytes

    def _insert(self, key: Hashable, tile: _Tile) -> None:
        """Caches a tile and drops the least recently used ones."""
        tile.setflags(write=False)
        with self._lock:
            del self._loading[key]
            if tile.nbytes > self.most_bytes:
                return
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            while self._bytes > self.most_bytes:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes

    def _fail(self, failed: dict[Hashable, Future[_Tile]], error: BaseException) -> None:
        with self._lock:
            for key in failed:
                self._loading.pop(key, None)
        for future in failed.values():
            future.set_exception(error)


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Half-open runs of consecutive indices."""
    runs: list[tuple[int, int]] = []
    for k in indices:
        if runs and runs[-1][1] == k:
            runs[-1] = (runs[-1][0], k + 1)
        else:
            runs.append((k, k + 1))
    return runs


def cached(raster: Raster, cache: TileCache) -> Raster:
    """The image read through this cache alone, in the file's tiles; an image in memory is returned as it is."""
    inner = raster.inner if isinstance(raster, CachedRaster) else raster
    return inner if isinstance(inner, ArrayRaster) else CachedRaster(inner, cache)


def row_bytes(raster: Raster, region: tuple[int, int]) -> int:
    """The cache that regions read from left to right need, so that no tile is decoded for each of them, bytes.

    A strip is as wide as the image: without a cache for a row of strips, an image ``n`` regions wide is decoded ``n``
    times.

    Args:
        raster: with or without a cache.
        region: height and width of the regions read, px.

    Returns:
        Bytes of all tiles that a row of regions overlaps, and of their masks; 0 if the file's tiles are not much larger
        than the regions.
    """
    inner = raster.inner if isinstance(raster, CachedRaster) else raster
    if isinstance(inner, ArrayRaster):
        return 0
    height, width, channels = inner.shape
    pixel_bytes = channels * inner.dtype.itemsize + 1
    return row_cache_bytes((height, width), inner.metadata.tile, region, pixel_bytes=pixel_bytes)


@dataclass(frozen=True, eq=False)
class CachedRaster:
    """An image whose regions are assembled from cached tiles of its file; implements ``Raster``.

    Missing tiles of one row are one read. A read of more tiles than the cache can hold does not use the cache.

    Args:
        inner: the image.
        cache: shared by any number of images.
    """

    inner: Raster
    cache: TileCache
    _token: int = field(default_factory=lambda: next(_TOKENS))

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def name(self) -> str:
        """Path or URL."""
        return self.inner.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        return self.inner.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.inner.dtype

    @property
    def metadata(self) -> ImageMetadata:
        """The image's metadata."""
        return self.inner.metadata

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region, read-only."""
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        pixel_bytes = self.shape[2] * self.dtype.itemsize
        if self._exceeds_cache(region, pixel_bytes):
            return self.inner.read(*region)
        return self._assemble("pixels", region, self.inner.read)

    @property
    def mask(self) -> _ValidMask | None:
        """Function that finds the valid ones among pixels already read, if the reader has one."""
        return getattr(self.inner, "mask", None)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels of a region."""
        region = (top, bottom, left, right)
        if self.mask is not None:
            return self.mask(self.read(*region))  # from the cache
        if self._exceeds_cache(region, 1):
            return self.inner.valid(*region)
        valid = self._assemble("valid", region, self._inner_valid)
        return None if valid.all() else valid

    def _inner_valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        valid = self.inner.valid(top, bottom, left, right)
        return np.ones((bottom - top, right - left), np.bool_) if valid is None else valid

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, small."""
        return self.inner.thumbnail(side)

    def close(self) -> None:
        """Closes the file and drops its tiles."""
        self.cache.drop(lambda key: key[0] == self._token)
        self.inner.close()

    def _exceeds_cache(self, region: Region, pixel_bytes: int) -> bool:
        (top, bottom, left, right), (height, width) = region, self.metadata.tile
        rows = min(self.shape[0], -(-bottom // height) * height) - top // height * height
        columns = min(self.shape[1], -(-right // width) * width) - left // width * width
        return rows * columns * pixel_bytes > self.cache.most_bytes

    def _assemble(self, kind: str, region: Region, read: Callable[[int, int, int, int], NDArray[Any]]) -> NDArray[Any]:
        """A region assembled from tiles, one row of tiles at a time."""
        top, bottom, left, right = region
        tile_height, tile_width = self.metadata.tile
        height, width, _ = self.shape
        first, last = left // tile_width, -(-right // tile_width)
        out: NDArray[Any] | None = None
        for i in range(top // tile_height, -(-bottom // tile_height)):
            y, y_end = i * tile_height, min((i + 1) * tile_height, height)

            def load(start: int, stop: int, y: int = y, y_end: int = y_end) -> list[_Tile]:
                x, x_end = (first + start) * tile_width, min((first + stop) * tile_width, width)
                block = read(y, y_end, x, x_end)
                cuts = range(0, x_end - x, tile_width)
                return [np.array(block[:, cut : cut + tile_width], order="C") for cut in cuts]

            tiles = self.cache.fetch([(self._token, kind, i, j) for j in range(first, last)], load)
            rows = slice(max(top, y) - y, min(bottom, y_end) - y)
            for j, tile in zip(range(first, last), tiles, strict=True):
                x = j * tile_width
                part = tile[rows, max(left, x) - x : min(right, x + tile_width) - x]
                if part.shape[:2] == (bottom - top, right - left):
                    return part
                if out is None:
                    out = np.empty((bottom - top, right - left, *tile.shape[2:]), tile.dtype)
                target = out[max(top, y) - top : min(bottom, y_end) - top]
                target[:, max(left, x) - left : min(right, x + tile_width) - left] = part
        assert out is not None  # a region has at least one pixel
        return out
