"""Resamples score maps to the image's resolution, or any other: each cell stays at its window's centre."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import check_choice
from fullfield.errors import ImageError
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.labels import labelled
from fullfield.geometry.region import Pair
from fullfield.store.reading import argmax_bands

ResampleMethod = Literal["nearest", "bilinear", "lanczos"]
_REACH = {"bilinear": 1.0, "lanczos": 3.0}  # of the kernel, in cells
_BANDS_BYTES = 2 << 20  # of bands interpolated together: what a core's cache holds
_PIECE = 8, 64  # least and greatest number of pixels of an axis whose shares are one matrix
_ROWS_BYTES = 1 << 18  # of one band of the rows interpolated together


@dataclass(frozen=True)
class _Piece:
    """Some pixels of an axis, and the cells that they are computed from.

    Args:
        pixels, cells: which, counted from the first of the axis.
        shares: share of each cell in each pixel ``(pixels, cells)``; every row sums to 1.
        plain: the same for bilinear interpolation.
    """

    pixels: slice
    cells: slice
    shares: NDArray[np.float64]
    plain: NDArray[np.float64]


@dataclass(frozen=True)
class _Axis:
    """The cells that the pixels ``[start, stop)`` of one axis are computed from.

    Args:
        nearest: cell nearest to each pixel's centre, counted from ``low``; arbitrary where ``inside`` is false.
        inside: whether that cell is in the map.
        low, high: the cells needed, half-open.
        pieces: shares for the interpolation; none for ``nearest``.
    """

    nearest: NDArray[np.intp]
    inside: NDArray[np.bool_]
    low: int
    high: int
    pieces: tuple[_Piece, ...] = ()


def resampled(grid: ExportGrid, image: Pair, size: Pair, method: ResampleMethod, *, labels: bool = False) -> ExportGrid:
    """A grid of ``size`` pixels over the whole image, interpolated between the centres of cells.

    A pixel takes its value at its own centre. Beyond the outermost centres the outermost cells extend by half a cell;
    farther out, and where the nearest cell is empty, pixels are empty. Cells without a score have no share in the
    pixels around them: bilinear shares are divided among the other cells; Lanczos is replaced by bilinear there.
    Where pixels are larger than cells, both kernels widen to the pixel, so that every cell counts.

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
        UnsupportedError: more classes than 16 bits can tell apart.

    Source: Duchon 1979, doi 10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2 (Lanczos)
    """
    _check(grid, size, method)
    if method == "nearest" or grid.colours is not None:
        grid = labelled(grid) if labels else grid
        pixels = ResampledGrid(grid, grid, image, size, "nearest")
        mask_bytes = 16
    else:
        floats = np.dtype(np.float64 if grid.dtype == np.float64 else np.float32)
        target = labelled(grid) if labels else replace(grid, dtype=floats, fill=math.nan, scale=1.0, offset=0.0)
        pixels = ResampledGrid(grid, target, image, size, method)
        mask_bytes = 64
    target = pixels.target
    return replace(
        target,
        shape=(target.shape[0], *size),
        origin=(0.0, 0.0),
        spacing=pixels.spacing,
        read=pixels.read,
        valid=pixels.valid,
        cost_bytes=target.shape[0] * target.dtype.itemsize + mask_bytes + pixels.bytes_of_cells,
    )


class ResampledGrid:
    """Reads pixels of a grid of cells.

    Args:
        grid: of cells.
        target: the same with type, fill value and bands of the pixels.
        image: height and width of the original image, px.
        size: height and width of the grid of pixels.
        method: how pixels are computed.
    """

    def __init__(self, grid: ExportGrid, target: ExportGrid, image: Pair, size: Pair, method: ResampleMethod) -> None:
        self.grid, self.target, self.method = grid, target, method
        self.spacing = image[0] / size[0], image[1] / size[1]
        self._last: tuple[tuple[int, ...], NDArray[np.bool_]] | None = None  # region read last, and its valid pixels

    @property
    def bytes_of_cells(self) -> int:
        """Bytes of the cells that are read for one pixel, and as much again for their floats."""
        pixel, cell = math.prod(self.spacing), math.prod(self.grid.spacing)
        return math.ceil(2 * self.grid.cost_bytes * pixel / cell)

    def read(self, *region: int) -> NDArray[Any]:
        """Pixels ``(bands, y, x)`` of a half-open region."""
        y, x = _axes(self.grid, self.spacing, region, self.method)
        target = self.target
        out = np.full((target.shape[0], len(y.nearest), len(x.nearest)), target.fill, target.dtype)
        self._last = None
        if y.low >= y.high or x.low >= x.high:
            return out
        known = self.grid.valid(y.low, y.high, x.low, x.high)
        valid = _valid_pixels(known, y, x)
        self._last = region, valid
        numbers = self.grid.read(y.low, y.high, x.low, x.high)
        if self.method == "nearest":
            for band, plane in zip(out, numbers, strict=True):
                np.copyto(band, plane.take(x.nearest, 1).take(y.nearest, 0), where=valid)
            return out
        for piece in y.pieces:
            strips = _strips(self.grid, numbers, known, piece, x)
            part, where = out[:, piece.pixels], valid[piece.pixels]
            if target.colours is not None:
                _fill_labels(part[0], where, strips, self.grid.classes)
                continue
            for first, values in strips:
                np.copyto(part[first : first + len(values)], values, where=where, casting="same_kind")
        return out

    def valid(self, *region: int) -> NDArray[np.bool_]:
        """Which pixels ``(y, x)`` of a region lie in a cell that is not empty; cached for the region read last."""
        if self._last is not None and self._last[0] == region:
            return self._last[1]
        y, x = _axes(self.grid, self.spacing, region, self.method)
        if y.low >= y.high or x.low >= x.high:
            return np.zeros((len(y.nearest), len(x.nearest)), np.bool_)
        return _valid_pixels(self.grid.valid(y.low, y.high, x.low, x.high), y, x)


def _check(grid: ExportGrid, size: tuple[int, int], method: str) -> None:
    check_choice("resample", method, get_args(ResampleMethod), ImageError)
    if min(size) < 1:
        raise ImageError("size", f"{size} has a side below 1 px", fix="give height and width in px")
    if grid.colours is not None and method != "nearest":
        raise ImageError("resample", f"{method} has no meaning for labels", fix="use nearest, or scan for scores")


def _axes(grid: ExportGrid, spacing: tuple[float, float], region: tuple[int, ...], method: str) -> tuple[_Axis, _Axis]:
    rows = _ROWS_BYTES // (8 * max(1, region[3] - region[2]))
    y, x = (
        _axis(grid.shape[1 + k], (grid.origin[k], grid.spacing[k], spacing[k]), region[2 * k : 2 * k + 2], method, most)
        for k, most in ((0, rows), (1, _PIECE[1]))
    )
    return y, x


def _axis(count: int, lies: tuple[float, float, float], span: tuple[int, ...], method: str, most: int) -> _Axis:
    """The cells of pixels ``[start, stop)``, ``most`` of these in a piece.

    ``lies`` is the start of the first cell, the width of a cell and that of a pixel, in px of the original image.
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
    """Some pixels of an axis; ``span`` is the half-open range of cells that were read."""
    low, high = span
    some, reach = place[pixels], math.ceil(_REACH[method] * wide)
    first = min(max(math.floor(some[0]) - reach + 1, low), high - 1)
    last = max(min(math.floor(some[-1]) + reach + 1, high), first + 1)
    shares, plain = (_shares(some, wide, kind, (first, last)) for kind in (method, "bilinear"))
    return _Piece(pixels, slice(first - low, last - low), shares, plain)


