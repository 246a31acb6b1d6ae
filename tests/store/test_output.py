"""The place of a result on disk: nothing but a result is ever replaced, and only where that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fullfield import ImageError, ResumeError
from fullfield.store.journal import journal_folder
from fullfield.store.ome_zarr import read_record
from fullfield.store.output import check_place, is_finished, put_empty_store
from tests.store.maps import spec_of

IDENTITY = {"format": 2, "step": [4, 4]}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An empty store, as a scan begins one."""
    path = tmp_path / "map.zarr"
    journal_folder(path).mkdir()
    spec = spec_of(np.zeros((2, 5, 6), np.float32))
    put_empty_store(path, replace(spec, provenance={"job": IDENTITY}))
    return path


def test_an_empty_store_is_put_in_place_of_an_earlier_one_and_leaves_nothing_else(output: Path) -> None:
    before = read_record(output)
    put_empty_store(output, replace(spec_of(np.zeros((2, 5, 6), np.float32)), provenance={"job": {"step": [8, 8]}}))
    assert read_record(output)["provenance"] != before["provenance"]
    assert list(journal_folder(output).iterdir()) == []


def test_an_unfinished_store_is_not_finished_and_needs_its_journal(output: Path) -> None:
    assert not is_finished(output, IDENTITY)
    check_place(output, overwrite=False, restart=False)
    journal_folder(output).rmdir()
    with pytest.raises(ResumeError, match="its journal is gone"):
        check_place(output, overwrite=False, restart=False)
    check_place(output, overwrite=True, restart=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ImageError):
        check_place(tmp_path, overwrite=overwrite, restart=False)


def test_a_new_place_is_free(tmp_path: Path) -> None:
    check_place(tmp_path / "map.zarr", overwrite=False, restart=False)
    assert not is_finished(tmp_path / "map.zarr", IDENTITY)
