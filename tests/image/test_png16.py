"""PNGs with 16-bit colour keep all bits."""

import importlib.util
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

import fullfield
from fullfield.errors import ImageError
from fullfield.image.decode import decode

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 65536, (9, 7, 3), dtype=np.uint16)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def written(path: Path, pixels: np.ndarray, *, before: bytes = b"", after: bytes = b"") -> Path:
    """A PNG with more chunks before and after its pixels."""
    data = imagecodecs.png_encode(pixels)
    first, last = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    path.write_bytes(data[:first] + before + data[first:last] + after + data[last:])
    return path


def opened(path: Path, **options: Any) -> np.ndarray:
    raster = fullfield.open(path, **options)
    assert raster.metadata.reader == "imagecodecs"
    height, width, _ = raster.shape
    return raster.read(0, height, 0, width)


def test_colours_of_sixteen_bits_keep_their_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", RGB)
    for found in (decode(path)[0], decode(Image.open(path))[0], opened(path)):
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, RGB)
    np.testing.assert_array_equal(opened(path, bands=[2, 0]), RGB[:, :, [2, 0]])


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_ones_are_blended_with_white_and_keep_alpha_if_it_is_selected(
    tmp_path: Path, channels: int
) -> None:
    pixels = RNG.integers(0, 65536, (9, 7, channels), dtype=np.uint16)
    path = written(tmp_path / "a.png", pixels)
    alpha = pixels[:, :, -1:] / 65535
    wanted = pixels[:, :, :-1] * alpha + 65535 * (1 - alpha)
    np.testing.assert_allclose(opened(path), wanted, rtol=0, atol=0.5 + 1e-9)
    np.testing.assert_array_equal(opened(path, bands=[channels - 1, 0]), pixels[:, :, [channels - 1, 0]])
    np.testing.assert_array_equal(decode(path, bands=channels)[0], pixels)


def test_a_transparent_colour_is_blended_with_white(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", RGB, before=chunk(b"tRNS", struct.pack(">3H", *RGB[2, 3].tolist())))
    wanted = RGB.copy()
    wanted[2, 3] = 65535
    np.testing.assert_array_equal(opened(path), wanted)
    assert opened(path, bands=[0, 1, 2]).shape == (9, 7, 3)


def test_the_orientation_is_followed_wherever_it_stands(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    turn = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    for place in ({"before": turn}, {"after": turn}):
        np.testing.assert_array_equal(opened(written(tmp_path / "a.png", RGB, **place)), np.rot90(RGB, -1))
    broken = chunk(b"eXIf", b"junk")
    np.testing.assert_array_equal(opened(written(tmp_path / "a.png", RGB, before=broken)), RGB)


def test_without_imagecodecs_they_are_read_at_eight_bits_and_the_reader_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = written(tmp_path / "a.png", RGB), importlib.util.find_spec
    deep = fullfield.open(path).metadata.identity
    monkeypatch.setattr("fullfield.image.png16.find_spec", lambda name: None if name == "imagecodecs" else real(name))
    raster = fullfield.open(path)
    assert raster.metadata.reader == "Pillow (16-bit colours reduced to 8 bits: pip install 'fullfield[tiff]')"
    assert raster.metadata.identity != deep
    np.testing.assert_allclose(raster.read(0, 9, 0, 7), RGB / 257, rtol=0, atol=1)


def test_a_picture_that_would_be_large_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.png", RGB)
    monkeypatch.setattr("fullfield.image.decoded_size.MOST_BYTES", 10 * 63 - 1)
    with pytest.raises(ImageError, match=r"9x7 px in \d+ bytes of PNG are decoded whole, which takes 630 bytes"):
        fullfield.open(path)


@pytest.mark.parametrize("cut", [60, 200, 300])
def test_a_damaged_one_is_one_error(tmp_path: Path, cut: int) -> None:
    data = bytearray(written(tmp_path / "a.png", RGB).read_bytes())
    (tmp_path / "b.png").write_bytes(data[:cut])
    for read in (decode, fullfield.open):
        with pytest.raises(ImageError, match=r"b\.png: cannot be decoded"):
            read(tmp_path / "b.png")
    moved = data[:8] + chunk(b"tEXt", b"a\0b") + data[8:]
    (tmp_path / "b.png").write_bytes(moved)
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(tmp_path / "b.png")
