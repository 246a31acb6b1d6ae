"""Ranges of pixel values by percentiles, against NumPy's of the whole image."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

import fullfield
from fullfield import Selection
from fullfield.cli import main
from fullfield.errors import ImageError
from fullfield.image.percentiles import percentile_range
from fullfield.image.raster import ArrayRaster


def image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(800, 100, shape)).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("reader", ["npy", "tif", "png"])
def test_percentiles_of_a_small_image_are_those_of_all_its_pixels(tmp_path: Path, reader: str) -> None:
    pixels, path = image((300, 420)), tmp_path / f"a.{reader}"
    if reader == "npy":
        np.save(path, pixels)
    elif reader == "tif":
        tifffile.imwrite(path, pixels, tile=(64, 64))
    else:
        Image.fromarray(pixels).save(path)
    found = fullfield.open(path, value_range="p1,p99.5").metadata.value_range
    np.testing.assert_allclose(found, np.percentile(pixels, [1, 99.5]), rtol=1e-12)


def test_those_of_a_large_image_are_those_of_blocks_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = (np.arange(2000)[:, None] + np.arange(3000)).astype(np.float32)[..., None]
    asked: list[int] = []
    read = ArrayRaster.read

    def counted(self: ArrayRaster, *region: int) -> np.ndarray:
        asked.append((region[1] - region[0]) * (region[3] - region[2]))
        return read(self, *region)

    monkeypatch.setattr(ArrayRaster, "read", counted)
    monkeypatch.setattr("fullfield.image.percentiles._BYTES", 4096)
    found = percentile_range(ArrayRaster(pixels), 2, 98)
    np.testing.assert_allclose(found, np.percentile(pixels, [2, 98]), rtol=0.05)
    assert (len(asked), max(asked)) == (256, 32 * 32)


def test_invalid_pixels_do_not_count(tmp_path: Path) -> None:
    pixels = image((200, 200)).astype(np.float32)
    pixels[:, :100] = np.nan
    np.save(tmp_path / "a.npy", pixels)
    found = fullfield.open(tmp_path / "a.npy", value_range="p5,p95").metadata.value_range
    np.testing.assert_allclose(found, np.percentile(pixels[:, 100:], [5, 95]), rtol=1e-6)


def test_a_scan_stretches_the_percentiles_to_the_model_s_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.repeat(image((60, 60, 1)), 3, axis=2))
    raster = fullfield.open(tmp_path / "a.npy", value_range="p1,p99")
    low, high = raster.metadata.value_range or (0, 0)
    model = str(files("fullfield") / "data" / "rnet.onnx")
    stretched = fullfield.open(tmp_path / "a.npy", value_range=(low, high))
    one, other = (fullfield.scan(model, each, step=8).array for each in (raster, stretched))
    np.testing.assert_array_equal(one, other)
    out = tmp_path / "a.zarr"
    command = ["scan", model, str(tmp_path / "a.npy"), "--step", "8", "--value-range", "p1,p99", "-o", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert f"RGB, {low:g}..{high:g} as 0..255" in result.stdout
    np.testing.assert_array_equal(fullfield.open_scores(out).array, one)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("p1", "'p1' is no range of pixel values"),
        ("1%,99%", "'1%,99%' is no range of pixel values"),
        ("p99,p1", "p99,p1 are no two percentiles from 0 to 100"),
        ("p1,p101", "p1,p101 are no two percentiles from 0 to 100"),
        ("p40,p60", "p40 and p60 of its pixel values are both 7"),
    ],
)
def test_what_is_no_range_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    np.save(tmp_path / "a.npy", np.full((50, 60), 7, np.uint16))
    with pytest.raises(ImageError, match=fault):
        fullfield.open(tmp_path / "a.npy", value_range=text)


def test_an_image_without_a_valid_pixel_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((50, 60), np.nan, np.float32))
    with pytest.raises(ImageError, match="has no valid pixel"):
        fullfield.open(tmp_path / "a.npy", value_range="p1,p99")
    assert Selection(percentiles=(1, 99)) != Selection()
