"""``fullfield.list_images`` and ``scan_files`` with summaries and thumbnails: folders, lists, and runs that resume."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fullfield
from fullfield import BatchOutput, FileResult, GeometryError, ImageError, ImageFile, ListedImage, ResumeError, Selection
from fullfield.exporters.table_file import read_table
from fullfield.files import remove
from fullfield.jobs import passes

MODEL = str(files("fullfield") / "data" / "rnet.onnx")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 44, 3), dtype=np.uint8)
OUTPUT = BatchOutput("maps/{folder}/{name}.zarr", summary="s.csv", thumbnails="small/{folder}/{name}.png")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, shift in (("in/a.png", 0), ("in/x/a.png", 1), ("in/x/b.png", 2)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(PIXELS, 4 * shift, axis=1)).save(name)
    return tmp_path


def scan(images: Any = None, output: Any = OUTPUT, **settings: Any) -> list[FileResult]:
    found = fullfield.list_images("in", recursive=True) if images is None else images
    return list(fullfield.scan_files(MODEL, found, output, **{"step": 4, **settings}))


def rows(path: str = "s.csv") -> dict[str, dict[str, Any]]:
    return {str(row["image"]): row for row in read_table(Path(path))}


# -- list_images -------------------------------------------------------------------------------------------------------


def test_paths_folders_patterns_and_lists_name_images() -> None:
    Path("list.txt").write_text("in/x/b.png\nin/a.png\n")
    paths = ["in/x/a.png", "in", "in/*/b.png", Path("list.txt"), "https://host/c.tif"]
    found = [image.path for image in fullfield.list_images(paths)]
    assert found == ["in/x/a.png", "in/a.png", "in/x/b.png", "https://host/c.tif"]
    assert [image.folder for image in fullfield.list_images("in", recursive=True)] == ["", "x", "x"]
    assert [image.path for image in fullfield.list_images("in/**/*.png")] == ["in/a.png", "in/x/a.png", "in/x/b.png"]


def test_the_part_that_is_picked_is_that_of_every_image() -> None:
    part = Selection(bands=(2, 1, 0))
    (first, *_) = fullfield.list_images("in", selection=part)
    assert first.image == ImageFile("in/a.png", part)
    kept = [ImageFile("in/a.png", Selection(level=0)), ListedImage("b.tif", mask="m.png")]
    assert fullfield.list_images(kept, selection=part) == [ListedImage("in/a.png", Selection(level=0)), kept[1]]


def test_what_names_no_image_is_one_error() -> None:
    with pytest.raises(ImageError, match="matches no file"):
        fullfield.list_images("in/*.svs")
    Path("[a].png").write_bytes(Path("in/a.png").read_bytes())
    assert [image.path for image in fullfield.list_images("[a].png")] == ["[a].png"]


def test_results_in_a_folder_are_no_images() -> None:
    scan(output=BatchOutput("in/maps/{folder}/{name}.zarr", thumbnails="in/{folder}/{name}-over.png"))
    scan(output="in/{folder}/{name}.tif")
    Path("in/c.zarr.journal").mkdir()
    assert [image.path for image in fullfield.list_images("in", recursive=True)] == [
        "in/a.png", "in/x/a.png", "in/x/b.png",
    ]  # fmt: skip


# -- what is written ---------------------------------------------------------------------------------------------------


def test_every_image_has_a_map_a_thumbnail_and_a_row() -> None:
    results = scan()
    assert [result.output for result in results] == [Path(f"maps/{n}.zarr") for n in ("a", "x/a", "x/b")]
    assert [result.thumbnail for result in results] == [Path(f"small/{n}.png") for n in ("a", "x/a", "x/b")]
    for result in results:
        expected = fullfield.scan(MODEL, result.image, step=4)
        assert result.scores is not None
        np.testing.assert_array_equal(result.scores.array, expected.array)
        assert result.windows == expected.array[0].size == 30
        with Image.open(f"small/{Path(result.image).relative_to('in')}") as drawn:
            assert drawn.width >= 44
    assert list(rows()["in/a.png"]) == ["image", "output", "windows", "background", "seconds", "error", "run"]
    assert rows()["in/x/b.png"]["output"] == "maps/x/b.zarr"
    assert {(row["windows"], row["background"], row["error"]) for row in rows().values()} == {("30", None, None)}


def test_thumbnails_are_small_however_small_the_image() -> None:
    (result,) = scan(["in/a.png"], BatchOutput(thumbnails="t/{name}.png", side=22, cls="face"))
    assert result.scores is not None
    assert result.scores.path is None
    with Image.open("t/a.png") as drawn:
        photo = np.asarray(drawn)[:20, :22]
    assert photo.shape == (20, 22, 3)
    expected = result.scores.overlay("in/a.png", "face")
    assert np.asarray(expected).shape[0] > np.asarray(Image.open("t/a.png")).shape[0]


def test_a_picture_of_another_program_is_not_replaced() -> None:
    Path("t").mkdir()
    Image.fromarray(PIXELS).save("t/a.png")
    before = Path("t/a.png").read_bytes()
    (result,) = scan(["in/a.png"], BatchOutput("m/{name}.zarr", thumbnails="t/{name}.png"))
    assert "exists already" in str(result.error)
    assert Path("t/a.png").read_bytes() == before
    (result,) = scan(["in/a.png"], BatchOutput("m/{name}.zarr", thumbnails="t/{name}.png"), existing="overwrite")
    assert result.good
    (result,) = scan(["in/a.png"], BatchOutput("m/{name}.zarr", thumbnails="t/{name}.png"))
    assert result.good


def test_the_background_found_is_a_share_of_the_image() -> None:
    slide = np.full((256, 320, 3), 240, np.uint8)
    slide[64:104, 80:124] = PIXELS // 2
    Image.fromarray(slide).save("slide.png")
    expected = 1 - fullfield.find_foreground("slide.png").share
    where = fullfield.Where(skip_background=True)
    for _ in range(2):
        (result,) = scan(["slide.png"], BatchOutput("m/{name}.zarr", summary="s.parquet"), step=8, where=where)
        assert result.background == pytest.approx(expected, abs=1e-6)
        (row,) = read_table(Path("s.parquet"))
        assert (row["background"], row["windows"]) == (result.background, result.windows)
    assert result.skipped
    valid = fullfield.open_scores("m/slide.zarr").valid()
    assert 0 < result.windows == valid.sum() < valid.size


def test_a_list_states_pixel_sizes_masks_and_facts() -> None:
    ring = [[[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]]
    Path("in/m.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": ring}))
    Path("in/list.csv").write_text("image,mpp,mask,patient\na.png,0.5,,P1\nx/b.png,1,m.geojson,P2\n")
    found = fullfield.list_images("in/list.csv", selection=Selection(mpp=1.0))
    output = BatchOutput("m/{name}.zarr", summary="s.csv", thumbnails="t/{name}.png")
    first, second = scan(found, output, step=1, scale=1.5)
    assert (first.error, second.error) == (None, None)
    assert fullfield.open_scores("m/a.zarr").placement.scanned == (30, 33)
    masked = fullfield.open_scores("m/b.zarr")
    assert masked.placement.scanned == (60, 66)
    expected = fullfield.scan(MODEL, "in/x/b.png", step=1, scale=1.5, where=fullfield.Where(mask="in/m.geojson"))
    np.testing.assert_array_equal(masked.valid(), expected.valid())
    assert not masked.valid().all()
    assert [row["patient"] for row in rows().values()] == ["P1", "P2"]


def test_a_decision_is_a_column_for_each_class_and_needs_no_map() -> None:
    output = BatchOutput(summary="s.csv", decide="quantile:0.9")
    results = scan(output=output)
    for result in results:
        wanted = fullfield.decide(MODEL, result.image, "quantile:0.9", step=4)
        assert isinstance(result.decision, fullfield.Decision)
        assert result.decision.to_dict() == wanted.to_dict()
        assert (result.scores, result.windows, result.provenance["input"]["order"]) == (None, 30, "RGB")
        row = rows()[result.image]
        assert [float(row[f"decision_{name}"]) for name in wanted.names] == wanted.scores.tolist()
        assert row["top"] == wanted.top
    first = list(rows()["in/a.png"])
    assert first[:5] == ["image", "output", "decision_background", "decision_face", "top"]
    assert [result.skipped for result in scan(output=output)] == [True, True, True]
    with pytest.raises(ResumeError, match="is the summary of other settings"):
        scan(output=BatchOutput(summary="s.csv", decide="mean"))
    with pytest.raises(ResumeError, match="is the summary of other settings"):
        scan(output=BatchOutput(summary="s.csv", decide="quantile:0.9", views="flips"))


def test_sizes_and_views_are_decided_beside_the_map_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    output = BatchOutput("m/{name}.zarr", summary="s.csv", decide="mean", scales=[1, 1.5], views="flips")
    scans: list[object] = []
    monkeypatch.setattr(passes, "_scanned", lambda *args, run=passes._scanned: scans.append(args) or run(*args))
    (result,) = scan(["in/a.png"], output, mode=("exact", "context"))
    assert len(scans) == 2 * 4 * 2 - 1  # the stored map is one of them
    modes = ("exact", "context")
    wanted = fullfield.decide(MODEL, "in/a.png", "mean", step=4, scales=[1, 1.5], views="flips", mode=modes)
    assert isinstance(result.decision, fullfield.Decision)
    assert result.decision.to_dict() == wanted.to_dict()
    assert result.windows == wanted.windows > 30
    assert result.scores is not None
    np.testing.assert_array_equal(result.scores.array, fullfield.scan(MODEL, "in/a.png", step=4).array)


def test_a_decision_alone_can_be_verified_and_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from fullfield.verification.certificate import Certificate

    (result,) = scan(["in/a.png"], BatchOutput(decide="mean", thumbnails="t/{name}.png"), verify=2)
    assert result.certificate is not None
    assert result.good
    assert Path("t/a.png").is_file()
    monkeypatch.setattr(Certificate, "holds", property(lambda self: False))
    (result,) = scan(["in/a.png"], BatchOutput(decide="mean"), verify=2)
    assert not result.good


# -- resuming ----------------------------------------------------------------------------------------------------------


def test_finished_images_are_skipped_and_their_rows_stay() -> None:
    first = scan()
    before = rows()
    told: list[str] = []
    second = scan(progress=lambda path: told.append(path))
    assert [result.skipped for result in second] == [True, True, True]
    assert [result.windows for result in second] == [result.windows for result in first]
    assert (rows(), told) == (before, [])
    Image.fromarray(PIXELS).save("in/new.png")
    assert [result.skipped for result in scan()] == [True, False, True, True]
    assert {name: rows()[name] for name in before} == before


def test_what_changed_failed_or_lost_its_files_is_scanned_again() -> None:
    Path("in/x/b.png").write_bytes(Path("in/a.png").read_bytes()[:99])
    assert [result.good for result in scan()] == [True, True, False]
    assert "cannot be decoded" in rows()["in/x/b.png"]["error"]
    Path("in/x/b.png").write_bytes(Path("in/a.png").read_bytes())
    assert [result.skipped for result in scan()] == [True, True, False]
    assert rows()["in/x/b.png"]["error"] is None
    Path("small/a.png").unlink()
    remove(Path("maps/x/a.zarr"))
    assert [result.skipped for result in scan()] == [False, False, True]
    Image.fromarray(PIXELS[::-1]).save("in/a.png")
    (result, *_) = scan()
    assert isinstance(result.error, (ResumeError, ImageError))  # its map is that of another image
    assert scan(existing="overwrite")[0].good
    np.testing.assert_array_equal(
        fullfield.open_scores("maps/a.zarr").array, fullfield.scan(MODEL, PIXELS[::-1].copy(), step=4).array
    )


def test_a_run_that_stops_midway_keeps_what_is_finished() -> None:
    results = fullfield.scan_files(MODEL, fullfield.list_images("in", recursive=True), OUTPUT, step=4)
    next(results)
    assert list(rows()) == ["in/a.png"]
    with pytest.raises(ResumeError, match="is being written by another process"):
        scan()
    results.close()  # type: ignore[attr-defined]
    assert [result.skipped for result in scan()] == [True, False, False]
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"step": 8}, "other settings"),
        ({"mode": "context"}, "other settings"),
        ({"where": fullfield.Where(edge="reflect")}, "other settings"),
        ({"encoding": fullfield.Encoding(dtype="float16")}, "other settings"),
        ({"verify": 3}, "other settings"),
    ],
)
def test_a_summary_is_of_one_model_and_one_setting(other: dict[str, Any], says: str) -> None:
    output = BatchOutput(summary="s.csv")
    scan(["in/a.png"], output)
    before = rows()
    with pytest.raises(ResumeError, match=f"s.csv: is the summary of {says}"):
        scan(["in/a.png"], output, **other)
    assert rows() == before
    (result,) = scan(["in/a.png"], output, existing="restart", **other)
    assert not result.skipped
    assert rows() != before


def test_a_summary_of_another_model_is_not_continued() -> None:
    scan(["in/a.png"], BatchOutput(summary="s.csv"))
    other = fullfield.load(MODEL, preprocessing="imagenet")
    with pytest.raises(ResumeError, match="is the summary of another model"):
        list(fullfield.scan_files(other, "in/a.png", BatchOutput(summary="s.csv"), step=4))


def test_budget_and_threads_do_not_make_another_run() -> None:
    scan(["in/a.png"], BatchOutput(summary="s.csv"))
    compute = fullfield.Compute(budget="300MB", threads=1)
    assert [result.skipped for result in scan(["in/a.png"], BatchOutput(summary="s.csv"), compute=compute)] == [True]


def test_another_table_is_replaced_only_on_request() -> None:
    Path("s.csv").write_text("my,table\n1,2\n")
    with pytest.raises(ImageError, match="exists already, and is no summary of a scan"):
        scan(["in/a.png"], BatchOutput(summary="s.csv"))
    assert Path("s.csv").read_text() == "my,table\n1,2\n"
    scan(["in/a.png"], BatchOutput(summary="s.csv"), existing="overwrite")
    assert list(rows()) == ["in/a.png"]


def test_scores_that_are_not_what_their_mode_promises_are_an_error_in_the_summary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fullfield.verification.certificate import Certificate

    monkeypatch.setattr(Certificate, "holds", property(lambda self: False))
    (result,) = scan(["in/a.png"], BatchOutput(summary="s.csv"), verify=2)
    assert not result.good
    assert rows()["in/a.png"]["error"] == "verified: EXACT"
    assert [each.skipped for each in scan(["in/a.png"], BatchOutput(summary="s.csv"), verify=2)] == [False]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"scores": "a.zarr"}, GeometryError, "has no {name}"),
        ({"thumbnails": "a.png"}, GeometryError, "has no {name}"),
        ({"thumbnails": "{name}.tif"}, GeometryError, "names no picture"),
        ({"summary": "s.xlsx"}, ImageError, "names no table"),
        ({"summary": "none/s.csv"}, ImageError, "there is no folder"),
        ({"side": 0}, GeometryError, "0 px is not positive"),
        ({"views": "flips"}, fullfield.ArgumentError, "are of a decision, and none is asked for"),
        ({"decide": "average"}, fullfield.ArgumentError, "write mean"),
        ({"decide": "mean", "views": "sideways"}, GeometryError, "'sideways' is not known"),
        ({"sumary": "s.csv"}, fullfield.ArgumentError, "did you mean summary?"),
    ],
)
def test_an_output_that_means_nothing_is_one_error(fields: dict[str, Any], error: type, says: str) -> None:
    with pytest.raises(error, match=says.replace("{", r"\{").replace("?", r"\?")):
        BatchOutput(**fields)


def test_outputs_that_cannot_be_are_found_before_the_first_scan() -> None:
    with pytest.raises(GeometryError, match="a summary is written by one process"):
        scan(compute=fullfield.Compute(world=2))
    with pytest.raises(fullfield.ArgumentError, match="output: 5 is no path"):
        scan(output=5)
    Path("list.csv").write_text("image,seconds\nin/a.png,3\n")
    with pytest.raises(ImageError, match="seconds: is a column of the list and of the summary"):
        scan(["list.csv"])
    with pytest.raises(fullfield.ArgumentError, match="are several, for a decision"):
        scan(mode=("exact", "context"))
    with pytest.raises(fullfield.ArgumentError, match="compares one scan with crops"):
        scan(output=BatchOutput(decide="mean", views="flips"), verify=2)
    with pytest.raises(GeometryError, match=r"would both go to small/a.png"):
        scan(output=BatchOutput("maps/{parent}-{name}.zarr", thumbnails="small/{name}.png"))
    assert not Path("s.csv").exists()


def test_a_mask_that_is_missing_fails_its_image_alone() -> None:
    Path("list.csv").write_text("image,mask\nin/a.png,none.png\nin/x/b.png,\n")
    first, second = scan(["list.csv"], BatchOutput(summary="s.csv"))
    assert "none.png" in str(first.error)
    assert second.good
    assert [result.skipped for result in scan(["list.csv"], BatchOutput(summary="s.csv"))] == [False, True]


def test_an_output_folder_that_cannot_be_made_is_an_error_of_its_image() -> None:
    Path("maps").write_text("a file")
    first, *_ = scan(output="maps/{folder}/{name}.zarr")
    assert "cannot be made" in str(first.error)
