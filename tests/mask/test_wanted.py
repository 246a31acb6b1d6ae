"""Mask, background and nodata combined."""

from __future__ import annotations

import numpy as np
import pytest

from fullfield.errors import GeometryError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import ArrayRaster, ImageMetadata
from fullfield.mask.background import find_foreground
from fullfield.mask.grid import AllOf, MaskCells
from fullfield.mask.valid import ValidCells
from fullfield.mask.wanted import wanted_cells
from fullfield.mask.where import Where

AT = Placement((8, 8), (16, 16), (200, 200), (200, 200))


def slide(nodata: float | None = None) -> ArrayRaster:
    """A bright slide with a dark square."""
    pixels = np.full((200, 200, 3), 240, np.uint8)
    pixels[60:140, 40:160] = (150, 40, 120)
    return ArrayRaster(pixels, "slide.svs", ImageMetadata({}, (64, 64), nodata=nodata))


def test_with_nothing_asked_for_all_cells_are_wanted() -> None:
    assert wanted_cells(slide(), AT, Where()) is None


def test_a_mask_alone_is_a_mask() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[5, 5] = True
    where = wanted_cells(slide(), AT, Where(mask=mask))
    assert isinstance(where, MaskCells)
    assert np.argwhere(where.cells(0, 0, *AT.shape)).min(axis=0).tolist() == [5, 5]


def test_mask_content_and_nodata_must_all_agree() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[:, :8] = True
    where = wanted_cells(slide(nodata=240.0), AT, Where(mask=mask, skip_background=True, min_coverage=1.0))
    assert isinstance(where, AllOf)
    assert isinstance(where.conditions[-1], ValidCells)
    found = where.cells(0, 0, *AT.shape)
    wanted = np.zeros(AT.shape, np.bool_)
    wanted[8:16, 5:9] = True
    np.testing.assert_array_equal(found, wanted)


def test_content_found_before_is_taken_as_it_is() -> None:
    raster = slide()
    content = find_foreground(raster)
    first, second = (wanted_cells(raster, AT, Where(skip_background=way)) for way in (True, content))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.cells(0, 0, *AT.shape), second.cells(0, 0, *AT.shape))
    assert 0.1 < first.cells(0, 0, *AT.shape).mean() < 0.5


def test_where_nothing_is_background_all_cells_are_wanted() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    assert wanted_cells(ArrayRaster(noise), AT, Where(skip_background=True)) is None


def test_a_mask_that_no_window_touches_is_refused() -> None:
    mask = np.zeros((200, 200), np.bool_)
    mask[10, 10] = True
    with pytest.raises(ImageError, match=r"none of the map's 24x24 windows touches the mask and the content\n"):
        wanted_cells(slide(), AT, Where(mask=mask, skip_background=True))
    with pytest.raises(ImageError, match=r"touches the mask with 50% of its area"):
        wanted_cells(slide(), AT, Where(mask=mask, min_coverage=0.5))


def test_a_region_s_placement_is_counted_on_the_whole_image() -> None:
    part = Placement((8, 8), (16, 16), (200, 200), (200, 200), (-100, 0, -80, -20))
    mask = np.zeros((200, 200), np.bool_)
    mask[100, 80] = True
    where = wanted_cells(slide(), part, Where(mask=mask))
    assert where is not None
    assert np.argwhere(where.cells(0, 0, *part.shape)).tolist() == [[0, 0]]


def test_a_coverage_that_is_none_is_refused_first() -> None:
    with pytest.raises(GeometryError, match="min_coverage"):
        wanted_cells(slide(), AT, Where(mask="no such file", min_coverage=2))
