"""Reads an image, in memory or in a file, by region as preprocessed network input."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.errors import GeometryError, ImageError, first_line
from fullfield.geometry.region import Region
from fullfield.image.alpha import opaque_value
from fullfield.image.cache import TileCache, cached
from fullfield.image.decode import decode, shown_pixels
from fullfield.image.nodata import fill_nodata
from fullfield.image.pixels import check_values, in_network_order, match_channels, network_input
from fullfield.image.raster import ArrayRaster, ImageMetadata, Raster, finest_level, is_raster, read_valid
from fullfield.image.resample import resampled
from fullfield.image.resize import ScaleFactor, resize, scanned_size
from fullfield.model.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image that is read as network input by region; implements ``engine.protocols.Source``.

    Invalid pixels (nodata) are read as the file's background colour, or as ``fill`` if it has none.

    Args:
        raster: the image in its own bit depth, after resizing.
        preprocessing: applied at every ``read``.
        dtype: floating type of the pixels read.
        channels: channels of the network's input.
        original: the image before resizing (after EXIF rotation).
        checked: whether all pixels were checked when the image was opened; else regions are checked when they are read.
        fill: pixel value in place of nodata for files without a background colour.
        extremes: the least and the greatest pixel value, where all pixels were looked at when the image was opened.
    """

    raster: Raster
    preprocessing: Preprocessing
    dtype: np.dtype[Any]
    channels: int
    original: Raster
    checked: bool = False
    fill: float = 0.0
    extremes: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """Path or URL, for reports and errors."""
        return self.raster.name

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width of the finest level of the image's file, px."""
        return finest_level(self.original).size

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width, px."""
        return self.channels, *self.scanned_size

    @property
    def scanned_size(self) -> tuple[int, int]:
        """Height and width after resizing, px."""
        return self.raster.shape[0], self.raster.shape[1]

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of the half-open region, a new array.

        Raises:
            GeometryError: the region is empty or leaves the image.
            ImageError: the file is damaged there, or has pixels that the network cannot take.
        """
        height, width = self.scanned_size
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise GeometryError(
                f"region y {top}:{bottom}, x {left}:{right}",
                f"does not lie in the image of {height}x{width} px",
                fix="ask for pixels of the image only",
            )
        try:
            region = (top, bottom, left, right)
            pixels = self.raster.read(*region) if self.checked else self._checked_pixels(region)
        except (OSError, RuntimeError, ValueError, EOFError) as error:  # of a user's own raster
            where = f"{self.name}, y {top}:{bottom}, x {left}:{right}"
            raise ImageError(
                where, f"cannot be read ({first_line(error)})", fix="get a complete copy of the file"
            ) from error
        ordered = in_network_order(pixels, order=self._order, channels=self.channels)
        return network_input(ordered, self.preprocessing, self.dtype, self._declared)

    def constant(self, value: float) -> NDArray[np.floating]:
        """The network input of a pixel with one value in all channels. Shape: ``(c,)``"""
        kind = np.dtype(np.uint8) if self.raster.dtype == np.bool_ else self.raster.dtype
        pixel = np.full((1, 1, self.channels), value, kind)
        values: NDArray[np.floating] = network_input(pixel, self.preprocessing, self.dtype, self._declared)[:, 0, 0]
        return values

    @property
    def _declared(self) -> tuple[float, float] | None:
        return self.raster.metadata.value_range

    @property
    def _order(self) -> str:
        return self.preprocessing.order

    def _checked_pixels(self, region: Region) -> NDArray[Any]:
        """The pixels of a region, checked, with nodata filled, in the channels of the network."""
        top, bottom, left, right = region
        where = f"{self.name}, y {top}:{bottom}, x {left}:{right}"
        pixels, valid = read_valid(self.raster, region)
        metadata = self.raster.metadata
        fill = self.fill if metadata.background is None else metadata.background
        pixels = fill_nodata(pixels, valid, fill, nodata=metadata.nodata)
        span = self.preprocessing.value_range
        pixels = _bools_to_numbers(pixels, span)
        pixels = match_channels(pixels, order=self._order, channels=self.channels, where=where)
        check_values(pixels, span=span, declared=metadata.value_range, dtype=self.dtype, where=where, part=True)
        return pixels

    def __repr__(self) -> str:
        (channels, height, width), (h, w) = self.shape, self.original_size
        resized = "" if (h, w) == (height, width) else f" (resized from {h}x{w})"
        return f"ImageSource({self.name!r}, {height}x{width} px{resized}, {channels} channels, {self.raster.dtype})"


