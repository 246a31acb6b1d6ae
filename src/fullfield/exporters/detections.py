"""Finds detections in a map: cells above a threshold, or cells of a top class, strip by strip."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import check_choice, checks_fields
from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.errors import ImageError
from fullfield.exporters.coordinates import Coordinates
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.maxima import CellIndices, Maxima, Plateaus, local_maxima, reach_of
from fullfield.mask.geojson import MaskCoordinates

Rows = Literal["windows", "regions", "points"]
_STRIP_BYTES = 32 << 20
_STRIP_ROWS = 256


@checks_fields
@dataclass(frozen=True)
class Detections:
    """Which cells are detections, and how they are drawn.

    Args:
        threshold: least score of a detection, for each class by itself; by default, a cell is a detection of its top
            class.
        rows: what an object of the file is. ``regions``, the default but for tables, are cells of detections that share
            a side; ``points`` the window centre of each; ``windows``, the default of tables, are all windows with
            scores, each with those of every class.
        coordinates: ``image`` in px of the original image, from its top left corner, x right and y down, as QuPath
            reads them; ``map`` in the image's coordinate system; ``wgs84`` in degrees, as RFC 7946 requires; ``auto``
            is ``map`` where the image has a place on one. Tables give all that are known.
        min_distance: keep only points that have no greater one of their class within so many px of the image; of
            equal ones, linked in a chain of such distances, the first in reading order.
        clip: cut objects to the polygons of this file (GeoJSON, ``.gpkg``, ``.fgb``, ``.shp``), whose coordinates are
            found out as those of a mask; their scores stay those of the whole.
        clip_coordinates: of these polygons: ``image``, ``map``, or ``auto``, which finds out.
    """

    threshold: float | None = None
    rows: Rows | None = None
    coordinates: Coordinates = "auto"
    min_distance: float | None = None
    clip: str | os.PathLike[str] | None = None
    clip_coordinates: MaskCoordinates = "auto"


def check_detections(grid: ExportGrid, detections: Detections, rows: str) -> None:
    """Raises if options are unknown, exclude each other or do not apply to the map.

    Raises:
        ImageError: one of these.
    """
    check_choice("rows", rows, get_args(Rows), ImageError)
    check_threshold(detections.threshold, labels=grid.colours is not None)
    distance = detections.min_distance
    if distance is None:
        return
    if rows != "points" or grid.colours is not None:
        raise ImageError("min_distance", "is for points of a map of scores", fix='leave it out, or pass rows="points"')
    if not (math.isfinite(distance) and distance > 0):
        raise ImageError("min_distance", f"{distance} is not a positive number of px", fix="give px of the image")


def check_threshold(threshold: float | None, *, labels: bool) -> None:
    """Raises unless a least score is a number, and the map has scores.

    Raises:
        ImageError: one of these.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise ImageError("threshold", f"{threshold} is no number", fix="give the least score of a detection")
    if threshold is not None and labels:
        raise ImageError("threshold", "a map of labels has no scores", fix="leave it out, or scan for scores")


@dataclass(frozen=True)
class ClassStrip:
    """Some rows of one class.

    Args:
        top: the first row.
        cls: index of the class.
        mask: which cells ``(y, x)`` are detections.
        scores: of the cells; NaN for none.
    """

    top: int
    cls: int
    mask: NDArray[np.bool_]
    scores: NDArray[np.floating]


