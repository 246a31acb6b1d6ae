"""Files opened by content: each format by its reader, from disk and URLs."""

import ctypes
import importlib.util
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fullfield
from fullfield.errors import ImageError
from fullfield.image.checks import interruptible
from fullfield.image.raster import Raster
from tests.image.serving import fetched, serving

RGB = np.random.default_rng(3).integers(0, 256, (90, 70, 3), dtype=np.uint8)


def whole(raster: Raster) -> np.ndarray:
    height, width, _ = raster.shape
    return raster.read(0, height, 0, width)


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "tiff":
        tifffile.imwrite(file, RGB, photometric="rgb", tile=(32, 32), compression="zlib")
    elif kind == "npy":
        np.save(file, RGB)
    else:
        Image.fromarray(RGB).save(file, kind, **({"lossless": True} if kind == "webp" else {}))
    return file.getvalue()


READERS = {"tiff": "tifffile", "npy": "numpy", "png": "Pillow", "bmp": "Pillow", "webp": "Pillow"}


@pytest.mark.parametrize(("kind", "reader"), READERS.items())
@pytest.mark.parametrize("name", ["right", "wrong.jpg", "no_suffix"])
def test_the_reader_is_chosen_by_content_whatever_the_name(tmp_path: Path, kind: str, reader: str, name: str) -> None:
    path = tmp_path / name.replace("right", f"a.{kind}")
    path.write_bytes(encoded(kind))
    raster = fullfield.open(path)
    assert raster.metadata.reader == reader
    np.testing.assert_array_equal(whole(raster), RGB)
    assert fullfield.open(path, bands=[2, 0]).shape == (90, 70, 2)
    np.testing.assert_array_equal(whole(fullfield.open(path, bands=[2, 0])), RGB[:, :, [2, 0]])
    assert raster.metadata.identity == fullfield.open(path.as_uri()).metadata.identity


@pytest.mark.parametrize("kind", sorted(READERS))
@pytest.mark.parametrize("choice", [{"level": 1}, {"z": 1}, {"t": 2}, {"series": 3}, {"bands": [3]}])
def test_what_a_file_does_not_hold_cannot_be_selected(tmp_path: Path, kind: str, choice: dict[str, Any]) -> None:
    (tmp_path / "a").write_bytes(encoded(kind))
    with pytest.raises(ImageError, match=f"{next(iter(choice)).rstrip('s')}s? [123] does not exist"):
        fullfield.open(tmp_path / "a", **choice)


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_resolution_of_a_file_that_says_none_names_what_to_do(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(encoded(kind))
    with pytest.raises(ImageError, match=r"does not state its resolution(.|\n)*--scale"):
        fullfield.open(tmp_path / "a", mpp=0.5)


def test_a_resolution_wanted_is_reached_by_resampling_once(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.full((80, 160, 3), 7, np.uint8), photometric="rgb", tile=(32, 32),
        resolution=(40000, 40000), resolutionunit=3,
    )  # fmt: skip
    raster = fullfield.open(tmp_path / "a.tif", mpp=0.4)
    assert raster.shape == (50, 100, 3)
    assert (raster.read(10, 20, 30, 50) == 7).all()
    assert fullfield.open(tmp_path / "a.tif", mpp=0.25).shape == (80, 160, 3)


def test_a_pixel_size_that_is_stated_replaces_the_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:  # states 0.25 µm
        options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32), "resolutionunit": 3}
        file.write(pixels, subifds=1, resolution=(40000, 40000), **options)
        file.write(pixels[::2, ::2], subfiletype=1, resolution=(20000, 20000), **options)
    stated = fullfield.open(tmp_path / "a.tif", pixel_size=0.5)
    assert (stated.shape, stated.metadata.mpp) == ((128, 160, 3), (0.5, 0.5))
    coarse = fullfield.open(tmp_path / "a.tif", pixel_size=0.5, mpp=1.0)
    assert (coarse.metadata.level, coarse.metadata.mpp) == (1, (1.0, 1.0))
    np.testing.assert_array_equal(coarse.read(0, 64, 0, 80), pixels[::2, ::2])
    assert fullfield.open(tmp_path / "a.tif", pixel_size=0.5, level=1).metadata.mpp == (1.0, 1.0)
    resampled = fullfield.open(tmp_path / "a.tif", pixel_size=0.5, mpp=2.0)
    assert (resampled.shape, resampled.metadata.mpp) == ((32, 40, 3), (2.0, 2.0))


