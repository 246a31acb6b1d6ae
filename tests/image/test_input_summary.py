"""One line says which pixel values reach the network, and warns where nothing declares them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from torch import nn

import fullfield
from fullfield import ImageError, ImageFile, Preprocessing, Selection
from fullfield.image.input_summary import input_summary
from fullfield.image.sources import open_image
from fullfield.model.given_preprocessing import resolve
from fullfield.model.model import Model
from fullfield.model.preprocessing import preset
from tests.image.formats.test_gdal import write as write_geotiff

DRAW = np.random.default_rng(0)
EIGHT = DRAW.integers(0, 256, (40, 50, 3)).astype(np.uint8)
TWELVE = DRAW.integers(3, 4092, (40, 50, 3)).astype(np.uint16)
TWELVE[0, 0, 0], TWELVE[0, 0, 1] = 2, 4092
NOTHING = resolve(None, channels=3, stated=None)


def line(image: object, preprocessing: str | Preprocessing) -> str:
    value = preset(preprocessing) if isinstance(preprocessing, str) else preprocessing
    return str(input_summary(open_image(image, preprocessing=value, channels=3, dtype="float32")))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none", "as they are, 0..255, mean 0, deviation 1"),
        ("unit", "RGB, 0..255, divided by 255, mean 0, deviation 1"),
        ("caffe", "BGR, 0..255, mean 104 117 123, deviation 1"),
        (
            "imagenet",
            "RGB, 0..255, divided by 255, mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225",
        ),
    ],
)
def test_the_line_has_order_range_mean_and_deviation(name: str, text: str) -> None:
    assert line(EIGHT, name) == text


def test_pixels_that_nothing_is_known_of_are_a_warning() -> None:
    said = ": the model says nothing; pass preprocessing= or --preprocessing"
    assert line(EIGHT, NOTHING) == f"WARNING: as they are, 0..255{said}"
    assert line(TWELVE, NOTHING) == f"WARNING: as they are, 2..4092{said}"
    assert "WARNING" not in line(EIGHT, "none")


def test_a_range_that_nothing_declares_is_named_beside_the_one_found(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", TWELVE)
    used = "RGB, 0..65535 as 0..255, divided by 255, mean 0, deviation 1; the thumbnail holds 2..4092: "
    found = line(fullfield.open(tmp_path / "a.tif"), "unit")
    assert found == f"WARNING: {used}pass value_range= or --value-range if that is the whole range"
    assert line(TWELVE, "unit") == f"WARNING: {used}give floats of 0..255 if that is the whole range"
    whole = TWELVE * np.uint16(16)
    assert line(whole, "unit").startswith("RGB, 0..65535 as 0..255, divided by 255, mean 0, deviation 1; the thumbnail")


@pytest.mark.parametrize("large", [False, True])
def test_the_range_is_found_without_reading_a_large_image_whole(tmp_path: Path, large: bool) -> None:
    pixels = np.full((4096, 4096, 3) if large else (600, 700, 3), 1000, np.uint16)
    pixels[:200, :200] = 40
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(256, 256), compression="zlib")
    image = fullfield.open(tmp_path / "a.tif")
    assert (image.thumbnail(1024) is None) == large
    assert "the thumbnail holds 40..1000" in line(image, "unit")


def test_nodata_has_no_part_in_the_range(tmp_path: Path) -> None:
    pixels = np.where(DRAW.random((64, 64, 1)) < 0.5, np.uint16(65535), np.uint16(200)).repeat(3, axis=2)
    write_geotiff(tmp_path / "a.tif", pixels.transpose(2, 0, 1), nodata=65535)
    found = line(fullfield.open(tmp_path / "a.tif"), "unit")
    assert "the thumbnail holds 200..200" in found
    assert "nodata 65535 replaced" in found


def scores(image: object, model: Model) -> NDArray[np.floating]:
    return fullfield.scan(model, image, step=4).array


def network(preprocessing: str | None = "unit") -> Model:
    torch.manual_seed(0)
    return fullfield.load(
        nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()).double(), window=8, preprocessing=preprocessing
    )


def test_a_declared_range_gives_the_scores_of_the_same_picture_in_eight_bits(tmp_path: Path) -> None:
    bright = (EIGHT.astype(np.uint16) * 16).clip(0, 4080)
    np.save(tmp_path / "a.npy", bright)
    wanted = scores(EIGHT, network())
    image = fullfield.open(tmp_path / "a.npy", value_range=(0, 4080))
    assert line(image, "unit") == "RGB, 0..4080 as 0..255, divided by 255, mean 0, deviation 1"
    np.testing.assert_allclose(scores(image, network()), wanted, rtol=0, atol=1e-12)
    for part in (bright + np.uint16(100), bright.astype(np.float32) + 100):
        np.save(tmp_path / "b.npy", part)
        found = scores(ImageFile(str(tmp_path / "b.npy"), Selection(value_range=(100, 4180))), network())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_pixels_beyond_a_declared_range_are_a_warning(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TWELVE)
    found = line(fullfield.open(tmp_path / "a.npy", value_range=(0, 1023)), "unit")
    assert found.startswith("WARNING: RGB, 0..1023 as 0..255")
    assert "the thumbnail holds 2..4092" in found


def ome(path: Path, bits: int) -> None:
    tifffile.imwrite(path, TWELVE[:, :, 0], ome=True, metadata={"axes": "YX", "SignificantBits": bits})


def geotiff(path: Path, bits: int) -> None:
    write_geotiff(path, TWELVE.transpose(2, 0, 1), nbits=bits)


@pytest.mark.parametrize("write", [ome, geotiff])
def test_the_bits_that_a_file_says_it_uses_are_its_range(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a.tif", 12)
    assert fullfield.open(tmp_path / "a.tif").metadata.value_range == (0, 4095)
    chosen = fullfield.open(tmp_path / "a.tif", value_range=(0, 1000))
    assert chosen.metadata.value_range == (0, 1000)
    write(tmp_path / "b.tif", 16)
    assert fullfield.open(tmp_path / "b.tif").metadata.value_range is None


@pytest.mark.parametrize("span", [(5, 5), (9, 1), (0, float("inf")), (float("nan"), 1)])
def test_an_empty_range_is_refused(span: tuple[float, float]) -> None:
    with pytest.raises(ImageError, match=r"value range: .* is no range of pixel values"):
        Selection(value_range=span)


def test_a_range_for_a_network_that_takes_pixels_as_they_are_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", EIGHT)
    with pytest.raises(ImageError, match="value range: is given, but the model takes pixel values as they are"):
        scores(ImageFile(str(tmp_path / "a.npy"), Selection(value_range=(0, 100))), network(None))


def test_a_scan_with_another_range_is_another_scan(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TWELVE)
    image = ImageFile(str(tmp_path / "a.npy"), Selection(value_range=(0, 4095)))
    fullfield.scan(network(), image, step=4, output=tmp_path / "map.zarr")
    assert fullfield.verify(network(), image, scores=tmp_path / "map.zarr").equal
    with pytest.raises(fullfield.GeometryError, match=r"value range \[0, 4095\] is not the None"):
        fullfield.verify(network(), tmp_path / "a.npy", scores=tmp_path / "map.zarr")
    with pytest.raises(ImageError, match=r"exists already with value_range \[0, 4095\], now it is null"):
        fullfield.scan(network(), tmp_path / "a.npy", step=4, output=tmp_path / "map.zarr")


def test_every_summary_has_the_line() -> None:
    net = network(None)
    wanted = "WARNING: as they are, 0..255: the model says nothing"
    assert fullfield.scan(net, EIGHT, step=4).provenance["input"]["text"].startswith(wanted)
    assert wanted in str(fullfield.verify(net, EIGHT, step=4))
    assert wanted in str(fullfield.tune(net, EIGHT, step=4))
    assert "WARNING: as they are: the model says nothing" in str(fullfield.inspect(net))


def test_what_is_not_known_stays_so_in_a_saved_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    for known in (True, False):
        net = network("none" if known else None)
        fullfield.save(replace(net, graph=net.graph), tmp_path / f"{known}.onnx")
        assert fullfield.load(tmp_path / f"{known}.onnx").preprocessing.known == known


def test_the_range_of_pixels_that_were_all_checked_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[object] = []
    monkeypatch.setattr("fullfield.image.input_summary.found_range", lambda raster: searched.append(raster))
    floats = TWELVE.astype(np.float32) / 4
    assert line(floats, preset("none")) == "as they are, 0.5..1023, mean 0, deviation 1"
    assert not searched
    line(TWELVE, preset("none"))  # their type says what they may be, and they are not checked
    assert len(searched) == 1


def test_the_range_is_that_of_the_pixels_as_the_network_takes_them() -> None:
    colours = np.zeros((9, 9, 4), np.float32)
    colours[:, :, 0], colours[:, :, 3] = 100, 255
    source = open_image(colours, preprocessing=preset("unit"), channels=3, dtype="float32")
    assert input_summary(source).found == (0, 100)
