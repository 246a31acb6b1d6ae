"""Checks and error texts that all readers share, and the choice of a thumbnail's level."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError, first_line
from fullfield.geometry.region import Region
from fullfield.image.raster import downsampled
from fullfield.text import size_text

#: Most bytes of the level that a thumbnail is made from: 16.7 million pixels in RGB, decoded in a fraction of a second.
THUMBNAIL_BYTES = 3 << 24
#: Most bytes of a file's decoded tile or chunk.
BLOCK_BYTES = 1 << 30
#: Longest side of an image, px: decoders use 32-bit coordinates.
LONGEST = 2**31 - 1
_AGAIN = "try again, the server may be unreachable; else download the file, which may be damaged"


class ChangedError(ImageError):
    """A file is not the one that was opened."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Keeps Ctrl-C working around ctypes calls: during the conversion of an argument it raises ArgumentError instead.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    try:
        yield
    except ctypes.ArgumentError as error:
        if KeyboardInterrupt.__name__ in str(error):
            raise KeyboardInterrupt from error
        raise


def check_region(region: Region, shape: tuple[int, ...], where: str) -> None:
    """Raises an ImageError if ``(top, bottom, left, right)`` is empty or leaves the image ``(y, x, ...)``."""
    top, bottom, left, right = region
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise ImageError(
            where,
            f"region y {top}:{bottom}, x {left}:{right} does not lie in the image of {shape[0]}x{shape[1]} px",
            fix="ask for pixels of the image only",
        )


def damaged(where: str, region: Region, error: BaseException) -> ImageError:
    """The error for a region that cannot be decoded; that for a changed file remains."""
    if isinstance(error, ChangedError):
        return error
    top, bottom, left, right = region
    return ImageError(
        where,
        f"y {top}:{bottom}, x {left}:{right} cannot be read: {first_line(error)}",
        fix="copy or download the file again; it is damaged there" if "://" not in where else _AGAIN,
    )


def unreadable(where: str, error: BaseException) -> ImageError:
    """The error for a file that cannot be opened."""
    fix = "check the path, or copy the file again" if "://" not in where else _AGAIN
    return ImageError(where, f"cannot be opened: {first_line(error)}", fix=fix)


def check_file(path: Path) -> None:
    """Raises an ImageError unless the path is a regular file that is not empty."""
    if not path.exists():
        raise ImageError(str(path), "there is no such file", fix="check the path")
    if path.is_dir():
        raise ImageError(str(path), "is a folder, not an image", fix="give one file in it")
    if not path.is_file():  # reading a pipe would never end
        raise ImageError(str(path), "is not a regular file", fix="copy the image to a file first")
    if path.stat().st_size == 0:
        raise ImageError(str(path), "the file is empty (0 bytes)", fix="copy or download it again")


def check_size(shape: tuple[int, int], where: str) -> None:
    """Raises an ImageError if a side is empty or longer than decoders can address."""
    if min(shape) < 1 or max(shape) > LONGEST:
        raise ImageError(
            where, f"the image is {shape[0]}x{shape[1]} px, sides of 1..{LONGEST} can be read", fix="check the file"
        )


def check_block(block: Sequence[int], itemsize: int, where: str, *, most_bytes: int = BLOCK_BYTES) -> None:
    """Raises an ImageError if more would be decoded at once: by default than 1 GiB."""
    count = itemsize
    for side in block:
        count *= int(side)
    if count > most_bytes:
        sides = size_text(block)
        raise ImageError(
            where,
            f"is stored in blocks of {sides} px, {count} bytes each; at most {most_bytes} are decoded at once",
            fix="rewrite it in tiles of 512x512 px, for example with gdal_translate -co TILED=YES",
        )


def thumbnail_level(levels: Sequence[tuple[int, int]], side: int, *, pixel_bytes: int = 3) -> int | None:
    """The level to make a thumbnail from: the coarsest with ``side`` px, else the finest; ``None`` if it is large.

    Examples:
        >>> thumbnail_level([(8000, 9000), (2000, 2250), (500, 562)], 1000)
        1
        >>> thumbnail_level([(80000, 90000)], 1000) is None
        True
        >>> thumbnail_level([(80000, 90000), (500, 562)], 1000)
        1
    """
    cheap = [i for i, size in enumerate(levels) if size[0] * size[1] * pixel_bytes <= THUMBNAIL_BYTES]
    if not cheap:
        return None
    enough = [i for i in cheap if max(levels[i]) >= side]
    if enough:
        return min(enough, key=lambda i: max(levels[i]))
    return max(cheap, key=lambda i: max(levels[i]))


def thumbnail_of(
    levels: Sequence[tuple[int, int]], side: int, read: Callable[[int], NDArray[Any]], *, pixel_bytes: int = 3
) -> NDArray[Any] | None:
    """The thumbnail from the best level, or ``None``; ``read`` returns a whole level ``(y, x, c)``."""
    level = thumbnail_level(levels, side, pixel_bytes=pixel_bytes)
    return None if level is None else downsampled(np.ascontiguousarray(read(level)), side)
