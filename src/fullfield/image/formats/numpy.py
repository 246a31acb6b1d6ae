"""Reads ``.npy`` files by ranges of bytes.

They are not memory-mapped: mapped pages count as the process's memory, and truncating a mapped file kills the process.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError, first_line
from fullfield.image.blob import Blob, open_blob, read_parts
from fullfield.image.checks import check_region, check_size, damaged, thumbnail_of
from fullfield.image.decode import DECODE_ERRORS
from fullfield.image.nodata import check_nodata, data_mask
from fullfield.image.raster import ImageMetadata, Raster, raster_text
from fullfield.image.selection import Selection, check_single, select_bands, select_level

MAGIC = b"\x93NUMPY"
_HEADER = 10_000  # bytes of a header: NumPy's own limit
_TILE = (256, 512)  # px read at once; the format has no tiles


@dataclass(frozen=True, eq=False)
class NumpyRaster:
    """An array ``(y, x)``, ``(y, x, c)`` or ``(x,)``, an image of height one, in a file, in C or Fortran order.

    Args:
        blob: the file.
        start: position of the array's first byte.
        size: height and width, px, and channels of the file.
        stored: type of a stored value.
        fortran: whether the array is in Fortran order, y fastest.
        bands: channels selected.
        metadata: the file's metadata.
    """

    blob: Blob
    start: int
    size: tuple[int, int, int]
    stored: np.dtype[Any]
    fortran: bool
    bands: tuple[int, ...]
    metadata: ImageMetadata

    def __repr__(self) -> str:
        return raster_text(self)

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
        return self.stored.newbyteorder("=")

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region, a new array.

        Raises:
            ImageError: the file was truncated, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        try:
            return self._columns(region) if self.fortran else self._rows(region)
        except DECODE_ERRORS as error:
            raise damaged(self.name, region, error) from error

    def _rows(self, region: tuple[int, int, int, int]) -> NDArray[Any]:
        """A region in C order: one range of bytes per row."""
        top, bottom, left, right = region
        _, width, channels = self.size
        out = np.empty((bottom - top, right - left, len(self.bands)), self.dtype)
        pixel = channels * self.stored.itemsize
        ranges = (
            (self.start + (y * width + left) * pixel, self.start + (y * width + right) * pixel, y)
            for y in range(top, bottom)
        )
        for y, data in read_parts(self.blob, ranges):
            row = np.frombuffer(data, self.stored).reshape(-1, channels)
            out[y - top] = row if self.bands == tuple(range(channels)) else row[:, self.bands]
        return out

    def _columns(self, region: tuple[int, int, int, int]) -> NDArray[Any]:
        """A region in Fortran order: one range of bytes per column and channel."""
        top, bottom, left, right = region
        height, width, _ = self.size
        out = np.empty((len(self.bands), right - left, bottom - top), self.dtype)

        def ranges() -> Iterator[tuple[int, int, int]]:
            for k, band in enumerate(self.bands):
                for x in range(left, right):
                    column = self.start + (band * width + x) * height * self.stored.itemsize
                    first, last = column + top * self.stored.itemsize, column + bottom * self.stored.itemsize
                    yield first, last, k * (right - left) + x - left

        flat = out.reshape(-1, bottom - top)
        for index, data in read_parts(self.blob, ranges()):
            flat[index] = np.frombuffer(data, self.stored)
        return out.transpose(2, 1, 0)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the pixels that are not nodata or NaN; ``None`` if there can be none."""
        return self.mask(self.read(top, bottom, left, right)) if self.metadata.masked else None

    def mask(self, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid ones among pixels already read."""
        return data_mask(pixels, self.metadata.nodata, every=self.metadata.every_band)

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, averaged; ``None`` if it is large."""
        height, width, _ = self.shape
        pixel_bytes = self.shape[2] * self.dtype.itemsize
        return thumbnail_of([(height, width)], side, lambda _: self.read(0, height, 0, width), pixel_bytes=pixel_bytes)

    def close(self) -> None:
        """Closes the file."""
        self.blob.close()


def open_numpy(path: str, selection: Selection) -> Raster:
    """Opens a ``.npy`` file or URL; pickles are refused.

    Raises:
        ImageError: it is not an image, or shorter than its header declares.
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
        check_single(selection, ("series", "z", "t"), where=path)
        select_level(selection, 1, None, where=path)
        bands = select_bands(selection.bands, size[2], where=path)
        tile = (min(size[0], _TILE[0]), min(size[1], _TILE[1]))
        identity = {**blob.identity(), "bands": list(bands)}
        nodata = check_nodata(selection.nodata, kind, path)
        metadata = ImageMetadata(
            identity,
            tile,
            (size[:2],),
            nodata=nodata,
            masked=nodata is not None or kind.kind == "f",
            every_band=selection.valid == "all",
            value_range=selection.value_range,
            reader="numpy",
        )
        return NumpyRaster(blob, start, size, kind, fortran, bands, metadata)
    except BaseException:
        blob.close()
        raise


def _header(blob: Blob) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Position of the array's first byte, its shape, whether in Fortran order, and its type."""
    file = io.BytesIO(blob.read(0, min(blob.size, _HEADER + 16)))
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version == (3, 0):  # like 2.0, but field names are UTF-8; an image has no fields
            version = (2, 0)
        shape, fortran, kind = readers[version](file, max_header_size=_HEADER)
    except (*DECODE_ERRORS, tokenize.TokenError) as error:
        raise ImageError(
            blob.name, f"has a damaged .npy header ({first_line(error)})", fix="save it again with numpy.save"
        ) from error
    return file.tell(), shape, fortran, kind


def _size(shape: tuple[int, ...], kind: np.dtype[Any], where: str) -> tuple[int, int, int]:
    if kind.hasobject:
        raise ImageError(where, "holds pickled Python objects, which can run code", fix="save a numeric array")
    if kind.kind not in "buif" or kind.itemsize > 8:
        raise ImageError(
            where, f"pixels of type {kind} are not numbers on one scale", fix="save integers, or floats of 64 bits"
        )
    if len(shape) == 1:
        shape = (1, *shape)
    if len(shape) not in (2, 3):
        raise ImageError(
            where, f"shape {shape} has {len(shape)} axes, an image is (y, x) or (y, x, c)", fix="save one image a file"
        )
    check_size((shape[0], shape[1]), where)
    if len(shape) == 3 and shape[2] < 1:
        raise ImageError(where, f"shape {shape} has no channels", fix="save at least one")
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1
