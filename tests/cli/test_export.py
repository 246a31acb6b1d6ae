"""``fullfield export``."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fullfield.api.scores import Scores, open_scores
from fullfield.cli import main
from fullfield.geometry.placement import Placement


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    place = Placement((4, 4), (16, 16), (80, 120), (80, 120))
    array = np.random.default_rng(0).standard_normal((3, *place.shape)).astype(np.float32)
    Scores.from_array(array, place, class_names=("a", "b", "c")).save(tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def test_export_writes_the_classes_named(scores: Path) -> None:
    out = scores.parent / "o.npy"
    result = CliRunner().invoke(main, ["export", str(scores), str(out), "--class", "c", "--class", "0", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"written": str(out), "bytes": out.stat().st_size, "detections": None}
    np.testing.assert_array_equal(np.load(out), open_scores(scores).array[[2, 0]])


def test_export_takes_a_resolution_and_writes_labels(scores: Path) -> None:
    out = scores.parent / "o.npy"
    args = ["export", str(scores), str(out), "--labels", "--resolution", "40x60", "--resample", "bilinear"]
    assert CliRunner().invoke(main, args).exit_code == 0
    assert np.load(out).shape == (1, 40, 60)
    assert CliRunner().invoke(main, [*args[:-3], "big"]).exit_code == 2


def test_export_writes_detections(scores: Path) -> None:
    out = scores.parent / "o.geojson"
    args = ["export", str(scores), str(out), "--class", "b", "--threshold", "1", "--rows", "points"]
    result = CliRunner().invoke(main, [*args, "--min-distance", "9"])
    assert result.exit_code == 0
    count = len(json.loads(out.read_text())["features"])
    assert count > 1
    assert result.stdout == f"wrote    {out}, {out.stat().st_size} bytes, {count} objects\n"
    facts = CliRunner().invoke(main, [*args, "--min-distance", "9", "--overwrite", "--json"]).stdout
    assert json.loads(facts)["detections"] == count


def test_options_of_detections_are_refused_for_other_formats(scores: Path) -> None:
    result = CliRunner().invoke(main, ["export", str(scores), str(scores.parent / "o.npy"), "--threshold", "1"])
    assert result.exit_code == 1
    assert "has no meaning for npy" in result.stderr


def test_a_mistake_is_one_message(scores: Path) -> None:
    result = CliRunner().invoke(main, ["export", str(scores), str(scores.parent / "o.npy"), "--class", "d"])
    assert result.exit_code == 1
    assert result.stderr.startswith("class: 'd'")
