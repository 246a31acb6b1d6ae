"""Score maps as dask arrays, a chunk for each shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.packages import import_packages
from fullfield.store.maps import ScoreMap, decoded
from fullfield.store.reading import span
from fullfield.store.stored_map import StoredMap


@dataclass(frozen=True)
class MapCells:
    """The cells of a map as an array that is read when it is indexed: what dask takes.

    Scores are floats, NaN for none; labels are as they are stored.

    Args:
        map: which.
    """

    map: ScoreMap

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        return self.map.spec.shape

    @property
    def ndim(self) -> int:
        """3."""
        return 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers that are read."""
        stored = np.dtype(self.map.spec.dtype)
        return stored if self.map.spec.kind == "labels" or stored.kind == "f" else np.dtype(np.float32)

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        names = ("band", "row", "column")
        spans = [span(name, part, count) for name, part, count in zip(names, key, self.shape, strict=True)]
        (bands, k), (rows, i), (columns, j) = spans
        numbers = self.map.read(rows.start, rows.stop, columns.start, columns.stop, bands)
        values = numbers if self.map.spec.kind == "labels" else decoded(numbers, self.map.spec)
        found: NDArray[Any] = np.asarray(values[k, i, j])
        return found


def dask_array(scores: ScoreMap) -> Any:
    """A map as a dask array ``(bands, y, x)``: chunks are shards, read when they are computed, from any process.

    Raises:
        ImageError: dask is not installed.
    """
    array = import_packages("dask.array", extra="dask", where="to_dask")[0]
    cells = MapCells(scores)
    bands, rows, columns = cells.shape
    height, width = scores.spec.shard
    chunks = bands, min(rows, height), min(columns, width)
    name: str | bool = False  # a new one for each call
    if isinstance(scores, StoredMap):
        state = (scores.path / "zarr.json").stat().st_mtime_ns
        token = import_packages("dask.base", extra="dask", where="to_dask")[0].tokenize(
            str(scores.path.resolve()), scores.number, state
        )
        name = f"fullfield-{token}"
    meta = np.empty((0, 0, 0), cells.dtype)
    return array.from_array(cells, chunks, name=name, asarray=False, fancy=False, meta=meta)
