"""The foreground as polygons, rasters and pictures: the same windows, in other programs the same place."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from PIL import Image

import fullfield
from fullfield.cli import main
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata
from fullfield.mask.grid import MaskCells
from fullfield.mask.masks import mask_grid

SIZE = 600, 800


def pixels() -> np.ndarray:
    slide = np.full((*SIZE, 3), 240, np.uint8)
    slide[200:400, 300:600] = (150, 40, 120)
    slide[260:330, 380:450] = 240
    return slide


def raster(**metadata: Any) -> ArrayRaster:
    return ArrayRaster(pixels(), "slide", ImageMetadata({}, (256, 256), **metadata))


def cells_of(grid: Any) -> np.ndarray:
    placement = Placement((8, 8), (32, 32), SIZE, SIZE)
    return MaskCells(grid, placement, 0.0).cells(0, 0, *placement.shape)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".tif", ".ome.tif"])
def test_a_file_selects_the_windows_that_the_foreground_does(tmp_path: Path, suffix: str) -> None:
    found = fullfield.find_foreground(raster())
    written = fullfield.save_foreground(found, tmp_path / f"a{suffix}")
    assert (written.detections is None) == suffix.endswith(".tif")
    again = mask_grid(tmp_path / f"a{suffix}", raster())
    np.testing.assert_array_equal(cells_of(again), cells_of(found.grid()))
    assert 0.1 < cells_of(again).mean() < 0.5


def test_polygons_have_the_area_and_the_holes_of_the_foreground(tmp_path: Path) -> None:
    found = fullfield.find_foreground(raster())
    fullfield.save_foreground(found, tmp_path / "a.gpkg")
    shapes = geopandas.read_file(tmp_path / "a.gpkg")
    assert set(shapes["class"]) == {"foreground"}
    assert shapes.area.sum() == pytest.approx(found.share * SIZE[0] * SIZE[1], rel=1e-9)
    assert not shapes.contains(shapely.Point(415, 295)).any()  # x, y in the hole
    assert shapes.contains(shapely.Point(500, 300)).any()


def test_px_are_those_of_the_finest_level_and_the_map_is_the_image_s(tmp_path: Path) -> None:
    fine = (4 * SIZE[0], 4 * SIZE[1])
    at = Georeference("EPSG:32632", (8.0, 0.0, 690_000.0, 0.0, -8.0, 5_335_000.0))
    coarse = raster(levels=(fine, SIZE), level=1)
    fullfield.save_foreground(fullfield.find_foreground(coarse), tmp_path / "px.gpkg")
    left, top, right, bottom = geopandas.read_file(tmp_path / "px.gpkg").total_bounds
    np.testing.assert_allclose((top, bottom, left, right), (800, 1600, 1200, 2400), atol=4 * 6)
    found = fullfield.find_foreground(coarse)
    object.__setattr__(found, "georeference", at.moved(0, 0, (1 / 4, 1 / 4)))  # of the finest level
    fullfield.save_foreground(found, tmp_path / "map.gpkg")
    placed = geopandas.read_file(tmp_path / "map.gpkg")
    assert placed.crs.to_epsg() == 32632
    wanted = (690_000 + 8 * 300, 5_335_000 - 8 * 400, 690_000 + 8 * 600, 5_335_000 - 8 * 200)
    np.testing.assert_allclose(placed.total_bounds, wanted, atol=8 * 6)
    fullfield.save_foreground(found, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        inside = file.read(1)
        rows, columns = np.nonzero(inside == 1)
        assert (inside == 1).mean() == pytest.approx(found.share)
        west, north = file.transform @ (columns.min(), rows.min())
    np.testing.assert_allclose((west, north), (wanted[0], wanted[3]), atol=8 * 6)


def test_the_command_says_what_was_found_and_writes_it(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "slide.png")
    for name in ("a.geojson", "a.tif", "a.png"):
        result = CliRunner().invoke(main, ["mask", str(tmp_path / "slide.png"), "-o", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("found    bright background: 1")
        assert f"wrote    {tmp_path / name}" in result.stdout
    result = CliRunner().invoke(main, ["mask", str(tmp_path / "slide.png"), "-o", str(tmp_path / "a.csv")])
    assert result.exit_code == 1
    assert "the suffix '.csv' names no format" in result.stderr


def test_an_earlier_file_is_kept(tmp_path: Path) -> None:
    found = fullfield.find_foreground(raster())
    fullfield.save_foreground(found, tmp_path / "a.tif")
    with pytest.raises(ImageError, match="exists already"):
        fullfield.save_foreground(found, tmp_path / "a.tif")
    fullfield.save_foreground(found, tmp_path / "a.tif", overwrite=True)
