"""Tiles that a file does not store are known without reading pixels."""

import warnings

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.windows import Window

from fullfield.geometry.placement import Placement
from fullfield.image.open import open as open_image
from fullfield.mask.valid import ValidCells

SIZE = (512, 768)


def sparse(path, *, overviews=(), bands=1, **profile):
    """A GeoTIFF of 64 px tiles of which only the one at row 2, column 3 is there."""
    profile = {"nodata": 0, "tiled": True, "blockxsize": 64, "blockysize": 64, "photometric": "minisblack"} | profile
    profile |= {"transform": rasterio.Affine(2, 0, 5e5, 0, -2, 5e6), "driver": "GTiff", "crs": "EPSG:32632"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", height=SIZE[0], width=SIZE[1], count=bands, dtype="uint8", SPARSE_OK=True, **profile
        ) as file:
            file.write(np.full((bands, 64, 64), 7, np.uint8), window=Window(192, 128, 64, 64))
        if overviews:
            with rasterio.Env(SPARSE_OK_OVERVIEW="ON"), rasterio.open(path, "r+") as file:
                file.build_overviews(list(overviews))
    return str(path)


@pytest.mark.parametrize("profile", [{}, {"bands": 3}, {"bands": 3, "interleave": "band"}, {"compress": "deflate"}])
def test_tiles_that_a_geotiff_leaves_out_are_absent(tmp_path, profile):
    raster = open_image(sparse(tmp_path / "a.tif", **profile))
    assert raster.absent(0, 128, 0, 768)
    assert not raster.absent(0, 129, 0, 193)
    assert not raster.absent(150, 160, 250, 300)
    assert raster.absent(150, 160, 256, 300)
    raster.close()


def test_what_is_absent_is_never_valid(tmp_path):
    for level in (0, 1):
        raster = open_image(sparse(tmp_path / f"{level}.tif", overviews=(2,)), level=level)
        height, width, _ = raster.shape
        regions = [(y, y + 32, x, x + 32) for y in range(0, height, 32) for x in range(0, width, 32)]
        absent = [raster.absent(*region) for region in regions]
        assert 0 < sum(absent) < len(regions)
        for region, gone in zip(regions, absent, strict=True):
            valid = raster.valid(*region)
            assert not gone or (valid is not None and not valid.any())
        raster.close()


@pytest.mark.parametrize(
    "profile", [{"nodata": None}, {"tiled": False, "blockxsize": None, "blockysize": 64}, {"nodata": None, "bands": 4}]
)
def test_nothing_is_absent_where_a_tile_left_out_is_a_value_or_the_file_is_of_strips(tmp_path, profile):
    raster = open_image(sparse(tmp_path / "a.tif", **profile))
    assert not raster.absent(0, 64, 0, 64)
    raster.close()


def test_tiles_without_alpha_are_absent(tmp_path):
    path = tmp_path / "a.tif"
    raster = open_image(sparse(path, bands=4, nodata=None, photometric="rgb", alpha="yes"))
    assert raster.shape[2] == 3
    assert raster.absent(0, 64, 0, 64)
    assert not raster.absent(128, 130, 192, 200)
    raster.close()


def holed(path, nodata):
    """A plain TIFF whose second tile has no bytes."""
    pixels = np.full((128, 128), 9, np.uint8)
    extra = [(42113, "s", 0, str(nodata), True)] if nodata is not None else []
    tiles = (None if k == 1 else pixels[:64, :64] for k in range(4))
    tifffile.imwrite(
        path, tiles, shape=(128, 128), dtype="uint8", tile=(64, 64), extratags=extra, photometric="minisblack"
    )
    return str(path)


def test_tiles_that_a_plain_tiff_leaves_out_are_absent_where_it_names_nodata(tmp_path):
    raster = open_image(holed(tmp_path / "a.tif", 0))
    assert raster.absent(0, 64, 64, 128)
    assert not raster.absent(0, 64, 63, 128)
    assert not open_image(holed(tmp_path / "b.tif", None)).absent(0, 64, 64, 128)
    raster.close()


def test_windows_of_tiles_left_out_are_skipped_before_reading(tmp_path, monkeypatch):
    raster = open_image(sparse(tmp_path / "a.tif"))
    asked = []
    valid = type(raster).valid
    monkeypatch.setattr(type(raster), "valid", lambda self, *region: asked.append(region) or valid(self, *region))
    monkeypatch.setattr("fullfield.mask.valid._BLOCK", 64)
    where = ValidCells(raster, Placement(step=(32, 32), window=(64, 64), image=SIZE, scanned=SIZE))
    cells = where.cells(0, 0, 15, 23)
    assert cells.sum() == 9  # of windows of 64 px at every 32 px, three along each axis touch the tile
    assert asked == [(128, 192, 192, 256)]
    raster.close()
