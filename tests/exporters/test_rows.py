"""Windows, regions and points of a map as tables and vector files, read by other packages."""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pyproj
import pytest
import shapely

from fullfield.errors import ImageError
from fullfield.exporters import Options, export
from fullfield.exporters.detections import Detections
from fullfield.image.raster import Georeference
from fullfield.store.maps import MapSpec
from tests.exporters.maps import UTM, Map, placed, score_map

VECTOR = (".geojson", ".gpkg", ".fgb")


def written(scores: Map, path: Path, classes: Any = None, **options: Any) -> Path:
    export(scores, path, classes=classes, options=Options(detections=Detections(**options)), overwrite=True)
    return path


def table(path: Path) -> pandas.DataFrame:
    return pandas.read_csv(path) if path.suffix == ".csv" else pandas.read_parquet(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_has_a_row_a_window(tmp_path: Path, suffix: str) -> None:
    scores = score_map(georeference=UTM, mpp=(0.5, 0.25))
    found = table(written(scores, tmp_path / f"a{suffix}"))
    places = ["image", "y", "x", "y_um", "x_um", "map_y", "map_x"]
    assert list(found) == [*places, "class", "score", "kind 0", "kind 1", "kind 2"]
    at = np.argwhere(scores.known)
    assert len(found) == len(at)
    y, x = np.array([scores.spec.placement.centre(i, j) for i, j in at]).T
    np.testing.assert_allclose(found[["y", "x"]].to_numpy(), np.stack([y, x], axis=1), rtol=1e-12)
    np.testing.assert_allclose(found[["y_um", "x_um"]].to_numpy(), np.stack([y / 2, x / 4], axis=1), rtol=1e-12)
    a, b, c, d, e, f = UTM.transform
    np.testing.assert_allclose(found["map_x"], a * x + b * y + c, rtol=1e-12)
    np.testing.assert_allclose(found["map_y"], d * x + e * y + f, rtol=1e-12)
    values = scores.array[:, *at.T]
    for band in range(3):
        np.testing.assert_array_equal(found[f"kind {band}"].to_numpy(np.float32), values[band])
    np.testing.assert_array_equal(found["score"].to_numpy(np.float32), values.max(axis=0))
    assert found["class"].tolist() == [f"kind {k}" for k in values.argmax(axis=0)]


def test_a_missing_score_of_one_class_is_an_empty_field(tmp_path: Path) -> None:
    scores = score_map(holes=False)
    scores.array[1, 0, 0] = np.nan
    for suffix in (".csv", ".parquet"):
        found = table(written(scores, tmp_path / f"a{suffix}"))
        assert found.loc[0, ["class", "score", "kind 1"]].isna().all()
        assert np.float32(found.loc[0, "kind 0"]) == scores.array[0, 0, 0]
        assert found.loc[1:].drop(columns="image").notna().all(axis=None)


@pytest.mark.parametrize("suffix", VECTOR)
def test_a_window_is_its_cell_with_the_scores_of_every_class(tmp_path: Path, suffix: str) -> None:
    scores = score_map(georeference=UTM, holes=False)
    found = geopandas.read_file(written(scores, tmp_path / f"a{suffix}", rows="windows"))
    assert len(found) == scores.array[0].size
    assert found.crs.to_epsg() == 32633
    spacing, (a, b, _, d, e, _) = scores.spec.placement.spacing, UTM.transform
    np.testing.assert_allclose(found.area, abs(a * e - b * d) * np.prod(spacing), rtol=1e-6)
    assert shapely.is_valid(found.geometry).all()
    np.testing.assert_allclose(found.union_all().area, found.area.sum(), rtol=1e-6)  # they cover it once
    centres = {UTM.on_map(*scores.spec.placement.centre(i, j)): (i, j) for i, j in np.ndindex(*scores.spec.shape[1:])}
    tree = shapely.STRtree(found.centroid)
    for centre, (i, j) in list(centres.items())[::37]:
        row = found.iloc[tree.nearest(shapely.Point(centre))]
        assert row.geometry.centroid.distance(shapely.Point(centre)) < 1e-6
        values = row["measurements"] if suffix == ".geojson" else row
        values = json.loads(values) if isinstance(values, str) else values
        assert [np.float32(values[f"kind {k}"]) for k in range(3)] == scores.array[:, i, j].tolist()
        assert (row["class"], np.float32(row["score"])) == (
            f"kind {scores.array[:, i, j].argmax()}",
            scores.array[:, i, j].max(),
        )


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
@pytest.mark.parametrize("rows", ["regions", "points"])
def test_vector_files_hold_what_geojson_holds(tmp_path: Path, suffix: str, rows: str) -> None:
    scores = score_map(georeference=UTM)
    one, other = (geopandas.read_file(written(scores, tmp_path / f"a{s}", rows=rows)) for s in (".geojson", suffix))
    assert len(one) == len(other) > 100
    assert one.crs == other.crs

    def sorted_by_place(frame: Any) -> Any:
        return frame.assign(wkb=frame.normalize().to_wkb()).sort_values(["wkb", "class"], ignore_index=True)

    one, other = sorted_by_place(one), sorted_by_place(other)
    assert one["wkb"].tolist() == other["wkb"].tolist()
    assert one["class"].tolist() == other["class"].tolist()
    np.testing.assert_array_equal(one["score"], other["score"])
    if rows == "regions":
        measured = [json.loads(each) if isinstance(each, str) else each for each in one["measurements"]]
        assert [each["cells"] for each in measured] == other["cells"].tolist()
        assert (other.geometry.interiors.map(len) > 0).any()  # holes


def test_degrees_in_a_geopackage_are_multipolygons(tmp_path: Path) -> None:
    found = geopandas.read_file(written(score_map(georeference=UTM), tmp_path / "a.gpkg", coordinates="wgs84"))
    assert set(found.geom_type) == {"MultiPolygon"}
    assert found.crs.to_string() in ("OGC:CRS84", "EPSG:4326")
    west, south, east, north = found.total_bounds
    assert 13 < west < east < 14
    assert 48 < south < north < 49


def test_an_image_without_a_place_is_written_in_px(tmp_path: Path) -> None:
    for suffix in VECTOR:
        found = geopandas.read_file(written(score_map(holes=False), tmp_path / f"a{suffix}", rows="windows"))
        top, left, bottom, right = score_map().spec.placement.footprint()
        np.testing.assert_allclose(found.total_bounds, (left, top, right, bottom), rtol=1e-12)


def test_a_system_without_a_code_is_read_by_geopandas(tmp_path: Path) -> None:
    laea = "+proj=laea +lat_0=10 +lon_0=20 +x_0=5 +y_0=7 +datum=WGS84 +units=m +no_defs"
    scores = score_map(georeference=Georeference(laea, UTM.transform))
    for suffix in VECTOR:
        found = geopandas.read_file(written(scores, tmp_path / f"a{suffix}"))
        assert found.crs.equals(pyproj.CRS(laea), ignore_axis_order=True)


@pytest.mark.parametrize("suffix", [*VECTOR, ".csv", ".parquet"])
@pytest.mark.parametrize("rows", ["windows", "regions", "points"])
def test_strips_and_budget_do_not_show_and_equal_maps_give_equal_bytes(
    tmp_path: Path, suffix: str, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = written(score_map(georeference=UTM), tmp_path / f"a{suffix}", rows=rows).read_bytes()
    again = written(score_map(georeference=UTM), tmp_path / f"a{suffix}", rows=rows).read_bytes()
    assert again == whole
    monkeypatch.setattr("fullfield.exporters.detections._STRIP_ROWS", 5)
    monkeypatch.setattr("fullfield.exporters.rows._READ_BYTES", 3000)
    parts = written(score_map(georeference=UTM), tmp_path / f"a{suffix}", rows=rows).read_bytes()
    assert suffix in (".parquet", ".gpkg") or parts == whole


def test_a_map_without_a_detection_is_an_empty_file_with_columns(tmp_path: Path) -> None:
    for suffix in VECTOR:
        assert len(geopandas.read_file(written(score_map(), tmp_path / f"a{suffix}", threshold=99.0))) == 0
    for suffix in (".csv", ".parquet"):
        found = table(written(score_map(), tmp_path / f"a{suffix}", threshold=99.0))
        assert (len(found), "kind 1" in found) == (0, True)


def test_class_names_that_other_columns_have_are_told_apart(tmp_path: Path) -> None:
    scores = score_map(4, class_names=("score", "a", "A", "y"))
    found = table(written(scores, tmp_path / "a.csv"))
    assert list(found) == ["image", "y", "x", "class", "score", "score (2)", "a", "A (2)", "y (2)"]
    assert "A (2)" in geopandas.read_file(written(scores, tmp_path / "a.gpkg", rows="windows"))


def test_labels_are_rows_with_a_class_alone(tmp_path: Path) -> None:
    place = placed()
    labels = np.random.default_rng(0).integers(0, 3, (1, *place.shape)).astype(np.uint8)
    spec = MapSpec(labels.shape, "uint8", (64, 64), place, kind="labels", classes=(0, 1, 2), fill=255.0)
    found = table(written(Map(labels, spec, np.ones(place.shape, np.bool_), []), tmp_path / "a.csv"))
    assert list(found) == ["image", "y", "x", "class"]
    assert found["class"].tolist() == [f"class {k}" for k in labels.ravel()]


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, suffix in (("pyogrio", ".gpkg"), ("shapely", ".fgb"), ("pyarrow", ".parquet"), ("pyarrow", ".gpkg")):
        extra = "table" if suffix == ".parquet" else "vector"
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, package, None)
            with pytest.raises(ImageError, match=rf"{package}.*\n.*fullfield\[{extra}\]"):
                written(score_map(), tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_error_while_a_vector_file_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ImageError("map", "is damaged there", fix="scan again")

    for suffix in VECTOR:
        with monkeypatch.context() as patch:
            patch.setattr(Map, "read", fail)
            with pytest.raises(ImageError, match="is damaged there"):
                written(score_map(), tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())
