import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

import fullfield
from fullfield.errors import ImageError
from fullfield.image.formats.numpy import NumpyRaster
from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata
from fullfield.image.resample import resampled
from fullfield.image.resize import resize

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (1900, 1400, 3), dtype=np.uint8)


def smooth(height, width, channels=1):
    coarse = RNG.random((height // 20 + 2, width // 20 + 2))
    plane = np.asarray(Image.fromarray(coarse.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))
    return np.repeat(plane[:, :, None], channels, axis=2).copy()


def whole(raster):
    return raster.read(0, raster.shape[0], 0, raster.shape[1])


def raster_of(pixels, *, nodata=None, tile=(64, 64), **metadata):
    return ArrayRaster(pixels, "image", ImageMetadata({"a": 1}, tile, nodata=nodata, **metadata))


SIZES = [(1200, 900), (631, 467), (190, 141), (37, 1399), (2100, 1500), (1901, 1400), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_blocks_join_to_what_pillow_makes_of_the_whole_image(size):
    made = whole(resampled(raster_of(NOISE), size))
    rows = Image.fromarray(NOISE).resize((size[1], 1900), Image.Resampling.LANCZOS)
    wanted = np.asarray(rows.resize((size[1], size[0]), Image.Resampling.LANCZOS))
    difference = np.abs(made.astype(int) - wanted)
    assert made.dtype == np.uint8
    assert difference.max() <= 2  # Pillow keeps places as float32: a weight's last bit may round another way, twice
    assert (difference != 0).mean() < 2e-3


@pytest.mark.parametrize("size", SIZES)
def test_blocks_equal_the_unrounded_filter_up_to_two_roundings(size):
    grey = NOISE // 4 + 96  # far from 0 and 255, where 8 bits between the passes would cut the overshoot off
    made = whole(resampled(raster_of(grey), size, clip=(grey.min(), grey.max())))
    exact = resize(grey.astype(np.float32), size)
    # half a count between the passes, times the filter's absolute sum of 1.5, and half a count at the end
    assert np.abs(made - exact).max() <= 1.3


@pytest.mark.parametrize("size", [(1100, 1300), (700, 500), (90, 77)])
def test_floats_join_to_what_resize_makes(size):
    pixels = smooth(1000, 1200, 2)
    span = float(pixels.min()), float(pixels.max())
    made = whole(resampled(raster_of(pixels), size, clip=span))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, resize(pixels, size), atol=3e-5)


def test_sixteen_bits_join_to_what_resize_makes_up_to_one_count_in_65536():
    pixels = (smooth(1000, 1200) * 50_000 + 5000).astype(np.uint16)
    made = whole(resampled(raster_of(pixels), (611, 703)))
    wanted = resize(pixels, (611, 703))
    assert made.dtype == np.uint16
    inside = (wanted > pixels.min()) & (wanted < pixels.max())  # resize keeps to the image's range, this to the type's
    assert np.abs(made.astype(int) - wanted)[inside].max() <= 2


@settings(max_examples=25)
@given(
    data=st.data(),
    size=st.sampled_from([(1200, 900), (631, 1467), (2300, 400)]),
)
def test_two_reads_of_a_pixel_have_the_same_bits(data, size):
    raster = resampled(raster_of(NOISE), size)
    if size not in WHOLE:
        WHOLE[size] = whole(raster)
    top = data.draw(st.integers(0, size[0] - 1))
    left = data.draw(st.integers(0, size[1] - 1))
    bottom = data.draw(st.integers(top + 1, min(size[0], top + 300)))
    right = data.draw(st.integers(left + 1, min(size[1], left + 300)))
    np.testing.assert_array_equal(raster.read(top, bottom, left, right), WHOLE[size][top:bottom, left:right])


WHOLE = {}


def test_the_files_tiles_do_not_change_the_pixels():
    one, other = (whole(resampled(raster_of(NOISE, tile=t), (700, 500))) for t in ((1, 1400), (512, 512)))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(410, 333), (97, 61), (900, 1100)])
def test_pixels_that_hold_nothing_do_not_bleed(dtype, size):
    pixels = RNG.integers(100, 110, (700, 600, 2)).astype(dtype)
    pixels[200:350, 100:400] = 0
    pixels[::97, ::89] = 0
    raster = resampled(raster_of(pixels, nodata=0), size)
    valid, made = raster.valid(0, size[0], 0, size[1]), whole(raster)
    # in two dimensions the absolute weights sum to about 2, so Lanczos overshoots 100..109 by at most half of that
    assert made[valid].min() >= 95
    assert made[valid].max() <= 114
    assert (made[~valid] == 0).all()
    # the hole keeps its place and size, to a pixel at each edge
    sy, sx = size[0] / 700, size[1] / 600
    assert not valid[int(205 * sy) + 1 : int(345 * sy) - 1, int(105 * sx) + 1 : int(395 * sx) - 1].any()
    assert valid[: int(195 * sy) - 1].mean() > 0.9