def _shares(place: NDArray[np.float64], wide: float, method: str, span: tuple[int, int]) -> NDArray[np.float64]:
    """Share of each cell of ``span`` in the value at each place; beyond the map, its outermost cell counts."""
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


def _valid_pixels(known: NDArray[np.bool_], y: _Axis, x: _Axis) -> NDArray[np.bool_]:
    """Which pixels have a nearest cell that is in the map and holds something; ``known`` says which cells do."""
    inside: NDArray[np.bool_] = y.inside[:, None] & x.inside
    if not known.all():
        inside &= known.take(x.nearest, 1).take(y.nearest, 0)
    return inside


def _strips(
    grid: ExportGrid, numbers: NDArray[Any], known: NDArray[np.bool_], rows: _Piece, x: _Axis
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Interpolated bands ``(n, y, x)`` of some rows, a few at a time, with the index of the first; NaN for none."""
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
    """``rows @ values @ columns.T`` of each band, where ``columns`` is zero except for each piece's own cells."""
    across = np.empty((*values.shape[:2], columns[-1][0].pixels.stop))
    for piece, shares in columns:
        np.matmul(values[:, :, piece.cells], shares.T, out=across[:, :, piece.pixels])
    mixed: NDArray[np.float64] = np.matmul(rows, across)
    return mixed


def _mix_known(values: NDArray[np.float64], real: NDArray[np.bool_], rows: _Piece, x: _Axis) -> NDArray[np.float64]:
    """Interpolation where some cells are empty: near these, bilinear between the other cells."""
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
    """The class of the greatest band at each pixel; left as it is where a band has no value."""
    top, known = argmax_bands(band for _, values in bands for band in values)
    np.copyto(out, np.array(classes, out.dtype).take(top), where=there & known)
