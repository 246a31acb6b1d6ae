"""Tiles of a TIFF looked at before they are decoded: none becomes far more than a tile."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from fullfield.image.formats.jpegxl_head import jpegxl_size

_JPEG, _JPEG2000, _PNG, _WEBP = (6, 7, 34892), (33003, 33004, 33005, 34712), (34933,), (50001, 34927)
_LERC, _JPEGXL = (34887,), (50002, 52546)
_LERC2 = b"Lerc2 "
#: Compressions whose decoded size is known beforehand: by the tile's, or by what the tile itself says.
BOUNDED = frozenset(
    {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000, 50013, *_JPEG, *_JPEG2000, *_PNG, *_WEBP, *_LERC, *_JPEGXL}
)  # fmt: skip


def check_tile(data: bytes, compression: int, tile: tuple[int, int], samples: int) -> None:
    """Raises where an encoded picture says that it is larger than the tile that it is.

    Args:
        data: the tile as stored.
        compression: TIFF's number for it.
        tile: height and width, px.
        samples: values of a pixel.

    Raises:
        ValueError: it is larger, or says nothing of its size.
    """
    if compression in _JPEG:
        sizes = list(_jpeg_sizes(data))
    elif compression in _JPEG2000:
        sizes = list(_jpeg2000_sizes(data))
    elif compression in (*_PNG, *_WEBP):
        sizes = [_pillow_size(data)]
    elif compression in _LERC:
        sizes = list(lerc_sizes(data, samples))
    elif compression in _JPEGXL:
        sizes = [jpegxl_size(data, samples)]
    else:
        return
    for height, width in sizes:
        # Encoders fill the last blocks: of JPEG at most 64 px, twice 8 px of chroma at a quarter of the size.
        if height > tile[0] + 64 or width > tile[1] + 64:
            raise ValueError(f"a picture of {height}x{width} px in a tile of {tile[0]}x{tile[1]} px")


def _jpeg_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """What each frame header of a JPEG says."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1  # between scans, entropy-coded bytes
            continue
        marker = data[at + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 <= len(data):
            yield int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        if marker == 0xDA:  # libjpeg takes no second frame header after the scan began
            return
        at += 2 + max(length, 2)


def _jpeg2000_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """What each SIZ marker of a JPEG 2000 stream says."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 24 > len(data):
        raise ValueError("no JPEG 2000 stream")
    while at >= 0 and at + 24 <= len(data):
        width, height, left, top = struct.unpack(">4I", data[at + 8 : at + 24])
        yield height - top, width - left
        at = data.find(b"\xff\x4f\xff\x51", at + 4)


def _pillow_size(data: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as picture:
        return picture.height, picture.width


def lerc_sizes(data: bytes, samples: int) -> Iterator[tuple[int, int]]:
    """What each blob of a LERC tile says, whose pixels all have a value.

    Raises:
        ValueError: it is another kind of LERC, packed once more, or holds more values than the tile.

    Source: LERC 4, Lerc2.h, HeaderInfo
    """
    if not data.startswith(_LERC2):
        raise ValueError("no LERC of version 2, or packed once more with Deflate or Zstandard")
    at, values = 0, 0
    while at >= 0:
        (version,) = struct.unpack_from("<i", data, at + 6)
        if not 1 <= version <= 6:
            raise ValueError(f"LERC of version 2.{version}")
        form = "<3i" if version < 4 else "<4i"
        height, width, *depth, known = struct.unpack_from(form, data, at + (10 if version < 3 else 14))
        values += depth[0] if depth else 1
        if values > samples or min(height, width, *depth) < 1:
            raise ValueError(f"LERC of {values} values a pixel, {height}x{width} px, in a tile of {samples} values")
        if known != height * width:
            raise ValueError(f"LERC where {height * width - known} pixels have no value")
        yield height, width
        at = data.find(_LERC2, at + 6)
