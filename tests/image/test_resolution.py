"""Resolutions that cannot be a microscope's are not trusted, and can be stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fullfield
from fullfield.errors import ImageError

tifffile = pytest.importorskip("tifffile")


def picture(path: Path, resolution: float, unit: int) -> Path:
    pixels = np.zeros((256, 256, 3), np.uint8)
    tifffile.imwrite(
        path, pixels, tile=(64, 64), photometric="rgb", resolution=(resolution, resolution), resolutionunit=unit
    )
    return path


@pytest.mark.parametrize(
    ("resolution", "unit", "says"),
    [
        (72, 2, "352.8 µm/px"),
        (28.35, 3, "352.7 µm/px"),
        (2_004_008, 3, "0.00499 µm/px"),
        (1, 2, "2.54e+04 µm/px"),
    ],
    ids=["72 dpi", "28.35 px/cm", "unit wrong by 100", "1 px/inch"],
)
def test_a_file_s_resolution_that_no_microscope_has_is_an_error_that_names_it(
    tmp_path: Path, resolution: float, unit: int, says: str
) -> None:
    path = picture(tmp_path / "a.tif", resolution, unit)
    with pytest.raises(ImageError) as error:
        fullfield.open(path, mpp=0.5)
    assert f"states {says}" in str(error.value)
    assert "--pixel-size" in str(error.value)
    assert fullfield.open(path).shape == (256, 256, 3)
    assert fullfield.open(path, mpp=0.5, pixel_size=0.25).shape == (128, 128, 3)


@pytest.mark.parametrize(("mpp", "enlarges"), [(0.26, False), (0.25, False), (0.24, True)])
def test_a_resolution_enlarges_an_image_four_times_at_most(tmp_path: Path, mpp: float, enlarges: bool) -> None:
    path = picture(tmp_path / "a.tif", 10_000, 3)  # 1 µm/px
    if not enlarges:
        assert fullfield.open(path, mpp=mpp).shape[0] == round(256 / mpp)
        return
    with pytest.raises(ImageError, match=r"has 1 µm/px: 0\.24 µm/px would enlarge it 4\.167 times"):
        fullfield.open(path, mpp=mpp)
    with pytest.raises(ImageError, match="would enlarge it 8"):
        fullfield.open(path, mpp=0.25, pixel_size=2.0)


def test_the_resolution_of_a_map_is_not_a_microscope_s(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    at = rasterio.Affine(2, 0, 5e5, 0, -2, 4e6)
    profile = {"dtype": "uint8", "crs": "EPSG:32633", "transform": at}
    with rasterio.open(tmp_path / "m.tif", "w", "GTiff", 64, 64, 1, **profile) as file:
        file.write(np.zeros((1, 64, 64), np.uint8))
    assert fullfield.open(tmp_path / "m.tif", mpp=4e6).shape == (32, 32, 1)
