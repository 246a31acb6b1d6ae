"""Writes NumPy files, region by region."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fullfield.engine.progress import OnProgress
from fullfield.exporters.grid import ExportGrid, blocks, with_progress
from fullfield.files import replacing

_BLOCK = 256


def write_npy(grid: ExportGrid, path: Path, *, overwrite: bool = False, progress: OnProgress | None = None) -> None:
    """Writes ``(bands, y, x)`` as ``.npy``: scores as floats, NaN for none; labels as they are.

    The format stores no scale: scaled integers become float32.

    Raises:
        ImageError: no space, or no right to write.
    """
    grid = in_floats(grid)
    needed = math.prod(grid.shape) * grid.dtype.itemsize
    kind = {"descr": np.lib.format.dtype_to_descr(grid.dtype), "fortran_order": False, "shape": grid.shape}
    with replacing(path, overwrite=overwrite, needed_bytes=needed) as place, place.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, kind)
        fill_file(grid, file, progress)


def fill_file(grid: ExportGrid, file: BinaryIO, progress: OnProgress | None) -> None:
    """Writes the numbers of a grid ``(bands, y, x)`` from the file's current position.

    Each run of a row is one write: in a memory-mapped file a run of a few cells would take a whole page, which for 1000
    bands is eight times what is written.
    """
    (bands, rows, columns), size = grid.shape, grid.dtype.itemsize
    start = file.tell()
    file.truncate(start + bands * rows * columns * size)
    for top, bottom, left, right in with_progress(blocks(grid, _BLOCK), rows * columns, progress):
        numbers = np.ascontiguousarray(grid.read(top, bottom, left, right), grid.dtype)
        runs = numbers.reshape(bands, -1, (right - left) * (bottom - top if right - left == columns else 1))
        for band, run in np.ndindex(runs.shape[:2]):
            file.seek(start + ((band * rows + top + run) * columns + left) * size)
            file.write(runs[band, run].data)


def in_floats(grid: ExportGrid) -> ExportGrid:
    """The grid with scaled integers as floats."""
    if grid.dtype.kind == "f" or grid.colours is not None:
        return grid
    return replace(
        grid,
        dtype=np.dtype(np.float32),
        fill=math.nan,
        scale=1.0,
        offset=0.0,
        read=lambda *region: grid.decoded(grid.read(*region)),
        cost_bytes=grid.cost_bytes + 8 * grid.shape[0],
    )
