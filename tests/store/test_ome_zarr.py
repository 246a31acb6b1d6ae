"""Stores: made, filled in any order by anyone, and partial until they are sealed."""

import json
import math
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fullfield.errors import GeometryError, ImageError, ResumeError
from fullfield.image.raster import Georeference
from fullfield.store.maps import MapSpec
from fullfield.store.ome_zarr import StoreWriter, create_store, read_record, reopen_store
from fullfield.store.pyramid import seal
from fullfield.store.record import from_record, to_record
from fullfield.store.shard_reading import count_files
from fullfield.store.stored_map import open_map
from tests.store.maps import contents, fill_store, place, regions, spec_of, stored

DRAW = np.random.default_rng(0)
ARRAY = DRAW.standard_normal((3, 130, 100)).astype(np.float32)  # 3 x 3 shards, the last ones cut off


def test_the_files_written_are_returned(tmp_path: Path) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    valid = np.ones((64, 48), bool)
    assert writer.shards == (3, 3)
    assert writer.write(64, 48, ARRAY[:, 64:128, 48:96]) == (tmp_path / "a.zarr/0/c/0/1/1",)
    assert writer.write(64, 48, ARRAY[:, 64:128, 48:96], valid) == (tmp_path / "a.zarr/0/c/0/1/1",)
    valid[3] = False
    both = writer.write(64, 48, ARRAY[:, 64:128, 48:96], valid)
    assert both == (tmp_path / "a.zarr/0/c/0/1/1", tmp_path / "a.zarr/valid/c/1/1")
    assert all(file.is_file() for file in both)


def test_a_shard_written_again_forgets_which_cells_were_not_valid(tmp_path: Path) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    writer.write(0, 0, ARRAY[:, :64, :48], np.zeros((64, 48), bool))
    writer.write(0, 0, ARRAY[:, :64, :48])
    assert not (tmp_path / "a.zarr/valid/c/0/0").exists()


@pytest.mark.parametrize(
    ("row", "column", "block", "what"),
    [
        (1, 0, ARRAY[:, :64, :48], "no shard of 64x48 cells begins at row 1, column 0 of 130x100"),
        (192, 0, ARRAY[:, :64, :48], "no shard of 64x48 cells begins at row 192"),
        (0, 0, ARRAY[:, :63, :48], r"is float32 of shape \(3, 64, 48\), not float32 of shape \(3, 63, 48\)"),
        (128, 96, ARRAY[:, :64, :48], r"is float32 of shape \(3, 2, 4\)"),
        (0, 0, ARRAY[:2, :64, :48], "not float32 of shape"),
        (0, 0, ARRAY[:, :64, :48].astype(np.float64), "not float64 of shape"),
    ],
)
def test_only_whole_shards_are_written(tmp_path: Path, row: int, column: int, block: np.ndarray, what: str) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    with pytest.raises(GeometryError, match=what):
        writer.write(row, column, block)
    assert count_files(tmp_path / "a.zarr/0", writer.grid) == 0


def test_valid_cells_are_one_truth_a_cell(tmp_path: Path) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    for valid in (np.ones((64, 47), bool), np.ones((64, 48), np.uint8)):
        with pytest.raises(GeometryError, match="valid is"):
            writer.write(0, 0, ARRAY[:, :64, :48], valid)


