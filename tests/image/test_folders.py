"""The images in a folder: which files count, once each, in a fixed order."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from fullfield.errors import ImageError
from fullfield.image.folders import IMAGE_SUFFIXES, folder_images
from fullfield.image.open import open
from tests.image.formats.mirax import write_mirax
from tests.image.formats.test_dicom import write_slide

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 44, 3), dtype=np.uint8)
SLIDE = np.zeros((256, 256, 3), np.uint8)


def names(folder: Path, *, recursive: bool = False) -> list[str]:
    found = folder_images(folder, recursive=recursive, leave_out=lambda path: False)
    return [path.relative_to(folder).as_posix() for path in found]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path)


def test_files_count_by_their_suffix_and_sidecars_do_not(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.tif"):
        picture(tmp_path / name)
    for name in ("c.tfw", "c.tif.ovr", "c.tif.aux.xml", "c.tif.msk", ".hidden.png", "notes.txt", "roi.geojson"):
        (tmp_path / name).write_bytes(b"")
    assert names(tmp_path) == ["a.jpg", "b.PNG", "c.tif"]


def test_folders_are_searched_only_on_request(tmp_path: Path) -> None:
    for name in ("a.png", "z/a.png", "z/y/b.png", ".git/c.png"):
        picture(tmp_path / name)
    assert names(tmp_path) == ["a.png"]
    assert names(tmp_path, recursive=True) == ["a.png", "z/a.png", "z/y/b.png"]


def test_a_zarr_is_one_image(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "deep/stack.ome.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=PIXELS)
    (tmp_path / "deep/stack.ome.zarr/preview.png").write_bytes(b"")
    assert names(tmp_path, recursive=True) == ["deep/stack.ome.zarr"]


def test_a_mirax_slide_is_one_image(tmp_path: Path) -> None:
    slide = write_mirax(tmp_path / "slide.mrxs", SLIDE)
    picture(tmp_path / slide.stem / "thumbnail.png")
    assert names(tmp_path, recursive=True) == ["slide.mrxs"]


def test_the_folder_of_a_mirax_slide_that_is_lost_holds_no_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_mirax(tmp_path / "in/slide.mrxs", SLIDE).unlink()
    picture(tmp_path / "in/slide/thumbnail.png")
    picture(tmp_path / "other.png")
    assert names(tmp_path, recursive=True) == ["other.png"]


def test_the_pictures_that_a_hamamatsu_index_names_are_its_parts(tmp_path: Path) -> None:
    for name in ("s.jpg", "s(1,0).jpg", "s_map.jpg", "alone.jpg"):
        picture(tmp_path / name)
    text = "[Virtual Microscope Specimen]\r\nImageFile=s.jpg\r\nImageFile(1,0)=s(1,0).jpg\r\nMapFile=s_map.jpg\r\n"
    (tmp_path / "s.vms").write_text(text)
    assert names(tmp_path) == ["alone.jpg", "s.vms"]


def test_the_files_of_a_dicom_series_are_one_image(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_slide(tmp_path / "in")
    first = names(tmp_path / "in")
    assert len(first) == 1
    assert len(list((tmp_path / "in").glob("*.dcm"))) == 2
    (tmp_path / "other").mkdir()
    write_slide(tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        path.rename(tmp_path / "in" / f"other-{path.name}")
    assert len(names(tmp_path / "in")) == 2


def test_links_that_run_in_a_circle_end(tmp_path: Path) -> None:
    picture(tmp_path / "a/b.png")
    (tmp_path / "a/again").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path, recursive=True) == ["a/b.png"]


def test_a_folder_without_images_says_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no image is in this folder\n  fix: name a folder"):
        names(tmp_path)
    picture(tmp_path / "a/b.png")
    with pytest.raises(ImageError, match="--recursive"):
        names(tmp_path)


def test_a_folder_that_cannot_be_read_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageError, match="cannot be read \\(Permission denied\\)"):
        names(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".ppm", ".tga", ".jp2", ".tif", ".npy"])
def test_what_counts_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, PIXELS)
    elif suffix == ".tif":
        tifffile.imwrite(path, PIXELS, photometric="rgb")
    else:
        Image.fromarray(PIXELS).save(path)
    assert suffix in IMAGE_SUFFIXES
    assert open(path).shape[:2] == (40, 44)
