"""MIRAX slides, a file and a folder: detected by suffix, read by OpenSlide, from pixels to a map on disk."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import torch
from PIL import Image
from torch import nn

import fullfield
from fullfield import Compute
from fullfield.errors import ImageError, ResumeError
from fullfield.image.raster import Raster
from tests.image.formats.mirax import write_mirax

H, W, TILE = 512, 768, 64
COARSE = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
PIXELS = np.asarray(Image.fromarray(COARSE).resize((W, H), Image.Resampling.BICUBIC))
MISSING = frozenset({(0, 0), (0, 1), (1, 0), (1, 1), (5, 7)})


def moved(i: int, j: int) -> tuple[int, int]:
    """Photos lie some pixels from where a grid has them, and overlap."""
    return i * (TILE - 5) + (i + 2 * j) % 4, j * (TILE - 7) + (3 * i + j) % 5


KINDS: dict[str, dict[str, Any]] = {
    "png": {},
    "jpeg": {"kind": "JPEG"},
    "sparse": {"missing": MISSING},
    "moved": {"moved": moved},
    "moved and sparse": {"moved": moved, "missing": MISSING, "kind": "JPEG"},
}


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirax(tmp_path_factory.mktemp("mirax") / "a.b.mrxs", PIXELS, missing=MISSING)


def whole(raster: Raster) -> np.ndarray:
    return raster.read(0, raster.shape[0], 0, raster.shape[1])


def by_openslide(path: Path, level: int) -> tuple[np.ndarray, np.ndarray]:
    """A whole level on white, and its alpha, by one call of OpenSlide's."""
    with openslide.OpenSlide(path) as slide:
        picture = slide.read_region((0, 0), level, slide.level_dimensions[level])
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture))[:, :, :3], np.asarray(picture)[:, :, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_levels_equal_openslides_own_whole_read(tmp_path: Path, kind: str) -> None:
    path = write_mirax(tmp_path / "a.mrxs", PIXELS, **KINDS[kind])
    for level in range(3):
        raster = fullfield.open(path, level=level)
        assert raster.metadata.reader == "openslide (mirax)"
        assert raster.shape == (H >> level, W >> level, 3)
        assert raster.metadata.mpp == (0.25 * 2**level,) * 2
        pixels, alpha = by_openslide(path, level)
        np.testing.assert_array_equal(whole(raster), pixels)
        valid = raster.valid(0, H >> level, 0, W >> level)
        np.testing.assert_array_equal(np.ones_like(alpha) if valid is None else valid, alpha != 0)


def test_level_0_is_what_was_written_and_white_where_nothing_was_scanned(slide: Path) -> None:
    raster, expected = fullfield.open(slide), PIXELS.copy()
    scanned = np.ones((H, W), np.bool_)
    for i, j in MISSING:
        expected[i * TILE : (i + 1) * TILE, j * TILE : (j + 1) * TILE] = 255
        scanned[i * TILE : (i + 1) * TILE, j * TILE : (j + 1) * TILE] = False
    np.testing.assert_array_equal(whole(raster), expected)
    np.testing.assert_array_equal(raster.valid(0, H, 0, W), scanned)


@pytest.mark.parametrize(("mpp", "size"), [(0.25, (512, 768)), (0.5, (256, 384)), (0.8, (160, 240)), (1.0, (128, 192))])
def test_a_resolution_picks_the_nearest_finer_level(slide: Path, mpp: float, size: tuple[int, int]) -> None:
    raster = fullfield.open(slide, mpp=mpp)
    assert raster.shape[:2] == size
    assert raster.metadata.mpp == pytest.approx((mpp, mpp))


def test_what_was_not_scanned_is_white_at_any_resolution(slide: Path) -> None:
    raster = fullfield.open(slide, mpp=0.4)
    valid = raster.valid(0, 100, 0, 100)
    assert valid is not None
    assert not valid[:80, :80].any()
    assert valid[81:, 81:].all()
    assert (raster.read(0, 100, 0, 100)[~valid] == 255).all()


@pytest.fixture(scope="module")
def between_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of six levels, whose small tiles lie between the pixels of the coarser ones."""
    pixels = np.asarray(Image.fromarray(COARSE).resize((1024, 1024), Image.Resampling.BICUBIC))
    places = np.random.default_rng(1).integers(0, 4, (64, 64, 2))
    path = tmp_path_factory.mktemp("mirax") / "a.mrxs"
    return write_mirax(path, pixels, levels=6, tile=16, moved=lambda i, j: (i * 15 + places[i, j, 0], j * 15))


@pytest.mark.parametrize("level", range(6))
def test_two_reads_of_a_pixel_have_the_same_bits_where_tiles_lie_between_pixels(
    between_pixels: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    monkeypatch.setattr("fullfield.image.formats.slide._BLOCK", 256)
    raster = fullfield.open(between_pixels, level=level)
    full, (height, width, _) = whole(raster), raster.shape
    rng = np.random.default_rng(level)
    for _ in range(40):
        top, left = rng.integers(height - 1), rng.integers(width - 1)
        bottom, right = rng.integers(top + 1, height + 1), rng.integers(left + 1, width + 1)
        np.testing.assert_array_equal(raster.read(top, bottom, left, right), full[top:bottom, left:right])


def test_a_slide_without_its_folder_names_the_folder(tmp_path: Path) -> None:
    path = write_mirax(tmp_path / "a.mrxs", PIXELS)
    path.with_suffix("").rename(tmp_path / "b")
    with pytest.raises(ImageError, match=rf"pixels are in the folder {tmp_path / 'a'}, where Slidedat.ini is not"):
        fullfield.open(path)


def test_the_folder_names_the_file(slide: Path) -> None:
    with pytest.raises(ImageError, match=r"give the file a\.b\.mrxs"):
        fullfield.open(slide.with_suffix(""))


def test_a_name_that_openslide_does_not_take_is_named_anew(tmp_path: Path) -> None:
    path = write_mirax(tmp_path / "a.mrxs", PIXELS)
    with pytest.raises(ImageError, match=r"rename it to a\.mrxs"):
        fullfield.open(path.rename(tmp_path / "a.MRXS"))


def test_without_openslide_the_extra_is_named(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("fullfield.image.open_file.find_spec", lambda name: None if name == "openslide" else real(name))
    with pytest.raises(ImageError, match=r"fullfield\[slide\]"):
        fullfield.open(slide)


@pytest.mark.parametrize("name", ["Index.dat", "Data0000.dat"])
def test_a_file_that_is_missing_from_the_folder_is_named(tmp_path: Path, name: str) -> None:
    path = write_mirax(tmp_path / "a.mrxs", PIXELS)
    (tmp_path / "a" / name).unlink()
    with pytest.raises(ImageError, match=rf"a\.mrxs: cannot be opened: .*{name}: No such file"):
        fullfield.open(path)


def test_a_damaged_tile_names_the_region_and_stops_no_other(tmp_path: Path) -> None:
    path = write_mirax(tmp_path / "a.mrxs", PIXELS)
    file = tmp_path / "a" / "Data0000.dat"
    data = bytearray(file.read_bytes())
    data[4:44] = bytes(40)  # the first tile's head
    file.write_bytes(data)
    raster = fullfield.open(path)
    for _ in range(2):
        with pytest.raises(ImageError, match=r"a\.mrxs: y 0:100, x 0:100 cannot be read"):
            raster.read(0, 100, 0, 100)
        np.testing.assert_array_equal(raster.read(200, 300, 200, 300), PIXELS[200:300, 200:300])


@pytest.mark.parametrize("change", ["size", "time", "settings"])
def test_a_changed_file_of_the_folder_changes_the_identity(tmp_path: Path, change: str) -> None:
    path = write_mirax(tmp_path / "a.mrxs", PIXELS)
    before = fullfield.open(path).metadata.identity
    assert fullfield.open(path).metadata.identity == before
    file = tmp_path / "a" / ("Slidedat.ini" if change == "settings" else "Data0000.dat")
    if change == "time":
        os.utime(file, ns=(0, 0))
    else:
        file.write_bytes(file.read_bytes() + b"\n")
    assert fullfield.open(path).metadata.identity != before


def network() -> fullfield.Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    return fullfield.load(nn.Sequential(*layers).eval(), window=32)


def test_a_scan_at_a_resolution_is_that_of_openslides_pixels(slide: Path) -> None:
    net = network()
    found = fullfield.scan(net, fullfield.open(slide, mpp=0.5), step=8, verify=5)
    assert found.certificate is not None
    assert found.certificate.verdict == "EXACT"
    scores = fullfield.scan(net, by_openslide(slide, 1)[0], step=8).array
    nothing = np.isnan(found.array)
    assert (nothing.any(axis=0) == nothing.all(axis=0)).all()
    assert nothing[0, :5, :5].all()  # windows of 32 px, 8 apart, within the 64 px that were never scanned
    assert nothing[0].sum() == 25
    np.testing.assert_allclose(found.array[~nothing], scores[~nothing], atol=1e-5)


def test_a_scan_is_resumed_with_the_same_slide_only(tmp_path: Path) -> None:
    net, path = network(), write_mirax(tmp_path / "a.mrxs", PIXELS, missing=MISSING)
    output = tmp_path / "map.zarr"

    def stop(now: Any) -> None:
        if now.blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(net, path, output=output, step=16, compute=Compute(tile=(8, 8)), progress=stop)
    file = tmp_path / "a" / "Data0000.dat"
    time = file.stat().st_mtime_ns
    os.utime(file, ns=(0, 0))
    with pytest.raises(ResumeError, match=r"image\.identity\.parts"):
        fullfield.scan(net, path, output=output, step=16, compute=Compute(tile=(8, 8)))
    os.utime(file, ns=(time, time))
    found = fullfield.scan(net, path, output=output, step=16, compute=Compute(tile=(8, 8)))
    assert found is not None
    in_one_go = fullfield.scan(net, fullfield.open(path), step=16).array
    np.testing.assert_allclose(found.array, in_one_go, atol=1e-5)
    assert found.mpp == pytest.approx((0.25, 0.25))
