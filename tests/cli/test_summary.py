"""What a summary says of a map: the same whether it is in memory or read from the disk in pieces."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullfield.api.scores import open_scores
from fullfield.cli.summary import Digest, summary, text
from tests.store.maps import stored

DRAW = np.random.default_rng(0)


def gaps(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[:, 100:300, :40] = np.nan
    array[1, 5:9, 3:8] = np.nan
    return array


MAPS = {
    "one chunk": DRAW.standard_normal((3, 50, 70)),
    "chunks of bands and cells": DRAW.standard_normal((70, 300, 90)),
    "gaps": gaps(DRAW.standard_normal((3, 320, 300))),
    "ties": DRAW.integers(0, 3, (66, 300, 270)).astype(float),
    "nothing": np.full((2, 30, 300), np.nan),
    "infinite": np.where(DRAW.random((2, 300, 40)) < 0.01, np.inf, DRAW.standard_normal((2, 300, 40))),
}


def said(array: np.ndarray) -> dict[str, Any]:
    """As NumPy says it."""
    there = ~np.isnan(array).any(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bands that are NaN throughout
        span = np.nan_to_num(np.nan_to_num(np.nanmax(array, (1, 2))) - np.nan_to_num(np.nanmin(array, (1, 2))))
    shown = int(np.flatnonzero(span >= 0.999 * span.max())[-1])
    best = np.bincount(array.argmax(axis=0)[there], minlength=array.shape[0])
    where = divmod(int(np.where(np.isnan(array[shown]), -np.inf, array[shown]).argmax()), array.shape[2])
    return {"scored": int(there.sum()), "best": best.tolist(), "widest_band": shown, "highest": where}


@pytest.mark.parametrize("name", MAPS)
def test_a_digest_of_pieces_is_that_of_the_whole(name: str, tmp_path: Path) -> None:
    array = MAPS[name].astype(np.float32)
    stored(tmp_path / "a.zarr", array, shard=(256, 64))
    pieces = Digest(array.shape[0])
    found = open_scores(tmp_path / "a.zarr")
    for top, left, parts in found.iter_chunks():
        pieces.add(parts, top, left)
    wanted = said(array)
    for digest in (Digest.of(found.to_memory()), pieces):
        assert digest.scored == wanted["scored"]
        assert digest.best.tolist() == wanted["best"]
        assert digest.widest_band == wanted["widest_band"]
        if digest.scored:
            assert tuple(digest.highest[digest.widest_band]) == wanted["highest"]
            assert digest.high[digest.widest_band] == np.nanmax(array[digest.widest_band])


def test_a_stored_map_is_summed_up_like_one_in_memory(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", MAPS["gaps"].astype(np.float32), classes=(7, 2, 9))
    on_disk = open_scores(tmp_path / "a.zarr")
    scores = on_disk.to_memory()
    found = summary(on_disk, None, 2.0, ["a.zarr"])
    assert found == summary(scores, None, 2.0, ["a.zarr"])
    assert {entry["class"] for entry in found["top"]} == {"class 7", "class 2", "class 9"}
    assert sum(entry["windows"] for entry in found["top"]) == found["cells_scored"] == 320 * 300 - 200 * 40 - 20


def test_of_a_map_in_bytes_the_scores_are_said(tmp_path: Path) -> None:
    numbers = DRAW.integers(0, 255, (2, 40, 30)).astype(np.uint8)
    numbers[1, 3, 4] = 254
    stored(tmp_path / "a.zarr", numbers, scale=0.5, offset=-1.0)
    scores = open_scores(tmp_path / "a.zarr")
    found = summary(scores, 1, 2.0, [])
    assert found["highest"]["score"] == 126
    assert found["dtype"] == "uint8"


def test_a_summary_takes_the_memory_of_an_inner_chunk(tmp_path: Path) -> None:
    array = np.broadcast_to(DRAW.standard_normal((64, 1, 1024)).astype(np.float32), (64, 1024, 1024))  # 256 MiB
    stored(tmp_path / "a.zarr", array, shard=(512, 512))
    on_disk = open_scores(tmp_path / "a.zarr")
    tracemalloc.start()
    summary(on_disk, None, 1.0, [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * (16 << 20)


def test_maps_on_disk_of_more_than_a_gigabyte_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "a.zarr", np.zeros((2, 9, 9), np.float32))
    scores = open_scores(tmp_path / "a.zarr")
    monkeypatch.setattr("fullfield.cli.summary._READ", 2 * 9 * 9 * 4)
    assert "top" in summary(scores, None, 2.0, [])
    monkeypatch.setattr("fullfield.cli.summary._READ", 2 * 9 * 9 * 4 - 1)
    assert "top" not in summary(scores, None, 2.0, [])
    assert "top" in summary(scores.to_memory(), None, 2.0, [])


def test_labels_are_not_summed_up(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", np.zeros((1, 9, 9), np.uint8), kind="labels", classes=(0, 1))
    scores = open_scores(tmp_path / "a.zarr")
    found = summary(scores, None, 2.0, [])
    assert (found["kind"], "top" in found) == ("labels", False)


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({"nans": 0, "saturated": 12}, "counted  12 scores beyond the range of uint8"),
        ({"nans": 3, "saturated": 12}, "counted  12 scores beyond the range of uint8, 3 scores NaN"),
        ({"nans": 3, "saturated": 0}, "counted  3 scores NaN"),
        ({"nans": 0, "saturated": 0}, None),
        (None, None),
    ],
)
def test_scores_that_could_not_be_stored_are_counted(
    tmp_path: Path, counts: dict[str, int] | None, line: str | None
) -> None:
    provenance = {} if counts is None else {"counts": counts}
    stored(tmp_path / "a.zarr", np.zeros((2, 9, 9), np.uint8), provenance=provenance)
    found = summary(open_scores(tmp_path / "a.zarr"), None, 2.0, [])
    assert found.get("counts") == counts
    assert [said for said in text(found).splitlines() if said.startswith("counted")] == ([line] if line else [])
