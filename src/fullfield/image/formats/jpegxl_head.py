"""What a JPEG XL picture says of its size before it is decoded.

Source: ISO/IEC 18181-1:2024, annex D (image header); 18181-2, boxes
"""

from __future__ import annotations

import struct

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_ENOUGH = 64  # bytes: no header is longer, as far as it is read here
_LENGTHS = (9, 13, 18, 30)
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class _Bits:
    """Bits of a codestream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.left, self.count = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        """A number of so many bits.

        Raises:
            ValueError: there are no more.
        """
        if count > self.count:
            raise ValueError("the header of a JPEG XL picture is cut off")
        found = self.left & ((1 << count) - 1)
        self.left >>= count
        self.count -= count
        return found


def jpegxl_size(data: bytes, samples: int) -> tuple[int, int]:
    """Height and width of a still picture.

    Args:
        data: codestream, or the file that it lies in.
        samples: values of a pixel that it may have at most.

    Raises:
        ValueError: it is none, an animation, or has more channels.
    """
    bits = _Bits(_codestream(data))
    size = _size(bits)
    extra = _extra_channels(bits)
    if extra and extra >= samples:
        raise ValueError(f"a JPEG XL picture of {extra} extra channels, {samples} values are a pixel")
    return size


def _codestream(data: bytes) -> bytes:
    """The first bytes of a codestream after its signature, out of its boxes where it lies in some."""
    found, at = b"", len(_CONTAINER)
    if not data.startswith(_CONTAINER):
        found, at = data[: _ENOUGH + 2], len(data)
    while len(found) < _ENOUGH and at + 16 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        end = len(data) if length == 0 else at + length
        if end < at + head:
            break
        if kind in (b"jxlc", b"jxlp"):
            start = at + head + (4 if kind == b"jxlp" else 0)
            found += data[start : min(end, start + _ENOUGH)]
        at = end
    if not found.startswith(_CODESTREAM):
        raise ValueError("no JPEG XL picture")
    return found[len(_CODESTREAM) :]


def _size(bits: _Bits) -> tuple[int, int]:
    eighths = bits.take(1)

    def length() -> int:
        return 8 * (1 + bits.take(5)) if eighths else 1 + bits.take(_LENGTHS[bits.take(2)])

    height, ratio = length(), bits.take(3)
    if ratio == 0:
        return height, length()
    over, under = _RATIOS[ratio]
    return height, height * over // under


def _extra_channels(bits: _Bits) -> int:
    """How many there are beside the colours.

    Raises:
        ValueError: it moves, or brings another picture of itself.
    """
    if bits.take(1):
        return 0  # all is as usual
    if bits.take(1):
        bits.take(3)  # its orientation
        if bits.take(3):  # another size, a preview, an animation
            raise ValueError("a JPEG XL picture of several sizes or frames")
    floats = bits.take(1)
    if bits.take(2) == 3:
        bits.take(6)  # bits of a value
    if floats:
        bits.take(4)
    bits.take(1)  # 16 bits are enough for what it is computed with
    kind = bits.take(2)
    return kind if kind < 2 else 2 + bits.take(4) if kind == 2 else 1 + bits.take(12)
