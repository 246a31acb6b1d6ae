"""Windows without valid pixels are skipped; invalid pixels are filled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.nodata import fill_nodata
from fullfield.image.raster import ArrayRaster, ImageMetadata
from fullfield.mask.valid import Sparse, ValidCells, may_be_empty


def raster(valid: NDArray[np.bool_], tile: tuple[int, int] = (16, 16)) -> ArrayRaster:
    pixels = np.where(valid[:, :, None], np.float32(3), np.float32(-9999))
    return ArrayRaster(pixels, "scene.tif", ImageMetadata({}, tile, nodata=-9999.0))


def walked(valid: NDArray[np.bool_], at: Placement, least: float) -> NDArray[np.bool_]:
    found = np.zeros(at.shape, np.bool_)
    for i, j in np.ndindex(*at.shape):
        top, left = i * at.step[0] - at.padding[0], j * at.step[1] - at.padding[2]
        window = valid[max(0, top) : max(0, top + at.window[0]), max(0, left) : max(0, left + at.window[1])]
        found[i, j] = window.any() if least == 0 else window.size > 0 and window.sum() >= least * window.size
    return found


@given(st.data())
def test_a_cell_is_wanted_where_its_window_has_a_valid_pixel_or_enough_of_them(data: st.DataObject) -> None:
    size = data.draw(st.tuples(st.integers(4, 50), st.integers(4, 50)))
    padding = data.draw(st.sampled_from([(0, 0, 0, 0), (2, 2, 4, 4), (-2, 0, -1, -1)]))
    step = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    window = data.draw(st.sampled_from([(2, 2), (4, 3), (1, 2)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    valid = rng.random(size) < data.draw(st.sampled_from([0.0, 0.02, 0.4, 1.0]))
    at, least = Placement(step, window, size, size, padding), data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    where = ValidCells(raster(valid), at, least)
    if least == 0 or where.pixel == (1, 1):
        np.testing.assert_array_equal(where.cells(0, 0, *at.shape), walked(valid, at, least))


def test_blocks_larger_than_memory_allows_are_put_together_from_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    valid = np.random.default_rng(0).random((300, 400)) < 0.001
    at = Placement((7, 5), (16, 9), (300, 400), (300, 400))
    whole = ValidCells(raster(valid), at).cells(0, 0, *at.shape)
    monkeypatch.setattr("fullfield.mask.valid.MOST_CELLS", 500)
    np.testing.assert_array_equal(ValidCells(raster(valid), at).cells(0, 0, *at.shape), whole)
    np.testing.assert_array_equal(whole, walked(valid, at, 0))


def test_where_the_image_is_resized_no_window_with_a_valid_pixel_is_lost() -> None:
    valid = np.random.default_rng(0).random((500, 700)) < 0.0005
    at = Placement((8, 8), (32, 32), (500, 700), (333, 470))
    found = ValidCells(raster(valid), at).cells(0, 0, *at.shape)
    y, x = np.nonzero(valid)
    wanted = np.zeros(at.shape, np.bool_)
    for i, j in np.ndindex(*at.shape):
        top, left = i * 8 / at.scale[0], j * 8 / at.scale[1]
        bottom, right = top + 32 / at.scale[0], left + 32 / at.scale[1]
        wanted[i, j] = ((y + 1 > top) & (y < bottom) & (x + 1 > left) & (x < right)).any()
    assert found[wanted].all()
    assert (found & ~wanted).mean() < 0.1


def test_the_image_is_asked_once_for_a_block_and_not_at_all_where_the_file_says_that_nothing_is_there() -> None:
    asked: list[tuple[int, ...]] = []

    class Meter(ArrayRaster):
        def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
            asked.append((top, bottom, left, right))
            return super().valid(top, bottom, left, right)

        def absent(self, top: int, bottom: int, left: int, right: int) -> bool:
            return top >= 1024

    valid = np.zeros((2048, 1024), np.bool_)
    valid[100, 100] = True
    plain = raster(valid, (256, 256))
    meter = Meter(plain.pixels, plain.name, plain.metadata)
    assert isinstance(meter, Sparse)
    assert not isinstance(plain, Sparse)
    where = ValidCells(meter, Placement((32, 32), (64, 64), (2048, 1024), (2048, 1024)))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: where.cells(i, 0, 1, 31), range(63)))
    np.testing.assert_array_equal(np.concatenate(parts), ValidCells(plain, where.placement).cells(0, 0, 63, 31))
    asked.clear()
    where.cells(0, 0, 63, 31)
    assert asked == []
    assert all(region[0] < 1024 for region in asked)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.mask.valid._CACHE_BYTES", 1)
    where = ValidCells(raster(np.ones((3000, 3000), np.bool_)), Placement((8, 8), (8, 8), (3000, 3000), (3000, 3000)))
    assert where.cells(0, 0, 375, 375).all()
    assert len(where._blocks) == 1


def test_an_image_that_says_all_is_valid_is_wanted_everywhere() -> None:
    plain = raster(np.ones((20, 20), np.bool_))
    full = ArrayRaster(plain.pixels, "full", replace(plain.metadata, nodata=None))
    assert not may_be_empty(full)
    assert may_be_empty(plain)
    assert ValidCells(full, Placement((4, 4), (8, 8), (20, 20), (20, 20))).cells(0, 0, 4, 4).all()


def test_the_placement_must_be_the_image_s() -> None:
    with pytest.raises(ImageError, match=r"has \(20, 20\) px, the map belongs to an image of \(10, 10\)"):
        ValidCells(raster(np.ones((20, 20), np.bool_)), Placement((4, 4), (8, 8), (10, 10), (10, 10)))


def test_pixels_that_hold_nothing_are_filled_and_no_nan_is_left() -> None:
    pixels = np.array([[[1, np.nan], [np.nan, np.nan], [3, 4]]], np.float32)
    found = fill_nodata(pixels, np.array([[True, False, True]]), 7, nodata=np.nan)
    np.testing.assert_array_equal(found, [[[1, 7], [7, 7], [3, 4]]])
    assert found.dtype == np.float32
    ints = np.array([[[5, 0], [0, 0]]], np.uint8)
    np.testing.assert_array_equal(fill_nodata(ints, np.array([[True, False]]), (9, 8)), [[[5, 0], [9, 8]]])


def test_pixels_that_are_all_there_are_not_copied() -> None:
    pixels = np.ones((3, 3, 1), np.uint8)
    assert fill_nodata(pixels, None) is pixels
    assert fill_nodata(pixels, np.ones((3, 3), np.bool_), nodata=0.0) is pixels


@pytest.mark.parametrize("value", [256, -1, 0.5, float("nan"), (1, 2)])
def test_a_fill_that_pixels_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ImageError, match="cannot replace missing pixels of 1 channels of uint8"):
        fill_nodata(np.ones((3, 3, 1), np.uint8), np.zeros((3, 3), np.bool_), value)
