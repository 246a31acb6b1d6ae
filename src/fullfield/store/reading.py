"""Reads scores of a map, in memory or on disk: by class and slice, a chunk at a time, and as labels."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair
from fullfield.store.classes import find_band
from fullfield.store.encoding import activated, missing_activation
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


def class_map(scores: ScoreMap, band: int, activation: Activation | None) -> NDArray[np.floating]:
    """Scores ``(y, x)`` of one band; ``Scores.class_map`` describes the activation."""
    spec = scores.spec
    _, rows, columns = spec.shape
    if activation is None:
        (plain,) = decoded(scores.read(0, rows, 0, columns, slice(band, band + 1)), spec)
        return np.asarray(plain)
    if activation not in ("softmax", "sigmoid"):
        raise ImageError("activation", f"{activation!r} is not known", fix="use softmax, sigmoid or None")
    if missing_activation(activation, spec.went_through) is None:
        raise ImageError("activation", f"the scores are {activation} probabilities already", fix="leave it out")
    out = np.empty((rows, columns), spec.dtype if spec.dtype.startswith("float") else np.float32)
    _, height, width = level_grid(spec, 0).chunk
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            right = min(left + width, columns)
            block = decoded(scores.read(top, min(top + height, rows), left, right), spec)
            for i in range(block.shape[1]):
                out[top + i, left:right] = activated(block[:, i], activation)[band]
    return out


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
