"""Scores in memory and on disk: one law for both."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fullfield
from fullfield.api.scores import Scores, open_scores
from fullfield.errors import BudgetError, GeometryError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference
from fullfield.store.array_map import ArrayMap
from fullfield.store.encoding import Encoding, score_encoder
from fullfield.store.ome_zarr import create_store
from fullfield.store.palette import distinct
from fullfield.store.pyramid import seal
from fullfield.verification.certificate import Certificate
from tests.store.maps import fill_store, place, spec_of, stored

DRAW = np.random.default_rng(0)
KNOWN = DRAW.random((130, 300)) < 0.8
KNOWN[:64, :96] = True
ARRAY = np.where(KNOWN, DRAW.standard_normal((3, 130, 300)), np.nan).astype(np.float32)
NAMES = ("cat", "dog", "owl")
ABOUT = {"class_names": NAMES, "classes": (7, 2, 5), "provenance": {"model": "ab"}, "mpp": (0.5, 0.25)}
SMALL = Placement((4, 3), (12, 11), (40, 50), (40, 50))
FOUND = Certificate("exact", 4, 112, 0.5, 0.25, 9.0, 0.75, (1, 2), (0.5, 1.0), "float32", 1e-4, 0)

Make = Callable[..., Scores]


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes scores of an array, in memory or in a store of small shards."""

    def made(array: np.ndarray, placement: Placement | None = None, **metadata: Any) -> Scores:
        placement = placement or place(*array.shape[1:])
        if request.param == "memory":
            spec = spec_of(array, placement=placement, **metadata)
            return Scores(ArrayMap(array, spec))
        known = ~np.isnan(array).all(axis=0) if array.dtype.kind == "f" else array[0] != np.iinfo(array.dtype).max
        stored(tmp_path / "made.zarr", array, known, placement=placement, **metadata)
        return open_scores(tmp_path / "made.zarr")

    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scores, Scores]:
    """The same scores in memory and on disk."""
    path = tmp_path_factory.mktemp("stored") / "a.zarr"
    stored(path, ARRAY, KNOWN, **ABOUT)
    return Scores.from_array(ARRAY, place(130, 300), **ABOUT), open_scores(path)


def small(make: Make, dtype: Any = np.float32, **metadata: Any) -> Scores:
    array = np.random.default_rng(0).normal(size=(3, *SMALL.shape)).astype(dtype)
    return make(array, SMALL, **{"class_names": NAMES, **metadata})


index = st.integers(-130, 129) | st.slices(130) | st.none()
across = st.integers(-300, 299) | st.slices(300) | st.none()


@given(st.sampled_from([7, 2, 5, "cat", "dog", "7", None]) | st.slices(3), index, across)
def test_an_index_takes_what_numpy_takes(both: tuple[Scores, Scores], cls: Any, rows: Any, columns: Any) -> None:
    band = {7: 0, 2: 1, 5: 2, "cat": 0, "dog": 1, "7": 0}.get(cls, cls) if isinstance(cls, (int, str)) else cls
    wanted = ARRAY[tuple(slice(None) if key is None else key for key in (band, rows, columns))]
    for scores in both:
        found = scores[cls, rows, columns]
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted)


def test_what_is_left_out_of_an_index_is_taken_whole(make: Make) -> None:
    scores = small(make)
    np.testing.assert_array_equal(scores["dog"], scores.array[1])
    np.testing.assert_array_equal(scores[:2, 3], scores.array[:2, 3])
    np.testing.assert_array_equal(scores[np.int64(1), np.int64(3)], scores.array[1, 3])


@pytest.mark.parametrize(
    ("key", "error", "what"),
    [
        ((None, 8), GeometryError, "row: 8 is not one of 8"),
        ((None, None, -15), GeometryError, "column: -15 is not one of 14"),
        ((None, 1.5), GeometryError, "row: 1.5 is no index"),
        ((1.5,), GeometryError, "class: 1.5 is no index"),
        ((0, 0, 0, 0), GeometryError, "4 indices, there are 3 axes"),
        ("wolf", ImageError, "'wolf' is not one of the 3 classes"),
        (3, ImageError, "3 is not one of the 3 classes"),
        (-1, ImageError, "-1 is not one of the 3 classes"),
    ],
)
def test_an_index_outside_the_scores_is_refused(make: Make, key: Any, error: type, what: str) -> None:
    with pytest.raises(error, match=what):
        small(make)[key]


