"""Shards of a Zarr v3 array, each written whole and at once by whoever has its cells.

zarr's own writer gathers a shard in memory, reads what lies there before it writes one that the array's end cuts off,
and needs an event loop, which a forked process lacks. Here one inner chunk is in memory at a time.

The pyramid reads them here as well, beside the computation: zarr's event loop takes Python's lock, chunk by chunk.

Source: Zarr v3 sharding-indexed codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import itertools
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
_NOTHING = np.uint64(2**64 - 1)  # offset and length of a chunk that holds the fill value alone
Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Grid:
    """How an array is cut into files, and these into inner chunks.

    Args:
        shape: of the array.
        dtype: of its numbers.
        fill: number that stands where nothing was written.
        shard: cells of one file; a multiple of ``chunk``, and beyond ``shape`` at most by what fills up a chunk.
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
        """Cells of a shard that lie in the array."""
        along = zip(self.shape, self.shard, index, strict=True)
        return tuple(min(side, count - i * side) for count, side, i in along)

    def file(self, index: tuple[int, ...]) -> str:
        """Path of a shard's file in the array's folder."""
        return "/".join(("c", *map(str, index)))


def cut(shape: tuple[int, ...], dtype: str, fill: float, shard: tuple[int, int]) -> Grid:
    """The grid of an array ``(bands, y, x)`` or ``(y, x)``: every shard holds all bands of ``shard`` rows and columns.

    Raises:
        GeometryError: a shard that cannot be cut into inner chunks of 64 to 256 cells a side.

    Examples:
        >>> cut((1000, 700, 90), "float32", float("nan"), (512, 512)).shard
        (1024, 512, 90)
        >>> cut((1000, 700, 90), "float32", float("nan"), (512, 512)).chunk
        (64, 256, 90)
    """
    sides = (*shape[:-2], *shard)
    chunk = tuple(map(_chunk, sides, shape, CHUNK[-len(shape) :]))
    whole = tuple(-(-min(side, count) // part) * part for side, count, part in zip(sides, shape, chunk, strict=True))
    return Grid(shape, np.dtype(dtype), fill, whole, chunk)


def _chunk(side: int, count: int, most: int) -> int:
    """Cells of an inner chunk along one axis: divides the shard, unless one shard holds the whole axis."""
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


def chunk_bytes(shape: tuple[int, int, int], dtype: str) -> int:
    """Bytes of the inner chunks of a shard ``(bands, y, x)`` at most."""
    return plain_bytes(tuple(map(min, CHUNK, shape)), dtype)


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


def metadata(grid: Grid) -> dict[str, Any]:
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


def write_shard(path: Path, grid: Grid, extent: tuple[int, ...], read: Callable[[Slices], NDArray[Any]] | None) -> None:
    """One file, which appears whole or not at all; the same numbers give the same bytes.

    Args:
        path: of the file; its folders are made.
        extent: cells that the shard has, from its first on.
        read: numbers of a region of the shard; called once for every inner chunk, in C order. ``None``: the fill
            value all over.

    Raises:
        OSError: no space, no right.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("xb") as file:
            index = _no_chunks(grid)
            offset = 0
            for place in np.ndindex(index.shape[:-1]):
                packed = b"" if read is None else _packed(grid, extent, place, read)
                if packed:
                    index[place] = offset, len(packed)
                    offset += file.write(packed)
                packed = b""  # given back before the next is made
            file.write(_sealed(index))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _no_chunks(grid: Grid) -> NDArray[np.uint64]:
    """The index of a shard without chunks."""
    return np.full((*(s // c for s, c in zip(grid.shard, grid.chunk, strict=True)), 2), _NOTHING, "<u8")


def _packed(
    grid: Grid, extent: tuple[int, ...], place: tuple[int, ...], read: Callable[[Slices], NDArray[Any]]
) -> bytes:
    """An inner chunk as zstd leaves it; nothing, where it holds the fill value alone."""
    starts = [i * side for i, side in zip(place, grid.chunk, strict=True)]
    if any(start >= stop for start, stop in zip(starts, extent, strict=True)):
        return b""
    region = tuple(slice(s, min(s + side, stop)) for s, side, stop in zip(starts, grid.chunk, extent, strict=True))
    numbers = read(region)
    if numbers.shape != grid.chunk:  # at the array's end
        whole = np.full(grid.chunk, grid.fill, grid.dtype)
        whole[tuple(slice(0, count) for count in numbers.shape)] = numbers
        numbers = whole
    numbers = np.ascontiguousarray(numbers, grid.dtype.newbyteorder("<"))
    if _all(numbers, grid.fill):
        return b""
    packed: bytes = _zstd().encode(numbers)
    return packed


def _zstd() -> Any:
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]  # has no hints

    return Zstd(level=LEVEL)


def _all(numbers: NDArray[Any], fill: float) -> bool:
    """Whether every number is the fill value, bit for bit: a NaN that carries something is no fill."""
    bits = numbers.view(f"u{numbers.itemsize}").reshape(-1)
    wanted = np.array(fill, numbers.dtype).view(bits.dtype)
    return bool(bits[0] == wanted and bits[-1] == wanted and (bits == wanted).all())


def _sealed(index: NDArray[np.uint64]) -> bytes:
    """The index with its checksum."""
    import google_crc32c

    data = index.tobytes()
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(4, "little")


def read_cells(folder: Path, grid: Grid, region: Slices) -> NDArray[Any]:
    """Numbers of a region of an array all of whose shards are there, in the machine's byte order.

    Args:
        folder: of the array.
        grid: of the array.
        region: of the array, not beyond its end.

    Raises:
        ImageError: a shard there is missing or damaged.
    """
    out = np.empty([r.stop - r.start for r in region], grid.dtype)
    for index, target, inside in pieces(region, grid.shard):
        path = folder / grid.file(index)
        try:
            with path.open("rb") as file:
                _unpack(file, grid, inside, out[target])
        except (OSError, ValueError, RuntimeError) as error:
            raise _unreadable(path, error) from error
    return out


def pieces(region: Slices, sides: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """What a region has of each piece of so many cells a side: the piece's index, and the place in both."""
    along = [range(r.start // side, -(-r.stop // side)) for r, side in zip(region, sides, strict=True)]
    for index in itertools.product(*along):
        first = [i * side for i, side in zip(index, sides, strict=True)]
        ends = zip(region, first, sides, strict=True)
        shared = [(max(r.start, at), min(r.stop, at + side)) for r, at, side in ends]
        target = tuple(slice(low - r.start, high - r.start) for (low, high), r in zip(shared, region, strict=True))
        inside = tuple(slice(low - at, high - at) for (low, high), at in zip(shared, first, strict=True))
        yield index, target, inside


def _unpack(file: BinaryIO, grid: Grid, region: Slices, out: NDArray[Any]) -> None:
    """Copies a region of a shard.

    Raises:
        ValueError: it is damaged. The codec raises RuntimeError.
    """
    codec, index = _zstd(), _read_index(file, grid)
    stored = grid.dtype.newbyteorder("<")
    for place, target, inside in pieces(region, grid.chunk):
        offset, count = map(int, index[place])
        if offset == _NOTHING:
            out[target] = grid.fill
            continue
        file.seek(offset)
        out[target] = np.frombuffer(codec.decode(file.read(count)), stored).reshape(grid.chunk)[inside]


def _read_index(file: BinaryIO, grid: Grid) -> NDArray[np.uint64]:
    """Where a shard's inner chunks lie.

    Raises:
        ValueError: it is damaged.
    """
    import google_crc32c

    empty = _no_chunks(grid)
    file.seek(-empty.nbytes - 4, os.SEEK_END)
    data = file.read()
    if google_crc32c.value(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise ValueError("the checksum of a shard's index is wrong")
    return np.frombuffer(data[:-4], empty.dtype).reshape(empty.shape)


def count_files(folder: Path, grid: Grid) -> int:
    """How many of an array's shards are there."""
    rows, columns = grid.shards[-2:]
    above = folder.joinpath("c", *("0" for _ in grid.shape[:-2]))
    found = 0
    for row in range(rows):
        try:
            found += sum(name.isdecimal() and int(name) < columns for name in map(_name, (above / str(row)).iterdir()))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


def _name(path: Path) -> str:
    return path.name


def plain_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array in memory."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def open_array(folder: Path) -> Any:
    """An array of a store, by zarr.

    Raises:
        ImageError: it is not there, or no array.
    """
    import zarr  # takes a third of a second

    try:
        return zarr.open_array(str(folder), mode="r", zarr_format=3)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(folder, error) from error


def read_array(array: Any, region: Slices, path: Path) -> NDArray[Any]:
    """Numbers of a region, in the machine's byte order.

    Raises:
        ImageError: a shard there is damaged.
    """
    try:
        return np.asarray(array[region])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, IndexError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ImageError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ImageError(str(path), f"scores cannot be read ({reason})", fix="scan again: it is damaged or foreign")
