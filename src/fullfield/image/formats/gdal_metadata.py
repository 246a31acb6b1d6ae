"""Collects the metadata of a raster that GDAL reads."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.blob import open_blob
from fullfield.image.formats.gdal_safety import CACHE_BYTES
from fullfield.image.formats.sidecar_files import read_sidecars, world_file
from fullfield.image.identity import file_identity
from fullfield.image.place import crs_name
from fullfield.image.raster import Georeference, ImageMetadata, Origin, Statistics

_MOST_FILES = 256  # of one dataset whose bytes are sampled; of longer lists the number of files is part of the identity


def dataset_metadata(
    dataset: Any,
    path: str,
    *,
    bands: tuple[int, ...],
    channels: tuple[int, ...],
    names: tuple[str, ...],
    levels: tuple[tuple[int, int], ...],
    level: int,
) -> ImageMetadata:
    """Georeference, resolution, nodata value and block size of an open level.

    Args:
        dataset: a rasterio dataset, opened at that level.
        path: as the user wrote it.
        bands: bands read, counted from 1.
        channels: those returned, of the bands read or of the palette's colours.
        names: of the channels.
        levels: heights and widths of the pyramid, px.
        level: index of the level opened.
    """
    nodata = [dataset.nodatavals[band - 1] for band in bands]
    same = all(value == nodata[0] or (_nan(value) and _nan(nodata[0])) for value in nodata)
    height, width = dataset.block_shapes[bands[0] - 1]
    georeference = georeference_of(dataset)
    return ImageMetadata(
        identity=_identity(dataset, path) | {"level": level, "bands": list(bands), "channels": list(channels)},
        tile=(min(height, dataset.height), min(width, dataset.width)),
        levels=levels,
        level=level,
        mpp=microns_per_pixel(dataset.transform, dataset.crs) if georeference else None,
        georeference=georeference,
        nodata=nodata[0] if same else None,
        band_names=names,
        profile=_profile(dataset),
        held_bytes=_held_bytes(dataset),
    )


def reader_name(dataset: Any, path: str, *, placed: bool) -> str:
    """The reader's name, and what it makes of several or unusual places."""
    world, notes = world_file(path), ""
    if placed and (unused := _unused_world_file(dataset, path)):
        notes = f"; {unused} is not used: the file has a place of its own"
    elif not placed and world is not None:
        notes = f"; {world.name} is not used: it holds no six numbers, or gives pixels without an area"
    elif not placed and dataset.gcps[0]:
        notes = "; placed only by control points, which a GeoTIFF of its scores keeps: gdalwarp it first for a map"
    elif not placed and dataset.rpcs is not None:
        notes = "; placed only by a sensor model (RPC), which is dropped: gdalwarp it first for a map"
    return f"gdal ({dataset.driver}{notes})"


def _unused_world_file(dataset: Any, path: str) -> str | None:
    """The name of a world file beside a raster that has a place of its own."""
    world = world_file(path)
    unused = world is not None and not any(Path(name).name == world.name for name in dataset.files)
    return world.name if world is not None and unused else None


def place_text(dataset: Any, path: str, *, placed: bool) -> str | None:
    """What places a raster, open at its finest level, and on which map; ``None`` where nothing does."""
    if placed:
        unused = _unused_world_file(dataset, path)
        by = _placed_by(dataset, path) + (f", not by {unused}" if unused else "")
        return f"{crs_name(dataset.crs.to_wkt() if dataset.crs else None)}, by {by}"
    points, crs = dataset.gcps
    if points:
        known = crs_name(crs.to_wkt()) if crs else "an unknown coordinate system"
        return f"{len(points)} control points in {known}, which a GeoTIFF of the scores keeps"
    return None if dataset.rpcs is None else "a sensor model (RPC), which is dropped"


def _placed_by(dataset: Any, path: str) -> str:
    """What gives the transform: a file beside the image, geotags, or the format itself."""
    beside = read_sidecars(path) if Path(path).is_file() else None
    at = None if beside is None else beside.georeference
    if beside is not None and at is not None and np.allclose(at.transform, tuple(dataset.transform)[:6], rtol=1e-12):
        return " and ".join(beside.names)
    return "geotags" if dataset.driver == "GTiff" else f"the file ({dataset.driver})"


def statistics_of(dataset: Any, bands: tuple[int, ...]) -> Statistics | None:
    """The range of some bands, counted from 1, that the file or one beside it states; ``None`` unless of all."""
    tags = [dataset.tags(band) for band in bands]
    try:
        ranges = tuple((float(tag["STATISTICS_MINIMUM"]), float(tag["STATISTICS_MAXIMUM"])) for tag in tags)
    except (KeyError, ValueError):
        return None
    return Statistics(ranges, any(tag.get("STATISTICS_APPROXIMATE") == "YES" for tag in tags))