@given(index, across)
def test_cells_without_scores_are_known(both: tuple[Scores, Scores], rows: Any, columns: Any) -> None:
    wanted = KNOWN[tuple(slice(None) if key is None else key for key in (rows, columns))]
    for scores in both:
        np.testing.assert_array_equal(scores.valid(rows, columns), wanted)


def test_both_say_the_same_of_themselves(both: tuple[Scores, Scores]) -> None:
    memory, disk = both
    for name in ("shape", "dtype", "kind", "classes", "class_names", "activation", "mode", "placement", "mpp"):
        assert getattr(memory, name) == getattr(disk, name), name
    for name in ("georeference", "provenance", "certificate"):
        assert getattr(memory, name) == getattr(disk, name), name
    assert (memory.path, disk.path.name) == (None, "a.zarr")
    assert (memory.shape, memory.classes, memory.dtype) == ((3, 130, 300), (7, 2, 5), np.float32)


def test_a_line_says_what_the_scores_are(both: tuple[Scores, Scores], make: Make) -> None:
    memory, disk = both
    line = "3 x 130x300 float32, exact, step 4x3, window 12x10, image 1056x1814"
    assert repr(memory) == f"Scores({line})"
    assert repr(disk) == f"Scores({line}, on disk {disk.path})"
    square = Placement((2, 2), (4, 4), (9, 9), (9, 9))
    assert "context, step 2, window 4x4" in repr(make(np.zeros((1, 3, 3)), square, mode="context"))


def test_a_notebook_shows_facts_and_the_liveliest_class(make: Make) -> None:
    array = np.stack([np.zeros(SMALL.shape), np.arange(112.0).reshape(SMALL.shape)])
    shown = make(array, SMALL, class_names=("cat", "<b>dog"))._repr_html_()
    assert "&lt;b&gt;dog</figcaption>" in shown
    assert "<b>" not in shown
    assert "data:image/png;base64," in shown
    assert '<td style="text-align:left">exact</td>' in shown


def test_scores_are_an_array_for_numpy(make: Make) -> None:
    found = small(make)
    assert found.shape == found.array.shape
    assert np.asarray(found, np.float64).dtype == np.float64
    assert np.mean(found) == found.array.mean()
    if found.path is None:
        assert np.asarray(found) is found.array
        assert not np.shares_memory(np.array(found, copy=True), found.array)
    else:
        with pytest.raises(ValueError, match="without a copy"):
            np.array(found, copy=False)


@given(st.data())
def test_a_point_gets_the_cell_with_the_nearest_centre(data: st.DataObject) -> None:
    size = data.draw(st.integers(20, 60))
    step, window = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 12))
    where = Placement((step, step), (window, window), (size, size), (data.draw(st.integers(20, 90)),) * 2)
    rows, columns = np.mgrid[: where.shape[0], : where.shape[1]]
    result = Scores.from_array(np.stack([rows, columns]).astype(float), where)
    top, left, bottom, right = where.footprint()
    y, x = data.draw(st.floats(top, bottom)), data.draw(st.floats(left, right))
    cy, cx = where.centre(rows, columns)
    distance = np.hypot(cy - y, cx - x)
    i, j = result.at(y, x).astype(int)
    assert distance[i, j] <= distance.min() + 1e-9


def test_a_point_gives_a_copy_of_its_cells_scores(make: Make) -> None:
    result = small(make)
    y, x = result.placement.centre(3, 5)
    found = result.at(y + 1.9, x - 1.4)
    np.testing.assert_array_equal(found, result.array[:, 3, 5])
    found[:] = 99
    assert result.array.max() < 99


