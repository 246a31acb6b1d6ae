"""Coordinates of exported points: px of the image, its coordinate system, or degrees."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np

from fullfield.arguments import check_choice
from fullfield.errors import ImageError
from fullfield.exporters.antimeridian import Floats
from fullfield.exporters.geotiff import rasterio_or_error
from fullfield.exporters.grid import ExportGrid

Coordinates = Literal["auto", "image", "map", "wgs84"]
ToCoordinates = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""Coordinates (x, y) of points given as rows and columns: px of the image, or cells from the corner of the map."""
LONGITUDE_LATITUDE = "OGC:CRS84"


class OutputFrame(NamedTuple):
    """The coordinates in which objects are written.

    Args:
        convert: points in px of the image to coordinates.
        curved: whether straight lines of the image may be curves.
        crs: coordinate system; ``None`` for px, or where it is not known.
        header: members of a GeoJSON file that describe them, as JSON text.
    """

    convert: ToCoordinates
    curved: bool
    crs: str | None
    header: dict[str, str]


def frame_of(grid: ExportGrid, coordinates: Coordinates) -> OutputFrame:
    """The coordinates of a name; ``auto`` is ``map`` where the image has a place on one.

    Raises:
        ImageError: an unknown name, the image has no georeference, or rasterio is not installed.
    """
    check_choice("coordinates", coordinates, get_args(Coordinates), ImageError)
    georeference, header = grid.georeference, {"fullfield": grid.metadata}
    if coordinates == "image" or (coordinates == "auto" and georeference is None):
        top, left = grid.image_origin.corner  # QuPath's
        return OutputFrame(lambda y, x: (x - left, y - top), False, None, header)
    if georeference is None or (georeference.crs is None and coordinates == "wgs84"):
        what = "the image has no georeference" if georeference is None else "the image's coordinate system is not known"
        raise ImageError("coordinates", what, fix='pass coordinates="image"')
    crs = georeference.crs
    if coordinates != "wgs84":
        if crs is not None:  # as in GeoJSON before RFC 7946; QGIS and GDAL read it
            header = {"crs": json.dumps({"type": "name", "properties": {"name": _crs_name(crs)}}), **header}
        return OutputFrame(georeference.on_map, False, crs, header)
    rasterio = rasterio_or_error("wgs84")
    source = rasterio.crs.CRS.from_user_input(crs)

    def on_earth(y: Floats, x: Floats) -> tuple[Floats, Floats]:
        px, py = georeference.on_map(y, x)
        lon, lat = rasterio.warp.transform(source, LONGITUDE_LATITUDE, px.tolist(), py.tolist())
        return _wrapped(np.array(lon)), np.array(lat)

    return OutputFrame(on_earth, True, LONGITUDE_LATITUDE, header)


def from_cells(grid: ExportGrid, frame: OutputFrame) -> ToCoordinates:
    """Converts points given as rows and columns of cells, counted from the corner of the map."""
    (top, left), (height, width) = grid.origin, grid.spacing
    return lambda y, x: frame.convert(top + y * height, left + x * width)


def _wrapped(longitudes: Floats) -> Floats:
    """Longitudes between -180 and 180."""
    return np.where(np.abs(longitudes) > 180, (longitudes + 180) % 360 - 180, longitudes)


def _crs_name(crs: str) -> str:
    """The coordinate system's name as a URN, if it is one of EPSG's or OGC's; else as WKT."""
    rasterio = rasterio_or_error("map coordinates")
    system = rasterio.crs.CRS.from_user_input(crs)
    code = system.to_epsg()
    if code is not None:
        return f"urn:ogc:def:crs:EPSG::{code}"
    if system == rasterio.crs.CRS.from_user_input(LONGITUDE_LATITUDE):
        return "urn:ogc:def:crs:OGC:1.3:CRS84"
    return str(system.to_wkt())
