"""Where other programs see an image is carried to its results: bounds of slides, translations, stages."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from torch import nn

import fullfield
from fullfield import Where
from fullfield.cli import main
from fullfield.exporters.detections import Detections
from fullfield.image.raster import ArrayRaster, ImageMetadata, Origin
from fullfield.importers.load import load
from fullfield.model.model import Model
from fullfield.store.record import from_record, to_record
from tests.image.formats.mirax import write_mirax

tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")
rasterio = pytest.importorskip("rasterio")

PIXELS = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval(), window=4, channels=3)


def ome_zarr(path: Path, unit: str | None, *, outer: bool = False) -> Path:
    """Two levels, 0.5 and 1 apart, whose first pixels' centres lie at (100, 200) and (100.25, 200.25)."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    datasets = []
    for level, (scale, at) in enumerate(((0.5, (100.0, 200.0)), (1.0, (100.25, 200.25)))):
        part = PIXELS[:: 2**level, :: 2**level].transpose(2, 0, 1)
        array = group.create_array(str(level), shape=part.shape, chunks=(3, 32, 32), dtype="uint8")
        array[:] = part
        steps = [{"type": "scale", "scale": [1.0, scale, scale]}, {"type": "translation", "translation": [0.0, *at]}]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    space = {} if unit is None else {"unit": unit}
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", **space} for n in "yx")]
    whole: dict[str, Any] = {"axes": axes, "datasets": datasets}
    if outer:
        whole["coordinateTransformations"] = [{"type": "scale", "scale": [1.0, 2.0, 2.0]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [whole]}
    return path


@pytest.mark.parametrize(("unit", "scale"), [("micrometer", 1.0), ("nanometer", 1e-3), (None, 1.0)])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("outer", [False, True])
def test_a_map_of_an_ome_zarr_lies_over_it(
    model: Model, tmp_path: Path, unit: str | None, scale: float, level: int, outer: bool
) -> None:
    """The centre of the first window, 2 px from the corner of the level, in the coordinates of the image."""
    path = ome_zarr(tmp_path / "a.zarr", unit, outer=outer)
    fullfield.scan(model, fullfield.open(path, level=level), step=4).save(tmp_path / "map.zarr")
    found = zarr.open_group(tmp_path / "map.zarr", mode="r").attrs["ome"]["multiscales"][0]
    steps = found["datasets"][0]["coordinateTransformations"]
    times, apart = 2.0 if outer else 1.0, 0.5 * 2**level
    first = np.array([100.0, 200.0]) - 0.25 + 2 * apart  # of the corner, and the window's centre
    np.testing.assert_allclose(steps[1]["translation"][1:], first * times * scale, rtol=1e-12)
    np.testing.assert_allclose(steps[0]["scale"][1:], 4 * apart * times * scale, rtol=1e-12)
    assert found["axes"][1].get("unit") == (None if unit is None else "micrometer")


def test_a_map_of_an_ome_tiff_lies_where_the_stage_stood(model: Model, tmp_path: Path) -> None:
    metadata = {
        "axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
        "Plane": {"PositionX": [2.0], "PositionXUnit": ["mm"], "PositionY": [3.0], "PositionYUnit": ["mm"]},
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, photometric="rgb", metadata=metadata)
    scores = fullfield.scan(model, tmp_path / "a.ome.tif", step=4)
    scores.save(tmp_path / "map.ome.tif")
    with tifffile.TiffFile(tmp_path / "map.ome.tif") as file:
        plane = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]["Plane"][0]
    assert (plane["PositionX"], plane["PositionY"]) == pytest.approx((2000 + 1.5 * 0.5, 3000 + 1.5 * 0.5))
    assert fullfield.info(tmp_path / "a.ome.tif").facts["origin"] == "the first pixel lies at y 3000, x 2000"


def bounded(corner: tuple[float, float]) -> ArrayRaster:
    """A slide whose scanned part begins at a pixel, as OpenSlide names it."""
    return ArrayRaster(PIXELS, "slide", ImageMetadata({}, (64, 64), origin=Origin(corner)))


