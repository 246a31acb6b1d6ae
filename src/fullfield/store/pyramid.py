"""Completes a store: builds the coarser levels, each half as fine, and marks the store complete."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.files import sync
from fullfield.store import ome
from fullfield.store.halving import halved
from fullfield.store.levels import VALID, level_count, level_grid, store_error
from fullfield.store.maps import MapSpec
from fullfield.store.ome_zarr import StoreWriter, add_array, incomplete, read_record, write_root
from fullfield.store.record import from_record
from fullfield.store.shard_reading import count_files, read_cells
from fullfield.store.shards import Slices, split_by_chunk, write_shard

_AT_ONCE = 16 << 20  # bytes of the finer level that are read together, unless one inner chunk has more
LevelShard = tuple[int, int, int]  # level, and row and column in the level's grid of shards


class GrowingStore:
    """Fills a store, and builds each shard of the coarser levels as soon as the shards that it covers are written.

    A long run has its pyramid when its last shard is written, and the map need not be read again.

    Args:
        writer: of the map itself.
        written: first cells of the shards that earlier runs wrote.

    Attributes:
        built: shards of coarser levels that were built.
        extremes: of each band in the shards of the coarsest level that were written.
    """

    def __init__(self, writer: StoreWriter, written: Iterable[tuple[int, int]] = ()) -> None:
        self.writer = writer
        self.built: set[LevelShard] = set()
        self.extremes: dict[LevelShard, NDArray[np.float64]] = {}
        self._coarsest = level_count(writer.spec) - 1
        self._known: set[LevelShard] = {(0, *self._index(cell)) for cell in written}

    @property
    def single_level(self) -> bool:
        """Whether the map has no coarser levels, because it is small."""
        return self._coarsest == 0

    def write(
        self, row: int, column: int, block: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> tuple[Path, ...]:
        """As ``StoreWriter.write``; does not return the files of coarser levels."""
        files = self.writer.write(row, column, block, valid)
        if self.single_level:
            self.extremes[(0, *self._index((row, column)))] = ome.extremes(block, self.writer.spec)
        self._grow(*self._index((row, column)))
        return files

    def write_empty(self, row: int, column: int) -> tuple[Path, ...]:
        """As ``StoreWriter.write_empty``."""
        files = self.writer.write_empty(row, column)
        self._grow(*self._index((row, column)))
        return files

    def _index(self, cell: tuple[int, int]) -> tuple[int, int]:
        return cell[0] // self.writer.spec.shard[0], cell[1] // self.writer.spec.shard[1]

    def _grow(self, i: int, j: int) -> None:
        """Builds the coarser shards that are ready once a shard of the map is written."""
        path, spec = self.writer.path, self.writer.spec
        self._known.add((0, i, j))
        for level in range(1, level_count(spec)):
            rows, columns = level_grid(spec, level - 1).shards[1:]
            i, j = i // 2, j // 2
            below = [(2 * i + k, 2 * j + m) for k in (0, 1) for m in (0, 1)]
            if not all((level - 1, k, m) in self._known for k, m in below if k < rows and m < columns):
                return
            add_array(path / str(level), level_grid(spec, level))
            extremes = _build_shard(path, spec, (level, i, j), with_extremes=level == self._coarsest)
            if level == self._coarsest:
                self.extremes[(level, i, j)] = extremes
            self._known.add((level, i, j))
            self.built.add((level, i, j))


def seal(
    path: Path,
    *,
    certificate: dict[str, Any] | None = None,
    counts: Mapping[str, int] | None = None,
    built: Set[LevelShard] = frozenset(),
    extremes: Mapping[LevelShard, NDArray[np.float64]] = MappingProxyType({}),
) -> None:
    """Builds the pyramid of a store whose shards are all written, and marks the store complete as the last step.

    May be called again, also after it was killed. A few inner chunks are in memory at a time.

    Args:
        path: of the store.
        certificate: the result of verification; ``None`` leaves an earlier one.
        counts: sums over all cells, for the record's provenance; ``None`` leaves earlier ones.
        built: shards of coarser levels that this process built; all others are built now.
        extremes: of each band in the shards of the coarsest level that this process wrote; if some are missing, all are
            read.

    Raises:
        ResumeError: shards are missing.
        ImageError: there is no store, a shard is damaged, or no space.
    """
    record = read_record(path)
    spec = from_record(record, str(path))
    if counts is not None:
        spec = replace(spec, provenance=spec.provenance | {"counts": dict(counts)})
    certificate = record["certificate"] if certificate is None else certificate
    if record["complete"] and certificate == record["certificate"]:
        return
    grid = level_grid(spec, 0)
    written, total = count_files(path / "0", grid), math.prod(grid.shards)
    if written < total:
        raise incomplete(path, written, total)
    try:
        if not record["complete"]:
            _build(path, spec, built)
            sync(path)  # the names of the levels, before the store is marked complete
        write_root(path, spec, certificate=certificate, windows=_windows(path, spec, extremes))
        sync(path)
    except OSError as error:
        raise store_error(path, spec, error) from error


def _build(path: Path, spec: MapSpec, built: Set[LevelShard]) -> None:
    """Builds all shards that are not built, forces them to the disk, and removes the files of earlier attempts."""
    for partial in _partial_files(path):
        partial.unlink(missing_ok=True)
    levels = range(1, level_count(spec))
    ours = {path / str(level) / level_grid(spec, level).file((0, i, j)) for level, i, j in built}
    for folder in path.iterdir():
        if folder.name.isdecimal() and folder.name != "0":
            _clear(folder, ours if int(folder.name) in levels else set())
    for level in levels:
        grid = level_grid(spec, level)
        add_array(path / str(level), grid)
        for _, i, j in np.ndindex(grid.shards):
            if (level, i, j) not in built:
                _build_shard(path, spec, (level, i, j))
        sync(path / str(level), within=True)


def _clear(folder: Path, keep: Set[Path]) -> None:
    """Removes the files of a level except those in ``keep``, and its metadata if it keeps none."""
    if not any(folder in file.parents for file in keep):
        shutil.rmtree(folder)
        return
    for file in list(folder.rglob("*")):
        if file.is_file() and file not in keep and file != folder / "zarr.json":
            file.unlink()


def _partial_files(path: Path) -> Iterator[Path]:
    """Temporary files that a killed writer left."""
    for folder in (path, path / "0", path / VALID):
        yield from (folder.rglob("*.partial") if folder != path else folder.glob("*.partial"))


def _build_shard(path: Path, spec: MapSpec, shard: LevelShard, *, with_extremes: bool = False) -> NDArray[np.float64]:
    """Writes a shard of a level from the next finer level, an inner chunk at a time.

    Returns:
        Extremes of each band ``(bands, 2)``; infinite unless ``with_extremes``.
    """
    level, *index = shard
    extremes = np.full((spec.shape[0], 2), (np.inf, -np.inf))
    finer, grid = level_grid(spec, level - 1), level_grid(spec, level)
    first = [i * side for i, side in zip(index, grid.shard[1:], strict=True)]

    def read(region: Slices) -> NDArray[Any]:
        bands, *cells = region
        out = np.empty([r.stop - r.start for r in region], grid.dtype)
        top, left = (start + r.start for start, r in zip(first, cells, strict=True))
        everything = tuple(slice(0, count) for count in out.shape[1:])
        halves = out.shape[1:] if 4 * out.nbytes <= _AT_ONCE else tuple(-(-side // 2) for side in finer.chunk[1:])
        for _, (y, x), _ in split_by_chunk(
            everything, halves
        ):  # a quarter of an inner chunk of the finer level, or everything at once
            place = [
                slice(2 * (start + part.start), min(2 * (start + part.stop), count))
                for start, part, count in zip((top, left), (y, x), finer.shape[1:], strict=True)
            ]
            for band, numbers in zip(out, read_cells(path / str(level - 1), finer, (bands, *place)), strict=True):
                band[y, x] = halved(numbers, spec.fill, labels=spec.kind == "labels")
        if with_extremes:
            extremes[bands] = ome.merged_extremes([extremes[bands], ome.extremes(out, spec)])
        return out

    write_shard(path / str(level) / grid.file((0, *index)), grid, grid.extent((0, *index)), read)
    return extremes


def _windows(path: Path, spec: MapSpec, known: Mapping[LevelShard, NDArray[np.float64]]) -> list[tuple[float, float]]:
    """Extremes of each band at the coarsest level, for display; 0 and 1 for a band without scores."""
    if spec.kind == "labels":
        return [(0.0, float(max(spec.classes)))]
    last = level_count(spec) - 1
    grid = level_grid(spec, last)
    shards = [(last, i, j) for _, i, j in np.ndindex(grid.shards)]
    if all(shard in known for shard in shards):
        found = ome.merged_extremes(known[shard] for shard in shards)
    else:
        (count, rows, columns), step = grid.shape, grid.chunk[0]
        bands = (slice(first, min(first + step, count)) for first in range(0, count, step))
        chunks = (read_cells(path / str(last), grid, (band, slice(0, rows), slice(0, columns))) for band in bands)
        found = np.concatenate([ome.extremes(numbers, spec) for numbers in chunks])
    return [(float(low), float(high)) if low <= high else (0.0, 1.0) for low, high in found]
