"""``.npy`` files, read by ranges of bytes.

They are not mapped into memory: pages of a map count as the program's memory until the system wants them back, and a
file that someone cuts short would kill the process.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.blob import Blob, open_blob, read_parts
from fullfield.image.decode import DECODE_ERRORS
from fullfield.image.formats.checks import THUMBNAIL_PIXELS, check_region, check_size, damaged, reason
from fullfield.image.pick import Pick, picked, picked_bands, picked_level
from fullfield.image.raster import About, Raster, shrunk

MAGIC = b"\x93NUMPY"
_HEADER = 10_000  # bytes of a header, as NumPy itself allows
_TILE = (256, 512)  # there are none: what is cheap to read at once


@dataclass(frozen=True, eq=False)
class NumpyRaster:
    """An array ``(y, x)`` or ``(y, x, c)`` in a file, in C or Fortran order.

    Args:
        blob: the file.
        start: first byte of the array.
        size: height and width, px, and channels of the file.
        kind: of a value as stored.
        fortran: y runs fastest.
        bands: channels picked.
        about: beside the pixels.
    """

    blob: Blob
    start: int
    size: tuple[int, int, int]
    kind: np.dtype[Any]
    fortran: bool
    bands: tuple[int, ...]
    about: About

    @property
    def name(self) -> str:
        """The file."""
        return self.blob.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        return *self.size[:2], len(self.bands)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, in the machine's byte order."""
        return self.kind.newbyteorder("=")

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region, a new array.

        Raises:
            ImageError: the file has become shorter, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        try:
            return self._columns(region) if self.fortran else self._rows(region)
        except DECODE_ERRORS as error:
            raise damaged(self.name, region, error) from error

    def _rows(self, region: tuple[int, int, int, int]) -> NDArray[Any]:
        """In C order: a range of bytes a row."""
        top, bottom, left, right = region
        _, width, channels = self.size
        out = np.empty((bottom - top, right - left, len(self.bands)), self.dtype)
        pixel = channels * self.kind.itemsize
        ranges = (
            (self.start + (y * width + left) * pixel, self.start + (y * width + right) * pixel, y)
            for y in range(top, bottom)
        )
        for y, data in read_parts(self.blob, ranges):
            row = np.frombuffer(data, self.kind).reshape(-1, channels)
            out[y - top] = row if self.bands == tuple(range(channels)) else row[:, self.bands]
        return out

    def _columns(self, region: tuple[int, int, int, int]) -> NDArray[Any]:
        """In Fortran order: a range of bytes a column of a channel."""
        top, bottom, left, right = region
        height, width, _ = self.size
        out = np.empty((len(self.bands), right - left, bottom - top), self.dtype)

        def ranges() -> Iterator[tuple[int, int, int]]:
            for k, band in enumerate(self.bands):
                for x in range(left, right):
                    column = self.start + (band * width + x) * height * self.kind.itemsize
                    first, last = column + top * self.kind.itemsize, column + bottom * self.kind.itemsize
                    yield first, last, k * (right - left) + x - left

        flat = out.reshape(-1, bottom - top)
        for index, data in read_parts(self.blob, ranges()):
            flat[index] = np.frombuffer(data, self.kind)
        return out.transpose(2, 1, 0)

    def valid(self, top: int, bottom: int, left: int, right: int) -> None:
        """All pixels hold something."""

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, averaged; ``None`` where it is large."""
        height, width, _ = self.shape
        return shrunk(self.read(0, height, 0, width), side) if height * width <= THUMBNAIL_PIXELS else None

    def close(self) -> None:
        """Closes the file."""
        self.blob.close()


def open_numpy(path: str, pick: Pick) -> Raster:
    """An array in a ``.npy`` file or behind a URL; pickles are refused.

    Raises:
        ImageError: it is no image, or shorter than its header says.
    """
    blob = open_blob(path)
    try:
        start, shape, fortran, kind = _header(blob)
        size = _size(shape, kind, path)
        wanted = start + size[0] * size[1] * size[2] * kind.itemsize
        if wanted > blob.size:
            raise ImageError(
                path, f"has {blob.size} bytes, shape {shape} of {kind} takes {wanted}", fix="copy or download it again"
            )
        for name, index in (("series", pick.series), ("z", pick.z), ("t", pick.t)):
            picked(index, 1, what=name, where=path)
        picked_level(pick, 1, None, where=path)
        bands = picked_bands(pick.bands, size[2], where=path)
        tile = (min(size[0], _TILE[0]), min(size[1], _TILE[1]))
        about = About({**blob.identity(), "bands": list(bands)}, tile, (size[:2],), reader="numpy")
        return NumpyRaster(blob, start, size, kind, fortran, bands, about)
    except BaseException:
        blob.close()
        raise


def _header(blob: Blob) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Where the array begins, its shape, whether in Fortran order, and its type."""
    file = io.BytesIO(blob.read(0, min(blob.size, _HEADER + 16)))
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version == (3, 0):  # as 2.0 with names of fields in UTF-8, which an image has none of
            version = (2, 0)
        shape, fortran, kind = readers[version](file, max_header_size=_HEADER)
    except (*DECODE_ERRORS, tokenize.TokenError) as error:
        raise ImageError(
            blob.name, f"has no .npy header that can be read ({reason(error)})", fix="save it anew with numpy.save"
        ) from error
    return file.tell(), shape, fortran, kind


def _size(shape: tuple[int, ...], kind: np.dtype[Any], where: str) -> tuple[int, int, int]:
    if kind.hasobject:
        raise ImageError(where, "holds pickled Python objects, which can run code", fix="save a numeric array")
    if kind.kind not in "buif" or kind.itemsize > 8:
        raise ImageError(
            where, f"pixels of type {kind} are not numbers on one scale", fix="save integers, or floats of 64 bits"
        )
    if len(shape) not in (2, 3):
        raise ImageError(
            where, f"shape {shape} has {len(shape)} axes, an image is (y, x) or (y, x, c)", fix="save one image a file"
        )
    check_size((shape[0], shape[1]), where)
    if len(shape) == 3 and shape[2] < 1:
        raise ImageError(where, f"shape {shape} has no channels", fix="save at least one")
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1
