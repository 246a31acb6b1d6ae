"""Score maps at the image's resolution, or any other: cell ``(i, j)`` stays at its window's centre."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.io.export.grid import Grid, Region
from fullfield.io.export.labels import labelled

Method = Literal["nearest", "bilinear", "lanczos"]
_REACH = {"bilinear": 1.0, "lanczos": 3.0}  # of the kernel, in cells
_BANDS_BYTES = 32 << 20  # of bands interpolated together


@dataclass(frozen=True)
class _Axis:
    """Which cells the pixels ``[start, stop)`` of one axis take, in which shares.

    Args:
        nearest: cell nearest to every pixel's centre; outside the map -1 or less, or beyond the last.
        low, high: the cells needed, half-open.
        shares: ``(pixels, high - low)`` for the interpolation, every row's sum 1; none for ``nearest``.
        plain: the same, linear.
    """

    nearest: NDArray[np.intp]
    low: int
    high: int
    shares: NDArray[np.float64] | None
    plain: NDArray[np.float64] | None


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

    def axes(region: Region) -> tuple[_Axis, _Axis]:
        return _axes(grid, spacing, region, method)

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        y, x = axes((top, bottom, left, right))
        out = np.full((1 if labels else grid.shape[0], bottom - top, right - left), fill, dtype)
        if y.low >= y.high or x.low >= x.high:
            return out
        numbers = grid.read(y.low, y.high, x.low, x.high)
        there = _valid(grid, y, x)
        if labels:
            _fill_labels(out, there, _bands(grid, numbers, y, x), grid.classes)
        else:
            for first, values in _bands(grid, numbers, y, x):
                np.copyto(out[first : first + len(values)], values, where=there, casting="same_kind")
        return out

    def valid(top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        return _valid(grid, *axes((top, bottom, left, right)))

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

    def axes(region: Region) -> tuple[_Axis, _Axis]:
        return _axes(grid, spacing, region, "nearest")

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        y, x = axes((top, bottom, left, right))
        out = np.full((grid.shape[0], bottom - top, right - left), grid.fill, grid.dtype)
        if y.low < y.high and x.low < x.high:
            there = _valid(grid, y, x)
            numbers = grid.read(y.low, y.high, x.low, x.high)
            rows, columns = (np.clip(a.nearest - a.low, 0, a.high - a.low - 1) for a in (y, x))
            for band, plane in zip(out, numbers, strict=True):
                np.copyto(band, plane[rows[:, None], columns], where=there)
        return out

    def valid(top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        return _valid(grid, *axes((top, bottom, left, right)))

    return replace(
        grid,
        shape=(grid.shape[0], *size),
        origin=(0.0, 0.0),
        spacing=spacing,
        read=read,
        valid=valid,
        cost_bytes=grid.shape[0] * grid.dtype.itemsize + 16 + _share_of_cells(grid, spacing),
    )


def _axes(grid: Grid, spacing: tuple[float, float], region: Region, method: str) -> tuple[_Axis, _Axis]:
    y, x = (
        _axis(grid.shape[1 + k], grid.origin[k], grid.spacing[k], spacing[k], region[2 * k : 2 * k + 2], method)
        for k in (0, 1)
    )
    return y, x


def _axis(count: int, origin: float, cell: float, pixel: float, span: tuple[int, ...], method: str) -> _Axis:
    """The cells of pixels ``[start, stop)`` that are ``pixel`` px wide, where cells are ``cell`` px wide."""
    start, stop = span
    centres = (np.arange(start, stop) + 0.5) * pixel
    place = np.round((centres - origin) / cell - 0.5, 9)  # in cells; rounded so that a centre is met exactly
    nearest: NDArray[np.intp] = np.floor(place + 0.5).astype(np.intp)
    inside = np.flatnonzero((nearest >= 0) & (nearest < count))
    if not inside.size:
        return _Axis(nearest, 0, 0, None, None)
    if method == "nearest":
        return _Axis(nearest, int(nearest[inside[0]]), int(nearest[inside[-1]]) + 1, None, None)
    wide = max(1.0, pixel / cell)
    reach = math.ceil(_REACH[method] * wide)
    ends = place[inside[[0, -1]]]
    low = max(0, math.floor(ends[0]) - reach + 1)
    high = min(count, math.floor(ends[1]) + reach + 1)
    return _Axis(
        nearest, low, high, _shares(place, wide, method, (low, high)), _shares(place, wide, "bilinear", (low, high))
    )


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
    out = np.zeros((len(y.nearest), len(x.nearest)), np.bool_)
    if y.low >= y.high or x.low >= x.high:
        return out
    known = grid.valid(y.low, y.high, x.low, x.high)
    rows, columns = (np.flatnonzero((a.nearest >= a.low) & (a.nearest < a.high)) for a in (y, x))
    out[rows[:, None], columns] = known[y.nearest[rows, None] - y.low, x.nearest[columns] - x.low]
    return out


def _bands(grid: Grid, numbers: NDArray[Any], y: _Axis, x: _Axis) -> Any:
    """Interpolated bands ``(n, y, x)``, some at a time, each with the index of the first; NaN where there is none."""
    known = grid.valid(y.low, y.high, x.low, x.high)
    pixels = max(1, len(y.nearest) * len(x.nearest))
    some = max(1, _BANDS_BYTES // (24 * pixels))
    for first in range(0, len(numbers), some):
        values = grid.decoded(numbers[first : first + some]).astype(np.float64)
        real = known & np.isfinite(values)
        if real.all():
            yield first, _mix(values, y.shares, x.shares)
        else:
            yield first, _mix_known(values, real, y, x)


def _mix(values: NDArray[np.float64], rows: Any, columns: Any) -> NDArray[np.float64]:
    """``rows @ values @ columns.T`` of every band."""
    mixed: NDArray[np.float64] = rows @ (values @ columns.T)
    return mixed


def _mix_known(values: NDArray[np.float64], real: NDArray[np.bool_], y: _Axis, x: _Axis) -> NDArray[np.float64]:
    """Interpolation where some cells hold nothing: bilinear near these, of the cells that do."""
    values = np.where(real, values, 0.0)
    whole = _mix(values, y.shares, x.shares)
    weight = _mix(real.astype(np.float64), y.plain, x.plain)
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.where(weight > 0, _mix(values, y.plain, x.plain) / weight, np.nan)
    assert y.shares is not None
    assert x.shares is not None
    touched = _mix((~real).astype(np.float64), np.abs(y.shares), np.abs(x.shares)) > 0
    return np.where(touched, near, whole)


def _fill_labels(out: NDArray[Any], there: NDArray[np.bool_], bands: Any, classes: tuple[int, ...]) -> None:
    """The class of the greatest band at every pixel; none where a band has no value."""
    best = np.full(there.shape, -np.inf)
    top = np.zeros(there.shape, np.intp)
    known = there.copy()
    for first, values in bands:
        known &= ~np.isnan(values).any(axis=0)
        index = values.argmax(axis=0)
        greatest = np.take_along_axis(values, index[None], axis=0)[0]
        above = greatest > best
        best[above], top[above] = greatest[above], index[above] + first
    np.copyto(out[0], np.array(classes, out.dtype)[top], where=known)
