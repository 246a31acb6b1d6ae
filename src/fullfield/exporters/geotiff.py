"""Writes GeoTIFF and Cloud-optimised GeoTIFF with GDAL."""

from __future__ import annotations

import errno
import math
import os
import shutil
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from fullfield._version import __version__
from fullfield.arguments import check_choice
from fullfield.engine.progress import OnProgress
from fullfield.errors import ImageError
from fullfield.exporters import cog as cog_file
from fullfield.exporters.grid import ExportGrid, blocks, with_progress, without_float16
from fullfield.exporters.quiet import without_stderr
from fullfield.exporters.tiff_complete import gdal_errors_logged, missing_tiles
from fullfield.files import replacing, system_error
from fullfield.packages import import_packages

Compression = Literal["deflate", "zstd", "lzw", "none"]
_TILE = 512
_TILE_BYTES = 66 << 20  # of all bands of a tile: GDAL's cache must hold them twice
_CACHE_BYTES = 192 << 20  # of GDAL's block cache, while a file is written
_ORDER_BYTES = 64 << 20  # of the same, while a file is made Cloud-optimised; more is slower
_ROOM_BYTES = 16 << 20  # a disk with less free space counts as full
_MIXED = 32  # greatest number of bands that are stored interleaved


def write_geotiff(
    grid: ExportGrid,
    path: Path,
    *,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    cog: bool = True,
    compression: Compression = "deflate",
) -> None:
    """Writes a grid as GeoTIFF: CRS, transform, nodata, validity mask, one named band a class, tiles, overviews.

    GDAL counts bands from 1, fullfield classes from 0: class 0 is band 1; each band's description names its class.

    The centre of cell ``(i, j)`` lies on the map where its window's centre does. Without a georeference the file has
    no CRS, and its transform counts pixels of the original image, x from 0 to the right and y from 0 down to -height.
    Scaled integers have a scale and an offset, labels a colour table. The tag ``FULLFIELD`` says how the map was made,
    as JSON.

    Args:
        grid: what to write.
        path: of the file; checked already.
        overwrite: replace an earlier file.
        progress: called after every block.
        cog: Cloud-optimised: in the order in which a reader over HTTP needs it; while it is written it takes the space
            of two files. GDAL before 3.11 can do so with interleaved bands only, which is too slow beyond 32 bands:
            more become a plain tiled file with overviews, band by band.
        compression: ``deflate``, ``zstd``, ``lzw`` or ``none``.

    Raises:
        ImageError: rasterio is missing, an unknown compression, no space, or a coordinate system that GDAL refuses.
    """
    rasterio = rasterio_or_error("GeoTIFF")
    check_choice("compression", compression, ("deflate", "zstd", "lzw", "none"), ImageError)
    grid = without_float16(grid)
    cloud = cog and (grid.shape[0] <= _MIXED or _orders_bands(rasterio))
    needed = math.prod(grid.shape) * grid.dtype.itemsize * (2 if cloud else 1)
    with replacing(path, overwrite=overwrite, needed_bytes=needed) as place:
        plain = place.with_name(f"{place.name}.plain") if cloud else place
        # GDAL's temporary files are removed with the folder
        settings = {
            "GDAL_CACHEMAX": grid.within_budget(_CACHE_BYTES), "GDAL_TIFF_INTERNAL_MASK": True,
            "CPL_TMPDIR": str(place.parent),
        }  # fmt: skip
        errors = (rasterio.errors.RasterioError, rasterio.errors.CRSError, ValueError, *_gdal_errors())
        with gdal_errors_logged() as logged:
            try:
                with warnings.catch_warnings(), rasterio.Env(**settings):
                    # without a georeference the transform may be the identity, which is right
                    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                    _write(rasterio, grid, plain, "none" if cloud else compression, progress)
                    if cloud and not logged:
                        options = _cog(rasterio, grid, compression)
                        ordering = settings | {"GDAL_CACHEMAX": _ordering_bytes(grid)}
                        with without_stderr():
                            cog_file.copy(rasterio, plain, place, settings=ordering, options=options)
                    elif not logged:
                        with without_stderr():
                            _add_overviews(rasterio, grid, place)
                _check_complete(place, logged)
            except errors as error:
                raise gdal_refused(path, logged[0] if logged else _reason(error), needed) from error


def _check_complete(path: Path, logged: list[str]) -> None:
    """Raises if GDAL reported an error, or closed an incomplete file without one."""
    if logged:
        raise ValueError(logged[0])
    missing = missing_tiles(path)
    if missing:
        raise ValueError(f"{missing} tiles are missing")


def gdal_refused(path: Path, reason: str, needed: int) -> ImageError:
    """The error for a file that GDAL did not write; a full disk is named."""
    if shutil.disk_usage(path.resolve().parent).free < _ROOM_BYTES:  # GDAL does not return the reason
        return system_error(str(path), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), needed)
    fix = f"see that {needed} bytes are free there, and that the image's coordinate system is sound"
    return ImageError(str(path), f"GDAL cannot write it ({reason})", fix=fix)


