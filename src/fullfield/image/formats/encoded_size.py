"""Checks the size that an encoded TIFF tile declares, so that none decodes to far more than a tile."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fullfield.geometry.region import Pair

_JPEG, _JPEG2000, _PNG, _WEBP = (6, 7, 34892), (33003, 33004, 33005, 34712), (34933,), (50001, 34927)
_LERC, _JPEGXL = (34887,), (50002, 52546)
#: TIFF compressions whose decoded size is known before decoding: the tile's, or declared by the tile and checked here.
CHECKED = frozenset(
    {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000, 50013, *_JPEG, *_JPEG2000, *_PNG, *_WEBP, *_LERC, *_JPEGXL}
)  # fmt: skip
_LERC2 = b"Lerc2 "


def check_tile(data: bytes, compression: int, tile: Pair, samples: int) -> None:
    """Raises if an encoded tile declares a larger picture than a tile.

    Args:
        data: the tile as stored.
        compression: its number in TIFF.
        tile: height and width, px.
        samples: values per pixel.

    Raises:
        ValueError: the picture is larger, or declares no size.
    """
    for height, width in _declared_sizes(data, compression, samples):
        # Encoders pad the last blocks: JPEG by at most 64 px, two chroma blocks of 8 px at a quarter of the size.
        if height > tile[0] + 64 or width > tile[1] + 64:
            raise ValueError(f"a picture of {height}x{width} px in a tile of {tile[0]}x{tile[1]} px")


def check_picture_values(data: bytes, compression: int, most_values: int) -> None:
    """Raises if an encoded picture declares more values than a limit, counting one channel where it declares none.

    Raises:
        ValueError: it does, or declares no size.
    """
    for height, width in list(_declared_sizes(data, compression, most_values)):
        if not 0 < height * width <= most_values:
            raise ValueError(f"a picture of {height}x{width} px, where {most_values} values are expected")
        list(_declared_sizes(data, compression, most_values // (height * width)))


def _declared_sizes(data: bytes, compression: int, samples: int) -> Iterator[Pair]:
    """Height and width of each picture in a tile; none for compressions without."""
    if compression in _JPEG:
        yield from _jpeg_sizes(data)
    elif compression in _JPEG2000:
        yield from _jpeg2000_sizes(data, samples)
    elif compression in _PNG:
        yield _png_size(data)
    elif compression in _WEBP:
        yield from _webp_sizes(data)
    elif compression in _LERC:
        yield from lerc_sizes(data, samples)
    elif compression in _JPEGXL:
        yield jpegxl_size(data, samples)


def _jpeg_sizes(data: bytes) -> Iterator[Pair]:
    """Height and width in each frame header of a JPEG."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1  # entropy-coded bytes between scans
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
        if marker == 0xDA:  # libjpeg accepts no second frame header after the start of a scan
            return
        at += 2 + max(length, 2)


def _jpeg2000_sizes(data: bytes, samples: int) -> Iterator[Pair]:
    """Height and width in each SIZ marker of a JPEG 2000 stream.

    Raises:
        ValueError: there is none, or it has more components than ``samples``.

    Source: ISO/IEC 15444-1, annex A.5.1
    """
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 24 > len(data):
        raise ValueError("not a JPEG 2000 stream")
    while at >= 0 and at + 24 <= len(data):
        width, height, left, top = struct.unpack(">4I", data[at + 8 : at + 24])
        components = int.from_bytes(data[at + 40 : at + 42], "big")
        if components > samples:
            raise ValueError(f"a JPEG 2000 picture of {components} components, {samples} values are a pixel")
        yield height - top, width - left
        at = data.find(b"\xff\x4f\xff\x51", at + 4)