def test_a_nan_hole_stays_nan_and_far_pixels_stay_lanczos():
    pixels = smooth(900, 800)
    holed = pixels.copy()
    holed[300:400, 300:400] = np.nan
    made = whole(resampled(raster_of(holed, nodata=float("nan")), (450, 400)))
    plain = whole(resampled(raster_of(pixels), (450, 400)))
    assert np.isnan(made[155:195, 155:195]).all()
    far = np.ones((450, 400), bool)
    far[140:210, 140:210] = False
    np.testing.assert_array_equal(made[far], plain[far])
    assert np.nanmax(np.abs(made - plain)) < 0.05


def test_an_image_of_nothing_is_nothing():
    raster = resampled(raster_of(np.zeros((300, 300, 1), np.uint8), nodata=0), (100, 100))
    assert not raster.valid(0, 100, 0, 100).any()
    assert not whole(raster).any()


def test_place_and_resolution_follow_the_size():
    place = Georeference("EPSG:32632", (2.0, 0.5, 100.0, 0.25, -2.0, 500.0))
    raster = resampled(raster_of(NOISE, mpp=(0.25, 0.25), georeference=place, levels=((1900, 1400),)), (950, 350))
    metadata = raster.metadata
    assert metadata.mpp == (0.5, 1.0)
    assert metadata.levels == ((1900, 1400),)  # of the file: coordinates count px of the first
    assert metadata.georeference.on_map(950, 350) == pytest.approx(place.on_map(1900, 1400))
    assert metadata.georeference.on_map(10, 10) == pytest.approx(place.on_map(20, 40))
    assert metadata.identity == {"source": {"a": 1}, "resampled": [950, 350]}


def test_the_same_size_is_the_same_raster():
    raster = raster_of(NOISE)
    assert resampled(raster, (1900, 1400)) is raster


def test_the_thumbnail_is_the_sources():
    raster = raster_of(NOISE)
    np.testing.assert_array_equal(resampled(raster, (950, 700)).thumbnail(100), raster.thumbnail(100))


class Endless:
    """A square image computed when read, which counts the most bytes handed out at once."""

    name, dtype = "endless", np.dtype(np.uint8)

    def __init__(self, side):
        self.shape, self.metadata, self.most = (side, side, 1), ImageMetadata({}, (512, 512)), 0

    def read(self, top, bottom, left, right):
        self.most = max(self.most, (bottom - top) * (right - left))
        rows = (np.arange(top, bottom) // 4096 % 2 * 200).astype(np.uint8)
        return np.broadcast_to(rows[:, None, None], (bottom - top, right - left, 1))

    def valid(self, top, bottom, left, right):
        return None


@pytest.mark.parametrize("factor", [3, 60, 700])
def test_memory_does_not_grow_with_the_factor(factor):
    source = Endless(40_000)
    raster = resampled(source, (40_000 // factor, 40_000 // factor))
    tracemalloc.start()
    try:
        raster.read(5, 6, 5, 6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert source.most <= 32 << 20
    assert peak < 160 << 20


def test_an_empty_size_is_refused():
    with pytest.raises(ImageError, match="0x5 px"):
        resampled(raster_of(NOISE), (0, 5))


def test_pixels_that_are_no_numbers_are_refused():
    with pytest.raises(ImageError, match="complex64"):
        resampled(raster_of(np.zeros((5, 5, 1), np.complex64)), (2, 2))


def test_a_region_beyond_the_image_is_refused():
    with pytest.raises(ImageError, match="does not lie in the image of 950x700 px"):
        resampled(raster_of(NOISE), (950, 700)).read(0, 951, 0, 5)


class Strips:
    """An image in strips that notes what is read of it."""

    def __init__(self, pixels):
        self.inner, self.reads = raster_of(pixels, tile=(64, pixels.shape[1])), []
        self.name, self.shape, self.dtype, self.metadata = "a", pixels.shape, pixels.dtype, self.inner.metadata

    def read(self, *region):
        self.reads.append(region)
        return self.inner.read(*region)

    def valid(self, *region):
        return None


def test_strips_are_decoded_once_for_a_row_of_blocks():
    pixels = np.tile(NOISE[:300, :, :1], (1, 10, 1))
    strips = Strips(pixels)
    made = resampled(strips, (150, 7000))
    np.testing.assert_array_equal(whole(made), whole(resampled(raster_of(pixels), (150, 7000))))
    assert sorted(strips.reads) == [(y, min(300, y + 64), 0, 14000) for y in range(0, 300, 64)]
    assert made.metadata.held_bytes == 300 * 14000 * 2


def test_pixels_of_floats_are_read_once_to_find_which_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((100, 90, 3), np.float32))
    regions: list[tuple[int, ...]] = []
    read = NumpyRaster.read

    def counted(self: NumpyRaster, *region: int) -> object:
        regions.append(region)
        return read(self, *region)

    monkeypatch.setattr(NumpyRaster, "read", counted)
    resampled(fullfield.open(tmp_path / "a.npy"), (50, 45)).read(0, 50, 0, 45)
    assert regions
    assert len(regions) == len(set(regions))
