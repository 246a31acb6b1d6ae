"""Scores: where they belong, and what is written and read back."""

import json
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numcodecs.zstd import Zstd
from PIL import Image

from fullfield.api.scores import Scores, save_picture
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement

PLACE = Placement((4, 3), (12, 11), (40, 50), (40, 50))
NAMES = ("cat", "dog", "owl")


def scores(dtype: Any = np.float32, **options: Any) -> Scores:
    array = np.random.default_rng(0).normal(size=(3, *PLACE.shape)).astype(dtype)
    return Scores(array, PLACE, **{"class_names": NAMES, **options})


def test_an_array_that_is_not_the_placements_map_is_refused() -> None:
    for array in (np.zeros((3, 8, 13)), np.zeros(PLACE.shape), np.zeros((3, *PLACE.shape), int), np.zeros((0, 8, 14))):
        with pytest.raises(ImageError, match="is no map of 8x14 cells"):
            Scores(array, PLACE)
    with pytest.raises(ImageError, match="3 names for 2 classes"):
        Scores(np.zeros((2, 8, 14)), PLACE, class_names=NAMES)


def test_scores_are_an_array_for_numpy() -> None:
    found = scores()
    assert found.shape == found.array.shape
    assert np.asarray(found) is found.array
    assert np.asarray(found, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(found, copy=True), found.array)
    assert np.mean(found) == found.array.mean()


def test_a_short_text_says_what_the_scores_are() -> None:
    assert repr(scores()) == "Scores(3 x 8x14 float32, exact, step 4x3, window 12x11, image 40x50)"
    square = Placement((2, 2), (4, 4), (9, 9), (9, 9))
    assert "context, step 2, window 4x4" in repr(Scores(np.zeros((1, 3, 3)), square, mode="context"))


@given(st.data())
def test_a_point_gets_the_cell_with_the_nearest_centre(data: st.DataObject) -> None:
    size = data.draw(st.integers(20, 60))
    step, window = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 12))
    place = Placement((step, step), (window, window), (size, size), (data.draw(st.integers(20, 90)),) * 2)
    rows, columns = np.mgrid[: place.shape[0], : place.shape[1]]
    result = Scores(np.stack([rows, columns]).astype(float), place)
    top, left, bottom, right = place.footprint()
    y, x = data.draw(st.floats(top, bottom)), data.draw(st.floats(left, right))
    cy, cx = place.centre(rows, columns)
    distance = np.hypot(cy - y, cx - x)
    i, j = result.at(y, x).astype(int)
    assert distance[i, j] <= distance.min() + 1e-9


def test_a_point_outside_the_footprint_is_refused_with_its_bounds() -> None:
    for y, x in ((3.9, 20), (36.1, 20), (20, 3.9), (20, 46.1), (float("nan"), 20)):
        with pytest.raises(ImageError, match=r"outside the scores, which cover y 4\.\.36, x 4\.\.46"):
            scores().at(y, x)
    assert scores().at(4, 46).shape == (3,)


def test_the_scores_at_a_point_are_a_copy() -> None:
    result = scores()
    result.at(20, 20)[:] = 99
    assert result.array.max() < 99


def test_the_top_class_is_that_of_the_greatest_score() -> None:
    result = scores()
    np.testing.assert_array_equal(result.top(), result.array.argmax(0))


def test_a_class_map_is_the_scores_or_their_probabilities() -> None:
    result = scores(np.float64)
    np.testing.assert_array_equal(result.class_map("dog"), result.array[1])
    raised = np.exp(result.array)
    np.testing.assert_allclose(result.class_map(1, "softmax"), raised[1] / raised.sum(0), rtol=1e-12)
    np.testing.assert_allclose(result.class_map(1, "sigmoid"), raised[1] / (1 + raised[1]), rtol=1e-12)
    with pytest.raises(ImageError, match="'tanh' is not known"):
        result.class_map(1, "tanh")


def test_probabilities_of_huge_logits_are_finite() -> None:
    big = Scores(np.stack([np.full(PLACE.shape, 1e30), np.full(PLACE.shape, -1e30)]).astype(np.float32), PLACE)
    for activation in ("softmax", "sigmoid"):
        assert (big.class_map(0, activation) == 1).all()
        assert (big.class_map(1, activation) == 0).all()


def test_a_picture_has_a_pixel_a_cell_from_the_first_colour_to_the_last() -> None:
    result = scores()
    pixels = np.asarray(result.picture("owl", colours="gray"))
    assert pixels.shape == (*PLACE.shape, 3)
    assert pixels[np.unravel_index(result.array[2].argmin(), PLACE.shape)].tolist() == [0] * 3
    assert pixels[np.unravel_index(result.array[2].argmax(), PLACE.shape)].tolist() == [255] * 3
    assert np.asarray(result.picture("owl", colours="gray", vmin=-100, vmax=100)).min() > 100


