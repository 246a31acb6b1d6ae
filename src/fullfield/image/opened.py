"""What was opened, so that it can be opened again to see whether it has changed."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fullfield.image.selection import Selection

FileState = tuple[int, int]
"""Size and time of change, ns."""


@dataclass(frozen=True)
class Opened:
    """An image as it was opened.

    Args:
        path: file, folder or URL.
        selection: the part.
        state: of its files on this machine, before they were opened; ``None`` for folders and URLs.
    """

    path: str
    selection: Selection
    state: FileState | None


def file_state(path: str | None) -> FileState | None:
    """Size and time of change of a file on this machine; ``None`` where there is no such file."""
    if path is None or not os.path.isfile(path):  # noqa: PTH113  as a Path, NUL characters would raise
        return None
    status = os.stat(path)  # noqa: PTH116
    return status.st_size, status.st_mtime_ns
