"""Reads scores of a map, in memory or on disk: by class and slice, a chunk at a time, and as labels."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair, Region
from fullfield.store.classes import find_band
from fullfield.store.encoding import activated, still_to_apply
from fullfield.store.levels import level_grid
from fullfield.store.maps import Activation, ScoreMap, decoded

Cells = int | slice | None
"""Rows or columns: one, some, or all."""


def read_scores(scores: ScoreMap, key: object) -> NDArray[np.floating]:
    """Scores of some classes, rows and columns; ``Scores.__getitem__`` describes the key."""
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > 3:
        raise GeometryError("scores", f"{len(parts)} indices, there are 3 axes", fix="give class, rows and columns")
    cls, rows, columns = [*parts, None, None, None][:3]
    count, height, width = scores.spec.shape
    within: int | slice
    if isinstance(cls, (int, str, np.integer)):
        band = find_band(scores.spec, cls)  # type: ignore[arg-type]  # an integer of NumPy is one
        bands, within = slice(band, band + 1), 0
    else:
        bands, within = span("class", cls, count)
    (y, i), (x, j) = span("row", rows, height), span("column", columns, width)
    block = decoded(scores.read(y.start, y.stop, x.start, x.stop, bands), scores.spec)
    return np.asarray(block[within, i, j])


def read_valid(scores: ScoreMap, rows: Cells, columns: Cells) -> NDArray[np.bool_]:
    """Which of some rows and columns have scores."""
    _, height, width = scores.spec.shape
    (y, i), (x, j) = span("row", rows, height), span("column", columns, width)
    return np.asarray(scores.valid(y.start, y.stop, x.start, x.stop)[i, j])


def span(name: str, key: object, count: int) -> tuple[slice, int | slice]:
    """The half-open range of an axis that an index or a slice needs, and its index within that range.

    Raises:
        GeometryError: the index is outside the axis, or is none.

    Examples:
        >>> span("row", -1, 9), span("row", slice(2, 9, 3), 9)
        ((slice(8, 9, None), 0), (slice(2, 9, None), slice(None, None, 3)))
    """
    if key is None:
        return slice(0, count), slice(None)
    if isinstance(key, slice):
        start, stop, step = key.indices(count)
        chosen = range(start, stop, step)
        low, high = (min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1) if chosen else (0, 0)
        within = slice(None) if step == 1 else slice(None, None, step)
        return slice(low, high), within
    try:
        index = operator.index(key)  # type: ignore[arg-type]  # whatever it is
    except TypeError:
        raise GeometryError(name, f"{key!r} is no index", fix="give an integer, a slice or None") from None
    if not -count <= index < count:
        raise GeometryError(name, f"{index} is not one of {count}", fix=f"give -{count} to {count - 1}")
    index %= count
    return slice(index, index + 1), 0


def iter_chunks(scores: ScoreMap) -> Iterator[tuple[int, int, Iterator[tuple[int, NDArray[np.floating]]]]]:
    """All scores, an inner chunk at a time; ``Scores.iter_chunks`` describes them."""
    bands, rows, columns = scores.spec.shape
    depth, height, width = level_grid(scores.spec, 0).chunk
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            edges = top, min(top + height, rows), left, min(left + width, columns)
            chunks = (slice(first, min(first + depth, bands)) for first in range(0, bands, depth))
            yield top, left, ((c.start, decoded(scores.read(*edges, c), scores.spec)) for c in chunks)


def top_labels(scores: ScoreMap) -> NDArray[np.int32]:
    """The network's index of the top class at every cell, -1 where a score is missing. Shape: ``(y, x)``"""
    spec = scores.spec
    found = np.full(spec.shape[1:], -1, np.int32)
    codes = np.array(spec.classes, np.int32)
    for top, left, parts in iter_chunks(scores):
        bands = (band for _, block in parts for band in block)
        if spec.kind == "labels":
            best = next(bands)
            known = ~np.isnan(best)
        else:
            index, known = argmax_bands(bands)
            best = codes[index]
        place = found[top : top + known.shape[0], left : left + known.shape[1]]
        place[known] = best[known]
    return found


