"""Reads the headers of Zstandard frames: what bytes decode to is known before they are decoded."""

from __future__ import annotations

_UNDECLARED = 1 << 26  # bytes allowed beyond the limit where a frame declares no size, only its blocks


def decoded_size(data: bytes | memoryview) -> int:
    """The decoded size of all frames of some bytes.

    A frame without a size counts as what its blocks can hold, less the 64 MiB that such frames may take.

    Raises:
        ValueError: these are no frames.

    Source: RFC 8878, sections 3.1.1 and 3.1.2
    """
    at, total, undeclared = 0, 0, 0
    while at + 5 <= len(data):
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a skippable frame
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        if magic != 0xFD2FB528:
            raise ValueError("a chunk is not Zstandard")
        flags = data[at + 4]
        single = flags >> 5 & 1
        at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
        width = (single, 2, 4, 8)[flags >> 6]
        declared = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
        at, most = _blocks(data, at + width)
        at += 4 * (flags >> 2 & 1)  # checksum
        total, undeclared = total + (declared if width else 0), undeclared + (0 if width else most)
    return total + max(0, undeclared - _UNDECLARED)


def _blocks(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The end of a frame's blocks, and the most bytes that they decode to."""
    most = 0
    while at + 3 <= len(data):
        header = int.from_bytes(data[at : at + 3], "little")
        kind, size = header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == 1 else size)
        most += 1 << 17 if kind == 2 else size
        if header & 1:
            break
    return at, most
