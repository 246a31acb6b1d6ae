"""Coordinates of the windows' centres: px of the image, micrometres, or those of its map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import check_choice
from fullfield.errors import ImageError
from fullfield.exporters.geotiff import rasterio_or_error
from fullfield.image.raster import Georeference
from fullfield.store.maps import MapSpec

CellCoordinates = Literal["auto", "image", "micrometres", "map"]
Coordinate = NDArray[np.float64]


@dataclass(frozen=True)
class CellAxes:
    """The centres of the windows along each axis.

    Args:
        y, x: one coordinate for each row and column of cells.
        y_attributes, x_attributes: names and units, after the CF conventions.
        crs: coordinate system as WKT, if they are those of a map.
    """

    y: Coordinate
    x: Coordinate
    y_attributes: dict[str, str] = field(default_factory=dict)
    x_attributes: dict[str, str] = field(default_factory=dict)
    crs: str | None = None


def image_axes(spec: MapSpec) -> tuple[Coordinate, Coordinate]:
    """Pixel-edge coordinates of the centres on the original image, of rows and of columns."""
    (top, left), (height, width) = spec.placement.centre(0, 0), spec.placement.spacing
    rows, columns = spec.placement.shape
    return top + height * np.arange(rows, dtype=np.float64), left + width * np.arange(columns, dtype=np.float64)


def cell_axes(spec: MapSpec, coordinates: CellCoordinates) -> CellAxes:
    """The centres in the coordinates asked for: with ``auto`` the map's, else micrometres, else px, as far as known.

    Raises:
        ImageError: unknown coordinates, or ones that the image does not have along its axes.
    """
    check_choice("coordinates", coordinates, get_args(CellCoordinates), ImageError)
    if coordinates == "auto":
        straight = spec.georeference is not None and is_straight(spec.georeference)
        coordinates = "map" if straight else "micrometres" if spec.mpp else "image"
    y, x = image_axes(spec)
    if coordinates == "map":
        return _on_map(spec.georeference, y, x)
    if coordinates == "micrometres":
        if spec.mpp is None:
            raise ImageError("coordinates", "the size of a pixel is not known", fix='pass coordinates="image"')
        return CellAxes(y * spec.mpp[0], x * spec.mpp[1], *_texts("µm from the {} edge of the image", "um"))
    if spec.of_signal:
        return CellAxes(y, x, {}, {"long_name": "samples from the start of the signal"})
    return CellAxes(y, x, *_texts("px from the {} edge of the image", "px"))


def _texts(text: str, units: str) -> tuple[dict[str, str], dict[str, str]]:
    down, across = ({"long_name": text.format(edge), "units": units} for edge in ("top", "left"))
    return down, across


def is_straight(georeference: Georeference) -> bool:
    """Whether rows of the image are rows of its map."""
    _, b, _, d, _, _ = georeference.transform
    return b == d == 0


def _on_map(georeference: Georeference | None, y: Coordinate, x: Coordinate) -> CellAxes:
    if georeference is None:
        raise ImageError("coordinates", "the image has no georeference", fix='pass coordinates="image"')
    if not is_straight(georeference):
        what = "the image is turned on its map: rows have no single coordinate"
        raise ImageError("coordinates", what, fix='pass coordinates="image", or use to_frame or to_geodataframe')
    a, _, c, _, e, f = georeference.transform
    system = coordinate_system(georeference)
    down, across = {"axis": "Y"}, {"axis": "X"}
    if system is not None and system.is_geographic:
        down |= {"standard_name": "latitude", "units": "degrees_north"}
        across |= {"standard_name": "longitude", "units": "degrees_east"}
    elif system is not None:
        down |= {"standard_name": "projection_y_coordinate", "units": system.linear_units}
        across |= {"standard_name": "projection_x_coordinate", "units": system.linear_units}
    return CellAxes(e * y + f, a * x + c, down, across, None if system is None else system.to_wkt())


def coordinate_system(georeference: Georeference) -> Any:
    """The coordinate system as rasterio's ``CRS``; ``None`` where the image has a transform only.

    Raises:
        ImageError: rasterio is not installed.
    """
    if georeference.crs is None:
        return None
    return rasterio_or_error("coordinates").crs.CRS.from_user_input(georeference.crs)
