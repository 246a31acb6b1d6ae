"""Coordinates count px of the finest level of the file, whatever level, resolution, scale or region is scanned.

A polygon goes in as a mask and comes out as the outline of the windows scanned, read by other libraries.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import fullfield
from fullfield import Scores, Where
from fullfield.exporters.detections import Detections
from fullfield.importers.load import load
from fullfield.model.model import Model

tifffile = pytest.importorskip("tifffile")
rasterio = pytest.importorskip("rasterio")
geopandas = pytest.importorskip("geopandas")
zarr = pytest.importorskip("zarr")

SIZE = (192, 256)
Edges = tuple[float, float, float, float]  # left, top, right, bottom
POLYGON: Edges = (64, 32, 192, 128)


@dataclass(frozen=True)
class Way:
    """How the image is read.

    Args:
        pick: of ``fullfield.open``.
        scale: of the scan.
        factor: px of the finest level in one px scanned.
    """

    pick: dict[str, Any]
    scale: float
    factor: int


WAYS = {
    "finest": Way({}, 1, 1),
    "level": Way({"level": 1}, 1, 2),
    "mpp of a level": Way({"mpp": 1.0}, 1, 2),
    "mpp between levels": Way({"mpp": 2.0}, 1, 4),
    "scale": Way({}, 0.5, 2),
    "level and scale": Way({"level": 1}, 0.5, 4),
}


@pytest.fixture(scope="module")
def model() -> Model:
    """Means of windows of 4 px."""
    return load(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval(), window=4, channels=3)


@pytest.fixture(params=["slide", "map"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two levels, of 0.5 µm/px; or of 2 m/px on a map. The polygon is brighter than what lies around it."""
    pixels = np.full((*SIZE, 3), 50, np.uint8)
    pixels[32:128, 64:192] = 200
    path = tmp_path / f"{request.param}.tif"
    if request.param == "slide":
        with tifffile.TiffWriter(path) as file:
            options = {"tile": (16, 16), "photometric": "rgb"}
            file.write(pixels, subifds=1, resolution=(20000, 20000), resolutionunit=3, **options)
            file.write(pixels[::2, ::2], subfiletype=1, **options)
    else:
        at = rasterio.Affine(5e-7, 0, 0.5, 0, -5e-7, 0.25)  # so near to 0 that px are exact to a millionth
        profile = {"crs": "EPSG:32633", "transform": at, "tiled": True, "blockxsize": 16, "blockysize": 16}
        with rasterio.open(path, "w", "GTiff", SIZE[1], SIZE[0], 3, dtype="uint8", **profile) as file:
            file.write(np.moveaxis(pixels, 2, 0))
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2])
    return path


def mask_file(path: Path, edges: Edges) -> Path:
    left, top, right, bottom = edges
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return path


def scanned(model: Model, image: Path, way: Way, **where: Any) -> Scores:
    return fullfield.scan(model, fullfield.open(image, **way.pick), step=4, scale=way.scale, where=Where(**where))


def shapes_of(scores: Scores, path: Path, **detections: Any) -> Edges:
    """The outline of what a vector file holds, in px of the image."""
    scores.save(path, classes=[0], detections=Detections(rows="regions", coordinates="image", **detections))
    return tuple(geopandas.read_file(path).total_bounds)  # type: ignore[return-value]


def raster_of(scores: Scores, path: Path) -> Edges:
    """The outline of the valid cells of a GeoTIFF, in px of the image: where ``rasterio`` places them."""
    scores.save(path)
    with rasterio.open(path) as file:
        rows, columns = np.nonzero(file.dataset_mask())
        to_px = file.transform
        if scores.georeference is not None:
            to_px = ~rasterio.Affine(*scores.georeference.transform) @ to_px
    (left, top), (right, bottom) = to_px @ (columns.min(), rows.min()), to_px @ (columns.max() + 1, rows.max() + 1)
    return left, abs(top), right, abs(bottom)


def zarr_of(scores: Scores, path: Path) -> Edges:
    """The same by the scale and translation of OME-Zarr, which counts from pixel centres."""
    scores.save(path)
    group = zarr.open_group(path, mode="r")
    transforms = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    unit = np.array(scores.mpp or (1, 1))
    spacing, first = np.array(transforms[0]["scale"][1:]) / unit, np.array(transforms[1]["translation"][1:]) / unit
    rows, columns = np.nonzero(np.isfinite(group["0"][0]))
    top, left = first + 0.5 - spacing / 2 + spacing * (rows.min(), columns.min())
    bottom, right = first + 0.5 + spacing / 2 + spacing * (rows.max(), columns.max())
    return left, top, right, bottom


def ometiff_of(scores: Scores, path: Path) -> Edges:
    """The same by the positions of OME-TIFF's planes."""
    scores.save(path)
    with tifffile.TiffFile(path) as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        values = file.asarray()[0]
    unit = np.array(scores.mpp or (1, 1))
    spacing = np.array([pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]]) / unit
    first = np.array([pixels["Plane"][0]["PositionY"], pixels["Plane"][0]["PositionX"]]) / unit
    rows, columns = np.nonzero(np.isfinite(values))
    top, left = first + 0.5 - spacing / 2 + spacing * (rows.min(), columns.min())
    bottom, right = first + 0.5 + spacing / 2 + spacing * (rows.max(), columns.max())
    return left, top, right, bottom


