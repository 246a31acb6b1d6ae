"""Zarr chunks that imagecodecs encoded: zarr's own pixels with the same codecs, or one error."""

import json
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import imagecodecs.numcodecs as codecs
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import zarr
import zarr.registry

from fullfield.errors import ImageError
from fullfield.image.formats.zarr import open_zarr
from fullfield.image.selection import Selection

RGB = np.kron(np.random.default_rng(5).integers(0, 256, (7, 8, 3), dtype=np.uint8), np.ones((10, 10, 1), np.uint8))
FLAT = {
    "bz2": codecs.Bz2(), "deflate": codecs.Deflate(), "lzma": codecs.Lzma(),
    "lzw": codecs.Lzw(), "packbits": codecs.Packbits(), "zlib": codecs.Zlib(), "zstd": codecs.Zstd(),
}  # fmt: skip
PICTURES = {
    "jpeg": codecs.Jpeg(level=90), "jpeg2k": codecs.Jpeg2k(level=0), "jpegxl": codecs.Jpegxl(level=101),
    "lerc": codecs.Lerc(), "png": codecs.Png(), "webp": codecs.Webp(level=-1),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """zarr knows no codec of imagecodecs, as in a new process."""
    for name in [name for name in numcodecs.registry.codec_registry if name.startswith("imagecodecs")]:
        monkeypatch.delitem(numcodecs.registry.codec_registry, name)


def written(folder: Path, codec: Any, pixels: np.ndarray = RGB, **options: Any) -> str:
    """An array of Zarr v2, in chunks of 20 x 30 px."""
    codecs.register_codecs(verbose=False)
    array = zarr.create_array(
        folder / "a.zarr", shape=pixels.shape, dtype=pixels.dtype, chunks=(20, 30, *pixels.shape[2:]),
        compressors=codec, zarr_format=2, **options,
    )  # fmt: skip
    array[:] = pixels
    return str(folder / "a.zarr")


def forget() -> None:
    for name in [name for name in numcodecs.registry.codec_registry if name.startswith("imagecodecs")]:
        del numcodecs.registry.codec_registry[name]


def check(path: str) -> None:
    expected = np.asarray(zarr.open_array(path, mode="r")[:])
    forget()
    raster = open_zarr(path, Selection())
    np.testing.assert_array_equal(raster.read(0, 70, 0, 80), expected.reshape(70, 80, -1))
    np.testing.assert_array_equal(raster.read(19, 41, 29, 61), expected.reshape(70, 80, -1)[19:41, 29:61])


@pytest.mark.parametrize("name", [*FLAT, *PICTURES])
def test_zarr_reads_the_same(tmp_path: Path, name: str) -> None:
    check(written(tmp_path, (FLAT | PICTURES)[name]))


@pytest.mark.parametrize("name", ["jpeg2k", "jpegxl", "lerc", "png"])
def test_grey_of_16_bits_is_read(tmp_path: Path, name: str) -> None:
    check(written(tmp_path, PICTURES[name], RGB[:, :, 0].astype(np.uint16) * 200))


def test_many_bands_of_a_picture_are_read(tmp_path: Path) -> None:
    pixels = np.concatenate([RGB, RGB[:, :, :2]], axis=2)
    check(written(tmp_path, PICTURES["jpeg2k"], pixels, attributes={"_ARRAY_DIMENSIONS": ["y", "x", "c"]}))


def test_filters_of_imagecodecs_are_undone(tmp_path: Path) -> None:
    filters = [codecs.Delta(shape=(20, 30, 3), dtype="u1", axis=-2)]
    check(written(tmp_path, codecs.Zlib(), filters=filters))


@pytest.mark.parametrize("name", ["imagecodecs_jpeg2k", "numcodecs.imagecodecs_jpeg2k", "imagecodecs.jpeg2k"])
def test_pictures_in_zarr_3_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=RGB.shape, dtype="u1", chunks=(70, 40, 3), zarr_format=3)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["codecs"] = [{"name": name, "configuration": {"level": 0}}]
    (path / "zarr.json").write_text(json.dumps(metadata))
    for k in range(2):
        part = np.ascontiguousarray(RGB[:, 40 * k : 40 * k + 40])
        (path / f"c/0/{k}").mkdir(parents=True)
        (path / f"c/0/{k}/0").write_bytes(imagecodecs.jpeg2k_encode(part, level=0))
    raster = open_zarr(str(path), Selection())
    np.testing.assert_array_equal(raster.read(0, 70, 0, 80), RGB)
    (path / "c/0/1/0").write_bytes(imagecodecs.jpeg2k_encode(np.zeros((71, 40, 3), np.uint8), level=0))
    with pytest.raises(ImageError, match="of 3 components, 2 values are a pixel"):
        raster.read(0, 70, 0, 80)
    (path / "c/0/1/0").write_bytes(imagecodecs.jpeg2k_encode(RGB[:, :40].astype(np.uint16), level=0))
    with pytest.raises(ImageError, match="of uint16, not to"):
        raster.read(0, 70, 0, 80)


@pytest.mark.parametrize("name", ["imagecodecs_jpeg2k", "imagecodecs_lzw"])
def test_without_imagecodecs_the_error_names_the_extra(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, PICTURES["jpeg2k"] if "jpeg" in name else FLAT["lzw"])
    forget()
    monkeypatch.setitem(sys.modules, "imagecodecs.numcodecs", None)
    with pytest.raises(ImageError, match=f"is encoded with {name}, which the package imagecodecs decodes") as caught:
        open_zarr(path, Selection())
    assert caught.value.fix == "pip install 'fullfield[tiff,zarr]'"


@pytest.mark.parametrize("name", [*FLAT, *PICTURES])
def test_a_chunk_that_decodes_to_more_is_refused(tmp_path: Path, name: str) -> None:
    codec = (FLAT | PICTURES)[name]
    path = written(tmp_path, codec)
    (Path(path) / "0.0.0").write_bytes(codec.encode(np.zeros((700, 600, 3), np.uint8)))
    reason = "700x600 px, where" if name in PICTURES else "decodes to|at most|TOO_SMALL"
    with pytest.raises(ImageError, match=reason):
        open_zarr(path, Selection()).read(0, 10, 0, 10)


def test_a_codec_that_is_not_known_to_be_bounded_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, codecs.Brotli())
    with pytest.raises(ImageError, match="is encoded with imagecodecs_brotli, which is not supported") as caught:
        open_zarr(path, Selection())
    assert "imagecodecs" not in caught.value.fix
