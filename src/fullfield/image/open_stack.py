"""Opens several files as the bands of one image: finds its grid, and how each file lies on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from fullfield.errors import ImageError
from fullfield.image.nodata import nodata_of
from fullfield.image.place import (
    IDENTITY,
    between,
    covered_share,
    crs_name,
    is_aligned,
    pixel_length,
    same_crs,
)
from fullfield.image.raster import AffineTransform, Georeference, ImageMetadata, Raster, finest_level
from fullfield.image.resample import resampled
from fullfield.image.selection import Selection, finer_level, select_bands
from fullfield.image.stack import StackedFile, StackRaster
from fullfield.image.stack_names import stack_names

OpenFile = Callable[[str, Selection], Raster]

_FINER = 1.5  # a file whose pixels are so many times smaller than the stack's is averaged first


def open_stack(path: str, selection: Selection, open_file: OpenFile) -> StackRaster:
    """Opens the files of a stack.

    The image has the grid of the file with the smallest pixels, of equal ones the first; the others are resampled to
    it when they are read. Where a file does not reach, its bands hold nothing.

    Args:
        path: of the first file.
        selection: ``stack`` names the others; ``bands`` counts those of all files, one after the other.
        open_file: opens one file.

    Raises:
        ImageError: a file that cannot be read, or does not lie on the others: it has another coordinate system, no
            place, another size where none has a place, or no part in common.
    """
    paths = [path, *selection.stack]
    part = replace(selection, stack=(), bands=None, level=None, mpp=None, pixel_size=None, percentiles=None)
    opened: list[Raster] = []
    try:
        for each in paths:
            opened.append(open_file(each, part))  # noqa: PERF401  those opened before an error are closed
        grid = min(range(len(opened)), key=lambda k: _pixel_length(opened[k]))
        _check_places(opened[grid], opened)
        if selection.level is not None or selection.mpp is not None:
            level = replace(part, level=selection.level, mpp=selection.mpp)
            opened.append(open_file(paths[grid], level))
            opened[grid].close()
            opened[grid] = opened.pop()
        base = opened[grid]
        for k, each in enumerate(paths):
            if k != grid:
                opened[k] = _near_resolution(opened[k], base, each, part, open_file)
        return _stacked(paths, opened, grid, selection)
    except BaseException:
        for raster in opened:
            raster.close()
        raise


def _pixel_length(raster: Raster) -> float:
    at = finest_level(raster).georeference
    return 0.0 if at is None else pixel_length(at.transform)


def _check_places(base: Raster, rasters: list[Raster]) -> None:
    """Raises an ImageError unless all files lie on the one that gives the grid."""
    at, size = base.metadata.georeference, base.shape[:2]
    for raster in rasters:
        other = raster.metadata.georeference
        if (other is None) != (at is None):
            without, having = (raster, base) if other is None else (base, raster)
            what = f"has no place on a map, and {having.name} has one"
            raise ImageError(without.name, what, fix="georeference it, with gdal_edit or a world file")
        if other is None or at is None:
            if raster.shape[:2] != size:
                found = "{}x{} px, and {} has {}x{} px".format(*raster.shape[:2], base.name, *size)
                what = f"has {found}; without a place on a map nothing says how they lie on each other"
                raise ImageError(raster.name, what, fix="resize it to that size, or georeference both")
        else:
            _check_place(raster, other, base, at)


def _check_place(raster: Raster, other: Georeference, base: Raster, at: Georeference) -> None:
    same = other.crs == at.crs or (other.crs is not None and at.crs is not None and same_crs(other.crs, at.crs))
    if not same:
        what = f"is in {crs_name(other.crs)}, and {base.name} in {crs_name(at.crs)}"
        raise ImageError(raster.name, what, fix="bring it to the same coordinate system, with gdalwarp")
    share = covered_share(between(at.transform, other.transform), base.shape[:2], raster.shape[:2])
    if share == 0:
        what = f"does not overlap {base.name}, whose pixels are the image's"
        raise ImageError(raster.name, what, fix="stack files of one scene")


def _near_resolution(raster: Raster, base: Raster, path: str, part: Selection, open_file: OpenFile) -> Raster:
    """The file at its coarsest level that is no coarser than the stack, averaged where that is much finer."""
    share = _scale(raster, base)
    sizes = [raster.shape[0] / size[0] / share for size in raster.metadata.levels] or [1 / share]
    level = finer_level(sizes, 1.0)
    if level:
        raster.close()
        raster = open_file(path, replace(part, level=level))
    share = _scale(raster, base)
    if share < _FINER or part.resampling == "nearest":
        return raster
    height, width, _ = raster.shape
    return resampled(raster, (max(1, round(height / share)), max(1, round(width / share))))


def _scale(raster: Raster, base: Raster) -> float:
    """Px of a file along a pixel of the stack."""
    place, at = raster.metadata.georeference, base.metadata.georeference
    if place is None or at is None:
        return raster.shape[0] / base.shape[0]
    return pixel_length(at.transform) / pixel_length(place.transform)


@dataclass(frozen=True)
class _Band:
    """A band of a stack, by its file and its number there."""

    file: int
    band: int


def _stacked(paths: list[str], rasters: list[Raster], grid: int, selection: Selection) -> StackRaster:
    """The stack of files at the resolution that is read."""
    base = rasters[grid]
    transforms = [_transform(raster, base) for raster in rasters]
    bands = [_Band(k, band) for k, raster in enumerate(rasters) for band in range(raster.shape[2])]
    own = [raster.metadata.band_names or ("",) * raster.shape[2] for raster in rasters]
    titles = [_told(names, own) for names in own]
    names = stack_names(paths, titles)
    chosen = [bands[k] for k in select_bands(selection.bands, len(bands), where=_name(paths), names=names)]
    used = sorted({(each.file, each.band) for each in chosen})
    files = tuple(
        StackedFile(raster, transform, tuple(band for file, band in used if file == k))
        for k, (raster, transform) in enumerate(zip(rasters, transforms, strict=True))
        if any(file == k for file, _ in used)
    )
    for k, raster in enumerate(rasters):
        if not any(file == k for file, _ in used):
            raster.close()
    dtype = np.result_type(*(each.raster.dtype for each in files))
    shares = {
        k: share
        for k, raster in enumerate(rasters)
        if any(file == k for file, _ in used)
        and (share := covered_share(transforms[k], base.shape[:2], raster.shape[:2])) < 1 - 1e-9
    }
    order = tuple(used.index((each.file, each.band)) for each in chosen)
    shown = tuple((*names[bands.index(each)], "")[0] for each in chosen)
    metadata = _metadata(paths, base, files, dtype, shares, selection)
    identity = {
        "stack": [raster.metadata.identity for raster in rasters],
        "bands": [[each.file, each.band] for each in chosen],
        "resampling": selection.resampling,
    }
    metadata = replace(metadata, identity=identity, band_names=shown)
    shape = (*base.shape[:2], len(chosen))
    fill = metadata.nodata if metadata.nodata is not None else float("nan") if dtype.kind == "f" else 0.0
    return StackRaster(_name(paths), shape, dtype, metadata, files, order, selection.resampling, fill)


def _told(names: tuple[str, ...], every: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The names that a file gives its bands; none of a single band where another file calls its own the same."""
    same = len(names) == 1 and (names[0] in ("gray", "grey") or sum(names == other for other in every) > 1)
    return ("",) if same else names


