"""Cuts objects to the polygons of a mask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fullfield.errors import ImageError
from fullfield.exporters.antimeridian import Floats
from fullfield.exporters.coordinates import OutputFrame
from fullfield.exporters.degrees import polygons_in_degrees
from fullfield.exporters.objects import Objects, Polygons
from fullfield.mask.geojson import (
    Frame,
    MaskCoordinates,
    holds_shapes,
    parse_coordinates,
    parse_file,
    placed_polygons,
)
from fullfield.mask.polygons import Rings
from fullfield.packages import import_packages
from fullfield.store.maps import MapSpec


class Clip:
    """The inside of polygons, in the coordinates of a file.

    Args:
        shapely: the package.
        areas: polygons of shapely.
    """

    def __init__(self, shapely: Any, areas: list[Any]) -> None:
        self._shapely, self._tree = shapely, shapely.STRtree(areas)

    def clipped(self, batches: Iterator[Objects]) -> Iterator[Objects]:
        """The parts of objects inside; those that lie outside are left out. Their numbers stay those of the whole."""
        for objects in batches:
            if isinstance(objects.shapes, np.ndarray):
                points = self._shapely.points(objects.shapes)
                kept = np.unique(self._tree.query(points, predicate="intersects")[0])
                yield _chosen(objects, kept, objects.shapes[kept])
                continue
            parts = [self._inside(each) for each in objects.shapes]
            kept = np.array([number for number, part in enumerate(parts) if part], np.intp)
            yield _chosen(objects, kept, [part for part in parts if part])

    def _inside(self, polygons: Polygons) -> Polygons:
        shapely = self._shapely
        whole = shapely.MultiPolygon([shapely.Polygon(rings[0], rings[1:]) for rings in polygons])
        near = self._tree.geometries.take(self._tree.query(whole, predicate="intersects"))
        if any(shapely.contains(area, whole) for area in near):
            return polygons
        found = shapely.intersection(whole, shapely.union_all(near))
        parts = [part for part in shapely.get_parts(found) if part.geom_type == "Polygon" and part.area > 0]
        return [
            [np.array(ring.coords, np.float64) for ring in (part.exterior, *part.interiors)]
            for part in shapely.orient_polygons(parts, exterior_cw=False)
        ]


def _chosen(objects: Objects, kept: Any, shapes: Any) -> Objects:
    measured, places = (
        {name: values[kept] for name, values in columns.items()} for columns in (objects.measured, objects.places)
    )
    return Objects(shapes, objects.classes[kept], measured, places)


def read_clip(
    path: str | os.PathLike[str], spec: MapSpec, frame: OutputFrame, coordinates: MaskCoordinates = "auto"
) -> Clip:
    """The polygons of a file, GeoJSON or a vector file, in the coordinates of another one.

    Args:
        path: of the file.
        spec: of the map.
        frame: of the file that is written.
        coordinates: of the polygons, as of a mask.

    Raises:
        ImageError: it has no polygons, they lie outside the image, or shapely is not installed.
    """
    file = Path(path)
    what = "objects are cut by the package shapely, which is not installed"
    (shapely,) = import_packages("shapely", extra="vector", where="clip", what=what)
    if not holds_shapes(file):
        raise ImageError(str(path), "is no GeoJSON or vector file", fix="give polygons to cut the objects to")
    image = Frame.of_map(spec.placement.image, spec.provenance, spec.georeference, spec.origin)
    placed = placed_polygons(parse_file(file), str(path), image, parse_coordinates(coordinates))
    areas: list[Any] = []
    for rings in _each_polygon(placed):
        for polygon in _converted(rings, frame):
            made = shapely.make_valid(shapely.Polygon(polygon[0], polygon[1:]))
            areas += [part for part in shapely.get_parts(made) if part.geom_type in ("Polygon", "MultiPolygon")]
    return Clip(shapely, areas)


def _each_polygon(placed: Rings) -> Iterator[list[Floats]]:
    """The rings of each polygon, x and y in px; the closing point left out."""
    stops = np.cumsum(placed.lengths)
    rings = [placed.points[stop - length : stop] for stop, length in zip(stops, placed.lengths, strict=True)]
    rings = [ring[:-1] if len(ring) > 3 and (ring[0] == ring[-1]).all() else ring for ring in rings]
    starts = np.flatnonzero(np.diff(placed.owners, prepend=-1)).tolist()
    for first, stop in zip(starts, [*starts[1:], len(rings)], strict=True):
        yield [ring for ring in rings[first:stop] if len(ring) > 2]


def _converted(rings: list[Floats], frame: OutputFrame) -> list[list[Floats]]:
    if not rings:
        return []
    if frame.curved:
        return polygons_in_degrees([ring[:, ::-1].tolist() for ring in rings], frame.convert)
    return [[np.stack(frame.convert(ring[:, 1], ring[:, 0]), axis=1) for ring in rings]]