@pytest.mark.parametrize(("vmin", "vmax"), [(2, 1), (float("nan"), 1), (0, float("inf"))])
def test_a_range_upside_down_or_endless_is_refused(vmin: float, vmax: float) -> None:
    with pytest.raises(ImageError, match="is no range of values"):
        scores().picture(0, vmin=vmin, vmax=vmax)


def test_scores_of_nan_and_infinity_can_be_drawn() -> None:
    result = scores()
    result.array[0, 0, :3] = np.nan, np.inf, -np.inf
    assert result.picture(0).size == (14, 8)
    result.array[:] = np.nan
    assert result.picture(0).size == (14, 8)


def test_an_overlay_has_the_image_at_its_top_left_and_the_legend_below() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    bare = scores().overlay(photo, "cat", legend=False)
    full = scores().overlay(photo, "cat")
    assert bare.size == (50, 40)
    assert full.height > 40
    np.testing.assert_array_equal(np.asarray(full)[:40, :50], np.asarray(bare))
    np.testing.assert_array_equal(np.asarray(bare)[:4], photo[:4])  # no window is centred there
    nameless = Scores(scores().array, PLACE).overlay(photo, 0, activation="softmax", smooth=True)
    assert nameless.tobytes() != full.tobytes()


def test_an_overlay_of_a_path_is_that_of_its_pixels(tmp_path: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert scores().overlay(tmp_path / "a.png", 0).tobytes() == scores().overlay(photo, 0).tobytes()


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_saved_scores_load_as_they_were(tmp_path: Path, suffix: str, dtype: type) -> None:
    saved = scores(dtype, mode="context", provenance={"hash": "ab", "step": [4, 3]}, certificate={"max": 0.5})
    saved.save(tmp_path / f"a{suffix}")
    loaded = Scores.load(str(tmp_path / f"a{suffix}"))
    assert loaded.array.dtype == dtype
    np.testing.assert_array_equal(loaded.array, saved.array)
    for name in ("placement", "class_names", "mode", "provenance", "certificate"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_scores_without_names_or_certificate_load_as_they_were(tmp_path: Path, suffix: str) -> None:
    Scores(scores().array, PLACE).save(tmp_path / f"a{suffix}")
    loaded = Scores.load(tmp_path / f"a{suffix}")
    assert (loaded.class_names, loaded.certificate, loaded.provenance, loaded.mode) == (None, None, {}, "exact")


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_nan_and_zero_scores_survive(tmp_path: Path, suffix: str) -> None:
    saved = Scores(np.zeros((2, 8, 14)), PLACE)
    saved.array[1] = np.nan
    saved.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(Scores.load(tmp_path / f"a{suffix}").array, saved.array)


def test_numpy_numbers_in_the_provenance_are_written_as_numbers(tmp_path: Path) -> None:
    scores(provenance={"n": np.int64(3), "x": np.float32(0.5), "path": Path("a")}).save(tmp_path / "a.npz")
    assert Scores.load(tmp_path / "a.npz").provenance == {"n": 3, "x": 0.5, "path": "a"}


def test_a_zarr_store_is_read_by_plain_zarr_with_axes_from_pixel_centres(tmp_path: Path) -> None:
    place = Placement((4, 4), (12, 12), (80, 80), (40, 40))
    Scores(np.ones((3, 8, 8), np.float32), place, class_names=NAMES).save(tmp_path / "a.zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    array = group["0"]
    assert array.metadata.zarr_format == 3
    assert array.metadata.dimension_names == ("c", "y", "x")
    assert (array[:] == 1).all()
    scale, translation = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [1, 8, 8]  # a step of 4 on the image at half size
    assert translation["translation"] == [0, 11.5, 11.5]
    record = group.attrs["fullfield"]
    assert record["spec"]["class_names"] == list(NAMES)
    assert (record["centre"], record["resized_by"], record["spec"]["mode"]) == ([12, 12], [0.5, 0.5], "exact")
    sizes = {"step": [4, 4], "window": [12, 12], "image": [80, 80], "scanned": [40, 40], "padding": [0, 0, 0, 0]}
    assert record["placement"] == sizes


def test_npz_is_read_by_plain_numpy(tmp_path: Path) -> None:
    scores().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["scores"], scores().array)
        assert json.loads(str(archive["fullfield"]))["spec"]["class_names"] == list(NAMES)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".jpeg"])
def test_a_picture_of_a_class_is_saved_by_its_suffix(tmp_path: Path, suffix: str) -> None:
    scores().save(tmp_path / f"a{suffix}", "dog")
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.format == {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
        difference = np.asarray(picture).astype(int) - np.asarray(scores().picture("dog"))
    assert abs(difference).max() == 0 or suffix.startswith(".j")


def test_a_picture_needs_a_class_and_leaves_nothing_without_one(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="none given, there are 3"):
        scores().save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"use one of \.zarr, \.npz, \.png"):
        scores().save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=r"use one of \.png"):
        save_picture(scores().picture(0), tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["a.zarr", "a.npz", "a.png"])
