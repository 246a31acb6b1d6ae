"""Colours converted from a file's ICC profile to sRGB: as Pillow converts the whole picture, in every reader."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image, ImageCms

import fullfield
from fullfield.errors import ImageError
from tests.image.formats.test_slide import PIXELS, aperio
from tests.image.test_input_summary import line

RGB = np.ascontiguousarray(PIXELS[:90, :120])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exchanged() -> bytes:
    """The profile of sRGB with the primaries of red and blue exchanged in its table of tags."""
    return SRGB.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


PROFILE = exchanged()


def converted(pixels: np.ndarray, profile: bytes = PROFILE) -> np.ndarray:
    """As OpenSlide's documentation does it."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    picture = Image.fromarray(pixels)
    intent = ImageCms.getDefaultIntent(source)
    return np.asarray(ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), intent))


def write_jpeg(folder: Path) -> Path:
    Image.fromarray(RGB).save(folder / "a.jpg", quality=90, icc_profile=PROFILE)
    return folder / "a.jpg"


def write_png(folder: Path) -> Path:
    Image.fromarray(RGB).save(folder / "a.png", icc_profile=PROFILE)
    return folder / "a.png"


def write_tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", RGB, photometric="rgb", tile=(32, 32), iccprofile=PROFILE)
    return folder / "a.tif"


def write_geotiff(folder: Path) -> Path:
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    tags = [(33550, "d", 3, (2, 2, 0)), (33922, "d", 6, (0, 0, 0, 5e5, 4e6, 0)), (34735, "H", 16, keys)]
    tifffile.imwrite(folder / "a.tif", RGB, photometric="rgb", tile=(32, 32), iccprofile=PROFILE, extratags=tags)
    return folder / "a.tif"


def write_slide(folder: Path) -> Path:
    path = Path(aperio(folder / "a.svs", factors=(1, 4)))
    with tifffile.TiffFile(path) as file:
        pages = [(page.asarray(), page.description) for page in file.pages]
    with tifffile.TiffWriter(path) as file:
        for pixels, text in pages:
            file.write(
                pixels, tile=(256, 256), photometric="rgb", compression="jpeg", compressionargs={"level": 90},
                description=text, metadata=None, iccprofile=PROFILE,
            )  # fmt: skip
    return path


WRITERS = [write_jpeg, write_png, write_tiff, write_geotiff, write_slide]


def whole(raster: Any) -> np.ndarray:
    height, width, _ = raster.shape
    return np.asarray(raster.read(0, height, 0, width))


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_reader_converts_as_pillow_does(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path)
    plain, raster = fullfield.open(path), fullfield.open(path, icc=True)
    expected = converted(whole(plain))
    assert np.abs(expected.astype(int) - whole(plain)).max() > 50
    np.testing.assert_array_equal(whole(raster), expected)
    np.testing.assert_array_equal(raster.read(3, 41, 29, 71), expected[3:41, 29:71])
    assert (plain.metadata.profile, raster.metadata.profile) == (PROFILE, None)
    assert raster.metadata.identity != plain.metadata.identity
    assert raster.metadata.georeference == plain.metadata.georeference
    assert (plain.metadata.georeference is not None) == (write is write_geotiff)
    assert fullfield.info(path).facts["colour_profile"] == raster.metadata.converted_from == "sRGB built-in"


def test_a_slide_is_converted_by_openslides_own_profile(tmp_path: Path) -> None:
    path = write_slide(tmp_path)
    with openslide.OpenSlide(path) as slide:
        region = slide.read_region((100, 200), 0, (300, 250)).convert("RGB")
        target = ImageCms.createProfile("sRGB")
        ImageCms.profileToProfile(
            region, slide.color_profile, target, ImageCms.getDefaultIntent(slide.color_profile), inPlace=True
        )
    np.testing.assert_array_equal(fullfield.open(path, icc=True).read(200, 450, 100, 400), np.asarray(region))


def test_bands_are_chosen_after_the_conversion(tmp_path: Path) -> None:
    path = write_png(tmp_path)
    for bands in ([2, 0], ["blue", "red"]):
        raster = fullfield.open(path, icc=True, bands=bands)
        np.testing.assert_array_equal(whole(raster), converted(RGB)[:, :, [2, 0]])
        assert raster.metadata.band_names == ("blue", "red")


def test_levels_and_resolutions_are_converted(tmp_path: Path) -> None:
    path = write_slide(tmp_path)
    np.testing.assert_array_equal(
        whole(fullfield.open(path, icc=True, level=1)), converted(whole(fullfield.open(path, level=1)))
    )
    shown, plain = (fullfield.open(path, icc=icc, mpp=1.1) for icc in (True, False))
    assert np.abs(whole(shown).astype(int) - converted(whole(plain))).mean() < 3  # one is resampled after the other
    thumbnail = fullfield.open(path, icc=True).thumbnail(400)
    assert thumbnail is not None
    assert np.abs(thumbnail.astype(int) - converted(fullfield.open(path).thumbnail(400))).max() <= 1


def test_transparent_pixels_stay_what_they_are(tmp_path: Path) -> None:
    alpha = np.full((90, 120, 1), 255, np.uint8)
    alpha[:40] = 0
    Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(tmp_path / "a.png", icc_profile=PROFILE)
    raster = fullfield.open(tmp_path / "a.png", icc=True)
    np.testing.assert_array_equal(raster.valid(0, 90, 0, 120), alpha[:, :, 0] != 0)
    np.testing.assert_array_equal(whole(raster)[40:], converted(RGB)[40:])


def test_the_input_line_says_it(tmp_path: Path) -> None:
    said = line(fullfield.open(write_png(tmp_path), icc=True), "unit")
    assert said.endswith(", colours converted from sRGB built-in to sRGB")


def test_a_file_without_a_profile_is_one_error(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="has no colour profile that Pillow finds") as caught:
        fullfield.open(tmp_path / "a.png", icc=True)
    assert caught.value.fix == "leave out icc (--icc)"


@pytest.mark.parametrize(
    ("pixels", "profile", "reason"),
    [
        (RGB, PROFILE[:200], "cannot be used"),
        (RGB, b"no profile", "cannot be used"),
        (RGB, PROFILE.replace(b"RGB ", b"GRAY", 1), "a colour profile of GRAY, not of RGB|cannot be used"),
        (RGB[:, :, 0], PROFILE, "has 1 channels of uint8"),
        (RGB.astype(np.uint16), PROFILE, "has 3 channels of uint16"),
    ],
)
def test_what_cannot_be_converted_is_one_error(tmp_path: Path, pixels: np.ndarray, profile: bytes, reason: str) -> None:
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind, iccprofile=profile)
    with pytest.raises(ImageError, match=reason):
        fullfield.open(tmp_path / "a.tif", icc=True)
    assert whole(fullfield.open(tmp_path / "a.tif")).shape[:2] == (90, 120)
    fullfield.info(tmp_path / "a.tif")
