"""A polygon in, the same polygon out: through every vector format, image format, level, resolution and region.

The polygon is concave, with a hole, and goes in as a mask. What a scan writes, cut to it, is read by geopandas and must
be the polygon again, in the coordinates of the file.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from shapely import Polygon, affinity, box
from torch import nn

import fullfield
from fullfield import Where
from fullfield.importers.load import load
from fullfield.model.model import Model

SIZE = (160, 224)
POLYGON = Polygon([(40, 24), (180, 40), (120, 72), (196, 136), (56, 120)], [box(90, 84, 118, 104).exterior.coords])
REGION = box(16, 16, 208, 144)  # px that hold all of it
AT = rasterio.Affine(2, 0.5, 5e5, -0.5, -2, 4e6)
WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "finest": ({}, 1),
    "level": ({"level": 1}, 1),
    "resolution": ({"mpp": 4.0, "pixel_size": 1.0}, 1),
    "scale": ({}, 0.5),
}
KINDS = ("map", "slide", "zarr", "world", "plain")
PLACED = ("map", "world")  # on a map; the others count px
LEVELS = ("map", "slide", "zarr")


@pytest.fixture(scope="module")
def model() -> Model:
    """Means of windows of 4 px."""
    return load(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval(), window=4, channels=3)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same picture as a GeoTIFF, a pyramid of TIFF, an OME-Zarr, a PNG with a world file, and a PNG."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    planes = np.moveaxis(pixels, 2, 0)
    profile = {"crs": "EPSG:32633", "transform": AT, "tiled": True, "blockxsize": 16, "blockysize": 16}
    with rasterio.open(folder / "map.tif", "w", "GTiff", SIZE[1], SIZE[0], 3, dtype="uint8", **profile) as file:
        file.write(planes)
    with rasterio.open(folder / "map.tif", "r+") as file:
        file.build_overviews([2])
    with tifffile.TiffWriter(folder / "slide.tif") as file:
        file.write(pixels, subifds=1, tile=(16, 16), photometric="rgb")
        file.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16), photometric="rgb")
    group = zarr.open_group(folder / "zarr.zarr", mode="w", zarr_format=2)
    for level in (0, 1):
        group.create_array(str(level), data=planes[:, :: 2**level, :: 2**level], chunks=(3, 32, 32))
    scales = [[{"type": "scale", "scale": [1.0, factor, factor]}] for factor in (1.0, 2.0)]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": name, "type": "channel" if name == "c" else "space"} for name in "cyx"],
            "datasets": [{"path": str(k), "coordinateTransformations": each} for k, each in enumerate(scales)],
        }
    ]
    for name in ("world", "plain"):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    centre = AT @ (0.5, 0.5)
    (folder / "world.pgw").write_text("\n".join(repr(float(n)) for n in (AT.a, AT.d, AT.b, AT.e, *centre)))
    names = {"map": "map.tif", "slide": "slide.tif", "zarr": "zarr.zarr", "world": "world.png", "plain": "plain.png"}
    return {kind: folder / name for kind, name in names.items()}


def on_map(polygon: Polygon) -> Polygon:
    return affinity.affine_transform(polygon, [AT.a, AT.b, AT.d, AT.e, AT.c, AT.f])


def vector_file(path: Path, polygon: Polygon, crs: str | None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that expect a coordinate system
        geopandas.GeoDataFrame({"name": ["area"]}, geometry=[polygon], crs=crs).to_file(path)
    return path


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from(KINDS),
    way=st.sampled_from(sorted(WAYS)),
    taken=st.sampled_from([".geojson", ".gpkg", ".fgb", ".shp"]),
    given_as=st.sampled_from([".geojson", ".gpkg", ".fgb"]),
    region=st.sampled_from([None, "16:144,16:208"]),
)
def test_a_polygon_that_goes_in_comes_out_the_same(
    model: Model,
    images: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    way: str,
    taken: str,
    given_as: str,
    region: str | None,
) -> None:
    folder = tmp_path_factory.mktemp("polygon")
    pick, scale = WAYS["finest" if way == "level" and kind not in LEVELS else way]
    crs = "EPSG:32633" if kind == "map" else None
    known = on_map(POLYGON) if kind in PLACED else POLYGON
    mask = vector_file(folder / f"mask{taken}", known, crs)
    coordinates = "map" if kind in PLACED else "image"
    where = Where(mask=mask, coordinates=coordinates, region=region, clip=True)
    image, output = fullfield.open(images[kind], **pick), folder / f"out{given_as}"
    fullfield.scan(model, image, step=4, scale=scale, where=where, output=output)
    found = geopandas.read_file(output)
    assert kind != "map" or found.crs == "EPSG:32633"
    difference = found.union_all().symmetric_difference(known)
    assert difference.area == pytest.approx(0, abs=1e-6 * known.area)
