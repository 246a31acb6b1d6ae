"""Pictures that are made from top to bottom, as images in memory and as files; a PNG is written as it is made."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.drawing.pictures import MARK, encode_picture
from fullfield.files import PICTURES, check_writable, replacing

_PAPER = 255
_LEVEL = 6  # of zlib


@dataclass(frozen=True)
class StripPicture:
    """An RGB picture that is made from top to bottom.

    Args:
        height, width: px.
        rows: makes the picture anew: strips ``(rows, width, 3)``, from top to bottom.
    """

    height: int
    width: int
    rows: Callable[[], Iterator[NDArray[np.uint8]]]

    def above(self, legend: Image.Image) -> StripPicture:
        """The picture, unchanged at the top left, above a legend that is at least as wide; white on its right."""
        margin = legend.width - self.width

        def rows() -> Iterator[NDArray[np.uint8]]:
            for strip in self.rows():
                yield np.pad(strip, ((0, 0), (0, margin), (0, 0)), constant_values=_PAPER) if margin else strip
            yield np.asarray(legend)

        return StripPicture(self.height + legend.height, legend.width, rows)


def to_image(strips: StripPicture) -> Image.Image:
    """The picture in memory, four bytes a pixel."""
    image, top = Image.new("RGB", (strips.width, strips.height)), 0
    for strip in strips.rows():
        image.paste(Image.fromarray(np.ascontiguousarray(strip)), (0, top))
        top += len(strip)
    return image


def save_strips(strips: StripPicture, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Writes a picture whole or not at all; a PNG strip by strip, other formats from the picture in memory.

    Raises:
        ImageError: unknown suffix, a file is there already, no space, no right to write.
    """
    target = check_writable(path, overwrite, suffixes=PICTURES)
    needed = 3 * strips.width * strips.height
    with replacing(target, overwrite=overwrite, needed_bytes=needed) as place:
        if needs_image(target):
            encode_picture(to_image(strips), place)
        else:
            with place.open("wb") as file:
                _write_png(file, strips)


def needs_image(path: Path) -> bool:
    """Whether a file's format is encoded from the whole picture in memory."""
    return path.suffix.lower() != ".png"


def _write_png(file: BinaryIO, strips: StripPicture) -> None:
    """Writes a PNG.

    Source: Portable Network Graphics, third edition, https://www.w3.org/TR/png-3/
    """
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", strips.width, strips.height, 8, 2, 0, 0, 0))
    _write_chunk(file, b"tEXt", b"Software\0" + MARK)
    compress, above = zlib.compressobj(_LEVEL), np.zeros((1, strips.width, 3), np.uint8)
    for strip in strips.rows():
        data = compress.compress(_filtered(strip, above).data)
        if data:
            _write_chunk(file, b"IDAT", data)
        above = strip[-1:].copy()
    _write_chunk(file, b"IDAT", compress.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _filtered(strip: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of rows, each after the number of its filter: 0 for none, 1 for differences to the left, 2 to above.

    Of every row the filter with the least sum of differences is taken, as the specification recommends.
    """
    count, width, channels = strip.shape
    out = np.empty((count, 1 + width * channels), np.uint8)
    left = strip.copy()
    left[:, 1:] -= strip[:, :-1]
    up = strip - np.concatenate([above, strip[:-1]])
    ways = [rows.reshape(count, -1) for rows in (strip, left, up)]
    sums = [np.minimum(rows, np.negative(rows)).sum(axis=1, dtype=np.int64) for rows in ways]
    out[:, 0] = np.argmin(sums, axis=0)
    for number, rows in enumerate(ways):
        np.copyto(out[:, 1:], rows, where=out[:, :1] == number)
    return out
