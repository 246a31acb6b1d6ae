"""``--stack``: several files as one image, in every command that reads an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from pyproj import CRS

import fullfield
from fullfield.cli import main

MODEL = Path(fullfield.__file__).parent / "data" / "rnet.onnx"
NAMES = ("B04_10m.tif", "B03_10m.tif", "B11_20m.tif")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), prog_name="fullfield")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bands of 10 and 20 m in the working folder."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(NAMES):
        metres = 10 if "10m" in name else 20
        pixels = np.random.default_rng(k).integers(1, 255, (640 // metres, 800 // metres)).astype(np.uint8)
        profile = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": "uint8"}
        at = Affine(metres, 0, 5e5, 0, -metres, 5e6)
        with rasterio.open(name, "w", driver="GTiff", crs="EPSG:32633", transform=at, **profile) as file:
            file.write(pixels, 1)
    return tmp_path


def test_a_scan_of_a_stack_is_that_of_its_bands_and_lies_on_the_map(scene: Path) -> None:
    result = run("scan", MODEL, "--stack", *NAMES, "--resampling", "nearest", "--step", 8, "-o", "map.tif")
    assert result.exit_code == 0, result.output
    planes = [rasterio.open(name).read(1) for name in NAMES]
    planes[2] = np.kron(planes[2], np.ones((2, 2), np.uint8))
    expected = fullfield.scan(MODEL, np.stack(planes, axis=2), step=8)
    with rasterio.open("map.tif") as file:
        np.testing.assert_array_equal(file.read(), np.asarray(expected))
        assert CRS(file.crs) == CRS("EPSG:32633")
        y, x = expected.placement.centre(3, 5)
        assert file.xy(3, 5) == (5e5 + x * 10, 5e6 - y * 10)


def test_bands_of_a_stack_are_chosen_by_name(scene: Path) -> None:
    result = run("scan", MODEL, *NAMES, "--stack", "--bands", "b11,B03,B04", "--step", 8, "-o", "map.npy")
    assert result.exit_code == 0, result.output
    image = fullfield.open(NAMES).read(0, 64, 0, 80)[:, :, [2, 1, 0]]
    np.testing.assert_array_equal(np.load("map.npy"), np.asarray(fullfield.scan(MODEL, image, step=8)))


def test_info_and_plan_take_a_stack(scene: Path) -> None:
    found = json.loads(run("info", "--stack", *NAMES, "--json").stdout)
    assert (found["size"], found["band_names"]) == ([64, 80], ["B04_10m", "B03_10m", "B11_20m"])
    assert found["reader"] == "stack of 3 files, each by gdal (GTiff); 1 resampled (bilinear)"
    assert run("plan", MODEL, "--stack", *NAMES).exit_code == 0


def test_a_changed_file_of_a_stack_is_another_image(scene: Path) -> None:
    command = ("scan", MODEL, "--stack", *NAMES, "--step", 8, "--summary", "s.csv", "-o", "maps/")
    first = run(*command)
    assert "1 of 1 images scanned" in first.output, first.output
    assert "1 of 1 images scanned, 1 of them before" in run(*command).output
    with rasterio.open(NAMES[2], "r+") as file:
        file.write(np.full((32, 40), 7, np.uint8), 1)
    again = run(*command)
    assert "of them before" not in again.output, again.output


@pytest.mark.parametrize("command", ["plan", "verify", "tune"])
def test_several_files_without_stack_are_a_usage_error(command: str, scene: Path) -> None:
    result = run(command, MODEL, *NAMES)
    assert result.exit_code == 2
    assert "one image is taken, 3 are given: --stack makes one of several files" in result.output


def test_a_stack_of_one_or_with_a_missing_file_says_so_before_the_scan(scene: Path) -> None:
    assert "--stack makes one image of several files, one is given" in run("scan", MODEL, "--stack", NAMES[0]).output
    assert "B99.tif: there is no such file" in run("scan", MODEL, "--stack", NAMES[0], "B99.tif").stderr
    assert "one file is taken, or several with --stack; 2 files given" in run("info", *NAMES[:2]).output