def band_names(dataset: Any) -> list[tuple[str, ...]]:
    """Names of every band: its description, and the colour that it is."""
    from rasterio.enums import ColorInterp  # type: ignore[import-untyped]

    none = ColorInterp.undefined, ColorInterp.palette, ColorInterp.gray  # gray is GDAL's guess of a first band
    colours = ["" if kind in none else kind.name for kind in dataset.colorinterp]
    own = [(each or "").strip() for each in dataset.descriptions]
    return [tuple(name for name in names if name) for names in zip(own, colours, strict=True)]


def palette_colours(dataset: Any) -> NDArray[np.uint8]:
    """RGBA of every index that a palette's band can hold; transparent black for those missing in the table."""
    table = np.zeros((1 << (16 if dataset.dtypes[0] == "uint16" else 8), 4), np.uint8)
    for index, colour in dataset.colormap(1).items():
        if 0 <= index < len(table):
            table[index] = colour
    return table


def _profile(dataset: Any) -> bytes | None:
    """The ICC profile of a raster."""
    text = dataset.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE", "")
    try:
        return base64.b64decode(text, validate=True) or None
    except ValueError:
        return None


def common_type(names: list[str], where: str) -> np.dtype[Any]:
    """The smallest type that holds all bands.

    Raises:
        ImageError: bands are complex.
    """
    if any(name.startswith("complex") for name in names):
        raise ImageError(
            where, f"bands are {names[0]}, a network takes real numbers", fix="write amplitude or phase to a file"
        )
    return np.result_type(*(np.dtype(name) for name in names))


def _held_bytes(dataset: Any) -> int:
    """Most bytes of decoded blocks that GDAL caches: its limit, or all of a small image."""
    pixel: int = sum(np.dtype(name).itemsize for name in dataset.dtypes)
    size = int(dataset.height) * int(dataset.width)
    return min(CACHE_BYTES, size * pixel)


def microns_per_pixel(transform: Any, crs: Any) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) along the image's axes, by the unit of a projected coordinate system."""
    if crs is None or transform.is_identity or not crs.is_projected:
        return None
    _, metres = crs.linear_units_factor
    return math.hypot(transform.b, transform.e) * metres * 1e6, math.hypot(transform.a, transform.d) * metres * 1e6


def control_points(dataset: Any) -> Origin:
    """The ground control points of a raster, open at its finest level."""
    found, crs = dataset.gcps
    points = tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in found)
    return Origin(points=points, points_crs=crs.to_wkt() if crs and points else None)


def tag_microns(dataset: Any) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) by the resolution tags of a TIFF, open at its finest level."""
    tags = dataset.tags() if dataset.driver == "GTiff" else {}
    unit = {"2": 25400.0, "3": 10000.0}.get(str(tags.get("TIFFTAG_RESOLUTIONUNIT", ""))[:1])
    try:
        per_unit = [float(tags[f"TIFFTAG_{axis}RESOLUTION"]) for axis in "YX"]
    except (KeyError, ValueError):
        return None
    if unit is None or not all(math.isfinite(each) and each > 0 for each in per_unit):
        return None
    return unit / per_unit[0], unit / per_unit[1]


def georeference_of(dataset: Any) -> Georeference | None:
    """The place of a raster on a map; ``None`` without a transform."""
    transform = dataset.transform
    if transform.is_identity:  # rasterio returns it for a file without a transform
        return None
    return Georeference(dataset.crs.to_wkt() if dataset.crs else None, tuple(transform)[:6])


def _identity(dataset: Any, path: str) -> dict[str, Any]:
    """The identities of all files that make up a dataset, wherever they lie; of a URL, what the server reports."""
    files = [name for name in dataset.files if Path(name).is_file()]
    if not files:
        found = {"subdataset": dataset.name} if dataset.name != path else {}
        remote = {} if path.startswith("/vsi") else _remote_identity(path)
        return found | {"address": path, "shape": [dataset.height, dataset.width, dataset.count], **remote}
    place = str(Path(path).absolute())
    part = dataset.name.replace(place, "")  # of a subdataset its name in the file
    try:
        first, *others = sorted(files, key=lambda name: (not _same_file(name, place), name))[:_MOST_FILES]
        parts = [file_identity(name) for name in (first, *others)]
    except OSError as error:
        raise ImageError(path, f"one of its files cannot be read: {error}", fix="check the permissions") from error
    return ({"subdataset": part} if part else {}) | {"files": parts, "count": len(files)}


def _same_file(name: str, place: str) -> bool:
    """Whether a name is that of the file that was asked for."""
    return str(Path(name).absolute()) == place


def _remote_identity(url: str) -> dict[str, Any]:
    """Size, ETag and time of change of a file on a server."""
    blob = open_blob(url)
    try:
        return blob.identity()
    finally:
        blob.close()


def _nan(value: float | None) -> bool:
    return value is not None and math.isnan(value)
