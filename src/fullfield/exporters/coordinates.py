"""Coordinates of exported points: px of the image, its coordinate system, or degrees."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

import numpy as np

from fullfield.errors import ImageError
from fullfield.exporters.antimeridian import Floats
from fullfield.exporters.geotiff import rasterio_or_error
from fullfield.exporters.grid import ExportGrid

Coordinates = Literal["image", "map", "wgs84"]
ToCoordinates = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""Coordinates (x, y) of points given as rows and columns of cells, counted from the corner of the map."""


def coordinates_of(grid: ExportGrid, coordinates: Coordinates) -> tuple[ToCoordinates, dict[str, str]]:
    """Converts points of a grid to coordinates; and the members of a GeoJSON file that describe them, as JSON.

    Raises:
        ImageError: the image has no georeference, or rasterio is not installed.
    """
    (top, left), (height, width) = grid.origin, grid.spacing
    header = {"fullfield": grid.metadata}

    def on_image(y: Floats, x: Floats) -> tuple[Floats, Floats]:
        return left + x * width, top + y * height

    if coordinates == "image":
        return on_image, header
    georeference = grid.georeference
    if georeference is None or (georeference.crs is None and coordinates == "wgs84"):
        what = "the image has no georeference" if georeference is None else "the image's coordinate system is not known"
        raise ImageError("coordinates", what, fix='pass coordinates="image"')
    a, b, c, d, e, f = georeference.transform

    def on_map(y: Floats, x: Floats) -> tuple[Floats, Floats]:
        px, py = on_image(y, x)
        return a * px + b * py + c, d * px + e * py + f

    if coordinates == "map":
        name = None if georeference.crs is None else _urn(georeference.crs)
        if name is not None:  # as in GeoJSON before RFC 7946; QGIS and GDAL read it
            header = {"crs": json.dumps({"type": "name", "properties": {"name": name}}), **header}
        return on_map, header
    rasterio = rasterio_or_error("wgs84")
    source = rasterio.crs.CRS.from_user_input(georeference.crs)

    def on_earth(y: Floats, x: Floats) -> tuple[Floats, Floats]:
        px, py = on_map(y, x)
        lon, lat = rasterio.warp.transform(source, "OGC:CRS84", px.tolist(), py.tolist())
        return _wrapped(np.array(lon)), np.array(lat)

    return on_earth, header


def _wrapped(longitudes: Floats) -> Floats:
    """Longitudes between -180 and 180."""
    return np.where(np.abs(longitudes) > 180, (longitudes + 180) % 360 - 180, longitudes)


def _urn(crs: str) -> str | None:
    """The coordinate system's name as a URN, if it is one of EPSG's."""
    rasterio = rasterio_or_error("map coordinates")
    code = rasterio.crs.CRS.from_user_input(crs).to_epsg()
    return None if code is None else f"urn:ogc:def:crs:EPSG::{code}"
