"""``--resize``: windows of an image resized to the network's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from fullfield.api.scan import scan
from fullfield.cli import main
from fullfield.importers.load import load
from tests.cli.scanning import MODEL, PIXELS

RESIZE = ["--window", "40x48", "--resize", "24"]


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_scan_resizes_its_windows_and_says_so(tmp_path: Path) -> None:
    image, output = tmp_path / "image.npy", tmp_path / "map.npz"
    np.save(image, PIXELS)
    how = [*RESIZE, "--interpolation", "bicubic", "--no-antialias"]
    text = run("scan", MODEL, image, *how, "--step", 16, "--verify", 4, "-o", output)
    assert "windows resized from 40x48 px to 24x24 px (bicubic, not antialiased)" in text
    assert "EXACT" in text
    model = load(MODEL, window=(40, 48), resize=24, interpolation="bicubic", antialias=False)
    expected = np.asarray(scan(model, PIXELS, step=16).array[:])
    with np.load(output) as stored:
        found = next(stored[name] for name in stored if stored[name].shape == expected.shape)
    assert np.abs(found - expected).max() < 1e-6


def test_every_command_that_loads_a_model_resizes_windows(tmp_path: Path) -> None:
    image = tmp_path / "image.npy"
    np.save(image, PIXELS)
    said = "windows resized from 40x48 px to 24x24 px (bilinear, antialiased)"
    for command in (["inspect", MODEL], ["verify", MODEL, image, "--samples", 4, "--step", 40], ["info", MODEL]):
        found = json.loads(run(*command, *RESIZE, "--json"))
        assert said.removeprefix("windows resized ") in json.dumps(found)
    plan = json.loads(run("plan", MODEL, image, *RESIZE, "--step", 40, "--json"))
    assert plan["layers"][0]["layer"] == "resize"


def test_a_size_without_a_window_is_one_clear_error() -> None:
    result = CliRunner().invoke(main, ["inspect", MODEL, "--resize", "24"])
    assert result.exit_code == 1
    assert "window: is not given, and windows are resized to (24, 24)" in result.output
    assert "Traceback" not in result.output
