"""Results of scans are told from images."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import fullfield
from fullfield.exporters.own_results import is_own_result

SCORES = fullfield.Scores.from_array(
    np.random.default_rng(0).random((2, 9, 8)).astype(np.float32),
    fullfield.Placement((4, 4), (8, 8), (40, 36), (40, 36)),
)
PIXELS = np.zeros((40, 36, 3), np.uint8)


@pytest.mark.parametrize("name", ["a.zarr", "a.npz", "a.tif", "a.ome.tif", "a.png", "a.jpg", "a.webp"])
def test_what_scores_are_saved_as_is_a_result(tmp_path: Path, name: str) -> None:
    picture = name.endswith((".png", ".jpg", ".webp"))
    SCORES.save(tmp_path / name, classes=1 if picture else None)
    if name != "a.npz":  # no suffix of an image
        assert is_own_result(tmp_path / name)


@pytest.mark.parametrize("name", ["over.png", "over.jpg", "over.webp"])
def test_a_picture_over_an_image_is_a_result(tmp_path: Path, name: str) -> None:
    from fullfield.drawing.score_pictures import PictureStyle, save_overlay

    save_overlay(SCORES.map, PIXELS, 1, PictureStyle(), tmp_path / name)
    assert is_own_result(tmp_path / name)


def test_images_are_no_results(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Software", "another program")
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", comment=b"another program")
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", software="another program")
    tifffile.imwrite(tmp_path / "big.tif", PIXELS, photometric="rgb", bigtiff=True, software=None)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:9])
    (tmp_path / "folder").mkdir()
    assert not [path.name for path in tmp_path.iterdir() if is_own_result(path)]


def test_a_result_in_a_bigtiff_is_found(tmp_path: Path) -> None:
    for byteorder in "<>":
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, PIXELS, photometric="rgb", bigtiff=True, byteorder=byteorder, software="fullfield 9")
        assert is_own_result(path)
