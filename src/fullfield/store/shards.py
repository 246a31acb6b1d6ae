"""Shards of a Zarr v3 array: each file is written whole by one writer, and read by region.

Written and read without zarr: its writer holds a whole shard in memory, reads what is there before it writes a shard
that the end of the array cuts off, and needs an event loop, which a forked process lacks; its reader takes Python's
lock for every chunk, which slows the computation meanwhile. Here one inner chunk is in memory at a time.

Source: Zarr v3 sharding-indexed codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import itertools
import json
import math
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError, ImageError

CHUNK = (64, 256, 256)  # at most: 16 MiB of float32, and a class is read without most others
LEVEL = 1  # of zstd: 1.5 to 4 times as fast as 3, and as small, on logits in float32
_SHARD_BYTES = 1 << 28
_EMPTY = np.uint64(2**64 - 1)  # offset and length of a chunk that holds the fill value alone
Slices = tuple[slice, ...]


@dataclass(frozen=True)
class ShardGrid:
    """How an array is cut into files, and each file into inner chunks.

    Args:
        shape: of the array.
        dtype: of its numbers.
        fill: number of cells that were not written.
        shard: cells of one file; a multiple of ``chunk``, beyond ``shape`` only to complete a chunk.
        chunk: cells that are compressed, and read, together.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: float
    shard: tuple[int, ...]
    chunk: tuple[int, ...]

    @property
    def shards(self) -> tuple[int, ...]:
        """Number of shards along every axis."""
        return tuple(-(-count // side) for count, side in zip(self.shape, self.shard, strict=True))

    def extent(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Cells of a shard that are inside the array."""
        along = zip(self.shape, self.shard, index, strict=True)
        return tuple(min(side, count - i * side) for count, side, i in along)

    def file(self, index: tuple[int, ...]) -> str:
        """Path of a shard's file in the array's folder."""
        return "/".join(("c", *map(str, index)))


def shard_grid(shape: tuple[int, ...], dtype: str, fill: float, shard: tuple[int, int]) -> ShardGrid:
    """Grid of an array ``(bands, y, x)`` or ``(y, x)`` in which a shard holds all bands of ``shard`` rows and columns.

    Raises:
        GeometryError: a shard that cannot be cut into inner chunks of 64 to 256 cells a side.

    Examples:
        >>> shard_grid((1000, 700, 90), "float32", float("nan"), (512, 512)).shard
        (1024, 512, 90)
        >>> shard_grid((1000, 700, 90), "float32", float("nan"), (512, 512)).chunk
        (64, 256, 90)
    """
    sides = (*shape[:-2], *shard)
    chunk = tuple(map(_chunk, sides, shape, CHUNK[-len(shape) :]))
    whole = tuple(-(-min(side, count) // part) * part for side, count, part in zip(sides, shape, chunk, strict=True))
    return ShardGrid(shape, np.dtype(dtype), fill, whole, chunk)


def _chunk(side: int, count: int, most: int) -> int:
    """Cells of an inner chunk along one axis: a divisor of the shard, unless one shard holds the whole axis."""
    if side >= count:
        return min(most, count)
    part = next(part for part in range(min(most, side), 0, -1) if side % part == 0)
    if part < min(side, most // 4):
        raise GeometryError(
            "shard",
            f"{side} cells have no divisor from {most // 4} to {most}: the greatest is {part}",
            fix=f"take a multiple of {most}, or at most {most}",
        )
    return part


def default_shard(bands: int, dtype: str) -> tuple[int, int]:
    """Rows and columns of a shard of at most 256 MiB, in whole inner chunks.

    Examples:
        >>> default_shard(2, "float32"), default_shard(1000, "float32")
        ((2048, 2048), (256, 256))
    """
    side = 2048
    while side > CHUNK[1] and bands * side * side * np.dtype(dtype).itemsize > _SHARD_BYTES:
        side //= 2
    return side, side


def zarr_metadata(grid: ShardGrid) -> dict[str, Any]:
    """Zarr v3 metadata of an array of shards."""
    little = {"name": "bytes", "configuration": {"endian": "little"}} if grid.dtype.itemsize > 1 else {"name": "bytes"}
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {
        "chunk_shape": list(grid.chunk),
        "codecs": [little, {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}],
        "index_codecs": index,
        "index_location": "end",
    }
    return {
        "shape": list(grid.shape),
        "data_type": str(grid.dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(grid.shard)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if np.isnan(grid.fill) else int(grid.fill),
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
        "dimension_names": ["c", "y", "x"][-len(grid.shape) :],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def write_shard(
    path: Path, grid: ShardGrid, extent: tuple[int, ...], read: Callable[[Slices], NDArray[Any]] | None
) -> None:
    """Writes one file, which appears whole or not at all; the same numbers give the same bytes.

    Args:
        path: of the file; missing folders are made.
        grid: of the array.
        extent: cells of the shard that are inside the array.
        read: returns the numbers of a region of the shard; called once for each inner chunk, in C order. ``None``
            writes the fill value everywhere.

    Raises:
        OSError: no space, no right.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("xb") as file:
            index = _empty_index(grid)
            offset = 0
            for place in np.ndindex(index.shape[:-1]):
                chunk = b"" if read is None else encode_chunk(grid, extent, place, read)
                if chunk:
                    index[place] = offset, len(chunk)
                    offset += file.write(chunk)
                chunk = b""  # freed before the next one is made
            file.write(encode_index(index))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _empty_index(grid: ShardGrid) -> NDArray[np.uint64]:
    """The index of a shard whose chunks are all empty."""
    return np.full((*(s // c for s, c in zip(grid.shard, grid.chunk, strict=True)), 2), _EMPTY, "<u8")


def encode_chunk(
    grid: ShardGrid, extent: tuple[int, ...], place: tuple[int, ...], read: Callable[[Slices], NDArray[Any]]
) -> bytes:
    """An inner chunk, compressed; no bytes if all its numbers are the fill value."""
    starts = [i * side for i, side in zip(place, grid.chunk, strict=True)]
    if any(start >= stop for start, stop in zip(starts, extent, strict=True)):
        return b""
    region = tuple(slice(s, min(s + side, stop)) for s, side, stop in zip(starts, grid.chunk, extent, strict=True))
    numbers = read(region)
    if numbers.shape != grid.chunk:  # at the end of the array
        whole = np.full(grid.chunk, grid.fill, grid.dtype)
        whole[tuple(slice(0, count) for count in numbers.shape)] = numbers
        numbers = whole
    numbers = np.ascontiguousarray(numbers, grid.dtype.newbyteorder("<"))
    if _all(numbers, grid.fill):
        return b""
    compressed: bytes = _zstd().encode(numbers)
    return compressed


def _zstd() -> Any:
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]  # without type hints

    return Zstd(level=LEVEL)


def _all(numbers: NDArray[Any], fill: float) -> bool:
    """Whether every number is the fill value, bit for bit: a NaN with another payload is not."""
    bits = numbers.view(f"u{numbers.itemsize}").reshape(-1)
    wanted = np.array(fill, numbers.dtype).view(bits.dtype)
    return bool(bits[0] == wanted and bits[-1] == wanted and (bits == wanted).all())


def encode_index(index: NDArray[np.uint64]) -> bytes:
    """The index of a shard, followed by its checksum."""
    import google_crc32c

    data = index.tobytes()
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(4, "little")


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
            with path.open("rb") as file:
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
        array = json.loads((folder / "zarr.json").read_text())
        (sharding,) = array["codecs"]
        inner = sharding["configuration"]
        shard, chunk = array["chunk_grid"]["configuration"]["chunk_shape"], inner["chunk_shape"]
        fill = math.nan if array["fill_value"] == "NaN" else float(array["fill_value"])
        sizes = (tuple(map(int, numbers)) for numbers in (array["shape"], shard, chunk))
        shape, files, chunks = sizes
        grid = ShardGrid(shape, np.dtype(array["data_type"]), fill, files, chunks)
        ours, theirs = zarr_metadata(grid), array
        same = all(theirs.get(key) == ours[key] for key in ("zarr_format", "node_type", "chunk_key_encoding"))
        if not same or [codec["name"] for codec in inner["codecs"]] != ["bytes", "zstd"] or len(files) != len(shape):
            raise ValueError("it is not stored as fullfield stores arrays")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(folder, error) from error
    return grid


def split_by_chunk(region: Slices, sides: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """Splits a region at multiples of ``sides``: each piece's index, and its slices in the region and in the piece."""
    along = [range(r.start // side, -(-r.stop // side)) for r, side in zip(region, sides, strict=True)]
    for index in itertools.product(*along):
        first = [i * side for i, side in zip(index, sides, strict=True)]
        ends = zip(region, first, sides, strict=True)
        shared = [(max(r.start, at), min(r.stop, at + side)) for r, at, side in ends]
        target = tuple(slice(low - r.start, high - r.start) for (low, high), r in zip(shared, region, strict=True))
        inside = tuple(slice(low - at, high - at) for (low, high), at in zip(shared, first, strict=True))
        yield index, target, inside


def _read_shard(file: BinaryIO, grid: ShardGrid, region: Slices, out: NDArray[Any]) -> None:
    """Copies a region of a shard to ``out``.

    Raises:
        ValueError, RuntimeError: the shard is damaged.
    """
    codec, index = _zstd(), _read_index(file, grid)
    stored = grid.dtype.newbyteorder("<")
    for place, target, inside in split_by_chunk(region, grid.chunk):
        offset, count = map(int, index[place])
        if offset == _EMPTY:
            out[target] = grid.fill
            continue
        file.seek(offset)
        out[target] = np.frombuffer(codec.decode(file.read(count)), stored).reshape(grid.chunk)[inside]


def _read_index(file: BinaryIO, grid: ShardGrid) -> NDArray[np.uint64]:
    """Offset and length of each inner chunk of a shard.

    Raises:
        ValueError: the index is damaged.
    """
    import google_crc32c

    empty = _empty_index(grid)
    file.seek(-empty.nbytes - 4, os.SEEK_END)
    data = file.read()
    if google_crc32c.value(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise ValueError("the checksum of a shard's index is wrong")
    return np.frombuffer(data[:-4], empty.dtype).reshape(empty.shape)


def count_files(folder: Path, grid: ShardGrid) -> int:
    """Number of an array's shards that exist."""
    rows, columns = grid.shards[-2:]
    above = folder.joinpath("c", *("0" for _ in grid.shape[:-2]))
    found = 0
    for row in range(rows):
        try:
            names = [path.name for path in (above / str(row)).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        found += sum(name.isdecimal() and int(name) < columns for name in names)
    return found


def plain_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array in memory."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def _unreadable(path: Path, error: Exception) -> ImageError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ImageError(
        str(path), f"scores cannot be read ({reason})", fix="scan again: the store is damaged or of another program"
    )
