"""Masks in GeoPackage, FlatGeobuf and shapefiles, written by geopandas, against the same polygons drawn by rasterio."""

import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata
from fullfield.mask.masks import mask_grid

SIZE = 200, 300
PLACE = (2.0, 0.0, 690_000.0, 0.0, -2.0, 5_335_000.0)
HOLED = shapely.Polygon(
    [(10.3, 20.1), (90.1, 30.3), (80.7, 150.2), (20.2, 140.9)],
    [[(30.2, 50.1), (60.3, 60.7), (50.1, 100.2)], [(62.1, 110.3), (70.3, 110.2), (66.6, 120.1)]],
)
PARTS = shapely.MultiPolygon([shapely.box(150, 20, 180, 60), shapely.box(200, 100, 290, 180).difference(
    shapely.box(220, 120, 240, 140))])  # fmt: skip


def image(at: Georeference | None = None, **metadata: Any) -> ArrayRaster:
    pixels = np.broadcast_to(np.zeros((), np.uint8), (*SIZE, 1))
    return ArrayRaster(pixels, "scene.tif", ImageMetadata({}, (256, 256), georeference=at, **metadata))


def utm() -> Georeference:
    return Georeference(rasterio.crs.CRS.from_epsg(32632).to_wkt(), PLACE)


def drawn(shapes: list[Any]) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside, by GDAL."""
    found: NDArray[np.bool_] = rasterio.features.rasterize(shapes, SIZE) > 0
    return found


def on_map(shape: Any) -> Any:
    a, _, c, _, e, f = PLACE
    return shapely.transform(shape, lambda points: points * (a, e) + (c, f))


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize("suffix", ["gpkg", "fgb", "shp"])
def test_polygons_in_px_are_inside_and_their_holes_outside(tmp_path: Path, suffix: str) -> None:
    geopandas.GeoDataFrame({"class": ["a", "b"]}, geometry=[HOLED, PARTS]).to_file(tmp_path / f"mask.{suffix}")
    grid = mask_grid(tmp_path / f"mask.{suffix}", image())
    np.testing.assert_array_equal(grid.cells == 255, drawn([HOLED, PARTS]))
    assert ((grid.cells > 0) & ~drawn([HOLED, PARTS])).any()  # pixels that an edge touches


@pytest.mark.parametrize("suffix", ["gpkg", "fgb", "shp"])
@pytest.mark.parametrize("crs", [32632, 32633, 4326, 3035])
def test_a_file_is_reprojected_from_the_system_that_it_names(tmp_path: Path, suffix: str, crs: int) -> None:
    frame = geopandas.GeoDataFrame(geometry=[on_map(HOLED), on_map(PARTS)], crs=32632).to_crs(crs)
    frame.to_file(tmp_path / f"mask.{suffix}")
    grid = mask_grid(tmp_path / f"mask.{suffix}", image(utm()))
    assert ((grid.cells == 255) != drawn([HOLED, PARTS])).sum() <= (0 if crs == 32632 else 20)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_px_are_those_of_the_finest_level(tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[shapely.box(100, 80, 200, 160)]).to_file(tmp_path / "mask.gpkg")
    grid = mask_grid(tmp_path / "mask.gpkg", image(levels=((400, 600), SIZE), level=1))
    wanted = np.zeros((400, 600), bool)
    wanted[80:160, 100:200] = True
    np.testing.assert_array_equal(grid.cells == 255, wanted)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_file_without_a_system_needs_to_be_told_what_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "mask.fgb"
    geopandas.GeoDataFrame(geometry=[on_map(HOLED)]).to_file(path)
    with pytest.raises(ImageError, match=r"names no coordinate system.*\n  fix: .*--coordinates map"):
        mask_grid(path, image(utm()))
    grid = mask_grid(path, image(utm()), coordinates="map")
    np.testing.assert_array_equal(grid.cells == 255, drawn([HOLED]))
    geopandas.GeoDataFrame(geometry=[HOLED]).to_file(path)
    np.testing.assert_array_equal(mask_grid(path, image(utm()), coordinates="image").cells == 255, drawn([HOLED]))


def test_a_mask_that_is_empty_or_lies_outside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.gpkg"
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 10, 10)], crs=32632)
    frame.to_file(path)
    with pytest.raises(ImageError, match="lie outside the image"):
        mask_grid(path, image(utm()))
    frame[:0].to_file(path)
    with pytest.raises(ImageError, match="holds no polygon"):
        mask_grid(path, image(utm()))
    geopandas.GeoDataFrame(geometry=[shapely.Point(690_010, 5_334_990)], crs=32632).to_file(path)
    with pytest.raises(ImageError, match="points have no area"):
        mask_grid(path, image(utm()))


def test_a_file_of_several_layers_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.gpkg"
    frame = geopandas.GeoDataFrame(geometry=[on_map(HOLED)], crs=32632)
    frame.to_file(path, layer="one")
    frame.to_file(path, layer="two", mode="a")
    with pytest.raises(ImageError, match="has 2 layers with shapes: one, two"):
        mask_grid(path, image(utm()))
    for suffix in ("fgb", "shp"):
        whole = tmp_path / f"whole.{suffix}"
        frame.to_file(whole)
        (tmp_path / f"cut.{suffix}").write_bytes(whole.read_bytes()[:150])
        with pytest.raises(ImageError, match="cannot be read as a vector file"):
            mask_grid(tmp_path / f"cut.{suffix}", image(utm()))


def test_a_geopackage_of_pixels_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "mask.gpkg"
    profile = {"driver": "GPKG", "count": 1, "height": SIZE[0], "width": SIZE[1], "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=rasterio.Affine(*PLACE), **profile) as file:
        file.write(drawn([HOLED])[None].astype(np.uint8) * 255)
    assert (mask_grid(path, image(utm())).cells > 0).any()


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geopandas.GeoDataFrame(geometry=[on_map(HOLED)], crs=32632).to_file(tmp_path / "mask.gpkg")
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(ImageError, match=r"pyogrio and shapely read.*\n  fix: pip install 'fullfield\[vector\]'"):
        mask_grid(tmp_path / "mask.gpkg", image(utm()))
