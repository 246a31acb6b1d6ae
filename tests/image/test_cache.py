"""The cache of decoded tiles: every tile is decoded once, in no more bytes than allowed, with the same bits."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.cache import TileCache, cached, row_bytes
from fullfield.image.raster import ArrayRaster, ImageMetadata
from tests.processes import PATIENCE_S

PIXELS = np.random.default_rng(1).integers(0, 256, (70, 90, 3), dtype=np.uint8)
TILE = 16 * 24 * 3


@dataclass(frozen=True, eq=False)
class Slow:
    """An image that records the regions read."""

    reads: list[tuple[int, int, int, int]] = field(default_factory=list)
    gate: threading.Event | None = None
    nodata: float | None = None
    name: str = "slow.tif"
    shape: tuple[int, int, int] = PIXELS.shape  # type: ignore[assignment]
    dtype: np.dtype[Any] = PIXELS.dtype

    @property
    def metadata(self) -> ImageMetadata:
        return ImageMetadata({}, (16, 24), nodata=self.nodata)

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        self.reads.append((top, bottom, left, right))
        if self.gate is not None:
            assert self.gate.wait(PATIENCE_S)
        return PIXELS[top:bottom, left:right]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        valid = PIXELS[top:bottom, left:right, 0] > 128
        valid[max(0, 16 - top) :] = True
        return None if valid.all() else valid

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        return None

    def close(self) -> None:
        self.reads.append((-1, -1, -1, -1))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 69), st.integers(1, 70), st.integers(0, 89), st.integers(1, 90))),
    st.integers(0, 40),
)
def test_every_region_has_the_bits_of_the_image_whatever_the_cache_holds(
    spans: list[tuple[int, int, int, int]], tiles: int
) -> None:
    cache = TileCache(tiles * TILE)
    raster = cached(Slow(), cache)
    for top, height, left, width in spans:
        bottom, right = min(70, top + height), min(90, left + width)
        np.testing.assert_array_equal(raster.read(top, bottom, left, right), PIXELS[top:bottom, left:right])
        valid = raster.valid(top, bottom, left, right)
        expected = np.where(np.arange(top, bottom)[:, None] < 16, PIXELS[top:bottom, left:right, 0] > 128, True)
        np.testing.assert_array_equal(np.ones_like(expected) if valid is None else valid, expected)
        assert cache.held_bytes <= cache.most_bytes


def test_a_row_of_missing_tiles_is_one_read_and_none_is_decoded_twice() -> None:
    inner, cache = Slow(), TileCache(10**6)
    raster = cached(inner, cache)
    raster.read(5, 30, 30, 80)  # tiles 1..3 of rows 0 and 1
    assert inner.reads == [(0, 16, 24, 90), (16, 32, 24, 90)]
    raster.read(0, 20, 0, 90)
    assert inner.reads[2:] == [(0, 16, 0, 24), (16, 32, 0, 24)]
    assert cache.held_bytes == 32 * 90 * 3
    raster.read(0, 32, 0, 90)
    assert len(inner.reads) == 4


def test_a_gap_between_missing_tiles_makes_two_reads() -> None:
    inner = Slow()
    raster = cached(inner, TileCache(10**6))
    raster.read(0, 1, 30, 31)
    raster.read(0, 1, 0, 90)
    assert inner.reads[1:] == [(0, 16, 0, 24), (0, 16, 48, 90)]


def test_the_least_recently_used_tile_is_dropped_first() -> None:
    inner = Slow()
    raster = cached(inner, TileCache(2 * TILE))
    for x in (0, 24, 0, 48, 0, 24):
        raster.read(0, 1, x, x + 1)
    assert [read[2] for read in inner.reads] == [0, 24, 48, 24]


def test_a_read_larger_than_the_cache_does_not_use_it() -> None:
    inner, cache = Slow(), TileCache(5 * TILE)
    raster = cached(inner, cache)
    raster.read(0, 5, 0, 5)
    raster.read(0, 70, 0, 90)
    assert inner.reads[1:] == [(0, 70, 0, 90)]
    assert cache.held_bytes == TILE


def test_threads_that_need_a_tile_at_once_decode_it_once() -> None:
    inner, cache = Slow(gate=threading.Event()), TileCache(10**6)
    raster = cached(inner, cache)
    assert inner.gate is not None
    with ThreadPoolExecutor(4) as workers:
        results = [workers.submit(raster.read, 0, 30, 0, 90) for _ in range(4)]
        threading.Timer(0.1, inner.gate.set).start()
        for result in results:
            np.testing.assert_array_equal(result.result(), PIXELS[:30])
    assert sorted(inner.reads) == [(0, 16, 0, 90), (16, 32, 0, 90)]
    assert cache.held_bytes == 32 * 90 * 3


def test_many_threads_over_a_small_cache_read_the_same_bits() -> None:
    raster = cached(Slow(), TileCache(7 * TILE))
    regions = [(y, y + 20, x, x + 30) for y in range(0, 50, 3) for x in range(0, 60, 7)] * 3
    with ThreadPoolExecutor(8) as workers:
        for region, found in zip(regions, workers.map(lambda r: raster.read(*r), regions), strict=True):
            np.testing.assert_array_equal(found, PIXELS[region[0] : region[1], region[2] : region[3]])


def test_an_error_reaches_all_waiting_threads_and_the_tile_is_tried_again() -> None:
    class Broken(Slow):
        def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
            super().read(top, bottom, left, right)
            if len(self.reads) == 1:
                raise ImageError(self.name, "is damaged", fix="none")
            return PIXELS[top:bottom, left:right]

    inner, cache = Broken(gate=threading.Event()), TileCache(10**6)
    raster = cached(inner, cache)
    assert inner.gate is not None
    with ThreadPoolExecutor(2) as workers:
        results = [workers.submit(raster.read, 0, 10, 0, 10) for _ in range(2)]
        threading.Timer(0.1, inner.gate.set).start()
        for result in results:
            with pytest.raises(ImageError, match="is damaged"):
                result.result()
    np.testing.assert_array_equal(raster.read(0, 10, 0, 10), PIXELS[:10, :10])


def test_pixels_read_are_read_only() -> None:
    raster = cached(Slow(), TileCache(10**6))
    with pytest.raises(ValueError, match="read-only"):
        raster.read(0, 5, 0, 5)[:] = 0


def test_two_images_share_a_cache_and_closing_one_drops_its_tiles() -> None:
    cache, inners = TileCache(10**6), [Slow(), Slow()]
    rasters = [cached(inner, cache) for inner in inners]
    for raster in rasters:
        raster.read(0, 5, 0, 5)
    assert cache.held_bytes == 2 * TILE
    rasters[0].close()
    assert (cache.held_bytes, inners[0].reads[-1]) == (TILE, (-1, -1, -1, -1))


def test_pixels_from_which_the_valid_ones_are_found_are_decoded_once() -> None:
    class Masked(Slow):
        def mask(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
            return pixels[:, :, 0] != 7

    inner = Masked()
    raster = cached(inner, TileCache(10**6))
    raster.read(0, 16, 0, 24)
    np.testing.assert_array_equal(raster.valid(0, 16, 0, 24), PIXELS[:16, :24, 0] != 7)
    assert len(inner.reads) == 1


def test_an_image_in_memory_needs_no_cache() -> None:
    raster = ArrayRaster(PIXELS)
    assert cached(raster, TileCache(10)) is raster


def test_a_region_outside_is_refused() -> None:
    with pytest.raises(ImageError, match="does not lie in the image"):
        cached(Slow(), TileCache(10**6)).read(0, 71, 0, 5)


@dataclass(frozen=True, eq=False)
class Strips(Slow):
    """The same image in strips of 16 rows."""

    @property
    def metadata(self) -> ImageMetadata:
        return ImageMetadata({}, (16, 90))


def test_strips_cached_for_a_row_of_regions_are_decoded_once() -> None:
    strips = Strips()
    image = cached(strips, TileCache(row_bytes(strips, (40, 10))))
    for left in range(0, 90, 10):
        np.testing.assert_array_equal(image.read(13, 53, left, left + 10), PIXELS[13:53, left : left + 10])
    assert strips.reads == [(y, y + 16, 0, 90) for y in range(0, 64, 16)]
    starved = cached(strips, TileCache(64 * 90 * 3 - 1))
    starved.read(13, 53, 0, 10)
    assert strips.reads[4:] == [(13, 53, 0, 10)]  # without the cache


def test_a_row_of_tiles_is_cached_if_tiles_are_much_larger_than_regions() -> None:
    assert row_bytes(Strips(), (40, 10)) == 64 * 90 * 4
    assert row_bytes(Strips(), (60, 10)) == 70 * 90 * 4  # no more than the image
    assert row_bytes(Strips(), (40, 80)) == 0  # little more is decoded than is used
    assert row_bytes(Slow(), (40, 60)) == 0
    assert row_bytes(cached(Strips(), TileCache(9)), (40, 10)) == 64 * 90 * 4
    assert row_bytes(ArrayRaster(PIXELS), (40, 10)) == 0