def tile_side(grid: ExportGrid) -> int:
    """Side of a square tile: 512, or less if there are many bands or few cells; a multiple of 16.

    Examples:
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> grid = SimpleNamespace(shape=(1000, 9000, 9000), dtype=np.dtype("float32"), within_budget=lambda most: most)
        >>> tile_side(grid)
        128
    """
    side = min(_TILE, -(-max(grid.shape[1:]) // 16) * 16)
    most = grid.within_budget(_TILE_BYTES)
    while side > 16 and grid.shape[0] * grid.dtype.itemsize * side * side > most:
        side = side // 32 * 16
    return side


def _ordering_bytes(grid: ExportGrid) -> int:
    """Bytes of GDAL's cache while a file is made Cloud-optimised: all bands of a tile fit in twice."""
    wanted = min(_CACHE_BYTES, _ORDER_BYTES + 2 * grid.shape[0] * grid.dtype.itemsize * _TILE**2)
    return grid.within_budget(wanted)


def _write(rasterio: Any, grid: ExportGrid, path: Path, compression: str, progress: OnProgress | None) -> None:
    """Writes the plain tiled file, from the first row to the last."""
    bands, rows, columns = grid.shape
    placed, side = grid.on_map, tile_side(grid)
    profile: dict[str, Any] = {
        "driver": "GTiff", "count": bands, "height": rows, "width": columns, "dtype": str(grid.dtype),
        "nodata": grid.fill, "crs": _crs(rasterio, grid), "transform": rasterio.Affine(*placed.transform),
        "tiled": True, "blockxsize": side, "blockysize": side, "interleave": "band",
        "bigtiff": "IF_SAFER", "compress": compression, "num_threads": "ALL_CPUS" if bands == 1 else 1,
    }  # fmt: skip
    if compression in ("deflate", "zstd", "lzw"):
        profile["predictor"] = predictor(grid)
    file = rasterio.open(path, "w", **profile)
    try:
        _place_by_points(rasterio, file, grid)
        _describe(file, grid)
        for top, bottom, left, right in with_progress(blocks(grid, side), rows * columns, progress):
            window = rasterio.windows.Window(left, top, right - left, bottom - top)
            cells, valid = grid.read(top, bottom, left, right), grid.valid(top, bottom, left, right)
            with without_stderr():
                file.write(cells, window=window)
                file.write_mask(valid, window=window)
    finally:
        with without_stderr():
            file.close()


def _place_by_points(rasterio: Any, file: Any, grid: ExportGrid) -> None:
    """Writes the control points of an image that only these place, in cells of the grid."""
    points, crs = grid.image_origin.points, grid.image_origin.points_crs
    if grid.georeference is not None or not points:
        return
    (top, left), (height, width) = grid.origin, grid.spacing
    moved = [
        rasterio.control.GroundControlPoint((y - top) / height, (x - left) / width, *place) for y, x, *place in points
    ]
    file.gcps = moved, rasterio.crs.CRS() if crs is None else rasterio.crs.CRS.from_user_input(crs)


def _describe(file: Any, grid: ExportGrid) -> None:
    """Writes names, scales, colours and provenance."""
    file.descriptions = grid.names
    if (grid.scale, grid.offset) != (1.0, 0.0):
        file.scales = (grid.scale,) * grid.shape[0]
        file.offsets = (grid.offset,) * grid.shape[0]
    if grid.colours is not None:
        table = {value: (*colour, 255) for value, (colour, _) in enumerate(grid.colours)}
        file.write_colormap(1, table | {int(grid.fill): (0, 0, 0, 0)})
        file.update_tags(1, **{f"CLASS_{value}": name for value, (_, name) in enumerate(grid.colours) if name})
    file.update_tags(FULLFIELD=grid.metadata, TIFFTAG_SOFTWARE=f"fullfield {__version__}", AREA_OR_POINT="Area")


def _cog(rasterio: Any, grid: ExportGrid, compression: str) -> dict[str, Any]:
    """Options of GDAL's driver for Cloud-optimised files."""
    options: dict[str, Any] = {
        "COMPRESS": compression.upper(),
        "BLOCKSIZE": _TILE,
        "BIGTIFF": "IF_SAFER",
        "OVERVIEW_RESAMPLING": "MODE" if grid.colours is not None else "AVERAGE",
        "NUM_THREADS": "ALL_CPUS" if grid.shape[0] == 1 else 1,  # GDAL fails with several bands and threads
    }
    if compression != "none":
        options["PREDICTOR"] = {1: "NO", 2: "STANDARD", 3: "FLOATING_POINT"}[predictor(grid)]
    if grid.shape[0] > 4 and _orders_bands(rasterio):
        options["INTERLEAVE"] = "BAND"
    return options


def _orders_bands(rasterio: Any) -> bool:
    """Whether GDAL writes Cloud-optimised files band by band (since 3.11)."""
    major, minor = (int(part) for part in rasterio.__gdal_version__.split(".")[:2])
    return (major, minor) >= (3, 11)


def _add_overviews(rasterio: Any, grid: ExportGrid, path: Path) -> None:
    """Adds levels of half the size each, until one fits a tile."""
    levels, side = list[int](), max(grid.shape[1:])
    while side > _TILE:
        side = -(-side // 2)
        levels.append(2 ** (len(levels) + 1))
    if levels:
        kind = rasterio.enums.Resampling.mode if grid.colours is not None else rasterio.enums.Resampling.average
        with rasterio.open(path, "r+") as file:
            file.build_overviews(levels, kind)


def predictor(grid: ExportGrid) -> int:
    """TIFF's predictor: 3 for floats, 2 for integers that vary smoothly, 1 for labels."""
    if grid.colours is not None:
        return 1
    return 3 if grid.dtype.kind == "f" else 2


def _crs(rasterio: Any, grid: ExportGrid) -> Any:
    text = grid.on_map.crs
    return None if text is None else rasterio.crs.CRS.from_user_input(text)


def rasterio_or_error(what: str) -> Any:
    """The package rasterio.

    Raises:
        ImageError: it is not installed.
    """
    parts = [f"rasterio.{part}" for part in ("control", "crs", "enums", "errors", "shutil", "warp", "windows")]
    return import_packages("rasterio", *parts, extra="geo", where=what)[0]


def _gdal_errors() -> tuple[type[BaseException], ...]:
    """GDAL's own errors, some of which rasterio does not convert."""
    return (import_module("rasterio._err").CPLE_BaseError,)


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0]