def test_a_point_outside_the_footprint_is_refused_with_its_bounds(make: Make) -> None:
    result = small(make)
    for y, x in ((3.9, 20), (36.1, 20), (20, 3.9), (20, 46.1), (float("nan"), 20)):
        with pytest.raises(ImageError, match=r"outside the scores, which cover y 4\.\.36, x 4\.\.46"):
            result.at(y, x)
    assert result.at(4, 46).shape == (3,)


def test_the_top_class_is_that_of_the_greatest_score(both: tuple[Scores, Scores]) -> None:
    codes = np.array([7, 2, 5])[np.nan_to_num(ARRAY, nan=-99).argmax(axis=0)]
    for scores in both:
        np.testing.assert_array_equal(scores.top(), np.where(KNOWN, codes, -1))


def test_the_top_class_of_many_chunks_is_that_of_the_array(make: Make) -> None:
    array = DRAW.integers(0, 3, (70, 40, 30)).astype(np.float32)
    np.testing.assert_array_equal(make(array).top(), array.argmax(axis=0))


def test_pieces_are_all_scores_once(make: Make) -> None:
    array = DRAW.standard_normal((70, 90, 70)).astype(np.float32)
    found = np.full(array.shape, np.nan, np.float32)
    for top, left, parts in make(array).iter_chunks():
        for band, block in parts:
            part = found[band : band + len(block), top : top + block.shape[1], left : left + block.shape[2]]
            assert np.isnan(part).all()
            part[:] = block
    np.testing.assert_array_equal(found, array)


def test_a_class_map_is_the_scores_or_their_probabilities(make: Make) -> None:
    result = make(DRAW.standard_normal((3, 70, 60)), class_names=NAMES)
    np.testing.assert_array_equal(result.class_map("dog"), result.array[1])
    raised = np.exp(result.array)
    np.testing.assert_allclose(result.class_map(1, "softmax"), raised[1] / raised.sum(0), rtol=1e-12)
    np.testing.assert_allclose(result.class_map(1, "sigmoid"), raised[1] / (1 + raised[1]), rtol=1e-12)
    with pytest.raises(ImageError, match="'tanh' is not known"):
        result.class_map(1, "tanh")
    with pytest.raises(ImageError, match="none given, there are 3"):
        result.class_map()


@pytest.mark.parametrize("chosen", [(7, 2, 5), (0, 1, 2)])
def test_softmax_of_some_of_the_classes_is_refused_in_maps_and_evaluations(make: Make, chosen: tuple[int, ...]) -> None:
    settings = {"settings": {"encoding": {"classes": list(chosen)}}}
    result = make(DRAW.standard_normal((3, 70, 60)), class_names=NAMES, classes=chosen, provenance=settings)
    with pytest.raises(ImageError, match="softmax needs the scores of all classes, the map holds 3 of them"):
        result.class_map("dog", "softmax")
    with pytest.raises(ImageError, match="softmax needs the scores of all classes, the map holds 3 of them"):
        fullfield.evaluate(result, np.full(result.placement.image, chosen[0]), activation="softmax")
    assert np.isfinite(result.class_map("dog", "sigmoid")).all()


def test_probabilities_of_huge_logits_are_finite(make: Make) -> None:
    big = make(np.stack([np.full(SMALL.shape, 1e30), np.full(SMALL.shape, -1e30)]).astype(np.float32), SMALL)
    for activation in ("softmax", "sigmoid"):
        assert (big.class_map(0, activation) == 1).all()
        assert (big.class_map(1, activation) == 0).all()


def test_a_class_is_found_by_name_or_by_its_index_in_the_network(both: tuple[Scores, Scores]) -> None:
    for scores in both:
        assert [scores.class_index(cls) for cls in (7, "7", "dog", 5)] == [0, 0, 1, 2]
        with pytest.raises(ImageError, match="0 is not in the map, which holds 7, 2, 5\n  fix: name one of these"):
            scores.class_index(0)
        with pytest.raises(ImageError, match="'wolf' is not one of"):
            scores.class_index("wolf")


