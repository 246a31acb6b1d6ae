"""What tells a Zarr image from its changed self, without reading it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from fullfield.io.readers.zarr_find import Found

_SAMPLES = 256  # chunks whose size and time of change are part of the identity


def zarr_identity(store: Any, array: Any, found: Found, where: str) -> dict[str, Any]:
    """Hash of the metadata; of a folder also sizes and times of change of sampled chunks; of a zip file its own."""
    text = json.dumps([array.metadata.to_dict(), dict(found.attributes)], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    root, archive = getattr(store.inner, "root", None), getattr(store.inner, "path", None)
    if isinstance(root, Path):
        for key in _sampled_keys(array):
            try:
                status = (root / array.path / key).stat()
                entry = f"{key} {status.st_size} {status.st_mtime_ns}"
            except OSError:
                entry = f"{key} is not there"
            digest.update(entry.encode())
    elif isinstance(archive, Path):
        status = archive.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    return {"zarr": array.path, "blake2b": digest.hexdigest(), **({"address": where} if "://" in where else {})}


def _sampled_keys(array: Any) -> list[str]:
    """Keys of files of an array: all of few, else evenly spaced over the grid."""
    sides = getattr(array, "shards", None) or array.chunks
    grid = tuple(-(-n // s) for n, s in zip(array.shape, sides, strict=True))
    count = math.prod(grid)
    chosen = range(count) if count <= _SAMPLES else [i * (count - 1) // (_SAMPLES - 1) for i in range(_SAMPLES)]
    return [array.metadata.encode_chunk_key(_unravel(index, grid)) for index in chosen]


def _unravel(index: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Position in a grid of any size (NumPy's stops at 2^63)."""
    found = []
    for side in reversed(grid):
        index, remainder = divmod(index, side)
        found.append(remainder)
    return tuple(reversed(found))