def open_image(
    image: object,
    *,
    preprocessing: Preprocessing,
    channels: int,
    dtype: np.dtype[Any] | type[np.floating[Any]] | Literal["float32", "float64"],
    window: tuple[int, int] | None = None,
    scale: ScaleFactor | None = 1.0,
) -> ImageSource:
    """Opens an image as network input.

    Arrays of three channels are taken as RGB (BGR arrays need ``image[:, :, ::-1]``). Grey and RGB are converted into
    each other if ``preprocessing.order`` requires it; order ``any`` takes the channels as they are.
    8- and 16-bit pixels are scaled from 0..255 and 0..65535 to ``preprocessing.value_range``; floats and wider integers
    are taken to be in that range already.
    An array is not copied and must not change during the scan.

    Args:
        image: array ``(y, x)`` or ``(y, x, c)``, tensor ``(c, y, x)``, PIL image, path, or the result of ``open``.
        preprocessing: of the network.
        channels: of the network's input.
        dtype: floating type of the network's input.
        window: least height and width after resizing, px.
        scale: factor on the image's size, or one per axis ``(y, x)``; the image's own pixels are resampled once.

    Raises:
        ImageError: the image cannot be read, or does not fit the network.
    """
    target = _NetworkInput(preprocessing, channels, np.dtype(dtype))
    known: tuple[str, ImageMetadata] | None = None
    pixels = image
    if isinstance(image, ArrayRaster) and image.metadata.nodata is None and not image.metadata.masked:
        pixels, known = image.pixels, (image.name, image.metadata)
    elif is_raster(image):
        return _by_region(image, target, window=window, scale=scale)
    span, order = preprocessing.value_range, preprocessing.order
    raw, name = decode(pixels, bands=channels if order == "any" else None)
    if isinstance(pixels, Image.Image) and raw.shape[2] in (1, 3) and (shown := shown_pixels(pixels)) is not None:
        white = (opaque_value(raw.dtype),) * raw.shape[2]
        metadata = ImageMetadata({}, (raw.shape[0], raw.shape[1]), masked=True, background=white)
        return _by_region(ArrayRaster(raw, name, metadata, shown), target, window=window, scale=scale)
    original = (raw.shape[0], raw.shape[1])
    name, metadata = known or (name, ImageMetadata({}, original))
    extremes = check_values(raw, span=span, declared=metadata.value_range, dtype=target.dtype, where=name)
    found = match_channels(_bools_to_numbers(raw, span), order=order, channels=channels, where=name)
    extremes, raw = extremes if found is raw else None, found
    scanned = scanned_size(original, scale=scale)
    if window is not None:
        _check_window(original, scanned, window, name)
    raster = ArrayRaster(resize(raw, scanned), name, metadata)
    whole = ArrayRaster(raw, name, metadata)
    return ImageSource(raster, preprocessing, target.dtype, channels, whole, checked=True, extremes=extremes)


@dataclass(frozen=True)
class _NetworkInput:
    """The input of a network."""

    preprocessing: Preprocessing
    channels: int
    dtype: np.dtype[Any]


def with_cache(source: ImageSource, cache_bytes: int) -> ImageSource:
    """The same image, its decoded tiles cached; an image in memory as it is."""
    return replace(source, raster=cached(source.raster, TileCache(cache_bytes))) if cache_bytes else source


def _by_region(
    raster: Raster,
    target: _NetworkInput,
    *,
    window: tuple[int, int] | None,
    scale: ScaleFactor | None,
) -> ImageSource:
    """A raster whose pixels are read and checked by region."""
    original, span = (raster.shape[0], raster.shape[1]), target.preprocessing.value_range
    scanned = scanned_size(original, scale=scale, max_pixels=2**62)
    pixel = np.full((1, 1, raster.shape[2]), opaque_value(raster.dtype), raster.dtype)
    if raster.shape[2] not in (2, 4):
        order, channels = target.preprocessing.order, target.channels
        match_channels(pixel, order=order, channels=channels, where=raster.name, whole=raster.shape)
    if window is not None:
        _check_window(original, scanned, window, raster.name)
    whole = raster.dtype.kind in "ui"
    sized = resampled(raster, scanned, clip=None if whole else raster.metadata.value_range or span)
    return ImageSource(sized, target.preprocessing, target.dtype, target.channels, raster)


def _bools_to_numbers(pixels: NDArray[Any], span: tuple[float, float] | None) -> NDArray[Any]:
    """Booleans as 0 and the greatest pixel value; other pixels as they are."""
    return pixels.astype(np.uint8) * np.uint8(1 if span is None else 255) if pixels.dtype == np.bool_ else pixels


def _check_window(original: tuple[int, int], scanned: tuple[int, int], window: tuple[int, int], where: str) -> None:
    if scanned[0] >= window[0] and scanned[1] >= window[1]:
        return
    needed = math.ceil(1000 * max(w / n for w, n in zip(window, original, strict=True))) / 1000
    resized = "" if scanned == original else f" (resized from {original[0]}x{original[1]})"
    raise ImageError(
        where,
        f"{scanned[0]}x{scanned[1]} px{resized} is smaller than the window of {window[0]}x{window[1]} px",
        fix=f"use a larger image, or resize it with scale={needed:g} or more",
    )
