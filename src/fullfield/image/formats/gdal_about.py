"""What GDAL says of a raster beside its pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from fullfield.errors import ImageError
from fullfield.image.blob import open_blob
from fullfield.image.formats.gdal_safety import CACHE_BYTES
from fullfield.image.identity import file_identity
from fullfield.image.raster import About, Georeference

_MOST_FILES = 256  # of one dataset that are sampled; a longer list is told by its names and number


def about_dataset(
    dataset: Any,
    path: str,
    *,
    bands: tuple[int, ...],
    channels: tuple[int, ...],
    names: tuple[str, ...],
    levels: tuple[tuple[int, int], ...],
    level: int,
) -> About:
    """Place, resolution, nodata and blocks of an open level.

    Args:
        dataset: rasterio's, opened at that level.
        path: as the user wrote it.
        bands: those read, counted from 1.
        channels: of a palette's colours, or counting the bands.
        names: the channels'.
        levels: heights and widths of the pyramid.
        level: the one opened.
    """
    nodata = [dataset.nodatavals[band - 1] for band in bands]
    same = all(value == nodata[0] or (_nan(value) and _nan(nodata[0])) for value in nodata)
    height, width = dataset.block_shapes[bands[0] - 1]
    reader = f"gdal ({dataset.driver})"
    georeference = _georeference(dataset)
    if georeference is None and (dataset.gcps[0] or dataset.rpcs is not None):
        reader = f"gdal ({dataset.driver}; placed by control points or a sensor model only, so not georeferenced)"
    return About(
        identity=_identity(dataset, path) | {"level": level, "bands": list(bands), "channels": list(channels)},
        tile=(min(height, dataset.height), min(width, dataset.width)),
        levels=levels,
        level=level,
        mpp=microns_per_pixel(dataset.transform, dataset.crs) if georeference else None,
        georeference=georeference,
        nodata=nodata[0] if same else None,
        band_names=names,
        reader=reader,
        held_bytes=_held_bytes(dataset),
    )


def _held_bytes(dataset: Any) -> int:
    """Of GDAL's blocks: its limit, or all of a small image."""
    pixel: int = sum(np.dtype(name).itemsize for name in dataset.dtypes)
    size = int(dataset.height) * int(dataset.width)
    return min(CACHE_BYTES, size * pixel)


def microns_per_pixel(transform: Any, crs: Any) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) along the image's own axes, by the units of a projected coordinate system."""
    if crs is None or transform.is_identity or not crs.is_projected:
        return None
    _, metres = crs.linear_units_factor
    return math.hypot(transform.b, transform.e) * metres * 1e6, math.hypot(transform.a, transform.d) * metres * 1e6


def _georeference(dataset: Any) -> Georeference | None:
    transform = dataset.transform
    if transform.is_identity:  # what rasterio gives for a file without a transform
        return None
    return Georeference(dataset.crs.to_wkt() if dataset.crs else None, tuple(transform)[:6])


def _identity(dataset: Any, path: str) -> dict[str, Any]:
    """Of all files that a dataset is made of; of an address, what was said of it."""
    found: dict[str, Any] = {"subdataset": dataset.name} if dataset.name != path else {}
    files = [name for name in dataset.files if Path(name).is_file()]
    if not files:
        said = {} if path.startswith("/vsi") else _said(path)
        return found | {"address": path, "shape": [dataset.height, dataset.width, dataset.count], **said}
    try:
        parts = {name: file_identity(name) for name in files[:_MOST_FILES]}
    except OSError as error:
        raise ImageError(path, f"a file of it cannot be read: {error}", fix="check its permissions") from error
    return found | {"files": parts, "count": len(files)}


def _said(url: str) -> dict[str, Any]:
    """What the server says of a file: size, ETag and time of change."""
    blob = open_blob(url)
    try:
        return blob.identity()
    finally:
        blob.close()


def _nan(value: float | None) -> bool:
    return value is not None and math.isnan(value)
