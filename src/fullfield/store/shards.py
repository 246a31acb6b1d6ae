"""Shards of a Zarr v3 array: each file is written whole by one writer, and read by region.

Written and read without zarr: its writer holds a whole shard in memory, reads what is there before it writes a shard
that the end of the array cuts off, and needs an event loop, which a forked process lacks; its reader takes Python's
lock for every chunk, which slows the computation meanwhile. Here one inner chunk is in memory at a time.

Source: Zarr v3 sharding-indexed codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.store.checksums import crc32c

CHUNK = (64, 256, 256)  # at most: 16 MiB of float32, and a class is read without most others
LEVEL = 1  # of zstd: 1.5 to 4 times as fast as 3, and as small, on logits in float32
SHARD_BYTES = 1 << 28
EMPTY = np.uint64(2**64 - 1)  # offset and length of a chunk that holds the fill value alone
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
        checksums: whether each chunk ends with its CRC-32C; stores of 0.1.0 have none.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: float
    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    checksums: bool = True

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


def default_shard(bands: int, dtype: str, *, most_bytes: int = SHARD_BYTES) -> tuple[int, int]:
    """Rows and columns of a shard of at most 256 MiB, in whole inner chunks; of a smaller one, if so many fit.

    Examples:
        >>> default_shard(2, "float32"), default_shard(1000, "float32")
        ((2048, 2048), (256, 256))
        >>> default_shard(1000, "float32", most_bytes=20_000_000)
        (64, 64)
    """
    side, least = 2048, CHUNK[1] if most_bytes >= SHARD_BYTES else CHUNK[1] // 4
    while side > least and bands * side * side * np.dtype(dtype).itemsize > most_bytes:
        side //= 2
    return side, side


def zarr_metadata(grid: ShardGrid) -> dict[str, Any]:
    """Zarr v3 metadata of an array of shards."""
    little = {"name": "bytes", "configuration": {"endian": "little"}} if grid.dtype.itemsize > 1 else {"name": "bytes"}
    compressed = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}
    checked = {"name": "crc32c"}
    sharding = {
        "chunk_shape": list(grid.chunk),
        "codecs": [little, compressed, checked] if grid.checksums else [little, compressed],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, checked],
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
            index = np.full(index_shape(grid), EMPTY, "<u8")
            offset = 0
            for place in np.ndindex(index.shape[:-1]):
                chunk = b"" if read is None else encode_chunk(grid, extent, place, read)
                if chunk:
                    checksum = crc32c(chunk) if grid.checksums else b""
                    index[place] = offset, len(chunk) + len(checksum)
                    offset += file.write(chunk) + file.write(checksum)
                chunk = b""  # freed before the next one is made
            file.write(index.tobytes())
            file.write(crc32c(index.tobytes()))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def index_shape(grid: ShardGrid) -> tuple[int, ...]:
    """Shape of a shard's index: offset and length of each inner chunk."""
    return *(s // c for s, c in zip(grid.shard, grid.chunk, strict=True)), 2


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
    compressed: bytes = zstd().encode(numbers)
    return compressed


def zstd() -> Any:
    """The compressor of the chunks."""
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]  # without type hints

    return Zstd(level=LEVEL)


def _all(numbers: NDArray[Any], fill: float) -> bool:
    """Whether every number is the fill value, bit for bit: a NaN with another payload is not."""
    bits = numbers.view(f"u{numbers.itemsize}").reshape(-1)
    wanted = np.array(fill, numbers.dtype).view(bits.dtype)
    return bool(bits[0] == wanted and bits[-1] == wanted and (bits == wanted).all())


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


def plain_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array in memory."""
    return math.prod(shape) * np.dtype(dtype).itemsize
