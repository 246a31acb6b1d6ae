"""Points, polygons and rasters as QuPath, GIS programs and spreadsheets write them; their classes, place and faults."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fullfield
from fullfield import Georeference, Labels
from fullfield.errors import GeometryError, ImageError
from fullfield.geometry.placement import Placement
from tests.decisions.evaluation.maps import box, geojson, point, polygon, probabilities, scores_of

POLYGON = [(13.0, 11.0), (70.5, 22.5), (44.0, 80.0), (20.0, 50.0)]


@pytest.fixture
def scores() -> fullfield.Scores:
    return scores_of(probabilities(np.random.default_rng(0), 2, 20, 25))


def labelled(scores: fullfield.Scores, labels: object) -> dict[str, int]:
    found = fullfield.evaluate(scores, labels)
    return {each.name: each.labelled for each in found.classes if each.labelled}


def inside(scores: fullfield.Scores, points: list[tuple[float, float]]) -> int:
    """Cells whose centres lie in a polygon, one by one."""
    count = 0
    for i, j in np.ndindex(scores.placement.shape):
        y, x = scores.placement.centre(i, j)
        crossings = 0
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            crossings += (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x
        count += crossings % 2
    return count


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": {"name": "kind 1", "color": [1, 2, 3]}, "objectType": "annotation", "name": "a"},
        {"classification": {"names": ["kind 1"]}},
        {"classification": "kind 1"},
        {"Class": "kind 1", "id": 3},
        {"label": 1},
        {"category": 1.0},
        {"name": "kind 1"},
    ],
)
def test_the_class_is_found_as_qupath_and_gis_programs_write_it(
    properties: dict[str, Any], scores: fullfield.Scores, tmp_path: Path
) -> None:
    path = geojson(tmp_path / "a.geojson", (polygon(*POLYGON), properties))
    assert labelled(scores, path) == {"kind 1": inside(scores, POLYGON)}


def test_a_named_property_holds_the_class(scores: fullfield.Scores, tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", (polygon(*POLYGON), {"class": "x", "kode": "kind 0"}))
    assert labelled(scores, Labels(path, property="kode")) == {"kind 0": inside(scores, POLYGON)}


def test_qupaths_plain_list_and_points_of_several_are_read(scores: fullfield.Scores, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    several = {"type": "MultiPoint", "coordinates": [[20, 20], [40, 44], [41, 44]]}
    feature = {"type": "Feature", "geometry": several, "properties": {"classification": {"name": "kind 0"}}}
    path.write_text(json.dumps([feature]))
    found = fullfield.evaluate(scores, path)
    assert (found.unit, found.samples) == ("points", 3)


def test_of_polygons_within_polygons_the_smallest_counts(scores: fullfield.Scores, tmp_path: Path) -> None:
    outer, inner, hole = box(11, 11, 81, 81), box(31, 31, 61, 61), box(41, 41, 51, 51)
    features = (inner, {"class": 1}), (outer, {"class": 0}), (hole, {"class": "Ignore*"})
    path = geojson(tmp_path / "a.geojson", *features)
    found = fullfield.evaluate(scores, path)
    whole = sum(11 < scores.placement.centre(i, 0)[0] < 81 for i in range(20)) ** 2
    small = sum(31 < scores.placement.centre(i, 0)[0] < 61 for i in range(20)) ** 2
    none = sum(41 < scores.placement.centre(i, 0)[0] < 51 for i in range(20)) ** 2
    assert (whole, small, none) == (17**2, 7**2, 3**2)
    assert [each.labelled for each in found.classes] == [whole - small, small - none]
    assert f"Cells in polygons of several classes, of which the smallest counts: {small}." in found.remarks
    assert "Polygons left out by their class: 1." in found.remarks


def test_what_no_label_covers_has_the_class_outside(scores: fullfield.Scores, tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", (polygon(*POLYGON), {"class": "kind 1"}))
    count = inside(scores, POLYGON)
    assert labelled(scores, Labels(path, outside="kind 0")) == {"kind 0": 500 - count, "kind 1": count}
    raster = np.full((44, 54), 1, np.uint8)
    assert labelled(scores, Labels(raster, outside="kind 0")) == {"kind 1": 500}


def test_cells_farther_from_all_points_than_the_distance_are_outside(scores: fullfield.Scores, tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", (point(30, 40), {"class": "kind 1"}), (point(31, 70), {"class": None}))
    far = 0
    for i, j in np.ndindex(20, 25):
        y, x = scores.placement.centre(i, j)
        far += min(np.hypot(y - 30, x - 40), np.hypot(y - 31, x - 70)) > 13
    assert labelled(scores, Labels(path, outside=0, distance=13)) == {"kind 0": far, "kind 1": 1}


def test_a_raster_of_another_resolution_spans_the_image(scores: fullfield.Scores) -> None:
    size = scores.placement.image
    raster = np.zeros((size[0] // 2, size[1] // 2), np.uint8)
    raster[10:20, 20:31] = 1
    wanted = 0
    for i, j in np.ndindex(20, 25):
        y, x = scores.placement.centre(i, j)
        wanted += 20 <= y < 40 and 40 <= x < 62
    assert labelled(scores, raster) == {"kind 0": 500 - wanted, "kind 1": wanted}


@pytest.mark.parametrize("form", ["png", "palette", "transparent", "tif", "npy", "float"])
def test_rasters_are_read_in_every_form(form: str, scores: fullfield.Scores, tmp_path: Path) -> None:
    raster = np.zeros(scores.placement.image, np.uint8)
    raster[40:60, 40:60] = 1
    wanted = labelled(scores, raster)
    path = tmp_path / "labels.png"
    picture = Image.fromarray(raster)
    if form in ("palette", "transparent"):
        picture.putpalette([9, 9, 9, 200, 0, 0] + [0] * 750)
    if form == "transparent":
        picture.save(path, transparency=0)
        wanted = {"kind 1": wanted["kind 1"]}
    elif form in ("npy", "float"):
        path = tmp_path / "labels.npy"
        np.save(path, np.where(raster == 0, np.nan, 1.0) if form == "float" else raster)
        wanted = {"kind 1": wanted["kind 1"]} if form == "float" else wanted
    elif form == "tif":
        path = tmp_path / "labels.tif"
        picture.save(path)
    else:
        picture.save(path)
    assert labelled(scores, path) == wanted


def test_a_raster_in_another_coordinate_system_is_reprojected(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    warp = pytest.importorskip("rasterio.warp")
    place = Placement((8, 8), (16, 16), (400, 500), (400, 500))
    text = rasterio.crs.CRS.from_user_input("EPSG:32632").to_wkt()
    at = Georeference(text, (10, 0, 690_000, 0, -10, 5_335_000))
    array = probabilities(np.random.default_rng(1), 3, *place.shape)
    scores = scores_of(array, place, georeference=at)
    lon, lat = warp.transform(text, "EPSG:4326", [690_000, 695_000], [5_335_000, 5_331_000])
    x0, y1 = min(lon) - 0.01, max(lat) + 0.01
    size = (max(lon) + 0.01 - x0) / 300
    raster = np.random.default_rng(2).integers(0, 3, (300, 300)).repeat(1, 0).astype(np.uint8)
    path = tmp_path / "labels.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 300, "width": 300, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=rasterio.Affine(size, 0, x0, 0, -size, y1), **profile) as file:
        file.write(raster, 1)
    wanted = np.zeros((3, 3), int)
    for i, j in np.ndindex(place.shape):
        x, y = at.on_map(*place.centre(i, j))
        (east,), (north,) = warp.transform(text, "EPSG:4326", [x], [y])
        label = raster[int((y1 - north) / size), int((east - x0) / size)]
        wanted[label, array[:, i, j].argmax()] += 1
    np.testing.assert_array_equal(fullfield.evaluate(scores, path).confusion, wanted)


def test_polygons_in_degrees_lie_on_the_scene(tmp_path: Path) -> None:
    warp = pytest.importorskip("rasterio.warp")
    rasterio = pytest.importorskip("rasterio")
    place = Placement((8, 8), (16, 16), (400, 500), (400, 500))
    text = rasterio.crs.CRS.from_user_input("EPSG:32632").to_wkt()
    scores = scores_of(
        probabilities(np.random.default_rng(1), 2, *place.shape),
        place,
        georeference=Georeference(text, (10, 0, 690_000, 0, -10, 5_335_000)),
    )
    corners = [(100.0, 100.0), (300.0, 100.0), (300.0, 303.0), (100.0, 303.0)]
    x, y = ([690_000 + 10 * x for x, _ in corners], [5_335_000 - 10 * y for _, y in corners])
    lon, lat = warp.transform(text, "OGC:CRS84", x, y)
    path = geojson(tmp_path / "a.geojson", (polygon(*zip(lon, lat, strict=True)), {"class": 1}))
    found = labelled(scores, path)["kind 1"]
    assert abs(found - inside(scores, corners)) <= 30  # a straight edge in degrees is a curve on the map
    dots = geojson(tmp_path / "b.geojson", *((point(b, a), {"class": 1}) for a, b in zip(lon, lat, strict=True)))
    assert fullfield.evaluate(scores, dots).samples == 4


def test_coordinates_may_count_the_pixels_of_a_finer_level(tmp_path: Path) -> None:
    scores = scores_of(probabilities(np.random.default_rng(0), 2, 20, 25))
    path = tmp_path / "p.csv"
    path.write_text("y,x,class\n200,210,kind 1\n")
    with pytest.raises(ImageError, match=r"points at .* lie outside the image"):
        fullfield.evaluate(scores, path)
    height, width = scores.placement.image
    found = fullfield.evaluate(scores, Labels(path, image_size=(4 * height, 4 * width)))
    assert found.samples == 1


def test_points_belong_to_the_nearest_cell(scores: fullfield.Scores, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    points = rng.uniform((4.01, 4.01), (83.9, 103.9), (200, 2))
    path = tmp_path / "p.tsv"
    path.write_text("class\tX\tY\n" + "".join(f"kind {k % 2}\t{x}\t{y}\n" for k, (y, x) in enumerate(points)))
    found = fullfield.evaluate(scores, path)
    wanted = np.zeros((2, 2), int)
    for k, (y, x) in enumerate(points):
        wanted[k % 2, scores.at(y, x).argmax()] += 1
    np.testing.assert_array_equal(found.confusion, wanted)


def test_labels_outside_the_map_are_left_out_and_counted(scores: fullfield.Scores, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("y,x,class\n30,30,kind 1\n1,1,kind 0\n")
    found = fullfield.evaluate(scores, path)
    assert found.samples == 1
    assert "Points outside the map, left out: 1." in found.remarks
    assert [each.targets for each in found.froc] == [1]
    path.write_text("y,x,class\n1,1,kind 0\n")
    with pytest.raises(ImageError, match="label no cell of the map: points outside the map, left out: 1"):
        fullfield.evaluate(scores, path)
    area = geojson(tmp_path / "a.geojson", (box(0, 0, 3, 3), {"class": 0}), (box(20, 20, 50, 50), {"class": 1}))
    found = fullfield.evaluate(scores, Labels(area, outside=0))
    assert "Polygons outside the map, left out: 1." in found.remarks
    assert [each.name for each in found.froc] == ["kind 1"]


FAULTS = {
    "unknown": ("y,x,class\n30,30,knd 1\n", r"label 'knd 1' is no class of the map \(.*\)\n.*did you mean 'kind 1'"),
    "empty": ("", "the file is empty"),
    "header": ("y,x,class\n", "holds no labels"),
    "column": ("row,col,class\n1,2,a\n", "has no column y; its columns are 'row', 'col', 'class'"),
    "number": ("y,x,class\n1,b,kind 1\n", "has a y or x that is no number"),
    "nan": ("y,x,class\n1,nan,kind 1\n", "has a y or x that is not finite"),
    "far": ("y,x,class\n999,999,kind 1\n", "points at x 999..999, y 999..999 lie outside the image"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_is_one_error(fault: str, scores: fullfield.Scores, tmp_path: Path) -> None:
    text, message = FAULTS[fault]
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ImageError, match=message):
        fullfield.evaluate(scores, path)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "holds no labels: no point and no polygon"),
        ([({"type": "LineString", "coordinates": [[1, 1], [2, 2]]}, {"class": 1})], "no point and no polygon"),
        ([(point(9, 9), {"class": 1}), (box(1, 1, 9, 9), {"class": 1})], "holds 1 polygons and 1 points"),
        ([(point(9, 9), {"id": 4, "kode": "a"})], "gives its 1 labels no class; their properties are: id, kode"),
        ([({"type": "Point", "coordinates": ["a", 1]}, {"class": 1})], r"has points .* that are not \(x, y\)"),
        ([(box(900, 900, 950, 950), {"class": 1})], "polygons at x 900..950, y 900..950 lie outside the image"),
        ([(point(9, 9), {"class": 7})], r"the label '7' is no class"),
    ],
)
def test_a_faulty_geojson_is_one_error(
    features: list[Any], message: str, scores: fullfield.Scores, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=message):
        fullfield.evaluate(scores, geojson(tmp_path / "a.geojson", *features))


@pytest.mark.parametrize(
    ("raster", "message"),
    [
        (np.ones((40, 90)), "a mask of 40x90 px .* does not span the image"),
        (np.full((88, 108), 7), "the label '7' is no class"),
        (np.full((88, 108), 0.5), "holds 0.5, which is no class index"),
        (np.ones((88, 108, 3)), "has 3 channels; labels are one number a pixel"),
        (np.full((88, 108), np.nan), "label no cell of the map: none covers the centre of a window"),
    ],
)
def test_a_faulty_raster_is_one_error(raster: np.ndarray, message: str, scores: fullfield.Scores) -> None:
    with pytest.raises(ImageError, match=message):
        fullfield.evaluate(scores, raster)


def test_map_coordinates_without_a_georeference_are_one_error(scores: fullfield.Scores, tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    path = geojson(tmp_path / "a.geojson", (box(1, 1, 50, 50), {"class": 1}), crs=crs)
    with pytest.raises(ImageError, match=r"has map coordinates .* has no georeference"):
        fullfield.evaluate(scores, path)


def test_a_missing_file_and_settings_that_are_none_are_refused(scores: fullfield.Scores, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        fullfield.evaluate(scores, tmp_path / "none.csv")
    with pytest.raises(ImageError, match="distance: -1 is not a positive number"):
        Labels("a", distance=-1)
    with pytest.raises(GeometryError, match="coordinates: 'feet' is not known"):
        Labels("a", coordinates="feet")
    assert repr(Labels("a.csv", outside="b")) == "Labels(source='a.csv', outside='b')"
