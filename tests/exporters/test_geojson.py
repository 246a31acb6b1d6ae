"""Detections: which cells, where, in whose conventions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from fullfield.errors import ImageError
from fullfield.exporters import Options, export
from fullfield.exporters.detections import Detections
from fullfield.exporters.labels import stored_labels
from fullfield.image.raster import Georeference
from tests.exporters.maps import UTM, Map, placed, score_map


def features(scores: Map, path: Path, classes: Any = None, **options: Any) -> list[dict[str, Any]]:
    export(
        scores, path / "a.geojson", classes=classes, options=Options(detections=Detections(**options)), overwrite=True
    )
    read = json.loads((path / "a.geojson").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert read["type"] == "FeatureCollection"
    found: list[dict[str, Any]] = read["features"]
    return found


def test_points_are_the_window_centres_of_cells_at_or_above_the_threshold(tmp_path: Path) -> None:
    scores = score_map()
    found = features(scores, tmp_path, ["kind 1"], rows="points", threshold=0.5)
    where = np.argwhere(np.nan_to_num(scores.array[1], nan=-9) >= 0.5)
    assert len(found) == len(where) > 100
    for (i, j), feature in zip(where, found, strict=True):
        y, x = scores.spec.placement.centre(i, j)
        np.testing.assert_allclose(feature["geometry"]["coordinates"], (x, y), rtol=0, atol=1e-9)
        assert feature["properties"]["measurements"] == {"score": float(scores.array[1, i, j])}
    assert found[0]["properties"]["objectType"] == "detection"
    assert found[0]["properties"]["classification"] == {"name": "kind 1", "color": [86, 180, 233]}


def test_polygons_cover_the_cells_of_the_top_class_once(tmp_path: Path) -> None:
    scores = score_map()
    found = features(scores, tmp_path)
    cell = np.prod(scores.spec.placement.spacing)
    area = dict.fromkeys(("kind 0", "kind 1", "kind 2"), 0.0)
    for feature in found:
        rings = [np.array(ring) for ring in feature["geometry"]["coordinates"]]
        areas = [shoelace(ring) for ring in rings]
        assert areas[0] > 0
        assert all(a < 0 for a in areas[1:])
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        measured = feature["properties"]["measurements"]
        np.testing.assert_allclose(sum(areas), measured["cells"] * cell, rtol=1e-9)
        assert measured["score"] >= measured["mean score"]
        area[feature["properties"]["classification"]["name"]] += sum(areas)
    top = np.where(scores.known, np.nan_to_num(scores.array, nan=-9).argmax(axis=0), -1)
    np.testing.assert_allclose(list(area.values()), [(top == k).sum() * cell for k in range(3)], rtol=1e-9)


def shoelace(ring: Any) -> float:
    x, y = ring[:-1].T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_the_top_class_is_sought_among_all_classes(tmp_path: Path) -> None:
    one, all_ = (features(score_map(), tmp_path, chosen, rows="points") for chosen in (["kind 2"], None))
    assert one == [f for f in all_ if f["properties"]["classification"]["name"] == "kind 2"]
    assert 0 < len(one) < len(all_)


def test_map_coordinates_and_degrees_are_those_of_the_centres(tmp_path: Path) -> None:
    scores = score_map(georeference=UTM)
    image, on_map, earth = (
        [f["geometry"]["coordinates"] for f in features(scores, tmp_path, [0], rows="points", coordinates=c)]
        for c in ("image", "map", "wgs84")
    )
    a, b, c, d, e, f = UTM.transform
    wanted = [(a * x + b * y + c, d * x + e * y + f) for x, y in image]
    np.testing.assert_allclose(on_map, wanted, rtol=0, atol=1e-9)
    turn = pyproj.Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
    np.testing.assert_allclose(earth, [turn.transform(*point) for point in wanted], rtol=0, atol=1e-11)


def test_rings_are_counter_clockwise_in_every_coordinate_system(tmp_path: Path) -> None:
    for coordinates in ("image", "map", "wgs84"):
        for feature in features(score_map(georeference=UTM), tmp_path, [1], coordinates=coordinates):
            origin = np.array(feature["geometry"]["coordinates"][0][0])
            signs = [shoelace(np.array(ring) - origin) > 0 for ring in feature["geometry"]["coordinates"]]
            assert signs == [True] + [False] * (len(signs) - 1)


def test_a_map_with_a_known_system_names_it(tmp_path: Path) -> None:
    export(
        score_map(georeference=UTM), tmp_path / "a.geojson", options=Options(detections=Detections(coordinates="map"))
    )
    assert "urn:ogc:def:crs:EPSG::32633" in (tmp_path / "a.geojson").read_text()


@pytest.mark.parametrize("options", [{}, {"threshold": 0.3}, {"rows": "points", "min_distance": 20.0}])
def test_the_strips_do_not_show(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = features(score_map(), tmp_path, **options)
    monkeypatch.setattr("fullfield.exporters.detections._STRIP_ROWS", 5)
    assert features(score_map(), tmp_path, **options) == whole


def test_points_apart_are_never_nearer_than_the_distance(tmp_path: Path) -> None:
    found = features(score_map(), tmp_path, [0], rows="points", threshold=0.0, min_distance=30.0)
    points = np.array([feature["geometry"]["coordinates"] for feature in found])
    apart = np.hypot(*(points[:, None] - points).transpose(2, 0, 1)) + 1e9 * np.eye(len(points))
    assert len(points) > 10
    assert apart.min() > 30


def test_stored_labels_are_outlined_without_scores(tmp_path: Path) -> None:
    place = placed()
    labels = np.random.default_rng(0).integers(0, 3, (1, *place.shape)).astype(np.uint8)
    spec = score_map().spec
    made = type(spec)(labels.shape, "uint8", (64, 64), place, kind="labels", classes=(0, 1, 2), fill=255.0)
    scores = Map(labels, made, np.ones(place.shape, np.bool_), [])
    assert stored_labels(scores).colours
    (cells,) = {tuple(f["properties"]["measurements"]) for f in features(scores, tmp_path)}
    assert cells == ("cells",)
    found = features(scores, tmp_path, ["1"], rows="points")
    assert len(found) == (labels == 1).sum()
    assert found[0]["properties"]["measurements"] == {}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"coordinates": "map"}, "has no georeference"),
        ({"coordinates": "moon"}, "'moon' is not known"),
        ({"rows": "circles"}, "'circles' is not known"),
        ({"min_distance": 3.0}, "is for points"),
        ({"min_distance": -3.0, "rows": "points"}, "not a positive number"),
        ({"threshold": float("nan")}, "nan is no number"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ImageError, match=fault):
        export(score_map(), tmp_path / "a.geojson", options=Options(detections=Detections(**options)))
    assert not list(tmp_path.iterdir())


def lone(crs: str, origin: tuple[float, float], metres: float) -> Map:
    """A map of 60x60 cells with one square region of 52x52 cells, on pixels of so many metres."""
    place = placed(step=(16, 16), window=(32, 32), image=(976, 976), scanned=(976, 976), padding=(0, 0, 0, 0))
    lies = Georeference(crs, (metres, 0.0, origin[0], 0.0, -metres, origin[1]))
    scores = score_map(1, placement=place, holes=False, georeference=lies)
    scores.array[:] = 0
    scores.array[0, 4:-4, 4:-4] = 1
    return scores


def test_long_sides_stay_within_half_a_cell_in_degrees(tmp_path: Path) -> None:
    scores, metres = lone("EPSG:3034", (3.0e6, 4.5e6), 2000.0), 2000.0
    (feature,) = features(scores, tmp_path, [0], threshold=0.5, coordinates="wgs84")
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert 5 < len(ring) < 200
    between = np.concatenate([ring[:-1] + share * np.diff(ring, axis=0) for share in np.linspace(0, 1, 21)])
    back = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:3034", always_xy=True)
    x, y = back.transform(*between.T)
    (top, left), (bottom, right) = (scores.spec.placement.centre(at, at) for at in (3.5, 55.5))
    sides = x - 3.0e6 - metres * left, x - 3.0e6 - metres * right, y - 4.5e6 + metres * top, y - 4.5e6 + metres * bottom
    assert np.abs(sides).min(axis=0).max() < 0.5 * 16 * metres


@pytest.mark.parametrize(
    ("crs", "origin", "metres"),
    [("EPSG:32601", (0.2e6, 4.0e6), 300.0), ("EPSG:32760", (0.6e6, 6.5e6), 300.0), ("EPSG:3832", (1.0e6, 5e6), 4000.0)],
)
def test_a_region_across_the_antimeridian_is_cut_there(
    tmp_path: Path, crs: str, origin: tuple[float, float], metres: float
) -> None:
    scores = lone(crs, origin, metres)
    scores.array[0, 20:30, 2:50] = 0  # a bay
    scores.array[0, 40:44, 6:54] = 0  # a hole
    (feature,) = features(scores, tmp_path, [0], threshold=0.5, coordinates="wgs84")
    assert feature["geometry"]["type"] == "MultiPolygon"
    polygons = [[np.array(ring) for ring in polygon] for polygon in feature["geometry"]["coordinates"]]
    west = [polygon for polygon in polygons if polygon[0][:, 0].min() > 0]
    assert 0 < len(west) < len(polygons)
    for rings in polygons:
        assert all((np.abs(ring[:, 0]) <= 180).all() and (np.abs(np.diff(ring[:, 0])) < 180).all() for ring in rings)
        assert [shoelace(ring - ring[0]) > 0 for ring in rings] == [True] + [False] * (len(rings) - 1)
        assert (np.abs(rings[0][:, 0]) == 180).any()
    there = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    for i in range(60):
        for j in range(60):
            y, x = scores.spec.placement.centre(i, j)
            lon, lat = there.transform(origin[0] + metres * x, origin[1] - metres * y)
            holding = sum(all(inside(ring, lon, lat) == (n == 0) for n, ring in enumerate(rings)) for rings in polygons)
            assert holding == scores.array[0, i, j]


def inside(ring: Any, x: float, y: float) -> bool:
    """Whether a point lies in a closed ring."""
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    crossing = (y0 > y) != (y1 > y)
    at = x0[crossing] + (y - y0[crossing]) / (y1[crossing] - y0[crossing]) * (x1[crossing] - x0[crossing])
    return int((at > x).sum()) % 2 == 1


@pytest.mark.parametrize(
    ("west", "parts"), [(0.0, [(-180, -8), (8, 180)]), (-180.0, [(-172, 172)]), (130.0, [(-180, -58), (138, 180)])]
)
def test_a_region_round_the_earth_is_where_it_is(tmp_path: Path, west: float, parts: list[tuple[float, float]]) -> None:
    place = placed(step=(2, 4), window=(2, 4), image=(160, 360), scanned=(160, 360), padding=(0, 0, 0, 0))
    scores = score_map(
        1, placement=place, holes=False, georeference=Georeference("OGC:CRS84", (1.0, 0.0, west, 0.0, -1.0, 80.0))
    )
    scores.array[:] = 0
    scores.array[0, 10:20, 2 : 88 if west < 130 else 43] = 1
    (feature,) = features(scores, tmp_path, [0], threshold=0.5, coordinates="wgs84")
    found = feature["geometry"]["coordinates"] if len(parts) > 1 else [feature["geometry"]["coordinates"]]
    ends = [(min(x for x, _ in ring), max(x for x, _ in ring)) for (ring,) in found]
    assert sorted(ends) == parts
    points = features(scores, tmp_path, [0], threshold=0.5, coordinates="wgs84", rows="points")
    assert all(-180 <= point["geometry"]["coordinates"][0] <= 180 for point in points)


def test_a_region_that_holds_a_pole_is_refused_in_degrees(tmp_path: Path) -> None:
    scores = lone("EPSG:3413", (-488_000.0, 488_000.0), 1000.0)
    with pytest.raises(ImageError, match="a region contains a pole"):
        features(scores, tmp_path, [0], threshold=0.5, coordinates="wgs84")
    assert features(scores, tmp_path, [0], threshold=0.5, coordinates="map")