def argmax_bands(bands: Iterator[NDArray[np.generic]]) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Index of the greatest of some bands ``(y, x)`` at every cell, the first of equal ones; and where none is NaN.

    Each band takes three passes over many cells at once; ``argmax`` along the first axis takes ten times as long.

    Examples:
        >>> argmax_bands(iter(np.array([[[1.0, 5.0, 2.0]], [[1.0, 6.0, np.nan]]])))
        (array([[0, 1, 0]], dtype=uint16), array([[ True,  True, False]]))
    """
    best = next(bands).copy()
    top = np.zeros(best.shape, np.uint16)
    for number, band in enumerate(bands, 1):
        np.copyto(top, number, where=band > best)  # type: ignore[operator]  # of numbers
        np.maximum(best, band, out=best)  # keeps NaN
    return top, best == best


def stored_labels(scores: ScoreMap, top: int, bottom: int) -> NDArray[np.int32]:
    """Some rows of a map of labels: the network's index of the class, -1 where there is none. Shape: ``(y, x)``"""
    (numbers,) = scores.read(top, bottom, 0, scores.spec.shape[2])
    return np.where(numbers == numbers.dtype.type(scores.spec.fill), -1, numbers.astype(np.int32))


def class_map(scores: ScoreMap, band: int, activation: Activation | None) -> NDArray[np.floating]:
    """Scores ``(y, x)`` of one band; ``Scores.class_map`` describes the activation."""
    return class_rows(scores, band, activation, 0, scores.spec.shape[1])


def class_rows(
    scores: ScoreMap, band: int, activation: Activation | None, top: int, bottom: int
) -> NDArray[np.floating]:
    """Some rows of the scores ``(y, x)`` of one band, which alone is read unless softmax needs all.

    Raises:
        ImageError: an unknown activation, one that the scores went through already, or softmax of some classes.
    """
    spec = scores.spec
    columns, one = spec.shape[2], slice(band, band + 1)
    if activation is None:
        (plain,) = decoded(scores.read(top, bottom, 0, columns, one), spec)
        return np.asarray(plain)
    if activation not in ("softmax", "sigmoid"):
        raise ImageError("activation", f"{activation!r} is not known", fix="use softmax, sigmoid or None")
    if still_to_apply(activation, spec) is None:
        raise ImageError("activation", f"the scores are {activation} probabilities already", fix="leave it out")
    out = np.empty((bottom - top, columns), spec.dtype if spec.dtype.startswith("float") else np.float32)
    _, height, width = level_grid(spec, 0).chunk
    for y, y_end in _parts(top, bottom, height):
        for x, x_end in _parts(0, columns, width):
            region = y, y_end, x, x_end
            part = out[y - top : y_end - top, x:x_end]
            if activation == "softmax":
                part[:] = _softmax(scores, band, region)
            else:
                part[:] = activated(decoded(scores.read(*region, one), spec), activation)[0]
    return out


def _parts(start: int, stop: int, side: int) -> Iterator[tuple[int, int]]:
    """A range cut at the multiples of ``side``."""
    while start < stop:
        end = min(stop, (start // side + 1) * side)
        yield start, end
        start = end


def _softmax(scores: ScoreMap, band: int, region: Region) -> NDArray[np.float64]:
    """Probability ``(y, x)`` of one band among all; some bands are in memory at a time, and are read twice.

    The sum runs over the bands in their order, as in ``activated``.
    """
    spec = scores.spec
    depth = level_grid(spec, 0).chunk[0]

    def planes() -> Iterator[NDArray[np.float64]]:
        for first in range(0, spec.shape[0], depth):
            for plane in decoded(scores.read(*region, slice(first, min(first + depth, spec.shape[0]))), spec):
                yield plane.astype(np.float64)

    greatest = functools.reduce(np.maximum, planes())
    total = np.zeros_like(greatest)
    found = total
    with np.errstate(invalid="ignore"):  # infinite scores have no softmax
        for number, plane in enumerate(planes()):
            raised = np.exp(plane - greatest)
            total += raised
            found = raised if number == band else found
        return np.asarray(found / total)


def coarse(scores: ScoreMap, side: int) -> ScoreMap:
    """The finest level with at most ``side`` cells a side, else the coarsest."""
    longest = max(scores.spec.shape[1:])
    fits = (number for number in range(scores.levels) if -(-longest // 2**number) <= side)
    return scores.level(next(fits, scores.levels - 1))


def nearest_cell(placement: Placement, y: float, x: float) -> Pair:
    """The cell whose centre is nearest to a point of the original image, in pixel edges.

    Raises:
        ImageError: no cell covers the point.
    """
    top, left, bottom, right = placement.footprint()
    if not (top <= y <= bottom and left <= x <= right):
        raise ImageError(
            f"point y={y:g}, x={x:g}",
            f"lies outside the scores, which cover y {top:g}..{bottom:g}, x {left:g}..{right:g}",
            fix="give a point inside these bounds",
        )
    place = zip(placement.cell(y, x), placement.shape, strict=True)
    i, j = (min(max(math.floor(cell + 0.5), 0), count - 1) for cell, count in place)
    return i, j
