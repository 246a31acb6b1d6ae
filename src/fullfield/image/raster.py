"""``Raster``: an image that is read by region, the interface of every reader; and an image in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Region
from fullfield.image.nodata import data_mask
from fullfield.image.opened import Opened

_Numbers = TypeVar("_Numbers", float, NDArray[np.float64])
AffineTransform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Georeference:
    """The position of an image on a map.

    Args:
        crs: coordinate system as WKT; ``None`` if the file has a transform only.
        transform: ``(a, b, c, d, e, f)``: the map coordinates of the point ``x, y``, in pixel edges, are
            ``(a*x + b*y + c, d*x + e*y + f)``.
    """

    crs: str | None
    transform: AffineTransform

    def on_map(self, y: _Numbers, x: _Numbers) -> tuple[_Numbers, _Numbers]:
        """Map coordinates (x, y: the map's order) of a point of the image, or of several, in pixel edges."""
        a, b, c, d, e, f = self.transform
        return a * x + b * y + c, d * x + e * y + f

    def moved(self, top: float, left: float, scale: tuple[float, float]) -> Georeference:
        """The georeference of a grid whose cell ``(i, j)`` starts at pixel ``(top + i*scale[0], left + j*scale[1])``.

        Examples:
            >>> Georeference(None, (2.0, 0.0, 100.0, 0.0, -2.0, 500.0)).moved(10, 20, (4, 4)).transform
            (8.0, 0.0, 140.0, 0.0, -8.0, 480.0)
        """
        a, b, _, d, e, _ = self.transform
        x, y = self.on_map(top, left)
        return Georeference(self.crs, (a * scale[1], b * scale[0], x, d * scale[1], e * scale[0], y))


@dataclass(frozen=True)
class Origin:
    """Where other programs see the finest level of an image, besides a map.

    Args:
        corner: pixel (y, x) that QuPath counts from: the corner of the part of a slide that was scanned.
        first: coordinates (y, x) of the centre of the first pixel, by OME-Zarr's translation or a stage: in micrometres
            where the pixel size is known, else in units of ``spacing``.
        spacing: coordinates (y, x) from one pixel to the next, where the file states no unit of length.
        points: control points ``(y, x, map x, map y, map z)``, y and x in px, of an image that only these place.
        points_crs: their coordinate system as WKT, if known.
    """

    corner: tuple[float, float] = (0.0, 0.0)
    first: tuple[float, float] = (0.0, 0.0)
    spacing: tuple[float, float] = (1.0, 1.0)
    points: tuple[tuple[float, ...], ...] = ()
    points_crs: str | None = None

    @property
    def text(self) -> str | None:
        """What differs from the image's own corner and pixels, for reports; ``None`` if nothing does."""
        parts = []
        if self.corner != (0, 0):
            parts.append(f"QuPath counts from y {self.corner[0]:g}, x {self.corner[1]:g} px")
        if self.first != (0, 0):
            parts.append(f"the first pixel lies at y {self.first[0]:g}, x {self.first[1]:g}")
        if self.spacing != (1, 1):
            parts.append(f"pixels are y {self.spacing[0]:g}, x {self.spacing[1]:g} apart, in no unit of length")
        if self.points:
            known = "" if self.points_crs else ", in an unknown coordinate system"
            parts.append(f"{len(self.points)} control points{known}")
        return "; ".join(parts) or None


@dataclass(frozen=True)
class Statistics:
    """The least and greatest values that a file stores of its bands.

    Args:
        ranges: of each band.
        approximate: whether they are of some of the pixels only.
    """

    ranges: tuple[tuple[float, float], ...]
    approximate: bool = False


@dataclass(frozen=True)
class ImageMetadata:
    """The metadata of an image.

    Args:
        identity: plain JSON that differs when the image does, such as the file's size, time of change and hash of
            samples; a resumed scan compares it.
        tile: height and width of what the reader decodes at once, px.
        levels: heights and widths of the file's pyramid, px, finest first.
        level: index of the level read.
        mpp: micrometres per pixel (y, x) of the level read.
        georeference: of the level read.
        nodata: value of invalid pixels; of floats NaN is invalid too.
        masked: whether some pixels may be invalid: by nodata or NaN, a mask, alpha, or parts that were not scanned.
        every_band: whether a pixel is valid only if all its channels hold data; else one is enough.
        alpha: whether the file has a channel of opacity that is not read as pixels, but says which of them are valid.
        value_range: pixel values of black and white, where the file or the user declares them.
        background: colour of invalid pixels, one value per channel, if the file has one.
        band_names: one per channel, or empty.
        origin: where other programs see the finest level.
        profile: ICC profile of the colours, if the file has one that was not applied.
        converted_from: name of the profile from which the colours were converted to sRGB.
        place: what places the image and on which map, for reports; ``None`` where nothing does.
        statistics: least and greatest value of every band, where the file stores them.
        reader: name of the reader, for reports.
        held_bytes: most bytes of decoded tiles that the reader's library caches.
        opened: what was opened, of an image in a file.
        sample_rate: samples per second, of a signal: an image of height one.
    """

    identity: dict[str, Any]
    tile: tuple[int, int]
    levels: tuple[tuple[int, int], ...] = ()
    level: int = 0
    mpp: tuple[float, float] | None = None
    georeference: Georeference | None = None
    nodata: float | None = None
    masked: bool = False
    every_band: bool = False
    alpha: bool = False
    value_range: tuple[float, float] | None = None
    background: tuple[float, ...] | None = None
    band_names: tuple[str, ...] = ()
    origin: Origin = Origin()
    profile: bytes | None = field(default=None, repr=False)
    converted_from: str | None = None
    place: str | None = None
    statistics: Statistics | None = None
    reader: str = "array"
    held_bytes: int = 0
    opened: Opened | None = field(default=None, repr=False, compare=False)
    sample_rate: float | None = None


class Raster(Protocol):
    """An image of any size, read by region from any thread."""

    @property
    def name(self) -> str:
        """Path or URL, for reports and errors."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, in native byte order."""
        ...

    @property
    def metadata(self) -> ImageMetadata:
        """The image's metadata."""
        ...

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region inside the image; not to be written to.

        Raises:
            ImageError: the file is damaged there; the text names the region.
        """
        ...

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels of a region; ``None`` if all are valid."""
        ...

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image ``(y, x, c)`` with at most ``side`` px on its longer side.

        From the file's pyramid, or of a small image; ``None`` if all pixels of a large image would have to be read.
        """
        ...

    def close(self) -> None:
        """Closes files and frees memory; a second call does nothing."""
        ...


def raster_text(raster: Raster) -> str:
    """The ``repr`` of a raster: its reader, name, size and type, and no pixels."""
    height, width, channels = raster.shape
    return f"{type(raster).__name__}({raster.name!r}, {height}x{width} px, {channels} channels, {raster.dtype})"


@dataclass(frozen=True, eq=False)
class ArrayRaster:
    """An image in memory; implements ``Raster``.

    Args:
        pixels: ``(y, x, c)``.
        name: for reports and errors.
        metadata: the image's metadata.
        shown: which pixels ``(y, x)`` are not fully transparent; ``None`` if all are opaque.
    """

    pixels: NDArray[Any]
    name: str = "image"
    metadata: ImageMetadata = field(default_factory=lambda: ImageMetadata({}, (256, 256)))
    shown: NDArray[np.bool_] | None = None

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        height, width, channels = self.pixels.shape
        return height, width, channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.pixels.dtype

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """A view of a region. Shape: ``(y, x, c)``"""
        return self.pixels[top:bottom, left:right]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the pixels that are shown and not ``metadata.nodata``; ``None`` if all are."""
        metadata, shown = self.metadata, None
        if self.shown is not None:
            shown = self.shown[top:bottom, left:right]
        if metadata.nodata is None and not metadata.masked:
            return shown
        valid = data_mask(self.read(top, bottom, left, right), metadata.nodata, every=metadata.every_band)
        return shown if valid is None else valid if shown is None else valid & shown

    def thumbnail(self, side: int) -> NDArray[Any]:
        """The image averaged over square blocks."""
        return downsampled(self.pixels, side)

    def close(self) -> None:
        """Does nothing: the array is the caller's."""


@dataclass(frozen=True)
class FinestLevel:
    """The finest level of the file that an image is read from: all coordinates count its pixels.

    Args:
        size: height and width, px.
        georeference: if it has one.
        mpp: micrometres per pixel (y, x), if known.
    """

    size: tuple[int, int]
    georeference: Georeference | None
    mpp: tuple[float, float] | None


def finest_level(raster: Raster) -> FinestLevel:
    """The finest level of the file of an image, whatever level or resolution is read."""
    metadata, (height, width, _) = raster.metadata, raster.shape
    size = metadata.levels[0] if metadata.levels else (height, width)
    at, mpp = metadata.georeference, metadata.mpp
    if size == (height, width):
        return FinestLevel(size, at, mpp)
    y, x = height / size[0], width / size[1]
    return FinestLevel(
        size, None if at is None else at.moved(0, 0, (y, x)), None if mpp is None else (mpp[0] * y, mpp[1] * x)
    )


def is_raster(image: object) -> TypeGuard[Raster]:
    """Whether an object is a ``Raster``."""
    return all(hasattr(image, name) for name in ("metadata", "read", "valid", "thumbnail"))


def read_valid(raster: Raster, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Pixels ``(y, x, c)`` of a region, and the mask ``(y, x)`` of the valid ones; ``None`` if all are.

    Of readers whose pixels show which are valid, no pixel is decoded twice.
    """
    pixels = raster.read(*region)
    mask = getattr(raster, "mask", None)
    return pixels, raster.valid(*region) if mask is None else mask(pixels)


def downsampled(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """An image ``(y, x, c)`` averaged over square blocks to at most ``side`` px per side, in its own type."""
    height, width = pixels.shape[:2]
    factor = -(-max(height, width) // side)
    if factor <= 1:
        return pixels
    rows, columns = max(1, height // factor), max(1, width // factor)
    out = np.empty((rows, columns, pixels.shape[2]), pixels.dtype)
    fy, fx = min(factor, height), min(factor, width)
    for i in range(rows):
        block = pixels[i * fy : (i + 1) * fy, : columns * fx].astype(np.float32)
        mean = block.reshape(fy, columns, fx, -1).mean(axis=(0, 2))
        out[i] = np.rint(mean) if pixels.dtype.kind in "ui" else mean
    return out


def array_identity(pixels: NDArray[Any]) -> dict[str, Any]:
    """Identity of an image in memory: shape, type and hash of all its bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for row in range(0, pixels.shape[0], 256):
        digest.update(np.ascontiguousarray(pixels[row : row + 256]).data)
    return {"shape": list(pixels.shape), "dtype": str(pixels.dtype), "blake2b": digest.hexdigest()}
