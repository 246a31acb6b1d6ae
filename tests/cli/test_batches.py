"""``fullfield scan`` of folders and lists: summaries, thumbnails, progress over all images, kills and interruptions."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fullfield
from fullfield.cli.batch_clock import BatchClock, end_text
from tests.cli.scanning import MODEL, PHOTO, PIXELS, scan
from tests.processes import PATIENCE_S

PROGRAM = [sys.executable, "-c", "from fullfield.cli import main; main(prog_name='fullfield')"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/x/a.png", "in/x/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(name)
    return tmp_path


def rows(path: str = "s.csv") -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_the_folders_of_images_are_kept() -> None:
    result = scan("in", "--recursive", "-o", "maps", "--format", ".tif", "--thumbnails", "small", "--summary", "s.csv")
    assert names("maps") == ["a.tif", "x/a.tif", "x/b.tif"]
    assert names("small") == ["a.png", "x/a.png", "x/b.png"]
    assert [row["output"] for row in rows()] == ["maps/a.tif", "maps/x/a.tif", "maps/x/b.tif"]
    assert result.stderr == "3 of 3 images scanned\n"
    assert result.stdout.splitlines()[-1] == "wrote    s.csv"
    again = scan("in", "--recursive", "-o", "maps", "--format", ".tif", "--thumbnails", "small", "--summary", "s.csv")
    assert again.stdout.splitlines()[0] == "kept     in/a.png: finished before"
    assert again.stderr == "3 of 3 images scanned, 3 of them before\n"


def test_a_folder_of_one_image_is_a_batch_too() -> None:
    scan("in", "-o", "maps")
    assert Path("maps/a.zarr").is_dir()
    facts = json.loads(scan("in", "-o", "maps", "--summary", "s.csv", "--json").stdout)
    assert [entry["image"] for entry in facts] == ["in/a.png"]


def test_a_summary_needs_no_maps() -> None:
    facts = json.loads(scan("in/a.png", "--summary", "s.csv", "--json").stdout)
    assert (facts[0]["written"], rows()[0]["windows"]) == ([], "252")
    assert json.loads(scan("in/a.png", "--summary", "s.csv", "--json").stdout)[0]["skipped"]


def test_sizes_views_and_modes_are_decided_as_one() -> None:
    options = ("--decide", "mean", "--scales", "0.5,1", "--views", "flips", "--mode", "exact+context")
    wanted = fullfield.decide(MODEL, PIXELS, step=8, scales=(0.5, 1), views="flips", mode=("exact", "context"))
    lines = scan("in/a.png", *options).stdout.splitlines()
    assert (
        "decided  mean of scores; scales 0.5, 1; views original, flip-x, flip-y, turn-180; modes exact, context"
        in lines
    )
    (facts,) = json.loads(scan("in", *options, "--summary", "s.csv", "--json").stdout)
    assert facts["decision"] == wanted.to_dict()
    assert facts["input"]["text"] == "RGB, 0..255, mean 127.5, deviation 128"
    assert float(rows()[0]["decision_face"]) == wanted.scores[1]
    assert scan("in", *options).stdout.splitlines()[1].startswith("scanned  in/a.png in ")


def test_names_can_be_made_of_the_folders() -> None:
    scan("in/*.png", "in/*/a.png", "-o", "maps/{parent}_{name}.npy")
    assert names("maps") == ["in_a.npy", "x_a.npy"]


def test_the_pixel_size_is_stated_for_all_or_in_a_list() -> None:
    scan("in/a.png", "-o", "a.zarr", "--pixel-size", 0.5, "--mpp", 1)
    found = fullfield.open_scores("a.zarr")
    assert (found.mpp, found.placement.scanned) == ((0.5, 0.5), (64, 80))
    Path("in/list.csv").write_text("image;mpp\na.png;0.5\nx/b.png;1.0\n")
    scan("in/list.csv", "-o", "maps", "--mpp", 1)
    np.testing.assert_array_equal(fullfield.open_scores("maps/a.zarr").array, fullfield.open_scores("a.zarr").array)
    assert fullfield.open_scores("maps/b.zarr").placement.scanned == (128, 160)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (
            ("in",),
            2,
            "several images need -o FOLDER, --summary, --thumbnails or --decide, and no --overlay (images: a.png)",
        ),
        (("in", "-o", "maps", "--overlay", "a.png"), 2, "no --overlay"),
        (("none/*.png", "-o", "maps"), 1, "none/*.png: matches no file"),
        (("in", "-o", "maps", "--summary", "s.txt"), 1, "names no table"),
        (("in", "--summary", "s.csv", "--views", "all"), 2, "--views needs --decide"),
        (("in", "--summary", "s.csv", "--mode", "exact+context"), 2, "--mode of several modes needs --decide"),
        (("in", "--decide", "mean", "--scales", "1,big"), 2, "is not a list of numbers such as 0.75,1,1.5"),
        (("in", "--decide", "mean", "--scales", "1,0"), 1, "scales: 0.0 is no positive number"),
        (("in/a.png", "-o", "a.zarr", "--summary", "s.csv"), 2, "-o a.zarr is one file: give a folder"),
        (("in", "-o", "a.tif"), 2, "or a path with {name} in it, such as {name}.tif"),
    ],
)
def test_a_wrong_batch_is_one_clear_message(args: tuple[str, ...], code: int, says: str) -> None:
    result = scan(*args, code=code)
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("s.csv").exists()


def test_a_killed_batch_resumes_with_the_same_command() -> None:
    for name in ("a", "b", "c"):
        Image.fromarray(PHOTO).save(f"in/{name}.png")
    command = [*PROGRAM, "scan", MODEL, "in", "-o", "maps", "--summary", "s.csv", "--step", "4", "--budget", "64MB"]
    for finished in (1, 2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not (Path("s.csv").exists() and len(rows()) >= finished):
                assert process.poll() is None
                time.sleep(0.005)
            process.kill()
    before = rows()
    assert len(before) < 3
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished before") == len(before)
    assert rows()[: len(before)] == before
    assert [row["image"] for row in rows()] == ["in/a.png", "in/b.png", "in/c.png"]
    subprocess.run([*PROGRAM, "scan", MODEL, "in/c.png", "-o", "c.zarr", *command[-4:]], check=True, timeout=PATIENCE_S)
    assert names("maps/c.zarr") == names("c.zarr")
    for name in names("c.zarr/0"):
        assert (Path("maps/c.zarr/0") / name).read_bytes() == (Path("c.zarr/0") / name).read_bytes()


def test_ctrl_c_keeps_what_is_finished_and_names_the_same_command() -> None:
    for name in ("a", "b", "c"):
        Image.fromarray(PHOTO).save(f"in/{name}.png")
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "scan", MODEL, "in", "--summary", "s.csv", "--step", "2", "--budget", "64MB"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        while b"2/3 b.png" not in shown:
            shown += os.read(ours, 1 << 16)
        process.send_signal(signal.SIGINT)
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 130
    assert "1 of 3 images are finished" in text
    assert "the same command resumes the scan" in text
    assert "Traceback" not in text
    assert [row["image"] for row in rows()] == ["in/a.png"]
    for part in ("3 images", "left, ends at", "1/3 a.png: scanning"):
        assert part in text


def test_progress_for_programs_says_how_far_all_images_are() -> None:
    lines = scan("in", "--recursive", "-o", "maps", "--json-progress").stderr.splitlines()
    facts = [json.loads(line) for line in lines if line.startswith("{")]
    shares = [line["batch_fraction"] for line in facts]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert facts[0]["batch_seconds_left"] is None
    assert facts[-1]["batch_seconds_left"] == 0.0


def test_the_end_is_estimated_by_the_size_of_files(tmp_path: Path) -> None:
    for name, size in (("a", 100), ("b", 300), ("c", 200)):
        (tmp_path / name).write_bytes(b"0" * size)
    clock = BatchClock.of([str(tmp_path / name) for name in ("a", "b", "c", "folder")])
    assert clock.sizes == [100, 300, 200, 200]
    assert (clock.left_s(0.0, 5.0), clock.fraction(0.5)) == (None, 0.0)
    assert clock.start(str(tmp_path / "a"), 10.0) == 1
    assert clock.left_s(0.0, 11.0) is None
    assert clock.left_s(0.5, 15.0) == 75.0  # 50 of 800 in 5 s
    assert clock.start(str(tmp_path / "c"), 20.0) == 3  # b was finished before
    assert clock.fraction(0.5) == 500 / 800
    assert clock.left_s(0.5, 30.0) == 30.0  # 200 in 20 s, 300 are left


def test_an_end_on_another_day_has_its_date() -> None:
    assert len(end_text(0.0)) == 5
    assert "," in end_text(2 * 86400.0)
