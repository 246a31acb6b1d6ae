"""Writes maps as OME-Zarr stores, shard by shard, and as NumPy archives."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress
from fullfield.errors import BudgetError, ImageError
from fullfield.exporters.grid import Classes, ExportGrid, cells, split_region, with_progress
from fullfield.files import replacing
from fullfield.geometry.region import Region
from fullfield.store.archive import write_npz
from fullfield.store.array_map import ArrayMap
from fullfield.store.maps import MapSpec, ScoreMap, decoded
from fullfield.store.ome_zarr import StoreWriter, create_store
from fullfield.store.pyramid import seal
from fullfield.store.record import to_record
from fullfield.store.shards import SHARD_BYTES, default_shard, plain_bytes

_MOST = 4 << 30  # bytes of a map on disk that is read into memory


def write_store(
    grid: ExportGrid, path: Path, scores: ScoreMap, *, overwrite: bool = False, progress: OnProgress | None = None
) -> None:
    """Writes the stored numbers of a grid as an OME-Zarr store; one shard is in memory at a time.

    Args:
        grid: the cells of ``scores``: all bands, those chosen, or labels.
        path: of the store; checked already.
        scores: whose other properties the store has.
        overwrite: replace an earlier store.
        progress: called after every block.

    Raises:
        ImageError: no space, no right to write, or scores that cannot be read.
    """
    spec = _spec(grid, scores)
    needed = plain_bytes(spec.shape, spec.dtype) * 3 // 2
    with replacing(path, overwrite=overwrite, needed_bytes=needed, folder=True) as place:
        try:
            _copy(grid, create_store(place, spec, certificate=scores.certificate), progress)
            seal(place)
        except ImageError as error:  # names the temporary folder; `replacing` names the path that was asked for
            raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None


def _spec(grid: ExportGrid, scores: ScoreMap) -> MapSpec:
    labels = grid.colours is not None
    names: tuple[str, ...] | None = grid.names
    shard_bytes = SHARD_BYTES if grid.budget_bytes is None else min(SHARD_BYTES, grid.budget_bytes // 4)
    if labels:
        named = dict(enumerate(name for _, name in grid.colours or ()))
        names = tuple(named[cls] for cls in grid.classes)
    dtype = str(grid.dtype)
    return replace(
        scores.spec,
        shape=grid.shape,
        dtype=dtype,
        shard=default_shard(grid.shape[0], dtype, most_bytes=shard_bytes),
        kind="labels" if labels else "scores",
        classes=grid.classes,
        class_names=names if scores.spec.class_names else None,
        activation=None if labels else scores.spec.activation,
        scale=grid.scale,
        offset=grid.offset,
        fill=grid.fill,
    )


def _copy(grid: ExportGrid, writer: StoreWriter, progress: OnProgress | None) -> None:
    (_, rows, columns), (height, width) = writer.spec.shape, writer.spec.shard
    shards = (
        (top, min(top + height, rows), left, min(left + width, columns))
        for top in range(0, rows, height)
        for left in range(0, columns, width)
    )
    for shard in with_progress(shards, rows * columns, progress):
        writer.write(shard[0], shard[2], _read(grid, shard), grid.valid(*shard))


def _read(grid: ExportGrid, region: Region) -> NDArray[Any]:
    """Numbers of a region, in parts if reading takes more memory than they do: as of a few bands, or of labels."""
    if grid.cost_bytes <= grid.shape[0] * grid.dtype.itemsize:
        return grid.read(*region)
    top, bottom, left, right = region
    block = np.empty((grid.shape[0], bottom - top, right - left), grid.dtype)
    for y, y2, x, x2 in split_region(grid, region):
        block[:, y - top : y2 - top, x - left : x2 - left] = grid.read(y, y2, x, x2)
    return block


def write_archive(
    scores: ScoreMap, path: Path, classes: Classes, *, overwrite: bool = False, budget_bytes: int | None = None
) -> None:
    """Writes scores as ``.npz``, in floats; all of them are in memory.

    Raises:
        ImageError: labels, no such class, no space.
        BudgetError: scores on disk that take more than the budget, or than 4 GiB.
    """
    spec = scores.spec
    if spec.kind == "labels":
        raise ImageError("labels", "are no scores", fix="write .zarr, .tif, .npy or .png")
    grid = replace(cells(scores, classes), budget_bytes=budget_bytes)
    allowed = _MOST if budget_bytes is None else min(_MOST, budget_bytes)
    bands, rows, columns = grid.shape
    dtype = grid.dtype if grid.dtype.kind == "f" else np.dtype(np.float32)
    needed = math.prod(grid.shape) * dtype.itemsize
    if needed > allowed and not isinstance(scores, ArrayMap):
        what = f"{bands} x {rows}x{columns} scores need {needed} bytes of memory, {allowed} are allowed"
        raise BudgetError(str(path), what, fix="write .zarr or .npy, or fewer classes")
    array = decoded(_read(grid, (0, rows, 0, columns)), spec)
    floats = replace(_spec(grid, scores), dtype=str(dtype), scale=1.0, offset=0.0, fill=math.nan)
    record = to_record(floats, certificate=scores.certificate, complete=True)
    with replacing(path, overwrite=overwrite, needed_bytes=needed + (1 << 16)) as place:
        write_npz(place, array, record)
