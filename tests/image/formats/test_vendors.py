"""Slides in the TIFFs of Ventana, Leica, Philips and Trestle: detected by content, read by OpenSlide."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import fsspec
import numpy as np
import openslide
import pytest
from PIL import Image

import fullfield
from fullfield.errors import ImageError
from fullfield.image.raster import Raster
from tests.image.formats.vendors import WRITERS, write_leica, write_philips, write_ventana

H, W = 512, 768
COARSE = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
PIXELS = np.asarray(Image.fromarray(COARSE).resize((W, H), Image.Resampling.BICUBIC))


def whole(raster: Raster) -> np.ndarray:
    return raster.read(0, raster.shape[0], 0, raster.shape[1])


@pytest.mark.parametrize("kind", WRITERS)
def test_levels_equal_openslides_own_whole_read_whatever_the_name(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "a.jpg", PIXELS, mpp=0.4)
    for level in range(3):
        raster = fullfield.open(path, level=level)
        assert raster.metadata.reader == f"openslide ({kind.split()[0]})"
        assert raster.metadata.mpp == pytest.approx((0.4 * 2**level,) * 2)
        with openslide.OpenSlide(path) as slide:
            picture = slide.read_region((0, 0), level, slide.level_dimensions[level])
            background = f"#{slide.properties.get('openslide.background-color', 'FFFFFF')}"
        expected = Image.alpha_composite(Image.new("RGBA", picture.size, background), picture)
        np.testing.assert_array_equal(whole(raster), np.asarray(expected)[:, :, :3])


@pytest.mark.parametrize("kind", ["ventana", "ventana tiff", "philips", "trestle"])
def test_levels_are_what_was_written(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "a.tif", PIXELS)
    for level in range(3):
        found, written = whole(fullfield.open(path, level=level)), np.asarray(Image.fromarray(PIXELS).reduce(2**level))
        assert found.shape == written.shape
        assert np.abs(found.astype(int) - written).mean() < 4  # JPEG


def test_a_resolution_picks_the_nearest_finer_level(tmp_path: Path) -> None:
    for kind, write in WRITERS.items():
        raster = fullfield.open(write(tmp_path / f"{kind}.tif", PIXELS, mpp=0.4), mpp=0.8)
        assert raster.metadata.level == 1
        assert raster.metadata.mpp == pytest.approx((0.8, 0.8))


def test_tiles_that_overlap_lie_where_the_xml_says(tmp_path: Path) -> None:
    raster = fullfield.open(write_ventana(tmp_path / "a.bif", PIXELS, overlap=5))
    assert raster.shape == (H - 7 * 5, W - 11 * 5, 3)
    found = raster.read(59, 118, 0, 59).astype(int)
    assert np.abs(found[5:] - PIXELS[69:123, 0:59]).mean() < 4  # below the seam: the second tile, less what is above


def test_what_of_a_leica_slide_was_not_scanned_is_white_and_not_valid(tmp_path: Path) -> None:
    raster = fullfield.open(write_leica(tmp_path / "a.scn", PIXELS, offset=(64, 128)))
    scanned = np.zeros((H + 128, W + 256), np.bool_)
    scanned[64:-64, 128:-128] = True
    np.testing.assert_array_equal(raster.valid(0, H + 128, 0, W + 256), scanned)
    pixels = whole(raster)
    assert (pixels[~scanned] == 255).all()
    assert np.abs(pixels[64:-64, 128:-128].astype(int) - PIXELS).mean() < 4


@pytest.fixture
def without_openslide(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("fullfield.image.open_file.find_spec", lambda name: None if name == "openslide" else real(name))


@pytest.mark.parametrize("kind", ["philips", "trestle"])
def test_without_openslide_pixels_are_as_large_as_with_it(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    path = WRITERS[kind](tmp_path / "a.tif", PIXELS, mpp=0.4)
    slides = [fullfield.open(path, level=level).metadata for level in range(3)]
    request.getfixturevalue("without_openslide")
    for level, slide in enumerate(slides):
        plain = fullfield.open(path, level=level).metadata
        assert (plain.reader, slide.reader != "tifffile") == ("tifffile", True)
        assert plain.levels == slide.levels
        assert plain.mpp == pytest.approx(slide.mpp, rel=0.02)  # of sizes that are rounded up to tiles
    assert fullfield.open(path).metadata.mpp == pytest.approx((0.4, 0.4))
    assert fullfield.open(path, mpp=0.8).metadata.level == 1


@pytest.mark.usefixtures("without_openslide")
def test_of_a_philips_slide_the_spacing_is_the_slides_own(tmp_path: Path) -> None:
    other = '<DataObject><Attribute Name="PIM_DP_IMAGE_TYPE">MACROIMAGE</Attribute>'
    other += '<Attribute Name="DICOM_PIXEL_SPACING">"0.0001" "0.0001"</Attribute></DataObject>'
    assert fullfield.open(write_philips(tmp_path / "a.tif", PIXELS, glass=other)).metadata.mpp == pytest.approx(
        (0.5, 0.5)
    )
    uneven = other.replace("MACROIMAGE", "WSI").replace('" "0.0001', '" "0.0003')
    assert fullfield.open(write_philips(tmp_path / "b.tif", PIXELS, glass=uneven)).metadata.mpp == pytest.approx(
        (0.1, 0.3)
    )
    for broken in ("<!-- a remark -->", "<Array>", other.replace("0.0001", "eee").replace("MACROIMAGE", "WSI")):
        mpp = fullfield.open(write_philips(tmp_path / "c.tif", PIXELS, glass=broken)).metadata.mpp
        assert mpp is None or mpp == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("vendor", ["Leica", "Ventana", "Trestle"])
def test_what_only_openslide_can_place_is_refused_without_it(
    tmp_path: Path, request: pytest.FixtureRequest, vendor: str
) -> None:
    path = WRITERS[vendor.lower()](tmp_path / "a.tif", PIXELS, **({"overlap": 4} if vendor == "Trestle" else {}))
    fsspec.filesystem("memory").pipe_file("/vendors/a.tif", path.read_bytes())
    with pytest.raises(ImageError, match=rf"is a {vendor} slide, which OpenSlide reads\n  fix: download the file"):
        fullfield.open("memory://vendors/a.tif")
    fsspec.filesystem("memory").rm("/vendors", recursive=True)
    request.getfixturevalue("without_openslide")
    with pytest.raises(ImageError, match=rf"is a {vendor} slide(.|\n)*fullfield\[slide\]"):
        fullfield.open(path)
