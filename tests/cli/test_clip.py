"""``fullfield scan --clip``: the objects that are written end where the mask does."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from shapely import Polygon, box

import fullfield
from fullfield import Where
from fullfield.cli import main
from fullfield.errors import GeometryError

MODEL = Path(fullfield.__file__).parent / "data" / "rnet.onnx"
SIDE = 128
AT = rasterio.Affine(2, 0, 5e5, 0, -2, 4e6)
AREA = Polygon([(33, 17), (101, 30), (90, 111), (20, 95)], [box(50, 45, 70, 66).exterior.coords])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["scan", str(MODEL), *map(str, arguments)], prog_name="fullfield")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A georeferenced image, and a polygon with a hole in its px."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE)).astype(np.uint8)
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32633", transform=AT, height=SIDE, width=SIDE, count=3, dtype="uint8"
    ) as file:
        file.write(pixels)
    mask = {"type": "Feature", "properties": {}, "geometry": AREA.__geo_interface__}
    (tmp_path / "mask.geojson").write_text(json.dumps(mask))
    return path


def on_map(polygon: Polygon) -> Polygon:
    rings = [[AT @ point for point in ring.coords] for ring in (polygon.exterior, *polygon.interiors)]
    return Polygon(rings[0], rings[1:])


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_no_area_of_what_is_written_lies_outside_the_mask(scene: Path, suffix: str) -> None:
    mask, whole = scene.with_name("mask.geojson"), on_map(AREA)
    given = (scene, "--mask", mask, "--step", 8)
    assert run(*given, "-o", scene.with_name(f"whole{suffix}")).exit_code == 0
    assert run(*given, "--clip", "-o", scene.with_name(f"cut{suffix}")).exit_code == 0
    uncut, cut = (geopandas.read_file(scene.with_name(f"{name}{suffix}")) for name in ("whole", "cut"))
    reach = uncut.union_all()
    assert reach.difference(whole).area > 0.2 * whole.area
    inside = cut.union_all()
    assert inside.difference(whole.buffer(1e-6)).area == pytest.approx(0, abs=1e-6)
    assert inside.area == pytest.approx(reach.intersection(whole).area, rel=1e-9)


@pytest.mark.parametrize(
    ("mask", "output", "text"),
    [
        ("mask.geojson", "map.tif", "clip: cuts objects, and .*map.tif holds none"),
        ("mask.geojson", "map.zarr", "clip: cuts objects, and .*map.zarr holds none"),
        ("mask.geojson", None, "clip: cuts objects, and no file is written"),
        (None, "map.gpkg", "clip: cuts objects to the polygons of the mask, and no mask is given"),
        ("scene.tif", "map.gpkg", "clip: cuts objects to the polygons of the mask, and this mask has none"),
    ],
)
def test_what_cannot_be_cut_is_one_error_before_the_scan(
    scene: Path, mask: str | None, output: str | None, text: str
) -> None:
    where = Where(mask=None if mask is None else scene.with_name(mask), clip=True)
    place = None if output is None else scene.with_name(output)
    with pytest.raises(GeometryError, match=text):
        fullfield.scan(MODEL, scene, step=8, where=where, output=place)
    assert not list(scene.parent.glob("map*"))
