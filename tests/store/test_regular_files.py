"""Pipes and devices inside a result are errors at once: reading them would never end."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullfield.api.info import info
from fullfield.api.scores import open_scores
from fullfield.errors import FullfieldError, ResumeError
from fullfield.store.check import check_result
from fullfield.store.journal import open_journal
from tests.processes import PATIENCE_S
from tests.store.test_journal import begin, written

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")

STORE = Path(__file__).parent / "data" / "scores-checksums.zarr"
KINDS = ("pipe", "device")


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """A read that never ends fails."""

    def fail(*given: Any) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(PATIENCE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(kind: str, path: Path) -> None:
    """A pipe, or a link to a device that gives zeros without end, in place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


def everything(path: Path) -> None:
    """Reads all scores of the finest level, and which cells are valid."""
    scores = open_scores(path)
    np.asarray(scores)
    scores.valid()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json", "valid/zarr.json", "0/c/0/0/0"])
@pytest.mark.parametrize("read", [everything, check_result, lambda path: info(path, check=True)])
def test_a_file_of_a_store_that_never_ends_is_an_error(
    read: Callable[[Path], object], name: str, kind: str, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(STORE, tmp_path / "map.zarr"))
    assert (store / name).is_file()
    put(kind, store / name)
    with pytest.raises(FullfieldError):
        read(store)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [open_scores, check_result, lambda path: info(path, check=True)])
def test_an_archive_that_never_ends_is_an_error(read: Callable[[Path], object], kind: str, tmp_path: Path) -> None:
    put(kind, tmp_path / "map.npz")
    with pytest.raises(FullfieldError):
        read(tmp_path / "map.npz")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["job.json", "0-of-1.jsonl"])
def test_a_file_of_a_journal_that_never_ends_is_an_error(name: str, kind: str, tmp_path: Path) -> None:
    output = tmp_path / "map.zarr"
    put(kind, written(output, 1).with_name(name))
    with pytest.raises(ResumeError, match="not a regular file"), open_journal(output, begin(output)):
        pass


def test_a_pipe_that_lies_in_a_journal_besides_its_files_is_ignored(tmp_path: Path) -> None:
    output = tmp_path / "map.zarr"
    put("pipe", written(output, 1).with_name("other"))
    with open_journal(output, begin(output)) as journal:
        assert journal is not None
        assert journal.finished == {1}
