"""Parses the part of an image to scan."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from fullfield.errors import GeometryError
from fullfield.geometry.region import Region

_End = int | None
RegionLike = (
    str
    | tuple[_End, _End, _End, _End]
    | tuple[tuple[_End, _End], tuple[_End, _End]]
    | tuple[slice, slice]
    | tuple[_End, _End]
    | tuple[slice]
)
"""A region as users write it: ``region_ends`` parses it. Two ends are those of a signal, samples."""

_TEXT = re.compile(r"\s*(?:(\d*)\s*:\s*(\d*)\s*,\s*)?(\d*)\s*:\s*(\d*)\s*")
_FIX = "write y0:y1,x0:x1 in px of the image, such as 0:2000,500:1500; an end left out is the image's"


def region_of(region: object, size: tuple[int, int]) -> Region:
    """Top, bottom, left and right of a region, px; half-open.

    Args:
        region: ``"y0:y1,x0:x1"``; or ``(y0, y1, x0, x1)``, or ``((y0, y1), (x0, x1))``, or two slices. An end that is
            left out, or ``None``, is the image's. Of a signal, an image of height one, also ``"start:stop"`` or
            ``(start, stop)``, samples.
        size: height and width of the image, px.

    Raises:
        GeometryError: no region, an empty one, or one that leaves the image.

    Examples:
        >>> region_of(":2000,500:", (3000, 4000))
        (0, 2000, 500, 4000)
        >>> region_of(((10, 20), (30, None)), (100, 200))
        (10, 20, 30, 200)
    """
    given = _ends(region)
    if len(given) == 2 and size[0] > 1:
        raise GeometryError("region", f"{region!r} has one axis, the image has two", fix=_FIX)
    ends = [None, None, *given][-4:]
    wanted = [length if end is None else end for end, length in zip(ends, (0, size[0], 0, size[1]), strict=True)]
    top, bottom, left, right = wanted
    for name, low, high, length in (("y", top, bottom, size[0]), ("x", left, right, size[1])):
        if low >= high:
            raise GeometryError("region", f"{name} {low}:{high} is empty; the image has 0:{length}", fix=_FIX)
        if high > length:
            raise GeometryError(
                "region",
                f"{name} {low}:{high} leaves the image, which has {name} 0:{length}",
                fix=f"stay in 0:{size[0]},0:{size[1]}; edge='reflect' scores windows that reach beyond the image",
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
    top, bottom, left, right = [None, None, *_ends(region)][-4:]
    for name, low, high in (("y", top, bottom), ("x", left, right)):
        if high is not None and (low or 0) >= high:
            raise GeometryError("region", f"{name} {low or 0}:{high} is empty", fix=_FIX)
    return top, bottom, left, right


def _ends(region: object) -> list[int | None]:
    """The four ends of a region as they were given; of one axis, the two of it."""
    if isinstance(region, str):
        found = _TEXT.fullmatch(region)
        if found and all(len(end or "") <= 18 for end in found.groups()):
            return [int(end) if end else None for end in found.groups() if end is not None]
    elif isinstance(region, (tuple, list)):
        ends = _flat(region)
        if len(ends) in (2, 4) and all(end is None or _whole(end) for end in ends):
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


def scanned_region(region: Region, image: tuple[int, int], scanned: tuple[int, int], *, inside: bool = False) -> Region:
    """A region of the image in px of the resized one: all that it touches, or all that lie inside it.

    Examples:
        >>> scanned_region((0, 101, 33, 200), (400, 400), (200, 200))
        (0, 51, 16, 100)
        >>> scanned_region((0, 101, 33, 200), (400, 400), (200, 200), inside=True)
        (0, 50, 17, 100)
    """
    top, bottom, left, right = region
    (h, w), (height, width) = image, scanned
    if inside:
        return -(-top * height // h), bottom * height // h, -(-left * width // w), right * width // w
    return top * height // h, -(-bottom * height // h), left * width // w, -(-right * width // w)