def test_a_picture_has_a_pixel_a_cell_from_the_first_colour_to_the_last(make: Make) -> None:
    result = small(make)
    pixels = np.asarray(result.picture("owl", colours="gray"))
    assert pixels.shape == (*SMALL.shape, 3)
    assert pixels[np.unravel_index(result.array[2].argmin(), SMALL.shape)].tolist() == [0] * 3
    assert pixels[np.unravel_index(result.array[2].argmax(), SMALL.shape)].tolist() == [255] * 3
    assert np.asarray(result.picture("owl", colours="gray", vmin=-100, vmax=100)).min() > 100


def test_a_picture_shows_the_class_of_the_widest_range_unless_one_is_named(make: Make) -> None:
    result = small(make)
    spans = np.ptp(result.array.reshape(3, -1), axis=1)
    assert result.picture().tobytes() == result.picture(int(spans.argmax())).tobytes()


@pytest.mark.parametrize(("vmin", "vmax"), [(2, 1), (float("nan"), 1), (0, float("inf"))])
def test_a_range_upside_down_or_endless_is_refused(make: Make, vmin: float, vmax: float) -> None:
    with pytest.raises(ImageError, match="is no range of values"):
        small(make).picture(0, vmin=vmin, vmax=vmax)


def test_scores_of_nan_and_infinity_can_be_drawn(make: Make) -> None:
    array = np.zeros((1, *SMALL.shape))
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    assert make(array, SMALL).picture(0).size == (14, 8)


def test_a_map_without_any_score_can_be_drawn(make: Make) -> None:
    assert make(np.full((2, *SMALL.shape), np.nan), SMALL).picture().size == (14, 8)


def test_an_overlay_has_the_image_at_its_top_left_and_the_legend_below(make: Make) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    result = small(make)
    bare = result.overlay(photo, "cat", legend=False)
    full = result.overlay(photo, "cat")
    assert bare.size == (50, 40)
    assert full.height > 40
    np.testing.assert_array_equal(np.asarray(full)[:40, :50], np.asarray(bare))
    np.testing.assert_array_equal(np.asarray(bare)[:4], photo[:4])  # no window is centred there
    assert result.overlay(photo, 0, activation="softmax", smooth=True).tobytes() != full.tobytes()
    with pytest.raises(ImageError, match="the picture is 39x50 px, the scores are of an image of 40x50 px"):
        result.overlay(photo[1:], "cat")


