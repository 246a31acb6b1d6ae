"""``fullfield tune``, its picture, and ``scan`` with a target."""

import json
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
from fullfield.drawing.chart import Point, best, draw_chart, ticks
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


def test_the_chosen_setting_stands_out() -> None:
    chosen = np.array([180, 30, 90])
    pixels = np.asarray(picture(example(Target(0.02)), "net"))
    rows, columns = np.nonzero((pixels == chosen).all(axis=2))
    other = np.asarray(picture(example(Target(0.9)), "net"))
    assert len(rows) > 200
    assert np.nonzero((other == chosen).all(axis=2))[1].mean() < columns.mean()  # context is faster


def test_a_chart_needs_no_limit_and_bears_one_point() -> None:
    sheet = draw_chart([Point(1.0, 0.0, "a")], title="t", x_title="x", y_title="y", limit=None, floor=1e-6)
    assert sheet.size == (1200, 760)
    assert ticks(0.05, 0.2) == []
    assert [p.name for p in best([Point(1, 1, "a"), Point(1, 2, "b")])] == ["a"]


def test_names_that_would_cover_each_other_are_left_out() -> None:
    def ink(count: int) -> int:
        points = [Point(1.0, 0.1, f"setting {k} with a long name") for k in range(count)]
        sheet = draw_chart([*points, Point(9.0, 0.01, "b")], title="", x_title="", y_title="", limit=0.1, floor=1e-6)
        return int((np.asarray(sheet) == (120, 120, 120)).all(axis=2).sum())

    assert ink(4) > ink(1)
    assert ink(60) < 20 * ink(4)


def test_scan_takes_the_fastest_border_that_will_do(tmp_path: Path) -> None:
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


def test_scan_ends_with_one_when_the_wish_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(*args: object, **kwargs: object) -> object:
        found = example(Target(1e-4))
        return replace(found, candidates=found.candidates[:1])

    monkeypatch.setattr("fullfield.jobs.tuning.tune_modes", careless)
    result = invoke("scan", "--tolerance", "0.0001")
    assert result.exit_code == 1
    assert "MISSED: wanted an error of at most 0.0001 of the spread" in result.stdout


@pytest.mark.parametrize("other", [("--border", "2"), ("--mode", "context")])
def test_a_wish_and_a_setting_exclude_each_other(other: tuple[str, str]) -> None:
    result = invoke("scan", "--tolerance", "0.1", *other)
    assert result.exit_code == 2
    assert "leave out --border and --mode" in result.stderr
