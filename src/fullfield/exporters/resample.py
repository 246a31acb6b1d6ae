"""Score maps at the image's resolution, or any other: cell ``(i, j)`` stays at its window's centre."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.exporters.grid import Grid
from fullfield.exporters.labels import labelled
from fullfield.geometry.region import Region
from fullfield.store.reading import greatest

Method = Literal["nearest", "bilinear", "lanczos"]
_REACH = {"bilinear": 1.0, "lanczos": 3.0}  # of the kernel, in cells
_BANDS_BYTES = 2 << 20  # of bands interpolated together: what a core's cache holds
_PIECE = 8, 64  # pixels of an axis whose shares are one matrix, at least and at most
_ROWS_BYTES = 1 << 18  # of one band of the rows interpolated together


@dataclass(frozen=True)
class _Piece:
    """Some pixels of an axis, and the cells that they take.

    Args:
        pixels, cells: which, from the first of the axis on.
        shares: ``(pixels, cells)`` of every cell in every pixel; a row's sum is 1.
        plain: the same, linear.
    """

    pixels: slice
    cells: slice
    shares: NDArray[np.float64]
    plain: NDArray[np.float64]


@dataclass(frozen=True)
class _Axis:
    """Which cells the pixels ``[start, stop)`` of one axis take, in which shares.

    Args:
        nearest: cell nearest to every pixel's centre, from ``low`` on; any where ``inside`` is false.
        inside: whether that cell is in the map.
        low, high: the cells needed, half-open.
        pieces: for the interpolation; none for ``nearest``.
    """

    nearest: NDArray[np.intp]
    inside: NDArray[np.bool_]
    low: int
    high: int
    pieces: tuple[_Piece, ...] = ()


def resampled(
    grid: Grid, image: tuple[int, int], size: tuple[int, int], method: Method, *, labels: bool = False
) -> Grid:
    """A grid of ``size`` pixels over the whole image, interpolated between the centres of cells.

    A pixel takes its value at its own centre. Beyond the outermost centres the outermost cells go on for half a cell;
    farther out, and where the nearest cell holds nothing, there is nothing. Cells without a score have no share in
    their neighbours' pixels: bilinear shares are divided among the others; Lanczos gives way to bilinear there.
    Where pixels are larger than cells, both kernels widen to the pixel, so that no cell is passed over.

        bilinear: a map that is linear in y and x comes out linear at every pixel between centres
        lanczos:  windowed sinc of radius 3 cells; passes through the cells' values at their centres, may overshoot

    Args:
        grid: what to resample.
        image: height and width of the original image, px.
        size: height and width wanted, px; the image's own for its resolution.
        method: ``nearest`` keeps the stored numbers, the others give floats.
        labels: the class with the greatest interpolated score instead of the scores.

    Raises:
        ImageError: an unknown method, no such size, or labels that would be interpolated.
        UnsupportedError: more classes than 16 bits name.

    Source: Duchon 1979, doi 10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2 (Lanczos)
    """
    _check(grid, size, method)
    if method == "nearest" or grid.colours is not None:
        return _nearest(labelled(grid) if labels else grid, image, size)
    kind = np.float64 if grid.dtype == np.float64 else np.float32
    target = labelled(grid) if labels else None
    dtype = np.dtype(kind) if target is None else target.dtype
    fill = math.nan if target is None else target.fill
    spacing = _spacing(image, size)

    there_at: dict[Region, NDArray[np.bool_]] = {}  # of the block read last: its mask is asked for next

    def read(*region: int) -> NDArray[Any]:
        y, x = _axes(grid, spacing, region, method)
        out = np.full((1 if labels else grid.shape[0], len(y.nearest), len(x.nearest)), fill, dtype)
        there_at.clear()
        if y.low >= y.high or x.low >= x.high:
            return out
        known = grid.valid(y.low, y.high, x.low, x.high)
        there_at[region[0], region[1], region[2], region[3]] = there = _there(known, y, x)
        numbers = grid.read(y.low, y.high, x.low, x.high)
        for piece in y.pieces:
            strips = _strips(grid, numbers, known, piece, x)
            part, where = out[:, piece.pixels], there[piece.pixels]
            if labels:
                _fill_labels(part[0], where, strips, grid.classes)
                continue
            for first, values in strips:
                np.copyto(part[first : first + len(values)], values, where=where, casting="same_kind")
        return out

    def valid(*region: int) -> NDArray[np.bool_]:
        known = there_at.get((region[0], region[1], region[2], region[3]))
        return _valid(grid, *_axes(grid, spacing, region, method)) if known is None else known

    per_pixel = dtype.itemsize * (1 if labels else grid.shape[0]) + 64
    return replace(
        target or grid,
        shape=(1 if labels else grid.shape[0], *size),
        dtype=dtype,
        fill=fill,
        origin=(0.0, 0.0),
        spacing=spacing,
        read=read,
        valid=valid,
        scale=1.0,
        offset=0.0,
        cost_bytes=per_pixel + _share_of_cells(grid, spacing),
    )


def _check(grid: Grid, size: tuple[int, int], method: str) -> None:
    if method not in get_args(Method):
        raise ImageError("resample", f"{method!r} is not known", fix=f"use one of {', '.join(get_args(Method))}")
    if min(size) < 1:
        raise ImageError("size", f"{size} has a side below 1 px", fix="give height and width in px")
    if grid.colours is not None and method != "nearest":
        raise ImageError("resample", f"{method} has no meaning for labels", fix="use nearest, or scan for scores")


def _spacing(image: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    return image[0] / size[0], image[1] / size[1]


def _share_of_cells(grid: Grid, spacing: tuple[float, float]) -> int:
    """Bytes of cells read for every pixel, and as much again for their floats."""
    return math.ceil(2 * grid.cost_bytes * spacing[0] * spacing[1] / (grid.spacing[0] * grid.spacing[1]))


def _nearest(grid: Grid, image: tuple[int, int], size: tuple[int, int]) -> Grid:
    spacing = _spacing(image, size)

    def read(*region: int) -> NDArray[Any]:
        y, x = _axes(grid, spacing, region, "nearest")
        out = np.full((grid.shape[0], len(y.nearest), len(x.nearest)), grid.fill, grid.dtype)
        if y.low < y.high and x.low < x.high:
            there = _there(grid.valid(y.low, y.high, x.low, x.high), y, x)
            for band, plane in zip(out, grid.read(y.low, y.high, x.low, x.high), strict=True):
                np.copyto(band, plane.take(x.nearest, 1).take(y.nearest, 0), where=there)
        return out

    def valid(*region: int) -> NDArray[np.bool_]:
        return _valid(grid, *_axes(grid, spacing, region, "nearest"))

    return replace(
        grid,
        shape=(grid.shape[0], *size),
        origin=(0.0, 0.0),
        spacing=spacing,
        read=read,
        valid=valid,
        cost_bytes=grid.shape[0] * grid.dtype.itemsize + 16 + _share_of_cells(grid, spacing),
    )


def _axes(grid: Grid, spacing: tuple[float, float], region: tuple[int, ...], method: str) -> tuple[_Axis, _Axis]:
    rows = _ROWS_BYTES // (8 * max(1, region[3] - region[2]))
    y, x = (
        _axis(grid.shape[1 + k], (grid.origin[k], grid.spacing[k], spacing[k]), region[2 * k : 2 * k + 2], method, most)
        for k, most in ((0, rows), (1, _PIECE[1]))
    )
    return y, x


def _axis(count: int, lies: tuple[float, float, float], span: tuple[int, ...], method: str, most: int) -> _Axis:
    """The cells of pixels ``[start, stop)``, ``most`` of these in a piece.

    ``lies`` is where the first cell begins, how wide cells are, and how wide pixels, in px of the original image.
    """
    (origin, cell, pixel), (start, stop) = lies, span
    centres = (np.arange(start, stop) + 0.5) * pixel
    place = np.round((centres - origin) / cell - 0.5, 9)  # in cells; rounded so that a centre is met exactly
    nearest: NDArray[np.intp] = np.floor(place + 0.5).astype(np.intp)
    inside = (nearest >= 0) & (nearest < count)
    if not inside.any():
        return _Axis(nearest, inside, 0, 0)
    within = nearest[inside]
    if method == "nearest":
        low, high = int(within[0]), int(within[-1]) + 1
        return _Axis(np.clip(nearest - low, 0, high - low - 1), inside, low, high)
    wide = max(1.0, pixel / cell)
    reach = math.ceil(_REACH[method] * wide)
    ends = place[inside]
    low = max(0, math.floor(ends[0]) - reach + 1)
    high = min(count, math.floor(ends[-1]) + reach + 1)
    side = max(
        _PIECE[0], min(_PIECE[1], most, round(8 * cell / pixel))
    )  # the wider the cells, the more pixels share the same few
    parts = (slice(first, min(first + side, len(place))) for first in range(0, len(place), side))
    pieces = tuple(_piece(place, part, wide, method, (low, high)) for part in parts)
    return _Axis(np.clip(nearest - low, 0, high - low - 1), inside, low, high, pieces)


def _piece(place: NDArray[np.float64], pixels: slice, wide: float, method: str, span: tuple[int, int]) -> _Piece:
    """Some pixels of an axis; ``span`` are the cells that are there."""
    low, high = span
    some, reach = place[pixels], math.ceil(_REACH[method] * wide)
    first = min(max(math.floor(some[0]) - reach + 1, low), high - 1)
    last = max(min(math.floor(some[-1]) + reach + 1, high), first + 1)
    shares, plain = (_shares(some, wide, kind, (first, last)) for kind in (method, "bilinear"))
    return _Piece(pixels, slice(first - low, last - low), shares, plain)


def _shares(place: NDArray[np.float64], wide: float, method: str, span: tuple[int, int]) -> NDArray[np.float64]:
    """Share of every cell of ``span`` in the value at every place; cells beyond the map are its outermost."""
    low, high = span
    reach = math.ceil(_REACH[method] * wide)
    index = np.floor(place).astype(np.intp)[:, None] + np.arange(1 - reach, reach + 1)
    distance = (place[:, None] - index) / wide
    if method == "bilinear":
        share = np.clip(1 - np.abs(distance), 0, None)
    else:
        share = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    share /= share.sum(axis=1, keepdims=True)
    out = np.zeros((len(place), high - low))
    np.add.at(out, (np.arange(len(place))[:, None], np.clip(index, low, high - 1) - low), share)
    return out


def _valid(grid: Grid, y: _Axis, x: _Axis) -> NDArray[np.bool_]:
    """Which pixels' nearest cell is in the map and holds something."""
    if y.low >= y.high or x.low >= x.high:
        return np.zeros((len(y.nearest), len(x.nearest)), np.bool_)
    return _there(grid.valid(y.low, y.high, x.low, x.high), y, x)


