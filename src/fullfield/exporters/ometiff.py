"""Writes pyramidal OME-TIFF: one tiled plane for each band, with its position on the image."""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield._version import __version__
from fullfield.engine.progress import OnProgress
from fullfield.exporters.grid import ExportGrid, without_float16
from fullfield.exporters.npy import fill_file
from fullfield.files import replacing
from fullfield.packages import import_packages
from fullfield.store.halving import halved

_TILE = 512
_BATCH_BYTES = 32 << 20  # of tiles that all cores compress at once
_LEAST = 256  # cells a side of the coarsest level
_HALVED_BYTES = 1 << 20  # of rows halved at once: they fit a core's cache


def write_ometiff(grid: ExportGrid, path: Path, *, overwrite: bool = False, progress: OnProgress | None = None) -> None:
    """Writes a grid as OME-TIFF: channels named, pixel size and position in micrometres, or in pixels of the image.

    Positions are distances between the centres of the first cell and of the image's first pixel, as in OME-Zarr,
    added to the position of the image's stage. The numbers are the stored ones; the description names the scale of
    integers. The planes follow one another in the file, so that the numbers pass through a temporary file in the same
    folder.

    Raises:
        ImageError: tifffile is missing, or no space.
    """
    tifffile = _tifffile()
    grid = without_float16(grid)
    needed = math.prod(grid.shape) * grid.dtype.itemsize * 3
    with replacing(path, overwrite=overwrite, needed_bytes=needed) as place:
        levels = _levels(grid, place.parent, progress)
        with tifffile.TiffWriter(place, bigtiff=needed > 3 << 30, ome=True) as file:
            for number, (level, source) in enumerate(levels):
                options = _photometric(level) | {"shape": level.shape, "dtype": level.dtype, "tile": (_TILE, _TILE)}
                options |= {"compression": "zlib", "predictor": level.colours is None, "software": _software()}
                options |= {"maxworkers": os.cpu_count(), "buffersize": grid.within_budget(_BATCH_BYTES)}
                if number == 0:
                    told = ome_metadata(level)
                    told["UUID"] = _uuid(told, source)
                    options |= {"subifds": len(levels) - 1, "metadata": told}
                else:
                    options |= {"subfiletype": 1, "metadata": None}
                file.write(_tiles(source, level), **options)


def ome_metadata(grid: ExportGrid) -> dict[str, Any]:
    """The contents of OME-XML, as tifffile takes them."""
    mpp, at = grid.mpp or (1.0, 1.0), grid.image_origin.first if grid.mpp else (0.0, 0.0)
    unit = "µm" if grid.mpp else "pixel"
    y, x = (
        (origin + (spacing - 1) / 2) * size + first
        for origin, spacing, size, first in zip(grid.origin, grid.spacing, mpp, at, strict=True)
    )
    bands = grid.shape[0]
    return {
        "axes": "CYX",
        "Name": "scores" if grid.colours is None else "labels",
        "Description": f'{{"scale": {grid.scale!r}, "offset": {grid.offset!r}, "fullfield": {grid.metadata}}}',
        "PhysicalSizeX": grid.spacing[1] * mpp[1],
        "PhysicalSizeY": grid.spacing[0] * mpp[0],
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeYUnit": unit,
        "Channel": {"Name": list(grid.names)},
        "Plane": {
            "PositionX": [x] * bands, "PositionXUnit": [unit] * bands,
            "PositionY": [y] * bands, "PositionYUnit": [unit] * bands,
        },
    }  # fmt: skip


def _uuid(told: dict[str, Any], numbers: Path) -> str:
    """An identifier that follows from what a file says and holds: equal maps give equal files, others do not."""
    with numbers.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([told, digest])))


def _photometric(grid: ExportGrid) -> dict[str, Any]:
    """Options for grey levels, or for the colour table of labels."""
    if grid.colours is None:
        return {"photometric": "minisblack"}
    table = np.zeros((3, int(np.iinfo(grid.dtype).max) + 1), np.uint16)
    for value, (colour, _) in enumerate(grid.colours):
        table[:, value] = np.array(colour, np.uint16) * 257
    return {"photometric": "palette", "colormap": table}


def _levels(grid: ExportGrid, work: Path, progress: OnProgress | None) -> list[tuple[ExportGrid, Path]]:
    """Writes the numbers ``(bands, y, x)`` of each level of the pyramid to a file; finest level first."""
    source = work / "0"
    with source.open("wb") as file:
        fill_file(grid, file, progress)
    levels = [(grid, source)]
    while max(grid.shape[1:]) > _LEAST:
        target = work / str(len(levels))
        _halve(grid, source, target)
        (bands, rows, columns), (height, width) = grid.shape, grid.spacing
        grid = replace(grid, shape=(bands, -(-rows // 2), -(-columns // 2)), spacing=(2 * height, 2 * width))
        source = target
        levels.append((grid, source))
    return levels


def _halve(grid: ExportGrid, source: Path, target: Path) -> None:
    """Halves a level: the mean of the valid ones of four cells, or their most frequent label."""
    bands, rows, columns = grid.shape
    labels = grid.colours is not None
    height = 2 * max(1, _HALVED_BYTES // (2 * columns * grid.dtype.itemsize))
    with source.open("rb") as fine, target.open("wb") as coarse:
        for _ in range(bands):
            for top in range(0, rows, height):
                count = min(height, rows - top)
                numbers = np.fromfile(fine, grid.dtype, count * columns).reshape(count, columns)
                coarse.write(halved(numbers, grid.fill, labels=labels).data)


def _tiles(source: Path, grid: ExportGrid) -> Iterator[NDArray[Any]]:
    """Tiles of a file of numbers, band by band and row by row, filled up to whole tiles."""
    (bands, rows, columns), size = grid.shape, grid.dtype.itemsize
    with source.open("rb", buffering=0) as file:
        for band, i, j in np.ndindex(bands, -(-rows // _TILE), -(-columns // _TILE)):
            tile = np.full((_TILE, _TILE), grid.fill, grid.dtype)
            first, left = band * rows + i * _TILE, j * _TILE
            for row in range(min(_TILE, rows - i * _TILE)):
                file.seek(((first + row) * columns + left) * size)
                file.readinto(tile[row, : columns - left].data)
            yield tile


def _software() -> str:
    return f"fullfield {__version__}"


def _tifffile() -> Any:
    names = ("tifffile", "imagecodecs")  # tifffile compresses floats with it
    what = "needs the packages tifffile and imagecodecs"
    return import_packages(*names, extra="tiff", where="OME-TIFF", what=what)[0]
