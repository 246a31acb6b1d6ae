"""The pyramid: what each level holds, and sealing after anything that may have happened before."""

import itertools
import json
import math
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from fullfield.errors import ImageError
from fullfield.store import pyramid
from fullfield.store.levels import level_count, level_grid
from fullfield.store.ome_zarr import create_store, read_record
from fullfield.store.pyramid import GrowingStore, seal
from fullfield.store.shard_reading import read_cells
from fullfield.store.shards import ShardGrid, Slices
from fullfield.store.stored_map import open_map
from tests.store.maps import contents, fill_store, regions, spec_of, stored

DRAW = np.random.default_rng(0)
TALL = DRAW.standard_normal((2, 601, 70)).astype(np.float32)  # three levels


def mean_of_four(band: np.ndarray) -> np.ndarray:
    """Cell by cell, as one would say it."""
    rows, columns = band.shape
    out = np.full((-(-rows // 2), -(-columns // 2)), np.nan)
    for i, j in np.ndindex(out.shape):
        cells = [float(v) for v in band[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel() if not math.isnan(v)]
        out[i, j] = sum(cells) / len(cells) if cells else math.nan
    return out


def test_each_level_is_the_mean_of_the_valid_cells_below(tmp_path: Path) -> None:
    array = TALL.copy()
    array[0, 5:9, 3:8] = np.nan
    array[:, 100:300, :40] = np.nan
    spec = stored(tmp_path / "a.zarr", array)
    below = array.astype(np.float64)
    assert level_count(spec) == 3
    for level in (1, 2):
        wanted = np.stack([mean_of_four(band) for band in below])
        found = zarr.open_array(str(tmp_path / f"a.zarr/{level}"), mode="r")[:]
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
        below = found.astype(np.float64)
    assert not (tmp_path / "a.zarr/3").exists()


@pytest.mark.parametrize(("side", "levels"), [(1, 1), (256, 1), (257, 2), (512, 2), (513, 3), (10_000, 7)])
def test_levels_end_where_no_side_has_more_than_256_cells(side: int, levels: int) -> None:
    assert level_count(replace(spec_of(TALL), shape=(1, side, 1))) == levels
    assert level_count(replace(spec_of(TALL), shape=(1, 1, side))) == levels


def test_labels_stay_labels_at_every_level(tmp_path: Path) -> None:
    array = DRAW.integers(0, 300, (1, 520, 40)).astype(np.uint16)
    stored(tmp_path / "a.zarr", array, kind="labels", classes=tuple(range(300)))
    found = zarr.open_array(str(tmp_path / "a.zarr/2"), mode="r")[:]
    assert found.dtype == np.uint16
    assert found.max() < 300


def test_sealing_twice_changes_nothing(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", TALL)
    before = contents(tmp_path / "a.zarr")
    seal(tmp_path / "a.zarr")
    assert contents(tmp_path / "a.zarr") == before


def test_a_certificate_may_come_with_the_seal_or_after_it(tmp_path: Path) -> None:
    spec = stored(tmp_path / "a.zarr", TALL)
    seal(tmp_path / "a.zarr", certificate={"verdict": "EXACT"})
    assert open_map(tmp_path / "a.zarr").certificate == {"verdict": "EXACT"}
    seal(tmp_path / "a.zarr")
    assert open_map(tmp_path / "a.zarr").certificate == {"verdict": "EXACT"}
    writer = create_store(tmp_path / "b.zarr", spec, certificate={"verdict": "EXACT"})
    fill_store(writer, TALL)
    seal(tmp_path / "b.zarr")
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


@pytest.mark.parametrize("killed", range(1, 7))
def test_a_seal_that_was_killed_is_repeated_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    whole = tmp_path / "a.zarr"
    stored(whole, TALL, shard=(256, 48))
    store = tmp_path / "b.zarr"
    fill_store(create_store(store, spec_of(TALL, (256, 48))), TALL)
    renamed, rename = [], Path.replace

    def dies(self: Path, target: Path) -> Path:
        renamed.append(target)
        if len(renamed) == killed:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # no one tidies up after kill -9
        with pytest.raises(KeyboardInterrupt):
            seal(store)
    assert read_record(store)["complete"] is False
    assert list(store.rglob("*.partial"))
    seal(store)
    assert contents(store) == contents(whole)


def test_counts_are_recorded_beside_what_made_the_map_and_stay(tmp_path: Path) -> None:
    spec = replace(spec_of(TALL), provenance={"model": "a"})
    fill_store(create_store(tmp_path / "a.zarr", spec), TALL)
    seal(tmp_path / "a.zarr", counts={"nans": 2, "saturated": 12})
    seal(tmp_path / "a.zarr", certificate={"verdict": "EXACT"})
    record = read_record(tmp_path / "a.zarr")
    assert record["provenance"] == {"model": "a", "counts": {"nans": 2, "saturated": 12}}
    assert record["certificate"] == {"verdict": "EXACT"}


def test_the_levels_of_a_seal_that_was_killed_are_not_trusted(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", TALL)
    fill_store(create_store(tmp_path / "b.zarr", spec_of(TALL)), TALL)
    shutil.copytree(tmp_path / "a.zarr/1", tmp_path / "b.zarr/1")
    for file in (tmp_path / "b.zarr/1/c").rglob("0"):
        if file.is_file():
            file.write_bytes(b"torn")
    (tmp_path / "b.zarr/7").mkdir()
    seal(tmp_path / "b.zarr")
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


WIDE = DRAW.standard_normal((2, 601, 530)).astype(np.float32)  # 10 x 12 shards, three levels


def grown(path: Path, order: list[int], there: int = 0) -> GrowingStore:
    """A store whose shards are written in some order, its coarser levels beside them, all but the first few."""
    spec = spec_of(WIDE)
    places = [regions(spec)[k] for k in order]
    writer = create_store(path, spec)
    for top, bottom, left, right in places[:there]:
        writer.write(top, left, WIDE[:, top:bottom, left:right])
    store = GrowingStore(writer, [(top, left) for top, _, left, _ in places[:there]])
    for top, bottom, left, right in places[there:]:
        files = store.write(top, left, WIDE[:, top:bottom, left:right])
        assert files == (path / f"0/c/0/{top // 64}/{left // 48}",)
    return store


@pytest.mark.parametrize("shuffled", [False, True])
def test_levels_that_grow_beside_the_map_are_those_that_are_built_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffled: bool
) -> None:
    stored(tmp_path / "a.zarr", WIDE)
    order = np.random.default_rng(1).permutation(120) if shuffled else range(120)
    store = grown(tmp_path / "b.zarr", [int(k) for k in order])
    assert len(store.built) == 5 * 6 + 3 * 3
    monkeypatch.setattr(pyramid, "_build_shard", None)  # nothing is left to build,
    monkeypatch.setattr(pyramid, "read_cells", None)  # or to look at
    seal(tmp_path / "b.zarr", built=store.built, extremes=store.extremes)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


@pytest.mark.parametrize("there", [1, 50, 119, 120])
def test_the_seal_builds_what_earlier_runs_had_the_shards_for(tmp_path: Path, there: int) -> None:
    stored(tmp_path / "a.zarr", WIDE)
    store = grown(tmp_path / "b.zarr", list(range(120)), there)
    assert len(store.built) < 39 or there == 1
    seal(tmp_path / "b.zarr", built=store.built, extremes=store.extremes)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_extremes_are_those_of_what_holds_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    values = np.random.default_rng(0).integers(1, 200, (3, 10, 12)).astype(dtype)
    fill = np.nan if dtype == "float32" else 255
    values[0, 2:4], values[2] = fill, fill
    values[1, 0, 0] = np.inf if dtype == "float32" else 255
    spec = spec_of(values, (8, 8))
    for name in ("a.zarr", "b.zarr"):
        store = GrowingStore(create_store(tmp_path / name, spec))
        for top, bottom, left, right in regions(spec):
            store.write(top, left, values[:, top:bottom, left:right])
        if name == "b.zarr":
            monkeypatch.setattr(pyramid, "read_cells", None)
        seal(tmp_path / name, built=store.built, extremes=store.extremes if name == "b.zarr" else {})
    assert store.single_level
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    channels = json.loads((tmp_path / "a.zarr/zarr.json").read_text())["attributes"]["ome"]["omero"]["channels"]
    some = [band[band < 200] for band in values[:2]]
    wanted = [*((float(band.min()), float(band.max())) for band in some), (0.0, 1.0)]
    assert [(c["window"]["start"], c["window"]["end"]) for c in channels] == wanted


def test_empty_shards_grow_too(tmp_path: Path) -> None:
    blank = np.full_like(TALL, np.nan)
    stored(tmp_path / "a.zarr", blank, np.zeros(TALL.shape[1:], bool))
    store = GrowingStore(create_store(tmp_path / "b.zarr", spec_of(TALL)))
    for top, _, left, _ in regions(spec_of(TALL)):
        store.write_empty(top, left)
    seal(tmp_path / "b.zarr", built=store.built)
    assert len(store.built) == 5 + 3
    levels = [
        {name: text for name, text in contents(tmp_path / p).items() if name[0] in "12"} for p in ("a.zarr", "b.zarr")
    ]
    assert levels[0] == levels[1]


def test_of_levels_only_what_this_process_built_is_trusted(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", WIDE)
    store = grown(tmp_path / "b.zarr", list(range(120)))
    for name in ("1/c/0/0/0", "1/c/0/4/5", "2/c/0/2/1"):
        (tmp_path / "b.zarr" / name).write_bytes(b"torn")
    (tmp_path / "b.zarr/1/c/0/9").mkdir()
    (tmp_path / "b.zarr/1/c/0/9/9").write_bytes(b"left")
    (tmp_path / "b.zarr/3/c").mkdir(parents=True)
    seal(
        tmp_path / "b.zarr",
        built=store.built - {(1, 0, 0), (1, 4, 5), *((2, i, j) for i in range(3) for j in range(3))},
    )
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


def test_a_damaged_shard_is_not_sealed(tmp_path: Path) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(TALL))
    fill_store(writer, TALL)
    shard = tmp_path / "a.zarr/0/c/0/3/0"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(ImageError, match=r"c/0/3/0: scores cannot be read .*checksum"):
        seal(tmp_path / "a.zarr")
    assert read_record(tmp_path / "a.zarr")["complete"] is False


def test_sealing_takes_the_memory_of_a_few_inner_chunks(tmp_path: Path) -> None:
    array = np.broadcast_to(DRAW.standard_normal((64, 1, 1024)).astype(np.float32), (64, 1024, 1024))  # 256 MiB
    fill_store(create_store(tmp_path / "a.zarr", spec_of(array, (512, 512))), array)
    tracemalloc.start()
    seal(tmp_path / "a.zarr")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * (16 << 20)


@pytest.mark.parametrize("shape", [(1, 601, 70), (1, 601, 701)])
def test_no_inner_chunk_is_decoded_twice_where_one_is_read_at_a_time(
    shape: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = DRAW.standard_normal(shape).astype(np.float32)
    stored(tmp_path / "a.zarr", array)
    reads: list[tuple[Path, tuple[int, ...]]] = []

    def read(path: Path, grid: ShardGrid, region: Slices) -> np.ndarray:
        first = (tuple(range(r.start // side, -(-r.stop // side))) for r, side in zip(region, grid.chunk, strict=True))
        reads.extend((path, chunk) for chunk in itertools.product(*first))
        return read_cells(path, grid, region)

    monkeypatch.setattr(pyramid, "_AT_ONCE", 0)
    monkeypatch.setattr(pyramid, "read_cells", read)
    spec = spec_of(array)
    writer = create_store(tmp_path / "b.zarr", spec)
    fill_store(writer, array)
    pyramid._build(tmp_path / "b.zarr", spec, frozenset())
    chunks = [
        math.prod(-(-n // c) for n, c in zip(g.shape, g.chunk, strict=True))
        for g in (level_grid(spec, 0), level_grid(spec, 1))
    ]
    assert len(reads) == len(set(reads)) == sum(chunks)
    for level in "12":
        assert contents(tmp_path / "a.zarr" / level) == contents(tmp_path / "b.zarr" / level)
