"""Whole-slide images through OpenSlide: svs, ndpi, mrxs, scn, bif, vms, DICOM and what else it reads.

OpenSlide takes places in pixels of level 0, whole numbers. On a level whose downsample is no whole number, a read
starts between that level's pixels, and OpenSlide interpolates: two reads of one pixel differ. So they do on coarse
levels whose tiles lie between the pixels (of MIRAX): where a read starts decides which of them are drawn. Such levels
are read in fixed blocks, each always the same call, so that a pixel has one value; it lies within half a level-0 pixel
of its place.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
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
from fullfield.image.formats.checks import (
    check_region,
    check_size,
    damaged,
    interruptible,
    reason,
    thumbnail_of,
    unreadable,
)
from fullfield.image.formats.handles import Handles
from fullfield.image.identity import file_identity
from fullfield.image.pick import Pick, finer_level, picked, picked_bands
from fullfield.image.raster import About

_BLOCK = 1024  # px, about: of levels that are read in fixed blocks
_CACHE_BYTES = 64 << 20  # of decoded tiles, for all handles of a slide
_MASKS = 64  # regions whose mask is kept for the call of ``valid`` that follows ``read``
_MOST_PARTS = 4096  # files of one slide
_ONE_FILE = {".svs", ".tif", ".tiff", ".btf", ".ndpi", ".scn", ".bif", ".svslide", ".czi", ".isyntax"}
_RGB = ("red", "green", "blue")


@dataclass(frozen=True)
class _Look:
    """How pixels are taken from a level.

    Args:
        level: index of the level.
        downsample: level-0 pixels a pixel.
        background: colour under what is transparent.
        bands: of red, green and blue.
        fixed: whether one pixel would differ between two calls, so that blocks are read that are always the same.
    """

    level: int
    downsample: float
    background: tuple[int, int, int]
    bands: tuple[int, ...]
    fixed: bool


@dataclass(frozen=True, eq=False)
class SlideRaster:
    """One level of a slide, as RGB on the slide's background; implements ``Raster``.

    Args:
        name: the file, for reports and errors.
        shape: height and width, px, and channels.
        about: what the file says beside the pixels.
        look: how pixels are taken.
    """

    name: str
    shape: tuple[int, int, int]
    about: About
    look: _Look
    _handles: Handles[Any] = field(repr=False)
    _masks: OrderedDict[Region, NDArray[np.uint8] | None] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """8 bits."""
        return np.dtype(np.uint8)

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region; what is transparent lies on the slide's background.

        Raises:
            ImageError: the file is damaged there, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        colours, alpha = self._rgba(region)
        self._keep(region, alpha)
        return np.ascontiguousarray(colours[:, :, list(self.look.bands)]) if self.look.bands != (0, 1, 2) else colours

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Which pixels ``(y, x)`` were scanned: those not wholly transparent."""
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        with self._lock:
            known = region in self._masks
            packed = self._masks.get(region)
        if not known:
            _, alpha = self._rgba(region)
            packed = self._keep(region, alpha)
        if packed is None:
            return None
        shape = (bottom - top, right - left)
        return np.unpackbits(packed, count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image from a coarse level; ``None`` where the slide has none."""

        def whole(level: int) -> NDArray[Any]:
            height, width = self.about.levels[level]
            with _errors(self.name, (0, height, 0, width)), self._handles.borrowed() as slide:
                pixels = slide.read_region((0, 0), level, (width, height))
            return _on_background(pixels, self.look.background)[0][:, :, list(self.look.bands)]

        return thumbnail_of(self.about.levels, side, whole)

    def close(self) -> None:
        """Closes the file."""
        self._handles.close()

    def _keep(self, region: Region, alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """Remembers which pixels of a region hold something, a bit each; ``None`` where all do."""
        packed = None if alpha is None or alpha.all() else np.packbits(alpha != 0)
        with self._lock:
            self._masks[region] = packed
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return packed

    def _rgba(self, region: Region) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Colours ``(y, x, 3)`` on the background, and alpha ``(y, x)``; ``None`` where all is opaque."""
        top, bottom, left, right = region
        with _errors(self.name, region), self._handles.borrowed() as slide:
            if not self.look.fixed:
                return _call(slide, self.look, region)
            colours = np.empty((bottom - top, right - left, 3), np.uint8)
            alpha = np.full((bottom - top, right - left), 255, np.uint8)
            for block in _blocks(region, self.about.tile, self.shape):
                y0, x0 = max(block[0], top), max(block[2], left)
                y1, x1 = min(block[1], bottom), min(block[3], right)
                inside = slice(y0 - block[0], y1 - block[0]), slice(x0 - block[2], x1 - block[2])
                outside = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
                part, opacity = _call(slide, self.look, block)
                colours[outside] = part[inside]
                if opacity is not None:
                    alpha[outside] = opacity[inside]
        return colours, None if (alpha == 255).all() else alpha


def open_slide(path: str, pick: Pick) -> SlideRaster:
    """One level of the slide at ``path``: the one picked, or the nearest that is no coarser than ``pick.mpp``.

    The whole level is read, not only its scanned bounds: what was not scanned is not ``valid``.

    Args:
        path: a file that OpenSlide reads.
        pick: level, mpp, and bands of red, green and blue.

    Raises:
        ImageError: no openslide, no slide, or nothing that was picked.
    """
    with _errors(path, None):
        import openslide

        slide = openslide.OpenSlide(path)
        try:
            sizes = tuple((height, width) for width, height in slide.level_dimensions)
            downsamples, properties = tuple(slide.level_downsamples), dict(slide.properties)
        finally:
            slide.close()
        cache = openslide.OpenSlideCache(_CACHE_BYTES)
        for axis, index in (("series", pick.series), ("z", pick.z), ("t", pick.t)):
            picked(index, 1, what=axis, where=path)
        mpp = _mpp(properties)
        level = _level(mpp, downsamples, pick, path)
        check_size(sizes[level], path)
        bands = picked_bands(pick.bands, 3, where=path)
        downsample = float(downsamples[level])
        between = level > 0 and f"openslide.level[{level}].tile-width" not in properties
        fixed = between or not downsample.is_integer()
        look = _Look(level, downsample, _background(properties), bands, fixed)
        about = About(
            identity=_identity(path, properties) | {"level": level, "bands": list(bands)},
            tile=_tile(properties, look, sizes[level]),
            levels=sizes,
            level=level,
            mpp=None if mpp is None else (mpp[0] * look.downsample, mpp[1] * look.downsample),
            background=tuple(look.background[band] for band in bands),
            band_names=tuple(_RGB[band] for band in bands),
            held_bytes=min(_CACHE_BYTES, 4 * sizes[level][0] * sizes[level][1]),
            reader=f"openslide ({properties.get('openslide.vendor', 'unknown vendor')})",
        )
    return SlideRaster(path, (*sizes[level], len(bands)), about, look, Handles(partial(_open, path, cache), path))


def _open(path: str, cache: Any) -> Any:
    import openslide

    slide = openslide.OpenSlide(path)
    slide.set_cache(cache)
    return slide


def _identity(path: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """Of the file, OpenSlide's hash of the slide, and size and time of the files beside it that can be parts of it."""
    file = Path(path)
    folder = file.with_suffix("")  # of a MIRAX slide; other formats of many files keep them beside the index
    inside = folder if folder.is_dir() else file.parent
    single = file.suffix.lower() in _ONE_FILE and inside == file.parent
    parts = [] if single else sorted(entry for entry in islice(inside.iterdir(), _MOST_PARTS) if entry.is_file())
    states = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    digest = hashlib.blake2b(repr(states).encode(), digest_size=16).hexdigest()
    return file_identity(path) | {"openslide": properties.get("openslide.quickhash-1"), "parts": digest}


def _call(slide: Any, look: _Look, region: Region) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A region by one call of OpenSlide's."""
    top, bottom, left, right = region
    place = round(left * look.downsample), round(top * look.downsample)
    return _on_background(slide.read_region(place, look.level, (right - left, bottom - top)), look.background)


def _on_background(
    picture: Any, background: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Colours ``(y, x, 3)`` of an RGBA picture laid on a colour, and its alpha; ``None`` where it is opaque."""
    from PIL import Image

    if picture.getextrema()[3][0] == 255:
        return np.asarray(picture)[:, :, :3].copy(), None
    alpha = picture.getchannel("A")
    under = Image.new("RGB", picture.size, background)
    under.paste(picture.convert("RGB"), mask=alpha)
    return np.asarray(under), np.asarray(alpha)


def _blocks(region: Region, block: tuple[int, int], shape: tuple[int, ...]) -> Iterator[Region]:
    """The fixed blocks that a region touches."""
    high, wide = block
    for y in range(region[0] // high * high, region[1], high):
        for x in range(region[2] // wide * wide, region[3], wide):
            yield y, min(y + high, shape[0]), x, min(x + wide, shape[1])


def _mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) of level 0, if both are there and are lengths."""
    try:
        found = float(properties["openslide.mpp-y"]), float(properties["openslide.mpp-x"])
    except (KeyError, ValueError):
        return None
    return found if all(math.isfinite(value) and value > 0 for value in found) else None


def _level(mpp: tuple[float, float] | None, downsamples: tuple[float, ...], pick: Pick, where: str) -> int:
    if pick.mpp is None:
        return picked(pick.level, len(downsamples), what="level", where=where)
    if mpp is None:
        raise ImageError(
            where, f"{pick.mpp:g} µm/px is wanted, the slide says no length of a pixel", fix="give a level instead"
        )
    return finer_level([max(mpp) * downsample for downsample in downsamples], pick.mpp)


def _background(properties: Mapping[str, str]) -> tuple[int, int, int]:
    """The colour a slide gives for what was not scanned, else white."""
    text = properties.get("openslide.background-color", "")
    try:
        value = int(text, 16) if len(text) == 6 else 0xFFFFFF
    except ValueError:
        value = 0xFFFFFF
    return value >> 16 & 255, value >> 8 & 255, value & 255


def _tile(properties: Mapping[str, str], look: _Look, size: tuple[int, int]) -> tuple[int, int]:
    """What is decoded at once: the file's tile, or the fixed block of a level that is read in such."""
    sides = []
    for axis, most in (("height", size[0]), ("width", size[1])):
        try:
            side = int(properties[f"openslide.level[{look.level}].tile-{axis}"])
        except (KeyError, ValueError):
            side = 256
        side = side if 16 <= side <= 4096 else 256
        if look.fixed:
            side *= max(1, _BLOCK // side)
        sides.append(min(side, most))
    return sides[0], sides[1]


@contextmanager
def _errors(where: str, region: Region | None) -> Iterator[None]:
    """Turns what OpenSlide raises into an ImageError with the file and the region."""
    try:
        import openslide  # noqa: F401
    except (ImportError, OSError) as error:
        raise ImageError(
            where, f"is read with openslide, which is missing ({reason(error)})", fix="pip install 'fullfield[slide]'"
        ) from error
    try:
        with interruptible():
            yield
    except ImageError:
        raise
    except Exception as error:
        raise (unreadable(where, error) if region is None else damaged(where, region, error)) from error
