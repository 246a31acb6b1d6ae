"""Stores of scores as OME-Zarr 0.5, larger than memory: creates them, fills them shard by shard, checks them.

    x.zarr/zarr.json        ome: for viewers; fullfield: spec, placement, provenance, and whether the store is complete
    x.zarr/0, 1, …          the map (bands, y, x), then levels that are each half as fine
    x.zarr/valid            1 where a cell (y, x) has scores; a missing shard means that all its cells have

Only ``create_store`` and ``seal`` write metadata, and each file has one writer, so that writers do not wait for each
other.
"""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError, ImageError, ResumeError, first_line
from fullfield.files import sync
from fullfield.store import ome
from fullfield.store.levels import VALID, level_count, level_grid, store_error, valid_grid
from fullfield.store.maps import MapSpec, check_spec
from fullfield.store.record import ATTRIBUTE, Record, check_record, difference, dumped, from_record, to_record
from fullfield.store.regular_files import read_regular
from fullfield.store.shard_reading import count_files
from fullfield.store.shards import ShardGrid, write_shard, zarr_metadata


@dataclass(frozen=True)
class StoreWriter:
    """Fills a store, a shard at a time, from any number of threads and processes.

    Args:
        path: of the store.
        spec: of the map.
        complete: whether the store is sealed.
    """

    path: Path
    spec: MapSpec
    complete: bool = False

    @cached_property
    def grid(self) -> ShardGrid:
        """How the map is cut into shards."""
        return level_grid(self.spec, 0)

    @property
    def shards(self) -> tuple[int, int]:
        """Rows and columns of shards."""
        rows, columns = self.grid.shards[1:]
        return rows, columns

    def write(
        self, row: int, column: int, block: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> tuple[Path, ...]:
        """Writes one shard, and returns its files; neither they nor their folders are forced to the disk yet.

        Each file appears whole or not at all. Equal blocks give equal bytes. It needs the memory of two inner chunks
        besides the block.

        Args:
            row, column: of the shard's first cell.
            block: stored numbers ``(bands, y, x)`` of the whole shard, up to the end of the map.
            valid: which cells ``(y, x)`` have scores, unless all have; the others hold ``spec.fill``.

        Raises:
            GeometryError: the block is not a whole shard, or of another type.
            ImageError: no space, no right.
            ResumeError: the store is sealed.
        """
        extent = self._extent(row, column)
        _check_block(self.grid.dtype, (row, column), extent, block, valid)
        return self._write(row, column, block, None if valid is None or valid.all() else valid.astype(np.uint8))

    def write_empty(self, row: int, column: int) -> tuple[Path, ...]:
        """Writes a shard without scores; needs no memory.

        Raises:
            GeometryError, ImageError, ResumeError: as ``write``.
        """
        return self._write(row, column, None, np.zeros(self._extent(row, column)[1:], np.uint8))

    def _write(
        self, row: int, column: int, block: NDArray[Any] | None, valid: NDArray[np.uint8] | None
    ) -> tuple[Path, ...]:
        """Writes a shard; without a block, of fill values."""
        if self.complete:
            raise ResumeError(str(self.path), "is complete", fix="write to another path, or start over")
        score_file, valid_file = self._files(row, column)
        extent = self._extent(row, column)
        try:
            write_shard(score_file, self.grid, extent, None if block is None else block.__getitem__)
            if valid is None:
                valid_file.unlink(missing_ok=True)  # of an earlier attempt
                return (score_file,)
            write_shard(valid_file, valid_grid(self.spec), extent[1:], valid.__getitem__)
        except OSError as error:
            raise store_error(self.path, self.spec, error) from error
        return score_file, valid_file

    def _files(self, row: int, column: int) -> tuple[Path, Path]:
        """The files of a shard's scores and of its valid cells."""
        i, j = row // self.spec.shard[0], column // self.spec.shard[1]
        return self.path / "0" / self.grid.file((0, i, j)), self.path / VALID / valid_grid(self.spec).file((i, j))

    def _extent(self, row: int, column: int) -> tuple[int, int, int]:
        """Bands, rows and columns of the shard that begins at a cell."""
        (bands, rows, columns), (height, width) = self.spec.shape, self.spec.shard
        if row % height or column % width or not (0 <= row < rows and 0 <= column < columns):
            raise GeometryError(
                "store",
                f"no shard of {height}x{width} cells begins at row {row}, column {column} of {rows}x{columns}",
                fix="write whole shards, each from its first cell",
            )
        return bands, min(height, rows - row), min(width, columns - column)


def create_store(path: Path, spec: MapSpec, *, certificate: dict[str, Any] | None = None) -> StoreWriter:
    """Creates an empty store, which is marked incomplete until ``seal`` has run.

    Raises:
        ImageError: the path exists already, no space, no right.
        GeometryError: the spec is inconsistent, or its shards cannot be cut into inner chunks.
    """
    writer = StoreWriter(path, spec)
    check_spec(spec)
    _ = writer.grid  # raises if shards cannot be cut
    if path.exists() and (not path.is_dir() or any(entry.suffix != ".partial" for entry in path.iterdir())):
        raise ImageError(str(path), "exists already", fix="choose another name, or remove it first")
    try:
        path.mkdir(exist_ok=True)
        write_root(path, spec, certificate=certificate)
        _add_arrays(path, spec)
    except OSError as error:
        raise store_error(path, spec, error) from error
    return writer


def reopen_store(path: Path, spec: MapSpec) -> StoreWriter:
    """Opens the store that an earlier run of the same scan created, to write more shards.

    Raises:
        ResumeError: it was created for another map; the text names the first difference.
        ImageError: there is no store.
    """
    record = read_record(path)
    wanted = to_record(spec, certificate=None, complete=False)
    differs = difference(wanted, record)
    if differs is not None:
        raise ResumeError(
            str(path),
            f"holds another result: {differs}",
            fix="repeat the settings of the first run, or start over (--restart)",
        )
    try:
        _add_arrays(path, spec)  # a run may have been killed between two of them
    except OSError as error:
        raise store_error(path, spec, error) from error
    return StoreWriter(path, spec, complete=bool(record["complete"]))


def read_record(path: Path) -> Record:
    """The record of a store, complete or not.

    Raises:
        ImageError: there is no store, it is no store of scores, or it is damaged.
    """
    where = str(path)
    if not path.exists():
        raise ImageError(where, "there is no such file or folder", fix="check the path")
    try:
        record = json.loads(read_regular(path / "zarr.json"))["attributes"][ATTRIBUTE]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageError(
            where,
            f"holds no scores that can be read ({first_line(error)})",
            fix="give a .zarr folder that fullfield wrote",
        ) from error
    return check_record(record, where)


def check_complete(path: Path) -> tuple[MapSpec, Record]:
    """Spec and record of a store that is sealed and has all its files.

    Raises:
        ResumeError: it is not complete; the text says how many shards are written.
        ImageError: there is no store, or files are missing.
    """
    record = read_record(path)
    spec = from_record(record, str(path))
    for level in range(level_count(spec) if record["complete"] else 1):
        grid = level_grid(spec, level)
        written, total = count_files(path / str(level), grid), math.prod(grid.shards)
        if not record["complete"]:
            raise incomplete(path, written, total)
        if written < total:
            what = f"{total - written} of {total} shards of level {level} are missing"
            raise ImageError(str(path), what, fix="scan again: it is damaged")
    return spec, record


def incomplete(path: Path, written: int, total: int) -> ResumeError:
    """The error for a store that is not complete."""
    return ResumeError(
        str(path),
        f"is not complete: {written} of {total} shards are written",
        fix="run the same scan again, which resumes it; or start over (--restart)",
    )


def write_root(
    path: Path,
    spec: MapSpec,
    *,
    certificate: dict[str, Any] | None,
    windows: list[tuple[float, float]] | None = None,
) -> None:
    """Writes the metadata of the store, whole or not at all; with ``windows`` the store is marked complete."""
    levels = 1 if windows is None else level_count(spec)
    record = to_record(spec, certificate=certificate, complete=windows is not None)
    name = str(spec.provenance.get("model") or "scores")
    attributes = {"ome": ome.attributes(spec, name, levels=levels, windows=windows), ATTRIBUTE: record}
    text = dumped({"attributes": attributes, "zarr_format": 3, "node_type": "group"})
    replace_text(path / "zarr.json", text)


def replace_text(path: Path, text: str) -> None:
    """Writes a small file, which is on the disk before it gets its name."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        temporary.write_text(text)
        sync(temporary, within=True)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def add_array(folder: Path, grid: ShardGrid) -> None:
    """Writes the metadata of an array, unless it exists."""
    file = folder / "zarr.json"
    if file.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(file, dumped(zarr_metadata(grid)))


def _add_arrays(path: Path, spec: MapSpec) -> None:
    add_array(path / "0", level_grid(spec, 0))
    add_array(path / VALID, valid_grid(spec))


def _check_block(
    dtype: np.dtype[Any],
    place: tuple[int, int],
    extent: tuple[int, int, int],
    block: NDArray[Any],
    valid: NDArray[np.bool_] | None,
) -> None:
    """Raises unless the block has the shape and type of its shard."""
    if block.shape != extent or block.dtype != dtype:
        raise GeometryError(
            "store",
            f"the shard at row {place[0]}, column {place[1]} is {dtype} of shape {extent}, "
            f"not {block.dtype} of shape {block.shape}",
            fix="encode the scores as the spec says, and write whole shards",
        )
    if valid is not None and (valid.shape != extent[1:] or valid.dtype != np.bool_):
        raise GeometryError(
            "store",
            f"valid is {valid.dtype} of shape {valid.shape}, not bool of {extent[1:]}",
            fix="give one for each cell",
        )
