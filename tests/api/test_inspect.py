"""The verb ``inspect`` and what it takes for a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import fullfield
from fullfield.errors import CaptureError, GeometryError
from fullfield.importers.load import load

MODEL = Path(fullfield.__file__).parent / "data" / "rnet.onnx"


def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_a_module_a_classifier_and_a_path_are_networks() -> None:
    net = fullfield.load(module(), window=8)
    assert fullfield.inspect(module(), window=8)["0"] == fullfield.inspect(net)["0"]
    assert load(net) is net
    for path in (MODEL, str(MODEL)):
        assert fullfield.inspect(path).window == (24, 24)


def test_a_model_file_shows_its_own_layers() -> None:
    report = fullfield.inspect(MODEL)
    assert report.parameters == 99_662
    assert report["conv1"].volume == "22×22×28"
    assert (report["dense4"].type, report["dense4"].ops[0].kernel) == ("linear", 3)
    assert report["pool1"].lost == (-1, -1)


def test_a_size_is_one_number_or_two() -> None:
    assert fullfield.inspect(module(), window=(8, 9), at=(16, 20))["0"].at == (2, 14, 18)
    assert fullfield.inspect(module(), window=8, at=16).at == (16, 16)


@pytest.mark.parametrize("at", [(16, 16, 16), "16", (16.0, 16)])
def test_anything_else_is_no_size(at: object) -> None:
    with pytest.raises(GeometryError, match="is not one or two integers"):
        fullfield.inspect(module(), window=8, at=at)  # type: ignore[arg-type]


def test_the_preprocessing_is_shown() -> None:
    report = fullfield.inspect(module(), window=8, preprocessing="unit-grey")
    assert report.preprocessing.order == "grey"
    assert "input: grey, 0..255, divided by 255, mean 0, deviation 1" in str(report)
    assert fullfield.inspect(fullfield.load(module(), window=8), preprocessing="unit-grey") == report


def test_a_classifier_keeps_its_window() -> None:
    net = fullfield.load(module(), window=8)
    assert load(net, window=8).window == (8, 8)
    with pytest.raises(CaptureError, match="9 is not the 8x8 px of Sequential"):
        load(net, window=9)


def test_class_names_can_be_given_to_all_three() -> None:
    net = fullfield.load(module(), window=8)
    for given, window in ((net, None), (module(), 8), (MODEL, None)):
        assert load(given, window=window, class_names=("a", "b")).class_names == ("a", "b")
        with pytest.raises(CaptureError, match="3 names for 2 scores"):
            load(given, window=window, class_names=("a", "b", "c"))


def test_something_else_is_no_network() -> None:
    with pytest.raises(CaptureError, match="int is not a model"):
        load(3)  # type: ignore[arg-type]
