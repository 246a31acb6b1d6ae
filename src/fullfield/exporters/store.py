"""Maps as stores of their own, copied shard by shard, and as archives, which are held in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.api.scores import Scores
from fullfield.engine.progress import OnProgress
from fullfield.errors import BudgetError, ImageError
from fullfield.exporters.grid import Grid, cells, counted, parts
from fullfield.files import replacing
from fullfield.geometry.region import Region
from fullfield.store.maps import MapSpec, ScoreMap
from fullfield.store.ome_zarr import StoreWriter, create_store
from fullfield.store.pyramid import seal
from fullfield.store.shards import default_shard, plain_bytes

_MOST = 4 << 30  # bytes of a map that is brought into memory unasked


def write_store(
    grid: Grid, path: Path, scores: ScoreMap, *, overwrite: bool = False, progress: OnProgress | None = None
) -> None:
    """Writes the numbers of a grid as an OME-Zarr store, as they are: one shard of it is in memory at a time.

    Args:
        grid: the cells of ``scores``: all bands, those chosen, or labels.
        path: where to; checked already.
        scores: what says all else.
        overwrite: whether what lies there may go.
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
        except ImageError as error:  # of the temporary: `replacing` says it of the name that was asked for
            raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None


def _spec(grid: Grid, scores: ScoreMap) -> MapSpec:
    labels = grid.colours is not None
    names: tuple[str, ...] | None = grid.names
    if labels:
        called = dict(enumerate(name for _, name in grid.colours or ()))
        names = tuple(called[cls] for cls in grid.classes)
    dtype = str(grid.dtype)
    return replace(
        scores.spec,
        shape=grid.shape,
        dtype=dtype,
        shard=default_shard(grid.shape[0], dtype),
        kind="labels" if labels else "scores",
        classes=grid.classes,
        class_names=names if scores.spec.class_names else None,
        activation=None if labels else scores.spec.activation,
        scale=grid.scale,
        offset=grid.offset,
        fill=grid.fill,
    )


def _copy(grid: Grid, writer: StoreWriter, progress: OnProgress | None) -> None:
    (_, rows, columns), (height, width) = writer.spec.shape, writer.spec.shard
    shards = (
        (top, min(top + height, rows), left, min(left + width, columns))
        for top in range(0, rows, height)
        for left in range(0, columns, width)
    )
    for shard in counted(shards, rows * columns, progress):
        block, valid = _read(grid, shard)
        writer.write(shard[0], shard[2], block, valid)


def _read(grid: Grid, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Numbers and valid cells of a region, read in parts: what labels are made from is far larger than they."""
    top, bottom, left, right = region
    block = np.empty((grid.shape[0], bottom - top, right - left), grid.dtype)
    for y, y2, x, x2 in parts(grid, region):
        block[:, y - top : y2 - top, x - left : x2 - left] = grid.read(y, y2, x, x2)
    return block, grid.valid(*region)


def in_memory(scores: ScoreMap, classes: Sequence[int | str] | None, where: str) -> Scores:
    """Scores in memory, of the classes wanted.

    Raises:
        ImageError: labels.
        BudgetError: it is too large to be brought into memory.
    """
    spec = scores.spec
    if spec.kind == "labels":
        raise ImageError("labels", "are no scores", fix="write .zarr, .tif, .npy or .png")
    grid = cells(scores, classes)
    bands, rows, columns = grid.shape
    floats = grid.dtype.kind == "f"
    needed = math.prod(grid.shape) * (grid.dtype.itemsize if floats else 4)
    if needed > _MOST and not isinstance(scores, Scores):
        what = f"{bands} x {rows}x{columns} scores need {needed} bytes of memory, {_MOST} are allowed"
        raise BudgetError(where, what, fix="write .zarr or .npy, or fewer classes")
    array = np.empty(grid.shape, grid.dtype if floats else np.float32)
    for top, bottom, left, right in parts(grid, (0, rows, 0, columns)):
        array[:, top:bottom, left:right] = grid.decoded(grid.read(top, bottom, left, right))
    return Scores(
        array,
        spec.placement,
        class_names=grid.names if spec.class_names else None,
        mode=spec.mode,
        provenance=spec.provenance,
        certificate=scores.certificate,
        classes=None if grid.classes == tuple(range(len(array))) else grid.classes,
        activation=spec.activation,
        georeference=spec.georeference,
        mpp=spec.mpp,
    )
