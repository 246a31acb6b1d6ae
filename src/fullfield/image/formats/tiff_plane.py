"""Reads regions of a TIFF page, a grid of tiles or strips that are decoded one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Pair, Region
from fullfield.image.blob import Blob, read_parts
from fullfield.image.formats.encoded_size import check_tile

_STRIP = 2**18  # bytes of an uncompressed strip read at once


@dataclass(frozen=True, eq=False)
class Plane:
    """The tiles or strips of a page.

    Args:
        blob: the file; ``None`` if the page is missing, so that all of it is ``fill``.
        size: height and width, px.
        tile: height and width of a tile; of a strip, its rows and the page's width.
        samples: values of a pixel that are stored together; 1 if each channel is a picture of its own.
        separate: pictures stored one after the other (PlanarConfiguration 2); 1 if a pixel's values are together.
        dtype: of the values.
        fill: value of tiles that the file does not store.
        offsets: first byte of each tile, picture by picture, row by row.
        counts: bytes of each; 0 if the file does not store it.
        compression: TIFF's number.
        decode: bytes of a tile and its index -> pixels ``(1, y, x, c)``, at least those inside the page.
        options: more arguments of ``decode``.
    """

    blob: Blob | None
    size: tuple[int, int]
    tile: tuple[int, int]
    samples: int
    separate: int
    dtype: np.dtype[Any]
    fill: float
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    compression: int
    decode: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.size[0] // self.tile[0]), -(-self.size[1] // self.tile[1])

    @property
    def channels(self) -> int:
        """Values of a pixel."""
        return self.samples * self.separate

    def tiles(self, picture: int, region: Region) -> Iterator[int]:
        """Indices of the tiles of one picture that a region overlaps."""
        rows, columns = self.grid
        for i in range(region[0] // self.tile[0], -(-region[1] // self.tile[0])):
            for j in range(region[2] // self.tile[1], -(-region[3] // self.tile[1])):
                yield (picture * rows + i) * columns + j

    def corner(self, index: int) -> tuple[int, int]:
        """First row and column of a tile."""
        rows, columns = self.grid
        return index // columns % rows * self.tile[0], index % columns * self.tile[1]

    def pixels(self, index: int, data: bytes) -> NDArray[Any]:
        """Decodes a tile: ``(y, x, c)``, cropped at the page's edge.

        Raises:
            ValueError: size or type differ from the page's. The codecs raise their own errors too.
        """
        check_tile(data, self.compression, self.tile, self.samples)
        top, left = self.corner(index)
        height, width = min(self.tile[0], self.size[0] - top), min(self.tile[1], self.size[1] - left)
        found = self.decode(data, index, **self.options)
        if found is None or found.ndim != 4 or found.shape[1] < height or found.shape[2] < width:
            raise ValueError(f"decodes to {None if found is None else found.shape}, not to {height}x{width} px")
        if self.dtype == np.bool_ and found.dtype == np.uint8:  # fax codecs
            found = found != 0
        if found.shape[3] != self.samples or found.dtype != self.dtype:
            raise ValueError(
                f"decodes to {found.shape[3]} values of {found.dtype} a pixel, not to {self.samples} of {self.dtype}"
            )
        cut: NDArray[Any] = found[0, :height, :width]
        return cut


@dataclass(frozen=True)
class PictureBands:
    """Bands to read of one picture of one plane: ``(channel of the result, value within the pixel)`` of each."""

    plane: int
    picture: int
    values: tuple[tuple[int, int], ...]


def split_bands(planes: tuple[Plane, ...], bands: tuple[int, ...]) -> tuple[PictureBands, ...]:
    """The bands by the picture that holds them; bands are counted plane by plane."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for channel, band in enumerate(bands):
        plane, value = divmod(band, planes[0].channels)
        picture, inner = divmod(value, planes[0].samples)
        found.setdefault((plane, picture), []).append((channel, inner))
    return tuple(PictureBands(plane, picture, tuple(values)) for (plane, picture), values in found.items())


