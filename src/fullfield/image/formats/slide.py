"""Reads whole-slide images through OpenSlide: svs, ndpi, mrxs, scn, bif, vms, DICOM and its other formats.

OpenSlide takes positions in whole pixels of level 0. On a level whose downsample is not an integer a read therefore
starts between that level's pixels, OpenSlide interpolates, and two reads of one pixel differ. The same happens on
coarse levels whose tiles do not start on whole pixels (MIRAX): the start of a read decides which tiles are drawn. Such
levels are read in fixed blocks, always with the same call, so that every pixel has one value; its position is right to
half a level-0 pixel.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.geometry.region import Region
from fullfield.image.blob import open_blob
from fullfield.image.checks import (
    check_region,
    check_size,
    damaged,
    interruptible,
    thumbnail_of,
    unreadable,
)
from fullfield.image.formats.dicom import is_dicom, refused_slide
from fullfield.image.formats.handles import Handles
from fullfield.image.identity import file_identity
from fullfield.image.mask_cache import MaskCache
from fullfield.image.raster import ImageMetadata, Origin, raster_text
from fullfield.image.selection import Selection, check_single, select_bands, select_level
from fullfield.packages import import_packages

_BLOCK = 1024  # px a side, about, of fixed blocks
_CACHE_BYTES = 64 << 20  # OpenSlide's decoded tiles, shared by all handles of a slide
_MOST_PARTS = 4096  # files of one slide
_ONE_FILE = {".svs", ".tif", ".tiff", ".btf", ".ndpi", ".scn", ".bif", ".svslide", ".czi", ".isyntax"}
_RGB = ("red", "green", "blue")


@dataclass(frozen=True)
class _Level:
    """How to read a level.

    Args:
        index: of the level.
        downsample: level-0 pixels per pixel.
        background: colour under transparent pixels.
        bands: those read, of red, green and blue.
        fixed_blocks: whether it is read in fixed blocks, because a pixel would differ from call to call.
    """

    index: int
    downsample: float
    background: tuple[int, int, int]
    bands: tuple[int, ...]
    fixed_blocks: bool


@dataclass(frozen=True, eq=False)
class SlideRaster:
    """One level of a slide in RGB, transparent pixels in the slide's background colour; implements ``Raster``.

    Args:
        name: path of the file.
        shape: height and width, px, and channels.
        metadata: the file's metadata.
        level: how to read the level.
    """

    name: str
    shape: tuple[int, int, int]
    metadata: ImageMetadata
    level: _Level
    _handles: Handles[Any] = field(repr=False)
    _masks: MaskCache = field(default_factory=MaskCache, repr=False)

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always 8 bits."""
        return np.dtype(np.uint8)

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region, blended with the slide's background colour.

        Raises:
            ImageError: the file is damaged there, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        colours, alpha = self._rgba(region)
        self._masks.put(region, alpha)
        return np.ascontiguousarray(colours[:, :, list(self.level.bands)]) if self.level.bands != (0, 1, 2) else colours

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the pixels that were scanned, i.e. are not fully transparent."""
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        return self._masks.fetch(region, (bottom - top, right - left), lambda: self._rgba(region)[1])

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image from a coarse level; ``None`` if the slide has none."""

        def whole(level: int) -> NDArray[Any]:
            height, width = self.metadata.levels[level]
            with _errors(self.name, (0, height, 0, width)), self._handles.borrowed() as slide:
                pixels = slide.read_region((0, 0), level, (width, height))
            return _on_background(pixels, self.level.background)[0][:, :, list(self.level.bands)]

        return thumbnail_of(self.metadata.levels, side, whole)

    def close(self) -> None:
        """Closes the file."""
        self._handles.close()

    def _rgba(self, region: Region) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Colours ``(y, x, 3)`` blended with the background, and alpha ``(y, x)``; ``None`` if all is opaque."""
        top, bottom, left, right = region
        with _errors(self.name, region), self._handles.borrowed() as slide:
            if not self.level.fixed_blocks:
                return _read_region(slide, self.level, region)
            colours = np.empty((bottom - top, right - left, 3), np.uint8)
            alpha = np.full((bottom - top, right - left), 255, np.uint8)
            for block in _blocks(region, self.metadata.tile, self.shape):
                y0, x0 = max(block[0], top), max(block[2], left)
                y1, x1 = min(block[1], bottom), min(block[3], right)
                inside = slice(y0 - block[0], y1 - block[0]), slice(x0 - block[2], x1 - block[2])
                outside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
                part, opacity = _read_region(slide, self.level, block)
                colours[outside] = part[inside]
                if opacity is not None:
                    alpha[outside] = opacity[inside]
        return colours, None if (alpha == 255).all() else alpha


def open_slide(path: str, selection: Selection) -> SlideRaster:
    """Opens one level of a slide: the one selected, or the coarsest that is not coarser than ``selection.mpp``.

    The image is the whole level, not only its scanned bounds; pixels that were not scanned are not ``valid``.

    Args:
        path: a file that OpenSlide reads.
        selection: level, mpp, and bands of red, green and blue.

    Raises:
        ImageError: openslide is not installed, the file is not a slide, or does not hold what is selected.
    """
    with _errors(path, None):
        import openslide

        slide = openslide.OpenSlide(path)
        try:
            sizes = tuple((height, width) for width, height in slide.level_dimensions)
            downsamples, properties = tuple(slide.level_downsamples), dict(slide.properties)
            profile = slide.color_profile
        finally:
            slide.close()
        cache = openslide.OpenSlideCache(_CACHE_BYTES)
        check_single(selection, ("series", "z", "t"), where=path)
        mpp = _mpp(properties)
        mpps = None if mpp is None else [max(mpp) * downsample for downsample in downsamples]
        index = select_level(selection, len(sizes), mpps, where=path)
        check_size(sizes[index], path)
        bands = select_bands(selection.bands, 3, where=path, names=[(name,) for name in _RGB])
        downsample = float(downsamples[index])
        between_pixels = index > 0 and f"openslide.level[{index}].tile-width" not in properties
        fixed_blocks = between_pixels or not downsample.is_integer()
        level = _Level(index, downsample, _background(properties), bands, fixed_blocks)
        metadata = ImageMetadata(
            identity=_identity(path, properties) | {"level": index, "bands": list(bands)},
            tile=_tile(properties, level, sizes[index]),
            levels=sizes,
            level=index,
            mpp=None if mpp is None else (mpp[0] * downsample, mpp[1] * downsample),
            masked="openslide.bounds-width" in properties or properties.get("openslide.vendor") == "mirax",
            value_range=selection.value_range,
            background=tuple(level.background[band] for band in bands),
            band_names=tuple(_RGB[band] for band in bands),
            held_bytes=min(_CACHE_BYTES, 4 * sizes[index][0] * sizes[index][1]),
            profile=None if profile is None else profile.tobytes(),
            origin=Origin(_corner(properties)),
            place=None if _corner(properties) == (0, 0) else "the bounds of what was scanned",
            reader=f"openslide ({properties.get('openslide.vendor', 'unknown vendor')})",
        )
    return SlideRaster(path, (*sizes[index], len(bands)), metadata, level, Handles(partial(_open, path, cache), path))


def _open(path: str, cache: Any) -> Any:
    import openslide

    slide = openslide.OpenSlide(path)
    slide.set_cache(cache)
    return slide


def _identity(path: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """The file's identity, OpenSlide's hash, and a hash of size and time of its possible parts."""
    file = Path(path)
    folder = file.with_suffix("")  # a MIRAX slide's; other formats of many files store them next to the index
    inside = folder if folder.is_dir() else file.parent
    single = file.suffix.lower() in _ONE_FILE and inside == file.parent
    parts = [] if single else sorted(entry for entry in islice(inside.iterdir(), _MOST_PARTS) if entry.is_file())
    states = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    digest = hashlib.blake2b(repr(states).encode(), digest_size=16).hexdigest()
    return file_identity(path) | {"openslide": properties.get("openslide.quickhash-1"), "parts": digest}


def _read_region(slide: Any, level: _Level, region: Region) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A region read by one call of OpenSlide."""
    top, bottom, left, right = region
    corner = round(left * level.downsample), round(top * level.downsample)
    return _on_background(slide.read_region(corner, level.index, (right - left, bottom - top)), level.background)


