"""``fullfield evaluate``: tables, JSON, files, and errors that end with one message."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fullfield.cli import main
from tests.decisions.evaluation.maps import box, geojson, probabilities, scores_of


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a map and its labels."""
    scores = scores_of(probabilities(np.random.default_rng(0), 2, 20, 25), provenance={"ends_in": "softmax"})
    scores.save(tmp_path / "map.zarr")
    geojson(tmp_path / "labels.geojson", (box(20, 20, 60, 60), {"classification": {"name": "Tumor"}}))
    return tmp_path


def invoke(folder: Path, *arguments: str) -> Result:
    command = ["evaluate", str(folder / "map.zarr"), str(folder / "labels.geojson"), *arguments]
    return CliRunner().invoke(main, command, prog_name="fullfield")


def test_prints_tables(files: Path) -> None:
    result = invoke(files, "--rename", "Tumor=kind 1", "--outside", "kind 0")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("500 labelled cells: accuracy ")
    assert "\nlabel \\ predicted  kind 0  kind 1\n" in result.stdout
    assert "\nFROC of kind 1: " in result.stdout


def test_prints_json_and_writes_every_form(files: Path) -> None:
    options = ("--rename", "Tumor=1", "--outside", "0", "--bins", "5")
    for suffix in ("csv", "json", "png"):
        target = files / f"found.{suffix}"
        result = invoke(files, *options, "-o", str(target), "--json")
        assert result.exit_code == 0, result.output
        facts = json.loads(result.stdout)
        assert (facts["samples"], facts["written"]) == (500, str(target))
        again = invoke(files, *options, "-o", str(target))
        assert again.exit_code == 1
        assert "--overwrite" in again.stderr
    assert json.loads((files / "found.json").read_text()) == {k: v for k, v in facts.items() if k != "written"}
    rows = list(csv.DictReader((files / "found.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["kind 0", "kind 1", "all"]
    assert float(rows[-1]["accuracy"]) == facts["accuracy"]
    assert len(facts["calibration"]["bins"]) == 5
    with Image.open(files / "found.png") as drawn:
        assert drawn.size == (1560, 1100)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 1, "the label 'Tumor' is no class of the map (kind 0, kind 1)"),
        (("--rename", "Tumor"), 2, "'Tumor' is not LABEL=CLASS"),
        (("--rename", "Tumor="), 1, "label no cell of the map: polygons left out by their class: 1"),
        (("--outside", "stroma"), 1, "outside: the label 'stroma' is no class"),
        (("-o", "x.doc"), 1, "the suffix '.doc' names no format"),
        (("--bin", "3"), 2, "did you mean --bins?"),
    ],
)
def test_a_fault_is_one_message(files: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = invoke(files, *arguments)
    assert result.exit_code == code
    assert text in " ".join(result.stderr.replace("│", " ").split())


def test_a_folder_of_maps_is_decided_image_by_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(3):
        scores_of(probabilities(rng, 2, 4, 4), provenance={"ends_in": "softmax"}).save(tmp_path / f"map{k}.zarr")
    table = tmp_path / "labels.csv"
    table.write_text("image,class\nmap0,0\nmap1,1\nmap2,0\n")
    for scores in ([str(tmp_path)], [str(tmp_path / f"map{k}.zarr") for k in range(3)]):
        command = ["evaluate", *scores, str(table), "--decide", "top-k:2"]
        result = CliRunner().invoke(main, command, prog_name="fullfield")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("3 labelled images: accuracy ")
        assert "One decision an image: top-k:2 of scores." in result.stdout
