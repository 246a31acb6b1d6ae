"""Reads GeoPackage, FlatGeobuf and shapefiles as the documents that GeoJSON files are read as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fullfield.errors import ImageError, first_line
from fullfield.mask.geojson_polygons import PackedPolygons
from fullfield.packages import import_packages

_SQLITE, _FLATGEOBUF, _SHAPEFILE = b"SQLite format 3\0", b"fgb\x03", b"\x00\x00\x27\x0a"
_POLYGONS, _POINTS, _COLLECTION = (3, 6), (0, 4), 7  # type numbers of shapely; of a shape and of several


def is_vector_file(path: Path, head: bytes) -> bool:
    """Whether a file holds shapes, by how it begins; a GeoPackage may hold a picture instead.

    Raises:
        ImageError: it is a GeoPackage, and pyogrio is not installed.
    """
    return head.startswith((_FLATGEOBUF, _SHAPEFILE)) or (head.startswith(_SQLITE) and bool(_layers(path)))


def _layers(path: Path) -> list[str]:
    """Names of the layers of a file that have shapes; none where GDAL reads no layers in it."""
    pyogrio, _ = _packages(path)
    try:
        return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except (RuntimeError, ValueError, OSError):
        return []


def vector_document(path: Path, *, described: bool = False) -> dict[str, Any]:
    """The shapes of a file as a feature collection with packed polygons, and its coordinate system, ``""`` for none.

    Args:
        path: of the file.
        described: read the columns too, as properties.

    Raises:
        ImageError: it cannot be read, has several layers, or a package is not installed.
    """
    pyogrio, shapely = _packages(path)
    layers = _layers(path)
    if len(layers) > 1:
        what = f"has {len(layers)} layers with shapes: {', '.join(layers[:5])}"
        raise ImageError(str(path), what, fix="export the layer that is meant to a file of its own")
    try:
        info, _, shapes, columns = pyogrio.raw.read(
            path, layer=layers[0] if layers else None, columns=None if described else [], force_2d=True
        )
        found = shapely.from_wkb(shapes)
    except (RuntimeError, ValueError, OSError, IndexError, shapely.errors.ShapelyError) as error:
        raise _unreadable(path, error) from error
    names = [str(name) for name in info["fields"]]
    features: list[dict[str, Any]] = [
        {"type": "Feature", "geometry": _geometry(shapely, each), "properties": {}} for each in found
    ]
    for name, values in zip(names, columns, strict=True):
        for feature, value in zip(features, values.tolist(), strict=True):
            feature["properties"][name] = value
    crs = {"type": "name", "properties": {"name": info["crs"] or ""}}
    return {"type": "FeatureCollection", "features": features, "crs": crs}


def _geometry(shapely: Any, shape: Any) -> dict[str, Any] | None:
    """A shape as GeoJSON; polygons packed, collections part by part, lines left out."""
    if shape is None or shapely.is_empty(shape):
        return None
    kind = int(shapely.get_type_id(shape))
    if kind in _POLYGONS:
        parts = shapely.get_parts(shape)
        rings, owners = shapely.get_rings(parts, return_index=True)
        points, belongs = shapely.get_coordinates(rings, return_index=True)
        lengths = np.bincount(belongs, minlength=len(rings)).tolist()
        counts = np.bincount(owners, minlength=len(parts)).tolist()
        return {"type": "MultiPolygon", "coordinates": PackedPolygons(points.tobytes(), lengths, counts)}
    if kind in _POINTS:
        points = shapely.get_coordinates(shape).tolist()
        return {"type": "MultiPoint", "coordinates": points} if kind else {"type": "Point", "coordinates": points[0]}
    if kind == _COLLECTION:
        inner = [_geometry(shapely, part) for part in shapely.get_parts(shape)]
        return {"type": "GeometryCollection", "geometries": [each for each in inner if each is not None]}
    return None


def _packages(path: Path) -> tuple[Any, Any]:
    what = "is a vector file, which the packages pyogrio and shapely read, and they are not installed"
    pyogrio, shapely = import_packages("pyogrio", "shapely", extra="vector", where=str(path), what=what)
    return pyogrio, shapely


def _unreadable(path: Path, error: BaseException) -> ImageError:
    what = f"cannot be read as a vector file ({first_line(error)})"
    return ImageError(str(path), what, fix="export it again, or as GeoJSON; a .shp needs its .shx")
