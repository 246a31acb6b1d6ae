"""The journal: what it says is on the disk, torn lines are ignored, and one process writes a share at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fullfield.errors import ResumeError
from fullfield.store.journal import Begin, Journal, differences, has_begun, journal_folder, open_journal
from tests.processes import PATIENCE_S

JOB = {"model": "a", "step": [4, 4], "keep": {"dtype": "float32"}}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "map.zarr"


def begin(output: Path, job: dict[str, Any] | None = None, **fields: Any) -> Begin:
    """A beginning that makes an empty folder."""

    def create() -> None:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()

    return Begin(job or JOB, create, **fields)


def write(journal: Journal, block: int, text: str = "x" * 10) -> Path:
    """One block's file, noted."""
    path = journal.output / "0" / "c" / str(block)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    journal.record(block, [path], {"nans": 1})
    return path


def done(output: Path, **fields: Any) -> set[int]:
    """What a new run finds done."""
    with open_journal(output, begin(output, **fields)) as journal:
        assert journal is not None
        return set(journal.finished)


def written(output: Path, *blocks: int, **fields: Any) -> Path:
    """A run that ends after some blocks; its journal's file."""
    with open_journal(output, begin(output, **fields)) as journal:
        assert journal is not None
        for block in blocks:
            write(journal, block)
        return journal.folder / f"{journal.name}.jsonl"


def test_blocks_that_were_recorded_are_done_in_the_next_run(output: Path) -> None:
    written(output, 0, 5, 2)
    assert done(output) == {0, 2, 5}


def test_counts_are_summed_over_blocks_and_runs(output: Path) -> None:
    written(output, 0, 5)
    with open_journal(output, begin(output)) as journal:
        assert journal is not None
        write(journal, 7)
        write(journal, 5)  # again: the last entry of a block counts
        assert journal.counts() == {"nans": 3}


def test_a_journal_without_counts_is_resumed_and_has_no_sums(output: Path) -> None:
    lines = written(output, 0, 5)
    text = json.dumps({"block": 2, "files": {}})
    lines.write_text(f"{lines.read_text()}\n{zlib.crc32(text.encode()):08x} {text}\n")
    with open_journal(output, begin(output)) as journal:
        assert journal is not None
        assert journal.finished == {0, 2, 5}
        assert journal.counts() is None


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_torn_last_line_is_ignored(output: Path, kept: int) -> None:
    lines = written(output, 0, 1)
    data = lines.read_bytes()
    last = data.rindex(b"\n", 0, -1)
    lines.write_bytes(data[: last + kept])
    assert done(output) == {0}


def test_a_line_after_a_torn_one_is_read(output: Path) -> None:
    lines = written(output, 0, 1)
    lines.write_bytes(lines.read_bytes()[:-9])
    written(output, 2)
    assert done(output) == {0, 2}


def test_a_changed_line_is_ignored(output: Path) -> None:
    lines = written(output, 0, 1)
    lines.write_bytes(lines.read_bytes().replace(b'"block": 1', b'"block": 3'))
    assert done(output) == {0}


def test_zeros_that_a_power_loss_left_count_for_nothing(output: Path) -> None:
    lines = written(output, 0, 1)
    lines.write_bytes(lines.read_bytes() + bytes(4096))
    written(output, 2)
    assert done(output) == {0, 1, 2}


def test_blocks_with_missing_or_truncated_files_are_not_done(output: Path) -> None:
    written(output, 0, 1, 2)
    (output / "0/c/0").unlink()
    (output / "0/c/1").write_text("x" * 9)
    assert done(output) == {2}


def test_lines_of_all_processes_are_read_whatever_their_number(output: Path) -> None:
    written(output, 0, rank=0, world=3)
    written(output, 1, rank=1, world=3)
    assert done(output) == {0, 1}
    assert done(output, rank=3, world=4) == {0, 1}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": "b"}, 'model "a", now it is "b"'),
        ({"step": [8, 4]}, "step [4, 4], now it is [8, 4]"),
        ({"keep": {"dtype": "uint8"}}, 'keep.dtype "float32", now it is "uint8"'),
        ({"mask": 1}, "mask null, now it is 1"),
    ],
)
def test_another_job_is_refused_by_name_with_both_values(output: Path, change: dict[str, Any], text: str) -> None:
    written(output, 0)
    with pytest.raises(ResumeError) as caught, open_journal(output, begin(output, JOB | change)):
        pass
    assert text in caught.value.what
    assert "--restart" in caught.value.fix
    assert done(output) == {0}


def test_another_job_begins_anew_where_no_block_was_finished(output: Path) -> None:
    written(output)
    (output / "left").write_text("of the first job")
    assert done(output, job=JOB | {"model": "b"}) == set()
    assert not (output / "left").exists()
    written(output, 3, job=JOB | {"model": "b"})
    with pytest.raises(ResumeError, match='model "b", now it is "a"'):
        done(output)


def test_another_job_does_not_begin_anew_while_the_first_one_runs(output: Path) -> None:
    with open_journal(output, begin(output)):
        with pytest.raises(ResumeError, match="another process writes it now"):
            done(output, job=JOB | {"model": "b"})
        with pytest.raises(ResumeError, match="process 0-of-1 of another run writes it now"):
            done(output, job=JOB | {"model": "b"}, rank=1, world=2)
    assert done(output) == set()


def test_many_differences_are_counted(output: Path) -> None:
    written(output, 0)
    job = dict.fromkeys(("model", "step", "keep", "more", "still"), 1)
    with pytest.raises(ResumeError, match="and 2 more"), open_journal(output, begin(output, job)):
        pass
    assert len(list(differences(JOB, job))) == 5


