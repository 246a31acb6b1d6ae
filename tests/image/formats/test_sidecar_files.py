"""Files beside an image, read without GDAL: each place is the one that rasterio finds."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from pyproj import CRS

from fullfield.image.formats.sidecar_files import read_sidecars
from fullfield.image.place import projected_unit

PIXELS = np.random.default_rng(0).integers(1, 255, (64, 96, 3), dtype=np.uint8)
TURNED = "0.25\n0.04\n-0.03\n-0.2\n500000.125\n3999999.9\n"
BANDS = "".join(f'<PAMRasterBand band="{b}"><NoDataValue>7</NoDataValue></PAMRasterBand>' for b in (1, 2, 3))
PLACE = "<SRS>{}</SRS><GeoTransform>500000,2,0.5,4000000,0.25,-2</GeoTransform>"
WITHOUT = """
import sys, json
sys.modules["rasterio"] = None
import fullfield
found = {}
for path in sys.argv[1:]:
    metadata = fullfield.open(path).metadata
    at = metadata.georeference
    found[path] = {
        "transform": at and at.transform, "crs": at and at.crs, "mpp": metadata.mpp, "nodata": metadata.nodata,
        "reader": metadata.reader, "points": metadata.origin.points,
    }
assert "rasterio.crs" not in sys.modules
print(json.dumps(found))
"""


def picture(path: Path, world: str | None = None, pam: str | None = None, beside: str = "") -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, PIXELS, photometric="rgb")
    else:
        Image.fromarray(PIXELS).save(path)
    if world is not None:
        path.with_suffix(beside).write_text(world)
    if pam is not None:
        Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{pam}</PAMDataset>")
    return path


def without_rasterio(*paths: Path) -> dict[str, Any]:
    """What fullfield says of images where rasterio cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, paths)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_without_rasterio_images_lie_where_rasterio_places_them(tmp_path: Path) -> None:
    wkt = CRS("EPSG:32633").to_wkt("WKT1_GDAL")
    pam = PLACE.format(wkt.replace("&", "&amp;").replace('"', "&quot;")) + BANDS
    paths = [
        picture(tmp_path / "a.tif", TURNED, beside=".tfw"),
        picture(tmp_path / "b.jpg", TURNED, beside=".jgw"),
        picture(tmp_path / "c.png", TURNED, beside=".wld"),
        picture(tmp_path / "d.tif", pam=pam),
        picture(tmp_path / "e.png", TURNED, pam, beside=".pgw"),
        picture(tmp_path / "g.jpg", TURNED, pam, beside=".jgw"),
        picture(tmp_path / "f.png", TURNED, "<SRS>EPSG:25832</SRS>", beside=".pgw"),
    ]
    found = without_rasterio(*paths)
    for path in paths:
        here = found[str(path)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path) as file:
                assert here["transform"] == pytest.approx(tuple(file.transform)[:6], rel=1e-12), path
                assert (here["crs"] is None) == (file.crs is None)
                assert file.crs is None or CRS(here["crs"]) == CRS(file.crs)
                assert here["nodata"] == file.nodata
                assert (here["mpp"] is None) == (file.crs is None)
        assert "placed by" in here["reader"]
    assert found[str(paths[3])]["mpp"] == pytest.approx([np.hypot(0.5, 2) * 1e6, np.hypot(2, 0.25) * 1e6])


def test_control_points_beside_an_image_are_those_of_gdal(tmp_path: Path) -> None:
    points = "".join(f'<GCP Id="{k}" Pixel="{k}" Line="{2 * k}" X="{10 + k}" Y="{50 - k}"/>' for k in range(3))
    path = picture(tmp_path / "a.png", pam=f'<GCPList Projection="EPSG:4326">{points}</GCPList>')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as file:
            expected = [[p.row, p.col, p.x, p.y, p.z or 0.0] for p in file.gcps[0]]
    assert without_rasterio(path)[str(path)]["points"] == expected


@pytest.mark.parametrize(
    ("world", "pam", "text"),
    [
        ("one two three four five six", None, "a.pgw is not used: it holds no six numbers: 'one two three four five"),
        ("1\n0\n0\n0\n5\n5\n", None, "a.pgw is not used: it gives pixels without an area"),
        ("1\n0\n0\n", None, "a.pgw is not used: it holds no six numbers: '1 0 0'"),
        (None, "<!ENTITY a 'b'>", "a.png.aux.xml is not used: it has comments or declarations"),
        (None, "<SRS>", "a.png.aux.xml is not used: it cannot be read: mismatched tag"),
        (None, "<GeoTransform>a,b</GeoTransform>", "a.png.aux.xml is not used: it cannot be read: could not convert"),
    ],
)
def test_damaged_files_beside_an_image_are_left_out_by_name(
    world: str | None, pam: str | None, text: str, tmp_path: Path
) -> None:
    found = read_sidecars(str(picture(tmp_path / "a.png", world, pam, beside=".pgw")))
    assert found.georeference is None
    assert found.notes[0].startswith(text)


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:32633", 1), ("EPSG:2263", 0.3048006096), ("EPSG:4326", None)])
def test_the_unit_of_a_map_is_that_of_pyproj(crs: str, metres: float | None) -> None:
    for text in (crs, CRS(crs).to_wkt("WKT1_GDAL"), CRS(crs).to_wkt("WKT1_ESRI"), CRS(crs).to_wkt()):
        found = projected_unit(text)
        assert found is None if metres is None else found == pytest.approx(metres, rel=1e-9)
