"""Backgrounds of simulated slides (Beer and Lambert's law, noise, JPEG), fluorescence, photographs, maps."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import fullfield
from fullfield.engine.progress import Progress
from fullfield.errors import ImageError
from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata
from fullfield.mask.background import find_foreground, otsu

SIZE = (480, 640)
EOSIN, HEMATOXYLIN = np.array([0.15, 0.9, 0.35]), np.array([1.0, 1.2, 0.5])
BROWN, PALE_BLUE = np.array([0.3, 0.7, 1.2]), np.array([0.5, 0.3, 0.15])
Pixels = NDArray[Any]


def texture(rng: np.random.Generator, grain: int) -> Pixels:
    """Smooth noise of mean 0 and deviation 1."""
    coarse = rng.standard_normal((SIZE[0] // grain + 2, SIZE[1] // grain + 2)).astype(np.float32)
    fine = np.asarray(Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC))
    return (fine - fine.mean()) / fine.std()


def blob(rng: np.random.Generator, y: float, x: float, radius: float) -> Pixels:
    """A piece of tissue with a ragged edge; y, x and radius as parts of the height."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / SIZE[0]
    return np.hypot(rows - y, columns - x) / radius + 0.1 * texture(rng, 40) + 0.04 * texture(rng, 10) < 1


