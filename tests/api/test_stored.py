"""Stored maps: what is read is what was written, where it belongs."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import fullfield
from fullfield.api.scores import Scores
from fullfield.api.stored import coarser, open_scores
from fullfield.errors import BudgetError, GeometryError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference
from fullfield.store.encoding import Encoding, score_encoder
from fullfield.store.ome_zarr import create_store
from fullfield.store.pyramid import seal
from fullfield.store.shards import read_array
from tests.store.maps import fill_store, place, spec_of, stored

DRAW = np.random.default_rng(0)
ARRAY = DRAW.standard_normal((3, 130, 300)).astype(np.float32)
VALID = DRAW.random((130, 300)) < 0.8
VALID[:64, :96] = True
NAMES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "a.zarr"
    array = np.where(VALID, ARRAY, np.nan).astype(np.float32)
    stored(path, array, VALID, class_names=NAMES, classes=(7, 2, 5), provenance={"model": "ab"})
    return path


@given(st.data())
def test_every_region_reads_as_it_was_written(path: Path, data: st.DataObject) -> None:
    top, bottom = sorted(data.draw(st.tuples(st.integers(0, 130), st.integers(0, 130))))
    left, right = sorted(data.draw(st.tuples(st.integers(0, 300), st.integers(0, 300))))
    scores = open_scores(path)
    wanted = np.where(VALID, ARRAY, np.nan)[:, top:bottom, left:right]
    np.testing.assert_array_equal(scores.read(top, bottom, left, right), wanted)
    np.testing.assert_array_equal(scores.valid(top, bottom, left, right), VALID[top:bottom, left:right])


@pytest.mark.parametrize("edges", [(-1, 3, 0, 3), (0, 131, 0, 3), (3, 2, 0, 3), (0, 3, 0, 301)])
def test_a_region_beyond_the_map_is_refused(path: Path, edges: tuple[int, int, int, int]) -> None:
    for read in (open_scores(path).read, open_scores(path).valid):
        with pytest.raises(GeometryError, match="do not lie in 130x300 cells"):
            read(*edges)


def test_a_stored_map_says_what_it_holds(path: Path) -> None:
    scores = fullfield.open_scores(str(path))
    assert isinstance(scores, fullfield.StoredScores)
    assert repr(scores) == f"StoredScores(3 x 130x300 float32, exact, step 4x3, 2 levels, '{path}')"
    assert (scores.shape, scores.placement, scores.class_names) == ((3, 130, 300), place(130, 300), NAMES)
    assert (scores.certificate, scores.spec.provenance) == (None, {"model": "ab"})


def test_a_class_is_found_by_name_or_by_its_index_in_the_network(path: Path) -> None:
    scores = open_scores(path)
    assert [scores.band(cls) for cls in (7, "7", "dog", 5)] == [0, 0, 1, 2]
    np.testing.assert_array_equal(scores.scores(0, 9, 0, 9, cls=2), scores.read(0, 9, 0, 9)[1:2])
    with pytest.raises(ImageError, match="0 is not kept\n  fix: kept are 7, 2, 5"):
        scores.band(0)
    with pytest.raises(ImageError, match="'wolf' is not one of"):
        scores.band("wolf")


def test_a_point_reads_the_cell_whose_centre_is_nearest(path: Path) -> None:
    scores = open_scores(path)
    y, x = scores.placement.centre(20, 33)
    np.testing.assert_array_equal(scores.at(y + 3.9, x - 2.9), ARRAY[:, 20, 33])
    with pytest.raises(ImageError, match="lies outside the scores"):
        scores.at(0, 0)


def test_a_whole_map_comes_into_memory_and_goes_back_to_disk(path: Path, tmp_path: Path) -> None:
    scores = open_scores(path).to_scores()
    np.testing.assert_array_equal(scores.array, np.where(VALID, ARRAY, np.nan))
    assert (scores.classes, scores.class_names, scores.provenance) == ((7, 2, 5), NAMES, {"model": "ab"})
    for name in ("b.zarr", "b.npz"):
        scores.save(tmp_path / name)
        again = Scores.load(tmp_path / name)
        np.testing.assert_array_equal(again.array, scores.array)
        for key in ("classes", "class_names", "activation", "georeference", "mpp", "placement"):
            assert getattr(again, key) == getattr(scores, key), key
    np.testing.assert_array_equal(open_scores(tmp_path / "b.zarr").valid(0, 130, 0, 300), VALID)


def test_a_stored_map_is_an_array_for_numpy(path: Path) -> None:
    stored = open_scores(path)
    np.testing.assert_array_equal(np.asarray(stored), stored.to_scores().array)
    assert np.asarray(stored, np.float16).dtype == np.float16
    with pytest.raises(ValueError, match="without a copy"):
        np.array(stored, copy=False)


def test_a_map_too_large_for_memory_is_refused_before_it_is_read(path: Path) -> None:
    with pytest.raises(BudgetError, match=r"3 x 130x300 scores need 468000 bytes of memory, 467999 are allowed"):
        open_scores(path).to_scores(budget_bytes=467_999)
    assert open_scores(path).to_scores(budget_bytes=468_000).array.nbytes == 468_000


def test_bytes_are_read_as_they_are_and_come_back_as_scores(tmp_path: Path) -> None:
    kept = score_encoder(Encoding(dtype="uint8", activation="softmax"), classes=3)
    block = kept.encode(ARRAY, VALID).block
    spec = replace(spec_of(block), **{**kept.fields, "mpp": (0.5, 0.5)})
    fill_store(create_store(tmp_path / "a.zarr", spec), block, VALID)
    seal(tmp_path / "a.zarr")
    scores = open_scores(tmp_path / "a.zarr")
    np.testing.assert_array_equal(scores.read(0, 130, 0, 300), block)
    back = scores.to_scores()
    assert (back.array.dtype, back.activation, back.mpp) == (np.float32, "softmax", (0.5, 0.5))
    np.testing.assert_array_equal(back.array, scores.scores(0, 130, 0, 300))
    np.testing.assert_array_equal(np.isnan(back.array[0]), ~VALID)
    with pytest.raises(ImageError, match="softmax of scores that were put through softmax already"):
        back.class_map(0, "softmax")


def test_labels_are_read_as_labels_only(tmp_path: Path) -> None:
    labels = ARRAY.argmax(axis=0)[None].astype(np.uint8)
    stored(tmp_path / "a.zarr", labels, kind="labels", classes=(0, 1, 2), class_names=NAMES)
    scores = open_scores(tmp_path / "a.zarr")
    assert repr(scores).startswith("StoredScores(labels of 3 classes, 130x300 uint8, exact")
    np.testing.assert_array_equal(scores.read(0, 130, 0, 300), labels)
    np.testing.assert_array_equal(scores.scores(0, 130, 0, 300), labels)
    for refused in (scores.to_scores, lambda: Scores.load(tmp_path / "a.zarr"), lambda: scores.band(1)):
        with pytest.raises(ImageError, match="labels"):
            refused()


def test_scores_in_memory_are_read_by_the_same_words(path: Path) -> None:
    disk, memory = open_scores(path), open_scores(path).to_scores()
    for method in ("read", "valid"):
        for edges in ((0, 130, 0, 300), (3, 70, 40, 99)):
            np.testing.assert_array_equal(getattr(disk, method)(*edges), getattr(memory, method)(*edges))
    ours, theirs = (replace(spec, fill=0.0, shard=(1, 1)) for spec in (disk.spec, memory.spec))
    assert ours == theirs
    assert math.isnan(memory.spec.fill)


@pytest.mark.parametrize(("side", "level"), [(1000, 0), (300, 0), (299, 1), (150, 1), (2, 1)])
def test_a_picture_gets_the_finest_level_that_is_small_enough(path: Path, side: int, level: int) -> None:
    scores = open_scores(path)
    found, values = scores.coarse(side)
    assert found == level
    np.testing.assert_array_equal(values, zarr.open_array(str(path / str(level)), mode="r")[:])
    assert values.shape[1:] == scores.placement_at(level).shape
    with pytest.raises(GeometryError, match="level: 2 is none of 2"):
        scores.scores(0, 1, 0, 1, level=2)


whole = st.integers
paddings = st.tuples(*[whole(-15, 15)] * 4)


@given(st.tuples(whole(1, 9), whole(1, 9)), st.tuples(whole(1, 30), whole(1, 30)), paddings, whole(0, 5), st.data())
def test_cells_of_a_level_lie_in_the_middle_of_those_that_they_stand_for(
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
    assert scores.to_scores().georeference == Georeference(None, (1, 0, 0, 0, -1, 0))


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
        open_scores(tmp_path / "a.zarr")


def test_the_chunks_of_many_classes_are_not_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = DRAW.standard_normal((150, 20, 30)).astype(np.float32)
    stored(tmp_path / "a.zarr", array)
    asked: list[int] = []

    def counting(array: Any, region: tuple[slice, ...], path: Path) -> Any:
        found = read_array(array, region, path)
        asked.append(len(found))
        return found

    monkeypatch.setattr("fullfield.api.stored.read_array", counting)
    scores = open_scores(tmp_path / "a.zarr")
    for most, wanted in ((64 << 20, [150]), (130 * 20 * 30 * 4, [128, 22]), (1, [64, 64, 22])):
        monkeypatch.setattr("fullfield.api.stored._DECODED", most)
        asked.clear()
        np.testing.assert_array_equal(scores.read(3, 17, 5, 30), array[:, 3:17, 5:30])
        assert asked == wanted
        np.testing.assert_array_equal(scores.scores(3, 4, 5, 6, cls=149), array[149:, 3:4, 5:6])
