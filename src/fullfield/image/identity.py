"""Identifies a file, so that a change of it is noticed without reading it whole."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

from fullfield.image.network import retried

_BLOCK = 64 * 1024
_SAMPLES = 16
_STATE = ("size", "etag", "lastmodified", "updated", "mtime", "created", "contentmd5")
_ABSENT = (403, 404, 410)  # servers whose buckets cannot be listed answer 403 for a missing file


def file_identity(path: str | Path) -> dict[str, Any]:
    """Size, time of change and hash of samples of a file, as plain JSON.

    Raises:
        OSError: the file cannot be read.
    """
    target = Path(path)
    status = target.stat()
    with target.open("rb") as file:
        digest = sampled_hash(file, status.st_size)
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "blake2b": digest}


def sampled_hash(file: BinaryIO, size: int) -> str:
    """BLAKE2b of a file's head, tail and sixteen blocks of 64 KiB between them; of all of a smaller file.

    Invariant: the hashed positions depend on the size only, and the size is hashed too.
    """
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    for start in sample_starts(size):
        file.seek(start)
        digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def sample_starts(size: int) -> list[int]:
    """Positions of the hashed blocks, evenly spaced from head to tail.

    Examples:
        >>> sample_starts(100_000), len(sample_starts(10**9)), sample_starts(10**9)[-1] + 65536
        ([0, 65536], 18, 1000000000)
    """
    count = _SAMPLES + 2
    if size <= count * _BLOCK:
        return list(range(0, size, _BLOCK))
    return [i * (size - _BLOCK) // (count - 1) for i in range(count)]


def remote_state(fs: Any, path: str) -> dict[str, str] | None:
    """Size, ETag, times and hashes of a file on a server; ``None`` if there is no such file.

    Raises:
        Exception: errors of the file system.
    """
    try:
        known = plain_names(retried(lambda: fs.info(path), path))
    except FileNotFoundError as error:
        if getattr(error.__cause__, "status", 404) in _ABSENT:
            return None
        raise
    return {name: str(known[name]) for name in _STATE if known.get(name) is not None}


def plain_names(info: dict[str, Any]) -> dict[str, Any]:
    """fsspec's facts about a file, with names in one spelling for all file systems.

    Examples:
        >>> plain_names({"ETag": "a", "Last-Modified": "b"}), plain_names({"last_modified": "b"})
        ({'etag': 'a', 'lastmodified': 'b'}, {'lastmodified': 'b'})
    """
    return {key.lower().replace("-", "").replace("_", ""): value for key, value in info.items()}
