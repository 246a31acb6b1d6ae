"""Decoded tiles kept in memory, so that no tile of a file is decoded twice while it is still at hand."""

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

from fullfield.image.formats.checks import check_region
from fullfield.image.raster import About, ArrayRaster, Raster

Tile = NDArray[Any]
Mask = Callable[[NDArray[Any]], NDArray[np.bool_] | None]
_TOKENS = itertools.count()
_WASTE = 4  # times a region's pixels: what may be decoded for it without being kept for its neighbour


@dataclass
class Counts:
    """What a cache has done.

    Args:
        hits: tiles that were there, or that another thread was just decoding.
        misses: tiles decoded.
        decoded_bytes: of these.
        bypassed: reads too large for the cache.
    """

    hits: int = 0
    misses: int = 0
    decoded_bytes: int = 0
    bypassed: int = 0


class TileCache:
    """The tiles used last, of any number of images, up to so many bytes; for any number of threads.

    Invariant: the tiles held never take more than ``most_bytes``, and a tile that several threads want at once is
    decoded by one of them.

    Args:
        most_bytes: of tiles held. Those just being decoded or handed out come on top.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.counts = Counts()
        self._tiles: OrderedDict[Hashable, Tile] = OrderedDict()
        self._coming: dict[Hashable, Future[Tile]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of the tiles held now."""
        return self._bytes

    def fetch(self, keys: Sequence[Hashable], load: Callable[[int, int], list[Tile]]) -> list[Tile]:
        """The tiles of some keys, in their order; those missing are loaded in runs of neighbours.

        Args:
            keys: of tiles that lie side by side.
            load: the tiles of ``keys[start:stop]``.
        """
        found: dict[int, Tile] = {}
        coming: dict[int, Future[Tile]] = {}
        mine: dict[int, Future[Tile]] = {}
        with self._lock:
            for k, key in enumerate(keys):
                if key in self._tiles:
                    self._tiles.move_to_end(key)
                    found[k] = self._tiles[key]
                elif key in self._coming:
                    coming[k] = self._coming[key]
                else:
                    mine[k] = self._coming[key] = Future()
            self.counts.hits += len(found) + len(coming)
            self.counts.misses += len(mine)
        # What others wait for comes first, and only then is waited for others: no two threads wait for each other.
        try:
            for start, stop in _runs(sorted(mine)):
                for k, tile in zip(range(start, stop), load(start, stop), strict=True):
                    found[k] = tile
                    self._keep(keys[k], tile)
                    mine.pop(k).set_result(tile)
        except BaseException as error:
            self._give_up({keys[k]: future for k, future in mine.items()}, error)
            raise
        return [found[k] if k in found else coming[k].result() for k in range(len(keys))]

    def forget(self, wanted: Callable[[Any], bool]) -> None:
        """Drops the tiles whose keys are such."""
        with self._lock:
            for key in [key for key in self._tiles if wanted(key)]:
                self._bytes -= self._tiles.pop(key).nbytes

    def _keep(self, key: Hashable, tile: Tile) -> None:
        """Takes a tile in, and lets go of those not used for longest."""
        tile.setflags(write=False)
        with self._lock:
            del self._coming[key]
            self.counts.decoded_bytes += tile.nbytes
            if tile.nbytes > self.most_bytes:
                return
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            while self._bytes > self.most_bytes:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes

    def _give_up(self, failed: dict[Hashable, Future[Tile]], error: BaseException) -> None:
        with self._lock:
            for key in failed:
                self._coming.pop(key, None)
        for future in failed.values():
            future.set_exception(error)


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Half-open runs of neighbours."""
    runs: list[tuple[int, int]] = []
    for k in indices:
        if runs and runs[-1][1] == k:
            runs[-1] = (runs[-1][0], k + 1)
        else:
            runs.append((k, k + 1))
    return runs


def cached(raster: Raster, cache: TileCache) -> Raster:
    """The image read through a cache, tile by tile of the file; an image in memory as it is."""
    return raster if isinstance(raster, ArrayRaster) else CachedRaster(raster, cache)


def row_bytes(raster: Raster, region: tuple[int, int]) -> int:
    """Decoded bytes to keep, so that regions read from left to right decode no far larger tile anew each.

    A strip reaches across the image: where a row of them is not kept, an image ``n`` regions wide is decoded ``n``
    times.

    Args:
        raster: as it is read, through a cache or not.
        region: height and width of what is read at once, px.

    Returns:
        Bytes of all tiles that a row of regions touches, and of their masks; 0 where the file's tiles are not far
        larger than the regions.
    """
    inner = raster.inner if isinstance(raster, CachedRaster) else raster
    if isinstance(inner, ArrayRaster):
        return 0
    height, width, channels = inner.shape
    high, wide = (
        _touched(size, tile, n) for size, tile, n in zip(region, inner.about.tile, (height, width), strict=True)
    )
    if high * wide <= _WASTE * min(region[0], height) * min(region[1], width):
        return 0
    return high * width * (channels * inner.dtype.itemsize + 1)


def _touched(size: int, tile: int, most: int) -> int:
    """Px of the tiles that a range touches, wherever it begins."""
    return min(most, (-(-(size - 1) // tile) + 1) * tile)


@dataclass(frozen=True, eq=False)
class CachedRaster:
    """An image whose regions are put together from tiles of its file, each decoded once while it stays cached.

    A row of tiles that are missing is one read. A read that would take more tiles than the cache holds goes past it.

    Args:
        inner: the image.
        cache: shared by any number of images.
    """

    inner: Raster
    cache: TileCache
    _token: int = field(default_factory=lambda: next(_TOKENS))

    @property
    def name(self) -> str:
        """The file."""
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
    def about(self) -> About:
        """Beside the pixels."""
        return self.inner.about

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region; not to be written to."""
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        pixel_bytes = self.shape[2] * self.dtype.itemsize
        if self._passes_by(region, pixel_bytes):
            return self.inner.read(*region)
        return self._gather("pixels", region, self.inner.read)

    @property
    def mask(self) -> Mask | None:
        """Tells of pixels read which hold something; of readers whose pixels say so themselves."""
        return getattr(self.inner, "mask", None)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Which pixels of a region hold something."""
        region = (top, bottom, left, right)
        if self.mask is not None:
            return self.mask(self.read(*region))  # which are here already
        if self._passes_by(region, 1):
            return self.inner.valid(*region)
        found = self._gather("valid", region, self._all_valid)
        return None if found.all() else found

    def _all_valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        found = self.inner.valid(top, bottom, left, right)
        return np.ones((bottom - top, right - left), np.bool_) if found is None else found

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, small."""
        return self.inner.thumbnail(side)

    def close(self) -> None:
        """Closes the file and forgets its tiles."""
        self.cache.forget(lambda key: key[0] == self._token)
        self.inner.close()

    def _passes_by(self, region: tuple[int, int, int, int], pixel_bytes: int) -> bool:
        (top, bottom, left, right), (height, width) = region, self.about.tile
        rows = min(self.shape[0], -(-bottom // height) * height) - top // height * height
        columns = min(self.shape[1], -(-right // width) * width) - left // width * width
        if rows * columns * pixel_bytes <= self.cache.most_bytes:
            return False
        with self.cache._lock:
            self.cache.counts.bypassed += 1
        return True

    def _gather(
        self, kind: str, region: tuple[int, int, int, int], read: Callable[[int, int, int, int], NDArray[Any]]
    ) -> NDArray[Any]:
        """A region put together from tiles, a row of tiles at a time."""
        top, bottom, left, right = region
        tile_height, tile_width = self.about.tile
        height, width, _ = self.shape
        first, last = left // tile_width, -(-right // tile_width)
        out: NDArray[Any] | None = None
        for i in range(top // tile_height, -(-bottom // tile_height)):
            y, y_end = i * tile_height, min((i + 1) * tile_height, height)

            def load(start: int, stop: int, y: int = y, y_end: int = y_end) -> list[Tile]:
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
