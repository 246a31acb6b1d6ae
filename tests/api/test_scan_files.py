"""``fullfield.scan_files``, and images that are a part of a file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fullfield
from fullfield import GeometryError, ImageError, ImageFile, Selection, Where

MODEL = str(files("fullfield") / "data" / "rnet.onnx")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 44, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("maps").mkdir()
    Image.fromarray(PIXELS).save("a.png")
    Path("bad.png").write_bytes(Path("a.png").read_bytes()[:99])
    np.save("six.npy", np.concatenate([PIXELS, PIXELS[:, :, ::-1]], axis=2))
    return tmp_path


def test_each_image_has_its_result_and_one_that_fails_stops_no_other() -> None:
    seen: list[str] = []
    results = list(
        fullfield.scan_files(
            MODEL, ["bad.png", Path("a.png")], "maps/{name}.zarr", step=4, progress=lambda path: seen.append(path)
        )
    )
    assert [result.good for result in results] == [False, True]
    assert isinstance(results[0].error, ImageError)
    assert results[1].scores is not None
    assert (results[1].image, results[1].output) == ("a.png", Path("maps/a.zarr"))
    np.testing.assert_array_equal(results[1].scores.array, fullfield.scan(MODEL, PIXELS, step=4).array)
    assert all(result.seconds > 0 for result in results)
    assert seen == ["bad.png", "a.png"]


def test_an_image_is_scanned_when_its_result_is_asked_for() -> None:
    results = fullfield.scan_files(MODEL, ["a.png", "six.npy"], "maps/{name}.zarr", step=4)
    assert list(Path("maps").iterdir()) == []
    next(results)
    assert [path.name for path in Path("maps").iterdir()] == ["a.zarr"]


def test_the_store_of_a_file_is_removed_with_its_result() -> None:
    for result in fullfield.scan_files(MODEL, ["a.png"], "maps/{name}.npy", step=4):
        assert result.scores is not None
        assert result.scores.path == Path("maps/a.npy.zarr")
        del result
    assert [path.name for path in Path("maps").iterdir()] == ["a.npy"]


def test_bands_of_a_file_are_scanned_and_drawn() -> None:
    image = ImageFile("six.npy", Selection(bands=(5, 4, 3)))
    (result,) = fullfield.scan_files(MODEL, [image], "maps/{name}.zarr", step=4)
    assert result.image == "six.npy"
    expected = fullfield.scan(MODEL, PIXELS, step=4)
    scores = fullfield.scan(MODEL, image, step=4)
    for found in (result.scores, scores):
        assert found is not None
        np.testing.assert_array_equal(found.array, expected.array)
    assert scores.overlay(image, "face").tobytes() == expected.overlay(PIXELS, "face").tobytes()


@pytest.mark.parametrize(
    ("images", "output", "says"),
    [
        (["a.png"], "maps/map.zarr", "has no {name}"),
        (["a.png", "other/a.tif"], "maps/{name}.zarr", "would both go to maps/a.zarr"),
    ],
)
def test_outputs_are_checked_before_the_first_scan(images: list[str], output: str, says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        fullfield.scan_files("none.onnx", images, output)


def test_the_foreground_found_is_scanned_and_drawn_beside_the_result() -> None:
    slide = np.full((256, 320, 3), 240, np.uint8)
    slide[64:104, 80:124] = PIXELS // 2
    Image.fromarray(slide).save("slide.png")
    found = fullfield.find_foreground("slide.png")
    assert 0.01 < found.share < 0.1
    for image in (slide, Image.fromarray(slide), fullfield.open("slide.png")):
        np.testing.assert_array_equal(fullfield.find_foreground(image).inside, found.inside)
    given = fullfield.scan(MODEL, "slide.png", step=8, where=Where(skip_background=found))
    remarks: list[str] = []
    made = fullfield.scan(
        MODEL,
        "slide.png",
        step=8,
        where=Where(skip_background=True),
        output="maps/slide.npy",
        progress=lambda now: remarks.append(now.remark),
    )
    assert made is not None
    np.testing.assert_array_equal(made.array, given.array)
    assert found.summary in remarks
    with Image.open("maps/slide.npy.content.png") as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), np.asarray(found.picture()))


def test_one_path_is_one_image() -> None:
    (result,) = fullfield.scan_files(MODEL, "a.png", "maps/{name}.zarr", step=4)
    assert (result.good, result.output) == (True, Path("maps/a.zarr"))