def test_qupath_counts_from_the_corner_of_the_scanned_part(model: Model, tmp_path: Path) -> None:
    """Annotations of QuPath select the windows that they show there, and objects lie there where they were found."""
    ring = [[8, 4], [40, 4], [40, 28], [8, 28], [8, 4]]
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    where = Where(mask=tmp_path / "roi.geojson")
    scores = fullfield.scan(model, bounded((16, 24)), step=4, where=where)
    rows, columns = np.nonzero(scores.valid())
    assert (4 * rows.min(), 4 * rows.max() + 4, 4 * columns.min(), 4 * columns.max() + 4) == (20, 44, 32, 64)
    shown = Detections(threshold=-1.0, rows="regions")
    scores.save(tmp_path / "out.geojson", classes=[0], detections=shown)
    out = np.array(json.loads((tmp_path / "out.geojson").read_text())["features"][0]["geometry"]["coordinates"][0])
    assert (*out.min(axis=0), *out.max(axis=0)) == (8, 4, 40, 28)
    scores.save(tmp_path / "kept.zarr")
    again = fullfield.open_scores(tmp_path / "kept.zarr")
    assert again.map.spec.origin == Origin((16, 24))
    again.save(tmp_path / "again.geojson", classes=[0], detections=shown)
    assert (
        json.loads((tmp_path / "again.geojson").read_text())["features"]
        == json.loads((tmp_path / "out.geojson").read_text())["features"]
    )
    assert scores.decide("mean", regions=tmp_path / "roi.geojson")[0].windows == scores.valid().sum()


@pytest.mark.parametrize("rows", ["windows", "points"])
@pytest.mark.parametrize("suffix", [".geojson", ".fgb"])
def test_points_and_windows_of_files_for_qupath_count_from_its_corner(
    model: Model, tmp_path: Path, rows: Any, suffix: str
) -> None:
    geopandas = pytest.importorskip("geopandas")
    scores = fullfield.scan(model, bounded((16, 24)), step=4, where=Where(region="20:28,32:44"))
    path = tmp_path / f"out{suffix}"
    scores.save(path, classes=[0], detections=Detections(threshold=-1.0, rows=rows))
    low = geopandas.read_file(path).total_bounds
    half = 2 if rows == "points" else 0  # of a cell, whose centre is the point
    assert tuple(low) == (8 + half, 4 + half, 20 - half, 12 - half)


def test_tables_points_in_python_and_cells_count_from_the_first_pixel(model: Model, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    scores = fullfield.scan(model, bounded((16, 24)), step=4, where=Where(region="20:28,32:44"))
    scores.save(tmp_path / "out.csv", classes=[0])
    table = pandas.read_csv(tmp_path / "out.csv")
    assert (table["y"].min(), table["x"].min()) == (22, 34)
    np.testing.assert_array_equal(scores.at(22, 34), scores[:, 0, 0])
    frame = scores.to_frame()
    assert (frame["y"].min(), frame["x"].min()) == (22, 34)


def test_labels_that_are_points_of_qupath_count_from_its_corner_and_those_of_tables_do_not(
    model: Model, tmp_path: Path
) -> None:
    scores = fullfield.scan(model, bounded((16, 24)), step=4, where=Where(region="20:28,32:44"))
    top = int(scores.top()[1, 2])
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [18, 10]}, "properties": {"class": "a"}}
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    (tmp_path / "a.csv").write_text("y,x,class\n26,42,a\n")
    for name in ("a.geojson", "a.csv"):
        labels = fullfield.Labels(tmp_path / name, rename={"a": top})
        found = fullfield.evaluate(scores, labels)
        assert found.accuracy == 1.0
        assert found.samples == 1


