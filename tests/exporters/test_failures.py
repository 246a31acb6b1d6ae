"""What goes wrong while a map is written: one clear error, and nothing left."""

import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from fullfield.errors import BudgetError, ImageError
from fullfield.exporters import Options, export
from fullfield.exporters.tiff_complete import missing_tiles
from tests.exporters.maps import Map, placed, score_map

LARGE = placed(step=(1, 1), window=(1, 1), image=(700, 600), scanned=(700, 600), padding=(0, 0, 0, 0))
SMALLER = placed(step=(1, 1), window=(1, 1), image=(350, 300), scanned=(350, 300), padding=(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {}),
        ("a.tif", {"cog": False}),
        ("a.ome.tif", {}),
        ("a.npy", {}),
        ("a.geojson", {}),
        ("a.csv", {}),
        ("a.gpkg", {}),
        ("a.fgb", {}),
        ("a.zarr", {}),
    ],
)
def test_a_full_disk_is_one_error_and_leaves_nothing(
    tmp_path: Path, name: str, options: dict[str, bool], capfd: pytest.CaptureFixture[str]
) -> None:
    scores = score_map(1, placement=SMALLER if name in ("a.geojson", "a.gpkg", "a.fgb") else LARGE)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # a limit of the system, met as a full disk is
    try:
        with pytest.raises(ImageError, match=r"does not fit: it needs up to \d+ bytes|GDAL cannot write it"):
            export(scores, tmp_path / name, options=Options(**options))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""  # libtiff prints by itself


def test_what_gdal_says_on_a_full_disk_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr("fullfield.exporters.geotiff.missing_tiles", lambda _: 1)
    with pytest.raises(ImageError, match=r"does not fit: it needs up to \d+ bytes \(No space left"):
        export(score_map(), tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cog", [True, False])
def test_a_file_that_is_cut_off_is_found(tmp_path: Path, cog: bool) -> None:
    export(score_map(placement=LARGE), tmp_path / "a.tif", options=Options(cog=cog))
    whole = (tmp_path / "a.tif").read_bytes()
    assert missing_tiles(tmp_path / "a.tif") == 0
    (tmp_path / "b.tif").write_bytes(whole[: len(whole) // 2])
    if cog:  # the directories come first
        assert missing_tiles(tmp_path / "b.tif") > 0
    else:
        with pytest.raises(ValueError, match="ends before its directories"):
            missing_tiles(tmp_path / "b.tif")


@pytest.mark.parametrize(("name", "module", "extra"), [("a.tif", "rasterio", "geo"), ("a.ome.tif", "tifffile", "tiff")])
def test_a_missing_package_is_an_error_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=rf"needs the package.*{module}[\s\S]*pip install 'fullfield\[{extra}\]'"):
        export(score_map(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_large_file_is_ordered_by_another_process_that_an_interruption_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullfield.exporters.cog._LARGE", 0)
    scores = score_map()
    export(scores, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), scores.array)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    monkeypatch.setattr("fullfield.exporters.cog._SCRIPT", "import time; time.sleep(3600)")
    started: list[subprocess.Popen[bytes]] = []
    plain = subprocess.Popen.communicate

    def interrupted(self: subprocess.Popen[bytes], *args: object) -> None:
        started.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(scores, tmp_path / "b.tif")
    monkeypatch.setattr(subprocess.Popen, "communicate", plain)
    assert started[0].returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(("name", "module"), [("a.npz", "store"), ("a.png", "picture")])
def test_a_map_too_large_for_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setattr(f"fullfield.exporters.{module}._MOST", 1000)
    with pytest.raises(BudgetError, match=r"needs? \d+ bytes of memory, 1000 are allowed"):
        export(score_map(), tmp_path / name, classes=[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [False, True])
def test_a_store_is_copied_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: bool) -> None:
    import fullfield

    monkeypatch.setattr("fullfield.exporters.store.default_shard", lambda *_, **__: (256, 256))
    monkeypatch.setattr("fullfield.exporters.grid._MOST", 1 << 16)
    scores: Map = score_map(3, placement=LARGE, dtype="uint8")
    export(scores, tmp_path / "a.zarr", classes=["kind 2", 0], options=Options(labels=labels))
    assert max(scores.asked) <= (1 << 16) // 3
    found = fullfield.open_scores(tmp_path / "a.zarr")
    stored = found.map.read(0, 700, 0, 600)
    if labels:
        assert (found.kind, found.classes, found.class_names) == ("labels", (2, 0), ("kind 2", "kind 0"))
        top = np.where(scores.array[0] > scores.array[2], 0, 2)
        np.testing.assert_array_equal(stored[0], np.where(scores.known, top, 255))
    else:
        np.testing.assert_array_equal(stored, scores.array[[2, 0]])
        assert (found.map.spec.scale, found.map.spec.offset) == (scores.spec.scale, scores.spec.offset)
    np.testing.assert_array_equal(found.valid(), scores.known)


@pytest.mark.parametrize("name", ["a.npz", "a.png"])
def test_a_file_made_of_the_whole_map_is_refused_where_the_budget_is_less(tmp_path: Path, name: str) -> None:
    with pytest.raises(BudgetError, match=r"needs? \d+ bytes of memory, 1000 are allowed"):
        export(score_map(), tmp_path / name, classes=[0], budget_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_a_small_budget_reads_smaller_parts_of_the_same_numbers(tmp_path: Path) -> None:
    scores: Map = score_map(3, placement=LARGE, dtype="uint8")
    export(scores, tmp_path / "a.npy", classes=[0, 2])
    plain = max(scores.asked)
    scores.asked.clear()
    export(scores, tmp_path / "b.npy", classes=[0, 2], budget_bytes=300_000)
    assert max(scores.asked) < plain / 10
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