def read_region(
    planes: tuple[Plane, ...], parts: Iterable[PictureBands], region: Region, channels: int
) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` of a region; only tiles that it overlaps are read, each decoded once.

    Raises:
        Exception: errors of the system and the codecs, to which the caller adds file and region.
    """
    top, bottom, left, right = region
    dtype = planes[0].dtype
    out = np.empty((bottom - top, right - left, channels), dtype)
    for part in parts:
        plane = planes[part.plane]
        present, blob = [], plane.blob
        for index in plane.tiles(part.picture, region):
            if blob is None or plane.counts[index] == 0:
                _paste(out, np.full((*plane.tile, plane.samples), plane.fill, dtype), plane.corner(index), region, part)
            else:
                start = int(plane.offsets[index])
                present.append((start, start + int(plane.counts[index]), index))
        if blob is not None:
            for index, data in read_parts(blob, present):
                _paste(out, plane.pixels(index, data), plane.corner(index), region, part)
    return out


def _paste(out: NDArray[Any], pixels: NDArray[Any], corner: Pair, region: Region, bands: PictureBands) -> None:
    """Copies the part of a tile that lies in the region."""
    top, left = max(corner[0], region[0]), max(corner[1], region[2])
    bottom, right = min(corner[0] + pixels.shape[0], region[1]), min(corner[1] + pixels.shape[1], region[3])
    part = pixels[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]]
    target = out[top - region[0] : bottom - region[0], left - region[2] : right - region[2]]
    if bands.values == tuple((k, k) for k in range(out.shape[2])) and part.shape[2] == out.shape[2]:
        target[:] = part
        return
    for channel, value in bands.values:
        target[:, :, channel] = part[:, :, value]


def page_decoder(decode: Callable[..., Any], tiled: bool) -> Callable[..., Any]:
    """tifffile's decoder of a page, returning the pixels only."""

    def pixels(data: bytes, index: int, **options: Any) -> Any:
        return decode(data, index, _fullsize=tiled, **options)[0]

    return pixels


def raw_strips(plane: Plane, order: Literal["<", ">"], shift: int) -> Plane | None:
    """An uncompressed page whose strips are contiguous, divided into strips of our own size.

    Then a few rows do not need a strip as large as the picture, and thousands of one-row strips take few reads.

    Args:
        plane: of uncompressed strips, every value in whole bytes.
        order: byte order: ``"<"`` or ``">"``.
        shift: bytes from this page to the plane wanted of a stack.

    Returns:
        The same page; ``None`` if its strips are not contiguous.
    """
    (height, width), samples = plane.size, plane.samples
    row_bytes = width * samples * plane.dtype.itemsize
    starts = plane.offsets.reshape(plane.separate, -1)
    rows = np.minimum(plane.tile[0], height - np.arange(starts.shape[1]) * plane.tile[0])
    apart = starts != starts[:, :1] + np.concatenate(([0], np.cumsum(rows)[:-1])) * row_bytes
    if apart.any() or (plane.counts.reshape(plane.separate, -1) < rows * row_bytes).any():
        return None
    step = min(height, max(1, _STRIP // row_bytes))
    firsts = np.arange(0, height, step)
    heights = np.minimum(step, height - firsts)
    kind = plane.dtype.newbyteorder(order)

    def decode(data: bytes, _: int) -> NDArray[Any]:
        return np.frombuffer(data, kind).reshape(1, -1, width, samples).astype(plane.dtype, copy=False)

    return Plane(
        blob=plane.blob,
        size=plane.size,
        tile=(step, width),
        samples=samples,
        separate=plane.separate,
        dtype=plane.dtype,
        fill=plane.fill,
        offsets=(starts[:, :1] + firsts * row_bytes).ravel() + shift,
        counts=np.tile(heights * row_bytes, plane.separate),
        compression=1,
        decode=decode,
    )
