"""Walks the fields of a protobuf message in a file, without reading what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

NUMBER, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # wire types
_MOST = 10_000
_SIZES = {EIGHT_BYTES: 8, FOUR_BYTES: 4}

Field = tuple[int, int, int]
"""The number of a field, its wire type, and its value or its length in bytes."""


def top_fields(stream: BinaryIO) -> Iterator[Field | None]:
    """The fields of the message that is the whole file; ``None`` where it is no such message, or is cut short there.

    Stands at the beginning of a field's bytes when that is yielded.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    for _ in range(_MOST):
        if stream.tell() >= size:
            return
        tag, length = _varint(stream), None
        if tag is not None and tag & 7 in (NUMBER, BYTES):
            length = _varint(stream)
        elif tag is not None:
            length = _SIZES.get(tag & 7)
        if tag is None or length is None:
            yield None
            return
        begin = stream.tell()
        yield tag >> 3, tag & 7, length
        end = begin + (0 if tag & 7 == NUMBER else length)
        if end > size:
            yield None
            return
        stream.seek(end)


def _varint(stream: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
