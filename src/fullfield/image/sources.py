"""An image as the engine reads it: preprocessed region by region, in memory or in a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError, ImageError
from fullfield.image.cache import TileCache, cached
from fullfield.image.decode import decode
from fullfield.image.nodata import filled
from fullfield.image.pixels import bands, check_values, expand, network_input
from fullfield.image.raster import About, ArrayRaster, Raster, is_raster
from fullfield.image.resample import resampled
from fullfield.image.resize import Scale, resize, scanned_size
from fullfield.model.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image that hands out network input by region; implements ``engine.protocols.Source``.

    Pixels that hold nothing (nodata) are read as the file's background, or as ``fill`` where it names none.

    Args:
        raster: the image in its own depth, resized already.
        preprocessing: applied at every ``read``.
        dtype: floating type of what is read.
        channels: channels that the network takes.
        original: the image before it was resized (after EXIF rotation).
        checked: all pixels were looked at when the image was opened; otherwise every region is when it is read.
        fill: pixel value in place of nodata, of a file that names no background.
    """

    raster: Raster
    preprocessing: Preprocessing
    dtype: np.dtype[Any]
    channels: int
    original: Raster
    checked: bool = False
    fill: float = 0.0

    @property
    def name(self) -> str:
        """The file, for reports and errors."""
        return self.raster.name

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width before resizing, px."""
        return self.original.shape[0], self.original.shape[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width, px."""
        return self.channels, *self.scanned_size

    @property
    def scanned_size(self) -> tuple[int, int]:
        """Height and width as scanned, px."""
        return self.raster.shape[0], self.raster.shape[1]

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of the half-open region, a new array.

        Raises:
            GeometryError: the region is empty or leaves the image.
            ImageError: the file is damaged there, or holds what the network cannot take.
        """
        height, width = self.scanned_size
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise GeometryError(
                f"region y {top}:{bottom}, x {left}:{right}",
                f"does not lie in the image of {height}x{width} px",
                fix="ask for pixels of the image only",
            )
        try:
            pixels = self.raster.read(top, bottom, left, right)
            if not self.checked:
                pixels = self._check(pixels, (top, bottom, left, right))
        except (OSError, RuntimeError, ValueError, EOFError) as error:  # of a reader that is not ours
            where, reason = f"{self.name}, y {top}:{bottom}, x {left}:{right}", str(error) or type(error).__name__
            raise ImageError(where, f"cannot be read ({reason})", fix="get a whole copy of the file") from error
        return network_input(expand(pixels, order=self._order, channels=self.channels), self.preprocessing, self.dtype)

    def constant(self, value: float) -> NDArray[np.floating]:
        """What the network sees of a pixel whose channels all have one value. Shape: ``(c,)``"""
        kind = np.dtype(np.uint8) if self.raster.dtype == np.bool_ else self.raster.dtype
        pixel = np.full((1, 1, self.channels), value, kind)
        values: NDArray[np.floating] = network_input(pixel, self.preprocessing, self.dtype)[:, 0, 0]
        return values

    @property
    def _order(self) -> str:
        return self.preprocessing.order

    def _check(self, pixels: NDArray[Any], region: tuple[int, int, int, int]) -> NDArray[Any]:
        """The pixels of a region with nodata filled, in the channels that the network takes, if they are fit."""
        top, bottom, left, right = region
        where = f"{self.name}, y {top}:{bottom}, x {left}:{right}"
        mask = getattr(self.raster, "mask", None)  # of readers that tell it from the pixels: nothing is read twice
        valid = self.raster.valid(*region) if mask is None else mask(pixels)
        about = self.raster.about
        fill = self.fill if about.background is None else about.background
        pixels = filled(pixels, valid, fill, nodata=about.nodata)
        span = self.preprocessing.value_range
        pixels = _numbers(pixels, span)
        masked = valid is not None and pixels.shape[2] in (2, 4) and self.channels in (1, 3)
        if masked and self._order != "any":  # what is transparent was filled
            pixels = pixels[:, :, :-1]
        pixels = bands(pixels, order=self._order, channels=self.channels, where=where)
        check_values(pixels, span=span, dtype=self.dtype, where=where, part=True)
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
    scale: Scale | None = 1.0,
    size: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    cache_bytes: int = 0,
) -> ImageSource:
    """The image ready to be scanned.

    Arrays of three channels are taken as RGB (a reader that gives BGR needs ``image[:, :, ::-1]``). Grey becomes colour
    and colour grey where ``preprocessing.order`` names what the network wants; order ``any`` takes the channels as they
    are.
    8- and 16-bit pixels, taken to fill 0..255 and 0..65535, are brought to ``preprocessing.value_range``; floats and
    wider integers are taken to be in it.
    An array is not copied: leave it alone while it is scanned.

    Args:
        image: array ``(y, x)`` or ``(y, x, c)``, tensor ``(c, y, x)``, PIL image, path, or what ``open`` gives.
        preprocessing: what the network wants to see.
        channels: channels that it takes.
        dtype: floating type of its input.
        window: least height and width after resizing, px.
        scale: factor on the image's size, or one an axis ``(y, x)``; resampled once, on the raw pixels.
        size: height and width after resizing, px, instead of ``scale``.
        max_pixels: pixels above which an image file is refused; ``None`` is Pillow's limit against decompression bombs.
        cache_bytes: of decoded pixels to keep, of an image that is read by region.

    Raises:
        ImageError: the image cannot be read, or is not what the network takes.
    """
    wants = _Wants(preprocessing, channels, np.dtype(dtype))
    known: tuple[str, About] | None = None
    pixels = image
    if isinstance(image, ArrayRaster) and image.about.nodata is None:
        pixels, known = image.pixels, (image.name, image.about)
    elif is_raster(image):
        return _lazy(image, wants, window=window, scale=scale, size=size, cache_bytes=cache_bytes)
    span, order = preprocessing.value_range, preprocessing.order
    raw, name = decode(pixels, max_pixels=max_pixels, bands=channels if order == "any" else None)
    original = (raw.shape[0], raw.shape[1])
    name, about = known or (name, About({}, original))
    check_values(raw, span=span, dtype=wants.dtype, where=name)
    raw = bands(_numbers(raw, span), order=order, channels=channels, where=name)
    target = scanned_size(original, scale=scale, wanted=size, max_pixels=max_pixels)
    if window is not None:
        _check_window(original, target, window, name)
    raster = ArrayRaster(resize(raw, target), name, about)
    return ImageSource(raster, preprocessing, wants.dtype, channels, ArrayRaster(raw, name, about), checked=True)


@dataclass(frozen=True)
class _Wants:
    """What a network takes."""

    preprocessing: Preprocessing
    channels: int
    dtype: np.dtype[Any]


def _lazy(
    raster: Raster,
    wants: _Wants,
    *,
    window: tuple[int, int] | None,
    scale: Scale | None,
    size: tuple[int, int] | None,
    cache_bytes: int,
) -> ImageSource:
    """A raster that is read, and looked at, when the network wants its pixels; decoded tiles are kept."""
    original, span = (raster.shape[0], raster.shape[1]), wants.preprocessing.value_range
    target = scanned_size(original, scale=scale, wanted=size, max_pixels=2**62)
    if window is not None:
        _check_window(original, target, window, raster.name)
    pixel = np.full((1, 1, raster.shape[2]), _opaque(raster.dtype), raster.dtype)
    if raster.shape[2] not in (2, 4):
        bands(pixel, order=wants.preprocessing.order, channels=wants.channels, where=raster.name)
    whole = raster.dtype.kind in "ui"
    sized = resampled(raster, target, clip=None if whole else span)
    kept = cached(sized, TileCache(cache_bytes)) if cache_bytes else sized
    return ImageSource(kept, wants.preprocessing, wants.dtype, wants.channels, raster)


def _opaque(dtype: np.dtype[Any]) -> float:
    """The pixel value of full opacity."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def _numbers(pixels: NDArray[Any], span: tuple[float, float] | None) -> NDArray[Any]:
    """Truth values as 0 and the greatest pixel value."""
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
