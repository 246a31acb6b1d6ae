"""Reads the user's labels: points and polygons of GeoJSON, points of CSV, rasters."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.areas import AreaLabels
from fullfield.decisions.evaluation.label_table import LABEL_FORMS, columns_of, is_table, read_label_table
from fullfield.decisions.evaluation.labels import UNNAMED, CellLabels, ClassCodes, Labels
from fullfield.decisions.evaluation.points import PointLabels
from fullfield.decisions.evaluation.rasters import raster_labels
from fullfield.errors import ImageError
from fullfield.image.checks import check_file
from fullfield.mask.geojson import Frame, declared_crs, holds_shapes, parse_coordinates, parse_file, place_shapes
from fullfield.mask.geojson_polygons import features, read_rings
from fullfield.mask.pictures import open_picture
from fullfield.mask.polygons import Rings
from fullfield.store.maps import MapSpec

_PROPERTIES = ("classification", "class", "class_name", "label", "category", "name")  # GeoJSON's, likeliest first
_DEPTH = 32


@contextmanager
def open_labels(labels: Labels, spec: MapSpec) -> Iterator[CellLabels]:
    """The labels of a map's cells.

    Raises:
        ImageError: they cannot be read, there are none, they lie outside the image, or they name an unknown class.
        GeometryError: a size that is none.
    """
    where = os.fspath(labels.source) if isinstance(labels.source, (str, os.PathLike)) else "labels"
    codes = ClassCodes(spec, labels.rename, str(where))
    outside = None if labels.outside is None else ClassCodes(spec, None, "outside").code(labels.outside)
    path = Path(where) if isinstance(labels.source, (str, os.PathLike)) else None
    if path is not None:
        check_file(path)
    if path is not None and holds_shapes(path):
        yield _of_geojson(path, labels, codes, outside)
    elif path is not None and is_table(path):
        yield _of_table(path, labels, codes, outside)
    else:
        with open_picture(labels.source) as picture:
            yield raster_labels(picture, codes, outside)


def has_points(labels: Labels) -> bool:
    """Whether labels are points, as far as that is known without an image."""
    if not isinstance(labels.source, (str, os.PathLike)):
        return False
    path = Path(labels.source)
    check_file(path)
    if not holds_shapes(path):
        return is_table(path)
    document = parse_file(path)
    return any(len(_points_of(each, str(path))) for each in features(document, str(path)))


def _of_table(path: Path, labels: Labels, codes: ClassCodes, outside: int | None) -> PointLabels:
    y, x, names = columns_of(read_label_table(path), ("y", "x", "class"), path)
    try:
        points = np.array([x, y], np.float64).T
    except ValueError as error:
        raise ImageError(str(path), f"has a y or x that is no number ({error})", fix="give px of the image") from error
    if not np.isfinite(points).all():
        raise ImageError(str(path), "has a y or x that is not finite", fix="give px of the image")
    every = _places(points)
    return _points(_placed(every, None, labels, codes, in_table=True), _codes(names, codes), labels, codes, outside)


def _of_geojson(path: Path, labels: Labels, codes: ClassCodes, outside: int | None) -> CellLabels:
    where, document = str(path), parse_file(path, described=True)
    every = list(features(document, where))
    areas = [(f, rings) for f in every if len((rings := read_rings(f, where)).points)]
    points = [(f, found) for f in every if len(found := _points_of(f, where))]
    if not areas and not points:
        raise ImageError(where, "holds no labels: no point and no polygon", fix=LABEL_FORMS)
    if areas and points:
        what = f"holds {len(areas)} polygons and {len(points)} points: what counts is not clear"
        raise ImageError(where, what, fix="give them in two files")
    names = _names([f for f, _ in (areas or points)], labels, where)
    numbers = _codes(names, codes)
    declared = declared_crs(document)
    if points:
        counts = [len(found) for _, found in points]
        together = np.concatenate([found for _, found in points])
        placed = _placed(_places(together), declared, labels, codes)
        return _points(placed, np.repeat(numbers, counts), labels, codes, outside)
    polygons = _joined([rings for _, rings in areas])
    return AreaLabels(codes.spec.placement, _placed(polygons, declared, labels, codes), numbers, outside)


def _places(points: NDArray[np.float64]) -> Rings:
    """Points ``(n, 2)`` (x, y) as rings of one point, each its own owner."""
    return Rings(points, np.ones(len(points), np.intp), np.arange(len(points)))


def _points(
    placed: Rings, numbers: NDArray[np.intp], labels: Labels, codes: ClassCodes, outside: int | None
) -> PointLabels:
    placement = codes.spec.placement
    return PointLabels(placement, placed.points, numbers[placed.owners], labels.hit_distance(placement), outside)


def _placed(shapes: Rings, declared: str | None, labels: Labels, codes: ClassCodes, *, in_table: bool = False) -> Rings:
    """Shapes in px of the image's finest level; tables count from its first pixel, as those of results do."""
    frame = Frame.of_map(codes.spec.placement.image, codes.spec.provenance, codes.spec.georeference, codes.spec.origin)
    frame = replace(frame, counted=labels.image_size or frame.counted)
    frame = replace(frame, corner=(0.0, 0.0)) if in_table else frame
    return place_shapes(shapes, declared, frame, parse_coordinates(labels.coordinates), codes.where)


