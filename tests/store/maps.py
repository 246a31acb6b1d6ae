"""Stores for tests: small shards, so that a small map has several."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from fullfield.geometry.placement import Placement
from fullfield.store.maps import MapSpec
from fullfield.store.ome_zarr import StoreWriter, create_store
from fullfield.store.pyramid import seal


def place(rows: int, columns: int) -> Placement:
    """Windows of 12x10 px every 4x3 px of a scan at half size."""
    height, width = (rows - 1) * 4 + 12, (columns - 1) * 3 + 10
    return Placement((4, 3), (12, 10), (2 * height, 2 * width), (height, width))


def spec_of(array: np.ndarray, shard: tuple[int, int] = (64, 48), **fields: Any) -> MapSpec:
    """Scores of as many classes as the array has bands."""
    bands, rows, columns = array.shape
    fields = {"placement": place(rows, columns), "classes": tuple(range(bands)), **fields}
    fill = math.nan if array.dtype.kind == "f" else float(np.iinfo(array.dtype).max)
    return MapSpec(array.shape, str(array.dtype), shard, fill=fill, **fields)


def regions(spec: MapSpec) -> list[tuple[int, int, int, int]]:
    """Every shard's top, bottom, left and right."""
    (_, rows, columns), (height, width) = spec.shape, spec.shard
    edges = [(t, min(t + height, rows)) for t in range(0, rows, height)]
    return [(*edge, left, min(left + width, columns)) for edge in edges for left in range(0, columns, width)]


def fill_store(writer: StoreWriter, array: np.ndarray, valid: np.ndarray | None = None) -> None:
    """Writes every shard."""
    for top, bottom, left, right in regions(writer.spec):
        cells = None if valid is None else valid[top:bottom, left:right]
        writer.write(top, left, array[:, top:bottom, left:right], cells)


def stored(path: Path, array: np.ndarray, valid: np.ndarray | None = None, **fields: Any) -> MapSpec:
    """A sealed store of an array."""
    spec = spec_of(array, **fields)
    fill_store(create_store(path, spec), array, valid)
    seal(path)
    return spec


def contents(path: Path) -> dict[str, bytes]:
    """Every file's bytes by its path in the store."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
