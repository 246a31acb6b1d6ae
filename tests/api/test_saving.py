"""Files of scores: what is written, read back, and refused."""

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
from numcodecs.zstd import Zstd
from PIL import Image

from fullfield.api.scores import Scores, open_scores
from fullfield.drawing.pictures import save_picture
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.verification.certificate import Certificate

PLACE = Placement((4, 3), (12, 11), (40, 50), (40, 50))
NAMES = ("cat", "dog", "owl")
FOUND = Certificate("exact", 4, 112, 0.5, 0.25, 9.0, 0.75, (1, 2), (0.5, 1.0), "float32", 1e-4, 0)


def scores(dtype: Any = np.float32, **options: Any) -> Scores:
    array = np.random.default_rng(0).normal(size=(3, *PLACE.shape)).astype(dtype)
    return Scores.from_array(array, PLACE, **{"class_names": NAMES, **options})


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_saved_scores_load_as_they_were(tmp_path: Path, suffix: str, dtype: type) -> None:
    saved = scores(dtype, mode="context", provenance={"hash": "ab", "step": [4, 3]}, certificate=FOUND)
    saved.save(tmp_path / f"a{suffix}")
    loaded = open_scores(str(tmp_path / f"a{suffix}"))
    assert loaded.array.dtype == dtype
    np.testing.assert_array_equal(loaded.array, saved.array)
    for name in ("placement", "class_names", "mode", "provenance", "certificate"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_scores_without_names_or_certificate_load_as_they_were(tmp_path: Path, suffix: str) -> None:
    Scores.from_array(scores().array, PLACE).save(tmp_path / f"a{suffix}")
    loaded = open_scores(tmp_path / f"a{suffix}")
    assert (loaded.class_names, loaded.certificate, loaded.provenance, loaded.mode) == (None, None, {}, "exact")


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_nan_and_zero_scores_survive(tmp_path: Path, suffix: str) -> None:
    saved = Scores.from_array(np.zeros((2, 8, 14)), PLACE)
    saved.array[1] = np.nan
    saved.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(open_scores(tmp_path / f"a{suffix}").array, saved.array)


def test_numpy_numbers_in_the_provenance_are_written_as_numbers(tmp_path: Path) -> None:
    scores(provenance={"n": np.int64(3), "x": np.float32(0.5), "path": Path("a")}).save(tmp_path / "a.npz")
    assert open_scores(tmp_path / "a.npz").provenance == {"n": 3, "x": 0.5, "path": "a"}


def test_a_zarr_store_is_read_by_plain_zarr_with_axes_from_pixel_centres(tmp_path: Path) -> None:
    place = Placement((4, 4), (12, 12), (80, 80), (40, 40))
    Scores.from_array(np.ones((3, 8, 8), np.float32), place, class_names=NAMES).save(tmp_path / "a.zarr")
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
    scores().save(tmp_path / f"a{suffix}", classes="dog")
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.format == {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
        difference = np.asarray(picture.convert("RGB")).astype(int) - np.asarray(scores().picture("dog"))
    assert abs(difference).max() == 0 or suffix.startswith(".j")


def test_a_jpeg_is_black_where_there_is_no_score(tmp_path: Path) -> None:
    result = scores()
    result.array[1, :4] = np.nan
    result.save(tmp_path / "a.jpg", classes=1)
    with Image.open(tmp_path / "a.jpg") as picture:
        assert np.asarray(picture)[:3].max() < 40


def test_a_picture_needs_a_class_and_leaves_nothing_without_one(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="shows one class, there are 3"):
        scores().save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".npy", ".geojson", ".csv", ".gpkg", ".zarr", ".npz"])
def test_every_format_is_written_and_its_size_is_told(tmp_path: Path, suffix: str) -> None:
    written = scores().save(tmp_path / f"a{suffix}")
    files = [p for p in (tmp_path / f"a{suffix}", *(tmp_path / f"a{suffix}").rglob("*")) if p.is_file()]
    assert (written.path, written.bytes) == (tmp_path / f"a{suffix}", sum(p.stat().st_size for p in files))
    assert (written.detections is None) == (suffix not in (".geojson", ".csv", ".gpkg"))


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"use one of \.zarr, \.npz, \.tif"):
        scores().save(tmp_path / "a.doc")
    with pytest.raises(ImageError, match=r"use one of \.png"):
        save_picture(scores().picture(0), tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["a.zarr", "a.npz", "a.png"])
def test_an_existing_result_is_replaced_only_on_request(tmp_path: Path, name: str) -> None:
    cls = 0 if name == "a.png" else None
    scores().save(tmp_path / name, classes=cls)
    with pytest.raises(ImageError, match="exists already"):
        scores().save(tmp_path / name, classes=cls)
    other = Scores.from_array(-scores().array, PLACE)
    other.save(tmp_path / name, classes=cls, overwrite=True)
    if name != "a.png":
        np.testing.assert_array_equal(open_scores(tmp_path / name).array, other.array)
    assert sorted(path.name for path in tmp_path.iterdir()) == ([name] if cls is None else ["a.legend.json", name])


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
    big = Scores.from_array(np.random.default_rng(0).random((1, 300, 400)), place)
    needed = {"a.png": 300 * 400 * 4, "a.zarr": 300 * 400 * 8 * 3 // 2, "a.npz": 300 * 400 * 8 + 65536}[name]
    with pytest.raises(ImageError, match=f"{name}: the result does not fit: it needs up to {needed} bytes"):
        big.save(tmp_path / name)
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
        Scores.from_array(np.zeros((640, 2, 2)), place).save(tmp_path / "a.zarr")
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
        _ = open_scores(path).array


def test_a_format_of_the_future_asks_for_an_upgrade(tmp_path: Path) -> None:
    scores().save(tmp_path / "a.zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="a")
    group.attrs["fullfield"] = {**group.attrs["fullfield"], "format": 2}
    with pytest.raises(ImageError, match="written in format 2, this version reads 1\n  fix: upgrade"):
        open_scores(tmp_path / "a.zarr")


def test_opening_and_drawing_images_imports_no_torch() -> None:
    modules = "fullfield.image.sources, fullfield.api.scores, fullfield.store.ome_zarr"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", "import torch; " + code], check=False).returncode == 1


def test_stores_are_written_and_read_without_zarr(tmp_path: Path) -> None:
    """Zarr is for images of other programs: the error names its extra."""
    code = f"""
import sys
sys.modules["zarr"] = None
import numpy as np
import fullfield
from fullfield.geometry.placement import Placement

array = np.arange(2 * 300 * 9, dtype=np.float32).reshape(2, 300, 9)
scores = fullfield.Scores.from_array(array, Placement((1, 1), (1, 1), (300, 9), (300, 9)))
scores.save({str(tmp_path / "a.zarr")!r})
assert (fullfield.open_scores({str(tmp_path / "a.zarr")!r}).array == array).all()
try:
    fullfield.open({str(tmp_path / "a.zarr")!r})
except fullfield.ImageError as error:
    assert "pip install 'fullfield[zarr]'" in str(error), error
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