def test_an_overlay_of_a_path_is_that_of_its_pixels(make: Make, tmp_path: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    result = small(make)
    wanted = result.overlay(photo, 0).tobytes()
    for image in (tmp_path / "a.png", fullfield.open(tmp_path / "a.png"), Image.fromarray(photo)):
        assert result.overlay(image, 0).tobytes() == wanted


def test_an_overlay_of_a_large_image_is_drawn_on_its_thumbnail(
    both: tuple[Scores, Scores], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullfield.drawing.thumbnails._WHOLE", 1000)
    photo = np.full((1056, 1814, 3), 200, np.uint8)
    for scores in both:
        drawn = scores.overlay(photo, "dog", legend=False, side=454, alpha=1)
        assert max(drawn.size) in (453, 454)
        assert np.ptp(np.asarray(drawn)[100:160, 100:300].reshape(-1, 3), axis=0).min() > 50
        with pytest.raises(ImageError, match="the picture is 1055x1814 px"):
            scores.overlay(photo[1:], "dog")


def test_a_map_too_large_for_memory_is_refused_before_it_is_read(both: tuple[Scores, Scores]) -> None:
    memory, disk = both
    with pytest.raises(BudgetError, match=r"3 x 130x300 scores need 468000 bytes of memory, 467999 are allowed"):
        disk.to_memory(budget=467_999)
    assert disk.to_memory("468kB").path is None
    assert memory.to_memory(1) is memory


def test_scores_from_disk_are_the_same_in_memory(both: tuple[Scores, Scores], tmp_path: Path) -> None:
    _, disk = both
    scores = disk.to_memory()
    np.testing.assert_array_equal(scores.array, ARRAY)
    assert (scores.map.spec, scores.certificate) == (disk.map.spec, disk.certificate) or math.isnan(disk.map.spec.fill)
    for name in ("b.zarr", "b.npz"):
        scores.save(tmp_path / name)
        again = open_scores(tmp_path / name)
        np.testing.assert_array_equal(again.array, scores.array)
        for key in ("classes", "class_names", "activation", "georeference", "mpp", "placement"):
            assert getattr(again, key) == getattr(scores, key), key
    np.testing.assert_array_equal(open_scores(tmp_path / "b.zarr").valid(), KNOWN)


def test_bytes_come_back_as_scores(tmp_path: Path) -> None:
    encoder = score_encoder(Encoding(dtype="uint8", activation="softmax"), classes=3)
    block = encoder.encode(ARRAY, KNOWN).block
    spec = replace(spec_of(block), **{**encoder.fields, "mpp": (0.5, 0.5)})
    fill_store(create_store(tmp_path / "a.zarr", spec), block, KNOWN)
    seal(tmp_path / "a.zarr")
    disk = open_scores(tmp_path / "a.zarr")
    memory = disk.to_memory()
    for scores in (disk, memory):
        np.testing.assert_array_equal(scores.map.read(0, 130, 0, 300), block)
        assert (scores.dtype, scores.array.dtype, scores.activation, scores.mpp) == (
            np.uint8, np.float32, "softmax", (0.5, 0.5),
        )  # fmt: skip
        np.testing.assert_array_equal(np.isnan(scores.array[0]), ~KNOWN)
        np.testing.assert_array_equal(scores.valid(), KNOWN)
        with pytest.raises(ImageError, match="the scores are softmax probabilities already"):
            scores.class_map(0, "softmax")
    np.testing.assert_array_equal(disk.array, memory.array)
    memory.save(tmp_path / "b.npz")
    assert open_scores(tmp_path / "b.npz").dtype == np.float32
    np.testing.assert_array_equal(open_scores(tmp_path / "b.npz").array, disk.array)


LABELS = np.where(KNOWN, np.array([7, 2, 5])[np.nan_to_num(ARRAY).argmax(axis=0)], 255)[None].astype(np.uint8)
OF_LABELS = {"kind": "labels", "classes": tuple(range(8)), "class_names": tuple("abcdefgh")}


def test_labels_read_as_the_index_of_the_class(make: Make) -> None:
    scores = make(LABELS, **OF_LABELS)
    assert repr(scores).startswith("Scores(labels of 8 classes, 130x300 uint8, exact")
    assert scores.shape == (1, 130, 300)
    np.testing.assert_array_equal(scores.array, np.where(LABELS == 255, np.nan, LABELS))
    np.testing.assert_array_equal(scores.top(), np.where(LABELS[0] == 255, -1, LABELS[0].astype(int)))
    np.testing.assert_array_equal(scores.valid(), KNOWN)
    for refused in (lambda: scores["h"], lambda: scores.class_map(1), lambda: scores.class_index(1)):
        with pytest.raises(ImageError, match="a map of labels has no scores of a class"):
            refused()


def test_labels_are_drawn_in_their_colours_and_named(make: Make) -> None:
    scores = make(LABELS, **OF_LABELS)
    pixels = np.asarray(scores.picture())
    colours = np.array([*distinct(8), (0, 0, 0)])
    np.testing.assert_array_equal(pixels, colours[np.where(KNOWN, LABELS[0], 8)])
    height, width = scores.placement.image
    photo = np.full((height, width, 3), 100, np.uint8)
    bare, full = (np.asarray(scores.overlay(photo, alpha=1, legend=legend)) for legend in (False, True))
    np.testing.assert_array_equal(full[:height], bare)
    y, x = map(int, scores.placement.centre(70, 150))
    assert bare[y, x].tolist() in [list(colours[LABELS[0, 70, 150]]), [100, 100, 100]]
    below = {tuple(colour) for colour in full[height:].reshape(-1, 3).tolist()}
    assert {distinct(8)[cls] for cls in (7, 2, 5)} <= below
    assert distinct(8)[0] not in below  # no cell has this class
    assert "labels</figcaption>" in scores._repr_html_()
    for options in ({"vmin": 0}, {"activation": "softmax"}, {"smooth": True}):
        with pytest.raises(ImageError, match="has no meaning for a map of labels"):
            scores.overlay(photo, **options)
    with pytest.raises(ImageError, match="a map of labels has no scores"):
        scores.overlay(photo, 2)


def test_a_class_keeps_its_label_in_top_and_in_an_export(both: tuple[Scores, Scores], tmp_path: Path) -> None:
    for scores in both:
        scores.save(tmp_path / "a.npy", labels=True, overwrite=True)
        found = np.load(tmp_path / "a.npy")[0]
        np.testing.assert_array_equal(np.where(found == 255, -1, found.astype(int)), scores.top())


def test_a_certificate_is_one(make: Make, tmp_path: Path) -> None:
    plain = small(make)
    assert plain.certificate is None
    scores = plain.with_certificate(FOUND)
    assert scores.certificate == FOUND
    scores.save(tmp_path / "c.zarr")
    assert open_scores(tmp_path / "c.zarr").certificate == FOUND
    assert "EXACT" in scores._repr_html_()
    odd = replace(FOUND, max_difference=math.inf, worst_scores=(math.inf, 1.0))
    scores.with_certificate(odd).save(tmp_path / "odd.zarr")
    assert open_scores(tmp_path / "odd.zarr").certificate == odd
    with pytest.raises(ImageError, match="certificate: cannot be read"):
        _ = scores.with_certificate({"verdict": "EXACT"}).certificate


def test_an_array_that_is_not_the_placements_map_is_refused() -> None:
    for array in (np.zeros((3, 8, 13)), np.zeros(SMALL.shape), np.zeros((3, *SMALL.shape), int), np.zeros((0, 8, 14))):
        with pytest.raises(ImageError) as refused:
            Scores.from_array(array, SMALL)
        assert f"{array.dtype} of shape {array.shape} is no map of 8x14 cells" in str(refused.value)
    with pytest.raises(ImageError, match="3 names for 2 classes"):
        Scores.from_array(np.zeros((2, 8, 14)), SMALL, class_names=NAMES)


def test_scores_in_memory_have_one_level(both: tuple[Scores, Scores]) -> None:
    memory, disk = both
    assert (memory.levels, disk.levels) == (1, 2)
    assert memory.coarse(2).shape == memory.shape
    with pytest.raises(GeometryError, match="level: 1 is not one of 1"):
        memory.level(1)


@pytest.mark.parametrize(("side", "level"), [(1000, 0), (300, 0), (299, 1), (150, 1), (2, 1)])
def test_a_picture_gets_the_finest_level_that_is_small_enough(
    both: tuple[Scores, Scores], side: int, level: int
) -> None:
    import zarr

    _, scores = both
    found = scores.coarse(side)
    np.testing.assert_array_equal(found.array, zarr.open_array(str(scores.path / str(level)), mode="r")[:])
    assert found.shape[1:] == found.placement.shape
    np.testing.assert_array_equal(found.valid(), ~np.isnan(found.array).all(axis=0))
    with pytest.raises(GeometryError, match="level: 2 is not one of 2"):
        scores.level(2)


def test_a_georeference_is_carried(make: Make) -> None:
    lies = Georeference(None, (1, 0, 0, 0, -1, 0))
    assert small(make, georeference=lies).georeference == lies


def test_softmax_over_many_classes_is_that_of_all_at_once_and_the_widest_of_them_is_found(make: Make) -> None:
    array = np.random.default_rng(6).normal(size=(150, *SMALL.shape)).astype(np.float32)
    array[:, 2, 3] = np.nan
    array[70] *= 9
    scores = make(array, SMALL)
    wide = array.astype(np.float64)
    raised = np.exp(wide - wide.max(axis=0))
    for band in (0, 70, 149):
        wanted = (raised[band] / raised.sum(axis=0)).astype(np.float32)
        np.testing.assert_array_equal(scores.class_map(band, "softmax"), wanted)
    assert scores.picture().tobytes() == scores.picture(70).tobytes()
