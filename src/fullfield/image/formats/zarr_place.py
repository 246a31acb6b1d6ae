"""Places a Zarr array on the map: by a grid mapping as xarray and rioxarray write it, or by GeoZarr's attributes.

Sources: CF conventions 1.11, section 5.6; GeoZarr's conventions ``proj:`` and ``spatial:``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fullfield.image.formats.gdal_metadata import microns_per_pixel
from fullfield.image.formats.zarr_axes import Axes
from fullfield.image.raster import AffineTransform, Georeference

_GRID_MAPPING = "spatial_ref"  # rioxarray's name
_UNEVEN = 0.1  # of the distance of two pixels, that a coordinate may be off: float32 rounds those of maps


@dataclass(frozen=True)
class ZarrGroup:
    """The group that an array is in.

    Args:
        attributes: of the group.
        array: returns an array of the group by its name; ``None`` if there is none.
    """

    attributes: Mapping[str, Any]
    array: Callable[[str], Any]


@dataclass(frozen=True)
class MapPlace:
    """Where an array lies.

    Args:
        georeference: ``None`` if it has none.
        mpp: micrometres per pixel (y, x), in a projected coordinate system.
        note: what could not be read, for the reader's name.
    """

    georeference: Georeference | None = None
    mpp: tuple[float, float] | None = None
    note: str = ""


def find_place(array: Any, names: Sequence[str], axes: Axes, group: ZarrGroup) -> MapPlace:
    """The place of an array on the map, as rioxarray finds it: the coordinates of x and y, else ``GeoTransform``.

    An array without a coordinate system has no place.

    Args:
        array: with its attributes.
        names: of its axes.
        axes: of it.
        group: that it is in.
    """
    attributes = {**group.attributes, **dict(array.attrs)}
    mapping = _grid_mapping(attributes, group)
    text = _first_text(mapping, ("crs_wkt", "spatial_ref")) or _first_text(attributes, ("proj:wkt2", "proj:code"))
    if text is None:
        return MapPlace()
    transform = _numbers(attributes.get("spatial:transform")) or _transform(mapping, names, axes, group)
    if transform is None:
        return MapPlace(note=", its coordinates of x and y are not evenly spaced: no place on the map")
    try:
        from rasterio.crs import CRS  # type: ignore[import-untyped]
        from rasterio.errors import CRSError  # type: ignore[import-untyped]
        from rasterio.transform import Affine  # type: ignore[import-untyped]
    except ImportError:
        known = text if "[" in text else None
        return MapPlace(Georeference(known, transform), note=", pip install 'fullfield[geo]' for its pixel size")
    try:
        crs = CRS.from_user_input(text)
    except CRSError:
        return MapPlace(Georeference(None, transform), note=", its coordinate system cannot be read")
    return MapPlace(Georeference(crs.to_wkt(), transform), microns_per_pixel(Affine(*transform), crs))


def _grid_mapping(attributes: Mapping[str, Any], group: ZarrGroup) -> Mapping[str, Any]:
    """The attributes of the variable that holds the coordinate system; none if there is no such variable."""
    named = attributes.get("grid_mapping")
    name = named.split()[0].rstrip(":") if isinstance(named, str) and named.strip() else _GRID_MAPPING
    holder = group.array(name)
    return {} if holder is None else dict(holder.attrs)


def _first_text(attributes: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of some attributes that is a text."""
    found = (attributes.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _transform(
    mapping: Mapping[str, Any], names: Sequence[str], axes: Axes, group: ZarrGroup
) -> AffineTransform | None:
    """The transform by coordinates, or by GDAL's text ``c a b f d e``, which alone can be turned."""
    text = mapping.get("GeoTransform")
    stated = _numbers(text.split()) if isinstance(text, str) else None
    if stated is not None:
        c, a, b, f, d, e = stated
        stated = (a, b, c, d, e, f)
        if b or d:
            return stated
    columns, rows = _line(group.array(names[axes.x])), _line(group.array(names[axes.y]))
    if columns is None or rows is None:
        return stated
    (x, width), (y, height) = columns, rows
    width = width or (stated[0] if stated else math.nan)
    height = height or (stated[4] if stated else math.nan)
    found = (width, 0.0, x - width / 2, 0.0, height, y - height / 2)
    return found if all(map(math.isfinite, found)) else None


def _line(array: Any) -> tuple[float, float] | None:
    """The first coordinate of an axis and the distance of two, 0 of a single one; ``None`` if there are none.

    Returns:
        NaN for the distance if they are not evenly spaced.
    """
    if array is None or array.ndim != 1 or array.dtype.kind not in "uif" or array.shape[0] < 1:
        return None
    count = int(array.shape[0])
    scale, offset = scale_and_offset(array.attrs)
    first, middle, last = (float(array[k]) * scale + offset for k in (0, count // 2, count - 1))
    if count == 1:
        return first, 0.0
    step = (last - first) / (count - 1)
    even = step and abs(middle - (first + step * (count // 2))) <= _UNEVEN * abs(step)
    return first, step if even else math.nan


def scale_and_offset(attributes: Mapping[str, Any]) -> tuple[float, float]:
    """CF's ``scale_factor`` and ``add_offset``, 1 and 0 if there are none."""
    found = []
    for name, default in (("scale_factor", 1.0), ("add_offset", 0.0)):
        value = attributes.get(name, default)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        found.append(float(value) if number else default)
    return found[0], found[1]


def _numbers(value: object) -> AffineTransform | None:
    """Six numbers of a list."""
    if not isinstance(value, (list, tuple)) or len(value) != 6:
        return None
    try:
        a, b, c, d, e, f = (float(each) for each in value)
    except (TypeError, ValueError):
        return None
    found = (a, b, c, d, e, f)
    return found if all(map(math.isfinite, found)) and a * e - b * d else None
