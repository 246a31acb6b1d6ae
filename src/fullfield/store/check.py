"""Checks every file of a result: that it exists, and that its checksums are right."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fullfield.errors import ImageError
from fullfield.store.archive import read_npz
from fullfield.store.levels import VALID, level_count, level_grid, valid_grid
from fullfield.store.maps import MapSpec
from fullfield.store.ome_zarr import read_record
from fullfield.store.record import ATTRIBUTE, Record, from_record
from fullfield.store.regular_files import open_regular
from fullfield.store.shard_reading import check_shard, read_grid, shard_files
from fullfield.store.shards import ShardGrid
from fullfield.store.stored_map import open_map
from fullfield.text import list_text, number_of

_NAMED = 3  # damaged files in an error
_HEAD = 16 << 20  # bytes of metadata


@dataclass(frozen=True)
class Check:
    """What was read of a result that is not damaged.

    Args:
        files: number of files with scores.
        bytes: their size.
        checksums: whether every part of them has one; a part without, as in stores of 0.1.0, was decompressed.
    """

    files: int
    bytes: int
    checksums: bool

    def __str__(self) -> str:
        how = "every checksum is right" if self.checksums else "all can be decompressed, they have no checksums"
        return f"{number_of(self.files, 'file')}, {self.bytes} bytes: {how}"


def is_result(path: Path) -> bool:
    """Whether a file or folder was made as a result, damaged or not."""
    try:
        if path.is_dir():
            with open_regular(path / "zarr.json") as file:
                return f'"{ATTRIBUTE}"'.encode() in file.read(_HEAD)
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return f"{ATTRIBUTE}.npy" in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def check_result(path: Path) -> Check:
    """Reads all of a result, finished or not; an inner chunk is in memory at a time, of an ``.npz`` all scores.

    Raises:
        ImageError: files are missing or damaged; the text counts them and names the first.
    """
    if not path.is_dir():
        read_npz(path)  # compares the checksums of the zip file
        return Check(1, path.stat().st_size, checksums=True)
    record = read_record(path)
    damaged, files, size, checksums = [], 0, 0, "checksum" in record
    for file, grid in _files(path, record):
        files += 1
        try:
            check_shard(file, grid)
            size += file.stat().st_size
        except ImageError as error:
            damaged.append(f"{file.relative_to(path).as_posix()} ({error.what})")
        checksums = checksums and grid.checksums
    if damaged:
        what = f"{len(damaged)} of {files} files are damaged: {list_text(damaged, _NAMED)}"
        raise ImageError(str(path), what, fix="scan again with --overwrite, or copy the store again")
    return Check(files, size, checksums)


def is_intact(file: Path, spec: MapSpec) -> bool:
    """Whether the checksums of a file of the finest level, or of the valid cells, of an unfinished store are right."""
    grid = valid_grid(spec) if file.parts[-4] == VALID else level_grid(spec, 0)
    try:
        check_shard(file, grid)
    except ImageError:
        return False
    return True


def _files(path: Path, record: Record) -> Iterator[tuple[Path, ShardGrid]]:
    """The files of a store and how each is cut into chunks: of a finished one all that it must have."""
    if record["complete"]:
        stored = open_map(path)
        for level, grid in enumerate(stored.grids):
            for index in np.ndindex(grid.shards):
                yield path / str(level) / grid.file(index), grid
    names = [VALID] if record["complete"] else [*map(str, range(level_count(from_record(record, str(path))))), VALID]
    for name in names:
        if record["complete"] or (path / name / "zarr.json").is_file():
            grid = read_grid(path / name)
            yield from ((file, grid) for file in shard_files(path / name, grid))
