"""``fullfield tune``, its picture, and ``scan`` with a target."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import fullfield
from fullfield import Target
from fullfield.cli import main
from fullfield.cli.tune import picture
from tests.api.test_tune import example

DATA = Path(fullfield.__file__).parent / "data"
MODEL, PHOTO = str(DATA / "rnet.onnx"), str(DATA / "astronaut.png")
FAST = ("--scale", "0.25", "--step", "4")


def invoke(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [command, MODEL, PHOTO, *FAST, *arguments], prog_name="fullfield")


def test_prints_the_table_and_the_choice() -> None:
    result = invoke("tune", "--tolerance", "0.001")
    assert result.exit_code == 0, result.output
    assert "of 729 windows compared with their crops (seed 0)" in result.stdout
    assert "\n    context " in result.stdout
    assert "\n->  exact " in result.stdout
    assert "For an error of at most 0.001 of the spread: exact, " in result.stdout


def test_prints_json() -> None:
    facts = json.loads(invoke("tune", "--agreement", "0.5", "--samples", "8", "--seed", "3", "--json").stdout)
    assert facts["best"]["name"] == "context"
    assert (facts["seed"], facts["target"]) == (3, {"tolerance": None, "agreement": 0.5})
    assert facts["written"] is None


def test_draws_the_settings(tmp_path: Path) -> None:
    target = str(tmp_path / "dial.png")
    result = invoke("tune", "-o", target)
    assert result.stdout.endswith(f"wrote {target}\n")
    with Image.open(target) as drawn:
        assert drawn.size == (1200, 760)
    again = invoke("tune", "-o", target)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_labels_add_the_accuracy_of_each_mode(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("y,x,kind,class\n120,228,a,Face\n300,300,b,background\n400,100,c,background\n")
    drawing = str(tmp_path / "dial.png")
    result = invoke("tune", "--samples", "8", "--labels", str(path), "--rename", "Face=face", "-o", drawing)
    assert result.exit_code == 0, result.output
    assert "3 of 3 labelled windows sampled too" in result.stdout
    assert re.search(r"context .* 100.0 % +\+0.0 % +1.000\n", result.stdout)
    assert "On the labels context is the fastest mode that cannot be told from the crops: +0.0 %; " in result.stdout
    facts = json.loads(
        invoke("tune", "--samples", "8", "--labels", str(path), "--rename", "Face=face", "--json").stdout
    )
    assert facts["candidates"][0]["labels"]["accuracy"] == 1.0
    assert facts["crop_labels"]["balanced"] == 1.0


def test_the_chosen_setting_stands_out() -> None:
    chosen = np.array([180, 30, 90])
    pixels = np.asarray(picture(example(Target(0.02)), "net"))
    rows, columns = np.nonzero((pixels == chosen).all(axis=2))
    other = np.asarray(picture(example(Target(0.9)), "net"))
    assert len(rows) > 200
    assert np.nonzero((other == chosen).all(axis=2))[1].mean() < columns.mean()  # context is faster


def test_scan_takes_the_fastest_mode_that_will_do(tmp_path: Path) -> None:
    target = str(tmp_path / "scores.npz")
    result = invoke("scan", "--agreement", "0.5", "--json", "-o", target)
    assert result.exit_code == 0, result.output
    assert "For the crops' top class at 0.5 of the windows or more: context, " in result.stderr
    certificate = json.loads(result.stdout)["certificate"]
    assert certificate["verdict"].startswith("HOLDS: wanted the crops' top class at 0.5")
    assert (certificate["seed"], certificate["holds"]) == (1, True)
    scores = fullfield.open_scores(target)
    assert scores.mode == "context"
    assert scores.certificate is not None
    assert scores.map.certificate["target"] == {"tolerance": None, "agreement": 0.5}


def test_scan_is_exact_where_nothing_less_will_do() -> None:
    result = invoke("scan", "--tolerance", "0.0001", "--verify", "9")
    assert result.exit_code == 0, result.output
    assert "float32, exact" in result.stdout
    assert "verified 9 windows: HOLDS: wanted an error of at most 0.0001 of the spread" in result.stdout


def test_scan_ends_with_one_when_the_target_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(*args: object, **kwargs: object) -> object:
        found = example(Target(1e-4))
        return replace(found, candidates=found.candidates[:1])

    monkeypatch.setattr("fullfield.jobs.tuning.tune_modes", careless)
    result = invoke("scan", "--tolerance", "0.0001")
    assert result.exit_code == 1
    assert "MISSED: wanted an error of at most 0.0001 of the spread" in result.stdout


@pytest.mark.parametrize("mode", ["2", "0", "exact", "context"])
@pytest.mark.parametrize("target", ["--tolerance", "--agreement"])
def test_a_target_and_a_mode_exclude_each_other(mode: str, target: str) -> None:
    result = invoke("scan", target, "0.1", "--mode", mode)
    assert result.exit_code == 2
    assert "leave out --mode" in result.stderr
