"""Finds detections in a map: cells above a threshold, or cells of a top class, strip by strip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_fields
from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.errors import ImageError
from fullfield.exporters.coordinates import Coordinates
from fullfield.exporters.grid import ExportGrid

Geometry = Literal["polygons", "points"]
_STRIP_BYTES = 32 << 20
_STRIP_ROWS = 256


@checks_fields
@dataclass(frozen=True)
class Detections:
    """Which cells are detections, and how they are drawn.

    Args:
        threshold: least score of a detection, for each class by itself; by default, a cell is a detection of its top
            class.
        geometry: ``polygons`` merges cells that share a side; ``points`` gives the window centre of each cell.
        coordinates: ``image`` in px of the original image, from its top left corner, x right and y down, as QuPath
            reads them; ``map`` in the image's coordinate system; ``wgs84`` in degrees, as RFC 7946 requires.
        min_distance: keep only points that have no greater one of their class within so many px of the image.
    """

    threshold: float | None = None
    geometry: Geometry = "polygons"
    coordinates: Coordinates = "image"
    min_distance: float | None = None


def check_detections(grid: ExportGrid, detections: Detections) -> None:
    """Raises if options are unknown, exclude each other or do not apply to the map.

    Raises:
        ImageError: one of these.
    """
    known = {"geometry": get_args(Geometry), "coordinates": get_args(Coordinates)}
    for name, values in known.items():
        if getattr(detections, name) not in values:
            raise ImageError(name, f"{getattr(detections, name)!r} is not known", fix=f"use one of {', '.join(values)}")
    threshold, distance = detections.threshold, detections.min_distance
    if threshold is not None and not math.isfinite(threshold):
        raise ImageError("threshold", f"{threshold} is no number", fix="give the least score of a detection")
    if threshold is not None and grid.colours is not None:
        raise ImageError("threshold", "a map of labels has no scores", fix="leave it out, or scan for scores")
    if distance is None:
        return
    if detections.geometry != "points" or grid.colours is not None:
        raise ImageError(
            "min_distance", "is for points of a map of scores", fix='leave it out, or pass geometry="points"'
        )
    if not (math.isfinite(distance) and distance > 0):
        raise ImageError("min_distance", f"{distance} is not a positive number of px", fix="give px of the image")


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
