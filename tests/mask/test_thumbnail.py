"""Thumbnails from the pyramid, or from all pixels read once."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from fullfield.engine.progress import Progress
from fullfield.image.raster import ArrayRaster, ImageMetadata
from fullfield.mask.thumbnail import make_thumbnail


class Flat(ArrayRaster):
    """An image without a pyramid."""

    def thumbnail(self, side: int) -> Any:
        return None


@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(1, 20), st.integers(1, 9), st.booleans())
def test_every_pixel_is_the_mean_of_its_block(size: tuple[int, int], side: int, tile: int, holes: bool) -> None:
    rng = np.random.default_rng(size[0])
    pixels = rng.integers(0, 255, (*size, 2)).astype(np.float32)
    if holes:
        pixels[rng.random(size) < 0.6] = -1
    metadata = ImageMetadata({}, (tile, tile + 1), nodata=-1.0 if holes else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fullfield.mask.thumbnail._VALUES", 100)
        found = make_thumbnail(Flat(pixels, "flat", metadata), side)
    factor = -(-max(size) // side)
    assert max(found.shape[:2]) <= side
    for i, j in np.ndindex(*found.shape[:2]):
        block = pixels[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].reshape(-1, 2)
        block = block[(block != -1).all(axis=1)]
        wanted = block.mean(axis=0) if len(block) else [np.nan, np.nan]
        np.testing.assert_allclose(found[i, j], wanted, rtol=1e-6)


def test_a_thumbnail_that_there_is_is_taken_and_nothing_is_read() -> None:
    raster = ArrayRaster(np.arange(64, dtype=np.uint8).reshape(8, 8, 1))
    assert make_thumbnail(raster, 4, lambda now: pytest.fail("read")).shape == (4, 4, 1)


def test_progress_counts_pixels_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.mask.thumbnail._VALUES", 768)
    told: list[Progress] = []
    make_thumbnail(Flat(np.zeros((40, 50, 3), np.uint8), "flat", ImageMetadata({}, (16, 16))), 10, told.append)
    assert len(told) == 12
    assert (told[-1].done, told[-1].total) == (2000, 2000)
    assert [now.done for now in told] == sorted(now.done for now in told)


def test_values_that_are_not_finite_are_left_out() -> None:
    pixels = np.array([[[1.0], [np.nan]], [[np.inf], [3.0]]])
    assert make_thumbnail(Flat(pixels, "flat", ImageMetadata({}, (2, 2))), 1)[0, 0, 0] == 2
