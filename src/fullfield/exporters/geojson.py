"""Detections as GeoJSON: cells or regions of a class, for QuPath and for maps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, Stage
from fullfield.errors import ImageError
from fullfield.exporters.antimeridian import Floats
from fullfield.exporters.degrees import Place, on_earth
from fullfield.exporters.geotiff import rasterio_or_error
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.maxima import local_maxima, reach_of
from fullfield.exporters.trace import TracedRegion, Tracer, signed_area
from fullfield.files import replacing
from fullfield.geometry.region import Pair
from fullfield.store.palette import distinct

Geometry = Literal["polygons", "points"]
Coordinates = Literal["image", "map", "wgs84"]
_STRIP_BYTES = 32 << 20
_STRIP_ROWS = 256


@dataclass(frozen=True)
class Detections:
    """What becomes a detection, and how it is drawn.

    Args:
        threshold: scores of at least this, class by class; without it, cells whose top class is one of those wanted.
        geometry: ``polygons`` merges cells that share a side; ``points`` gives every cell's window centre.
        coordinates: ``image`` in px of the original image, from its top left corner, x right and y down, as QuPath
            reads them; ``map`` in the image's coordinate system; ``wgs84`` in degrees, as RFC 7946 wants it.
        min_distance: of points, keep local maxima only: those without a greater one of their class within so many px.
    """

    threshold: float | None = None
    geometry: Geometry = "polygons"
    coordinates: Coordinates = "image"
    min_distance: float | None = None


def write_geojson(
    grid: ExportGrid,
    path: Path,
    wanted: tuple[int, ...],
    detections: Detections,
    *,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> int:
    """Writes a feature collection, a feature a line, in the order of the rows in which they begin or end.

    Every feature has QuPath's properties: ``objectType``, ``classification`` with name and colour, and as
    ``measurements`` the score (of polygons the greatest, the mean, and the number of cells).
    Outer rings run counter-clockwise, holes clockwise, x to the right and y upwards.

    Args:
        grid: scores, all bands that the top class is sought among; or labels.
        path: where to; checked already.
        wanted: classes, by index among the network's.
        detections: which cells, and how they are drawn.
        overwrite: whether what lies there may go.
        progress: called after every strip.

    Returns:
        How many features were written.

    Raises:
        ImageError: options that do not go together, no georeference, or no space.
    """
    _check(grid, detections)
    place, header = _placing(grid, detections.coordinates)
    features = _points if detections.geometry == "points" else _polygons
    with (
        replacing(path, overwrite=overwrite, needed_bytes=200 * math.prod(grid.shape[1:])) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        about = ", ".join(f"{json.dumps(key)}: {value}" for key, value in header.items())
        file.write(f'{{"type": "FeatureCollection", {about}, "features": [')
        count = 0
        for feature in features(grid, wanted, detections, place, progress):
            file.write(",\n" if count else "\n")
            file.write(json.dumps(feature, ensure_ascii=False))
            count += 1
        file.write("\n]}\n")
    return count


def _check(grid: ExportGrid, detections: Detections) -> None:
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


def _placing(grid: ExportGrid, coordinates: Coordinates) -> tuple[Place, dict[str, str]]:
    """Coordinates (x, y) of points given in cells (y, x) from the map's corner, and what the file says of them."""
    (top, left), (height, width) = grid.origin, grid.spacing
    header = {"fullfield": grid.about}

    def on_image(y: Floats, x: Floats) -> tuple[Floats, Floats]:
        return left + x * width, top + y * height

    if coordinates == "image":
        return on_image, header
    lies = grid.georeference
    if lies is None or (lies.crs is None and coordinates == "wgs84"):
        what = "the image lies on no map" if lies is None else "the image's coordinate system is not known"
        raise ImageError("coordinates", what, fix='pass coordinates="image"')
    a, b, c, d, e, f = lies.transform

    def on_map(y: Floats, x: Floats) -> tuple[Floats, Floats]:
        px, py = on_image(y, x)
        return a * px + b * py + c, d * px + e * py + f

    if coordinates == "map":
        name = None if lies.crs is None else _urn(lies.crs)
        if name is not None:  # as GeoJSON had it before RFC 7946; QGIS and GDAL read it
            header = {"crs": json.dumps({"type": "name", "properties": {"name": name}}), **header}
        return on_map, header
    rasterio = rasterio_or_error("wgs84")
    source = rasterio.crs.CRS.from_user_input(lies.crs)

    def on_earth(y: Floats, x: Floats) -> tuple[Floats, Floats]:
        px, py = on_map(y, x)
        lon, lat = rasterio.warp.transform(source, "OGC:CRS84", px.tolist(), py.tolist())
        return _turned(np.array(lon)), np.array(lat)

    return on_earth, header


