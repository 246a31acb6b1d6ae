"""A part of an image scanned as it lies in the whole: same pixels round it, same place on the map."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.geometry.region import Region
from fullfield.image.edges import Edge, PaddedSource
from fullfield.image.sources import ImageSource

_End = int | None
RegionLike = str | tuple[_End, _End, _End, _End] | tuple[tuple[_End, _End], tuple[_End, _End]] | tuple[slice, slice]
"""A region as users write it: ``region_ends`` parses it."""

_TEXT = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*,\s*(\d*)\s*:\s*(\d*)\s*")
_FIX = "write y0:y1,x0:x1 in px of the image, such as 0:2000,500:1500; an end left out is the image's"


@dataclass(frozen=True)
class CroppedSource:
    """A region of an image source; implements ``engine.protocols.Source``.

    Args:
        inner: the image.
        padding: px taken off the scanned image: minus top, bottom, left, right, as ``Placement`` counts them.
    """

    inner: ImageSource
    padding: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the region, px."""
        channels, height, width = self.inner.shape
        top, bottom, left, right = self.padding
        return channels, height + top + bottom, width + left + right

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width of the whole image before resizing, px."""
        return self.inner.original_size

    @property
    def scanned_size(self) -> tuple[int, int]:
        """Height and width of the whole image after resizing, px."""
        return self.inner.scanned_size

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of a part of the region; nothing beside the region is ever read.

        Raises:
            GeometryError: the part is empty or leaves the region.
        """
        _, height, width = self.shape
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise GeometryError(
                f"y {top}:{bottom}, x {left}:{right}",
                f"does not lie in the region of {height}x{width} px",
                fix="ask for pixels of the region only",
            )
        y, x = self.padding[0], self.padding[2]
        return self.inner.read(top - y, bottom - y, left - x, right - x)


def region_of(region: object, size: tuple[int, int]) -> Region:
    """Top, bottom, left and right of a region, px; half-open.

    Args:
        region: ``"y0:y1,x0:x1"``; or ``(y0, y1, x0, x1)``, or ``((y0, y1), (x0, x1))``, or two slices. An end that is
            left out, or ``None``, is the image's.
        size: height and width of the image, px.

    Raises:
        GeometryError: no region, an empty one, or one that leaves the image.

    Examples:
        >>> region_of(":2000,500:", (3000, 4000))
        (0, 2000, 500, 4000)
        >>> region_of(((10, 20), (30, None)), (100, 200))
        (10, 20, 30, 200)
    """
    ends = _ends(region)
    wanted = [length if end is None else end for end, length in zip(ends, (0, size[0], 0, size[1]), strict=True)]
    top, bottom, left, right = wanted
    for name, low, high, length in (("y", top, bottom, size[0]), ("x", left, right, size[1])):
        if low >= high:
            raise GeometryError("region", f"{name} {low}:{high} is empty; the image has 0:{length}", fix=_FIX)
        if high > length:
            raise GeometryError(
                "region",
                f"{name} {low}:{high} leaves the image, which has {name} 0:{length}",
                fix=f"stay in 0:{size[0]},0:{size[1]}; windows beyond the image are edge='reflect' and its like",
            )
    return top, bottom, left, right


def region_ends(region: object) -> tuple[int | None, int | None, int | None, int | None]:
    """Top, bottom, left and right of a region as they were given, px; ``None`` for an end that was left out.

    Raises:
        GeometryError: the region has another form, or is empty whatever the image's size.

    Examples:
        >>> region_ends((slice(10, 20), slice(30, None)))
        (10, 20, 30, None)
    """
    top, bottom, left, right = _ends(region)
    for name, low, high in (("y", top, bottom), ("x", left, right)):
        if high is not None and (low or 0) >= high:
            raise GeometryError("region", f"{name} {low or 0}:{high} is empty", fix=_FIX)
    return top, bottom, left, right


def _ends(region: object) -> list[int | None]:
    if isinstance(region, str):
        found = _TEXT.fullmatch(region)
        if found and all(len(end) <= 18 for end in found.groups()):
            return [int(end) if end else None for end in found.groups()]
    elif isinstance(region, (tuple, list)):
        ends = _flat(region)
        if len(ends) == 4 and all(end is None or _whole(end) for end in ends):
            return [None if end is None else int(end) for end in ends]
    raise GeometryError("region", f"{region!r} is not a region of whole pixels from 0 up", fix=_FIX)


def _flat(region: tuple[Any, ...] | list[Any]) -> list[Any]:
    if len(region) == 4:
        return list(region)
    ends: list[Any] = []
    for axis in region:
        if isinstance(axis, slice):
            ends += [axis.start, axis.stop] if axis.step in (None, 1) else ["every so many"]
        else:
            ends += axis if isinstance(axis, (tuple, list)) else [axis]
    return ends


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 0)


def scanned_region(region: Region, image: tuple[int, int], scanned: tuple[int, int]) -> Region:
    """A region of the image in px of the resized one, rounded outwards: every pixel that has a part in it.

    Examples:
        >>> scanned_region((0, 101, 33, 200), (400, 400), (200, 200))
        (0, 51, 16, 100)
    """
    top, bottom, left, right = region
    (h, w), (height, width) = image, scanned
    return top * height // h, -(-bottom * height // h), left * width // w, -(-right * width // w)


def region_padding(
    region: Region, scanned: tuple[int, int], *, window: tuple[int, int], step: tuple[int, int], edge: Edge = "valid"
) -> tuple[int, int, int, int]:
    """Px that a map of a region has round the scanned image, top, bottom, left, right; less than 0 inside of it.

    Windows lie inside the region (``valid``), or are centred on its first pixel and every step on from there, and see
    what is really beside the region.

    Args:
        region: in px of the scanned image.
        scanned: height and width of that image, px.
        window: px (y, x).
        step: px (y, x).
        edge: how the image goes on beyond its edges.

    Raises:
        GeometryError: the region is smaller than a window that must lie inside.
    """
    starts, stops = (region[0], region[2]), (region[1], region[3])
    if edge == "valid":
        height, width = stops[0] - starts[0], stops[1] - starts[1]
        if height < window[0] or width < window[1]:
            raise GeometryError(
                "region",
                f"{height}x{width} px, as scanned, are smaller than the window of {window[0]}x{window[1]} px",
                fix="take a larger region, or edge='reflect', which centres windows on the region's pixels",
            )
        return -starts[0], stops[0] - scanned[0], -starts[1], stops[1] - scanned[1]
    padding: list[int] = []
    for start, stop, length, size, s in zip(starts, stops, scanned, window, step, strict=True):
        low = size // 2
        count = -(-(stop - start) // s)
        padding += [low - start, start + (count - 1) * s + size - low - length]
    return padding[0], padding[1], padding[2], padding[3]


def cropped(
    source: ImageSource, region: Region, *, window: tuple[int, int], step: tuple[int, int], edge: Edge = "valid"
) -> CroppedSource | PaddedSource:
    """A source of the windows of a region only; its ``padding`` is the one for the map's ``Placement``.

    Args:
        source: the whole image.
        region: in px of the original image, as ``region_of`` gives it.
        window: px (y, x).
        step: px (y, x).
        edge: how the image goes on beyond its edges; the region's own edges see their neighbours.

    Raises:
        GeometryError: the region is smaller than a window that must lie inside.
    """
    there = scanned_region(region, source.original_size, source.scanned_size)
    padding = region_padding(there, source.scanned_size, window=window, step=step, edge=edge)
    return CroppedSource(source, padding) if edge == "valid" else PaddedSource(source, edge, padding)