def class_strips(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, *, halo: int, progress: OnProgress | None
) -> Iterator[tuple[int, int, list[ClassStrip]]]:
    """First and last row of each strip, and the detections of each class in it and ``halo`` rows on either side."""
    _, rows, columns = grid.shape
    planes = len(wanted) if detections.threshold is not None else 2
    height = max(1, halo, min(_STRIP_ROWS, grid.within_budget(_STRIP_BYTES) // (8 * planes * columns)))
    stage = StageReporter(progress, "exporting", rows * columns, "cells")
    for top in range(0, rows, height):
        low, high = max(0, top - halo), min(rows, top + height + halo)
        yield top, min(top + height, rows), _read_strip(grid, wanted, detections, low, high)
        stage.report(min(top + height, rows) * columns)


def class_maxima(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, *, progress: OnProgress | None
) -> Iterator[list[tuple[int, Maxima]]]:
    """Of each class the maxima of plateaus that end in a strip: no cell within ``min_distance`` has a greater score."""
    assert detections.min_distance is not None
    _, rows, columns = grid.shape
    reach = reach_of(grid.spacing, detections.min_distance)
    plateaus = {cls: Plateaus(reach, columns) for cls in wanted}
    for top, bottom, strips in class_strips(grid, wanted, detections, halo=len(reach) - 1, progress=progress):
        found, end = [], bottom == rows
        by_class = {strip.cls: strip for strip in strips}
        for cls, open_ones in plateaus.items():
            if cls in by_class:
                strip, inner = by_class[cls], slice(top - by_class[cls].top, bottom - by_class[cls].top)
                maxima = local_maxima(strip.scores, strip.mask, reach)[inner]
                found.append((cls, open_ones.push(top, maxima, strip.scores[inner], end=end)))
            elif open_ones.any_open:
                none = np.zeros((bottom - top, columns), np.bool_)
                found.append((cls, open_ones.push(top, none, none.astype(np.float32), end=end)))
        yield found


CELL = np.dtype([("row", np.int64), ("column", np.int64), ("cls", np.int64), ("score", np.float64)])
"""A cell that is a detection of a class."""


def point_cells(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, *, progress: OnProgress | None
) -> Iterator[NDArray[np.void]]:
    """Cells that are detections, of all of them or only the local maxima, strip by strip; each an array of ``CELL``.

    Ordered by row, column and class; a plateau by its last row.
    """
    if detections.min_distance is not None:
        for maxima in class_maxima(grid, wanted, detections, progress=progress):
            parts = [_cells(cls, one.rows, one.columns, one.scores) for cls, one in maxima]
            found = np.concatenate([np.zeros(0, CELL), *parts])
            last = np.concatenate([np.zeros(0, np.intp), *(one.last for _, one in maxima)])
            yield found[np.lexsort((found["cls"], found["column"], found["row"], last))]
        return
    for _, _, strips in class_strips(grid, wanted, detections, halo=0, progress=progress):
        parts = []
        for strip in strips:
            i, j = np.nonzero(strip.mask)
            parts.append(_cells(strip.cls, i + strip.top, j, strip.scores[i, j]))
        found = np.concatenate([np.zeros(0, CELL), *parts])
        yield found[np.lexsort((found["cls"], found["column"], found["row"]))]


def _cells(cls: int, rows: CellIndices, columns: CellIndices, scores: NDArray[np.floating]) -> NDArray[np.void]:
    found = np.empty(len(rows), CELL)
    found["row"], found["column"], found["cls"], found["score"] = rows, columns, cls, scores
    return found


def _read_strip(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, top: int, bottom: int
) -> list[ClassStrip]:
    """Some rows of each class, read block by block."""
    columns = grid.shape[2]
    shape = bottom - top, columns
    by_score = detections.threshold is not None
    dtype = np.float64 if grid.dtype == np.float64 else np.float32
    planes = np.full((len(wanted) if by_score else 1, *shape), np.nan, dtype)
    labels = np.full(shape, -1, np.int32)
    bands = [grid.classes.index(cls) for cls in wanted] if by_score else []
    rows = max(1, min(shape[0], 64))
    width = max(1, grid.within_budget(2 * _STRIP_BYTES) // (grid.cost_bytes * rows))
    for y in range(0, shape[0], rows):
        for x in range(0, columns, width):
            region = top + y, top + min(y + rows, shape[0]), x, min(x + width, columns)
            at = slice(y, y + rows), slice(x, x + width)
            numbers, valid = grid.read(*region), grid.valid(*region)
            if grid.colours is not None:
                labels[at] = np.where(valid & (numbers[0] != grid.fill), numbers[0].astype(np.int32), -1)
            elif by_score:
                planes[(slice(None), *at)] = np.where(valid, grid.decoded(numbers[bands]), np.nan)
            else:
                scores = grid.decoded(numbers)
                known = valid & ~np.isnan(scores).any(axis=0)
                labels[at] = np.where(known, np.array(grid.classes)[scores.argmax(axis=0)], -1)
                planes[(0, *at)] = np.where(known, scores.max(axis=0), np.nan)
    if by_score:
        return [
            ClassStrip(top, cls, plane >= detections.threshold, plane)
            for cls, plane in zip(wanted, planes, strict=True)
        ]
    present = set(np.unique(labels).tolist())
    return [ClassStrip(top, cls, labels == cls, planes[0]) for cls in wanted if cls in present]
