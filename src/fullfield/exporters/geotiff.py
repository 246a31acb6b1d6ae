"""GeoTIFF and Cloud-optimised GeoTIFF, through GDAL."""

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
from fullfield.engine.progress import OnProgress
from fullfield.errors import ImageError
from fullfield.exporters import cog as cog_file
from fullfield.exporters.grid import ExportGrid, blocks, counted, widened
from fullfield.exporters.whole import heard, missing_tiles
from fullfield.files import replacing, system_error

Compression = Literal["deflate", "zstd", "lzw", "none"]
_TILE = 512
_TILE_BYTES = 66 << 20  # of all bands of a tile: they must find room in GDAL's cache together, twice
_CACHE_BYTES = 192 << 20  # of GDAL's blocks; rasterio sets it at once, and back afterwards
_ORDER_BYTES = 64 << 20  # of the same while a Cloud-optimised file is ordered; more is slower
_ROOM_BYTES = 16 << 20  # a disk with less is full
_MIXED = 32  # bands that may lie interleaved


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

    Cell ``(i, j)``'s centre lies on the map where its window's centre does. Without a georeference the file has no CRS
    and its transform counts in pixels of the original image, x to the right and y downwards. Scaled integers carry
    scale and offset; labels a colour table. What made the map is the tag ``FULLFIELD``, as JSON.

    Args:
        grid: what to write.
        path: where to; checked already.
        overwrite: whether what lies there may go.
        progress: called after every block.
        cog: Cloud-optimised: all in the order that a reader of URLs wants; it takes the space of a second file while
            it is written. GDAL before 3.11 can order so the interleaved bands only, which is hopeless beyond a few
            dozen bands: more become a plain tiled file with overviews, band by band.
        compression: ``deflate``, ``zstd``, ``lzw`` or ``none``.

    Raises:
        ImageError: rasterio is missing, an unknown compression, no space, or a coordinate system that GDAL refuses.
    """
    rasterio = rasterio_or_error("GeoTIFF")
    if compression not in ("deflate", "zstd", "lzw", "none"):
        raise ImageError("compression", f"{compression!r} is not known", fix="use deflate, zstd, lzw or none")
    grid = widened(grid)
    cloud = cog and (grid.shape[0] <= _MIXED or _orders_bands(rasterio))
    needed = math.prod(grid.shape) * grid.dtype.itemsize * (2 if cloud else 1)
    with replacing(path, overwrite=overwrite, needed_bytes=needed) as place:
        plain = place.with_name(f"{place.name}.plain") if cloud else place
        # GDAL's own temporary files too go with the folder
        settings = {
            "GDAL_CACHEMAX": _CACHE_BYTES, "GDAL_TIFF_INTERNAL_MASK": True, "CPL_TMPDIR": str(place.parent)
        }  # fmt: skip
        errors = (rasterio.errors.RasterioError, rasterio.errors.CRSError, ValueError, *_gdal_errors())
        with heard() as told:
            try:
                with warnings.catch_warnings(), rasterio.Env(**settings):
                    # an image's own pixels without a georeference have the identity as transform, which is right
                    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                    _write(rasterio, grid, plain, "none" if cloud else compression, progress)
                    if cloud and not told:
                        options = _cog(rasterio, grid, compression)
                        ordering = settings | {"GDAL_CACHEMAX": _ordering_bytes(grid)}
                        cog_file.copy(rasterio, plain, place, settings=ordering, options=options)
                    elif not told:
                        _add_overviews(rasterio, grid, place)
                _check_whole(place, told)
            except errors as error:
                raise _refused(path, told[0] if told else _reason(error), needed) from error


def _check_whole(path: Path, told: list[str]) -> None:
    """Raises where GDAL closed a file that is not all there."""
    if told:
        raise ValueError(told[0])
    missing = missing_tiles(path)
    if missing:
        raise ValueError(f"{missing} tiles are missing")


def _refused(path: Path, reason: str, needed: int) -> ImageError:
    """What is said of a file that GDAL did not write; a full disk is called that."""
    if shutil.disk_usage(path.resolve().parent).free < _ROOM_BYTES:  # GDAL tells the reason to stderr at most
        return system_error(str(path), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), needed)
    fix = f"see that {needed} bytes are free there, and that the image's coordinate system is sound"
    return ImageError(str(path), f"GDAL cannot write it ({reason})", fix=fix)


def tile_side(grid: ExportGrid) -> int:
    """Side of a square tile: 512, or less where there are many bands or few cells; a multiple of 16.

    Examples:
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> tile_side(SimpleNamespace(shape=(1000, 9000, 9000), dtype=np.dtype("float32")))
        128
    """
    side = min(_TILE, -(-max(grid.shape[1:]) // 16) * 16)
    while side > 16 and grid.shape[0] * grid.dtype.itemsize * side * side > _TILE_BYTES:
        side = side // 32 * 16
    return side


def _ordering_bytes(grid: ExportGrid) -> int:
    """Of GDAL's cache while a file is ordered: room for a tile of all bands, twice."""
    return min(_CACHE_BYTES, _ORDER_BYTES + 2 * grid.shape[0] * grid.dtype.itemsize * _TILE**2)


