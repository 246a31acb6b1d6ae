"""Scans to disk give the scores of a scan in memory, whatever happens on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute
from fullfield.api.scan import scan
from fullfield.engine.progress import Progress
from fullfield.errors import BudgetError, FullfieldError, GeometryError, ImageError, ResumeError
from fullfield.files import Room, swap
from fullfield.image.raster import ArrayRaster, ImageMetadata
from fullfield.planning import overhead
from fullfield.store.encoding import Encoding
from fullfield.store.journal import journal_folder
from tests.api.killing import contents, differing
from tests.requests import grouped

WINDOW = 12
SETTINGS: dict[str, Any] = {"step": 3, "tile": (4, 4), "budget": "64MB"}


@pytest.fixture(scope="module")
def net() -> fullfield.Model:
    return make(0)


def make(seed: int) -> fullfield.Model:
    """A tiny network."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(75, 4)]
    return fullfield.load(nn.Sequential(*layers).eval(), window=WINDOW)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((62, 71, 3), dtype=np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block for every tile: 5 by 5 of them."""
    monkeypatch.setattr(overhead, "_BLOCK_BYTES", 1)


@pytest.fixture(scope="module")
def wanted(net: fullfield.Model, image: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a run in one go."""
    output = tmp_path_factory.mktemp("whole") / "map.zarr"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(overhead, "_BLOCK_BYTES", 1)
        scan(net, image, output=output, **grouped(SETTINGS))
    return contents(output)


def check(output: Path, wanted: dict[str, bytes]) -> None:
    """The output holds what was wanted, and nothing is left beside it."""
    assert contents(output) == wanted, differing(contents(output), wanted)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


class Broken(ArrayRaster):
    """An image whose n-th read fails."""

    left = 10**9
    error: BaseException = ImageError("image.tif, y 0:10", "is damaged", fix="get a whole copy")

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        self.__dict__["left"] = self.left - 1
        if self.left < 0:
            raise self.error
        return super().read(top, bottom, left, right)


def broken(image: np.ndarray, reads: int, error: BaseException | None = None) -> Broken:
    """An image that fails after so many reads; it is the same image as one that does not."""
    raster = Broken(image, "image.tif", ImageMetadata({"of": "test"}, (16, 16), nodata=-1.0))
    raster.__dict__.update({"left": reads, **({} if error is None else {"error": error})})
    return raster


def test_the_scores_are_those_of_a_scan_in_memory(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    found = scan(net, image, output=tmp_path / "map.zarr", **grouped(SETTINGS))
    scores = fullfield.scan(net, image, step=3, compute=Compute(tile=(4, 4)))
    assert found is not None
    np.testing.assert_array_equal(found.array, scores.array)
    assert sum(name.startswith("0/c/") for name in wanted) == 25
    check(tmp_path / "map.zarr", wanted)


@pytest.mark.parametrize("error", [None, RuntimeError("of any kind")])
def test_an_error_before_the_first_block_leaves_nothing_that_the_next_scan_could_trip_over(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, error: Exception | None, wanted: dict[str, bytes]
) -> None:
    output, other = tmp_path / "map.zarr", fullfield.load(net, preprocessing="unit")
    with pytest.raises(RuntimeError if error else ImageError):
        scan(other, broken(image, 0, error), output=output, **grouped(SETTINGS))
    assert not list(tmp_path.iterdir())
    scan(net, image, output=output, **grouped(SETTINGS))
    check(output, wanted)


def test_an_error_before_the_first_block_leaves_the_result_that_was_to_be_replaced(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    output, other = tmp_path / "map.zarr", fullfield.load(net, preprocessing="unit")
    scan(net, image, output=output, **grouped(SETTINGS))
    with pytest.raises(ImageError, match="damaged"):
        scan(other, broken(image, 0), output=output, **grouped(SETTINGS), existing="overwrite")
    check(output, wanted)


def test_a_replacement_without_a_block_gives_way_to_no_other_scan_unasked(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    output = tmp_path / "map.zarr"
    scan(net, image, output=output, **grouped(SETTINGS))
    with pytest.raises(KeyboardInterrupt):
        scan(net, broken(image, 0, KeyboardInterrupt()), output=output, **grouped(SETTINGS), existing="overwrite")
    with pytest.raises((ResumeError, ImageError)):
        scan(fullfield.load(net, preprocessing="unit"), image, output=output, **grouped(SETTINGS))
    assert contents(output) == wanted


def test_an_interruption_before_the_first_block_may_be_followed_by_another_scan(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    output, other = tmp_path / "map.zarr", fullfield.load(net, preprocessing="unit")
    with pytest.raises(KeyboardInterrupt):
        scan(other, broken(image, 0, KeyboardInterrupt()), output=output, **grouped(SETTINGS))
    assert output.exists()
    scan(net, image, output=output, **grouped(SETTINGS))
    check(output, wanted)


def not_scanning(now: Progress) -> None:
    """Fails if windows are computed."""
    assert now.stage != "scanning"


def test_a_finished_scan_is_not_done_again(net: fullfield.Model, image: np.ndarray, tmp_path: Path) -> None:
    output = tmp_path / "map.zarr"
    scan(net, image, output=output, **grouped(SETTINGS))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    found = scan(net, image, output=output, **grouped(SETTINGS), existing="restart", progress=not_scanning)
    assert found is not None
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_a_certificate_can_be_asked_for_later(net: fullfield.Model, image: np.ndarray, tmp_path: Path) -> None:
    scan(net, image, output=tmp_path / "map.zarr", **grouped(SETTINGS))
    found = scan(net, image, output=tmp_path / "map.zarr", **grouped(SETTINGS), verify=5)
    at_once = scan(net, image, output=tmp_path / "other.zarr", **grouped(SETTINGS), verify=5)
    assert found is not None
    assert at_once is not None
    assert found.certificate == at_once.certificate
    assert contents(tmp_path / "map.zarr") == contents(tmp_path / "other.zarr")


class Stop(Exception):
    """The end of a process."""


class Countdown:
    """Makes the n-th of all steps that change the disk fail: before it takes place, or just after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, left: int, after: bool, error: BaseException) -> None:
        self.left, self.after, self.error, self.over = left, after, error, False
        for name in ("replace", "rename", "mkdir", "rmdir", "unlink", "fsync", "write"):
            monkeypatch.setattr(os, name, self.wrap(getattr(os, name)))

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **more: Any) -> Any:
            self.left -= 1
            dies = self.over or self.left < 0
            if dies and (self.over or not self.after):
                self.over = True  # a dead process does nothing more, whatever its handlers would
                raise self.error
            result = real(*given, **more)
            if dies:
                self.over = True
                raise self.error
            return result

        return step


def dying(output: Path, go: Callable[[], object], *, left: int, after: bool) -> bool:
    """Runs until the n-th step; whether there was one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "sleep", lambda seconds: None)
        countdown = Countdown(patched, left=left, after=after, error=Stop())
        try:
            go()
        except (Stop, FullfieldError):
            assert countdown.over
        return countdown.over


def ends(output: Path, go: Callable[[], object], first: int, every: int) -> Iterator[tuple[int, bool]]:
    """Every so many steps of a run, each the last of an attempt."""
    left = first
    while True:
        after = left % 2 == 1
        if not dying(output, go, left=left, after=after):
            return
        yield left, after
        left += every


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["anew", "restart", "overwrite"])
def test_an_end_between_any_two_steps_costs_nothing(
    how: str, stride: int, net: fullfield.Model, image: np.ndarray, tmp_path: Path
) -> None:
    """A crash at every so many steps of the disk; then the same command again."""
    output = tmp_path / "map.zarr"
    small = image[:34, :34]
    more = {} if how == "anew" else {"existing": how}

    def go() -> object:
        return scan(net, small, output=output, **grouped(SETTINGS), **more)

    def before() -> None:
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        if how == "restart":
            with pytest.raises(ImageError):
                scan(net, broken(small, 3), output=output, **grouped(SETTINGS))
        if how == "overwrite":
            shutil.copytree(other, output)

    other, whole = (tmp_path.with_name(f"{tmp_path.name}-{name}") / "map.zarr" for name in ("other", "whole"))
    for path in (other, whole):
        path.parent.mkdir()
    scan(net, small, output=other, step=3, compute=Compute(tile=(8, 8)))
    scan(net, small, output=whole, **grouped(SETTINGS))
    tried = 0
    before()
    for step in ends(output, go, 0, stride):
        if how == "overwrite":
            assert contents(output) in (contents(other), contents(whole)), (
                f"neither the old nor the new result at {step}"
            )
        go()
        check(output, contents(whole))
        tried += 1
        before()
    assert tried * stride > 60


def test_a_crash_while_nothing_is_left_to_do_but_to_seal_costs_nothing(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    output, kept = tmp_path / "map.zarr", tmp_path.with_name(tmp_path.name + "-kept")

    def fail(*given: Any, **more: Any) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fullfield.jobs.to_store.seal", fail)
        with pytest.raises(Stop):
            scan(net, image, output=output, **grouped(SETTINGS))
    shutil.copytree(tmp_path, kept)
    count = 0
    for _ in ends(output, lambda: scan(net, image, output=output, **grouped(SETTINGS)), 0, 3):
        count += 1
        scan(net, image, output=output, **grouped(SETTINGS))
        check(output, wanted)
        shutil.rmtree(tmp_path)
        shutil.copytree(kept, tmp_path)
    assert count > 5


def test_complete_is_said_last(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the word is written everything else is on the disk, and nothing in the store changes after it."""
    output = tmp_path / "map.zarr"
    events: list[tuple[str, str]] = []
    handles: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "replace")}

    def opened(path: Any, *rest: Any, **more: Any) -> int:
        handle: int = real["open"](path, *rest, **more)
        handles[handle] = os.fspath(path)
        return handle

    def forced(handle: int) -> None:
        real["fsync"](handle)
        events.append(("fsync", handles.get(handle, "")))

    def named(old: Any, new: Any) -> None:
        real["replace"](old, new)
        events.append(("replace", os.fspath(new)))

    for name, way in {"open": opened, "fsync": forced, "replace": named}.items():
        monkeypatch.setattr(os, name, way)
    scan(net, image, output=output, **grouped(SETTINGS))
    word = max(k for k, event in enumerate(events) if event == ("replace", str(output / "zarr.json")))
    before = {path for kind, path in events[:word] if kind == "fsync"}
    everything = {str(path) for path in (output, *output.rglob("*"))} - {str(output / "zarr.json")}
    unforced = {path.replace(str(output), str(journal_folder(output) / "new.zarr")) for path in everything - before}
    assert unforced <= before, sorted(unforced - before)
    within = [event for event in events[word + 1 :] if event[1].startswith(f"{output}{os.sep}")]
    assert within == []
    assert ("fsync", str(output)) in events[word:]


@pytest.mark.parametrize("reads", [7, 13, 40])
def test_after_an_image_that_could_not_be_read_the_next_run_resumes(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, reads: int
) -> None:
    output, whole = tmp_path / "map.zarr", tmp_path / "whole.zarr"
    scan(net, broken(image, 10**9), output=whole, **grouped(SETTINGS))
    with pytest.raises(ImageError, match="damaged"):
        scan(net, broken(image, reads), output=output, **grouped(SETTINGS))
    there = sum(1 for line in (journal_folder(output) / "0-of-1.jsonl").read_text().splitlines() if line)
    assert there >= reads // 2 - 4  # pixels are read twice, for their nodata
    computed: list[int] = []
    scan(
        net,
        broken(image, 10**9),
        output=output,
        **grouped(SETTINGS),
        progress=lambda now: computed.append(now.blocks_total),
    )
    assert computed[-1] == 25 - there
    assert contents(output) == contents(whole)
    assert threading.active_count() < 20


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("codec"), ValueError("bad strip")])
def test_whatever_a_reader_raises_becomes_one_clear_error(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(ImageError, match=r"image.tif, y \d+:\d+, x \d+:\d+: cannot be read"):
        scan(net, broken(image, 5, error), output=tmp_path / "map.zarr", **grouped(SETTINGS))


def test_an_interruption_ends_at_once_and_the_next_run_resumes(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    output = tmp_path / "map.zarr"

    def stop(now: Progress) -> None:
        if now.blocks == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(net, image, output=output, **grouped(SETTINGS), progress=stop)
    before = threading.active_count()
    scan(
        net,
        image,
        output=output,
        **grouped(SETTINGS),
        progress=lambda now: None if now.stage != "scanning" or now.blocks_total == 16 else pytest.fail("anew"),
    )
    assert threading.active_count() <= before + 1  # zarr's own
    check(output, wanted)


@pytest.mark.parametrize("world", [1, 2])
def test_a_finished_block_whose_file_was_damaged_is_computed_again(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes], world: int
) -> None:
    output = tmp_path / "map.zarr"

    def stop(now: Progress) -> None:
        if now.blocks == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(net, image, output=output, **grouped(SETTINGS), progress=stop)
    damaged = sorted((output / "0/c").rglob("[0-9]"))[-2:]
    for file in filter(Path.is_file, damaged):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)
    for rank in range(world):
        scan(net, image, output=output, **grouped(SETTINGS | {"rank": rank, "world": world}))
    check(output, wanted)


@pytest.mark.parametrize(("code", "writes"), [(errno.ENOSPC, 0), (errno.EDQUOT, 5), (errno.ENOSPC, 31), (errno.EIO, 9)])
def test_a_full_disk_is_one_clear_error_and_the_next_run_resumes(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes], writes: int, code: int
) -> None:
    output = tmp_path / "map.zarr"
    with pytest.MonkeyPatch.context() as patched:
        Countdown(patched, left=20 + 8 * writes, after=False, error=OSError(code, os.strerror(code)))
        with pytest.raises(ImageError, match=os.strerror(code)):
            scan(net, image, output=output, **grouped(SETTINGS))
    scan(net, image, output=output, **grouped(SETTINGS))
    check(output, wanted)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"step": 4}, "step [3, 3], now it is [4, 4]"),
        ({"tile": (4, 5)}, "compute.tile [4, 4], now it is [4, 5]"),
        ({"mode": "context"}, 'mode "exact", now it is "context"'),
        ({"edge": "reflect"}, 'where.edge "valid", now it is "reflect"'),
        ({"encoding": Encoding(labels=True)}, "encoding.labels false, now it is true"),
        ({"encoding": Encoding(classes=(1,))}, "encoding.classes null, now it is [1]"),
        ({"mask": np.eye(62, 71)}, "where.mask null, now it is"),
        ({"net": 1}, 'model_hash "'),
        ({"image": 1}, 'image.identity.blake2b "'),
        ({"version": 1}, 'fullfield "'),
    ],
)
def test_what_changed_is_named_with_both_values(
    net: fullfield.Model,
    image: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    text: str,
) -> None:
    output = tmp_path / "map.zarr"

    def stop(now: Progress) -> None:
        if now.stage == "scanning" and now.blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(net, image, output=output, **grouped(SETTINGS), progress=stop)
    other = make(1) if "net" in change else net
    pixels = image + 1 if "image" in change else image
    if "version" in change:
        monkeypatch.setattr("fullfield.jobs.job.__version__", "0.0.0")
    given = SETTINGS | {k: v for k, v in change.items() if k not in ("net", "image", "version")}
    with pytest.raises(ResumeError) as caught:
        scan(other, pixels, output=output, **grouped(given))
    assert text in caught.value.what
    found = scan(other, pixels, output=output, **grouped(given), existing="restart")
    assert found is not None
    assert not journal_folder(output).exists()


def test_an_unfinished_output_of_another_version_is_refused_by_name(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "map.zarr"
    with pytest.raises(ImageError):
        scan(net, broken(image, 5), output=output, **grouped(SETTINGS))
    job = journal_folder(output) / "job.json"
    facts = json.loads(job.read_text())
    del facts["format"]
    job.write_text(json.dumps(facts))
    with pytest.raises(ResumeError, match="was begun by another version of fullfield"):
        scan(net, image, output=output, **grouped(SETTINGS))
    assert scan(net, image, output=output, **grouped(SETTINGS), existing="restart") is not None


def test_a_result_of_another_version_is_read_and_not_replaced_unasked(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "map.zarr"
    scan(net, image, output=output, **grouped(SETTINGS))
    record = json.loads((output / "zarr.json").read_text())
    del record["attributes"]["fullfield"]["provenance"]["job"]["format"]
    del record["attributes"]["fullfield"]["checksum"]  # 0.1.0 wrote none
    (output / "zarr.json").write_text(json.dumps(record))
    with pytest.raises(ImageError, match=r"exists already, and was not written by .* this version of fullfield"):
        scan(net, image, output=output, **grouped(SETTINGS))
    assert fullfield.open_scores(output).shape == (4, 17, 20)


def test_another_result_in_the_way_is_named_and_replaced_only_if_asked(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "map.zarr"
    scan(net, image, output=output, step=6)
    with pytest.raises(ImageError, match=r"exists already with step \[6, 6\], now it is \[3, 3\]"):
        scan(net, image, output=output, **grouped(SETTINGS))
    found = scan(net, image, output=output, **grouped(SETTINGS), existing="overwrite")
    assert found is not None
    assert found.placement.step == (3, 3)


@pytest.fixture
def finished(net: fullfield.Model, image: np.ndarray, tmp_path: Path) -> Path:
    """A finished result of another step."""
    scan(net, image, output=tmp_path / "map.zarr", step=6)
    return tmp_path / "map.zarr"


def test_an_overwriting_scan_that_was_stopped_leaves_the_old_result_and_resumes(
    net: fullfield.Model, image: np.ndarray, finished: Path, wanted: dict[str, bytes]
) -> None:
    old = contents(finished)

    def stop(now: Progress) -> None:
        if now.blocks == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(net, image, output=finished, **grouped(SETTINGS), existing="overwrite", progress=stop)
    assert contents(finished) == old
    assert fullfield.open_scores(finished).placement.step == (6, 6)
    found = scan(net, image, output=finished, step=6, progress=not_scanning)  # the old result is still one
    assert found is not None
    totals: list[int] = []
    scan(
        net,
        image,
        output=finished,
        **grouped(SETTINGS),
        existing="overwrite",
        progress=lambda now: totals.append(now.blocks_total),
    )
    assert totals[-1] <= 25 - 9
    check(finished, wanted)


def test_a_full_disk_names_the_result_and_not_where_it_is_written_meanwhile(
    net: fullfield.Model, image: np.ndarray, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = contents(finished)

    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fullfield.store.ome_zarr.write_shard", full)
    with pytest.raises(ImageError, match=rf"^{finished}: the result does not fit: it needs up to \d+ bytes"):
        scan(net, image, output=finished, **grouped(SETTINGS), existing="overwrite")
    assert contents(finished) == old


def test_an_overwriting_scan_with_other_settings_begins_anew(
    net: fullfield.Model, image: np.ndarray, finished: Path, wanted: dict[str, bytes]
) -> None:
    def stop(now: Progress) -> None:
        if now.blocks == 3:
            raise KeyboardInterrupt

    other = grouped(SETTINGS | {"step": 4})
    with pytest.raises(KeyboardInterrupt):
        scan(net, image, output=finished, **other, existing="overwrite", progress=stop)
    with pytest.raises(ResumeError, match=r"was begun with .*step \[4, 4\], now it is \[3, 3\]"):
        scan(net, image, output=finished, **grouped(SETTINGS))
    scan(net, image, output=finished, **grouped(SETTINGS), existing="overwrite")
    check(finished, wanted)


def test_other_processes_join_a_scan_that_overwrites(
    net: fullfield.Model, image: np.ndarray, finished: Path, wanted: dict[str, bytes]
) -> None:
    old = contents(finished)
    first, second = (grouped(SETTINGS | {"rank": rank, "world": 2}) for rank in (0, 1))
    assert scan(net, image, output=finished, **first, existing="overwrite") is None
    assert contents(finished) == old
    assert scan(net, image, output=finished, **second) is not None
    check(finished, wanted)


def test_an_overwriting_scan_is_refused_before_it_starts_where_there_is_no_room_for_both(
    net: fullfield.Model, image: np.ndarray, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = contents(finished)
    for room, text in (
        (Room(2000, None), r"needs about \d+ bytes; 2000 are free"),
        (Room(10**9, 30), "30 can be made"),
    ):
        monkeypatch.setattr("fullfield.store.output.free_room", lambda path, room=room: room)
        with pytest.raises(ImageError, match=f"the earlier result stays until the new one is complete, .*{text}"):
            scan(net, image, output=finished, **grouped(SETTINGS), existing="overwrite", progress=not_scanning)
        assert contents(finished) == old
        assert [path.name for path in finished.parent.iterdir()] == [finished.name]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_kill_while_the_results_are_exchanged_is_repaired(
    net: fullfield.Model,
    image: np.ndarray,
    finished: Path,
    wanted: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    exchange: bool,
    moment: str,
) -> None:
    """``between`` is where a disk cannot exchange folders, and the new one has no name yet."""

    def dies(new: Path, target: Path, backup: Path) -> None:
        if moment == "between":
            backup.mkdir()
            target.rename(backup / target.name)
        elif moment == "after":
            swap(new, target, backup)
        raise Stop

    if not exchange:
        monkeypatch.setattr("fullfield.files.exchanged", lambda first, second: False)
    with monkeypatch.context() as patched:
        patched.setattr("fullfield.store.output.swap", dies)
        with pytest.raises(Stop):
            scan(net, image, output=finished, **grouped(SETTINGS), existing="overwrite")
    scan(net, image, output=finished, **grouped(SETTINGS), existing="overwrite", progress=not_scanning)
    check(finished, wanted)


@pytest.mark.parametrize("more", [{}, {"existing": "restart"}, {"existing": "overwrite"}])
def test_a_folder_of_other_things_stays(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, more: dict[str, Any]
) -> None:
    output = tmp_path / "map.zarr"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    with pytest.raises(ImageError):
        scan(net, image, output=output, **grouped(SETTINGS), **more)
    assert [path.name for path in tmp_path.rglob("*")] == ["map.zarr", "thesis.txt"]


def test_an_unfinished_output_without_its_journal_is_not_resumed(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    output = tmp_path / "map.zarr"
    with pytest.raises(ImageError):
        scan(net, broken(image, 5), output=output, **grouped(SETTINGS))
    shutil.rmtree(journal_folder(output))
    with pytest.raises(ResumeError, match="journal is gone"):
        scan(net, image, output=output, **grouped(SETTINGS))
    scan(net, image, output=output, **grouped(SETTINGS), existing="restart")
    check(output, wanted)


def test_an_output_that_was_removed_is_written_again(net: fullfield.Model, image: np.ndarray, tmp_path: Path) -> None:
    output, whole = tmp_path / "map.zarr", tmp_path / "whole.zarr"
    with pytest.raises(ImageError):
        scan(net, broken(image, 15), output=output, **grouped(SETTINGS))
    shutil.rmtree(output)
    scan(net, broken(image, 10**9), output=output, **grouped(SETTINGS))
    scan(net, broken(image, 10**9), output=whole, **grouped(SETTINGS))
    assert contents(output) == contents(whole)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_last_of_several_processes_seals_and_only_that_one(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes], order: tuple[int, ...]
) -> None:
    output = tmp_path / "map.zarr"
    found = [scan(net, image, output=output, **grouped(SETTINGS | {"rank": rank, "world": 3})) for rank in order]
    assert [one is None for one in found] == [True, True, False]
    check(output, wanted)


def test_another_number_of_processes_resumes_from_what_all_before_did(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    output = tmp_path / "map.zarr"
    assert scan(net, image, output=output, **grouped(SETTINGS | {"rank": 1, "world": 3})) is None
    totals: list[int] = []
    assert (
        scan(
            net,
            image,
            output=output,
            **grouped(SETTINGS | {"rank": 1, "world": 2}),
            progress=lambda p: totals.append(p.blocks_total),
        )
        is None
    )
    assert totals[-1] == 12 - 4
    scan(net, image, output=output, **grouped(SETTINGS), progress=lambda p: totals.append(p.blocks_total))
    assert totals[-1] == 25 - 8 - 8
    check(output, wanted)


@pytest.mark.parametrize(("rank", "world"), [(-1, 1), (1, 1), (3, 2), (0, 0)])
def test_a_process_that_is_none_is_refused(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, rank: int, world: int
) -> None:
    with pytest.raises(GeometryError, match=f"{rank} is not one of {world} processes"):
        scan(net, image, output=tmp_path / "map.zarr", compute=Compute(rank=rank, world=world))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [{"existing": "restart"}, {"existing": "overwrite"}])
def test_only_the_first_process_may_begin_anew(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, more: dict[str, Any]
) -> None:
    with pytest.raises(GeometryError, match="process 1 of 2 would undo what the others did"):
        scan(net, image, output=tmp_path / "map.zarr", compute=Compute(rank=1, world=2), **more)


def test_a_budget_too_small_names_the_least_and_that_works(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(BudgetError) as caught:
        scan(net, image, output=tmp_path / "map.zarr", step=3, compute=Compute(budget="1MB"))
    least = int(caught.value.fix.removeprefix("allow at least ").removesuffix(" MB"))
    assert scan(net, image, output=tmp_path / "map.zarr", step=3, compute=Compute(budget=f"{least}MB")) is not None
    with pytest.raises(BudgetError):
        scan(net, image, output=tmp_path / "other.zarr", step=3, compute=Compute(budget=f"{least - 1}MB"))
