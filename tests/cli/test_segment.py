import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fullfield import Placement, Scores
from fullfield.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A map whose left half is of class a, with a spot of b, and the image that it is of."""
    monkeypatch.chdir(tmp_path)
    place = Placement((4, 4), (8, 8), (84, 84), (84, 84))
    _, x = np.mgrid[: place.shape[0], : place.shape[1]]
    a = np.where(x < 10, 0.9, 0.2)
    a[4:6, 4:6] = 0.3
    scores = Scores.from_array(np.stack([a, 1 - a]).astype(np.float32), place, class_names=("a", "b"))
    scores.save("map.zarr")
    picture = np.zeros((84, 84, 3), np.uint8)
    picture[:, 43:] = 200
    Image.fromarray(picture).save("photo.png")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["segment", *arguments])


def test_it_writes_labels_and_says_how_many_segments_there_are(folder: Path) -> None:
    result = run("map.zarr", "a.npy", "--min-area", "10")
    assert result.exit_code == 0, result.output
    labels = np.load("a.npy")[0]
    b = int((labels == 1).sum())
    assert result.stdout.splitlines()[:2] == [f"a: 1 segment, {(labels == 0).sum()} px", f"b: 2 segments, {b} px"]
    assert result.stdout.splitlines()[2].startswith("wrote    a.npy, ")
    assert result.stdout.splitlines()[2].endswith(" bytes, 3 segments")


def test_json_has_the_counts_and_small_segments_are_merged(folder: Path) -> None:
    result = run("map.zarr", "a.geojson", "--min-area", "300", "--json")
    found = json.loads(result.stdout)
    assert found["segments"] == 2
    assert [each["segments"] for each in found["classes"]] == [1, 1]
    assert found["bytes"] == Path("a.geojson").stat().st_size
    assert len(json.loads(Path("a.geojson").read_text())["features"]) == 2


def test_the_guided_filter_moves_a_border_to_that_of_the_image(folder: Path) -> None:
    assert run("map.zarr", "plain.npy").exit_code == 0
    assert run("map.zarr", "guided.npy", "--image", "photo.png", "--guided", "6").exit_code == 0
    plain, guided = np.load("plain.npy")[0], np.load("guided.npy")[0]
    assert (plain[60, :] == 0).sum() != 43 - 2
    assert guided[60, 42] == 0
    assert guided[60, 43] == 1


def test_an_image_whose_finest_level_is_larger_is_another_one_at_any_level(folder: Path) -> None:
    import tifffile

    pixels = np.asarray(Image.open("photo.png"))
    with tifffile.TiffWriter("photo.tif") as file:
        file.write(np.kron(pixels, np.ones((2, 2, 1), np.uint8)), subifds=1, tile=(64, 64), photometric="rgb")
        file.write(pixels, subfiletype=1, tile=(64, 64), photometric="rgb")
    for level in ("0", "1"):
        other = run("map.zarr", "a.npy", "--image", "photo.tif", "--level", level, "--guided", "6")
        assert "the image has 168x168 px, the scores are of an image of 84x84 px" in other.stderr
    assert run("map.zarr", "b.npy", "--image", "photo.png", "--guided", "6").exit_code == 0


def test_thresholds_are_for_all_classes_or_for_those_named(folder: Path) -> None:
    assert run("map.zarr", "a.npy", "--threshold", "0.5").exit_code == 0
    assert run("map.zarr", "b.npy", "--threshold", "a=0.95", "--threshold", "b=0.1,0.2").exit_code == 0
    both, one = np.load("a.npy")[0], np.load("b.npy")[0]
    assert set(np.unique(both)) == {0, 1, 255}
    assert set(np.unique(one)) == {1, 255}


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("none.zarr", "a.tif"), 1, "none.zarr: there is no such file"),
        (("map.zarr", "a.tif", "--image", "none.png"), 1, "none.png: there is no such file"),
        (("map.zarr", "a.gif"), 1, "the suffix '.gif' names no format"),
        (("map.zarr", "map.zarr"), 1, "exists already"),
        (("map.zarr", "a.tif", "--threshold", "0.9,0.1"), 1, "low 0.9 is above high 0.1"),
        (("map.zarr", "a.tif", "--threshold", "high"), 2, "'high' is not T, LOW,HIGH or CLASS=LOW,HIGH"),
        (("map.zarr", "a.tif", "--threshold", "=0.5"), 2, "'=0.5' is not T"),
        (("map.zarr", "a.tif", "--threshold", "0.1", "--threshold", "a=0.5"), 2, "for all classes once"),
        (("map.zarr", "a.tif", "--resolution", "cells"), 1, "resolution: 'cells' is not known"),
        (("map.zarr", "a.tif", "--guided", "3"), 1, "needs the image that was scanned"),
        (("map.zarr", "a.tif", "--class", "c", "--threshold", "0.5"), 1, "'c' is not one of the 2 classes"),
        (("map.zarr", "a.npy", "--coordinates", "map"), 1, "has no meaning for npy"),
    ],
)
def test_wrong_calls_are_one_clear_error(folder: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert not Path(arguments[1]).exists() or arguments[1] == "map.zarr"
