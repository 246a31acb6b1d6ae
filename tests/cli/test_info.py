"""``fullfield info`` and ``fullfield.info``: images, models and results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from PIL import Image

import fullfield
from fullfield.cli import main

DATA = Path(fullfield.__file__).parent / "data"
MODEL, PHOTO = DATA / "rnet.onnx", DATA / "astronaut.png"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["info", *map(str, arguments)], prog_name="fullfield")


def facts(*arguments: object) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_an_image_has_size_bands_type_and_reader() -> None:
    found = facts(PHOTO)
    assert (found["kind"], found["size"], found["bands"]) == ("image", [512, 512], 3)
    assert (found["dtype"], found["reader"], found["levels"]) == ("uint8", "Pillow", [[512, 512]])
    assert re.search(r"^size +512 x 512$", run(PHOTO).stdout, re.MULTILINE)


def test_a_map_says_where_it_lies(tmp_path: Path) -> None:
    place = rasterio.Affine(0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0)
    profile = {"height": 8, "width": 9, "count": 2, "dtype": "uint16", "crs": "EPSG:32632", "transform": place}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", nodata=7, **profile) as file:
        file.write(np.zeros((2, 8, 9), np.uint16))
    found = facts(tmp_path / "a.tif")
    assert (found["size"], found["bands"], found["dtype"], found["nodata"]) == ([8, 9], 2, "uint16", 7)
    assert found["transform"] == [0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0]
    assert "UTM zone 32N" in str(found["crs"])


def test_a_model_has_window_classes_and_preprocessing() -> None:
    found = facts(MODEL)
    assert (found["kind"], found["window"], found["class_names"]) == ("model", [24, 24], ["background", "face"])
    assert found["preprocessing"] == json.loads(fullfield.load(MODEL).preprocessing.to_json())
    assert found["hash"] == fullfield.load(MODEL).hash
    text = run(MODEL).stdout
    assert "window                     24 x 24\n" in text
    assert "preprocessing.order        RGB\n" in text


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_a_result_says_how_it_was_made(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores{suffix}"
    fullfield.scan(MODEL, PHOTO, step=4, scale=0.1, output=path, verify=4)
    found = facts(path)
    assert (found["kind"], found["complete"], found["scores"]) == ("result", True, [2, 7, 7])
    assert (found["step"], found["window"], found["mode"]) == ([4, 4], [24, 24], "exact")
    assert str(found["verified"]).startswith("EXACT")
    text = run(path).stdout
    assert "complete" in text
    assert "image size" in text
    assert "rnet" in text.lower() or "R-Net" in text


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(MODEL.read_bytes())
    (tmp_path / "b.onnx").write_bytes(PHOTO.read_bytes())
    assert facts(tmp_path / "a.txt")["kind"] == "model"
    assert facts(tmp_path / "b.onnx")["kind"] == "image"


def test_a_file_of_no_kind_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing of that")
    result = run(tmp_path / "a.txt")
    assert result.exit_code == 1
    assert "is no result, image or model" in result.stderr
    assert "\n  fix: " in result.stderr


def test_a_damaged_image_is_said_to_be_one(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    result = run(tmp_path / "a.png")
    assert result.exit_code == 1
    assert "network" not in result.stderr


def test_a_file_that_can_run_code_needs_trust(tmp_path: Path) -> None:
    import torch
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    exported = torch.export.export(
        module.eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    torch.export.save(exported, tmp_path / "a.pt2")
    assert "--trust" in run(tmp_path / "a.pt2").stderr
    assert facts(tmp_path / "a.pt2", "--trust")["window"] == [8, 8]


def test_the_range_of_each_band_is_that_of_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 4000, (2, 40, 50)).astype(np.uint16)
    pixels[1, :30] = 0
    profile = {"height": 40, "width": 50, "count": 2, "dtype": "uint16", "nodata": 0, "crs": "EPSG:32633"}
    place = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
    path = tmp_path / "scene.tif"
    with rasterio.open(path, "w", driver="GTiff", transform=place, **profile) as file:
        file.write(pixels)
        file.set_band_description(1, "B04")
        file.set_band_description(2, "B08")
    held = [plane[plane > 0] for plane in pixels]
    found = facts(path)
    assert found["ranges"] == [[float(each.min()), float(each.max())] for each in held]
    assert found["ranges_of"] == "all pixels"
    assert found["place"] == "EPSG:32633, by geotags"
    low, high = held[0].min(), held[0].max()
    assert f"B04 {low}..{high}, B08 {held[1].min()}..{held[1].max()} (all pixels)\n" in run(path).stdout


def test_stored_statistics_count_before_pixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    pixels = np.random.default_rng(0).integers(5, 200, (1, 600, 700)).astype(np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", height=600, width=700, count=1, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as file:  # fmt: skip
        file.write(pixels)
        file.update_tags(1, STATISTICS_MINIMUM=3, STATISTICS_MAXIMUM=222)
    assert (facts(path)["ranges"], facts(path)["ranges_of"]) == ([[3.0, 222.0]], "statistics")
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, STATISTICS_APPROXIMATE="YES")
    assert re.search(r"^ranges +about 3\.\.222 \(approximate statistics\)$", run(path).stdout, re.MULTILINE)


def test_the_range_of_a_large_image_is_about_that_of_an_overview(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    ramp = np.broadcast_to(np.linspace(0, 4000, 4096).astype(np.uint16), (1, 4096, 4096))
    with rasterio.open(
        path, "w", driver="GTiff", height=4096, width=4096, count=1, dtype="uint16", crs="EPSG:32633", tiled=True,
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), compress="deflate",
    ) as file:  # fmt: skip
        file.write(ramp)
        file.build_overviews([8])
    found = facts(path)
    ((low, high),) = found["ranges"]  # type: ignore[misc, has-type]
    assert (found["ranges_of"], 0 <= low < 10, 3990 < high <= 4000) == ("a thumbnail", True, True)
    assert "about" in run(path).stdout
