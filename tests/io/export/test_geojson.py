"""Detections: which cells, where, in whose conventions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from fullfield.errors import ImageError
from fullfield.io.export import Options, export
from fullfield.io.export.labels import stored_labels
from fullfield.io.raster import Georeference
from tests.io.export.maps import UTM, Map, placed, score_map


def features(scores: Map, path: Path, classes: Any = None, **options: Any) -> list[dict[str, Any]]:
    export(scores, path / "a.geojson", classes=classes, options=Options(**options), overwrite=True)
    read = json.loads((path / "a.geojson").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert read["type"] == "FeatureCollection"
    found: list[dict[str, Any]] = read["features"]
    return found


def test_points_are_the_window_centres_of_cells_at_or_above_the_threshold(tmp_path: Path) -> None:
    scores = score_map()
    found = features(scores, tmp_path, ["kind 1"], geometry="points", threshold=0.5)
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
    one, all_ = (features(score_map(), tmp_path, chosen, geometry="points") for chosen in (["kind 2"], None))
    assert one == [f for f in all_ if f["properties"]["classification"]["name"] == "kind 2"]
    assert 0 < len(one) < len(all_)


def test_map_coordinates_and_degrees_are_those_of_the_centres(tmp_path: Path) -> None:
    scores = score_map(georeference=UTM)
    image, on_map, earth = (
        [f["geometry"]["coordinates"] for f in features(scores, tmp_path, [0], geometry="points", coordinates=c)]
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
    export(score_map(georeference=UTM), tmp_path / "a.geojson", options=Options(coordinates="map"))
    assert "urn:ogc:def:crs:EPSG::32633" in (tmp_path / "a.geojson").read_text()


@pytest.mark.parametrize("options", [{}, {"threshold": 0.3}, {"geometry": "points", "min_distance": 20.0}])
def test_the_strips_do_not_show(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = features(score_map(), tmp_path, **options)
    monkeypatch.setattr("fullfield.io.export.geojson._STRIP_ROWS", 5)
    assert features(score_map(), tmp_path, **options) == whole


def test_points_apart_are_never_nearer_than_the_distance(tmp_path: Path) -> None:
    found = features(score_map(), tmp_path, [0], geometry="points", threshold=0.0, min_distance=30.0)
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
    found = features(scores, tmp_path, ["1"], geometry="points")
    assert len(found) == (labels == 1).sum()
    assert found[0]["properties"]["measurements"] == {}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"coordinates": "map"}, "lies on no map"),
        ({"coordinates": "moon"}, "'moon' is not known"),
        ({"geometry": "circles"}, "'circles' is not known"),
        ({"min_distance": 3.0}, "is for points"),
        ({"min_distance": -3.0, "geometry": "points"}, "not a positive number"),
        ({"threshold": float("nan")}, "nan is no number"),
        ({"labels": True}, "has no meaning for geojson"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ImageError, match=fault):
        export(score_map(), tmp_path / "a.geojson", options=Options(**options))
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


def test_a_region_across_the_antimeridian_is_refused_in_degrees(tmp_path: Path) -> None:
    scores = lone("EPSG:32601", (0.2e6, 4.0e6), 300.0)
    with pytest.raises(ImageError, match="reaches across longitude 180"):
        features(scores, tmp_path, [0], threshold=0.5, coordinates="wgs84")
    assert features(scores, tmp_path, [0], threshold=0.5, coordinates="map")
