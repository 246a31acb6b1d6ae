"""``fullfield scan --decide``: the decision of each image, with a map that is kept or without."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from PIL import Image

import fullfield
from tests.cli.scanning import MODEL, PIXELS, scan


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PIXELS).save("photo.png")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    corners = [[10, 10], [60, 10], [60, 70], [10, 70], [10, 10]]
    feature = {
        "type": "Feature",
        "properties": {"name": "nose"},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }
    Path("regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature, feature]}))
    return tmp_path


def wanted(how: str) -> fullfield.Decision:
    return fullfield.scan(fullfield.load(MODEL), PIXELS, step=8).decide(how)


def test_the_decision_is_printed_under_the_summary() -> None:
    found = wanted("quantile:0.9")
    lines = scan("photo.png", "--decide", "quantile:0.9").stdout.splitlines()
    assert lines[0].startswith("map      14x18 cells")
    assert lines[-2:] == [
        "decided  quantile:0.9 of scores",
        f"         background {found.scores[0]:.4g}, face {found.scores[1]:.4g} (252 windows, 35.56 independent)",
    ]


@pytest.mark.parametrize(
    "output", [(), ("-o", "map.zarr"), ("-o", "map.tif"), ("-o", "map.geojson", "--class", "face")]
)
def test_json_has_the_decision_of_the_scan_whatever_is_written(output: tuple[str, ...]) -> None:
    found = json.loads(scan("photo.png", "--decide", "mean", "--json", *output).stdout)
    assert found["decision"] == wanted("mean").to_dict()
    assert list(Path("temporary").iterdir()) == []


def test_a_map_that_does_not_fit_goes_through_a_folder_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.jobs.to_decision.map_bytes", lambda job: 2**60)
    found = json.loads(
        scan("photo.png", "--decide", "mean", "--json", "--overlay", "overlay.png", "--verify", 5).stdout
    )
    assert found["decision"]["scores"] == pytest.approx(wanted("mean").scores.tolist(), rel=1e-6)
    assert found["certificate"]["verdict"] == "EXACT"
    assert Path("overlay.png").exists()
    assert list(Path("temporary").iterdir()) == []


def test_each_region_has_a_line_and_an_entry() -> None:
    lines = scan("photo.png", "--decide", "max", "--regions", "regions.geojson").stdout.splitlines()
    assert [line[:15] for line in lines[-3:]] == ["decided  max of", "         nose: ", "         nose: "]
    found = json.loads(scan("photo.png", "--decide", "max", "--regions", "regions.geojson", "--json").stdout)
    assert [each["region"]["number"] for each in found["decision"]] == [0, 1]
    assert found["decision"][0]["region"]["properties"] == {"name": "nose"}


def test_a_warning_has_a_line() -> None:
    line = scan("photo.png", "--decide", "noisy-or").stdout.splitlines()[-1]
    assert line.startswith(
        "remark   noisy-or takes windows as independent, and these overlap: each pixel counts up to 9"
    )


def test_several_images_have_decisions_of_their_own_and_one_that_fails_does_not_stop_the_others() -> None:
    Image.fromarray(PIXELS[::-1]).save("other.png")
    found = json.loads(scan("photo.png", "other.png", "-o", "maps/", "--decide", "mean", "--json").stdout)
    assert [each["decision"]["windows"] for each in found] == [252, 252]
    assert found[0]["decision"]["scores"] == wanted("mean").scores.tolist()
    Image.fromarray(PIXELS[:30, :30]).save("other.png")
    region = json.loads(Path("regions.geojson").read_text().replace("[10", "[90").replace("60", "99"))
    Path("regions.geojson").write_text(json.dumps(region))
    result = scan(
        "photo.png",
        "other.png",
        "-o",
        "maps/",
        "--decide",
        "mean",
        "--regions",
        "regions.geojson",
        "--overwrite",
        code=1,
    )
    assert "decided  mean of scores" in result.stdout
    assert "lie outside the image" in result.stderr
    assert "1 of 2 images scanned" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--decide", "avg"], 1, "how: 'avg' is not known\n  fix: write mean"),
        (["--decide", "top-k:0"], 1, "top-k: 0 is no number of windows"),
        (["--on", "softmax"], 2, "--on needs --decide"),
        (["--regions", "regions.geojson"], 2, "--regions needs --decide"),
        (["--decide", "mean", "--on", "logits"], 1, "went through softmax, which cannot be undone"),
        (["--decide", "mean", "--on", "softmax", "--temperature", "2"], 1, "divides logits, and the map's scores went"),
        (["--decide", "mean", "--regions", "none.geojson"], 1, "none.geojson: there is no such file"),
        (["--decide", "max", "--labels"], 1, "decision: labels are no scores"),
    ],
)
def test_what_cannot_be_decided_is_told_before_the_scan(options: list[str], code: int, text: str) -> None:
    result = scan("photo.png", *options, "-o", "map.zarr", code=code)
    assert text in result.stderr
    assert not Path("map.zarr").exists()


def test_labels_have_shares() -> None:
    found = json.loads(scan("photo.png", "--decide", "mean", "--labels", "--json").stdout)["decision"]
    assert found["on"] == "labels"
    assert sum(found["scores"]) == pytest.approx(1)
