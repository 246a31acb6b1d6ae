"""NumPy files, written by region."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from fullfield.io.export.grid import Grid, Progress, blocks, counted
from fullfield.io.files import replacing

_BLOCK = 256


def write_npy(grid: Grid, path: Path, *, overwrite: bool = False, progress: Progress | None = None) -> None:
    """Writes ``(bands, y, x)`` as ``.npy``: scores as floats, NaN for none; labels as they are.

    The format has no room for a scale: scaled integers become float32.

    Raises:
        ImageError: no space, or no right to write.
    """
    grid = meant(grid)
    needed = math.prod(grid.shape) * grid.dtype.itemsize
    with replacing(path, overwrite=overwrite, needed_bytes=needed) as place:
        fill_npy(grid, place, progress)


def fill_npy(grid: Grid, path: Path, progress: Progress | None) -> None:
    """The numbers of a grid as they are, in a file mapped into memory a block at a time."""
    np.lib.format.open_memmap(path, "w+", grid.dtype, grid.shape).flush()
    total = grid.shape[1] * grid.shape[2]
    for top, bottom, left, right in counted(blocks(grid, _BLOCK), total, progress):
        file = np.load(path, mmap_mode="r+")  # opened anew: pages written before are no longer counted as ours
        file[:, top:bottom, left:right] = grid.read(top, bottom, left, right)
        del file


def meant(grid: Grid) -> Grid:
    """The same with scaled integers as the floats that they mean."""
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