def scene(path: Path, **place: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        gcps = place.pop("gcps", None)
        with rasterio.open(
            path, "w", "GTiff", 96, 64, 3, dtype="uint8", tiled=True, blockxsize=16, blockysize=16
        ) as file:
            file.write(PIXELS.transpose(2, 0, 1))
            if gcps is not None:
                file.gcps = gcps
            for name, value in place.items():
                setattr(file, name, value)
    return path


@pytest.mark.parametrize("cog", [True, False])
@pytest.mark.parametrize("pick", [{}, {"level": 1}])
def test_control_points_are_kept_in_cells_of_the_map(
    model: Model, tmp_path: Path, cog: bool, pick: dict[str, int]
) -> None:
    point = rasterio.control.GroundControlPoint
    system = rasterio.crs.CRS.from_user_input("EPSG:4326")
    points = [point(0, 0, 10, 50, 1), point(0, 96, 11, 50, 2), point(64, 0, 10, 49, 0), point(60, 92, 11, 49, 0)]
    path = scene(tmp_path / "a.tif", gcps=(points, system))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    assert fullfield.info(path).facts["origin"] == "4 control points"
    scores = fullfield.scan(model, fullfield.open(path, **pick), step=4, where=Where(region="16:,24:"))
    scores.save(tmp_path / "map.tif", cog=cog)
    side = 8 if pick else 4
    with rasterio.open(tmp_path / "map.tif") as file:
        kept, kept_crs = file.gcps
        assert [(p.x, p.y, p.z) for p in kept] == [(p.x, p.y, p.z) for p in points]
        cells = [((p.row - 16) / side, (p.col - 24) / side) for p in points]
        np.testing.assert_allclose([(p.row, p.col) for p in kept], cells, atol=1e-9)
        assert kept_crs == system


def test_control_points_without_a_coordinate_system_are_told(tmp_path: Path) -> None:
    points = [(0, 0, 0, 10, 50, 0), (96, 0, 0, 11, 50, 0), (0, 64, 0, 10, 49, 0)]
    tags = [(33922, "d", 18, tuple(float(n) for point in points for n in point), True)]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", extratags=tags)
    assert fullfield.info(tmp_path / "a.tif").facts["origin"] == "3 control points, in an unknown coordinate system"


def test_a_sensor_model_is_said_to_be_dropped(tmp_path: Path) -> None:
    rpc = rasterio.rpc.RPC(
        height_off=0, height_scale=1, lat_off=0, lat_scale=1, line_den_coeff=[1.0] * 20, line_num_coeff=[1.0] * 20,
        line_off=0, line_scale=1, long_off=0, long_scale=1, samp_den_coeff=[1.0] * 20, samp_num_coeff=[1.0] * 20,
        samp_off=0, samp_scale=1,
    )  # fmt: skip
    assert "sensor model (RPC), which is dropped" in fullfield.open(scene(tmp_path / "a.tif", rpcs=rpc)).metadata.reader


def test_a_place_inside_a_file_wins_over_a_world_file_and_that_is_said(tmp_path: Path) -> None:
    at = rasterio.Affine(2, 0, 5e5, 0, -2, 4e6)
    path = scene(tmp_path / "a.tif", transform=at, crs="EPSG:32633")
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n0.5\n0.5\n")
    metadata = fullfield.open(path).metadata
    assert metadata.georeference is not None
    assert metadata.georeference.transform == (2, 0, 5e5, 0, -2, 4e6)
    assert "a.tfw is not used: the file has a place of its own" in metadata.reader


@pytest.mark.parametrize("pick", [{}, {"level": 1}, {"mpp": 1.0}])
def test_the_corner_of_a_mirax_slide_is_openslide_s(model: Model, tmp_path: Path, pick: dict[str, float]) -> None:
    openslide = pytest.importorskip("openslide")
    pixels = np.random.default_rng(0).integers(0, 255, (512, 768, 3), dtype=np.uint8)
    missing = {(i, j) for i in range(8) for j in range(12) if i < 2 or j < 3}
    path = write_mirax(tmp_path / "a.mrxs", pixels, missing=missing, moved=lambda i, j: (64 * i, 64 * j))
    properties = openslide.OpenSlide(str(path)).properties
    top, left = (int(properties[f"openslide.bounds-{axis}"]) for axis in "yx")
    assert (top, left) == (128, 192)
    assert fullfield.info(path).facts["origin"] == "QuPath counts from y 128, x 192 px"
    ring = [[64, 32], [256, 32], [256, 160], [64, 160], [64, 32]]
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    scores = fullfield.scan(model, fullfield.open(path, **pick), step=4, where=Where(mask=tmp_path / "roi.geojson"))
    rows, columns = np.nonzero(scores.valid())
    centres = [scores.placement.centre(rows[k], columns[k]) for k in (0, -1)]
    half = scores.placement.spacing[0] / 2
    found = (*np.subtract(centres[0], half), *np.add(centres[1], half))
    assert found == pytest.approx((top + 32, left + 64, top + 160, left + 256))
    scores.save(tmp_path / "out.geojson", classes=[0], detections=Detections(threshold=-1.0, rows="regions"))
    out = np.array(json.loads((tmp_path / "out.geojson").read_text())["features"][0]["geometry"]["coordinates"][0])
    np.testing.assert_allclose([*out.min(axis=0), *out.max(axis=0)], [64, 32, 256, 160], atol=1e-9)


def test_results_without_an_origin_are_read_as_before(model: Model, tmp_path: Path) -> None:
    spec = fullfield.scan(model, PIXELS, step=4).map.spec
    record = to_record(replace(spec, origin=Origin((1, 2), (3, 4), (5, 6))), certificate=None, complete=True)
    assert from_record(record, "a").origin == Origin((1, 2), (3, 4), (5, 6))
    del record["origin"]
    assert from_record(record, "a").origin == Origin()


@pytest.mark.parametrize(
    ("world", "text"),
    [
        (None, "EPSG:32633, by geotags"),
        ("1\n0\n0\n-1\n0.5\n0.5\n", "EPSG:32633, by geotags, not by a.tfw"),
    ],
)
def test_info_and_provenance_say_that_geotags_place_an_image(
    model: Model, tmp_path: Path, world: str | None, text: str
) -> None:
    path = scene(tmp_path / "a.tif", transform=rasterio.Affine(2, 0, 5e5, 0, -2, 4e6), crs="EPSG:32633")
    if world is not None:
        (tmp_path / "a.tfw").write_text(world)
    assert fullfield.info(path).facts["place"] == text
    assert fullfield.scan(model, path, step=16).provenance["place"] == text


def test_info_names_the_file_beside_an_image_that_places_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb")
    assert fullfield.info(tmp_path / "a.tif").facts["place"] is None
    (tmp_path / "a.tfw").write_text("2\n0\n0\n-2\n500001\n3999999\n")
    assert fullfield.info(tmp_path / "a.tif").facts["place"] == "no coordinate system, by a.tfw"
    place = "<SRS>EPSG:32633</SRS><GeoTransform>500000,2,0,4000000,0,-2</GeoTransform>"
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{place}</PAMDataset>")
    assert fullfield.info(tmp_path / "a.tif").facts["place"] == "EPSG:32633, by a.tif.aux.xml, not by a.tfw"


def test_info_and_the_summary_of_a_scan_say_that_points_are_kept_and_a_sensor_model_is_not(tmp_path: Path) -> None:
    points = [(0, 0, 0, 10, 50, 0), (96, 0, 0, 11, 50, 0), (0, 64, 0, 10, 49, 0)]
    tags = [(33922, "d", 18, tuple(float(n) for point in points for n in point), True)]
    tifffile.imwrite(tmp_path / "points.tif", PIXELS, photometric="rgb", extratags=tags)
    numbers = [0.0] * 5 + [1.0] * 5 + [1.0] * 80
    tags = [(50844, "d", 92, (0.0, 0.0, *numbers), True)]
    tifffile.imwrite(tmp_path / "rpc.tif", PIXELS, photometric="rgb", extratags=tags)
    told = {
        "points.tif": "3 control points in an unknown coordinate system, which a GeoTIFF of the scores keeps",
        "rpc.tif": "a sensor model (RPC), which is dropped",
    }
    for name, text in told.items():
        assert fullfield.info(tmp_path / name).facts["place"] == text
        network = str(files("fullfield") / "data" / "rnet.onnx")
        done = CliRunner().invoke(main, ["scan", network, str(tmp_path / name), "--step", "16"])
        assert f"place    {text}\n" in done.output, done.output