def table_of(scores: Scores, path: Path, half: float) -> Edges:
    """The same by the centres of windows in a table."""
    import pandas as pd

    scores.save(path)
    table = pd.read_csv(path)
    return table.x.min() - half, table.y.min() - half, table.x.max() + half, table.y.max() + half


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("region", [None, "32:160,32:224"])
def test_a_polygon_that_goes_in_comes_out_of_every_format(
    model: Model, image: Path, tmp_path: Path, way: Way, region: str | None
) -> None:
    mask = mask_file(tmp_path / "mask.geojson", POLYGON)
    scores = scanned(model, image, way, mask=mask, coordinates="image", region=region)
    for suffix in (".geojson", ".gpkg", ".fgb"):
        np.testing.assert_allclose(shapes_of(scores, tmp_path / f"out{suffix}", threshold=-1.0), POLYGON, atol=1e-6)
    np.testing.assert_allclose(raster_of(scores, tmp_path / "out.tif"), POLYGON, atol=1e-3)
    np.testing.assert_allclose(zarr_of(scores, tmp_path / "out.zarr"), POLYGON, atol=1e-3)
    np.testing.assert_allclose(ometiff_of(scores, tmp_path / "out.ome.tif"), POLYGON, atol=1e-3)
    np.testing.assert_allclose(table_of(scores, tmp_path / "out.csv", 2 * way.factor), POLYGON, atol=1e-6)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_comes_out_goes_in_again(model: Model, image: Path, tmp_path: Path, way: Way) -> None:
    """The polygon is found by its brightness, written, and selects the same windows of a scan of the finest level."""
    found = scanned(model, image, way)
    path = tmp_path / "found.geojson"
    np.testing.assert_allclose(shapes_of(found, path, threshold=150.0), POLYGON, atol=2 * way.factor)
    left, top, right, bottom = shapes_of(found, tmp_path / "again.geojson", threshold=150.0)
    again = scanned(model, image, WAYS["finest"], mask=path, coordinates="image")
    valid = again.valid()
    assert valid.sum() * 16 == (bottom - top) * (right - left)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_points_and_regions_count_px_of_the_finest_level(model: Model, image: Path, way: Way) -> None:
    scores = scanned(model, image, way)
    assert scores.placement.image == SIZE
    assert scores.at(80, 128)[0] == pytest.approx(200, abs=1)
    assert scores.at(16, 32)[0] == pytest.approx(50, abs=1)
    part = scanned(model, image, way, region="64:128,64:128")
    assert part.shape[1:] == (16 // way.factor, 16 // way.factor)
    assert part.at(80, 80)[0] == scores.at(80, 80)[0]
    np.testing.assert_allclose(np.array(scores.mpp or (0.5, 0.5)), (0.5, 0.5), rtol=1e-12)


def test_windows_lie_inside_a_region_whose_edges_are_between_px_read(model: Model, tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    scores = fullfield.scan(model, pixels, step=1, scale=0.5, where=Where(region="7:31,3:29"))
    top, left, bottom, right = (
        *(np.subtract(scores.placement.centre(0, 0), 4)),
        *(np.add(scores.placement.centre(*(n - 1 for n in scores.shape[1:])), 4)),
    )
    assert (top, left, bottom, right) == (8, 4, 30, 28)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_overlay_and_a_picture_mask_span_the_finest_level(
    model: Model, image: Path, tmp_path: Path, way: Way
) -> None:
    mask = np.zeros((SIZE[0] // 4, SIZE[1] // 4), np.uint8)
    mask[8:32, 16:48] = 1
    scores = scanned(model, image, way, mask=mask)
    np.testing.assert_allclose(raster_of(scores, tmp_path / "out.tif"), POLYGON, atol=1e-3)
    for shown in (fullfield.open(image), fullfield.open(image, **way.pick)):  # over any level of it
        assert scores.overlay(shown, cls=0, legend=False).width == shown.shape[1]


def test_the_legend_of_a_picture_of_labels_says_where_it_lies(model: Model, image: Path, tmp_path: Path) -> None:
    scores = scanned(model, image, WAYS["mpp between levels"], region="32:192,64:256")
    scores.save(tmp_path / "out.png", labels=True)
    legend = json.loads((tmp_path / "out.legend.json").read_text())
    assert legend["origin"] == [32, 64]
    assert legend["spacing"] == [16, 16]


def test_a_plain_tiff_lies_over_its_picture_where_qgis_shows_one(model: Model, tmp_path: Path) -> None:
    """QGIS shows a picture without a place from (0, 0) down to y = -height."""
    scores = fullfield.scan(model, np.zeros((64, 96, 3), np.uint8), step=4)
    scores.save(tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert tuple(file.bounds) == (0, -64, 96, 0)
        assert file.transform.e < 0


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_raster_that_comes_out_selects_the_same_windows_again(
    model: Model, image: Path, tmp_path: Path, way: Way
) -> None:
    """Also where it covers a part of the image only, and has no coordinate system."""
    mask = mask_file(tmp_path / "mask.geojson", POLYGON)
    scores = scanned(model, image, way, mask=mask, coordinates="image", region="32:160,32:224")
    scores.save(tmp_path / "out.tif")
    again = scanned(model, image, way, mask=tmp_path / "out.tif")
    np.testing.assert_allclose(raster_of(again, tmp_path / "again_too.tif"), POLYGON, atol=1e-3)
