"""Reads files of JSON that configure a network or its preprocessing. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fullfield.errors import CaptureError

_LARGEST_BYTES = 2**24


def read_json(path: Path, *, fix: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        fix: what to do about one that cannot be read.

    Raises:
        CaptureError: the file cannot be read, is too large, or holds no object of JSON.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise CaptureError(str(path), f"has {size} bytes, more than the {_LARGEST_BYTES} allowed", fix=fix)
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CaptureError(str(path), f"cannot be read as JSON ({error})", fix=fix) from error
    if not isinstance(found, dict):
        raise CaptureError(str(path), f"holds a {type(found).__name__}, no object of JSON", fix=fix)
    return found
