"""Maps in stores: what is read is what was written, where it belongs."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullfield.api.scores import open_scores
from fullfield.errors import GeometryError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference
from fullfield.store.stored_map import coarser, open_map
from tests.store.maps import stored

DRAW = np.random.default_rng(0)
ARRAY = DRAW.standard_normal((3, 130, 300)).astype(np.float32)
VALID = DRAW.random((130, 300)) < 0.8
VALID[:64, :96] = True
WANTED = np.where(VALID, ARRAY, np.nan).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "a.zarr"
    stored(path, WANTED, VALID)
    return path


@given(st.data())
def test_every_region_reads_as_it_was_written(path: Path, data: st.DataObject) -> None:
    top, bottom = sorted(data.draw(st.tuples(st.integers(0, 130), st.integers(0, 130))))
    left, right = sorted(data.draw(st.tuples(st.integers(0, 300), st.integers(0, 300))))
    bands = data.draw(st.sampled_from([slice(None), slice(1, 3), slice(2, 2)]))
    scores = open_map(path)
    np.testing.assert_array_equal(scores.read(top, bottom, left, right, bands), WANTED[bands, top:bottom, left:right])
    np.testing.assert_array_equal(scores.valid(top, bottom, left, right), VALID[top:bottom, left:right])


@pytest.mark.parametrize("edges", [(-1, 3, 0, 3), (0, 131, 0, 3), (3, 2, 0, 3), (0, 3, 0, 301)])
def test_a_region_beyond_the_map_is_refused(path: Path, edges: tuple[int, int, int, int]) -> None:
    for read in (open_map(path).read, open_map(path).valid):
        with pytest.raises(GeometryError, match="do not lie in 130x300 cells"):
            read(*edges)


whole = st.integers
paddings = st.tuples(*[whole(-15, 15)] * 4)


@given(st.tuples(whole(1, 9), whole(1, 9)), st.tuples(whole(1, 30), whole(1, 30)), paddings, whole(0, 5), st.data())
def test_cells_of_a_level_lie_in_the_middle_of_those_that_they_summarise(
    step: tuple[int, int], window: tuple[int, int], padding: Any, level: int, data: st.DataObject
) -> None:
    scanned = data.draw(st.tuples(whole(70, 200), whole(70, 200)))
    fine = Placement(step, window, (2 * scanned[0], 3 * scanned[1]), scanned, padding=padding)
    factor = 2**level
    coarse = coarser(fine, factor)
    assert coarse.shape == tuple(-(-count // factor) for count in fine.shape)
    assert coarse.spacing == tuple(factor * gap for gap in fine.spacing)
    for i, j in ((0, 0), (1, 2), (7, 5)):
        y, x = fine.centre(factor * i + (factor - 1) / 2, factor * j + (factor - 1) / 2)
        assert coarse.centre(i, j) == (pytest.approx(y, abs=1e-9), pytest.approx(x, abs=1e-9))


def test_a_region_of_an_image_lies_where_it_was_cut_from(tmp_path: Path) -> None:
    """Rows 40 to 100 and columns 32 to 80 of 200x160 px, as negative padding: the same centres as in the whole map."""
    whole_map = Placement((4, 4), (12, 12), (200, 160), (200, 160))
    region = replace(whole_map, padding=(-40, -100, -32, -80))
    assert region.shape == ((60 - 12) // 4 + 1, (48 - 12) // 4 + 1)
    assert region.centre(2, 3) == whole_map.centre(12, 11)
    assert region.cell(*whole_map.centre(12, 11)) == (2, 3)
    array = np.arange(13 * 10, dtype=np.float32).reshape(1, 13, 10)
    stored(tmp_path / "a.zarr", array, placement=region, georeference=Georeference(None, (1, 0, 0, 0, -1, 0)))
    scores = open_scores(tmp_path / "a.zarr")
    assert scores.at(*whole_map.centre(12, 11)) == [array[0, 2, 3]]
    assert scores.placement == region
    assert scores.to_memory().georeference == Georeference(None, (1, 0, 0, 0, -1, 0))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda store: (store / "0/c/0/1/2").unlink(), "1 of 21 shards of level 0 are missing"),
        (lambda store: (store / "1/c/0/1/0").unlink(), "1 of 8 shards of level 1 are missing"),
        (lambda store: (store / "valid/zarr.json").unlink(), "cannot be read"),
        (lambda store: (store / "1/zarr.json").write_text("{}"), "cannot be read"),
        (lambda store: (store / "1/zarr.json").write_bytes((store / "0/zarr.json").read_bytes()), "level 1 is float32"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path: Path, damage: Any, what: str) -> None:
    stored(tmp_path / "a.zarr", ARRAY)
    damage(tmp_path / "a.zarr")
    with pytest.raises(ImageError, match=what):
        open_map(tmp_path / "a.zarr")


def test_an_array_that_fullfield_did_not_lay_out_is_refused(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", ARRAY)
    file = tmp_path / "a.zarr/0/zarr.json"
    text = file.read_text()
    for old, new in (('"zstd"', '"gzip"'), ('"separator": "/"', '"separator": "."'), ('"shape": [', '"shape": [1, ')):
        assert old in text
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(ImageError, match=r"a\.zarr.0: scores cannot be read"):
            open_map(tmp_path / "a.zarr")


def test_a_chunk_is_decoded_at_a_time(tmp_path: Path) -> None:
    array = DRAW.standard_normal((150, 256, 256)).astype(np.float32)  # 39 MB in three chunks
    stored(tmp_path / "a.zarr", array, shard=(256, 256))
    scores = open_map(tmp_path / "a.zarr")
    tracemalloc.start()
    found = scores.read(100, 101, 0, 256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, array[:, 100:101])
    assert peak < 3 * 64 * 256 * 256 * 4
