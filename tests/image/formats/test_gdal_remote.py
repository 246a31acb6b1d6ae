"""GeoTIFFs at URLs: read by ranges, georeferenced; a server's faults are one clear error."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rasterio

import fullfield
from fullfield.errors import ImageError
from tests.image.serving import fetched, serving

SIDE = 1024
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
PLACE = {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 400_000, 0, -2, 5_800_000)}
LAYOUTS = {
    "cog": {"driver": "COG", "blocksize": 256, "compress": "deflate"},
    "tiles": {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256},
}

Served = tuple[str, Path, subprocess.Popen[str]]


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    count, height, width = pixels.shape
    options = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256} | options
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype="uint8", **PLACE, **options) as file:
        file.write(pixels)
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scenes")
    return {name: write(folder / f"{name}.tif", PIXELS, **options) for name, options in LAYOUTS.items()}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as (address, process):
        yield address, tmp_path, process


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_address_gives_the_pixels_and_the_place_of_the_file(
    served: Served, scenes: dict[str, Path], layout: str
) -> None:
    address, folder, _ = served
    (folder / "scene.tif").symlink_to(scenes[layout])
    here = fullfield.open(scenes[layout])
    for level in range(len(here.metadata.levels)):
        far, near = (fullfield.open(at, level=level) for at in (f"{address}/ranges/scene.tif", scenes[layout]))
        height, width, _ = near.shape
        np.testing.assert_array_equal(far.read(0, height, 0, width), near.read(0, height, 0, width))
        for name in ("georeference", "mpp", "levels", "tile", "reader"):
            assert getattr(far.metadata, name) == getattr(near.metadata, name)
    assert here.metadata.georeference is not None
    assert here.metadata.georeference.on_map(0, 0) == (400_000, 5_800_000)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_a_large_file_one_window_is_fetched(served: Served, scenes: dict[str, Path], layout: str) -> None:
    address, folder, _ = served
    (folder / "scene.tif").symlink_to(scenes[layout])
    raster = fullfield.open(f"{address}/ranges/scene.tif")
    np.testing.assert_array_equal(raster.read(300, 400, 300, 400), PIXELS[:, 300:400, 300:400].transpose(1, 2, 0))
    assert fetched(folder) < 400_000 < 3_000_000 < scenes[layout].stat().st_size  # a tile takes 196,608 bytes


@pytest.mark.parametrize(
    ("address_of", "text"),
    [
        ("ranges/none.tif", "there is no such file\n  fix: check the path"),
        ("denied/scene.tif", r"cannot be opened \(403, message='Forbidden'"),
        ("whole/scene.tif", "the server does not support range requests, which GDAL needs\n  fix: download the file"),
        ("cut/scene.tif", "y 0:9, x 0:9 cannot be read: (.|\n)*fix: try again, the server may be unreachable"),
        ("stalled/scene.tif", "y 0:9, x 0:9 cannot be read: (.|\n)*fix: try again, the server may be unreachable"),
    ],
)
def test_what_a_server_does_wrong_is_one_clear_error(
    served: Served, scenes: dict[str, Path], monkeypatch: pytest.MonkeyPatch, address_of: str, text: str
) -> None:
    if address_of.startswith("stalled"):
        monkeypatch.setattr("fullfield.image.network.STALLED_S", 1)
    address, folder, _ = served
    (folder / "scene.tif").symlink_to(scenes["tiles"])
    with pytest.raises(ImageError, match=f"{address}/{address_of}: {text}"):
        fullfield.open(f"{address}/{address_of}").read(0, 9, 0, 9)


def test_a_server_that_becomes_unreachable_is_one_clear_error(served: Served, scenes: dict[str, Path]) -> None:
    address, folder, process = served
    (folder / "scene.tif").symlink_to(scenes["tiles"])
    raster = fullfield.open(f"{address}/ranges/scene.tif")
    raster.read(0, 9, 0, 9)
    process.kill()
    process.wait()
    with pytest.raises(ImageError, match=r"y 700:709, x 700:709 cannot be read: (.|\n)*the server may be unreachable"):
        raster.read(700, 709, 700, 709)
    with pytest.raises(ImageError, match=r"cannot be opened .*Cannot connect to host"):
        fullfield.open(f"{address}/ranges/scene.tif")


def test_a_file_changed_behind_an_address_is_read_anew_and_has_another_identity(served: Served) -> None:
    address, folder, _ = served
    found = []
    for value in (3, 8):
        write(folder / "scene.tif", np.full((1, 64, 64), value, np.uint8))
        raster = fullfield.open(f"{address}/ranges/scene.tif")
        assert (raster.read(0, 64, 0, 64) == value).all()
        raster.close()
        found.append(raster.metadata.identity)
    assert fullfield.open(f"{address}/ranges/scene.tif").metadata.identity == found[1] != found[0]


def test_behind_an_address_no_file_of_this_machine_is_read(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    address, folder, _ = served
    secret = write(tmp_path_factory.mktemp("home") / "secret.tif", np.full((1, 64, 64), 7, np.uint8))
    (folder / "a.vrt").write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for trust in (False, True):
        with pytest.raises(ImageError, match="is a VRT behind an address: the files that it names are not read"):
            fullfield.open(f"{address}/ranges/a.vrt", trust=trust)
    with rasterio.open(write(folder / "a.tif", np.zeros((1, 64, 64), np.uint8)), "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
    with pytest.raises(ImageError, match=rf"names {secret}, which is not a file in /vsicurl/{address}/ranges or below"):
        fullfield.open(f"{address}/ranges/a.tif")


def test_jpeg_2000_behind_an_address_keeps_its_place(served: Served) -> None:
    address, folder, _ = served
    write(folder / "a.jp2", PIXELS[:, :256, :256], driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    raster = fullfield.open(f"{address}/ranges/a.jp2")
    assert raster.metadata.georeference == fullfield.open(folder / "a.jp2").metadata.georeference
    np.testing.assert_array_equal(raster.read(0, 256, 0, 256), PIXELS[:, :256, :256].transpose(1, 2, 0))


def test_an_address_that_gdal_does_not_know_says_that_the_place_is_lost(scenes: dict[str, Path]) -> None:
    fsspec.filesystem("memory").pipe_file("/scenes/a.tif", scenes["tiles"].read_bytes())
    metadata = fullfield.open("memory://scenes/a.tif").metadata
    assert metadata.reader == "tifffile (without georeference: download the file)"
    fsspec.filesystem("memory").rm("/scenes", recursive=True)