def _joined(parts: list[Rings]) -> Rings:
    """The rings of several features, each of them an owner."""
    counts = [len(rings.lengths) for rings in parts]
    return Rings(
        np.concatenate([rings.points for rings in parts]),
        np.concatenate([rings.lengths for rings in parts]),
        np.repeat(np.arange(len(parts)), counts),
    )


def _codes(names: list[Any], codes: ClassCodes) -> NDArray[np.intp]:
    known = {str(name): codes.code(name) for name in dict.fromkeys(names)}
    return np.array([known[str(name)] for name in names], np.intp)


def _points_of(node: Any, where: str, depth: int = 0) -> NDArray[np.float64]:
    """The points ``(n, 2)`` (x, y) of a feature's geometry."""
    if not isinstance(node, dict) or depth > _DEPTH:
        return np.empty((0, 2))
    if node.get("type") in ("Point", "MultiPoint"):
        listed: Any = node.get("coordinates")
        try:
            every = [listed] if node["type"] == "Point" else listed
            found = np.array([(p[0], p[1]) for p in every], np.float64).reshape(-1, 2)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise _no_points(listed, where) from error
        if not np.isfinite(found).all():
            raise _no_points(listed, where)
        return found
    members = [node.get("geometry"), *(node.get("geometries") or [])]
    return np.concatenate([np.empty((0, 2)), *(_points_of(each, where, depth + 1) for each in members)])


def _no_points(listed: Any, where: str) -> ImageError:
    return ImageError(where, f"has points {str(listed)[:60]} that are not (x, y)", fix="export it again")


def _names(described: list[Mapping[str, Any]], labels: Labels, where: str) -> list[Any]:
    """The class of each feature, from its properties; ``""`` for none.

    Raises:
        ImageError: no feature has one; the text lists the properties.
    """
    properties = [f["properties"] if isinstance(f.get("properties"), dict) else {} for f in described]
    known = dict.fromkeys(str(name) for each in properties for name in each)
    folded = {name.lower(): name for name in reversed(known)}
    name = labels.property or next((folded[each] for each in _PROPERTIES if each in folded), None)
    values = [_name(each.get(name)) for each in properties]
    if set(values) == {UNNAMED} and UNNAMED not in (labels.rename or {}):
        listed = ", ".join(list(known)[:12]) or "none"
        raise ImageError(
            where,
            f"gives its {len(values)} labels no class"
            + (f" in {name}" if name else "")
            + f"; their properties are: {listed}",
            fix="name the property (--property, property=), or say what labels without one are (--rename =CLASS)",
        )
    return values


def _name(value: Any) -> Any:
    """A class as QuPath or a GIS program writes it; ``""`` if there is none."""
    if isinstance(value, dict):
        names = value.get("names")
        value = ": ".join(map(str, names)) if isinstance(names, list) else value.get("name")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, (str, int)) and not isinstance(value, bool) else UNNAMED
