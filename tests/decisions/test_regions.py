"""Decisions of annotations: the windows of each are those of a scan with it alone as the mask."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullfield import ArgumentError, ImageError, Scores, Where, open_scores
from fullfield.decisions.regions import map_regions
from fullfield.geometry.placement import Placement
from fullfield.image.raster import ArrayRaster, Georeference
from fullfield.mask.grid import MaskCells
from fullfield.mask.masks import mask_grid
from fullfield.store.maps import MapSpec
from tests.store.maps import stored

PLACE = Placement((8, 6), (24, 20), (300, 400), (150, 200))


def scores(place: Placement = PLACE, **fields: Any) -> Scores:
    array = np.random.default_rng(0).standard_normal((2, *place.shape)).astype(np.float32)
    return Scores.from_array(array, place, class_names=("a", "b"), **fields)


def box(y: float, x: float, height: float, width: float) -> list[list[list[float]]]:
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
    return [[[float(u), float(v)] for u, v in corners]]


def feature(coordinates: Any, kind: str = "Polygon", **members: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {}, **members, "geometry": {"type": kind, "coordinates": coordinates}}


def write(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_each_annotation_has_a_decision_with_its_name(tmp_path: Path) -> None:
    file = write(
        tmp_path / "regions.geojson",
        feature(box(10, 20, 60, 80), properties={"name": "left", "area": 7}),
        feature([5.0, 5.0], "Point", properties={"name": "a point"}),
        feature(box(200, 250, 60, 80), properties={"classification": {"name": "Tumour"}}),
        feature([*box(100, 20, 9, 9), *box(9, 300, 30, 30)], "Polygon", id="a12"),
        feature([box(100, 20, 9, 9), box(20, 300, 30, 30)], "MultiPolygon"),
    )
    found = scores().decide("mean", regions=file)
    assert [d.region and (d.region.name, d.region.number) for d in found] == [
        ("left", 0), ("Tumour", 2), ("a12", 3), ("4", 4),
    ]  # fmt: skip
    assert found[0].region is not None
    assert found[0].region.properties == {"name": "left", "area": 7}
    assert found[0].to_dict()["region"] == {"name": "left", "number": 0, "properties": {"name": "left", "area": 7}}
    assert repr(found[0]).startswith("Decision('left': ")
    assert "left" in found[0]._repr_html_()


def star(rng: np.random.Generator, size: tuple[int, int]) -> list[list[list[float]]]:
    """A polygon of some points around a centre, partly outside of the image at times."""
    count = int(rng.integers(3, 9))
    angles, radii = np.sort(rng.uniform(0, 2 * np.pi, count)), rng.uniform(0.5, 90, count)
    y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    return [[*points.tolist(), points[0].tolist()]]


@pytest.mark.parametrize("min_coverage", [0.0, 0.4])
@pytest.mark.parametrize("size", [(300, 400), (7003, 9001)])
def test_the_windows_of_an_annotation_are_those_of_a_mask(
    tmp_path: Path, size: tuple[int, int], min_coverage: float
) -> None:
    rng = np.random.default_rng(1)
    scanned = size[0] // 2, size[1] // 2
    step = scanned[0] // 20, scanned[1] // 33
    place = Placement(step, (2 * step[0] + 3, 3 * step[1]), size, scanned, padding=(5, 0, 3, 4))
    spec = MapSpec((1, *place.shape), "float32", (64, 64), place, classes=(0,))
    factor = size[0] / 300
    shapes = [(np.array(star(rng, (300, 400))) * factor).tolist() for _ in range(12)]
    file = write(tmp_path / "regions.geojson", *map(feature, shapes))
    raster = ArrayRaster(np.broadcast_to(np.uint8(0), (*size, 1)), "image")
    for number, (region, cells, (top, bottom, left, right)) in enumerate(
        map_regions(spec, Where(mask=file, min_coverage=min_coverage))
    ):
        alone = write(tmp_path / "alone.geojson", feature(shapes[region.number]))
        wanted = MaskCells(mask_grid(alone, raster), place, min_coverage).cells(0, 0, *place.shape)
        assert region.number == number
        assert np.array_equal(cells.cells(0, 0, *place.shape), wanted)
        wanted[top:bottom, left:right] = False
        assert not wanted.any()


def test_a_region_is_decided_as_the_map_with_its_windows_alone(tmp_path: Path) -> None:
    whole = scores()
    file = write(tmp_path / "regions.geojson", feature(box(50, 60, 90, 120)), feature(box(0, 0, 300, 400)))
    part, everything = whole.decide("mean", regions=file)
    (_, cells, _), _ = map_regions(whole.map.spec, str(file))
    array = np.where(cells.cells(0, 0, *PLACE.shape), whole.array, np.nan)
    alone = Scores.from_array(array, PLACE)
    assert part.scores.tobytes() == alone.decide("mean").scores.tobytes()
    assert (part.windows, part.effective) == (alone.decide("mean").windows, alone.decide("mean").effective)
    assert everything.scores.tobytes() == whole.decide("mean").scores.tobytes()
    assert everything.windows == np.prod(PLACE.shape)


@pytest.mark.parametrize("how", ["mean", "log-sum-exp", "top-k:3", "quantile:0.5"])
def test_shards_change_no_bit_of_a_region(tmp_path: Path, how: str) -> None:
    file = write(tmp_path / "regions.geojson", feature(box(50, 60, 90, 120)), feature(box(110, 33, 45, 300)))
    array = scores().array
    found = []
    for shard in ((64, 48), (5, 33), (16, 7)):
        path = tmp_path / f"{shard[0]}.zarr"
        stored(path, array, placement=PLACE, shard=shard)
        found.append([d.scores.tobytes() for d in open_scores(path).decide(how, regions=file)])
    assert found[0] == found[1] == found[2] == [d.scores.tobytes() for d in scores().decide(how, regions=file)]


def test_image_coordinates_count_the_finest_level_and_map_coordinates_the_georeference(tmp_path: Path) -> None:
    plain = scores().decide("mean", regions=write(tmp_path / "a.geojson", feature(box(50, 60, 90, 120))))
    finer = write(tmp_path / "b.geojson", feature(box(200, 240, 360, 480)))
    level = scores(replace(PLACE, image=(1200, 1600))).decide("mean", regions=finer)
    at = Georeference("EPSG:32633", (2.0, 0.0, 400_000.0, 0.0, -2.0, 5_400_000.0))
    on_map = [[[400_000 + 2 * x, 5_400_000 - 2 * y] for x, y in ring] for ring in box(50, 60, 90, 120)]
    mapped = scores(georeference=at).decide(
        "mean", regions=Where(mask=write(tmp_path / "c.geojson", feature(on_map)), coordinates="map")
    )
    assert plain[0].scores.tobytes() == level[0].scores.tobytes() == mapped[0].scores.tobytes()


def test_geometries_among_properties_are_left_out(tmp_path: Path) -> None:
    inner = {"type": "Polygon", "coordinates": box(0, 0, 5, 5)}
    file = write(tmp_path / "regions.geojson", feature(box(50, 60, 90, 120), properties={"nucleus": inner, "n": [1]}))
    (found,) = scores().decide("mean", regions=file)
    assert json.loads(json.dumps(found.to_dict()))["region"]["properties"] == {"n": [1]}


def test_labels_have_shares_in_regions(tmp_path: Path) -> None:
    labels = np.zeros((1, *PLACE.shape), np.uint8)
    labels[:, 10:] = 1
    stored(tmp_path / "map.zarr", labels, placement=PLACE, kind="labels", classes=(0, 1))
    file = write(tmp_path / "regions.geojson", feature(box(0, 0, 40, 400)), feature(box(280, 0, 20, 400)))
    top, bottom = open_scores(tmp_path / "map.zarr").decide("mean", regions=file)
    assert top.scores.tolist() == [1, 0]
    assert bottom.scores.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("features", "text"),
    [
        ([], "holds no polygon"),
        ([feature([3.0, 3.0], "Point")], "holds no polygon"),
        ([feature(box(500, 500, 9, 9))], "lie outside the image"),
        (
            [feature(box(9, 9, 9, 9)), feature(box(900, 900, 9, 9), properties={"name": "far"})],
            "region 1, 'far', lies outside the image",
        ),
        ([feature(box(9, 9, 9, 9)) | {"features": [feature(box(9, 9, 9, 9))]}], "features inside of features"),
    ],
)
def test_regions_that_are_none_are_one_clear_error(tmp_path: Path, features: Any, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        scores().decide("mean", regions=write(tmp_path / "regions.geojson", *features))


def test_a_region_without_scores_is_named(tmp_path: Path) -> None:
    array = scores().array.copy()
    array[:, :10] = np.nan
    file = write(tmp_path / "regions.geojson", feature(box(5, 5, 9, 9), properties={"name": "glass"}))
    with pytest.raises(ImageError, match="no window with a score touches region 0, 'glass'"):
        Scores.from_array(array, PLACE).decide("mean", regions=file)


@pytest.mark.parametrize(
    ("regions", "error", "text"),
    [
        (3, ArgumentError, "regions: 3 is no path of a file of polygons"),
        (Where(), ArgumentError, "regions: None is no path"),
        (
            Where(mask="a.geojson", region=":5,:5"),
            ArgumentError,
            "regions: take a mask, its coordinates and a coverage",
        ),
        ("missing.geojson", ImageError, "missing.geojson: there is no such file"),
        ("picture.png", ImageError, "picture.png: is no GeoJSON"),
    ],
)
def test_what_names_no_regions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regions: Any, error: type[Exception], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(error, match=text):
        scores().decide("mean", regions=regions)
