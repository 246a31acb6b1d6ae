"""Reads the polygons of GeoJSON as rings, packed while the text is parsed: lists of points take much memory."""

from __future__ import annotations

import gc
import json
import math
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.mask.polygons import Rings

_READ = ("type", "geometry", "geometries", "features", "crs")  # members of a feature
_DESCRIBED = (*_READ, "properties", "id")
_AGAIN = "export it again"


class PackedPolygons(NamedTuple):
    """The polygons of one geometry.

    Args:
        points: x, y of every point as float64.
        lengths: points of each ring.
        rings: of each polygon.
    """

    points: bytes
    lengths: list[int]
    rings: list[int]


def parse_document(text: bytes, *, described: bool = False) -> Any:
    """A JSON document in which the coordinates of polygons are packed.

    Coordinates with something unusual about them stay as they are.

    Args:
        text: of the file.
        described: keep what describes features: their properties, which masks do not read, and their id.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    members = _DESCRIBED if described else _READ
    with _without_search_for_cycles():
        return json.loads(text, object_hook=partial(_pack, members))


@contextmanager
def _without_search_for_cycles() -> Iterator[None]:
    """Pauses Python's search for objects that refer to each other: JSON has none, and millions of lists to search."""
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searches:
            gc.enable()


def _pack(members: tuple[str, ...], node: dict[str, Any]) -> dict[str, Any]:
    """An object of the document, with its coordinates packed; of a feature what is read."""
    kind = node.get("type")
    if kind == "Feature":
        return {member: node[member] for member in members if member in node}
    if kind in ("Polygon", "MultiPolygon"):
        coordinates = node.get("coordinates")
        packed = _packed([coordinates] if kind == "Polygon" else coordinates)
        if packed is not None:
            node["coordinates"] = packed
    return node


def _packed(polygons: Any) -> PackedPolygons | None:
    """Lists of rings of points; ``None`` where anything is unusual, which is then read point by point."""
    try:
        rings = list(chain.from_iterable(polygons))
        points = list(chain.from_iterable(rings))
        lengths = list(map(len, rings))
        sizes = set(map(len, points))
        if min(lengths) < 3 or min(sizes) < 2:
            return None
        if sizes != {2}:
            points = [point[:2] for point in points]  # heights are dropped
        numbers = array("d", chain.from_iterable(points))
        if not math.isfinite(sum(numbers)):
            return None
        return PackedPolygons(numbers.tobytes(), lengths, list(map(len, polygons)))
    except (TypeError, ValueError, OverflowError, KeyError):
        return None


def read_rings(document: Any, where: str) -> Rings:
    """The rings of all polygons of a document that ``parse_document`` returned.

    Raises:
        ImageError: a polygon is not made of rings of points.
    """
    points, lengths, rings = [b""], list[int](), list[int]()
    for packed in _geometries(document, where):
        points.append(packed.points)
        lengths += packed.lengths
        rings += packed.rings
    owners = np.repeat(np.arange(len(rings)), rings)
    return Rings(np.frombuffer(b"".join(points)).reshape(-1, 2), np.array(lengths, np.intp), owners)


def features(node: Any, where: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The features of a document, and its geometries that are in none, in their order."""
    if depth > 32:
        raise _too_deep(where)
    if isinstance(node, list):
        for each in node:
            yield from features(each, where, depth + 1)
    elif isinstance(node, dict):
        if node.get("type") == "FeatureCollection" or "features" in node:
            yield from features(node.get("features"), where, depth + 1)
        else:
            yield node


def _too_deep(where: str) -> ImageError:
    return ImageError(where, "has collections nested more than 32 deep", fix=_AGAIN)


def _geometries(node: Any, where: str, depth: int = 0) -> Iterator[PackedPolygons]:
    """The polygons of a geometry, feature, collection or list of features."""
    if depth > 32:
        raise _too_deep(where)
    if isinstance(node, list):
        for feature in node:
            yield from _geometries(feature, where, depth + 1)
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind in ("Polygon", "MultiPolygon"):
        yield _of_geometry(node.get("coordinates"), where, several=kind == "MultiPolygon")
    for member in ("geometry", "geometries", "features"):
        if node.get(member) is not None:
            yield from _geometries(node[member], where, depth + 1)


def _of_geometry(coordinates: Any, where: str, *, several: bool) -> PackedPolygons:
    """The coordinates of one geometry, which are read point by point unless they are packed."""
    if isinstance(coordinates, PackedPolygons):
        return coordinates
    polygons = _listed(coordinates, where) if several else [coordinates]
    rings = [[_ring(ring, where) for ring in _listed(polygon, where)] for polygon in polygons]
    every = list(chain.from_iterable(rings))
    return PackedPolygons(b"".join(ring.tobytes() for ring in every), list(map(len, every)), list(map(len, rings)))


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ImageError(where, f"has coordinates {str(value)[:60]!r} that are not a list", fix=_AGAIN)
    return value


def _ring(points: Any, where: str) -> NDArray[np.float64]:
    """Points ``(n, 2)``; heights are dropped."""
    try:
        ring = np.array([(p[0], p[1]) for p in _listed(points, where)], np.float64)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        ring = np.empty((0, 2))
    if ring.ndim != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise ImageError(where, f"has a ring {str(points)[:60]} that is not 3 or more points (x, y)", fix=_AGAIN)
    return ring
