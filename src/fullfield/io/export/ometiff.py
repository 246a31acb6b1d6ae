"""Pyramidal OME-TIFF: one plane a band, tiled, with its place over the image."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield._version import __version__
from fullfield.errors import ImageError
from fullfield.io.export.grid import Grid, Progress, widened
from fullfield.io.export.npy import fill_npy
from fullfield.io.files import replacing

_TILE = 512
_LEAST = 256  # cells a side of the coarsest level


def write_ometiff(grid: Grid, path: Path, *, overwrite: bool = False, progress: Progress | None = None) -> None:
    """Writes a grid as OME-TIFF: channels named, pixel size and position in micrometres, or in pixels of the image.

    Positions are those of the first cell's centre from the centre of the image's first pixel, as OME-Zarr counts. The
    numbers are the stored ones; of scaled integers the description says the scale. The planes lie one after another in
    the file, so the numbers pass through a temporary file beside it.

    Raises:
        ImageError: tifffile is missing, or no space.
    """
    tifffile = _tifffile()
    grid = widened(grid)
    needed = math.prod(grid.shape) * grid.dtype.itemsize * 3
    with (
        replacing(path, overwrite=overwrite, needed_bytes=needed) as place,
        tempfile.TemporaryDirectory(prefix=".fullfield-", dir=path.resolve().parent) as work,
    ):
        levels = _levels(grid, Path(work), progress)
        with tifffile.TiffWriter(place, bigtiff=needed > 3 << 30, ome=True) as file:
            for number, (level, source) in enumerate(levels):
                options = _look(level) | {"shape": level.shape, "dtype": level.dtype, "tile": (_TILE, _TILE)}
                options |= {"compression": "zlib", "predictor": level.colours is None, "software": _software()}
                if number == 0:
                    options |= {"subifds": len(levels) - 1, "metadata": metadata(level)}
                else:
                    options |= {"subfiletype": 1, "metadata": None}
                file.write(_tiles(source, level), **options)


def metadata(grid: Grid) -> dict[str, Any]:
    """What OME-XML says, as tifffile takes it."""
    mpp = grid.mpp or (1.0, 1.0)
    unit = "µm" if grid.mpp else "pixel"
    y, x = (
        (origin + (spacing - 1) / 2) * size
        for origin, spacing, size in zip(grid.origin, grid.spacing, mpp, strict=True)
    )
    bands = grid.shape[0]
    return {
        "axes": "CYX",
        "Name": "scores" if grid.colours is None else "labels",
        "Description": f'{{"scale": {grid.scale!r}, "offset": {grid.offset!r}, "fullfield": {grid.about}}}',
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


def _look(grid: Grid) -> dict[str, Any]:
    """Grey levels, or the colour table of labels."""
    if grid.colours is None:
        return {"photometric": "minisblack"}
    table = np.zeros((3, int(np.iinfo(grid.dtype).max) + 1), np.uint16)
    for value, (colour, _) in enumerate(grid.colours):
        table[:, value] = np.array(colour, np.uint16) * 257
    return {"photometric": "palette", "colormap": table}


def _levels(grid: Grid, work: Path, progress: Progress | None) -> list[tuple[Grid, Path]]:
    """The numbers of every level of the pyramid in a file of their own, finest first."""
    source = work / "0.npy"
    fill_npy(grid, source, progress)
    levels = [(grid, source)]
    while max(grid.shape[1:]) > _LEAST:
        grid = _halved(grid, source)
        source = work / f"{len(levels)}.npy"
        fill_npy(grid, source, None)
        levels.append((grid, source))
    return levels


def _halved(grid: Grid, source: Path) -> Grid:
    """Cells of twice the side: the mean of the four that hold something, or the most frequent label."""
    bands, rows, columns = grid.shape

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        numbers = np.load(source, mmap_mode="r")[:, 2 * top : 2 * bottom, 2 * left : 2 * right]
        odd = (0, 0), (0, -numbers.shape[1] % 2), (0, -numbers.shape[2] % 2)
        whole = np.pad(numbers, odd, constant_values=grid.dtype.type(grid.fill))
        four = np.stack([whole[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
        return _most_frequent(four, grid) if grid.colours is not None else _mean(four, grid)

    return replace(
        grid,
        shape=(bands, -(-rows // 2), -(-columns // 2)),
        spacing=(2 * grid.spacing[0], 2 * grid.spacing[1]),
        read=read,
        cost_bytes=bands * grid.dtype.itemsize * 24,
    )


def _mean(four: NDArray[Any], grid: Grid) -> NDArray[Any]:
    there = ~np.isnan(four) if grid.dtype.kind == "f" else four != grid.dtype.type(grid.fill)
    wide = np.float64 if grid.dtype == np.float64 else np.float32
    with np.errstate(invalid="ignore", over="ignore"):  # infinite scores
        mean = np.where(there, four, 0).sum(axis=0, dtype=wide) / np.maximum(there.sum(axis=0), 1).astype(wide)
    mean = np.rint(mean) if grid.dtype.kind == "u" else mean
    return np.where(there.any(axis=0), mean, grid.fill).astype(grid.dtype)


def _most_frequent(four: NDArray[Any], grid: Grid) -> NDArray[Any]:
    counts = np.stack([(four == one).sum(axis=0) for one in four])
    counts[four == grid.dtype.type(grid.fill)] = 0
    found: NDArray[Any] = np.take_along_axis(four, counts.argmax(axis=0)[None], axis=0)[0]
    return found


def _tiles(source: Path, grid: Grid) -> Iterator[NDArray[Any]]:
    """Tiles of a file of numbers, band by band, row by row; whole ones."""
    bands, rows, columns = grid.shape
    for band in range(bands):
        for top in range(0, rows, _TILE):
            numbers = np.load(source, mmap_mode="r")[band, top : top + _TILE]
            for left in range(0, columns, _TILE):
                part = numbers[:, left : left + _TILE]
                missing = (0, _TILE - part.shape[0]), (0, _TILE - part.shape[1])
                yield np.pad(part, missing, constant_values=grid.dtype.type(grid.fill))


def _software() -> str:
    return f"fullfield {__version__}"


def _tifffile() -> Any:
    try:
        import imagecodecs  # noqa: F401 (tifffile compresses floats with it)
        import tifffile
    except ImportError as error:
        raise ImageError(
            "OME-TIFF", "needs the packages tifffile and imagecodecs", fix="pip install 'fullfield[tiff]'"
        ) from error
    return tifffile
