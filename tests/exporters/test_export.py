"""One verb for all formats: chosen by suffix, options checked, numbers equal."""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

from fullfield.api.scores import Scores, open_scores
from fullfield.errors import ImageError
from fullfield.exporters import Options, export
from fullfield.exporters.detections import Detections
from fullfield.store.palette import distinct
from tests.exporters.maps import UTM, placed, score_map


def opened(path: Path) -> Image.Image:
    with Image.open(path) as file:
        file.load()
        return file


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_npy_reads_back_equal(tmp_path: Path, dtype: str) -> None:
    scores = score_map(dtype=dtype)
    export(scores, tmp_path / "a.npy")
    found = np.load(tmp_path / "a.npy")
    if dtype == "uint8":
        wanted = np.where(scores.known, scores.array * np.float32(1 / 254) + np.float32(0.25), np.nan)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    else:
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, scores.array)


@pytest.mark.parametrize(("name", "writer"), [("a.npy", "npy"), ("a.png", "picture"), ("a.tif", "geotiff")])
def test_a_format_imports_no_writer_of_another(
    tmp_path: Path, name: str, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in {"geotiff", "npy", "ometiff", "picture", "plot"} - {writer}:
        monkeypatch.setitem(sys.modules, f"fullfield.exporters.{other}", None)
    export(score_map(1, georeference=UTM), tmp_path / name)


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_scores_of_some_classes_are_loaded_again(tmp_path: Path, suffix: str) -> None:
    scores = score_map(georeference=UTM)
    export(scores, tmp_path / f"a{suffix}", classes=["kind 2", 0])
    found = open_scores(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.array, scores.array[[2, 0]])
    assert (found.classes, found.class_names, found.placement) == ((2, 0), ("kind 2", "kind 0"), placed())
    assert found.georeference == UTM


@pytest.mark.parametrize(
    "name", ["a.tif", "a.ome.tif", "a.npy", "a.npz", "a.zarr", "a.geojson", "a.csv", "a.fgb", "a.png", "a.webp"]
)
def test_equal_maps_give_equal_bytes_at_every_writing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    now = time.time()
    for day in range(2):
        monkeypatch.setattr(time, "time", lambda day=day: now + 86400 * day)
        monkeypatch.setattr(os, "cpu_count", lambda day=day: 1 + day)
        place = tmp_path / str(day) / name
        place.parent.mkdir()
        export(score_map(1, georeference=UTM), place)
        found.append({file.name: file.read_bytes() for file in place.parent.rglob("*") if file.is_file()})
    assert found[0] == found[1]


def test_other_scores_have_another_identifier_in_ome_tiff(tmp_path: Path) -> None:
    found = []
    for number, shift in enumerate((0, 1, 0)):
        scores = score_map(1)
        scores.array[0, 0, 0] += shift
        export(scores, tmp_path / f"{number}.ome.tif")
        with tifffile.TiffFile(tmp_path / f"{number}.ome.tif") as file:
            found += re.findall('UUID="urn:uuid:([-0-9a-f]+)"', file.ome_metadata or "")
    assert found[0] == found[2] != found[1]


def test_scores_in_memory_are_exported_too(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((2, *placed().shape)).astype(np.float32)
    export(Scores.from_array(array, placed(), georeference=UTM).map, tmp_path / "a.tif", classes=[1])
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), array[1:])
        assert file.descriptions == ("class 1",)


def test_a_class_that_was_kept_is_named_by_its_index_in_the_network(tmp_path: Path) -> None:
    scores = score_map(2, classes=(7, 31), class_names=None)
    export(scores, tmp_path / "a.npy", classes=["31"])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), scores.array[1:])
    with pytest.raises(ImageError, match="1 is not in the map, which holds 7, 31"):
        export(scores, tmp_path / "b.npy", classes=[1])


def test_label_pictures_have_a_palette_and_a_legend(tmp_path: Path) -> None:
    scores = score_map()
    export(scores, tmp_path / "a.png", options=Options(labels=True))
    picture = opened(tmp_path / "a.png")
    assert picture.mode == "P"
    top = np.where(scores.known, np.nan_to_num(scores.array, nan=-9).argmax(axis=0), 255)
    np.testing.assert_array_equal(np.asarray(picture), top)
    rgba = np.asarray(picture.convert("RGBA"))
    assert (rgba[~scores.known][:, 3] == 0).all()
    legend = json.loads((tmp_path / "a.legend.json").read_text(encoding="utf-8"))
    assert legend["classes"][2] == {"value": 2, "name": "kind 2", "color": list(distinct(3)[2])}
    assert tuple(rgba[top == 2][0]) == (*distinct(3)[2], 255)


def test_label_pictures_of_many_classes_are_in_colour(tmp_path: Path) -> None:
    place = placed(step=(30, 30))
    export(score_map(300, placement=place), tmp_path / "a.png", options=Options(labels=True, resolution="image"))
    picture = opened(tmp_path / "a.png")
    assert (picture.mode, picture.size) == ("RGBA", (400, 300))


def test_a_picture_shows_one_class(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="shows one class, there are 3"):
        export(score_map(), tmp_path / "a.png")
    export(score_map(), tmp_path / "a.png", classes=[1])
    assert opened(tmp_path / "a.png").mode == "RGBA"
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.legend\.json: exists already"):
        export(score_map(), tmp_path / "a.png", classes=[1])


def test_pictures_have_a_greatest_size(tmp_path: Path) -> None:
    options = Options(labels=True, resolution=(60000, 60000))
    with pytest.raises(ImageError, match=r"60000x60000 px is more than the \d+"):
        export(score_map(), tmp_path / "a.png", options=options)


def test_a_geotiff_at_the_images_resolution_lies_on_the_image(tmp_path: Path) -> None:
    options = Options(labels=True, resolution="image", resample="bilinear")
    export(score_map(georeference=UTM), tmp_path / "a.tif", options=options)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert (file.height, file.width) == (300, 400)
        assert file.transform.almost_equals(rasterio.Affine(*UTM.transform))


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("a.npy", {"detections": Detections(0.5)}, r"detections: Detections\(threshold=0.5.* has no meaning for npy"),
        ("a.geojson", {"resolution": "image"}, "has no meaning for geojson"),
        ("a.geojson", {"labels": True}, "has no meaning for geojson"),
        ("a.ome.tif", {"cog": False}, "has no meaning for ometiff"),
        ("a.npz", {"labels": True}, "has no meaning for npz"),
        ("a.tif", {"resolution": "huge"}, "'huge' is not known"),
        ("a.doc", {}, "names no format"),
    ],
)
def test_what_a_format_has_no_use_for_is_refused(tmp_path: Path, name: str, options: Any, fault: str) -> None:
    with pytest.raises(ImageError, match=fault):
        export(score_map(), tmp_path / name, options=Options(**options))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("old")
    with pytest.raises(ImageError, match="exists already"):
        export(score_map(), tmp_path / "a.npy")
    export(score_map(), tmp_path / "a.npy", overwrite=True)


def test_colours_are_told_apart_and_do_not_depend_on_how_many() -> None:
    colours = distinct(300)
    assert len(set(colours)) == 300
    assert colours[:20] == distinct(20)