def _on_background(
    picture: Any, background: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Colours ``(y, x, 3)`` of an RGBA picture blended with a colour, and its alpha; ``None`` if it is opaque."""
    from PIL import Image

    if picture.getextrema()[3][0] == 255:
        return np.asarray(picture)[:, :, :3].copy(), None
    alpha = picture.getchannel("A")
    under = Image.new("RGB", picture.size, background)
    under.paste(picture.convert("RGB"), mask=alpha)
    return np.asarray(under), np.asarray(alpha)


def _blocks(region: Region, block: tuple[int, int], shape: tuple[int, ...]) -> Iterator[Region]:
    """The fixed blocks that a region overlaps."""
    high, wide = block
    for y in range(region[0] // high * high, region[1], high):
        for x in range(region[2] // wide * wide, region[3], wide):
            yield y, min(y + high, shape[0]), x, min(x + wide, shape[1])


def _mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) of level 0, if both are given and positive."""
    try:
        found = float(properties["openslide.mpp-y"]), float(properties["openslide.mpp-x"])
    except (KeyError, ValueError):
        return None
    return found if all(math.isfinite(value) and value > 0 for value in found) else None


def _corner(properties: Mapping[str, str]) -> tuple[float, float]:
    """The first pixel (y, x) of the part that was scanned, where QuPath has its own."""
    try:
        return float(properties["openslide.bounds-y"]), float(properties["openslide.bounds-x"])
    except (KeyError, ValueError):
        return 0.0, 0.0


def _background(properties: Mapping[str, str]) -> tuple[int, int, int]:
    """The colour that a slide gives for areas that were not scanned, else white."""
    text = properties.get("openslide.background-color", "")
    try:
        value = int(text, 16) if len(text) == 6 else 0xFFFFFF
    except ValueError:
        value = 0xFFFFFF
    return value >> 16 & 255, value >> 8 & 255, value & 255


def _tile(properties: Mapping[str, str], level: _Level, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of what is decoded at once: the file's tile, or a fixed block."""
    sides = []
    for axis, most in (("height", size[0]), ("width", size[1])):
        try:
            side = int(properties[f"openslide.level[{level.index}].tile-{axis}"])
        except (KeyError, ValueError):
            side = 256
        side = side if 16 <= side <= 4096 else 256
        if level.fixed_blocks:
            side *= max(1, _BLOCK // side)
        sides.append(min(side, most))
    return sides[0], sides[1]


@contextmanager
def _errors(where: str, region: Region | None) -> Iterator[None]:
    """Turns OpenSlide's errors into an ImageError with the file and the region."""
    import_packages("openslide", extra="slide", where=where)
    try:
        with interruptible():
            yield
    except ImageError:
        raise
    except Exception as error:
        raise (_refused(where, error) if region is None else damaged(where, region, error)) from error


def _refused(where: str, error: BaseException) -> ImageError:
    """The error for a slide that OpenSlide does not open."""
    blob = open_blob(where)
    try:
        return refused_slide(where, error) if is_dicom(blob) else unreadable(where, error)
    finally:
        blob.close()