@pytest.mark.parametrize("kind", sorted(READERS))
def test_any_image_can_be_told_its_pixel_size(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(encoded(kind))
    height, width, _ = fullfield.open(tmp_path / "a").shape
    raster = fullfield.open(tmp_path / "a", pixel_size=0.5, mpp=1.0)
    assert raster.shape[:2] == (round(height / 2), round(width / 2))
    with pytest.raises(ImageError, match="pixel_size: 0 µm/px is not a positive number"):
        fullfield.open(tmp_path / "a", pixel_size=0)


def test_a_geotiff_is_read_by_gdal_and_without_it_with_a_remark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = [(33550, "d", 3, (2.0, 2.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 100.0, 500.0, 0.0), True)]
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", tile=(32, 32), extratags=tags)
    raster = fullfield.open(tmp_path / "a.tif")
    assert raster.metadata.georeference is not None
    assert raster.metadata.georeference.on_map(10, 20) == (140.0, 480.0)
    np.testing.assert_array_equal(whole(raster), RGB)
    real = importlib.util.find_spec
    monkeypatch.setattr("fullfield.image.open_file.find_spec", lambda name: None if name == "rasterio" else real(name))
    raster = fullfield.open(tmp_path / "a.tif")
    assert "fullfield[geo]" in raster.metadata.reader
    np.testing.assert_array_equal(whole(raster), RGB)


def test_what_only_gdal_knows_is_read_by_gdal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "\n".join(" ".join(str(v) for v in row) for row in RGB[:4, :5, 0])
    (tmp_path / "a.asc").write_text(f"ncols 5\nnrows 4\nxllcorner 0\nyllcorner 0\ncellsize 2\n{rows}\n")
    np.testing.assert_array_equal(whole(fullfield.open(tmp_path / "a.asc"))[:, :, 0], RGB[:4, :5, 0])
    monkeypatch.setattr("fullfield.image.open_file.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"begins ncols 5(.|\n)*fullfield\[geo,slide\]"):
        fullfield.open(tmp_path / "a.asc")


def test_a_vendors_slide_is_read_by_openslide(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a", RGB, photometric="rgb", tile=(16, 16), metadata=None,
        description="Aperio Image Library v1\n90x70 |AppMag = 20|MPP = 0.5", compression="jpeg",
    )  # fmt: skip
    metadata = fullfield.open(tmp_path / "a").metadata
    assert "tifffile" not in metadata.reader
    assert metadata.mpp == (0.5, 0.5)


class Interrupted:
    """An argument during whose conversion Ctrl-C comes."""

    @classmethod
    def from_param(cls, value: object) -> object:
        raise KeyboardInterrupt


@pytest.mark.parametrize("call", ["detect_vendor", "open"])
def test_ctrl_c_within_a_call_of_openslide_is_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    from openslide import lowlevel

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", tile=(16, 16), metadata=None, description="Aperio Image Library v1")
    interrupted = ctypes.PyDLL(None).Py_IsInitialized
    interrupted.argtypes = [Interrupted]
    monkeypatch.setattr(lowlevel, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        fullfield.open(path)


def test_other_wrong_arguments_stay_what_they_are() -> None:
    absolute = ctypes.PyDLL(None).abs
    absolute.argtypes = [ctypes.c_int]
    with pytest.raises(ctypes.ArgumentError), interruptible():
        absolute("3")


def test_a_folder_is_a_zarr_or_refused(tmp_path: Path) -> None:
    import zarr

    with pytest.raises(ImageError, match="is a folder and not a Zarr"):
        fullfield.open(tmp_path)
    array = zarr.create_array(
        str(tmp_path / "a"), shape=RGB.shape, chunks=(32, 32, 3), dtype="u1", dimension_names=("y", "x", "c")
    )
    array[:] = RGB
    np.testing.assert_array_equal(whole(fullfield.open(tmp_path / "a")), RGB)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty"),
        (b"hello, world", "is not an image(.|\n)*begins hello, w"),
        (b"II*\0", "ends before its directory"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=text):
        fullfield.open(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="there is no such file"):
        fullfield.open(tmp_path / "b.tif")


@settings(max_examples=40)
@given(st.data())
def test_an_npy_file_of_any_layout_has_the_bits_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shape = tuple(data.draw(st.integers(1, 40)) for _ in range(2))
    channels = data.draw(st.none() | st.integers(1, 4))
    kind = data.draw(st.sampled_from(["u1", "<u2", ">u2", ">f4", "f8", "?", "f2"]))
    values = np.random.default_rng(0).integers(0, 2, (*shape, *([channels] if channels else []))).astype(kind)
    array = np.asfortranarray(values) if data.draw(st.booleans()) else values
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, array)
    expected = array.reshape(*shape, -1)
    raster = fullfield.open(path)
    assert raster.dtype == expected.dtype.newbyteorder("=")
    top, left = data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1] - 1))
    bottom, right = data.draw(st.integers(top + 1, shape[0])), data.draw(st.integers(left + 1, shape[1]))
    region = raster.read(top, bottom, left, right)
    assert region.dtype == raster.dtype
    np.testing.assert_array_equal(region, expected[top:bottom, left:right])


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros(()), "0 axes"),
        (np.zeros((2, 3, 4, 5)), "4 axes"),
        (np.zeros((2, 3), complex), "type complex128"),
        (np.zeros((0, 3)), "0x3 px"),
        (np.zeros((2, 3), "S3"), r"type \|S3"),
    ],
)
def test_an_npy_file_that_is_no_image_is_refused(tmp_path: Path, array: np.ndarray, text: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageError, match=text):
        fullfield.open(tmp_path / "a.npy")


