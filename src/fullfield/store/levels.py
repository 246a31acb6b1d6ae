"""The arrays of a store, from the spec of its map: levels, valid cells, and how much room they take on a disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from fullfield.errors import ImageError
from fullfield.files import system_error
from fullfield.store.maps import MapSpec
from fullfield.store.shards import ShardGrid, index_shape, plain_bytes, shard_grid

VALID = "valid"
_METADATA_BYTES = 1 << 12  # of an array's; the store's own is longer


def level_grid(spec: MapSpec, level: int) -> ShardGrid:
    """How a level of the pyramid is cut into shards: as the map, with half as many cells each time, rounded up."""
    bands, rows, columns = spec.shape
    shape = (bands, -(-rows // 2**level), -(-columns // 2**level))
    return shard_grid(shape, spec.dtype, spec.fill, spec.shard)


def valid_grid(spec: MapSpec) -> ShardGrid:
    """How the array of valid cells is cut into shards: as the map."""
    return shard_grid(spec.shape[1:], "uint8", 1, spec.shard)


def level_count(spec: MapSpec) -> int:
    """Number of levels of the pyramid, the map itself included: halved until no side has more than 256 cells."""
    side, count = max(spec.shape[1:]), 1
    while side > 256:
        side, count = -(-side // 2), count + 1
    return count


class StoreSize(NamedTuple):
    """Room that a store takes at most.

    Args:
        bytes: of its files; less where the scores can be compressed.
        files: and folders, each of which takes an inode.
    """

    bytes: int
    files: int


def store_size(spec: MapSpec) -> StoreSize:
    """Room that a store takes at most: every level, the valid cells, checksums and metadata.

    Examples:
        >>> from fullfield.geometry.placement import Placement
        >>> place = Placement((1, 1), (1, 1), (300, 300), (300, 300))
        >>> store_size(MapSpec((2, 300, 300), "float32", (512, 512), place, classes=(0, 1)))
        StoreSize(bytes=1076146, files=19)
    """
    size = files = 0
    for grid in (*(level_grid(spec, level) for level in range(level_count(spec))), valid_grid(spec)):
        shards = math.prod(grid.shards)
        chunks = math.prod(index_shape(grid)[:-1])
        plain = plain_bytes(grid.shape, str(grid.dtype))
        size += plain + plain // 128 + shards * (chunks * 64 + 4) + _METADATA_BYTES
        files += shards + grid.shards[-2] + len(grid.shape) + 1
    return StoreSize(size + 16 * _METADATA_BYTES, files + 2)


def store_error(path: Path, spec: MapSpec, error: OSError) -> ImageError:
    """The error for a store that the system did not write."""
    return system_error(str(path), error, *store_size(spec))