def test_the_order_of_writing_and_what_was_written_before_do_not_show(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", ARRAY)
    writer = create_store(tmp_path / "b.zarr", spec_of(ARRAY))
    for top, bottom, left, right in reversed(regions(writer.spec)):
        block = ARRAY[:, top:bottom, left:right]
        writer.write(top, left, -block, np.zeros(block.shape[1:], bool))
        writer.write(top, left, block)
    seal(tmp_path / "b.zarr")
    a, b = contents(tmp_path / "a.zarr"), contents(tmp_path / "b.zarr")
    assert a == b


def _write(job: tuple[Path, MapSpec, int]) -> int:
    path, spec, turn = job
    writer = reopen_store(path, spec)
    for number, (top, bottom, left, right) in enumerate(regions(spec)):
        if number % 3 == turn:
            writer.write(top, left, ARRAY[:, top:bottom, left:right])
    return os.getpid()


def test_processes_and_threads_write_one_store_without_locks(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", ARRAY)
    spec = spec_of(ARRAY)
    create_store(tmp_path / "b.zarr", spec)
    jobs = [(tmp_path / "b.zarr", spec, turn) for turn in range(3)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert os.getpid() not in set(processes.map(_write, jobs[:2]))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(_write, jobs[1:]))
    seal(tmp_path / "b.zarr")
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


def test_readers_never_see_half_a_shard(tmp_path: Path) -> None:
    array = np.stack([np.full((256, 256), n, np.float32) for n in range(8)])
    spec = spec_of(array, (256, 256))
    writer = create_store(tmp_path / "a.zarr", spec)
    writer.write(0, 0, array)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            writer.write(0, 0, array)

    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(rewrite)
        try:
            for _ in range(20):
                np.testing.assert_array_equal(zarr.open_array(str(tmp_path / "a.zarr/0"), mode="r")[:], array)
        finally:
            stop.set()
        busy.result()


def test_a_store_that_is_not_sealed_says_how_much_is_there(tmp_path: Path) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    writer.write(0, 0, ARRAY[:, :64, :48])
    assert json.loads((tmp_path / "a.zarr/zarr.json").read_text())["attributes"]["fullfield"]["complete"] is False
    said = r"a\.zarr: is not complete: 1 of 9 shards are written\n  fix: run the same scan again"
    for opening in (open_map, seal):
        with pytest.raises(ResumeError, match=said):
            opening(tmp_path / "a.zarr")


def test_a_partial_store_is_open_to_other_readers(tmp_path: Path) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    writer.write(0, 0, ARRAY[:, :64, :48])
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    assert [level["path"] for level in group.attrs["ome"]["multiscales"][0]["datasets"]] == ["0"]
    read = group["0"][:]
    np.testing.assert_array_equal(read[:, :64, :48], ARRAY[:, :64, :48])
    assert np.isnan(read[:, 64:]).all()


def test_a_sealed_store_takes_no_more_shards(tmp_path: Path) -> None:
    spec = stored(tmp_path / "a.zarr", ARRAY)
    writer = reopen_store(tmp_path / "a.zarr", spec)
    assert writer.complete
    with pytest.raises(ResumeError, match="is complete"):
        writer.write(0, 0, ARRAY[:, :64, :48])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"shard": (32, 48)}, r"its shard is \[64, 48\], now it is \[32, 48\]"),
        ({"class_names": ("a", "b", "c")}, r"its class_names is None, now it is \['a', 'b', 'c'\]"),
        ({"activation": "softmax"}, "its activation is None, now it is softmax"),
        ({"mode": "context"}, "its mode is exact, now it is context"),
        (
            {"placement": replace(place(130, 100), image=(1000, 1000))},
            r"its image is \[1056, 614\], now it is \[1000, 1000\]",
        ),
        ({"georeference": Georeference(None, (1, 0, 0, 0, 1, 0))}, "its georeference is None"),
    ],
)
def test_another_result_is_not_continued(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    with pytest.raises(ResumeError, match=f"holds another result: {what}"):
        reopen_store(tmp_path / "a.zarr", spec_of(ARRAY, **{"shard": (64, 48), **change}))


def test_a_run_that_ended_while_it_made_the_store_is_continued(tmp_path: Path) -> None:
    spec = spec_of(ARRAY)
    create_store(tmp_path / "a.zarr", spec)
    whole = contents(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/valid/zarr.json").unlink()
    (tmp_path / "a.zarr/0/zarr.json").unlink()
    reopen_store(tmp_path / "a.zarr", spec)
    assert contents(tmp_path / "a.zarr") == whole
    (tmp_path / "b.zarr").mkdir()  # or earlier still
    (tmp_path / "b.zarr/zarr.json.abc.partial").touch()
    create_store(tmp_path / "b.zarr", spec)


def test_nothing_is_made_where_something_is(tmp_path: Path) -> None:
    create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    (tmp_path / "file").touch()
    for name in ("a.zarr", "file"):
        with pytest.raises(ImageError, match="exists already"):
            create_store(tmp_path / name, spec_of(ARRAY))
    with pytest.raises(ImageError, match="cannot be written"):
        create_store(tmp_path / "none/b.zarr", spec_of(ARRAY))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"shape": (3, 130, 99)}, r"are no map of \(130, 100\) cells"),
        ({"classes": (0, 1)}, "3 bands of scores do not fit 2 classes"),
        ({"kind": "labels", "dtype": "uint8", "fill": 255}, "3 bands of labels do not fit 3 classes"),
        ({"class_names": ("a",)}, "1 names for 3 classes"),
        ({"dtype": "int32"}, "scores cannot be stored as int32"),
        ({"fill": 0.0}, "the fill value of float32 is not 0"),
        ({"dtype": "uint8"}, "the fill value of uint8 is not nan"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    with pytest.raises(GeometryError, match=what):
        create_store(tmp_path / "a.zarr", replace(spec_of(ARRAY), **change))
    assert not list(tmp_path.iterdir())


def test_a_spec_survives_its_record() -> None:
    spec = replace(
        spec_of(ARRAY),
        class_names=("a", "b", "ü"),
        classes=(5, 2, 9),
        activation="sigmoid",
        mode="context",
        georeference=Georeference('PROJCS["x"]', (0.5, 0.0, 1e6 / 3, 0.0, -0.5, 5e6)),
        mpp=(0.25, 0.2528),
        provenance={"model": "ab", "settings": {"step": [4, 3]}},
        placement=replace(place(130, 100), padding=(-3, 3, -2, 2)),
    )
    record = to_record(spec, certificate={"difference": math.nan}, complete=True)
    back = from_record(json.loads(json.dumps(record, allow_nan=False)), "x")
    assert replace(back, fill=0.0) == replace(spec, fill=0.0)
    assert math.isnan(back.fill)
    assert record["certificate"] == {"difference": "NaN"}


def test_numbers_that_json_lacks_are_written_as_zarr_does() -> None:
    provenance = {"a": np.float32(0.5), "b": -math.inf, "c": (np.int64(3),), "d": Path("x"), 4: np.arange(2)}
    record = to_record(replace(spec_of(ARRAY), provenance=provenance), certificate=None, complete=False)
    assert record["provenance"] == {"a": 0.5, "b": "-Infinity", "c": [3], "d": "x", "4": [0, 1]}


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_record(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").mkdir()
    for text in ("", "[1", '{"attributes": 3}', '{"attributes": {"fullfield": {}}}'):
        (tmp_path / "a.zarr/zarr.json").write_text(text)
        with pytest.raises(ImageError, match=r"a\.zarr: (holds no scores|has no record)"):
            read_record(tmp_path / "a.zarr")


def test_writing_imports_no_zarr(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, numpy as np, fullfield.store.ome_zarr as s; from tests.store.maps import spec_of\n"
        "a = np.zeros((1, 9, 9), 'f4')\n"
        f"s.create_store(pathlib.Path({str(tmp_path / 'a.zarr')!r}), spec_of(a, (9, 9))).write(0, 0, a)\n"
        "sys.exit('zarr' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_a_writer_goes_to_another_process(tmp_path: Path) -> None:
    writer = create_store(tmp_path / "a.zarr", spec_of(ARRAY))
    fill_store(writer, ARRAY)
    again: StoreWriter = pickle.loads(pickle.dumps(writer))
    assert (again.path, again.spec.shape, again.grid) == (writer.path, writer.spec.shape, writer.grid) or math.isnan(
        again.grid.fill
    )
    again.write(0, 0, ARRAY[:, :64, :48])
    assert count_files(again.path / "0", again.grid) == len(regions(writer.spec))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (128, 96)])
def test_a_shard_without_scores_is_the_one_that_fill_values_make(tmp_path: Path, row: int, column: int) -> None:
    first, second = (create_store(tmp_path / name, spec_of(ARRAY)) for name in ("a.zarr", "b.zarr"))
    block = np.full_like(ARRAY[:, row : row + 64, column : column + 48], math.nan)
    files = first.write(row, column, block, np.zeros(block.shape[1:], bool))
    same = second.write_empty(row, column)
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in same]
    assert [f.relative_to(first.path) for f in files] == [f.relative_to(second.path) for f in same]