def camera(rng: np.random.Generator, light: Pixels) -> Pixels:
    """What a camera and JPEG make of light, 8 bits."""
    noisy = (light + rng.normal(0, 2, light.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=80)
    return np.asarray(Image.open(buffer))


def glass() -> Pixels:
    """An empty slide, darker towards its corners."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / SIZE[0] - 0.5
    return np.array([243.0, 241.0, 244.0]) - 8 * (rows**2 + columns**2)[:, :, None]


def stained(seed: int = 0) -> tuple[Pixels, Pixels, Pixels]:
    """A slide in haematoxylin and eosin; its tissue; a second piece that took little stain."""
    rng = np.random.default_rng(seed)
    tissue, faint = blob(rng, 0.45, 0.45, 0.33), blob(rng, 0.65, 1.1, 0.16)
    dense = (0.35 + 0.1 * texture(rng, 20) + 0.06 * texture(rng, 4)).clip(0.08)[:, :, None] * EOSIN
    dense = dense + (texture(rng, 5) > 0.9)[:, :, None] * 0.5 * HEMATOXYLIN
    thin = (0.1 + 0.03 * texture(rng, 10)).clip(0.02)[:, :, None] * EOSIN
    light = glass() * np.exp(-np.where(tissue[:, :, None], dense, np.where(faint[:, :, None], thin, 0)))
    return camera(rng, light), tissue, faint


def fluorescent(seed: int = 0) -> tuple[Pixels, Pixels]:
    """Two channels of 16 bits: a dim tissue with bright nuclei, photon by photon."""
    rng = np.random.default_rng(seed)
    tissue = blob(rng, 0.5, 0.6, 0.35)
    dim = tissue * (60 + 15 * texture(rng, 30)).clip(10)
    nuclei = (tissue & (texture(rng, 6) > 0.8)) * 900
    photons = np.stack([100 + dim + nuclei, 100 + dim], axis=2)
    return (rng.poisson(photons) + rng.normal(0, 4, photons.shape)).clip(0).astype(np.uint16), tissue


def raster(pixels: Pixels, **metadata: Any) -> ArrayRaster:
    return ArrayRaster(pixels, "slide.svs", ImageMetadata({}, (256, 256), **metadata))


def shares(inside: Pixels, tissue: Pixels) -> tuple[float, float]:
    """Parts of the tissue and of all else that were found."""
    return float(inside[tissue].mean()), float(inside[~tissue].mean())


def test_a_stained_slide_s_tissue_is_found_the_faint_piece_too() -> None:
    pixels, tissue, faint = stained()
    content = find_foreground(raster(pixels))
    assert content.background == "bright"
    found, glass_taken = shares(content.inside, tissue | faint)
    assert found > 0.98
    assert content.inside[faint].mean() > 0.95
    assert glass_taken < 0.03
    assert content.summary == f"bright background: {content.share:.1%} of the image is scanned"


def test_a_brown_stain_on_a_pale_counterstain_is_found() -> None:
    rng = np.random.default_rng(1)
    tissue = blob(rng, 0.5, 0.65, 0.35)
    density = (0.2 + 0.04 * texture(rng, 15)).clip(0.1)[:, :, None] * PALE_BLUE
    density = density + (texture(rng, 25) > 0.6)[:, :, None] * 0.5 * BROWN
    content = find_foreground(raster(camera(rng, glass() * np.exp(-density * tissue[:, :, None]))))
    found, glass_taken = shares(content.inside, tissue)
    assert found > 0.98
    assert glass_taken < 0.03


def test_a_grey_slide_s_tissue_is_found() -> None:
    pixels, tissue, _ = stained(3)
    content = find_foreground(raster(np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]))
    assert content.background == "bright"
    assert shares(content.inside, tissue)[0] > 0.98


def test_unstained_tissue_as_bright_as_glass_is_found_by_its_texture() -> None:
    rng = np.random.default_rng(5)
    tissue = blob(rng, 0.5, 0.6, 0.3)
    grey = 200 + 25 * tissue * texture(rng, 3) + rng.normal(0, 1, SIZE)
    content = find_foreground(raster(grey.clip(0, 255).astype(np.uint8)[:, :, None]))
    found, glass_taken = shares(content.inside, tissue)
    assert found > 0.98
    assert glass_taken < 0.05


@pytest.mark.parametrize("channels", [1, 2])
def test_fluorescent_tissue_is_found_between_its_nuclei_too(channels: int) -> None:
    pixels, tissue = fluorescent()
    content = find_foreground(raster(pixels[:, :, :channels]))
    assert content.background == "dark"
    found, dark_taken = shares(content.inside, tissue)
    assert found > 0.98
    assert dark_taken < 0.05


def test_what_a_scanner_left_black_on_a_bright_slide_is_background() -> None:
    pixels, tissue, _ = stained()
    pixels = pixels.copy()
    pixels[:, 560:] = 0
    content = find_foreground(raster(pixels))
    assert content.background == "bright"
    assert content.inside[:, 566:].mean() == 0
    assert content.inside[tissue].mean() > 0.98


@pytest.mark.parametrize("kind", ["glass", "dark"])
def test_an_empty_slide_is_refused_with_what_was_found(kind: str) -> None:
    rng = np.random.default_rng(0)
    pixels = camera(rng, glass()) if kind == "glass" else rng.poisson(100, (*SIZE, 1)).astype(np.uint16)
    with pytest.raises(ImageError, match=r"slide\.svs: 0\.\d+% of the image is content, all else (bright|dark) backgr"):
        find_foreground(raster(pixels))


def framed(*, rim: int = 0, level: tuple[int, int, int] = (243, 241, 244), tissue: slice | None = None) -> Pixels:
    """A flat background with a grey rim of so many px, and tissue in some rows and all columns within the rim."""
    pixels = np.full((600, 600, 3), (100, 100, 100), np.uint8)
    pixels[rim : 600 - rim, rim : 600 - rim] = level
    if tissue is not None:
        pixels[tissue, rim : 600 - rim] = (150, 40, 120)
    return pixels


def test_the_frame_is_wider_than_a_rim_and_narrower_than_the_glass_around_large_tissue() -> None:
    rimmed = find_foreground(raster(framed(rim=3, tissue=slice(200, 400))))
    assert rimmed.background == "bright"
    assert rimmed.inside[203:397, 20:-20].all()
    large = framed()
    large[20:-20, 20:-20] = (150, 40, 120)
    content = find_foreground(raster(large))
    assert content.background == "bright"
    assert content.inside[25:-25, 25:-25].all()
    assert not content.inside[:12].any()


def test_glass_may_fill_less_than_half_of_the_frame() -> None:
    pixels = framed(tissue=slice(0, 330))
    content = find_foreground(raster(pixels))
    assert content.background == "bright"
    assert content.inside[:325].all()
    assert not content.inside[335:].any()


@pytest.mark.parametrize(("level", "kind"), [((240, 236, 222), "bright"), ((250, 240, 150), "none")], ids=str)
def test_tinted_glass_is_background_and_a_bright_colour_is_not(level: tuple[int, int, int], kind: str) -> None:
    assert find_foreground(raster(framed(level=level, tissue=slice(200, 400)))).background == kind


def test_a_slight_shadow_on_glass_is_no_content() -> None:
    pixels = framed(tissue=slice(200, 400))
    pixels[450:550, 100:500] -= 6  # 0.024 of the range
    content = find_foreground(raster(pixels))
    assert content.inside[205:395].all()
    assert not content.inside[450:550].any()


def test_tissue_may_be_a_hundredth_of_the_image() -> None:
    pixels = framed()
    pixels[300:350, 300:350] = (150, 40, 120)
    assert 0.005 < find_foreground(raster(pixels)).share < 0.02


def test_a_photograph_without_background_is_content_all_over() -> None:
    path = Path(fullfield.__file__).parent / "data" / "astronaut.png"
    content = find_foreground(raster(np.asarray(Image.open(path).convert("RGB"))))
    assert content.background == "none"
    assert content.inside.all()
    assert "no background found" in content.summary


def test_the_eye_of_a_fundus_photograph_is_content() -> None:
    data = pytest.importorskip("skimage.data")
    content = find_foreground(raster(np.asarray(Image.open(Path(data.__file__).parent / "retina.jpg").reduce(2))))
    assert content.background == "dark"
    rows, columns = np.mgrid[:706, :706]
    assert content.inside[np.hypot(rows - 353, columns - 353) < 320].all()
    assert content.share < 0.82


AT = Georeference('PROJCRS["here"]', (1, 0, 0, 0, -1, 0))


def scenery() -> Pixels:
    """A land of fields with a dark, flat lake in the corner."""
    rng = np.random.default_rng(7)
    pixels = (110 + 25 * texture(rng, 30)).clip(40, 220).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    pixels[300:, 200:] = 12
    return pixels


def test_on_a_map_only_what_is_empty_is_background_never_a_lake() -> None:
    content = find_foreground(raster(scenery(), georeference=AT))
    assert content.background == "none"
    assert content.inside.all()


def test_nodata_is_the_background_of_a_map() -> None:
    pixels = scenery()
    pixels[:, :100] = 7
    content = find_foreground(raster(pixels, georeference=AT, nodata=7.0))
    assert content.background == "empty"
    assert not content.inside[:, :100].any()
    assert content.inside[:, 100:].all()


@pytest.mark.parametrize("value", [0, 255])
def test_a_collar_of_one_value_is_the_background_of_a_map(value: int) -> None:
    pixels = scenery()
    pixels[:60] = value
    pixels[200:260, 400:460] = value  # not at the edge: a roof, a shadow
    content = find_foreground(raster(pixels, georeference=AT))
    assert not content.inside[:60].any()
    assert content.inside[60:].all()


def test_a_map_of_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="all else empty background"):
        find_foreground(raster(np.full((50, 50, 1), 7, np.int16), nodata=7.0))


def test_without_a_pyramid_the_image_is_read_once_and_the_content_is_the_same() -> None:
    class Flat(ArrayRaster):
        def thumbnail(self, side: int) -> Any:
            return None

    pixels, _, _ = stained()
    told: list[Progress] = []
    content = find_foreground(Flat(pixels, "flat", ImageMetadata({}, (128, 128))), progress=told.append)
    np.testing.assert_array_equal(content.inside, find_foreground(raster(pixels)).inside)
    assert (told[-1].done, told[-1].total, told[-1].unit) == (480 * 640, 480 * 640, "px")


def test_the_picture_shows_content_as_it_is_and_tints_the_rest() -> None:
    pixels, _, _ = stained()
    content = find_foreground(raster(pixels))
    picture = np.asarray(content.picture())
    assert picture.shape == (*SIZE, 3)
    assert (picture[5, 5] < pixels[5, 5]).all()
    deep = np.s_[200:210, 200:210]
    assert content.inside[deep].all()
    np.testing.assert_array_equal(picture[deep], pixels[deep])
    assert (picture == (255, 60, 0)).all(axis=2).any()


def test_the_foreground_s_grid_spans_the_image() -> None:
    pixels, _, _ = stained()
    content = replace(find_foreground(raster(pixels)), size=(4800, 6400))
    assert content.grid().pixel == (10, 10)


def test_otsu_s_threshold_parts_two_classes_and_one_value_has_none() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.03, 900), rng.normal(0.7, 0.05, 100)])
    assert 0.3 < otsu(values) < 0.58
    assert otsu(np.zeros(5)) == 1.0