def test_restart_discards_whatever_is_there(output: Path) -> None:
    written(output, 0, 1)
    assert done(output, job={"model": "b"}, restart=True) == set()
    assert done(output, job={"model": "b"}) == set()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"text"', "\x00" * 40])
def test_a_damaged_job_is_refused_unless_restarted(output: Path, text: str) -> None:
    written(output, 0)
    (journal_folder(output) / "job.json").write_text(text)
    with pytest.raises(ResumeError, match="restart"):
        done(output)
    assert done(output, restart=True) == set()


def test_a_missing_output_is_created_again(output: Path) -> None:
    written(output, 0, 1)
    shutil.rmtree(output)
    assert done(output) == set()
    assert output.is_dir()


def test_the_journal_of_a_finished_output_is_removed(output: Path) -> None:
    written(output, 0)
    with open_journal(output, begin(output, finished=lambda: True)) as journal:
        assert journal is None
    assert not journal_folder(output).exists()
    assert (output / "0/c/0").exists()


def test_a_start_that_fails_leaves_nothing(output: Path) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), open_journal(output, Begin(JOB, fail)):
        pass
    assert list(output.parent.iterdir()) == []


def test_a_start_that_was_interrupted_is_ignored(output: Path) -> None:
    written(output, 0)
    folder = journal_folder(output)
    (folder / "job.json").rename(folder / "job.json.new")
    assert not has_begun(output)
    assert done(output) == set()
    assert {path.name for path in folder.iterdir()} == {"job.json", "gate.lock", "0-of-1.lock", "0-of-1.jsonl"}


def hold(output: Path, rank: int, world: int, ready: Any) -> None:
    """In another process: keeps the journal open until it is killed."""
    with open_journal(output, begin(output, rank=rank, world=world)) as journal:
        assert journal is not None
        write(journal, 10 + rank)
        ready.set()
        time.sleep(PATIENCE_S)


class Other:
    """Another process that writes the output."""

    def __init__(self, output: Path, rank: int, world: int) -> None:
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        self.process = context.Process(target=hold, args=(output, rank, world, ready))
        self.process.start()
        assert ready.wait(PATIENCE_S)

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.join(60)


def test_processes_exclude_each_other_where_they_would_write_the_same(output: Path) -> None:
    """The same share, shares of another number of processes, and a new beginning; other shares do not."""
    with Other(output, 0, 2) as other:
        refused: list[tuple[dict[str, Any], str]] = [
            ({"rank": 0, "world": 2}, "another process writes it now"),
            ({"rank": 0, "world": 1}, "process 0-of-2 of another run writes it now"),
            ({"rank": 1, "world": 3}, "process 0-of-2 of another run writes it now"),
            ({"rank": 1, "world": 2, "restart": True}, "process 0-of-2 of another run writes it now"),
        ]
        for fields, text in refused:
            with pytest.raises(ResumeError, match=text):
                done(output, **fields)
        assert done(output, rank=1, world=2) == {10}
        other.__exit__()
        assert done(output) == {10}, "a dead process's lock must not block"


def test_threads_of_one_process_exclude_each_other_too(output: Path) -> None:
    with ExitStack() as held:
        held.enter_context(open_journal(output, begin(output)))
        with pytest.raises(ResumeError, match="another process writes it now"):
            done(output)
    assert done(output) == set()


class Disk:
    """What is on the disk: names and data that were forced there; patches ``os`` and looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handles: dict[int, str] = {}
        self.events: list[tuple[str, str]] = []
        self.real = {name: getattr(os, name) for name in ("open", "write", "fsync")}
        for name in ("open", "write", "fsync"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def open(self, path: Any, *rest: Any, **more: Any) -> int:
        handle: int = self.real["open"](path, *rest, **more)
        self.handles[handle] = os.fspath(path)
        return handle

    def write(self, handle: int, data: Any) -> int:
        self.events.append(("write", self.handles[handle]))
        count: int = self.real["write"](handle, data)
        return count

    def fsync(self, handle: int) -> None:
        self.events.append(("fsync", self.handles.get(handle, "")))
        self.real["fsync"](handle)


def test_a_line_is_written_when_file_and_folders_are_on_the_disk(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, every folder up to the output's, then the line, then the line's own way to the disk."""
    with open_journal(output, begin(output)) as journal:
        assert journal is not None
        disk = Disk(monkeypatch)
        write(journal, 3)
    forced = [output / "0/c/3", output / "0/c", output / "0", output]
    lines = str(journal.folder / "0-of-1.jsonl")
    assert disk.events == [*(("fsync", str(path)) for path in forced), ("write", lines), ("fsync", lines)]


def test_a_job_is_there_when_all_before_it_is_on_the_disk(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the file that lines go to has its name before the first line."""
    disk = Disk(monkeypatch)
    with open_journal(output, begin(output)) as journal:
        assert journal is not None
    names = [Path(path).name for kind, path in disk.events if kind == "fsync"]
    folder = journal.folder.name
    assert names == [output.parent.name, folder, "job.json.new", folder, folder]


def test_a_short_write_is_continued(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with open_journal(output, begin(output)) as journal:
        assert journal is not None
        monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
        write(journal, 3)
    assert done(output) == {3}


@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_full_disk_costs_the_block_alone(output: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(handle: int, data: bytes = b"") -> int:
        if name == "write":
            real(handle, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with open_journal(output, begin(output)) as journal:
        assert journal is not None
        write(journal, 3)
        with monkeypatch.context() as patched:
            real = os.write
            patched.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                write(journal, 4)
        write(journal, 5)
    assert done(output) == {3, 5}


def test_lines_are_plain_json_behind_their_checksums(output: Path) -> None:
    text = written(output, 3).read_text().strip()
    assert json.loads(text[9:]) == {"block": 3, "files": {"0/c/3": 10}, "counts": {"nans": 1}}
