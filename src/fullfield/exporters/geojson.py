"""Writes detections as GeoJSON: cells or regions of a class, for QuPath and GIS programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fullfield.engine.progress import OnProgress
from fullfield.exporters.coordinates import ToCoordinates, coordinates_of
from fullfield.exporters.degrees import polygons_in_degrees
from fullfield.exporters.detections import Detections, check_detections, class_strips
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.maxima import local_maxima, reach_of
from fullfield.exporters.trace import TracedRegion, Tracer, signed_area
from fullfield.files import replacing
from fullfield.geometry.region import Pair
from fullfield.store.palette import distinct


def write_geojson(
    grid: ExportGrid,
    path: Path,
    wanted: tuple[int, ...],
    detections: Detections,
    *,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> int:
    """Writes a feature collection, a feature a line, in the order of their first or last rows.

    Every feature has QuPath's properties: ``objectType``, ``classification`` with name and colour, and as
    ``measurements`` the score (of polygons the greatest, the mean, and the number of cells).
    Outer rings run counter-clockwise, holes clockwise, x to the right and y upwards.

    Args:
        grid: scores of all classes among which the top class is found; or labels.
        path: of the file; checked already.
        wanted: classes, by index among the network's.
        detections: which cells, and how they are drawn.
        overwrite: replace an earlier file.
        progress: called after every strip.

    Returns:
        How many features were written.

    Raises:
        ImageError: options that exclude each other, no georeference, or no space.
    """
    check_detections(grid, detections)
    to_coordinates, header = coordinates_of(grid, detections.coordinates)
    features = _points if detections.geometry == "points" else _polygons
    with (
        replacing(path, overwrite=overwrite, needed_bytes=200 * math.prod(grid.shape[1:])) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        metadata = ", ".join(f"{json.dumps(key)}: {value}" for key, value in header.items())
        file.write(f'{{"type": "FeatureCollection", {metadata}, "features": [')
        count = 0
        for feature in features(grid, wanted, detections, to_coordinates, progress):
            file.write(",\n" if count else "\n")
            file.write(json.dumps(feature, ensure_ascii=False))
            count += 1
        file.write("\n]}\n")
    return count


def _points(
    grid: ExportGrid,
    wanted: tuple[int, ...],
    detections: Detections,
    to_coordinates: ToCoordinates,
    progress: OnProgress | None,
) -> Iterator[dict[str, Any]]:
    """Features of the window centres of cells, row by row."""
    distance = detections.min_distance
    reach = [] if distance is None else reach_of(grid.spacing, distance)
    halo = max(0, len(reach) - 1)
    classifications = _classifications(grid)
    for top, bottom, strips in class_strips(grid, wanted, detections, halo=halo, progress=progress):
        found = []
        for strip in strips:
            mask = local_maxima(strip.scores, strip.mask, reach) if reach else strip.mask
            inner = slice(top - strip.top, bottom - strip.top)
            i, j = np.nonzero(mask[inner])
            if i.size:
                scores = strip.scores[inner][i, j].tolist()
                x, y = to_coordinates((i + top + 0.5).astype(np.float64), (j + 0.5).astype(np.float64))
                found += list(
                    zip(i.tolist(), j.tolist(), [strip.cls] * i.size, scores, x.tolist(), y.tolist(), strict=True)
                )
        for _, _, cls, score, x, y in sorted(found):
            measured = {} if math.isnan(score) else {"score": score}
            yield _feature({"type": "Point", "coordinates": [x, y]}, "detection", classifications[cls], measured)


def _polygons(
    grid: ExportGrid,
    wanted: tuple[int, ...],
    detections: Detections,
    to_coordinates: ToCoordinates,
    progress: OnProgress | None,
) -> Iterator[dict[str, Any]]:
    """Features of connected cells; each as soon as the sweep has passed it."""
    columns = grid.shape[2]
    tracers: dict[int, Tracer] = {}
    classifications = _classifications(grid)
    curved = detections.coordinates == "wgs84"
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
                for region in tracer.push(mask, scores):
                    yield _region_feature(region, to_coordinates, classifications[cls], curved=curved)
    for cls in wanted:
        if cls in tracers:
            for region in tracers[cls].finish():
                yield _region_feature(region, to_coordinates, classifications[cls], curved=curved)


def _region_feature(
    region: TracedRegion, to_coordinates: ToCoordinates, classification: dict[str, Any], *, curved: bool
) -> dict[str, Any]:
    rings = sorted(region.rings, key=lambda ring: (signed_area(ring) < 0, ring))
    if curved:
        polygons = [
            [_closed(ring.tolist()) for ring in polygon] for polygon in polygons_in_degrees(rings, to_coordinates)
        ]
    else:
        polygons = [[_ring(ring, to_coordinates, outer=n == 0) for n, ring in enumerate(rings)]]
    one = len(polygons) == 1
    shape = (
        {"type": "Polygon", "coordinates": polygons[0]} if one else {"type": "MultiPolygon", "coordinates": polygons}
    )
    measured: dict[str, float] = {"cells": region.cells}
    if not math.isnan(region.greatest):
        measured = {"score": region.greatest, "mean score": region.total / region.cells, **measured}
    return _feature(shape, "annotation", classification, measured)


def _ring(ring: list[Pair], to_coordinates: ToCoordinates, *, outer: bool) -> list[list[float]]:
    """A closed ring in coordinates; counter-clockwise if it is an outer one."""
    x, y = to_coordinates(*np.array(ring, np.float64).T)
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    if (signed_area([(b, a) for a, b in points]) > 0) != outer:
        points.reverse()
    return _closed([list(point) for point in points])


def _closed(points: list[list[float]]) -> list[list[float]]:
    return [*points, points[0]]


def _feature(
    shape: dict[str, Any], kind: str, classification: dict[str, Any], measured: dict[str, float]
) -> dict[str, Any]:
    properties = {"objectType": kind, "classification": classification, "measurements": measured}
    return {"type": "Feature", "geometry": shape, "properties": properties}


def _classifications(grid: ExportGrid) -> dict[int, dict[str, Any]]:
    """Name and colour of each class, as QuPath stores them."""
    if grid.colours is not None:
        return {value: {"name": name, "color": list(colour)} for value, (colour, name) in enumerate(grid.colours)}
    colours = distinct(max(grid.classes) + 1)
    return {
        cls: {"name": name, "color": list(colours[cls])} for cls, name in zip(grid.classes, grid.names, strict=True)
    }
