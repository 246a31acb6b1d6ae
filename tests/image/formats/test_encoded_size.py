"""Encoded tiles that declare more than a tile are refused before they are decoded."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import fullfield
from fullfield.errors import ImageError
from fullfield.image.formats.encoded_size import check_tile, jpegxl_size, lerc_sizes

LERC, JPEGXL = 34887, 50002
RNG = np.random.default_rng(2)
RGB = RNG.integers(0, 256, (80, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u4", "f4", "f8"])
@pytest.mark.parametrize(
    "layout", [{"tile": (32, 32)}, {"rowsperstrip": 16}, {"planarconfig": "separate", "tile": (32, 32)}]
)
def test_lerc_of_any_depth_is_read_as_it_was_written(tmp_path: Path, dtype: str, layout: dict[str, Any]) -> None:
    pixels = RGB.astype(dtype)
    stored = pixels.transpose(2, 0, 1) if "planarconfig" in layout else pixels
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", compression="lerc", **layout)
    found = fullfield.open(tmp_path / "a.tif").read(3, 77, 2, 70)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, pixels[3:77, 2:70])


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_xl_of_any_depth_is_read_as_it_was_written(tmp_path: Path, dtype: str, channels: int) -> None:
    pixels = RNG.integers(0, 256, (80, 70, channels)).astype(dtype) / (255 if dtype == "f4" else 1)
    pixels = pixels.astype(dtype)
    options: dict[str, Any] = {
        "photometric": "minisblack" if channels == 1 else "rgb",
        "compressionargs": {"lossless": True},
    }
    options |= {"extrasamples": ["unspecified"]} if channels == 4 else {}
    tifffile.imwrite(
        tmp_path / "a.tif", pixels[:, :, 0] if channels == 1 else pixels, compression="jpegxl", tile=(32, 32), **options
    )
    np.testing.assert_array_equal(fullfield.open(tmp_path / "a.tif").read(3, 77, 2, 70), pixels[3:77, 2:70])


@given(st.integers(1, 1100), st.integers(1, 300), st.sampled_from([1, 2, 3, 4]), st.sampled_from(["u1", "u2", "f4"]))
def test_the_header_of_a_jpeg_xl_picture_says_its_size(height: int, width: int, channels: int, dtype: str) -> None:
    data = imagecodecs.jpegxl_encode(np.zeros((height, width, channels), dtype), effort=1)
    assert jpegxl_size(data, channels) == (height, width)


@pytest.mark.parametrize("ratio", [(1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1)])
def test_sizes_of_common_proportions_are_written_short(ratio: tuple[int, int]) -> None:
    width, height = 40 * ratio[0], 40 * ratio[1]
    assert jpegxl_size(imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8), effort=1), 1) == (height, width)


def test_a_jpeg_xl_picture_of_more_than_a_tile_is_refused() -> None:
    tile = np.zeros((32, 32, 3), np.uint8)
    check_tile(imagecodecs.jpegxl_encode(tile), JPEGXL, (32, 32), 3)
    with pytest.raises(ValueError, match="several sizes or frames"):
        check_tile(imagecodecs.jpegxl_encode(np.zeros((3, 32, 32, 3), np.uint8)), JPEGXL, (32, 32), 3)
    many = imagecodecs.jpegxl_encode(np.zeros((9, 32, 32), np.uint8), planar=True, photometric="gray")
    with pytest.raises(ValueError, match="8 extra channels, 3 values are a pixel"):
        check_tile(many, JPEGXL, (32, 32), 3)
    check_tile(many, JPEGXL, (32, 32), 9)
    for data in (b"", b"\xff\x0a", b"junk" * 9, b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64)):
        with pytest.raises(ValueError, match="JPEG XL"):
            check_tile(data, JPEGXL, (32, 32), 3)


def test_a_lerc_tile_of_more_than_a_tile_is_refused() -> None:
    plain = imagecodecs.lerc_encode(np.zeros((32, 32), np.uint8))
    check_tile(plain, LERC, (32, 32), 1)
    assert list(lerc_sizes(plain * 3, 3)) == [(32, 32)] * 3
    with pytest.raises(ValueError, match="LERC of 2 values a pixel"):
        check_tile(plain * 2, LERC, (32, 32), 1)
    with pytest.raises(ValueError, match="LERC of 3 values a pixel"):
        check_tile(imagecodecs.lerc_encode(np.zeros((32, 32, 3), np.uint8)), LERC, (32, 32), 1)
    with pytest.raises(ValueError, match="200x200 px in a tile"):
        check_tile(imagecodecs.lerc_encode(np.zeros((200, 200), np.uint8)), LERC, (32, 32), 1)
    with pytest.raises(ValueError, match="compressed again"):
        check_tile(imagecodecs.zstd_encode(plain), LERC, (32, 32), 1)
    with pytest.raises(ValueError, match=r"version 2\.9"):
        check_tile(plain[:6] + struct.pack("<i", 9) + plain[10:], LERC, (32, 32), 1)
    with pytest.raises(ValueError, match="5 pixels have no value"):
        check_tile(plain[:26] + struct.pack("<i", 1019) + plain[30:], LERC, (32, 32), 1)


def test_lerc_packed_once_more_is_one_error(tmp_path: Path) -> None:
    options: dict[str, Any] = {"compression": "lerc", "compressionargs": {"compression": "zstd"}, "tile": (32, 32)}
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", **options)
    with pytest.raises(ImageError, match=r"y 0:9, x 0:9 cannot be read: .*compressed again"):
        fullfield.open(tmp_path / "a.tif").read(0, 9, 0, 9)
