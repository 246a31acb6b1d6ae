"""Selects what to read of a file: one of its images, a pyramid level, a plane, a time point, bands, a value range."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fullfield.arguments import check_choice
from fullfield.errors import ImageError

ValidBands = Literal["any", "all"]
"""Which bands of a valid pixel hold data."""
Resampling = Literal["bilinear", "nearest"]
"""How a file of a stack is brought to another grid."""


@dataclass(frozen=True)
class Selection:
    """Which part of a file to open. ``None`` takes the first image, plane and time, the finest level and all bands.

    Args:
        level: index into the pyramid, 0 is the finest.
        mpp: micrometres per pixel, instead of a level.
        bands: channels to read, in this order, counted from 0 or by name.
        series: index of the image, where a file holds several.
        z: index of the plane of a stack.
        t: index of the time point.
        value_range: pixel values of black and white; by default those that the file declares, else the type's.
        pixel_size: micrometres per pixel of the finest level, in place of what the file states.
        percentiles: of the pixel values, that are black and white, in place of a range of values.
        nodata: value of pixels that hold nothing, in place of the file's; NaN always does.
        valid: whether a pixel is valid if ``any`` of its bands holds data, or only if ``all`` do.
        scale_offset: whether stored numbers are multiplied by the scale of their band, and its offset is added.
        stack: further files, whose bands follow those of the first.
        resampling: of files of a stack that lie on another grid than the finest: ``bilinear`` or ``nearest``.
        icc: whether colours are converted from the file's ICC profile to sRGB.
        trust: whether a file, such as a VRT, may name files in any folder of this machine.

    Raises:
        ImageError: both a level and a resolution, a number out of range, or an empty range of values.
    """

    level: int | None = None
    mpp: float | None = None
    bands: tuple[int | str, ...] | None = None
    series: int | None = None
    z: int | None = None
    t: int | None = None
    value_range: tuple[float, float] | None = None
    pixel_size: float | None = None
    percentiles: tuple[float, float] | None = None
    nodata: float | None = None
    valid: ValidBands = "any"
    scale_offset: bool = False
    stack: tuple[str, ...] = ()
    resampling: Resampling = "bilinear"
    icc: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        if self.level is not None and self.mpp is not None:
            raise ImageError(
                "level, mpp", f"level {self.level} and {self.mpp:g} µm/px exclude each other", fix="give one of them"
            )
        for name, size in (("mpp", self.mpp), ("pixel_size", self.pixel_size)):
            if size is not None and not 0 < size < float("inf"):
                raise ImageError(name, f"{size:g} µm/px is not a positive number", fix="give one such as 0.5")
        check_choice("valid", self.valid, get_args(ValidBands), ImageError)
        check_choice("resampling", self.resampling, get_args(Resampling), ImageError)
        if self.bands == ():
            raise ImageError("bands", "none is selected", fix="give at least one, counted from 0, or leave it out")
        span = self.value_range
        if span is not None and not (all(map(math.isfinite, span)) and span[0] < span[1]):
            what = f"{span[0]:g}..{span[1]:g} is no range of pixel values"
            raise ImageError("value range", what, fix="give those of black and white, such as 0,4095")
        shares = self.percentiles
        if shares is not None and not 0 <= shares[0] < shares[1] <= 100:
            what = f"p{shares[0]:g},p{shares[1]:g} are no two percentiles from 0 to 100"
            raise ImageError("value range", what, fix="give those of black and white, such as p1,p99")
        numbers = {"level": self.level, "series": self.series, "z": self.z, "t": self.t}
        numbers |= {f"bands[{i}]": band for i, band in enumerate(self.bands or ()) if isinstance(band, int)}
        for name, index in numbers.items():
            if index is not None and index < 0:
                raise ImageError(name, f"{index} is below 0", fix="count from 0")


def parse_bands(bands: Sequence[int | str]) -> tuple[int | str, ...]:
    """Bands as users write them: numbers from 0, also as text, and names; one name alone, too.

    Examples:
        >>> parse_bands(["red", 1, "2"]), parse_bands("B04")
        (('red', 1, 2), ('B04',))
    """
    given = (bands,) if isinstance(bands, str) else bands
    return tuple(band if isinstance(band, str) and not band.strip().isdecimal() else int(band) for band in given)


def parse_value_range(value: object) -> dict[str, Any]:
    """The field of ``Selection`` for a range of pixel values as users write it: two numbers, or two percentiles.

    Raises:
        ImageError: it is neither.

    Examples:
        >>> parse_value_range((0, 4095)), parse_value_range("p1,p99.5"), parse_value_range(None)
        ({'value_range': (0, 4095)}, {'percentiles': (1.0, 99.5)}, {})
    """
    if value is None:
        return {}
    if isinstance(value, str):
        found = re.fullmatch(r"\s*p(\d+(?:\.\d+)?)\s*,\s*p(\d+(?:\.\d+)?)\s*", value)
        if found is None:
            fix = "give two percentiles, such as p1,p99, or two pixel values"
            raise ImageError("value range", f"{value!r} is no range of pixel values", fix=fix)
        return {"percentiles": (float(found[1]), float(found[2]))}
    return {"value_range": value}


def select_index(index: int | None, count: int, *, what: str, where: str) -> int:
    """``index``, or 0 if it is ``None``, checked against the number of entries.

    Args:
        index: as selected.
        count: entries in the file.
        what: the field of ``Selection``: ``"level"``, ``"series"``, ``"z"`` or ``"t"``.
        where: the file, for the error.

    Raises:
        ImageError: the index is too large.

    Examples:
        >>> select_index(None, 3, what="level", where="a.tif"), select_index(2, 3, what="level", where="a.tif")
        (0, 2)
    """
    if index is None:
        return 0
    if index >= count:
        raise ImageError(where, f"{what} {index} does not exist, there are {count}", fix=f"give 0..{count - 1}")
    return index


def check_single(selection: Selection, fields: Sequence[str], *, where: str) -> None:
    """Raises an ImageError if a field selects more than the one series, plane or time that a file has."""
    for field in fields:
        select_index(getattr(selection, field), 1, what=field, where=where)


def select_bands(
    bands: tuple[int | str, ...] | None, count: int, *, where: str, names: Sequence[tuple[str, ...]] = ()
) -> tuple[int, ...]:
    """The numbers of ``bands``, or all if they are ``None``, checked against those that there are.

    Args:
        bands: numbers from 0, or names in letters of any case.
        count: bands of the file.
        where: the file, for the error.
        names: of each band, the one that counts most first; empty if they have none.

    Raises:
        ImageError: a band does not exist, or two have the name.

    Examples:
        >>> select_bands(None, 3, where="a.tif"), select_bands((2, 0), 3, where="a.tif")
        ((0, 1, 2), (2, 0))
        >>> select_bands(("B03", "Red"), 2, where="a.tif", names=[("B04", "red"), ("B03", "green")])
        (1, 0)
    """
    return tuple(range(count)) if bands is None else tuple(_band(band, count, names, where) for band in bands)


def _band(band: int | str, count: int, names: Sequence[tuple[str, ...]], where: str) -> int:
    """The number of a band; of a number that does not exist, the band that is called so."""
    if isinstance(band, int) and band < count:
        return band
    wanted = str(band).strip().casefold()
    for rank in range(max(map(len, names), default=0)):
        found = [i for i, own in enumerate(names) if rank < len(own) and own[rank].casefold() == wanted]
        if len(found) > 1:
            which = ", ".join(map(str, found))
            raise ImageError(where, f"bands {which} are all called {band}", fix="give the number of one")
        if found and wanted:
            return found[0]
    shown = [f"{i} {' or '.join(own)}".strip() for i, own in enumerate(names)]
    known = f": {', '.join(shown)}" if any(names) else ""
    what = f"band {band} does not exist, there are {count}{known}"
    unnamed = isinstance(band, str) and not known
    what += ", without names" if unnamed else ""
    raise ImageError(where, what, fix=f"give bands in 0..{count - 1}" + (", or their names" if known else ""))


def level_mpp(finest: tuple[float, float], sizes: Sequence[tuple[int, int]], level: int) -> tuple[float, float]:
    """Micrometres per pixel (y, x) of a level, from those of the finest and the height and width of each level.

    Examples:
        >>> level_mpp((0.25, 0.25), [(1000, 800), (250, 200)], 1)
        (1.0, 1.0)
    """
    return finest[0] * sizes[0][0] / sizes[level][0], finest[1] * sizes[0][1] / sizes[level][1]


def finer_level(mpps: Sequence[float], wanted: float) -> int:
    """The coarsest level of a pyramid that is not coarser than wanted; the finest if all are coarser.

    A level may be coarser by a thousandth: files round the resolution that they state.

    Args:
        mpps: micrometres per pixel of the levels, finest first.
        wanted: micrometres per pixel.

    Examples:
        >>> finer_level([0.25, 1.0001, 4.0], 1.0), finer_level([0.25, 1.0, 4.0], 0.9), finer_level([0.5], 0.25)
        (1, 0, 0)
    """
    fitting = [level for level, mpp in enumerate(mpps) if mpp <= wanted * 1.001]
    return max(fitting, key=lambda level: mpps[level]) if fitting else 0


def select_level(selection: Selection, count: int, mpps: Sequence[float] | None, *, where: str) -> int:
    """The selected level: by its index, or the coarsest that is not coarser than the selected resolution.

    Args:
        selection: what to read.
        count: levels of the file.
        mpps: micrometres per pixel of each, finest first; ``None`` if the file does not state it.
        where: the file, for the error.

    Raises:
        ImageError: the level does not exist, or a resolution is selected and the file states none.

    Examples:
        >>> select_level(Selection(mpp=1.0), 3, (0.25, 0.5, 2.0), where="a.tif")
        1
    """
    if selection.mpp is None:
        return select_index(selection.level, count, what="level", where=where)
    if mpps is None:
        raise unknown_resolution(selection.mpp, where)
    return finer_level(mpps, selection.mpp)


def unknown_resolution(mpp: float, where: str) -> ImageError:
    """The error for a resolution that is asked of a file which does not state its own."""
    return ImageError(
        where,
        f"{mpp:g} µm/px are wanted, the file does not state its resolution",
        fix="state it by pixel_size= (--pixel-size), or choose by level= or scale= (--level, --scale)",
    )
