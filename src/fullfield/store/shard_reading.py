"""Reads and checks the shards of a Zarr v3 array, an inner chunk at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError, first_line
from fullfield.image.zstd import decoded_size
from fullfield.store.checksums import CHECKSUM_BYTES, crc32c
from fullfield.store.maps import DTYPES
from fullfield.store.parse_json import integers, one_of
from fullfield.store.regular_files import open_regular, read_regular
from fullfield.store.shards import CHUNK, EMPTY, ShardGrid, Slices, index_shape, split_by_chunk, zarr_metadata, zstd


def read_cells(folder: Path, grid: ShardGrid, region: Slices, *, absent_is_fill: bool = False) -> NDArray[Any]:
    """Numbers of a region of an array, in the machine's byte order; one inner chunk is decoded at a time.

    Args:
        folder: of the array.
        grid: of the array.
        region: half-open, inside the array.
        absent_is_fill: read shards that do not exist as the fill value.

    Raises:
        ImageError: a shard is missing or damaged.
    """
    out = np.empty([r.stop - r.start for r in region], grid.dtype)
    if not out.size:
        return out
    for index, target, inside in split_by_chunk(region, grid.shard):
        path = folder / grid.file(index)
        try:
            with open_regular(path) as file:
                _read_shard(file, grid, inside, out[target])
        except (OSError, ValueError, RuntimeError) as error:
            if not (absent_is_fill and isinstance(error, FileNotFoundError)):
                raise _unreadable(path, error) from error
            out[target] = grid.fill
    return out


def read_grid(folder: Path) -> ShardGrid:
    """How an array is cut into shards and chunks, from its metadata.

    Raises:
        ImageError: there is no array, or it is stored in a way that fullfield does not write.
    """
    try:
        array = json.loads(read_regular(folder / "zarr.json"))
        (sharding,) = array["codecs"]
        inner = sharding["configuration"]
        shard, chunk = array["chunk_grid"]["configuration"]["chunk_shape"], inner["chunk_shape"]
        fill = math.nan if array["fill_value"] == "NaN" else float(array["fill_value"])
        shape, files, chunks = (integers(sides, least=1) for sides in (array["shape"], shard, chunk))
        codecs = [codec["name"] for codec in inner["codecs"]]
        dtype = np.dtype(one_of(array["data_type"], DTYPES))
        grid = ShardGrid(shape, dtype, fill, files, chunks, checksums=len(codecs) == 3)
        ours, theirs = zarr_metadata(grid), array
        same = all(theirs.get(key) == ours[key] for key in ("zarr_format", "node_type", "chunk_key_encoding"))
        if not same or codecs[:2] != ["bytes", "zstd"] or codecs[2:] not in ([], ["crc32c"]) or not _is_grid(grid):
            raise ValueError("it is not stored as fullfield stores arrays")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _unreadable(folder, error) from error
    return grid


def _is_grid(grid: ShardGrid) -> bool:
    """Whether the numbers of a grid can be those of an array."""
    if not len(grid.shape) == len(grid.shard) == len(grid.chunk):
        return False
    whole = all(side % part == 0 for side, part in zip(grid.shard, grid.chunk, strict=True))
    return whole and math.prod(grid.chunk) <= math.prod(CHUNK)


def _read_shard(file: BinaryIO, grid: ShardGrid, region: Slices, out: NDArray[Any]) -> None:
    """Copies a region of a shard to ``out``.

    Raises:
        ValueError, RuntimeError: the shard is damaged.
    """
    index = _read_index(file, grid)
    for place, target, inside in split_by_chunk(region, grid.chunk):
        data = _read_chunk(file, grid, index[place])
        out[target] = grid.fill if data is None else _decoded(data, grid)[inside]


def _read_chunk(file: BinaryIO, grid: ShardGrid, place: NDArray[np.uint64]) -> memoryview | None:
    """The compressed bytes of an inner chunk, compared with their checksum; ``None`` if it holds the fill value alone.

    Raises:
        ValueError: the chunk is damaged.
    """
    offset, count = map(int, place)
    if offset == EMPTY:
        return None
    file.seek(0, os.SEEK_END)
    if offset + count > file.tell():
        raise ValueError("a chunk is cut off")
    file.seek(offset)
    data = memoryview(file.read(count))
    return _without_checksum(data, "a chunk") if grid.checksums else data


def _without_checksum(data: memoryview, what: str) -> memoryview:
    """The bytes before their checksum.

    Raises:
        ValueError: it is wrong.
    """
    if crc32c(data[:-CHECKSUM_BYTES]) != data[-CHECKSUM_BYTES:]:
        raise ValueError(f"the checksum of {what} is wrong")
    return data[:-CHECKSUM_BYTES]


def _decoded(data: memoryview, grid: ShardGrid) -> NDArray[Any]:
    """The numbers of an inner chunk.

    Raises:
        ValueError, RuntimeError: it is damaged.
    """
    wanted, size = math.prod(grid.chunk) * grid.dtype.itemsize, decoded_size(data)
    if size != wanted:
        raise ValueError(f"a chunk decodes to {size} bytes, those of this array have {wanted}")
    return np.frombuffer(zstd().decode(data), grid.dtype.newbyteorder("<")).reshape(grid.chunk)


def _read_index(file: BinaryIO, grid: ShardGrid) -> NDArray[np.uint64]:
    """Offset and length of each inner chunk of a shard.

    Raises:
        ValueError: the index is damaged.
    """
    shape = index_shape(grid)
    length = 8 * math.prod(shape) + CHECKSUM_BYTES
    if file.seek(0, os.SEEK_END) < length:
        raise ValueError("a shard is cut off")
    file.seek(-length, os.SEEK_END)
    return np.frombuffer(_without_checksum(memoryview(file.read()), "a shard's index"), "<u8").reshape(shape)


def check_shard(path: Path, grid: ShardGrid) -> None:
    """Reads a whole file and compares its checksums; without checksums, decompresses its chunks.

    Raises:
        ImageError: it is missing or damaged.
    """
    try:
        with open_regular(path) as file:
            for place in _read_index(file, grid).reshape(-1, 2):
                data = _read_chunk(file, grid, place)
                if data is not None and not grid.checksums:
                    _decoded(data, grid)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def count_files(folder: Path, grid: ShardGrid) -> int:
    """Number of an array's shards that exist."""
    return sum(1 for _ in shard_files(folder, grid))


def shard_files(folder: Path, grid: ShardGrid) -> Iterator[Path]:
    """An array's shards that exist, found in the time that these take, however many there should be."""
    *_, rows, columns = grid.shards
    above = folder.joinpath("c", *("0" for _ in grid.shape[:-2]))
    for row in _numbered(above, rows):
        for column in _numbered(above / str(row), columns):
            yield above / str(row) / str(column)


def _numbered(folder: Path, count: int) -> list[int]:
    """The numbers below ``count`` that are names in a folder, as Zarr writes them."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    known = (int(name) for name in names if name.isdecimal() and name == name.lstrip("0").zfill(1) and len(name) < 20)
    return sorted(number for number in known if number < count)


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(
        str(path),
        f"scores cannot be read ({first_line(error)})",
        fix="scan again: the store is damaged or of another program",
    )
