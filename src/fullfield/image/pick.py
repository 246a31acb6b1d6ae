"""What of a file is wanted: one image of its series, one level of its pyramid, one plane of its stack, some bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fullfield.errors import ImageError


@dataclass(frozen=True)
class Pick:
    """Which part of a file to open; ``None`` leaves the choice to the reader (the first, the finest, all).

    Args:
        level: index into the pyramid, 0 is the finest.
        mpp: micrometres per pixel wanted, instead of a level.
        bands: channels to keep, in this order, counted from 0.
        series: index of the image, where a file holds several.
        z: index of the plane of a stack.
        t: index of the time point.

    Raises:
        ImageError: both a level and a resolution, or a number that cannot be.
    """

    level: int | None = None
    mpp: float | None = None
    bands: tuple[int, ...] | None = None
    series: int | None = None
    z: int | None = None
    t: int | None = None

    def __post_init__(self) -> None:
        if self.level is not None and self.mpp is not None:
            raise ImageError(
                "level, mpp", f"level {self.level} and {self.mpp:g} µm/px exclude each other", fix="give one of them"
            )
        if self.mpp is not None and not 0 < self.mpp < float("inf"):
            raise ImageError("mpp", f"{self.mpp:g} µm/px is not a positive number", fix="give one such as 0.5")
        if self.bands == ():
            raise ImageError("bands", "none is picked", fix="give at least one, counted from 0, or leave it out")
        numbers = {"level": self.level, "series": self.series, "z": self.z, "t": self.t}
        numbers |= {f"bands[{i}]": band for i, band in enumerate(self.bands or ())}
        for name, index in numbers.items():
            if index is not None and index < 0:
                raise ImageError(name, f"{index} is below 0", fix="count from 0")


def picked(index: int | None, count: int, *, what: str, where: str) -> int:
    """``index``, 0 where it is ``None``, checked against how many there are.

    Args:
        index: as picked.
        count: how many the file has.
        what: the name of the choice: ``"level"``, ``"series"``, ``"z"`` or ``"t"``.
        where: the file, for the error.

    Raises:
        ImageError: there is no such one.

    Examples:
        >>> picked(None, 3, what="level", where="a.tif"), picked(2, 3, what="level", where="a.tif")
        (0, 2)
    """
    if index is None:
        return 0
    if index >= count:
        raise ImageError(where, f"{what} {index} does not exist, there are {count}", fix=f"give 0..{count - 1}")
    return index


def picked_bands(bands: tuple[int, ...] | None, count: int, *, where: str) -> tuple[int, ...]:
    """The bands picked, all of them where it is ``None``, checked against how many there are.

    Raises:
        ImageError: there is no such band.

    Examples:
        >>> picked_bands(None, 3, where="a.tif"), picked_bands((2, 0), 3, where="a.tif")
        ((0, 1, 2), (2, 0))
    """
    for band in bands or ():
        if band >= count:
            raise ImageError(
                where, f"band {band} does not exist, there are {count}", fix=f"give bands in 0..{count - 1}"
            )
    return tuple(range(count)) if bands is None else bands


def finer_level(mpps: Sequence[float], wanted: float) -> int:
    """Of the levels of a pyramid the coarsest that is no coarser than wanted; the finest if all are.

    A thousandth is forgiven: files round what they say of their resolution.

    Args:
        mpps: micrometres per pixel of the levels, finest first.
        wanted: micrometres per pixel.

    Examples:
        >>> finer_level([0.25, 1.0001, 4.0], 1.0), finer_level([0.25, 1.0, 4.0], 0.9), finer_level([0.5], 0.25)
        (1, 0, 0)
    """
    fitting = [level for level, mpp in enumerate(mpps) if mpp <= wanted * 1.001]
    return max(fitting, key=lambda level: mpps[level]) if fitting else 0


def picked_level(pick: Pick, count: int, mpps: Sequence[float] | None, *, where: str) -> int:
    """The level that is wanted: by its index, or the coarsest that is no coarser than the resolution wanted.

    Args:
        pick: what is wanted.
        count: levels of the file.
        mpps: micrometres per pixel of each, finest first; ``None`` where the file does not say.
        where: the file, for the error.

    Raises:
        ImageError: no such level, or a resolution is wanted and the file says none.

    Examples:
        >>> picked_level(Pick(mpp=1.0), 3, (0.25, 0.5, 2.0), where="a.tif")
        1
    """
    if pick.mpp is None:
        return picked(pick.level, count, what="level", where=where)
    if mpps is None:
        raise ImageError(
            where,
            f"{pick.mpp:g} µm/px are wanted, the file does not say its own resolution",
            fix="choose by level= or scale= (--level, --scale)",
        )
    return finer_level(mpps, pick.mpp)