def _name(paths: list[str]) -> str:
    """What a stack is called: its first file, and how many more there are."""
    return paths[0] if len(paths) == 1 else f"{paths[0]} + {len(paths) - 1} more"


def _transform(raster: Raster, base: Raster) -> AffineTransform:
    """From points of the stack to points of a file, in px; exactly none where the grids are one."""
    place, at = raster.metadata.georeference, base.metadata.georeference
    if place is None or at is None:
        y, x = raster.shape[0] / base.shape[0], raster.shape[1] / base.shape[1]
        return (x, 0.0, 0.0, 0.0, y, 0.0)
    found = between(at.transform, place.transform)
    return IDENTITY if is_aligned(found, base.shape[:2]) else found


def _metadata(
    paths: list[str],
    base: Raster,
    files: tuple[StackedFile, ...],
    dtype: np.dtype[Any],
    shares: dict[int, float],
    selection: Selection,
) -> ImageMetadata:
    """That of the file which gives the grid, as far as it holds for all."""
    each = [file.raster.metadata for file in files]
    values = {str(one.nodata) for one in each}
    ranges = {one.value_range for one in each}
    nodata = nodata_of(each[0].nodata, dtype) if len(values) == 1 else None
    notes = [f"{PurePath(paths[k]).name} covers {share:.3g} of it" for k, share in shares.items()]
    kinds = list(dict.fromkeys(str(file.raster.dtype) for file in files))
    notes += [f"{' and '.join(kinds)} read as {dtype}"] if len(kinds) > 1 else []
    others = [file for file in files if file.transform != IDENTITY]
    notes += [f"{len(others)} resampled ({selection.resampling})"] if others else []
    readers = " and ".join(dict.fromkeys(one.reader for one in each))
    return replace(
        base.metadata,
        nodata=float("nan") if dtype.kind == "f" and nodata is None and shares else nodata,
        masked=bool(shares) or any(one.masked for one in each),
        every_band=selection.valid == "all",
        alpha=any(one.alpha for one in each),
        value_range=ranges.pop() if len(ranges) == 1 else None,
        background=None,
        held_bytes=max(one.held_bytes for one in each),
        reader=f"stack of {len(paths)} files, each by {readers}" + "".join(f"; {note}" for note in notes),
    )
