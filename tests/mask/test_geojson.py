"""GeoJSON masks in pixels or map coordinates, detected or given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullfield.errors import ImageError
from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata
from fullfield.mask.grid import MaskGrid
from fullfield.mask.masks import mask_grid

UTM = "EPSG:32632"


def image(height: int, width: int, at: Georeference | None = None, **metadata: Any) -> ArrayRaster:
    pixels = np.broadcast_to(np.zeros((), np.uint8), (height, width, 1))
    return ArrayRaster(pixels, "scene.tif", ImageMetadata({}, (256, 256), georeference=at, **metadata))


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def selected(tmp_path: Path, document: object, raster: ArrayRaster, **options: Any) -> MaskGrid:
    path = tmp_path / "mask.geojson"
    path.write_text(json.dumps(document))
    return mask_grid(path, raster, **options)


@pytest.fixture
def scene() -> ArrayRaster:
    """400×500 px of 10 m in UTM zone 32."""
    rasterio = pytest.importorskip("rasterio")
    text = rasterio.crs.CRS.from_user_input(UTM).to_wkt()
    return image(400, 500, Georeference(text, (10, 0, 690_000, 0, -10, 5_335_000)))


HOLED = polygon(square(2, 3, 10), square(4, 5, 2))


@pytest.mark.parametrize(
    "document",
    [
        HOLED,
        {"type": "Feature", "properties": None, "geometry": HOLED},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": g} for g in (HOLED, None)]},
        [{"type": "Feature", "geometry": g} for g in (HOLED, {"type": "Point", "coordinates": [1, 1]})],
        {"type": "GeometryCollection", "geometries": [{"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, HOLED]},
        {"type": "MultiPolygon", "coordinates": [HOLED["coordinates"]]},
        {"type": "Feature", "geometry": polygon([[*p, 12.5] for p in square(2, 3, 10)], square(4, 5, 2))},
    ],
    ids=["geometry", "feature", "collection", "QuPath's list", "geometries", "multi", "heights"],
)  # fmt: skip
def test_polygons_are_found_wherever_they_stand_and_holes_are_outside(tmp_path: Path, document: object) -> None:
    wanted = np.zeros((20, 30), np.bool_)
    wanted[3:13, 2:12] = True
    wanted[5:7, 4:6] = False
    np.testing.assert_array_equal(selected(tmp_path, document, image(20, 30)).cells == 255, wanted)


def test_pixels_are_those_of_the_finest_level(tmp_path: Path) -> None:
    coarse = image(100, 150, levels=((400, 600), (100, 150)), level=1)
    grid = selected(tmp_path, polygon(square(40, 80, 40)), coarse)
    wanted = np.zeros((400, 600), np.bool_)
    wanted[80:120, 40:80] = True
    assert grid.pixel == (1, 1)
    np.testing.assert_array_equal(grid.cells == 255, wanted)


def test_a_large_image_has_a_coarse_grid_that_loses_nothing(tmp_path: Path) -> None:
    grid = selected(tmp_path, polygon(square(50_001, 70_002, 3)), image(100_000, 200_000))
    assert grid.cells.size <= 1 << 24
    rows, columns = np.nonzero(grid.cells)
    assert rows.min() == int(70_002 // grid.pixel[0])
    assert columns.min() == int(50_001 // grid.pixel[1])


def utm_square(scene: ArrayRaster) -> np.ndarray[Any, Any]:
    wanted = np.zeros(scene.shape[:2], np.bool_)
    wanted[100:200, 50:150] = True
    return wanted


def test_the_image_s_own_map_coordinates_are_recognised(tmp_path: Path, scene: ArrayRaster) -> None:
    cells = selected(tmp_path, polygon(square(690_500, 5_333_000, 1000)), scene).cells
    np.testing.assert_array_equal(cells == 255, utm_square(scene))


def test_a_coordinate_system_that_the_file_names_is_taken(tmp_path: Path, scene: ArrayRaster) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    cells = selected(tmp_path, polygon(square(690_500, 5_333_000, 1000)) | {"crs": crs}, scene).cells
    np.testing.assert_array_equal(cells == 255, utm_square(scene))


@pytest.mark.parametrize("coordinates", ["auto", "map"])
def test_longitude_and_latitude_are_recognised(tmp_path: Path, scene: ArrayRaster, coordinates: str) -> None:
    pyproj = pytest.importorskip("pyproj")
    to = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    dense = [(690_500 + 1000 * a, 5_333_000 + 1000 * b) for a, b in square(0, 0, 1)[:4]]
    ring = [list(to.transform(x, y)) for x, y in dense]
    cells = selected(tmp_path, polygon(ring), scene, coordinates=coordinates).cells
    wrong = (cells == 255) != utm_square(scene)
    assert wrong.sum() <= 8  # a straight line in degrees is 3 cm beside the straight line in metres


def test_a_long_edge_that_is_straight_in_degrees_is_bent_on_the_image(tmp_path: Path) -> None:
    rasterio, pyproj = pytest.importorskip("rasterio"), pytest.importorskip("pyproj")
    text = rasterio.crs.CRS.from_user_input(UTM).to_wkt()
    wide = image(500, 1000, Georeference(text, (1000, 0, 0, 0, -1000, 5_500_000)))
    cells = selected(tmp_path, polygon([[3, 46], [15, 46], [15, 48], [3, 48]]), wide).cells
    y, x = np.mgrid[:500, :1000] + 0.5
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x * 1000, 5_500_000 - y * 1000)
    inside = (lon > 3) & (lon < 15) & (lat > 46) & (lat < 48)
    assert ((cells == 255) != inside).sum() <= 20


@pytest.mark.parametrize("coordinates", ["auto", "image"])
def test_pixels_are_recognised_on_an_image_with_a_place(tmp_path: Path, scene: ArrayRaster, coordinates: str) -> None:
    cells = selected(tmp_path, polygon(square(50, 100, 100)), scene, coordinates=coordinates).cells
    np.testing.assert_array_equal(cells == 255, utm_square(scene))


def test_polygons_outside_the_image_are_refused_with_both_extents(tmp_path: Path, scene: ArrayRaster) -> None:
    with pytest.raises(
        ImageError, match=r"polygons at x 900\.\.910, y 3\.\.13 lie outside the image, x 0\.\.30, y 0\.\.20"
    ):
        selected(tmp_path, polygon(square(900, 3, 10)), image(20, 30))
    with pytest.raises(
        ImageError, match=r"lie outside the image.*as image coordinates.*as coordinates of the image's own map"
    ):
        selected(tmp_path, polygon(square(100_000, 5_333_000, 10)), scene)


@pytest.mark.parametrize("at", [None, Georeference(None, (1, 0, 0, 0, -1, 0))])
def test_map_coordinates_need_an_image_on_a_map(tmp_path: Path, at: Georeference | None) -> None:
    document = polygon(square(1, 1, 5)) | {"crs": {"type": "name", "properties": {"name": UTM}}}
    with pytest.raises(ImageError, match=r"has map coordinates \(EPSG:32632\), and the image scene.tif has "):
        selected(tmp_path, document, image(20, 30, at))


def test_an_unknown_coordinate_system_is_refused(tmp_path: Path, scene: ArrayRaster) -> None:
    document = polygon(square(1, 1, 5)) | {"crs": {"type": "name", "properties": {"name": "Atlantis"}}}
    with pytest.raises(ImageError, match="unknown coordinate system 'Atlantis'"):
        selected(tmp_path, document, scene)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"type": "FeatureCollection", "features": []}, "holds no polygon"),
        ({"type": "Point", "coordinates": [1, 2]}, "holds no polygon"),
        (polygon([[1, 2], [3, 4]]), "not 3 or more points"),
        (polygon([[1, 2], ["a", 4], [5, 6]]), "not 3 or more points"),
        (polygon([[1, 2], [float("inf"), 4], [5, 6]]), "not 3 or more points"),
        ({"type": "Polygon", "coordinates": 7}, "that are not a list"),
        ({"type": "MultiPolygon", "coordinates": [{}]}, "that are not a list"),
    ],
)
def test_what_is_no_polygon_is_refused(tmp_path: Path, document: object, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        selected(tmp_path, document, image(20, 30))


@pytest.mark.parametrize("text", ["{broken", "[" * 100_000, '{"type": "Feature", "geometry":' * 50 + "{}" + "}" * 50])
def test_broken_and_bottomless_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mask.geojson"
    path.write_text(text)
    with pytest.raises(ImageError, match=r"cannot be read as JSON|nested more than 32"):
        mask_grid(path, image(20, 30))