def _write(rasterio: Any, grid: ExportGrid, path: Path, compression: str, progress: OnProgress | None) -> None:
    """The plain, tiled file, written once from the first row to the last."""
    bands, rows, columns = grid.shape
    lying, side = grid.lying, tile_side(grid)
    profile: dict[str, Any] = {
        "driver": "GTiff", "count": bands, "height": rows, "width": columns, "dtype": str(grid.dtype),
        "nodata": grid.fill, "crs": _crs(rasterio, grid), "transform": rasterio.Affine(*lying.transform),
        "tiled": True, "blockxsize": side, "blockysize": side, "interleave": "band",
        "bigtiff": "IF_SAFER", "compress": compression, "num_threads": "ALL_CPUS" if bands == 1 else 1,
    }  # fmt: skip
    if compression in ("deflate", "zstd", "lzw"):
        profile["predictor"] = predictor(grid)
    with rasterio.open(path, "w", **profile) as file:
        _describe(file, grid)
        for top, bottom, left, right in counted(blocks(grid, side), rows * columns, progress):
            window = rasterio.windows.Window(left, top, right - left, bottom - top)
            file.write(grid.read(top, bottom, left, right), window=window)
            file.write_mask(grid.valid(top, bottom, left, right), window=window)


def _describe(file: Any, grid: ExportGrid) -> None:
    """Names, scales, colours and provenance."""
    file.descriptions = grid.names
    if (grid.scale, grid.offset) != (1.0, 0.0):
        file.scales = (grid.scale,) * grid.shape[0]
        file.offsets = (grid.offset,) * grid.shape[0]
    if grid.colours is not None:
        table = {value: (*colour, 255) for value, (colour, _) in enumerate(grid.colours)}
        file.write_colormap(1, table | {int(grid.fill): (0, 0, 0, 0)})
        file.update_tags(1, **{f"CLASS_{value}": name for value, (_, name) in enumerate(grid.colours) if name})
    file.update_tags(FULLFIELD=grid.about, TIFFTAG_SOFTWARE=f"fullfield {__version__}", AREA_OR_POINT="Area")


def _cog(rasterio: Any, grid: ExportGrid, compression: str) -> dict[str, Any]:
    """Options of GDAL's driver for Cloud-optimised files."""
    options: dict[str, Any] = {
        "COMPRESS": compression.upper(),
        "BLOCKSIZE": _TILE,
        "BIGTIFF": "IF_SAFER",
        "OVERVIEW_RESAMPLING": "MODE" if grid.colours is not None else "AVERAGE",
        "NUM_THREADS": "ALL_CPUS" if grid.shape[0] == 1 else 1,  # GDAL stumbles over bands in threads
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
    """Halves inside the file, until one fits a tile."""
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
    text = grid.lying.crs
    return None if text is None else rasterio.crs.CRS.from_user_input(text)


def rasterio_or_error(what: str) -> Any:
    """The package rasterio.

    Raises:
        ImageError: it is not installed.
    """
    try:
        for part in ("crs", "enums", "errors", "shutil", "warp", "windows"):
            import_module(f"rasterio.{part}")
        return import_module("rasterio")
    except ImportError as error:
        raise ImageError(what, "needs the package rasterio", fix="pip install 'fullfield[geo]'") from error


def _gdal_errors() -> tuple[type[BaseException], ...]:
    """What GDAL's own errors are, which rasterio does not always turn into its."""
    return (import_module("rasterio._err").CPLE_BaseError,)


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0]
