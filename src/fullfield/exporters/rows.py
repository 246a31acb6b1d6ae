"""The objects of a map: one for each window, for each connected region of a class, or for each detected point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.exporters.antimeridian import Floats
from fullfield.exporters.coordinates import OutputFrame, from_cells
from fullfield.exporters.degrees import polygons_in_degrees
from fullfield.exporters.detections import Detections, class_strips, point_cells
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.objects import Objects, Polygons, distinct_names
from fullfield.exporters.trace import TracedRegion, Tracer, signed_area
from fullfield.geometry.region import Pair

_TOGETHER = 4096  # objects of a batch
_NUMBERS = 1 << 17  # numbers of a batch, which take 30 MB as text
_READ_BYTES = 16 << 20


def points(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, frame: OutputFrame, progress: OnProgress | None
) -> Iterator[Objects]:
    """Window centres of cells that are detections, row by row."""
    for cells in point_cells(grid, wanted, detections, progress=progress):
        yield from (_points(grid, frame, cells[k : k + _TOGETHER]) for k in range(0, max(1, len(cells)), _TOGETHER))


def _points(grid: ExportGrid, frame: OutputFrame, cells: NDArray[np.void]) -> Objects:
    y, x = centres(grid, cells["row"], cells["column"])
    shapes = np.stack(frame.convert(y, x), axis=1)
    return Objects(shapes, cells["cls"], {"score": cells["score"]}, places(grid, y, x))


def regions(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, frame: OutputFrame, progress: OnProgress | None
) -> Iterator[Objects]:
    """Connected cells of a class; each as soon as the sweep has passed it."""
    waiting: list[tuple[int, TracedRegion, list[list[Pair]]]] = []
    weight = 0
    for cls, region in _traced(grid, wanted, detections, progress):
        rings = sorted(region.rings, key=lambda ring: (signed_area(ring) < 0, ring))
        waiting.append((cls, region, rings))
        weight += 1 + sum(map(len, rings)) // 16
        if weight >= _TOGETHER:
            yield _regions(grid, frame, waiting)
            waiting, weight = [], 0
    yield _regions(grid, frame, waiting)


def _traced(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, progress: OnProgress | None
) -> Iterator[tuple[int, TracedRegion]]:
    """Class and outline of connected cells."""
    columns = grid.shape[2]
    tracers: dict[int, Tracer] = {}
    no_scores, no_cells = np.full(columns, np.nan), np.zeros(columns, np.bool_)
    for top, bottom, strips in class_strips(grid, wanted, detections, halo=0, progress=progress):
        by_class = {strip.cls: strip for strip in strips}
        for row in range(top, bottom):
            for cls in wanted:
                strip = by_class.get(cls)
                mask = no_cells if strip is None else strip.mask[row - top]
                tracer = tracers.get(cls)
                if (tracer is None or tracer.idle) and not mask.any():
                    continue
                if tracer is None or tracer.idle:
                    tracer = tracers[cls] = Tracer(row, columns)
                scores = no_scores if strip is None else strip.scores[row - top]
                yield from ((cls, region) for region in tracer.push(mask, scores))
    for cls in wanted:
        if cls in tracers:
            yield from ((cls, region) for region in tracers[cls].finish())


def _polygons(rings: list[list[Pair]], to_coordinates: Any, *, curved: bool) -> Polygons:
    """The polygons of a region: the outer ring counter-clockwise, holes clockwise."""
    if curved:
        return [[_closed(ring) for ring in polygon] for polygon in polygons_in_degrees(rings, to_coordinates)]
    found = []
    for number, ring in enumerate(rings):
        corners = np.stack(to_coordinates(*np.array(ring, np.float64).T), axis=1)
        turns_left = signed_area([(b, a) for a, b in corners.tolist()]) > 0
        found.append(_closed(corners if turns_left == (number == 0) else corners[::-1]))
    return [found]


def _closed(ring: Floats) -> Floats:
    return np.concatenate([ring, ring[:1]])


def _regions(
    grid: ExportGrid, frame: OutputFrame, waiting: list[tuple[int, TracedRegion, list[list[Pair]]]]
) -> Objects:
    to_coordinates = from_cells(grid, frame)
    shapes = [_polygons(rings, to_coordinates, curved=frame.curved) for *_, rings in waiting]
    found = [region for _, region, _ in waiting]
    greatest = np.array([each.greatest for each in found], np.float64)
    mean = np.array([each.total / each.cells for each in found], np.float64)
    measured: dict[str, NDArray[Any]] = {
        "score": greatest,
        "mean score": np.where(np.isnan(greatest), np.nan, mean),
        "cells": np.array([each.cells for each in found], np.int64),
    }
    outer = [np.array(rings[0], np.float64) for *_, rings in waiting]
    (top, left), (bottom, right) = (
        np.array([reduce(ring, axis=0) for ring in outer], np.float64).reshape(-1, 2).T for reduce in (np.min, np.max)
    )
    classes = np.array([cls for cls, _, _ in waiting], np.int64)
    return Objects(shapes, classes, measured, rectangle_places(grid, *_on_image(grid, top, left, bottom, right)))


def _on_image(grid: ExportGrid, top: Floats, left: Floats, bottom: Floats, right: Floats) -> tuple[Floats, ...]:
    """Edges of cells in px of the image."""
    y, x = centres(grid, np.stack([top, bottom]) - 0.5, np.stack([left, right]) - 0.5)
    return y[0], x[0], y[1], x[1]


def windows(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, frame: OutputFrame, progress: OnProgress | None
) -> Iterator[Objects]:
    """All windows with scores, row by row: the scores of the wanted classes, and the top class of all.

    With a threshold only the windows that reach it in a wanted class. The shape is the window's cell, a step wide
    around its centre, so that those of a map cover it once.
    """
    _, rows, columns = grid.shape
    cost = grid.cost_bytes + 8 * grid.shape[0] + 64
    most = max(1, grid.within_budget(_READ_BYTES) // cost)
    height, width = max(1, min(256, most // columns)), min(columns, most)
    bands = [] if grid.colours is not None else [grid.classes.index(cls) for cls in wanted]
    names = distinct_names(["score", *(grid.names[band] for band in bands)])
    size = max(1, min(_TOGETHER, grid.within_budget(_NUMBERS) // (len(bands) + 8)))
    stage = StageReporter(progress, "exporting", rows * columns, "cells")
    yield _windows(grid, frame, bands, names, np.zeros((grid.shape[0], 0), grid.dtype), np.zeros((2, 0), np.intp))
    for top in range(0, rows, height):
        bottom = min(top + height, rows)
        for left in range(0, columns, width):
            right = min(left + width, columns)
            numbers, valid = grid.read(top, bottom, left, right), grid.valid(top, bottom, left, right)
            if detections.threshold is not None:
                valid = valid & (grid.decoded(numbers[bands]) >= detections.threshold).any(axis=0)
            if grid.colours is not None:
                valid = valid & np.isin(numbers[0], wanted)
            i, j = np.nonzero(valid)
            for first in range(0, len(i), size):
                some = slice(first, first + size)
                at = np.stack([i[some] + top, j[some] + left])
                yield _windows(grid, frame, bands, names, numbers[:, i[some], j[some]], at)
        stage.report(bottom * columns)


def _windows(
    grid: ExportGrid,
    frame: OutputFrame,
    bands: list[int],
    names: list[str],
    numbers: NDArray[Any],
    at: NDArray[np.intp],
) -> Objects:
    y, x = centres(grid, at[0], at[1])
    (height, width) = grid.spacing
    shapes = rectangles(frame, y - height / 2, x - width / 2, y + height / 2, x + width / 2)
    if grid.colours is not None:
        return Objects(shapes, numbers[0].astype(np.int64), {}, _window_places(grid, y, x))
    scores = grid.decoded(numbers)
    known = ~np.isnan(scores).any(axis=0)
    top = np.where(known, np.array(grid.classes)[scores.argmax(axis=0)], -1)
    greatest = np.where(known, scores.max(axis=0), np.nan).astype(scores.dtype)
    measured = dict(zip(names, [greatest, *scores[bands]], strict=True))
    return Objects(shapes, top, measured, _window_places(grid, y, x))


def centres(grid: ExportGrid, rows: NDArray[Any], columns: NDArray[Any]) -> tuple[Floats, Floats]:
    """Centres (y, x) of cells, px of the image."""
    (top, left), (height, width) = grid.origin, grid.spacing
    return top + (rows + 0.5) * height, left + (columns + 0.5) * width


def _window_places(grid: ExportGrid, y: Floats, x: Floats) -> dict[str, NDArray[Any]]:
    """Centres of windows as ``places``; of a signal also the first sample, and the first after the window."""
    if grid.signal is None:
        return places(grid, y, x)
    half = grid.signal.window / 2
    return _interval(grid, x - half, x + half) | places(grid, y, x)


def _interval(grid: ExportGrid, start: Floats, stop: Floats) -> dict[str, NDArray[Any]]:
    """Parts of a signal in samples, and in seconds where its rate is known."""
    found = {"start": start, "stop": stop}
    rate = None if grid.signal is None else grid.signal.sample_rate
    return found if rate is None else found | {"start_s": start / rate, "stop_s": stop / rate}


def places(grid: ExportGrid, y: Floats, x: Floats) -> dict[str, NDArray[Any]]:
    """Points in px of the image, and in micrometres and map coordinates as far as they are known.

    Of a signal in samples, and in seconds where its rate is known.
    """
    if grid.signal is not None:
        rate = grid.signal.sample_rate
        return {"sample": x} if rate is None else {"sample": x, "time_s": x / rate}
    found = {"y": y, "x": x}
    if grid.mpp is not None:
        found |= {"y_um": y * grid.mpp[0], "x_um": x * grid.mpp[1]}
    if grid.georeference is not None:
        map_x, map_y = grid.georeference.on_map(y, x)
        found |= {"map_y": map_y, "map_x": map_x}
    return found


def rectangle_places(
    grid: ExportGrid, top: Floats, left: Floats, bottom: Floats, right: Floats
) -> dict[str, NDArray[Any]]:
    """Edges of rectangles in px of the image, and their centres as ``places``; of a signal both along its axis."""
    if grid.signal is not None:
        return _interval(grid, left, right) | places(grid, (top + bottom) / 2, (left + right) / 2)
    edges = {"top": top, "left": left, "bottom": bottom, "right": right}
    return edges | places(grid, (top + bottom) / 2, (left + right) / 2)


def rectangles(frame: OutputFrame, top: Floats, left: Floats, bottom: Floats, right: Floats) -> list[Polygons]:
    """Rectangles of the image as polygons, counter-clockwise."""
    if frame.curved:
        corners = zip(top.tolist(), left.tolist(), bottom.tolist(), right.tolist(), strict=True)
        return [_degrees(frame, [(t, l), (b, l), (b, r), (t, r)]) for t, l, b, r in corners]
    y, x = np.stack([top, bottom, bottom, top, top], axis=1), np.stack([left, left, right, right, left], axis=1)
    rings = np.stack(frame.convert(y, x), axis=2)
    if len(rings) and signed_area([(b, a) for a, b in rings[0, :-1].tolist()]) < 0:
        rings = rings[:, ::-1]
    return [[[ring]] for ring in rings]


def _degrees(frame: OutputFrame, corners: list[tuple[float, float]]) -> Polygons:
    polygons = polygons_in_degrees([corners], frame.convert)  # type: ignore[list-item]
    return [[_closed(ring) for ring in polygon] for polygon in polygons]