def _png_size(data: bytes) -> Pair:
    """Height and width in the header of a PNG.

    Source: Portable Network Graphics, third edition, section 11.2.1
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        raise ValueError("not a PNG picture")
    width, height = struct.unpack(">2I", data[16:24])
    return height, width


def _webp_sizes(data: bytes) -> Iterator[Pair]:
    """Height and width of the canvas and of each picture of a WebP.

    Source: RFC 9649, sections 2.5 to 2.7
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("not a WebP picture")
    at, found = 12, False
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 18]
        if kind == b"ANIM":
            raise ValueError("a WebP animation")
        if kind == b"VP8X" and len(body) == 10:
            yield int.from_bytes(body[7:10], "little") + 1, int.from_bytes(body[4:7], "little") + 1
        elif kind == b"VP8 " and len(body) == 10:
            found = True
            yield int.from_bytes(body[8:10], "little") & 0x3FFF, int.from_bytes(body[6:8], "little") & 0x3FFF
        elif kind == b"VP8L" and len(body) >= 5:
            found, bits = True, int.from_bytes(body[1:5], "little")
            yield (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        at += 8 + length + length % 2
    if not found:
        raise ValueError("a WebP file without a picture")


def lerc_sizes(data: bytes, samples: int) -> Iterator[Pair]:
    """Height and width in each blob of a LERC tile.

    Raises:
        ValueError: another version of LERC, compressed once more, with more values than the tile or missing pixels.

    Source: LERC 4, Lerc2.h, HeaderInfo
    """
    if not data.startswith(_LERC2):
        raise ValueError("not LERC of version 2, or compressed again with Deflate or Zstandard")
    at, values = 0, 0
    while at >= 0:
        (version,) = struct.unpack_from("<i", data, at + 6)
        if not 1 <= version <= 6:
            raise ValueError(f"LERC of version 2.{version}")
        form = "<3i" if version < 4 else "<4i"
        height, width, *depth, valid = struct.unpack_from(form, data, at + (10 if version < 3 else 14))
        values += depth[0] if depth else 1
        if values > samples or min(height, width, *depth) < 1:
            raise ValueError(f"LERC of {values} values a pixel, {height}x{width} px, in a tile of {samples} values")
        if valid != height * width:
            raise ValueError(f"LERC where {height * width - valid} pixels have no value")
        yield height, width
        at = data.find(_LERC2, at + 6)


_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_HEADER_BYTES = 64  # the fields read here take fewer
_LENGTH_BITS = (9, 13, 18, 30)
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def jpegxl_size(data: bytes, samples: int) -> Pair:
    """Height and width in the header of a JPEG XL still picture.

    Args:
        data: a codestream, or the container file around it.
        samples: most values per pixel that it may have.

    Raises:
        ValueError: it is not JPEG XL, an animation, or has more channels.

    Source: ISO/IEC 18181-1:2024, annex D (image header); 18181-2, boxes
    """
    bits = _Bits(_codestream(data))
    size = _jpegxl_dimensions(bits)
    extra = _extra_channels(bits)
    if extra and extra >= samples:
        raise ValueError(f"a JPEG XL picture of {extra} extra channels, {samples} values are a pixel")
    return size


class _Bits:
    """The bits of a codestream, lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.left, self.count = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        """The number in the next ``count`` bits.

        Raises:
            ValueError: fewer are left.
        """
        if count > self.count:
            raise ValueError("the header of a JPEG XL picture is cut off")
        value = self.left & ((1 << count) - 1)
        self.left >>= count
        self.count -= count
        return value


def _codestream(data: bytes) -> bytes:
    """The first bytes of a codestream after its signature, collected from the boxes of a container."""
    found, at = b"", len(_CONTAINER)
    if not data.startswith(_CONTAINER):
        found, at = data[: _HEADER_BYTES + 2], len(data)
    while len(found) < _HEADER_BYTES and at + 16 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        end = len(data) if length == 0 else at + length
        if end < at + head:
            break
        if kind in (b"jxlc", b"jxlp"):
            start = at + head + (4 if kind == b"jxlp" else 0)
            found += data[start : min(end, start + _HEADER_BYTES)]
        at = end
    if not found.startswith(_CODESTREAM):
        raise ValueError("not a JPEG XL picture")
    return found[len(_CODESTREAM) :]


def _jpegxl_dimensions(bits: _Bits) -> Pair:
    in_eighths = bits.take(1)

    def length() -> int:
        return 8 * (1 + bits.take(5)) if in_eighths else 1 + bits.take(_LENGTH_BITS[bits.take(2)])

    height, ratio = length(), bits.take(3)
    if ratio == 0:
        return height, length()
    over, under = _RATIOS[ratio]
    return height, height * over // under


def _extra_channels(bits: _Bits) -> int:
    """The number of channels besides the colours.

    Raises:
        ValueError: the picture is an animation, or has a preview or an intrinsic size.
    """
    if bits.take(1):
        return 0  # all fields have their default
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(3):  # intrinsic size, preview, animation
            raise ValueError("a JPEG XL picture of several sizes or frames")
    floats = bits.take(1)
    if bits.take(2) == 3:
        bits.take(6)  # bits per sample
    if floats:
        bits.take(4)  # bits of the exponent
    bits.take(1)  # whether 16-bit buffers suffice
    kind = bits.take(2)
    return kind if kind < 2 else 2 + bits.take(4) if kind == 2 else 1 + bits.take(12)
