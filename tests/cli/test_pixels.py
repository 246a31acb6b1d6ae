"""The options for how pixels become network input, and what they give."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from fullfield.cli import main

MODEL = str(files("fullfield") / "data" / "rnet.onnx")


def _inspected(*options: str) -> str:
    result = CliRunner().invoke(main, ["inspect", MODEL, *options])
    return result.output if result.exit_code else result.output.splitlines()[1]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--mean", "0.5", "--std", "0.25"), "input: RGB, 0..255, divided by 255, mean 0.5, deviation 0.25"),
        (("--order", "BGR"), "input: BGR, 0..255, divided by 255"),
        (
            ("--preprocessing", "imagenet", "--order", "BGR"),
            "input: BGR, 0..255, divided by 255, mean 0.485 0.456 0.406",
        ),
        (("--pixel-scale", "0.0001", "--trained-range", "0,10000"), "input: 0..10000"),
    ],
)
def test_each_option_is_one_field_of_the_preprocessing(options: tuple[str, ...], line: str) -> None:
    assert _inspected(*options).startswith(line)


def test_a_file_counts_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    assert _inspected("--preprocessing", str(path)).endswith("mean 0.5, deviation 0.5")
    assert "are both given" in _inspected("--preprocessing", str(path), "--mean", "0.4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mean", "123.7", "--std", "58"), "are not of pixels from 0 to 1"),
        (("--mean", "0.5,0.4"), "mean has 2 values, the network has 3 input channels"),
        (("--preprocessing", "unit-grey"), "order 'grey' has 1 channels, the network has 3"),
        (("--std", "0"), "has a zero"),
        (("--mean", "a"), "is not a list of numbers"),
        (("--preprocessing", "none.json"), "is no file of preprocessing"),
    ],
)
def test_pixels_that_do_not_fit_are_refused_when_the_network_is_read(options: tuple[str, ...], message: str) -> None:
    assert message in _inspected(*options)
