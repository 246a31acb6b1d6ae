"""Locks where the file system has them, and lock files where it has none."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import fullfield
from fullfield import ResumeError, file_locks
from fullfield.file_locks import LockedError, file_lock, has_locks
from fullfield.files import replacing
from tests.processes import PATIENCE_S

REFUSALS = [errno.EACCES, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL]


@pytest.fixture(params=REFUSALS, ids=errno.errorcode.get)
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses ``flock``."""
    monkeypatch.setattr(file_locks, "_SAID", set())
    monkeypatch.setattr(fcntl, "flock", refusing(request.param))


def refusing(code: int) -> Any:
    def flock(handle: int, operation: int) -> None:
        if not operation & fcntl.LOCK_UN:
            raise OSError(code, os.strerror(code))

    return flock


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("without_locks")
def test_a_file_locks_where_the_disk_does_not_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), file_lock(tmp_path / "a") as file:
        assert names(tmp_path) == [file.name] == ["a.held"]
        with pytest.raises(LockedError, match=rf"process {os.getpid()} on .*; if it no longer runs, remove .*a\.held"):
            file_lock(tmp_path / "a").__enter__()
        with file_lock(tmp_path / "b"):
            pass
    assert names(tmp_path) == []
    (line,) = caplog.messages
    assert line == f"{tmp_path.parent}: this disk has no file locks; files named *.held lock results there instead"


def test_a_disk_with_locks_is_locked_by_the_system_and_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert has_locks(tmp_path)
    with file_lock(tmp_path / "a"):
        assert names(tmp_path) == ["a"]
        with pytest.raises(LockedError):
            file_lock(tmp_path / "a").__enter__()
    assert caplog.messages == []


def die(path: Path) -> None:
    """In another process: takes the lock and dies."""
    fcntl.flock = refusing(errno.ENOLCK)
    lock = file_lock(path)
    lock.__enter__()
    os._exit(9)


@pytest.mark.parametrize("wait", [False, True])
def test_the_lock_file_of_a_dead_process_is_taken_over(
    tmp_path: Path, wait: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die, args=(tmp_path / "a",))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 9
    assert names(tmp_path) == ["a.held"]
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with file_lock(tmp_path / "a", wait=wait):
        pass
    assert names(tmp_path) == []


def test_the_lock_file_of_another_machine_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    monkeypatch.setattr(file_locks, "_NOTICE_S", 0.01)
    monkeypatch.setattr(file_locks, "_MOST_WAIT_S", 0.02)
    (tmp_path / "a.held").write_text("77\nelsewhere\n")
    with pytest.raises(LockedError, match=r"process 77 on elsewhere; if it no longer runs, remove .*a\.held"):
        file_lock(tmp_path / "a", wait=True).__enter__()
    assert "waiting for another process, process 77 on elsewhere" in caplog.messages[-1]
    assert names(tmp_path) == ["a.held"]


@pytest.mark.usefixtures("without_locks")
def test_results_are_written_there_and_nothing_else_is_left(tmp_path: Path) -> None:
    model = fullfield.load(nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten()).eval(), window=4)
    image = np.random.default_rng(0).random((20, 30, 3), np.float32)
    for name in ("a.zarr", "b.npz"):
        assert fullfield.scan(model, image, step=2, output=tmp_path / name) is not None
    with replacing(tmp_path / "c.txt", overwrite=False, needed_bytes=1) as place:
        place.write_text("c")
    assert names(tmp_path) == ["a.zarr", "b.npz", "c.txt"]


def test_what_a_process_of_another_machine_writes_is_not_swept_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard, soft = (tmp_path / f".fullfield-{name}.partial" for name in ("hard", "soft"))
    for folder, lock in ((hard, "lock"), (soft, "lock.held")):
        folder.mkdir()
        (folder / lock).write_text("77\nelsewhere\n")
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with replacing(tmp_path / "a", overwrite=False, needed_bytes=1) as place:
        place.write_text("a")
    assert names(tmp_path) == [hard.name, soft.name, "a"]
    monkeypatch.undo()
    with replacing(tmp_path / "b", overwrite=False, needed_bytes=1) as place:
        place.write_text("b")
    assert names(tmp_path) == [soft.name, "a", "b"]


def test_processes_exclude_each_other_on_a_disk_without_locks(tmp_path: Path) -> None:
    """Another process of this machine writes the output; then it is killed, and the next run resumes."""
    script = f"""
import errno, fcntl, sys, time
from tests.test_file_locks import refusing
fcntl.flock = refusing(errno.EOPNOTSUPP)
from tests.store.test_journal import begin, open_journal, write
from pathlib import Path
output = Path({str(tmp_path / "map.zarr")!r})
with open_journal(output, begin(output)) as journal:
    write(journal, 3)
    print("ready", flush=True)
    time.sleep({PATIENCE_S})
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.MonkeyPatch.context() as patched:
            from tests.store.test_journal import done

            patched.setattr(fcntl, "flock", refusing(errno.EOPNOTSUPP))
            with pytest.raises(ResumeError, match=rf"another process writes it now .process {other.pid} on "):
                done(tmp_path / "map.zarr")
            other.kill()
            other.wait(PATIENCE_S)
            assert done(tmp_path / "map.zarr") == {3}