def test_an_existing_result_is_replaced_only_on_request(tmp_path: Path, name: str) -> None:
    scores().save(tmp_path / name, 0)
    with pytest.raises(ImageError, match="exists already"):
        scores().save(tmp_path / name, 0)
    other = Scores(-scores().array, PLACE)
    other.save(tmp_path / name, 0, overwrite=True)
    if name != "a.png":
        np.testing.assert_array_equal(Scores.load(tmp_path / name).array, other.array)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.fixture
def small_files() -> Iterator[None]:
    """The system refuses files above 64 KiB: as real as a full disk, and needs no rights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("name", ["a.zarr", "a.npz", "a.png"])
def test_without_room_nothing_is_left_and_the_need_is_named(tmp_path: Path, name: str) -> None:
    place = Placement((1, 1), (1, 1), (300, 400), (300, 400))
    big = Scores(np.random.default_rng(0).random((1, 300, 400)), place)
    needed = 300 * 400 * 3 if name == "a.png" else 300 * 400 * 8 + 65536
    with pytest.raises(ImageError, match=f"{name}: the result does not fit: it needs up to {needed} bytes"):
        big.save(tmp_path / name, 0)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_store_stops_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, calls = Zstd.encode, []

    def interrupted(self: Any, numbers: Any) -> Any:
        calls.append(numbers.shape)
        if len(calls) == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # what Ctrl-C does
        return encode(self, numbers)

    monkeypatch.setattr("numcodecs.zstd.Zstd", type("Slow", (Zstd,), {"encode": interrupted}))
    place = Placement((1, 1), (1, 1), (2, 2), (2, 2))
    with pytest.raises(KeyboardInterrupt):
        Scores(np.zeros((640, 2, 2)), place).save(tmp_path / "a.zarr")
    assert len(calls) == 3  # of ten
    assert not list(tmp_path.iterdir())


def damaged(folder: Path, how: str) -> Path:
    scores().save(folder / "a.zarr")
    scores().save(folder / "a.npz")
    if how == "chunk missing":
        (folder / "a.zarr/0/c/0/0/0").unlink()
    elif how == "chunk cut":
        chunk = folder / "a.zarr/0/c/0/0/0"
        chunk.write_bytes(chunk.read_bytes()[:10])
    elif how == "chunk changed":
        chunk = folder / "a.zarr/0/c/0/0/0"
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    elif how == "no record":
        zarr.open_group(str(folder / "a.zarr"), mode="a").attrs.clear()
    elif how == "strange record":
        zarr.open_group(str(folder / "a.zarr"), mode="a").attrs["fullfield"] = {"format": 1, "complete": True}
    elif how == "text record":
        zarr.open_group(str(folder / "a.zarr"), mode="a").attrs["fullfield"] = "x"
    elif how == "npz cut":
        data = (folder / "a.npz").read_bytes()
        (folder / "a.npz").write_bytes(data[: len(data) // 2])
        return folder / "a.npz"
    elif how == "npz of others":
        np.savez(folder / "a.npz", scores=np.zeros(3))
        return folder / "a.npz"
    elif how == "npz of a number":
        np.savez(folder / "a.npz", scores=np.zeros(3), fullfield=np.array("3"))
        return folder / "a.npz"
    elif how == "folder of others":
        (folder / "b").mkdir()
        return folder / "b"
    elif how == "text file":
        (folder / "b").write_text("hello")
        return folder / "b"
    elif how == "nothing":
        return folder / "none.zarr"
    return folder / "a.zarr"


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("chunk missing", "1 of 1 shards of level 0 are missing"),
        ("chunk cut", "cannot be read"),
        ("chunk changed", "cannot be read"),
        ("no record", "no scores that can be read"),
        ("strange record", r"its record cannot be read \(KeyError"),
        ("text record", "has no record of scores"),
        ("npz cut", "holds no scores"),
        ("npz of others", "cannot be read"),
        ("npz of a number", "no record"),
        ("folder of others", "no scores that can be read"),
        ("text file", "holds no scores"),
        ("nothing", "no such file"),
    ],
)
def test_what_holds_no_whole_scores_is_refused(tmp_path: Path, how: str, what: str) -> None:
    path = damaged(tmp_path, how)
    with pytest.raises(ImageError, match=what):
        Scores.load(path)


def test_a_format_of_the_future_asks_for_an_upgrade(tmp_path: Path) -> None:
    scores().save(tmp_path / "a.zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="a")
    group.attrs["fullfield"] = {**group.attrs["fullfield"], "format": 2}
    with pytest.raises(ImageError, match="written in format 2, known is 1\n  fix: upgrade"):
        Scores.load(tmp_path / "a.zarr")


def test_opening_and_drawing_images_imports_no_torch() -> None:
    modules = "fullfield.image.sources, fullfield.api.scores, fullfield.store.ome_zarr"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", "import torch; " + code], check=False).returncode == 1
