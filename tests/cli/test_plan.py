"""``fullfield plan``."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import fullfield
from fullfield.cli import main
from fullfield.cli.progress import duration

DATA = Path(fullfield.__file__).parent / "data"
MODEL, PHOTO = str(DATA / "rnet.onnx"), str(DATA / "astronaut.png")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", MODEL, PHOTO, "--scale", "0.25", *arguments], prog_name="fullfield")


def test_prints_the_layers_and_what_the_scan_takes() -> None:
    result = invoke("--step", "8", "--tile", "14x14")
    assert result.exit_code == 0, result.output
    assert "conv1       conv2d      shared" in result.stdout
    assert "map       14x14 windows, step 8 px, of 128x128 px; exact" in result.stdout
    assert "frontier  dense4: borders meet: every cell depends on padding" in result.stdout
    *_, time, steps = result.stdout.splitlines()
    assert time.startswith("time      about ")
    assert steps.startswith("steps     step 8: 196 windows, about ")
    assert "; step 4: 729 windows, about " in steps
    assert "; step 2: 2,809 windows, about " in steps


def test_prints_json() -> None:
    result = invoke("--step", "8", "--mode", "0", "--json")
    facts = json.loads(result.stdout)
    assert (facts["mode"], facts["border"], facts["map"]) == ("context", 0, [14, 14])
    assert facts["scan_macs"]["strips"] == 0
    assert 0 < facts["predicted_seconds"] < facts["predicted_crop_seconds"]
    assert [(cost["step"], cost["windows"]) for cost in facts["steps"]] == [
        ([8, 8], 196),
        ([4, 4], 729),
        ([2, 2], 2809),
    ]
    assert facts["steps"][0]["seconds"] == facts["predicted_seconds"]
    assert [layer["layer"] for layer in facts["layers"]][:2] == ["conv1", "prelu1"]


def test_a_budget_too_small_is_an_error() -> None:
    result = invoke("--budget", "10kB")
    assert result.exit_code == 1
    assert "allow at least" in result.stderr


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.012 s"), (99.4, "99 s"), (100, "1.7 min"), (7300, "2 h"), (4e6, "1100 h")]
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