def _turned(longitudes: Floats) -> Floats:
    """Longitudes from -180 to 180."""
    return np.where(np.abs(longitudes) > 180, (longitudes + 180) % 360 - 180, longitudes)


def _urn(crs: str) -> str | None:
    """The coordinate system's name as a URN, if it is one of EPSG's."""
    rasterio = rasterio_or_error("map coordinates")
    code = rasterio.crs.CRS.from_user_input(crs).to_epsg()
    return None if code is None else f"urn:ogc:def:crs:EPSG::{code}"


@dataclass(frozen=True)
class _Strip:
    """Rows of the map of one class: which cells are detections, and their scores; ``top`` is the first."""

    top: int
    cls: int
    mask: NDArray[np.bool_]
    scores: NDArray[np.floating]


def _strips(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, *, halo: int, progress: OnProgress | None
) -> Iterator[tuple[int, int, list[_Strip]]]:
    """First and last row of every strip, and what it and ``halo`` rows on either side hold of each class."""
    _, rows, columns = grid.shape
    kept = len(wanted) if detections.threshold is not None else 2
    height = max(1, halo, min(_STRIP_ROWS, _STRIP_BYTES // (8 * kept * columns)))
    stage = Stage(progress, "exporting", rows * columns, "cells")
    for top in range(0, rows, height):
        low, high = max(0, top - halo), min(rows, top + height + halo)
        yield top, min(top + height, rows), _read_strip(grid, wanted, detections, low, high)
        stage.report(min(top + height, rows) * columns)


def _read_strip(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, top: int, bottom: int
) -> list[_Strip]:
    """Full rows, read block by block, each class by itself."""
    columns = grid.shape[2]
    shape = bottom - top, columns
    whole = detections.threshold is not None
    kind = np.float64 if grid.dtype == np.float64 else np.float32
    planes = np.full((len(wanted) if whole else 1, *shape), np.nan, kind)
    labels = np.full(shape, -1, np.int32)
    bands = [grid.classes.index(cls) for cls in wanted] if whole else []
    rows = max(1, min(shape[0], 64))
    width = max(1, (2 * _STRIP_BYTES) // (grid.cost_bytes * rows))
    for y in range(0, shape[0], rows):
        for x in range(0, columns, width):
            region = top + y, top + min(y + rows, shape[0]), x, min(x + width, columns)
            at = slice(y, y + rows), slice(x, x + width)
            numbers, valid = grid.read(*region), grid.valid(*region)
            if grid.colours is not None:
                labels[at] = np.where(valid & (numbers[0] != grid.fill), numbers[0].astype(np.int32), -1)
            elif whole:
                planes[(slice(None), *at)] = np.where(valid, grid.decoded(numbers[bands]), np.nan)
            else:
                scores = grid.decoded(numbers)
                real = valid & ~np.isnan(scores).any(axis=0)
                labels[at] = np.where(real, np.array(grid.classes)[scores.argmax(axis=0)], -1)
                planes[(0, *at)] = np.where(real, scores.max(axis=0), np.nan)
    if whole:
        return [
            _Strip(top, cls, plane >= detections.threshold, plane) for cls, plane in zip(wanted, planes, strict=True)
        ]
    present = set(np.unique(labels).tolist())
    return [_Strip(top, cls, labels == cls, planes[0]) for cls in wanted if cls in present]


def _points(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, place: Place, progress: OnProgress | None
) -> Iterator[dict[str, Any]]:
    """The window centres of cells, row by row."""
    distance = detections.min_distance
    reach = [] if distance is None else reach_of(grid.spacing, distance)
    halo = max(0, len(reach) - 1)
    looks = _looks(grid)
    for top, bottom, strips in _strips(grid, wanted, detections, halo=halo, progress=progress):
        found = []
        for strip in strips:
            mask = local_maxima(strip.scores, strip.mask, reach) if reach else strip.mask
            inner = slice(top - strip.top, bottom - strip.top)
            i, j = np.nonzero(mask[inner])
            if i.size:
                scores = strip.scores[inner][i, j].tolist()
                x, y = place((i + top + 0.5).astype(np.float64), (j + 0.5).astype(np.float64))
                found += list(
                    zip(i.tolist(), j.tolist(), [strip.cls] * i.size, scores, x.tolist(), y.tolist(), strict=True)
                )
        for _, _, cls, score, x, y in sorted(found):
            measured = {} if math.isnan(score) else {"score": score}
            yield _feature({"type": "Point", "coordinates": [x, y]}, "detection", looks[cls], measured)


def _polygons(
    grid: ExportGrid, wanted: tuple[int, ...], detections: Detections, place: Place, progress: OnProgress | None
) -> Iterator[dict[str, Any]]:
    """Regions of cells that share sides, as soon as the sweep has passed them."""
    columns = grid.shape[2]
    tracers: dict[int, Tracer] = {}
    looks = _looks(grid)
    curved = detections.coordinates == "wgs84"
    nothing, nowhere = np.full(columns, np.nan), np.zeros(columns, np.bool_)
    for top, bottom, strips in _strips(grid, wanted, detections, halo=0, progress=progress):
        by_class = {strip.cls: strip for strip in strips}
        for row in range(top, bottom):
            for cls in wanted:
                strip = by_class.get(cls)
                mask = nowhere if strip is None else strip.mask[row - top]
                tracer = tracers.get(cls)
                if (tracer is None or tracer.idle) and not mask.any():
                    continue
                if tracer is None or tracer.idle:
                    tracer = tracers[cls] = Tracer(row, columns)
                scores = nothing if strip is None else strip.scores[row - top]
                for region in tracer.push(mask, scores):
                    yield _region_feature(region, place, looks[cls], curved=curved)
    for cls in wanted:
        if cls in tracers:
            for region in tracers[cls].finish():
                yield _region_feature(region, place, looks[cls], curved=curved)


def _region_feature(region: TracedRegion, place: Place, look: dict[str, Any], *, curved: bool) -> dict[str, Any]:
    rings = sorted(region.rings, key=lambda ring: (signed_area(ring) < 0, ring))
    if curved:
        polygons = [[_closed(ring.tolist()) for ring in polygon] for polygon in on_earth(rings, place)]
    else:
        polygons = [[_ring(ring, place, outer=n == 0) for n, ring in enumerate(rings)]]
    one = len(polygons) == 1
    shape = (
        {"type": "Polygon", "coordinates": polygons[0]} if one else {"type": "MultiPolygon", "coordinates": polygons}
    )
    measured: dict[str, float] = {"cells": region.cells}
    if not math.isnan(region.greatest):
        measured = {"score": region.greatest, "mean score": region.total / region.cells, **measured}
    return _feature(shape, "annotation", look, measured)


def _ring(ring: list[Pair], place: Place, *, outer: bool) -> list[list[float]]:
    """A closed ring in the coordinates wanted; counter-clockwise where it is the outer one."""
    x, y = place(*np.array(ring, np.float64).T)
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    if (signed_area([(b, a) for a, b in points]) > 0) != outer:
        points.reverse()
    return _closed([list(point) for point in points])


def _closed(points: list[list[float]]) -> list[list[float]]:
    return [*points, points[0]]


def _feature(shape: dict[str, Any], kind: str, look: dict[str, Any], measured: dict[str, float]) -> dict[str, Any]:
    properties = {"objectType": kind, "classification": look, "measurements": measured}
    return {"type": "Feature", "geometry": shape, "properties": properties}


def _looks(grid: ExportGrid) -> dict[int, dict[str, Any]]:
    """Name and colour of every class, as QuPath has them."""
    if grid.colours is not None:
        return {value: {"name": name, "color": list(colour)} for value, (colour, name) in enumerate(grid.colours)}
    colours = distinct(max(grid.classes) + 1)
    return {
        cls: {"name": name, "color": list(colours[cls])} for cls, name in zip(grid.classes, grid.names, strict=True)
    }