def _there(known: NDArray[np.bool_], y: _Axis, x: _Axis) -> NDArray[np.bool_]:
    """The same of cells that are read already."""
    inside: NDArray[np.bool_] = y.inside[:, None] & x.inside
    if not known.all():
        inside &= known.take(x.nearest, 1).take(y.nearest, 0)
    return inside


def _strips(
    grid: Grid, numbers: NDArray[Any], known: NDArray[np.bool_], rows: _Piece, x: _Axis
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Interpolated bands ``(n, y, x)`` of some rows, a few at a time, each with the index of the first.

    NaN where there is none.
    """
    some = max(1, _BANDS_BYTES // (8 * len(rows.shares) * len(x.nearest)))
    known = known[rows.cells]
    for first in range(0, len(numbers), some):
        values = grid.decoded(numbers[first : first + some, rows.cells]).astype(np.float64)
        real = known & np.isfinite(values)
        if real.all():
            yield first, _mix(values, rows.shares, [(piece, piece.shares) for piece in x.pieces])
        else:
            yield first, _mix_known(values, real, rows, x)


def _mix(
    values: NDArray[np.float64], rows: NDArray[np.float64], columns: list[tuple[_Piece, NDArray[np.float64]]]
) -> NDArray[np.float64]:
    """``rows @ values @ columns.T`` of every band, where ``columns`` is zero but for the pieces' own cells."""
    across = np.empty((*values.shape[:2], columns[-1][0].pixels.stop))
    for piece, shares in columns:
        np.matmul(values[:, :, piece.cells], shares.T, out=across[:, :, piece.pixels])
    mixed: NDArray[np.float64] = np.matmul(rows, across)
    return mixed


def _mix_known(values: NDArray[np.float64], real: NDArray[np.bool_], rows: _Piece, x: _Axis) -> NDArray[np.float64]:
    """Interpolation where some cells hold nothing: bilinear near these, of the cells that do."""
    values = np.where(real, values, 0.0)
    shares, plain = ([(p, getattr(p, kind)) for p in x.pieces] for kind in ("shares", "plain"))
    whole = _mix(values, rows.shares, shares)
    weight = _mix(real.astype(np.float64), rows.plain, plain)
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.where(weight > 0, _mix(values, rows.plain, plain) / weight, np.nan)
    reached = [(piece, np.abs(piece.shares)) for piece in x.pieces]
    touched = _mix((~real).astype(np.float64), np.abs(rows.shares), reached) > 0
    return np.where(touched, near, whole)


def _fill_labels(
    out: NDArray[Any],
    there: NDArray[np.bool_],
    bands: Iterator[tuple[int, NDArray[np.float64]]],
    classes: tuple[int, ...],
) -> None:
    """The class of the greatest band at every pixel; none where a band has no value."""
    top, known = greatest(band for _, values in bands for band in values)
    np.copyto(out, np.array(classes, out.dtype).take(top), where=there & known)
