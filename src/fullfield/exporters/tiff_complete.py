"""Checks that a TIFF is complete: GDAL may close a file without an error although the disk was full."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_TYPES = {3: "<u2", 4: "<u4", 16: "<u8"}  # SHORT, LONG, LONG8
_OFFSETS, _COUNTS = 324, 325  # of tiles


def missing_tiles(path: Path) -> int:
    """Number of tiles that are missing in a little-endian tiled TIFF or BigTIFF, in all directories.

    Raises:
        ValueError: the directories are cut off, or are not those of such a file.

    Source: TIFF 6.0, section 15; BigTIFF, https://www.awaresystems.be/imaging/tiff/bigtiff.html
    """
    size, found = path.stat().st_size, 0
    with path.open("rb") as file:
        for offsets, counts in _directories(file, size):
            if not len(offsets) or len(offsets) != len(counts):
                raise ValueError("a directory without tiles")
            found += int(((offsets == 0) | (counts == 0) | (offsets + counts > size)).sum())
    return found


def _directories(file: BinaryIO, size: int) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Offsets and byte counts of the tiles of each directory."""
    order, magic = struct.unpack("<2sH", _read(file, 0, 4))
    if order != b"II" or magic not in (42, 43):
        raise ValueError("no little-endian TIFF")
    big = magic == 43
    head, entry, word = ("<Q", "<HHQ8s", "<Q") if big else ("<H", "<HHL4s", "<L")
    (place,) = struct.unpack(word, _read(file, 8 if big else 4, struct.calcsize(word)))
    while place:
        (number,) = struct.unpack(head, _read(file, place, struct.calcsize(head)))
        if not 0 < number < 4096 or place >= size:
            raise ValueError("an invalid directory")
        step = struct.calcsize(entry)
        rows = _read(file, place + struct.calcsize(head), number * step)
        entries = {tag: rest for tag, *rest in struct.iter_unpack(entry, rows)}
        yield _numbers(file, entries.get(_OFFSETS), word), _numbers(file, entries.get(_COUNTS), word)
        (place,) = struct.unpack(
            word, _read(file, place + struct.calcsize(head) + number * step, struct.calcsize(word))
        )


def _numbers(file: BinaryIO, entry: list[int | bytes] | None, word: str) -> NDArray[np.uint64]:
    """The values of an entry: inline if they fit, otherwise elsewhere in the file."""
    if entry is None:
        return np.zeros(0, np.uint64)
    kind, count, inside = entry
    assert isinstance(kind, int)
    assert isinstance(count, int)
    assert isinstance(inside, bytes)
    dtype = np.dtype(_TYPES[kind])
    length = count * dtype.itemsize
    data = inside[:length] if length <= len(inside) else _read(file, struct.unpack(word, inside)[0], length)
    return np.frombuffer(data, dtype).astype(np.uint64)


def _read(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    data = file.read(length)
    if len(data) < length:
        raise ValueError("the file ends before its directories")
    return data


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def gdal_errors_logged() -> Iterator[list[str]]:
    """Collects the errors that GDAL only logs; they do not go to stderr meanwhile."""
    log, handler = logging.getLogger("rasterio"), _Collector()
    before = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield handler.texts
    finally:
        log.propagate = before
        log.removeHandler(handler)
