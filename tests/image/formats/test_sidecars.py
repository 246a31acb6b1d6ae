"""Files beside an image place, mask and shrink it, as for every program that uses GDAL."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fullfield
from fullfield.image.orientation import oriented_array

rasterio = pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")

PIXELS = np.random.default_rng(0).integers(1, 255, (64, 96, 3), dtype=np.uint8)
WORLD = "0.1\n0\n0\n-0.1\n500000.05\n3999999.95\n"  # of the first pixel's centre
AT = (0.1, 0.0, 500000.0, 0.0, -0.1, 4000000.0)


def plain_tiff(path: Path, **options: Any) -> Path:
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)
    return path


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("a.tif", "a.tfw"), ("a.tif", "a.TFW"), ("a.tif", "a.tifw"), ("a.tif", "a.wld"), ("a.jpg", "a.jgw"),
        ("a.jpg", "a.jpgw"), ("a.png", "a.pgw"), ("a.jpg", "a.wld"),
    ],
)  # fmt: skip
def test_a_world_file_places_an_image_where_rasterio_does(tmp_path: Path, name: str, beside: str) -> None:
    path = tmp_path / name
    plain_tiff(path) if name.endswith("tif") else Image.fromarray(PIXELS).save(path)
    assert fullfield.open(path).metadata.georeference is None
    (tmp_path / beside).write_text(WORLD)
    with rasterio.open(path) as file:
        assert tuple(file.transform)[:6] == pytest.approx(AT)
    found = fullfield.open(path).metadata.georeference
    assert found is not None
    assert found.transform == pytest.approx(AT)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_world_file_counts_the_px_of_a_turned_photograph_as_they_are_stored(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(PIXELS).save(path, exif=exif)
    (tmp_path / "a.pgw").write_text(WORLD)
    raster = fullfield.open(path)
    found = raster.metadata.georeference
    assert found is not None
    numbers = np.arange(64 * 96).reshape(64, 96, 1)
    shown = oriented_array(numbers, orientation)[:, :, 0]
    assert shown.shape == raster.shape[:2]
    for y, x in ((0, 0), (3, 11), (40, 50)):
        row, column = divmod(int(shown[y, x]), 96)
        place = AT[0] * (column + 0.5) + AT[2], AT[4] * (row + 0.5) + AT[5]
        assert found.on_map(y + 0.5, x + 0.5) == pytest.approx(place)


def test_pam_places_an_image_and_says_what_holds_nothing(tmp_path: Path) -> None:
    bands = "".join(f'<PAMRasterBand band="{b}"><NoDataValue>7</NoDataValue></PAMRasterBand>' for b in (1, 2, 3))
    place = "<SRS>EPSG:32633</SRS><GeoTransform>500000,2,0,4000000,0,-2</GeoTransform>"
    for name in ("a.tif", "b.png"):
        path = tmp_path / name
        plain_tiff(path) if name.endswith("tif") else Image.fromarray(PIXELS).save(path)
        Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{place}{bands}</PAMDataset>")
        metadata = fullfield.open(path).metadata
        assert metadata.georeference is not None
        assert metadata.georeference.transform == (2, 0, 500000, 0, -2, 4000000)
        assert metadata.nodata == 7
        assert metadata.mpp == (2e6, 2e6)


def test_statistics_beside_a_slide_leave_it_to_its_own_reader(tmp_path: Path) -> None:
    path = plain_tiff(tmp_path / "a.tif", resolution=(20000, 20000), resolutionunit=3)
    Path(f"{path}.aux.xml").write_text(
        '<PAMDataset><Metadata><MDI key="STATISTICS_MEAN">1</MDI></Metadata></PAMDataset>'
    )
    assert fullfield.open(path).metadata.reader == "tifffile"


def test_overviews_and_a_mask_beside_a_plain_tiff_count_and_its_resolution_stays(tmp_path: Path) -> None:
    large = np.tile(PIXELS, (4, 4, 1))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, large, photometric="rgb", tile=(64, 64), resolution=(20000, 20000), resolutionunit=3)
    with rasterio.Env(TIFF_USE_OVR="YES", GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    raster = fullfield.open(path, level=1)
    assert [size[0] for size in raster.metadata.levels] == [256, 128, 64]
    assert raster.metadata.mpp == pytest.approx((1.0, 1.0))
    mask = np.full(large.shape[:2], 255, np.uint8)
    mask[:128] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    valid = fullfield.open(path, level=1).valid(0, 128, 0, 192)
    assert valid is not None
    np.testing.assert_array_equal(valid, np.broadcast_to(np.arange(128)[:, None] >= 64, (128, 192)))


def test_a_mask_beside_a_picture_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    mask = np.where(np.arange(96) < 40, 0, 255).astype(np.uint8) * np.ones((64, 1), np.uint8)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    valid = fullfield.open(path).valid(0, 64, 0, 96)
    np.testing.assert_array_equal(valid, mask != 0)
