"""Objects that lie on an image, and the layer that they make up in a table or a vector file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.exporters.antimeridian import Floats
from fullfield.store.palette import Colour

_BYTES = 200  # of an object, about
Polygons = list[list[Floats]]
"""Polygons of one object, each an outer ring and its holes: closed rings ``(n, 2)`` of x and y."""


class Objects(NamedTuple):
    """Some objects of a layer.

    Args:
        shapes: points ``(n, 2)``, x and y; or the polygons of each object.
        classes: index of each object's class; -1 for none.
        measured: numbers by name, one for each object; NaN for none.
        places: numbers that say where each object lies; tables only, which hold no shapes.
    """

    shapes: Floats | list[Polygons]
    classes: NDArray[np.int64]
    measured: dict[str, NDArray[Any]]
    places: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Layer:
    """What the objects of a file have in common.

    Args:
        where: path of the file, for errors.
        image: name of the image.
        classes: name and colour of each class, by index.
        shape: of the objects.
        object_type: what QuPath makes of them.
        crs: coordinate system of the shapes; ``None`` for px of the image, or where it is not known.
        header: members of a GeoJSON file before its features, as JSON text.
        most: objects at most.
    """

    where: str
    image: str
    classes: dict[int, tuple[str, Colour]]
    shape: Literal["Point", "Polygon", "MultiPolygon"]
    object_type: Literal["annotation", "detection"]
    crs: str | None
    header: dict[str, str]
    most: int

    @property
    def bytes(self) -> int:
        """About what the file may take, for the error when the disk is full."""
        return _BYTES * self.most

    def names(self, classes: NDArray[np.int64]) -> list[str | None]:
        """Names of the classes of some objects."""
        return [self.classes[each][0] if each in self.classes else None for each in classes.tolist()]


def features(objects: Objects, layer: Layer) -> Iterator[str]:
    """The objects as features of GeoJSON, with QuPath's properties and the same as flat columns for GIS programs."""
    numbers = {name: values.tolist() for name, values in objects.measured.items()}
    for number, cls in enumerate(objects.classes.tolist()):
        measured = {name: values[number] for name, values in numbers.items() if values[number] == values[number]}
        properties: dict[str, Any] = {"objectType": layer.object_type}
        if cls in layer.classes:
            name, colour = layer.classes[cls]
            properties["classification"] = {"name": name, "color": list(colour)}
        properties["measurements"] = measured
        properties["class"] = layer.classes[cls][0] if cls in layer.classes else None
        properties["score"] = measured.get("score")
        feature = {"type": "Feature", "geometry": _geometry(objects.shapes[number]), "properties": properties}
        yield json.dumps(feature, ensure_ascii=False, allow_nan=False)


def _geometry(shape: Floats | Polygons) -> dict[str, Any]:
    if isinstance(shape, np.ndarray):
        return {"type": "Point", "coordinates": shape.tolist()}
    polygons = [[ring.tolist() for ring in polygon] for polygon in shape]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def columns(objects: Objects, layer: Layer, *, places: bool) -> dict[str, Any]:
    """The objects as columns by name, in order: place, class and numbers; no two names differ in case alone."""
    found: dict[str, Any] = {}
    if places:
        found = {"image": [layer.image] * len(objects.classes), **objects.places}
    found["class"] = layer.names(objects.classes)
    taken = {name.casefold() for name in found} | {"fid", "geom", "geometry", "ogc_fid"}
    names = distinct_names(objects.measured, taken, key=str.casefold)
    return found | dict(zip(names, objects.measured.values(), strict=True))


def distinct_names(names: Iterable[str], taken: Iterable[str] = (), *, key: Callable[[str], str] = str) -> list[str]:
    """Names of which those that are there already get a number.

    Args:
        names: in order.
        taken: keys of names that none may have.
        key: names of the same key count as the same.

    Examples:
        >>> distinct_names(["score", "a", "a", "score"]), distinct_names(["A", "b"], {"a"}, key=str.casefold)
        (['score', 'a', 'a (2)', 'score (2)'], ['A (2)', 'b'])
    """
    found, seen = [], set(taken)
    for name in names:
        unique, number = name, 2
        while key(unique) in seen:
            unique, number = f"{name} ({number})", number + 1
        seen.add(key(unique))
        found.append(unique)
    return found
