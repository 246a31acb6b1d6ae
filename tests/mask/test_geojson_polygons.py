"""Polygons that are packed while GeoJSON is parsed are those that are read point by point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fullfield.errors import ImageError
from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata
from fullfield.mask.geojson import geojson_grid
from fullfield.mask.geojson_polygons import parse_document, read_rings
from fullfield.mask.polygons import burn
from fullfield.mask.reproject import to_crs, to_pixels
from tests.mask.rings import Polygon, rings_of

PIECES = 64  # of an edge that is reprojected

numbers = st.integers(-20, 80) | st.floats(-20, 80, width=32)
points = st.lists(numbers, min_size=2, max_size=2) | st.lists(numbers, min_size=3, max_size=3)
rings = st.lists(points, min_size=3, max_size=6)
polygons = st.lists(rings, min_size=1, max_size=3)
geometries = st.one_of(
    st.builds(lambda drawn: {"type": "Polygon", "coordinates": drawn}, polygons),
    st.builds(lambda drawn: {"type": "MultiPolygon", "coordinates": drawn}, st.lists(polygons, min_size=1, max_size=3)),
    st.just({"type": "Point", "coordinates": [1, 2]}),
)
features = st.builds(
    lambda geometry, extra: {"type": "Feature", "geometry": geometry, "properties": {"nucleus": extra}},
    geometries,
    geometries,
)
documents = st.one_of(
    st.lists(features, max_size=4),
    st.builds(lambda drawn: {"type": "FeatureCollection", "features": drawn}, st.lists(features, max_size=4)),
    st.builds(lambda drawn: {"type": "GeometryCollection", "geometries": drawn}, st.lists(geometries, max_size=4)),
)


def plain(node: Any) -> Iterator[Polygon]:
    """The polygons of a document, point by point."""
    for part in node if isinstance(node, list) else ():
        yield from plain(part)
    if not isinstance(node, dict):
        return
    drawn = {"Polygon": [node.get("coordinates")], "MultiPolygon": node.get("coordinates")}.get(node["type"], [])
    for polygon in drawn:
        yield tuple(np.array([point[:2] for point in ring], np.float64) for ring in polygon)
    for member in ("geometry", "geometries", "features"):
        yield from plain(node.get(member))


def raster(height: int, width: int, at: Georeference | None = None) -> ArrayRaster:
    pixels = np.broadcast_to(np.zeros((), np.uint8), (height, width, 1))
    return ArrayRaster(pixels, "scene.tif", ImageMetadata({}, (256, 256), georeference=at))


@settings(max_examples=150)
@given(documents)
def test_rings_are_those_that_are_read_point_by_point(document: Any) -> None:
    found = read_rings(parse_document(json.dumps(document).encode()), "mask.geojson")
    wanted = rings_of(list(plain(document)))
    for name in ("points", "lengths", "owners"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["EPSG:32601", "EPSG:32660"]))
def test_degrees_around_longitude_180_are_reprojected_as_ring_by_ring(
    tmp_path_factory: pytest.TempPathFactory, seed: int, zone: str
) -> None:
    rasterio = pytest.importorskip("rasterio")
    text = rasterio.crs.CRS.from_user_input(zone).to_wkt()
    west = 160_000 if zone == "EPSG:32601" else 820_000
    at = Georeference(text, (100, 0, west, 0, -100, 6_700_000))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(rng.integers(1, 6)):
        centre = (rng.uniform(179.6, 180.4) + 180) % 360 - 180, rng.uniform(60.0, 60.35)
        drawn.append([(np.array(centre) + rng.uniform(-0.1, 0.1, (5, 2))).clip(-180, 180) for _ in range(2)])
    middle = to_crs(np.array([[200, 200]]) * (100, -100) + (west, 6_700_000), text, "OGC:CRS84")
    drawn.append([(middle + rng.uniform(-0.05, 0.05, (4, 2))).clip(-180, 180)])
    path = tmp_path_factory.mktemp("mask") / "mask.geojson"
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": [[r.tolist() for r in p] for p in drawn]}))
    found = geojson_grid(path, raster(400, 400, at), "map")
    placed = [tuple(to_pixels(to_crs(split(ring), "OGC:CRS84", text), at) for ring in polygon) for polygon in drawn]
    np.testing.assert_array_equal(found.cells, burn(rings_of(placed), (400, 400), (400, 400)).cells)


def split(ring: np.ndarray) -> np.ndarray:
    """A ring with every edge divided."""
    ends = zip(ring, [*ring[1:], ring[0]], strict=True)
    return np.array([a + (b - a) * (k / PIECES) for a, b in ends for k in range(PIECES)])


def test_points_that_are_converted_in_parts_are_those_converted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rasterio")
    drawn = np.random.default_rng(0).uniform(5, 13, (100, 2))
    whole = to_crs(drawn, "OGC:CRS84", "EPSG:32632")
    monkeypatch.setattr("fullfield.mask.reproject._TOGETHER", 7)
    np.testing.assert_array_equal(to_crs(drawn, "OGC:CRS84", "EPSG:32632"), whole)


def test_numbers_written_as_text_are_read_too() -> None:
    document = {"type": "Polygon", "coordinates": [[["1", "2"], [3, 2, None], [3, 5]]]}
    found = read_rings(parse_document(json.dumps(document).encode()), "mask.geojson")
    np.testing.assert_array_equal(found.points, [(1, 2), (3, 2), (3, 5)])


@pytest.mark.parametrize("at", [None, Georeference("EPSG:32632", (10, 0, 690_000, 0, -10, 5_335_000))])
def test_a_polygon_without_a_ring_is_no_polygon(at: Georeference | None, tmp_path: Path) -> None:
    (tmp_path / "mask.geojson").write_text('{"type": "Polygon", "coordinates": []}')
    with pytest.raises(ImageError, match="holds no polygon"):
        geojson_grid(tmp_path / "mask.geojson", raster(20, 30, at), "auto")


def test_every_list_of_points_is_freed_as_soon_as_its_geometry_is_parsed() -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9]]]}
    document = parse_document(json.dumps([{"type": "Feature", "geometry": square}] * 3).encode())
    assert [type(feature["geometry"]["coordinates"].points) for feature in document] == [bytes] * 3