def test_an_npy_file_cut_short_says_both_sizes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RGB)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(ImageError, match=f"has {128 + RGB.size - 1} bytes(.|\n)*takes {128 + RGB.size}"):
        fullfield.open(tmp_path / "a.npy")


def test_frames_of_a_picture_are_its_series(tmp_path: Path) -> None:
    frames = [Image.new("L", (9, 7), colour) for colour in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert [int(fullfield.open(tmp_path / "a.gif", series=k).read(0, 1, 0, 1)[0, 0, 0]) for k in range(3)] == [
        0,
        100,
        200,
    ]


def test_a_damaged_picture_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("png")[:2000])
    with pytest.raises(ImageError, match=r"a\.png: cannot be decoded"):
        fullfield.open(tmp_path / "a.png")


@pytest.fixture(params=["ranges", "whole"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address at which the files of ``tmp_path`` are given."""
    with serving(tmp_path) as (address, _):
        yield f"{address}/{request.param}"


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_url_gives_the_bits_of_the_file(server: str, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    file.write_bytes(encoded(kind))
    raster = fullfield.open(f"{server}/{file.name}")
    with ThreadPoolExecutor(4) as workers:
        for y, found in zip(
            range(0, 60, 5), workers.map(lambda y: raster.read(y, y + 30, y, 70), range(0, 60, 5)), strict=True
        ):
            np.testing.assert_array_equal(found, RGB[y : y + 30, y:])
    assert raster.metadata.identity["etag"] == f'"{file.stat().st_mtime_ns}"'
    raster.close()


def test_of_a_large_file_behind_a_url_only_what_is_needed_is_fetched(server: str, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.random.default_rng(0).integers(0, 255, (2048, 2048, 3), dtype=np.uint8),
        photometric="rgb",
        tile=(128, 128),
    )
    raster = fullfield.open(f"{server}/a.tif")
    raster.read(1000, 1100, 1000, 1100)
    assert (fetched(tmp_path) < 10**6) == server.endswith("ranges")
    raster.close()


def test_a_url_that_leads_nowhere_is_an_error(server: str) -> None:
    with pytest.raises(ImageError, match="there is no such file"):
        fullfield.open(f"{server}/none.tif")


@pytest.mark.parametrize("kind", sorted(READERS))
def test_fsspecs_memory_gives_the_bits_of_the_file(kind: str) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file(f"/opened/a.{kind}", encoded(kind))
    raster = fullfield.open(f"memory://opened/a.{kind}")
    np.testing.assert_array_equal(whole(raster), RGB)
    np.testing.assert_array_equal(raster.read(20, 50, 3, 44), RGB[20:50, 3:44])
    fs.rm("/opened", recursive=True)


def test_a_url_without_fsspec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(ImageError, match=r"pip install 'fullfield\[remote\]'"):
        fullfield.open("https://example.org/a.tif")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ImageError, match="such URLs cannot be read"):
        fullfield.open("nonsense://a/b.tif")
