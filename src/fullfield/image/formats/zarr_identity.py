"""Identifies a Zarr image, so that a change of it is noticed without reading it."""

from __future__ import annotations

import hashlib
import json
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from fullfield.image.blob import filesystem
from fullfield.image.formats.zarr_find import ZarrImage
from fullfield.image.identity import remote_state

_SAMPLES = 256  # chunks whose size and time of change are part of the identity
_REMOTE_SAMPLES = 16  # the same behind a URL, one request each


def zarr_identity(store: Any, array: Any, found: ZarrImage, where: str) -> dict[str, Any]:
    """A hash of the metadata, and of size and time of change of sampled chunks or of the zip file.

    Behind a URL fewer chunks are sampled, and the server's ETags are included.

    Raises:
        Exception: errors of the server.
    """
    text = json.dumps([array.metadata.to_dict(), dict(found.attributes)], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    root, archive = getattr(store.inner, "root", None), getattr(store.inner, "path", None)
    if isinstance(root, Path):
        for key in _sampled_keys(array, _SAMPLES):
            try:
                status = (root / array.path / key).stat()
                entry = f"{key} {status.st_size} {status.st_mtime_ns}"
            except OSError:
                entry = f"{key} is not there"
            digest.update(entry.encode())
    elif isinstance(archive, Path):
        status = archive.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    elif "://" in where:
        digest.update(_remote_states(array, where).encode())
    return {"zarr": array.path, "blake2b": digest.hexdigest(), **({"address": where} if "://" in where else {})}


def _remote_states(array: Any, where: str) -> str:
    """Size, ETag and time of change of sampled chunks on a server, as JSON text."""
    fs, root = filesystem(where)
    paths = [
        "/".join(filter(None, (root.rstrip("/"), array.path, key))) for key in _sampled_keys(array, _REMOTE_SAMPLES)
    ]
    with ThreadPoolExecutor(len(paths)) as workers:
        return json.dumps(list(workers.map(partial(remote_state, fs), paths)), sort_keys=True)


def _sampled_keys(array: Any, most: int) -> list[str]:
    """Keys of an array's files: all if they are few, else evenly spaced over the grid."""
    sides = getattr(array, "shards", None) or array.chunks
    grid = tuple(-(-n // s) for n, s in zip(array.shape, sides, strict=True))
    count = math.prod(grid)
    chosen = range(count) if count <= most else [i * (count - 1) // (most - 1) for i in range(most)]
    return [array.metadata.encode_chunk_key(_unravel(index, grid)) for index in chosen]


def _unravel(index: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Position in a grid of any size (NumPy's ``unravel_index`` stops at 2^63)."""
    found = []
    for side in reversed(grid):
        index, remainder = divmod(index, side)
        found.append(remainder)
    return tuple(reversed(found))
